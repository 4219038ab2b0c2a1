"""Pareto fronts against brute force, areas against integrals known in closed form."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from echo_keras.metrics.fronts import (
    area_under_front,
    common_interval,
    convex_front,
    entropy_bound,
    pareto_front,
)

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
small = st.integers(0, 6)  # so that ties occur


@quick
@given(st.lists(st.tuples(small, small), min_size=1, max_size=12))
def test_front_holds_exactly_the_unbeaten_points(points):
    rate, distortion = np.transpose(points).astype(float)
    front = pareto_front(rate, distortion)
    unbeaten = {
        (r, d)
        for r, d in points
        if not any(a <= r and b <= d and (a, b) != (r, d) for a, b in points)
    }
    assert [(rate[i], distortion[i]) for i in front] == sorted(unbeaten)


def test_area_of_a_line_and_of_what_lies_beyond():
    # The triangle, half of it, and a rectangle of distortion 1 beyond the last point.
    assert area_under_front([0, 4], [4, 0], 0, 4) == pytest.approx(8)
    assert area_under_front([0, 4], [4, 0], 2, 4) == pytest.approx(2)
    assert area_under_front([0, 1], [1, 1], 0, 3) == pytest.approx(3)


def test_area_of_the_gaussian_source_in_the_limit_of_many_points():
    # D(R) = exp(-2 R): the integral from 0 to 1 is (1 - exp(-2)) / 2.
    rate = np.linspace(0, 1, 2001)
    area = area_under_front(rate, np.exp(-2 * rate), 0, 1)
    assert area == pytest.approx((1 - np.exp(-2)) / 2, rel=1e-6)


@quick
@given(
    st.lists(st.tuples(small, small), min_size=2, max_size=9),
    st.tuples(small, small),
)
def test_another_point_never_makes_the_area_larger(points, another):
    rate, distortion = np.transpose(points).astype(float)
    low = rate.min()
    more = np.transpose([*points, another]).astype(float)
    assert area_under_front(*more, low, 7) <= area_under_front(
        rate, distortion, low, 7
    ) * (1 + 1e-12)


def test_area_counts_the_hull():
    # (1, 3.5) is on the front but above the chord from (0, 4) to (2, 0).
    assert area_under_front([0, 1, 2], [4, 3.5, 0], 0, 2) == pytest.approx(4)
    assert area_under_front([0, 1, 2], [4, 1, 0], 0, 2) == pytest.approx(3)


@quick
@given(st.lists(st.tuples(small, small), min_size=1, max_size=12))
@example([(0, 2), (1, 1), (2, 0)])  # a line has two corners
def test_convex_front_holds_the_corners_of_the_hull(points):
    # A corner is the least point for some price of a nat of rate, and only it.
    rate, distortion = np.transpose(points).astype(float)
    hull = convex_front(rate, distortion)
    # Slopes are p / q with p and q up to 6: at least 1 / 30 apart, and never a price.
    prices = np.concatenate([[1e-3], np.arange(1, 600) / 84 + 1e-4, [1e3]])
    costs = distortion[None] + prices[:, None] * rate[None]
    least = costs.argmin(axis=1)
    corners = {(rate[i], distortion[i]) for i in least}
    assert {(rate[i], distortion[i]) for i in hull} == corners
    assert np.all(np.diff(rate[hull]) > 0)


def test_common_interval_is_where_all_have_points():
    curves = {"a": [(1, 9), (5, 2), (9, 3)], "b": [(2, 8), (7, 1)]}
    # The point (9, 3) is beaten by (5, 2), so that a's front ends at 5.
    assert common_interval(curves) == (2, 5)


def test_a_rate_below_zero_wins_nothing():
    # As Monte Carlo estimates of posterior collapse have it: two models of rate 0.
    rate, distortion = [-0.04, -0.01, 3.0], [92.70, 92.60, 91.0]
    assert pareto_front(rate, distortion).tolist() == [1, 2]
    assert convex_front(rate, distortion).tolist() == [1, 2]
    assert entropy_bound(rate, distortion) == 92.6
    assert area_under_front([-0.5, 2], [4, 0], 0, 2) == pytest.approx(4)
    curves = {"a": list(zip(rate, distortion, strict=True)), "b": [(-1, 95), (2, 93)]}
    assert common_interval(curves) == (0, 2)


@pytest.mark.parametrize("of", [pareto_front, entropy_bound])
@pytest.mark.parametrize(
    ("rate", "distortion", "says"),
    [
        ([], [], "at least one number"),
        ([1, 2], [1], "of one length"),
        ([np.nan], [1], "finite"),
        ([1], [np.inf], "finite"),
    ],
)
def test_bad_points(of, rate, distortion, says):
    with pytest.raises(ValueError, match=says):
        of(rate, distortion)


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(2, 2, "below high"), (3, 2, "below high"), (0, 2, "the smallest rate, 1")],
)
def test_bad_intervals(low, high, says):
    with pytest.raises(ValueError, match=says):
        area_under_front([1, 2], [2, 1], low, high)
