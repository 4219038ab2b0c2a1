"""What the scripts of the BIB-AE paper share: networks, protocol, optimizers.

All have two hidden layers of 256 and 16 latent dimensions. The paper has no
experiments: protocols and numbers are ours.
"""

import dataclasses
import functools

import keras

from echo_keras import networks, training
from echo_keras.studies import Study

LATENT_DIM, HIDDEN = 16, (256, 256)
PROTOCOL = {"epochs": 40, "learning_rate": 1e-3, "schedule": "paper"}
# Of term D: distortions are of the order of 100 nats, and terms B and D of 1.
OF_IMAGES = {"logits": True, "weight": 5.0}


def dense(dataset):
    """Functions that return an encoder and a decoder, and the latent dimension."""
    shape = dataset.x_train.shape[1:]
    encoder = functools.partial(networks.dense_encoder, shape, HIDDEN)
    arguments = {"output_shape": shape, "hidden": HIDDEN}
    return encoder, functools.partial(networks.dense_decoder, **arguments), LATENT_DIM


# Learning rates of discriminators, by method. A discriminator of codes that is as fast
# as the encoder wins, and codes stay far from the prior.
DISCRIMINATOR_RATES = {
    **dict.fromkeys(("aae", "stochastic_aae", "info_vae"), 2e-4),
    **dict.fromkeys(("gan", "vae_gan", "bib_ae", "generative_compression"), 5e-4),
    "gpnd": 2e-4,
}


# What only their configurations have: of all methods' tables, keys of rows.
OF_ADAM = ("beta_1", "discriminator_rate")


def generator(dataset):
    """A function that returns a GAN's decoder: convolutional, as its discriminator."""
    shape = dataset.x_train.shape[1:]
    return functools.partial(networks.wae_decoder, output_shape=shape, filters=16)


def discriminators(config):
    """What the configuration of a method with discriminators has besides."""
    rate = DISCRIMINATOR_RATES.get(config.get("method", "").replace("-", "_"))
    return {} if rate is None else {"beta_1": 0.5, "discriminator_rate": rate}


def optimizers(runs):
    """A sentence for the note under a table on runs with discriminators, or None."""
    rates = {run["config"].get("discriminator_rate") for run in runs} - {None}
    if not rates:
        return None
    shown = " or ".join(f"{rate:g}" for rate in sorted(rates))
    return f"Methods with discriminators: Adam's beta_1 .5, discriminators at {shown}."


def protocol(config):
    """`PROTOCOL`, and what a method with discriminators has besides."""
    return {**PROTOCOL, **discriminators(config)}


def optimizer(learning_rate, of_discriminators=None, beta_1=0.9):
    """Adam, and where there are discriminators, one for them at a rate of their own."""
    adam = keras.optimizers.Adam(learning_rate, beta_1=beta_1)
    if of_discriminators is None:
        return adam
    own = keras.optimizers.Adam(of_discriminators, beta_1=0.5)
    return training.with_discriminator_optimizer(adam, own)


class BottleneckStudy(Study):
    """A study of methods whose optimizers differ, as `discriminators` says."""

    def train_one(self, config, *arguments, **named):
        found = {"of_discriminators": config.get("discriminator_rate")}
        found["beta_1"] = config.get("beta_1", 0.9)
        study = dataclasses.replace(
            self, optimizer=functools.partial(optimizer, **found)
        )
        return super(BottleneckStudy, study).train_one(config, *arguments, **named)
