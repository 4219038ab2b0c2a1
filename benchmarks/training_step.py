"""Does Echo cost more per training step than a VAE?

    python benchmarks/training_step.py
    KERAS_BACKEND=jax python benchmarks/training_step.py --repeats=20

One optimizer step of the Echo paper's network, on a batch already in memory, with
`EchoBottleneck` in three parametrizations and with `GaussianBottleneck`, in turn in
one process. Prints milliseconds and the ratio to the VAE: median (min to max).

Expected: a median ratio of at most 1.05 with TensorFlow on a CPU. Nearly all of
the time goes into the convolutions, which are the same.
"""

import keras
import numpy as np
import timing
from absl import app, flags

from echo_keras.autoencoders import conv_autoencoder
from echo_keras.layers import EchoBottleneck, GaussianBottleneck
from echo_keras.losses import Bernoulli

FLAGS = flags.FLAGS
flags.DEFINE_integer("batch_size", 100, "Images per step.", lower_bound=2)
flags.DEFINE_integer("latent_dim", 32, "Latent dimensions.", lower_bound=1)
flags.DEFINE_integer("repeats", 50, "Timed steps of each model.", lower_bound=1)
flags.DEFINE_integer("d_max", 99, "Echoes that are summed.", lower_bound=1)
flags.DEFINE_bool(
    "static_batch",
    False,
    "On TensorFlow, let the graph know the size of the batch. In `fit` it does not, "
    "and Echo then prepares for a batch too small to provide all echoes. The other "
    "backends always know.",
)


def training_step(bottleneck, x):
    """A function that trains one step on x and waits for the loss."""
    model = conv_autoencoder(bottleneck)
    model.compile(keras.optimizers.Adam(3e-4), loss=Bernoulli())
    if keras.backend.backend() != "tensorflow" or FLAGS.static_batch:
        return lambda: model.train_on_batch(x, x)

    import tensorflow as tf

    model.optimizer.build(model.trainable_variables)
    image = tf.TensorSpec((None, *x.shape[1:]), x.dtype)
    step = tf.function(
        model.train_step,
        input_signature=[(image, image)],
        jit_compile=model.jit_compile,
    )
    return lambda: float(step((x, x))["loss"])


def main(_):
    pixels = np.random.default_rng(0).random((FLAGS.batch_size, 28, 28, 1))
    x = keras.ops.convert_to_tensor((pixels < 0.2).astype("float32"))
    bottlenecks = {
        "VAE": GaussianBottleneck(FLAGS.latent_dim),
        **{
            f"Echo, {parametrization}": EchoBottleneck(
                FLAGS.latent_dim, parametrization, d_max=FLAGS.d_max
            )
            for parametrization in ("scaled", "standardized", "paper")
        },
    }
    steps = [training_step(bottleneck, x) for bottleneck in bottlenecks.values()]
    seconds = timing.in_turn(steps, FLAGS.repeats)
    print(f"{keras.backend.backend()}, batch {FLAGS.batch_size}, {FLAGS.repeats} steps")
    timing.table(
        ["model", "ms per step", "ratio to VAE"],
        [
            [name, timing.spread(1000 * own, 1), timing.spread(own / seconds[:, 0])]
            for name, own in zip(bottlenecks, seconds.T, strict=True)
        ],
    )


if __name__ == "__main__":
    app.run(main)
