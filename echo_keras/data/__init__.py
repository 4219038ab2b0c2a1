"""Image data sets as the papers treat them, and data sets with known factors."""

from . import blocks, dsprites, factors, shapes3d
from .checks import check_images
from .dataset import Dataset
from .entry import Entry, Files, Raw
from .load import load, names
from .pixels import BINARIZE
from .registry import DATASETS

__all__ = [
    "BINARIZE",
    "DATASETS",
    "Dataset",
    "Entry",
    "Files",
    "Raw",
    "blocks",
    "check_images",
    "dsprites",
    "factors",
    "load",
    "names",
    "shapes3d",
]
