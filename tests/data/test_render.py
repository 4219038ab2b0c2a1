"""Tests of echo_keras.render: dSprites by independent geometry, scenes by theirs."""

import colorsys
import math
import pathlib

import numpy as np
import pytest
from matplotlib.path import Path

from echo_keras.data import render

FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "dsprites.txt"


def drawn():
    """Factors and image of each drawing in the fixtures."""
    for block in FIXTURES.read_text().split("\nfactors ")[1:]:
        header, *rows = block.strip().split("\n")
        factors, corner = (list(map(int, t.split())) for t in header.split(" at "))
        image = np.zeros((64, 64), bool)
        for i, row in enumerate(rows, corner[0]):
            image[i, corner[1] : corner[1] + len(row)] = [c == "#" for c in row]
        yield factors, image


def random_factors(n, sizes, seed=0, **fixed):
    rng = np.random.RandomState(seed)
    columns = [rng.randint(size, size=n) for size in sizes.values()]
    for column, name in zip(columns, sizes, strict=True):
        column[:] = fixed.get(name, column)
    return np.stack(columns, axis=1)


def own_frame(scale, orientation, x, y):
    """Pixel centres in the sprite's own frame: (64, 64) each of x and y."""
    at = np.arange(64) + 0.5
    dx, dy = at - (16 + 32 * x / 31), (at - (16 + 32 * y / 31))[:, None]
    angle, s = 2 * np.pi * orientation / 39, np.linspace(0.5, 1, 6)[scale]
    cos, sin = np.cos(angle), np.sin(angle)
    return (dx * cos - dy * sin) / s, (dx * sin + dy * cos) / s


def test_the_drawn_images():
    drawings = list(drawn())
    assert len(drawings) == 8
    for factors, image in drawings:
        assert np.array_equal(render.dsprites([factors])[0], image), factors


def test_an_upright_square_is_a_range_of_rows_and_columns():
    for _, scale, _, x, y in random_factors(50, render.DSPRITES):
        half = 9.598 * (0.5 + 0.1 * scale)
        # From 16 + 32 p / 31 - half <= k + .5 and the same above.
        left, top = (math.ceil(16 + 32 * p / 31 - half - 0.5) for p in (x, y))
        right, bottom = (math.floor(16 + 32 * p / 31 + half - 0.5) for p in (x, y))
        image = np.zeros((64, 64), bool)
        image[top : bottom + 1, left : right + 1] = True
        assert np.array_equal(render.dsprites([[0, scale, 0, x, y]])[0], image)


def test_turned_squares():
    for factors in random_factors(50, render.DSPRITES, shape=0):
        x, y = own_frame(*factors[1:])
        image = (abs(x) < 9.598) & (abs(y) < 9.598)
        assert np.array_equal(render.dsprites([factors])[0], image), factors


def test_ellipses():
    u = np.arange(73) * np.pi / 36
    corners = np.stack([12.775 * np.cos(u), 7.22 * np.sin(u)])
    for factors in random_factors(50, render.DSPRITES, shape=1):
        x, y = own_frame(*factors[1:])
        (x0, y0), (x1, y1) = corners[:, :-1], corners[:, 1:]
        x, y = x[..., None], y[..., None]
        image = ((x1 - x0) * (y - y0) > (y1 - y0) * (x - x0)).all(axis=-1)
        assert np.array_equal(render.dsprites([factors])[0], image), factors
        # Between the ellipses about and within the polygon.
        radius = np.hypot(x / 12.775, y / 7.22)[..., 0]
        assert image[radius < np.cos(np.pi / 72)].all()
        assert not image[radius > 1].any()


def test_hearts():
    u = np.linspace(0, 2 * np.pi, 721)
    waves = 13 * np.cos(u) - 5 * np.cos(2 * u) - 2 * np.cos(3 * u) - np.cos(4 * u)
    path = Path(np.stack([9.594 * np.sin(u) ** 3, -0.6622 * waves - 1.437], axis=1))
    for factors in random_factors(50, render.DSPRITES, shape=2):
        points = np.stack(own_frame(*factors[1:]), axis=-1).reshape(-1, 2)
        image = path.contains_points(points).reshape(64, 64)
        assert np.array_equal(render.dsprites([factors])[0], image), factors


@pytest.mark.parametrize("shape", range(3))
def test_upright_sprites_are_symmetric(shape):
    factors = random_factors(20, render.DSPRITES, shape=shape, orientation=0)
    mirrored = factors * [1, 1, 1, -1, 1] + [0, 0, 0, 31, 0]
    images = render.dsprites(factors)
    assert np.array_equal(render.dsprites(mirrored), images[:, :, ::-1])
    if shape < 2:
        mirrored = factors * [1, 1, 1, 1, -1] + [0, 0, 0, 0, 31]
        assert np.array_equal(render.dsprites(mirrored), images[:, ::-1])


def test_the_heart_points_downwards_and_right_is_right():
    (image,) = render.dsprites([[2, 5, 0, 0, 0]])
    widths = image.sum(axis=1)[image.any(axis=1)]
    assert widths[0] > 2 * widths[-1]
    for column, axis in ((3, 2), (4, 1)):
        images = render.dsprites(np.eye(5, dtype=int)[[column]] * [[0], [31]])
        near, far = (np.flatnonzero(i.any(axis=2 - axis)).mean() for i in images)
        assert (near, far) == (15.5, 47.5)


def test_orientation_39_repeats_0():
    factors = random_factors(30, render.DSPRITES, orientation=0)
    last = factors + [0, 0, 39, 0, 0]
    assert np.array_equal(render.dsprites(factors), render.dsprites(last))


def test_all_positions_at_once_are_the_same_pixels():
    for *sprite, x, y in random_factors(40, render.DSPRITES):
        packed = render.dsprites_at_all_positions(*sprite)
        assert packed.shape == (1024, 512) and packed.dtype == np.uint8
        images = np.unpackbits(packed, axis=1).reshape(32, 32, 64, 64).view(bool)
        # The corners too: sprites come nearest to the margin there.
        for at in ((x, y), (0, 31), (31, 0)):
            assert np.array_equal(images[at], render.dsprites([[*sprite, *at]])[0])


def test_hearts_are_distinct():
    # The smallest, in all orientations but the repeated one and at all positions.
    packed = [render.dsprites_at_all_positions(2, 0, o) for o in range(39)]
    assert len({row.tobytes() for row in np.concatenate(packed)}) == 39 * 1024


@pytest.mark.parametrize("scale", [0, 5])
def test_squares_repeat_where_the_geometry_does(scale):
    # By a few degrees turned, a square may hold the same pixel centres.
    packed = np.stack(
        [render.dsprites_at_all_positions(0, scale, o) for o in range(39)]
    )
    for y in range(4):  # all at pos_x 0
        frames = [own_frame(scale, o, 0, y) for o in range(39)]
        images = [((abs(x) < 9.598) & (abs(y) < 9.598)).tobytes() for x, y in frames]
        found = [image.tobytes() for image in packed[:, y]]
        same = np.equal.outer(np.array(images, object), np.array(images, object))
        assert np.array_equal(
            same, np.equal.outer(np.array(found, object), np.array(found, object))
        )
        assert same.sum() > 39
    # Other positions are other images.
    rows = packed.reshape(39, 1024, 512)
    where = {}
    for position in range(1024):
        for row in rows[:, position]:
            assert where.setdefault(row.tobytes(), position) == position


def test_no_images():
    assert render.dsprites(np.zeros((0, 5), int)).shape == (0, 64, 64)
    assert render.shapes3d(np.zeros((0, 6), int)).shape == (0, 64, 64, 3)


@pytest.mark.parametrize(
    "factors, sentence",
    [
        ([0, 0, 0, 0, 0], "expected integers of shape"),
        ([[0.0, 0, 0, 0, 0]], "expected integers of shape"),
        ([[0, 0, 0, 0]], "expected 5 columns .*, found 4"),
        ([[0, 0, 40, 0, 0]], "expected orientation from 0 to 39, found values from 40"),
        ([[0, -1, 0, 0, 0]], "expected scale from 0 to 5, found values from -1"),
    ],
)
def test_wrong_factors(factors, sentence):
    with pytest.raises(ValueError, match=sentence):
        render.dsprites(factors)


def test_wrong_factors_elsewhere():
    with pytest.raises(ValueError, match="expected shape from 0 to 2, found values"):
        render.dsprites_at_all_positions(3, 0, 0)
    with pytest.raises(ValueError, match="expected object_hue from 0 to 9, found"):
        render.shapes3d([[0, 0, 10, 0, 0, 0]])


# Scenes


def hue(pixel):
    return colorsys.rgb_to_hsv(*(pixel / 255))


@pytest.mark.parametrize("shape", range(4))
def test_hues_are_what_they_claim(shape):
    for floor in range(10):
        wall, thing = (floor + 3) % 10, (floor + 6) % 10
        for orientation in (0, 7, 14):
            scene = [floor, wall, thing, 0, shape, orientation]
            (image,) = render.shapes3d([scene])
            for pixel, expected in (
                (image[63, 32], floor),
                (image[0, 0], wall),
                (image[0, 63], wall),
                (image[35, 32], thing),
            ):
                found, saturation, value = hue(pixel)
                distance = abs(found - expected / 10 + 0.5) % 1 - 0.5
                assert abs(distance) < 0.01
                assert saturation == 1 and value > 0.2


def test_every_factor_shows():
    for i, size in enumerate(render.SHAPES3D.values()):
        factors = random_factors(20, render.SHAPES3D, seed=i)
        other = factors.copy()
        other[:, i] = (other[:, i] + 1) % size
        images, others = render.shapes3d(factors), render.shapes3d(other)
        # By more than a few pixels of rounding.
        changed = (images != others).any(axis=-1).sum(axis=(1, 2))
        assert changed.min() > 20


def test_the_rooms_corner_moves_with_the_camera():
    factors = [[0, 0, 5, 0, 0, orientation] for orientation in range(15)]
    top = render.shapes3d(factors)[:, 0, :, 0].astype(int)
    corner = abs(np.diff(top, axis=1)).argmax(axis=1)
    assert (abs(np.diff(corner)) >= 1).all()
    # Seen from the left, x < 0, the corner behind the object is on the left.
    assert corner[0] < corner[7] < corner[14]
    assert len(set(np.sign(np.diff(corner)))) == 1
    assert corner[7] in (31, 32)


def test_the_object_casts_a_shadow():
    # In the shadow there is but the light that is everywhere, .35. The sun stands to
    # the left of the camera: the shadow on the floor falls to the object's right.
    dark = round(255 * 0.35)
    for shape in range(4):
        light = render._light(7, shape, 7)
        columns = np.nonzero(light[..., 0] == dark)[1]
        assert len(columns) > 15
        assert columns.mean() > np.nonzero(light[..., 2])[1].mean() + 3


def test_objects_grow_with_scale():
    for shape in range(4):
        areas = [
            (render._light(scale, shape, 4)[..., 2] > 0).sum() for scale in range(8)
        ]
        assert (np.diff(areas) > 0).all()


@pytest.mark.parametrize("orientation", [0, 7, 12])
def test_the_sphere_is_seen_as_a_cone(orientation):
    radius = 0.9 * 1.25
    eye, rays = render._camera(np.radians(np.linspace(-30, 30, 15)[orientation]))
    towards = np.array([0, 0, radius]) - eye
    distance = np.linalg.norm(towards)
    cos = rays @ towards / distance / np.linalg.norm(rays, axis=1)
    seen = (np.arccos(cos) < np.arcsin(radius / distance)).reshape(64, 2, 64, 2)
    light = render._light(7, 2, orientation)
    assert np.array_equal(light[..., 2] > 0, seen.any(axis=(1, 3)))
    others = light[..., :2].any(axis=-1)
    assert np.array_equal(~others, seen.all(axis=(1, 3)))


def test_cube_and_cylinder_top_are_planes():
    # Their upper faces look alike everywhere: the sun is far away.
    for shape in (0, 1):
        light = render._light(7, shape, 7)[..., 2]
        values, counts = np.unique(light[light > 0], return_counts=True)
        up = round(255 * (0.35 + 0.65 * render._SUN[2]))
        assert values.max() == up and counts[-1] > 50


def test_scenes_are_distinct():
    sizes = tuple(render.SHAPES3D.values())
    at = np.unique(np.random.RandomState(0).randint(math.prod(sizes), size=3000))
    images = render.shapes3d(np.stack(np.unravel_index(at, sizes), axis=1))
    assert images.dtype == np.uint8 and images.shape == (len(at), 64, 64, 3)
    assert len({image.tobytes() for image in images}) == len(at)


def test_scenes_of_one_colour_still_show_their_geometry():
    shapes = np.stack(np.unravel_index(np.arange(480), (8, 4, 15)), axis=1)
    images = render.shapes3d(np.insert(shapes, [0, 0, 0], 6, axis=1))
    assert len({image.tobytes() for image in images}) == 480
