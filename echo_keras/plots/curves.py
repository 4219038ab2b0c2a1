"""Curves and planes: training, rate and distortion, information."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from echo_keras.layers import arguments
from echo_keras.metrics.fronts import convex_front, entropy_bound, pareto_front

from ._figure import (
    Axes,
    Curves,
    Figure,
    Path,
    Points,
    canvas,
    finish,
    legend,
    pair_of_limits,
    panels_of,
)

MARKERS = "osD^vPpX<>hd"


def training_curves(
    histories: dict[str, dict[str, list[float]] | list[dict[str, float]]],
    path: Path | None = None,
    metrics: Sequence[str] = ("neg_elbo", "rate", "distortion"),
    axes: Axes = None,
) -> Figure:
    """Draws logs against epochs, one panel for each metric, validation dashed.

    Args:
        histories: Dict from a label to logs: `fit`'s `history.history`, or a list
            with a dict for each epoch.
        path: Where a PNG of it goes, or None.
        metrics: Names of logs; the validation's twin begins with `val_`. What no model
            has, as a rate without a channel, has no panel.
        axes: Matplotlib axes to draw on, one for each panel; None makes a figure.

    Raises:
        ValueError: no model has any of the metrics, or axes are not as many.

    Example:

    >>> history = {"rate": [3.0, 2.0], "val_rate": [4.0, 5.0]}
    >>> figure = training_curves({"Echo": history})
    """
    histories = arguments.mapping("histories", histories, "logs by name")
    metrics = arguments.texts("metrics", metrics)
    histories = {label: _by_metric(history) for label, history in histories.items()}
    logged = {name.removeprefix("val_") for logs in histories.values() for name in logs}
    shown = [metric for metric in metrics if metric in logged]
    if not shown:
        raise ValueError(
            f"metrics must be names of logs, such as {', '.join(sorted(logged))}. "
            f"Received: metrics={metrics}"
        )
    figure, (several,) = canvas(axes, 1, len(shown), (4.2 * len(shown) + 1.4, 3.4))
    for one, metric in zip(several, shown, strict=True):
        for i, (label, history) in enumerate(histories.items()):
            for name, style in ((metric, "-"), (f"val_{metric}", "--")):
                if name in history:
                    epochs = range(1, len(history[name]) + 1)
                    text = label if style == "-" else None
                    one.plot(epochs, history[name], style, color=f"C{i}", label=text)
        one.set(xlabel="epoch", ylabel=f"{metric} (nats per example)")
        one.grid(alpha=0.3)
    lines = [line for one in several for line in one.get_legend_handles_labels()[0]]
    handles = list({line.get_label(): line for line in lines}.values())
    legend(figure, several, axes, handles, title="dashed: validation")
    return finish(figure, path)


def _by_metric(history):
    """Logs as `fit` returns them: a list of values for each metric."""
    if isinstance(history, dict):
        return {
            name: arguments.array(
                f"histories' {name}", values, "(n,)", (1,), finite=False
            )
            for name, values in history.items()
        }
    rows = history if isinstance(history, (list, tuple)) else [None]
    if not all(isinstance(logs, dict) for logs in rows):
        raise ValueError(
            f"histories must hold dicts of lists, or lists of dicts. Received: "
            f"{history!r:.100}"
        )
    logs = history[0] if history else {}
    # Not what `train` measured beside the logs.
    names = [name for name, value in logs.items() if not isinstance(value, dict)]
    return {name: [logs[name] for logs in history] for name in names}


def rate_distortion(
    curves: Curves,
    path: Path | None = None,
    min_rate: float | None = None,
    reference: dict[str, tuple[float, float]] | None = None,
    axes: Axes = None,
) -> Figure:
    """Draws rate against distortion, one curve for each method.

    Points are models; the line through the Pareto front is drawn, and the tangent of
    slope -1 to the best model of all: on it `R + D` is the lowest -ELBO (the
    `beta = 1` tangent of Fig. 2, 3 and 5 in the Echo paper).

    Args:
        curves: Dict from a label to points (rate, distortion), nats per example.
        path: Where a PNG of it goes, or None.
        min_rate: The lowest rate of an Echo channel, drawn dashed, or None.
        reference: Dict from a label to one more point (rate, distortion), such as a
            published number, drawn as a star; or None.
        axes: Matplotlib axes to draw on; None makes a figure.

    Raises:
        ValueError: there is no point, points are no pairs, or a number is not finite.

    Example:

    >>> figure = rate_distortion({"mine": [(5, 90), (10, 80), (20, 72)]})
    """
    best = entropy_bound(*_all_points(curves))
    arguments.number("min_rate", min_rate, optional=True)
    if reference is not None:
        arguments.mapping("reference", reference, "points (rate, distortion)")
    figure, ((one,),) = canvas(axes, 1, 1, (6.4, 4.8))
    for i, (label, points) in enumerate(curves.items()):
        rate, distortion = np.transpose(points)
        front = pareto_front(rate, distortion)
        one.plot(rate, distortion, "o", ms=4, color=f"C{i}", alpha=0.6)
        one.plot(rate[front], distortion[front], "-", color=f"C{i}", label=label)
    for label, point in (reference or {}).items():
        one.plot(*point, "*", ms=11, mec="k", label=label)
    limits = one.get_xlim(), one.get_ylim()
    ends = np.array(limits[0])
    one.plot(ends, best - ends, ":", color="0.4", label=f"R + D = {best:.1f}")
    if min_rate is not None:
        one.axvline(min_rate, ls="--", color="0.6", label="lowest Echo rate")
        limits = (min(limits[0][0], min_rate - 0.5), limits[0][1]), limits[1]
    one.set(xlim=limits[0], ylim=limits[1])
    _name_axes(one, "distortion")
    one.legend()
    return finish(figure, path)


def phase_diagram(
    curves: Curves,
    path: Path | None = None,
    fronts: str = "all",
    entropy: float | None = None,
    skew: bool = False,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    labelled: bool = True,
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    axes: Axes = None,
) -> Figure:
    """Draws runs in the rate-distortion plane, and the best that all reach together.

    Every run is a point. The stepwise Pareto front of all runs is black: the least
    distortion that was reached at a rate or below. Its lower convex hull, which
    time-sharing attains, is grey. The dashed diagonal is `R + D = H_hat`; if
    `H_hat` is the data entropy, no model lies below it.

    Args:
        curves: Dict from a label, such as a family of models, to points (rate,
            distortion), nats per example.
        path: Where a PNG of it goes, or None.
        fronts: "all", as above; or "each", a stepwise front for each label in its
            colour, and neither black front nor hull. To compare encoders, decoders
            and marginals, group the same runs by each and call three times.
        entropy: Number `H_hat`, in nats; the lowest R + D of all runs if None.
        skew: If True, a second panel shows -ELBO = R + D against R, where differences
            between models of similar -ELBO are easier to see.
        styles: Dict from a label to properties of a `matplotlib.lines.Line2D`, such as
            its marker, where it shall not have one of twelve markers and ten colours.
        labelled: If True, the ends of the diagonal bear their names: the auto-decoding
            limit, R = 0, and the auto-encoding limit, D = 0 (or the lowest D below
            it); and so does the infeasible region below it, if `entropy` is given.
        limits: The limits of rate and of distortion, so that several diagrams have one
            scale; None shows all runs and the whole diagonal.
        axes: Matplotlib axes to draw on, two if `skew`; None makes a figure.

    Raises:
        ValueError: fronts is unknown, there is no run, points are no pairs, a number
            is not finite, or axes are not as many.

    Example:

    >>> runs = {"simple": [(5, 90), (20, 72)], "complex": [(0, 84), (25, 66)]}
    >>> figure = phase_diagram(runs, skew=True)

    References:
        Fixing a Broken ELBO, Fig. 1, 3 and 7: (a) (i) and (b) by fronts="all" and
        skew=True, (a) (ii) to (iv) by fronts="each".
    """
    arguments.choice("fronts", fronts, ("all", "each"))
    skew, labelled = arguments.flag("skew", skew), arguments.flag("labelled", labelled)
    entropy = arguments.number("entropy", entropy, optional=True)
    if styles is not None:
        arguments.mapping("styles", styles, "dicts")
    if limits is not None:
        limits = [
            pair_of_limits("limits", pair)
            for pair in arguments.array("limits", limits, "(2, 2)", (2,))
        ]
    rate, distortion = _all_points(curves)
    known = entropy is not None
    entropy = entropy if known else entropy_bound(rate, distortion)
    # Of a density distortions may be negative; the diagonal goes as far down.
    floor = min(0.0, distortion.min())
    far = max(rate.max(), entropy - floor)
    ends = np.array([0.0, entropy - floor])
    low, high = min(floor, entropy), max(distortion.max(), entropy)
    panels = [("distortion", 0, _with_margin(low, high))]
    across = _with_margin(min(0.0, rate.min()), far)
    if limits is not None:
        across, panels = limits[0], [("distortion", 0, limits[1])]
    if skew:
        neg_elbo = np.append(rate + distortion, entropy)
        panels.append(
            (
                "-ELBO = rate + distortion",
                1,
                _with_margin(neg_elbo.min(), neg_elbo.max()),
            )
        )
    size = 5.6 * len(panels) + 1.4, 4.4
    figure, (several,) = canvas(axes, 1, len(panels), size)
    for one, (name, slope, upwards) in zip(several, panels, strict=True):
        # What is drawn at (R, D) stands at (R, D + slope R).
        for i, (label, points) in enumerate(curves.items()):
            r, d = np.transpose(points)
            style = {"color": f"C{i % 10}", "marker": MARKERS[i % len(MARKERS)]}
            style |= {"alpha": 0.7, "ms": 5, "mew": 0, "zorder": 3, "linestyle": ""}
            style |= (styles or {}).get(label, {})
            one.plot(r, d + slope * r, label=label, **style)
            if fronts == "each":
                x, y = _staircase(r, d, 2 * far, 2 * high - low)
                one.plot(x, y + slope * x, color=style["color"], lw=1.3)
        if fronts == "all":
            hull = convex_front(rate, distortion)
            x, y = rate[hull], distortion[hull]
            one.plot(x, y + slope * x, color="0.6", label="convex hull")
            x, y = _staircase(rate, distortion, 2 * far, 2 * high - low)
            one.plot(x, y + slope * x, color="k", lw=1.3, label="Pareto front")
        diagonal = entropy - ends + slope * ends
        one.plot(ends, diagonal, "k--", lw=1, label=f"R + D = {entropy:.1f}")
        one.set(xlim=across, ylim=upwards)
        _name_axes(one, name)
    if labelled:
        _name_limits(several[0], entropy, floor, known)
    legend(figure, several, axes, several[0].get_legend_handles_labels()[0])
    return finish(figure, path)


def _name_limits(one, entropy, floor, known):
    """The names that Fig. 1 of Fixing a Broken ELBO has for parts of the plane."""
    style = {"textcoords": "offset points", "fontsize": 8, "color": "0.35"}
    style["bbox"] = {"facecolor": "w", "alpha": 0.7, "lw": 0, "pad": 1}
    width = entropy - floor
    inside = 0.25 * width, floor + 0.25 * width
    ends = {
        "auto-decoding limit": ((0, entropy), (4, 6), "left"),
        "auto-encoding limit": ((width, floor), (-18, 2), "right"),
    }
    # The lowest R + D of some runs is no entropy: others may lie below.
    if known:
        ends["infeasible"] = (inside, (0, 0), "center")
    for text, (place, offset, side) in ends.items():
        one.annotate(text, place, xytext=offset, ha=side, annotation_clip=True, **style)


def _all_points(curves):
    """The rates and the distortions of all labels."""
    for label, points in panels_of("curves", curves).items():
        if np.ndim(points) != 2 or np.shape(points)[1] != 2:
            raise ValueError(
                f"curves must hold pairs (rate, distortion), at least one for each "
                f"label. Received: shape {np.shape(points)} for {label!r}"
            )
    points = [point for points in curves.values() for point in points]
    return np.array(points, float).reshape(-1, 2).T


def _staircase(rate, distortion, right, top):
    """Corners of the Pareto front as a step function, led on upwards and rightwards."""
    front = pareto_front(rate, distortion)
    x = np.repeat(np.append(rate[front], right), 2)[:-1]
    y = np.repeat(np.append(top, distortion[front]), 2)[1:]
    return x, y


def _with_margin(low, high):
    margin = 0.03 * (high - low) or 1.0  # nats, around a single run
    return low - margin, high + margin


def _name_axes(axes, name):
    axes.set(xlabel="rate (nats per example)", ylabel=f"{name} (nats per example)")
    axes.grid(alpha=0.3)


def information_plane(
    curves: dict[str, Sequence[tuple[float, float, float]]],
    entropy: float,
    path: Path | None = None,
    axes: Axes = None,
) -> Figure:
    """Draws what codes tell of classes against what they keep of inputs.

    Args:
        curves: From a label, of a channel, to points (beta, I(X; Z), I(Z; C)), nats per
            example, a model each.
        entropy: H(C) in nats, the most that a code can tell.
        path: Where a PNG of it goes, or None.
        axes: Matplotlib axes to draw on; None makes a figure.

    Example:

    >>> figure = information_plane({"Echo": [(0.1, 6.6, 1.9), (1, 2.9, 1)]}, 2.3)

    References:
        Tishby et al. (1999); BIB-AE paper, Sec. 2.1.
    """
    entropy = arguments.number("entropy", entropy, low=0)
    for label, points in panels_of("curves", curves, axes=2).items():
        if np.shape(points)[1] != 3:
            raise ValueError(
                f"curves must hold triples (beta, I(X; Z), bound). Received: shape "
                f"{np.shape(points)} for {label!r}"
            )
    figure, ((one,),) = canvas(axes, 1, 1, (6.4, 4.4))
    for i, (label, points) in enumerate(curves.items()):
        betas, kept, told = np.transpose(points)
        one.plot(kept, told, "o-", label=label)
        # Above the points of one channel, below those of the next.
        side, offset = ("left", (3, -11)) if i % 2 else ("right", (-3, 6))
        style = {"textcoords": "offset points", "ha": side, "fontsize": 8}
        for beta, *point in zip(betas, kept, told, strict=True):
            one.annotate(rf"$\beta$ = {beta:g}", point, xytext=offset, **style)
    one.axhline(entropy, ls=":", color="0.4", label="H(C)")
    # Of a Markov chain from C over X to Z.
    ends = [0, entropy]
    one.plot(ends, ends, "--", color="0.6", label="I(Z; C) = I(X; Z)")
    one.set(xlabel="I(X; Z) (nats)", ylabel="bound on I(Z; C) (nats)")
    one.margins(x=0.12)  # room for names
    one.grid(alpha=0.3)
    one.legend()
    return finish(figure, path)


def sorted_by(
    key: np.ndarray,
    panels: dict[str, np.ndarray],
    name: str,
    path: Path | None = None,
    axes: Axes = None,
) -> Figure:
    """Values of examples in the order of a key, and their running mean.

    Args:
        key: What examples are sorted by, (n,).
        panels: From a title to values (n,).
        name: What the key is called.
        path: Where a PNG of it goes, or None.
        axes: Matplotlib axes to draw on, one for each panel; None makes a figure.

    Raises:
        ValueError: axes are not as many.

    Example:

    >>> key = np.random.normal(size=100)
    >>> figure = sorted_by(key, {"its square": key**2}, "key")

    References:
        Echo paper, App. D.3, Figure 7.
    """
    key = arguments.array("key", key, "(n,)", (1,))
    for title, values in panels_of("panels", panels, axes=1).items():
        if np.shape(values) != key.shape:
            raise ValueError(
                f"panels must have {len(key)} values each, as key. Received: "
                f"{len(values)} for {title!r}"
            )
    order, window = np.argsort(key), max(1, len(key) // 50)
    figure, (several,) = canvas(axes, 1, len(panels), (4.5 * len(panels), 4))
    for one, (title, values) in zip(several, panels.items(), strict=True):
        one.plot(values[order], ",", color="C0", alpha=0.5)
        mean = np.convolve(values[order], np.ones(window) / window, mode="valid")
        one.plot(np.arange(len(mean)) + window / 2, mean, color="C1")
        one.set(xlabel=f"test images, sorted by {name}", title=title)
    return finish(figure, path)


def scatter(
    groups: dict[str, Points],
    x_name: str,
    y_name: str,
    path: Path | None = None,
    wanted: float | None = None,
    axes: Axes = None,
) -> Figure:
    """Draws one measured number of models against another, a colour for each group.

    What a penalty of weight lambda costs is fair to compare at an equal measured value
    of what it holds, not at an equal lambda.

    Args:
        groups: From a label to points (x, y), one for each model.
        x_name, y_name: Names of the axes.
        path: Where a PNG of it goes, or None.
        wanted: The x that models were asked for, drawn dashed, or None.
        axes: Matplotlib axes to draw on; None makes a figure.

    Example:

    >>> figure = scatter({"VCAE": [(2.0, 0.04), (1.9, 0.05)]}, "variance", "error")

    References:
        Variance Constrained Autoencoding, App. B.3.2.
    """
    for label, points in panels_of("groups", groups, axes=2).items():
        if np.shape(points)[1] != 2:
            raise ValueError(
                f"groups must hold points (n, 2). Received: shape {np.shape(points)} "
                f"for {label!r}"
            )
    wanted = arguments.number("wanted", wanted, optional=True)
    figure, ((one,),) = canvas(axes, 1, 1, (5.4, 4.0))
    for i, (label, points) in enumerate(groups.items()):
        one.plot(*np.transpose(points), MARKERS[i % len(MARKERS)], ms=4, label=label)
    if wanted is not None:
        one.axvline(wanted, ls="--", color="0.6", label="asked for")
    one.set(xlabel=x_name, ylabel=y_name)
    one.grid(alpha=0.3)
    one.legend()
    return finish(figure, path)
