"""Trains Echo and Gaussian models of digits, and writes the report of one of them.

    python docs/example_report.py

writes docs/_static/echo_digits.html, which the guide on reports shows, in a few minutes
on two cores.
"""

import pathlib

import keras

from echo_keras import RateDistortionModel, data, metrics, report, training
from echo_keras.layers import EchoBottleneck, GaussianBottleneck
from echo_keras.losses import Bernoulli

PAGE = pathlib.Path(__file__).parent / "_static" / "echo_digits.html"
BETAS = (0.3, 1.0, 3.0)
EPOCHS = 40


def trained(bottleneck, digits):
    """The model of README's ten lines around a bottleneck, and its history."""
    keras.utils.set_random_seed(0)
    x = keras.Input((28, 28, 1))
    h = keras.layers.Dense(256, activation="relu")(keras.layers.Flatten()(x))
    h = keras.layers.Dense(256, activation="relu")(bottleneck(h))
    logits = keras.layers.Reshape((28, 28, 1))(keras.layers.Dense(784)(h))
    model = RateDistortionModel(x, logits, name="echo_digits")
    steps = EPOCHS * -(-len(digits.x_train) // 50)
    # A rate that ends at 0 leaves a bank of rows of the last weights.
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    model.compile(keras.optimizers.Adam(rate), loss=Bernoulli())
    held_out = digits.x_valid, digits.x_valid
    stop = training.StopOnNaN()
    history = model.fit(
        digits.x_train,
        batch_size=50,
        epochs=EPOCHS,
        validation_data=held_out,
        callbacks=[stop],
        verbose=0,
    )
    return model, history


def main() -> None:
    digits = data.load("digits").hold_out(200)
    points, shown = {"Echo": [], "VAE": []}, None
    for name, layer in (("Echo", EchoBottleneck), ("VAE", GaussianBottleneck)):
        for beta in BETAS:
            model, history = trained(layer(16, beta=beta, seed=0), digits)
            found = metrics.evaluate(model, digits.x_test)
            points[name].append((found["rate"], found["distortion"]))
            print(
                name, beta, f"rate {found['rate']:.1f}, -ELBO {found['neg_elbo']:.1f}"
            )
            if (name, beta) == ("Echo", 1.0):
                shown = model, history
    print(
        report(
            shown[0],
            digits.x_train,
            digits.x_test,
            PAGE,
            title="Echo autoencoder of handwritten digits",
            description="The autoencoder of README.md with an Echo channel of 16 "
            "dimensions at beta 1, beside others at beta 0.3 and 3 and beside Gaussian "
            "channels. An example of a report, and of no other use. Data: "
            f"{digits.description}.",
            points=points,
            history=shown[1],
            date="2026-11-28",
        )
    )


if __name__ == "__main__":
    main()
