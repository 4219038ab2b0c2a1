"""Each objective's loss is its equation, and its layers are what the paper names."""

import math

import keras
import numpy as np
import pytest
from tools import array

from echo_keras import evaluation, losses, objectives
from echo_keras.layers import (
    DeterministicBottleneck,
    IAFBlock,
    Logistic,
    StandardNormal,
)
from echo_keras.layers.penalties import MMDPenalty

pytestmark = pytest.mark.core


def data(n=20, seed=0):
    return np.random.RandomState(seed).random_sample((n, 8)).astype("float32")


def heads(model, x):
    """What each head of the bottleneck says of inputs, in float64."""
    features = array(model.get_layer("encoder")(x)).astype("float64")
    bottleneck = model.get_layer("bottleneck")
    return [features @ array(h.kernel) + array(h.bias) for h in bottleneck.heads]


def loss_of(model, x):
    model.compile("sgd", loss=losses.SquaredError())
    return model.evaluate(x, x, batch_size=len(x), verbose=0, return_dict=True)


def kl(mean, log_var):
    each = np.square(mean) + np.exp(log_var) - log_var - 1
    return 0.5 * each.sum(axis=1).mean()


@pytest.mark.parametrize("beta", [1.0, 0.2])
def test_vae(beta):
    model = objectives.vae(*objectives.networks(), 2, beta=beta)
    x = data()
    log = loss_of(model, x)
    rate = kl(*heads(model, x))
    assert log["rate"] == pytest.approx(rate, rel=1e-4)
    assert log["loss"] == pytest.approx(log["distortion"] + beta * rate, rel=1e-5)


def test_vae_with_a_flow_and_a_context_of_its_own():
    flow = IAFBlock(steps=1, hidden=(4,))
    model = objectives.vae(
        *objectives.networks(), 2, flow=flow, context=True, context_units=3
    )
    log = loss_of(model, data())
    assert log["loss"] == pytest.approx(log["distortion"] + log["rate"], rel=1e-5)
    assert flow.context_d == 3


def test_info_vae():
    penalty = MMDPenalty(50.0, name="mmd")
    model = objectives.info_vae(*objectives.networks(), 2, penalty, beta=0.5)
    x = data()
    log = loss_of(model, x)
    added = 0.5 * kl(*heads(model, x)) + 50.0 * log["mmd"]
    assert log["loss"] == pytest.approx(log["distortion"] + added, rel=1e-5)
    assert model.get_layer("mmd").kernel == "rbf"


def test_vcae_without_noise_is_its_equation():
    model = objectives.vcae(*objectives.networks(), 2, weight=3.0, variance=1.5)
    x = data()
    log = loss_of(model, x)
    (z,) = heads(model, x)
    output = array(model.get_layer("decoder")(z.astype("float32")))
    distortion = np.square(output - x).sum(axis=1).mean()
    penalty = abs(z.var(axis=0).sum() - 1.5)
    assert log["loss"] == pytest.approx(distortion + 3.0 * penalty, rel=1e-4)
    assert log["variance"] == pytest.approx(penalty, rel=1e-4)
    assert log["rate"] == 0.0


def test_wae_without_noise_is_its_equation():
    model = objectives.wae(*objectives.networks(), 2, weight=7.0)
    penalty = model.get_layer("mmd")
    y = np.random.RandomState(1).normal(size=(20, 2)).astype("float32")
    penalty.prior.sample = lambda n: keras.ops.convert_to_tensor(y)
    x = data()
    log = loss_of(model, x)
    (z,) = heads(model, x)

    def mean_kernel(a, b, same):
        squared = np.square(a[:, None] - b).sum(axis=2)
        k = 4 / (4 + squared)  # C = 2 d
        return k[~np.eye(len(a), dtype=bool)].mean() if same else k.mean()

    mmd = mean_kernel(z, z, True) + mean_kernel(y, y, True)
    mmd -= 2 * mean_kernel(z, y, False)
    assert log["mmd"] == pytest.approx(mmd, rel=1e-3, abs=1e-5)
    assert log["loss"] == pytest.approx(log["distortion"] + 7.0 * mmd, rel=1e-4)


@pytest.mark.parametrize("objective", [objectives.vcae, objectives.wae])
def test_fixed_noise_has_a_capacity_and_no_weight_on_the_rate(objective):
    model = objective(*objectives.networks(), 4, weight=1.0, noise_variance=0.25)
    log = loss_of(model, data())
    penalty = log.get("mmd", log.get("variance"))
    assert log["loss"] == pytest.approx(log["distortion"] + penalty, rel=1e-5)
    assert model.get_layer("bottleneck").channel.capacity_bits() == pytest.approx(4.0)


def test_vim_is_wae_with_noise_on_the_input():
    model = objectives.vim(*objectives.networks(), 2, weight=5.0)
    log = loss_of(model, data())
    expected = log["distortion"] + 5.0 * log["mmd"]
    assert log["loss"] == pytest.approx(expected, rel=1e-5)
    penalty = model.get_layer("mmd")
    assert (penalty.kernel, penalty.estimator) == ("imq", "unbiased")
    assert type(penalty.prior) is StandardNormal
    assert type(model.get_layer("bottleneck")) is DeterministicBottleneck
    # The noise is the encoder's; what the decoder is compared with is the image.
    x = data(4)
    noisy, plain = (array(model(x, training=t)) for t in (True, False))
    assert 0 < np.abs(noisy - plain).max() < 0.1


def test_vims_logistic_prior_has_variance_one():
    model = objectives.vim(*objectives.networks(), 3, prior="logistic")
    prior = model.get_layer("mmd").prior
    assert type(prior) is Logistic
    assert prior.scale**2 * math.pi**2 / 3 == pytest.approx(1.0)


def test_unknown_prior_raises():
    with pytest.raises(ValueError, match=r"^prior must be one of normal, logistic"):
        objectives.vim(*objectives.networks(), 2, prior="cauchy")


def test_a_model_without_noise_trains_saves_and_is_evaluated(tmp_path):
    model = objectives.vim(*objectives.networks(), 2, prior="logistic")
    model.compile(keras.optimizers.Adam(0.01), loss=losses.SquaredError())
    x = data(40)
    before = evaluation.evaluate(model, x)["distortion"]
    model.fit(x, x, batch_size=20, epochs=10, verbose=0)
    after = evaluation.evaluate(model, x)
    assert after["distortion"] < before and after["rate"] == 0.0
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(
        evaluation.codes(again, x), evaluation.codes(model, x), atol=1e-6
    )
    assert type(again.get_layer("mmd")) is MMDPenalty
