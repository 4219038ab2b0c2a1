"""A rate-distortion curve: its points with their errors, and what one asks of it."""

import dataclasses
import functools
import itertools
import json
import math
import os
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from matplotlib import axes as mpl_axes
from matplotlib.figure import Figure

from echo_keras import metrics, plots
from echo_keras._files import damaged, write_json
from echo_keras.layers import EchoSample, arguments
from echo_keras.metrics import fronts
from echo_keras.model import find_layers
from echo_keras.multi_rate_model import MultiRateModel
from echo_keras.training import run_folder

from . import records
from .records import Record
from .study import Study
from .table import markdown

SCHEMA = 1
TERMS = ("rate", "distortion", "neg_elbo")
# What a curve knows of each of its runs.
NUMBERS = (*TERMS, *(f"{term}_se" for term in TERMS))
RUN = {"name", "seed", "beta", "target", "last_beta", "seconds", *NUMBERS}


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """One point of a curve, in nats per example.

    Attributes:
        beta: The weight of the rate; where a rule moved it, its mean over seeds at the
            end of training, None of a model with several channels.
        target: The rate that was asked for; None where beta was.
        rate, distortion, neg_elbo: Means over seeds.
        rate_se, distortion_se, neg_elbo_se: Their standard errors: over seeds, the
            spread of the seeds' means divided by sqrt(seeds), where there are several;
            of one seed, over examples. The first has in it how much another training
            would differ, the second has not.
        seeds: How many seeds.
    """

    beta: float | None
    target: float | None
    rate: float
    distortion: float
    neg_elbo: float
    rate_se: float
    distortion_se: float
    neg_elbo_se: float
    seeds: int


class RateDistortionCurve:
    """What `rate_distortion_curve` returns: models of several rates, as one curve.

    Args:
        runs: A dict for each run, as `from_records` makes them.
        folder: Where the runs keep their checkpoints, for `at_rate`.
        label: Name of the curve in figures.
        described: A sentence on the data that points were measured on.
        min_rate: The lowest rate that the channels can reach, nats; None where none is
            known.

    Raises:
        ValueError: there is no run, or one lacks a number.

    Example:

    >>> run = {"name": "a", "seed": 0, "target": None, "last_beta": 1.0, "seconds": 2.0}
    >>> run |= {"rate_se": 0.1, "distortion_se": 0.2, "neg_elbo_se": 0.2}
    >>> one = {**run, "beta": 1.0, "rate": 9.0, "distortion": 80.0, "neg_elbo": 89.0}
    >>> two = {**run, "beta": 4.0, "rate": 4.0, "distortion": 90.0, "neg_elbo": 94.0}
    >>> curve = RateDistortionCurve([one, two])
    >>> [point.beta for point in curve.front], curve.entropy_bound, curve.area()
    ([4.0, 1.0], 89.0, 425.0)
    """

    def __init__(
        self,
        runs: Sequence[Mapping[str, Any]],
        folder: str | os.PathLike = ".",
        label: str = "model",
        described: str = "",
        min_rate: float | None = None,
    ) -> None:
        listed = isinstance(runs, (list, tuple)) and len(runs)
        if not listed or not all(
            isinstance(r, Mapping) and r.keys() >= RUN for r in runs
        ):
            raise ValueError(
                f"runs must be dicts of {', '.join(sorted(RUN))}, at least one. "
                f"Received: runs={runs!r:.80}"
            )
        self.runs = [{key: run[key] for key in sorted(RUN)} for run in runs]
        for run in self.runs:
            for key in NUMBERS:
                arguments.number(f"runs' {key}", run[key])
        self.folder = arguments.path("folder", folder)
        self.label = arguments.text("label", label)
        self.described = arguments.text("described", described)
        self.min_rate = arguments.number("min_rate", min_rate, optional=True)
        self.model: MultiRateModel | None = None  # which has all points, if one has

    @classmethod
    def from_records(
        cls,
        runs: Sequence[Record],
        study: Study,
        folder: str | os.PathLike = ".",
        way: str = "bank",
        label: str = "model",
        described: str = "",
        min_rate: float | None = None,
    ) -> "RateDistortionCurve":
        """The curve of a study's records, which differ in `beta` or `target` and seed.

        Args:
            runs: Records of the study. One without a rate is left out.
            study: The `Study`, for the names of its runs.
            folder: Where the study keeps its records.
            way: Which of the study's `echoes`.
            label, described, min_rate: See the class.
        """
        found = []
        for run in runs:
            tested = records.get(run, ["test", way]) or {}
            if "rate" not in tested:
                continue
            config = run["config"]
            found.append(
                {
                    "name": study.run_name(config),
                    "seed": config["seed"],
                    "beta": config.get("beta"),
                    "target": config.get("target"),
                    "last_beta": run["measures"].get("last_beta", config.get("beta")),
                    "seconds": run["seconds"],
                    **{key: tested[key] for key in NUMBERS},
                }
            )
        return cls(found, folder, label, described, min_rate)

    @classmethod
    def from_model(
        cls,
        model: MultiRateModel,
        x: Any,
        y: Any = None,
        betas: Sequence[float] | None = None,
        samples: int = 1,
        batch_size: int = 100,
        label: str = "model",
    ) -> "RateDistortionCurve":
        """The curve of one model that serves every beta, measured on examples.

        `seconds` is 0: the curve does not know how long the model was trained.

        Args:
            model: `MultiRateModel`, compiled.
            x, y, samples, batch_size: As for `metrics.evaluate`.
            betas: Floats in its range; the levels if None, or twelve betas where it
                has none.
            label: See the class.

        Raises:
            ValueError: an argument is not as above, or there are other betas than
                levels for a channel with a memory.
        """
        arguments.layer("model", model, kind=MultiRateModel)
        known = model.betas
        if betas is None and known.levels:
            betas = known.values
        elif betas is None:
            betas = np.geomspace(known.low, known.high, 12)
        found, lowest = [], None
        for beta in arguments.numbers_list("betas", list(betas), above=0):
            single = model.at(beta)
            size = {"samples": samples, "batch_size": batch_size}
            tested = metrics.evaluate(single, x, y, **size)
            numbers = {key: tested[key] for key in NUMBERS}
            asked = {"beta": beta, "target": None, "last_beta": beta}
            run = {"name": f"beta{beta:.4g}", "seed": 0, "seconds": 0.0}
            found.append({**run, **asked, **numbers})
            lowest = [c.min_rate for c in find_layers(single, EchoSample)]
        curve = cls(found, label=label, min_rate=sum(lowest) if lowest else None)
        curve.model = model
        return curve

    @functools.cached_property
    def points(self) -> list[CurvePoint]:
        """A point for each beta or target, by increasing rate."""
        groups: dict[Any, list[dict[str, Any]]] = {}
        for run in self.runs:
            groups.setdefault((run["beta"], run["target"]), []).append(run)
        points = [_point(*asked, runs) for asked, runs in groups.items()]
        return sorted(points, key=lambda point: point.rate)

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """(rate, distortion) of each point, as the figures of `plots` take them."""
        return [(point.rate, point.distortion) for point in self.points]

    def _plane(self):
        return np.transpose(self.pairs)

    @property
    def front(self) -> list[CurvePoint]:
        """The points that no other beats, by increasing rate."""
        return [self.points[i] for i in fronts.pareto_front(*self._plane())]

    def area(self, low: float | None = None, high: float | None = None) -> float:
        """The area under the front between two rates; see `metrics.area_under_front`.

        Args:
            low, high: Floats, nats; the ends of the front if None. To compare curves
                give all the same, such as those of `metrics.common_interval`.

        Raises:
            ValueError: the interval is empty, as of one point, or begins below every
                rate.
        """
        front = self.front
        low = max(front[0].rate, 0.0) if low is None else low
        high = front[-1].rate if high is None else high
        return fronts.area_under_front(*self._plane(), low, high)

    @property
    def entropy_bound(self) -> float:
        """The lowest rate + distortion of all points; see `metrics.entropy_bound`."""
        return fronts.entropy_bound(*self._plane())

    @property
    def slopes(self) -> list[tuple[float, float, float]]:
        """(low beta, high beta, -dD / dR) between points of neighbouring betas.

        At the optimum dD / dR = -beta, so that between two of them the slope of their
        chord lies between the two betas; outside, one of the models is not converged,
        or stands in another optimum, or the measure is of other data than the training.
        Infinite or of the other sign where both terms rise; nothing of points without a
        beta.

        References:
            Echo paper, App. A.
        """
        points = [point for point in self.points if point.beta is not None]
        points.sort(key=lambda point: point.beta)
        found = []
        for a, b in itertools.pairwise(points):
            fall, rise = a.rate - b.rate, b.distortion - a.distortion
            slope = rise / fall if fall else math.copysign(math.inf, rise)
            found.append((a.beta, b.beta, slope))
        return found

    @property
    def seconds(self) -> float:
        """What all trainings took together."""
        return sum(run["seconds"] for run in self.runs)

    def nearest(self, rate: float) -> dict[str, Any]:
        """The run, of any seed, whose rate is nearest to `rate` in nats."""
        rate = arguments.number("rate", rate)
        return min(self.runs, key=lambda run: abs(run["rate"] - rate))

    def at_rate(self, rate: float) -> keras.Model:
        """The trained model whose rate is nearest, read from its checkpoint.

        Of the curve of one model, `from_model`, it is that model at a beta.

        Args:
            rate: Float, nats per example.

        Raises:
            training.RunFolderError: the checkpoint is no longer there, or is damaged.
        """
        run = self.nearest(rate)
        if self.model is not None:
            return self.model.at(run["beta"])
        name = run["name"]
        return run_folder.load(self.folder / "checkpoints" / name)

    def plot(
        self, ax: mpl_axes.Axes | None = None, path: str | os.PathLike | None = None
    ) -> Figure:
        """Draws the curve with its standard errors; see `plots.rate_distortion`.

        Args:
            ax: Matplotlib axes to draw on; None makes a figure.
            path: Where a PNG of it goes, or None.
        """
        path = arguments.path("path", path, optional=True, folder=False)
        figure = plots.rate_distortion(
            {self.label: self.pairs}, min_rate=self.min_rate, axes=ax
        )
        ax = figure.axes[0] if ax is None else ax
        errors = np.transpose([(p.distortion_se, p.rate_se) for p in self.points])
        style = {"fmt": "none", "ecolor": "0.3", "lw": 1}
        ax.errorbar(*self._plane(), *errors, **style)
        if path is not None:
            figure.savefig(path)
        return figure

    def table(self) -> str:
        """The points as a Markdown table, by increasing rate, in nats per example."""
        target = any(point.target is not None for point in self.points)
        header = ["target"] * target + ["beta", "rate", "distortion", "-ELBO"]
        header += ["seeds", "on the front"]
        front, rows = self.front, []
        for point in self.points:
            asked = [f"{point.target:g}"] if target else []
            beta = "-" if point.beta is None else f"{point.beta:.3g}"
            numbers = (
                f"{getattr(point, term):.2f} ± {getattr(point, f'{term}_se'):.2f}"
                for term in TERMS
            )
            on_front = "yes" if point in front else "no"
            rows.append([*asked, beta, *numbers, str(point.seeds), on_front])
        return markdown(header, rows)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the numbers to a JSON file; the checkpoints stay where they are."""
        path = arguments.path("path", path, folder=False)
        # Relative, so that file and checkpoints can be moved together.
        folder = os.path.relpath(self.folder, path.parent)
        content = {"schema": SCHEMA, "folder": pathlib.Path(folder).as_posix()}
        content |= {"label": self.label, "described": self.described}
        write_json(path, {**content, "min_rate": self.min_rate, "runs": self.runs})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "RateDistortionCurve":
        """The curve that `save` has written.

        Raises:
            ValueError: the file holds something else.
        """
        path = arguments.path("path", path, folder=False)
        try:
            content = json.loads(path.read_text())
            if content.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            return cls(**{**content, "folder": path.parent / content["folder"]})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise damaged(path, "a rate-distortion curve", error) from error


def _point(beta, target, runs):
    """One point of the runs of all seeds."""
    means = {t: statistics.fmean(run[t] for run in runs) for t in TERMS}
    several = len(runs) > 1
    errors = {
        f"{t}_se": statistics.stdev(run[t] for run in runs) / len(runs) ** 0.5
        if several
        else runs[0][f"{t}_se"]
        for t in TERMS
    }
    if beta is None:  # a rule has moved it
        last = [run["last_beta"] for run in runs]
        beta = None if None in last else statistics.fmean(last)
    return CurvePoint(beta, target, **means, **errors, seeds=len(runs))
