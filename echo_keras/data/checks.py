"""What images and labels must be, and the sentence that says where they are not."""

from collections.abc import Mapping

import numpy as np

from echo_keras.layers import arguments


def check_images(
    x: np.ndarray, name: str = "x", shape: tuple[int, int, int] | None = None
) -> np.ndarray:
    """Returns images as float32 in [0, 1] with a channel axis, or says what is wrong.

    Args:
        x: array of shape `(n, height, width)` or `(n, height, width, channels)`,
            n >= 1: floats in [0, 1], booleans, or uint8 in 0..255, which is divided
            by 255.
        name: what to call `x` in an error.
        shape: the `(height, width, channels)` that each image must have, or `None`.

    Returns:
        A float32 array of shape `(n, height, width, channels)`.

    Raises:
        ValueError: another type or shape, no images, NaN, values outside [0, 1], or
            uint8 images without any value above 1, which are scaled already.

    Example:

    >>> check_images(np.full((2, 28, 28), 255, "uint8")).max()
    np.float32(1.0)
    >>> check_images(np.full((2, 28, 28), 255.0), "my images")
    Traceback (most recent call last):
    ...
    ValueError: my images must hold pixels in [0, 1]. Received: values from 255 to \
255. Divide by 255 if they are 8-bit images.
    """

    def wrong(expected, found, do):
        return ValueError(f"{name} must hold {expected}. Received: {found}. {do}.")

    if shape is not None:
        shape = arguments.integers("shape", shape, length=3)
    try:
        x = np.asarray(x)
    except ValueError as error:  # a list of rows of several lengths
        raise wrong("an array", error, "Convert the images first") from None
    if not (x.dtype == np.uint8 or x.dtype == bool or x.dtype.kind == "f"):
        raise wrong(
            "floats in [0, 1], booleans or uint8 in 0..255",
            f"dtype {x.dtype}",
            "Convert the images first",
        )
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or (shape is not None and x.shape[1:] != tuple(shape)):
        wanted = "(n, height, width) or (n, height, width, channels)"
        if shape is not None:
            wanted = "(n, " + ", ".join(map(str, shape)) + ")"
        do = "Reshape or resize them first"
        raise wrong(f"images of shape {wanted}", f"shape {x.shape}", do)
    if x.size == 0:
        do = "Check how the array was cut"
        raise wrong("at least one image and one pixel", f"shape {x.shape}", do)
    low, high = x.min(), x.max()
    if x.dtype == np.uint8:
        if high == 1:
            do = "Convert images that are scaled already to float32 or bool"
            raise wrong("uint8 pixels in 0..255", "none above 1", do)
        return x / np.float32(255)
    if np.isnan(low):  # min and max both hand NaN on
        bad = int(np.isnan(x).any(axis=(1, 2, 3)).sum())
        do = "Remove or repair these images"
        raise wrong("pixels in [0, 1]", f"NaN in {bad} of {len(x)} images", do)
    if low < 0 or high > 1:
        do = "Divide by 255 if they are 8-bit images"
        if low < 0:
            do = "Shift and scale them to [0, 1]"
        raise wrong("pixels in [0, 1]", f"values from {low:g} to {high:g}", do)
    return x.astype(np.float32)


def check_labels(y: np.ndarray | None, n: int, name: str) -> np.ndarray | None:
    """Returns labels as int64 (n,), None for None; raises ValueError for others."""
    if y is None:
        return None
    if y.shape != (n,) or y.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must hold {n} integer labels, one for each image. Received: shape "
            f"{y.shape} and dtype {y.dtype}. Make the file again."
        )
    if len(y) and not 0 <= y.min() <= y.max() < 10**6:
        raise ValueError(
            f"{name} must hold labels from 0 to 999,999. Received: {y.min()} to "
            f"{y.max()}. Make the file again."
        )
    return y.astype(np.int64)


def check_limit(name: str, limit: int | None, n_train: int) -> None:
    """Raises ValueError where there are not as many training images."""
    if limit is not None and limit > n_train:
        raise ValueError(
            f"limit must be at most {n_train}, the training images of {name!r}. "
            f"Received: limit={limit}"
        )


def check_factors(factors: np.ndarray, sizes: Mapping[str, int]) -> np.ndarray:
    """Returns factors as int64 (n, k), or says what is wrong with them."""
    factors = np.asarray(factors)
    if factors.dtype.kind not in "iu" or factors.ndim != 2:
        raise ValueError(
            f"factors must be integers of shape (n, {len(sizes)}). Received: "
            f"{factors.dtype} of shape {factors.shape}"
        )
    if factors.shape[1] != len(sizes):
        raise ValueError(
            f"factors must have {len(sizes)} columns ({', '.join(sizes)}). Received: "
            f"{factors.shape[1]}"
        )
    for column, (name, size) in zip(factors.T, sizes.items(), strict=True):
        if column.size and not (column.min() >= 0 and column.max() < size):
            raise ValueError(
                f"factors must be indices, of {name} from 0 to {size - 1}. Received: "
                f"{column.min()} to {column.max()}"
            )
    return factors.astype(np.int64)
