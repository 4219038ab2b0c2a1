"""What several test files use, on whatever backend."""

import keras
import numpy as np
from keras import ops

from echo_keras.networks import dense_decoder

BACKEND = keras.backend.backend()


def array(x):
    return ops.convert_to_numpy(x)


def gradients(function, *arrays):
    """Gradients of a scalar function of some arrays, on any backend."""
    if BACKEND == "jax":
        import jax

        where = tuple(range(len(arrays)))
        return [array(g) for g in jax.grad(function, argnums=where)(*arrays)]
    tensors = [ops.convert_to_tensor(a) for a in arrays]
    if BACKEND == "torch":
        tensors = [t.detach().requires_grad_() for t in tensors]
        function(*tensors).backward()
        return [np.zeros(t.shape) if t.grad is None else array(t.grad) for t in tensors]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    zero = tf.UnconnectedGradients.ZERO
    return [array(g) for g in tape.gradient(value, tensors, unconnected_gradients=zero)]


def frozen_call(channel, inputs, training=False):
    """z, leaving the state as it is: every call draws the same noise."""
    state = [ops.convert_to_tensor(v) for v in channel.non_trainable_variables]
    return channel.stateless_call([], state, inputs, training=training)[0]


def ring_index(rows, depth):
    """The rows that follow each on the ring: `depth`, rounded up to a power of two."""
    steps = 1 + np.arange(2 ** (depth - 1).bit_length())
    return (np.arange(rows)[:, None] + steps) % rows


def small_networks():
    """An encoder and a decoder, as a function of the latent dimension, of 8 numbers."""
    encoder = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(4)], name="encoder"
    )
    return encoder, lambda latent_dim: dense_decoder(latent_dim, (8,), (4,))


def normal(*shape, seed=0):
    """Standard normal float32 of a fixed seed."""
    return np.random.RandomState(seed).normal(size=shape).astype("float32")


def randomize(layer, seed=0, scale=0.5):
    """Gives every weight a value, so that no output stays at zero."""
    generator = np.random.RandomState(seed)
    layer.set_weights([generator.normal(0, scale, w.shape) for w in layer.weights])
    return layer
