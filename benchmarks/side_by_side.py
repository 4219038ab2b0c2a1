"""Five seeds in one compiled program against five runs, on JAX.

    KERAS_BACKEND=jax python benchmarks/side_by_side.py
    KERAS_BACKEND=jax python benchmarks/side_by_side.py --networks=conv --images=200

VAE and Echo on random binary images of 28 x 28, with the dense networks of the
Variational InfoMax Autoencoder (three layers of 256) or the Echo paper's convolutions.
In turn in one process: an epoch of all seeds by the program of
`training.train_side_by_side`, and an epoch of `fit` for each. Prints images per second
of all seeds together, and the ratio: median (min to max) over epochs. Compiling,
checkpoints and validation are left out.

Expected: on a GPU several times as many. On a CPU a fourth more, for one model already
keeps it busy.
"""

import functools

import keras
import numpy as np
import timing
from absl import app, flags

from echo_keras import losses, networks, objectives
from echo_keras.training import Batches
from echo_keras.training.side_by_side import Program

FLAGS = flags.FLAGS
flags.DEFINE_list("networks", ["dense"], "dense, conv.")
flags.DEFINE_list("methods", ["vae", "echo"], "vae, echo.")
flags.DEFINE_integer("seeds", 5, "Models.", lower_bound=1)
flags.DEFINE_integer("images", 5000, "Images in an epoch.", lower_bound=100)
flags.DEFINE_integer("batch_size", 100, "Images per step.", lower_bound=2)
flags.DEFINE_integer("repeats", 5, "Timed epochs.", lower_bound=1)

flags.DEFINE_integer("units", 256, "Of a dense layer.", lower_bound=1)

SHAPE = (28, 28, 1)


def pair(network):
    """An encoder and a decoder, as functions."""
    if network == "conv":
        return networks.conv_encoder, networks.conv_decoder
    hidden = 3 * (FLAGS.units,)
    return (
        functools.partial(networks.dense_encoder, SHAPE, hidden),
        functools.partial(networks.dense_decoder, output_shape=SHAPE, hidden=hidden),
    )


def models(network, method):
    """A compiled model for each seed."""
    found = []
    for seed in range(FLAGS.seeds):
        keras.utils.set_random_seed(seed)
        build = getattr(objectives, method)
        arguments = {"d_max": FLAGS.batch_size - 1} if method == "echo" else {}
        model = build(*pair(network), 16, **arguments)
        optimizer = keras.optimizers.Adam(3e-4)
        model.compile(optimizer, loss=losses.Bernoulli())
        optimizer.build(model.trainable_variables)
        found.append(model)
    return found


def epochs(network, method, x):
    """Functions that train an epoch of all models: at once, and one by one."""
    together, alone = models(network, method), models(network, method)
    program = Program(together, x)
    batches = [Batches(x, FLAGS.batch_size, seed) for seed in range(FLAGS.seeds)]

    def at_once():
        program.train(batches, 0)

    def one_by_one():
        for model, own in zip(alone, batches, strict=True):
            model.fit(own, shuffle=False, verbose=0)

    return at_once, one_by_one


def main(_):
    if keras.backend.backend() != "jax":
        raise SystemExit("Set KERAS_BACKEND=jax.")
    pixels = np.random.default_rng(0).random((FLAGS.images, *SHAPE))
    x = (pixels < 0.2).astype("float32")
    rows = []
    for network in FLAGS.networks:
        for method in FLAGS.methods:
            seconds = timing.in_turn(epochs(network, method, x), FLAGS.repeats)
            speed = FLAGS.seeds * FLAGS.images / seconds
            rows.append(
                [
                    f"{method}, {network}",
                    *(timing.spread(own, 0) for own in speed.T),
                    timing.spread(speed[:, 0] / speed[:, 1], 2),
                ]
            )
    header = f"{FLAGS.seeds} seeds", "side by side", "one by one", "ratio"
    timing.table(header, rows)


if __name__ == "__main__":
    app.run(main)
