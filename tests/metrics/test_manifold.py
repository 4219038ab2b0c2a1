"""The density around a decoder's manifold: of linear models in closed form."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import stats
from tools import array

from echo_keras import losses
from echo_keras.autoencoders import autoencoder
from echo_keras.layers import DeterministicBottleneck
from echo_keras.layers.backend import jacobian
from echo_keras.metrics import manifold_score

PIXELS, SCALES, NOISE = 7, np.array([2.0, 0.3]), 0.4


def linear_model(seed=0, scales=SCALES):
    """A decoder of orthogonal columns of these lengths, and its pseudo-inverse."""
    generator = np.random.RandomState(seed)
    columns = np.linalg.qr(generator.normal(size=(PIXELS, len(scales))))[0] * scales
    centre = generator.normal(size=PIXELS)
    encoder = keras.Sequential([keras.Input((PIXELS,)), layers.Identity()])
    decoder = keras.Sequential(
        [keras.Input((len(scales),)), layers.Dense(PIXELS)], name="decoder"
    )
    bottleneck = DeterministicBottleneck(len(scales), name="bottleneck")
    model = autoencoder(encoder, bottleneck, decoder)
    inverse = np.linalg.pinv(columns)
    bottleneck.heads[0].set_weights([inverse.T, -inverse @ centre])
    decoder.set_weights([columns.T, centre])
    model.compile(loss=losses.SquaredError())
    return model, columns, centre


def draws(columns, centre, n, seed=1):
    generator = np.random.RandomState(seed)
    z = generator.normal(size=(n, columns.shape[1]))
    noise = NOISE * generator.normal(size=(n, PIXELS))
    return (z @ columns.T + centre + noise).astype("float32")


@pytest.mark.core
def test_score_of_a_linear_gaussian_model_is_the_log_density_of_images():
    model, columns, centre = linear_model()
    score = manifold_score(model, draws(columns, centre, 20_000))
    covariance = columns @ columns.T + NOISE**2 * np.eye(PIXELS)
    law = stats.multivariate_normal(centre, covariance)
    x = draws(columns, centre, 300, seed=2)
    x = np.concatenate([x, x[:20] + 1.5])  # off the manifold too
    found, expected = score(x), -law.logpdf(x)
    # Laws fitted to 20,000 images: what is left is their estimate.
    assert expected.std() > 2
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.1)


@pytest.mark.core
def test_score_does_not_depend_on_the_scale_of_codes():
    """Half as wide a code, twice as steep a decoder."""
    (wide, columns, centre), (steep, _, _) = (
        linear_model(),
        linear_model(scales=2 * SCALES),
    )
    x = draws(columns, centre, 3_000)
    np.testing.assert_allclose(
        manifold_score(wide, x)(x), manifold_score(steep, x)(x), rtol=1e-4, atol=2e-3
    )


def test_a_direction_that_no_image_moves_in_has_a_floor():
    model, columns, centre = linear_model()
    x = draws(columns, centre, 500)
    decoder = model.get_layer("decoder")
    decoder.set_weights([decoder.get_weights()[0] * [[1.0], [0.0]], centre])
    assert np.isfinite(manifold_score(model, x)(x)).all()


@pytest.mark.core
def test_jacobians_are_those_of_numerical_differences():
    network = keras.Sequential(
        [keras.Input((3,)), layers.Dense(8, "tanh"), layers.Dense(5)]
    )
    z = ops.convert_to_tensor(np.random.RandomState(0).normal(size=(4, 3)), "float32")
    value, slopes = (array(a) for a in jacobian(network, z))
    assert slopes.shape == (4, 5, 3)
    np.testing.assert_allclose(value, array(network(z)), rtol=1e-5)
    z = array(z)
    for axis, step in enumerate(1e-2 * np.eye(3, dtype="float32")):
        difference = array(network(z + step)) - array(network(z - step))
        np.testing.assert_allclose(slopes[..., axis], difference / 2e-2, atol=2e-3)


def test_models_whose_images_have_no_manifold_raise():
    model, columns, centre = linear_model(scales=np.ones(PIXELS))
    x = draws(columns, centre, 50)
    with pytest.raises(ValueError, match="more pixels .*: 7 pixels and 7 dimensions"):
        manifold_score(model, x)
    model, _, _ = linear_model()
    with pytest.raises(ValueError, match="codes that differ in each dimension"):
        manifold_score(model, np.ones((5, PIXELS), "float32"))


def test_images_are_the_means_of_the_law():
    """Logits under a Bernoulli law are what their sigmoids are under a Gaussian."""
    found = []
    for loss, activation in ((losses.Bernoulli(), None), (losses.SquaredError(), True)):
        model, columns, centre = linear_model()
        if activation:
            model.get_layer("decoder").layers[-1].activation = keras.ops.sigmoid
        model.compile(loss=loss)
        x = draws(columns, centre, 300)
        found.append(manifold_score(model, x)(x))
    np.testing.assert_allclose(*found, rtol=1e-3)


def test_few_images_leave_no_code_without_density():
    """The best exponent for codes at two places is infinite: a uniform density."""
    model, columns, centre = linear_model()
    x = draws(columns, centre, 6)
    x[:3], x[3:] = x[0], x[3]
    x += np.linspace(0, 0.01, 6, dtype="float32")[:, None]
    assert np.isfinite(manifold_score(model, x)(draws(columns, centre, 50))).all()


def test_below_the_floor_all_directions_count_alike():
    found = []
    for length in (0.0, 1e-10):
        model, columns, centre = linear_model()
        x = draws(columns, centre, 500)
        kernel, bias = model.get_layer("decoder").get_weights()
        model.get_layer("decoder").set_weights([kernel * [[1.0], [length]], bias])
        found.append(manifold_score(model, x)(x))
    np.testing.assert_allclose(*found, atol=0.05)
    # 1e-7 of the longest: as much denser as images move less.
    assert np.median(manifold_score(linear_model()[0], x)(x) - found[0]) > 10
