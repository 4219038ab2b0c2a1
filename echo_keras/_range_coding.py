r"""The bytes that a range coder makes of indices; `echo_keras.codec` has the format.

No byte of a file is believed: each field of its header is compared with the quantizer
and with the length of the payload before anything is allocated, and what was decoded is
encoded again, which must give the payload.
"""

import hashlib
import math
import struct
import zlib
from types import ModuleType
from typing import Any

import numpy as np
from keras import ops

from echo_keras.layers import VectorQuantizer, arguments

MAGIC = b"EKVQ"
VERSION, VERSION_BETA = 1, 2  # the second states beta, before the shape
# magic, version, r, codewords, examples, fingerprint; then the CRC-32.
HEAD = struct.Struct("<4sBBIQ8s")
CRC = struct.Struct("<I")
BETA = struct.Struct("<d")
MAX_INDICES = 2**27  # of a file, unless the caller allows more: 512 MB
CHUNK = 2**16  # indices that are coded at once


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


def stated_beta(data: bytes) -> float | None:
    """The beta that the bytes of a file state; None if they state none.

    Raises:
        ValueError: the bytes are damaged, or of another version.
    """
    (_, version, *_), rest = _whole(bytes(data))
    if version == VERSION:
        return None
    if len(rest) < BETA.size:
        raise _wrong("a beta", f"{len(rest)} bytes after the header")
    return BETA.unpack_from(rest)[0]


def pack(
    quantizer: VectorQuantizer, indices: np.ndarray, beta: float | None = None
) -> bytes:
    """Indices as the bytes of a file.

    Args:
        quantizer: Built `VectorQuantizer`.
        indices: Ints (examples, ..., groups), at least one example.
        beta: Float, which the file is to state, or None.

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
    payload = _encoded(stream, weights, indices.reshape(-1, groups))
    shape = indices.shape[1:]
    head = HEAD.pack(
        MAGIC,
        VERSION if beta is None else VERSION_BETA,
        len(shape),
        codewords,
        len(indices),
        _fingerprint(quantizer, weights),
    )
    rest = struct.pack(f"<{len(shape)}I", *shape) + payload
    if beta is not None:
        rest = BETA.pack(beta) + rest
    return head + CRC.pack(zlib.crc32(rest, zlib.crc32(head))) + rest


def unpack(
    quantizer: VectorQuantizer, data: bytes, max_indices: int = MAX_INDICES
) -> np.ndarray:
    """The indices in the bytes of a file, int32 (examples, ..., groups).

    Args:
        quantizer: The `VectorQuantizer` that wrote it.
        data: Bytes.
        max_indices: Int >= 1, of how many a file may have, 4 bytes of memory each: of
            codewords that are nearly certain a few bytes hold millions.

    Raises:
        ValueError: the bytes are damaged, forged, or of another quantizer or version,
            or have more indices, or the quantizer is not built.
        ImportError: constriction is missing.

    Example: see `pack`.
    """
    max_indices = arguments.integer("max_indices", max_indices)
    arguments.layer("quantizer", quantizer, kind=VectorQuantizer)
    stream = _constriction().stream
    weights = _weights(quantizer)
    data = bytes(data)
    examples, shape, payload = _parsed(quantizer, weights, data, max_indices)
    indices = np.empty((examples * math.prod(shape[:-1]), shape[-1]), "int32")
    try:
        coder = stream.queue.RangeDecoder(np.frombuffer(payload, "<u4").astype("u4"))
        for column, law in zip(indices.T, _categoricals(stream, weights), strict=True):
            for i in range(0, len(column), CHUNK):
                part = column[i : i + CHUNK]
                part[:] = coder.decode(law, len(part))
        whole = coder.maybe_exhausted()
        whole = whole and _encoded(stream, weights, indices) == payload
    except BaseException as error:  # a panic of Rust's is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise _wrong("words of the range coder", f"others ({error})") from error
    if not whole:
        raise _wrong(
            f"the words of the {examples} examples in its header, and no others",
            "words that end elsewhere",
        )
    return indices.reshape(examples, *shape)


def _whole(data):
    """The fields of the header and the bytes after it, of an undamaged file."""
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError(
            f"The file must begin with {MAGIC}, as those of echo_keras.codec do. "
            f"Received: {data[: len(MAGIC)]}. Name a file that `compress` wrote."
        )
    if len(data) < header_bytes(0):
        raise ValueError(
            f"The file must hold a header of more than {header_bytes(0)} bytes. "
            f"Received: {len(data)} bytes. It is cut short: copy it again."
        )
    _, version, *_ = fields = HEAD.unpack_from(data)
    if version not in (VERSION, VERSION_BETA):
        raise ValueError(
            f"The file must be of version {VERSION} or {VERSION_BETA} of the format. "
            f"Received: version {version}. Read it with the release that wrote it."
        )
    (crc,) = CRC.unpack_from(data, HEAD.size)
    rest = data[header_bytes(0) :]
    found = zlib.crc32(rest, zlib.crc32(data[: HEAD.size]))
    if found != crc:
        raise ValueError(
            f"The file must hold bytes with the CRC-32 that it states, {crc:08x}. "
            f"Received: {found:08x}. It is damaged: copy it again."
        )
    return fields, rest


def _parsed(quantizer, weights, data, max_indices):
    """Number of examples, shape of each one's indices, payload; all of it checked."""
    (_, version, rank, codewords, examples, mark), rest = _whole(data)
    expected = _fingerprint(quantizer, weights)
    groups = len(weights)
    if mark != expected or codewords != weights.shape[1]:
        raise ValueError(
            f"The file must be of this model, whose quantizer has {weights.shape[1]} "
            f"codewords in each group and the fingerprint {expected.hex()}. Received: "
            f"{codewords} codewords, fingerprint {mark.hex()}. Read it with the model "
            f"that wrote it, as it was then."
        )
    if version == VERSION_BETA:
        rest = rest[BETA.size :]
    size = len(rest) - 4 * rank
    if rank < 1 or size < 0 or size % 4:
        raise _wrong("an axis or more and whole words", f"{rank} axes, {size} bytes")
    shape = struct.unpack_from(f"<{rank}I", rest)
    if examples < 1 or min(shape) < 1 or shape[-1] != groups:
        expected = f"at least one example, each with indices (..., {groups})"
        raise _wrong(expected, f"{examples} of shape {shape}")
    count = examples * math.prod(shape[:-1])
    if count * groups > max_indices:
        found = f"{examples} examples of shape {shape}"
        raise ValueError(
            f"The file must hold at most max_indices={max_indices} indices. Received: "
            f"{found}. Allow more if you trust it."
        )
    # No index takes fewer bits than the likeliest; the coder's probabilities are
    # rounded to 24 bits.
    likeliest = weights.max(axis=1) / weights.sum(axis=1) + 2.0**-22
    least = count * float(-np.log2(np.minimum(likeliest, 1)).sum())
    if 8 * size < least - 64:
        found = f"{size} bytes for {examples} examples of shape {shape}"
        raise _wrong(f"{math.ceil(least / 8)} bytes of payload or more", found)
    return examples, shape, rest[4 * rank :]


def _wrong(expected, found):
    return ValueError(
        f"The file must hold {expected}. Received: {found}. It is damaged: copy it "
        "again."
    )


def _encoded(stream, weights, indices):
    """The payload: all of the first group, then the next."""
    coder = stream.queue.RangeEncoder()
    for column, law in zip(indices.T, _categoricals(stream, weights), strict=True):
        for i in range(0, len(column), CHUNK):
            coder.encode(np.ascontiguousarray(column[i : i + CHUNK], "int32"), law)
    return coder.get_compressed().astype("<u4").tobytes()


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
