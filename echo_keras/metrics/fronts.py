"""Rate-distortion curves: Pareto fronts, a number to rank them by, what they bound.

A rate is a mean divergence, never below 0 (Fixing a Broken ELBO, Sec. 2). A Monte Carlo
estimate of a small one may be: it counts as 0 here, so that no model is on a front, or
has the lowest -ELBO, by the error of its rate alone.
"""

from collections.abc import Sequence

import numpy as np

from echo_keras.layers import arguments

Numbers = Sequence[float] | np.ndarray
Curves = dict[str, Sequence[tuple[float, float]]]


def pareto_front(rate: Numbers, distortion: Numbers) -> np.ndarray:
    """Indices of the points that no other point beats, by increasing rate.

    A point is beaten by another with at most its rate and at most its distortion,
    one of them smaller. Of equal points the first stays.

    Args:
        rate, distortion: Sequences (n,), nats per example. Rates below 0 count as 0.

    Returns:
        Int array; along it rates rise and distortions fall.

    Raises:
        ValueError: lengths differ, there is no point, or a value is not finite.

    Example:

    >>> pareto_front([1.0, 2.0, 3.0, 2.5], [9.0, 5.0, 4.0, 6.0]).tolist()
    [0, 1, 2]
    >>> pareto_front([-0.02, 0.0], [9.0, 8.9]).tolist()
    [1]
    """
    rate, distortion = _points(rate, distortion)
    front, best = [], np.inf
    # By rate, then distortion, then place: what lowers the distortion is unbeaten.
    for i in np.lexsort((np.arange(len(rate)), distortion, rate)):
        if distortion[i] < best:
            front.append(i)
            best = distortion[i]
    return np.array(front)


def convex_front(rate: Numbers, distortion: Numbers) -> np.ndarray:
    """Indices of the corners of the front's lower convex hull, by increasing rate.

    Time-sharing between codes attains what lies on it. Along it distortions fall, ever
    more slowly.

    Args:
        rate, distortion: Sequences (n,), nats per example.

    Returns:
        Int array.

    Raises:
        ValueError: as for `pareto_front`.

    Example:

    >>> convex_front([0.0, 1.0, 2.0], [4.0, 3.5, 0.0]).tolist()
    [0, 2]
    """
    rate, distortion = _points(rate, distortion)
    front = pareto_front(rate, distortion)
    return front[_lower_hull(rate[front], distortion[front])]


def area_under_front(
    rate: Numbers, distortion: Numbers, low: float, high: float
) -> float:
    """Area under the Pareto front between two rates, in nats squared.

    `integral_low^high D(R) dR`, where D is the lower convex hull of the front,
    `convex_front`; beyond the last point, its distortion.
    Divided by high - low it is the mean distortion over these rates. Smaller is
    better, and another point never makes it larger. Compare methods over the same
    interval.

    Args:
        rate, distortion: Sequences (n,), nats per example.
        low, high: Floats, the interval; low is at least the smallest rate.

    Raises:
        ValueError: as for `pareto_front`, or the interval is empty, or begins
            below every rate, where nothing is known about the distortion.

    Example:

    >>> area_under_front([0.0, 2.0], [4.0, 0.0], low=0.0, high=3.0)
    4.0
    """
    low, high = arguments.number("low", low), arguments.number("high", high)
    hull = convex_front(rate, distortion)
    rate, distortion = (values[hull] for values in _points(rate, distortion))
    if not low < high:
        raise ValueError(f"low must be below high. Received: low={low}, high={high}")
    if low < rate[0]:
        raise ValueError(
            f"low must be at least the smallest rate, {rate[0]:g}. Received: low={low}"
        )
    inside = rate[(rate > low) & (rate < high)]
    grid = np.concatenate([[low], inside, [high]])
    return float(np.trapezoid(np.interp(grid, rate, distortion), grid))


def common_interval(curves: Curves) -> tuple[float, float]:
    """The rates that all methods reach, from the largest minimum on.

    It ends at the smallest of the methods' largest rates on their fronts.

    Args:
        curves: Dict from a label to pairs (rate, distortion).

    Returns:
        (low, high); empty if low >= high.

    Example:

    >>> common_interval({"a": [(1, 9), (5, 2)], "b": [(2, 8), (7, 1)]})
    (2.0, 5.0)
    """
    ends = []
    for points in arguments.mapping("curves", curves, "points").values():
        points = arguments.array("curves", points, "(n, 2)", (2,), finite=False)
        rate, distortion = _points(*np.transpose(points))
        ends.append(rate[pareto_front(rate, distortion)][[0, -1]])
    ends = np.array(ends)
    return float(ends[:, 0].max()), float(ends[:, 1].min())


def entropy_bound(rate: Numbers, distortion: Numbers) -> float:
    """The lowest R + D: an upper bound `H_hat >= H` of the data's entropy.

    R + D is a model's -ELBO, the length of a code for the data, and no code is shorter
    than `H = -E log p^*(x)` on average. Rates and distortions that were estimated
    have errors, and the lowest of several errs downwards. (Measured on training images
    the bound is one for the entropy of these images, at most log n for n of them.)

    Args:
        rate, distortion: Sequences (n,), nats per example, one number for each model;
            for one model, sequences of one number.

    Returns:
        Float, in nats.

    Raises:
        ValueError: as for `pareto_front`.

    Example:

    >>> entropy_bound([0.0, 20.0, 60.0], [84.0, 62.0, 40.0])
    82.0

    References:
        Fixing a Broken ELBO, Eq. 2 and Sec. 4 (80.2 nats for static Binary MNIST).
    """
    rate, distortion = _points(rate, distortion)
    return float(np.min(rate + distortion))


def _lower_hull(x, y):
    """Indices of the corners of the lower convex hull; x increases."""
    hull = []
    for i in range(len(x)):
        # The last corner goes if it lies on or above the chord from the one before.
        while len(hull) > 1:
            a, b = hull[-2:]
            if (y[b] - y[a]) * (x[i] - x[a]) < (y[i] - y[a]) * (x[b] - x[a]):
                break
            hull.pop()
        hull.append(i)
    return hull


def _points(rate, distortion):
    rate, distortion = (
        arguments.array(name, x, "(n,)", finite=False).astype("float64")
        for name, x in (("rate", rate), ("distortion", distortion))
    )
    if rate.ndim != 1 or rate.shape != distortion.shape or not len(rate):
        raise ValueError(
            f"rate and distortion must be sequences of one length, at least 1. "
            f"Received: shapes {rate.shape} and {distortion.shape}"
        )
    if not (np.isfinite(rate).all() and np.isfinite(distortion).all()):
        raise ValueError(
            "rate and distortion must be finite numbers. Received: NaN or infinity"
        )
    return np.maximum(rate, 0.0), distortion
