"""An autoregressive decoder in the manner of PixelCNN++."""

from typing import Any

import keras
import numpy as np
from keras import ops

from . import arguments
from .arguments import shape_list
from .base import Seeded
from .gated import GatedConv2D, GatedConv2DTranspose, GatedDense
from .pixelcnn_sampling import (
    Map,
    draw_images,
    finer_at,
    logits_at,
    pointwise_at,
    window_at,
)
from .typing import Shape, Tensor, Tensors

SIZES = 3  # of the feature maps, each half as large as the one before
CONDITIONING = ("image", "layers")
SHORTCUTS = ("distinct", "repeated")


# Each layer has its twin in NumPy as `at`, for some pixels of a row.


class Window(GatedConv2D):
    """Gated convolution whose window begins at an offset from the pixel it is for.

    Zeros stand beyond the border; the output has the input's size over the strides.
    With a code, its projection is added to every pixel before the gate.
    """

    at = window_at

    def __init__(
        self,
        filters: int,
        kernel_size: tuple[int, int],
        offset: tuple[int, int] = (-1, -1),
        code_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["data_format"] = "channels_last"
        super().__init__(filters, kernel_size, padding="valid", **kwargs)
        self.offset, self.code_dim = offset, code_dim

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        if self.code_dim is not None:  # a convolution saves no weights but its own
            self.of_code = keras.layers.Dense(
                self.filters, use_bias=False, dtype=self.dtype_policy, name="of_code"
            )
            self.of_code.build((None, self.code_dim))

    def call(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        after = [
            max(0, size - 1 + offset)
            for size, offset in zip(self.kernel_size, self.offset, strict=True)
        ]
        pads = [(-offset, end) for offset, end in zip(self.offset, after, strict=True)]
        _, height, width, _ = self.compute_output_shape(x.shape)
        x = keras.layers.Conv2D.call(self, ops.pad(x, [(0, 0), *pads, (0, 0)]))
        x = x[:, :height, :width]
        if code is not None:
            x = x + self.of_code(code)[:, None, None]
        return self.gate(x)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        down, right = self.strides
        return batch, height // down, width // right, self.filters // 2


class Finer(GatedConv2DTranspose):
    """Gated transposed convolution that makes 2 x 2 pixels of each."""

    at = finer_at

    def __init__(self, filters: int, **kwargs: Any) -> None:
        kwargs["data_format"] = "channels_last"
        super().__init__(filters, 2, strides=2, **kwargs)


class Pointwise(GatedDense):
    """Gated dense layer on the channels of each pixel."""

    at = pointwise_at


class Logits(keras.layers.Dense):
    """Dense layer on the channels of each pixel."""

    at = logits_at


@keras.saving.register_keras_serializable(package="echo_keras")
class PixelCNN(Seeded):
    """Autoregressive decoder of binary images: each pixel given those before it.

    `log d(x|z) = sum_i log Bernoulli(x_i; sigmoid(l_i(x_1 ... x_(i-1), z)))`

    with the pixels in the order of reading. One pass gives all logits, and
    `losses.Bernoulli` of them is the exact `-log d(x|z)` in nats.

    The network is that of PixelCNN++ with gated layers: two stacks of shifted
    convolutions, one that sees the rows above and one that sees the pixels to the left
    too, at three sizes. There are six blocks (28 x 28, 14 x 14, 7 x 7 and back), each
    of `layers_per_block` residual layers. Those on the way back also see, through a
    gated dense layer, maps of their size from the way there: the k-th of a block, the
    map after the k-th layer from the end; at 7 x 7, the map before it, since there the
    last layer's map is their own input. All gates are linear, `a sigmoid(b)`.

    Unlike PixelCNN++ it has two residual layers at each size on the way back, as the
    paper says, not one more at the two larger ones: two maps of each of these sizes
    have no shortcut, there the first convolution's and the one that was made coarser.
    It has no weight normalization, and so no initialization by data; no dropout; finer
    maps come from 2 x 2 kernels that do not overlap, in both stacks; and no channel of
    ones marks the border.

    z reaches the network in one of two ways:

    - `conditioning="image"` (App. F.2): through a gated dense layer with one output per
      pixel, which stands beside the image as a second channel. Windows see both alike:
      the first pixel's logit depends on neither.
    - `conditioning="layers"` (PixelCNN++, its h): a linear map of z is added in every
      residual layer, before the gate of its second convolution, the same at each pixel.
      Every logit depends on all of z.

    The logits of an image are those of each pixel given the image's own pixels before
    it, which is what a likelihood needs and no reconstruction: that is `sample(z)`.

    A decoder as strong as this can ignore its code (posterior collapse): a target for
    the rate, `TargetRate`, prevents it.

    Args:
        features: Int >= 1, channels of all feature maps.
        layers_per_block: Int >= 1, residual layers in each of the six blocks.
        seed: Int or None, for `sample`.
        conditioning: "image" or "layers", how z reaches the network.
        shortcuts: "distinct", as above; or "repeated", where those at 7 x 7 begin with
            the map that the layer has already. Files of models that were saved without
            this argument have and keep "repeated".

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

    def __init__(
        self,
        features: int = 64,
        layers_per_block: int = 2,
        seed: int | None = None,
        conditioning: str = "image",
        shortcuts: str = "distinct",
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.features = arguments.integer("features", features)
        self.layers_per_block = arguments.integer("layers_per_block", layers_per_block)
        self.conditioning = arguments.choice("conditioning", conditioning, CONDITIONING)
        self.shortcuts = arguments.choice("shortcuts", shortcuts, SHORTCUTS)

    def build(self, input_shape: Shape) -> None:
        shapes = shape_list(input_shape)
        image, code = shapes[0], shapes[1] if len(shapes) == 2 else ()
        multiple = 2 ** (SIZES - 1)
        fits = len(image) == 4 and image[3] == 1 and None not in image[1:]
        fits = fits and not image[1] % multiple and not image[2] % multiple
        if not fits or len(shapes) > 2 or len(code) not in (0, 2) or None in code[1:]:
            raise ValueError(
                f"PixelCNN takes images of shape (batch, height, width, 1), height and "
                f"width multiples of {multiple}, or [images, z] with z of shape "
                f"(batch, d). Received: input_shape={input_shape}"
            )
        self.image_shape, self.conditional = image[1:], bool(code)
        self.code_width = code[1] if code else None
        self.code_dim = self.code_width if self.conditioning == "layers" else None
        self.beside = bool(code) and self.code_dim is None  # z as a channel
        if self.beside:
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

        self.source = Map(None, (), (*self.image_shape[:2], 1 + self.beside), False)
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
            code = {"code_dim": self.code_dim}
            return x + run(Window, h, filters=n, **code, **streams[stream])

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
                before = rows, pixels
                rows = residual(0, rows)
                pixels = residual(1, pixels, rows)
                own = size == SIZES - 1 and self.shortcuts == "distinct"
                kept.append(before if own else (rows, pixels))
        for size in reversed(range(SIZES)):
            if size < SIZES - 1:
                rows, pixels = (run(Finer, x, filters=n) for x in (rows, pixels))
            for _ in range(self.layers_per_block):
                kept_rows, kept_pixels = kept.pop()
                rows = residual(0, rows, kept_rows)
                pixels = residual(1, pixels, rows, kept_pixels)
        return run(Logits, pixels, units=1)

    def call(self, inputs: Tensors) -> Tensor:
        x, z = inputs if self.conditional else (inputs, None)
        x = 2.0 * ops.cast(x, self.compute_dtype) - 1.0
        if self.beside:
            beside = ops.reshape(self.condition(z), (-1, *self.image_shape))
            x = ops.concatenate([x, beside], axis=-1)
        parts = iter(self.parts)

        def run(kind, *inputs, **arguments):
            joined = ops.concatenate(inputs, axis=-1) if len(inputs) > 1 else inputs[0]
            if arguments.get("code_dim") is not None:
                return next(parts)(joined, z)
            return next(parts)(joined)

        return ops.cast(self._network(x, run), "float32")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return shape_list(input_shape)[0]

    def sample(self, z: Tensor | None = None, n: int | None = None) -> np.ndarray:
        """Draws images, one for each code: NumPy float32 (n, height, width, 1), 0 or 1.

        Features of drawn pixels do not change, so that each is computed once: all
        images together cost about one pass through the network, in NumPy.

        Args:
            z: Codes (n, d), where the layer has them.
            n: Int, the number of images, where it has none.

        Raises:
            ValueError: the layer has never been called, or z and n do not fit it.
        """
        return self.draw(z, n)[0]

    def draw(
        self, z: Tensor | None = None, n: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images as from `sample`, and the logits they were drawn from."""
        if not self.built:
            raise ValueError("PixelCNN must be called once before it can sample.")
        if (z is not None) != self.conditional or (n is None) == (z is None):
            wanted = "codes z alone" if self.conditional else "a number n alone"
            z_shape = None if z is None else tuple(np.shape(z))
            raise ValueError(
                f"This PixelCNN must be given {wanted} to sample. Received: z of shape "
                f"{z_shape}, n={n}"
            )
        if z is not None:
            z = arguments.array("z", z, f"(n, {self.code_width})", (2,))
            if z.shape[1] != self.code_width:
                raise ValueError(
                    f"z must have the width of the codes that the layer was called on, "
                    f"(n, {self.code_width}). Received: shape {z.shape}"
                )
        n = len(z) if n is None else arguments.integer("n", n)
        condition = None
        if self.beside:
            condition = ops.convert_to_numpy(self.condition(ops.convert_to_tensor(z)))
            condition = condition.reshape(n, *self.image_shape[:2])
        code = None if self.code_dim is None else ops.convert_to_numpy(z)
        generator = np.random.RandomState(
            ops.convert_to_numpy(self.seed_generator.next())
        )
        return draw_images(self.source, self.logits, n, condition, code, generator)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "features": self.features,
            "layers_per_block": self.layers_per_block,
            "conditioning": self.conditioning,
            "shortcuts": self.shortcuts,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PixelCNN":
        return super().from_config({"shortcuts": "repeated", **config})
