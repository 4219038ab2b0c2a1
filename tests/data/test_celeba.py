"""Tests of the faces: crop, resizing, split, and damage."""

import io

import numpy as np
import pytest
from image_files import (
    PARTS,
    SPLITS,
    colour,
    empty,
    faces,
    flip,
    jpeg,
    only_sentence,
    truncate,
    write_celeba,
    write_npz,
)
from PIL import Image

from echo_keras import data
from echo_keras.data import celeba


def triangle_weights():
    """What bilinear resizing with antialiasing does to 140 pixels, in closed form."""
    scale = 140 / 64
    distance = np.arange(140) + 0.5 - scale * (np.arange(64)[:, None] + 0.5)
    weights = np.maximum(0, 1 - abs(distance) / scale)
    return weights / weights.sum(1, keepdims=True)


def decoded_crop(content):
    return np.asarray(Image.open(io.BytesIO(content)))[39:179, 19:159]


@pytest.mark.parametrize(("zipped", "own_folder"), [(False, True), (True, False)])
def test_celeba_files(tmp_path, zipped, own_folder):
    write_celeba(tmp_path / "celeba" if own_folder else tmp_path, zipped)
    d = data.load("celeba", tmp_path)
    images = [jpeg(x) for x in faces(9)]
    w = triangle_weights()
    for part, split in enumerate(SPLITS):
        x = getattr(d, split)
        which = [i for i in range(9) if PARTS[i] == part]
        assert x.dtype == np.float32 and x.shape == (len(which), 64, 64, 3)
        for image, i in zip(255 * x, which, strict=True):
            crop = decoded_crop(images[i]).astype(float)
            expected = np.einsum("ai,bj,ijc->abc", w, w, crop, optimize=True)
            # Pillow rounds to 8 bits after columns and after rows.
            assert abs(image - expected).max() < 1.01
            means = image.mean((0, 1)), crop.mean((0, 1))
            np.testing.assert_allclose(*means, atol=1)
    assert d.y_train is None and d.y_test is None and d.binarize == "none"
    assert d.source.startswith("img_align_celeba" + ".zip" * zipped)
    assert "5 training and 2 test images, published 162770 and 19962" in d.description
    assert "first" not in d.description


def test_face_is_the_centre_and_nothing_else():
    image = colour(1, 218, 178)[0]
    image[39:179, 19:159] = 10, 120, 250
    assert (celeba.face(Image.fromarray(image)) == (10, 120, 250)).all()
    # One pixel more on any side would show.
    for border in [
        np.s_[39, 19:159], np.s_[178, 19:159], np.s_[39:179, 19], np.s_[39:179, 158]
    ]:  # fmt: skip
        other = image.copy()
        other[border] = 255 - other[border]
        assert (celeba.face(Image.fromarray(other)) != (10, 120, 250)).any()


def test_face_has_edges_where_they_belong():
    # 35 pixels become 16. Output pixels beside an edge have an eighth of their
    # triangle on its other side.
    image = np.zeros((218, 178, 3), "uint8")
    image[39 + 35 :, :, 0] = 255
    image[:, 19 + 70 :, 1] = 255
    face = celeba.face(Image.fromarray(image)) / 255
    rows, columns = face[:, :1, 0], face[:1, :, 1]
    assert (face[:, :, 0] == rows).all() and (face[:, :, 1] == columns).all()
    assert (face[:, :, 2] == 0).all()
    for profile, at in ((rows.ravel(), 16), (columns.ravel(), 32)):
        assert (profile[: at - 1] == 0).all() and (profile[at + 1 :] == 1).all()
        np.testing.assert_allclose(profile[at - 1 : at + 1], [1 / 8, 7 / 8], atol=0.02)


def celeba_npz(folder):
    x, x_test = colour(5, 64, 64), colour(2, 64, 64, 1)
    write_npz(folder / "celeba.npz", x_train=x, x_test=x_test)


@pytest.mark.parametrize("kind", ["folder", "zip", "npz"])
def test_celeba_limit_gives_the_first_of_the_whole(tmp_path, kind):
    if kind == "npz":
        celeba_npz(tmp_path)
    else:
        write_celeba(tmp_path, kind == "zip")
    whole = data.load("celeba", tmp_path)
    for limit in range(1, 6):
        part = data.load("celeba", tmp_path, limit=limit)
        assert np.array_equal(part.x_train, whole.x_train[:limit])
        assert np.array_equal(part.x_test, whole.x_test)
        assert kind == "npz" or np.array_equal(part.x_valid, whole.x_valid)
        assert ("first" in part.description) == (limit < 5)
        assert "5 training and 2 test images, published" in part.description
    assert part.checksum == whole.checksum
    assert "first 2 of 5" in data.load("celeba", tmp_path, limit=2).description
    with pytest.raises(ValueError, match="at most 5, the training images of 'celeba'"):
        data.load("celeba", tmp_path, limit=6)


def test_celeba_decodes_no_more_than_the_limit(tmp_path):
    write_celeba(tmp_path)
    third = tmp_path / "img_align_celeba" / "000005.jpg"
    third.write_bytes(b"no face")
    assert len(data.load("celeba", tmp_path, limit=2).x_train) == 2
    with pytest.raises(ValueError, match="000005.jpg must hold a readable JPEG"):
        data.load("celeba", tmp_path, limit=3)
    # Too high a limit is refused before anything is decoded.
    with pytest.raises(ValueError, match="limit must be at most 5"):
        data.load("celeba", tmp_path, limit=6)


def test_celeba_npz(tmp_path):
    celeba_npz(tmp_path)
    d = data.load("celeba", tmp_path)
    assert np.array_equal(d.x_train, (colour(5, 64, 64) / 255).astype("float32"))
    assert d.x_valid is None and d.y_train is None
    assert d.source == "celeba.npz in data_dir"
    x = colour(2, 64, 64, 7)
    write_npz(tmp_path / "celeba.npz", x_train=x, x_test=x, x_valid=x[::-1])
    d = data.load("celeba", tmp_path)
    assert np.array_equal(d.x_valid, d.x_train[::-1])


FACE = faces(1)[0]
WRONG_JPEGS = {
    "text": (b"no face", "a readable JPEG. Received: damage"),
    "empty": (b"", "a readable JPEG. Received: damage"),
    "truncated": (jpeg(FACE)[:2000], "a readable JPEG. Received: damage"),
    "png": (jpeg(FACE, format="PNG"), "a readable JPEG. Received: damage"),
    "turned": (jpeg(FACE.transpose(1, 0, 2)), "Received: RGB, 218 wide and 178 high"),
    "cropped": (jpeg(FACE[:64, :64]), "178 wide and 218 high. Received: RGB, 64 wide"),
    "grey": (jpeg(FACE[..., 0]), "Received: L, 178 wide"),
}


@pytest.mark.parametrize("case", WRONG_JPEGS)
def test_wrong_jpeg(tmp_path, case):
    content, match = WRONG_JPEGS[case]
    write_celeba(tmp_path)
    (tmp_path / "img_align_celeba" / "000004.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=match) as error:
        data.load("celeba", tmp_path)
    assert "000004.jpg" in only_sentence(error)


@pytest.mark.parametrize("harm", [truncate, flip, empty])
def test_damaged_celeba_archive(tmp_path, harm):
    write_celeba(tmp_path, zipped=True)
    harm(tmp_path / "img_align_celeba.zip")
    with pytest.raises(ValueError, match="Fetch or make the file again") as error:
        data.load("celeba", tmp_path)
    assert "img_align_celeba.zip" in only_sentence(error)
    assert error.value.__cause__ is not None


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda t: t[: t.index("000008")],
            "line for each image. Received: no 000008",
        ),
        (lambda t: t.replace("000003.jpg 0\n", ""), "image. Received: no 000003.jpg"),
        (lambda t: t[:-3], "0, 1 or 2. Received: '000009.jpg' in line 9"),
        (
            lambda t: t.replace("jpg 2", "jpg 3", 1),
            "Received: '000002.jpg 3' in line 2",
        ),
        (lambda t: t + "000001.jpg 1\n", "each name once.*in line 10"),
        (lambda t: t.replace("3.jpg", "3 .jpg"), "Received: '000003 .jpg 0' in line 3"),
        (lambda t: t.replace(" 1", " 0"), "parts 0, 1 and 2. Received: none of 1"),
        (lambda t: "", "Received: none of 0"),
        (
            lambda t: t + "000010.jpg 1\n",
            "partition.txt. Received: no 000010",
        ),
    ],
)
def test_images_and_their_list_must_agree(tmp_path, change, match):
    write_celeba(tmp_path, zipped="000003" in match)
    path = tmp_path / "list_eval_partition.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=match) as error:
        data.load("celeba", tmp_path)
    assert "Fetch or make the file again" in only_sentence(error)


def test_celeba_list_alone_is_missing_files(tmp_path):
    write_celeba(tmp_path, zipped=True)
    (tmp_path / "img_align_celeba.zip").unlink()
    with pytest.raises(FileNotFoundError, match="img_align_celeba.zip"):
        data.load("celeba", tmp_path)
