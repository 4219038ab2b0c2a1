"""CelebA: faces as VCAE's paper treats them, from the published files."""

import contextlib
import io
import os
import pathlib
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from echo_keras._files import damaged

from .archives import read_bytes
from .checks import check_limit
from .entry import Entry, Raw

if TYPE_CHECKING:
    from PIL import Image

LIST = "list_eval_partition.txt"


def read_celeba(entry: Entry, paths: list[pathlib.Path], limit: int | None) -> Raw:
    """The list of images, and their folder or archive."""
    partition, images = paths
    splits = _read_partition(partition)
    n_train = len(splits[0])
    check_limit("celeba", limit, n_train)
    with contextlib.ExitStack() as stack:
        if images.is_dir():
            members = {file: images / file for file in os.listdir(images)}
            read = pathlib.Path.read_bytes
        else:
            try:
                archive = stack.enter_context(zipfile.ZipFile(images))
            except (zipfile.BadZipFile, OSError) as error:
                raise damaged(
                    images, "a readable .zip archive", f"damage ({error})"
                ) from error
            members = {file.split("/")[-1]: file for file in archive.namelist()}
            read = archive.read
        # A list that was cut short would leave images out without a word.
        listed = {file for files in splits for file in files}
        unlisted = {file for file in members if file.endswith(".jpg")} - listed
        if unlisted:
            raise damaged(partition, "a line for each image", f"no {min(unlisted)}")
        if listed - members.keys():
            missing = min(listed - members.keys())
            raise damaged(images, f"the images in {partition.name}", f"no {missing}")

        def decoded(files: list[str]) -> np.ndarray:
            # 8-bit until all are there: a quarter of the memory.
            x = np.empty((len(files), 64, 64, 3), np.uint8)
            for i, file in enumerate(files):
                x[i] = _read_face(images / file, lambda file=file: read(members[file]))
            return entry.images(x, str(images))

        x_train, x_valid, x_test = map(decoded, (splits[0][:limit], *splits[1:]))
    source = f"{images.name} and {partition.name} in data_dir"
    return Raw(x_train, x_test, source, x_valid=x_valid, n_train=n_train)


def _read_partition(path: pathlib.Path) -> tuple[list[str], ...]:
    """Reads lines of a file name and 0, 1 or 2: training, validation, test."""
    splits = [], [], []
    seen = set()
    lines = read_bytes(path, 2**26).decode("latin-1").rstrip().splitlines()
    for number, line in enumerate(lines, 1):
        file, split = line.split() if len(line.split()) == 2 else ("", "")
        if split not in ("0", "1", "2") or file in seen:
            raise damaged(
                path,
                "lines of a file name, each name once, and 0, 1 or 2",
                f"{line[:40]!r} in line {number}",
            )
        seen.add(file)
        splits[int(split)].append(file)
    for split, files in enumerate(splits):
        if not files:
            raise damaged(path, "images of the parts 0, 1 and 2", f"none of {split}")
    return splits


def _read_face(path: pathlib.Path, read: Callable[[], bytes]) -> np.ndarray:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(read()), formats=["JPEG"])
        fits = image.mode == "RGB" and image.size == (178, 218)
        if fits:
            image.load()
    except Exception as error:  # Pillow raises whatever the bytes provoke
        raise damaged(path, "a readable JPEG", f"damage ({error})") from error
    if not fits:
        found = f"{image.mode}, {image.width} wide and {image.height} high"
        raise damaged(path, "an RGB image, 178 wide and 218 high", found)
    return face(image)


def faces(images: np.ndarray) -> np.ndarray:
    """Aligned faces (n, 218, 178, 3) as uint8 (n, 64, 64, 3)."""
    from PIL import Image

    return np.stack([face(Image.fromarray(image)) for image in images])


def face(image: "Image.Image") -> np.ndarray:
    """The centre of an aligned face, 140x140, resized bilinearly to 64x64."""
    from PIL import Image

    # Cropped first: with `box`, resizing would look at pixels beyond the crop.
    image = image.crop((19, 39, 159, 179))
    return np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))
