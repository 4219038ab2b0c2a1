"""Exported files, run without Keras, say what the model says."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tools import BACKEND, array, normal, small_networks

from echo_keras import autoencoder
from echo_keras.layers import (
    EchoBottleneck,
    GaussianBottleneck,
    QuantizedBottleneck,
)

pytestmark = [
    pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow writes these files"),
    # Keras asks NumPy for what only its older versions had.
    pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning"),
]
FORMATS = {"tf_saved_model": "", "onnx": ".onnx", "litert": ".tflite"}
BOTTLENECKS = {
    "echo": lambda: EchoBottleneck(3, d_max=15),
    "triangular": lambda: EchoBottleneck(3, "paper", d_max=15, scale="triangular"),
    "gaussian": lambda: GaussianBottleneck(3),
    "quantized": lambda: QuantizedBottleneck(3, codewords=4, groups=3),
    "wide": lambda: QuantizedBottleneck(6, codewords=4),  # distances by products
}


def run(path, x):
    """What an exported file makes of x: a list of arrays."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        return session.run(None, {session.get_inputs()[0].name: x})
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(str(path)).get_signature_runner()
        outputs = runner(**{next(iter(runner.get_input_details())): x})
        return [outputs[name] for name in sorted(outputs)]
    loaded = tf.saved_model.load(str(path))
    return [array(y) for y in tf.nest.flatten(loaded.serve(x))]


def trained(kind):
    """The encoder, bottleneck and model, after one step that sets every state."""
    encoder, decoder = small_networks()
    bottleneck = BOTTLENECKS[kind]()
    model = autoencoder(encoder, bottleneck, decoder)
    model(normal(64, 8), training=True)
    return encoder, bottleneck, model


def check(model, x, path, format):
    parts = [(some, keras.tree.flatten(model(some))) for some in (x, x[:1])]
    model.export(path, format=format, verbose=False)
    for some, expected in parts:
        expected = [array(y) for y in expected]
        found = run(path, some)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


# A SavedModel has the graph as it is; the other two translate each operation.
@pytest.mark.parametrize(
    ("kind", "format"),
    [("echo", "tf_saved_model"), ("quantized", "tf_saved_model")]
    + [(kind, "onnx") for kind in BOTTLENECKS]
    + [(kind, "litert") for kind in BOTTLENECKS],
)
def test_code_and_rate(kind, format, tmp_path):
    encoder, bottleneck, model = trained(kind)
    x = keras.Input((8,))
    h = encoder(x)
    outputs = [bottleneck.code(h), bottleneck.rate(h)]
    if isinstance(bottleneck, QuantizedBottleneck):
        outputs.append(bottleneck.indices(h))
    else:
        outputs.append(bottleneck.rate_by_dimension(h))
    served = keras.Model(x, outputs)
    check(served, normal(7, 8, seed=1), tmp_path / f"m{FORMATS[format]}", format)


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_decoder_and_quantized_model(format, tmp_path):
    model = trained("quantized")[2]
    decoder = model.layers[-1]
    check(decoder, normal(7, 3), tmp_path / f"d{FORMATS[format]}", format)
    check(model, normal(7, 8, seed=1), tmp_path / f"m{FORMATS[format]}", format)


@pytest.mark.parametrize("kind", ["echo", "gaussian"])
def test_onnx_of_a_noisy_model_is_refused_and_harms_nothing(kind, tmp_path):
    _, _, model = trained(kind)
    x = normal(7, 8, seed=1)
    path = tmp_path / "m.onnx"
    with pytest.raises(ValueError, match="Received: StatelessRandom.*which draw noise"):
        model.export(path, format="onnx", verbose=False)
    assert not path.exists()
    # tf2onnx deletes the functions that it has converted from the process.
    assert np.isfinite(array(model(x))).all()
    assert np.isfinite(array(model(normal(64, 8), training=True))).all()


def test_noise_of_a_saved_model_differs_by_call(tmp_path):
    model = trained("echo")[2]
    model.export(tmp_path / "m", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    x = normal(7, 8, seed=1)
    first, second = array(loaded.serve(x)), array(loaded.serve(x))
    assert first.shape == (7, 8) and np.abs(first - second).max() > 0


def test_the_guide(repository, tmp_path, monkeypatch):
    text = (repository / "docs" / "guides" / "export.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    code = code.replace('load("digits")', 'load("digits", limit=100)')
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("epochs=5", "epochs=1, verbose=0"), "guide", "exec"), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "decoder.onnx",
        "encoder",
        "encoder.onnx",
        "encoder.tflite",
    ]
