"""Every registered layer in the uses that Keras users make of layers.

Rows are the layers of layer_cases.py, columns the tests. A cell passes, is refused with
a sentence, or does not apply to a layer.
"""

import contextlib
import inspect

import keras
import numpy as np
import pytest
from keras import ops
from layer_cases import CASES, make
from tools import array

from echo_keras.layers import (
    Channel,
    DeterministicBottleneck,
    EchoBottleneck,
    EchoSample,
    Flow,
    FlowMarginal,
    GANPenalty,
    GaussianBottleneck,
    GaussianSample,
    Marginal,
    MMDPenalty,
    Penalty,
    QuantizedBottleneck,
    ScaledDense,
    TargetDistortion,
    VampPrior,
    VariancePenalty,
    VectorQuantizer,
    collect_draws,
)
from echo_keras.layers.base import example_weights
from echo_keras.layers.bottleneck import Bottleneck

pytestmark = pytest.mark.core

# As many as the banks hold; JAX compiles every operation anew for another number.
ROWS = 8
every_case = pytest.mark.parametrize("name", CASES)


def of_kind(*kinds):
    names = [name for name in CASES if isinstance(make(name), kinds)]
    return pytest.mark.parametrize("name", names)


def terms(layer):
    """The channel or penalty inside of a layer, or None."""
    layer = getattr(layer, "channel", layer)
    return layer if isinstance(layer, (Channel, Penalty)) else None


def logged(term):
    """What a channel or a penalty logs."""
    values = [term.last_rate] if isinstance(term, Channel) else term.logs.values()
    return [float(array(v.value)) for v in values]


def call(name, layer, tensors, **arguments):
    """A layer on its inputs, one or several."""
    if isinstance(layer, VampPrior):
        return layer(*tensors, **arguments)
    return layer(tensors if len(tensors) > 1 else tensors[0], **arguments)


def inputs_of(name, rows=ROWS, seed=0):
    """Arrays for every input of a layer, pseudo-inputs too."""
    generator = np.random.RandomState(seed)
    shapes = [(s[0] or rows, *s[1:]) for s in CASES[name][1:]]
    return [generator.normal(0, 1, s).astype("float32") for s in shapes]


def built(name, seed=3):
    """A layer without zero weights, that has seen a batch if it learns from batches."""
    layer = make(name, seed)
    takes = inspect.signature(layer.call).parameters
    training = {"training": True} if "training" in takes else {}
    call(name, layer, inputs_of(name), **training)
    generator = np.random.RandomState(0)
    for weight in layer.trainable_variables:
        weight.assign(generator.normal(0, 0.4, weight.shape))
    return layer


def state(layer):
    """What outlasts a call, but for what is logged and the noise."""
    logs = ("last_rate", "last_value", "last_discriminator_loss")
    return {
        v.path: array(v.value)
        for v in layer.non_trainable_variables
        if v.name not in logs and "seed_generator" not in v.path
    }


def losses_of(model, x):
    """The terms of the loss as JAX's `fit` collects them."""
    trained, others = (
        [ops.convert_to_tensor(v) for v in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )
    _, after, losses = model.stateless_call(
        trained, others, x, training=True, return_losses=True
    )
    for variable, value in zip(model.non_trainable_variables, after, strict=True):
        variable.assign(value)
    return [float(array(loss)) for loss in losses]


# Not called yet

UNBUILT = "rate rate_by_dimension rate_bits draw mean code signal indices noise_scale"
UNBUILT += " encode log_prob transform inverse penalty log_ratio"


@of_kind(Channel, Bottleneck, Flow, Marginal, Penalty)
def test_methods_before_the_first_call_work_or_end_in_a_sentence(name):
    for method in UNBUILT.split():
        function = getattr(make(name), method, None)
        if not callable(function):
            continue
        needed = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.default is p.empty
        ]
        if len(needed) != 1:
            continue
        x = inputs_of(name)
        with contextlib.suppress(ValueError):
            function(x if len(x) > 1 else x[0])


# Called twice


@of_kind(Channel, Bottleneck, Penalty)
@pytest.mark.parametrize("stateless", [False, True])
def test_called_twice_all_terms_add_up(name, stateless):
    layer = built(name)
    term = terms(layer)
    if term is None:
        assert isinstance(layer, DeterministicBottleneck)
        return
    inputs = [[keras.Input(batch_shape=s) for s in CASES[name][1:]] for _ in range(2)]
    outputs = [call(name, layer, tensors) for tensors in inputs]
    model = keras.Model(inputs, outputs)
    x = [inputs_of(name, seed=seed) for seed in (1, 2)]
    seen = []
    for each in x:
        call(name, layer, each)
        seen.append((len(layer.losses), logged(term)))
    if stateless:
        losses = losses_of(model, x)
    else:
        model(x, training=True)
        losses = [float(array(loss)) for loss in model.losses]
    assert len(losses) == 2 * seen[0][0] > 0
    if isinstance(term, GANPenalty) or getattr(term, "prior", None) is None:
        draws = isinstance(term, GaussianSample) and not hasattr(term.marginal, "kl")
        moved = isinstance(term, (VectorQuantizer, TargetDistortion)) or draws
        moved = moved or name.startswith("Total")
        if not moved and not getattr(term, "flow", None):
            expected = np.sum([values for _, values in seen], axis=0)
            np.testing.assert_allclose(logged(term), expected, rtol=1e-4, atol=1e-5)


def test_no_term_is_lost_however_often_a_model_is_traced():
    # Python gives the identity of a freed tensor to another one.
    inputs = x = keras.Input((3,))
    for k in range(6):
        x = VariancePenalty(2.0**k, variance=0.0)(x)
    model = keras.Model(inputs, x)
    for rows in range(2, 30):
        batch = np.random.RandomState(rows).normal(size=(rows, 3)).astype("float32")
        expected = 63.0 * batch.var(0).sum()
        assert sum(losses_of(model, batch)) == pytest.approx(expected, rel=1e-4)


# Masks


def masked_cases():
    echo = {"d_max": 3, "bank_size": 8, "seed": 1}
    return {
        "GaussianBottleneck": lambda: GaussianBottleneck(2, seed=1),
        "GaussianBottleneck, fixed": lambda: GaussianBottleneck(
            2, noise_variance=0.5, seed=1
        ),
        "EchoBottleneck": lambda: EchoBottleneck(2, **echo),
        "EchoBottleneck, standardized": lambda: EchoBottleneck(
            2, parametrization="standardized", **echo
        ),
        "EchoBottleneck, paper": lambda: EchoBottleneck(
            2, parametrization="paper", **echo
        ),
        "QuantizedBottleneck": lambda: QuantizedBottleneck(
            2, 4, initializer=keras.initializers.RandomNormal(seed=0), seed=1
        ),
        "DeterministicBottleneck": lambda: DeterministicBottleneck(2),
    }


MASK = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1], [0, 1, 1]], bool)


def masked_input(padding=0.0):
    x = np.random.RandomState(0).normal(size=(5, 3, 4)).astype("float32")
    return np.where(MASK[..., None], x, np.float32(padding))


@pytest.mark.parametrize("name", masked_cases())
def test_masked_positions_have_no_rate_and_teach_nothing(name):
    found = []
    for padding in (0.0, 7.0):
        keras.utils.set_random_seed(0)
        layer = masked_cases()[name]()
        layer.build((None, 3, 4))
        before = layer.indices(masked_input()) if name[0] == "Q" else None
        z = layer(
            masked_input(padding), training=True, mask=ops.convert_to_tensor(MASK)
        )
        term, x = layer.channel, masked_input(padding)
        learnt = {k: v for k, v in state(layer).items() if "bank" not in k}
        found.append([*learnt.values()])
        if term is None:
            continue
        found[-1].append(float(array(term.last_rate)))
        if not isinstance(term, VectorQuantizer):
            by_position = array(layer.rate_by_dimension(x)).reshape(5, 3, -1).sum(2)
            expected = (by_position * MASK).sum() / 5
            assert found[-1][-1] == pytest.approx(expected, rel=1e-5)
        elif padding:
            p = np.bincount(array(before)[MASK].ravel(), minlength=4) / MASK.sum()
            np.testing.assert_allclose(array(term.frequencies)[0], p, rtol=1e-5)
        assert z.shape == (5, 3, 2)
    # Whatever stands at masked positions.
    for first, second in zip(*found, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", masked_cases())
def test_a_mask_reaches_the_loss(name):
    from echo_keras.losses import SquaredError

    layer = masked_cases()[name]()
    inputs = keras.Input((3, 4))
    z = layer(keras.layers.Masking(0.0)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(4)(z))
    model.compile("sgd", SquaredError())
    x = masked_input()
    output = model(x)
    squares = ((array(output) - x) ** 2).sum(2)
    found = SquaredError()(x + np.where(MASK[..., None], 0.0, 9.0), output)
    # Noise is drawn once: the output in hand is compared.
    np.testing.assert_allclose(array(found), (squares * MASK).sum() / 5, rtol=1e-5)
    assert np.isfinite(model.train_on_batch(x, x))


@of_kind(Penalty)
def test_penalties_refuse_masks(name):
    layer, x = built(name), inputs_of(name)
    mask = ops.ones((ROWS,), dtype="bool")
    with pytest.raises(ValueError, match="must have no mask"):
        call(name, layer, x, mask=mask)


def test_a_joint_density_refuses_a_mask():
    layer = built("GaussianSample, VampPrior")
    with pytest.raises(ValueError, match="marginal must be one of StandardNormal, Log"):
        layer(inputs_of("GaussianSample, VampPrior"), mask=ops.ones((ROWS, 2), "bool"))


# Weights of examples


@of_kind(Channel, Bottleneck)
def test_weights_weigh_rates(name):
    layer, x = built(name), inputs_of(name)
    term = terms(layer)
    weights = np.array([3.0, 0.0, 1.0, 0.0, 0.5, 2.0, 1.0, 1.0], "float32")
    if term is None:
        return
    with collect_draws() as draws, example_weights(weights):
        call(name, layer, x)
    drawn = (
        term.flow or not hasattr(term.marginal, "kl")
        if isinstance(term, GaussianSample)
        else False
    )
    rate = array(draws[0][0])
    with example_weights(ops.convert_to_tensor(weights)):
        call(name, layer, x)
    if not drawn:
        expected = (weights * rate).sum() / ROWS
        assert logged(term) == pytest.approx([expected], rel=1e-4, abs=1e-5)


@of_kind(Penalty)
def test_an_example_of_weight_zero_has_no_gradient(name):
    layer = built(name)
    x = inputs_of(name)
    weights = ops.convert_to_tensor(np.array([2.0, 0.0, *[1.0] * 6], "float32"))

    def value(changed):
        copy = make(name)
        call(name, copy, x)
        copy.set_weights(layer.get_weights())
        arrays = [a.copy() for a in x]
        arrays[-1 if isinstance(layer, GANPenalty) else 0][1] += changed
        with example_weights(weights):
            call(name, copy, arrays)
        # A discriminator's too.
        return [float(array(loss)) for loss in copy.losses]

    assert value(0.5) == pytest.approx(value(0.0), rel=1e-5, abs=1e-6)


def test_whole_weights_are_repeated_rows():
    z = np.random.RandomState(0).normal(size=(4, 3)).astype("float32")
    weights = np.array([2.0, 1.0, 0.0, 3.0], "float32")
    again = np.repeat(z, weights.astype(int), axis=0)
    layer = VariancePenalty(variance=0.0)
    layer(again)
    expected = float(array(layer.last_value)) * weights.mean()
    with example_weights(ops.convert_to_tensor(weights)):
        layer(z)
    assert float(array(layer.last_value)) == pytest.approx(expected, rel=1e-5)
    mmd = MMDPenalty(kernel="imq", seed=0)
    mmd.build((None, 3))
    y = np.random.RandomState(1).normal(size=(4, 3)).astype("float32")
    mmd.prior.sample = lambda n: ops.convert_to_tensor(y)
    with example_weights(ops.convert_to_tensor(weights)):
        found = float(array(mmd.penalty(z)))

    def mean(a, b):
        return array(mmd.similarity(ops.convert_to_tensor(a), b)).mean()

    expected = mean(again, again) + mean(y, y) - 2 * mean(again, y)
    assert found == pytest.approx(expected, rel=1e-4)


# A row that is not finite


@every_case
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_bad_row_leaves_no_trace(name, value):
    layer = built(name)
    takes = inspect.signature(layer.call).parameters
    if "training" not in takes:
        return
    x = inputs_of(name)
    for array_ in x:
        if array_.shape[0] == ROWS:
            array_[2] = value
    call(name, layer, x, training=True)
    for path, found in state(layer).items():
        if "components" not in path:  # of pseudo-inputs, not of the batch
            assert np.isfinite(found).all(), path


def test_usable_rows_enter_the_bank_in_their_order():
    layer = EchoSample(d_max=3, bank_size=6)
    f = np.arange(10, dtype="float32").reshape(5, 2) / 10
    log_s = np.full_like(f, -1.0)
    layer([f, log_s], training=True)
    bad = f + 0.01
    bad[1] = np.nan
    layer([bad, log_s], training=True)
    expected = np.concatenate([bad[[0, 2, 3, 4]], f[:2]])
    np.testing.assert_allclose(array(layer.bank)[:, :2], expected, rtol=1e-6)
    assert float(array(layer.bank_rows)) == 6
    with example_weights(ops.convert_to_tensor(np.array([0, 0, 1, 0, 0], "float32"))):
        layer([f + 0.02, log_s], training=True)
    expected = np.concatenate([f[2:3] + 0.02, expected[:5]])
    np.testing.assert_allclose(array(layer.bank)[:, :2], expected, rtol=1e-6)


# Symbolic

METHODS = {
    Channel: ("rate", "rate_by_dimension", "code", "mean", "indices", "rate_bits"),
    Bottleneck: ("rate", "rate_by_dimension", "code", "signal", "indices"),
    Marginal: ("log_prob",),
    Flow: ("transform", "inverse"),
}


@every_case
def test_methods_take_symbolic_tensors(name, tmp_path):
    layer, x = built(name), inputs_of(name)
    kind = next((k for k in METHODS if isinstance(layer, k)), None)
    if kind is None or isinstance(layer, VampPrior):
        return
    for method in METHODS[kind]:
        if not hasattr(layer, method):
            continue
        arrays = x
        if name.startswith("EchoSample") and method == "code":
            arrays = x[:1]
        inputs = [keras.Input(batch_shape=(None, *a.shape[1:])) for a in arrays]
        several = len(arrays) > 1
        together = isinstance(layer, (Channel, Bottleneck)) and several

        def run(tensors, method=method, together=together, several=several):
            function = getattr(layer, method)
            if together:
                return function(tensors)
            return function(*tensors)

        if "VampPrior" in name:
            continue  # the pseudo-inputs have a batch of their own
        try:
            expected = run(arrays)
        except ValueError as error:  # no rate, or none by dimension
            with pytest.raises(ValueError, match=str(error).split(".")[0]):
                run(inputs)
            continue
        # Keras calls multiples sparse; see below.
        model = keras.Model(inputs, run([1.0 * h for h in inputs]))
        found = model(arrays)
        for f, e in zip(
            keras.tree.flatten(found), keras.tree.flatten(expected), strict=True
        ):
            assert f.shape == e.shape
            random = isinstance(layer, GaussianSample) or name.endswith("flow")
            if not (random and method == "rate"):
                np.testing.assert_allclose(array(f), array(e), rtol=1e-5, atol=1e-6)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        for f, e in zip(
            keras.tree.flatten(loaded(arrays)), keras.tree.flatten(found), strict=True
        ):
            if not (random and method == "rate"):
                np.testing.assert_allclose(array(f), array(e), rtol=1e-5, atol=1e-6)


@every_case
def test_a_multiple_of_a_symbolic_tensor_is_like_any(name):
    """Keras calls `0.5 * h` sparse, which no tensor here ever is."""
    inputs = [keras.Input(batch_shape=shape) for shape in CASES[name][1:]]
    multiples = [1.0 * h for h in inputs]
    assert all(h.sparse for h in multiples)
    call(name, make(name, 0), multiples)


# Frozen


@every_case
def test_a_frozen_layer_keeps_its_state(name):
    layer = built(name)
    takes = inspect.signature(layer.call).parameters
    if "training" not in takes:
        return
    layer.trainable = False
    before = state(layer)
    call(name, layer, inputs_of(name, seed=5), training=True)
    for path, value in state(layer).items():
        if "components" not in path:  # they follow the encoder
            np.testing.assert_array_equal(value, before[path], err_msg=path)


# Batch sizes and shapes


@of_kind(Channel, Bottleneck, Penalty)
@pytest.mark.parametrize("rows", [1, 2, 4, 40])
def test_batches_of_any_size_train(name, rows):
    layer = built(name)
    takes = inspect.signature(layer.call).parameters
    training = {"training": True} if "training" in takes else {}
    z = call(name, layer, inputs_of(name, rows), **training)
    assert np.isfinite(array(z)).all()
    assert all(np.isfinite(float(array(loss))) for loss in layer.losses)
    assert all(np.isfinite(value).all() for value in state(layer).values())


@of_kind(Channel, Bottleneck, Flow, FlowMarginal, ScaledDense)
def test_another_width_is_refused(name):
    layer = built(name)
    x = [np.concatenate([a, a], axis=-1) for a in inputs_of(name)]
    with pytest.raises(Exception, match=r"(?s)must|expect|built|compat|shape|dim"):
        call(name, layer, x)


@pytest.mark.parametrize("name", ["EchoSample", "GaussianSample"])
def test_inputs_of_two_batches_are_refused(name):
    layer = built(name)
    first, second = inputs_of(name)
    with pytest.raises(
        ValueError, match=r"of one batch\. Received: \(3, 2\), \(8, 2\)"
    ):
        layer([first[:3], second])
    with pytest.raises(ValueError, match=r"\(batch, 2\), \(batch, 2\)"):
        layer.rate([np.tile(first, 2), np.tile(second, 2)])
