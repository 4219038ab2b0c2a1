"""Files and arguments: what every room of the library needs, and no room owns."""

import gzip
import hashlib
import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from echo_keras.layers import arguments

SEED_MAX = arguments.SEED_MAX


def check_integer(value: object, name: str, low: int, high: int | None = None) -> int:
    """Returns an integer argument; raises ValueError if it is none or out of range.

    >>> check_integer(3, "n", 1, 2)
    Traceback (most recent call last):
    ...
    ValueError: n must be an integer in [1, 2]. Received: n=3
    """
    high = arguments.COUNT_MAX if high is None else high
    return arguments.integer(name, value, low, high)


def write_json(path: str | os.PathLike, content: object) -> None:
    """Writes JSON by an atomic replacement, so that a kill leaves old or new."""
    path = pathlib.Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, path)


def sha256(*parts: np.ndarray | bytes | None) -> str:
    """SHA-256 (hex) of the bytes of arrays, one after the other; None is left out.

    Neither shapes nor dtypes are hashed: convert first where machines may differ.
    """
    digest = hashlib.sha256()
    for part in parts:
        if part is not None:
            array = isinstance(part, np.ndarray)
            digest.update(np.ascontiguousarray(part) if array else part)
    return digest.hexdigest()


def sha256_of_file(path: str | os.PathLike) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged(path: object, expected: str, found: object) -> ValueError:
    """The error for a file, or an array in it, that holds something else."""
    return ValueError(
        f"{path} must hold {expected}. Received: {found}. Fetch or make the file again."
    )


def check_folder(path: str | os.PathLike, holds: str) -> pathlib.Path:
    """Returns `data_dir` as a path; raises FileNotFoundError where it is no folder."""
    path = arguments.path("data_dir", path).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(
            f"data_dir must be a folder that holds {holds}. Received: "
            f"data_dir={str(path)!r}, which is no folder. Correct it, or leave it out."
        )
    return path


def find_file(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """The path of a file, plain or gzipped, or of a folder, whose name ends in /."""
    if name.endswith("/"):
        return folder / name if (folder / name).is_dir() else None
    archive = name.endswith((".npz", ".zip", ".h5"))
    for path in (folder / name, folder / f"{name}.gz")[: 1 if archive else 2]:
        if path.is_file():
            return path
    return None


def find_files(
    folders: Iterable[pathlib.Path], names: Sequence[str]
) -> list[pathlib.Path] | None:
    """The paths of all of these files, from the first folder that has them all."""
    for folder in folders:
        paths = [find_file(folder, name) for name in names]
        if all(paths):
            return paths
    return None


def read_bytes(path: pathlib.Path) -> bytes:
    """The content of a file, unzipped where its name ends in .gz."""
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, "a complete gzip file", f"damage ({error})") from error


def read_npz(
    path: pathlib.Path, needed: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of an .npz archive by key; pickles in it are never loaded.

    Raises:
        ValueError: the file is damaged, has pickles or lacks one of the `needed` keys.
    """
    arrays = {}
    try:
        # np.load takes anything that is not a zip for a pickle, and says so.
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("not a complete zip archive")
        with np.load(path, allow_pickle=False) as file:
            keys = list(file)
            for key in (*needed, *optional):
                if key in keys:
                    arrays[key] = file[key]
    except Exception as error:  # zip, zlib and NumPy each have errors of their own
        if "allow_pickle" in str(error):
            raise damaged(
                path, "plain arrays", "an object array, and pickles are never loaded"
            ) from error
        raise damaged(path, "a readable .npz archive", f"damage ({error})") from error
    check_keys(path, keys, needed)
    return arrays


def check_keys(path: pathlib.Path, keys: Sequence[str], needed: Sequence[str]) -> None:
    """Raises ValueError where a file lacks one of the keys that it must have."""
    if not set(needed) <= set(keys):
        found = f"the keys {', '.join(keys)}" if keys else "no keys"
        raise damaged(path, f"the keys {', '.join(needed)}", found)
