"""Images per second of `fit` on every backend that is installed.

    python benchmarks/fit.py
    python benchmarks/fit.py --images=10000 --backends=tensorflow,torch

The Echo paper's network with `EchoBottleneck`, on random binary images, after an
epoch of warm-up that also compiles. TensorFlow runs without and with XLA, in turn
in one process; JAX always compiles with XLA; PyTorch runs eagerly. Prints images
per second, median (min to max) over epochs. Backends run one after the other, each
in a process of its own, so a difference of a few percent between them is noise.

Expected on a CPU: TensorFlow without XLA is fastest, then PyTorch, TensorFlow with
XLA and JAX, whose strided convolutions XLA runs slowly there. On a GPU, XLA pays.
"""

import importlib.util
import json

import numpy as np
import timing
from absl import app, flags

JIT = {"tensorflow": [False, True], "jax": [True], "torch": [False]}

FLAGS = flags.FLAGS
flags.DEFINE_list("backends", [], "Which backends; all that are installed if empty.")
flags.DEFINE_integer("images", 2000, "Images in an epoch.", lower_bound=2)
flags.DEFINE_integer("batch_size", 100, "Images per step.", lower_bound=2)
flags.DEFINE_integer("epochs", 3, "Timed epochs of each.", lower_bound=1)
flags.DEFINE_bool("child", False, "For the script's own use: measure this backend.")


def epoch_function(x, jit_compile):
    """A function that trains one epoch on x."""
    import keras

    from echo_keras.autoencoders import conv_autoencoder
    from echo_keras.layers import EchoBottleneck
    from echo_keras.losses import Bernoulli

    model = conv_autoencoder(EchoBottleneck(32))
    model.compile(
        keras.optimizers.Adam(3e-4), loss=Bernoulli(), jit_compile=jit_compile
    )
    return lambda: model.fit(x, x, batch_size=FLAGS.batch_size, verbose=0)


def measure():
    """Seconds of each epoch, shape (epochs, settings of jit_compile)."""
    import keras

    pixels = np.random.default_rng(0).random((FLAGS.images, 28, 28, 1))
    x = (pixels < 0.2).astype("float32")
    settings = JIT[keras.backend.backend()]
    functions = [epoch_function(x, jit_compile) for jit_compile in settings]
    return timing.in_turn(functions, FLAGS.epochs).tolist()


def main(_):
    if FLAGS.child:
        print(json.dumps(measure()))
        return
    rows = []
    for backend in FLAGS.backends or filter(importlib.util.find_spec, JIT):
        seconds = np.array(timing.child("--child", KERAS_BACKEND=backend))
        for jit_compile, own in zip(JIT[backend], seconds.T, strict=True):
            rate = timing.spread(FLAGS.images / own, 0)
            rows.append([backend, jit_compile, rate])
    timing.table(["backend", "jit_compile", "images per second"], rows)


if __name__ == "__main__":
    app.run(main)
