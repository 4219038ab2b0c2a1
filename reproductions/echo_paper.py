"""What the scripts of the Echo paper share: methods, protocol, flags, runs.

A script defines what it varies, calls `run_all` with the configurations it wants,
and reads their records. Each record is written once, to --out_dir, under a name
that tells its configuration; a finished run is never run twice.
"""

import math

from absl import flags

from echo_keras import data, evaluation, experiments, models, records, training
from echo_keras.layers import (
    EchoBottleneck,
    GaussianBottleneck,
    IAFBlock,
    MAFMarginal,
    MaskedDense,
    MMDPenalty,
    PseudoInputs,
    VampPrior,
)

# Their names in tables and figures.
METHODS = {
    "echo": "Echo",
    "vae": "VAE",
    "infovae": "InfoVAE",
    "vae-maf": "VAE-MAF",
    "vae-vamp": "VAE-Vamp",
    "iaf-prior": "IAF-Prior",
    "iaf-mmd": "IAF+MMD",
    "iaf-maf": "IAF-MAF",
    "iaf-vamp": "IAF-Vamp",
}
# The rows where the published code does something else than the paper says.
PUBLISHED_OTHERWISE = ("vae-vamp", "iaf-vamp", "iaf-mmd")
PARAMETRIZATIONS = ("standardized", "paper")
CODE = 32
PSEUDO_INPUTS = 750
OUT_DIR = "runs/echo_paper"
VALIDATION_IMAGES = 2000

# What the paper trains with (Sec. 5.1, App. E), and what a reduced run is measured
# against.
PROTOCOL = {
    "epochs": 200,
    "batch_size": 100,
    "learning_rate": 3e-4,
    "schedule": "paper",
    "beta": 1.0,
    "train_limit": None,
}
DIGITS_PROTOCOL = {**PROTOCOL, "epochs": 40, "learning_rate": 1e-3}

FLAGS = flags.FLAGS
flags.DEFINE_enum("dataset", "digits", data.names(), "Data set.")
flags.DEFINE_list("methods", ["echo", "vae"], f"Of {', '.join(METHODS)}; or all.")
flags.DEFINE_integer("epochs", None, "Paper: 200.", 1)
flags.DEFINE_integer("batch_size", None, "Paper: 100.", 2)
flags.DEFINE_float("learning_rate", None, "Of Adam. Paper: 3e-4.", 0.0)
flags.DEFINE_enum(
    "schedule",
    None,
    training.SCHEDULES,
    "Second half of training: linear to 0 as in the paper, rising as in the code that "
    "was published, or constant.",
)
flags.DEFINE_enum(
    "parametrization",
    "standardized",
    PARAMETRIZATIONS,
    "Of Echo's f and s; see echo_keras.layers.EchoBottleneck.",
)
flags.DEFINE_bool(
    "as_published",
    False,
    f"{', '.join(PUBLISHED_OTHERWISE)}: as in the code that was published, where it "
    "differs from the paper. No effect on the other methods.",
)
flags.DEFINE_integer("train_limit", None, "Train on the first so many images.", 1)
flags.DEFINE_integer("samples", 1, "Codes drawn for each test image. Paper: 1.", 1)
flags.DEFINE_integer("codes", 10, "Codes of each test image in Figures 6 and 7.", 1)


@flags.validator("methods", message=f"the methods are {', '.join(METHODS)}, or all")
def _known(methods):
    return methods == ["all"] or bool(methods) and set(methods) <= set(METHODS)


def methods():
    return list(METHODS) if FLAGS.methods == ["all"] else FLAGS.methods


def prepare(argv):
    """The output folder and the data set that the flags name."""
    out = experiments.prepare(argv, OUT_DIR)
    dataset = data.load(FLAGS.dataset, FLAGS.data_dir, limit=FLAGS.train_limit)
    print(
        f"{dataset.name}: {dataset.description}\n"
        f"{dataset.source}, {len(dataset.x_train)} training and "
        f"{len(dataset.x_test)} test images, checksum {dataset.checksum}"
    )
    return out, dataset


def configuration(method, seed, **changes):
    """Everything that decides a run's numbers, given the data."""
    protocol = DIGITS_PROTOCOL if FLAGS.dataset == "digits" else PROTOCOL
    config = {
        "dataset": FLAGS.dataset,
        "method": method,
        "seed": seed,
        "samples": FLAGS.samples,
    }
    for name, value in protocol.items():
        chosen = FLAGS[name].value if name in FLAGS else None
        config[name] = value if chosen is None else chosen
    if method == "echo":
        config["parametrization"] = FLAGS.parametrization
        # The paper's choice, so that the batch provides all echoes.
        config["d_max"] = config["batch_size"] - 1
    if FLAGS.as_published and method in PUBLISHED_OTHERWISE:
        config["as_published"] = True
    return {**config, **changes}


def run_name(config):
    """A file name that tells runs apart."""
    method = config["method"]
    if config.get("parametrization") == "paper":
        method += "-as_in_paper"
    if config.get("as_published"):
        method += "-as_published"
    return f"{config['dataset']}-{method}-{protocol_name(config)}-seed{config['seed']}"


def protocol_name(config):
    """The epochs, and what else departs from the paper's protocol."""
    parts = [f"{config['epochs']}epochs"]
    if config["train_limit"]:
        parts.append(f"{config['train_limit']}images")
    if config["beta"] != 1:
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


def label(config):
    """The name of a method in tables and figures."""
    text = METHODS[config["method"]]
    if config.get("parametrization") == "paper":
        text += " (paper's f and s)"
    return text + " (as published)" * bool(config.get("as_published"))


def build(config, images):
    """The paper's network around the method's bottleneck.

    Each flow has four mean-only steps with three hidden layers of 640 units; there
    are 750 pseudo-inputs, started at the mean image plus noise; the MMD's weight is
    999 and its bandwidth 32 / sqrt 2 (Sec. 4, App. E).

    Args:
        config: As `configuration` returns it.
        images: Training images, for the pseudo-inputs.
    """
    method, beta = config["method"], config["beta"]
    published = config.get("as_published", False)
    if method == "echo":
        bottleneck = EchoBottleneck(
            CODE,
            parametrization=config["parametrization"],
            d_max=config["d_max"],
            beta=beta,
            name="bottleneck",
        )
        return models.conv_autoencoder(bottleneck)
    encoder, marginal = method.split("-") if "-" in method else ("vae", method)
    parts, arguments = {}, {}
    if encoder == "iaf" and marginal != "vamp":
        arguments["flow"] = IAFBlock(name="iaf")
    if marginal == "maf":
        arguments["marginal"] = MAFMarginal(name="maf")
    if marginal == "vamp":
        arguments["marginal"] = VampPrior(as_published=published, name="vamp")
        pseudo = parts["pseudo_inputs"] = PseudoInputs(PSEUDO_INPUTS, name="pseudo")
        # The code that was published starts all of them at one and the same image.
        pseudo.adapt(images, "mean", noise=1e-12 if published else 0.05)
        if encoder == "iaf":
            # The mixture is evaluated before the flow, which then belongs to the
            # decoder: densities of new codes would be slow to evaluate (App. E).
            parts["flow"] = IAFBlock(name="iaf")
    if marginal in ("infovae", "mmd"):
        # In the code that was published, the kernel of this row is so narrow that
        # the penalty vanishes.
        weight = 0.0 if published else 999.0
        parts["penalty"] = MMDPenalty(weight=weight, name="mmd")
    bottleneck = GaussianBottleneck(CODE, beta=beta, name="bottleneck", **arguments)
    return models.conv_autoencoder(bottleneck, **parts)


def parameters(model):
    """Trainable weights: all, and those that autoregressive masks leave."""
    dense = sum(math.prod(w.shape) for w in model.trainable_weights)
    masked = sum(
        layer.count_params() - layer.effective_params
        for layer in model._flatten_layers()
        if isinstance(layer, MaskedDense)
    )
    return {"parameters": dense - masked, "dense_parameters": dense}


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""
    dataset = data.load(config["dataset"], data_dir, limit=config["train_limit"])
    every = max(1, len(dataset.x_test) // VALIDATION_IMAGES)
    model, history = training.train(
        lambda: build(config, dataset.x_train),
        dataset.x_train,
        experiments.run_folder(out, run_name(config)),
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        schedule=config["schedule"],
        seed=config["seed"],
        binarize=dataset.binarize == "dynamic",
        validation=dataset.x_test[::every],
        tensorboard=tensorboard,
    )
    # As in the paper the echoes come from the other images of the test batch. The
    # second result is what a user's `predict` does.
    test = {
        echoes: evaluation.evaluate(
            model,
            dataset.x_test,
            samples=config["samples"],
            echoes=echoes,
            batch_size=config["batch_size"],
        )
        for echoes in evaluation.ECHOES
    }
    return {
        "experiment": "echo_paper",
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
        "history": history,
    }


def load_model(out, config):
    """The trained model of a run, or None with a line that says it is gone."""
    return experiments.load_model(out, run_name(config))


def run_all(out, dataset, configs):
    """Trains what has no record yet; returns the records, in order."""
    return experiments.run_all(
        train_and_measure, out, configs, run_name, dataset.checksum
    )


def twelve(dataset):
    """A dozen test images from all over the file, which may be sorted."""
    return dataset.x_test[:: max(1, len(dataset.x_test) // 12)][:12]


def reduction(protocol):
    """Says in what a protocol departs from the paper's, or that it does not."""
    return experiments.reduction(protocol, PROTOCOL)
