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
        texts, means, errors = [], [], []
        for value in (low, high):
            group = [run for run in runs if run["config"].get(key) == value]
            numbers = [records.get(run, path) for run in group]
            if not numbers or None in numbers:
                return None
            means.append(float(np.mean(numbers)))
            if len(numbers) > 1:
                errors.append(float(np.std(numbers, ddof=1) / len(numbers) ** 0.5))
            else:
                of_examples = records.get(group[0], error) if error else None
                errors.append(math.nan if of_examples is None else of_examples)
            text = f"{value} {format(means[-1], form)}"
            if not math.isnan(errors[-1]):
                text += f" ± {format(errors[-1], form)}"
            texts.append(text)
        gap, spread = means[1] - means[0], math.hypot(*errors)
        told = abs(gap) > 2 * spread and (enough is None or all(map(enough, runs)))
        return ", ".join(texts), gap > 0 if told else None

    return verdict
