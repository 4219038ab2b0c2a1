"""Tables rendered from records and nothing else, as Markdown and CSV."""

import csv
import dataclasses
import math
import numbers
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from . import records
from .claim import Claim
from .records import Record
from .study import Study

Runs = list[Record]


def mean(runs: Runs, path: str | Sequence[str]) -> float | None:
    """The mean over runs of a number in their records; None where one lacks it.

    Raises:
        ValueError: what stands there is no number.

    Example:

    >>> mean([{"seconds": 1.0}, {"seconds": 2.0}], "seconds")
    1.5
    """
    values = _numbers(runs, path)
    return None if not values or None in values else float(np.mean(values))


def spread(runs: Runs, path: str | Sequence[str]) -> float | None:
    """The standard deviation over runs; None for a single run.

    Example:

    >>> spread([{"seconds": s} for s in (1.0, 2.0, 3.0)], "seconds")
    1.0
    """
    values = _numbers(runs, path)
    if len(values) < 2 or None in values:
        return None
    return float(np.std(values, ddof=1))


def _numbers(runs: Runs, path: str | Sequence[str]) -> list[Any]:
    values = [records.get(run, path) for run in runs]
    for value in values:
        if value is not None and not isinstance(value, numbers.Real):
            where = path if isinstance(path, str) else ".".join(path)
            raise ValueError(
                f"{where} must be a number in every record. Received: {value!r:.60}"
            )
    return values


def plus_minus(
    path: str, form: str = ".2f", error: str | None = None
) -> Callable[[Runs], str | None]:
    """A column of a number with its error, for `Column`.

    Args:
        path: Where the number stands, of which the mean over runs is shown.
        form: How both are shown.
        error: Where the error stands; the standard deviation over runs if None, which
            a single run does not have.

    Example:

    >>> plus_minus("rate", ".1f")([{"rate": 1.0}, {"rate": 2.0}, {"rate": 3.0}])
    '2.0 ± 1.0'
    >>> plus_minus("rate", ".1f", error="rate_se")([{"rate": 1.0, "rate_se": 0.5}])
    '1.0 ± 0.5'
    """

    def of(runs: Runs) -> str | None:
        value = mean(runs, path)
        deviation = spread(runs, path) if error is None else mean(runs, error)
        if value is None or deviation is None:
            return value and cell(value, form)
        return f"{cell(value, form)} ± {cell(deviation, form)}"

    return of


def points(
    runs: Runs, label: Callable[[Mapping[str, Any]], str], *paths: str
) -> dict[str, list[tuple[float, ...]]]:
    """What curves are drawn from: numbers in records, grouped by a label.

    Args:
        runs: Records.
        label: Function from a configuration to its curve's label.
        *paths: Where the numbers stand, such as "test.bank.rate". A record that lacks
            one of them, as a model without a channel lacks a rate, gives no point.

    Example:

    >>> runs = [{"config": {"method": "vae"}, "test": {"rate": 2.0}, "seconds": 1}]
    >>> points(runs, lambda config: config["method"], "test.rate", "seconds")
    {'vae': [(2.0, 1)]}
    """
    found: dict[str, list[tuple[float, ...]]] = {}
    for run in runs:
        values = tuple(records.get(run, path) for path in paths)
        if None not in values:
            found.setdefault(label(run["config"]), []).append(values)
    return found


def cell(value: Any, form: str = ".2f") -> str:
    """A value as a table shows it: numbers formatted, "-" where there is none.

    Example:

    >>> cell(1.005, ".1f"), cell(None), cell("VAE"), cell(20000, ",")
    ('1.0', '-', 'VAE', '20,000')
    """
    if value is None or isinstance(value, numbers.Real) and math.isnan(value):
        return "-"
    if isinstance(value, str):
        return value
    try:
        return format(value, form)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "A column's format must be one of its values, such as '.2f' of numbers. "
            f"Received: format={form!r}, of which {value!r:.60} has none"
        ) from error


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are right-aligned.

    Example:

    >>> print(markdown(["Method", "Rate"], [["VAE", "26.2"]]))
    | Method | Rate |
    | --- | ---: |
    | VAE | 26.2 |
    """
    rule = ["---"] + ["---:"] * (len(header) - 1)
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a `Table`.

    Attributes:
        header: Its name; or a function of a section's records that returns it.
        value: A path into a record such as "test.bank.rate" (a sequence of keys, where
            one holds a dot), of which the mean over the runs of a row is shown, or a
            text if they share one, else "-"; or a function of these runs, a list of
            records, that returns a number, a text or None.
        format: How a number is shown; a mean is a float, which has no format "d".

    Example:

    >>> Column("Rate", "test.bank.rate").text([{"test": {"bank": {"rate": 2.0}}}])
    '2.00'
    """

    header: str | Callable[[Runs], str]
    value: str | Sequence[str] | Callable[[Runs], Any]
    format: str = ".2f"

    def __post_init__(self) -> None:
        if not callable(self.value) and not isinstance(self.value, Sequence):
            raise ValueError(
                "value must be a path into records or a function of them. Received: "
                f"value={self.value!r}"
            )

    def of(self, runs: Runs) -> Any:
        """The value in the row of these runs."""
        if callable(self.value):
            return self.value(runs)
        values = [records.get(run, self.value) for run in runs]
        if all(value is None or isinstance(value, str) for value in values):
            return values[0] if len(set(values)) == 1 else None
        return mean(runs, self.value)

    def text(self, runs: Runs) -> str:
        """The value as it is shown."""
        return cell(self.of(runs), self.format)

    def title(self, runs: Runs) -> str:
        """The header above these runs."""
        return self.header(runs) if callable(self.header) else self.header


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the runs of a study, one section for each data set and protocol.

    Attributes:
        study: The `Study`, whose protocol tells the sections apart and says above
            each in what it departs from the paper's.
        columns: The `Column`s; or a function of a section's records that returns them,
            for columns that depend on all rows.
        title: The heading of the file.
        name: Stem of the files that `write` makes.
        rows: Keys of configurations. Runs that agree in them are one row, whose
            numbers are means; with "seed" among them each run has a row of its own.
        sort: Function from a record to what rows are sorted by.
        select: Function from a record to whether it belongs into the table.
        split: Function from a record to several that stand in its place, each of
            another row: for runs that hold more than one row's numbers.
        apart: Keys of the protocol that do not tell sections apart.
        keep: Function from a row's runs to those over which paths are averaged.
        note: What stands under each section, or a function of its records.
        claims: What the paper says of it, a line for each that a section bears on.

    Example:

    >>> study = Study("mine", build=None, protocol={"epochs": 2})
    >>> table = Table(study, [Column("beta", "config.beta", "g"),
    ...                       Column("Rate", "test.bank.rate")], rows=["beta"])
    >>> runs = [{"config": {"dataset": "digits", "beta": 1.0, "epochs": 2, "seed": s},
    ...          "test": {"bank": {"rate": 3.0 + s}}, "data": {"description": "digits"},
    ...          "device": "CPU", "versions": {"backend": "jax"}} for s in (0, 1)]
    >>> print(table.render(runs))
    # mine
    <BLANKLINE>
    ## digits: the paper's protocol
    <BLANKLINE>
    All of the paper's updates.
    <BLANKLINE>
    | beta | Rate |
    | --- | ---: |
    | 1 | 3.50 |
    <BLANKLINE>
    Data: digits. Device: CPU, jax.
    """

    study: Study
    columns: Sequence[Column] | Callable[[Runs], Sequence[Column]]
    title: str | None = None
    name: str = "table"
    rows: Sequence[str] = ("method", "seed")
    sort: Callable[[Record], Any] | None = None
    select: Callable[[Record], bool] | None = None
    split: Callable[[Record], Runs] | None = None
    apart: Sequence[str] = ()
    keep: Callable[[Runs], Runs] | None = None
    note: str | Callable[[Runs], str] = ""
    claims: Sequence[Claim] = ()

    def sections(self, runs: Runs) -> list[list[Runs]]:
        """Runs by section, and in each by row; of a data set the longest runs first."""
        runs = [run for run in runs if self.select is None or self.select(run)]
        if self.split is not None:
            runs = [part for run in runs for part in self.split(run)]
        protocols = (self.study.protocol_of(run["config"]) for run in runs)
        keys = dict.fromkeys(["dataset", *(k for p in protocols for k in p)])
        keys = [key for key in keys if key not in (*self.rows, *self.apart)]
        found = []
        for section in records.group(runs, keys):
            rows = records.group(section, self.rows)
            order = self.sort or self.study.order
            found.append(sorted(rows, key=lambda row: order(row[0])))
        names = [section[0][0]["config"].get("dataset") for section in found]

        def place(section: list[Runs]) -> tuple[int, float]:
            run = section[0][0]
            share = self.study.share_of_updates(run) or 0.0
            return names.index(run["config"].get("dataset")), -share

        return sorted(found, key=place)

    def render(self, runs: Runs) -> str:
        """The table in Markdown.

        Args:
            runs: Records of the study.
        """
        parts = [f"# {self.title or self.study.name}"]
        for rows in self.sections(runs):
            section = [run for row in rows for run in row]
            columns = self._columns(section)
            header = [column.title(section) for column in columns]
            body = [[c.text(self._kept(c, row)) for c in columns] for row in rows]
            # What only some rows have departs from the paper, too.
            config = {k: v for run in section[::-1] for k, v in run["config"].items()}
            note = self.note(section) if callable(self.note) else self.note
            parts += [
                f"## {config.get('dataset', self.study.name)}: "
                f"{self.study.deviations(config, self.rows)}",
                *filter(None, [self.study.extent(section)]),
                markdown(header, body),
                f"{note} {records.provenance(section)}".strip(),
            ]
            lines = (claim.line(section) for claim in self.claims)
            said = "\n".join(f"- {line}" for line in lines if line)
            parts += [said] * bool(said)
        return "\n\n".join(parts)

    def lines(self, runs: Runs) -> list[dict[str, Any]]:
        """The rows as dicts: data set, protocol, and numbers that are not rounded."""
        found = []
        for rows in self.sections(runs):
            section = [run for row in rows for run in row]
            for row in rows:
                config = row[0]["config"]
                keys = ("dataset", *self.study.protocol_of(config))
                shared = {key: config.get(key) for key in keys}
                values = {
                    c.title(section): c.of(self._kept(c, row))
                    for c in self._columns(section)
                }
                found.append({**shared, **values})
        return found

    def _columns(self, section: Runs) -> Sequence[Column]:
        found = self.columns(section) if callable(self.columns) else self.columns
        wrong = [column for column in found if not isinstance(column, Column)]
        if wrong:
            raise ValueError(f"columns must be Columns. Received: {wrong[0]!r}")
        return found

    def _kept(self, column: Column, row: Runs) -> Runs:
        by_path = not callable(column.value)
        return self.keep(row) if self.keep is not None and by_path else row

    def write(self, runs: Runs, folder: str | pathlib.Path) -> str:
        """Writes `name`.md and `name`.csv into a folder; returns the Markdown."""
        text = self.render(runs)
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.md").write_text(text + "\n")
        lines = self.lines(runs)
        header = dict.fromkeys(key for line in lines for key in line)
        with open(folder / f"{self.name}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(header))
            writer.writeheader()
            writer.writerows(lines)
        return text


def published(
    numbers: Mapping[Any, Any], *keys: str, column: int | None = None
) -> Callable[[Runs], Any]:
    """A column of a paper's numbers, for `Column`.

    Args:
        numbers: Nested dicts, by the values of `keys` in a configuration.
        *keys: Names in configurations, such as "dataset", "method".
        column: Which number of a tuple, if the innermost values are tuples.

    Returns:
        A function from a row's runs to the number, None where the paper has none.

    Example:

    >>> column = published({"mnist": {"vae": (26.2, 63.6)}}, "dataset", "method", column=1)
    >>> column([{"config": {"dataset": "mnist", "method": "vae"}}])
    63.6
    """  # noqa: E501

    def of(runs: Runs) -> Any:
        value = numbers
        for key in keys:
            if not isinstance(value, Mapping):
                raise ValueError(
                    f"numbers must be dicts by {', '.join(keys)}. Received: {value!r} "
                    f"in the place of a dict by {key}"
                )
            value = value.get(runs[0]["config"].get(key))
            if value is None:
                return None
        return value if column is None else value[column]

    return of
