"""The table of data sets: a new one is one entry here, and nothing else."""

import numpy as np

from . import blocks
from .celeba import LIST, faces, read_celeba
from .downloads import KerasDataset, KerasFiles, TensorFlowDataset
from .entry import Entry, Files, Raw
from .omniglot import ink, read_omniglot_alphabets
from .pixels import bilinear_8_to_28
from .readers import (
    Npz,
    read_amat_files,
    read_chardata,
    read_cifar_files,
    read_idx_files,
)

_DIGITS_SEED, _BLOCKS_SEED = 1797, 1711


def _digits() -> Raw:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = bilinear_8_to_28(digits.images)
    order = np.random.RandomState(_DIGITS_SEED).permutation(len(x))
    train, test = order[:1297], order[1297:]
    return Raw(
        x[train],
        x[test],
        "scikit-learn load_digits",
        y_train=digits.target[train],
        y_test=digits.target[test],
    )


def _blocks() -> Raw:
    x = blocks.draw(20_000, seed=_BLOCKS_SEED)
    return Raw(x[:10_000], x[10_000:], "drawn from its law")


_IDX = Files(("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"), read_idx_files)
_AMAT = Files(
    tuple(f"binarized_mnist_{part}.amat" for part in ("train", "valid", "test")),
    read_amat_files,
)
_KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"

# Of the first images of each part, see `Entry.heads`. Omniglot's are of the
# area-averaged archive, and of the order of its files.
_HEADS = {
    "binary_mnist": {
        "training": "1ba86408fd801677",
        "validation": "52aa5cd806c7e0c4",
        "test": "cf6b709f3c649cbc",
    },
    "mnist": {
        "training": "991d1fabb5ccf95c",
        "test": "0678d37d56a66e06",
    },
    "fashion_mnist": {
        "training": "fab980f182883fe7",
        "test": "101b34d8580144d1",
    },
    "omniglot": {
        "training": "25d463f909569056",
        "test": "e12bf5cc6c79ae70",
    },
    "cifar10": {
        "training": "60bed30ede6cb032",
        "test": "5126f4bbdf06ae88",
    },
}

DATASETS: dict[str, Entry] = {
    "digits": Entry(
        "scikit-learn's handwritten digits, 8x8 resized bilinearly to 28x28",
        embedded=_digits,
        binarize="static",
        seed=_DIGITS_SEED,
    ),
    "blocks": Entry(
        "four independent blocks of 4x4 pixels, of which the entropy is known",
        embedded=_blocks,
        shape=(8, 8, 1),
        binary=True,
        binarize="static",
        counts=(10_000, 10_000),
        fingerprint="a3ad82719449386253338ad66e0696b2a7ee39ce676088295b5714007acf3b81",
    ),
    "binary_mnist": Entry(
        "MNIST as binarised by Larochelle and Murray",
        files=(
            Files(("binary_mnist.npz",), Npz(needed=("x_valid",))),
            _AMAT,
        ),
        downloads=(
            KerasFiles(
                _AMAT,
                "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",
                (
                    "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
                    "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
                    "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
                ),
            ),
            TensorFlowDataset(
                "binarized_mnist", "http://www.cs.toronto.edu", validation=True
            ),
        ),
        binary=True,
        binarize="static",
        counts=(50_000, 10_000),
        fingerprint="2314b6d2f2fc0d03107ed3dc5b5a0d03d71e4bade2788675bc2d6cc57650debe",
        heads=_HEADS["binary_mnist"],
    ),
    "mnist": Entry(
        "MNIST",
        files=(Files(("mnist.npz",), Npz()), _IDX),
        downloads=(
            KerasDataset("mnist", ("mnist.npz",), _KERAS),
            TensorFlowDataset("mnist", "https://storage.googleapis.com"),
        ),
        validation=6,
        counts=(60_000, 10_000),
        fingerprint="d27fb91380ff036e93126fddb1fc6037e178683a6d3d702bd6655b27bcd0ac69",
        heads=_HEADS["mnist"],
    ),
    "omniglot": Entry(
        "Omniglot",
        files=(
            Files(
                ("omniglot.npz",),
                Npz(
                    note="area-averaged Omniglot, not the chardata.mat of Burda et al. "
                    "with its 8070 test images",
                    counts=(24_345, 8_115),
                ),
            ),
            Files(("chardata.mat",), read_chardata),
        ),
        downloads=(
            TensorFlowDataset(
                "omniglot",
                "https://github.com",
                label="alphabet",
                images=ink,
                note="area-averaged Omniglot split by alphabet, not the chardata.mat "
                "of Burda et al.",
                counts=(19_280, 13_180),
            ),
        ),
        heads=_HEADS["omniglot"],
    ),
    "fashion_mnist": Entry(
        "Fashion-MNIST",
        files=(Files(("fashion_mnist.npz",), Npz()), _IDX),
        downloads=(
            KerasDataset(
                "fashion_mnist",
                tuple(
                    f"fashion-mnist/{part}-ubyte.gz"
                    for part in (
                        "train-labels-idx1",
                        "train-images-idx3",
                        "t10k-labels-idx1",
                        "t10k-images-idx3",
                    )
                ),
                _KERAS,
            ),
            TensorFlowDataset(
                "fashion_mnist",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            ),
        ),
        validation=6,
        counts=(60_000, 10_000),
        fingerprint="992edc8d4846acab64638421bbb1762a3f5c38e674dff7da66f0c45833851297",
        heads=_HEADS["fashion_mnist"],
    ),
    "cifar10": Entry(
        "CIFAR-10",
        files=(
            Files(("cifar10.npz",), Npz()),
            Files(
                (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
                read_cifar_files,
            ),
            # A part, only where there is no whole.
            Files(("cifar10_10k.npz",), Npz()),
        ),
        downloads=(
            KerasDataset(
                "cifar10",
                (
                    "cifar-10-batches-py-target_archive",
                    "cifar-10-batches-py-target/cifar-10-batches-py/test_batch",
                ),
                "https://www.cs.toronto.edu",
            ),
            TensorFlowDataset("cifar10", "https://www.cs.toronto.edu"),
        ),
        shape=(32, 32, 3),
        counts=(50_000, 10_000),
        folder="cifar-10-batches-bin",
        heads=_HEADS["cifar10"],
    ),
    # Faces without labels; the test images are CelebA's own.
    "celeba": Entry(
        "CelebA, aligned faces, centre crop of 140x140 resized bilinearly to 64x64",
        files=(
            Files(("celeba.npz",), Npz(optional=("x_valid",))),
            Files((LIST, "img_align_celeba/"), read_celeba),
            Files((LIST, "img_align_celeba.zip"), read_celeba),
        ),
        downloads=(
            TensorFlowDataset(
                "celeb_a", "https://drive.google.com", images=faces, validation=True
            ),
        ),
        shape=(64, 64, 3),
        partial=True,
        counts=(162_770, 19_962),
    ),
    # Labels are characters, 0 to 1622, without the rotated copies of the VIMAE paper.
    "omniglot_alphabets": Entry(
        "area-averaged Omniglot, 30 alphabets for training and 20 for test",
        files=(Files(("omniglot.npz",), read_omniglot_alphabets),),
        downloads=(TensorFlowDataset("omniglot", "https://github.com", images=ink),),
        counts=(19_280, 13_180),
        folder="omniglot",
        hint="chardata.mat, which names no alphabets, cannot replace it. ",
    ),
}
