"""Many runs: what varies, their records and tables, and where they run."""

from . import measures, records, runners
from .claim import Claim, all_of, compare, differ, mean_and_error
from .curve import CurvePoint, RateDistortionCurve
from .curve_study import rate_distortion_curve
from .evaluation import evaluated
from .factor_study import FactorStudy, sampled_scores, scores
from .numbers import every_number, write_numbers
from .runners import RunsFailed, run_all
from .script import Command, Option, Results, Script, parse, start
from .study import Run, Study
from .table import (
    Column,
    Table,
    cell,
    markdown,
    mean,
    plus_minus,
    points,
    published,
    spread,
)

__all__ = [
    "Claim",
    "Column",
    "Command",
    "CurvePoint",
    "FactorStudy",
    "Option",
    "RateDistortionCurve",
    "Results",
    "Run",
    "RunsFailed",
    "Script",
    "Study",
    "Table",
    "cell",
    "all_of",
    "compare",
    "differ",
    "mean_and_error",
    "evaluated",
    "every_number",
    "markdown",
    "mean",
    "measures",
    "parse",
    "plus_minus",
    "points",
    "published",
    "rate_distortion_curve",
    "records",
    "run_all",
    "runners",
    "sampled_scores",
    "scores",
    "spread",
    "start",
    "write_numbers",
]
