"""Tests of the rendered scenes, by their geometry."""

import colorsys
import math

import numpy as np
import pytest

from echo_keras.data import shapes3d


def random_factors(n, sizes, seed=0, **fixed):
    rng = np.random.RandomState(seed)
    columns = [rng.randint(size, size=n) for size in sizes.values()]
    for column, name in zip(columns, sizes, strict=True):
        column[:] = fixed.get(name, column)
    return np.stack(columns, axis=1)


def test_no_images_and_wrong_factors():
    assert shapes3d.render(np.zeros((0, 6), int)).shape == (0, 64, 64, 3)
    with pytest.raises(ValueError, match="object_hue from 0 to 9. Received: 10"):
        shapes3d.render([[0, 0, 10, 0, 0, 0]])


def hue(pixel):
    return colorsys.rgb_to_hsv(*(pixel / 255))


@pytest.mark.parametrize("shape", range(4))
def test_hues_are_what_they_claim(shape):
    for floor in range(10):
        wall, thing = (floor + 3) % 10, (floor + 6) % 10
        for orientation in (0, 7, 14):
            scene = [floor, wall, thing, 0, shape, orientation]
            (image,) = shapes3d.render([scene])
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
    for i, size in enumerate(shapes3d.FACTORS.values()):
        factors = random_factors(20, shapes3d.FACTORS, seed=i)
        other = factors.copy()
        other[:, i] = (other[:, i] + 1) % size
        images, others = shapes3d.render(factors), shapes3d.render(other)
        # By more than a few pixels of rounding.
        changed = (images != others).any(axis=-1).sum(axis=(1, 2))
        assert changed.min() > 20


def test_the_rooms_corner_moves_with_the_camera():
    factors = [[0, 0, 5, 0, 0, orientation] for orientation in range(15)]
    top = shapes3d.render(factors)[:, 0, :, 0].astype(int)
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
        light = shapes3d._light(7, shape, 7)
        columns = np.nonzero(light[..., 0] == dark)[1]
        assert len(columns) > 15
        assert columns.mean() > np.nonzero(light[..., 2])[1].mean() + 3


def test_objects_grow_with_scale():
    for shape in range(4):
        areas = [
            (shapes3d._light(scale, shape, 4)[..., 2] > 0).sum() for scale in range(8)
        ]
        assert (np.diff(areas) > 0).all()


@pytest.mark.parametrize("orientation", [0, 7, 12])
def test_the_sphere_is_seen_as_a_cone(orientation):
    radius = 0.9 * 1.25
    eye, rays = shapes3d._camera(np.radians(np.linspace(-30, 30, 15)[orientation]))
    towards = np.array([0, 0, radius]) - eye
    distance = np.linalg.norm(towards)
    cos = rays @ towards / distance / np.linalg.norm(rays, axis=1)
    seen = (np.arccos(cos) < np.arcsin(radius / distance)).reshape(64, 2, 64, 2)
    light = shapes3d._light(7, 2, orientation)
    assert np.array_equal(light[..., 2] > 0, seen.any(axis=(1, 3)))
    others = light[..., :2].any(axis=-1)
    assert np.array_equal(~others, seen.all(axis=(1, 3)))


def test_cube_and_cylinder_top_are_planes():
    # Their upper faces look alike everywhere: the sun is far away.
    for shape in (0, 1):
        light = shapes3d._light(7, shape, 7)[..., 2]
        values, counts = np.unique(light[light > 0], return_counts=True)
        up = round(255 * (0.35 + 0.65 * shapes3d._SUN[2]))
        assert values.max() == up and counts[-1] > 50


def test_scenes_are_distinct():
    sizes = tuple(shapes3d.FACTORS.values())
    at = np.unique(np.random.RandomState(0).randint(math.prod(sizes), size=3000))
    images = shapes3d.render(np.stack(np.unravel_index(at, sizes), axis=1))
    assert images.dtype == np.uint8 and images.shape == (len(at), 64, 64, 3)
    assert len({image.tobytes() for image in images}) == len(at)


def test_scenes_of_one_colour_still_show_their_geometry():
    shapes = np.stack(np.unravel_index(np.arange(480), (8, 4, 15)), axis=1)
    images = shapes3d.render(np.insert(shapes, [0, 0, 0], 6, axis=1))
    assert len({image.tobytes() for image in images}) == 480
