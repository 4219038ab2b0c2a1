"""What every figure shares: it is returned, and written only where a path is given."""

import io
import os

from matplotlib import figure

Path = str | os.PathLike


class Figure(figure.Figure):
    """A figure of no window and no global state, which notebooks show as it is."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=110)
        return file.getvalue()


def new(width: float, height: float) -> Figure:
    """A figure of so many inches."""
    return Figure((width, height), layout="constrained")


def done(figure: Figure, path: Path | None, dpi: int = 110) -> Figure:
    """The figure, written to a file if there is a path."""
    if path is not None:
        figure.savefig(path, dpi=dpi)
    return figure
