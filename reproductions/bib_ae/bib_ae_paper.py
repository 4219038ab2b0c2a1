"""What the scripts of the BIB-AE paper share: dense networks, protocol, optimizer.

The paper has no experiments: protocols and numbers are ours.
"""

import functools

import keras

from echo_keras import networks, training

LATENT_DIM, HIDDEN = 16, (256, 256)
PROTOCOL = {"epochs": 40, "learning_rate": 1e-3, "schedule": "paper"}
# Of term D, since distortions are of the order of 100 nats, and B and D of 1.
OF_IMAGES = {"logits": True, "weight": 5.0}


def dense_networks(dataset, hidden=HIDDEN):
    """A dense encoder and a function from codes' dimension to a dense decoder."""
    shape = dataset.x_train.shape[1:]
    decoder = functools.partial(
        networks.dense_decoder, output_shape=shape, hidden=hidden
    )
    return functools.partial(networks.dense_encoder, shape, hidden), decoder


def optimizer(rate, of_discriminators=None):
    """Adam, and Adam with less memory for discriminators, at the same rate if None."""
    discriminators = keras.optimizers.Adam(of_discriminators or rate, beta_1=0.5)
    return training.with_discriminator_optimizer(
        keras.optimizers.Adam(rate), discriminators
    )
