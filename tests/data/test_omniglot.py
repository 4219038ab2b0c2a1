"""Tests of Omniglot, split by alphabet."""

import numpy as np
import pytest
import scipy.io
from image_files import (
    grey,
    only_sentence,
    unit,
)

from echo_keras import data
from echo_keras.data import omniglot

OTHER_ALPHABETS = ["Angelic", "Tengwar", "ULOG"]


def write_omniglot(path, **changes):
    """Six characters of four alphabets, three drawers; image 10 c + d has one value."""
    alphabets = [*OTHER_ALPHABETS, *reversed(omniglot.BACKGROUND)]
    names = ["Latin", "ULOG", "Latin", "Greek", "Angelic", "ULOG"]
    y = np.array([alphabets.index(name) for name in names])
    x = np.array([[10 * c + d for d in range(3)] for c in range(6)], "uint8")
    x = np.broadcast_to(x[..., None, None], (6, 3, 28, 28))
    characters = np.arange(6)
    arrays = {
        "x_train": x[:, :2].reshape(12, 28, 28),
        "x_test": x[:, 2],
        "y_train": y.repeat(2).astype("uint8"),
        "y_test": y.astype("uint8"),
        "c_train": characters.repeat(2).astype("uint16"),
        "c_test": characters.astype("uint16"),
        "alphabet_names": np.array(alphabets),
    } | changes
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


@pytest.mark.parametrize("folder", [".", "omniglot_alphabets", "omniglot"])
def test_omniglot_is_regrouped_by_alphabet(tmp_path, folder):
    write_omniglot(tmp_path / folder / "omniglot.npz")
    d = data.load("omniglot_alphabets", tmp_path)
    values = np.rint(255 * d.x_train[:, 5, 5, 0]).astype(int).tolist()
    assert values == [0, 1, 2, 20, 21, 22, 30, 31, 32]  # Latin, Latin, Greek
    assert d.y_train.tolist() == [0, 0, 0, 2, 2, 2, 3, 3, 3]
    values = np.rint(255 * d.x_test[:, 5, 5, 0]).astype(int).tolist()
    assert values == [10, 11, 12, 40, 41, 42, 50, 51, 52]
    assert d.y_test.tolist() == [1, 1, 1, 4, 4, 4, 5, 5, 5]
    assert d.x_valid is None and d.binarize == "none"
    assert d.source == "omniglot.npz in data_dir"
    assert "area-averaged Omniglot" in d.description
    assert "9 training and 9 test images, published 19280 and 13180" in d.description


def test_omniglot_alphabets_treat_grey_pixels_and_limit(tmp_path):
    write_omniglot(tmp_path / "omniglot.npz")
    whole = data.load("omniglot_alphabets", tmp_path, "static")
    part = data.load("omniglot_alphabets", tmp_path, "static", limit=4)
    assert set(np.unique(whole.x_train)) == {0, 1}
    assert np.array_equal(part.x_train, whole.x_train[:4])
    assert np.array_equal(part.y_train, whole.y_train[:4])
    assert np.array_equal(part.x_test, whole.x_test)


NO_GREEK = np.array(
    [*OTHER_ALPHABETS, *(a for a in omniglot.BACKGROUND if a != "Greek")]
)
WRONG_OMNIGLOT = {
    "no characters": (
        {"c_test": None},
        "x_train.*c_test.*Received: the keys x_tr",
    ),
    "no alphabets": (
        {"alphabet_names": None},
        "x_train.*alphabet_names. Received",
    ),
    "no index": ({"y_train": None}, "keys x_train.*y_train"),
    "other names": ({"alphabet_names": NO_GREEK}, "alphabet_names. Received: no Greek"),
    "index": ({"y_test": np.full(6, 33)}, "33 alphabet_names.*Received: 0 to 33"),
    "negative": ({"y_test": np.full(6, -1)}, "Received: -1 to"),
    "short": ({"c_train": np.arange(11)}, "c_train must hold 12 integer labels"),
    "floats": ({"y_train": np.zeros(12)}, "y_train must hold 12 integer labels"),
    "one kind": (
        {"y_train": np.zeros(12, int), "y_test": np.zeros(6, int)},
        "images of one kind only",
    ),
}


@pytest.mark.parametrize("case", WRONG_OMNIGLOT)
def test_wrong_omniglot(tmp_path, case):
    changes, match = WRONG_OMNIGLOT[case]
    write_omniglot(tmp_path / "omniglot.npz", **changes)
    with pytest.raises(ValueError, match=match) as error:
        data.load("omniglot_alphabets", tmp_path)
    assert "omniglot.npz" in only_sentence(error)


def test_chardata_has_no_alphabets(tmp_path):
    x = unit(grey(5)).reshape(5, 784).T
    scipy.io.savemat(tmp_path / "chardata.mat", {"data": x, "testdata": x})
    assert data.load("omniglot", tmp_path).source == "chardata.mat in data_dir"
    with pytest.raises(FileNotFoundError, match="chardata.mat, which names no"):
        data.load("omniglot_alphabets", tmp_path)
