"""What every registered layer promises, over the table of layer_cases.py.

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
from layer_cases import CASES, ROWS, data, make, model_of
from tools import array

import echo_keras.layers
from echo_keras.layers import (
    BetaInput,
    Channel,
    Flow,
    Marginal,
    MMDPenalty,
    PixelCNN,
    TargetDistortion,
    VampPrior,
    VariancePenalty,
)

pytestmark = pytest.mark.core

# Whose outputs are float32 under every policy, and whose losses do not depend on it.
FLOAT32 = (BetaInput, Marginal, PixelCNN, TargetDistortion)
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
    classes = {layer.__name__ for layer in registered().values()}
    assert covered == classes <= set(echo_keras.layers.__all__)
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
    x, before = data(name), layer.get_weights()
    if layer.trainable_variables:
        model.compile("sgd", lambda y, outputs: ops.mean(outputs))
        model.train_on_batch(x, np.zeros((ROWS, 1)))
        weights = layer.get_weights()
        assert all(np.isfinite(w).all() for w in weights)
        assert any((w != o).any() for w, o in zip(weights, before, strict=True))
    predicted = model.predict(x, batch_size=ROWS - 1, verbose=0)
    assert np.isfinite(predicted).all()
    first, second = array(model(x)), array(model(x))
    if np.array_equal(first, second) and len(first) == ROWS:
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
