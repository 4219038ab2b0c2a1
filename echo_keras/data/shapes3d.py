"""3D Shapes: the published scenes, or scenes of our own with the same factors."""

import functools
import math
import pathlib
import types

import numpy as np

from echo_keras._files import Damaged, check_keys, damaged, sha256, sha256_of_file

from .cache import cached, tfds_in_order
from .checks import check_factors
from .factor_dataset import FactorDataset

# In the published order, with their sizes; the last changes fastest.
FACTORS = types.MappingProxyType(
    {
        "floor_hue": 10,
        "wall_hue": 10,
        "object_hue": 10,
        "scale": 8,
        "shape": 4,
        "orientation": 15,
    }
)
FILE = "3dshapes.h5"
GRID = FACTORS  # of the data set
LABELS = {
    "floor_hue": np.linspace(0, 0.9, 10),
    "wall_hue": np.linspace(0, 0.9, 10),
    "object_hue": np.linspace(0, 0.9, 10),
    "scale": np.linspace(0.75, 1.25, 8),
    "shape": np.arange(4),
    "orientation": np.linspace(-30, 30, 15),
}
MOST_CHUNK = 2**28  # bytes of a file that are unpacked at once
_SIZE = 64  # pixels to a side


# Rendering


def render(factors: np.ndarray) -> np.ndarray:
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

    >>> image = render([[0, 3, 7, 4, 2, 7]])[0]  # red floor, green wall
    >>> [int(channel) for channel in image[63, 32]]
    [228, 0, 0]

    References:
        Burgess & Kim, 3D Shapes Dataset (2018), for the factors.
    """
    factors = check_factors(factors, FACTORS)
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


# The data set


def rendered() -> FactorDataset:
    """All scenes, rendered when they are asked for."""
    sizes = tuple(GRID.values())

    def read(position: np.ndarray) -> np.ndarray:
        return render(np.stack(np.unravel_index(position, sizes), axis=1))

    # One image of each geometry, its surfaces in different colours, stands for all.
    geometries = np.stack(np.unravel_index(np.arange(math.prod(sizes[3:])), sizes[3:]))
    colours = np.broadcast_to([[0], [3], [7]], (3, geometries.shape[1]))
    images = render(np.concatenate([colours, geometries]).T)
    return FactorDataset(
        "shapes3d_rendered",
        GRID,
        (64, 64, 3),
        read,
        "3D Shapes, rendered",
        "3D Shapes, rendered: scenes of our own with the published factors, not the "
        "published images",
        sha256(images),
    )


def read_file(path: pathlib.Path) -> FactorDataset:
    """The published scenes, unpacked once into the cache."""
    import h5py

    sizes = GRID
    n = math.prod(sizes.values())
    try:
        file = h5py.File(path, "r")
        check_keys(path, list(file), ["images", "labels"])
        images = _array(path, file, "images", (n, 64, 64, 3), np.uint8)
        labels = _array(path, file, "labels", (n, len(sizes)), np.float64)[()]
    except Damaged:
        raise
    except Exception as error:  # h5py raises whatever the bytes provoke
        raise damaged(path, "a readable HDF5 file", f"damage ({error})") from error
    values = [LABELS[name][:size] for name, size in sizes.items()]
    expected = np.stack(np.meshgrid(*values, indexing="ij"), axis=-1)
    expected = expected.reshape(n, len(sizes))
    if not np.allclose(labels, expected):
        raise damaged(path, "labels in the published order", "another order")

    checksum = sha256_of_file(path)

    def fill(out: np.ndarray) -> None:
        # Chunks that h5py chose hold 4 x 4 pixels of 15,000 images each, so that 176
        # MB are decompressed for any one image, and hardly less for all in its row.
        step = min(images.chunks[0], 20_000) if images.chunks else 4096
        for start in range(0, n, step):
            try:
                rows = images[start : start + step]
            except Exception as error:
                raise damaged(path, "readable images", f"damage ({error})") from error
            out[start : start + step] = rows

    with file:
        unpacked, _ = cached(f"shapes3d_{checksum[:8]}", images.shape, fill)
    return FactorDataset(
        "shapes3d",
        sizes,
        (64, 64, 3),
        lambda position: unpacked[position],
        f"{path.name} in data_dir",
        "3D Shapes; checksum of the file",
        checksum,
    )


def _array(path, file, key, shape, dtype):
    """An array that the file itself holds, all but its numbers checked."""
    import h5py

    link = file.get(key, getlink=True)
    if not isinstance(link, h5py.HardLink):
        found = f"{key} as a {type(link).__name__}"
        raise damaged(path, "arrays of its own and no links", found)
    array = file[key]
    if not isinstance(array, h5py.Dataset):
        found = f"a {type(array).__name__}"
        raise damaged(path, f"an array {key}", found)
    if array.shape != shape or array.dtype != dtype:
        expected = f"{key} {np.dtype(dtype)} of shape {shape}"
        raise damaged(path, expected, f"{array.dtype} of shape {array.shape}")
    if array.is_virtual or array.external:
        raise damaged(path, f"the numbers of {key} itself", "a pointer to other files")
    if array.chunks and math.prod(array.chunks) * array.dtype.itemsize > MOST_CHUNK:
        expected = f"chunks of {key} of at most {MOST_CHUNK} bytes"
        raise damaged(path, expected, f"chunks of shape {array.chunks}")
    return array


def read_tfds() -> FactorDataset | None:
    """The data set from TensorFlow Datasets, or None where it is not prepared."""
    found = tfds_in_order("shapes3d", tuple(GRID.values()), tuple(GRID), packed=False)
    if found is None:
        return None
    images, checksum, source = found
    return FactorDataset(
        "shapes3d",
        GRID,
        (64, 64, 3),
        lambda position: images[position],
        source,
        "3D Shapes; put into the published order",
        checksum,
    )
