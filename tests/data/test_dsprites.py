"""Tests of the rendered sprites, by independent geometry."""

import math
import pathlib

import numpy as np
import pytest
from matplotlib.path import Path

from echo_keras.data import dsprites

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "dsprites.txt"


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
        assert np.array_equal(dsprites.render([factors])[0], image), factors


def test_an_upright_square_is_a_range_of_rows_and_columns():
    for _, scale, _, x, y in random_factors(50, dsprites.FACTORS):
        half = 9.598 * (0.5 + 0.1 * scale)
        # From 16 + 32 p / 31 - half <= k + .5 and the same above.
        left, top = (math.ceil(16 + 32 * p / 31 - half - 0.5) for p in (x, y))
        right, bottom = (math.floor(16 + 32 * p / 31 + half - 0.5) for p in (x, y))
        image = np.zeros((64, 64), bool)
        image[top : bottom + 1, left : right + 1] = True
        assert np.array_equal(dsprites.render([[0, scale, 0, x, y]])[0], image)


def test_turned_squares():
    for factors in random_factors(50, dsprites.FACTORS, shape=0):
        x, y = own_frame(*factors[1:])
        image = (abs(x) < 9.598) & (abs(y) < 9.598)
        assert np.array_equal(dsprites.render([factors])[0], image), factors


def test_ellipses():
    u = np.arange(73) * np.pi / 36
    corners = np.stack([12.775 * np.cos(u), 7.22 * np.sin(u)])
    for factors in random_factors(50, dsprites.FACTORS, shape=1):
        x, y = own_frame(*factors[1:])
        (x0, y0), (x1, y1) = corners[:, :-1], corners[:, 1:]
        x, y = x[..., None], y[..., None]
        image = ((x1 - x0) * (y - y0) > (y1 - y0) * (x - x0)).all(axis=-1)
        assert np.array_equal(dsprites.render([factors])[0], image), factors
        # Between the ellipses about and within the polygon.
        radius = np.hypot(x / 12.775, y / 7.22)[..., 0]
        assert image[radius < np.cos(np.pi / 72)].all()
        assert not image[radius > 1].any()


def test_hearts():
    u = np.linspace(0, 2 * np.pi, 721)
    waves = 13 * np.cos(u) - 5 * np.cos(2 * u) - 2 * np.cos(3 * u) - np.cos(4 * u)
    path = Path(np.stack([9.594 * np.sin(u) ** 3, -0.6622 * waves - 1.437], axis=1))
    for factors in random_factors(50, dsprites.FACTORS, shape=2):
        points = np.stack(own_frame(*factors[1:]), axis=-1).reshape(-1, 2)
        image = path.contains_points(points).reshape(64, 64)
        assert np.array_equal(dsprites.render([factors])[0], image), factors


@pytest.mark.parametrize("shape", range(3))
def test_upright_sprites_are_symmetric(shape):
    factors = random_factors(20, dsprites.FACTORS, shape=shape, orientation=0)
    mirrored = factors * [1, 1, 1, -1, 1] + [0, 0, 0, 31, 0]
    images = dsprites.render(factors)
    assert np.array_equal(dsprites.render(mirrored), images[:, :, ::-1])
    if shape < 2:
        mirrored = factors * [1, 1, 1, 1, -1] + [0, 0, 0, 0, 31]
        assert np.array_equal(dsprites.render(mirrored), images[:, ::-1])


def test_the_heart_points_downwards_and_right_is_right():
    (image,) = dsprites.render([[2, 5, 0, 0, 0]])
    widths = image.sum(axis=1)[image.any(axis=1)]
    assert widths[0] > 2 * widths[-1]
    for column, axis in ((3, 2), (4, 1)):
        images = dsprites.render(np.eye(5, dtype=int)[[column]] * [[0], [31]])
        near, far = (np.flatnonzero(i.any(axis=2 - axis)).mean() for i in images)
        assert (near, far) == (15.5, 47.5)


def test_orientation_39_repeats_0():
    factors = random_factors(30, dsprites.FACTORS, orientation=0)
    last = factors + [0, 0, 39, 0, 0]
    assert np.array_equal(dsprites.render(factors), dsprites.render(last))


def test_all_positions_at_once_are_the_same_pixels():
    for *sprite, x, y in random_factors(40, dsprites.FACTORS):
        packed = dsprites.render_all_positions(*sprite)
        assert packed.shape == (1024, 512) and packed.dtype == np.uint8
        images = np.unpackbits(packed, axis=1).reshape(32, 32, 64, 64).view(bool)
        # The corners too: sprites come nearest to the margin there.
        for at in ((x, y), (0, 31), (31, 0)):
            assert np.array_equal(images[at], dsprites.render([[*sprite, *at]])[0])


def test_hearts_are_distinct():
    # The smallest, in all orientations but the repeated one and at all positions.
    packed = [dsprites.render_all_positions(2, 0, o) for o in range(39)]
    assert len({row.tobytes() for row in np.concatenate(packed)}) == 39 * 1024


@pytest.mark.parametrize("scale", [0, 5])
def test_squares_repeat_where_the_geometry_does(scale):
    # By a few degrees turned, a square may hold the same pixel centres.
    packed = np.stack([dsprites.render_all_positions(0, scale, o) for o in range(39)])
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
    assert dsprites.render(np.zeros((0, 5), int)).shape == (0, 64, 64)


@pytest.mark.parametrize(
    "factors, sentence",
    [
        ([0, 0, 0, 0, 0], "factors must be integers of shape"),
        ([[0.0, 0, 0, 0, 0]], "factors must be integers of shape"),
        ([[0, 0, 0, 0]], "must have 5 columns .*Received: 4"),
        ([[0, 0, 40, 0, 0]], "orientation from 0 to 39. Received: 40"),
        ([[0, -1, 0, 0, 0]], "scale from 0 to 5. Received: -1"),
    ],
)
def test_wrong_factors(factors, sentence):
    with pytest.raises(ValueError, match=sentence):
        dsprites.render(factors)


def test_wrong_factors_elsewhere():
    with pytest.raises(ValueError, match="shape from 0 to 2. Received: 3"):
        dsprites.render_all_positions(3, 0, 0)
