"""What every figure shares: where it is drawn, how it is shown and written."""

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import axes as mpl_axes
from matplotlib.figure import Figure

from echo_keras.layers import arguments

Path = str | os.PathLike
Points = Sequence[tuple[float, float]] | np.ndarray
Curves = dict[str, Points]
Axes = mpl_axes.Axes | Sequence[mpl_axes.Axes] | np.ndarray | None

DPI = 150


class NotebookFigure(Figure):
    """A Matplotlib figure that stands outside pyplot, and that notebooks show."""

    def _repr_png_(self):
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def canvas(
    axes: Axes, rows: int, columns: int, size: tuple[float, float], **subplots
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes, (rows, columns): those that are given, or new ones."""
    if axes is None:
        if not rows * columns:
            raise ValueError("A figure must have at least one panel. Received: none")
        figure = NotebookFigure(size, layout="constrained", dpi=DPI)
        return figure, figure.subplots(rows, columns, squeeze=False, **subplots)
    grid = np.array(axes, dtype=object)
    if grid.size != rows * columns or not all(
        isinstance(one, mpl_axes.Axes) for one in grid.flat
    ):
        raise ValueError(
            f"axes must be {rows} x {columns} Matplotlib axes, or None. Received: "
            f"axes={axes!r}"
        )
    return grid.flat[0].figure.figure, grid.reshape(rows, columns)


def panels_of(
    name: str, panels: Any, parts: Sequence[str] = (), axes: int | None = None
) -> dict[str, Any]:
    """A dict of arrays, or of tuples of so many of them, which have so many axes."""
    for label, found in arguments.mapping(name, panels, "arrays by title").items():
        where = f"{name}[{label!r}]"
        is_tuple = isinstance(found, (list, tuple)) and len(found) == len(parts)
        if parts and not is_tuple:
            raise ValueError(
                f"{where} must be ({', '.join(parts)}). Received: {found!r:.80}"
            )
        found = found[0] if parts else found
        arguments.array(where, found, axes=(axes,) if axes else ())
    return panels


def pair_of_limits(name: str, value: Any) -> tuple[float, float]:
    """Two numbers, the first of them lower."""
    pair = arguments.array(name, value, "(2,)", (1,))
    if len(pair) != 2 or not pair[0] < pair[1]:
        raise ValueError(
            f"{name} must be two numbers, the lower first. Received: "
            f"{name}={value!r:.80}"
        )
    return float(pair[0]), float(pair[1])


def finish(figure: Figure, path: Path | None) -> Figure:
    """The figure, written if a path is given."""
    path = arguments.path("path", path, optional=True, folder=False)
    if path is not None:
        figure.savefig(path)
    return figure


def legend(
    figure: Figure, several: np.ndarray, axes: Axes, handles: list, **style
) -> None:
    """One legend for several axes: beside them, or on the first of those given."""
    if axes is None:
        figure.legend(handles=handles, loc="outside right upper", fontsize=9, **style)
    else:
        several[0].legend(handles=handles, fontsize=9, **style)


def share_limits(axes: np.ndarray, which: str) -> None:
    """Gives axes the limits in which what any of them shows lies; which: "x", "y"."""
    limits = [getattr(one, f"get_{which}lim")() for one in axes.flat]
    low, high = min(map(min, limits)), max(map(max, limits))
    for one in axes.flat:
        getattr(one, f"set_{which}lim")(low, high)
