"""The codewords and frequencies of a vector quantizer, as batches move them."""

import numpy as np
from keras import ops

from .base import batch_weights
from .channel import Channel
from .channel_inputs import check_built
from .codebook import divide_frequencies, take_codes, with_floor
from .numerics import usable_rows
from .replicas import gathered


class LearnedCodebook(Channel):
    """Base class: a channel that counts its codewords, of each level of beta.

    A subclass sets `groups`, `codewords`, `decay`, `update`, `dead_code_threshold` and
    `synchronized`, and has the codewords in its weights `base` and, if they have
    gradients, `shift`.
    """

    has_memory = True

    def build_frequencies(self) -> None:
        """Adds the weights that count codewords and batches."""
        shape = (self.groups, self.codewords)
        self.frequencies = self.add_state("frequencies", shape, 1 / self.codewords)
        if self.beta_range:
            # Those above, of all betas, move the codewords; these are the rate's.
            levels = self.beta_range.levels
            self.level_frequencies = self.add_state(
                "level_frequencies", (levels, *shape), 1 / self.codewords
            )
            self.level_steps = self.add_state("level_steps", (levels,), 0.0)
        self.unused = self.add_state("unused", shape, 0.0)  # batches in a row
        self.steps = self.add_state("steps", (), 0.0)

    def _usable(self, inputs):
        """Which sub-vectors teach, (batch x positions,): 1 or 0.

        Not those of masked positions, of examples of no weight, or with a NaN.
        """
        usable = usable_rows(ops.cast(inputs, "float32"))
        usable = ops.reshape(usable, (ops.shape(inputs)[0], -1))
        counts = ops.cast(batch_weights(usable[:, 0]) > 0, "float32")
        return ops.reshape(usable * ops.expand_dims(counts, 1), (-1,))

    def _of_all(self, *tensors):
        """Tensors (sub-vectors, ...) of all devices, if the layer is synchronized."""
        rows = ops.shape(tensors[0])[0]
        flat = [ops.reshape(ops.cast(x, "float32"), (rows, -1)) for x in tensors]
        *found, _ = gathered(self.synchronized, *flat)
        return [
            ops.cast(ops.reshape(y, (-1, *x.shape[1:])), x.dtype)
            for x, y in zip(tensors, found, strict=True)
        ]

    def _learn(self, z, index, residual, base, picks, usable):
        """Moves frequencies and codewords after a batch has been assigned."""
        each = ops.reshape(usable, (-1, 1, 1))
        hits = each * ops.one_hot(index, self.codewords, dtype="float32")
        residual = ops.where(each > 0, residual, 0.0)
        count = ops.sum(usable)
        any_usable = ops.cast(count > 0, "float32")
        count = ops.maximum(count, 1.0)
        share = ops.sum(hits, axis=0) / count
        self.steps.assign(self.steps + any_usable)
        rate = ops.maximum(1.0 - self.decay, 1.0 / ops.maximum(self.steps, 1.0))
        rate = any_usable * rate
        frequencies = self.frequencies + rate * (share - self.frequencies)
        if self.update == "ema":
            # share (mean - codeword), by group and codeword.
            pull = ops.einsum("vgk,vgw->gkw", hits, residual) / count
            weight = rate / ops.maximum(frequencies, 1e-12)
            base = base + ops.expand_dims(weight, 2) * pull
        unused = ops.where(share > 0, 0.0, self.unused + any_usable)
        if self.dead_code_threshold is not None:
            dead = ops.logical_and(unused >= self.dead_code_threshold, any_usable > 0)
            unused = ops.where(dead, 0.0, unused)
            fresh = take_codes(z, picks)
            fresh = fresh if self.shift is None else fresh - self.shift
            base = ops.where(ops.expand_dims(dead, 2), fresh, base)
            # A codeword with codes in this batch, and so not a dead one.
            parents = ops.transpose(ops.take(index, picks, axis=0))
            frequencies = divide_frequencies(frequencies, dead, parents)
        if self.beta_range:
            self._learn_law(share, any_usable)
            if self.dead_code_threshold is not None:
                # Each level's groups are as many groups more.
                levels = (self.beta_range.levels, 1)
                shares = ops.convert_to_tensor(self.level_frequencies)
                shares = ops.reshape(shares, (-1, self.codewords))
                shares = divide_frequencies(
                    shares, ops.tile(dead, levels), ops.tile(parents, levels)
                )
                shape = self.level_frequencies.shape
                self.level_frequencies.assign(ops.reshape(shares, shape))
        self.unused.assign(unused)
        self.frequencies.assign(frequencies)
        self.base.assign(base)

    def _law(self):
        """The frequencies (groups, codewords) of the rate: those of the level."""
        return self.of_level(self._laws)

    @property
    def _laws(self):
        return self.level_frequencies if self.beta_range else self.frequencies

    def _learn_law(self, share, any_usable):
        """Moves the frequencies of the level, by the number of its own batches."""
        steps = self.of_level(self.level_steps) + any_usable
        self.set_of_level(self.level_steps, steps)
        rate = ops.maximum(1.0 - self.decay, 1.0 / ops.maximum(steps, 1.0))
        law = self._law()
        law = law + any_usable * rate * (share - law)
        self.set_of_level(self.level_frequencies, law)

    def _picks(self, usable):
        """A code of the batch for each codeword, all different if there are enough."""
        # Those that are not usable come last.
        order = ops.argsort(self.uniform(ops.shape(usable)) + 1.0 - usable)
        count = ops.cast(ops.maximum(ops.sum(usable), 1.0), "int32")
        return ops.take(order, ops.arange(self.codewords, dtype="int32") % count)

    def code_probabilities(self) -> np.ndarray:
        """The probability of each codeword, a float64 array (groups, codewords).

        The moving frequencies, of which a thousandth is spread over all codewords.
        """
        check_built(self)
        frequencies = ops.convert_to_numpy(self._law()).astype("float64")
        return with_floor(frequencies)

    def set_frequencies(self, indices: np.ndarray) -> None:
        """Replaces the moving frequencies by those of given indices.

        Moving frequencies trail codes that still change. Once the model is trained,
        those of all training examples are closer to what new examples have.

        Args:
            indices: Ints (examples, ..., groups) in [0, codewords), at least one.

        Raises:
            ValueError: the indices are not as above, or the layer is not built.
        """
        check_built(self)
        indices = np.asarray(indices)
        ok = indices.ndim > 1 and indices.shape[-1] == self.groups and indices.size
        if not ok or not 0 <= indices.min() <= indices.max() < self.codewords:
            raise ValueError(
                f"indices must have the shape (examples, ..., groups) with groups = "
                f"{self.groups}, not be empty, and lie in [0, {self.codewords}). "
                f"Received: shape {indices.shape}"
                + (f", from {indices.min()} to {indices.max()}" if indices.size else "")
            )
        rows = indices.reshape(-1, self.groups).T
        counts = [np.bincount(row, minlength=self.codewords) for row in rows]
        self.set_of_level(self._laws, np.array(counts, "float32") / rows.shape[1])

    def take_memory(self, channel: Channel) -> None:
        self.set_of_level(self._laws, channel._law())
        if self.beta_range:
            self.set_of_level(self.level_steps, ops.convert_to_tensor(channel.steps))
