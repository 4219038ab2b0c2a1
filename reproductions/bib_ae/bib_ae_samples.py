"""What the models of the BIB-AE paper's table generate from: each from its own law."""

import math

import keras
import numpy as np
from bib_ae_paper import LATENT_DIM
from keras import ops

from echo_keras import latent_flow, metrics
from echo_keras.layers import Logistic, StandardNormal
from echo_keras.layers.backend import no_gradients

NORMAL, CODEBOOK = "N(0, I)", "its codewords"
LAWS = {
    **dict.fromkeys(("vae", "beta_vae", "aae", "stochastic_aae", "info_vae"), NORMAL),
    **dict.fromkeys(("gan", "vae_gan", "bib_ae", "wae"), NORMAL),
    **{"shannon_ae": CODEBOOK, "generative_compression": CODEBOOK},
    **{"echo": "training codes", "vim": "the logistic", "vcae": "a flow"},
}
FLOW_EPOCHS = 50


def prior(method):
    """The prior of a model, and N(0, I) for one that has none; of unit variance."""
    if method == "vim":
        law = Logistic(math.sqrt(3) / math.pi, seed=0)
    else:
        law = StandardNormal(seed=0)
    law.build((None, LATENT_DIM))
    return law


def codes(run, n):
    """n codes from the law in `LAWS`."""
    method = run.config["method"]
    law = prior(method)
    if method == "vcae":
        law = flow(run)
    elif method in ("echo", "shannon_ae", "generative_compression"):
        law = run.model.get_layer("bottleneck")
    return ops.convert_to_numpy(law.sample(n))


def flow(run):
    """The law of a model's codes, learned from those of training images."""
    bottleneck = run.model.get_layer("bottleneck")
    return latent_flow.fit_latent_flow(
        metrics.encode(run.model, run.dataset.x_train, noisy=False),
        epochs=min(FLOW_EPOCHS, run.config["epochs"]),
        batch_size=500,
        learning_rate=3e-3,
        noise_variance=bottleneck.channel.noise_variance,
        directory=run.folder / "flow",
        seed=run.config["seed"],
    )


def from_held_out(run, n):
    """n codes that are echoes of images which the model was not trained on.

    Validation images, where there are none test images. The bank holds them while codes
    are drawn: as many draws for each filling, of other images.
    """
    x = run.dataset.x_test if run.dataset.x_valid is None else run.dataset.x_valid
    bottleneck = run.model.get_layer("bottleneck")
    encoder = keras.Model(run.model.input, bottleneck.input)
    size = bottleneck.channel.bank_size
    count = math.ceil(len(x) / size)
    # Each filling takes all of the bank, and the last has images again.
    rows = np.resize(np.random.RandomState(0).permutation(len(x)), count * size)
    before = bottleneck.get_weights()
    drawn = []
    try:
        for k, filling in enumerate(np.split(rows, count)):
            of_this = n * (k + 1) // count - n * k // count
            features = metrics.map_batches(encoder, x[filling])
            with no_gradients():
                # In training mode the rows of a batch go to the front of the bank.
                bottleneck(ops.convert_to_tensor(features), training=True)
                drawn.append(ops.convert_to_numpy(bottleneck.sample(of_this)))
    finally:
        bottleneck.set_weights(before)
    return np.concatenate(drawn)


def eight_bits(images, binary=False):
    """Images as files keep them: 256 levels of a pixel, or two, which are drawn."""
    if binary:
        noise = np.random.RandomState(0).random_sample(images.shape)
        return (noise < images).astype("float32")
    return np.round(255.0 * np.clip(images, 0.0, 1.0)) / 255.0


def of_data(runs):
    """What records of MNIST do not say of its split and its pixels, for notes."""
    data = runs[0]["data"]["description"]
    if not data.startswith("MNIST") or "60000" in data:
        return None
    return (
        "Grey pixels; 50,000 of MNIST's 60,000 training images are for training, the "
        "others are not used."
    )
