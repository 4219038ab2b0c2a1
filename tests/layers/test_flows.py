"""Tests of the masked networks, the flows built of them and the flow marginals.

One contract is looped over every flow and setting. The oracle is the same flow in
NumPy's float64, whose Jacobian is taken by finite differences.
"""

import itertools
import json

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from echo_keras.layers import (
    MADE,
    Chain,
    Coupling,
    Flow,
    FlowMarginal,
    GaussianSample,
    IAFBlock,
    MAFBlock,
    MAFMarginal,
    MaskedDense,
    Permutation,
    Scale,
    Shift,
)
from echo_keras.layers.flow import MAX_LOG_SCALE
from echo_keras.layers.marginals import Logistic

pytestmark = pytest.mark.core

TENSORFLOW = keras.backend.backend() == "tensorflow"

D, CONTEXT = 4, 2
SMALL = {"steps": 2, "hidden": (12, 10), "activation": "tanh"}
SETTINGS = [
    {"cls": cls, "mean_only": mean_only, "permutation": permutation, "context": context}
    for cls, mean_only, permutation, context in itertools.product(
        (IAFBlock, MAFBlock), (True, False), ("reverse", "random"), (False, True)
    )
]


def name_of(setting):
    return "-".join(
        (
            setting["cls"].__name__,
            "mean_only" if setting["mean_only"] else "affine",
            setting["permutation"],
            "context" if setting["context"] else "alone",
        )
    )


every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=name_of)
# Where every graph costs seconds: both flows with and without a context.
some_settings = pytest.mark.parametrize(
    "setting",
    [s for s in SETTINGS if s["permutation"] == "random" and not s["mean_only"]],
    ids=name_of,
)


def array(x):
    return ops.convert_to_numpy(x)


def tensors(n=5, d=D, seed=0):
    """x and a context, float32."""
    generator = np.random.RandomState(seed)
    return [generator.normal(size=(n, k)).astype("float32") for k in (d, CONTEXT)]


def randomize(layer, seed=0, scale=0.5):
    """Gives every weight a value, so that no output stays at zero."""
    generator = np.random.RandomState(seed)
    layer.set_weights([generator.normal(0, scale, w.shape) for w in layer.weights])
    return layer


def flow_of(setting, d=D, seed=5, **arguments):
    """The flow of a setting, built, with weights that make it far from linear."""
    setting = {**SMALL, **setting, **arguments}
    cls, context = setting.pop("cls"), setting.pop("context")
    flow = cls(seed=seed, **setting)
    flow.build([(None, d), (None, CONTEXT)] if context else (None, d))
    return randomize(flow)


def inputs_of(setting, n=5, seed=0):
    x, context = tensors(n, seed=seed)
    return (x, context) if setting["context"] else (x, None)


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


def numerical_log_det(flow, x, context=None, eps=1e-6):
    """log|det dy/dx| of `reference` by central differences, (batch,)."""
    columns = []
    for j in range(x.shape[1]):
        step = eps * np.eye(x.shape[1])[j]
        above, _ = reference(flow, x + step, context)
        below, _ = reference(flow, x - step, context)
        columns.append((above - below) / (2 * eps))
    return np.linalg.slogdet(np.stack(columns, axis=2))[1]


# The masked dense layer


def test_mask_follows_degrees():
    layer = MaskedDense([1, 2, 3], [1, 3], kernel_initializer="ones")
    np.testing.assert_array_equal(array(layer(np.eye(3)))[:, 0], [1, 0, 0])
    np.testing.assert_array_equal(array(layer(np.eye(3)))[:, 1], [1, 1, 1])
    strict = MaskedDense([1, 2, 3], [1, 3], strict=True, kernel_initializer="ones")
    np.testing.assert_array_equal(array(strict(np.eye(3)))[:, 0], [0, 0, 0])
    np.testing.assert_array_equal(array(strict(np.eye(3)))[:, 1], [1, 1, 0])
    assert layer.effective_params == 4 + 2
    assert strict.effective_params == 2 + 2
    assert layer.count_params() == 6 + 2


def test_masked_dense_contract(run_layer_test):
    run_layer_test(
        MaskedDense,
        {"input_degrees": [1, 2, 3], "output_degrees": [0, 2], "strict": True},
        input_shape=(4, 3),
        expected_output_shape=(4, 2),
        expected_num_trainable_weights=2,
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=0,
        expected_num_losses=0,
        supports_masking=False,
    )


# The masked autoregressive network


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("order", [None, (3, 2, 1, 0), (2, 0, 3, 1)])
@pytest.mark.parametrize("outputs", [1, 2])
def test_outputs_depend_on_the_inputs_before_them(order, outputs, context):
    network = MADE((9, 8), outputs_per_dim=outputs, activation="tanh", order=order)
    x, condition = tensors()
    network([x, condition] if context else x)
    randomize(network)

    def run(x, condition=condition):
        return array(network([x, condition] if context else x))

    rank = np.argsort(range(D) if order is None else order)
    before = run(x)
    assert before.shape == (5, D, outputs)
    for j in range(D):
        moved = x.copy()
        moved[:, j] += 1.0
        changed = run(moved) != before
        # Not a bit changes in those that come no later, all others do.
        np.testing.assert_array_equal(
            changed,
            np.broadcast_to((rank > rank[j])[None, :, None], changed.shape),
        )
    if context:
        assert (run(x, condition + 1.0) != before).all()


@pytest.mark.parametrize("context", [False, True])
def test_one_dimension(context):
    network = MADE((3, 2))
    x, condition = tensors(d=1)
    network([x, condition] if context else x)
    randomize(network)
    outputs = array(network([x, condition] if context else x))
    spread = np.ptp(outputs)
    assert outputs.shape == (5, 1, 1)
    assert spread > 0 if context else spread == 0


def test_untrained_network_returns_zeros():
    network = MADE((8, 8), outputs_per_dim=2)
    np.testing.assert_array_equal(array(network(tensors()[0])), np.zeros((5, D, 2)))


def test_made_contract(run_layer_test):
    run_layer_test(
        MADE,
        {"units_per_hidden": (6, 5), "outputs_per_dim": 2, "order": (2, 0, 1)},
        input_shape=(4, 3),
        expected_output_shape=(4, 3, 2),
        expected_num_trainable_weights=6,
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=0,
        expected_num_losses=0,
        supports_masking=False,
    )


# Counts


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


def test_context_counts_in_full():
    setting = {"cls": IAFBlock, "context": True}
    extra = [w for w in flow_of(setting).weights if w.shape == (CONTEXT, 12)]
    assert len(extra) == SMALL["steps"]
    network = flow_of(setting).networks[0]
    masked = [*network.hidden, network.output_layer]
    expected = sum(x.effective_params for x in masked) + CONTEXT * 12
    assert network.effective_params == expected


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
        np.testing.assert_allclose(array(again), x, atol=2e-5)
        np.testing.assert_allclose(array(minus_log_det), -array(log_det), atol=2e-5)


@every_setting
def test_log_det_is_that_of_the_jacobian(setting):
    flow = flow_of(setting)
    x, context = inputs_of(setting)
    parallel = flow.transform if setting["cls"] is IAFBlock else flow.inverse
    y, log_det = parallel(x, context)
    expected, expected_log_det = reference(flow, x, context)
    numerical = numerical_log_det(flow, x.astype("float64"), context)
    np.testing.assert_allclose(expected_log_det, numerical, atol=1e-7)
    np.testing.assert_allclose(array(y), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(array(log_det), numerical, atol=1e-5)
    if setting["mean_only"]:
        assert not array(log_det).any()
    else:
        assert np.abs(numerical).min() > 1e-3


@some_settings
def test_untrained_flow_is_the_identity(setting):
    setting = dict(setting)
    cls, context = setting.pop("cls"), setting.pop("context")
    flow = cls(**SMALL, **setting)
    x, condition = tensors()
    for method in (flow.transform, flow.inverse):
        y, log_det = method(x, condition if context else None)
        np.testing.assert_array_equal(array(y), x)
        np.testing.assert_array_equal(array(log_det), np.zeros(5))


@some_settings
def test_the_layer_is_transform_at_any_batch_size(setting):
    flow = flow_of(setting)
    shapes = (D, CONTEXT) if setting["context"] else (D,)
    inputs = [keras.Input((k,)) for k in shapes]
    outputs = flow(inputs if setting["context"] else inputs[0])
    assert outputs.shape == (None, D)
    model = keras.Model(inputs, outputs)  # traced, and compiled where there is a jit
    x, context = inputs_of(setting, n=6)
    expected = array(flow.transform(x, context)[0])
    data = [t for t in (x, context) if t is not None]
    for rows in (slice(0, 1), slice(0, 6), slice(2, 4)):
        some = [t[rows] for t in data]
        predicted = model.predict(some, verbose=0)
        np.testing.assert_allclose(predicted, expected[rows], rtol=1e-5, atol=1e-5)
        called = flow(some if setting["context"] else some[0])
        np.testing.assert_allclose(array(called), expected[rows], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mean_only", [True, False])
@pytest.mark.parametrize("context", [False, True])
def test_maf_transforms_as_iaf_inverts(mean_only, context):
    settings = [
        {"cls": cls, "mean_only": mean_only, "context": context}
        for cls in (IAFBlock, MAFBlock)
    ]
    iaf, maf = (flow_of(setting) for setting in settings)
    maf.set_weights(iaf.get_weights())
    inputs = inputs_of(settings[0])
    for ours, theirs in (
        (maf.transform(*inputs), iaf.inverse(*inputs)),
        (maf.inverse(*inputs), iaf.transform(*inputs)),
    ):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(array(a), array(b))


@pytest.mark.parametrize("cls", [IAFBlock, MAFBlock])
def test_gradients_reach_every_weight_under_jit(cls):
    # MAFBlock trains here through its loop, which XLA has to differentiate.
    setting = {"cls": cls, "mean_only": False, "context": True}
    flow = flow_of(setting, hidden=(6,))
    inputs = [keras.Input((D,)), keras.Input((CONTEXT,))]
    model = keras.Model(inputs, flow(inputs))
    # PyTorch's jit is its own compiler, which takes minutes.
    jit = keras.backend.backend() != "torch"
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit)
    before = flow.get_weights()
    model.fit(tensors(8), np.full((8, D), 3.0), batch_size=8, verbose=0)
    for old, new in zip(before, flow.get_weights(), strict=True):
        assert (old != new).any()


def test_scales_stay_bounded():
    flow = flow_of({"cls": MAFBlock, "mean_only": False, "context": False}, steps=1)
    randomize(flow, scale=100.0)
    x, _ = tensors()
    _, log_scale = flow.shift_and_log_scale(0, x)
    assert np.abs(array(log_scale)).max() <= MAX_LOG_SCALE
    for method in (flow.transform, flow.inverse):
        assert all(np.isfinite(array(t)).all() for t in method(x))


# Orders


def test_reverse_runs_every_second_step_backwards():
    flow = flow_of({"cls": IAFBlock, "context": False}, steps=3)
    np.testing.assert_array_equal(
        flow.orders, [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3]]
    )


def test_random_orders_come_from_the_seed():
    setting = {"cls": IAFBlock, "context": False, "permutation": "random", "steps": 3}
    first, again, other = (flow_of(setting, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.orders, again.orders)
    assert (first.orders != other.orders).any()
    np.testing.assert_array_equal(np.sort(first.orders), [range(D)] * 3)


def test_a_copy_has_the_random_orders_of_an_unseeded_flow():
    flow = IAFBlock(**SMALL, permutation="random")
    copy = IAFBlock.from_config(flow.get_config())
    other = IAFBlock(**SMALL, permutation="random")
    for layer in (flow, copy, other):
        layer.build((None, 10))
    np.testing.assert_array_equal(flow.orders, copy.orders)
    assert (flow.orders != other.orders).any()


def test_weights_refuse_to_load_into_other_orders(tmp_path):
    models = []
    for seed in (1, 1, 2):
        inputs = keras.Input((D,))
        flow = IAFBlock(**SMALL, permutation="random", seed=seed)
        models.append(keras.Model(inputs, flow(inputs)))
    models[0].save_weights(tmp_path / "x.weights.h5")
    models[1].load_weights(tmp_path / "x.weights.h5")
    with pytest.raises(ValueError, match="belong to other permutations.*it has 2"):
        models[2].load_weights(tmp_path / "x.weights.h5")


# Under Keras


@some_settings
def test_keras_round_trip_and_clone(setting, tmp_path):
    flow = flow_of(setting, seed=None)
    inputs = [keras.Input((D,)), keras.Input((CONTEXT,))]
    model = keras.Model(inputs, flow(inputs if setting["context"] else inputs[0]))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for copy in (loaded, clone):
        again = copy.get_layer(flow.name)
        assert again is not flow
        assert json.dumps(again.get_config()) == json.dumps(flow.get_config())
        np.testing.assert_array_equal(again.orders, flow.orders)
        x = tensors()
        np.testing.assert_array_equal(array(copy(x)), array(model(x)))


@pytest.mark.parametrize("cls", [IAFBlock, MAFBlock])
def test_flow_contract(cls, run_layer_test):
    run_layer_test(
        cls,
        {"steps": 2, "hidden": (6,), "mean_only": False, "permutation": "random"},
        input_shape=(4, 3),
        expected_output_shape=(4, 3),
        expected_num_trainable_weights=8,
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=0,
        expected_num_losses=0,
        supports_masking=False,
    )


@some_settings
def test_half_precision_leaves_the_flow_alone(setting):
    full, half = flow_of(setting), flow_of(setting, dtype="mixed_bfloat16")
    x, context = inputs_of(setting)
    for a, b in zip(
        full.transform(x, context), half.transform(x, context), strict=True
    ):
        np.testing.assert_array_equal(array(a), array(b))
    inputs = x if context is None else [x, context]
    y = half(inputs)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    # In float32 up to the end, and rounded there.
    np.testing.assert_array_equal(
        array(ops.cast(y, "float32")),
        array(ops.cast(ops.cast(full(inputs), "bfloat16"), "float32")),
    )


def test_flow_in_a_channel():
    flow = IAFBlock(**SMALL, mean_only=False)
    layer = GaussianSample(flow=flow, context=True, seed=0)
    mean, context = tensors(40)
    inputs = [mean, np.zeros_like(mean), context]
    layer.build([t.shape for t in inputs])
    randomize(flow)
    z = array(layer(inputs))
    u, log_det = flow.inverse(z, context)
    log_q = stats.norm.logpdf(array(u), mean).sum(1) + array(log_det)
    rate = (log_q - stats.norm.logpdf(z).sum(1)).mean()
    np.testing.assert_allclose(array(layer.last_rate), rate, rtol=1e-4)


# The marginal


def marginal_of(d=D, seed=3, **arguments):
    marginal = MAFMarginal(**{**SMALL, "mean_only": False, "seed": seed, **arguments})
    marginal.build((None, d))
    randomize(marginal.flow)
    return marginal


def test_untrained_marginal_is_its_base():
    z, _ = tensors()
    expected = stats.norm.logpdf(z).sum(1)
    marginal = MAFMarginal(**SMALL)
    np.testing.assert_allclose(array(marginal(z)), expected, rtol=1e-5)
    logistic = MAFMarginal(**SMALL, base=Logistic())
    expected = stats.logistic.logpdf(z).sum(1)
    np.testing.assert_allclose(array(logistic(z)), expected, rtol=1e-5)
    assert not hasattr(marginal, "kl")


@pytest.mark.parametrize("mean_only", [True, False])
@pytest.mark.parametrize("permutation", ["reverse", "random"])
def test_density_is_base_and_jacobian(mean_only, permutation):
    marginal = marginal_of(mean_only=mean_only, permutation=permutation)
    z, _ = tensors()
    u, _ = reference(marginal.flow, z)
    log_det = numerical_log_det(marginal.flow, z.astype("float64"))
    expected = stats.norm.logpdf(u).sum(1) + log_det
    np.testing.assert_allclose(
        array(marginal.log_prob(z)), expected, atol=1e-5, rtol=1e-6
    )


@pytest.mark.parametrize("d", [1, 2])
def test_density_integrates_to_one(d):
    marginal = marginal_of(d)
    randomize(marginal.flow, scale=0.25)
    axis = np.linspace(-15, 15, 601)
    grid = np.stack(np.meshgrid(*[axis] * d), axis=-1).reshape(-1, d)
    density = np.exp(array(marginal.log_prob(grid.astype("float32"))).astype("float64"))
    assert abs(density.sum() * 0.05**d - 1) < 1e-4


def test_samples_come_from_the_density():
    marginal = marginal_of(2)
    z = marginal.sample(2000)
    u = array(marginal.flow.inverse(z)[0])
    assert tuple(z.shape) == (2000, 2)
    # False alarms: one seed in 1,000.
    assert stats.kstest(u.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(array(z)[:, 0], "norm").pvalue < 1e-3
    # Drawn anew, and the same from a copy.
    assert (array(marginal.sample(5)) != array(z)[:5]).all()
    copy = MAFMarginal.from_config(marginal.get_config())
    copy.build((None, 2))
    copy.flow.set_weights(marginal.flow.get_weights())
    np.testing.assert_array_equal(array(copy.sample(2000)), array(z))


def test_a_channel_trains_the_marginal():
    inputs = [keras.Input((2,)), keras.Input((2,))]
    marginal = MAFMarginal(**SMALL, mean_only=False)
    channel = GaussianSample(marginal, seed=0)
    outputs = keras.layers.Dense(1, kernel_initializer="zeros")(channel(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.02), "mse")
    # Codes on a parabola, far from N(0, I).
    first = np.random.RandomState(0).normal(size=(256, 1)).astype("float32")
    x = [np.concatenate([first, first**2 + 2], 1), np.full((256, 2), -2.0, "float32")]
    y = np.zeros((256, 1))
    rates = []
    for epochs in (1, 29):
        model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
        rates.append(float(array(channel.last_rate)))
    assert rates[1] < 0.5 * rates[0]


@pytest.mark.parametrize("permutation", ["reverse", "random"])
def test_marginal_round_trip_in_a_channel(permutation, tmp_path):
    base = Logistic(scale=0.5, seed=4)
    marginal = MAFMarginal(**SMALL, permutation=permutation, base=base)
    inputs = [keras.Input((D,)), keras.Input((D,))]
    model = keras.Model(
        inputs, GaussianSample(marginal, seed=1, name="channel")(inputs)
    )
    randomize(marginal.flow)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    z, _ = tensors()
    expected = array(marginal.log_prob(z))
    for copy in (loaded, clone):
        again = copy.get_layer("channel").marginal
        assert again is not marginal and again.base is not base
        np.testing.assert_array_equal(array(again.log_prob(z)), expected)
        np.testing.assert_array_equal(array(again.flow.orders), marginal.flow.orders)
    again = loaded.get_layer("channel").marginal
    np.testing.assert_array_equal(array(again.sample(4)), array(marginal.sample(4)))


def test_marginal_contract(run_layer_test):
    run_layer_test(
        MAFMarginal,
        {"steps": 2, "hidden": (6,)},
        input_shape=(4, 3),
        run_mixed_precision_check=False,  # a density is float32 under every policy
        expected_output_shape=(4,),
        expected_num_trainable_weights=8,
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=2,
        expected_num_losses=0,
        supports_masking=False,
    )


def test_half_precision_leaves_the_density_alone():
    full, half = marginal_of(), marginal_of(dtype="mixed_bfloat16")
    z, _ = tensors()
    np.testing.assert_array_equal(array(half(z)), array(full(z)))
    assert keras.backend.standardize_dtype(half.sample(2).dtype) == "bfloat16"


# The marginal of any flow


def coupling_chain():
    links = [
        Coupling((8,), activation="tanh"),
        Permutation("random", seed=2),
        Coupling((8,), activation="tanh"),
        Scale(),
        Shift(),
    ]
    return Chain(links)


def coupled(d=D, seed=3, **arguments):
    """A FlowMarginal of couplings, built, with weights far from the identity."""
    marginal = FlowMarginal(coupling_chain(), seed=seed, **arguments)
    marginal.build((None, d))
    randomize(marginal.flow)
    return marginal


def test_density_of_a_linear_flow_is_a_gaussian():
    scales, shifts = np.float32([0.5, 3.0]), np.float32([-1.0, 2.0])
    marginal = FlowMarginal(Chain([Scale(), Shift()]))
    marginal.build((None, 2))
    marginal.flow.set_weights([np.log(scales), shifts])
    z, _ = tensors(d=2)
    expected = stats.norm.logpdf(z, shifts, scales).sum(1)
    np.testing.assert_allclose(array(marginal(z)), expected, rtol=1e-5, atol=1e-5)
    marginal = FlowMarginal(marginal.flow, base=Logistic())
    expected = stats.logistic.logpdf(z, shifts, scales).sum(1)
    np.testing.assert_allclose(array(marginal(z)), expected, rtol=1e-5, atol=1e-5)


def test_density_of_couplings_integrates_to_one():
    marginal = coupled(2)
    axis = np.linspace(-15, 15, 601)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    density = np.exp(array(marginal.log_prob(grid.astype("float32"))).astype("float64"))
    assert abs(density.sum() * 0.05**2 - 1) < 1e-4


def test_samples_come_from_the_density_of_couplings():
    marginal = coupled(2)
    z = marginal.sample(2000)
    w = array(marginal.flow.inverse(z)[0])
    assert tuple(z.shape) == (2000, 2)
    # False alarms: one seed in 1,000.
    assert stats.kstest(w.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(array(z)[:, 0], "norm").pvalue < 1e-3
    assert (array(marginal.sample(5)) != array(z)[:5]).all()


def test_a_maf_marginal_is_the_flow_marginal_of_its_block():
    maf = marginal_of()
    assert isinstance(maf, FlowMarginal)
    flow = MAFBlock(**SMALL, mean_only=False)
    marginal = FlowMarginal(flow, seed=3)
    marginal.build((None, D))
    flow.set_weights(maf.flow.get_weights())
    z, _ = tensors()
    np.testing.assert_array_equal(array(marginal(z)), array(maf(z)))
    np.testing.assert_array_equal(array(marginal.sample(4)), array(maf.sample(4)))
    # The keys that files saved so far hold.
    assert set(maf.get_config()) == {
        *("name", "trainable", "dtype", "seed", "base", "steps", "hidden"),
        *("mean_only", "permutation", "activation"),
    }


@pytest.mark.parametrize("used", [False, True])
def test_flow_marginal_round_trip_in_a_channel(used, tmp_path):
    # Built before it is handed over, or not.
    marginal = coupled() if used else FlowMarginal(coupling_chain())
    inputs = [keras.Input((D,)), keras.Input((D,))]
    model = keras.Model(
        inputs, GaussianSample(marginal, seed=1, name="channel")(inputs)
    )
    randomize(marginal.flow)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    z, _ = tensors()
    expected = array(marginal.log_prob(z))
    for copy in (loaded, clone):
        again = copy.get_layer("channel").marginal
        assert again is not marginal and again.flow is not marginal.flow
        np.testing.assert_array_equal(array(again.log_prob(z)), expected)
        assert json.dumps(again.get_config()) == json.dumps(marginal.get_config())
    again = loaded.get_layer("channel").marginal
    np.testing.assert_array_equal(array(again.sample(4)), array(marginal.sample(4)))


def test_flow_marginal_contract(run_layer_test):
    run_layer_test(
        FlowMarginal,
        {"flow": Coupling((6,))},
        input_shape=(4, 3),
        run_mixed_precision_check=False,  # a density is float32 under every policy
        expected_output_shape=(4,),
        expected_num_trainable_weights=4,
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=2,
        expected_num_losses=0,
        supports_masking=False,
    )


def test_half_precision_leaves_the_density_of_couplings_alone():
    full, half = coupled(), coupled(dtype="mixed_bfloat16")
    z, _ = tensors()
    np.testing.assert_array_equal(array(half(z)), array(full(z)))
    assert keras.backend.standardize_dtype(half.sample(2).dtype) == "bfloat16"


# TensorFlow Probability as the oracle


@pytest.fixture
def tfp():
    if not TENSORFLOW:
        pytest.skip("TensorFlow Probability is the oracle on TensorFlow alone")
    pytest.importorskip("tf_keras")
    return pytest.importorskip("tensorflow_probability")


@every_setting
def test_densities_are_those_of_tensorflow_probability(setting, tfp):
    flow = flow_of(setting)
    x, context = inputs_of(setting)

    def bijector(step):
        # Theirs generates, z = u exp(log_scale) + shift; our networks measure.
        def shift_and_log_scale(z):
            m, a = flow.shift_and_log_scale(step, z, context)
            return -m * ops.exp(-a), -a

        return tfp.bijectors.MaskedAutoregressiveFlow(
            shift_and_log_scale_fn=shift_and_log_scale
        )

    maf = tfp.bijectors.Chain([bijector(step) for step in range(flow.steps)])
    theirs = maf if setting["cls"] is MAFBlock else tfp.bijectors.Invert(maf)
    base = tfp.distributions.MultivariateNormalDiag(np.zeros(D, "float32"))
    target = tfp.distributions.TransformedDistribution(base, theirs)
    u, log_det = flow.inverse(x, context)
    log_prob = base.log_prob(u) + log_det
    np.testing.assert_allclose(
        array(log_prob), target.log_prob(x).numpy(), rtol=1e-5, atol=1e-5
    )
    y, log_det = flow.transform(x, context)
    np.testing.assert_allclose(
        array(y), theirs.forward(x).numpy(), rtol=1e-5, atol=1e-5
    )
    expected = theirs.forward_log_det_jacobian(x, event_ndims=1)
    np.testing.assert_allclose(array(log_det), expected.numpy() * np.ones(5), atol=1e-5)


# Bad input


@pytest.mark.parametrize(
    ("cls", "arguments", "sentence"),
    [
        (MADE, {"units_per_hidden": ()}, r"units_per_hidden must be .* received \(\)"),
        (MADE, {"units_per_hidden": 64}, "units_per_hidden must be .* received 64"),
        (MADE, {"outputs_per_dim": 0}, "outputs_per_dim must be .* received 0"),
        (IAFBlock, {"steps": 0}, "steps must be an integer >= 1; received 0"),
        (IAFBlock, {"hidden": (8, 0)}, r"hidden must be a list .* received \(8, 0\)"),
        (MAFBlock, {"permutation": "shuffle"}, "'reverse' or 'random'; .* 'shuffle'"),
        (MAFMarginal, {"steps": 1.5}, "steps must be an integer >= 1; received 1.5"),
    ],
)
def test_bad_arguments_raise(cls, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        cls(**arguments)


def test_wrong_number_of_degrees_raises():
    with pytest.raises(
        ValueError, match=r"has 2 input degrees.*received shape \(4, 3\)"
    ):
        MaskedDense([1, 2], [1, 2])(np.zeros((4, 3)))


@pytest.mark.parametrize("order", [(0, 1), (0, 0, 1), (1, 2, 3)])
def test_bad_order_raises(order):
    with pytest.raises(ValueError, match="each of the 3 input indices once; received"):
        MADE((8,), order=order)(np.zeros((4, 3)))


def test_narrow_hidden_layers_raise():
    with pytest.raises(ValueError, match=r"at least 9 units for 10 dimensions.*8"):
        IAFBlock(hidden=(9, 8))(np.zeros((4, 10)))


@pytest.mark.parametrize("layer", [MADE((8,)), IAFBlock(**SMALL), MAFBlock(**SMALL)])
@pytest.mark.parametrize("shape", [(None, 2, 3), (None,), (None, None), [(4, 3)] * 3])
def test_bad_shapes_raise(layer, shape):
    copy = type(layer).from_config(layer.get_config())
    with pytest.raises(ValueError, match=r"takes x of shape \(batch, d\), or"):
        copy.build(shape)


@pytest.mark.parametrize("shape", [(None, 2, 3), (None, None), [(4, 3), (4, 2)]])
def test_code_of_another_rank_raises(shape):
    with pytest.raises(
        ValueError, match=r"takes codes of shape \(batch, d\); received"
    ):
        MAFMarginal(**SMALL).build(shape)
    with pytest.raises(ValueError, match="FlowMarginal takes codes of shape"):
        FlowMarginal(Scale()).build(shape)


def test_a_flow_built_for_other_codes_raises():
    flow = Scale()
    flow.build((None, 3))
    with pytest.raises(ValueError, match=r"built for x of shape \(batch, 3\)"):
        FlowMarginal(flow).log_prob(tensors()[0])


@pytest.mark.parametrize("context", [False, True])
def test_inputs_other_than_built_for_raise(context):
    flow = flow_of({"cls": IAFBlock, "context": context})
    x, condition = tensors()
    sentence = r"was built for x of shape \(batch, 4\).*received \(5, 4\) "
    with pytest.raises(ValueError, match=sentence):
        flow.transform(x, None if context else condition)
    with pytest.raises(ValueError, match="built for x of shape"):
        flow.inverse(x[:, :3], condition if context else None)


def test_base_class_names_what_is_missing():
    class Nothing(Flow):
        pass

    for method in ("transform", "inverse"):
        with pytest.raises(
            NotImplementedError, match=f"Nothing must define `{method}`"
        ):
            getattr(Nothing(), method)(np.zeros((2, 3)))
