"""A study: many trainings that differ in what is varied, and their records."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

from echo_keras import data, losses, metrics, training
from echo_keras._files import write_json
from echo_keras.data.pixels import binarize
from echo_keras.layers import arguments
from echo_keras.training import UnwritableFolderError, run_folder

from . import groups, records, runners
from .configurations import Config, Configurations, differing
from .evaluation import TRAINING_EXAMPLES, evaluated, validation
from .records import Record

SAVE_SECONDS = 20.0  # to save a model of short epochs takes longer than to train it


@dataclasses.dataclass(frozen=True)
class Run:
    """What a measure of a study sees of a trained model.

    Attributes:
        study: The `Study`.
        config: The run's configuration.
        model: The trained model.
        dataset: What it was trained and is tested on.
        folder: Where the run keeps its checkpoint; a measure may keep files there.
        out: Where the study keeps its records.
        data_dir: Where data sets are looked for.
    """

    study: "Study"
    config: Config
    model: keras.Model
    dataset: Any
    folder: pathlib.Path
    out: pathlib.Path
    data_dir: str | None = None


@dataclasses.dataclass(frozen=True)
class Study(Configurations):
    r"""Many trainings of one kind: what they share, what varies, what is measured.

    A configuration is a flat dict: `dataset`, what varies, `seed`, and the protocol
    (`epochs`, `batch_size`, `learning_rate`, ...). Each run trains one configuration
    and leaves one JSON record, see `records`. A finished run is never run again, and
    an interrupted one goes on from its last checkpoint.

    Attributes:
        name: Its name, also of the folder below runs/ that its records go to.
        build: Function from a configuration and the data set to a model that is not
            compiled yet.
        protocol: The paper's values, or a function from data set and varied values to
            them. Added to `DEFAULTS`.
        quick: For a data set, values in the place of the paper's: a short look.
        vary: From a key of the configuration, or a tuple of keys that vary together,
            to its values. All combinations are run.
        configure: Function from a configuration to the one that is run: what follows
            from other values is added, what has no meaning is removed. None leaves the
            configuration out.
        loss: The distortion, `losses.Bernoulli()` if None; or a function from a
            configuration to it.
        optimizer: Function from a learning-rate schedule to a Keras optimizer.
        schedule: Function from a configuration to a schedule as `training.train` takes
            it; the configuration's own if None.
        transform: Function from the data set and a configuration to what is trained and
            tested on.
        echoes: Ways to evaluate; see `metrics.evaluate`.
        best: Name of a log, such as "val_neg_elbo": the model of the epoch that has the
            lowest is tested as well. It is a log of validation images, and has no
            effect where a data set has none.
        measure_every: After how many epochs each, beside the logs, test and training
            data are evaluated, by the first of `echoes`, and the rates by dimension;
            never if None. Kept in the record as `measured` of the epoch's logs.
        measures: From a name to a function from a `Run` to what the record shall hold.
        prepare: Function called once before runs start, with a configuration, the
            data set, the output folder and data_dir: for what all of them need.
        paper: False where no paper gives a protocol, and all of it is our own.
        unstated: Keys of the protocol that the paper does not give.
        described: From a key to a sentence on it, for `--help`.
        choices: From a key to the texts that it may be.

    Example:

    >>> study = Study(
    ...     name="mine",
    ...     build=None,
    ...     protocol={"epochs": 20},
    ...     quick={"digits": {"epochs": 2}},
    ...     vary={"beta": [0.5, 1.0]},
    ... )
    >>> config = study.configs("digits", runs=2)[3]
    >>> config["beta"], config["seed"], study.run_name(config)
    (1.0, 1, 'digits-beta1-epochs2-seed1')
    >>> study.deviations(config)
    'reduced or changed protocol: epochs 2 (paper 20)'
    """

    DEFAULTS = {
        "epochs": 200,
        "batch_size": 100,
        "learning_rate": 3e-4,
        "schedule": "constant",
        "train_limit": None,
        "samples": 1,
        "precision": "float32",
    }

    name: str
    build: Callable[[Config, Any], keras.Model]
    protocol: Mapping[str, Any] | Callable[[Config], Mapping[str, Any]]
    quick: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    vary: Mapping[Any, Sequence[Any]] = dataclasses.field(default_factory=dict)
    configure: Callable[[Config], Config | None] | None = None
    loss: keras.losses.Loss | Callable[[Config], keras.losses.Loss] | None = None
    optimizer: Callable[[Any], keras.optimizers.Optimizer] = keras.optimizers.Adam
    schedule: Callable[[Config], Any] | None = None
    transform: Callable[[Any, Config], Any] | None = None
    echoes: Sequence[str] = ("bank",)
    best: str | None = None
    measure_every: int | None = None
    measures: Mapping[str, Callable[[Run], Any]] = dataclasses.field(
        default_factory=dict
    )
    prepare: Callable[[Config, Any, pathlib.Path, str | None], None] | None = None
    paper: bool = True
    unstated: Sequence[str] = ()
    described: Mapping[str, str] = dataclasses.field(default_factory=dict)
    choices: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def run(
        self,
        configs: Sequence[Config],
        out: str | pathlib.Path,
        *,
        data_dir: str | None = None,
        tensorboard: bool = False,
        force_resume: bool = False,
        runner: str = "local",
        workers: int | None = None,
        address: str | None = None,
        cpus_per_run: float | None = None,
        gpus_per_run: float | None = None,
        side_by_side: int = 1,
    ) -> list[Record]:
        """Trains what has no record yet; returns the records of all, in order.

        Args:
            configs: As `configs` makes them.
            out: Folder for records, checkpoints and logs.
            data_dir: Folder with the data sets' files; see `data.load`.
            tensorboard: If True, also writes TensorBoard logs.
            force_resume: If True, goes on with checkpoints of another backend or of
                what is another model now; see `training.train`.
            runner, workers, address, cpus_per_run, gpus_per_run: Where the trainings
                run; see `runners.run_all`.
            side_by_side: Int >= 1: up to so many runs, which differ in seed and beta
                alone, train at once in one compiled program, on JAX, and count as one
                run of a runner; see `training.train_side_by_side`.

        Raises:
            training.UnwritableFolderError: `out` cannot be written to.
            ValueError: a record was made with other data than those found now, by
                another study or of another configuration; two configurations have one
                name; or the study has no function that builds.
            runners.RunsFailed: some runs failed; the others have their records.
        """
        out = pathlib.Path(out)
        arguments.integer("side_by_side", side_by_side)
        if side_by_side > 1 and tensorboard:
            raise ValueError(
                "tensorboard must be False for runs side by side. Received: "
                f"tensorboard=True, side_by_side={side_by_side}"
            )
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnwritableFolderError(
                f"out must be a folder to write to. Received: {out} "
                f"({error.strerror}). Choose another one."
            ) from error
        data_dir = data_dir and str(pathlib.Path(data_dir).expanduser().resolve())
        self._check(configs)
        missing, named = {}, {}
        for config in configs:
            name = self.run_name(config)
            if "/" in name:
                raise ValueError(f"A run's name must have no slash. Received: {name}")
            if named.setdefault(name, config) != config:
                raise ValueError(
                    "Configurations must differ in what names their runs. Received: "
                    f"{name} twice, with another {differing(named[name], config)}"
                )
            path = out / f"{name}.json"
            found = self.load(config, data_dir).checksum
            if not path.exists():
                if not missing and self.prepare is not None:
                    self.prepare(config, self.load(config, data_dir), out, data_dir)
                missing[name] = config
                continue
            record = records.load(path)
            other = differing(record["config"], config)
            if record["study"] != self.name or other:
                what = f"another {other}" if other else f"study={record['study']}"
                raise ValueError(
                    f"{path.name} must be of this configuration of {self.name}. "
                    f"Received: {what}. Choose another folder for the runs."
                )
            done = record["data"]["checksum"]
            if done != found:
                raise ValueError(
                    f"{path.name} must be of the data found now, checksum {found}. "
                    f"Received: checksum={done}. Choose another folder for the runs."
                )
            print(f"{name}: finished before, not run again")
        where = {
            "out": str(out.resolve()),
            "data_dir": data_dir,
            "force_resume": force_resume,
        }
        running = {
            "runner": runner,
            "workers": workers,
            "address": address,
            "cpus_per_run": cpus_per_run,
            "gpus_per_run": gpus_per_run,
            "log_dir": out / "logs",
        }
        if side_by_side > 1:
            found = groups.groups(missing, side_by_side)
            groups.run_groups(self, found, out, where, running)
        else:
            work, given = self.work()
            runners.run_all(
                work,
                [
                    {**where, **given, "config": config, "tensorboard": tensorboard}
                    | {"folder": str(self.folder(out.resolve(), config))}
                    for config in missing.values()
                ],
                names=list(missing),
                on_done=lambda name, record: write_json(out / f"{name}.json", record),
                **running,
            )
        return [records.load(out / f"{self.run_name(c)}.json") for c in configs]

    def train_one(
        self,
        config: Config,
        out: str | pathlib.Path,
        data_dir: str | None = None,
        tensorboard: bool = False,
        force_resume: bool = False,
        folder: str | pathlib.Path | None = None,
    ) -> Record:
        """One run, from its configuration to its record. Resumes; writes no record."""
        out = pathlib.Path(out)
        dataset = self.load(config, data_dir)
        folder = pathlib.Path(folder or self.folder(out, config))
        model, history = training.train(
            lambda: self.built(config, dataset),
            directory=folder,
            seed=config["seed"],
            tensorboard=tensorboard,
            save_seconds=SAVE_SECONDS,
            force_resume=force_resume,
            **self.training(config, dataset),
        )
        run = Run(self, config, model, dataset, folder, out, data_dir)
        return self.record(run, history)

    def train_group(
        self,
        configs: Mapping[str, Config],
        out: str | pathlib.Path,
        data_dir: str | None = None,
        force_resume: bool = False,
    ) -> dict[str, Any]:
        """As `train_one`, of several runs side by side, which are named."""
        return groups.train(self, configs, pathlib.Path(out), data_dir, force_resume)

    def training(self, config: Config, dataset: Any) -> dict[str, Any]:
        """What `training.train` is given, but for what is of one run alone."""
        schedule = self.schedule(config) if self.schedule else config.get("schedule")
        is_loss = isinstance(self.loss, keras.losses.Loss)
        loss = self.loss if is_loss or self.loss is None else self.loss(config)
        feed = self.feed(config, dataset)
        watch = functools.partial(self.watch, config, dataset)
        return {
            "batch_size": config["batch_size"],
            "learning_rate": config["learning_rate"],
            "schedule": schedule or "constant",
            "loss": losses.Bernoulli() if loss is None else loss,
            "optimizer": self.optimizer,
            "best": None if feed.get("validation") is None else self.best,
            "measure": self.measure_every and watch,
            "measure_every": self.measure_every or 1,
            **feed,
        }

    def record(self, run: Run, history: list[dict[str, Any]]) -> Record:
        """The record of a trained run: tested, and measured."""
        tested = self.test(run)
        best = None if self.best not in (history or [{}])[-1] else self.best
        return records.make(
            self.name,
            run.config,
            self.describe(run.dataset),
            run.model,
            history,
            tested,
            {name: measure(run) for name, measure in self.measures.items()},
            training.parts(run.folder),
            best and self._tested_at_best(run, history, tested),
        )

    def built(self, config: Config, dataset: Any) -> keras.Model:
        """The model, its layers of the precision that the configuration has."""
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(config.get("precision", before))
        try:
            return self.build_model(config, dataset)
        finally:
            keras.config.set_dtype_policy(before)

    def _tested_at_best(
        self, run: Run, history: list[dict[str, float]], tested: dict[str, Any]
    ) -> dict[str, Any] | None:
        """What the model of the lowest epoch has; None where that was not kept."""
        epoch = training.best_epoch(history, self.best)
        if epoch < len(history):
            try:
                model = run_folder.load(run.folder, run_folder.BEST)
            except run_folder.RunFolderError as error:
                print(error)
                return None
            steps = int(run.model.optimizer.iterations) // len(history)
            if int(model.optimizer.iterations) != epoch * steps:
                return None  # the training began without keeping it
            tested = self.test(dataclasses.replace(run, model=model))
        return {"log": self.best, "epoch": epoch, "test": tested}

    def models(
        self, out: str | pathlib.Path, configs: Sequence[Config]
    ) -> Iterator[tuple[Config, keras.Model]]:
        """The trained models of runs, one after another, as far as they are left.

        Args:
            out: Folder of the records.
            configs: Whose models.

        Yields:
            Pairs of a configuration and its model. Where none is left, a line says so.
        """
        for config in configs:
            folder = self.folder(out, config)
            if (folder / run_folder.CHECKPOINT).exists():
                yield config, run_folder.load(folder)
            else:
                print(f"{self.run_name(config)}: no model is left to draw with")

    def folder(self, out: str | pathlib.Path, config: Config) -> pathlib.Path:
        """Where a run keeps its checkpoint and logs."""
        return pathlib.Path(out) / "checkpoints" / self.run_name(config)

    def _check(self, configs: Sequence[Config]) -> None:
        """Raises ValueError for what would fail only after a training."""
        needed = {"dataset", "seed"}
        is_list = isinstance(configs, Sequence) and not isinstance(configs, str)
        for config in configs if is_list else [configs]:
            if (
                not isinstance(config, Mapping)
                or not needed <= config.keys()
                or not is_list
            ):
                raise ValueError(
                    "configs must be a list of dicts with dataset and seed, as the "
                    f"method configs makes them. Received: {config!r:.80}"
                )
            precision = config.get("precision", "float32")
            try:
                keras.dtype_policies.get(precision)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    "precision must be the name of a Keras dtype policy. Received: "
                    f"precision={precision!r}"
                ) from error
        wrong = [way for way in self.echoes if way not in metrics.ECHOES]
        if wrong or isinstance(self.echoes, str):
            raise ValueError(
                f"echoes must be a list of {', '.join(metrics.ECHOES)}. Received: "
                f"echoes={self.echoes!r}"
            )
        if not isinstance(self.measures, Mapping):
            raise ValueError(
                "measures must be a dict from names to functions. Received: "
                f"measures={self.measures!r}"
            )
        named = {"build": self.build, "optimizer": self.optimizer}
        if not isinstance(self.loss, keras.losses.Loss | None):
            named["loss"] = self.loss
        named |= {f"measures[{name!r}]": f for name, f in self.measures.items()}
        for name, function in named.items():
            if not callable(function):
                raise ValueError(
                    f"{name} must be a function. Received: {name}={function!r}"
                )

    # What a study on other kinds of data overrides

    def build_model(self, config: Config, dataset: Any) -> keras.Model:
        """The model of a configuration, of its precision."""
        return self.build(config, dataset)

    def work(self) -> tuple[Callable[..., Record], dict[str, Any]]:
        """What a worker calls for each run, and what it is given besides the run."""
        return self.train_one, {}

    def load(self, config: Config, data_dir: str | None = None) -> Any:
        """The data set of a configuration; the last one read is kept, one copy."""
        name, limit = config["dataset"], config.get("train_limit")
        dataset = keep((name, limit, data_dir), data.load, name, data_dir, limit=limit)
        return dataset if self.transform is None else self.transform(dataset, config)

    def describe(self, dataset: Any) -> dict[str, Any]:
        """What a record says of the data."""
        return {
            "source": dataset.source,
            "description": dataset.description,
            "checksum": dataset.checksum,
            "training_examples": len(dataset.x_train),
            "test_examples": len(dataset.x_test),
            "validation": validation(dataset)[1],
        }

    def feed(self, config: Config, dataset: Any) -> dict[str, Any]:
        """What `training.train` is given of the data: x, epochs, validation."""
        return {
            "x": dataset.x_train,
            "epochs": config["epochs"],
            "binarize": dataset.binarize == "dynamic",
            "validation": validation(dataset)[0],
        }

    def test(self, run: Run) -> dict[str, Any]:
        """What a record says of test and training data; see `evaluated`."""
        return self._evaluated(run.model, run.config, run.dataset, echoes=self.echoes)

    def watch(self, config: Config, dataset: Any, model: keras.Model) -> dict[str, Any]:
        """What the logs of every `measure_every` epochs hold; see `evaluated`."""
        shorter = {"echoes": self.echoes[:1], "training_mode": False}
        return self._evaluated(model, config, dataset, **shorter)

    def _evaluated(
        self, model: keras.Model, config: Config, dataset: Any, **how: Any
    ) -> dict[str, Any]:
        x_train = metrics.evenly_spaced(dataset.x_train, TRAINING_EXAMPLES)
        if dataset.binarize == "dynamic":
            (x_train,) = binarize("static", config["seed"], [x_train])
        size = {key: config[key] for key in ("samples", "batch_size")}
        return evaluated(model, dataset.x_test, x_train, **size, **how)

    def steps_per_epoch(self, config: Config, dataset: Any) -> int:
        """Batches of an epoch, for schedules inside a model."""
        return math.ceil(len(dataset.x_train) / config["batch_size"])


_kept: dict[Any, Any] = {}


def keep(key: Any, load: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `load` returns; the last one is kept, and only that: it may be large."""
    if key not in _kept:
        _kept.clear()
        _kept[key] = dataset = load(*args, **kwargs)
        print(f"{dataset.name}: {dataset.description}; {dataset.source}, checksum")
        print(dataset.checksum)
    return _kept[key]
