"""What does `metrics.evaluate` cost beside the model's forward pass?

    python benchmarks/evaluate.py
    KERAS_BACKEND=torch python benchmarks/evaluate.py --images=1000

The Echo paper's network on random images, in turn in one process: `model.predict`,
which has no rates; `evaluate`, whose pass is compiled where the backend compiles, with
echoes from the bank and from the batch; and the same numbers from a loop that calls the
model eagerly, batch by batch. Prints seconds, and what each takes of the eager loop.
"""

import keras
import numpy as np
import timing
from absl import app, flags
from keras import ops

from echo_keras import metrics
from echo_keras.autoencoders import conv_autoencoder
from echo_keras.layers import EchoBottleneck, collect_draws
from echo_keras.layers.backend import no_gradients
from echo_keras.losses import Bernoulli

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 10_000, "Images evaluated.", lower_bound=1)
flags.DEFINE_integer("batch_size", 100, "Images in a batch.", lower_bound=1)
flags.DEFINE_integer("repeats", 3, "Timed calls of each.", lower_bound=1)


def eagerly(model, x, echoes):
    """Mean rate and distortion, from calls of the model outside of any graph."""
    total = np.zeros(2)
    for start in range(0, len(x), FLAGS.batch_size):
        batch = ops.convert_to_tensor(x[start : start + FLAGS.batch_size])
        with no_gradients(), collect_draws(echoes) as draws:
            output = model(batch, training=False)
            distortion = model.loss.call(batch, output)
        rate = sum(rate for rate, _ in draws)
        for i, values in enumerate((rate, distortion)):
            total[i] += ops.convert_to_numpy(values).sum()
    return total / len(x)


def main(_):
    x = np.random.default_rng(0).random((FLAGS.images, 28, 28, 1), "float32")
    model = conv_autoencoder(EchoBottleneck(32, d_max=FLAGS.batch_size - 1, seed=0))
    model.compile(loss=Bernoulli())
    model.get_layer("echo_bottleneck")(
        np.zeros((FLAGS.batch_size, 256), "float32"), training=True
    )
    size = {"batch_size": FLAGS.batch_size}
    calls = {
        "eager loop, bank": lambda: eagerly(model, x, "bank"),
        "evaluate, bank": lambda: metrics.evaluate(model, x, **size),
        "evaluate, batch": lambda: metrics.evaluate(model, x, echoes="batch", **size),
        "predict": lambda: model.predict(x, verbose=0, **size),
    }
    seconds = timing.in_turn(list(calls.values()), FLAGS.repeats)
    print(f"{keras.backend.backend()}, {FLAGS.images} images")
    timing.table(
        ["call", "seconds", "share of the eager loop"],
        [
            [name, timing.spread(own, 2), timing.spread(own / seconds[:, 0], 2)]
            for name, own in zip(calls, seconds.T, strict=True)
        ],
    )


if __name__ == "__main__":
    app.run(main)
