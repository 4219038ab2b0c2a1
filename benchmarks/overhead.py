"""What of a run of `reproductions/table1.py` is not training steps?

    python benchmarks/overhead.py --data_dir=FOLDER --precision=mixed_bfloat16

Times the parts of a run: training steps, the validation after each epoch, saving the
model, what the study measures every so many epochs. From them comes the share that
each has in a run on all training images if every epoch is saved twice, as the last and
as the best so far. --cpu counts the time of all cores instead of the clock's, which
other programs on the machine disturb less.
"""

import pathlib
import sys
import tempfile
import time

import keras
import timing
from absl import app, flags

from echo_keras.losses import Bernoulli
from echo_keras.studies.evaluation import validation
from echo_keras.training import Batches, Checkpoint, StopOnNaN

sys.path.append(str(pathlib.Path(__file__).parents[1] / "reproductions"))
from echo_paper import STUDY  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Folder with the data set's files.")
flags.DEFINE_string("dataset", "binary_mnist", "Which data set.")
flags.DEFINE_string("method", "vae", "Which method.")
flags.DEFINE_string("precision", "float32", "Name of a Keras dtype policy.")
flags.DEFINE_integer("images", 5000, "Images of a timed epoch.", lower_bound=100)
flags.DEFINE_integer("repeats", 3, "How often each part is timed.", lower_bound=1)
flags.DEFINE_bool("cpu", False, "Time of all cores, not the clock's.")


def parts(config, dataset, folder):
    """Functions, and how often each is called in an epoch on all images."""
    keras.config.set_dtype_policy(config["precision"])
    model = STUDY.build(config, dataset)
    model.compile(keras.optimizers.Adam(config["learning_rate"]), loss=Bernoulli())
    size, images = config["batch_size"], FLAGS.images
    batches = Batches(dataset.x_train[:images], size, seed=0)
    held_out, _ = validation(dataset)
    checkpoint = Checkpoint(folder, [])
    checkpoint.set_model(model)
    checkpoint.on_epoch_begin(0)
    steps = {"callbacks": [StopOnNaN()], "shuffle": False, "verbose": 0}
    return {
        "steps": (
            lambda: model.fit(batches, **steps),
            len(dataset.x_train) / images,
        ),
        "validation": (
            lambda: model.evaluate(held_out, batch_size=size, verbose=0),
            1,
        ),
        "saving": (lambda: checkpoint.on_epoch_end(0, {}), 2),
        "measures": (
            lambda: STUDY.watch(config, dataset, model),
            1 / STUDY.measure_every,
        ),
    }


def main(_):
    changes = {"method": [FLAGS.method], "precision": FLAGS.precision}
    (config,) = STUDY.configs(FLAGS.dataset, **changes)
    dataset = STUDY.load(config, FLAGS.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        named = parts(config, dataset, folder)
        functions = [function for function, _ in named.values()]
        clock = time.process_time if FLAGS.cpu else time.perf_counter
        seconds = timing.in_turn(functions, FLAGS.repeats, clock)
    per_epoch = seconds * [times for _, times in named.values()]
    shares = 100 * per_epoch / per_epoch.sum(axis=1, keepdims=True)
    timing.table(
        ["part", "seconds per epoch", "% of a run"],
        [
            [name, timing.spread(own, 2), timing.spread(share, 2)]
            for name, own, share in zip(named, per_epoch.T, shares.T, strict=True)
        ],
    )


if __name__ == "__main__":
    app.run(main)
