"""Image data sets as the papers treat them, and data sets with known factors."""

from . import factors, render
from .images import BINARIZE, DATASETS, Dataset, check_images, load, names

__all__ = [
    "BINARIZE",
    "DATASETS",
    "Dataset",
    "check_images",
    "factors",
    "load",
    "names",
    "render",
]
