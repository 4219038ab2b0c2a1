"""Codes: in the plane, dimension by dimension, against factors."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from ._figure import Figure, Path, done, new

Points = Sequence[tuple[float, float]] | np.ndarray
Curves = dict[str, Points]


def codes_in_plane(
    panels: dict[str, tuple[np.ndarray, Sequence[int] | None]],
    path: Path | None = None,
    normal: bool = True,
    share: bool = True,
) -> Figure:
    """Draws codes of two dimensions, a panel for each model, coloured by class.

    Args:
        panels: Dict from a title to a pair: codes (n, 2), and classes (n,), ints, or
            None.
        path: Where a PNG of it goes, or None.
        normal: If True, circles of one, two and three standard deviations of a standard
            normal.
        share: If True, all panels have one scale, so that spreads compare.

    Raises:
        ValueError: codes are not of that shape, or the classes are not as many.

    Example:

    >>> figure = codes_in_plane({"mine": (np.eye(2), [0, 1])})

    References:
        Variance Constrained Autoencoding, Fig. 2 and 8; The Variational InfoMax
        Autoencoder, Fig. 1.
    """
    figure = new(3.4 * len(panels) + 0.9, 4.2)
    several = figure.subplots(
        1, len(panels), squeeze=False, sharex=share, sharey=share
    )[0]
    named = {}
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
        labels = np.zeros(len(codes)) if classes is None else np.asarray(classes)
        for label in np.unique(labels):
            part = codes[labels == label]
            dots = axes.plot(*part.T, ".", ms=2, mew=0, rasterized=True)[0]
            if classes is not None:
                dots.set_color(f"C{int(label) % 10}")
                named[int(label)] = dots
        if normal:
            angle = np.linspace(0, 2 * np.pi, 100)
            for radius in (1, 2, 3):
                circle = radius * np.cos(angle), radius * np.sin(angle)
                axes.plot(*circle, color="0.5", lw=0.6)
        axes.set(title=title, aspect="equal")
    if named:
        shown = sorted(named)
        handles = [named[label] for label in shown]
        figure.legend(handles, shown, loc="outside right center", markerscale=6)
    return done(figure, path)


def code_histograms(
    panels: dict[str, np.ndarray], path: Path | None = None, bins: int = 60
) -> Figure:
    """Draws a histogram of each code dimension, a row for each model.

    The curve is the standard normal's density.

    Args:
        panels: Dict from a label to codes (n, d), d the same for all.
        path: Where a PNG of it goes, or None.
        bins: Int >= 1.

    Raises:
        ValueError: codes are not of that shape.

    Example:

    >>> figure = code_histograms({"mine": np.random.normal(size=(100, 3))})

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
    figure = new(2.2 * columns, 1.8 * len(panels))
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
    return done(figure, path)


def codes_by_factor(
    codes: np.ndarray,
    factors: np.ndarray,
    names: Sequence[str],
    path: Path | None = None,
    shape: str = "shape",
    position: tuple[str, str] = ("pos_x", "pos_y"),
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

    References:
        Echo paper, Fig. 4; Chen et al., Isolating Sources of Disentanglement (2018).
    """
    codes, factors, names = np.asarray(codes), np.asarray(factors), list(names)
    lines = factors[:, names.index(shape)] if shape in names else np.zeros(len(codes))
    heat = [names.index(name) for name in position if name in names]
    heat = heat if len(heat) == 2 else []
    others = [k for k, name in enumerate(names) if name != shape and k not in heat]
    dims, columns = codes.shape[1], bool(heat) + len(others)
    figure = new(2.2 * columns, 1.2 * dims + 0.4)
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
    return done(figure, path)


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


def clouds(
    rows: dict[str, dict[str, np.ndarray]], path: Path | None = None, size: float = 2
) -> Figure:
    """Points in the plane: a row of panels for each kind, one panel for each cloud.

    Args:
        rows: From a kind to a dict from a panel's title to points (n, 2).
        path: Where a PNG of it goes, or None.
        size: The panels reach from -size to size in both directions.
    """
    columns = max(map(len, rows.values()))
    figure = new(3 * columns, 3 * len(rows))
    axes = figure.subplots(len(rows), columns, sharex=True, sharey=True, squeeze=False)
    for row, panels in zip(axes, rows.values(), strict=True):
        for cell, (title, points) in zip(row, panels.items(), strict=True):
            cell.plot(*points.T, ",", color="C0")
            limits = (-size, size)
            cell.set(title=title, aspect="equal", xlim=limits, ylim=limits)
    return done(figure, path)


def marginal_densities(
    panels: dict[str, tuple[np.ndarray, np.ndarray]],
    path: Path | None = None,
    points: int = 20_000,
) -> Figure:
    """Densities of the dimensions of codes, by Gaussian kernels with Scott's rule.

    Args:
        panels: From a title to codes (n, d) and the rates of their dimensions, nats.
        path: Where a PNG of it goes, or None.
        points: At most so many codes are used: the cost grows with them, the shape
            hardly changes.

    References:
        Echo paper, App. D.2, Figure 6.
    """
    figure = new(6.2 * len(panels), 4)
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
    return done(figure, path)
