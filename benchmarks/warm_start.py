"""Curves whose models start from their neighbours, against models that start anew.

    python benchmarks/warm_start.py

Rate-distortion curves of an Echo autoencoder and a VAE on digits, six betas, two seeds:
started anew with `--epochs` and with half of them; and warm, where the first beta has
all of the epochs and each other one half, upwards from the lowest beta and downwards
from the highest. A start from a neighbour is expected to be worth more than the epochs
that it saves as long as trainings are short.

Prints for each the epochs in all; the area under the front over the rates that all of
them reach, divided by that interval (a mean distortion, smaller is better); and the
-ELBO at beta 1.
"""

import argparse
import contextlib
import os
import tempfile

import keras
from timing import table

from echo_keras import data, networks, objectives, rate_distortion_curve
from echo_keras.losses import Bernoulli
from echo_keras.metrics import common_interval

BETAS = [0.1, 0.3, 0.6, 1.0, 2.0, 4.0]
CHANNELS = {"Echo": objectives.echo, "VAE": objectives.vae}


def curves(objective, epochs, seeds, digits):
    """The curve of each way to start, by its name."""

    def build(beta):
        encoder, decoder = networks.dense_encoder, networks.dense_decoder
        model = objective(
            encoder((28, 28, 1)), lambda d: decoder(d, (28, 28, 1)), 16, beta
        )
        model.compile(keras.optimizers.Adam(1e-3), Bernoulli())
        return model

    half = epochs // 2
    ways = {
        "anew": (BETAS, epochs, None),
        "anew, half the epochs": (BETAS, half, None),
        "warm, upwards": (BETAS, epochs, half),
        "warm, downwards": (BETAS[::-1], epochs, half),
    }
    found = {}
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        for name, (betas, first, warm) in ways.items():
            with contextlib.redirect_stdout(nowhere):
                found[name] = rate_distortion_curve(
                    build,
                    digits.x_train,
                    betas,
                    validation=digits.x_test,
                    seeds=seeds,
                    epochs=first,
                    warm_epochs=warm,
                    out=os.path.join(folder, name),
                )
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    digits, n = data.load("digits"), options.epochs
    warm = n + (len(BETAS) - 1) * (n // 2)
    epochs = [len(BETAS) * n, len(BETAS) * (n // 2), warm, warm]
    rows = []
    for channel, objective in CHANNELS.items():
        found = curves(objective, n, options.seeds, digits)
        low, high = common_interval({k: c.pairs for k, c in found.items()})
        for (name, curve), total in zip(found.items(), epochs, strict=True):
            mean = curve.area(low, high) / (high - low)
            (one,) = (p for p in curve.points if p.beta == 1.0)
            elbo = f"{one.neg_elbo:.1f} ± {one.neg_elbo_se:.1f}"
            rates = f"{low:.1f} to {high:.1f}"
            rows.append([channel, name, total, rates, f"{mean:.1f}", elbo])
    header = ["channel", "start", "epochs in all", "rates", "mean distortion"]
    table([*header, "-ELBO at beta 1"], rows)


if __name__ == "__main__":
    main()
