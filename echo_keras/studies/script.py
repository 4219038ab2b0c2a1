"""A command-line script around a study: its own flags, and no others."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from absl import app, flags

from echo_keras import data, training

from . import records, runners
from .numbers import write_numbers
from .study import Study
from .table import Table


@dataclasses.dataclass(frozen=True)
class Option:
    """A flag of a script.

    Attributes:
        name: As on the command line.
        default: Its value if it is not given.
        help: One sentence.
        kind: int, float, str, bool, or list of one of these such as `[float]`; the
            default's type if None.
        choices: The texts that it may be, or that its items may be. With "all" among
            them, that item stands for all others.
        least: The least number.

    Example:

    >>> parse([Option("points", 20, "Points that are drawn.")], ["--points=7"]).points
    7
    """

    name: str
    default: Any = None
    help: str = ""
    kind: Any = None
    choices: Sequence[str] = ()
    least: float | None = None

    def define(self, values: flags.FlagValues) -> None:
        """Defines the flag in `values`, which belong to one script."""
        kind = type(self.default) if self.kind is None else self.kind
        if isinstance(kind, list) or kind in (list, tuple):
            default = self.default and [str(value) for value in self.default]
            flags.DEFINE_list(self.name, default, self.help, flag_values=values)
        elif self.choices:
            flags.DEFINE_enum(
                self.name, self.default, self.choices, self.help, flag_values=values
            )
        elif kind is bool:
            flags.DEFINE_bool(self.name, self.default, self.help, flag_values=values)
        elif kind in (int, float):
            define = flags.DEFINE_integer if kind is int else flags.DEFINE_float
            define(self.name, self.default, self.help, self.least, flag_values=values)
        else:
            flags.DEFINE_string(self.name, self.default, self.help, flag_values=values)

    def value(self, found: Any) -> Any:
        """What the flag holds, as the kind of this option."""
        if not isinstance(found, list):
            return found
        if "all" in self.choices and found == ["all"]:
            return [choice for choice in self.choices if choice != "all"]
        item = self.kind[0] if isinstance(self.kind, list) else str
        wrong = [x for x in found if self.choices and x not in self.choices]
        try:
            items = [item(x) for x in found]
        except ValueError:
            items, wrong = [], found
        wrong += [x for x in items if self.least is not None and not x >= self.least]
        if wrong or not items:
            expected = ", ".join(self.choices) or f"a list of {item.__name__} values"
            if self.least is not None:
                expected += f" >= {self.least:g}"
            raise ValueError(f"must be {expected}. Received: {', '.join(found) or '-'}")
        return items


def parse(options: Sequence[Option], arguments: Sequence[str]) -> SimpleNamespace:
    """The values of options, from a command line without the script's name.

    Raises:
        SystemExit: a flag is not among the options, a value is none that it can have,
            or there is more than flags: with a sentence that lists the valid ones. With
            --help, after it is printed.
        ValueError: two options have one name.
    """
    names = [option.name for option in options]
    if len(set(names)) < len(names):
        twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
        raise ValueError(f"Options must have different names. Received: {twice} twice")
    values = flags.FlagValues()
    for option in options:
        option.define(values)
    try:
        if {"--help", "-help", "-h"} & set(arguments):
            print(sys.modules["__main__"].__doc__ or "")
            lines = values.get_help(include_special_flags=False).strip().splitlines()
            print("\n".join(["Flags:", *lines[1:]]))
            raise SystemExit(0)
        rest = values(["script", *arguments])[1:]
        found = {}
        for option in options:
            try:
                found[option.name] = option.value(values[option.name].value)
            except ValueError as error:
                raise SystemExit(f"--{option.name} {error}") from error
    except flags.Error as error:
        raise SystemExit(f"{error}\n{_valid(options)}") from error
    if rest:
        raise SystemExit(f"Unexpected arguments: {' '.join(rest)}.\n{_valid(options)}")
    return SimpleNamespace(**found)


def _valid(options):
    return f"This script's flags are {', '.join('--' + o.name for o in options)}."


def start(main: Callable[[Sequence[str]], None]) -> None:
    """Runs the `main` of a script, which reads the command line by itself.

    Where runs fail it ends with the sentence that says which: their tracebacks are out.
    Ctrl-C ends it with a line that says how to go on, and exit code 130.
    """

    def unread(argv):
        flags.FLAGS(argv[:1])  # Abseil's own have their defaults
        return argv

    def run(argv):
        try:
            main(argv)
        except (runners.RunsFailed, training.UnwritableFolderError) as error:
            raise SystemExit(str(error)) from error
        except KeyboardInterrupt:
            print(GO_ON, file=sys.stderr)
            raise SystemExit(130) from None

    app.run(run, flags_parser=unread)


@dataclasses.dataclass(frozen=True)
class Command:
    """A script without a study: a function of its options' values.

    Example:

    >>> main = Command(lambda options: print(2 * options.n), [Option("n", 1, "A number.")])
    >>> main(["script", "--n=4"])
    8
    """  # noqa: E501

    function: Callable[[SimpleNamespace], None]
    options: Sequence[Option]

    def __call__(self, argv: Sequence[str]) -> None:
        self.function(parse(self.options, argv[1:]))


COMMON = [
    Option("seed", 0, "Seed of the first run.", least=0),
    Option("data_dir", None, "Folder with the data set's files.", str),
    Option("out_dir", None, "Folder for records, models, tables and figures.", str),
]
MANY = [
    Option("runs", 1, "Runs of each kind, with seeds from --seed on.", least=1),
    Option("tensorboard", False, "Also write TensorBoard logs."),
    Option("force_resume", False, "Go on with what another backend or model began."),
    Option("runner", "local", "Where the trainings run.", choices=runners.RUNNERS),
    Option("workers", None, "Runs at once. Default: one per GPU.", int, least=1),
    Option("address", None, "--runner=ray: a cluster to join, such as auto.", str),
    Option("cpus_per_run", None, "--runner=ray: CPUs of a run.", float, least=0),
    Option("gpus_per_run", None, "--runner=ray: GPUs of a run.", float, least=0),
    Option("side_by_side", 1, "Seeds and betas trained as one program; JAX.", least=1),
]
# What a protocol's keys mean, where a study does not say it.
DESCRIBED = {
    "epochs": "Epochs of training.",
    "steps": "Steps of training.",
    "batch_size": "Examples in a batch.",
    "learning_rate": "Learning rate at the start.",
    "schedule": "What becomes of the learning rate in the second half of training.",
    "train_limit": "Train on the first so many examples.",
    "samples": "Codes drawn for each test example.",
    "precision": "Of what layers compute; weights, noise and rates are float32.",
    "beta": "Weight on the rate.",
    "latent_dim": "Latent dimensions.",
    "filters": "Filters of the first convolution.",
    "votes": "Votes that train the FactorVAE score.",
    "compared": "Generated and test images compared with each other.",
}
GO_ON = (
    "Interrupted. The same command goes on: finished runs stay as they are, and what "
    "was running resumes from its last checkpoint."
)
CHOICES = {
    "schedule": training.SCHEDULES,
    "precision": ("float32", "mixed_bfloat16"),
}
WHERE = ("data_dir", *(option.name for option in MANY[1:]))


@dataclasses.dataclass(frozen=True)
class Results:
    """What a script draws from.

    Attributes:
        study: The `Study`.
        configs: The configurations that the flags ask for, in order.
        runs: Their records.
        out: The output folder.
        options: The flags' values.
    """

    study: Study
    configs: list[dict]
    runs: list[records.Record]
    out: pathlib.Path
    options: SimpleNamespace

    @property
    def dataset(self) -> Any:
        """The data set of the first configuration."""
        return self.study.load(self.configs[0], self.options.data_dir)

    def models(self) -> Iterator[tuple[dict, Any]]:
        """Configurations of the first seed, each with its model, if it is left."""
        first = [c for c in self.configs if c["seed"] == self.options.seed]
        return self.study.models(self.out, first)

    def path(self, ending: str) -> pathlib.Path:
        """A file in the output folder, named by data set and protocol."""
        return self.out / f"{self.study.protocol_name(self.configs[0])}-{ending}"


@dataclasses.dataclass(frozen=True)
class Script:
    """A script: trains what a study has no record of, writes tables, draws.

    Called with the command line: `main = Script(...)`, `start(main)`. Its flags are
    those of the study: `dataset`, the values of the protocol, a list for each key that
    varies (`beta` has `--betas`), where runs run; and those that the script adds.

    Attributes:
        study: The `Study`.
        tables: Rendered from all records in the output folder, whatever failed.
        draw: Function from `Results`, called when all runs are there.
        options: More flags.
        defaults: From names of the study's flags to other defaults.
        without: Names of flags that have no meaning here.
        vary: Function from the options to what varies, from keys (or tuples of them)
            to values, where a list for each key does not say it.
        datasets: The names that `--dataset` may have, its default first.
    """

    study: Study
    tables: Sequence[Table] = ()
    draw: Callable[[Results], None] | None = None
    options: Sequence[Option] = ()
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    without: Sequence[str] = ()
    vary: Callable[[SimpleNamespace], Mapping[Any, Sequence[Any]]] | None = None
    datasets: Sequence[str] = data.names()

    def flags(self) -> list[Option]:
        """All flags of the script, in the order in which `--help` lists them."""
        study, found = self.study, []
        if "dataset" not in study.vary:
            help_ = "Data set."
            found.append(Option("dataset", self.datasets[0], help_, str, self.datasets))
        for key, values in study.vary.items():
            if isinstance(key, str):
                found.append(_varied(key, list(values), study.described.get(key)))
        protocol = study.protocol_of({"dataset": self.datasets[0]})
        varied = [k for keys in study.vary for k in _keys(keys)]
        for key, value in protocol.items():
            if key not in varied:
                found.append(_of_protocol(key, value, study, self.datasets[0]))
        folder = f" Default: {pathlib.Path('runs') / study.name}."
        found += [*self.options, *COMMON, *MANY]
        unknown = {*self.without, *self.defaults} - {option.name for option in found}
        if unknown:
            raise ValueError(
                "without and defaults must name flags of the study. Received: "
                f"{', '.join(sorted(unknown))}"
            )
        return [
            dataclasses.replace(
                o,
                default=self.defaults.get(o.name, o.default),
                help=o.help + folder * (o.name == "out_dir"),
            )
            for o in found
            if o.name not in self.without
        ]

    def __call__(self, argv: Sequence[str]) -> None:
        options = parse(self.flags(), argv[1:])
        study = self.study
        out = pathlib.Path(options.out_dir or pathlib.Path("runs") / study.name)
        try:
            configs = self.configs(options)
        except ValueError as error:
            raise SystemExit(str(error)) from error
        where = {k: getattr(options, k) for k in WHERE if hasattr(options, k)}
        try:  # before hours of training, not after
            records.read(out)
        except ValueError as error:
            raise SystemExit(str(error)) from error
        try:
            runs = study.run(configs, out, **where)
        except FileNotFoundError as error:
            raise SystemExit(str(error)) from error
        finally:  # what is finished is worth a table, whatever failed
            finished = [r for r in records.read(out) if r["study"] == study.name]
            for table in self.tables if finished else ():
                print(f"\n{table.write(finished, out)}\n")
            if finished:
                path = write_numbers(finished, study, out)
                print(f"Every number, standard errors too: {path}")
        if self.draw is not None:
            self.draw(Results(study, configs, runs, out, options))

    def configs(self, options: SimpleNamespace) -> list[dict]:
        """The configurations that the flags ask for.

        Args:
            options: The flags' values.
        """
        vary = self.vary(options) if self.vary else {}
        study = dataclasses.replace(self.study, vary={**self.study.vary, **vary})
        keys = [k for k in study.vary if isinstance(k, str) and k != "dataset"]
        keys = [k for k in keys if k not in vary]
        changes = {key: getattr(options, _plural(key), None) for key in keys}
        for key in study.protocol_of({"dataset": self.datasets[0]}):
            changes.setdefault(key, getattr(options, key, None))
        varied = "dataset" in study.vary
        return study.configs(
            dataset=options.datasets if varied else options.dataset,
            seed=options.seed,
            runs=getattr(options, "runs", 1),
            **changes,
        )


def _keys(keys: Any) -> Sequence[str]:
    return keys if isinstance(keys, tuple) else (keys,)


def _plural(key: str) -> str:
    if key.endswith("s"):
        return key
    return f"{key[:-1]}ies" if key.endswith("y") else f"{key}s"


def _varied(key: str, values: list, help_: str | None) -> Option:
    values = [value for value in values if value is not None]
    is_text = values and isinstance(values[0], str)
    if is_text:
        choices = [*dict.fromkeys(values), "all"]
        text = help_ or f"Of {', '.join(choices[:-1])}; or all."
        return Option(_plural(key), values, text, [str], choices)
    kind = type(values[0]) if values else float
    help_ = help_ or f"{DESCRIBED.get(key, f'{key}.')} A list."
    return Option(_plural(key), values or None, help_, [kind], least=0)


def _of_protocol(key: str, value: Any, study: Study, dataset: str) -> Option:
    help_ = study.described.get(key) or DESCRIBED.get(key, f"{key}.")
    quick = study.quick.get(dataset, {})
    usual = f" Default: {_shown(value)}"
    if key in quick:
        usual += f", or {_shown(quick[key])} on {dataset}"
    kind = int if value is None else type(value)
    least = {int: 1 if value != 0 else 0, float: 0}.get(kind)
    if isinstance(value, (list, tuple)):
        kind = [type(value[0]) if value else str]
    choices = study.choices.get(key) or CHOICES.get(key, ())
    return Option(key, None, f"{help_}{usual}.", kind, choices, least)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return "all" if value is None else f"{value}"
