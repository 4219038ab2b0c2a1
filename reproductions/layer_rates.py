r"""How many nats pass the layers of a small classifier of MNIST.

    python reproductions/layer_rates.py --data_dir FOLDER

Trains a network of two convolutions and three dense layers on the first 5,000 training
images and reads, behind each layer, the rate of a Gaussian channel at which the
outputs, as distributions of the class of test images, are .1 nats away from what they
are without it (a KL divergence); see `echo_keras.probe`. Not of any paper. Writes
layer_rates.json, all that was read, and layer_rates.md, a table made of it.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics

import keras
import numpy as np
import scipy.special

from echo_keras import data
from echo_keras._files import write_json
from echo_keras.probe import RateProbe
from echo_keras.studies import markdown

LAYERS = ("conv_1", "conv_2", "dense_1", "dense_2", "logits")


def classifier():
    """10 logits of an image."""
    conv = {"kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"}
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(8, name="conv_1", **conv),
            keras.layers.Conv2D(16, name="conv_2", **conv),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu", name="dense_1"),
            keras.layers.Dense(32, activation="relu", name="dense_2"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss=loss)
    return model


def softmax(logits):
    return scipy.special.softmax(logits, axis=1)


def read(dataset, seed, epochs, probe_epochs, tolerance, layers=LAYERS):
    """A dict for each layer of a network that is trained with a seed."""
    keras.utils.set_random_seed(seed)
    model, x = classifier(), dataset.x_train
    model.fit(x, dataset.y_train, batch_size=50, epochs=epochs, verbose=0)
    # Its own distributions: what else would the channel learn of 5,000 labels?
    y, y_test = (softmax(model.predict(a, verbose=0)) for a in (x, dataset.x_test))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)

    def accuracy(targets, outputs):
        return np.mean(np.argmax(outputs, axis=1) == dataset.y_test)

    found = []
    for layer in layers:
        probe = RateProbe(model, layer, tolerance, loss=loss, score=accuracy)
        reading = probe.fit(x, y, (dataset.x_test, y_test), epochs=probe_epochs)
        numbers = int(np.prod(model.get_layer(layer).output.shape[1:]))
        found.append({"seed": seed, "numbers": numbers, **vars(reading)})
        print(f"seed {seed}, {layer}: {reading.rate:.2f} nats", flush=True)
    return found


def table(content):
    """A row for each layer: means over seeds, with standard errors."""

    def cell(readings, key, form):
        values = [reading[key] for reading in readings]
        error = statistics.stdev(values) / len(values) ** 0.5 if values[1:] else 0
        return f"{statistics.fmean(values):{form}} ± {error:{form}}"

    rows = []
    for layer in dict.fromkeys(r["layer"] for r in content["readings"]):
        one = [r for r in content["readings"] if r["layer"] == layer]
        row = [layer, f"{one[0]['numbers']:,}", cell(one, "rate", ".2f")]
        rows.append(
            [*row, cell(one, "score_without", ".3f"), cell(one, "score", ".3f")]
        )
    header = ["layer", "numbers", "nats that pass", "accuracy"]
    header += ["with the channel"]
    seeds = len({reading["seed"] for reading in content["readings"]})
    return (
        "# Nats that pass the layers of a classifier\n\n"
        f"{markdown(header, rows)}\n\n{content['data']}. {seeds} trainings of "
        f"{content['epochs']} epochs, divergence {content['tolerance']} nats, "
        f"{content['probe_epochs']} epochs for each beta; means over trainings and "
        "their standard errors, of test images.\n"
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir")
    parser.add_argument("--train_limit", type=int, default=5000)
    parser.add_argument("--test_limit", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--probe_epochs", type=int, default=8)
    parser.add_argument("--tolerance", type=float, default=0.1)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--out_dir", default="runs/layer_rates")
    options = parser.parse_args(arguments)
    out = pathlib.Path(options.out_dir)
    out.mkdir(parents=True, exist_ok=True)
    dataset = data.load("mnist", options.data_dir, limit=options.train_limit)
    # Files may be sorted.
    order = np.random.RandomState(0).permutation(len(dataset.x_test))
    order = order[: options.test_limit]
    content = {
        key: getattr(options, key) for key in ("epochs", "probe_epochs", "tolerance")
    }
    said = f"{dataset.description}; {len(order):,} test images"
    content |= {"data": said, "checksum": dataset.checksum, "readings": []}
    dataset = dataclasses.replace(
        dataset, x_test=dataset.x_test[order], y_test=dataset.y_test[order]
    )
    for seed in range(options.runs):
        keys = ("epochs", "probe_epochs", "tolerance")
        content["readings"] += read(dataset, seed, *(content[key] for key in keys))
        write_json(out / "layer_rates.json", content)
        (out / "layer_rates.md").write_text(table(content))
    print(table(json.loads((out / "layer_rates.json").read_text())))


if __name__ == "__main__":
    main()
