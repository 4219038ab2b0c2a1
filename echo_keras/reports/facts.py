"""All that a report and a model card say of a model, gathered once."""

import datetime
import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import tree

from echo_keras import metrics
from echo_keras._files import sha256
from echo_keras.layers import arguments
from echo_keras.studies.curve import RateDistortionCurve
from echo_keras.studies.records import environment

from .audit import CHECKS, look_for
from .figures import Section, sections
from .finding import Audit
from .subject import Subject, own_noise, quietly

NAMES = {"neg_elbo": "-ELBO", "rate": "Rate", "distortion": "Distortion"}


class Facts(NamedTuple):
    """What is known of a model.

    Attributes:
        title, description, date: Texts.
        model: Rows (name, value) of what it is made of.
        measures: From "test" and "training" to what `metrics.evaluate` gives.
        unmeasured: Why there are no measures, or "".
        audit: Its findings.
        sections: Its figures.
        made: Rows (name, value) of versions, seed and data.
    """

    title: str
    description: str
    date: str
    model: list[tuple[str, str]]
    measures: dict[str, dict[str, float]]
    unmeasured: str
    audit: Audit
    sections: list[Section]
    made: list[tuple[str, str]]


def gather(
    model: keras.Model,
    x_train: Any,
    x_test: Any,
    y_train: Any,
    y_test: Any,
    title: str | None,
    description: str | None,
    points: Any,
    history: Any,
    date: str | None,
    examples: int,
    batch_size: int | None,
    seed: int,
) -> Facts:
    """Measures a model; the arguments are those of `report`."""
    subject = Subject(
        model,
        x_test,
        x_train,
        y_test,
        history,
        examples=examples,
        seed=seed,
        batch_size=batch_size,
    )
    title = arguments.text("title", title, optional=True) or model.name
    description = arguments.text("description", description, optional=True) or ""
    date = arguments.text("date", date, optional=True)
    if date is None:
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
    if points is not None:
        if isinstance(points, RateDistortionCurve):
            points = {points.label: points.pairs}
        points = arguments.mapping("points", points, "points (rate, distortion)")
    measures, unmeasured = {}, ""
    try:
        with own_noise(model, subject.seed), quietly():
            for name, x, y in (
                ("test", x_test, y_test),
                ("training", x_train, y_train),
            ):
                if name == "training" and y is None and y_test is not None:
                    continue
                measures[name] = metrics.evaluate(
                    model,
                    x,
                    y,
                    batch_size=batch_size,
                    training_set=name == "training",
                )
    except ValueError as error:
        unmeasured = " ".join(str(error).split())
    logs = {title: subject.logs} if subject.logs else None
    return Facts(
        title,
        description,
        date,
        _made_of(subject),
        measures,
        unmeasured,
        look_for(subject, tuple(CHECKS)),
        list(sections(subject, points or {}, measures, logs)),
        _made(subject),
    )


def rows_of_measures(facts: Facts) -> list[tuple[str, str, str, str]]:
    """(data, measure, nats, bits), each number with its standard error."""
    rows = []
    for data, measured in facts.measures.items():
        for key, name in NAMES.items():
            if key in measured:
                value, error = measured[key], measured[f"{key}_se"]
                nats = f"{value:.2f} ± {error:.2f}"
                bits = f"{value / math.log(2):.2f} ± {error / math.log(2):.2f}"
                rows.append((data, name, nats, bits))
        if "log_n" in measured:
            nats, bits = measured["log_n"], measured["log_n"] / math.log(2)
            rows.append((data, "log n", f"{nats:.2f}", f"{bits:.2f}"))
    return rows


def _made_of(subject):
    model = subject.model
    loss = model.loss
    name = getattr(loss, "__name__", type(loss).__name__)
    rows = [
        ("Model", type(model).__name__),
        ("Layers", ", ".join(_named(layer) for layer in model.layers)),
        ("Weights", f"{model.count_params():,}"),
        ("Loss", loss if isinstance(loss, str) else name),
    ]
    for channel in subject.channels:
        beta = float(keras.ops.convert_to_numpy(channel.beta))
        rows.append(("Channel", f"{type(channel).__name__}, beta = {beta:g}"))
    return rows


def _named(layer):
    kind = type(layer).__name__
    return (
        kind
        if kind.lower() in layer.name.replace("_", "")
        else f"{layer.name} ({kind})"
    )


def _made(subject):
    found = environment()
    rows = [(name, version) for name, version in found["versions"].items()]
    rows += [("device", found["device"]), ("seed", str(subject.seed))]
    for name, x in (
        ("training data", subject.whole_train),
        ("test data", subject.whole_x),
    ):
        arrays = [np.asarray(a) for a in tree.flatten(x)]
        shapes = ", ".join(f"{a.dtype} {a.shape}" for a in arrays)
        rows.append((name, shapes))
        rows.append(
            (f"SHA-256 of {name}", sha256(*(np.asarray(a, "<f4") for a in arrays)))
        )
    return rows
