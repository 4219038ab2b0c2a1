"""Tests of what images must be."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from image_files import (
    only_sentence,
)

from echo_keras import data

WRONG_IMAGES = {
    "integers": (np.zeros((2, 28, 28), "int64"), "dtype int64"),
    "objects": (np.full((2, 28, 28), None), "dtype object"),
    "complex": (np.zeros((2, 28, 28), complex), "dtype complex128"),
    "flat": (np.zeros((2, 784)), r"shape .* Received: shape \(2, 784\)"),
    "no images": (np.zeros((0, 28, 28)), "at least one image"),
    "too large": (np.full((2, 28, 28), 1.5), "values from 1.5 to 1.5. Divide"),
    "negative": (np.full((2, 28, 28), -1.0), "values from -1 to -1. Shift"),
    "infinite": (np.full((2, 28, 28), np.inf), "values from inf"),
    "scaled uint8": (np.ones((2, 28, 28), "uint8"), "none above 1"),
}


@pytest.mark.parametrize("case", WRONG_IMAGES)
def test_check_images_names_the_fault(case):
    x, match = WRONG_IMAGES[case]
    with pytest.raises(ValueError, match=match) as error:
        data.check_images(x, "holiday")
    assert only_sentence(error).startswith("holiday must hold")


def test_check_images_requires_the_shape_asked_for():
    with pytest.raises(ValueError, match=r"28, 1\). Received: shape \(1, 8, 8, 1\)"):
        data.check_images(np.zeros((1, 8, 8)), shape=(28, 28, 1))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float32", "float64"])
def test_check_images_takes_these(dtype):
    white = 255 if dtype == "uint8" else 1
    x = np.zeros((2, 5, 6, 3), dtype)
    x[0] = white
    out = data.check_images(x)
    assert out.dtype == np.float32 and out.shape == x.shape
    assert (out[0] == 1).all() and (out[1] == 0).all()
    out[:] = 0.5
    assert x[0].min() == white  # the caller's array is not ours to change


in_range = hnp.arrays(
    st.sampled_from(["float32", "float64"]),
    st.tuples(*[st.integers(1, 3)] * 4),
    elements=st.floats(0, 1, width=32),
)


@hypothesis.settings(max_examples=60, deadline=None, database=None)
@hypothesis.given(in_range)
def test_images_in_range_pass_unchanged(x):
    assert np.array_equal(data.check_images(x), x)


@hypothesis.settings(max_examples=100, deadline=None, database=None)
@hypothesis.given(
    in_range,
    st.integers(0, 80),
    st.floats(width=32).filter(lambda v: not 0 <= v <= 1),
)
def test_a_single_wrong_pixel_is_found(x, where, value):
    x.flat[where % x.size] = value
    with pytest.raises(ValueError, match="NaN" if np.isnan(value) else "values from"):
        data.check_images(x)
