r"""Files of a quantized model's codes: a codec from an autoencoder.

A model with one `VectorQuantizer` turns an example into a few indices of codewords.
A range coder (`constriction`) writes them at their code length under the quantizer's
probabilities, which is the rate that the model logs. The file holds neither
probabilities nor codewords nor decoder: reading it takes the model that wrote it.

A file is, in little-endian byte order, with r axes of the indices of one example:

| bytes | what |
| --- | --- |
| 4 | "EKVQ" |
| 1 | version of the format, 1 |
| 1 | r |
| 4 | codewords of each group, unsigned |
| 8 | number of examples, unsigned |
| 8 | fingerprint of the quantizer, the start of a SHA-256 |
| 4 | CRC-32 of all other bytes |
| 4 r | shape of the indices of one example, the number of groups last, unsigned |
| rest | words of 32 bits from the range coder: all of the first group, then the next |

so that a header has 30 + 4 r bytes, 34 for codes (batch, d). The payload exceeds the
code length by at most a few words.

The coder works with whole numbers made of the quantizer's float32 frequencies by
operations that are exact or correctly rounded everywhere, and their digest is in the
fingerprint, with that of the codewords. Two machines with the same weights have the
same one. The decoder network is not in it.

Needs `pip install 'echo-keras[codec]'`.
"""

import hashlib
import math
import pathlib
import struct
import zlib
from os import PathLike
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import ops

from echo_keras.layers import (
    GANPenalty,
    QuantizedBottleneck,
    VectorQuantizer,
    arguments,
)
from echo_keras.metrics.batching import map_batches

MAGIC = b"EKVQ"
VERSION = 1
# magic, version, r, codewords, examples, fingerprint; then the CRC-32.
HEAD = struct.Struct("<4sBBIQ8s")
CRC = struct.Struct("<I")


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
    try:
        code = layer.input if layer is quantizer else layer.encode(layer.input)
        encoder = keras.Model(model.inputs, code, name="encoder_part")
        decoder = keras.Model(layer.output, _images(model), name="decoder_part")
    except ValueError as error:
        raise ValueError(
            "model must have outputs that depend on its inputs through one call of the "
            "VectorQuantizer alone. Received: a model in which something passes the "
            "layer by, or in which it is called elsewhere too"
        ) from error
    return encoder, quantizer, decoder


def _images(model: keras.Model) -> Any:
    """The outputs, or what a `GANPenalty` at the end hands on as such."""
    last = model.layers[-1]
    return last.input[1] if isinstance(last, GANPenalty) else model.outputs


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
        x: Array of examples, at least one.
        batch_size: Int.

    Raises:
        ValueError: the model is not as in `split`.

    Example: see `decompress`.
    """
    batch_size = arguments.integer("batch_size", batch_size)
    encoder, quantizer, _ = split(model)
    x = arguments.array("x", x)
    z = encoder.predict(x, batch_size=batch_size, verbose=0)
    return map_batches(quantizer.indices, z, batch_size)


def compress(
    model: keras.Model,
    x: np.ndarray,
    path: str | PathLike[str],
    batch_size: int = 100,
) -> dict[str, int | float]:
    """Writes the codes of examples to a file.

    Args:
        model: See `split`.
        x: Array of examples, at least one.
        path: The file, which is overwritten.
        batch_size: Int.

    Returns:
        A dict: `examples`; `rate` and `rate_bits`, the mean code length of an example
        in nats and in bits; `file_bytes`, header included; `payload_bytes`, without;
        `file_bits`, bits of the whole file per example.

    Raises:
        ValueError: the model is not as in `split`.
        ImportError: constriction is missing.

    Example: see `decompress`.
    """
    arguments.path("path", path)
    _, quantizer = _quantizer(model)
    indices = encode(model, x, batch_size)
    data = pack(quantizer, indices)
    pathlib.Path(path).write_bytes(data)
    rate = float(np.mean(code_lengths(indices, quantizer.code_probabilities())))
    return {
        "examples": len(indices),
        "rate": rate,
        "rate_bits": rate / math.log(2),
        "file_bytes": len(data),
        "payload_bytes": len(data) - header_bytes(indices.ndim - 1),
        "file_bits": 8 * len(data) / len(indices),
    }


def decompress(
    model: keras.Model, path: str | PathLike[str], batch_size: int = 100
) -> np.ndarray:
    """What the decoder makes of the codes in a file.

    Args:
        model: The model that wrote the file.
        path: The file.
        batch_size: Int.

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
    _, quantizer, decoder = split(model)
    indices = unpack(quantizer, pathlib.Path(path).read_bytes())
    codes = map_batches(
        lambda part: ops.cast(quantizer.decode_indices(part), "float32"),
        indices,
        batch_size,
    )
    return decoder.predict(codes, batch_size=batch_size, verbose=0)


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


def header_bytes(rank: int) -> int:
    """Bytes of a header.

    Args:
        rank: Int >= 0, axes of the indices of one example.

    Example:

    >>> header_bytes(1), header_bytes(3)
    (34, 42)
    """
    rank = arguments.integer("rank", rank, low=0)
    return HEAD.size + CRC.size + 4 * rank


def pack(quantizer: VectorQuantizer, indices: np.ndarray) -> bytes:
    """Indices as the bytes of a file.

    Args:
        quantizer: Built `VectorQuantizer`.
        indices: Ints (examples, ..., groups), at least one example.

    Returns:
        Bytes.

    Raises:
        ValueError: the indices are not as above or not in [0, codewords), or the
            quantizer is not built.
        ImportError: constriction is missing.

    Example:

    >>> quantizer = VectorQuantizer(4)
    >>> quantizer.build((None, 2))
    >>> data = pack(quantizer, np.array([[0], [3], [2]]))
    >>> len(data), unpack(quantizer, data).ravel().tolist()
    (38, [0, 3, 2])
    """
    arguments.layer("quantizer", quantizer, kind=VectorQuantizer)
    stream = _constriction().stream
    weights = _weights(quantizer)
    indices = np.asarray(indices)
    groups, codewords = weights.shape
    if (
        indices.dtype.kind not in "iu"
        or indices.ndim < 2
        or len(indices) < 1
        or indices.shape[-1] != groups
    ):
        raise ValueError(
            f"indices must be integers (examples, ..., groups) with at least one "
            f"example and groups = {groups}. Received: indices of shape "
            f"{indices.shape} and dtype {indices.dtype}"
        )
    if indices.size and not 0 <= indices.min() <= indices.max() < codewords:
        raise ValueError(
            f"indices must be in [0, {codewords}). Received: indices from "
            f"{indices.min()} to {indices.max()}"
        )
    coder = stream.queue.RangeEncoder()
    for group, categorical in enumerate(_categoricals(stream, weights)):
        symbols = np.ascontiguousarray(indices[..., group].ravel(), "int32")
        coder.encode(symbols, categorical)
    payload = coder.get_compressed().astype("<u4").tobytes()
    shape = indices.shape[1:]
    head = HEAD.pack(
        MAGIC,
        VERSION,
        len(shape),
        codewords,
        len(indices),
        _fingerprint(quantizer, weights),
    )
    rest = struct.pack(f"<{len(shape)}I", *shape) + payload
    return head + CRC.pack(zlib.crc32(rest, zlib.crc32(head))) + rest


def unpack(quantizer: VectorQuantizer, data: bytes) -> np.ndarray:
    """The indices in the bytes of a file, int32 (examples, ..., groups).

    Args:
        quantizer: The `VectorQuantizer` that wrote it.
        data: Bytes.

    Raises:
        ValueError: the bytes are damaged, or of another quantizer or version, or the
            quantizer is not built.
        ImportError: constriction is missing.

    Example: see `pack`.
    """
    stream = _constriction().stream
    weights = _weights(quantizer)
    if len(data) < len(MAGIC) or data[: len(MAGIC)] != MAGIC:
        raise ValueError(
            f"The file must begin with {MAGIC}, as those of echo_keras.codec do. "
            f"Received: {bytes(data[: len(MAGIC)])}. Name a file that `compress` wrote."
        )
    if len(data) < header_bytes(0):
        raise ValueError(
            f"The file must hold a header of more than {header_bytes(0)} bytes. "
            f"Received: {len(data)} bytes. It is cut short: copy it again."
        )
    _, version, rank, codewords, examples, mark = HEAD.unpack_from(data)
    if version != VERSION:
        raise ValueError(
            f"The file must be of version {VERSION} of the format. Received: version "
            f"{version}. Read it with the release that wrote it."
        )
    (crc,) = CRC.unpack_from(data, HEAD.size)
    rest = data[header_bytes(0) :]
    found = zlib.crc32(rest, zlib.crc32(data[: HEAD.size]))
    if found != crc:
        raise ValueError(
            f"The file must hold bytes with the CRC-32 that it states, {crc:08x}. "
            f"Received: {found:08x}. It is damaged: copy it again."
        )
    expected = _fingerprint(quantizer, weights)
    if mark != expected:
        raise ValueError(
            f"The file must be of this model, whose quantizer has {weights.shape[1]} "
            f"codewords in each group and the fingerprint {expected.hex()}. Received: "
            f"{codewords} codewords, fingerprint {mark.hex()}. Read it with the model "
            f"that wrote it, as it was then."
        )
    shape = struct.unpack_from(f"<{rank}I", rest)
    words = np.frombuffer(rest[4 * rank :], "<u4").astype("uint32")
    coder = stream.queue.RangeDecoder(words)
    count = examples * math.prod(shape[:-1])
    parts = [coder.decode(c, count) for c in _categoricals(stream, weights)]
    return np.stack(parts, axis=-1).reshape(examples, *shape)


def _weights(quantizer: VectorQuantizer) -> np.ndarray:
    """Whole numbers (groups, codewords) proportional to the probabilities.

    No sum of floats is in it, whose last bits could differ between machines.
    """
    probabilities = quantizer.code_probabilities()
    if not np.all(np.isfinite(probabilities)):
        raise ValueError(
            "The quantizer's frequencies must be finite. Received: NaN or infinity, "
            "of a training that diverged"
        )
    return np.maximum(np.rint(2.0**30 * probabilities), 1).astype("int64")


def _categoricals(stream: ModuleType, weights: np.ndarray) -> list[Any]:
    """The coder's distribution of each group."""
    return [
        stream.model.Categorical(row.astype("float64"), perfect=False)
        for row in weights
    ]


def _fingerprint(quantizer: VectorQuantizer, weights: np.ndarray) -> bytes:
    digest = hashlib.sha256(weights.astype("<i8").tobytes())
    codebook = ops.convert_to_numpy(quantizer.codebook())
    digest.update(repr(codebook.shape).encode())
    digest.update(codebook.astype("<f4").tobytes())
    return digest.digest()[:8]


def _constriction() -> ModuleType:
    try:
        import constriction
    except ImportError as error:
        raise ImportError(
            "echo_keras.codec writes files with constriction, which is not installed: "
            "pip install 'echo-keras[codec]'."
        ) from error
    return constriction
