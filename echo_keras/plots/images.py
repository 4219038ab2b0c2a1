"""Images: of data, reconstructions and draws."""

import os

import keras
import numpy as np
from keras import ops
from matplotlib import figure as mpl

from echo_keras.layers.backend import no_gradients

Path = str | os.PathLike


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


def image_rows(rows: dict[str, np.ndarray], path: Path) -> None:
    """Draws labelled rows of images, such as reconstructions at matched rates.

    Args:
        rows: Dict from a label to images (n, height, width, 1 or 3) in [0, 1].
        path: Where the PNG goes.
    """
    _grid(list(rows.values()), path, list(rows))


def mean_reconstruction(
    model: keras.Model, x: np.ndarray, samples: int = 10
) -> np.ndarray:
    """The mean of reconstructions from several codes, (n, height, width, channels)."""
    with no_gradients():
        drawn = [_probabilities(model(x, training=False)) for _ in range(samples)]
    return np.mean(drawn, axis=0)


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
