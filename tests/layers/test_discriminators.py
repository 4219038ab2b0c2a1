"""Tests of the discriminators: counts and Lipschitz constants."""

import keras
import numpy as np
from tools import gradients, normal

from echo_keras.layers import conv_discriminator, dense_discriminator


def test_default_discriminator_is_that_of_factor_vae():
    discriminator = dense_discriminator()
    discriminator.build((None, 10))
    assert discriminator.count_params() == 11 * 1000 + 5 * 1001 * 1000 + 1001 * 2
    leaky = [x for x in discriminator.layers if isinstance(x, keras.layers.LeakyReLU)]
    assert len(leaky) == 6
    assert {round(float(x.negative_slope), 6) for x in leaky} == {0.2}


def test_conv_discriminator_counts_and_is_at_most_so_steep():
    # Linear, so that its slope is one number: the norm of its gradient.
    discriminator = conv_discriminator((4, 8), slope=1.0)
    discriminator.build((None, 8, 8, 1))
    trainable = sum(int(np.prod(w.shape)) for w in discriminator.trainable_weights)
    assert trainable == 16 * 4 + 4 + 16 * 4 * 8 + 8 + 2 * 2 * 8 + 1
    for weight in discriminator.trainable_weights:
        weight.assign(1e3 * normal(*weight.shape))
    (slope,) = gradients(lambda x: discriminator(x)[0, 0], normal(1, 8, 8, 1, seed=1))
    assert 0.1 < np.linalg.norm(slope) < 2 * 2 * 1.02
