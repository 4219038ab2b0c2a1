"""Tests of IAF and MAF against NumPy in float64, and of the papers' counts."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats
from tools import BACKEND, array, normal, randomize

from echo_keras.layers import GaussianSample, IAFBlock, MAFBlock
from echo_keras.layers.flow import MAX_LOG_SCALE

pytestmark = pytest.mark.core

D, CONTEXT = 4, 2
SMALL = {"steps": 2, "hidden": (12, 10), "activation": "tanh"}
settings = pytest.mark.parametrize(
    ("cls", "mean_only", "context"),
    list(itertools.product((IAFBlock, MAFBlock), (True, False), (False, True))),
)


def flow_of(cls=IAFBlock, context=False, scale=0.5, **arguments):
    """A flow, built, with weights that make it far from linear."""
    arguments = {**SMALL, "permutation": "random" if context else "reverse"} | arguments
    flow = cls(**{"seed": 5, "mean_only": False, **arguments})
    flow.build([(None, D), (None, CONTEXT)] if context else (None, D))
    return randomize(flow, scale=scale)


def inputs_of(context, n=5):
    return normal(n, D), normal(n, CONTEXT, seed=1) if context else None


def reference(flow, x, context=None):
    """The parallel direction in float64: (y, log|det|)."""
    x, log_det = np.asarray(x, "float64"), 0.0
    for network in flow.networks:
        h, extra = x, 0.0
        if network.context_layer is not None:
            extra = np.asarray(context, "float64") @ array(network.context_layer.kernel)
        for layer in network.hidden:
            kernel = array(layer.kernel).astype("float64") * layer.mask
            h = np.tanh(h @ kernel + array(layer.bias) + extra)
            extra = 0.0
        layer = network.output_layer
        kernel = array(layer.kernel).astype("float64") * layer.mask
        h = (h @ kernel + array(layer.bias)).reshape(*x.shape, -1)
        a = MAX_LOG_SCALE * np.tanh(h[..., 1] / MAX_LOG_SCALE) if h.shape[2] > 1 else 0
        x = x * np.exp(a) + h[..., 0]
        log_det = log_det + np.sum(a * np.ones_like(x), axis=1)
    return x, log_det


@settings
def test_flow_in_float64(cls, mean_only, context):
    flow = flow_of(cls, context, mean_only=mean_only)
    x, condition = inputs_of(context)
    y, log_det = flow.parallel(x, condition)
    expected, expected_log_det = reference(flow, x, condition)
    np.testing.assert_allclose(array(y), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(array(log_det), expected_log_det, atol=1e-5)
    assert np.any(array(log_det)) != mean_only
    # The other direction is its inverse; which is which depends on the class.
    there, back = flow.transform, flow.inverse
    there, back = (there, back) if cls is IAFBlock else (back, there)
    np.testing.assert_array_equal(array(there(x, condition)[0]), array(y))
    again, minus_log_det = back(y, condition)
    np.testing.assert_allclose(array(again), x, atol=2e-5)
    np.testing.assert_allclose(array(minus_log_det), -array(log_det), atol=2e-5)


def test_scales_stay_bounded():
    flow, x = flow_of(MAFBlock, scale=100.0, steps=1), normal(5, D)
    _, log_scale = flow.shift_and_log_scale(0, x)
    assert np.abs(array(log_scale)).max() <= MAX_LOG_SCALE
    for method in (flow.transform, flow.inverse):
        assert all(np.isfinite(array(t)).all() for t in method(x))


def test_counts_of_the_papers():
    flow = IAFBlock()
    flow.build((None, 32))
    assert flow.count_params() == 3_448_448
    # What the masks leave, by formula: input and output layers together have one
    # triangle, each hidden pair of equal degrees is kept on both sides.
    per_degree = np.bincount(np.arange(640) % 31)
    hidden = (640**2 + (per_degree**2).sum()) // 2
    assert flow.effective_params == 4 * (640 * 32 + 2 * hidden + 3 * 640 + 32)
    assert flow.effective_params == 1_781_008
    # The Echo paper's Table 1 counts half of the kernels, masked or not, and no
    # biases: 3.12, 3.71 and 4.84 million.
    half = sum(np.prod(w.shape) for w in flow.weights if len(w.shape) == 2) // 2
    assert half == 1_720_320
    plain, vamp = 1_398_849, 1_986_849
    counts = [plain + half, vamp + half, plain + 2 * half]
    assert [round(n / 1e6, 2) for n in counts] == [3.12, 3.71, 4.84]


def test_orders():
    assert flow_of(steps=3).orders.tolist() == [
        [0, 1, 2, 3],
        [3, 2, 1, 0],
        [0, 1, 2, 3],
    ]
    random = {"permutation": "random", "steps": 3}
    first, again, other = (flow_of(seed=s, **random).orders for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(np.sort(first), [range(D)] * 3)
    # Without a seed, from one that is drawn and that a copy knows.
    flow = flow_of(seed=None, **random)
    copy = IAFBlock.from_config(flow.get_config())
    copy.build((None, D))
    np.testing.assert_array_equal(flow.orders, copy.orders)
    seeds = {flow_of(seed=None, **random).seed for _ in range(3)}
    assert len(seeds) == 3


def test_weights_refuse_to_load_into_other_orders(tmp_path):
    models = []
    for seed in (1, 1, 2):
        inputs = keras.Input((D,))
        flow = IAFBlock(**SMALL, permutation="random", seed=seed)
        models.append(keras.Model(inputs, flow(inputs)))
    models[0].save_weights(tmp_path / "x.weights.h5")
    models[1].load_weights(tmp_path / "x.weights.h5")
    with pytest.raises(ValueError, match="the seed.* saved with.* Received: seed=2"):
        models[2].load_weights(tmp_path / "x.weights.h5")


def test_flow_in_a_channel():
    flow = IAFBlock(**SMALL, mean_only=False)
    layer = GaussianSample(flow=flow, context=True, seed=0)
    mean, context = inputs_of(True, 40)
    inputs = [mean, np.zeros_like(mean), context]
    layer.build([t.shape for t in inputs])
    randomize(flow)
    z = array(layer(inputs))
    u, log_det = flow.inverse(z, context)
    log_q = stats.norm.logpdf(array(u), mean).sum(1) + array(log_det)
    rate = (log_q - stats.norm.logpdf(z).sum(1)).mean()
    np.testing.assert_allclose(array(layer.last_rate), rate, rtol=1e-4)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="its oracle runs on TensorFlow")
@settings
def test_densities_are_those_of_tensorflow_probability(cls, mean_only, context):
    pytest.importorskip("tf_keras")
    tfp = pytest.importorskip("tensorflow_probability")
    flow = flow_of(cls, context, mean_only=mean_only)
    x, condition = inputs_of(context)

    def bijector(step):
        # Theirs generates, z = u exp(log_scale) + shift; our networks measure.
        def shift_and_log_scale(z):
            m, a = flow.shift_and_log_scale(step, z, condition)
            return -m * ops.exp(-a), -a

        return tfp.bijectors.MaskedAutoregressiveFlow(
            shift_and_log_scale_fn=shift_and_log_scale
        )

    maf = tfp.bijectors.Chain([bijector(step) for step in range(flow.steps)])
    theirs = maf if cls is MAFBlock else tfp.bijectors.Invert(maf)
    base = tfp.distributions.MultivariateNormalDiag(np.zeros(D, "float32"))
    target = tfp.distributions.TransformedDistribution(base, theirs)
    u, log_det = flow.inverse(x, condition)
    log_prob = array(base.log_prob(u) + log_det)
    np.testing.assert_allclose(log_prob, target.log_prob(x), rtol=1e-5, atol=1e-5)
    y, log_det = flow.transform(x, condition)
    np.testing.assert_allclose(array(y), theirs.forward(x), rtol=1e-5, atol=1e-5)
    expected = theirs.forward_log_det_jacobian(x, event_ndims=1)
    np.testing.assert_allclose(array(log_det), expected.numpy() * np.ones(5), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"steps": 0}, r"steps must be an integer in \[1, 1000\]. Received: steps=0"),
        ({"steps": 1.5}, r"an integer in \[1, 1000\]. Received: steps=1.5"),
        ({"hidden": (8, 0)}, r"hidden must be a list .* Received: hidden=\(8, 0\)"),
        ({"permutation": "shuffle"}, "one of reverse, random. .*='shuffle'"),
    ],
)
def test_bad_arguments_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        IAFBlock(**arguments)
