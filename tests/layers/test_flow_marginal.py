"""Tests of the marginals of flows: their density, their samples, their training."""

import keras
import numpy as np
import pytest
from scipy import stats
from tools import array, normal, randomize

from echo_keras.layers import (
    Chain,
    Coupling,
    FlowMarginal,
    GaussianSample,
    Logistic,
    MAFBlock,
    MAFMarginal,
    Permutation,
    Scale,
    Shift,
)

pytestmark = pytest.mark.core

D = 4
SMALL = {"steps": 2, "hidden": (12, 10), "activation": "tanh"}


def maf(**arguments):
    return MAFMarginal(**{**SMALL, "mean_only": False, "seed": 3, **arguments})


def coupled(**arguments):
    links = [Coupling((8,), "tanh"), Permutation("random", seed=2)]
    links += [Coupling((8,), "tanh"), Scale(), Shift()]
    return FlowMarginal(Chain(links), **{"seed": 3, **arguments})


def built(marginal, d=D, scale=0.5):
    """With weights far from the identity."""
    marginal.build((None, d))
    randomize(marginal.flow, scale=scale)
    return marginal


both = pytest.mark.parametrize("make", [maf, coupled])


def test_untrained_marginal_is_its_base():
    z = normal(5, D)
    marginal = MAFMarginal(**SMALL)
    expected = stats.norm.logpdf(z).sum(1)
    np.testing.assert_allclose(array(marginal(z)), expected, rtol=1e-5)
    logistic = MAFMarginal(**SMALL, base=Logistic())
    expected = stats.logistic.logpdf(z).sum(1)
    np.testing.assert_allclose(array(logistic(z)), expected, rtol=1e-5)
    assert not hasattr(marginal, "kl")


def test_density_of_a_linear_flow_is_a_gaussian():
    scales, shifts = np.float32([0.5, 3.0]), np.float32([-1.0, 2.0])
    flow = Chain([Scale(), Shift()])
    flow.build((None, 2))
    flow.set_weights([np.log(scales), shifts])
    z = normal(5, 2)
    for base, law in ((None, stats.norm), (Logistic(), stats.logistic)):
        expected = law.logpdf(z, shifts, scales).sum(1)
        found = array(FlowMarginal(flow, base)(z))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("make", "d"), [(maf, 1), (maf, 2), (coupled, 2)])
def test_density_integrates_to_one(make, d):
    marginal = built(make(), d, scale=0.25)
    axis = np.linspace(-15, 15, 601)
    grid = np.stack(np.meshgrid(*[axis] * d), axis=-1).reshape(-1, d)
    density = np.exp(array(marginal.log_prob(grid.astype("float32"))).astype("float64"))
    assert abs(density.sum() * 0.05**d - 1) < 1e-4


@both
def test_samples_come_from_the_density(make):
    marginal = built(make(), 2)
    z = marginal.sample(2000)
    w = array(marginal.flow.inverse(z)[0])
    assert tuple(z.shape) == (2000, 2)
    # False alarms: one seed in 1,000.
    assert stats.kstest(w.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(array(z)[:, 0], "norm").pvalue < 1e-3
    assert (array(marginal.sample(5)) != array(z)[:5]).all()


def test_a_maf_marginal_is_the_flow_marginal_of_its_block():
    marginal = built(maf())
    flow = MAFBlock(**SMALL, mean_only=False)
    twin = FlowMarginal(flow, seed=3)
    twin.build((None, D))
    flow.set_weights(marginal.flow.get_weights())
    z = normal(5, D)
    np.testing.assert_array_equal(array(twin(z)), array(marginal(z)))
    np.testing.assert_array_equal(array(twin.sample(4)), array(marginal.sample(4)))
    assert marginal.effective_params == flow.effective_params


@both
def test_half_precision_leaves_the_density_alone(make):
    full, half = built(make()), built(make(dtype="mixed_bfloat16"))
    z = normal(5, D)
    np.testing.assert_array_equal(array(half(z)), array(full(z)))
    assert keras.backend.standardize_dtype(half.sample(2).dtype) == "bfloat16"


def test_a_channel_trains_the_marginal():
    inputs = [keras.Input((2,)), keras.Input((2,))]
    channel = GaussianSample(maf(), seed=0)
    outputs = keras.layers.Dense(1, kernel_initializer="zeros")(channel(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.02), "mse")
    # Codes on a parabola, far from N(0, I).
    first = normal(256, 1)
    x = [np.concatenate([first, first**2 + 2], 1), np.full((256, 2), -2.0, "float32")]
    rates = []
    for epochs in (1, 19):
        model.fit(x, np.zeros((256, 1)), batch_size=64, epochs=epochs, verbose=0)
        rates.append(float(array(channel.last_rate)))
    assert rates[1] < 0.5 * rates[0]


@pytest.mark.parametrize("shape", [(None, 2, 3), (None, None), [(4, 3), (4, 2)]])
def test_code_of_another_rank_raises(shape):
    for marginal in (maf(), FlowMarginal(Scale())):
        with pytest.raises(ValueError, match=r"takes codes of shape \(batch, d\). Rec"):
            marginal.build(shape)


def test_a_flow_built_for_other_codes_raises():
    flow = Scale()
    flow.build((None, 3))
    with pytest.raises(ValueError, match=r"built for x of shape \(batch, 3\)"):
        FlowMarginal(flow).log_prob(normal(5, D))
