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
from .batching import default_batch_size, evenly_spaced, map_batches
from .classification import (
    calibration_error,
    classification_metrics,
    information_plane,
    predictive,
)
from .codes import (
    decode,
    encode,
    images,
    law,
    match_gaussian,
    representation,
    squared_error,
)
from .density_bounds import density_bounds, expected_divergence
from .dependence import conditional_total_correlation, total_correlation
from .dimensions import rate_by_dimension
from .disentanglement import dci, factor_vae_score, mig, modularity, sap
from .divergences import divergence
from .entropy import differential_entropy
from .factor_codes import FactorGrid
from .features import classifier_features, inception_features
from .frechet import fid, fid_name, frechet_distance
from .fronts import (
    area_under_front,
    common_interval,
    convex_front,
    entropy_bound,
    pareto_front,
)
from .information import (
    aggregate_posterior,
    generative_information,
    information_bounds,
)
from .manifold import manifold_score
from .noise import noise_sensitivity
from .novelty import (
    combined_score,
    learned_score,
    mahalanobis_score,
    roc_areas,
    roc_auc,
)
from .rate_distortion import (
    ECHOES,
    evaluate,
    importance_weighted,
    per_example,
    per_example_likelihood,
)
from .robustness import corrupt, stratified_subset, svm_accuracy
from .sample_quality import nearest_neighbours, parzen_log_likelihood

__all__ = [
    "ECHOES",
    "FactorGrid",
    "aggregate_posterior",
    "area_under_front",
    "calibration_error",
    "classification",
    "classification_metrics",
    "classifier_features",
    "combined_score",
    "common_interval",
    "conditional_total_correlation",
    "convex_front",
    "corrupt",
    "dci",
    "decode",
    "default_batch_size",
    "disentanglement",
    "density_bounds",
    "differential_entropy",
    "divergence",
    "encode",
    "entropy_bound",
    "evaluate",
    "evenly_spaced",
    "expected_divergence",
    "factor_vae_score",
    "fid",
    "fid_name",
    "frechet_distance",
    "fronts",
    "generative_information",
    "images",
    "importance_weighted",
    "inception_features",
    "information",
    "information_bounds",
    "information_plane",
    "law",
    "learned_score",
    "mahalanobis_score",
    "manifold_score",
    "map_batches",
    "match_gaussian",
    "mig",
    "modularity",
    "nearest_neighbours",
    "noise_sensitivity",
    "novelty",
    "pareto_front",
    "parzen_log_likelihood",
    "per_example",
    "per_example_likelihood",
    "predictive",
    "rate_by_dimension",
    "rate_distortion",
    "representation",
    "robustness",
    "roc_areas",
    "roc_auc",
    "sample_quality",
    "sap",
    "squared_error",
    "stratified_subset",
    "svm_accuracy",
    "total_correlation",
]
