"""Renders dSprites, and scenes like 3D Shapes, from their factors in plain NumPy.

The images are functions of a few integers, so they need no download: `dsprites`
follows the published geometry, `shapes3d` draws a room of our own with the same
factors as 3D Shapes.
"""

import functools
import types

import numpy as np

__all__ = ["DSPRITES", "SHAPES3D", "dsprites", "dsprites_at_all_positions", "shapes3d"]

# Factors in the published order, with their sizes; the last changes fastest.
DSPRITES = types.MappingProxyType(
    {"shape": 3, "scale": 6, "orientation": 40, "pos_x": 32, "pos_y": 32}
)
SHAPES3D = types.MappingProxyType(
    {
        "floor_hue": 10,
        "wall_hue": 10,
        "object_hue": 10,
        "scale": 8,
        "shape": 4,
        "orientation": 15,
    }
)
_SIZE = 64  # pixels to a side


def dsprites(factors):
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

    >>> image = dsprites([[0, 0, 0, 0, 31]])[0]
    >>> rows, columns = np.nonzero(image)
    >>> rows.min(), rows.max(), columns.min(), columns.max()
    (np.int64(43), np.int64(52), np.int64(11), np.int64(20))

    References:
        Matthey et al., dSprites: Disentanglement testing sprites dataset (2017).
    """
    factors = _check(factors, DSPRITES)
    images = np.empty((len(factors), _SIZE, _SIZE), bool)
    for image, (*sprite, x, y) in zip(images, factors, strict=True):
        image[:] = _inside(_outline(*sprite), _offsets(x) / 62, _offsets(y) / 62)
    return images


def dsprites_at_all_positions(shape, scale, orientation):
    """Renders one sprite of dSprites at all of its 32 x 32 positions.

    Gives the same pixels as `dsprites`, much faster: seen from the centres of the
    sprites, all pixel centres lie on one lattice, which needs rasterising only once.

    Args:
        shape, scale, orientation: integers as in `dsprites`.

    Returns:
        A uint8 array of shape `(1024, 512)`: the images in the published order,
        pos_y fastest, with eight pixels in a byte as `np.packbits` puts them.

    Raises:
        ValueError: a value is out of range.

    Example:

    >>> packed = dsprites_at_all_positions(2, 5, 0)
    >>> images = np.unpackbits(packed, axis=1).reshape(32, 32, 64, 64)
    >>> bool((images[7, 9] == dsprites([[2, 5, 0, 7, 9]])[0]).all())
    True
    """
    sprite = _check([[shape, scale, orientation, 0, 0]], DSPRITES)[0, :3]
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


def shapes3d(factors):
    """Renders scenes with the factors of 3D Shapes; not the published images.

    An object stands on the floor before the corner of a room. The camera turns
    about it, so the corner tells the orientation. Light comes from above and casts
    a shadow; pixels are averages of 2 x 2 rays.

    Args:
        factors: integers of shape `(n, 6)`: hues of floor, wall and object (0 to 9
            for hue 0, .1, ..., .9 at full saturation), scale (0 to 7 for .75 to
            1.25), shape (0 cube, 1 cylinder, 2 sphere, 3 upright ellipsoid) and
            orientation (0 to 14 for -30 to 30 degrees).

    Returns:
        A uint8 array of shape `(n, 64, 64, 3)`.

    Raises:
        ValueError: `factors` has another shape or type, or values out of range.

    Example:

    >>> image = shapes3d([[0, 3, 7, 4, 2, 7]])[0]  # red floor, green wall
    >>> [int(channel) for channel in image[63, 32]]
    [228, 0, 0]

    References:
        Burgess & Kim, 3D Shapes Dataset (2018), for the factors.
    """
    factors = _check(factors, SHAPES3D)
    # Light and colours are whole numbers, these in fifths of full brightness, so that
    # float32 is exact and every machine gets the same bytes.
    colours = np.round(5 * _rgb(factors[:, :3] / 10)).astype(np.float32)
    images = np.empty((len(factors), _SIZE, _SIZE, 3), np.uint8)
    for image, colour, geometry in zip(images, colours, factors[:, 3:], strict=True):
        light = _light(*map(int, geometry)).astype(np.float32)
        image[:] = (light @ colour + 2) / 5  # rounds to the nearest
    return images


def _rgb(hue):
    """Red, green and blue in [0, 1] of hues in [0, 1), as a new last axis."""
    return np.clip(abs((6 * hue[..., None] + [0, 4, 2]) % 6 - 3) - 1, 0, 1)


# The room: floor z = 0 and two walls that meet in the line x = 0, y = _CORNER.
_CORNER = 4.0
_WALLS = np.array([[1, -1, 0], [-1, -1, 0]]) / np.sqrt(2)
_SUN = np.array([-0.45, -0.8, 1.4]) / np.linalg.norm([-0.45, -0.8, 1.4])
_SHADE = 0.35  # what is left without the sun
# Half widths along x, y, z of the objects, before scaling.
_HALVES = np.array([[0.7] * 3, [0.75, 0.75, 0.75], [0.9] * 3, [0.65, 0.65, 1.1]])


@functools.cache
def _light(scale, shape, orientation):
    """How brightly each pixel shows floor, wall and object, as uint8 (64, 64, 3).

    This is all that depends on the geometry, of which there are but 480; colours
    multiply it.
    """
    halves = np.linspace(0.75, 1.25, 8)[scale] * _HALVES[shape]
    centre = np.array([0, 0, halves[2]])
    angle = np.radians(np.linspace(-30, 30, 15)[orientation])
    eye, rays = _camera(angle)

    # What lies on a ray: the floor, a wall or the object, whichever comes first.
    with np.errstate(divide="ignore"):
        floor = np.where(rays[:, 2] < 0, -eye[2] / rays[:, 2], np.inf)
        facing = rays @ _WALLS.T
        walls = (_CORNER * _WALLS[:, 1] - _WALLS @ eye) / facing
        walls = np.where(facing < 0, walls, np.inf)
    distance = np.column_stack([floor, walls, _hit(shape, eye - centre, rays, halves)])
    first = distance.argmin(axis=1)
    point = eye + distance[np.arange(len(rays)), first, None] * rays

    normals = np.array([[0, 0, 1], *_WALLS, [0, 0, 0]], float)[first]
    on_object = first == 3
    normals[on_object] = _normals(shape, (point[on_object] - centre) / halves, halves)
    sun = np.maximum(normals @ _SUN, 0)
    # The object's own shadow is where its normals turn away.
    shadow = np.isfinite(_hit(shape, point - centre, _SUN[None], halves)) & ~on_object
    brightness = _SHADE + (1 - _SHADE) * np.where(shadow, 0, sun)

    surface = np.array([0, 1, 1, 2])[first]
    light = brightness[:, None] * (surface[:, None] == np.arange(3))
    light = light.reshape(_SIZE, 2, _SIZE, 2, 3).mean(axis=(1, 3))
    return np.round(255 * light).astype(np.uint8)


def _camera(angle):
    """The eye, and 128 x 128 rays of shape (rays, 3), row by row."""
    eye = np.array([5.5 * np.sin(angle), -5.5 * np.cos(angle), 2.6])
    forward = np.array([0, 0, 0.95]) - eye
    forward /= np.linalg.norm(forward)
    right = np.array([np.cos(angle), np.sin(angle), 0])
    up = np.cross(right, forward)
    at = 0.42 * (2 * np.arange(2 * _SIZE) + 1 - 2 * _SIZE) / (2 * _SIZE)
    rays = forward + at[:, None] * right - at[:, None, None] * up
    return eye, rays.reshape(-1, 3)


def _hit(shape, origin, rays, halves):
    """How far along each ray the object begins, infinity where it is missed.

    In units of the object's half widths it is the cube, cylinder or ball that
    [-1, 1]^3 holds, and distances along the ray stay what they are.
    """
    origin, rays = origin / halves, rays / halves
    axes = {0: [], 1: [0, 1], 2: [0, 1, 2], 3: [0, 1, 2]}[shape]  # the round ones
    flat = [i for i in range(3) if i not in axes]
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(-1 - origin) / rays, (1 - origin) / rays])[..., flat]
        enter = ends.min(axis=0).max(axis=-1, initial=-np.inf)
        leave = ends.max(axis=0).min(axis=-1, initial=np.inf)
        if axes:
            o, d = origin[..., axes], rays[..., axes]
            a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
            root = np.sqrt(b * b - a * c)  # NaN where the ray passes by
            enter = np.maximum(enter, (-b - root) / a)
            leave = np.minimum(leave, (-b + root) / a)
        return np.where((enter < leave) & (enter > 0), enter, np.inf)


def _normals(shape, points, halves):
    """Unit normals at points of the surface, given in units of the half widths."""
    if shape < 2:
        side = abs(points)
        if shape == 1:
            radius = np.hypot(points[:, 0], points[:, 1])
            side[:, :2] = radius[:, None]
        # The face a point is on; a cylinder's mantle takes both x and y.
        points = np.where(side == side.max(axis=1, keepdims=True), points, 0)
    normals = points / halves
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _check(factors, sizes):
    """Returns factors as int64 (n, k), or says what is wrong with them."""
    factors = np.asarray(factors)
    if factors.dtype.kind not in "iu" or factors.ndim != 2:
        raise ValueError(
            f"factors: expected integers of shape (n, {len(sizes)}), found "
            f"{factors.dtype} of shape {factors.shape}; give one row to each image."
        )
    if factors.shape[1] != len(sizes):
        raise ValueError(
            f"factors: expected {len(sizes)} columns ({', '.join(sizes)}), found "
            f"{factors.shape[1]}; give one column to each factor."
        )
    for column, (name, size) in zip(factors.T, sizes.items(), strict=True):
        if column.size and not (column.min() >= 0 and column.max() < size):
            raise ValueError(
                f"factors: expected {name} from 0 to {size - 1}, found values from "
                f"{column.min()} to {column.max()}; give indices, not values."
            )
    return factors.astype(np.int64)
