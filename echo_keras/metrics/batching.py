"""Runs a function or a model over data that need not fit into memory, in batches."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from echo_keras.layers import arguments
from echo_keras.layers.backend import no_gradients


def map_batches(
    function: Callable[[Any], Any],
    x: Any,
    batch_size: int | None = None,
    order: np.ndarray | None = None,
) -> Any:
    """What a function makes of data, batch by batch, so that memory is bounded.

    Args:
        function: Function of a batch, arrays (m, ...), that returns an array or tensor
            (m, ...), or a list or dict of them.
        x: Array (n, ...), a list or dict of arrays of one length, n >= 1; or batches,
            anything iterable: a Keras `PyDataset`, a `tf.data.Dataset`, a PyTorch
            `DataLoader`. The function receives each batch as it comes.
        batch_size: Int >= 1, examples that the function receives at once; None for
            `default_batch_size`. Batches keep their own size.
        order: Ints (n,), a permutation, the order in which arrays are cut into batches;
            None for their own.

    Returns:
        NumPy arrays (n, ...), in the structure that the function returns and the order
        of x.

    Raises:
        ValueError: there is no example, arrays differ in length, batch_size is out of
            range or given beside batches, or a `PyDataset` is infinite.

    Example:

    >>> map_batches(lambda x: 2 * x, np.arange(5), batch_size=2).tolist()
    [0, 2, 4, 6, 8]
    """
    arguments.function("function", function)
    pieces = []
    for batch in batches(x, batch_size, order):
        with no_gradients():
            found = function(batch)
        pieces.append(tree.map_structure(ops.convert_to_numpy, found))
    back = slice(None) if order is None else np.argsort(order)
    return tree.map_structure(lambda *parts: np.concatenate(parts)[back], *pieces)


def batches(
    x: Any, batch_size: int | None = None, order: np.ndarray | None = None
) -> Iterator[Any]:
    """Cuts arrays into batches, and passes batches on.

    Args:
        x, batch_size: See `map_batches`.
        order: Ints (m,), which examples to take and in what order; None for all. For
            arrays alone.

    Yields:
        Batches, in the structure of x.

    Raises:
        ValueError: see `map_batches`; or there is an order beside batches.

    Example:

    >>> [batch["a"].tolist() for batch in batches({"a": np.arange(3)}, 2)]
    [[0, 1], [2]]
    """
    if not is_arrays(x):
        yield from _checked_batches(x, batch_size, order)
        return
    x = tree.map_structure(_sliceable, x)
    n = count(x)
    if order is not None:
        order = arguments.array("order", order, "(m,)", (1,))
        if order.dtype.kind not in "iu" or not 0 <= order.min() <= order.max() < n:
            raise ValueError(
                f"order must be integers from 0 to {n - 1}. Received: {order.dtype} "
                f"from {order.min()} to {order.max()}"
            )
    for each in tree.flatten(x):
        arguments.array("x", each, finite=False)
    if batch_size is None:
        batch_size = default_batch_size(x)
    step = arguments.integer("batch_size", batch_size)
    for start in range(0, n if order is None else len(order), step):
        here = slice(start, start + step)
        here = here if order is None else order[here]
        yield tree.map_structure(lambda a, here=here: a[here], x)


def _sliceable(a):
    """An array that takes an array of indices: no tensor, and no table of pandas."""
    if ops.is_tensor(a):
        return ops.convert_to_numpy(a)
    return a.to_numpy() if hasattr(a, "iloc") else a


def of_inputs(function: Callable[[Any], Any], x: Any) -> Callable[[Any], Any]:
    """A function of inputs as one of what `map_batches` cuts out of x.

    Batches that come as such are (x, y), (x, y, weights) or x alone, as in `fit`, and
    may be tensors of another backend.
    """
    if is_arrays(x):
        return function

    def of_batch(batch):
        batch, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        return function(tree.map_structure(own, batch))

    def own(a):
        return a if ops.is_tensor(a) else np.asarray(a)

    return of_batch


def _checked_batches(x, batch_size, order):
    if batch_size is not None or order is not None:
        raise ValueError(
            f"batch_size and order must be None for data that come in batches. "
            f"Received: batch_size={batch_size}, order={order}"
        )
    if not isinstance(x, Iterable) or isinstance(x, (list, tuple, dict, str)):
        raise ValueError(
            f"x must be an array, a list or dict of arrays, or batches, such as a "
            f"PyDataset. Received: x={x!r:.100}"
        )
    if isinstance(x, keras.utils.PyDataset) and x.num_batches is None:
        raise ValueError(
            f"x must have an end. Received: {type(x).__name__} without num_batches"
        )
    x = iter(x)
    first = next(x, None)
    if first is None:
        raise ValueError("x must have at least one batch. Received: none")
    yield from itertools.chain([first], x)


def is_arrays(x: Any) -> bool:
    """Whether data are an array, or a list or dict of arrays, rather than batches.

    Example:

    >>> is_arrays([np.zeros(3), np.zeros((3, 2))]), is_arrays(iter([np.zeros(3)]))
    (True, False)
    """
    if isinstance(x, (list, tuple, dict)):
        return all(map(is_arrays, x.values() if isinstance(x, dict) else x))
    return hasattr(x, "shape")


def count(x: Any) -> int:
    """The number of examples of an array or of a list or dict of arrays.

    Raises:
        ValueError: there is none, or arrays differ in length.

    Example:

    >>> count({"image": np.zeros((5, 2, 2)), "label": np.zeros(5)})
    5
    """
    if not is_arrays(x):
        raise ValueError(
            f"x must be an array, or a list or dict of arrays. Received: x={x!r:.100}"
        )
    lengths = {a.shape[0] if a.shape else 0 for a in tree.flatten(x)}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(
            f"x must have at least one example, and as many in each array. Received: "
            f"arrays of length {', '.join(map(str, sorted(lengths)))}"
        )
    return lengths.pop()


def default_batch_size(x: Any) -> int:
    """How many examples go through a model at once: 1 to 1024, by their size.

    Args:
        x: Array (n, ...), or a list or dict of arrays.

    Example:

    >>> default_batch_size(np.zeros((9, 28, 28, 1)))
    334
    >>> default_batch_size(np.zeros((9, 64, 64, 3)))
    21
    """
    # 1 MiB of float32. The first feature maps of a convolutional network hold some
    # thirty times as many numbers as its images: tens of MiB, on any device.
    if not is_arrays(x):
        raise ValueError(
            f"x must be an array, or a list or dict of arrays. Received: x={x!r:.100}"
        )
    numbers = sum(math.prod(a.shape[1:]) for a in tree.flatten(x))
    return min(max(2**18 // max(numbers, 1), 1), 1024)


def check_finite(name: str, x: Any) -> Any:
    """Returns an array, or a list or dict of them; none may have NaN or infinity."""
    for each in tree.flatten(x):
        if each is not None:
            each = ops.convert_to_numpy(each) if ops.is_tensor(each) else each
            arguments.array(name, each)
    return x


def check_numbers(what: str, found: Any) -> Any:
    """Returns what a model gave, in arrays; raises a ValueError where it is NaN."""
    for each in tree.flatten(found):
        bad = np.isnan(each)
        if bad.any():
            rows = int(bad.reshape(len(bad), -1).any(axis=1).sum())
            raise ValueError(
                f"{what} must be numbers. Received: NaN for {rows} of {len(bad)} "
                f"examples. Weights are not finite, or inputs are of another scale "
                f"than those of training"
            )
    return found


def evenly_spaced(x: np.ndarray, n: int) -> np.ndarray:
    """At most n of the examples, evenly from all over the file, which may be sorted.

    Args:
        x: Array (m, ...).
        n: Int >= 1.

    Returns:
        Array (min(n, m), ...), the first and the last example among them.

    Example:

    >>> evenly_spaced(np.arange(9), 3).tolist()
    [0, 4, 8]
    """
    n = min(arguments.integer("n", n), count(x))
    return x[np.linspace(0, len(x) - 1, n).round().astype(int)]


def with_standard_error(name: str, values: np.ndarray) -> dict[str, float]:
    """The mean over examples and its standard error, the spread over sqrt(n).

    Args:
        name: What the values are.
        values: Array (n,).

    Returns:
        A dict with `name` and `name`_se, which is NaN for one example, and where a
        value is infinite. Of a name that ends in _bits, the unit stays at the end:
        rate_se_bits.

    Example:

    >>> with_standard_error("rate", np.array([1.0, 3.0]))
    {'rate': 2.0, 'rate_se': 1.0}
    """
    bare = name.removesuffix("_bits")
    known = len(values) > 1 and np.isfinite(values).all()
    spread = np.std(values, ddof=1) if known else math.nan
    error = spread / math.sqrt(len(values))
    return {name: float(np.mean(values)), f"{bare}_se{name[len(bare) :]}": float(error)}
