"""The entropy of the data as a target for the -ELBO."""

import keras
import numpy as np
import pytest
from tools import array, small_networks

from echo_keras import losses, objectives

pytestmark = pytest.mark.core
ABOVE, BELOW = 1e3, -1e3  # entropies above and below every -ELBO here


def model_of(entropy):
    """The same weights and noise at every call."""
    keras.utils.set_random_seed(0)
    plain = objectives.vae(*small_networks(), 2, seed=0)
    if entropy is None:
        return plain
    return objectives.EntropyTargetModel(plain.inputs, plain.outputs, entropy=entropy)


def images():
    return (np.random.RandomState(0).random_sample((20, 8)) < 0.5).astype("float32")


def step(entropy):
    """What one step of gradient descent changes, and the logs."""
    model, x = model_of(entropy), images()
    model.compile(keras.optimizers.SGD(0.1), loss=losses.Bernoulli())
    before = [array(w).copy() for w in model.trainable_weights]
    history = model.fit(x, x, batch_size=20, shuffle=False, verbose=0).history
    pairs = zip(model.trainable_weights, before, strict=True)
    changes = [array(w) - b for w, b in pairs]
    return np.concatenate([c.ravel() for c in changes]), history


def test_the_gradient_turns_round_at_the_entropy():
    plain, of_plain = step(None)
    above, of_above = step(BELOW)
    below, of_below = step(ABOVE)
    assert np.abs(plain).max() > 1e-4
    np.testing.assert_allclose(above, plain, atol=1e-5)
    np.testing.assert_allclose(below, -plain, atol=1e-5)
    # What is logged is the -ELBO as before, and the loss H + |D + R - H|.
    for found, entropy in ((of_above, BELOW), (of_below, ABOVE)):
        (neg_elbo,), (loss,) = found["neg_elbo"], found["loss"]
        assert neg_elbo == pytest.approx(of_plain["neg_elbo"][0], rel=1e-5)
        assert loss == pytest.approx(entropy + abs(neg_elbo - entropy), rel=1e-4)


def test_training_stops_at_the_entropy_of_the_images():
    # Two images, of which each pixel is as often 0 as 1: H = log 2, and the ELBO alone
    # goes on to make D + R as small as it can.
    x = np.array([[0] * 8, [1] * 8] * 32, "float32")
    found = {}
    for entropy in (None, 3.0):
        model = model_of(entropy)
        model.compile(keras.optimizers.Adam(0.03), loss=losses.Bernoulli())
        model.fit(x, x, batch_size=64, epochs=150, verbose=0)
        log = model.evaluate(x, x, verbose=0, return_dict=True)
        found[entropy] = log["neg_elbo"]
    assert found[None] < 2.0 and found[3.0] == pytest.approx(3.0, abs=0.4)


def test_it_saves_and_loads(tmp_path):
    model = model_of(7.0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert type(loaded) is objectives.EntropyTargetModel and loaded.entropy == 7.0
    np.testing.assert_allclose(
        array(loaded.get_layer("encoder")(images())),
        array(model.get_layer("encoder")(images())),
    )


def test_an_entropy_is_a_number():
    with pytest.raises(ValueError, match="entropy must be a finite number. Rec"):
        model_of("much")


@pytest.mark.parametrize("entropy", [ABOVE, BELOW])
def test_weights_weigh_the_entropy_too(entropy):
    x, found = images(), []
    for weights in (np.ones(20), np.full(20, 3.0)):
        model = model_of(entropy)
        model.compile(loss=losses.Bernoulli())
        found.append(model.evaluate(x, x, sample_weight=weights, verbose=0)[0])
    assert found[1] == pytest.approx(3 * found[0], rel=1e-5)


def test_weights_of_values_are_refused():
    model, x = model_of(5.0), images()
    model.compile(loss=losses.Bernoulli())
    with pytest.raises(ValueError, match=r"sample_weight must have the shape \(batch,"):
        model.evaluate(x, x, sample_weight=np.ones_like(x), verbose=0)


def test_a_copy_by_its_config():
    copy = objectives.EntropyTargetModel.from_config(model_of(7.0).get_config())
    assert type(copy) is objectives.EntropyTargetModel and copy.entropy == 7.0
