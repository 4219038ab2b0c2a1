"""Small data sets as their authors' files, for the tests of `echo_keras.data`."""

import gzip
import io
import struct
import zipfile

import numpy as np
from PIL import Image

SPLITS = ("x_train", "x_valid", "x_test")


def grey(n, seed=0):
    x = np.random.RandomState(seed).randint(0, 256, (n, 28, 28))
    return x.astype("uint8")


def unit(x):
    """uint8 images as `load` should return them."""
    return (x / 255).astype("float32").reshape(-1, 28, 28, 1)


def idx_bytes(array):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def write_idx(folder, x_train, x_test, zipped=True):
    folder.mkdir(exist_ok=True)
    files = {
        "train-images-idx3-ubyte": x_train,
        "train-labels-idx1-ubyte": np.arange(len(x_train), dtype="uint8"),
        "t10k-images-idx3-ubyte": x_test,
        "t10k-labels-idx1-ubyte": np.arange(len(x_test), dtype="uint8"),
    }
    for name, array in files.items():
        content = idx_bytes(array)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / name).write_bytes(content)


def write_amat(folder, **splits):
    for split, x in splits.items():
        lines = (" ".join(map(str, row)) + " \n" for row in x.reshape(len(x), -1))
        (folder / f"binarized_mnist_{split}.amat").write_text("".join(lines))


def write_npz(path, **changes):
    arrays = {
        "x_train": grey(12),
        "x_test": grey(3, 1),
        "y_train": np.arange(12),
        "y_test": np.arange(3),
    }
    arrays.update(changes)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return arrays


def colour(n, height, width, seed=0):
    x = np.random.RandomState(seed).randint(0, 256, (n, height, width, 3))
    return x.astype("uint8")


def write_cifar(folder, x, y, x_test, y_test):
    """The binary version: labels and planes, in five parts and one."""
    folder.mkdir(parents=True, exist_ok=True)
    fifth = len(x) // 5
    files = {
        f"data_batch_{i + 1}.bin": (x[i * fifth :][:fifth], y[i * fifth :][:fifth])
        for i in range(5)
    }
    files["test_batch.bin"] = x_test, y_test
    for file, (images, labels) in files.items():
        content = b""
        for image, label in zip(images, labels, strict=True):
            red, green, blue = image[..., 0], image[..., 1], image[..., 2]
            content += bytes([label]) + red.tobytes() + green.tobytes() + blue.tobytes()
        (folder / file).write_bytes(content)


CIFAR = colour(10, 32, 32), np.arange(10), colour(3, 32, 32, 1), np.array([9, 0, 4])


PARTS = [0, 2, 0, 1, 0, 0, 1, 2, 0]  # training, validation, test


def jpeg(image, **options):
    file = io.BytesIO()
    options = {"format": "JPEG", "quality": 95, "subsampling": 0} | options
    Image.fromarray(image).save(file, **options)
    return file.getvalue()


def faces(n):
    """Blotches of 30 pixels, which JPEG keeps well, in three colours."""
    x = np.random.RandomState(3).randint(0, 256, (n, 8, 6, 3))
    return x.repeat(30, 1).repeat(30, 2)[:, :218, :178].astype("uint8")


def write_celeba(folder, zipped=False, parts=PARTS):
    folder.mkdir(exist_ok=True)
    files = [f"{i + 1:06}.jpg" for i in range(len(parts))]
    contents = [jpeg(x) for x in faces(len(parts))]
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{file} {part}\n" for file, part in zip(files, parts, strict=True))
    )
    if zipped:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            archive.mkdir("img_align_celeba")
            for file, content in zip(files, contents, strict=True):
                archive.writestr(f"img_align_celeba/{file}", content)
        return
    (folder / "img_align_celeba").mkdir()
    for file, content in zip(files, contents, strict=True):
        (folder / "img_align_celeba" / file).write_bytes(content)


def only_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def truncate(path, keep=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(bytes(content))


def empty(path):
    path.write_bytes(b"")
