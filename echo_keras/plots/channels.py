"""Discrete channels, as tables of probabilities."""

import numpy as np
from matplotlib import ticker

from echo_keras.layers import arguments

from ._figure import Axes, Figure, Path, canvas, finish, panels_of, share_limits


def discrete_channels(
    joint: np.ndarray,
    channels: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    path: Path | None = None,
    share: bool = True,
    axes: Axes = None,
) -> Figure:
    """Draws models of a discrete x with a discrete code, a column for each.

    Rows: the data beside what a model generates; codes by class beside their marginal;
    encoder; decoder; and what becomes of an x that is encoded and decoded. Codes are
    sorted by their share of class 1.

    Args:
        joint: Probabilities of class and x, (2, n).
        channels: From a title to probabilities: e(z|x) and d(x|z), both (codes, n), and
            m(z), (codes,).
        path: Where a PNG of it goes, or None.
        share: If True, all panels of a row have the same scale.
        axes: Matplotlib axes to draw on, 5 for each column; None makes a figure.

    Raises:
        ValueError: axes are not as many.

    Example:

    >>> joint, half = np.full((2, 4), 1 / 8), np.full((2, 4), 0.5)
    >>> figure = discrete_channels(joint, {"mine": (half, half / 2, half[0, :2])})

    References:
        Fixing a Broken ELBO, Fig. 2.
    """
    joint = arguments.array("joint", joint, "(2, n)", (2,))
    share = arguments.flag("share", share)
    parts = ("encoder", "decoder", "marginal")
    channels = panels_of("channels", channels, parts, axes=2)
    heights, size = [1, 1, 1.4, 1.4, 1.4], (3.7 * len(channels), 15)
    figure, grid = canvas(axes, 5, len(channels), size, height_ratios=heights)
    for column, (title, channel) in zip(grid.T, channels.items(), strict=True):
        _discrete_channel(joint, channel, column)
        column[0].set_title(title)
    for row in grid[:2] if share else []:
        share_limits(row, "y")
    for row in grid[2:]:
        images = [one.images[0] for one in row]
        tops = [image.get_array().max() for image in images]
        for one, image, top in zip(row, images, tops, strict=True):
            image.set_clim(0, max(tops) if share else top)
            place = {"ax": one, "pad": 0.02, "ticks": ticker.MaxNLocator(4)}
            one.figure.colorbar(image, **place)
    grid[0, 0].legend(fontsize=8)
    grid[1, 0].legend(fontsize=8, ncols=2, loc="upper center")
    for row, letter in zip(grid, ("i", "ii", "iii", "iv", "v"), strict=True):
        place = {"xy": (-0.3, 1.06), "xycoords": "axes fraction"}
        row[0].annotate(f"({letter})", **place, weight="bold")
    return finish(figure, path)


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
    in_z.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))

    shown = (
        (encoder, "$e(z|x)$", "z"),
        (decoder, "$d(x|z)$", "z"),
        ((encoder.T @ decoder).T, "$p(x'|x)$", "x'"),
    )
    for axes, (table, title, up) in zip(tables, shown, strict=True):
        axes.imshow(table, "viridis", origin="lower", aspect="auto")
        axes.set(title=title, xlabel="x", ylabel=up)
        axes.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
