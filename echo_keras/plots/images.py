"""Images: of data, reconstructions, draws, and what moving through codes does."""

import keras
import numpy as np
from keras import ops

from echo_keras import metrics
from echo_keras.layers.backend import no_gradients

from ._figure import Figure, Path, done, new


def reconstructions(
    model: keras.Model, x: np.ndarray, path: Path | None = None, samples: int = 10
) -> Figure:
    """Draws three rows: input, its reconstruction from one code, mean of several.

    Args:
        model: Model of images, compiled with a loss of `echo_keras.losses`, whose
            `mean` says which image an output stands for.
        x: Images, shape (n, height, width, 1 or 3), a column for each.
        path: Where a PNG of it goes, or None.
        samples: Codes drawn for the mean.

    Example:

    >>> from echo_keras import losses
    >>> inputs = keras.Input((4, 4, 1))
    >>> model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    >>> model.compile(loss=losses.SquaredError())
    >>> figure = reconstructions(model, np.ones((3, 4, 4, 1)))
    """
    drawn = [_means(model, x) for _ in range(samples)]
    rows = {"input": x, "one sample": drawn[0]}
    return image_rows({**rows, f"mean of {samples}": np.mean(drawn, axis=0)}, path)


def mean_reconstruction(
    model: keras.Model, x: np.ndarray, samples: int = 10
) -> np.ndarray:
    """The mean of reconstructions from several codes, (n, height, width, channels)."""
    return np.mean([_means(model, x) for _ in range(samples)], axis=0)


def generations(
    images: np.ndarray, path: Path | None = None, columns: int = 10
) -> Figure:
    """Draws images on a grid, such as decoded draws from q(z).

    Args:
        images: Shape (n, height, width, 1 or 3), in [0, 1]; see `metrics.images`.
        path: Where a PNG of it goes, or None.
        columns: Images in a row.

    Example:

    >>> figure = generations(np.ones((20, 4, 4, 1)))
    """
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    return _grid(rows, path)


def image_rows(rows: dict[str, np.ndarray], path: Path | None = None) -> Figure:
    """Draws labelled rows of images, such as reconstructions at matched rates.

    Args:
        rows: Dict from a label to images (n, height, width, 1 or 3) in [0, 1]. What
            lies outside is drawn as black or white.
        path: Where a PNG of it goes, or None.

    Example:

    >>> figure = image_rows({"data": np.ones((5, 4, 4, 1))})
    """
    return _grid(list(rows.values()), path, list(rows))


def latent_traversal(
    model: keras.Model,
    code: np.ndarray,
    values: np.ndarray,
    path: Path | None = None,
    dimensions: np.ndarray | None = None,
) -> Figure:
    """Draws what becomes of an image as one dimension of its code moves, row by row.

    Args:
        model: Compiled model with a layer "decoder"; see `metrics.images`.
        code: The code that is varied, (d,), such as a row of `metrics.encode`.
        values: What a dimension is set to in turn, (n,): a column for each.
        path: Where a PNG of it goes, or None.
        dimensions: Ints, the dimensions that are shown; all if None.

    References:
        Variance Constrained Autoencoding, Fig. 4 and 9.
    """
    shown = range(len(code)) if dimensions is None else dimensions
    codes = np.tile(np.asarray(code, "float32"), (len(shown), len(values), 1))
    for row, dimension in zip(codes, shown, strict=True):
        row[:, dimension] = values
    images = metrics.images(model, codes.reshape(-1, len(code)))
    rows = images.reshape(len(shown), len(values), *images.shape[1:])
    return _grid(list(rows), path, [f"z{dimension + 1}" for dimension in shown])


def interpolation(
    model: keras.Model,
    start: np.ndarray,
    end: np.ndarray,
    path: Path | None = None,
    steps: int = 10,
) -> Figure:
    """Draws images on the straight line between two codes, a row for each pair.

    Args:
        model: Compiled model with a layer "decoder"; see `metrics.images`.
        start, end: Codes (n, d).
        path: Where a PNG of it goes, or None.
        steps: Int >= 2, images in a row.
    """
    weights = np.linspace(0, 1, steps)[None, :, None]
    start, end = (np.asarray(z, "float32")[:, None] for z in (start, end))
    codes = (1 - weights) * start + weights * end
    images = metrics.images(model, codes.reshape(-1, codes.shape[-1]))
    return _grid(list(images.reshape(len(codes), steps, *images.shape[1:])), path)


def _means(model, x):
    """What the law of a model's output has as its mean: images, not raw outputs."""
    with no_gradients():
        output = model(x, training=False)
        return ops.convert_to_numpy(metrics.law(model).mean(output))


def _grid(rows, path, labels=None):
    columns = max(len(row) for row in rows)
    figure = new(0.6 * columns + 1.2, 0.62 * len(rows))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for i, row in enumerate(rows):
        for j in range(columns):
            axes[i, j].set(xticks=[], yticks=[], frame_on=False)
            if j < len(row):
                image = np.clip(np.squeeze(np.asarray(row[j])), 0.0, 1.0)
                axes[i, j].imshow(image, cmap="gray_r", vmin=0, vmax=1)
        if labels:
            axes[i, 0].set_ylabel(labels[i], rotation=0, ha="right", va="center")
    return done(figure, path)
