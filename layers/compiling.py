"""The one place in the layers that knows a backend by name."""

import keras


def compiled_on_cpu(function):
    """Compiles a function of tensors with XLA where nobody else does it.

    On a GPU Keras compiles the whole model, and JAX always does. On TensorFlow's CPU
    it does not, since XLA's convolutions are slow there; a chain of many small
    operations is then slower to start than to compute.

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
