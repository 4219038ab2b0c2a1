r"""What bfloat16 adds to the -ELBO of one and the same model.

    python reproductions/table1.py --dataset binary_mnist --data_dir FOLDER \
        --epochs 20 --train_limit 10000 --precision mixed_bfloat16 \
        --runs 2 --out_dir RUNS
    python benchmarks/precision.py --data_dir FOLDER --checkpoints RUNS/checkpoints

Evaluates each model that was trained in bfloat16 on the test images in its own
precision and, with the same weights, in float32: nats per image. Noise differs between
two evaluations, which --repeats of them average out.
"""

import json
import pathlib
import zipfile

import keras
import numpy as np
import timing
from absl import app, flags

from echo_keras import data, metrics

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Folder with the data set's file.")
flags.DEFINE_string("dataset", "binary_mnist", "Data set.")
flags.DEFINE_string("checkpoints", None, "Folder of run folders.", required=True)
flags.DEFINE_string("runs", "*epochs20-train_limit10000*mixed_bfloat16*", "Which.")
flags.DEFINE_integer("repeats", 2, "Evaluations of each.", lower_bound=1)


def in_float32(path):
    """The model of a checkpoint, with layers of float32."""
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json").decode()
    config = config.replace('"mixed_bfloat16"', '"float32"')
    model = keras.saving.deserialize_keras_object(json.loads(config))
    for own, other in zip(
        model.variables, keras.saving.load_model(path).variables, strict=True
    ):
        own.assign(other)
    return model


def main(_):
    x, rows = data.load(FLAGS.dataset, FLAGS.data_dir).x_test, []
    for folder in sorted(pathlib.Path(FLAGS.checkpoints).glob(FLAGS.runs)):
        path = folder / "checkpoint.keras"
        pair = in_float32(path), keras.saving.load_model(path)
        found = [
            [metrics.evaluate(model, x, echoes="batch")["neg_elbo"] for model in pair]
            for _ in range(FLAGS.repeats)
        ]
        single, half = np.mean(found, axis=0)
        rows.append(
            [folder.name, f"{half:.3f}", f"{single:.3f}", f"{half - single:+.3f}"]
        )
    timing.table(["run", "bfloat16", "float32", "difference"], rows)


if __name__ == "__main__":
    app.run(main)
