"""What the scripts on Wasserstein autoencoders measure, and how they name runs."""

import keras
import numpy as np
import pytest
from keras import layers

from echo_keras import wae_experiments
from echo_keras.layers import DeterministicBottleneck, GaussianBottleneck
from echo_keras.model import autoencoder


def identity(bottleneck):
    """An autoencoder whose code is its input, up to the channel's noise."""
    encoder = keras.Sequential([keras.Input((3,)), layers.Identity()], name="encoder")
    inputs = keras.Input((3,))
    decoder = keras.Model(inputs, layers.Identity()(inputs), name="decoder")
    model = autoencoder(encoder, bottleneck, decoder)
    model.get_layer("bottleneck").heads[0].set_weights([np.eye(3), np.zeros(3)])
    return model


def test_error_is_that_of_the_noise_and_none_without_it():
    noisy = identity(GaussianBottleneck(3, noise_variance=0.2, name="bottleneck"))
    x = np.random.RandomState(0).random_sample((4000, 3)).astype("float32")
    found = wae_experiments.error(noisy, x)
    # Three variances; six standard errors.
    assert abs(found["error"] - 0.6) < 6 * found["error_se"] < 0.06
    assert wae_experiments.error(noisy, x, noisy=False)["error"] < 1e-10
    exact = identity(DeterministicBottleneck(3, name="bottleneck"))
    assert wae_experiments.error(exact, x)["error"] < 1e-10


def test_pixels_are_clipped():
    inputs = keras.Input((2,))
    decoder = keras.Model(inputs, layers.Rescaling(2.0)(inputs))
    codes = np.array([[-1.0, 0.25], [0.5, 3.0]], "float32")
    np.testing.assert_allclose(
        wae_experiments.pixels(decoder, codes), [[0, 0.5], [1, 1]]
    )


def test_matched_gaussian_has_means_and_variances_and_no_covariance():
    generator = np.random.RandomState(0)
    codes = generator.normal(size=(5000, 1)) * [2.0, 0.5] + [1.0, -3.0]
    drawn = wae_experiments.matched_gaussian(codes, 5000, seed=1)
    np.testing.assert_allclose(drawn.mean(axis=0), [1.0, -3.0], atol=0.12)
    np.testing.assert_allclose(drawn.std(axis=0), [2.0, 0.5], rtol=0.05)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.06  # of the codes: 1


def test_some_are_spread_over_a_sorted_file():
    x = np.arange(100)
    np.testing.assert_array_equal(wae_experiments.some(x, 5), [0, 25, 50, 74, 99])
    np.testing.assert_array_equal(wae_experiments.some(x, 1000), x)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "mnist-vae-seed3"),
        ({"epochs": 2, "filters": 16}, "mnist-vae-epochs2-filters16-seed3"),
        ({"weight": 7}, "mnist-vae-seed3"),
    ],
)
def test_names_tell_departures_from_the_paper(changes, name):
    config = {"dataset": "mnist", "method": "vae", "seed": 3, "epochs": 100}
    paper = {"epochs": 100, "filters": 128}
    config = {**config, "filters": 128, **changes}
    assert wae_experiments.run_name(config, paper) == name
