"""Files: what every room of the library needs, and no room owns."""

import contextlib
import hashlib
import json
import os
import pathlib
import secrets
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from echo_keras.layers import arguments


@contextlib.contextmanager
def replacing(path: str | os.PathLike, suffix: str = ".part") -> Iterator[pathlib.Path]:
    """The name of a new file, which takes the place of `path` when it is written.

    A kill or a power cut leaves the old file or the new one, and no two processes
    write under one name.
    """
    path = pathlib.Path(path)
    own = f"{os.getpid()}-{secrets.token_hex(4)}"
    part = path.with_name(f"{path.name}.{own}{suffix}")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # not everywhere can a folder be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: str | os.PathLike, content: object) -> None:
    """Writes JSON by an atomic replacement; see `replacing`."""
    text = json.dumps(content, indent=1) + "\n"
    with replacing(path) as part:
        part.write_text(text)


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


class Damaged(ValueError):
    """A file holds something else than it must; the sentence says what to do."""


def damaged(path: object, expected: str, found: object) -> Damaged:
    """The error for a file, or an array in it, that holds something else."""
    return Damaged(
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


def check_keys(path: pathlib.Path, keys: Sequence[str], needed: Sequence[str]) -> None:
    """Raises ValueError where a file lacks one of the keys that it must have."""
    if not set(needed) <= set(keys):
        found = f"the keys {', '.join(map(str, keys))}" if keys else "no keys"
        raise damaged(path, f"the keys {', '.join(needed)}", found)
