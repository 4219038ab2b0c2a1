"""FactorVAE in one pass against a plain loop that alternates, on TensorFlow.

    python benchmarks/factor_vae.py

Three ways to train the same networks (the disentanglement papers' encoder and decoder
on 64 x 64 images, and a discriminator of 6 x 1000) on a batch already in memory:

- one pass: `TotalCorrelationPenalty` in a Keras train step, as `fit` runs it;
- alternating: a step of encoder and decoder, then a step of the discriminator on the
  codes of the updated encoder, each a compiled function;
- alternating, shared: the same, but the discriminator learns from the codes of the
  first step, which are not encoded again.

Prints milliseconds per update of everything and the ratio to one pass, in turn in one
process: median (min to max).

Expected: one pass is no slower than either. It encodes once, and evaluates the
discriminator on the codes twice, as the loops do.
"""

import keras
import numpy as np
import tensorflow as tf
import timing
from absl import app, flags

from echo_keras import networks, training
from echo_keras.autoencoders import autoencoder
from echo_keras.layers import (
    GaussianBottleneck,
    TotalCorrelationPenalty,
    dense_discriminator,
)
from echo_keras.losses import Bernoulli

FLAGS = flags.FLAGS
flags.DEFINE_integer("batch_size", 64, "Images per step.", lower_bound=2)
flags.DEFINE_integer("repeats", 20, "Timed steps of each way.", lower_bound=1)
GAMMA = 20.0


def optimizers():
    discriminators = keras.optimizers.Adam(1e-4, beta_1=0.5, beta_2=0.9)
    return keras.optimizers.Adam(1e-4), discriminators


def one_pass(x):
    model = autoencoder(
        networks.factor_encoder(),
        GaussianBottleneck(10),
        networks.factor_decoder(10),
        [TotalCorrelationPenalty(GAMMA)],
    )
    model.compile(
        training.with_discriminator_optimizer(*optimizers()), loss=Bernoulli()
    )
    model.optimizer.build(model.trainable_variables)
    image = tf.TensorSpec((None, *x.shape[1:]), x.dtype)
    step = tf.function(model.train_step, input_signature=[(image, image)])
    return lambda: float(step((x, x))["loss"])


def alternating(x, shared):
    encoder, decoder = networks.factor_encoder(), networks.factor_decoder(10)
    heads, discriminator = keras.layers.Dense(20), dense_discriminator()
    heads.build((None, 256))
    discriminator.build((None, 10))
    others = [w for part in (encoder, heads, decoder) for w in part.trainable_variables]
    of_others, of_discriminator = optimizers()
    of_others.build(others)
    of_discriminator.build(discriminator.trainable_variables)

    def encode(x):
        mean, log_var = tf.split(heads(encoder(x)), 2, axis=1)
        z = mean + tf.exp(0.5 * log_var) * tf.random.normal(tf.shape(mean))
        kl = 0.5 * tf.reduce_sum(mean**2 + tf.exp(log_var) - log_var - 1, axis=1)
        return z, tf.reduce_mean(kl)

    def ratio(z):
        logits = discriminator(z)
        return logits[:, 0] - logits[:, 1]

    image = tf.TensorSpec((None, *x.shape[1:]), x.dtype)

    @tf.function(input_signature=[image])
    def autoencoder_step(x):
        with tf.GradientTape() as tape:
            z, kl = encode(x)
            logits = decoder(z)
            bits = tf.nn.sigmoid_cross_entropy_with_logits(x, logits)
            distortion = tf.reduce_mean(tf.reduce_sum(bits, axis=[1, 2, 3]))
            loss = distortion + kl + GAMMA * tf.reduce_mean(ratio(z))
        gradients = tape.gradient(loss, [w.value for w in others])
        of_others.apply(gradients, others)
        return loss, z

    @tf.function(input_signature=[tf.TensorSpec((None, 10))])
    def discriminator_step(z):
        order = tf.argsort(tf.random.uniform(tf.shape(z)), axis=0)
        shuffled = tf.transpose(
            tf.gather(tf.transpose(z), tf.transpose(order), axis=1, batch_dims=1)
        )
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.softplus(-ratio(z)))
            loss = 0.5 * (loss + tf.reduce_mean(tf.nn.softplus(ratio(shuffled))))
        weights = discriminator.trainable_variables
        of_discriminator.apply(tape.gradient(loss, [w.value for w in weights]), weights)
        return loss

    encode_again = tf.function(lambda x: encode(x)[0], input_signature=[image])

    def step():
        _, z = autoencoder_step(x)
        return float(discriminator_step(z if shared else encode_again(x)))

    return step


def main(_):
    pixels = np.random.default_rng(0).random((FLAGS.batch_size, 64, 64, 1)) < 0.05
    x = tf.constant(pixels.astype("float32"))
    ways = {
        "one pass": one_pass(x),
        "alternating": alternating(x, shared=False),
        "alternating, shared": alternating(x, shared=True),
    }
    seconds = timing.in_turn(list(ways.values()), FLAGS.repeats)
    print(f"tensorflow, batch {FLAGS.batch_size}, {FLAGS.repeats} steps")
    timing.table(
        ["", "ms per step", "steps per second", "ratio to one pass"],
        [
            [
                name,
                timing.spread(1000 * own, 1),
                f"{1 / np.median(own):.1f}",
                timing.spread(own / seconds[:, 0]),
            ]
            for name, own in zip(ways, seconds.T, strict=True)
        ],
    )


if __name__ == "__main__":
    app.run(main)
