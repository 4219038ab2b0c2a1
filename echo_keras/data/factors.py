"""Images whose generative factors are known: dSprites and 3D Shapes.

What disentanglement is measured on: every image is one combination of a few integer
factors, and `load` gives a `FactorDataset` that looks images up by factor. Where
images do not come from the published files, `source` and `description` say so.
"""

import difflib
import hashlib
import itertools
import math
import os
import pathlib
import shutil
import tempfile
import types
import zipfile

import keras
import numpy as np

from echo_keras.data import render

__all__ = ["FactorDataset", "load", "names"]

_NAMES = ("dsprites", "dsprites_dependent", "shapes3d", "shapes3d_rendered")
_SEED_MAX = 2**32 - 1


class FactorDataset:
    """Images that are looked up by row number or by factor.

    Rows are in the published order: the last factor changes fastest.

    Attributes:
        name: one of `names()`.
        factor_names: tuple of str.
        factor_sizes: tuple of int, how many values each factor has.
        image_shape: `(height, width, channels)`.
        source: where the images come from; no paths.
        description: one line for people, with every caveat.
        checksum: SHA-256 (hex) of what the images are made from, and of the rows
            kept where not all of them are.

    Example:

    >>> dataset = load("shapes3d_rendered")
    >>> dataset.factor_names[-2:], dataset.factor_sizes[-2:], len(dataset)
    (('shape', 'orientation'), (4, 15), 480000)
    >>> rows = dataset.sample_given(4, 3, n=2, rng=np.random.RandomState(0))
    >>> dataset.factors(rows)[:, 4]
    array([3, 3])
    >>> dataset.images(rows).shape
    (2, 64, 64, 3)
    """

    def __init__(
        self, name, sizes, image_shape, read, source, description, checksum, kept=None
    ):
        # `sizes` is a dict from factor to size, `read` a function from positions in
        # the whole grid of factors, int64 (n,), to images (n, height, width, channels),
        # bool or uint8; `kept` holds the positions that are rows, None for all.
        self.name = name
        self.factor_names = tuple(sizes)
        self.factor_sizes = tuple(sizes.values())
        self.image_shape = tuple(image_shape)
        self.source = source
        self.description = description
        self.checksum = checksum
        if kept is not None:
            kept = np.asarray(kept, "<i8")
            self.checksum = _sha256(checksum.encode(), kept)
        self._sizes, self._read, self._kept = sizes, read, kept
        self._by_value = {}

    def __len__(self):
        return math.prod(self.factor_sizes) if self._kept is None else len(self._kept)

    def __repr__(self):
        return f"<FactorDataset {self.name}: {len(self)} images; {self.source}>"

    def factors(self, rows):
        """Returns factor indices, int64 of shape `(n, factors)`.

        Args:
            rows: integers from 0 to `len(dataset) - 1`, shape `(n,)`.

        Raises:
            ValueError: `rows` has another shape or type, or numbers out of range.
        """
        position = self._position(rows)
        return np.stack(np.unravel_index(position, self.factor_sizes), axis=1)

    def images(self, rows):
        """Returns images, float32 in [0, 1] of shape `(n, height, width, channels)`.

        Args:
            rows: integers from 0 to `len(dataset) - 1`, shape `(n,)`.

        Raises:
            ValueError: `rows` has another shape or type, or numbers out of range.
        """
        images = self._read(self._position(rows))
        if images.dtype == bool:
            return images.astype(np.float32)
        return images / np.float32(255)

    def sample(self, n, rng):
        """Draws `n` rows uniformly, with replacement, from a `RandomState`."""
        return rng.randint(len(self), size=n)

    def sample_given(self, factor, value, n, rng):
        """Draws rows uniformly, with replacement, among those with a factor's value.

        Args:
            factor: integer, which of `factor_names`.
            value: integer, the factor's index.
            n: integer, how many rows.
            rng: a `np.random.RandomState`.

        Returns:
            Integers of shape `(n,)`.

        Raises:
            ValueError: there is no such factor, or no row has that value.
        """
        if not 0 <= factor < len(self.factor_sizes):
            raise ValueError(
                f"factor: expected a column from 0 to {len(self.factor_sizes) - 1} "
                f"({', '.join(self.factor_names)}), found {factor!r}."
            )
        if factor not in self._by_value:
            column = self._column(factor)
            order = np.argsort(column, kind="stable")
            starts = np.arange(self.factor_sizes[factor] + 1)
            self._by_value[factor] = order, np.searchsorted(column[order], starts)
        order, starts = self._by_value[factor]
        if not 0 <= value < len(starts) - 1 or starts[value] == starts[value + 1]:
            (found,) = np.nonzero(np.diff(starts))
            raise ValueError(
                f"{self.name}: expected a value of {self.factor_names[factor]} that "
                f"occurs ({_ranges(found)}), found {value!r}."
            )
        return order[rng.randint(starts[value], starts[value + 1], size=n)]

    def batches(self, batch_size, steps, seed=0):
        """Batches (x, x) of images drawn uniformly, with replacement.

        They depend on the seed and the epoch's number alone. Keras does not tell a
        data set its epoch: hand the result's `callback` to `fit`, and
        `shuffle=False`, as with `training.Batches`.

        Args:
            batch_size: integer >= 1.
            steps: integer >= 1, batches in an epoch.
            seed: integer in [0, 2^32 - 1].

        Returns:
            A `keras.utils.PyDataset`.

        Raises:
            ValueError: a number is out of range.
        """
        _check_integer(batch_size, "batch_size", 1)
        _check_integer(steps, "steps", 1)
        _check_integer(seed, "seed", 0, _SEED_MAX)
        return _Batches(self, batch_size, steps, seed)

    def subset(self, n, seed=0):
        """Returns a `FactorDataset` of `n` rows drawn without replacement."""
        _check_integer(n, "n", 1, len(self))
        _check_integer(seed, "seed", 0, _SEED_MAX)
        rows = np.random.RandomState(seed).permutation(len(self))[:n]
        note = f"{n} of its {len(self)} images (seed {seed})"
        return self._keep(np.sort(rows), self.name, note)

    def total_correlation(self):
        """Total correlation of the factors, in nats, over all rows.

        The factors' entropies summed, less the logarithm of the number of images.
        """
        total = -math.log(len(self))
        for factor, size in enumerate(self.factor_sizes):
            share = np.bincount(self._column(factor), minlength=size) / len(self)
            share = share[share > 0]
            total -= float(share @ np.log(share))
        # With all combinations there it is zero, which rounding would not show.
        return 0.0 if self._kept is None else max(0.0, total)

    def _keep(self, rows, name, note):
        """The data set of some rows, in increasing order."""
        return FactorDataset(
            name,
            self._sizes,
            self.image_shape,
            self._read,
            self.source,
            f"{self.description}; {note}",
            self.checksum,
            self._position(rows),
        )

    def _position(self, rows):
        """Positions of rows in the grid of all combinations of factors."""
        rows = np.asarray(rows)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise ValueError(
                f"rows: expected integers of shape (n,), found {rows.dtype} of shape "
                f"{rows.shape}; give row numbers."
            )
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise ValueError(
                f"rows: expected numbers from 0 to {len(self) - 1}, found "
                f"{rows.min()} to {rows.max()}; {self.name} has {len(self)} images."
            )
        rows = rows.astype(np.int64)
        return rows if self._kept is None else self._kept[rows]

    def _column(self, factor):
        return self.factors(np.arange(len(self)))[:, factor]


class _Batches(keras.utils.PyDataset):
    """See `FactorDataset.batches`."""

    def __init__(self, dataset, batch_size, steps, seed):
        super().__init__()
        self.dataset, self.batch_size, self.steps = dataset, batch_size, steps
        self.seed = seed
        self.callback = keras.callbacks.LambdaCallback(on_epoch_begin=self._begin)
        self._begin(0)

    def _begin(self, epoch, logs=None):
        rng = np.random.RandomState([self.seed, epoch])
        rows = self.dataset.sample(self.steps * self.batch_size, rng)
        # One assignment: a prefetching thread may read while the epoch changes.
        self.rows = rows.reshape(self.steps, self.batch_size)

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        x = self.dataset.images(self.rows[index])
        return x, x


def names():
    """Returns the names that `load` knows, as a tuple.

    >>> names()
    ('dsprites', 'dsprites_dependent', 'shapes3d', 'shapes3d_rendered')
    """
    return _NAMES


def load(name, data_dir=None, seed=0):
    """Loads a data set of images with known factors.

    - `dsprites`: 737,280 black and white sprites, 64x64. From
      `dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz` in `data_dir`. Without
      `data_dir`: from TensorFlow Datasets where it is prepared on this machine, else
      rendered here by `render.dsprites`, and `source` is then `"dSprites, rendered"`.
    - `dsprites_dependent`: those whose factors depend on each other (Echo paper,
      Sec. 5.3). Factors are cut into 4 bins (shape: 3), and each of the 144 pairs of
      bins of two factors is removed with probability .15, along with all images that
      have both. Seed 0 keeps 107,520 images (14.6 %, 24 pairs removed) with a total
      correlation of 1.49 nats; the paper has 15 % and 1.49 nats.
    - `shapes3d`: 480,000 scenes in colour, 64x64. From `3dshapes.h5` in `data_dir`,
      or from TensorFlow Datasets where it is prepared on this machine.
    - `shapes3d_rendered`: scenes of our own with the factors of 3D Shapes,
      `render.shapes3d`.

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
    if name not in _NAMES:
        close = difflib.get_close_matches(str(name).lower(), _NAMES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"name must be one of {', '.join(_NAMES)}, found {name!r}.{hint}"
        )
    _check_integer(seed, "seed", 0, _SEED_MAX)
    if name == "shapes3d_rendered":
        return _render_shapes3d()
    published = _PUBLISHED[name.removesuffix("_dependent")]
    if data_dir is not None:
        dataset = published.read(_find(name, published.file, data_dir))
    else:
        dataset = _read_tfds(published)
        if dataset is None and published is _PUBLISHED["shapes3d"]:
            raise FileNotFoundError(
                f"shapes3d: expected data_dir with {published.file}, or the copy that "
                "TensorFlow Datasets prepares, found neither; pass data_dir, or load "
                "'shapes3d_rendered' for scenes of our own with the same factors."
            )
        dataset = dataset or _render_dsprites()
    return _depend(dataset, seed) if name == "dsprites_dependent" else dataset


# Factors that depend on each other

# Names the random stream. The first of the streams whose seed 0 comes as near to the
# paper as rounding can tell: 15 % of the images and 1.49 nats. It happens to remove
# as many pairs as the published code did, 24.
_STREAM = 76


def _depend(dataset, seed):
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
            f"dsprites_dependent: expected images to be left, found none with seed "
            f"{seed}; take another."
        )
    note = (
        f"{len(removed)} of {pairs} pairs of bins removed (seed {seed}), {len(kept)} "
        f"images kept ({len(kept) / math.prod(sizes):.1%})"
    )
    for f, (factor, size) in enumerate(zip(dataset.factor_names, sizes, strict=True)):
        lost = np.setdiff1d(np.arange(size), factors[f, kept])
        if len(lost):
            note += f", {factor} is never {_ranges(lost)}"
    dataset = dataset._keep(kept, "dsprites_dependent", note)
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


# Rendered images

# Of all images in the published order, eight pixels in a byte.
_RENDERED = "860f21e886f6b599df4f92fdfe388b700b8ba9b60f09bf6ffdea39b791ca2c00"
_ON_DEMAND = 4096  # images


class _RenderedSprites:
    """Renders what is asked for, and everything once that is more than a few."""

    def __init__(self):
        self.sizes = tuple(_GRIDS["dsprites"].values())
        self.asked = 0
        self.packed = None

    def __call__(self, position):
        self.asked += len(position)
        if self.packed is None and self.asked > _ON_DEMAND:
            stem = f"dsprites_rendered_{_RENDERED[:8]}"
            shape = math.prod(self.sizes), 512
            self.packed, _ = _cached(stem, shape, _all_sprites, _RENDERED)
        if self.packed is not None:
            return _unpack(self.packed[position])
        factors = np.stack(np.unravel_index(position, self.sizes), axis=1)
        return render.dsprites(factors)[..., None]


def _render_dsprites():
    return FactorDataset(
        "dsprites",
        _GRIDS["dsprites"],
        (64, 64, 1),
        _RenderedSprites(),
        "dSprites, rendered",
        "dSprites, rendered: not the published file, whose frames differ by up to 2 "
        f"pixels in about one of 80; {_REPEATS}",
        _RENDERED,
    )


def _all_sprites(out):
    *sprites, x, y = _GRIDS["dsprites"].values()
    rows = out.reshape(-1, x * y, 512)
    for row, sprite in zip(rows, np.ndindex(*sprites), strict=True):
        packed = render.dsprites_at_all_positions(*sprite).reshape(32, 32, 512)
        row[:] = packed[:x, :y].reshape(-1, 512)


def _render_shapes3d():
    sizes = tuple(_GRIDS["shapes3d"].values())

    def read(position):
        return render.shapes3d(np.stack(np.unravel_index(position, sizes), axis=1))

    # One image of each geometry, its surfaces in different colours, stands for all.
    geometries = np.stack(np.unravel_index(np.arange(math.prod(sizes[3:])), sizes[3:]))
    colours = np.broadcast_to([[0], [3], [7]], (3, geometries.shape[1]))
    images = render.shapes3d(np.concatenate([colours, geometries]).T)
    return FactorDataset(
        "shapes3d_rendered",
        _GRIDS["shapes3d"],
        (64, 64, 3),
        read,
        "3D Shapes, rendered",
        "3D Shapes, rendered: scenes of our own with the published factors, not the "
        "published images",
        _sha256(images),
    )


# Published files

_GRIDS = {"dsprites": render.DSPRITES, "shapes3d": render.SHAPES3D}
_REPEATS = "orientation 39 repeats orientation 0"
_SHAPES3D_LABELS = {
    "floor_hue": np.linspace(0, 0.9, 10),
    "wall_hue": np.linspace(0, 0.9, 10),
    "object_hue": np.linspace(0, 0.9, 10),
    "scale": np.linspace(0.75, 1.25, 8),
    "shape": np.arange(4),
    "orientation": np.linspace(-30, 30, 15),
}


def _find(name, file, data_dir):
    data_dir = pathlib.Path(data_dir).expanduser()
    if not data_dir.is_dir():
        raise FileNotFoundError(
            f"data_dir must be a folder that holds {name}, found no folder at "
            f"{data_dir}; correct it, or leave data_dir out."
        )
    for folder in (data_dir / name, data_dir):
        if (folder / file).is_file():
            return folder / file
    raise FileNotFoundError(
        f"{name}: expected {file} in {data_dir / name} or in {data_dir}, found "
        "neither; put the file there, or leave data_dir out."
    )


def _read_npz(path):
    """The published dSprites: its arrays only, never the pickle beside them."""
    sizes = tuple(_GRIDS["dsprites"].values())
    n = math.prod(sizes)
    needed = ["imgs", "latents_classes"]
    packed = classes = None
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [key.removesuffix(".npy") for key in archive.namelist()]
            if set(needed) <= set(keys):
                with archive.open("latents_classes.npy") as file:
                    classes = np.lib.format.read_array(file, allow_pickle=False)
                with archive.open("imgs.npy") as file:
                    shape, dtype = _npy_header(file)
                    if shape == (n, 64, 64) and dtype == np.uint8:
                        packed, high = _pack(file, n)
    except Exception as error:  # zip, zlib and NumPy each have errors of their own
        raise _damaged(path, "a readable .npz archive", f"damage ({error})") from error
    if not set(needed) <= set(keys):
        raise _damaged(path, f"the keys {', '.join(needed)}", ", ".join(keys) or "none")
    if packed is None:
        raise _damaged(
            path, f"imgs uint8 of shape {(n, 64, 64)}", f"{dtype} of shape {shape}"
        )
    if high > 1:
        raise _damaged(path, "pixels 0 or 1", f"pixels up to {high}")
    # The first column is the colour, which is always white.
    expected = np.indices((1, *sizes), np.int64).reshape(1 + len(sizes), -1).T
    if not np.array_equal(classes, expected):
        raise _damaged(
            path,
            "latents_classes in the published order",
            f"others of shape {classes.shape}",
        )
    return FactorDataset(
        "dsprites",
        _GRIDS["dsprites"],
        (64, 64, 1),
        lambda position: _unpack(packed[position]),
        f"{path.name} in data_dir",
        f"dSprites; {_REPEATS}",
        _sha256(packed),
    )


def _npy_header(file):
    version = np.lib.format.read_magic(file)
    header = f"read_array_header_{version[0]}_{version[1]}"
    shape, fortran_order, dtype = getattr(np.lib.format, header)(file)
    if fortran_order:
        raise ValueError("its array is stored column by column")
    return shape, dtype


def _pack(file, n):
    """Reads `n` images of a byte per pixel, with eight pixels in a byte."""
    packed, high = np.empty((n, 512), np.uint8), 0
    for start in range(0, n, 4096):
        rows = packed[start : start + 4096]
        content = file.read(4096 * len(rows))
        pixels = np.frombuffer(content, np.uint8).reshape(len(rows), 4096)
        high = max(high, int(pixels.max()))
        rows[:] = np.packbits(pixels, axis=1)
    return packed, high


def _unpack(packed):
    return np.unpackbits(packed, axis=1).view(bool).reshape(-1, 64, 64, 1)


def _read_h5(path):
    import h5py

    sizes = _GRIDS["shapes3d"]
    n = math.prod(sizes.values())
    try:
        file = h5py.File(path, "r")
        keys = list(file)
        images, labels = file.get("images"), file.get("labels")
        labels = None if labels is None else labels[()]
    except Exception as error:  # h5py raises whatever the bytes provoke
        raise _damaged(path, "a readable HDF5 file", f"damage ({error})") from error
    if images is None or labels is None:
        raise _damaged(path, "the keys images, labels", ", ".join(keys) or "none")
    if images.shape != (n, 64, 64, 3) or images.dtype != np.uint8:
        raise _damaged(
            path,
            f"images uint8 of shape {(n, 64, 64, 3)}",
            f"{images.dtype} of shape {images.shape}",
        )
    values = [_SHAPES3D_LABELS[name][:size] for name, size in sizes.items()]
    expected = np.stack(np.meshgrid(*values, indexing="ij"), axis=-1)
    expected = expected.reshape(n, len(sizes))
    if labels.shape != expected.shape or not np.allclose(labels, expected):
        raise _damaged(
            path, "labels in the published order", f"others of shape {labels.shape}"
        )

    with open(path, "rb") as content:
        checksum = hashlib.file_digest(content, "sha256").hexdigest()

    def fill(out):
        # Chunks that h5py chose hold 4 x 4 pixels of 15,000 images each, so that 176
        # MB are decompressed for any one image, and hardly less for all in its row.
        step = images.chunks[0] if images.chunks else 4096
        for start in range(0, n, step):
            try:
                rows = images[start : start + step]
            except Exception as error:
                raise _damaged(path, "readable images", f"damage ({error})") from error
            out[start : start + step] = rows

    with file:
        unpacked, _ = _cached(f"shapes3d_{checksum[:8]}", images.shape, fill)
    return FactorDataset(
        "shapes3d",
        sizes,
        (64, 64, 3),
        lambda position: unpacked[position],
        f"{path.name} in data_dir",
        "3D Shapes; checksum of the file",
        checksum,
    )


_PUBLISHED = {
    "dsprites": types.SimpleNamespace(
        name="dsprites",
        title=f"dSprites; {_REPEATS}",
        file="dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
        read=_read_npz,
        labels=["shape", "scale", "orientation", "x_position", "y_position"],
    ),
    "shapes3d": types.SimpleNamespace(
        name="shapes3d",
        title="3D Shapes",
        file="3dshapes.h5",
        read=_read_h5,
        labels=list(render.SHAPES3D),
    ),
}


def _read_tfds(published):
    """The data set from TensorFlow Datasets, or None where it is not prepared.

    Its order is its own, so the images are put into the published one, once, in a
    file in the cache folder.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        return None
    name = published.name
    builder = tfds.builder(name)
    if not os.path.exists(os.path.join(str(builder.data_dir), "dataset_info.json")):
        return None
    sizes = tuple(_GRIDS[name].values())
    packs = name == "dsprites"
    what = f"TensorFlow Datasets {name}:{builder.info.version}"

    def fill(out):
        times = np.zeros(len(out), np.int64)
        batches = builder.as_dataset(
            split="train", batch_size=1000, shuffle_files=False
        )
        for batch in tfds.as_numpy(batches):
            labels = [np.asarray(batch[f"label_{label}"]) for label in published.labels]
            position = np.ravel_multi_index(labels, sizes)
            x = np.asarray(batch["image"])
            out[position] = np.packbits(x.reshape(len(x), -1), axis=1) if packs else x
            np.add.at(times, position, 1)
        if (times != 1).any():
            raise ValueError(
                f"{what}: expected each of {len(out)} combinations of factors once, "
                f"found {int((times != 1).sum())} of them missing or repeated; delete "
                "TensorFlow Datasets' copy and prepare it again."
            )

    shape = (math.prod(sizes), *([512] if packs else [64, 64, 3]))
    array, checksum = _cached(f"{name}_tfds_{builder.info.version}", shape, fill)
    return FactorDataset(
        name,
        _GRIDS[name],
        (64, 64, 1 if packs else 3),
        lambda position: _unpack(array[position]) if packs else array[position],
        what,
        f"{published.title}; put into the published order",
        checksum,
    )


# The cache folder


def _cached(stem, shape, fill, checksum=None):
    """A uint8 array from the cache folder, made anew where missing or damaged.

    Args:
        stem: of the file's name.
        shape: of the array.
        fill: function that fills an array of that shape.
        checksum: SHA-256 that the array must have; None to keep the one it has when
            it is made, in a file beside it.

    Returns:
        The array, mapped from the file and read-only, and its checksum.
    """
    folder = os.environ.get("ECHO_KERAS_CACHE") or "~/.cache/echo_keras"
    path = pathlib.Path(folder).expanduser() / f"{stem}.npy"
    beside = path.with_suffix(".sha256")
    try:
        array = np.asarray(np.lib.format.open_memmap(path, "r"))
        expected = checksum or beside.read_text().strip()
        if array.shape == shape and array.dtype == np.uint8:
            if _sha256(array) == expected:
                return array, expected
    except (OSError, ValueError):
        pass
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Writing to mapped memory on a full disk would kill the process.
        free, size = shutil.disk_usage(path.parent).free, math.prod(shape)
        if free < size:
            raise OSError(f"{free / 1e6:.1f} MB are free and {size / 1e6:.1f} needed")
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        os.close(handle)
        array = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        fill(array)
        array.flush()
        found = _sha256(array)
        del array
        if checksum not in (None, found):
            raise RuntimeError(
                f"{stem}: expected checksum {checksum}, found {found} on this machine; "
                "report it, with the versions of Python and NumPy."
            )
        os.replace(temporary, path)
        if checksum is None:
            pathlib.Path(temporary).write_text(found + "\n")
            os.replace(temporary, beside)
    except OSError as error:
        raise OSError(
            f"{stem}: expected a folder to keep it in, found {path.parent} unusable "
            f"({error}); set ECHO_KERAS_CACHE to a folder with room."
        ) from error
    finally:
        if temporary is not None:
            pathlib.Path(temporary).unlink(missing_ok=True)
    return np.asarray(np.lib.format.open_memmap(path, "r")), found


# Small things


def _sha256(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array)
    return digest.hexdigest()


def _damaged(path, expected, found):
    return ValueError(
        f"{path}: expected {expected}, found {found}; fetch or make the file again."
    )


def _ranges(values):
    """Increasing integers as text, such as '0 to 3, 7'."""
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    texts = [f"{v[0]}" if len(v) == 1 else f"{v[0]} to {v[-1]}" for v in runs]
    return ", ".join(texts)


def _check_integer(value, name, low, high=None):
    valid = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not valid or value < low or (high is not None and value > high):
        wanted = f"of at least {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be an integer {wanted}, found {value!r}.")
