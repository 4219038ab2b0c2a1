"""What the scripts of `reproductions/` share that train on a set of images.

The flags that choose data and protocol, and a run from its configuration to its record.
See `experiments` for what all scripts share.
"""

import math

import keras
from absl import flags

from echo_keras import data, experiments, metrics, training
from echo_keras.layers import MaskedDense
from echo_keras.studies import records

VALIDATION_IMAGES = 2000
SAVE_SECONDS = 20.0  # to save a model of short epochs takes longer than to train it

FLAGS = flags.FLAGS
flags.DEFINE_enum("dataset", "digits", data.names(), "Data set.")
flags.DEFINE_integer("epochs", None, "Default: the paper's.", 1)
flags.DEFINE_integer("batch_size", None, "Default: the paper's.", 2)
flags.DEFINE_float("learning_rate", None, "Of Adam. Default: the paper's.", 0.0)
flags.DEFINE_enum(
    "schedule",
    None,
    training.SCHEDULES,
    "Second half of training: linear to 0 as in the papers, rising as in the code that "
    "was published, or constant.",
)
flags.DEFINE_integer("train_limit", None, "Train on the first so many images.", 1)
flags.DEFINE_integer("samples", 1, "Codes drawn for each test image.", 1)


def prepare(argv, out_dir):
    """The output folder and the data set that the flags name."""
    out = experiments.prepare(argv, out_dir)
    dataset = data.load(FLAGS.dataset, FLAGS.data_dir, limit=FLAGS.train_limit)
    print(
        f"{dataset.name}: {dataset.description}\n"
        f"{dataset.source}, {len(dataset.x_train)} training and "
        f"{len(dataset.x_test)} test images, checksum {dataset.checksum}"
    )
    return out, dataset


def chosen(protocol):
    """A protocol, with what the flags say in the place of its values."""
    found = {name: FLAGS[name].value for name in protocol if name in FLAGS}
    return {**protocol, **{k: v for k, v in found.items() if v is not None}}


def protocol_name(config):
    """What tells protocols apart in file names: the epochs, and departures."""
    parts = [f"{config['epochs']}epochs"]
    if config["train_limit"]:
        parts.append(f"{config['train_limit']}images")
    if config.get("beta", 1) != 1:
        parts.append(f"beta{config['beta']:g}")
    if config["batch_size"] != 100:
        parts.append(f"batch{config['batch_size']}")
    if config["schedule"] != "paper":
        parts.append(config["schedule"])
    if config["learning_rate"] != 3e-4:
        parts.append(f"rate{config['learning_rate']:g}")
    if config["samples"] != 1:
        parts.append(f"{config['samples']}samples")
    return "-".join(parts)


def train_and_measure(
    config,
    build,
    folder,
    data_dir=None,
    tensorboard=False,
    echoes=metrics.ECHOES,
    optimizer=keras.optimizers.Adam,
    loss=None,
    schedule=None,
    treat=None,
    measure=None,
):
    """One run, from its configuration to its record. Resumes; writes no record.

    Args:
        config: Dict with dataset, seed, epochs, batch_size, learning_rate, schedule,
            train_limit and samples.
        build: Function of the training images and the steps of an epoch that returns
            an uncompiled `RateDistortionModel`.
        folder: For the checkpoint, from which an interrupted run goes on.
        data_dir, tensorboard: See `data.load` and `training.train`.
        echoes: The ways to evaluate; see `metrics.evaluate`.
        optimizer, loss: See `training.train`.
        schedule: In the place of the configuration's; see `training.train`.
        treat: Function from the data set to the one that is trained and measured on.
        measure: Function of the trained model and the data set that returns what else
            the record shall hold, a dict.

    Returns:
        The record, a dict.
    """
    dataset = data.load(config["dataset"], data_dir, limit=config["train_limit"])
    if treat is not None:
        dataset = treat(dataset)
    steps = math.ceil(len(dataset.x_train) / config["batch_size"])
    # No more than there are to train on, or the logs would take longer than training.
    count = min(VALIDATION_IMAGES, len(dataset.x_train))
    every = max(1, len(dataset.x_test) // count)
    model, history = training.train(
        lambda: build(dataset.x_train, steps),
        dataset.x_train,
        folder,
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        schedule=schedule or config["schedule"],
        loss=loss,
        optimizer=optimizer,
        seed=config["seed"],
        binarize=dataset.binarize == "dynamic",
        validation=dataset.x_test[::every],
        tensorboard=tensorboard,
        save_seconds=SAVE_SECONDS,
    )
    test = {
        way: metrics.evaluate(
            model,
            dataset.x_test,
            samples=config["samples"],
            echoes=way,
            batch_size=config["batch_size"],
        )
        for way in echoes
    }
    return {
        "config": config,
        "data": {
            "source": dataset.source,
            "description": dataset.description,
            "checksum": dataset.checksum,
            "training_images": len(dataset.x_train),
            "test_images": len(dataset.x_test),
            "validation": f"every {every}. test image" if every > 1 else "test images",
        },
        **records.environment(),
        **parameters(model),
        "seconds": round(sum(logs["seconds"] for logs in history), 1),
        "test": test,
        **(measure(model, dataset) if measure else {}),
        "history": history,
    }


def parameters(model):
    """Trainable weights: all, and those that autoregressive masks leave."""
    dense = sum(math.prod(w.shape) for w in model.trainable_weights)
    masked = sum(
        layer.count_params() - layer.effective_params
        for layer in model._flatten_layers()
        if isinstance(layer, MaskedDense)
    )
    return {"parameters": dense - masked, "dense_parameters": dense}


def twelve(dataset):
    """A dozen test images from all over the file, which may be sorted."""
    return dataset.x_test[:: max(1, len(dataset.x_test) // 12)][:12]
