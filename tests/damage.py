"""Damaged and forged files, and how their readers answer; run as a script.

`python tests/damage.py KIND FIRST LAST` reads the mutations of these numbers and prints
one JSON line for each: a damaged file must not be able to end the tests themselves.
"""

import gzip
import io
import json
import pathlib
import resource
import struct
import sys
import tempfile
import zipfile
import zlib

import numpy as np

from echo_keras import codec, data
from echo_keras.data import factors, shapes3d

BYTES = (0, 1, 2, 8, 15, 127, 128, 255)


def mutated(content, rng, where):
    """Other bytes at one to four of the places; half of them of a telling value."""
    content = bytearray(content)
    for place in rng.choice(where, rng.randint(1, 5)):
        value = rng.choice(BYTES) if rng.rand() < 0.5 else rng.randint(256)
        content[place] = value
    return bytes(content)


def images(n):
    return np.random.RandomState(n).randint(0, 256, (n, 28, 28)).astype("uint8")


def mat(folder, rng):
    import scipy.io

    arrays = {
        key: images(n).reshape(n, 784).T / 255.0
        for key, n in {"target": 2, "data": 4, "testdata": 3}.items()
    }
    file = io.BytesIO()
    scipy.io.savemat(file, arrays)
    head, matrices, begin = file.getvalue()[:128], [], 128
    while begin < len(file.getvalue()):
        (size,) = struct.unpack_from("<I", file.getvalue(), begin + 4)
        matrices.append(file.getvalue()[begin : begin + 8 + size])
        begin += 8 + size
    which = rng.randint(3)
    if rng.rand() < 0.2:
        head = mutated(head, rng, range(116, 128))
    else:  # tags, flags, shape and name; the numbers' tag
        matrices[which] = mutated(matrices[which], rng, range(64))
    zipped = rng.rand() < 0.5  # with the checksum of what is there
    if zipped:
        parts = map(zlib.compress, matrices)
        matrices = [struct.pack("<II", 15, len(part)) + part for part in parts]
        if rng.rand() < 0.3:
            matrices[which] = mutated(matrices[which], rng, range(12))
    (folder / "chardata.mat").write_bytes(head + b"".join(matrices))
    return lambda: data.load("omniglot", folder)


def npz(folder, rng):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, n in {"x_train": 4, "x_test": 2}.items():
            array = io.BytesIO()
            np.save(array, images(n))
            content = array.getvalue()
            if key == "x_train" and rng.rand() < 0.8:
                content = mutated(content, rng, range(100))
            archive.writestr(f"{key}.npy", content)
    content = file.getvalue()
    if rng.rand() < 0.3:
        where = [*range(40), *range(len(content) - 150, len(content))]
        content = mutated(content, rng, where)
    (folder / "mnist.npz").write_bytes(content)
    return lambda: data.load("mnist", folder)


def gz(folder, rng):
    for name, n in {"train": 6, "t10k": 2}.items():
        content = struct.pack(">4B3I", 0, 0, 8, 3, n, 28, 28) + images(n).tobytes()
        if name == "train":
            content = mutated(content, rng, range(16))
        content = gzip.compress(content)
        if name == "train" and rng.rand() < 0.3:
            content = mutated(content, rng, [*range(10), *range(-8, 0)])
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(content)
    return lambda: data.load("mnist", folder)


def h5(folder, rng):
    import h5py

    sizes = dict(floor_hue=2, wall_hue=2, object_hue=2, scale=2, shape=2, orientation=1)
    shapes3d.GRID = sizes
    values = [shapes3d.LABELS[name][:size] for name, size in sizes.items()]
    labels = np.stack(np.meshgrid(*values, indexing="ij"), axis=-1).reshape(32, 6)
    path = folder / "3dshapes.h5"
    with h5py.File(path, "w") as file:
        chunks = {"chunks": (8, 16, 16, 3), "compression": "gzip"}
        file.create_dataset("images", data=np.zeros((32, 64, 64, 3), "u1"), **chunks)
        file.create_dataset("labels", data=labels)
    content = path.read_bytes()
    # What is not zero of the first blocks: superblock, headers, names, trees.
    where = [i for i in range(min(len(content), 6000)) if content[i]]
    path.write_bytes(mutated(content, rng, where))
    return lambda: factors.load("shapes3d", folder)


def codes(folder, rng):
    from echo_keras.layers import VectorQuantizer

    skewed = rng.rand() < 0.5
    layer = VectorQuantizer(4, groups=2, seed=0)
    layer.build((None, 2))
    if skewed:
        layer.frequencies.assign([[1.0, 0.0, 0.0, 0.0], [0.97, 0.01, 0.01, 0.01]])
    content = codec.pack(layer, np.zeros((50, 3, 2), "int32"))
    kind = rng.randint(4)
    if kind == 0:
        content = content[:42] + bytes(4 * rng.randint(40))
    elif kind == 1:
        content += content[42:]
    where = [i for i in range(4, 42) if not 26 <= i < 30]
    content = mutated(content, rng, where)
    if rng.rand() < 0.7:  # else few reach what lies behind it
        content = content[:18] + codec.pack(layer, [[[0, 0]]])[18:26] + content[26:]
    crc = zlib.crc32(content[30:], zlib.crc32(content[:26]))
    content = content[:26] + struct.pack("<I", crc) + content[30:]
    return lambda: codec.unpack(layer, content)


def peak():
    """The most memory that this process took, in MB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def outcome(kind, number):
    """How one mutation ends: "accepted", "sentence", or what else was raised."""
    rng = np.random.RandomState([number, sum(map(ord, kind))])
    with tempfile.TemporaryDirectory() as folder:
        read = globals()[kind](pathlib.Path(folder), rng)
        try:
            read()
        except ValueError as error:
            text = str(error)
            # One of ours, which says what was expected, what came and what to do.
            ours = " must " in text and "Received: " in text and "\n" not in text
            return "sentence" if ours else f"ValueError: {text[:90]}"
        except BaseException as error:
            return f"{type(error).__name__}: {str(error)[:90]}"
    return "accepted"


if __name__ == "__main__":
    first, last = map(int, sys.argv[2:4])
    for kind in sys.argv[1].split(","):
        for number in range(first, last):
            print(json.dumps([kind, number, "began", peak()]), flush=True)
            print(json.dumps([kind, number, outcome(kind, number), peak()]), flush=True)
