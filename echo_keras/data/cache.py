"""Large arrays that are made once and kept in a folder of this machine."""

import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from echo_keras._files import sha256

from .downloads import is_prepared


def cached(
    stem: str,
    shape: tuple[int, ...],
    fill: Callable[[np.ndarray], None],
    checksum: str | None = None,
) -> tuple[np.ndarray, str]:
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
            if sha256(array) == expected:
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
        found = sha256(array)
        del array
        if checksum not in (None, found):
            raise RuntimeError(
                f"{stem} must have the checksum {checksum}. Received: {found} on this "
                "machine. Report it, with the versions of Python and NumPy."
            )
        os.replace(temporary, path)
        if checksum is None:
            pathlib.Path(temporary).write_text(found + "\n")
            os.replace(temporary, beside)
    except OSError as error:
        raise OSError(
            f"ECHO_KERAS_CACHE must be a folder to keep {stem} in. Received: "
            f"{path.parent}, unusable ({error}). Set it to a folder with room."
        ) from error
    finally:
        if temporary is not None:
            pathlib.Path(temporary).unlink(missing_ok=True)
    return np.asarray(np.lib.format.open_memmap(path, "r")), found


def tfds_in_order(
    name: str, sizes: Sequence[int], labels: Sequence[str], packed: bool
) -> tuple[np.ndarray, str, str] | None:
    """All images of a TensorFlow dataset, put into the published order once.

    Args:
        name: of the data set there.
        sizes: of the factors.
        labels: what they are called there, after "label_".
        packed: whether pixels are binary, to be kept with eight in a byte.

    Returns:
        The images by position in the grid of factors, their checksum, and what to call
        their source; None where the data set is not prepared on this machine.

    Raises:
        ValueError: a combination of factors is missing or comes twice.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        return None
    builder = tfds.builder(name)
    if not is_prepared(builder):
        return None
    what = f"TensorFlow Datasets {name}:{builder.info.version}"

    def fill(out: np.ndarray) -> None:
        times = np.zeros(len(out), np.int64)
        batches = builder.as_dataset(
            split="train", batch_size=1000, shuffle_files=False
        )
        for batch in tfds.as_numpy(batches):
            values = [np.asarray(batch[f"label_{label}"]) for label in labels]
            position = np.ravel_multi_index(values, sizes)
            x = np.asarray(batch["image"])
            out[position] = np.packbits(x.reshape(len(x), -1), axis=1) if packed else x
            np.add.at(times, position, 1)
        if (times != 1).any():
            raise ValueError(
                f"{what} must hold each of {len(out)} combinations of factors once. "
                f"Received: {int((times != 1).sum())} of them missing or repeated. "
                "Delete TensorFlow Datasets' copy and prepare it again."
            )

    shape = (math.prod(sizes), *([512] if packed else [64, 64, 3]))
    return *cached(f"{name}_tfds_{builder.info.version}", shape, fill), what
