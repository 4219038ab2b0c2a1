"""What every figure shares: where it is drawn, how it is shown and written."""

import io
import os
from collections.abc import Sequence

import numpy as np
from matplotlib import axes as mpl_axes
from matplotlib.figure import Figure

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


def finish(figure: Figure, path: Path | None) -> Figure:
    """The figure, written if a path is given."""
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
