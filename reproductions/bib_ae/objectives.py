"""Every objective of the BIB-AE paper on one data set: what each of its terms is.

    python reproductions/bib_ae/objectives.py                       # digits
    python reproductions/bib_ae/objectives.py --dataset mnist --data_dir FOLDER

The networks are the same; models differ in their terms alone (Sec. 4, Eq. 26 to 36).
Leaves objectives.md and a picture of what the models generate.
"""

import functools

import keras
import numpy as np
from bib_ae_paper import HIDDEN, LATENT_DIM, OF_IMAGES, PROTOCOL, dense_networks
from bib_ae_paper import optimizer as with_discriminators
from keras import ops
from scipy.special import expit

from echo_keras import losses, metrics, objectives, plots
from echo_keras.layers import (
    EchoBottleneck,
    MarginalKLPenalty,
    QuantizedBottleneck,
    conv_discriminator,
    dense_discriminator,
)
from echo_keras.studies import Column, Script, Study, Table, measures, start

# Name in the table, equation, and whether the rate is A, another's (R), or none.
NAMED = {
    "vae": ("VAE", "30", "A"),
    "beta_vae": ("beta-VAE, beta 4", "31", "A"),
    "aae": ("AAE", "32", ""),
    "stochastic_aae": ("AAE, stochastic", "32", "A"),
    "info_vae": ("InfoVAE", "33", "A"),
    "gan": ("GAN", "24", ""),
    "vae_gan": ("VAE/GAN", "34", "A"),
    "bib_ae": ("BIB-AE", "26", "A"),
    "shannon_ae": ("Shannon AE", "35", "R"),
    "generative_compression": ("Generative compression", "36", "R"),
    "echo": ("Echo", "11", "R"),
    "wae": ("WAE", "32, MMD", ""),
    "vim": ("VIM, logistic", "32, MMD", ""),
    "vcae": ("VCAE", "-", "A"),
}


def build(config, dataset):
    """The model of a named objective; weights of terms are 1 unless said here."""
    name, image_shape = config["method"], dataset.x_train.shape[1:]
    encoder, decoder = dense_networks(image_shape)
    of_codes = {"discriminator": dense_discriminator(HIDDEN)}
    images = {"discriminator": conv_discriminator((32, 64)), **OF_IMAGES}
    words = {"codewords": 16}
    if name == "gan":
        return objectives.gan(decoder, LATENT_DIM, image_shape, **images)
    if name == "info_vae":
        of_codes = MarginalKLPenalty(-1.0, **of_codes, name="marginal_kl")
        return objectives.info_vae(encoder, decoder, LATENT_DIM, of_codes)
    arguments = {
        "vae": {},
        "beta_vae": {"beta": 4.0},
        "aae": {"weight": 10.0, **of_codes},
        "stochastic_aae": {"weight": 10.0, "stochastic": True, **of_codes},
        "vae_gan": images,
        "bib_ae": {"code_discriminator": of_codes["discriminator"], **images},
        "shannon_ae": {**words, "groups": LATENT_DIM},
        "generative_compression": words
        | {"quantizer_arguments": {"groups": LATENT_DIM}, **images},
        "echo": {"d_max": config["batch_size"] - 1},
        "wae": {"weight": 1000.0},
        "vim": {"weight": 1000.0, "prior": "logistic"},
        "vcae": {"weight": 10.0, "noise_variance": 0.05},
    }[name]
    function = {"beta_vae": "vae", "stochastic_aae": "aae"}.get(name, name)
    return getattr(objectives, function)(encoder, decoder, LATENT_DIM, **arguments)


def terms(run):
    """Terms B and D in nats, as far as a model has them, and the MMD of its codes."""
    x, found = run.dataset.x_test, {}
    log = run.model.evaluate(x, x, batch_size=100, verbose=0, return_dict=True)
    if "gan_penalty" in log:
        found["D"] = log["gan_penalty"]
    if run.config["method"] != "gan":
        represent = metrics.representation(run.model, noisy=True, seed=1)
        z = metrics.map_batches(represent, run.dataset.x_train)
        z_test = metrics.map_batches(represent, x)
        found["B"] = divergence_from_normal(z, z_test)
        found["posterior"] = metrics.aggregate_posterior(z_test)
    return found


def divergence_from_normal(z, z_test):
    """KL[q(z) || N(0, I)] by a discriminator of its own, trained after the model: nats.

    Comparable between objectives, as a model's own is not. Codes without noise may fill
    no volume: the divergence is then infinite, and the number a sign of it.
    """
    keras.utils.set_random_seed(0)
    inputs = keras.Input(z.shape[1:])
    layer = MarginalKLPenalty(0.0, dense_discriminator((128, 128)), seed=0)
    discriminator = keras.Model(inputs, layer(inputs))
    discriminator.compile(keras.optimizers.Adam(1e-3), loss=losses.ZeroLoss())
    rows = np.random.RandomState(0).permutation(len(z))[:10_000]
    discriminator.fit(z[rows], z[rows], batch_size=250, epochs=10, verbose=0)
    return float(np.mean(metrics.map_batches(layer.penalty, z_test)))


def generated(model, n):
    """n images of a model: from N(0, I), or from the marginal that the channel has."""
    z = np.random.RandomState(0).normal(size=(n, LATENT_DIM)).astype("float32")
    for layer in model.layers:
        if isinstance(layer, EchoBottleneck | QuantizedBottleneck):
            z = ops.convert_to_numpy(layer.sample(n))
    return expit(metrics.decode(model.get_layer("decoder"), z))


def frechet(run):
    """Of generated images from as many test images."""
    real = metrics.evenly_spaced(run.dataset.x_test, run.config["compared"])
    return measures.frechet(run, real, {"prior": generated(run.model, len(real))})
