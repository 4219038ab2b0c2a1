"""Images whose generative factors are known: dSprites and 3D Shapes.

What disentanglement is measured on: every image is one combination of a few integer
factors, and `load` gives a `FactorDataset` that looks images up by factor. Where
images do not come from the published files, `source` and `description` say so.
"""

import difflib
import itertools
import math
import os
import pathlib

import numpy as np

from echo_keras._files import check_folder, find_files
from echo_keras.layers import arguments

from . import dsprites, shapes3d
from .factor_dataset import FactorDataset, ranges

__all__ = ["FactorDataset", "load", "names"]

_NAMES = ("dsprites", "dsprites_dependent", "shapes3d", "shapes3d_rendered")


def names() -> tuple[str, ...]:
    """Returns the names that `load` knows, as a tuple.

    >>> names()
    ('dsprites', 'dsprites_dependent', 'shapes3d', 'shapes3d_rendered')
    """
    return _NAMES


def load(
    name: str, data_dir: str | os.PathLike | None = None, seed: int = 0
) -> FactorDataset:
    """Loads a data set of images with known factors.

    - `dsprites`: 737,280 black and white sprites, 64x64. From
      `dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz` in `data_dir`. Without
      `data_dir`: from TensorFlow Datasets where it is prepared on this machine, else
      rendered here by `data.dsprites.render`, as `source` then says.
    - `dsprites_dependent`: those whose factors depend on each other (Echo paper,
      Sec. 5.3). Factors are cut into 4 bins (shape: 3), and each of the 144 pairs of
      bins of two factors is removed with probability .15, along with all images that
      have both. Seed 0 keeps 107,520 images (14.6 %, 24 pairs removed) with a total
      correlation of 1.49 nats; the paper has 15 % and 1.49 nats.
    - `shapes3d`: 480,000 scenes in colour, 64x64. From `3dshapes.h5` in `data_dir`,
      or from TensorFlow Datasets where it is prepared on this machine.
    - `shapes3d_rendered`: scenes of our own with the factors of 3D Shapes,
      `data.shapes3d.render`.

    Files are looked for in `data_dir/<name>` and then in `data_dir`. A few rendered
    sprites are rendered when they are asked for; the first that want more have all
    of them rendered (seconds) and kept, 377 MB, in the folder that the environment
    variable `ECHO_KERAS_CACHE` names, or else in `~/.cache/echo_keras`. The published
    scenes, too, are unpacked there once (minutes, 5.9 GB): in the file, one image
    costs as much as thousands.

    Args:
        name: one of `names()`.
        data_dir: folder with the published file, or `None`. `shapes3d_rendered`
            never looks at it.
        seed: integer in [0, 2^32 - 1] of the pairs that `dsprites_dependent` removes;
            no effect on the others. Other seeds differ much: over 200 of them the
            share kept is 20 % +- 8 % (mean, SD), the total correlation 1.15 +- 0.33
            nats, and 26 lose some value of a factor, which `description` tells.

    Returns:
        A `FactorDataset`.

    Raises:
        ValueError: an unknown `name`, a `seed` out of range or one that leaves no
            image, or a file that is damaged or holds something else.
        FileNotFoundError: `data_dir`, or this machine, does not hold the data set.
        OSError: scenes, or (later, from `images`) rendered sprites cannot be kept.

    Example:

    >>> dataset = load("shapes3d_rendered")
    >>> dataset.source, dataset.total_correlation()
    ('3D Shapes, rendered', 0.0)
    """
    if not isinstance(name, str) or name not in _NAMES:
        close = difflib.get_close_matches(str(name).lower(), _NAMES, n=1)
        hint = f". Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"name must be one of {', '.join(_NAMES)}. Received: name={name!r}{hint}"
        )
    seed = arguments.seed(seed, optional=False)
    if name == "shapes3d_rendered":
        return shapes3d.rendered()
    published = shapes3d if name == "shapes3d" else dsprites
    if data_dir is not None:
        dataset = published.read_file(_find(name, published.FILE, data_dir))
    else:
        dataset = published.read_tfds()
        if dataset is None and published is shapes3d:
            raise FileNotFoundError(
                f"shapes3d must be in data_dir, as {shapes3d.FILE}, or prepared by "
                "TensorFlow Datasets. Received: neither. Pass data_dir, or load "
                "'shapes3d_rendered' for scenes of our own with the same factors."
            )
        dataset = dataset or dsprites.rendered()
    return _depend(dataset, seed) if name == "dsprites_dependent" else dataset


def _find(name: str, file: str, data_dir: str | os.PathLike) -> pathlib.Path:
    folder = check_folder(data_dir, name)
    folders = [folder / name, folder]
    paths = find_files(folders, [file])
    if paths is None:
        raise FileNotFoundError(
            f"data_dir must hold {name}: {file}, in {folders[0]} or in {folders[1]}. "
            "Received: neither. Put the file there, or leave data_dir out."
        )
    return paths[0]


# Factors that depend on each other

# Names the random stream. The first of the streams whose seed 0 comes as near to the
# paper as rounding can tell: 15 % of the images and 1.49 nats. It happens to remove
# as many pairs as the published code did, 24.
_STREAM = 76


def _depend(dataset: FactorDataset, seed: int) -> FactorDataset:
    sizes = dataset.factor_sizes
    removed, pairs = _removed_pairs(sizes, seed)
    factors = np.indices(sizes, np.int8).reshape(len(sizes), -1)
    bins = [_bins(size)[column] for size, column in zip(sizes, factors, strict=True)]
    kept = np.ones(math.prod(sizes), bool)
    for f, f_bin, g, g_bin in removed:
        kept &= (bins[f] != f_bin) | (bins[g] != g_bin)
    (kept,) = np.nonzero(kept)
    if not len(kept):
        raise ValueError(
            "seed must leave images in dsprites_dependent. Received: "
            f"seed={seed}, which leaves none"
        )
    note = (
        f"{len(removed)} of {pairs} pairs of bins removed (seed {seed}), {len(kept)} "
        f"images kept ({len(kept) / math.prod(sizes):.1%})"
    )
    for f, (factor, size) in enumerate(zip(dataset.factor_names, sizes, strict=True)):
        lost = np.setdiff1d(np.arange(size), factors[f, kept])
        if len(lost):
            note += f", {factor} is never {ranges(lost)}"
    dataset = dataset.keep(kept, "dsprites_dependent", note)
    correlation = dataset.total_correlation()
    dataset.description += f", total correlation of the factors {correlation:.2f} nats"
    return dataset


def _bins(size):
    """The bin of each of a factor's values: four of about equal size, at most."""
    return np.arange(size) * min(size, 4) // size


def _removed_pairs(sizes, seed):
    """Pairs of bins to remove, (factor, bin, factor, bin), and how many there are."""
    bins = [range(min(size, 4)) for size in sizes]
    pairs = [
        (f, f_bin, g, g_bin)
        for f, g in itertools.combinations(range(len(sizes)), 2)
        for f_bin, g_bin in itertools.product(bins[f], bins[g])
    ]
    draws = np.random.RandomState([_STREAM, seed]).random_sample(len(pairs))
    return list(itertools.compress(pairs, draws < 0.15)), len(pairs)
