"""Drawing images from `PixelCNN` in NumPy, where each feature is computed once.

`*_at` are the layers of the network on some pixels of a row alone.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops
from scipy.special import expit

MARGIN = 2  # zeros around a map, as far as windows reach beyond the border


def window_at(
    layer: keras.layers.Layer,
    arrays: list[np.ndarray],
    row: int,
    columns: np.ndarray,
    source: np.ndarray,
) -> np.ndarray:
    """A `Window` at some pixels: (n, columns, channels)."""
    kernel, bias = arrays
    height, width = layer.kernel_size
    top, left = (MARGIN + offset for offset in layer.offset)
    i = top + row * layer.strides[0] + np.arange(height)
    j = left + columns[:, None] * layer.strides[1] + np.arange(width)
    window = source[:, i[None, :, None], j[:, None, :]]
    window = window.reshape(*window.shape[:2], -1)
    return _gate(_matmul(window, kernel.reshape(-1, kernel.shape[-1])) + bias)


def finer_at(
    layer: keras.layers.Layer,
    arrays: list[np.ndarray],
    row: int,
    columns: np.ndarray,
    source: np.ndarray,
) -> np.ndarray:
    """A `Finer` at some pixels: (n, columns, channels)."""
    kernel, bias = arrays
    x = source[:, MARGIN + row // 2, MARGIN + columns // 2]
    own = kernel[row % 2, columns % 2]  # (columns, 2 filters, channels)
    y = np.matmul(x.transpose(1, 0, 2), own.transpose(0, 2, 1))
    return _gate(y.transpose(1, 0, 2) + bias)


def logits_at(
    layer: keras.layers.Layer,
    arrays: list[np.ndarray],
    row: int,
    columns: np.ndarray,
    *sources: np.ndarray,
) -> np.ndarray:
    """A dense layer on the channels of some pixels: (n, columns, outputs)."""
    kernel, bias = arrays
    return _matmul(_values_at(sources, row, columns), kernel) + bias


def pointwise_at(
    layer: keras.layers.Layer,
    arrays: list[np.ndarray],
    row: int,
    columns: np.ndarray,
    *sources: np.ndarray,
) -> np.ndarray:
    """A gated dense layer on the channels of some pixels: (n, columns, units)."""
    return _gate(logits_at(layer, arrays, row, columns, *sources))


class Map:
    """A feature map of the network, and how sampling computes a part of it.

    Maps of the stack that sees whole rows depend on the rows above alone: a row of
    them is known before its first pixel is drawn.
    """

    def __init__(
        self,
        layer: keras.layers.Layer | None,
        inputs: Sequence["Map"],
        shape: tuple[int, int, int],
        by_row: bool,
    ) -> None:
        self.layer, self.inputs = layer, inputs
        self.height, self.width, self.channels = shape
        self.by_row = by_row

    @property
    def shape(self) -> tuple[None, int, int, int]:
        """The shape of the map in the network."""
        return None, self.height, self.width, self.channels

    def __add__(self, other: "Map") -> "Map":
        shape = self.height, self.width, self.channels
        return Map(None, (self, other), shape, self.by_row and other.by_row)

    def ancestors(self) -> list["Map"]:
        """All maps that this one is made of, itself the last, inputs first."""
        found = []

        def visit(node):
            if node not in found:
                for source in node.inputs:
                    visit(source)
                found.append(node)

        visit(self)
        return found

    def start(self, n: int, code: np.ndarray | None = None) -> None:
        """Empty values for n images, whose codes are (n, d) where layers see them."""
        size = self.height + MARGIN, self.width + MARGIN + 1
        self.values = np.zeros((n, *size, self.channels), "float32")
        if self.layer is not None:
            self.arrays = [ops.convert_to_numpy(w) for w in self.layer.weights]
            self.arrays = [w.astype("float32") for w in self.arrays]
            if getattr(self.layer, "code_dim", None) is not None:
                # The same at each pixel: a bias of each image's own.
                kernel, bias, of_code = self.arrays
                self.arrays = [kernel, bias + (code @ of_code)[:, None]]

    def fill(self, row: int, columns: np.ndarray) -> None:
        """Computes the values at some pixels of a row, whose inputs are known."""
        sources = [source.values for source in self.inputs]
        if self.layer is None:
            value = sum(_values_at([source], row, columns) for source in sources)
        else:
            value = self.layer.at(self.arrays, row, columns, *sources)
        self.values[:, MARGIN + row, MARGIN + columns] = value


def draw_images(
    source: Map,
    logits: Map,
    n: int,
    condition: np.ndarray | None,
    code: np.ndarray | None,
    generator: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws n images pixel by pixel.

    Args:
        source: The map of the image, and of the condition beside it.
        logits: The last map, of one channel.
        n: Int, the number of images.
        condition: Array (n, height, width) or None, the second channel of the source.
        code: Array (n, d) or None, what residual layers see.
        generator: Where the pixels come from.

    Returns:
        The images, 0 or 1, and their logits, both float32 (n, height, width, 1).
    """
    nodes = logits.ancestors()
    for node in nodes:
        node.start(n, code)
    height, width = source.height, source.width
    if condition is not None:
        source.values[:, MARGIN:, MARGIN : MARGIN + width, 1] = condition
    images = np.zeros((n, height, width, 1), "float32")
    rows = [node for node in nodes if node.by_row]
    pixels = [node for node in nodes if not node.by_row and node.inputs]
    for i in range(height):
        for node in rows:
            scale = height // node.height
            if i % scale == 0:
                node.fill(i // scale, np.arange(node.width))
        for j in range(width):
            for node in pixels:
                scale = height // node.height
                if i % scale == 0 and j % scale == 0:
                    node.fill(i // scale, np.array([j // scale]))
            logit = logits.values[:, MARGIN + i, MARGIN + j, 0]
            images[:, i, j, 0] = generator.random_sample(n) < expit(logit)
            source.values[:, MARGIN + i, MARGIN + j, 0] = 2 * images[:, i, j, 0] - 1
    found = logits.values[:, MARGIN:, MARGIN : MARGIN + width].copy()
    for node in nodes:
        del node.values
    return images, found


def _matmul(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """x @ kernel by one product of matrices, not by one for each image."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


def _gate(x: np.ndarray) -> np.ndarray:
    """The first half of the channels, gated by the second."""
    a, b = np.split(x, 2, axis=-1)
    return a * expit(b)


def _values_at(
    sources: Sequence[np.ndarray], row: int, columns: np.ndarray
) -> np.ndarray:
    """The channels of all sources at some pixels of a row, side by side."""
    values = [source[:, MARGIN + row, MARGIN + columns] for source in sources]
    return np.concatenate(values, axis=-1)
