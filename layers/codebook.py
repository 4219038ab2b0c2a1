"""Functions of codebooks: nearest codewords and their frequencies."""

from keras import ops

from .typing import Tensor

# The share of the probability that is spread evenly over all codewords. Every
# codeword can then be coded, at log(K / 0.001) nats or less, and a symbol costs at
# most 0.001 nats more than without.
FLOOR = 1e-3


def with_floor(frequencies: Tensor) -> Tensor:
    """Probabilities > 0 from frequencies (groups, codewords)."""
    return (1.0 - FLOOR) * frequencies + FLOOR / frequencies.shape[1]


def divide_frequencies(frequencies: Tensor, dead: Tensor, parents: Tensor) -> Tensor:
    """Frequencies after dead codewords have moved to codes of other ones.

    A codeword and those that moved to its codes share what they had, evenly.

    Args:
        frequencies: Tensor (groups, codewords).
        dead: Booleans of that shape.
        parents: Ints of that shape: each one's codeword, not dead, that had the code.
    """
    groups, codewords = frequencies.shape
    rows = parents + codewords * ops.expand_dims(ops.arange(groups, dtype="int32"), 1)
    rows = ops.reshape(rows, (-1,))

    def gathered(values):
        flat = ops.reshape(ops.where(dead, values, 0.0), (-1,))
        total = ops.segment_sum(flat, rows, num_segments=groups * codewords)
        return ops.reshape(total, (groups, codewords))

    heirs = gathered(ops.ones_like(frequencies))
    each = (frequencies + gathered(frequencies)) / (1.0 + heirs)
    of_parent = ops.reshape(ops.take(ops.reshape(each, (-1,)), rows), each.shape)
    return ops.where(dead, of_parent, each)


def take_codes(vectors: Tensor, picks: Tensor) -> Tensor:
    """Sub-vectors (n, groups, width) as a codebook: (groups, picks, width)."""
    return ops.transpose(ops.take(vectors, picks, axis=0), (1, 0, 2))


def distances(z: Tensor, codebook: Tensor) -> Tensor:
    """`||z - c||^2`, for wide sub-vectors less the term that codewords share.

    Args:
        z: Tensor (n, groups, width).
        codebook: Tensor (groups, codewords, width).

    Returns:
        Tensor (n, groups, codewords).
    """
    width = codebook.shape[2]
    if width <= 4:  # no slower than a matrix product, and exact
        z = ops.expand_dims(z, 2)
        return sum(ops.square(z[..., i] - codebook[..., i]) for i in range(width))
    squares = ops.sum(ops.square(codebook), axis=2)
    return squares - 2.0 * ops.einsum("vgw,gkw->vgk", z, codebook)


def take_codewords(codebook: Tensor, index: Tensor) -> Tensor:
    """Rows (n, groups, width) of a codebook (groups, codewords, width)."""
    groups, codewords, width = codebook.shape
    rows = ops.cast(index, "int32") + codewords * ops.arange(groups, dtype="int32")
    return ops.take(ops.reshape(codebook, (-1, width)), rows, axis=0)
