"""Resizing and binarization of pixels, to the last bit the same on every machine."""

import numpy as np

BINARIZE = ("none", "static", "dynamic", "threshold")
TREATMENTS = {
    "none": "grey pixels",  # where there is one channel
    "static": "binary, sampled once",
    "dynamic": "grey for training, to be sampled in every epoch; else sampled once",
    "threshold": "binary, thresholded at 0.5",
}


def binarize(
    how: str, seed: int, splits: list[np.ndarray | None]
) -> list[np.ndarray | None]:
    """Binarizes training, validation and test images in one of the ways of BINARIZE."""
    treated = []
    for split, x in enumerate(splits):
        if x is None or how == "none" or (how == "dynamic" and split == 0):
            treated.append(x)
        elif how == "threshold":
            treated.append((x > 0.5).astype(np.float32))
        else:
            treated.append(_bernoulli(x, [seed, split]))
    return treated


def _bernoulli(x: np.ndarray, seed: list[int]) -> np.ndarray:
    # RandomState and not Generator: NumPy promises never to change its streams.
    # In pieces, so that the float64 uniforms need little memory.
    random = np.random.RandomState(seed)
    out = np.empty_like(x)
    for i in range(0, len(x), 1000):
        piece = x[i : i + 1000]
        out[i : i + 1000] = random.random_sample(piece.shape) < piece
    return out


def bilinear_8_to_28(x: np.ndarray) -> np.ndarray:
    """Digits (n, 8, 8) of 0 to 16 as float32 (n, 28, 28, 1) in [0, 1]."""
    # In fourteenths of an input pixel, output centre i lies at 4i - 5.
    at = np.clip(4 * np.arange(28) - 5, 0, 14 * 7)
    weights = np.maximum(0, 14 - abs(at[:, None] - 14 * np.arange(8)))
    return _resize(x, weights, 16 * 14**2)


def area_105_to_28(x: np.ndarray) -> np.ndarray:
    """Images (n, 105, 105) of 0 to 255, averaged to (n, 28, 28, 1) in [0, 1]."""
    # In quarters of an input pixel, output pixel i covers [15i, 15i + 15].
    out, into = 15 * np.arange(28)[:, None], 4 * np.arange(105)
    weights = np.minimum(out + 15, into + 4) - np.maximum(out, into)
    return _resize(x, np.maximum(0, weights), 15**2 * 255)


def _resize(x: np.ndarray, weights: np.ndarray, total: int) -> np.ndarray:
    # Weights and pixels are small integers, so float64 products and sums are exact
    # and every machine gets the same image.
    weights = weights.astype(np.float64)
    x = weights @ x.astype(np.float64) @ weights.T
    return (x / total).astype(np.float32)[..., None]
