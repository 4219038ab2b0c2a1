r"""Files of a quantized model's codes: a codec from an autoencoder.

A model with one `VectorQuantizer` turns an example into a few indices of codewords.
A range coder (`constriction`) writes them at their code length under the quantizer's
probabilities, which is the rate that the model logs. The file holds neither
probabilities nor codewords nor decoder: reading it takes the model that wrote it.

A file is, in little-endian byte order, with r axes of the indices of one example:

| bytes | what |
| --- | --- |
| 4 | "EKVQ" |
| 1 | version of the format, 1; 2 if it states beta |
| 1 | r |
| 4 | codewords of each group, unsigned |
| 8 | number of examples, unsigned |
| 8 | fingerprint of the quantizer, the start of a SHA-256 |
| 4 | CRC-32 of all other bytes |
| 8 | in version 2: beta of a `MultiRateModel`, as a double |
| 4 r | shape of the indices of one example, the number of groups last, unsigned |
| rest | words of 32 bits from the range coder: all of the first group, then the next |

so that a header has 30 + 4 r bytes, 34 for codes (batch, d), and 8 more in version 2.
The payload exceeds the code length by at most a few words.

The coder works with whole numbers made of the quantizer's float32 frequencies by
operations that are exact or correctly rounded everywhere, and their digest is in the
fingerprint, with that of the codewords. Two machines with the same weights have the
same one. The decoder network is not in it.

Needs `pip install 'echo-keras[codec]'`.
"""

import math
import pathlib
from os import PathLike
from typing import Any

import keras
import numpy as np
from keras import ops

from echo_keras._graph import after, called_on
from echo_keras._range_coding import (
    BETA,
    MAX_INDICES,
    header_bytes,
    pack,
    stated_beta,
    unpack,
)
from echo_keras.layers import (
    QuantizedBottleneck,
    VectorQuantizer,
    arguments,
)
from echo_keras.losses import CategoricalNLL, Distortion
from echo_keras.metrics.batching import map_batches
from echo_keras.multi_rate_model import MultiRateModel


def split(
    model: keras.Model,
) -> tuple[keras.Model, VectorQuantizer, keras.Model]:
    """The three parts of a quantized model.

    Args:
        model: Functional Keras model with one `VectorQuantizer` or
            `QuantizedBottleneck` among its layers, all of whose outputs depend on the
            inputs through it alone. (Of a `GANPenalty`, which looks at the inputs
            too, the images count that it hands on.)

    Returns:
        encoder, a Keras model from inputs to what the quantizer receives; the
        quantizer; decoder, a Keras model from its output to the model's outputs. The
        layers are those of the model.

    Raises:
        ValueError: the model is not as above.

    Example:

    >>> from echo_keras.layers import VectorQuantizer
    >>> inputs = keras.Input((8,))
    >>> z = VectorQuantizer(16)(keras.layers.Dense(2)(inputs))
    >>> model = keras.Model(inputs, keras.layers.Dense(8)(z))
    >>> encoder, quantizer, decoder = split(model)
    >>> encoder.output_shape, decoder.input_shape
    ((None, 2), (None, 2))
    """
    layer, quantizer = _quantizer(model)
    if isinstance(model, MultiRateModel):
        raise ValueError(
            "model must have one beta: see MultiRateModel.at. Received: a "
            "MultiRateModel"
        )
    try:
        given = called_on(model, layer)
        code = given if layer is quantizer else layer.encode(given)
        encoder = keras.Model(model.inputs, code, name="encoder_part")
        decoder = after(model, layer)
    except ValueError as error:
        raise ValueError(
            "model must have outputs that depend on its inputs through one call of the "
            "VectorQuantizer alone. Received: a model in which something passes the "
            "layer by, or in which it is called elsewhere too"
        ) from error
    return encoder, quantizer, decoder


def _quantizer(model: keras.Model) -> tuple[keras.layers.Layer, VectorQuantizer]:
    """The layer of the model that quantizes, and the quantizer in it."""
    arguments.layer("model", model, kind=keras.Model)
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"model must be a functional or built sequential Keras model. Received: "
            f"model={model!r}, which does not know its inputs"
        )
    kinds = VectorQuantizer, QuantizedBottleneck
    found = [x for x in model.layers if isinstance(x, kinds)]
    if len(found) != 1:
        raise ValueError(
            f"model must have one VectorQuantizer or QuantizedBottleneck among its "
            f"layers (not within another layer). Received: a model with {len(found)}"
        )
    (layer,) = found
    return layer, getattr(layer, "channel", layer)


def encode(model: keras.Model, x: np.ndarray, batch_size: int = 100) -> np.ndarray:
    """Indices of the codewords of each example: int32 (examples, ..., groups).

    Args:
        model: See `split`.
        x: Array of finite numbers, at least one example.
        batch_size: Int >= 1.

    Raises:
        ValueError: the model is not as in `split`, x has no examples, or x or the
            encoder's outputs are not finite.

    Example: see `decompress`.
    """
    batch_size = arguments.integer("batch_size", batch_size)
    encoder, quantizer, _ = split(model)
    x = arguments.array("x", x, finite=False)
    _check_finite("x must hold", x)
    loss = getattr(model, "loss", None)
    if isinstance(loss, Distortion) and not isinstance(loss, CategoricalNLL):
        loss.check_data(x)  # as where it was trained
    z = encoder.predict(x, batch_size=batch_size, verbose=0)
    _check_finite("model must have an encoder that gives", z)
    return map_batches(quantizer.indices, z, batch_size)


def _check_finite(must: str, values: Any) -> None:
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":  # bfloat16
        values = values.astype("float32")
    rows = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not rows.all():
        raise ValueError(
            f"{must} finite numbers. Received: NaN or infinity in {(~rows).sum()} of "
            f"{len(rows)} examples"
        )


def compress_bytes(
    model: keras.Model,
    x: np.ndarray,
    batch_size: int = 100,
    beta: float | None = None,
) -> bytes:
    """The codes of examples as the bytes of a file; see `compress`.

    Args:
        model: See `split`.
        x: Array of finite numbers, at least one example.
        batch_size: Int >= 1.
        beta: See `compress`.

    Raises:
        ValueError: the model is not as in `split`, or x has no examples or NaN.
        ImportError: constriction is missing.

    Example: see `decompress_bytes`.
    """
    return _compressed(model, x, batch_size, beta)[0]


def _compressed(model, x, batch_size, beta):
    """The bytes, the indices in them, and the quantizer."""
    if isinstance(model, MultiRateModel):
        if beta is None:
            raise ValueError(
                "beta must be given for a MultiRateModel, which codes at any of its "
                "betas. Received: beta=None"
            )
        model = model.at(beta)
    elif beta is not None:
        raise ValueError(
            f"beta must be None for a model of one rate. Received: beta={beta}"
        )
    _, quantizer = _quantizer(model)
    indices = encode(model, x, batch_size)
    return pack(quantizer, indices, beta), indices, quantizer


def decompress_bytes(
    model: keras.Model,
    data: bytes,
    batch_size: int = 100,
    max_indices: int = MAX_INDICES,
) -> np.ndarray:
    """What the decoder makes of the codes in the bytes of a file; see `decompress`.

    Args:
        model: The model that wrote them.
        data: Bytes.
        batch_size: Int >= 1.
        max_indices: See `unpack`.

    Raises:
        ValueError: as `decompress`.
        ImportError: constriction is missing.

    Example:

    >>> from echo_keras.layers import VectorQuantizer
    >>> inputs = keras.Input((8,))
    >>> z = VectorQuantizer(16)(keras.layers.Dense(2)(inputs))
    >>> model = keras.Model(inputs, keras.layers.Dense(8)(z))
    >>> data = compress_bytes(model, np.ones((100, 8)))
    >>> len(data), decompress_bytes(model, data).shape
    (86, (100, 8))
    """
    if isinstance(model, MultiRateModel):
        beta = stated_beta(data)
        if beta is None:
            raise ValueError(
                "The file must state a beta, as those of a MultiRateModel do. "
                "Received: none. Read it with the model that wrote it."
            )
        model = model.at(beta)
    _, quantizer, decoder = split(model)
    indices = unpack(quantizer, data, max_indices)
    positions = decoder.input_shape[1:-1]
    found = indices.shape[1:-1]
    if len(found) != len(positions) or any(
        p not in (None, n) for p, n in zip(positions, found, strict=True)
    ):
        raise ValueError(
            f"The file must hold codes at the positions {positions} of this model. "
            f"Received: positions {found}. Read it with the model that wrote it."
        )
    codes = map_batches(
        lambda part: ops.cast(quantizer.decode_indices(part), "float32"),
        indices,
        batch_size,
    )
    return decoder.predict(codes, batch_size=batch_size, verbose=0)


def compress(
    model: keras.Model,
    x: np.ndarray,
    path: str | PathLike[str],
    batch_size: int = 100,
    beta: float | None = None,
) -> dict[str, int | float]:
    """Writes the codes of examples to a file.

    Args:
        model: See `split`.
        x: Array of finite numbers, at least one example.
        path: The file, which is overwritten.
        batch_size: Int >= 1.
        beta: Float, a level of a `MultiRateModel`, by whose frequencies it is coded and
            which the file states; None for other models.

    Returns:
        A dict: `examples`; `rate` and `rate_bits`, the mean code length of an example
        in nats and in bits; `file_bytes`, header included; `payload_bytes`, without;
        `file_bits`, bits of the whole file per example.

    Raises:
        ValueError: as `encode`.
        ImportError: constriction is missing.

    Example: see `decompress`.
    """
    arguments.path("path", path, folder=False)
    data, indices, quantizer = _compressed(model, x, batch_size, beta)
    pathlib.Path(path).write_bytes(data)
    header = header_bytes(indices.ndim - 1) + (0 if beta is None else BETA.size)
    rate = float(np.mean(code_lengths(indices, quantizer.code_probabilities())))
    return {
        "examples": len(indices),
        "rate": rate,
        "rate_bits": rate / math.log(2),
        "file_bytes": len(data),
        "payload_bytes": len(data) - header,
        "file_bits": 8 * len(data) / len(indices),
    }


def decompress(
    model: keras.Model,
    path: str | PathLike[str],
    batch_size: int = 100,
    max_indices: int = MAX_INDICES,
) -> np.ndarray:
    """What the decoder makes of the codes in a file.

    Args:
        model: The model that wrote the file.
        path: The file.
        batch_size: Int >= 1.
        max_indices: See `unpack`.

    Returns:
        Array of the model's outputs. Of a model without dither these are what
        `model.predict` gives for the examples, but for rounding: a code that lies
        halfway between two codewords may fall to either.

    Raises:
        ValueError: the file is damaged, or of another model or version, or the model is
            not as in `split`.
        ImportError: constriction is missing.

    Example:

    >>> import os, tempfile
    >>> from echo_keras.layers import VectorQuantizer
    >>> inputs = keras.Input((8,))
    >>> z = VectorQuantizer(16)(keras.layers.Dense(2)(inputs))
    >>> model = keras.Model(inputs, keras.layers.Dense(8)(z))
    >>> x = np.random.default_rng(0).normal(size=(100, 8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "codes.ekvq")
    ...     report = compress(model, x, path)
    ...     y = decompress(model, path)
    >>> report["rate_bits"], report["payload_bytes"], report["file_bytes"]
    (4.0, 52, 86)
    >>> bool(np.allclose(y, model.predict(x, verbose=0), atol=1e-5))
    True
    """
    data = pathlib.Path(path).read_bytes()
    return decompress_bytes(model, data, batch_size, max_indices)


def code_lengths(indices: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Code length of each example in nats, float64 (examples,).

    Args:
        indices: Ints (examples, ..., groups).
        probabilities: Array (groups, codewords).

    Example:

    >>> p = np.array([[0.5, 0.5], [0.25, 0.75]])
    >>> code_lengths(np.array([[0, 0], [1, 0]]), p) / np.log(2)  # bits
    array([3., 3.])
    """
    p = arguments.array("probabilities", probabilities, "(groups, codewords)", (2,))
    if p.min() < 0 or not np.allclose(p.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError(
            f"probabilities must be >= 0 with the sum 1 in each row. Received: from "
            f"{p.min():g}, with sums {p.sum(axis=1)}"
        )
    indices = arguments.array("indices", indices, "(n, ..., groups)")
    if indices.dtype.kind not in "iu" or indices.shape[-1] != len(p):
        raise ValueError(
            f"indices must be integers (n, ..., {len(p)}). Received: shape "
            f"{indices.shape} and dtype {indices.dtype}"
        )
    if not 0 <= indices.min() <= indices.max() < p.shape[1]:
        raise ValueError(
            f"indices must be in [0, {p.shape[1]}). Received: from {indices.min()} to "
            f"{indices.max()}"
        )
    with np.errstate(divide="ignore"):  # a codeword that never comes: no finite length
        log_p = np.log(p.astype("float64"))
    lengths = -log_p[np.arange(len(log_p)), indices]
    return lengths.reshape(len(lengths), -1).sum(axis=1)
