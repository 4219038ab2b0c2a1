"""A report of a trained model, in one file."""

from collections.abc import Mapping
from typing import Any

import keras

from echo_keras._files import replacing
from echo_keras.layers import arguments
from echo_keras.plots._figure import Path, Points
from echo_keras.studies.curve import RateDistortionCurve

from .facts import gather
from .finding import Audit
from .page import page


def report(
    model: keras.Model,
    x_train: Any,
    x_test: Any,
    path: Path,
    *,
    y_train: Any = None,
    y_test: Any = None,
    title: str | None = None,
    description: str | None = None,
    points: Mapping[str, Points] | RateDistortionCurve | None = None,
    history: Any = None,
    date: str | None = None,
    examples: int = 1000,
    batch_size: int | None = None,
    seed: int = 0,
) -> Audit:
    """Writes what there is to know of a model into one HTML file.

    It holds rate, distortion and -ELBO with standard errors on test and training data,
    the findings of `audit`, the model in the rate-distortion plane, its rate by
    dimension, reconstructions, samples beside the training images that are nearest,
    latent traversals, histograms of the codes, curves of the training, versions, seed
    and checksums of the data. Images are in the file: it needs no network, and serves
    as a model card. What a model does not have, as traversals of a table or a rate
    without a channel, is named with the reason.

    The same model, data, arguments and versions give the same file, but for the date.
    The model is left as it was.

    Args:
        model: Keras model, compiled, best a `RateDistortionModel`; figures of images
            need a functional one with one bottleneck or channel and a loss of
            `echo_keras.losses`.
        x_train: Training inputs: an array (n, ...), or a list or dict of arrays.
        x_test: Held-out inputs.
        path: The file, which is overwritten.
        y_train, y_test: Targets; None where they are the inputs. With y_test alone the
            training data have no row in the table of numbers.
        title: Heading; None for the model's name.
        description: A paragraph: what the model is for, and what it is not for.
        points: Dict from a label to points (rate, distortion) of other models, for the
            rate-distortion plane; or a curve, as `rate_distortion_curve` returns it.
        history: What `fit` or `training.train` returned, or None.
        date: Text; None for today's, in UTC.
        examples: Int >= 2, the most examples that the audit and figures use; the table
            of numbers uses all.
        batch_size: Int >= 1; see `metrics.map_batches`.
        seed: Int, of all noise.

    Returns:
        The `Audit` that is in the file.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.Bernoulli())
    >>> x = np.random.RandomState(0).randint(0, 2, (60, 8)).astype("float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "report.html"
    ...     found = report(model, x, x, path, title="A small VAE")
    ...     "<h1>A small VAE</h1>" in path.read_text()
    True

    References:
        Mitchell et al., Model Cards for Model Reporting (2019).
    """
    path = arguments.path("path", path, folder=False)
    facts = gather(
        model,
        x_train,
        x_test,
        y_train,
        y_test,
        title,
        description,
        points,
        history,
        date,
        examples,
        batch_size,
        seed,
    )
    with replacing(path) as part:
        part.write_text(page(facts), encoding="utf-8")
    return facts.audit
