"""Images: of data, reconstructions, draws, and what lies between codes."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops
from matplotlib.figure import Figure

from echo_keras.layers.backend import no_gradients
from echo_keras.losses import Distortion

from .canvas import Axes, Path, canvas, finish

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
        path: Where the PNG goes, if anywhere.
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
    drawn = [_mean(model, x, _loss(model)) for _ in range(samples)]
    rows = {
        "input": x,
        "one sample": drawn[0],
        f"mean of {samples}": np.mean(drawn, axis=0),
    }
    return image_rows(rows, path, limits, axes)


def generations(
    decoder: keras.Model,
    codes: np.ndarray,
    loss: Distortion,
    path: Path | None = None,
    columns: int = 10,
    limits: Limits = (0.0, 1.0),
    axes: Axes = None,
) -> Figure:
    """Draws decoded codes, such as `bottleneck.sample(100)`, on a grid.

    Args:
        decoder: Model from codes to its raw output.
        codes: Shape (n, d).
        loss: The loss that the decoder was trained by, which knows the mean of p(x|z).
        path: Where the PNG goes, if anywhere.
        columns: Images in a row.
        limits: See `reconstructions`.
        axes: Matplotlib axes to draw on; None makes a figure.

    Raises:
        ValueError: the loss has no mean.

    Example:

    >>> from echo_keras import losses, networks
    >>> decoder = networks.dense_decoder(2, (8, 8, 1), (16,))
    >>> codes = np.random.normal(size=(20, 2))
    >>> figure = generations(decoder, codes, losses.Bernoulli())
    """
    images = _mean(decoder, codes, loss)
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    return _draw(rows, path, limits, axes)


def traversal(
    decoder: keras.Model,
    code: np.ndarray,
    loss: Distortion,
    path: Path | None = None,
    dimensions: Sequence[int] | None = None,
    span: tuple[float | np.ndarray, float | np.ndarray] = (-2.0, 2.0),
    steps: int = 9,
    limits: Limits = (0.0, 1.0),
    axes: Axes = None,
) -> Figure:
    """Draws what one dimension of a code after the other changes, a row for each.

    Args:
        decoder: Model from codes to its raw output.
        code: Shape (d,), the values of the dimensions that stand still.
        loss: The loss that the decoder was trained by.
        path: Where the PNG goes, if anywhere.
        dimensions: Ints from 0 up, in the order of the rows, such as
            `np.argsort(rates)[::-1][:8]`; None takes all.
        span: The first and the last value of the dimension that moves: numbers, or
            arrays (d,) such as quantiles of the codes.
        steps: Images in a row.
        limits: See `reconstructions`.
        axes: Matplotlib axes to draw on; None makes a figure.

    Raises:
        ValueError: code is not of that shape, or the loss has no mean.

    Example:

    >>> from echo_keras import losses, networks
    >>> decoder = networks.dense_decoder(3, (8, 8, 1), (16,))
    >>> figure = traversal(decoder, np.zeros(3), losses.Bernoulli())
    """
    code = np.asarray(code, "float32")
    if code.ndim != 1:
        raise ValueError(f"code must have shape (d,). Received: shape {code.shape}")
    rows = range(len(code)) if dimensions is None else list(dimensions)
    # (steps, d): every dimension has its own values.
    values = np.linspace(*(np.broadcast_to(end, code.shape) for end in span), steps)
    moved = np.tile(code, (len(rows), steps, 1))
    for row, dim in zip(moved, rows, strict=True):
        row[:, dim] = values[:, dim]
    images = _mean(decoder, moved.reshape(-1, len(code)), loss)
    images = images.reshape(len(rows), steps, *images.shape[1:])
    names = [f"z{dim + 1}" for dim in rows]
    same = np.ndim(span[0]) == np.ndim(span[1]) == 0
    heads = [f"{value:.3g}" for value in values[:, 0]] if same else None
    return _draw(images, path, limits, axes, names, heads)


def interpolation(
    decoder: keras.Model,
    start: np.ndarray,
    end: np.ndarray,
    loss: Distortion,
    path: Path | None = None,
    steps: int = 9,
    limits: Limits = (0.0, 1.0),
    axes: Axes = None,
) -> Figure:
    """Draws images on the straight lines from codes to other codes, a row for each.

    Args:
        decoder: Model from codes to its raw output.
        start: Codes of the first column, shape (n, d).
        end: Codes of the last one, of the same shape.
        loss: The loss that the decoder was trained by.
        path: Where the PNG goes, if anywhere.
        steps: Images in a row, both ends included.
        limits: See `reconstructions`.
        axes: Matplotlib axes to draw on; None makes a figure.

    Raises:
        ValueError: the shapes are others, or the loss has no mean.

    Example:

    >>> from echo_keras import losses, networks
    >>> decoder = networks.dense_decoder(3, (8, 8, 1), (16,))
    >>> figure = interpolation(decoder, -np.eye(3), np.eye(3), losses.Bernoulli())
    """
    start, end = (np.asarray(codes, "float32") for codes in (start, end))
    if start.ndim != 2 or start.shape != end.shape:
        raise ValueError(
            f"start and end must have one shape (n, d). Received: {start.shape} and "
            f"{end.shape}"
        )
    codes = np.linspace(start, end, steps, axis=1)
    images = _mean(decoder, codes.reshape(-1, start.shape[1]), loss)
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
        path: Where the PNG goes, if anywhere.
        limits: See `reconstructions`.
        axes: Matplotlib axes to draw on; None makes a figure.

    Raises:
        ValueError: images are not of that shape, or rows have images of several sizes.

    Example:

    >>> x = np.random.uniform(size=(6, 8, 8, 1))
    >>> figure = image_rows({"noise": x, "its half": x / 2})
    """
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
        ValueError: the loss has no mean.

    Example:

    >>> from echo_keras.losses import SquaredError
    >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Identity()])
    >>> model.compile(loss=SquaredError())
    >>> float(mean_reconstruction(model, np.ones((5, 8, 8, 1))).max())
    1.0
    """
    loss = _loss(model)
    return np.mean([_mean(model, x, loss) for _ in range(samples)], axis=0)


def _loss(model):
    loss = getattr(model, "loss", None)
    if not isinstance(loss, Distortion):
        raise ValueError(
            f"model must be compiled with a loss of echo_keras.losses, which knows the "
            f"mean of p(x|z). Received: loss={loss!r}"
        )
    return loss


def _mean(model, inputs, loss):
    """The mean of p(x|z), NumPy, of a model's output."""
    with no_gradients():
        inputs = ops.convert_to_tensor(inputs, "float32")
        return ops.convert_to_numpy(loss.mean(model(inputs, training=False)))


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
    columns, (low, high) = max(map(len, rows)), limits
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
