"""What differs between backends. No other file of the layers names one."""

import contextlib
import os
import subprocess
import sys
import warnings
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
        The function, compiled where a graph is traced, or the function itself.

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
    traced = tf.function(function, jit_compile=True, reduce_retracing=True)

    def call(*arguments):
        # Outside of a graph each new batch size would be compiled, and kept, anew.
        return (function if tf.executing_eagerly() else traced)(*arguments)

    return call


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


def stateless_scope() -> keras.StatelessScope | None:
    """The stateless call that is being made, JAX's way to train; None outside."""
    from keras.src.backend.common.stateless_scope import get_stateless_scope

    return get_stateless_scope()


def current_step() -> object | None:
    """One object for all calls of layers inside one call of a model; None outside."""
    from keras.src.backend.common.global_state import get_global_attribute

    return stateless_scope() or get_global_attribute("current_call_ctx")


def argmin(x: Tensor, axis: int) -> Tensor:
    """`ops.argmin`, int32, of operations that ONNX and LiteRT have on TensorFlow."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Keras tells -0 from 0 by bits, which the two formats cannot.
        return tf.argmin(x, axis=axis, output_type="int32")
    return ops.cast(ops.argmin(x, axis=axis), "int32")


def with_as_many_rows(x: Tensor, other: Tensor, message: str) -> Tensor:
    """Returns x, (n, ...), if another tensor has as many rows; else raises.

    Raises:
        ValueError: it has not. In a graph of TensorFlow that does not know how many
            there are, an InvalidArgumentError when it runs; XLA has its own sentence.
    """
    rows, expected = x.shape[0], other.shape[0]
    if None not in (rows, expected):
        if rows != expected:
            raise ValueError(f"{message} Received: {rows} for {expected} rows")
        return x
    import tensorflow as tf  # elsewhere shapes are known where values are

    check = tf.debugging.assert_equal(tf.shape(x)[0], tf.shape(other)[0], message)
    with tf.control_dependencies([check]):
        return tf.identity(x)


def replicas_in_sync() -> int:
    """Number of devices among which TensorFlow's strategy splits a batch, else 1."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def replicas() -> tuple[int, int]:
    """This replica's number, and how many there are: copies of a model in one training.

    TensorFlow's strategies and PyTorch's processes make such copies, each of which
    sees its share of a batch. On JAX one program sees the whole batch, (0, 1).
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is not None:  # None while a model is built, say
            return context.replica_id_in_sync_group, context.num_replicas_in_sync
    elif keras.backend.backend() == "torch":
        import torch.distributed as distributed

        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def gather(x: Tensor) -> Tensor:
    """The rows of all replicas, in the order of their numbers, with gradients.

    Each replica must come here as often as the others, and waits for them. On PyTorch
    nothing is gathered where no gradients are recorded, so that one process alone can
    evaluate a model.

    Args:
        x: Tensor (rows, columns) of any number of rows.
    """
    if replicas()[1] == 1:
        return x
    if keras.backend.backend() == "torch":
        return _gathered_by_torch(x)
    import tensorflow as tf

    with _kept_losses():
        return tf.distribute.get_replica_context().all_gather(x, axis=0)


@contextlib.contextmanager
def _kept_losses():
    """Keeps one replica's added losses from another's, which is traced meanwhile.

    TensorFlow traces the replicas in turn, one goes on when all have come to where
    they exchange values; Keras lists losses by layer, whatever the replica.
    """
    from keras.src.backend.common.global_state import get_global_attribute

    root = get_global_attribute("current_call_ctx").entry_layer
    layers = root._flatten_layers()
    kept = [(layer, list(layer._losses)) for layer in layers]
    yield
    for layer, losses in kept:
        layer._losses[:] = losses


def _gathered_by_torch(x):
    import torch
    import torch.distributed as distributed
    from torch.distributed.nn.functional import all_gather

    if not torch.is_grad_enabled():
        return x
    # Gloo and NCCL gather equal shapes.
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(replicas()[1])]
    sizes = [size.to(x.device) for size in sizes]
    distributed.all_gather(sizes, torch.tensor([len(x)], device=x.device))
    most = int(max(sizes))
    padded = torch.nn.functional.pad(x, (0, 0, 0, most - len(x)))
    parts = zip(all_gather(padded), sizes, strict=True)
    return torch.cat([part[: int(size)] for part, size in parts])


def no_gradients() -> AbstractContextManager:
    """A context in which PyTorch records no gradients; the others never do here."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()


def jacobian(function: Callable, z: Tensor) -> tuple[Tensor, Tensor]:
    """What a function makes of codes, and its derivative by each latent dimension.

    One pass forward for each dimension, of which codes have few and images many.

    Args:
        function: Function of a tensor (n, d) that returns one (n, m), each row of its
            own row.
        z: Tensor (n, d).

    Returns:
        The function's value, (n, m), and its Jacobians, (n, m, d).

    Example:

    >>> value, slope = jacobian(lambda z: z * z, ops.convert_to_tensor([[1.0, 3.0]]))
    >>> ops.convert_to_numpy(slope).tolist()
    [[[2.0, 0.0], [0.0, 6.0]]]
    """
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow as tf

        def along(tangent):
            with tf.autodiff.ForwardAccumulator(z, tangent) as accumulator:
                value = function(z)
            return value, accumulator.jvp(value, tf.UnconnectedGradients.ZERO)
    elif name == "jax":
        import jax

        def along(tangent):
            return jax.jvp(function, (z,), (tangent,))
    else:
        import torch

        def along(tangent):
            with warnings.catch_warnings():
                # Its forward mode calls what PyTorch itself has deprecated.
                warnings.simplefilter("ignore", DeprecationWarning)
                return torch.func.jvp(function, (z,), (tangent,))

    axes = ops.eye(z.shape[1], dtype=z.dtype)
    found = [along(ops.zeros_like(z) + axis) for axis in axes]
    return found[0][0], ops.stack([slope for _, slope in found], axis=2)


def compiled(function, variables):
    """Compiles a function of tensors that reads Keras variables and may assign them.

    On TensorFlow it is traced once for all batch sizes, on JAX once for each. PyTorch
    runs it as it is, without gradients.

    Args:
        function: Function of tensors, or lists or dicts of them, with the batch as
            first axis, that returns such.
        variables: The variables that it uses, such as `model.variables`. They are read
            at each call, so that a model may be trained on in between.

    Returns:
        The compiled function.

    Example:

    >>> from keras import ops
    >>> count = keras.Variable(0.0)
    >>> def add(x):
    ...     count.assign(count + ops.sum(x))
    ...     return 2.0 * x
    >>> double = compiled(add, [count])
    >>> double(ops.ones((3,))).shape[0], double(ops.ones((2,))).shape[0], float(count)
    (3, 2, 5.0)
    """
    if keras.backend.backend() == "tensorflow":
        return _compiled_by_tensorflow(function)
    if keras.backend.backend() == "jax":
        return _compiled_by_jax(function, variables)

    def without_gradients(*arguments):
        with no_gradients():
            return function(*arguments)

    return without_gradients


def _compiled_by_tensorflow(function):
    import tensorflow as tf

    traced = tf.function(function, autograph=False)

    def any_batch(x):
        return x if x is None else tf.TensorSpec((None, *x.shape[1:]), x.dtype)

    def call(*arguments):
        # Traced at the first call with such shapes, but for the batch.
        shapes = tf.nest.map_structure(any_batch, arguments)
        return traced.get_concrete_function(*shapes)(*arguments)

    return call


def _compiled_by_jax(function, variables):
    import jax

    @jax.jit
    def pure(values, *arguments):
        mapping = zip(variables, values, strict=True)
        with keras.StatelessScope(state_mapping=list(mapping)) as scope:
            found = function(*arguments)
        return found, [scope.get_current_value(v) for v in variables]

    def call(*arguments):
        before = [v.value for v in variables]
        found, after = pure(before, *arguments)
        for variable, old, new in zip(variables, before, after, strict=True):
            if new is not old:
                variable.assign(new)
        return found

    return call


def device_name() -> str | None:
    """The accelerator that the backend computes on; None for a CPU."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            return tf.config.experimental.get_device_details(gpus[0])["device_name"]
    elif keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() != "cpu":
            return jax.devices()[0].device_kind
    elif keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    return None


def cpu_threads() -> int:
    """The threads that the backend computes with on a CPU."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.get_num_threads()
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # those that this process may use
        cores = len(os.sched_getaffinity(0))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        set_ = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
        number = tf.config.threading.get_intra_op_parallelism_threads()
        return number or int(set_ if set_.isdigit() else 0) or cores
    return cores


def count_gpus() -> int:
    """How many GPUs the backend sees. None of them is touched."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return len(tf.config.list_physical_devices("GPU"))
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.device_count()
    # JAX takes the memory of the GPUs that it counts: another process counts.
    code = "import jax; print(sum(d.platform == 'gpu' for d in jax.devices()))"
    answer = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(answer.stdout)
