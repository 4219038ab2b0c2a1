"""Models whose likelihood is known: x = W z + b + noise, W with orthogonal columns.

So the posterior has a diagonal covariance.
"""

import math

import keras
import numpy as np
from keras import layers
from scipy import stats

from echo_keras import losses
from echo_keras.layers import GaussianBottleneck
from echo_keras.model import RateDistortionModel

WEIGHTS = np.array([[1, 1, 1, 1, 0, 0], [0.5, -0.5, 0, 0, 1, -1]]) * 0.8
BIAS, VARIANCE = np.linspace(-1, 1, 6), 0.5
PRECISIONS = 1 + (WEIGHTS**2).sum(1) / VARIANCE


def linear_model(widen=1.0, shift=0.0, marginal=None):
    """Its q(z|x) is the posterior, with `widen` times its variance, moved by shift."""
    inputs = keras.Input((6,))
    bottleneck = GaussianBottleneck(2, marginal=marginal, seed=1)
    decoder = layers.Dense(6)
    model = RateDistortionModel(inputs, decoder(bottleneck(inputs)))
    model.compile(loss=losses.Gaussian(VARIANCE))
    to_mean = WEIGHTS.T / VARIANCE / PRECISIONS
    mean, log_var = bottleneck.heads
    mean.set_weights([to_mean, shift - BIAS @ to_mean])
    log_var.set_weights([np.zeros((6, 2)), np.log(widen / PRECISIONS)])
    decoder.set_weights([WEIGHTS, BIAS])
    return model


def linear_data(n, seed=0):
    random = np.random.RandomState(seed)
    x = random.normal(size=(n, 2)) @ WEIGHTS + BIAS
    x += math.sqrt(VARIANCE) * random.normal(size=x.shape)
    covariance = WEIGHTS.T @ WEIGHTS + VARIANCE * np.eye(6)
    return x.astype("float32"), stats.multivariate_normal(BIAS, covariance).logpdf(x)
