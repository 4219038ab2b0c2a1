"""The figures of a report, each from `plots`, as what stands in a page."""

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from matplotlib.figure import Figure
from PIL import Image  # Matplotlib needs it, and brings it

from echo_keras import metrics, plots
from echo_keras._graph import decoder_of, output_of
from echo_keras.layers import GaussianSample
from echo_keras.layers.backend import no_gradients
from echo_keras.losses import Distortion
from echo_keras.plots._figure import Points

from .subject import NotApplicable, Subject, own_noise

WIDTH = 4.6  # inches: letters of 10 points are then legible on a phone, too
SHOWN = 10  # images in a row
DIMENSIONS = 8  # latent dimensions that are moved and drawn
STEPS = 9  # values of each
DPI = 150
COLOURS = 128  # of a figure's palette, which makes its file a third as large


class Section(NamedTuple):
    """A figure with its heading and words, or the reason why there is none.

    Attributes:
        title: Heading.
        text: What it shows, also for whoever does not see it.
        png: The image's bytes, or None.
    """

    title: str
    text: str
    png: bytes | None


def sections(
    subject: Subject,
    points: dict[str, Points],
    measures: dict[str, dict[str, float]],
    history: dict[str, Any] | None,
) -> Iterator[Section]:
    """All sections of a report that are figures."""
    drawing: list[tuple[str, str, Callable[[], Figure]]] = [
        (
            "Rate and distortion",
            "The model in the rate-distortion plane, in nats per example: on the "
            "dotted line rate + distortion is the least of the test data.",
            lambda: _plane(points, measures),
        ),
        (
            "Rate by dimension",
            "What each latent dimension carries, in nats per example, the most first.",
            lambda: _rates(subject),
        ),
        (
            "Reconstructions",
            "Held-out images, below them what the decoder makes of one code of each, "
            "and of the mean of ten.",
            lambda: _reconstructions(subject),
        ),
        (
            "Samples and their nearest training images",
            "Decoded draws from the model's law of codes, below each the training "
            "image that is nearest to it in Euclidean distance. A copy would look the "
            "same.",
            lambda: _samples(subject),
        ),
        (
            "Latent traversals",
            "One image as one dimension moves from its 2.5 % to its 97.5 % quantile, a "
            "row for each of the dimensions that carry most.",
            lambda: _traversal(subject),
        ),
        (
            "Codes",
            "Histograms of the aggregate posterior, of the dimensions that carry most"
            f"{_scaled(subject)}; the curve is the standard normal's density.",
            lambda: _histograms(subject),
        ),
    ]
    if history:
        drawing.append(
            (
                "Training",
                "Logs of each epoch, validation dashed.",
                lambda: _epochs(history),
            )
        )
    for title, text, draw in drawing:
        try:
            with own_noise(subject.model, subject.seed):
                section = Section(title, text, _png(draw()))
        except ValueError as error:
            section = Section(title, " ".join(str(error).split()), None)
        yield section


def data_uri(png: bytes) -> str:
    """An image as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _png(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.05)
    file.seek(0)
    with Image.open(file) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    file = io.BytesIO()
    # A file without dates or versions: the same bytes at each call.
    few.save(file, format="png", optimize=True)
    return file.getvalue()


def _axes(height, rows=1, columns=1):
    """Axes of a figure as wide as a page shows it, and so high in inches."""
    figure = Figure((WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def _of_images(rows):
    """Axes for so many rows of images."""
    return _axes(0.42 * rows + 0.1)[1]


def _plane(points, measures):
    stars = {
        "this model" if data == "test" else "on its training data": (
            found["rate"],
            found["distortion"],
        )
        for data, found in measures.items()
        if "rate" in found
    }
    if "this model" not in stars:
        raise NotApplicable("the model has no rate and distortion in nats")
    curves = points or {"test data": [stars["this model"]]}
    figure, (axes,) = _axes(3.4)
    every = [*curves.values(), *([star] for star in stars.values())]
    every = np.concatenate([np.reshape(p, (-1, 2)) for p in every])
    # Room around points that lie close together.
    low, high = every.min(axis=0), every.max(axis=0)
    room = np.maximum(0.12 * (high - low), [1.0, 2.0])
    axes.plot(*np.stack([low - room, high + room]).T, alpha=0.0)
    plots.rate_distortion(curves, reference=stars, axes=axes)
    # Above the axes, where it covers no point.
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8)
    return figure


def _epochs(history):
    names = ("neg_elbo", "rate", "distortion", "loss")
    (logs,) = history.values()
    known = [n for n in names if n in logs or f"val_{n}" in logs]
    shown = [n for n in known if n != "loss"] or known
    figure, several = _axes(1.7 * len(shown) + 0.2, len(shown) or 1)
    plots.training_curves(history, metrics=shown or names, axes=several)
    for axes, name in zip(several, shown, strict=True):
        axes.set_ylabel(name)
        axes.label_outer()
        if axes.get_legend():
            axes.get_legend().remove()  # one model
    return figure


def _order(subject):
    """The dimensions of the code, what carries most first."""
    by_dimension = subject.rate_by_dimension
    if by_dimension is None or len(by_dimension) != subject.codes.shape[1]:
        by_dimension = subject.codes.var(axis=0)
    return np.argsort(by_dimension, kind="stable")[::-1][:DIMENSIONS]


def _rates(subject):
    if subject.rate_by_dimension is None:
        raise NotApplicable("the rate of this model is no sum over latent dimensions")
    figure, axes = _axes(2.7)
    plots.rate_by_dimension({"this model": subject.rate_by_dimension}, axes=axes[0])
    axes[0].margins(y=0.2)  # for the legend
    return figure


def _images(subject, x):
    """The images among the data; NotApplicable where there are none."""
    if not isinstance(subject.model.loss, Distortion):
        raise NotApplicable(
            "the model's loss is none of echo_keras.losses, which say what outputs "
            "stand for"
        )
    x = np.asarray(x) if not isinstance(x, list | tuple | dict) else np.zeros(0)
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or subject.y is not None:
        raise NotApplicable("the data are no images (n, height, width, 1 or 3)")
    return x


def _reconstructions(subject):
    x = metrics.evenly_spaced(_images(subject, subject.x), SHOWN)
    return plots.reconstructions(subject.model, x.astype("float32"), axes=_of_images(3))


def _decodable(subject):
    """The model, of which codes that are vectors can be decoded."""
    shape = tuple(output_of(subject.model, subject.layer).shape[1:])
    if None in shape or len(shape) != 1:
        raise NotApplicable("codes are no vectors")
    try:
        decoder_of(subject.model)
    except ValueError:
        raise NotApplicable(
            "the model has no decoder of codes alone: something passes the "
            "bottleneck by, or there are several outputs"
        ) from None
    return subject.model


def _samples(subject):
    x = subject.x if subject.x_train is None else subject.whole_train
    x = _images(subject, x)
    if not hasattr(subject.layer, "sample"):
        raise NotApplicable("the code has no law to draw from")
    model = _decodable(subject)
    with no_gradients():
        z = ops.convert_to_numpy(ops.cast(subject.layer.sample(SHOWN), "float32"))
    drawn = metrics.images(model, z)
    nearest, _ = metrics.nearest_neighbours(drawn, x)
    rows = {"sample": drawn, "nearest": x[nearest[:, 0]].astype("float32")}
    return plots.image_rows(rows, axes=_of_images(2))


def _traversal(subject):
    _images(subject, subject.x)
    model, codes = _decodable(subject), subject.codes
    values = np.quantile(codes, np.linspace(0.025, 0.975, STEPS), axis=0)
    order, code = _order(subject), codes[len(codes) // 2]
    axes = _of_images(len(order) * SHOWN / STEPS)
    return plots.latent_traversal(model, code, values, dimensions=order, axes=axes)


def _scaled(subject):
    """What is said of codes whose law is no prior's."""
    has_prior = subject.channels and isinstance(subject.channels[0], GaussianSample)
    return "" if has_prior else ", less their means and divided by their deviations"


def _histograms(subject):
    order = _order(subject)
    codes = subject.codes[:, order]
    if _scaled(subject):
        codes = (codes - codes.mean(axis=0)) / np.maximum(codes.std(axis=0), 1e-12)
    columns = min(len(order), 4)
    rows = -(-len(order) // columns)
    figure, grid = _axes(1.4 * rows, rows, columns)
    plots.code_histograms({"": codes}, axes=grid[: len(order)], bins=40)
    for axes, dimension in zip(grid, order, strict=False):
        axes.set_xlabel(f"z{dimension + 1}")
        axes.tick_params(labelsize=8)
    for axes in grid[len(order) :]:
        axes.set_axis_off()
    return figure
