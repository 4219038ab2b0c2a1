"""Images: of data, reconstructions, draws, and what lies between codes."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from echo_keras import metrics
from echo_keras.layers import arguments
from echo_keras.layers.backend import no_gradients

from ._figure import Axes, Figure, Path, canvas, finish, pair_of_limits, panels_of

Limits = tuple[float, float]

GAP = 2  # pixels between images


def reconstructions(
    model: keras.Model,
    x: np.ndarray,
    path: Path | None = None,
    samples: int = 10,
    limits: Limits = (0.0, 1.0),
    axes: Axes = None,
) -> Figure:
    """Draws three rows: input, its reconstruction from one code, mean of several.

    Reconstructions are means of p(x|z), as the model's loss has them.

    Args:
        model: Model from images to the raw output of a decoder, compiled with a loss
            of `echo_keras.losses`.
        x: Images, shape (n, height, width, 1 or 3), a column for each.
        path: Where a PNG of it goes, or None.
        samples: Codes drawn for the mean.
        limits: Values that are drawn as white and as black, with colours as black and
            as white; what lies outside is cut.
        axes: Matplotlib axes to draw on; None makes a figure.

    Raises:
        ValueError: the loss has no mean, or x is no such array.

    Example:

    >>> from echo_keras.losses import SquaredError
    >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Identity()])
    >>> model.compile(loss=SquaredError())
    >>> figure = reconstructions(model, np.random.uniform(size=(5, 8, 8, 1)))
    """
    x, samples = arguments.array("x", x), arguments.integer("samples", samples)
    drawn = [_means(model, x) for _ in range(samples)]
    rows = {
        "input": x,
        "one sample": drawn[0],
        f"mean of {samples}": np.mean(drawn, axis=0),
    }
    return image_rows(rows, path, limits, axes)


def generations(
    images: np.ndarray,
    path: Path | None = None,
    columns: int = 10,
    limits: Limits = (0.0, 1.0),
    axes: Axes = None,
) -> Figure:
    """Draws images on a grid, such as decoded draws from q(z).

    Args:
        images: Shape (n, height, width, 1 or 3); see `metrics.images`.
        path: Where a PNG of it goes, or None.
        columns: Images in a row.
        limits: See `reconstructions`.
        axes: Matplotlib axes to draw on; None makes a figure.

    Raises:
        ValueError: images are not of that shape.

    Example:

    >>> figure = generations(np.ones((20, 4, 4, 1)))
    """
    columns = arguments.integer("columns", columns)
    images = arguments.array("images", images, "(n, h, w, c)", (4,))
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    return _draw(rows, path, limits, axes)


def latent_traversal(
    model: keras.Model,
    code: np.ndarray,
    values: np.ndarray,
    path: Path | None = None,
    dimensions: Sequence[int] | np.ndarray | None = None,
    limits: Limits = (0.0, 1.0),
    axes: Axes = None,
) -> Figure:
    """Draws what becomes of an image as one dimension of its code moves, row by row.

    Args:
        model: Compiled model; see `metrics.images`.
        code: The code that is varied, (d,), such as a row of `metrics.encode`.
        values: What a dimension is set to in turn, a column for each: (n,), or (n, d)
            with values of its own for each dimension, such as quantiles of codes.
        path: Where a PNG of it goes, or None.
        dimensions: Ints from 0 up, in the order of the rows, such as
            `np.argsort(rates)[::-1][:8]`; None takes all.
        limits: See `reconstructions`.
        axes: Matplotlib axes to draw on; None makes a figure.

    Raises:
        ValueError: code or values are not of that shape, or as `metrics.images`.

    Example:

    >>> from echo_keras import losses, networks
    >>> decoder = networks.dense_decoder(3, (8, 8, 1), (16,))
    >>> model = keras.Sequential([keras.Input((3,)), decoder])
    >>> model.compile(loss=losses.Bernoulli())
    >>> figure = latent_traversal(model, np.zeros(3), np.linspace(-2, 2, 9))

    References:
        Variance Constrained Autoencoding, Fig. 4 and 9.
    """
    code = arguments.array("code", code, "(d,)").astype("float32")
    values = arguments.array("values", values, "(n,)").astype("float32")
    if code.ndim != 1:
        raise ValueError(f"code must have shape (d,). Received: shape {code.shape}")
    if values.ndim != 1 and values.shape[1:] != code.shape:
        raise ValueError(
            f"values must have shape (n,) or (n, {len(code)}). Received: shape "
            f"{values.shape}"
        )
    heads = [f"{value:.3g}" for value in values] if values.ndim == 1 else None
    values = np.stack([values] * len(code), axis=1) if heads else values
    shown = arguments.integers(
        "dimensions", tuple(range(len(code))) if dimensions is None else dimensions, 0
    )
    if max(shown) >= len(code):
        raise ValueError(
            f"dimensions must be in [0, {len(code)}). Received: dimensions={shown}"
        )
    codes = np.tile(code, (len(shown), len(values), 1))
    for row, dimension in zip(codes, shown, strict=True):
        row[:, dimension] = values[:, dimension]
    images = metrics.images(model, codes.reshape(-1, len(code)))
    rows = images.reshape(len(shown), len(values), *images.shape[1:])
    names = [f"z{dimension + 1}" for dimension in shown]
    return _draw(rows, path, limits, axes, names, heads)


def interpolation(
    model: keras.Model,
    start: np.ndarray,
    end: np.ndarray,
    path: Path | None = None,
    steps: int = 10,
    limits: Limits = (0.0, 1.0),
    axes: Axes = None,
) -> Figure:
    """Draws images on the straight line between two codes, a row for each pair.

    Args:
        model: Compiled model; see `metrics.images`.
        start: Codes of the first column, shape (n, d).
        end: Codes of the last one, of the same shape.
        path: Where a PNG of it goes, or None.
        steps: Int >= 2, images in a row, both ends included.
        limits: See `reconstructions`.
        axes: Matplotlib axes to draw on; None makes a figure.

    Raises:
        ValueError: the shapes are others, or as `metrics.images`.

    Example:

    >>> from echo_keras import losses, networks
    >>> decoder = networks.dense_decoder(3, (8, 8, 1), (16,))
    >>> model = keras.Sequential([keras.Input((3,)), decoder])
    >>> model.compile(loss=losses.Bernoulli())
    >>> figure = interpolation(model, -np.eye(3), np.eye(3))
    """
    start, end = (
        arguments.array(name, codes, "(n, d)").astype("float32")
        for name, codes in (("start", start), ("end", end))
    )
    steps = arguments.integer("steps", steps)
    if start.ndim != 2 or start.shape != end.shape:
        raise ValueError(
            f"start and end must have one shape (n, d). Received: {start.shape} and "
            f"{end.shape}"
        )
    codes = np.linspace(start, end, steps, axis=1)
    images = metrics.images(model, codes.reshape(-1, start.shape[1]))
    rows = images.reshape(len(start), steps, *images.shape[1:])
    return _draw(rows, path, limits, axes)


def image_rows(
    rows: dict[str, np.ndarray],
    path: Path | None = None,
    limits: Limits = (0.0, 1.0),
    axes: Axes = None,
) -> Figure:
    """Draws labelled rows of images, such as reconstructions at matched rates.

    Args:
        rows: Dict from a label to images (n, height, width, 1 or 3), in the units of
            `limits`.
        path: Where a PNG of it goes, or None.
        limits: See `reconstructions`.
        axes: Matplotlib axes to draw on; None makes a figure.

    Raises:
        ValueError: images are not of that shape, or rows have images of several sizes.

    Example:

    >>> x = np.random.uniform(size=(6, 8, 8, 1))
    >>> figure = image_rows({"noise": x, "its half": x / 2})
    """
    rows = panels_of("rows", rows, axes=4)
    return _draw(list(rows.values()), path, limits, axes, list(rows))


def mean_reconstruction(
    model: keras.Model, x: np.ndarray, samples: int = 10
) -> np.ndarray:
    """The mean of reconstructions from several codes, (n, height, width, channels).

    Args:
        model: Model compiled with a loss of `echo_keras.losses`.
        x: Images, shape (n, height, width, channels).
        samples: Codes drawn for the mean.

    Raises:
        ValueError: the loss has no mean, or a reconstruction is not finite.

    Example:

    >>> from echo_keras.losses import SquaredError
    >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Identity()])
    >>> model.compile(loss=SquaredError())
    >>> float(mean_reconstruction(model, np.ones((5, 8, 8, 1))).max())
    1.0
    """
    x, samples = arguments.array("x", x), arguments.integer("samples", samples)
    return np.mean([_means(model, x) for _ in range(samples)], axis=0)


def _means(model, x):
    """What the law of a model's output has as its mean: images, not raw outputs."""
    arguments.layer("model", model, kind=keras.Model)
    with no_gradients():
        output = model(x, training=False)
        means = ops.convert_to_numpy(metrics.law(model).mean(output))
    if not np.isfinite(means).all():
        raise ValueError(
            "x must be images whose reconstructions are finite. Received: images with "
            "NaN or infinite ones"
        )
    return means


def _draw(rows, path, limits, axes, names=None, heads=None):
    """Draws images (n, height, width, 1 or 3) in rows, as a single one."""
    rows = [ops.convert_to_numpy(row).astype("float64") for row in rows]
    sizes = {row.shape[1:] for row in rows}
    if len(sizes) != 1 or len(size := sizes.pop()) != 3 or size[2] not in (1, 3):
        raise ValueError(
            f"rows must hold images of one shape, (n, height, width, 1 or 3). "
            f"Received: {', '.join(str(row.shape) for row in rows)}"
        )
    height, width = size[0] + GAP, size[1] + GAP
    columns, (low, high) = max(map(len, rows)), pair_of_limits("limits", limits)
    mosaic = np.ones((height * len(rows) - GAP, width * columns - GAP, 3))
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            image = np.clip((image - low) / (high - low), 0.0, 1.0)
            if size[2] == 1:
                image = 1.0 - image  # as ink on paper
            top, left = i * height, j * width
            mosaic[top : top + size[0], left : left + size[1]] = image
    # Room for names: letters of 10 points.
    letters = max(
        (len(line) for name in names or [] for line in name.split("\n")), default=0
    )
    across = 0.62 * columns
    down = across * mosaic.shape[0] / mosaic.shape[1]
    size = across + 0.08 * letters + 0.2, down + (0.3 if heads else 0.1)
    figure, ((one,),) = canvas(axes, 1, 1, size)
    one.imshow(mosaic, interpolation="nearest")
    middle = [(n - GAP - 1) / 2 for n in (height, width)]
    one.set_yticks(
        middle[0] + height * np.arange(len(rows) if names else 0), names or []
    )
    one.set_xticks(
        middle[1] + width * np.arange(columns if heads else 0),
        heads or [],
        fontsize=8,
    )
    one.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    one.set_frame_on(False)
    one.set_anchor("NW")  # or constrained layout cuts the names
    return finish(figure, path)
