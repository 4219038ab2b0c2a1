"""Drawing images from `PixelCNN`: from caches, against a pass for every pixel.

    python benchmarks/pixelcnn.py
    python benchmarks/pixelcnn.py --images=16 --features=32

The decoder of Fixing a Broken ELBO (64 features, 28 x 28 pixels). Without caches every
pixel takes a pass of the whole network over all images, 784 in all. Prints the seconds
to draw the images from caches, those of one pass compiled by the backend, and 784 times
the latter, in turn in one process: median (min to max).

Expected: with caches every feature is computed once. This is one pass, by NumPy's small
matrix products, a few times slower than the backend's convolutions.
"""

import keras
import numpy as np
import timing
from absl import app, flags

from echo_keras.layers import PixelCNN

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 100, "Images drawn at once.", lower_bound=1)
flags.DEFINE_integer("features", 64, "Channels of the network.", lower_bound=1)
flags.DEFINE_integer("repeats", 3, "Timings of each.", lower_bound=1)
SIZE, LATENT_DIM = 28, 64


def main(_):
    image, code = keras.Input((SIZE, SIZE, 1)), keras.Input((LATENT_DIM,))
    decoder = PixelCNN(FLAGS.features, seed=0)
    model = keras.Model([image, code], decoder([image, code]))
    z = np.random.default_rng(0).standard_normal((FLAGS.images, LATENT_DIM), "float32")
    x = decoder.sample(z)
    seconds = timing.in_turn(
        [
            lambda: decoder.sample(z),
            lambda: model.predict([x, z], batch_size=FLAGS.images, verbose=0),
        ],
        FLAGS.repeats,
    )
    cached, one_pass = seconds.T
    backend = keras.backend.backend()
    print(f"{backend}, {FLAGS.images} images, {FLAGS.features} features")
    timing.table(
        ["", "seconds", "ratio to caches"],
        [
            ["from caches", timing.spread(cached, 2), "1"],
            ["one pass", timing.spread(one_pass, 2), timing.spread(one_pass / cached)],
            [
                f"{SIZE**2} passes, computed",
                timing.spread(SIZE**2 * one_pass, 0),
                timing.spread(SIZE**2 * one_pass / cached, 0),
            ],
        ],
    )


if __name__ == "__main__":
    app.run(main)
