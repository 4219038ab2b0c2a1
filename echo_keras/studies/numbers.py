"""Every number of every record in one file: what a table leaves out is there."""

import csv
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from .records import Record
from .study import Study


def every_number(runs: list[Record], study: Study) -> list[dict[str, Any]]:
    """A dict for each run, in the order of names: all that was tested and measured.

    Standard errors, other ways of evaluating, measures that no column shows.

    Args:
        runs: Records of the study.
        study: The `Study`, for the names of its runs.

    Example:

    >>> study = Study("mine", build=None, protocol={"epochs": 2})
    >>> run = {"config": {"dataset": "digits", "epochs": 2, "seed": 0}, "seconds": 3.5}
    >>> run |= {"test": {"bank": {"rate": 2.0, "rate_se": 0.1}}, "measures": {"mmd": 1}}
    >>> every_number([run], study)  # doctest: +NORMALIZE_WHITESPACE
    [{'run': 'digits-seed0', 'seconds': 3.5, 'test.bank.rate': 2.0,
      'test.bank.rate_se': 0.1, 'measures.mmd': 1}]
    """
    found = []
    for run in runs:
        line = {"run": study.run_name(run["config"]), "seconds": run.get("seconds")}
        for part in ("test", "best", "measures"):
            line |= dict(_leaves(run.get(part, {}), part))
        found.append(line)
    return sorted(found, key=lambda line: line["run"])


def write_numbers(
    runs: list[Record], study: Study, folder: str | pathlib.Path
) -> pathlib.Path:
    """Writes `every_number` to numbers.csv in a folder; returns the file's path."""
    lines = every_number(runs, study)
    path = pathlib.Path(folder) / "numbers.csv"
    with open(path, "w", newline="") as file:
        header = dict.fromkeys(key for line in lines for key in line)
        writer = csv.DictWriter(file, list(header), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return path


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}")
    else:
        yield path, value
