"""dSprites: rendered in plain NumPy, or read from the published file.

The images are functions of five integers, so they need no download: `render` follows
the published geometry.
"""

import functools
import math
import pathlib
import types
import zipfile

import numpy as np

from echo_keras._files import check_keys, damaged, sha256

from .archives import npy_header
from .cache import cached, tfds_in_order
from .checks import check_factors
from .factor_dataset import FactorDataset

# In the published order, with their sizes; the last changes fastest.
FACTORS = types.MappingProxyType(
    {"shape": 3, "scale": 6, "orientation": 40, "pos_x": 32, "pos_y": 32}
)
FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
GRID = FACTORS  # of the data set
REPEATS = "orientation 39 repeats orientation 0"
# SHA-256 of all rendered images in the published order, eight pixels in a byte.
CHECKSUM = "860f21e886f6b599df4f92fdfe388b700b8ba9b60f09bf6ffdea39b791ca2c00"
ON_DEMAND = 4096  # images that are rendered one by one
_SIZE = 64  # pixels to a side


# Rendering


def render(factors: np.ndarray) -> np.ndarray:
    """Renders images of dSprites: white sprites on black, without anti-aliasing.

    A pixel is white if and only if its centre lies in the sprite's outline, in
    float64. Published frames agree but for a pixel or two in about one of 80.

    Of the 718,848 images with orientations 0 to 38, 715,776 are different. Some
    squares of all scales, and ellipses of the two smallest, have the same pixels in
    two to four orientations; nothing else repeats.

    Args:
        factors: integers of shape `(n, 5)`: shape (0 square, 1 ellipse, 2 heart),
            scale (0 to 5), orientation (0 to 39; 39 repeats 0), pos_x and pos_y
            (0 to 31 each).

    Returns:
        A bool array of shape `(n, 64, 64)`, indexed by image, row and column.

    Raises:
        ValueError: `factors` has another shape or type, or values out of range.

    Example:

    >>> image = render([[0, 0, 0, 0, 31]])[0]
    >>> rows, columns = np.nonzero(image)
    >>> rows.min(), rows.max(), columns.min(), columns.max()
    (np.int64(43), np.int64(52), np.int64(11), np.int64(20))

    References:
        Matthey et al., dSprites: Disentanglement testing sprites dataset (2017).
    """
    factors = check_factors(factors, FACTORS)
    images = np.empty((len(factors), _SIZE, _SIZE), bool)
    for image, (*sprite, x, y) in zip(images, factors, strict=True):
        image[:] = _inside(_outline(*sprite), _offsets(x) / 62, _offsets(y) / 62)
    return images


def render_all_positions(shape: int, scale: int, orientation: int) -> np.ndarray:
    """Renders one sprite of dSprites at all of its 32 x 32 positions.

    Gives the same pixels as `render`, much faster: seen from the centres of the
    sprites, all pixel centres lie on one lattice, which needs rasterising only once.

    Args:
        shape, scale, orientation: integers as in `render`.

    Returns:
        A uint8 array of shape `(1024, 512)`: the images in the published order,
        pos_y fastest, with eight pixels in a byte as `np.packbits` puts them.

    Raises:
        ValueError: a value is out of range.

    Example:

    >>> packed = render_all_positions(2, 5, 0)
    >>> images = np.unpackbits(packed, axis=1).reshape(32, 32, 64, 64)
    >>> bool((images[7, 9] == render([[2, 5, 0, 7, 9]])[0]).all())
    True
    """
    sprite = check_factors([[shape, scale, orientation, 0, 0]], FACTORS)[0, :3]
    # Every sprite lies within 14 pixels of its centre; what is farther away shares
    # the lattice's first or last line, which is black.
    far = 14 * 62 + 1
    raster = _inside(_outline(*sprite), *2 * [np.arange(-far, far + 1, 2) / 62])
    offsets = _offsets(np.arange(32)[:, None])  # position, pixel
    index = (np.clip(offsets, -far, far) + far) // 2
    # First the columns, packed: then a row of an image is a single 64-bit word.
    columns = np.packbits(raster[:, index], axis=-1).view(np.uint64)  # row, pos_x, 1
    return (
        columns[index, :, 0].transpose(2, 0, 1).copy().view(np.uint8).reshape(-1, 512)
    )


def _offsets(position):
    """Pixel centres as seen from a sprite's centre, in 62nds of a pixel.

    (j + 1/2) - (16 + 32 position / 31) in whole numbers, so that equal offsets are
    equal to the last bit, whatever the position.
    """
    return 62 * np.arange(_SIZE) + 31 - 62 * 16 - 64 * position


@functools.cache
def _shape_outline(shape):
    if shape == 0:
        return 9.598 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    if shape == 1:
        u = 2 * np.pi * np.arange(72) / 72
        return np.stack([12.775 * np.cos(u), 7.22 * np.sin(u)], axis=1)
    u = 2 * np.pi * np.arange(720) / 720
    waves = 13 * np.cos(u) - 5 * np.cos(2 * u) - 2 * np.cos(3 * u) - np.cos(4 * u)
    return np.stack([9.594 * np.sin(u) ** 3, -0.6622 * waves - 1.437], axis=1)


def _outline(shape, scale, orientation):
    """A sprite's corners as seen from its centre, of shape (corners, 2), y down."""
    # Both ends of the 40 angles are the same direction: 0 and 2 pi.
    angle = 2 * np.pi * (orientation % 39) / 39
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]])
    return (0.5 + 0.1 * scale) * (_shape_outline(int(shape)) @ rotation)


def _inside(outline, x, y):
    """Which points of the grid y times x lie in a polygon, by the even-odd rule.

    Args:
        outline: corners, shape (corners, 2).
        x, y: increasing coordinates of the grid's columns and rows.

    Returns:
        A bool array of shape (len(y), len(x)).
    """
    x0, y0 = outline.T
    x1, y1 = np.roll(outline, -1, axis=0).T
    above = y0 <= y[:, None]
    row, edge = np.nonzero(above != np.roll(above, -1, axis=1))
    share = (y[row] - y0[edge]) / (y1[edge] - y0[edge])
    crossing = x0[edge] + share * (x1[edge] - x0[edge])
    # On its way along a row, a point changes sides at every crossing.
    change = np.zeros((len(y), len(x) + 1), bool)
    np.logical_xor.at(change, (row, np.searchsorted(x, crossing)), True)
    return np.logical_xor.accumulate(change[:, :-1], axis=1)


# The data set


class _RenderedSprites:
    """Renders what is asked for, and everything once that is more than a few."""

    def __init__(self):
        self.sizes = tuple(GRID.values())
        self.asked = 0
        self.packed = None

    def __call__(self, position):
        self.asked += len(position)
        if self.packed is None and self.asked > ON_DEMAND:
            stem = f"dsprites_rendered_{CHECKSUM[:8]}"
            shape = math.prod(self.sizes), 512
            self.packed, _ = cached(stem, shape, _all_sprites, CHECKSUM)
        if self.packed is not None:
            return _unpack(self.packed[position])
        factors = np.stack(np.unravel_index(position, self.sizes), axis=1)
        return render(factors)[..., None]


def rendered() -> FactorDataset:
    """All sprites, rendered when they are asked for."""
    return FactorDataset(
        "dsprites",
        GRID,
        (64, 64, 1),
        _RenderedSprites(),
        "dSprites, rendered",
        "dSprites, rendered: not the published file, whose frames differ by up to 2 "
        f"pixels in about one of 80; {REPEATS}",
        CHECKSUM,
    )


def _all_sprites(out):
    *sprites, x, y = GRID.values()
    rows = out.reshape(-1, x * y, 512)
    for row, sprite in zip(rows, np.ndindex(*sprites), strict=True):
        packed = render_all_positions(*sprite).reshape(32, 32, 512)
        row[:] = packed[:x, :y].reshape(-1, 512)


def read_file(path: pathlib.Path) -> FactorDataset:
    """The published dSprites: its arrays only, never the pickle beside them."""
    sizes = tuple(GRID.values())
    n = math.prod(sizes)
    needed = ["imgs", "latents_classes"]
    packed = classes = None
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [key.removesuffix(".npy") for key in archive.namelist()]
            if set(needed) <= set(keys):
                # Headers first: a few bytes can unpack to any number of them.
                with archive.open("latents_classes.npy") as file:
                    classes_are = npy_header(file)
                    if classes_are == ((n, 1 + len(sizes)), False, np.int64):
                        content = file.read(8 * math.prod(classes_are[0]))
                        classes = np.frombuffer(content, np.int64)
                        classes = classes.reshape(classes_are[0])
                with archive.open("imgs.npy") as file:
                    shape, by_column, dtype = npy_header(file)
                    if (shape, by_column, dtype) == ((n, 64, 64), False, np.uint8):
                        packed, high = _pack(file, n)
    except Exception as error:  # zip, zlib and NumPy each have errors of their own
        raise damaged(path, "a readable .npz archive", f"damage ({error})") from error
    check_keys(path, keys, needed)
    if packed is None:
        expected = f"imgs uint8 of shape {(n, 64, 64)}"
        how = ", stored column by column" * by_column
        raise damaged(path, expected, f"{dtype} of shape {shape}{how}")
    if high > 1:
        raise damaged(path, "pixels 0 or 1", f"pixels up to {high}")
    # The first column is the colour, which is always white.
    expected = np.indices((1, *sizes), np.int64).reshape(1 + len(sizes), -1).T
    if classes is None or not np.array_equal(classes, expected):
        raise damaged(
            path,
            "latents_classes in the published order",
            f"others, {classes_are[2]} of shape {classes_are[0]}",
        )
    return FactorDataset(
        "dsprites",
        GRID,
        (64, 64, 1),
        lambda position: _unpack(packed[position]),
        f"{path.name} in data_dir",
        f"dSprites; {REPEATS}",
        sha256(packed),
    )


def _pack(file, n):
    """Reads `n` images of a byte per pixel, with eight pixels in a byte."""
    packed, high = np.empty((n, 512), np.uint8), 0
    for start in range(0, n, 4096):
        rows = packed[start : start + 4096]
        content = file.read(4096 * len(rows))
        pixels = np.frombuffer(content, np.uint8).reshape(len(rows), 4096)
        high = max(high, int(pixels.max()))
        rows[:] = np.packbits(pixels, axis=1)
    return packed, high


def _unpack(packed):
    return np.unpackbits(packed, axis=1).view(bool).reshape(-1, 64, 64, 1)


def read_tfds() -> FactorDataset | None:
    """The data set from TensorFlow Datasets, or None where it is not prepared."""
    labels = ("shape", "scale", "orientation", "x_position", "y_position")
    found = tfds_in_order("dsprites", tuple(GRID.values()), labels, packed=True)
    if found is None:
        return None
    packed, checksum, source = found
    return FactorDataset(
        "dsprites",
        GRID,
        (64, 64, 1),
        lambda position: _unpack(packed[position]),
        source,
        f"dSprites; {REPEATS}; put into the published order",
        checksum,
    )
