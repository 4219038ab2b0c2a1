"""Codes: in the plane, dimension by dimension, against factors."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from scipy import stats

from echo_keras.layers import arguments

from ._figure import Axes, Figure, Path, canvas, finish, legend, panels_of, share_limits


def codes_in_plane(
    panels: dict[str, tuple[np.ndarray, Sequence[int] | None]],
    path: Path | None = None,
    normal: bool = True,
    names: Sequence[str] | None = None,
    share: bool = True,
    axes: Axes = None,
) -> Figure:
    """Draws codes of two dimensions, a panel for each model, coloured by class.

    Up to twenty classes have a legend.

    Args:
        panels: Dict from a title to a pair: codes (n, 2), and classes (n,), ints, or
            None.
        path: Where a PNG of it goes, or None.
        normal: If True, circles of one, two and three standard deviations of a standard
            normal.
        names: The classes' names in the legend, in the order of their numbers; None
            shows the numbers.
        share: If True, all panels have the same scale.
        axes: Matplotlib axes to draw on, one for each panel; None makes a figure.

    Raises:
        ValueError: codes are not of that shape, or classes, names or axes are not as
            many.

    Example:

    >>> figure = codes_in_plane({"mine": (np.eye(2), [0, 1])})

    References:
        Variance Constrained Autoencoding, Fig. 2 and 8; The Variational InfoMax
        Autoencoder, Fig. 1.
    """
    panels = panels_of("panels", panels, ("codes", "classes"))
    normal, share = arguments.flag("normal", normal), arguments.flag("share", share)
    for title, (codes, classes) in panels.items():
        if classes is not None:
            arguments.array("classes", classes, "(n,)", (1,))
        if np.ndim(codes) != 2 or np.shape(codes)[1] != 2:
            raise ValueError(
                f"codes must have shape (n, 2). Received: {np.shape(codes)} for "
                f"{title!r}"
            )
        if classes is not None and len(classes) != len(codes):
            raise ValueError(
                f"classes must be as many as codes, {len(codes)}. Received: "
                f"{len(classes)} for {title!r}"
            )
    given = [np.asarray(c) for _, c in panels.values() if c is not None]
    found = np.unique(np.concatenate(given)) if given else []
    if names is not None and not isinstance(names, (list, tuple)):
        raise ValueError(f"names must be a list of texts. Received: names={names!r}")
    if names is not None and len(names) != len(found):
        raise ValueError(
            f"names must be as many as classes, {len(found)}. Received: {len(names)}"
        )
    colors = matplotlib.colormaps["tab10" if len(found) <= 10 else "tab20"]
    if len(found) > 20:
        colors = matplotlib.colormaps["turbo"].resampled(len(found))
    figure, (several,) = canvas(axes, 1, len(panels), (3.4 * len(panels) + 0.6, 3.6))
    for one, (title, (codes, classes)) in zip(several, panels.items(), strict=True):
        style = {"color": "C0"}
        if classes is not None:
            style = {"c": colors(np.searchsorted(found, classes) % colors.N)}
        one.scatter(*np.transpose(codes), s=3, lw=0, rasterized=True, **style)
        if normal:
            angle = np.linspace(0, 2 * np.pi, 100)
            for radius in (1, 2, 3):
                circle = radius * np.cos(angle), radius * np.sin(angle)
                one.plot(*circle, color="0.5", lw=0.6)
        one.set(title=title, aspect="equal")
    if share:
        share_limits(several, "x")
        share_limits(several, "y")
    if 0 < len(found) <= 20:
        marks = [
            Line2D([], [], color=colors(i), marker="o", ls="", ms=5, label=str(name))
            for i, name in enumerate(found if names is None else names)
        ]
        legend(figure, several, axes, marks, title="class")
    return finish(figure, path)


def code_histograms(
    panels: dict[str, np.ndarray],
    path: Path | None = None,
    bins: int = 60,
    share: bool = True,
    axes: Axes = None,
) -> Figure:
    """Draws a histogram of each code dimension, a row for each model.

    The curve is the standard normal's density.

    Args:
        panels: Dict from a label to codes (n, d), d the same for all.
        path: Where a PNG of it goes, or None.
        bins: Int >= 1.
        share: If True, all panels have the same scale.
        axes: Matplotlib axes to draw on, d for each label; None makes a figure.

    Raises:
        ValueError: codes are not of that shape, or axes are not as many.

    Example:

    >>> figure = code_histograms({"mine": np.random.normal(size=(100, 3))})

    References:
        Variance Constrained Autoencoding, Fig. 5 and 10 to 12.
    """
    panels = panels_of("panels", panels)
    bins, share = arguments.integer("bins", bins), arguments.flag("share", share)
    shapes = {np.shape(codes)[1:] for codes in panels.values()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 1:
        raise ValueError(
            f"codes must have shape (n, d), d the same for all labels. Received: "
            f"{', '.join(str(np.shape(codes)) for codes in panels.values())}"
        )
    columns = shape[0]
    size = 2.2 * columns, 1.8 * len(panels)
    figure, grid = canvas(axes, len(panels), columns, size)
    x = np.linspace(-4, 4, 200)
    for row, (label, codes) in zip(grid, panels.items(), strict=True):
        for j, one in enumerate(row):
            one.hist(np.asarray(codes)[:, j], bins, density=True, color="C0")
            one.plot(x, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), "k", lw=0.8)
            one.set(yticks=[])
            if label == list(panels)[-1]:
                one.set_xlabel(f"z{j + 1}")
        row[0].set_ylabel(label)
    if share:
        share_limits(grid, "x")
        share_limits(grid, "y")
    return finish(figure, path)


def codes_by_factor(
    codes: np.ndarray,
    factors: np.ndarray,
    names: Sequence[str],
    path: Path | None = None,
    shape: str = "shape",
    position: tuple[str, str] = ("pos_x", "pos_y"),
    shape_names: Sequence[str] | None = None,
    axes: Axes = None,
) -> Figure:
    """Draws the mean of each code dimension against each factor of the images.

    One row for each dimension. Where both factors of `position` are known, the first
    column is a heat map over them; every other factor has a column, with a line for
    each value of the factor `shape`. Dimensions share the scale of a column.

    Args:
        codes: Array (n, d), of images that cover the factors.
        factors: Int array (n, k), the factors of these images.
        names: The k factors' names.
        path: Where a PNG of it goes, or None.
        shape: Name of the factor that has lines, if it is among `names`.
        position: Names of the factors across and down, if they are among `names`.
        shape_names: What the legend calls the values of `shape`, from 0 up; None shows
            the numbers.
        axes: Matplotlib axes to draw on, a row of columns for each dimension; None
            makes a figure.

    Raises:
        ValueError: axes are not as many.

    Example:

    >>> factors = np.stack(np.unravel_index(np.arange(12), (3, 4)), axis=-1)
    >>> figure = codes_by_factor(factors[:, :1], factors, ["size", "angle"])

    References:
        Echo paper, Fig. 4; Chen et al., Isolating Sources of Disentanglement (2018).
    """
    codes = arguments.array("codes", codes, "(n, d)", (2,)).astype("float64")
    factors = arguments.array("factors", factors, "(n, k)", (2,))
    names, position = (
        arguments.texts("names", names),
        arguments.texts("position", position),
    )
    arguments.texts("shape", [shape])
    if shape_names is not None:
        shape_names = arguments.texts("shape_names", shape_names)
    whole = factors.dtype.kind in "iu" and factors.min() >= 0
    if not whole or factors.shape != (len(codes), len(names)):
        raise ValueError(
            f"factors must be integers >= 0, ({len(codes)}, {len(names)}), one column "
            f"for each name. Received: {factors.dtype} of shape {factors.shape}"
        )
    lines = factors[:, names.index(shape)] if shape in names else np.zeros(len(codes))
    heat = [names.index(name) for name in position if name in names]
    heat = heat if len(heat) == 2 else []
    others = [k for k, name in enumerate(names) if name != shape and k not in heat]
    dims, columns = codes.shape[1], bool(heat) + len(others)
    figure, rows = canvas(axes, dims, columns, (2.2 * columns + 0.9, 1.2 * dims + 0.4))
    bound = np.abs(codes).max()
    for dim in range(dims):
        panels = list(rows[dim])
        panels[0].set_ylabel(f"z{dim + 1}")
        if heat:
            across, down = (factors[:, k] for k in heat)
            grid = mean_by([down, across], codes[:, dim])
            panel = panels.pop(0)
            panel.imshow(grid, cmap="coolwarm", vmin=-bound, vmax=bound)
            panel.set(xticks=[], yticks=[])
        for panel, k in zip(panels, others, strict=True):
            means = mean_by([lines.astype(int), factors[:, k]], codes[:, dim])
            labels = range(len(means)) if shape_names is None else shape_names
            for line, label in zip(means, labels, strict=True):
                panel.plot(line, linewidth=1, label=f"{label}")
            panel.set(ylim=(-bound, bound), xticks=[])
    titles = ["position"] * bool(heat) + [names[k] for k in others]
    for panel, title in zip(rows[0], titles, strict=True):
        panel.set_title(title, fontsize=9)
    if shape in names and others:
        marks = rows[0, -1].get_legend_handles_labels()[0]
        legend(figure, rows[0], axes, marks, title=shape)
    return finish(figure, path)


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
    if not isinstance(keys, (list, tuple)) or not keys:
        raise ValueError(f"keys must be a list of arrays. Received: keys={keys!r:.100}")
    keys = [arguments.array("keys", key, "(n,)", (1,)) for key in keys]
    values = arguments.array("values", values, "(n,)", (1,))
    if any(k.dtype.kind not in "iu" or k.shape != values.shape for k in keys) or any(
        k.min() < 0 for k in keys
    ):
        raise ValueError(
            f"keys must be integers >= 0, as many as values, {len(values)}. Received: "
            f"{', '.join(f'{k.dtype} of shape {k.shape}' for k in keys)}"
        )
    keys = [key.astype("int64") for key in keys]
    shape = [key.max() + 1 for key in keys]
    cells = np.ravel_multi_index(keys, shape)
    counts = np.bincount(cells, minlength=np.prod(shape))
    sums = np.bincount(cells, values, minlength=np.prod(shape))
    means = np.divide(sums, counts, where=counts > 0, out=np.full(len(sums), np.nan))
    return means.reshape(shape)


def clouds(
    rows: dict[str, dict[str, np.ndarray]],
    path: Path | None = None,
    size: float = 2,
    axes: Axes = None,
) -> Figure:
    """Points in the plane: a row of panels for each kind, one panel for each cloud.

    Args:
        rows: From a kind to a dict from a panel's title to points (n, 2); each kind
            has as many panels.
        path: Where a PNG of it goes, or None.
        size: The panels reach from -size to size in both directions.
        axes: Matplotlib axes to draw on, one for each panel; None makes a figure.

    Raises:
        ValueError: axes are not as many.

    Example:

    >>> e = np.random.normal(size=(100, 2))
    >>> figure = clouds({"noise": {"e": e, "e / 2": e / 2}})
    """
    for label, found in arguments.mapping("rows", rows, "dicts").items():
        for points in panels_of(f"rows[{label!r}]", found, axes=2).values():
            if np.shape(points)[1] != 2:
                raise ValueError(
                    f"points must have shape (n, 2). Received: {np.shape(points)}"
                )
    size = arguments.number("size", size, above=0)
    columns = max(map(len, rows.values()))
    if any(len(found) != columns for found in rows.values()):
        raise ValueError(
            "rows must have as many panels each. Received: different numbers"
        )
    figure, grid = canvas(axes, len(rows), columns, (3 * columns, 3 * len(rows)))
    for row, panels in zip(grid, rows.values(), strict=True):
        for one, (title, points) in zip(row, panels.items(), strict=True):
            one.plot(*points.T, ",", color="C0")
            limits = (-size, size)
            one.set(title=title, aspect="equal", xlim=limits, ylim=limits)
            one.label_outer()
    return finish(figure, path)


def marginal_densities(
    panels: dict[str, tuple[np.ndarray, np.ndarray]],
    path: Path | None = None,
    points: int = 20_000,
    share: bool = True,
    axes: Axes = None,
) -> Figure:
    """Densities of the dimensions of codes, by Gaussian kernels with Scott's rule.

    Args:
        panels: From a title to codes (n, d) and the rates of their dimensions, nats.
        path: Where a PNG of it goes, or None.
        points: At most so many codes are used: the cost grows with them, the shape
            hardly changes.
        share: If True, all panels have the same scale.
        axes: Matplotlib axes to draw on, one for each panel; None makes a figure.

    Raises:
        ValueError: axes are not as many.

    Example:

    >>> codes = np.random.normal(size=(100, 3))
    >>> figure = marginal_densities({"mine": (codes, np.array([2.0, 1.0, 0.1]))})

    References:
        Echo paper, App. D.2, Figure 6.
    """
    panels = panels_of("panels", panels, ("codes", "rates"), axes=2)
    points, share = (
        arguments.integer("points", points, low=2),
        arguments.flag("share", share),
    )
    figure, grid = canvas(axes, 1, len(panels), (6.2 * len(panels), 4))
    rng = np.random.default_rng(0)
    for one, (title, (codes, rates)) in zip(grid[0], panels.items(), strict=True):
        rows = codes[rng.choice(len(codes), min(points, len(codes)), replace=False)]
        x = np.linspace(*np.quantile(rows, [0.0005, 0.9995]), 300)
        for column, rate in zip(rows.T, rates, strict=True):
            density = stats.gaussian_kde(column, bw_method="scott")
            one.plot(x, density(x), lw=1, label=f"{rate:.2f} nats")
        one.set(title=title, xlabel="z_j", ylabel="density")
        one.legend(fontsize=6, ncols=2)
    if share:
        share_limits(grid, "x")
        share_limits(grid, "y")
    return finish(figure, path)


def rate_by_dimension(
    rates: dict[str, np.ndarray], path: Path | None = None, axes: Axes = None
) -> Figure:
    """Draws the rate of each code dimension as bars, the highest first.

    Each model's dimensions are in an order of its own; the legend has the sum.

    Args:
        rates: Dict from a label, of a model, to nats of each dimension, (d,), or of
            each example and dimension, (n, d), of which the mean is shown: what
            `metrics.rate_by_dimension` and a bottleneck's method of this name return.
        path: Where a PNG of it goes, or None.
        axes: Matplotlib axes to draw on; None makes a figure.

    Raises:
        ValueError: rates are not of that shape, or there are none.

    Example:

    >>> rates = {"Echo": np.array([1.2, 0.2, 2.9]), "VAE": np.array([3.1, 0.0, 0.9])}
    >>> figure = rate_by_dimension(rates)
    """
    rates = panels_of("rates", rates)
    if any(np.ndim(found) not in (1, 2) for found in rates.values()):
        shapes = {label: np.shape(found) for label, found in rates.items()}
        raise ValueError(
            f"rates must hold arrays (d,) or (n, d), at least one. Received: shapes "
            f"{shapes}"
        )
    figure, ((one,),) = canvas(axes, 1, 1, (6.4, 3.6))
    width = 0.8 / len(rates)
    for i, (label, found) in enumerate(rates.items()):
        means = np.asarray(found, "float64")
        means = np.sort(means.mean(axis=0) if means.ndim == 2 else means)[::-1]
        place = 1 + np.arange(len(means)) + width * (i - (len(rates) - 1) / 2)
        text = f"{label}: {means.sum():.1f} nats"
        one.bar(place, means, width, color=f"C{i}", label=text)
    one.set(xlabel="dimension, sorted by rate", ylabel="rate (nats per example)")
    one.xaxis.get_major_locator().set_params(integer=True)
    one.legend()
    return finish(figure, path)
