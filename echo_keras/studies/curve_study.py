"""From a function that builds a model to its rate-distortion curve, in one call."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from echo_keras import metrics
from echo_keras._files import sha256
from echo_keras.data import Dataset
from echo_keras.layers import Channel, EchoSample, TargetRate, arguments
from echo_keras.metrics.rate_distortion import check_targets
from echo_keras.model import find_layers
from echo_keras.training import Batches, run_folder
from echo_keras.training.digests import digests

from .configurations import Config
from .curve import RateDistortionCurve
from .outcome import reference
from .records import Record
from .study import Run, Study

DATA = "data"  # the name of data that have none


def rate_distortion_curve(
    build: Callable[[Any], keras.Model],
    x: np.ndarray,
    betas: Sequence[float] | None = None,
    *,
    rates: Sequence[float] | None = None,
    y: np.ndarray | None = None,
    validation: Any = None,
    seeds: int = 1,
    epochs: int = 100,
    batch_size: int = 100,
    warm_epochs: int | None = None,
    rule: Callable[[float], Any] = TargetRate,
    samples: int = 1,
    label: str = "model",
    out: str | os.PathLike = "runs/curve",
    runner: str = "local",
    workers: int | None = None,
    address: str | None = None,
    cpus_per_run: float | None = None,
    gpus_per_run: float | None = None,
    verbose: int = 0,
) -> RateDistortionCurve:
    """Trains a model for each beta, or each target rate, and measures them.

    Every training is a run of a `studies.Study`: it leaves a record and a checkpoint in
    `out`, is never done twice, and goes on where it was interrupted when the same call
    is made again. Longer or further trainings can share the folder; another model, or
    other data, are refused there.

    Args:
        build: Function of beta that returns a compiled model with a channel, whose
            loss and optimizer are used. Where `rates` are given it is called with a
            rule in the place of beta; a bottleneck takes either. With several workers,
            or on Ray, it must stand at the top level of a module or script.
        x: Training examples, array (n, ...).
        betas: Floats >= 0, the weights of the rate.
        rates: Floats > 0, target rates in nats, in the place of betas.
        y: Targets (n, ...), such as labels; the examples themselves if None.
        validation: Examples that points are measured on, (m, ...), or a pair of them
            and their targets. None measures on the training examples, which flatters.
        seeds: Int >= 1, trainings of each point, of seeds 0, 1, ...
        epochs, batch_size: Ints >= 1, of each training.
        warm_epochs: Int >= 1 or None. If None every training starts anew. Otherwise
            each but the first starts from the weights that the one before it, in the
            order of `betas` or `rates`, has ended with, and has so many epochs. Points
            of a seed are then trained one after the other.
        rule: Function from a target rate to what `build` is called with: a rule of
            `echo_keras.layers`, such as `TargetRateL1`; or `float`, if `build` makes
            its own rule of the number.
        samples: Int >= 1, codes drawn of each example that is measured.
        label: Name of the curve in figures.
        out: Folder of the runs; made if missing.
        runner, workers, address, cpus_per_run, gpus_per_run: Where trainings run; see
            `studies.run_all`.
        verbose: Of each training, as in `fit`.

    Returns:
        A `studies.RateDistortionCurve`.

    Raises:
        ValueError: an argument is out of range; betas and rates are both given or both
            missing; `build` returns no compiled model with a channel, or the same model
            for two betas; or `out` has runs of another model or other data.
        studies.RunsFailed: trainings failed, after all the others were finished.

    Example:

    >>> import tempfile
    >>> from echo_keras import losses, objectives
    >>> def build(beta):
    ...     model = objectives.vae(encoder, decoder, 2, beta)
    ...     model.compile("adam", losses.Bernoulli())
    ...     return model
    >>> x = np.eye(8, dtype="float32")
    >>> with tempfile.TemporaryDirectory() as out:  # doctest: +ELLIPSIS
    ...     curve = rate_distortion_curve(build, x, [0.5, 2], epochs=1, out=out)
    data-beta0.5...
    >>> [point.seeds for point in curve.points]
    [1, 1]
    """
    key, values = _asked(betas, rates)
    arguments.function("build", build), arguments.function("rule", rule)
    settings = {
        "epochs": arguments.integer("epochs", epochs),
        "batch_size": arguments.integer("batch_size", batch_size),
        "samples": arguments.integer("samples", samples),
        "precision": keras.config.dtype_policy().name,
    }
    seeds = arguments.integer("seeds", seeds)
    warm_epochs = arguments.integer("warm_epochs", warm_epochs, optional=True)
    verbose = arguments.integer("verbose", verbose, 0, 2)
    label, out = arguments.text("label", label), arguments.path("out", out, folder=True)
    workers = arguments.integer("workers", workers, optional=True)
    if runner != "local" or (workers or 1) != 1:
        reference(build)  # or the workers would not find it
    study = CurveStudy(
        "rate_distortion_curve",
        build,
        protocol={"start": None, "start_epochs": None},
        vary={key: values},
        paper=False,
        measures={"last_beta": last_beta},
        data=_dataset(x, y, validation),
        rule=rule if key == "target" else None,
        verbose=verbose,
    )
    made = {}
    for config in study.configs(DATA, **settings):
        model = study.made(config)
        learning_rate = float(f"{float(model.optimizer.learning_rate):.6g}")
        made[config[key]] = {"learning_rate": learning_rate}
        made[config[key]]["model"] = study.digest(model)
        _check_fit(model, study.data)
    for value in values:
        same = next(v for v in values if made[v] == made[value])
        if same != value:
            raise ValueError(
                f"build must make models that differ in {key}. Received: the same "
                f"model for {same:g} and {value:g}"
            )
    configs, before = [], None
    for config in study.configs(DATA, runs=seeds, **settings):
        config |= made[config[key]]
        if warm_epochs is not None and config[key] != values[0]:
            start = values[: values.index(config[key])]
            config |= {"start": start, "start_epochs": epochs, "start_run": before}
            config["epochs"] = warm_epochs
        before = study.run_name(config)
        configs.append(config)
    # Those that start from others come after them, of all seeds at once.
    stages = [configs]
    if warm_epochs is not None:
        stages = [[c for c in configs if c[key] == value] for value in values]
    found = []
    for stage in stages:
        found += study.run(
            stage,
            out,
            runner=runner,
            workers=workers,
            address=address,
            cpus_per_run=cpus_per_run,
            gpus_per_run=gpus_per_run,
        )
    lowest = [channel.min_rate for channel in find_layers(model, EchoSample)]
    described = study.data.description
    return RateDistortionCurve.from_records(
        found, study, out, "bank", label, described, sum(lowest) if lowest else None
    )


@dataclasses.dataclass(frozen=True)
class CurveStudy(Study):
    """The study behind a curve: data and models are handed to it, not read or named."""

    data: Any = None
    rule: Callable[[float], Any] | None = None  # of target rates
    verbose: int = 0
    begin: pathlib.Path | None = None  # the run whose weights a training starts with

    def made(self, config: Config) -> keras.Model:
        """The compiled model of a configuration, checked."""
        asked = config["beta"] if self.rule is None else self.rule(config["target"])
        model = self.build(asked)
        if not isinstance(model, keras.Model) or not model.compiled:
            raise ValueError(
                f"build must return a compiled keras.Model. Received: {model!r}"
            )
        if not isinstance(model.loss, keras.losses.Loss):
            raise ValueError(
                "build must return a model compiled with a loss of echo_keras.losses. "
                f"Received: loss={model.loss!r}"
            )
        channels = find_layers(model, Channel)
        if not channels or not model.built:
            raise ValueError(
                "build must return a model with a channel, such as that of an "
                "EchoBottleneck, which has been built: without one there is no rate. "
                f"Received: {model!r}, with {len(channels)} channels"
            )
        if self.rule is not None and not any(c.beta_rule for c in channels):
            raise ValueError(
                f"build must hand what it is called with to a channel, as its beta. "
                f"Received: a model without a rule for beta, from build({asked!r})"
            )
        return model

    def digest(self, model: keras.Model) -> str:
        """What tells a model with its loss and optimizer from others."""
        parts = digests(model, model.loss, model.optimizer)
        return sha256(*(str(part).encode() for part in parts.values()))[:12]

    def train_one(
        self,
        config: Config,
        out: str | pathlib.Path,
        data_dir: str | None = None,
        tensorboard: bool = False,
        force_resume: bool = False,
        folder: str | pathlib.Path | None = None,
    ) -> Record:
        template, begin = self.made(config), None
        optimizer = template.optimizer
        if config["start"]:
            begin = pathlib.Path(out) / "checkpoints" / config["start_run"]
        study = dataclasses.replace(
            self,
            loss=template.loss,
            optimizer=lambda rate: type(optimizer).from_config(optimizer.get_config()),
            begin=begin,
        )
        how = data_dir, tensorboard, force_resume, folder
        return super(CurveStudy, study).train_one(config, out, *how)

    def build_model(self, config: Config, dataset: Any) -> keras.Model:
        model = self.made(config)
        if self.begin is not None:
            take_weights(model, run_folder.load(self.begin))
        return model

    def work(self) -> tuple[Callable[..., Record], dict[str, Any]]:
        # This study has no name in a module by which a worker could find it.
        return train_of, {"study": self}

    def load(self, config: Config, data_dir: str | None = None) -> Dataset:
        return self.data

    def describe(self, dataset: Dataset) -> dict[str, Any]:
        said = {"validation": "none while it trains"}
        return {**super().describe(dataset), **said}

    def feed(self, config: Config, dataset: Dataset) -> dict[str, Any]:
        x = dataset.x_train
        if dataset.y_train is not None:
            x = Batches(x, config["batch_size"], config["seed"], dataset.y_train)
        return {"x": x, "epochs": config["epochs"], "verbose": self.verbose}

    def test(self, run: Run) -> dict[str, Any]:
        size = {key: run.config[key] for key in ("samples", "batch_size")}
        x, y = run.dataset.x_test, run.dataset.y_test
        return {"bank": metrics.evaluate(run.model, x, y, **size)}


def train_of(study: CurveStudy, **task: Any) -> Record:
    """`CurveStudy.train_one`, where a worker receives the study as a value."""
    return study.train_one(**task)


def last_beta(run: Run) -> float | None:
    """The beta that training has ended with; None where there are several."""
    betas = {round(float(c.beta.value), 6) for c in find_layers(run.model, Channel)}
    return betas.pop() if len(betas) == 1 else None


def take_weights(model: keras.Model, other: keras.Model) -> None:
    """Gives a model the weights of another one of its kind, but no number for beta.

    The state of a rule begins anew; its beta goes on where that of the other ended.
    """
    own = set()
    for channel in find_layers(model, Channel):
        rule = channel.beta_rule
        state = channel.beta_state.values() if rule else [channel.beta]
        own |= {id(variable) for variable in state}
    for mine, theirs in zip(model.weights, other.weights, strict=True):
        if id(mine) not in own:
            mine.assign(theirs)


class _Data(Dataset):
    """Data that were handed over, whose targets count as well."""

    @functools.cached_property
    def checksum(self) -> str:
        targets = [y for y in (self.y_train, self.y_test) if y is not None]
        images = (np.asarray(x, "<f4") for x in (self.x_train, self.x_test))
        return sha256(*images, *targets)


def _asked(betas, rates):
    """What is varied, "beta" or "target", and its values."""
    if (betas is None) == (rates is None):
        raise ValueError(
            "betas or rates must be given, one of them. Received: "
            f"betas={betas!r:.50}, rates={rates!r:.50}"
        )
    name, values, bounds = "betas", betas, {"low": 0}
    if betas is None:
        name, values, bounds = "rates", rates, {"above": 0}
    found = arguments.numbers_list(name, values, **bounds)
    if len(set(found)) < len(found):
        raise ValueError(f"{name} must all differ. Received: {name}={values!r:.80}")
    return "beta" if name == "betas" else "target", found


def _check_fit(model, data):
    """Raises a ValueError for data that are not what a model takes."""
    expected = model.input_shape
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        found = (None, *x.shape[1:])
        known = (a in (None, b) for a, b in zip(expected, found, strict=False))
        if len(expected) != len(found) or not all(known):
            raise ValueError(
                f"x and validation must have the shape that the model takes, "
                f"{expected}. Received: shape {x.shape}"
            )
        check_targets(model, x if y is None else y)


def _dataset(x, y, validation):
    """Training and validation examples, with what a record says of them."""
    pair = validation if isinstance(validation, tuple) else (validation, None)
    x = arguments.array("x", x)
    if y is not None:
        y = arguments.array("y", y)
    if validation is None:
        test, said = (x, y), f"measured on the {len(x):,} training examples"
    else:
        if len(pair) != 2 or (pair[1] is None) != (y is None):
            raise ValueError(
                "validation must be examples, and a pair of examples and targets where "
                f"y is given. Received: validation={type(validation).__name__}, y="
                f"{'None' if y is None else 'targets'}"
            )
        test = [a if a is None else arguments.array("validation", a) for a in pair]
        said = f"trained on {len(x):,} examples, measured on {len(test[0]):,} others"
    for name, a, b in (("y", x, y), ("validation's targets", *test)):
        if b is not None and len(a) != len(b):
            raise ValueError(
                f"{name} must be as many as the examples, {len(a)}. Received: {len(b)}"
            )
    return _Data(
        name=DATA,
        x_train=x,
        x_test=test[0],
        x_valid=None,
        y_train=y,
        y_test=test[1],
        source="arrays",
        binarize="none",
        description=said,
    )
