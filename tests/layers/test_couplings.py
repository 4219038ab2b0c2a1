"""Tests of couplings, permutations, linear flows and chains.

One contract is looped over every flow. The log-determinants' oracle is the Jacobian
that the backend's own differentiation gives; the coupling's, NumPy in float64.
"""

import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from tools import array, gradients

from echo_keras.layers import (
    Chain,
    Coupling,
    IAFBlock,
    MAFBlock,
    Permutation,
    Scale,
    Shift,
)
from echo_keras.layers.flow import MAX_LOG_SCALE

pytestmark = pytest.mark.core

D, CONTEXT = 5, 2
SMALL = {"hidden": (9, 8), "activation": "tanh"}


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
    "coupling": lambda: Coupling(**SMALL),
    "permutation": lambda: Permutation("random", seed=3),
    "scale": Scale,
    "shift": Shift,
    "chain": lambda: Chain(links()),
    "chain_in_chain": lambda: Chain([Chain(links()), Coupling(**SMALL)]),
}
SETTINGS = [(name, False) for name in MAKERS]
SETTINGS += [(name, True) for name in ("coupling", "chain", "chain_in_chain")]


def name_of(setting):
    name, context = setting
    return f"{name}-{'context' if context else 'alone'}"


every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=name_of)
# Where every graph costs seconds: all kinds of flows, with and without a context.
some_settings = pytest.mark.parametrize(
    "setting", [("chain", False), ("chain_in_chain", True)], ids=name_of
)


def randomize(layer, seed=0, scale=0.5):
    """Gives every weight a value, so that no output stays at zero."""
    generator = np.random.RandomState(seed)
    layer.set_weights([generator.normal(0, scale, w.shape) for w in layer.weights])
    return layer


def built(flow, context=False, d=D):
    flow.build([(None, d), (None, CONTEXT)] if context else (None, d))
    return randomize(flow)


def flow_of(setting):
    """The flow of a setting, built, with weights that make it far from linear."""
    name, context = setting
    return built(MAKERS[name](), context)


def tensors(n=6, d=D, seed=0):
    """x and a context, float32."""
    generator = np.random.RandomState(seed)
    return [generator.normal(size=(n, k)).astype("float32") for k in (d, CONTEXT)]


def inputs_of(setting, n=6):
    x, context = tensors(n)
    return (x, context) if setting[1] else (x, None)


# The contract of an invertible layer


@every_setting
def test_inverse_undoes_transform(setting):
    flow = flow_of(setting)
    x, context = inputs_of(setting)
    for there, back in (
        (flow.transform, flow.inverse),
        (flow.inverse, flow.transform),
    ):
        y, log_det = there(x, context)
        again, minus_log_det = back(y, context)
        assert tuple(y.shape) == x.shape and tuple(log_det.shape) == x.shape[:1]
        assert np.abs(array(y) - x).max() > 0.1
        np.testing.assert_allclose(array(again), x, atol=5e-5)
        np.testing.assert_allclose(array(minus_log_det), -array(log_det), atol=5e-5)


@every_setting
def test_log_det_is_that_of_the_jacobian(setting):
    flow = flow_of(setting)
    x, context = inputs_of(setting)
    for method in (flow.transform, flow.inverse):
        # Examples do not mix: the gradient of a sum over the batch has each one's row.
        rows = [
            gradients(lambda x, i=i, m=method: ops.sum(m(x, context)[0][:, i]), x)[0]
            for i in range(D)
        ]
        jacobian = np.stack(rows, axis=1).astype("float64")
        expected = np.linalg.slogdet(jacobian)[1]
        log_det = array(method(x, context)[1])
        np.testing.assert_allclose(log_det, expected, atol=2e-5)
    if setting[0] in ("permutation", "shift"):
        assert not log_det.any()
    else:
        assert np.abs(log_det).min() > 1e-3


@pytest.mark.parametrize("name", ["coupling", "scale", "shift", "links"])
@pytest.mark.parametrize("context", [False, True])
def test_untrained_flow_is_the_identity(name, context):
    unordered = [flow for flow in links() if not isinstance(flow, Permutation)]
    flow = Chain(unordered) if name == "links" else MAKERS[name]()
    x, condition = tensors()
    condition = condition if context and flow.takes_context else None
    for method in (flow.transform, flow.inverse):
        y, log_det = method(x, condition)
        np.testing.assert_array_equal(array(y), x)
        np.testing.assert_array_equal(array(log_det), np.zeros(len(x)))


@some_settings
def test_the_layer_is_transform_at_any_batch_size(setting):
    flow = flow_of(setting)
    shapes = (D, CONTEXT) if setting[1] else (D,)
    inputs = [keras.Input((k,)) for k in shapes]
    outputs = flow(inputs if setting[1] else inputs[0])
    assert outputs.shape == (None, D)
    model = keras.Model(inputs, outputs)  # traced, and compiled where there is a jit
    x, context = inputs_of(setting)
    expected = array(flow.transform(x, context)[0])
    data = [t for t in (x, context) if t is not None]
    for rows in (slice(0, 1), slice(0, 6), slice(2, 4)):
        some = [t[rows] for t in data]
        predicted = model.predict(some, verbose=0)
        np.testing.assert_allclose(predicted, expected[rows], rtol=2e-5, atol=2e-5)
        called = flow(some if setting[1] else some[0])
        np.testing.assert_allclose(array(called), expected[rows], rtol=2e-5, atol=2e-5)


@some_settings
def test_keras_round_trip_and_clone(setting, tmp_path):
    flow = flow_of(setting)
    inputs = [keras.Input((D,)), keras.Input((CONTEXT,))]
    model = keras.Model(inputs, flow(inputs if setting[1] else inputs[0]))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    x = tensors()
    for copy in (loaded, clone):
        again = copy.get_layer(flow.name)
        assert again is not flow and again.flows[0] is not flow.flows[0]
        assert json.dumps(again.get_config()) == json.dumps(flow.get_config())
        np.testing.assert_array_equal(array(copy(x)), array(model(x)))


@every_setting
def test_a_copy_has_the_same_arguments(setting):
    flow = MAKERS[setting[0]]()
    copy = type(flow).from_config(json.loads(json.dumps(flow.get_config())))
    assert copy.get_config() == flow.get_config()
    x, context = inputs_of(setting)
    for layer in (flow, copy):
        built(layer, setting[1])
    np.testing.assert_array_equal(
        array(copy.transform(x, context)[0]), array(flow.transform(x, context)[0])
    )


@every_setting
def test_half_precision_leaves_the_flow_alone(setting):
    full = flow_of(setting)
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = flow_of(setting)
    x, context = inputs_of(setting)
    for a, b in zip(
        full.transform(x, context), half.transform(x, context), strict=True
    ):
        assert keras.backend.standardize_dtype(b.dtype) == "float32"
        np.testing.assert_array_equal(array(a), array(b))
    inputs = x if context is None else [x, context]
    y = half(inputs)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    # In float32 up to the end, and rounded there.
    np.testing.assert_array_equal(
        array(ops.cast(y, "float32")),
        array(ops.cast(ops.cast(full(inputs), "bfloat16"), "float32")),
    )


@pytest.mark.parametrize(
    ("cls", "arguments", "weights"),
    [
        (Coupling, {"hidden": (6,)}, 4),
        (Permutation, {"order": "random"}, 0),
        (Permutation, {"order": (2, 0, 1)}, 0),
        (Scale, {}, 1),
        (Shift, {}, 1),
    ],
)
def test_layer_contract(cls, arguments, weights, run_layer_test):
    run_layer_test(
        cls,
        arguments,
        input_shape=(4, 3),
        expected_output_shape=(4, 3),
        expected_num_trainable_weights=weights,
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=0,
        expected_num_losses=0,
        run_training_check=weights > 0,
        supports_masking=False,
    )


def test_gradients_reach_every_weight_under_jit():
    # An IAF, not the MAF: its loop is trained through in test_flows.py.
    flow = Chain([IAFBlock(steps=1, mean_only=False, **SMALL), *links()[1:]])
    built(flow, context=True)
    inputs = [keras.Input((D,)), keras.Input((CONTEXT,))]
    model = keras.Model(inputs, flow(inputs))
    # PyTorch's jit is its own compiler, which takes minutes.
    jit = keras.backend.backend() != "torch"
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit)
    before = flow.get_weights()
    model.fit(tensors(8), np.full((8, D), 3.0), batch_size=8, verbose=0)
    for old, new in zip(before, flow.get_weights(), strict=True):
        assert (old != new).any()


# Coupling


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize(("d", "kept"), [(2, 1), (4, 2), (5, 3)])
def test_coupling_in_float64(d, kept, context):
    flow = built(Coupling(**SMALL), context, d)
    x, condition = tensors(d=d)
    h = x[:, :kept].astype("float64")
    h = np.concatenate([h, condition], 1) if context else h
    for layer in flow.hidden:
        h = np.tanh(h @ array(layer.kernel) + array(layer.bias))
    layer = flow.output_layer
    m, a = np.split(h @ array(layer.kernel) + array(layer.bias), 2, axis=1)
    a = MAX_LOG_SCALE * np.tanh(a / MAX_LOG_SCALE)
    y, log_det = flow.transform(x, condition if context else None)
    np.testing.assert_array_equal(array(y)[:, :kept], x[:, :kept])
    expected = x[:, kept:] * np.exp(a) + m
    np.testing.assert_allclose(array(y)[:, kept:], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(array(log_det), a.sum(1), rtol=1e-5, atol=1e-5)


def test_scales_of_a_coupling_stay_bounded():
    flow = randomize(built(Coupling(**SMALL)), scale=100.0)
    x, _ = tensors()
    _, log_det = flow.transform(x)
    assert 1.0 < np.abs(array(log_det)).max() <= MAX_LOG_SCALE * (D // 2)
    for method in (flow.transform, flow.inverse):
        assert all(np.isfinite(array(t)).all() for t in method(x))


def test_counts():
    # Table 5, CelebA: 32 of 64 dimensions in, shift and scale of the others out.
    assert built(Coupling(), d=64).count_params() == (
        (32 * 256 + 256) + 2 * (256 * 256 + 256) + (256 * 64 + 64)
    )
    alone, conditional = (built(Coupling(**SMALL), c) for c in (False, True))
    assert conditional.count_params() - alone.count_params() == CONTEXT * 9
    counts = [flow_of((n, False)).count_params() for n in ("permutation", "scale")]
    assert counts == [0, D]
    chain = flow_of(("chain", True))
    assert chain.count_params() == sum(flow.count_params() for flow in chain.flows)


# Permutation


def test_permutations_move_dimensions():
    x = np.arange(10.0, 15.0)[None]
    for order, expected in (
        ("reverse", [14, 13, 12, 11, 10]),
        ("swap", [13, 14, 10, 11, 12]),
        ([2, 0, 1, 4, 3], [12, 10, 11, 14, 13]),
        (np.array([2, 0, 1, 4, 3]), [12, 10, 11, 14, 13]),
    ):
        flow = Permutation(order)
        assert array(flow.transform(x)[0]).tolist() == [expected]
        assert array(flow.inverse(np.float32([expected]))[0]).tolist() == x.tolist()


def test_random_orders_come_from_the_seed():
    first, again, other = (Permutation("random", seed=seed) for seed in (1, 1, 2))
    for flow in (first, again, other):
        flow.build((None, 10))
    np.testing.assert_array_equal(first.orders, again.orders)
    assert (first.orders != other.orders).any()
    np.testing.assert_array_equal(np.sort(first.orders), range(10))


def test_a_copy_has_the_random_order_of_an_unseeded_permutation():
    flow = Permutation("random")
    copy = Permutation.from_config(flow.get_config())
    other = Permutation("random")
    for layer in (flow, copy, other):
        layer.build((None, 10))
    np.testing.assert_array_equal(flow.orders, copy.orders)
    assert (flow.orders != other.orders).any()


@pytest.mark.parametrize("other", [{"seed": 2}, {"order": "reverse"}])
def test_weights_refuse_to_load_into_another_order(other, tmp_path):
    models = []
    for changed in ({}, {}, other):
        inputs = keras.Input((D,))
        flow = Permutation(**{"order": "random", "seed": 1, **changed})
        models.append(keras.Model(inputs, Chain([flow, Scale()])(inputs)))
    models[0].save_weights(tmp_path / "x.weights.h5")
    models[1].load_weights(tmp_path / "x.weights.h5")
    with pytest.raises(ValueError, match="belong to another permutation; give the"):
        models[2].load_weights(tmp_path / "x.weights.h5")


# Scale and shift


def data(n=300, d=D, seed=0):
    """Correlated data of means and standard deviations far from 0 and 1."""
    generator = np.random.RandomState(seed)
    z = generator.normal(size=(n, d)) @ generator.normal(size=(d, d))
    return 100.0 + z * 10.0 ** np.arange(-2, d - 2)


def assert_standard(x):
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-3)


def test_scale_adapts_to_variance_one():
    z, flow = data(), Scale()
    flow.adapt(z)
    np.testing.assert_allclose(array(flow.inverse(z)[0]).std(0), 1, rtol=1e-3)
    np.testing.assert_allclose(array(flow.log_scale), np.log(z.std(0)), rtol=1e-5)
    flow.adapt(2 * z)  # a built layer, anew
    np.testing.assert_allclose(array(flow.log_scale), np.log(2 * z.std(0)), rtol=1e-5)


def test_shift_adapts_to_mean_zero():
    z, flow = data(), Shift()
    flow.adapt(z)
    np.testing.assert_allclose(array(flow.shift), z.mean(0), rtol=1e-6)
    np.testing.assert_allclose(array(flow.inverse(z)[0]).mean(0), 0, atol=1e-3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Scale(), Shift()],
        lambda: [Shift(), Scale()],
        lambda: [Coupling(), Permutation(), Scale(), Shift()],
        # At the other end, with flows between it and the data.
        lambda: [Scale(), Shift(), Permutation(), Scale()],
        lambda: [Permutation(), Chain([Scale(), Shift()])],
    ],
)
def test_chain_adapts_to_standard_data(make):
    flow = Chain(make())
    flow.adapt(data())
    assert_standard(array(flow.inverse(data())[0]))


def test_a_link_adapts_to_what_reaches_it():
    # The data come through a coupling that is not the identity.
    flow = Chain([Scale(), Shift(), Coupling(**SMALL)])
    built(flow)
    z = data()[:, ::-1] / 10
    flow.adapt(z)
    assert_standard(array(flow.inverse(z)[0]))


def test_a_chain_without_scale_and_shift_adapts_to_nothing():
    flow = flow_of(("coupling", False))
    chain = Chain([flow])
    before = flow.get_weights()
    chain.adapt(data())
    for old, new in zip(before, flow.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# Chain


@pytest.mark.parametrize("context", [False, True])
def test_chain_applies_its_flows_in_order(context):
    chain = flow_of(("chain", context))
    x, condition = inputs_of(("chain", context))
    y, total = x, 0.0
    for flow in chain.flows:
        takes = isinstance(flow, (MAFBlock, Coupling))
        y, log_det = flow.transform(y, condition if takes else None)
        total = total + array(log_det)
    found, log_det = chain.transform(x, condition)
    np.testing.assert_array_equal(array(found), array(y))
    np.testing.assert_allclose(array(log_det), total, atol=1e-6)


@pytest.mark.parametrize("name", ["coupling", "chain"])
def test_context_changes_what_a_flow_does(name):
    flow = flow_of((name, True))
    x, context = tensors()
    before = array(flow.transform(x, context)[0])
    after = array(flow.transform(x, context + 1.0)[0])
    # All dimensions but the MAF's first, which sees the context alone, do.
    assert (before != after).any(axis=0).sum() >= D // 2


def test_flows_say_whether_they_take_a_context():
    for flow in links():
        takes = isinstance(flow, (MAFBlock, Coupling))
        assert flow.takes_context == takes
        assert Chain([Permutation(), flow]).takes_context == takes


# Bad input


@pytest.mark.parametrize("name", ["permutation", "scale", "shift", "two"])
def test_a_context_that_nothing_takes_raises(name):
    makers = {**MAKERS, "two": lambda: Chain([Scale(), Shift()])}
    x, context = tensors()
    with pytest.raises(ValueError, match=r"takes no context; received shape \[\(6, 5"):
        makers[name]().transform(x, context)
    flow = makers[name]()
    flow.build((None, D))
    with pytest.raises(ValueError, match="without a context; received"):
        flow.transform(x, context)


indices = st.lists(st.integers(-3, 8), max_size=6)


@given(order=indices.filter(lambda x: not x or sorted(x) != list(range(len(x)))))
def test_orders_that_are_no_permutation_raise(order):
    with pytest.raises(ValueError, match="each of the indices from 0 to d - 1 once"):
        Permutation(order)


@pytest.mark.parametrize("order", [None, 3, (0.5, 1), [[1, 0]], "shuffle", "", ("a",)])
def test_other_orders_raise(order):
    with pytest.raises(ValueError, match="order must .* received"):
        Permutation(order)


@settings(max_examples=20, deadline=None)
@given(order=st.integers(1, 6).flatmap(lambda n: st.permutations(range(n))))
def test_any_order_is_undone(order):
    flow = Permutation(order)
    x = tensors(d=len(order))[0]
    y = array(flow.transform(x)[0])
    np.testing.assert_array_equal(y, x[:, order])
    np.testing.assert_array_equal(array(flow.inverse(y)[0]), x)


def test_an_order_of_another_length_raises():
    with pytest.raises(ValueError, match=r"has 3 indices and needs.*shape \(6, 5\)"):
        Permutation([2, 0, 1]).transform(tensors()[0])


@pytest.mark.parametrize("hidden", [(), 64, (8, 0), (2.5,)])
def test_bad_hidden_layers_raise(hidden):
    with pytest.raises(ValueError, match="hidden must be a list of integers >= 1"):
        Coupling(hidden)


def test_one_dimension_cannot_be_coupled():
    with pytest.raises(ValueError, match=r"at least 2 dimensions.*shape \(None, 1\)"):
        Coupling().build((None, 1))


@pytest.mark.parametrize(
    "flows", [[], (), None, Scale(), [keras.layers.Dense(2)], [Scale]]
)
def test_a_chain_of_something_else_raises(flows):
    with pytest.raises(ValueError, match="list of at least one Flow; received"):
        Chain(flows)


def test_a_flow_twice_in_a_chain_raises():
    flow = Scale()
    with pytest.raises(ValueError, match="flows must be different layers"):
        Chain([flow, Permutation(), flow])


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=10, deadline=None)
@given(shape=st.lists(st.integers(1, 3), max_size=4).filter(lambda s: len(s) != 2))
def test_inputs_of_another_rank_raise(name, shape):
    with pytest.raises(ValueError, match=r"takes x of shape \(batch, d\), or"):
        MAKERS[name]().transform(np.zeros(shape))


@every_setting
def test_inputs_other_than_built_for_raise(setting):
    flow = flow_of(setting)
    x, context = inputs_of(setting)
    sentence = r"was built for x of shape \(batch, 5\).*received \(6, 3\) "
    for method in (flow.transform, flow.inverse):
        with pytest.raises(ValueError, match=sentence):
            method(x[:, :3], context)
        if context is not None:
            with pytest.raises(ValueError, match=r"received \(6, 5\) alone"):
                method(x)


adaptable = pytest.mark.parametrize("make", [Scale, Shift, lambda: Chain([Scale()])])


@adaptable
@settings(max_examples=10, deadline=None)
@given(
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
    where=st.tuples(st.integers(0, 3), st.integers(0, 1)),
)
def test_data_that_are_not_finite_raise(make, bad, where):
    z = np.arange(8.0).reshape(4, 2)
    z[where] = bad
    with pytest.raises(ValueError, match="NaN or infinity; received .* and 1 values"):
        make().adapt(z)


@adaptable
@pytest.mark.parametrize("shape", [(3,), (1, 2), (0, 2), (3, 0), (3, 2, 1)])
def test_data_of_another_shape_raise(make, shape):
    with pytest.raises(ValueError, match=r"shape \(n, d\), n >= 2.*received shape \("):
        make().adapt(np.arange(float(np.prod(shape))).reshape(shape))


@adaptable
def test_data_of_another_width_raise(make):
    flow = make()
    flow.build((None, 2))
    with pytest.raises(ValueError, match=r"built for 2 dimensions.*\(4, 3\)"):
        flow.adapt(np.random.RandomState(0).normal(size=(4, 3)))


def test_constant_dimensions_have_no_scale():
    z = data()
    z[:, 1] = 0.1
    z[:, 3] = 7.0
    with pytest.raises(ValueError, match=r"Dimensions \[1, 3\] of the data are const"):
        Scale().adapt(z)
