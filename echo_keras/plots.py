"""Figures of trained models, drawn with Matplotlib and written as PNG."""

import os
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops
from matplotlib import figure as mpl
from matplotlib import ticker
from scipy import stats

from echo_keras.layers.backend import no_gradients
from echo_keras.metrics.fronts import convex_front, entropy_bound, pareto_front

Path = str | os.PathLike
Points = Sequence[tuple[float, float]] | np.ndarray
Curves = dict[str, Points]

MARKERS = "osD^vPpX<>hd"


def reconstructions(
    model: keras.Model, x: np.ndarray, path: Path, samples: int = 10
) -> None:
    """Draws three rows: input, its reconstruction from one code, mean of several.

    Args:
        model: Model from images to logits.
        x: Images, shape (n, height, width, 1 or 3), a column for each.
        path: Where the PNG goes.
        samples: Codes drawn for the mean.
    """
    with no_gradients():
        drawn = [_probabilities(model(x, training=False)) for _ in range(samples)]
    rows = {
        "input": x,
        "one sample": drawn[0],
        f"mean of {samples}": np.mean(drawn, axis=0),
    }
    _grid(list(rows.values()), path, list(rows))


def generations(
    decoder: keras.Model, codes: np.ndarray, path: Path, columns: int = 10
) -> None:
    """Draws decoded codes, such as `bottleneck.sample(100)`, on a grid.

    Args:
        decoder: Model from codes to logits.
        codes: Shape (n, d).
        path: Where the PNG goes.
        columns: Images in a row.
    """
    with no_gradients():
        images = _probabilities(decoder(codes, training=False))
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    _grid(rows, path)


def training_curves(
    histories: dict[str, dict[str, list[float]] | list[dict[str, float]]],
    path: Path,
    metrics: Sequence[str] = ("neg_elbo", "rate", "distortion"),
) -> None:
    """Draws logs against epochs, one panel for each metric, validation dashed.

    Args:
        histories: Dict from a label to logs: `fit`'s `history.history`, or a list
            with a dict for each epoch.
        path: Where the PNG goes.
        metrics: Names of logs; the validation's twin begins with `val_`.
    """
    histories = {label: _by_metric(history) for label, history in histories.items()}
    figure = mpl.Figure((4.2 * len(metrics), 3.4), layout="constrained")
    for axes, metric in zip(
        np.atleast_1d(figure.subplots(1, len(metrics))), metrics, strict=True
    ):
        for i, (label, history) in enumerate(histories.items()):
            for name, style in ((metric, "-"), (f"val_{metric}", "--")):
                if name in history:
                    epochs = range(1, len(history[name]) + 1)
                    shown = label if style == "-" else None
                    axes.plot(epochs, history[name], style, color=f"C{i}", label=shown)
        axes.set(xlabel="epoch", ylabel=f"{metric} (nats per example)")
        axes.grid(alpha=0.3)
    axes.legend(title="dashed: validation")
    figure.savefig(path, dpi=110)


def rate_distortion(
    curves: Curves,
    path: Path,
    min_rate: float | None = None,
    reference: dict[str, tuple[float, float]] | None = None,
) -> None:
    r"""Draws rate against distortion, one curve for each method.

    Points are models; the line through the Pareto front is drawn, and the tangent of
    slope -1 to the best model of all: on it \(R + D\) is the lowest -ELBO (the
    \(\beta = 1\) tangent of Fig. 2, 3 and 5 in the Echo paper).

    Args:
        curves: Dict from a label to points (rate, distortion), nats per example.
        path: Where the PNG goes.
        min_rate: The lowest rate of an Echo channel, drawn dashed, or None.
        reference: Dict from a label to one more point (rate, distortion), such as a
            published number, drawn as a star; or None.

    Raises:
        ValueError: there is no point, points are no pairs, or a number is not finite.

    Example:

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
    ...     rate_distortion({"mine": [(5, 90), (10, 80), (20, 72)]}, file.name)
    """
    figure = mpl.Figure((6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    best = entropy_bound(*_all_points(curves))
    for i, (label, points) in enumerate(curves.items()):
        rate, distortion = np.transpose(points)
        front = pareto_front(rate, distortion)
        axes.plot(rate, distortion, "o", ms=4, color=f"C{i}", alpha=0.6)
        axes.plot(rate[front], distortion[front], "-", color=f"C{i}", label=label)
    for label, point in (reference or {}).items():
        axes.plot(*point, "*", ms=11, mec="k", label=label)
    limits = axes.get_xlim(), axes.get_ylim()
    ends = np.array(limits[0])
    axes.plot(ends, best - ends, ":", color="0.4", label=f"R + D = {best:.1f}")
    if min_rate is not None:
        axes.axvline(min_rate, ls="--", color="0.6", label="lowest Echo rate")
        limits = (min(limits[0][0], min_rate - 0.5), limits[0][1]), limits[1]
    axes.set(xlim=limits[0], ylim=limits[1])
    _name_axes(axes, "distortion")
    axes.legend()
    figure.savefig(path, dpi=110)


def phase_diagram(
    curves: Curves,
    path: Path,
    fronts: str = "all",
    entropy: float | None = None,
    skew: bool = False,
) -> None:
    r"""Draws runs in the rate-distortion plane, and the best that all reach together.

    Every run is a point. The stepwise Pareto front of all runs is black: the least
    distortion that was reached at a rate or below. Its lower convex hull, which
    time-sharing attains, is grey. The dashed diagonal is \(R + D = \hat H\); if
    \(\hat H\) is the data entropy, no model lies below it.

    Args:
        curves: Dict from a label, such as a family of models, to points (rate,
            distortion), nats per example.
        path: Where the PNG goes.
        fronts: "all", as above; or "each", a stepwise front for each label in its
            colour, and neither black front nor hull. To compare encoders, decoders
            and marginals, group the same runs by each and call three times.
        entropy: Number \(\hat H\), in nats; the lowest R + D of all runs if None.
        skew: If True, a second panel shows -ELBO = R + D against R, where differences
            between models of similar -ELBO are easier to see.

    Raises:
        ValueError: fronts is unknown, there is no run, points are no pairs, or a number
            is not finite.

    Example:

    >>> import tempfile
    >>> runs = {"simple": [(5, 90), (20, 72)], "complex": [(0, 84), (25, 66)]}
    >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
    ...     phase_diagram(runs, file.name, skew=True)

    References:
        Fixing a Broken ELBO, Fig. 1, 3 and 7: (a) (i) and (b) by fronts="all" and
        skew=True, (a) (ii) to (iv) by fronts="each".
    """
    if fronts not in ("all", "each"):
        raise ValueError(f"fronts must be 'all' or 'each'. Received: fronts={fronts!r}")
    rate, distortion = _all_points(curves)
    entropy = entropy_bound(rate, distortion) if entropy is None else float(entropy)
    if not np.isfinite(entropy):
        raise ValueError(
            f"entropy must be a finite number. Received: entropy={entropy}"
        )
    # Of a density distortions may be negative; the diagonal goes as far down.
    floor = min(0.0, distortion.min())
    far = max(rate.max(), entropy - floor)
    ends = np.array([0.0, entropy - floor])
    low, high = min(floor, entropy), max(distortion.max(), entropy)
    panels = [("distortion", 0, (low, high))]
    if skew:
        neg_elbo = np.append(rate + distortion, entropy)
        panels.append(
            ("-ELBO = rate + distortion", 1, (neg_elbo.min(), neg_elbo.max()))
        )
    figure = mpl.Figure((5.6 * len(panels) + 1.4, 4.4), layout="constrained")
    several = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, slope, limits) in zip(several, panels, strict=True):
        # What is drawn at (R, D) stands at (R, D + slope R).
        for i, (label, points) in enumerate(curves.items()):
            r, d = np.transpose(points)
            color, marker = f"C{i % 10}", MARKERS[i % len(MARKERS)]
            style = {"color": color, "alpha": 0.7, "ms": 5, "mew": 0, "zorder": 3}
            axes.plot(r, d + slope * r, marker, label=label, **style)
            if fronts == "each":
                x, y = _staircase(r, d, 2 * far, 2 * high - low)
                axes.plot(x, y + slope * x, color=color, lw=1.3)
        if fronts == "all":
            hull = convex_front(rate, distortion)
            x, y = rate[hull], distortion[hull]
            axes.plot(x, y + slope * x, color="0.6", label="convex hull")
            x, y = _staircase(rate, distortion, 2 * far, 2 * high - low)
            axes.plot(x, y + slope * x, color="k", lw=1.3, label="Pareto front")
        diagonal = entropy - ends + slope * ends
        axes.plot(ends, diagonal, "k--", lw=1, label=f"R + D = {entropy:.1f}")
        axes.set(
            xlim=_with_margin(min(0.0, rate.min()), far), ylim=_with_margin(*limits)
        )
        _name_axes(axes, name)
    handles = several[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside right upper", fontsize=9)
    figure.savefig(path, dpi=200)


def _all_points(curves):
    """The rates and the distortions of all labels."""
    for label, points in curves.items():
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


def image_rows(rows: dict[str, np.ndarray], path: Path) -> None:
    """Draws labelled rows of images, such as reconstructions at matched rates.

    Args:
        rows: Dict from a label to images (n, height, width, 1 or 3) in [0, 1].
        path: Where the PNG goes.
    """
    _grid(list(rows.values()), path, list(rows))


def codes_in_plane(
    panels: dict[str, tuple[np.ndarray, Sequence[int] | None]],
    path: Path,
    normal: bool = True,
) -> None:
    """Draws codes of two dimensions, a panel for each model, coloured by class.

    Args:
        panels: Dict from a title to a pair: codes (n, 2), and classes (n,), ints, or
            None.
        path: Where the PNG goes.
        normal: If True, circles of one, two and three standard deviations of a standard
            normal.

    Raises:
        ValueError: codes are not of that shape, or the classes are not as many.

    Example:

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
    ...     codes_in_plane({"mine": (np.eye(2), [0, 1])}, file.name)

    References:
        Variance Constrained Autoencoding, Fig. 2 and 8; The Variational InfoMax
        Autoencoder, Fig. 1.
    """
    figure = mpl.Figure((3.4 * len(panels), 3.6), layout="constrained")
    several = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, (codes, classes)) in zip(several, panels.items(), strict=True):
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != 2:
            raise ValueError(
                f"codes must have shape (n, 2). Received: {codes.shape} for {title!r}"
            )
        if classes is not None and len(classes) != len(codes):
            raise ValueError(
                f"classes must be as many as codes, {len(codes)}. Received: "
                f"{len(classes)} for {title!r}"
            )
        style = {} if classes is None else {"c": classes, "cmap": "tab10"}
        axes.scatter(*codes.T, s=2, linewidths=0, rasterized=True, **style)
        if normal:
            angle = np.linspace(0, 2 * np.pi, 100)
            for radius in (1, 2, 3):
                circle = radius * np.cos(angle), radius * np.sin(angle)
                axes.plot(*circle, color="0.5", lw=0.6)
        axes.set(title=title, aspect="equal")
    figure.savefig(path, dpi=110)


def code_histograms(panels: dict[str, np.ndarray], path: Path, bins: int = 60) -> None:
    """Draws a histogram of each code dimension, a row for each model.

    The curve is the standard normal's density.

    Args:
        panels: Dict from a label to codes (n, d), d the same for all.
        path: Where the PNG goes.
        bins: Int >= 1.

    Raises:
        ValueError: codes are not of that shape.

    Example:

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
    ...     code_histograms({"mine": np.random.normal(size=(100, 3))}, file.name)

    References:
        Variance Constrained Autoencoding, Fig. 5 and 10 to 12.
    """
    shapes = {np.shape(codes)[1:] for codes in panels.values()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 1:
        raise ValueError(
            f"codes must have shape (n, d), d the same for all labels. Received: "
            f"{', '.join(str(np.shape(codes)) for codes in panels.values())}"
        )
    columns = shape[0]
    figure = mpl.Figure((2.2 * columns, 1.8 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), columns, squeeze=False)
    x = np.linspace(-4, 4, 200)
    for row, (label, codes) in zip(grid, panels.items(), strict=True):
        for j, axes in enumerate(row):
            axes.hist(np.asarray(codes)[:, j], bins, density=True, color="C0")
            axes.plot(x, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), "k", lw=0.8)
            axes.set(yticks=[])
            if label == list(panels)[-1]:
                axes.set_xlabel(f"z{j + 1}")
        row[0].set_ylabel(label)
    figure.savefig(path, dpi=110)


def codes_by_factor(
    codes: np.ndarray,
    factors: np.ndarray,
    names: Sequence[str],
    path: Path,
    shape: str = "shape",
    position: tuple[str, str] = ("pos_x", "pos_y"),
) -> None:
    """Draws the mean of each code dimension against each factor of the images.

    One row for each dimension. Where both factors of `position` are known, the first
    column is a heat map over them; every other factor has a column, with a line for
    each value of the factor `shape`. Dimensions share the scale of a column.

    Args:
        codes: Array (n, d), of images that cover the factors.
        factors: Int array (n, k), the factors of these images.
        names: The k factors' names.
        path: Where the PNG goes.
        shape: Name of the factor that has lines, if it is among `names`.
        position: Names of the factors across and down, if they are among `names`.

    References:
        Echo paper, Fig. 4; Chen et al., Isolating Sources of Disentanglement (2018).
    """
    codes, factors, names = np.asarray(codes), np.asarray(factors), list(names)
    lines = factors[:, names.index(shape)] if shape in names else np.zeros(len(codes))
    heat = [names.index(name) for name in position if name in names]
    heat = heat if len(heat) == 2 else []
    others = [k for k, name in enumerate(names) if name != shape and k not in heat]
    dims, columns = codes.shape[1], bool(heat) + len(others)
    figure = mpl.Figure((2.2 * columns, 1.2 * dims + 0.4), layout="constrained")
    axes = figure.subplots(dims, columns, squeeze=False)
    bound = np.abs(codes).max()
    for dim in range(dims):
        panels = list(axes[dim])
        panels[0].set_ylabel(f"{dim + 1}")
        if heat:
            across, down = (factors[:, k] for k in heat)
            grid = mean_by([down, across], codes[:, dim])
            panel = panels.pop(0)
            panel.imshow(grid, cmap="coolwarm", vmin=-bound, vmax=bound)
            panel.set(xticks=[], yticks=[])
        for panel, k in zip(panels, others, strict=True):
            for means in mean_by([lines.astype(int), factors[:, k]], codes[:, dim]):
                panel.plot(means, linewidth=1)
            panel.set(ylim=(-bound, bound), xticks=[])
    titles = ["position"] * bool(heat) + [names[k] for k in others]
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title, fontsize=9)
    figure.savefig(path, dpi=110)


def mean_by(keys: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
    """Means of values over all that share their keys; NaN where nothing does.

    Args:
        keys: Two int arrays (n,), each from 0 up.
        values: Array (n,).

    Returns:
        Array (size of the first key, size of the second).

    Example:

    >>> mean_by([np.array([0, 0, 1]), np.array([1, 1, 0])], np.array([1.0, 3.0, 5.0]))
    array([[nan,  2.],
           [ 5., nan]])
    """
    shape = [key.max() + 1 for key in keys]
    cells = np.ravel_multi_index(keys, shape)
    counts = np.bincount(cells, minlength=np.prod(shape))
    sums = np.bincount(cells, values, minlength=np.prod(shape))
    means = np.divide(sums, counts, where=counts > 0, out=np.full(len(sums), np.nan))
    return means.reshape(shape)


def mean_reconstruction(
    model: keras.Model, x: np.ndarray, samples: int = 10
) -> np.ndarray:
    """The mean of reconstructions from several codes, (n, height, width, channels)."""
    with no_gradients():
        drawn = [_probabilities(model(x, training=False)) for _ in range(samples)]
    return np.mean(drawn, axis=0)


def _by_metric(history):
    """Logs as `fit` returns them: a list of values for each metric."""
    if isinstance(history, dict):
        return history
    names = history[0] if history else []
    return {name: [logs[name] for logs in history] for name in names}


def _probabilities(logits):
    return ops.convert_to_numpy(ops.sigmoid(logits))


def _grid(rows, path, labels=None):
    columns = max(len(row) for row in rows)
    figure = mpl.Figure((0.6 * columns + 1.2, 0.62 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for i, row in enumerate(rows):
        for j in range(columns):
            axes[i, j].set(xticks=[], yticks=[], frame_on=False)
            if j < len(row):
                image = np.asarray(row[j])
                axes[i, j].imshow(np.squeeze(image), cmap="gray_r", vmin=0, vmax=1)
        if labels:
            axes[i, 0].set_ylabel(labels[i], rotation=0, ha="right", va="center")
    figure.savefig(path, dpi=110)


def information_plane(
    curves: dict[str, Sequence[tuple[float, float, float]]], path: Path, entropy: float
) -> None:
    """Draws what codes tell of classes against what they keep of inputs.

    Args:
        curves: From a label, of a channel, to points (beta, I(X; Z), I(Z; C)), nats per
            example, a model each.
        path: Where the PNG goes.
        entropy: H(C) in nats, the most that a code can tell.

    Example:

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
    ...     information_plane({"Echo": [(0.1, 6.6, 1.9), (1, 2.9, 1)]}, file.name, 2.3)

    References:
        Tishby et al. (1999); BIB-AE paper, Sec. 2.1.
    """
    figure = mpl.Figure((6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for i, (label, points) in enumerate(curves.items()):
        betas, kept, told = np.transpose(points)
        axes.plot(kept, told, "o-", label=label)
        # Above the points of one channel, below those of the next.
        side, offset = ("left", (3, -11)) if i % 2 else ("right", (-3, 6))
        style = {"textcoords": "offset points", "ha": side, "fontsize": 8}
        for beta, *point in zip(betas, kept, told, strict=True):
            axes.annotate(rf"$\beta$ = {beta:g}", point, xytext=offset, **style)
    axes.axhline(entropy, ls=":", color="0.4", label="H(C)")
    # Of a Markov chain from C over X to Z.
    ends = [0, entropy]
    axes.plot(ends, ends, "--", color="0.6", label="I(Z; C) = I(X; Z)")
    axes.set(xlabel="I(X; Z) (nats)", ylabel="bound on I(Z; C) (nats)")
    axes.margins(x=0.12)  # room for names
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def discrete_channels(
    joint: np.ndarray,
    channels: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    path: Path,
) -> None:
    """Draws models of a discrete x with a discrete code, a column for each.

    Rows: the data beside what a model generates; codes by class beside their marginal;
    encoder; decoder; and what becomes of an x that is encoded and decoded. Codes are
    sorted by their share of class 1.

    Args:
        joint: Probabilities of class and x, (2, n).
        channels: From a title to probabilities: e(z|x) and d(x|z), both (codes, n), and
            m(z), (codes,).
        path: Where the PNG goes.

    Example:

    >>> import tempfile
    >>> joint, half = np.full((2, 4), 1 / 8), np.full((2, 4), 0.5)
    >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
    ...     discrete_channels(joint, {"mine": (half, half / 2, half[0, :2])}, file.name)

    References:
        Fixing a Broken ELBO, Fig. 2.
    """
    figure = mpl.Figure((3.7 * len(channels), 15), layout="constrained")
    heights = [1, 1, 1.4, 1.4, 1.4]
    grid = figure.subplots(5, len(channels), squeeze=False, height_ratios=heights)
    for column, (title, channel) in zip(grid.T, channels.items(), strict=True):
        _discrete_channel(joint, channel, column)
        column[0].set_title(title)
    grid[0, 0].legend(fontsize=8)
    grid[1, 0].legend(fontsize=8, ncols=2, loc="upper center")
    for row, letter in zip(grid, ("i", "ii", "iii", "iv", "v"), strict=True):
        place = {"xy": (-0.3, 1.06), "xycoords": "axes fraction"}
        row[0].annotate(f"({letter})", **place, weight="bold")
    figure.savefig(path, dpi=110)


def _discrete_channel(joint, channel, column):
    p = joint.sum(0)
    mass = joint @ channel[0].T  # P(class, code)
    order = np.argsort(mass[1] / mass.sum(0), kind="stable")
    encoder, decoder, marginal = (table[order] for table in channel)
    mass = mass[:, order]
    in_x, in_z, *tables = column

    x = np.arange(len(p))
    in_x.bar(x, p, color="0.82", label="$p^*(x)$")
    in_x.plot(x, marginal @ decoder, "C0-", lw=2.5, label="$g(x)$")
    in_x.plot(x, mass.sum(0) @ decoder, "C3--", lw=1.5, label="$d(x)$")
    in_x.set(xlabel="x", ylabel="probability")

    codes, shares = np.arange(len(marginal)), mass.sum(0)
    in_z.bar(codes, mass[0], color="#5e3c99", label="$e(z_0)$")
    in_z.bar(codes, mass[1], bottom=mass[0], color="#f1b82d", label="$e(z_1)$")
    in_z.step(codes, shares, "k-", where="mid", lw=1.2, label="$e(z)$")
    in_z.plot(codes, marginal, "o", color="C0", ms=3.5, label="$m(z)$")
    top = 1.5 * max(shares.max(), marginal.max())
    in_z.set(xlabel="z", ylabel="probability", ylim=(0, top))

    shown = (
        (encoder, "$e(z|x)$", "z"),
        (decoder, "$d(x|z)$", "z"),
        ((encoder.T @ decoder).T, "$p(x'|x)$", "x'"),
    )
    for axes, (table, title, up) in zip(tables, shown, strict=True):
        image = axes.imshow(table, "viridis", origin="lower", vmin=0, aspect="auto")
        axes.set(title=title, xlabel="x", ylabel=up)
        axes.figure.colorbar(image, ax=axes, pad=0.02, ticks=ticker.MaxNLocator(4))


def clouds(rows: dict[str, dict[str, np.ndarray]], path: Path, size: float = 2) -> None:
    """Points in the plane: a row of panels for each kind, one panel for each cloud.

    Args:
        rows: From a kind to a dict from a panel's title to points (n, 2).
        path: Where the PNG goes.
        size: The panels reach from -size to size in both directions.
    """
    columns = max(map(len, rows.values()))
    figure = mpl.Figure((3 * columns, 3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, sharex=True, sharey=True, squeeze=False)
    for row, panels in zip(axes, rows.values(), strict=True):
        for cell, (title, points) in zip(row, panels.items(), strict=True):
            cell.plot(*points.T, ",", color="C0")
            limits = (-size, size)
            cell.set(title=title, aspect="equal", xlim=limits, ylim=limits)
    figure.savefig(path, dpi=110)


def marginal_densities(
    panels: dict[str, tuple[np.ndarray, np.ndarray]], path: Path, points: int = 20_000
) -> None:
    """Densities of the dimensions of codes, by Gaussian kernels with Scott's rule.

    Args:
        panels: From a title to codes (n, d) and the rates of their dimensions, nats.
        path: Where the PNG goes.
        points: At most so many codes are used: the cost grows with them, the shape
            hardly changes.

    References:
        Echo paper, App. D.2, Figure 6.
    """
    figure = mpl.Figure((6.2 * len(panels), 4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    rng = np.random.default_rng(0)
    for cell, (title, (codes, rates)) in zip(axes, panels.items(), strict=True):
        rows = codes[rng.choice(len(codes), min(points, len(codes)), replace=False)]
        grid = np.linspace(*np.quantile(rows, [0.0005, 0.9995]), 300)
        for column, rate in zip(rows.T, rates, strict=True):
            density = stats.gaussian_kde(column, bw_method="scott")
            cell.plot(grid, density(grid), lw=1, label=f"{rate:.2f} nats")
        cell.set(title=title, xlabel="z_j", ylabel="density")
        cell.legend(fontsize=6, ncols=2)
    figure.savefig(path, dpi=110)


def sorted_by(
    key: np.ndarray, panels: dict[str, np.ndarray], name: str, path: Path
) -> None:
    """Values of examples in the order of a key, and their running mean.

    Args:
        key: What examples are sorted by, (n,).
        panels: From a title to values (n,).
        name: What the key is called.
        path: Where the PNG goes.

    References:
        Echo paper, App. D.3, Figure 7.
    """
    order, window = np.argsort(key), max(1, len(key) // 50)
    figure = mpl.Figure((4.5 * len(panels), 4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for cell, (title, values) in zip(axes, panels.items(), strict=True):
        cell.plot(values[order], ",", color="C0", alpha=0.5)
        mean = np.convolve(values[order], np.ones(window) / window, mode="valid")
        cell.plot(np.arange(len(mean)) + window / 2, mean, color="C1")
        cell.set(xlabel=f"test images, sorted by {name}", title=title)
    figure.savefig(path, dpi=110)
