"""Tests of data sets with factors: look-ups, draws, sources, and every complaint."""

import itertools
import math
import re
import sys
import types

import h5py
import keras
import numpy as np
import pytest
import scipy.stats
from image_files import only_sentence

from echo_keras._files import sha256
from echo_keras.data import cache as cache_module
from echo_keras.data import dsprites, factors, shapes3d

TINY = {
    "dsprites": {
        "shape": 3,
        "scale": 2,
        "orientation": 3,
        "pos_x": 2,
        "pos_y": 4,
    },
    "shapes3d": {
        "floor_hue": 2,
        "wall_hue": 1,
        "object_hue": 3,
        "scale": 2,
        "shape": 2,
        "orientation": 2,
    },
}
NPZ = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nothing is read from or left in the user's own cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ECHO_KERAS_CACHE", str(folder))
    # Not even an installed TensorFlow Datasets is asked, but where a test says so.
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    return folder


@pytest.fixture
def tiny(monkeypatch):
    """Data sets of a few combinations of the same factors."""
    monkeypatch.setattr(dsprites, "GRID", TINY["dsprites"])
    monkeypatch.setattr(shapes3d, "GRID", TINY["shapes3d"])
    packed = np.packbits(tiny_sprites().reshape(-1, 4096), axis=1)
    monkeypatch.setattr(dsprites, "CHECKSUM", sha256(packed))


def grid(name):
    """All combinations of factors, in order."""
    return np.array(list(itertools.product(*map(range, TINY[name].values()))))


def tiny_sprites():
    return dsprites.render(grid("dsprites"))


def tiny_scenes():
    return shapes3d.render(grid("shapes3d"))


def every(dataset):
    return dataset.images(np.arange(len(dataset)))


# Arguments


def test_names():
    expected = ("dsprites", "dsprites_dependent", "shapes3d", "shapes3d_rendered")
    assert factors.names() == expected


def test_unknown_name():
    with pytest.raises(ValueError, match="name='dsprite'. Did you mean 'dsprites'?"):
        factors.load("dsprite")
    with pytest.raises(ValueError, match="name must be one of .*Received: name=None"):
        factors.load(None)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, True])
def test_wrong_seeds(seed):
    with pytest.raises(ValueError, match="seed must be an integer in"):
        factors.load("dsprites_dependent", seed=seed)


# Look-ups


def test_what_a_data_set_says():
    dataset = factors.load("dsprites")
    assert dataset.name == "dsprites" and len(dataset) == 737_280
    names = ("shape", "scale", "orientation", "pos_x", "pos_y")
    assert dataset.factor_names == names
    assert dataset.factor_sizes == (3, 6, 40, 32, 32)
    assert dataset.image_shape == (64, 64, 1)
    assert dataset.source == "dSprites, rendered"
    assert "rendered" in dataset.description and "\n" not in dataset.description
    assert re.fullmatch("[0-9a-f]{64}", dataset.checksum)
    assert dataset.total_correlation() == 0
    assert repr(dataset) == (
        "<FactorDataset dsprites: 737280 images; dSprites, rendered>"
    )


def test_rows_are_in_the_published_order():
    dataset = factors.load("dsprites")
    rows = [0, 1, 32, 737_279]
    expected = [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0], [2, 5, 39, 31, 31]]
    found = dataset.factors(rows)
    assert found.dtype == np.int64 and found.tolist() == expected
    images = dataset.images(rows)
    assert images.dtype == np.float32 and images.shape == (4, 64, 64, 1)
    assert np.array_equal(images[..., 0], dsprites.render(expected))


def test_scenes_are_scaled_to_one():
    dataset = factors.load("shapes3d_rendered")
    assert len(dataset) == 480_000 and dataset.image_shape == (64, 64, 3)
    assert dataset.factor_names == tuple(shapes3d.FACTORS)
    assert "not the published" in dataset.description
    rows = dataset.sample(5, np.random.RandomState(0))
    images = dataset.images(rows)
    assert images.dtype == np.float32 and 0 <= images.min() < images.max() <= 1
    assert np.allclose(images, shapes3d.render(dataset.factors(rows)) / 255)


def test_no_rows(tiny):
    dataset = factors.load("dsprites")
    assert dataset.images(np.zeros(0, int)).shape == (0, 64, 64, 1)
    assert dataset.factors(np.zeros(0, int)).shape == (0, 5)


@pytest.mark.parametrize(
    "rows, sentence",
    [
        ([0, 144], "numbers from 0 to 143, .*Received: 0 to 144"),
        ([-1], "numbers from 0 to 143, .*Received: -1 to -1"),
        ([0.0], "rows must be integers of shape"),
        ([True], "rows must be integers of shape"),
        (0, "rows must be integers of shape"),
    ],
)
def test_wrong_rows(tiny, rows, sentence):
    dataset = factors.load("dsprites")
    for look_up in (dataset.factors, dataset.images):
        with pytest.raises(ValueError, match=sentence):
            look_up(rows)


def test_subset(tiny):
    dataset = factors.load("dsprites")
    part = dataset.subset(20, seed=3)
    assert len(part) == 20 and "20 of its 144 images (seed 3)" in part.description
    combinations = set(map(tuple, part.factors(np.arange(20))))
    assert len(combinations) == 20
    expected = dsprites.render(part.factors(np.arange(20)))
    assert np.array_equal(every(part)[..., 0], expected)
    again, other = dataset.subset(20, seed=3), dataset.subset(20, seed=4)
    assert again.checksum == part.checksum
    assert len({part.checksum, other.checksum, dataset.checksum}) == 3
    whole = dataset.subset(144)
    assert np.array_equal(every(whole), every(dataset))
    assert part.subset(5).factor_sizes == dataset.factor_sizes
    with pytest.raises(ValueError, match=r"n must be an integer in \[1, 144\]"):
        dataset.subset(145)


# Draws


def uniform_enough(counts):
    """A chi-square test that is wrong in one of 1,000 seeds; these are fixed."""
    return scipy.stats.chisquare(counts).pvalue > 1e-3


def test_sample_is_uniform(tiny):
    dataset = factors.load("dsprites")
    rows = dataset.sample(20_000, np.random.RandomState(0))
    assert uniform_enough(np.bincount(rows, minlength=144))


@pytest.mark.parametrize("n", [144, 60])
def test_sample_given_is_uniform(tiny, n):
    dataset = factors.load("dsprites").subset(n)
    every_factor = dataset.factors(np.arange(n))
    rng = np.random.RandomState(1)
    for factor, value in ((0, 2), (2, 1), (4, 3)):
        rows = dataset.sample_given(factor, value, 5000, rng)
        (expected,) = np.nonzero(every_factor[:, factor] == value)
        counts = np.bincount(rows, minlength=n)
        assert counts.sum() == counts[expected].sum() == 5000
        assert uniform_enough(counts[expected])


def test_draws_depend_on_the_state_alone(tiny):
    dataset, rng = factors.load("dsprites"), np.random.RandomState
    assert np.array_equal(dataset.sample(9, rng(5)), dataset.sample(9, rng(5)))
    draws = [dataset.sample_given(1, 1, 9, rng(5)) for _ in range(2)]
    assert np.array_equal(*draws)


def test_values_that_do_not_occur(tiny):
    dataset, rng = factors.load("dsprites"), np.random.RandomState(0)
    with pytest.raises(ValueError) as error:
        dataset.sample_given(4, 4, 1, rng)
    assert "occurs in dsprites (0 to 3). Received: value=4" in only_sentence(error)
    with pytest.raises(ValueError, match="Received: value=-1"):
        dataset.sample_given(4, -1, 1, rng)
    with pytest.raises(ValueError, match="factor must be a column from 0 to 4"):
        dataset.sample_given(5, 0, 1, rng)
    keep = [0, 1, 3, 143]  # pos_y 0, 1, 3 and 3
    with pytest.raises(ValueError, match=r"in four \(0 to 1, 3\). Received: value=2"):
        dataset.keep(np.array(keep), "four", "").sample_given(4, 2, 1, rng)


# Batches


def test_batches_depend_on_seed_and_epoch_alone(tiny):
    dataset = factors.load("dsprites")

    def epoch(seed, number, first=0):
        batches = dataset.batches(8, steps=3, seed=seed, epoch=first)
        batches.begin(number)
        assert isinstance(batches, keras.utils.PyDataset) and len(batches) == 3
        pairs = [batches[i] for i in range(3)]
        assert all(x is y and x.shape == (8, 64, 64, 1) for x, y in pairs)
        return np.stack([x for x, _ in pairs])

    first = epoch(0, 2)
    assert np.array_equal(first, epoch(0, 2, first=1))
    assert not np.array_equal(first, epoch(0, 3))
    assert not np.array_equal(first, epoch(1, 2))
    rows = dataset.sample(24, np.random.RandomState([0, 2]))
    assert np.array_equal(first, dataset.images(rows).reshape(3, 8, 64, 64, 1))


def test_batches_are_uniform_with_replacement(tiny):
    _, rows = factors.load("dsprites").batches(50, steps=400, seed=7).epoch
    assert uniform_enough(np.bincount(rows.ravel(), minlength=144))


@pytest.mark.core
def test_fit_sees_new_images_in_every_epoch(tiny, monkeypatch):
    dataset, read = factors.load("dsprites"), {}
    model = keras.Sequential([keras.Input((64, 64, 1)), keras.layers.Conv2D(1, 1)])
    model.compile(loss="mse")
    batches = dataset.batches(4, steps=3)
    batch = batches.batch

    def watched(index, epoch, order):
        read.setdefault(epoch, {})[index] = order[index]
        return batch(index, epoch, order)

    monkeypatch.setattr(batches, "batch", watched)
    model.fit(batches, epochs=3, verbose=0)
    for epoch in range(3):
        expected = dataset.sample(12, np.random.RandomState([0, epoch]))
        found = [read[epoch][index] for index in range(3)]
        assert np.array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"steps": 0}, {"seed": -1}])
def test_wrong_batches(tiny, change):
    arguments = {"batch_size": 2, "steps": 2} | change
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be an integer"):
        factors.load("dsprites").batches(**arguments)


# Factors that depend on each other


def test_the_dependent_sprites():
    dataset = factors.load("dsprites_dependent")
    assert dataset.name == "dsprites_dependent" and len(dataset) == 107_520
    assert dataset.total_correlation() == pytest.approx(1.4911, abs=1e-4)
    for fact in ("24 of 144 pairs", "(14.6%)", "1.49 nats", "dSprites, rendered"):
        assert fact in dataset.description
    kept = dataset.factors(np.arange(len(dataset)))
    for column, size in zip(kept.T, dataset.factor_sizes, strict=True):
        assert len(np.unique(column)) == size  # every value occurs
    # Images are those of their factors.
    rows = dataset.sample(5, np.random.RandomState(0))
    assert np.array_equal(dataset.images(rows)[..., 0], dsprites.render(kept[rows]))


def test_removed_pairs_never_occur_and_all_others_are_kept():
    sizes = (3, 6, 5, 4, 8)
    removed, pairs = factors._removed_pairs(sizes, 1)
    assert pairs == 144 and removed
    bins = [[v * min(s, 4) // s for v in range(s)] for s in sizes]
    assert bins[1] == [0, 0, 1, 2, 2, 3] and bins[0] == [0, 1, 2]
    kept = [
        combination
        for combination in itertools.product(*map(range, sizes))
        if not any(
            bins[f][combination[f]] == a and bins[g][combination[g]] == b
            for f, a, g, b in removed
        )
    ]
    base = factors.FactorDataset(
        "all", dict(zip("abcde", sizes, strict=True)), (1, 1, 1), None, "", "", ""
    )
    dataset = factors._depend(base, 1)
    assert dataset.factors(np.arange(len(dataset))).tolist() == list(map(list, kept))
    # Total correlation by brute force.
    entropies = 0.0
    for column in zip(*kept, strict=True):
        for value in set(column):
            share = column.count(value) / len(kept)
            entropies -= share * math.log(share)
    assert dataset.total_correlation() == pytest.approx(
        entropies - math.log(len(kept)), abs=1e-9
    )
    assert dataset.total_correlation() > 0.1


def test_total_correlation_of_two_equal_factors():
    base = factors.FactorDataset("all", {"a": 5, "b": 5}, (1, 1, 1), None, "", "", "c")
    equal = base.keep(np.arange(5) * 6, "equal", "")
    assert equal.total_correlation() == pytest.approx(math.log(5))


def test_seeds_remove_other_pairs(tiny):
    zero, again, one = (
        factors.load("dsprites_dependent", seed=seed) for seed in (0, 0, 1)
    )
    assert zero.checksum == again.checksum != one.checksum
    whole = factors.load("dsprites", seed=1)
    assert whole.checksum == factors.load("dsprites").checksum


def test_lost_values_are_told(tiny, monkeypatch):
    pairs = [(0, 1, 4, y_bin) for y_bin in range(4)]
    monkeypatch.setattr(factors, "_removed_pairs", lambda sizes, seed: (pairs, 144))
    dataset = factors.load("dsprites_dependent")
    assert "shape is never 1" in dataset.description
    with pytest.raises(ValueError, match=r"shape that .* \(0, 2\). Received: value=1"):
        dataset.sample_given(0, 1, 1, np.random.RandomState(0))


def test_no_image_left(tiny, monkeypatch):
    pairs = [(0, shape, 4, y_bin) for shape in range(3) for y_bin in range(4)]
    monkeypatch.setattr(factors, "_removed_pairs", lambda sizes, seed: (pairs, 144))
    with pytest.raises(ValueError, match="seed must leave .*Received: seed=5"):
        factors.load("dsprites_dependent", seed=5)


# Rendered sprites and their cache


def test_many_images_are_rendered_once_and_kept(tiny, cache, monkeypatch):
    monkeypatch.setattr(dsprites, "ON_DEMAND", 150)
    dataset = factors.load("dsprites")
    few = every(dataset)  # 144
    assert not cache.exists()
    assert np.array_equal(every(dataset), few)
    (file,) = cache.iterdir()
    assert np.load(file).shape == (144, 512)
    assert np.array_equal(few[..., 0], tiny_sprites())

    def fail(*sprite):
        raise AssertionError("rendered again")

    monkeypatch.setattr(dsprites, "render_all_positions", fail)
    monkeypatch.setattr(dsprites, "ON_DEMAND", 0)
    dataset = factors.load("dsprites")
    assert np.array_equal(every(dataset), few)
    rows = [7, 7, 143, 0]
    assert np.array_equal(dataset.images(rows), few[rows])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def save(array):
    return lambda path: np.save(path, array)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not an array"),
        lambda path: path.write_bytes(b"PK\x03\x04 not an archive"),
        save(np.zeros((143, 512), np.uint8)),
        save(np.zeros((144, 512), np.int8)),
    ],
    ids=["flip", "cut", "empty", "text", "zip", "shape", "type"],
)
def test_a_damaged_cache_is_made_again(tiny, cache, monkeypatch, damage):
    monkeypatch.setattr(dsprites, "ON_DEMAND", 0)
    every(factors.load("dsprites"))
    (file,) = cache.iterdir()
    good = file.read_bytes()
    damage(file)
    assert file.read_bytes() != good
    assert np.array_equal(every(factors.load("dsprites"))[..., 0], tiny_sprites())
    assert file.read_bytes() == good and list(cache.iterdir()) == [file]


def test_a_cache_that_cannot_be_written(tiny, cache, monkeypatch):
    monkeypatch.setattr(dsprites, "ON_DEMAND", 0)
    cache.write_text("a file where the folder should be")
    with pytest.raises(OSError) as error:
        every(factors.load("dsprites"))
    assert "Set it to a folder with room" in only_sentence(error)
    cache.unlink()
    full = types.SimpleNamespace(free=1000)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda path: full)
    with pytest.raises(OSError, match="0.0 MB are free and 0.1 needed"):
        every(factors.load("dsprites"))
    assert list(cache.iterdir()) == []


def test_an_interrupted_rendering_leaves_nothing(tiny, cache, monkeypatch):
    monkeypatch.setattr(dsprites, "ON_DEMAND", 0)

    def interrupt(*sprite):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dsprites, "render_all_positions", interrupt)
        with pytest.raises(KeyboardInterrupt):
            every(factors.load("dsprites"))
    assert list(cache.iterdir()) == []
    assert np.array_equal(every(factors.load("dsprites"))[..., 0], tiny_sprites())


def test_a_machine_that_renders_otherwise(tiny, cache, monkeypatch):
    monkeypatch.setattr(dsprites, "ON_DEMAND", 0)
    monkeypatch.setattr(dsprites, "CHECKSUM", "0" * 64)
    with pytest.raises(RuntimeError, match="must have the checksum 000.*Received"):
        every(factors.load("dsprites"))
    assert list(cache.iterdir()) == []


# Published files


class Trap:
    """Unpickled, it would fail the test."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def write_npz(folder, name=NPZ, **changes):
    folder.mkdir(exist_ok=True)
    arrays = {
        "metadata": np.array(Trap(), dtype=object),
        "imgs": tiny_sprites().astype(np.uint8),
        "latents_classes": np.insert(grid("dsprites"), 0, 0, axis=1),
        "latents_values": np.zeros((144, 6)),
    }
    arrays.update(changes)
    arrays = {key: array for key, array in arrays.items() if array is not None}
    np.savez_compressed(folder / name, **arrays)
    return folder / name


@pytest.mark.parametrize("sub", ["", "dsprites"])
def test_the_published_sprites(tiny, tmp_path, sub):
    write_npz(tmp_path / sub)
    dataset = factors.load("dsprites", tmp_path)
    assert dataset.source == f"{NPZ} in data_dir"
    assert "rendered" not in dataset.description
    assert np.array_equal(every(dataset)[..., 0], tiny_sprites())
    # Equal pixels, equal checksum, wherever they come from.
    assert dataset.checksum == factors.load("dsprites").checksum


def test_the_published_sprites_made_dependent(tiny, tmp_path):
    write_npz(tmp_path)
    dataset = factors.load("dsprites_dependent", tmp_path, seed=1)
    assert dataset.source == f"{NPZ} in data_dir" and len(dataset) < 144
    expected = dsprites.render(dataset.factors(np.arange(len(dataset))))
    assert np.array_equal(every(dataset)[..., 0], expected)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"imgs": None}, "keys imgs, latents_classes. Received: the keys metadata"),
        ({"imgs": np.zeros((3, 64, 64), "u1")}, "Received: uint8 of shape (3, 64, 64)"),
        ({"imgs": np.zeros((144, 64, 64))}, "Received: float64 of shape"),
        ({"imgs": np.full((144, 64, 64), Trap())}, "Received: object of shape"),
        ({"imgs": np.full((144, 64, 64), 255, "u1")}, "Received: pixels up to 255"),
        ({"imgs": np.zeros((64, 64, 144), "u1").T}, "stored column by column"),
        ({"latents_classes": np.zeros((144, 6), int)}, "in the published order"),
        (
            {"latents_classes": np.zeros((144, 5), int)},
            "others, int64 of shape (144, 5)",
        ),
        ({"latents_classes": np.full((144, 6), Trap())}, "Received: others, object"),
    ],
)
def test_wrong_npz_files(tiny, tmp_path, changes, sentence):
    path = write_npz(tmp_path, **changes)
    with pytest.raises(ValueError) as error:
        factors.load("dsprites", tmp_path)
    text = only_sentence(error)
    assert str(path) in text and sentence in text and "Fetch or make" in text


def test_damaged_npz_files(tiny, tmp_path):
    path = write_npz(tmp_path)
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    for damaged in (b"", b"no archive", content[:middle], flipped):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="readable .npz archive. Received: damage"):
            factors.load("dsprites", tmp_path)


def scene_labels():
    values = [
        np.linspace(0, 0.9, 10),
        np.linspace(0, 0.9, 10),
        np.linspace(0, 0.9, 10),
        np.linspace(0.75, 1.25, 8),
        np.arange(4.0),
        np.linspace(-30, 30, 15),
    ]
    columns = zip(values, grid("shapes3d").T, strict=True)
    return np.stack([value[column] for value, column in columns], axis=1)


def write_h5(folder, chunks=(15, 4, 4, 1), **changes):
    arrays = {"images": tiny_scenes(), "labels": scene_labels()} | changes
    packing = {"images": {"chunks": chunks, "compression": chunks and "gzip"}}
    with h5py.File(folder / "3dshapes.h5", "w") as file:
        for key, array in arrays.items():
            if array is not None:
                how = packing.get(key, {}) if array.ndim == 4 else {}
                file.create_dataset(key, data=array, **how)
    return folder / "3dshapes.h5"


@pytest.mark.parametrize("chunks", [(15, 4, 4, 1), None])
def test_the_published_scenes(tiny, tmp_path, chunks):
    write_h5(tmp_path, chunks)
    dataset = factors.load("shapes3d", tmp_path)
    assert dataset.source == "3dshapes.h5 in data_dir" and len(dataset) == 48
    assert np.allclose(every(dataset), tiny_scenes() / 255)
    rows = [40, 3, 3, 47, 0]
    assert np.allclose(dataset.images(rows), tiny_scenes()[rows] / 255)
    assert dataset.images(np.zeros(0, int)).shape == (0, 64, 64, 3)
    rendered = factors.load("shapes3d_rendered")
    assert np.array_equal(every(rendered), every(dataset))


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"labels": None}, "keys images, labels. Received: the keys images"),
        (
            {"images": np.zeros((48, 64, 64), "u1")},
            ": uint8 of shape (48, 64, 64)",
        ),
        ({"images": np.zeros((48, 64, 64, 3), "f4")}, "Received: float32 of shape"),
        ({"labels": np.zeros((48, 6))}, "in the published order"),
        ({"labels": np.zeros((48, 5))}, "Received: float64 of shape (48, 5)"),
    ],
)
def test_wrong_h5_files(tiny, tmp_path, changes, sentence):
    path = write_h5(tmp_path, **changes)
    with pytest.raises(ValueError) as error:
        factors.load("shapes3d", tmp_path)
    text = only_sentence(error)
    assert str(path) in text and sentence in text


def make_group(file, folder):
    file.create_group("images")


def make_type(file, folder):
    file["images"] = np.dtype("u1")


def make_soft_link(file, folder):
    file["other"] = tiny_scenes()
    file["images"] = h5py.SoftLink("/other")


def make_external_link(file, folder):
    file["images"] = h5py.ExternalLink("elsewhere.h5", "/images")


def make_external_bytes(file, folder):
    # The bytes of any file of the machine, as if they were pixels.
    (folder / "secret").write_bytes(bytes(48 * 64 * 64 * 3))
    external = [(str(folder / "secret"), 0, 48 * 64 * 64 * 3)]
    file.create_dataset("images", (48, 64, 64, 3), "u1", external=external)


def make_virtual(file, folder):
    layout = h5py.VirtualLayout((48, 64, 64, 3), "u1")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "images", (48, 64, 64, 3))
    file.create_virtual_dataset("images", layout)


def make_one_chunk(file, folder):
    shape = (48, 64, 64, 3)
    file.create_dataset("images", shape, "u1", chunks=shape, compression="gzip")


@pytest.mark.parametrize(
    "make, sentence",
    [
        (make_group, "an array images. Received: a Group"),
        (make_type, "an array images. Received: a Datatype"),
        (make_soft_link, "no links. Received: images as a SoftLink"),
        (make_external_link, "no links. Received: images as a ExternalLink"),
        (make_external_bytes, "Received: a pointer to other files"),
        (make_virtual, "Received: a pointer to other files"),
        (make_one_chunk, "at most 500000 bytes. Received: chunks of shape (48,"),
    ],
)
def test_h5_files_hold_their_numbers_themselves(
    tiny, tmp_path, monkeypatch, make, sentence
):
    monkeypatch.setattr(shapes3d, "MOST_CHUNK", 500_000)
    with h5py.File(tmp_path / "3dshapes.h5", "w") as file:
        file["labels"] = scene_labels()
        make(file, tmp_path)
    with pytest.raises(ValueError) as error:
        factors.load("shapes3d", tmp_path)
    assert sentence in only_sentence(error)


def test_the_published_scenes_are_unpacked_once(tiny, tmp_path, cache, monkeypatch):
    path = write_h5(tmp_path)
    first = every(factors.load("shapes3d", tmp_path))
    (file,) = cache.glob("*.npy")
    assert np.array_equal(np.load(file), tiny_scenes())
    unpack, starts = h5py.Dataset.__getitem__, []

    def counted(dataset, key):
        starts.append(dataset.name)
        return unpack(dataset, key)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    assert np.array_equal(every(factors.load("shapes3d", tmp_path)), first)
    assert starts == ["/labels"]
    # Other images are another file, whatever lies in the cache.
    path.unlink()
    write_h5(tmp_path, images=255 - tiny_scenes())
    found = every(factors.load("shapes3d", tmp_path))
    np.testing.assert_allclose(found, 1 - first, rtol=1e-6)
    # By rows of chunks: 48 images in chunks of 15.
    assert starts.count("/images") == 4


def test_a_damaged_chunk_is_told(tiny, tmp_path, cache):
    path = write_h5(tmp_path)
    with h5py.File(path) as file:
        chunk = file["images"].id.get_chunk_info(700)
    content = bytearray(path.read_bytes())
    for i in range(chunk.byte_offset, chunk.byte_offset + chunk.size):
        content[i] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        factors.load("shapes3d", tmp_path)
    text = only_sentence(error)
    assert "must hold readable images. Received: damage" in text and str(path) in text
    assert list(cache.iterdir()) == []


def test_damaged_h5_files(tiny, tmp_path):
    path = write_h5(tmp_path)
    content = path.read_bytes()
    for damaged in (b"", b"no file", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="a readable HDF5 file. Received: damage"):
            factors.load("shapes3d", tmp_path)


def test_nothing_takes_a_missing_files_place(tmp_path):
    for name in ("dsprites", "dsprites_dependent", "shapes3d"):
        with pytest.raises(FileNotFoundError) as error:
            factors.load(name, tmp_path)
        assert f"data_dir must hold {name}: " in only_sentence(error)
        with pytest.raises(FileNotFoundError, match="which is no folder"):
            factors.load(name, tmp_path / "missing")
    with pytest.raises(FileNotFoundError) as error:
        factors.load("shapes3d")
    text = only_sentence(error)
    assert "Received: neither" in text and "'shapes3d_rendered'" in text


# TensorFlow Datasets


def tfds_with(monkeypatch, folder, prepared=True, drop=0, twice=0):
    """A stand-in for TensorFlow Datasets, its images in an order of their own."""
    if prepared:
        (folder / "dataset_info.json").write_text("{}")
    labels = {
        "dsprites": ["shape", "scale", "orientation", "x_position", "y_position"],
        "shapes3d": list(TINY["shapes3d"]),
    }

    def builder(name):
        order = np.random.RandomState(3).permutation(len(grid(name)))[drop:]
        order = np.concatenate([order, order[:twice]])
        images = {"dsprites": tiny_sprites, "shapes3d": tiny_scenes}[name]()
        images = images.reshape(len(images), 64, 64, -1).astype(np.uint8)[order]
        columns = grid(name)[order].T
        fields = {f"label_{k}": c for k, c in zip(labels[name], columns, strict=True)}
        fields["image"] = images

        def as_dataset(split, batch_size, shuffle_files):
            assert split == "train"
            for start in range(0, len(order), 40):
                yield {k: v[start : start + 40] for k, v in fields.items()}

        return types.SimpleNamespace(
            data_dir=str(folder),
            info=types.SimpleNamespace(version="2.0.0"),
            as_dataset=as_dataset,
        )

    module = types.SimpleNamespace(builder=builder, as_numpy=lambda batches: batches)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)


@pytest.mark.parametrize("name", ["dsprites", "shapes3d"])
def test_tensorflow_datasets(tiny, tmp_path, cache, monkeypatch, name):
    tfds_with(monkeypatch, tmp_path)
    dataset = factors.load(name)
    assert dataset.source == f"TensorFlow Datasets {name}:2.0.0"
    expected = {"dsprites": tiny_sprites, "shapes3d": tiny_scenes}[name]()
    images = np.round(every(dataset) * (1 if name == "dsprites" else 255))
    assert np.array_equal(images.squeeze(), expected)
    # Put in order once: the second time the images are not asked for.
    tfds_with(monkeypatch, tmp_path, drop=10)
    again = factors.load(name)
    assert again.checksum == dataset.checksum
    assert np.array_equal(every(again), every(dataset))
    # A damaged file, or a lost checksum, has it done again: then the gap is seen.
    (cache / f"{name}_tfds_2.0.0.sha256").unlink()
    with pytest.raises(ValueError, match="Received: 10 of them missing or repeated"):
        factors.load(name)
    tfds_with(monkeypatch, tmp_path, twice=2)
    with pytest.raises(ValueError, match="Received: 2 of them missing or repeated"):
        factors.load(name)


def test_tensorflow_datasets_without_a_copy(tiny, tmp_path, monkeypatch):
    tfds_with(monkeypatch, tmp_path, prepared=False)
    assert factors.load("dsprites").source == "dSprites, rendered"
    with pytest.raises(FileNotFoundError, match="'shapes3d_rendered'"):
        factors.load("shapes3d")
