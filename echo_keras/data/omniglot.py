"""Omniglot, split by alphabet as Lake split it."""

import pathlib

import numpy as np

from echo_keras._files import damaged

from .archives import most_values, read_npz
from .checks import check_labels
from .entry import Entry, Raw
from .pixels import area_105_to_28

# The alphabets of images_background in Lake's repository.
BACKGROUND = (
    "Alphabet_of_the_Magi",
    "Anglo-Saxon_Futhorc",
    "Arcadian",
    "Armenian",
    "Asomtavruli_(Georgian)",
    "Balinese",
    "Bengali",
    "Blackfoot_(Canadian_Aboriginal_Syllabics)",
    "Braille",
    "Burmese_(Myanmar)",
    "Cyrillic",
    "Early_Aramaic",
    "Futurama",
    "Grantha",
    "Greek",
    "Gujarati",
    "Hebrew",
    "Inuktitut_(Canadian_Aboriginal_Syllabics)",
    "Japanese_(hiragana)",
    "Japanese_(katakana)",
    "Korean",
    "Latin",
    "Malay_(Jawi_-_Arabic)",
    "Mkhedruli_(Georgian)",
    "N_Ko",
    "Ojibwe_(Canadian_Aboriginal_Syllabics)",
    "Sanskrit",
    "Syriac_(Estrangelo)",
    "Tagalog",
    "Tifinagh",
)


def read_omniglot_alphabets(
    entry: Entry, paths: list[pathlib.Path], limit: int | None
) -> Raw:
    """An archive of all 1,623 characters, with alphabets and their names."""
    (path,) = paths
    keys = [f"{kind}_{split}" for kind in "xyc" for split in ("train", "test")]
    most = most_values(entry.counts, entry.shape)
    arrays, _ = read_npz(path, [*keys, "alphabet_names"], most=most)
    parts = []
    for split in ("train", "test"):
        x = entry.images(arrays[f"x_{split}"], f"{path}, x_{split}")
        y, c = (
            check_labels(arrays[key], len(x), f"{path}, {key}")
            for key in (f"y_{split}", f"c_{split}")
        )
        parts.append((x, y, c))
    x, alphabet, character = map(np.concatenate, zip(*parts, strict=True))

    alphabets = arrays["alphabet_names"].ravel().tolist()
    missing = [a for a in BACKGROUND if a not in alphabets]
    if missing:
        raise damaged(
            path, "Lake's background alphabets in alphabet_names", f"no {missing[0]}"
        )
    if alphabet.min() < 0 or alphabet.max() >= len(alphabets):
        raise damaged(
            path,
            f"indices of the {len(alphabets)} alphabet_names in y_train and y_test",
            f"{alphabet.min()} to {alphabet.max()}",
        )
    # The file is split by drawer: bring those of a character together again.
    order = np.argsort(character, kind="stable")
    train = np.isin(alphabet[order], [alphabets.index(a) for a in BACKGROUND])
    if train.all() or not train.any():
        raise damaged(path, "background and other alphabets", "images of one kind only")
    return Raw(
        x[order[train]],
        x[order[~train]],
        f"{path.name} in data_dir",
        y_train=character[order[train]],
        y_test=character[order[~train]],
    )


def ink(images: np.ndarray) -> np.ndarray:
    """Black on white in equal channels, (n, 105, 105, 3), as white on black."""
    return area_105_to_28(255.0 - images[..., 0])
