"""Batches that depend on a seed and on the number of the epoch alone."""

import keras
import numpy as np


class Epochs(keras.utils.PyDataset):
    """Base of data sets that show `fit` other batches in every epoch.

    A subclass has `__len__`, `order(epoch)`, what is drawn once for an epoch, and
    `batch(index, epoch, order)`. It sets what these need before it calls `__init__`.

    Args:
        epoch: Int >= 0, the first epoch; each `fit` goes on from where the last ended.
    """

    def __init__(self, epoch: int = 0) -> None:
        super().__init__()
        self._reads = 0
        self.begin(epoch)

    def order(self, epoch: int) -> np.ndarray:
        raise NotImplementedError

    def batch(self, index: int, epoch: int, order: np.ndarray) -> tuple:
        raise NotImplementedError

    def begin(self, epoch: int) -> None:
        """Goes to an epoch: all batches from now on are those of it."""
        self._begun = False
        # One assignment: a prefetching thread may read while the epoch changes.
        self.epoch = epoch, self.order(epoch)

    def __getitem__(self, index: int) -> tuple:
        self._reads += 1
        return self.batch(index, *self.epoch)

    def on_epoch_begin(self) -> None:
        self._begun, self._reads = True, 0

    def on_epoch_end(self) -> None:
        # Keras calls this before the first epoch too: on TensorFlow with no
        # `on_epoch_begin` before it, on JAX and PyTorch after it has read a batch or
        # two to build the loss. A true epoch reads all. One of a single batch looks
        # the same, so that `train` does not rely on this and calls `begin` itself.
        if self._begun and self._reads >= len(self):
            self.begin(self.epoch[0] + 1)
