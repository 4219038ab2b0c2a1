"""What differs between backends. No other file of the layers names one."""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import keras
from keras import ops

from .typing import Tensor


def compiled_on_cpu(function: Callable) -> Callable:
    """Compiles a function of tensors with XLA on TensorFlow's CPU.

    Elsewhere the whole model is compiled by Keras or JAX, or, on PyTorch, nothing is.
    On TensorFlow's CPU Keras does not use XLA, whose convolutions are slow there, and
    a chain of many small operations costs more to launch than to compute.

    Args:
        function: Pure function of tensors, whose shapes may differ between calls.

    Returns:
        The compiled function, or the function itself.

    Example:

    >>> from keras import ops
    >>> float(compiled_on_cpu(lambda x: 2.0 * x)(ops.convert_to_tensor(1.5)))
    3.0
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return function
    return tf.function(function, jit_compile=True, reduce_retracing=True)


def repeat(n: int, body: Callable, state: Sequence[Tensor]) -> Sequence[Tensor]:
    """`ops.fori_loop(0, n, body, state)` for a tuple, differentiable everywhere."""
    if keras.backend.backend() == "tensorflow":
        # fori_loop names no bound, and without one XLA has no gradient of a loop.
        _, *state = ops.while_loop(
            lambda k, *state: k < n,
            lambda k, *state: (k + 1, *body(k, state)),
            (0, *state),
            maximum_iterations=n,
        )
        return state
    state = body(0, state)
    if keras.backend.backend() == "jax" and is_traced(state[0]):
        return ops.fori_loop(1, n, body, state)
    # Outside of a trace, JAX would compile a loop anew, and keep it, at every call.
    for k in range(1, n):
        state = body(k, state)
    return state


def is_traced(x: Tensor) -> bool:
    """Whether a JAX array is a tracer, which has no values to look at."""
    try:
        ops.convert_to_numpy(x)
    except TypeError:
        return True
    return False


def replicas_in_sync() -> int:
    """Number of devices among which TensorFlow's strategy splits a batch, else 1."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def no_gradients() -> AbstractContextManager:
    """A context in which PyTorch records no gradients; the others never do here."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()
