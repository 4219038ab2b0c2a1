"""Are codes of corrupted images still good for telling the images' classes?

A support vector machine is trained on the codes of a few labelled images, and tested
on the codes of others, clean and corrupted: Tables 2 to 4 of The Variational InfoMax
Autoencoder.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from echo_keras.layers import arguments

from .features import vectors

KINDS = ("gaussian", "mask")
# The columns of Table 3.
CORRUPTIONS = (("gaussian", 0.2), ("gaussian", 0.4), ("mask", 0.2), ("mask", 0.5))


def corrupt(x: np.ndarray, kind: str, amount: float, seed: int = 0) -> np.ndarray:
    """Adds noise to images, or blackens pixels.

    - "gaussian": `x + nu`, `nu ~ N(0, sigma^2)` for each pixel and
      channel, with `sigma` the amount. Values are not clipped: they leave [0, 1].
    - "mask": each pixel is set to 0, in all its channels, with probability `amount`.

    The same seed draws the same numbers whatever the amount: noise is only scaled,
    and the pixels masked at 0.2 are among those at 0.5.

    Args:
        x: Images (n, h, w, c).
        kind: One of `KINDS`.
        amount: Float, in the units of a pixel >= 0, or a probability in [0, 1]. At 0
            the images stay as they are.
        seed: Int in [0, 2^32 - 1].

    Returns:
        A new float32 array (n, h, w, c).

    Raises:
        ValueError: the images are of another shape, or contain NaN or infinity; the
            kind is unknown; or the amount is out of range.

    Example:

    >>> x = np.ones((1, 2, 4, 3))
    >>> corrupt(x, "mask", 0.5)[0, :, :, 0]
    array([[1., 1., 1., 1.],
           [0., 1., 0., 1.]], dtype=float32)

    References:
        The Variational InfoMax Autoencoder, Sec. 5.3.
    """
    x = arguments.array("x", x, "(n, h, w, c)", (4,))
    seed = arguments.seed(seed, optional=False)
    _check_corruption(kind, amount)
    x, random = x.astype("float32"), np.random.RandomState(seed)
    if kind == "mask":
        return x * (random.random_sample((*x.shape[:3], 1)) >= amount)
    return (x + amount * random.normal(size=x.shape)).astype("float32")


def _check_corruption(kind, amount):
    arguments.choice("kind", kind, KINDS)
    most = 1.0 if kind == "mask" else math.inf
    arguments.number("amount", amount, low=0, high=most)


def stratified_subset(y: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """A random subset of examples with the classes' frequencies, up to rounding.

    Args:
        y: Array (m,), the classes of all examples, each at least twice there.
        n: Int, how many to draw: m for all, or from the number of classes to m less
            that number.
        seed: Int in [0, 2^32 - 1].

    Returns:
        Ints (n,), indices of the examples, ascending, none twice.

    Raises:
        ValueError: y is of another shape, n is out of range, or a class has one
            example.

    Example:

    >>> rows = stratified_subset([7, 7, 7, 7, 5, 5], 3)
    >>> [[7, 7, 7, 7, 5, 5][i] for i in rows]
    [7, 7, 5]

    References:
        The Variational InfoMax Autoencoder, Sec. 5.3: 1,000 labelled examples.
    """
    y = np.asarray(y)
    if y.ndim != 1 or not len(y):
        raise ValueError(f"y must have shape (m,), m >= 1. Received: shape {y.shape}")
    n, seed = arguments.integer("n", n), arguments.seed(seed, optional=False)
    if n == len(y):
        return np.arange(n)
    try:
        rows, _ = train_test_split(
            np.arange(len(y)), train_size=int(n), stratify=y, random_state=seed
        )
    except ValueError as error:
        raise ValueError(
            f"n must take and leave an example of each class. Received: n={n} "
            f"of {len(y)} ({error})"
        ) from error
    return np.sort(rows)


def svm_accuracy(
    represent: Callable[[np.ndarray], np.ndarray] | keras.Model,
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    corruptions: Sequence[tuple[str, float]] = CORRUPTIONS,
    seed: int = 0,
    batch_size: int | None = None,
    labelled: int | None = None,
    draws: int = 1,
    **svc: Any,
) -> dict[str, float]:
    """Accuracy of a support vector machine on codes, of clean and corrupted images.

    The machine (scikit-learn's `SVC`, with radial basis functions) is trained on the
    codes of clean images, each dimension standardized by those codes. It sees neither
    the test images nor a corruption. Labels train nothing but the machine; whether the
    model that makes the codes has seen the test images is the caller's to say.

    Args:
        represent: Function from images, float32 (m, h, w, c), to codes (m, d), such
            as `representation` makes, or a Keras model. With
            `noisy=True` the codes are samples of q(z|x), as in the paper.
        x_train: Labelled images (n, h, w, c); `stratified_subset` chooses some.
        y_train: Their classes (n,), at least two.
        x_test, y_test: Images and classes to test on.
        corruptions: Pairs (kind, amount) for `corrupt`, applied to test images.
        seed: Int in [0, 2^32 - 1], of the corruptions and of the labelled sets. The
            same for two models, it shows them the same images.
        batch_size: Int >= 1, most images that `represent` receives at once; see
            `map_batches`.
        labelled: Int, how many of the labelled images train a machine, drawn by
            `stratified_subset`; all if None.
        draws: Int >= 1, machines, each of labelled images of its own. Which ones are
            drawn moves an accuracy by more than the number of test images does.
        **svc: Arguments of `SVC` in place of its own defaults, such as `C`.

    Returns:
        A dict of floats: "clean" and, for each corruption, "<kind> <amount>", such as
        "gaussian 0.2", the share of test images classified correctly, in [0, 1], the
        mean over draws; "clean_se" and so on, the binomial standard error
        `sqrt(p (1 - p) / n)` over the test images; and, of several draws,
        "clean_sd" and so on, the standard deviation over the labelled sets.

    Raises:
        ValueError: images and labels do not fit, there is one class only, labelled or
            draws is out of range, codes are not finite vectors, or a corruption is
            unknown, out of range or twice there.

    Example:

    >>> x = np.random.default_rng(0).random((100, 2, 2, 1))
    >>> y = x[:, 0, 0, 0] > np.median(x[:, 0, 0, 0])
    >>> flat = lambda images: images.reshape(len(images), -1)
    >>> result = svm_accuracy(flat, x, y, x, y, corruptions=[("mask", 1.0)], C=100)
    >>> result["clean"], result["mask 1"]
    (1.0, 0.5)

    References:
        The Variational InfoMax Autoencoder, Sec. 5.3 and Tables 2 to 4, after
        Kingma et al. (2014), who use a transductive machine; its training on the test
        images' codes is left out here.
    """
    x_train, y_train = _examples(x_train, y_train, "train")
    x_test, y_test = _examples(x_test, y_test, "test")
    if len(np.unique(y_train)) < 2:
        raise ValueError("y_train must hold at least two classes. Received: one")
    if y_test.dtype.kind != y_train.dtype.kind:
        raise ValueError(
            f"y_test must be of the dtype of y_train, {y_train.dtype}. Received: "
            f"{y_test.dtype}"
        )
    seed = arguments.seed(seed, optional=False)
    arguments.integer("labelled", labelled, optional=True)
    named = {}
    for kind, amount in _pairs(corruptions):
        _check_corruption(kind, amount)
        name = f"{kind} {amount:g}"
        if name in named:
            raise ValueError(f"corruptions must hold each once. Received: {name} twice")
        named[name] = kind, amount
    draws = arguments.integer("draws", draws)
    n = len(y_train) if labelled is None else labelled
    machines = []
    for draw in range(draws):
        rows = stratified_subset(y_train, n, seed + draw)
        machine = make_pipeline(StandardScaler(), SVC(**svc))
        codes = vectors(represent, x_train[rows], batch_size, "represent")
        machines.append(machine.fit(codes, y_train[rows]))
    result = {}
    for name, corruption in {"clean": None, **named}.items():
        x = x_test if corruption is None else corrupt(x_test, *corruption, seed)
        codes = vectors(represent, x, batch_size, "represent")
        found = [machine.score(codes, y_test) for machine in machines]
        p = result[name] = float(np.mean(found))
        result[f"{name}_se"] = math.sqrt(p * (1.0 - p) / len(y_test))
        if draws > 1:
            result[f"{name}_sd"] = float(np.std(found, ddof=1))
    return result


def _pairs(corruptions):
    is_list = isinstance(corruptions, (list, tuple))
    if not is_list or not all(
        isinstance(c, (list, tuple)) and len(c) == 2 for c in corruptions
    ):
        raise ValueError(
            f"corruptions must be a list of pairs (kind, amount). Received: "
            f"corruptions={corruptions!r:.100}"
        )
    return corruptions


def _examples(x, y, name):
    x, y = arguments.array(f"x_{name}", x, "(n, h, w, c)"), np.asarray(y)
    if x.ndim != 4 or not len(x) or y.shape != x.shape[:1]:
        raise ValueError(
            f"x_{name} must have shape (n, h, w, c), n >= 1, and y_{name} shape (n,). "
            f"Received: {x.shape} and {y.shape}"
        )
    return x.astype("float32"), y
