"""An autoregressive decoder in the manner of PixelCNN++, which samples from caches."""

import keras
import numpy as np
from keras import ops
from scipy.special import expit

from .base import Seeded
from .gated import GatedConv2D, GatedConv2DTranspose, GatedDense

SIZES = 3  # of the feature maps, each half as large as the one before
MARGIN = 2  # zeros around a map, as far as windows reach beyond the border


class Window(GatedConv2D):
    """Gated convolution whose window begins at an offset from the pixel it is for.

    Zeros stand beyond the border; the output has the input's size over the strides.
    """

    def __init__(self, filters, kernel_size, offset=(-1, -1), **kwargs):
        super().__init__(filters, kernel_size, padding="valid", **kwargs)
        self.offset = offset

    def call(self, x):
        after = [
            max(0, size - 1 + offset)
            for size, offset in zip(self.kernel_size, self.offset, strict=True)
        ]
        pads = [(-offset, end) for offset, end in zip(self.offset, after, strict=True)]
        _, height, width, _ = self.compute_output_shape(x.shape)
        return super().call(ops.pad(x, [(0, 0), *pads, (0, 0)]))[:, :height, :width]

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        down, right = self.strides
        return batch, height // down, width // right, self.filters // 2

    def at(self, arrays, row, columns, source):
        kernel, bias = arrays
        height, width = self.kernel_size
        top, left = (MARGIN + offset for offset in self.offset)
        i = top + row * self.strides[0] + np.arange(height)
        j = left + columns[:, None] * self.strides[1] + np.arange(width)
        window = source[:, i[None, :, None], j[:, None, :]]
        window = window.reshape(*window.shape[:2], -1)
        return gate(times(window, kernel.reshape(-1, kernel.shape[-1])) + bias)


class Finer(GatedConv2DTranspose):
    """Gated transposed convolution that makes 2 x 2 pixels of each."""

    def __init__(self, filters, **kwargs):
        super().__init__(filters, 2, strides=2, **kwargs)

    def at(self, arrays, row, columns, source):
        kernel, bias = arrays
        x = source[:, MARGIN + row // 2, MARGIN + columns // 2]
        own = kernel[row % 2, columns % 2]  # (columns, 2 filters, channels)
        y = np.matmul(x.transpose(1, 0, 2), own.transpose(0, 2, 1))
        return gate(y.transpose(1, 0, 2) + bias)


class Pointwise(GatedDense):
    """Gated dense layer on the channels of each pixel."""

    def at(self, arrays, row, columns, *sources):
        kernel, bias = arrays
        return gate(times(values_at(sources, row, columns), kernel) + bias)


class Logits(keras.layers.Dense):
    """Dense layer on the channels of each pixel."""

    def at(self, arrays, row, columns, *sources):
        kernel, bias = arrays
        return times(values_at(sources, row, columns), kernel) + bias


def times(x, kernel):
    """x @ kernel by one product of matrices, not by one for each image."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


def gate(x):
    """The first half of the channels, gated by the second."""
    a, b = np.split(x, 2, axis=-1)
    return a * expit(b)


def values_at(sources, row, columns):
    """The channels of all sources at some pixels of a row, side by side."""
    values = [source[:, MARGIN + row, MARGIN + columns] for source in sources]
    return np.concatenate(values, axis=-1)


class Map:
    """A feature map of the network, and how `sample` computes a part of it.

    Maps of the stack that sees whole rows depend on the rows above alone: a row of
    them is known before its first pixel is drawn.
    """

    def __init__(self, layer, inputs, shape, by_row):
        self.layer, self.inputs = layer, inputs
        self.height, self.width, self.channels = shape
        self.by_row = by_row

    @property
    def shape(self):
        return None, self.height, self.width, self.channels

    def __add__(self, other):
        shape = self.height, self.width, self.channels
        return Map(None, (self, other), shape, self.by_row and other.by_row)

    def ancestors(self):
        """All maps that this one is made of, itself the last, inputs first."""
        found = []

        def visit(node):
            if node not in found:
                for source in node.inputs:
                    visit(source)
                found.append(node)

        visit(self)
        return found

    def start(self, n):
        """Empty values for n images."""
        size = self.height + MARGIN, self.width + MARGIN + 1
        self.values = np.zeros((n, *size, self.channels), "float32")
        if self.layer is not None:
            self.arrays = [ops.convert_to_numpy(w) for w in self.layer.weights]
            self.arrays = [w.astype("float32") for w in self.arrays]

    def fill(self, row, columns):
        """Computes the values at some pixels of a row, whose inputs are known."""
        sources = [source.values for source in self.inputs]
        if self.layer is None:
            value = sum(values_at([source], row, columns) for source in sources)
        else:
            value = self.layer.at(self.arrays, row, columns, *sources)
        self.values[:, MARGIN + row, MARGIN + columns] = value


@keras.saving.register_keras_serializable(package="echo_keras")
class PixelCNN(Seeded):
    r"""Autoregressive decoder of binary images: each pixel given those before it.

    $$\log d(x|z) = \sum_i \log \mathrm{Bernoulli}(x_i;\, \sigma(l_i(x_{<i}, z)))$$

    with the pixels in the order of reading. One pass gives all logits, and
    `losses.Bernoulli` of them is the exact \(-\log d(x|z)\) in nats.

    The network is that of PixelCNN++ with gated layers: two stacks of shifted
    convolutions, one that sees the rows above and one that sees the pixels to the left
    too, at three sizes. There are six blocks (28 x 28, 14 x 14, 7 x 7 and back), each
    of `layers_per_block` residual layers, with shortcuts between maps of one size.

    z passes a gated dense layer with one output per pixel, which stands beside the
    image as a second channel. Windows see both alike: the first pixel's logit depends
    on neither.

    The logits of an image are those of each pixel given the image's own pixels before
    it, which is what a likelihood needs and no reconstruction: that is `sample(z)`.

    Args:
        features: Int >= 1, channels of all feature maps.
        layers_per_block: Int >= 1, residual layers in each of the six blocks.
        seed: Int or None, for `sample`.

    Inputs:
        `[x, z]`, images (batch, height, width, 1) in [0, 1], height and width
        multiples of 4, and codes (batch, d); or x alone, for a model without a code.

    Output:
        Logits, float32 (batch, height, width, 1).

    Raises:
        ValueError: an argument or the inputs are not as above.

    Example:

    >>> decoder = PixelCNN(features=4, layers_per_block=1, seed=0)
    >>> logits = decoder([ops.zeros((5, 8, 8, 1)), ops.ones((5, 3))])
    >>> tuple(logits.shape), decoder.sample(ops.ones((2, 3))).shape
    ((5, 8, 8, 1), (2, 8, 8, 1))

    References:
        Fixing a Broken ELBO, App. F.2 (features 64, two layers per block);
        Salimans et al., PixelCNN++ (2017), Sec. 2.
    """

    def __init__(self, features=64, layers_per_block=2, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        for name, value in (
            ("features", features),
            ("layers_per_block", layers_per_block),
        ):
            if value < 1 or value != int(value):
                raise ValueError(f"{name} must be an integer >= 1; received {value}.")
        self.features = int(features)
        self.layers_per_block = int(layers_per_block)

    def build(self, input_shape):
        is_pair = input_shape and isinstance(input_shape[0], (list, tuple))
        shapes = [tuple(s) for s in (input_shape if is_pair else [input_shape])]
        image, code = shapes[0], shapes[1] if len(shapes) == 2 else ()
        multiple = 2 ** (SIZES - 1)
        fits = len(image) == 4 and image[3] == 1 and None not in image[1:]
        fits = fits and not image[1] % multiple and not image[2] % multiple
        if not fits or len(shapes) > 2 or len(code) not in (0, 2) or None in code[1:]:
            raise ValueError(
                f"PixelCNN takes images of shape (batch, height, width, 1), height and "
                f"width multiples of {multiple}, or [images, z] with z of shape "
                f"(batch, d); received shape {input_shape}."
            )
        self.image_shape, self.conditional = image[1:], bool(code)
        if code:
            pixels = self.image_shape[0] * self.image_shape[1]
            self.condition = self._layer(GatedDense, pixels, name="condition")
            self.condition.build(code)
        self.parts = []

        def add(kind, *inputs, **arguments):
            layer = self._layer(kind, name=f"layer_{len(self.parts)}", **arguments)
            channels = sum(source.channels for source in inputs)
            shape = (*inputs[0].shape[:-1], channels)
            layer.build(shape)
            self.parts.append(layer)
            above = kind is Window and layer.offset[0] + layer.kernel_size[0] <= 0
            by_row = above or all(source.by_row for source in inputs)
            return Map(layer, inputs, layer.compute_output_shape(shape)[1:], by_row)

        self.source = Map(None, (), (*self.image_shape[:2], 1 + bool(code)), False)
        self.logits = self._network(self.source, add)

    def _layer(self, kind, *arguments, **named):
        return kind(*arguments, dtype=self.dtype_policy, **named)

    def _network(self, x, run):
        """The network on x, where `run(kind, *inputs, **arguments)` applies a layer."""
        n = self.features
        streams = [{"kernel_size": (2, 3)}, {"kernel_size": (2, 2)}]

        def residual(stream, x, *shortcuts):
            h = run(Window, x, filters=n, **streams[stream])
            if shortcuts:
                h = h + run(Pointwise, *shortcuts, units=n)
            return x + run(Window, h, filters=n, **streams[stream])

        # The two rows above; the row above and the pixel to the left.
        rows = run(Window, x, filters=n, kernel_size=(2, 3), offset=(-2, -1))
        pixels = run(Window, x, filters=n, kernel_size=(1, 3), offset=(-1, -1))
        pixels = pixels + run(Window, x, filters=n, kernel_size=(2, 1), offset=(-1, -1))
        kept = []
        for size in range(SIZES):
            if size:
                rows, pixels = (
                    run(Window, x, filters=n, strides=2, **stream)
                    for x, stream in zip((rows, pixels), streams, strict=True)
                )
            for _ in range(self.layers_per_block):
                rows = residual(0, rows)
                pixels = residual(1, pixels, rows)
                kept.append((rows, pixels))
        for size in reversed(range(SIZES)):
            if size < SIZES - 1:
                rows, pixels = (run(Finer, x, filters=n) for x in (rows, pixels))
            for _ in range(self.layers_per_block):
                kept_rows, kept_pixels = kept.pop()
                rows = residual(0, rows, kept_rows)
                pixels = residual(1, pixels, rows, kept_pixels)
        return run(Logits, pixels, units=1)

    def call(self, inputs):
        x, z = inputs if self.conditional else (inputs, None)
        x = 2.0 * ops.cast(x, self.compute_dtype) - 1.0
        if self.conditional:
            beside = ops.reshape(self.condition(z), (-1, *self.image_shape))
            x = ops.concatenate([x, beside], axis=-1)
        parts = iter(self.parts)

        def run(kind, *inputs, **arguments):
            joined = ops.concatenate(inputs, axis=-1) if len(inputs) > 1 else inputs[0]
            return next(parts)(joined)

        return ops.cast(self._network(x, run), "float32")

    def compute_output_shape(self, input_shape):
        is_pair = isinstance(input_shape[0], (list, tuple))
        return tuple(input_shape[0] if is_pair else input_shape)

    def sample(self, z=None, n=None):
        """Draws images, one for each code: NumPy float32 (n, height, width, 1), 0 or 1.

        Features of pixels that are drawn stay as they are, so that each is computed
        once: all images together cost about one pass through the network, in NumPy.

        Args:
            z: Codes (n, d), where the layer has them.
            n: Int, the number of images, where it has none.

        Raises:
            ValueError: the layer has never been called, or z and n do not fit it.
        """
        return self.draw(z, n)[0]

    def draw(self, z=None, n=None):
        """Images as from `sample`, and the logits they were drawn from."""
        if not self.built:
            raise ValueError("PixelCNN must be called once before it can sample.")
        if (z is not None) != self.conditional or (n is None) == (z is None):
            wanted = "codes z" if self.conditional else "a number n of images"
            raise ValueError(f"This PixelCNN samples given {wanted}, and nothing else.")
        n = len(z) if n is None else n
        nodes = self.logits.ancestors()
        for node in nodes:
            node.start(n)
        source, height, width = self.source.values, *self.image_shape[:2]
        if self.conditional:
            beside = ops.convert_to_numpy(self.condition(ops.convert_to_tensor(z)))
            beside = beside.reshape(n, height, width)
            source[:, MARGIN:, MARGIN : MARGIN + width, 1] = beside
        rng = np.random.RandomState(ops.convert_to_numpy(self.seed_generator.next()))
        images = np.zeros((n, *self.image_shape), "float32")
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
                logit = self.logits.values[:, MARGIN + i, MARGIN + j, 0]
                images[:, i, j, 0] = rng.random_sample(n) < expit(logit)
                source[:, MARGIN + i, MARGIN + j, 0] = 2 * images[:, i, j, 0] - 1
        logits = self.logits.values[:, MARGIN:, MARGIN : MARGIN + width].copy()
        for node in nodes:
            del node.values
        return images, logits

    def get_config(self):
        return {
            **super().get_config(),
            "features": self.features,
            "layers_per_block": self.layers_per_block,
        }
