"""What the scripts of `reproductions/` share: flags, runs, and cells of tables.

A script defines what it varies, says with `run_all` which configurations it wants,
and reads their records. Each record is written once, to --out_dir, under a name that
tells its configuration; a finished run is never run twice.
"""

import json
import pathlib

import keras
import numpy as np
from absl import app, flags

from echo_keras import metrics, training
from echo_keras.data import factors
from echo_keras.metrics import disentanglement
from echo_keras.studies import records, runners

FLAGS = flags.FLAGS
flags.DEFINE_integer("runs", 1, "Runs of each kind, with seeds from --seed on.", 1)
flags.DEFINE_integer("seed", 0, "Seed of the first run.", 0)
flags.DEFINE_list("betas", None, "Weights on the rate; default: the paper's.")
flags.DEFINE_list("gammas", None, "Weights on total correlation; default: the paper's.")
flags.DEFINE_string("data_dir", None, "Folder with the data set's files.")
flags.DEFINE_string(
    "out_dir",
    None,
    "Folder for records, models, tables and figures; default: runs/ and the paper.",
)
flags.DEFINE_bool("tensorboard", False, "Also write TensorBoard logs.")
flags.DEFINE_enum("runner", "local", runners.RUNNERS, "Where the trainings run.")
flags.DEFINE_integer(
    "workers", None, "Runs at once; default: one for each GPU, or what Ray has.", 1
)
flags.DEFINE_string("address", None, "--runner=ray: a cluster to join, such as auto.")
flags.DEFINE_float("cpus_per_run", None, "--runner=ray: CPUs of a run.", 0.0)
flags.DEFINE_float("gpus_per_run", None, "--runner=ray: GPUs of a run.", 0.0)
# Of the scripts that train on images with known factors.
flags.DEFINE_integer("steps", None, "Steps of a training; default: the paper's.", 1)
flags.DEFINE_integer("votes", 10_000, "Votes that train the FactorVAE score.", 1)


def prepare(argv, out_dir):
    """Makes the output folder, --out_dir or else `out_dir`; returns it as a path.

    Raises:
        app.UsageError: the command line holds more than flags.
    """
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    out = pathlib.Path(FLAGS.out_dir or out_dir)
    out.mkdir(parents=True, exist_ok=True)
    return out


def numbers(values):
    """The floats in a list of strings, as a flag holds it; none if it is None."""
    return [float(value) for value in values or ()]


@flags.multi_flags_validator(
    ["betas", "gammas"], message="betas and gammas must be finite numbers >= 0"
)
def _are_weights(found):
    try:
        return all(
            values and all(0 <= value < float("inf") for value in numbers(values))
            for values in found.values()
            if values is not None
        )
    except ValueError:
        return False


def run_folder(out, name):
    """Where the run of that name keeps its checkpoint and logs."""
    return pathlib.Path(out) / "checkpoints" / name


def load_model(out, name):
    """The trained model of a run, or None with a line that says it is gone."""
    path = run_folder(out, name) / "checkpoint.keras"
    if path.exists():
        return keras.saving.load_model(path)
    print(f"{name}: no model is left to draw with")
    return None


def run_all(function, out, configs, name, checksum):
    """Trains what has no record yet; returns the records of all, in order.

    Args:
        function: Function of a module, `function(config, out, data_dir,
            tensorboard)`, that trains a configuration and returns its record.
        out: Path of the output folder.
        configs: Configurations, dicts.
        name: Function from a configuration to the name of its files.
        checksum: Of the data. A record made with other data is refused; a dict
            with a checksum for each data set that configurations may name.

    Raises:
        ValueError: a record was made with other data.
        runners.RunsFailed: some runs failed; the others have their records.
    """
    missing = {}
    for config in configs:
        path = out / f"{name(config)}.json"
        if not path.exists():
            missing[name(config)] = config
            continue
        done = json.loads(path.read_text())["data"]["checksum"]
        found = checksum[config["dataset"]] if isinstance(checksum, dict) else checksum
        if done != found:
            raise ValueError(
                f"{path.name} was made with other data ({done}) than the data found "
                f"now ({found}): choose another --out_dir."
            )
        print(f"{name(config)}: finished before, not run again")
    where = {
        "out": str(out.resolve()),
        "data_dir": FLAGS.data_dir and str(pathlib.Path(FLAGS.data_dir).resolve()),
        "tensorboard": FLAGS.tensorboard,
    }
    runners.run_all(
        function,
        [{"config": config, **where} for config in missing.values()],
        names=list(missing),
        runner=FLAGS.runner,
        workers=FLAGS.workers,
        address=FLAGS.address,
        cpus_per_run=FLAGS.cpus_per_run,
        gpus_per_run=FLAGS.gpus_per_run,
        on_done=lambda name, record: training.write_json(out / f"{name}.json", record),
        log_dir=out / "logs",
    )
    return [json.loads((out / f"{name(c)}.json").read_text()) for c in configs]


def reduction(protocol, paper):
    """Says in what a protocol departs from the paper's, or that it does not.

    >>> reduction({"steps": 2000, "seed": 1}, {"steps": 300_000, "batch_size": 64})
    'reduced or changed protocol: steps 2,000 (paper 300,000)'
    """
    changes = []
    for name, value in paper.items():
        if name not in protocol or protocol[name] == value:
            continue
        text = f"{name.replace('_', ' ')} {_plain(protocol[name])}"
        changes.append(text if value is None else f"{text} (paper {_plain(value)})")
    if not changes:
        return "the paper's protocol"
    return "reduced or changed protocol: " + ", ".join(changes)


def _plain(value):
    return f"{value:,}" if isinstance(value, int) else value


def number(x, form=".2f"):
    """A cell of a table.

    >>> number(1.005, ".1f"), number(None)
    ('1.0', '-')
    """
    return "-" if x is None or np.isnan(x) else format(x, form)


# Trainings on images with known factors

STEPS_PER_EPOCH = 1000  # between two checkpoints
TEST_IMAGES = 5000


def train_on_factors(config, build, folder, data_dir=None, tensorboard=False):
    """Trains on random batches of a data set with factors; returns model and record.

    Adam with a constant rate, as in Locatello et al. (2019); discriminators have their own.
    Rate and distortion are measured on random images, which the model may have been
    trained on: these data sets have no test set. The FactorVAE score and MIG are
    those of the code without noise.

    Args:
        config: Dict with dataset, seed, steps, batch_size, learning_rate and votes.
        build: Function without arguments that returns an uncompiled model.
        folder: For the checkpoint, from which an interrupted run goes on.
        data_dir, tensorboard: See `factors.load` and `training.train`.
    """
    dataset = factors.load(config["dataset"], data_dir)
    per_epoch = min(config["steps"], STEPS_PER_EPOCH)
    if config["steps"] % per_epoch:
        raise ValueError(
            f"steps must be a multiple of {per_epoch}; received {config['steps']}."
        )

    def optimizer(rate):
        adam = keras.optimizers.Adam(rate, epsilon=1e-8)
        return training.with_discriminator_optimizer(adam)

    model, history = training.train(
        build,
        dataset.batches(config["batch_size"], per_epoch, config["seed"]),
        folder,
        epochs=config["steps"] // per_epoch,
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        schedule="constant",
        optimizer=optimizer,
        seed=config["seed"],
        tensorboard=tensorboard,
    )
    rng = np.random.RandomState(config["seed"])
    count = min(TEST_IMAGES, 10 * config["votes"])  # few of all for a quick look
    x = dataset.images(dataset.sample(count, rng))
    test = {
        echoes: metrics.evaluate(
            model, x, echoes=echoes, batch_size=config["batch_size"]
        )
        for echoes in metrics.ECHOES
    }
    represent = disentanglement.representation(model)
    scores = {
        "factor_vae": disentanglement.factor_vae_score(
            represent,
            dataset,
            votes=config["votes"],
            test_votes=config["votes"] // 2,
            points=config["votes"],
            seed=config["seed"],
        ),
        "mig": disentanglement.mig(
            represent, dataset, points=config["votes"], seed=config["seed"]
        ),
    }
    record = {
        "config": config,
        "data": {
            "source": dataset.source,
            "description": dataset.description,
            "checksum": dataset.checksum,
            "images": len(dataset),
            "measured_on": f"{count} random images",
        },
        **records.environment(),
        "parameters": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "seconds": round(sum(logs["seconds"] for logs in history), 1),
        "test": test,
        "scores": scores,
        "history": history,
    }
    return model, record
