"""What the scripts of the BIB-AE paper share: dense networks, protocol, optimizer.

All have two hidden layers of 256 and 16 latent dimensions. The paper has no
experiments: protocols and numbers are ours.
"""

import functools

import keras

from echo_keras import networks, training

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


def optimizer(rate, of_discriminators=None):
    """Adam, and Adam with less memory for discriminators, at the same rate if None."""
    discriminators = keras.optimizers.Adam(of_discriminators or rate, beta_1=0.5)
    adam = keras.optimizers.Adam(rate)
    return training.with_discriminator_optimizer(adam, discriminators)
