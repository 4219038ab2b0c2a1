"""Rate-distortion curves: Pareto fronts, and a number to rank them by."""

import numpy as np


def pareto_front(rate, distortion):
    """Indices of the points that no other point beats, by increasing rate.

    A point is beaten by another with at most its rate and at most its distortion,
    one of them smaller. Of equal points the first stays.

    Args:
        rate, distortion: Sequences (n,), nats per example.

    Returns:
        Int array; along it rates rise and distortions fall.

    Raises:
        ValueError: lengths differ, there is no point, or a value is not finite.

    Example:

    >>> pareto_front([1.0, 2.0, 3.0, 2.5], [9.0, 5.0, 4.0, 6.0]).tolist()
    [0, 1, 2]
    """
    rate, distortion = _points(rate, distortion)
    front, best = [], np.inf
    # By rate, then distortion, then place: what lowers the distortion is unbeaten.
    for i in np.lexsort((np.arange(len(rate)), distortion, rate)):
        if distortion[i] < best:
            front.append(i)
            best = distortion[i]
    return np.array(front)


def area_under_front(rate, distortion, low, high):
    r"""Area under the Pareto front between two rates, in nats squared.

    \(\int_{low}^{high} D(R)\, dR\), where D is the lower convex hull of the front,
    which time-sharing between codes attains; beyond the last point, its distortion.
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
    rate, distortion = _points(rate, distortion)
    front = pareto_front(rate, distortion)
    front = front[_lower_hull(rate[front], distortion[front])]
    rate, distortion = rate[front], distortion[front]
    if not low < high:
        raise ValueError(f"low must be below high; received {low} and {high}.")
    if low < rate[0]:
        raise ValueError(
            f"low must be at least the smallest rate, {rate[0]:g}; received {low}."
        )
    inside = rate[(rate > low) & (rate < high)]
    grid = np.concatenate([[low], inside, [high]])
    return float(np.trapezoid(np.interp(grid, rate, distortion), grid))


def common_interval(curves):
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
    for points in curves.values():
        rate, distortion = _points(*np.transpose(points))
        ends.append(rate[pareto_front(rate, distortion)][[0, -1]])
    ends = np.array(ends)
    return float(ends[:, 0].max()), float(ends[:, 1].min())


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
    rate, distortion = np.asarray(rate, float), np.asarray(distortion, float)
    if rate.ndim != 1 or rate.shape != distortion.shape or not len(rate):
        raise ValueError(
            f"rate and distortion must be sequences of one length, at least 1; "
            f"received shapes {rate.shape} and {distortion.shape}."
        )
    if not (np.isfinite(rate).all() and np.isfinite(distortion).all()):
        raise ValueError("rate and distortion must be finite numbers.")
    return rate, distortion
