"""One contract of invertible layers, over every flow.

The log-determinants' oracle is the Jacobian by the backend's own differentiation.
"""

import keras
import numpy as np
import pytest
from keras import ops
from tools import BACKEND, array, gradients, normal, randomize

from echo_keras.layers import (
    Chain,
    Coupling,
    Flow,
    IAFBlock,
    MAFBlock,
    Permutation,
    Scale,
    Shift,
)

pytestmark = pytest.mark.core

D, CONTEXT = 5, 2
SMALL = {"hidden": (9, 8), "activation": "tanh"}
STEPS = {"mean_only": False, "permutation": "random", "seed": 5, **SMALL}


def links():
    """One flow of every kind, the affine MAF among them."""
    return [
        MAFBlock(steps=1, mean_only=False, **SMALL),
        Permutation("random", seed=3),
        Coupling(**SMALL),
        Scale(),
        Shift(),
    ]


MAKERS = {
    "iaf": lambda: IAFBlock(steps=2, **STEPS),
    "maf": lambda: MAFBlock(steps=2, **STEPS),
    "coupling": lambda: Coupling(**SMALL),
    "permutation": lambda: Permutation("random", seed=3),
    "scale": Scale,
    "shift": Shift,
    "chain": lambda: Chain([Chain(links()), Coupling(**SMALL)]),
}
SETTINGS = [(name, False) for name in MAKERS]
SETTINGS += [(name, True) for name in ("iaf", "maf", "coupling", "chain")]
every_setting = pytest.mark.parametrize("name, context", SETTINGS)


def flow_of(name, context=False):
    """A flow, built, with weights that make it far from linear."""
    flow = MAKERS[name]()
    flow.build([(None, D), (None, CONTEXT)] if context else (None, D))
    return randomize(flow)


def inputs_of(context, n=6):
    return normal(n, D), normal(n, CONTEXT, seed=1) if context else None


@every_setting
def test_inverse_undoes_transform(name, context):
    flow = flow_of(name, context)
    x, condition = inputs_of(context)
    pairs = (flow.transform, flow.inverse), (flow.inverse, flow.transform)
    for there, back in pairs:
        y, log_det = there(x, condition)
        again, minus_log_det = back(y, condition)
        assert tuple(y.shape) == x.shape and tuple(log_det.shape) == x.shape[:1]
        assert np.abs(array(y) - x).max() > 0.1
        np.testing.assert_allclose(array(again), x, atol=5e-5)
        np.testing.assert_allclose(array(minus_log_det), -array(log_det), atol=5e-5)


@every_setting
def test_log_det_is_that_of_the_jacobian(name, context):
    flow = flow_of(name, context)
    x, condition = inputs_of(context)
    for method in (flow.transform, flow.inverse):
        # Examples do not mix: the gradient of a sum over the batch has each one's row.
        rows = [
            gradients(lambda x, i=i, m=method: ops.sum(m(x, condition)[0][:, i]), x)[0]
            for i in range(D)
        ]
        jacobian = np.stack(rows, axis=1).astype("float64")
        expected = np.linalg.slogdet(jacobian)[1]
        log_det = array(method(x, condition)[1])
        np.testing.assert_allclose(log_det, expected, atol=2e-5)
    if name in ("permutation", "shift"):
        assert not log_det.any()
    else:
        assert np.abs(log_det).min() > 1e-3


@every_setting
def test_the_layer_is_transform_and_rounds_at_its_end_alone(name, context):
    full = flow_of(name, context)
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = flow_of(name, context)
    x, condition = inputs_of(context)
    expected = full.transform(x, condition)
    for a, b in zip(expected, half.transform(x, condition), strict=True):
        assert keras.backend.standardize_dtype(b.dtype) == "float32"
        np.testing.assert_array_equal(array(a), array(b))
    inputs = [x, condition] if context else x
    np.testing.assert_array_equal(array(full(inputs)), array(expected[0]))
    y = half(inputs)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    rounded = ops.cast(ops.cast(expected[0], "bfloat16"), "float32")
    np.testing.assert_array_equal(array(ops.cast(y, "float32")), array(rounded))


@pytest.mark.parametrize("name", ["iaf", "maf", "coupling", "scale", "shift"])
def test_untrained_flow_is_the_identity(name):
    flow, x = MAKERS[name](), normal(6, D)
    for context in [None] + [normal(6, CONTEXT)] * flow.takes_context:
        flow = MAKERS[name]()
        for method in (flow.transform, flow.inverse):
            y, log_det = method(x, context)
            np.testing.assert_array_equal(array(y), x)
            np.testing.assert_array_equal(array(log_det), np.zeros(len(x)))


def test_gradients_reach_every_weight_under_jit():
    # Through the MAF's loop, too, which XLA has to differentiate.
    flow = Chain([IAFBlock(steps=1, mean_only=False, **SMALL), *links()])
    flow.build([(None, D), (None, CONTEXT)])
    randomize(flow)
    inputs = [keras.Input((D,)), keras.Input((CONTEXT,))]
    model = keras.Model(inputs, flow(inputs))
    # PyTorch's jit is its own compiler, which takes minutes.
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=BACKEND != "torch")
    before = flow.get_weights()
    model.train_on_batch(list(inputs_of(True)), np.full((6, D), 3.0))
    for old, new in zip(before, flow.get_weights(), strict=True):
        assert (old != new).any()


# Bad input


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("shape", [(None, 2, 3), (None,), (None, None), [(4, 3)] * 3])
def test_bad_shapes_raise(name, shape):
    with pytest.raises(ValueError, match=r"takes x of shape \(batch, d\), or"):
        MAKERS[name]().build(shape)


@every_setting
def test_inputs_other_than_built_for_raise(name, context):
    flow = flow_of(name, context)
    x, condition = inputs_of(context)
    sentence = r"was built for x of shape \(batch, 5\).*Received: shapes? \(6, 3\)"
    for method in (flow.transform, flow.inverse):
        with pytest.raises(ValueError, match=sentence):
            method(x[:, :3], condition)
        other = None if context else normal(6, CONTEXT)
        with pytest.raises(
            ValueError, match=r"(with|and a con).*Received: shapes? \(6"
        ):
            method(x, other)


@pytest.mark.parametrize("name", ["permutation", "scale", "shift"])
def test_a_context_that_nothing_takes_raises(name):
    for flow in (MAKERS[name](), Chain([MAKERS[name]()])):
        assert not flow.takes_context
        with pytest.raises(ValueError, match="takes x alone, without a context. Rec"):
            flow.transform(*inputs_of(True))


def test_base_class_names_what_is_missing():
    class Empty(Flow):
        pass

    for method in ("transform", "inverse"):
        with pytest.raises(NotImplementedError, match=f"Empty must define `{method}`"):
            getattr(Empty(), method)(np.zeros((2, 3)))
