"""Conditional models: a second input of encoder and decoder, such as a label."""

import keras
import numpy as np
import pytest
from keras import layers
from tools import array, normal

from echo_keras import autoencoder, losses, metrics, objectives
from echo_keras.layers import GaussianBottleneck, PseudoInputs, VampPrior

pytestmark = pytest.mark.core

TEMPLATES = normal(3, 8)


def networks(dtype="float32"):
    """An encoder of 8 numbers and a label of three, and a decoder of code and label."""

    def joined(name, width, units):
        x, label = keras.Input((width,)), keras.Input((1,), dtype="int32")
        one_hot = layers.Reshape((3,))(layers.Embedding(3, 3, name="one_hot")(label))
        h = layers.Concatenate()([x, one_hot])
        return keras.Model([x, label], layers.Dense(units, name="last")(h), name=name)

    return joined("encoder", 8, 4), lambda d: joined("decoder", d, 8)


def batch(n=30):
    labels = np.arange(n) % 3
    return TEMPLATES[labels] + 0.1 * normal(n, 8, seed=1), labels[:, None]


def test_a_code_need_not_carry_what_the_condition_tells():
    """With the label's template in the decoder, a code of no information loses no more
    than the noise around the templates."""
    encoder, decoder = networks()
    model = objectives.vae(encoder, decoder, 2)
    model.compile(loss=losses.SquaredError())
    for head in model.get_layer("bottleneck").heads:
        head.kernel.assign(np.zeros(head.kernel.shape))  # N(0, I) whatever x is
    decoder = model.get_layer("decoder")
    decoder.get_layer("one_hot").set_weights([np.eye(3)])
    kernel = np.concatenate([np.zeros((2, 8)), TEMPLATES])
    decoder.get_layer("last").set_weights([kernel, np.zeros(8)])
    x, labels = batch()
    found = metrics.evaluate(model, [x, labels], x)
    noise = ((x - TEMPLATES[labels[:, 0]]) ** 2).sum(1)
    assert found["rate"] == pytest.approx(0.0, abs=1e-6)
    assert found["distortion"] == pytest.approx(noise.mean(), rel=1e-4)
    other = metrics.evaluate(model, [x, (labels + 1) % 3], x)
    assert other["distortion"] > 5 * found["distortion"]


def test_the_encoder_sees_the_condition():
    encoder, decoder = networks()
    model = objectives.vae(encoder, decoder, 2)
    x, labels = batch()
    codes = [
        array(model.get_layer("bottleneck").code(encoder([x, given])))
        for given in (labels, (labels + 1) % 3)
    ]
    assert np.abs(codes[0] - codes[1]).max() > 1e-3


@pytest.mark.parametrize(
    "objective",
    [
        objectives.vae,
        lambda *pair: objectives.echo(*pair, d_max=5, bank_size=8),
        objectives.info_vae,
        lambda *pair: objectives.vcae(*pair, noise_variance=0.1),
    ],
)
def test_objectives_train_save_and_generate(objective, tmp_path):
    model = objective(*networks(), 2)
    model.compile("adam", losses.Gaussian())
    x, labels = batch()
    log = model.fit([x, labels], x, batch_size=10, verbose=0).history
    assert log["loss"][0] >= log["distortion"][0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    z = normal(3, 2)
    made = [m.get_layer("decoder")([z, np.arange(3)[:, None]]) for m in (model, loaded)]
    np.testing.assert_allclose(*map(array, made), rtol=1e-5)
    with pytest.raises(ValueError, match="y must be given for a model of several"):
        model.fit([x, labels], verbose=0)


def test_a_decoder_of_codes_alone_receives_no_condition():
    encoder, _ = networks()
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(8)])
    model = autoencoder(encoder, GaussianBottleneck(2), decoder)
    assert len(model.inputs) == 2 and model.output_shape == (None, 8)


def test_what_takes_no_condition_is_refused():
    encoder, decoder = networks()
    pseudo = PseudoInputs(3)
    pseudo.build((None, 8))
    bottleneck = GaussianBottleneck(2, marginal=VampPrior())
    with pytest.raises(ValueError, match="pseudo_inputs must be None in a model with"):
        autoencoder(encoder, bottleneck, decoder, pseudo_inputs=pseudo)
    inputs = [keras.Input((2,)) for _ in range(3)]
    three = keras.Model(inputs, layers.Dense(8)(layers.Concatenate()(inputs)))
    with pytest.raises(ValueError, match="conditions, 1. Received: a decoder of 3"):
        autoencoder(encoder, GaussianBottleneck(2), three)
