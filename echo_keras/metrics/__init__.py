"""What is measured of a trained model."""

from . import (
    classification,
    disentanglement,
    fronts,
    information,
    novelty,
    rate_distortion,
    robustness,
    sample_quality,
)
from .disentanglement import representation
from .rate_distortion import (
    ECHOES,
    aggregate_posterior,
    encode,
    evaluate,
    generative_information,
    importance_weighted,
    map_batches,
    no_gradients,
    per_example,
    per_example_likelihood,
)

__all__ = [
    "ECHOES",
    "aggregate_posterior",
    "classification",
    "disentanglement",
    "encode",
    "evaluate",
    "fronts",
    "generative_information",
    "importance_weighted",
    "information",
    "map_batches",
    "no_gradients",
    "novelty",
    "per_example",
    "per_example_likelihood",
    "rate_distortion",
    "representation",
    "robustness",
    "sample_quality",
]
