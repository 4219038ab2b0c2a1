"""Figures of trained models, drawn with Matplotlib.

Every function returns the figure, which a notebook shows; writes a PNG if it is given a
`path`; and draws on `axes` of yours if it is given any.
"""

from .channels import discrete_channels
from .codes import (
    clouds,
    code_histograms,
    codes_by_factor,
    codes_in_plane,
    marginal_densities,
    mean_by,
    rate_by_dimension,
)
from .curves import (
    information_plane,
    phase_diagram,
    rate_distortion,
    scatter,
    sorted_by,
    training_curves,
)
from .images import (
    generations,
    image_rows,
    interpolation,
    latent_traversal,
    mean_reconstruction,
    reconstructions,
)

__all__ = [
    "clouds",
    "code_histograms",
    "codes_by_factor",
    "codes_in_plane",
    "discrete_channels",
    "generations",
    "image_rows",
    "information_plane",
    "interpolation",
    "latent_traversal",
    "marginal_densities",
    "mean_by",
    "mean_reconstruction",
    "phase_diagram",
    "rate_by_dimension",
    "rate_distortion",
    "reconstructions",
    "scatter",
    "sorted_by",
    "training_curves",
]
