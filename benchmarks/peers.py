"""Images per second of training, beside pythae and beside loops written by hand.

    pip install pythae==0.1.2                    # if it is to be compared with
    python benchmarks/peers.py
    python benchmarks/peers.py --images=5000 --rounds=3 --rows=tensorflow,pythae

All train a VAE on the Echo paper's network, 1,398,849 weights, with Adam and batches
of 100 random binary images; one row of each backend has Echo in its place. Each
backend has a process of its own, which also runs its peers: pythae's trainer and a
loop on PyTorch, and on JAX a jitted step and a `lax.scan` over the steps of an epoch,
with the data on the device. The processes stay and train one epoch of each row in
turn, A B C A B C, so that the machine's drift meets all alike. Prints images per
second, and the speed of `fit` in units of its peers': median (min to max) over rounds,
ratios of one round.

What is paid once in a training is not in an epoch: compilation, the first lines of
`fit`, pythae's `prepare_training`. Nothing logs, saves or validates. pythae's mixed
precision is CUDA's alone, and is off for its "bce". A row whose package is missing
says so. On a CPU, XLA runs convolutions in a loop so slowly that the scan is left out
unless --rows names it.

Expected there: TensorFlow ahead of pythae, further so in bfloat16; JAX level with the
jitted step; PyTorch behind its loop, for Keras computes a transposed convolution
without padding (11 x 11 for 7 x 7, 31 x 31 for 28 x 28) and cuts the borders off.
"""

import functools
import importlib.util
import os
import time

import numpy as np
import peer_trainers
import timing
from absl import app, flags
from peer_trainers import BATCH, LEARNING_RATE

PRECISIONS = ("float32", "mixed_bfloat16")
OURS = ("fit, arrays", "fit, Batches", "fit, arrays, Echo")
PEERS = {
    "torch": ["pythae", "pythae, channels last", "loop"],
    "jax": ["jitted steps", "scan"],
}
ROWS = [
    (backend, name, precision)
    for backend in ("tensorflow", "jax", "torch")
    for precision in PRECISIONS
    for name in (*OURS, *PEERS.get(backend, []))
    if not name.startswith("pythae") or precision == "float32"
]

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 1000, "Images in an epoch.", lower_bound=BATCH)
flags.register_validator(
    "images", lambda n: n % BATCH == 0, f"must be a multiple of {BATCH}"
)
flags.DEFINE_integer("rounds", 5, "Timed epochs of each row.", lower_bound=1)
flags.DEFINE_list(
    "rows",
    [],
    "Words: rows that one of them is in, such as torch or Echo; all but scan if none.",
)
flags.DEFINE_integer("threads", None, "Cores to keep to; all if None.", lower_bound=1)
flags.DEFINE_string("child", None, "For the script's own use: serve this backend.")


def ours(x, name, precision):
    """The seconds that Keras spends in an epoch."""
    import keras

    from echo_keras.autoencoders import conv_autoencoder
    from echo_keras.layers import EchoBottleneck, GaussianBottleneck
    from echo_keras.losses import Bernoulli
    from echo_keras.training import Batches

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = time.perf_counter() - self.began

    keras.config.set_dtype_policy(precision)
    bottleneck = EchoBottleneck if name.endswith("Echo") else GaussianBottleneck
    model = conv_autoencoder(bottleneck(32))
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss=Bernoulli())
    clock = Clock()
    if name.startswith("fit, Batches"):
        data = {"x": Batches(x, BATCH, seed=0), "shuffle": False}
    else:
        data = {"x": x, "batch_size": BATCH}

    def epoch():
        model.fit(**data, callbacks=[clock], verbose=0)
        return clock.seconds

    return epoch


@functools.cache
def trainer(row):
    """The function that trains an epoch of a row and returns its seconds.

    None where what it needs is not installed.
    """
    backend, name, precision = ROWS[row]
    pixels = np.random.default_rng(0).random((FLAGS.images, 28, 28, 1))
    x = (pixels < 0.2).astype("float32")
    if name in OURS:
        return ours(x, name, precision)
    if name.startswith("pythae"):
        if importlib.util.find_spec("pythae") is None:
            return None
        epoch = peer_trainers.pythae(x, name.endswith("channels last"))
    elif backend == "jax":
        epoch = peer_trainers.jax_loop(x, precision, name == "scan")
    else:
        epoch = peer_trainers.torch_loop(x, precision)

    def call():
        began = time.perf_counter()
        epoch()
        return time.perf_counter() - began

    return call


def answer(row):
    """Seconds of one more epoch of a row."""
    function = trainer(row)
    return function and function()


def measure(rows):
    """Seconds of the rows that are installed: a dict of arrays (rounds,)."""
    backends = filter(importlib.util.find_spec, {ROWS[row][0] for row in rows})
    workers = {
        name: timing.Worker(f"--child={name}", KERAS_BACKEND=name) for name in backends
    }

    def epoch(row):
        backend = ROWS[row][0]
        return workers[backend].ask(row) if backend in workers else None

    rows = [row for row in rows if epoch(row) is not None]  # which also compiles
    rounds = [[epoch(row) for row in rows] for _ in range(FLAGS.rounds)]
    return dict(zip(rows, np.array(rounds).T, strict=True))


def ratios(seconds):
    """Rows of a table: `fit` beside its peers in the same precision."""
    for peer in seconds:
        backend, name, precision = ROWS[peer]
        if name in OURS:
            continue
        for row in seconds:
            other, fit, same = ROWS[row]
            here = other == backend or (name[:6], other) == ("pythae", "tensorflow")
            if here and fit in OURS[:2] and same == precision:
                ratio = timing.spread(seconds[peer] / seconds[row], 2)
                yield [f"{name}, {backend}", f"{fit}, {other}", precision, ratio]


def main(_):
    if FLAGS.child:
        timing.serve(answer)
        return
    if FLAGS.threads:  # inherited by the children, whose backends count what they have
        cores = sorted(os.sched_getaffinity(0))[: FLAGS.threads]
        os.sched_setaffinity(0, cores)
    rows = [
        i
        for i, row in enumerate(ROWS)
        if any(word in ", ".join(row) for word in FLAGS.rows)
        or (not FLAGS.rows and "scan" not in row)
    ]
    seconds = measure(rows)
    rates = {row: timing.spread(FLAGS.images / own, 0) for row, own in seconds.items()}
    timing.table(
        ["backend", "row", "precision", "images per second"],
        [[*ROWS[row], rates.get(row, "not installed")] for row in rows],
    )
    timing.table(["peer", "ours", "precision", "ours / peer"], ratios(seconds))


if __name__ == "__main__":
    app.run(main)
