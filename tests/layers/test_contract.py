"""What every registered layer promises, over one table: a new layer is one line of it.

Save and load in safe mode, clone, unknown batch sizes, half precision, seeds,
configurations and symbolic shapes. Formulas are tested in the files of the layers.
"""

import importlib
import inspect
import json
import pkgutil

import keras
import numpy as np
import pytest
from keras import ops
from tools import array

import echo_keras.layers
from echo_keras.layers import (
    MADE,
    Chain,
    Channel,
    Coupling,
    DeterministicBottleneck,
    EchoBottleneck,
    EchoSample,
    Flow,
    FlowMarginal,
    GANPenalty,
    GatedConv2D,
    GatedConv2DTranspose,
    GatedDense,
    GaussianBottleneck,
    GaussianSample,
    IAFBlock,
    InputNoise,
    Logistic,
    MAFBlock,
    MAFMarginal,
    Marginal,
    MarginalKLPenalty,
    MaskedDense,
    MMDPenalty,
    Permutation,
    PixelCNN,
    PriorSamples,
    PseudoInputs,
    QuantizedBottleneck,
    Scale,
    ScaledDense,
    Shift,
    ShuffledCodes,
    SpectralNormalization,
    Standardize,
    StandardNormal,
    TargetRate,
    TotalCorrelationPenalty,
    VampPrior,
    VariancePenalty,
    VectorQuantizer,
    dense_discriminator,
)

pytestmark = pytest.mark.core

ROWS, PSEUDO = 5, 3
B = None  # the batch, whose size is not known

FLOW = {"steps": 2, "hidden": (6, 5), "mean_only": False, "permutation": "random"}
ECHO = {"d_max": 3, "bank_size": 8}
# A class, or a class and a word on the variant: (what makes it from a seed, the shape
# of each input).
CASES = {
    "Chain": (
        lambda s: Chain([MAFBlock(**FLOW), Coupling((4,)), Scale()]),
        (B, 3),
        (B, 2),
    ),
    "Coupling": (lambda s: Coupling((6, 4), activation="tanh"), (B, 3)),
    "DeterministicBottleneck": (lambda s: DeterministicBottleneck(2), (B, 4)),
    "EchoBottleneck": (lambda s: EchoBottleneck(2, seed=s, **ECHO), (B, 4)),
    "EchoBottleneck, standardized": (
        lambda s: EchoBottleneck(2, parametrization="standardized", seed=s, **ECHO),
        (B, 4),
    ),
    "EchoBottleneck, paper": (
        lambda s: EchoBottleneck(2, parametrization="paper", seed=s, **ECHO),
        (B, 4),
    ),
    "EchoSample": (lambda s: EchoSample(seed=s, **ECHO), (B, 2), (B, 2)),
    "EchoSample, triangular": (
        lambda s: EchoSample(seed=s, scale="triangular", **ECHO),
        *((B, 3), (B, 3), (B, 3)),
    ),
    "EchoSample, with replacement": (
        lambda s: EchoSample(seed=s, sampling="with_replacement", **ECHO),
        *((B, 2, 2), (B, 2, 2)),
    ),
    "FlowMarginal": (lambda s: FlowMarginal(Coupling((4,)), seed=s), (B, 3)),
    "GANPenalty": (
        lambda s: GANPenalty(2.0, dense_discriminator((4,)), "forward_kl", True),
        *((B, 3), (B, 3)),
    ),
    "GatedConv2D": (lambda s: GatedConv2D(3, (3, 2), strides=2), (B, 5, 6, 2)),
    "GatedConv2DTranspose": (
        lambda s: GatedConv2DTranspose(3, 5, strides=2, padding="same"),
        (B, 3, 4, 2),
    ),
    "GatedDense": (lambda s: GatedDense(3, bias_initializer="ones"), (B, 2, 4)),
    "GaussianBottleneck": (lambda s: GaussianBottleneck(2, seed=s), (B, 4)),
    "GaussianBottleneck, flow": (
        lambda s: GaussianBottleneck(
            2,
            variance_activation="softplus",
            context_units=3,
            flow=IAFBlock(**FLOW),
            context=True,
            beta=TargetRate(3.0),
            seed=s,
        ),
        (B, 4),
    ),
    "GaussianSample": (lambda s: GaussianSample(seed=s), (B, 2), (B, 2)),
    "GaussianSample, marginal": (
        lambda s: GaussianSample(Logistic(0.5), noise_variance=0.5, seed=s),
        (B, 2, 3),
    ),
    "GaussianSample, VampPrior": (
        lambda s: GaussianSample(VampPrior(learned_weights=True), seed=s),
        *((B, 2), (B, 2), (PSEUDO, 2), (PSEUDO, 2)),
    ),
    "IAFBlock": (lambda s: IAFBlock(**FLOW), (B, 3)),
    "IAFBlock, context": (lambda s: IAFBlock(**FLOW), (B, 3), (B, 2)),
    "InputNoise": (lambda s: InputNoise(0.5, seed=s), (B, 2, 3)),
    "Logistic": (lambda s: Logistic(0.5, seed=s), (B, 3)),
    "MADE": (lambda s: MADE((6, 5), 2, order=(2, 0, 1)), (B, 3)),
    "MAFBlock": (lambda s: MAFBlock(**FLOW), (B, 3)),
    "MAFMarginal": (lambda s: MAFMarginal(**FLOW, base=Logistic(seed=s)), (B, 3)),
    "MMDPenalty": (lambda s: MMDPenalty(2.0, "imq", 0.5, "unbiased", seed=s), (B, 3)),
    "MarginalKLPenalty": (
        lambda s: MarginalKLPenalty(-1.0, dense_discriminator((4,)), seed=s),
        (B, 3),
    ),
    "MarginalKLPenalty, non-saturating": (
        lambda s: MarginalKLPenalty(
            1.0, dense_discriminator((4,)), seed=s, form="non_saturating"
        ),
        (B, 3),
    ),
    "MaskedDense": (lambda s: MaskedDense([1, 2, 3], [0, 2], strict=True), (B, 3)),
    "Permutation": (lambda s: Permutation("random"), (B, 6)),
    "PixelCNN": (lambda s: PixelCNN(2, 1, seed=s), (B, 4, 4, 1), (B, 3)),
    "PriorSamples": (lambda s: PriorSamples(2, seed=s), (B, 3, 3)),
    "PseudoInputs": (lambda s: PseudoInputs(PSEUDO, low=-1.0), (B, 2, 2)),
    "QuantizedBottleneck": (
        lambda s: QuantizedBottleneck(2, 4, dither=0.1, seed=s),
        (B, 4),
    ),
    "ScaledDense": (lambda s: ScaledDense(3), (B, 2, 4)),
    "Scale": (lambda s: Scale(), (B, 3)),
    "Shift": (lambda s: Shift(), (B, 3)),
    "ShuffledCodes": (lambda s: ShuffledCodes(2, seed=s), (B, 4)),
    "SpectralNormalization": (
        lambda s: SpectralNormalization(
            keras.layers.Conv2D(3, 2, strides=2, activation="relu"), squarings=2
        ),
        (B, 5, 6, 2),
    ),
    "StandardNormal": (lambda s: StandardNormal(seed=s), (B, 2, 3)),
    "Standardize": (lambda s: Standardize(), (B, 4)),
    "TotalCorrelationPenalty": (
        lambda s: TotalCorrelationPenalty(2.0, dense_discriminator((4,)), seed=s),
        (B, 3),
    ),
    "VampPrior": (
        lambda s: VampPrior(learned_weights=True, seed=s),
        *((B, 2), (PSEUDO, 2), (PSEUDO, 2)),
    ),
    "VariancePenalty": (lambda s: VariancePenalty(2.0, variance=1.0), (B, 3)),
    "VectorQuantizer": (
        lambda s: VectorQuantizer(4, groups=2, temperature=0.5, dither=0.1, seed=s),
        (B, 4),
    ),
}
# Whose outputs are float32 under every policy, and whose losses do not depend on it.
FLOAT32 = (Marginal, PixelCNN)
EXACT = (Channel, Flow, Marginal, MMDPenalty, VariancePenalty)

every_case = pytest.mark.parametrize("name", CASES)


def registered():
    """Names and classes of the layers that Keras knows by the package's name."""
    for module in pkgutil.iter_modules(echo_keras.layers.__path__):
        importlib.import_module(f"echo_keras.layers.{module.name}")
    return {
        name.removeprefix("echo_keras>"): cls
        for name, cls in keras.saving.get_custom_objects().items()
        if name.startswith("echo_keras>")
        and cls.__module__.startswith("echo_keras.layers.")
        and inspect.isclass(cls)
        and issubclass(cls, keras.layers.Layer)
    }


def make(name, seed=3):
    """The layer of a case: all weights and draws follow from the seed."""
    keras.utils.set_random_seed(0)
    return CASES[name][0](seed)


def data(name, rows=ROWS):
    """Inputs that half precision holds exactly, pseudo-inputs apart."""
    generator = np.random.RandomState(0)
    shapes = [(rows, *s[1:]) for s in CASES[name][1:] if s[0] is None]
    return [generator.randint(-8, 9, s).astype("float32") / 8 for s in shapes]


def model_of(name, seed=3):
    """A layer in a model with pseudo-inputs where it takes them, no zero weights."""
    layer = make(name, seed)
    inputs = [keras.Input(s[1:]) for s in CASES[name][1:] if s[0] is None]
    pseudo = [
        PseudoInputs(s[0], "ones")(inputs[0]) for s in CASES[name][1:] if s[0] == PSEUDO
    ]
    tensors = [*inputs, *pseudo]
    if isinstance(layer, VampPrior):
        outputs = layer(*tensors)
    else:
        outputs = layer(tensors if len(tensors) > 1 else tensors[0])
    generator = np.random.RandomState(0)
    for weight in layer.trainable_variables:
        weight.assign(generator.normal(0, 0.4, weight.shape))
    return keras.Model(inputs, outputs), layer


def observe(model, name, training=True):
    """What comes out of a model: output, losses and, where there are, samples."""
    outputs = model(data(name), training=training)
    seen = [outputs, *model.losses]
    for layer in model.layers:
        if isinstance(layer, Marginal):
            seen.append(layer.sample(4))
        if isinstance(layer, PixelCNN):
            seen.append(layer.sample(data(name)[1]))
    return [array(ops.cast(x, "float32")) for x in seen]


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_table_has_every_registered_layer():
    covered = {name.split(",")[0] for name in CASES}
    assert covered == set(registered()) <= set(echo_keras.layers.__all__)
    for name in CASES:
        assert type(make(name)).__name__ == name.split(",")[0]


@every_case
def test_clone_save_and_load(name, tmp_path):
    model, _ = model_of(name)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for training in (True, False):
        expected = observe(model, name, training)
        assert equal(observe(clone, name, training), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    # The noise goes on where it was.
    for training in (False, True):
        expected = observe(model, name, training)
        assert equal(observe(loaded, name, training), expected)


@every_case
def test_configuration(name):
    layer = make(name)
    config = json.loads(json.dumps(layer.get_config()))
    copy = type(layer).from_config(config)
    assert json.loads(json.dumps(copy.get_config())) == config
    for argument in inspect.signature(type(layer).__init__).parameters.values():
        if argument.kind != argument.VAR_KEYWORD and argument.name != "self":
            assert argument.name in config


@every_case
def test_shapes(name):
    model, layer = model_of(name)
    shapes = list(CASES[name][1:])
    computed = model.output_shape
    if type(layer).compute_output_shape is not keras.layers.Layer.compute_output_shape:
        several = isinstance(layer, VampPrior) or len(shapes) == 1
        arguments = shapes if several else [shapes]
        assert tuple(layer.compute_output_shape(*arguments)) == computed
    for rows in (1, ROWS):
        expected = [rows if n is None else n for n in computed]
        assert list(model(data(name, rows)).shape) == expected


@every_case
def test_trains_and_predicts_in_batches_of_any_size(name):
    model, layer = model_of(name)
    x, before = data(name, 4), layer.get_weights()
    if layer.trainable_variables:
        model.compile("sgd", lambda y, outputs: ops.mean(outputs))
        model.train_on_batch(x, np.zeros((4, 1)))
        weights = layer.get_weights()
        assert all(np.isfinite(w).all() for w in weights)
        assert any((w != o).any() for w, o in zip(weights, before, strict=True))
    predicted = model.predict(x, batch_size=3, verbose=0)
    assert np.isfinite(predicted).all()
    first, second = array(model(x)), array(model(x))
    if np.array_equal(first, second) and len(first) == 4:
        np.testing.assert_allclose(predicted, first, rtol=1e-4, atol=1e-5)


@every_case
def test_half_precision(name):
    full = observe(model_of(name)[0], name)
    for policy, rounding in (("mixed_bfloat16", 2.0**-7), ("mixed_float16", 2.0**-10)):
        keras.config.set_dtype_policy(policy)
        model, layer = model_of(name)
        half = observe(model, name)
        outputs = model(data(name))
        dtype = "float32" if isinstance(layer, FLOAT32) else layer.compute_dtype
        assert keras.backend.standardize_dtype(outputs.dtype) == dtype
        for loss in model.losses:
            assert keras.backend.standardize_dtype(loss.dtype) == "float32"
        for k, (found, expected) in enumerate(zip(half, full, strict=True)):
            # Terms of the loss are float32, but for dense layers before them.
            exact = isinstance(layer, EXACT) and 1 <= k <= len(model.losses)
            tolerance = 1e-5 if exact else 4 * rounding
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@every_case
def test_seed(name):
    (model, layer), (copy, _), (other, _) = (model_of(name, s) for s in (1, 1, 2))
    first = observe(model, name)
    assert equal(observe(copy, name), first)
    # The seed of a flow is that of its order alone.
    if "seed" in layer.get_config() and not isinstance(layer, Flow):
        assert not equal(observe(model, name), first)
        assert not equal(observe(other, name), first)
