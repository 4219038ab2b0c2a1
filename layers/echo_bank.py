"""The memory of an Echo channel: rows of the codes that it saw last."""

import numpy as np
from keras import ops

from .channel import Channel
from .typing import Tensor, Tensors


class EchoBank(Channel):
    """Base class: a channel that remembers its newest inputs, of each level of beta.

    A subclass sets `bank_size`, and gives `_bounded(inputs)`, the columns of a row.
    """

    has_memory = True

    def build_bank(self, columns: int) -> None:
        """Adds the weights `bank` and `bank_rows`."""
        # The newest rows first, and how many were seen; with a BetaRange of each level.
        levels = (self.beta_range.levels,) if self.beta_range else ()
        self.bank = self.add_state("bank", (*levels, self.bank_size, columns), 0.0)
        self.bank_rows = self.add_state("bank_rows", levels, 0.0)

    @property
    def memory_rows(self) -> int:
        return self.bank_size

    def renew_memory(self, inputs: Tensors) -> None:
        rows = ops.convert_to_numpy(ops.concatenate(self._bounded(inputs), axis=1))
        rows = rows[np.isfinite(rows).all(axis=1)][: self.bank_size]
        if not len(rows):
            raise ValueError(
                "inputs must have at least one finite row for the bank. Received: none"
            )
        bank = np.zeros((self.bank_size, rows.shape[1]), "float32")
        bank[: len(rows)] = rows
        self._memorize(ops.convert_to_tensor(bank), float(len(rows)))

    def take_memory(self, channel: Channel) -> None:
        self._memorize(*channel._memory())

    def _memory(self):
        """The bank (bank_size, columns) and its number of rows, those of the level."""
        return self.of_level(self.bank), self.of_level(self.bank_rows)

    def _memorize(self, bank, count):
        """Assigns them."""
        self.set_of_level(self.bank, bank)
        self.set_of_level(self.bank_rows, count)

    def _topped_up(self, rows: Tensor, least: int) -> tuple[Tensor, Tensor | int]:
        """At least so many rows, and their number: what is missing is the bank's.

        The newest rows of it; what there is is repeated where these are too few.
        """
        batch = ops.shape(rows)[0]
        if isinstance(batch, int) and batch >= least:
            return rows, batch
        count = least if isinstance(batch, int) else ops.maximum(batch, least)
        bank, seen = self._memory()
        known = batch + ops.cast(seen, "int32")
        rows = ops.concatenate([rows, bank])
        return ops.take(rows, ops.arange(count) % known, axis=0), count

    def _remember(self, rows: Tensor, weights: Tensor) -> None:
        """Puts usable rows at the front of the bank; the oldest rows drop out."""
        batch = ops.shape(rows)[0]
        finite = ops.cast(ops.all(ops.isfinite(rows), axis=1), "float32")
        usable = ops.cast(finite * weights > 0, "int32")
        count = ops.sum(usable)
        bank, seen = self._memory()
        seen = ops.minimum(seen + ops.cast(count, "float32"), float(self.bank_size))
        # Usable rows first, in their order.
        order = ops.argsort((1 - usable) * batch + ops.arange(batch, dtype="int32"))
        rows = ops.take(ops.stop_gradient(rows), order, axis=0)
        rows = ops.concatenate([rows, bank])
        place = ops.arange(self.bank_size, dtype="int32")
        place = ops.where(place < count, place, place - count + batch)
        self._memorize(ops.take(rows, place, axis=0), seen)
