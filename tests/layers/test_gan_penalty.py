"""Tests of the GAN penalty, KL[p_D(x) || p(x)]: terms, gradients, training."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import stats
from tools import array, gradients

from echo_keras import losses, training
from echo_keras.layers import GANPenalty, PriorSamples, dense_discriminator
from echo_keras.layers.base import example_weights
from echo_keras.layers.gan_penalty import FORMS
from echo_keras.model import RateDistortionModel

pytestmark = pytest.mark.core


def images(n=6, seed=0):
    return np.random.RandomState(seed).random_sample((n, 8, 8, 1)).astype("float32")


def linear_discriminator():
    """Pixels to their weighted sum: a log-ratio that is known."""
    return keras.Sequential([layers.Flatten(), layers.Dense(1)])


def gan_penalty(**arguments):
    layer = GANPenalty(discriminator=linear_discriminator(), **arguments)
    layer.build([(None, 8, 8, 1)] * 3)
    return layer


def ratio(layer, x):
    kernel, bias = (array(w) for w in layer.discriminator.get_weights())
    return (x.reshape(len(x), -1) @ kernel + bias)[:, 0]


def softplus(x):
    return np.logaddexp(0, x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# The decoder's term of each form, as a function of its log-ratios.
TERMS = {
    "js": lambda ratio: np.log(1 - sigmoid(ratio)),
    "non_saturating": lambda ratio: -np.log(sigmoid(ratio)),
    "reverse_kl": lambda ratio: -ratio,
    "forward_kl": lambda ratio: -np.exp(ratio),
    "wasserstein": lambda ratio: -ratio,
}


@pytest.mark.parametrize("form", FORMS)
def test_gan_penalty_is_its_formula(form):
    layer = gan_penalty(weight=3.0, form=form)
    x, first, other = images(seed=0), images(seed=1), images(seed=2)
    output = layer([x, first, other])
    np.testing.assert_array_equal(array(output), first)
    of_data = ratio(layer, x)
    drawn = np.concatenate([ratio(layer, first), ratio(layer, other)])
    if form == "wasserstein":
        value = of_data.mean() - drawn.mean()
        discriminator = -value
    else:
        value = of_data.mean()
        discriminator = 0.5 * (softplus(-of_data).mean() + softplus(drawn).mean())
    found = [float(array(loss)) for loss in layer.losses]
    expected = [discriminator, 3 * TERMS[form](drawn).mean()]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert float(layer.last_value.value) == pytest.approx(value, rel=1e-4)
    np.testing.assert_allclose(array(layer.log_ratio(x)), of_data, rtol=1e-4)


def divergences(mean, of_data=1.0):
    """Between N(of_data, 1), p_D, and N(mean, 1), p, by integration."""
    x = np.linspace(-12, 12, 20_001)
    p_d, p = (stats.norm.pdf(x, m) for m in (of_data, mean))

    def kl(p, q):
        return np.trapezoid(p * np.log(p / q), x)

    half = (p_d + p) / 2
    twice_js = kl(p_d, half) + kl(p, half)
    return {
        "js": twice_js,
        "non_saturating": kl(p, p_d) - twice_js,
        "reverse_kl": kl(p, p_d),
        "forward_kl": kl(p_d, p),
        "wasserstein": np.trapezoid(
            np.abs(stats.norm.cdf(x, of_data) - stats.norm.cdf(x, mean)), x
        ),
    }


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_that_of_the_divergence(form):
    """Of normals with a known log-ratio, at images that stand for all of theirs."""
    mean, step = 0.2, 1e-4
    layer = GANPenalty(discriminator=linear_discriminator(), form=form)
    layer.build([(None, 1, 1, 1)] * 2)
    # log N(x; 1, 1) - log N(x; mean, 1); the best critic of slope 1 is x itself.
    kernel, bias = 1.0 - mean, (mean**2 - 1.0) / 2
    if form == "wasserstein":
        kernel, bias = 1.0, 0.0
    layer.discriminator.set_weights([np.array([[kernel]]), np.array([bias])])
    noise = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000).astype("float32")
    noise = ops.convert_to_tensor(noise.reshape(-1, 1, 1, 1))

    def term(mean):
        layer([noise + 1.0, mean + noise])
        return layer.losses[-1]

    (found,) = gradients(term, np.array(mean, "float32"))
    above, below = divergences(mean + step), divergences(mean - step)
    expected = (above[form] - below[form]) / (2 * step)
    assert found == pytest.approx(expected, rel=5e-3)
    value = {"wasserstein": 1.0 - mean}.get(form, divergences(mean)["forward_kl"])
    assert float(layer.last_value.value) == pytest.approx(value, rel=1e-3)


def test_only_the_others_are_compared_if_so_asked():
    layer = gan_penalty(against="others")
    x, first, other = images(seed=0), images(seed=1), images(seed=2)
    output = layer([x, first, other])
    np.testing.assert_array_equal(array(output), first)
    discriminator = (
        softplus(-ratio(layer, x)).mean() + softplus(ratio(layer, other)).mean()
    )
    assert float(array(layer.losses[0])) == pytest.approx(discriminator / 2, rel=1e-4)


def test_weights_are_those_of_examples_in_each_batch_of_images():
    layer = gan_penalty(form="js")
    x, first, other = images(seed=0), images(seed=1), images(seed=2)
    weights = np.array([2.0, 0.0, 1.0, 1.0, 0.0, 3.0], "float32")
    with example_weights(ops.convert_to_tensor(weights)):
        layer([x, first, other])
    drawn = np.stack([ratio(layer, first), ratio(layer, other)])
    discriminator = (weights * softplus(-ratio(layer, x))).mean()
    discriminator = 0.5 * (discriminator + (weights * softplus(drawn)).mean())
    found = [float(array(loss)) for loss in layer.losses]
    expected = [discriminator, (weights * TERMS["js"](drawn)).mean()]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_logits_are_seen_as_their_sigmoid():
    logits = 4 * images(seed=1) - 2
    layer = gan_penalty(logits=True)
    layer([images(), logits])
    pixels = 1 / (1 + np.exp(-logits))
    expected = softplus(-ratio(layer, pixels)).mean()
    assert float(array(layer.losses[1])) == pytest.approx(expected, rel=1e-4)


def test_the_decoder_moves_along_its_own_term_alone():
    layer = gan_penalty(weight=3.0, form="reverse_kl")
    x, drawn = images(seed=0), images(seed=1)

    def total(a, b):
        layer([a, b])
        return sum(layer.losses[-2:])

    of_data, of_drawn = gradients(total, x, drawn)
    # The mean over six images of -3 l, whose gradient is the discriminator's kernel.
    kernel = array(layer.discriminator.get_weights()[0]).reshape(8, 8, 1)
    np.testing.assert_allclose(of_drawn, np.tile(-3 / 6 * kernel, (6, 1, 1, 1)), 1e-4)
    assert not np.any(of_data)


@pytest.mark.parametrize("form", FORMS)
def test_the_discriminator_moves_along_its_own_loss_alone(form):
    layer = gan_penalty(weight=50.0, form=form)
    state = [ops.convert_to_tensor(v) for v in layer.non_trainable_variables]
    x, drawn = images(seed=0), images(seed=1)

    def total(*weights):
        inputs = [ops.convert_to_tensor(a) for a in (x, drawn)]
        return sum(layer.stateless_call(weights, state, inputs, return_losses=True)[2])

    weights = [array(w) for w in layer.trainable_variables]
    of_data, of_drawn = ratio(layer, x), ratio(layer, drawn)
    flat = [a.reshape(len(a), -1) for a in (x, drawn)]
    of_kernel, _ = gradients(total, *weights)
    if form == "wasserstein":
        slopes = -np.ones(6), np.ones(6)
    else:
        slopes = -sigmoid(-of_data) / 2, sigmoid(of_drawn) / 2
    expected = sum(s @ a for s, a in zip(slopes, flat, strict=True)) / 6
    np.testing.assert_allclose(of_kernel[:, 0], expected, rtol=1e-3, atol=1e-5)


def test_term_d_converges_to_the_closed_form():
    keras.utils.set_random_seed(0)
    generator = np.random.RandomState(0)

    def draw(n, mean):
        return (mean + generator.normal(size=(n, 2, 1, 1))).astype("float32")

    x, drawn = draw(30_000, 0.5), draw(30_000, -0.25)
    discriminator = keras.Sequential(
        [layers.Flatten(), *dense_discriminator((64, 64)).layers]
    )
    layer = GANPenalty(discriminator=discriminator)
    inputs = [keras.Input((2, 1, 1)) for _ in range(2)]
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.Adam(1e-3), loss=losses.ZeroLoss())
    model.fit([x, drawn], x, batch_size=500, epochs=3, verbose=0)
    found = float(array(ops.mean(layer.log_ratio(draw(20_000, 0.5)))))
    # Two normals .75 apart in each of two dimensions. Four seeds were within .02.
    assert found == pytest.approx(0.75**2, abs=0.07)


def test_a_gan_learns_mean_and_spread():
    """A generator of four weights, whose law at the optimum is that of the data."""
    keras.utils.set_random_seed(0)
    x = np.random.RandomState(0).normal(2.0, 0.5, (20_000, 1, 1, 1)).astype("float32")
    inputs = keras.Input((1, 1, 1))
    z = PriorSamples(1, seed=1)(inputs)
    scale = layers.Dense(1, kernel_initializer="ones")
    drawn = layers.Reshape((1, 1, 1))(scale(z))
    discriminator = keras.Sequential(
        [layers.Flatten(), *dense_discriminator((32, 32)).layers]
    )
    outputs = GANPenalty(discriminator=discriminator, form="reverse_kl")(
        [inputs, drawn]
    )
    model = RateDistortionModel(inputs, outputs)
    optimizer = training.with_discriminator_optimizer(
        keras.optimizers.Adam(5e-3, beta_1=0.5), keras.optimizers.Adam(5e-3, beta_1=0.5)
    )
    model.compile(optimizer, loss=losses.ZeroLoss())
    model.fit(x, x, batch_size=250, epochs=8, verbose=0)
    kernel, bias = (float(w.squeeze()) for w in scale.get_weights())
    assert bias == pytest.approx(2.0, abs=0.15)
    assert abs(kernel) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    ("shapes", "against"),
    [
        ((6, 8, 8, 1), "all"),
        ([(6, 8, 8, 1)], "all"),
        ([(6, 8, 8, 1), (6, 8, 9, 1)], "all"),
        ([(6, 8, 8, 1), (6, 8, 8, 1)], "others"),
    ],
)
def test_inputs_that_cannot_be_compared_raise(shapes, against):
    with pytest.raises(ValueError, match=r"^GANPenalty takes x and at least"):
        GANPenalty(discriminator=linear_discriminator(), against=against).build(shapes)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"form": "kl"}, "form must be one of js, .* Received: form='kl'"),
        ({"against": "none"}, "against must be one of all, others. Rec.*='none'"),
        ({"weight": -1.0}, "weight must be a finite number >= 0"),
    ],
)
def test_bad_arguments_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        GANPenalty(discriminator=linear_discriminator(), **arguments)
