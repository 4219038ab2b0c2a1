"""Small models for the audit's tests, their data, and one check of them."""

import keras
import numpy as np
from tools import small_networks

import echo_keras
from echo_keras import losses, objectives


def binary(n, seed=0):
    """Eight pixels of two independent causes, so that two dimensions tell something."""
    random = np.random.RandomState(seed)
    cause = np.repeat(random.uniform(0.1, 0.9, (n, 2)), 4, axis=1)
    return (random.uniform(size=(n, 8)) < cause).astype("float32")


X, X_TRAIN = binary(300, 1), binary(600, 2)


def trained(kind="echo", beta=0.02, epochs=8):
    keras.utils.set_random_seed(0)
    encoder, decoder = small_networks()
    # The more echoes, the lower the lowest rate.
    kwargs = {"d_max": 49, "bank_size": 256} if kind == "echo" else {}
    build = {"echo": objectives.echo, "vae": objectives.vae}[kind]
    model = build(encoder, decoder, 2, beta=beta, **kwargs)
    model.compile(keras.optimizers.Adam(0.02), loss=losses.Bernoulli())
    model.fit(X_TRAIN, batch_size=100, epochs=epochs, verbose=0)
    return model


def one(name, model, x=X, x_train=X_TRAIN, **kwargs):
    """The finding of one check, or None; what is skipped fails."""
    audit = echo_keras.audit(model, x, x_train, checks=[name], **kwargs)
    assert not audit.skipped, audit.skipped
    return audit[name] if audit else None


def bottleneck(model):
    return model.get_layer("bottleneck")
