"""What a paper says, and whether runs bear it out."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import records
from .records import Record

Verdict = tuple[str, bool | None]
ANSWERS = {True: "agrees", False: "does not agree", None: "too short to tell"}


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of a paper that a table bears on, for `Table`.

    Attributes:
        text: What the paper says, in one clause, and where.
        verdict: Function from the records of a section to a pair: what was found here,
            in a clause with its numbers, and True, False or None, for runs too short
            to tell. It returns None in the place of the pair where records that the
            claim compares are missing.

    Example:

    >>> claim = Claim("noise helps (Table 1)", lambda runs: ("4.1 against 4.0", False))
    >>> claim.line([])
    'The paper: noise helps (Table 1); here: 4.1 against 4.0; does not agree.'
    """

    text: str
    verdict: Callable[[list[Record]], Verdict | None]

    def line(self, runs: list[Record]) -> str | None:
        """The sentence under the table, or None if the runs do not bear on it."""
        found = self.verdict(runs)
        if found is None:
            return None
        here, agrees = found
        return f"The paper: {self.text}; here: {here}; {ANSWERS[agrees]}."


def mean_and_error(
    runs: list[Record], path: str | tuple[str, ...], error: str | None = None
) -> tuple[float, float] | None:
    """The mean of a number over runs, and its standard error.

    Args:
        runs: Records.
        path: Where the number stands in a record.
        error: Where its standard error over examples stands, that of a single run.

    Returns:
        None if there is no run, or one without the number. The error of a single run
        is NaN if it is not known.

    Example:

    >>> runs = [{"test": {"loss": value}} for value in (3.0, 5.0)]
    >>> mean_and_error(runs, "test.loss")
    (4.0, 1.0)
    """
    numbers = [records.get(run, path) for run in runs]
    if not numbers or None in numbers:
        return None
    if len(numbers) > 1:
        spread = float(np.std(numbers, ddof=1) / len(numbers) ** 0.5)
        return float(np.mean(numbers)), spread
    of_examples = records.get(runs[0], error) if error else None
    return float(numbers[0]), math.nan if of_examples is None else of_examples


def differ(low: tuple[float, float], high: tuple[float, float]) -> bool | None:
    """Whether low < high, two means with their errors; None within two errors.

    Example:

    >>> differ((1.0, 0.1), (2.0, 0.1)), differ((2.0, 0.1), (1.0, 0.1))
    (True, False)
    >>> print(differ((1.0, 0.5), (2.0, 0.5)))
    None
    """
    gap, spread = high[0] - low[0], math.hypot(low[1], high[1])
    return gap > 0 if abs(gap) > 2 * spread else None


def all_of(answers: list[bool | None]) -> bool | None:
    """Whether all are true; None if none is false and one cannot be told.

    Example:

    >>> all_of([True, True]), all_of([None, False])
    (True, False)
    """
    return False if False in answers else None if None in answers else True


def compare(
    key: str,
    low: Any,
    high: Any,
    path: str,
    *,
    error: str | None = None,
    enough: Callable[[Record], bool] | None = None,
    form: str = ".2f",
) -> Callable[[list[Record]], Verdict | None]:
    """A verdict on "low has less of a number than high has", for `Claim`.

    It agrees, or does not, where the means differ by two standard errors, of runs or,
    for a single run, of its examples; otherwise it is too short to tell. The runs of a
    reduced protocol are judged as they are, unless `enough` says that none can tell.

    Args:
        key: A key of configurations, such as "method".
        low, high: Two of its values.
        path: Where the number stands in a record.
        error: Where its standard error over examples stands.
        enough: Function from a record to whether its protocol can tell.
        form: How numbers are shown.

    Example:

    >>> runs = [{"config": {"method": name}, "test": {"loss": value, "loss_se": 0.1}}
    ...         for name, value in (("echo", 3.0), ("vae", 4.0))]
    >>> compare("method", "echo", "vae", "test.loss", error="test.loss_se")(runs)
    ('echo 3.00 ± 0.10, vae 4.00 ± 0.10', True)
    """

    def verdict(runs: list[Record]) -> Verdict | None:
        texts, found = [], []
        for value in (low, high):
            group = [run for run in runs if run["config"].get(key) == value]
            found.append(mean_and_error(group, path, error))
            if found[-1] is None:
                return None
            mean, spread = found[-1]
            known = "" if math.isnan(spread) else f" ± {format(spread, form)}"
            texts.append(f"{value} {format(mean, form)}{known}")
        told = enough is None or all(map(enough, runs))
        return ", ".join(texts), differ(*found) if told else None

    return verdict
