"""What the scripts of the Echo paper share: methods, protocol, flags, runs.

A script defines what it varies, calls `run_all` with the configurations it wants,
and reads their records. Each record is written once, to --out_dir, under a name
that tells its configuration; a finished run is never run twice.
"""

import functools

from absl import flags

from echo_keras import experiments, image_experiments, networks, objectives
from echo_keras.image_experiments import protocol_name
from echo_keras.layers import (
    IAFBlock,
    MAFMarginal,
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
flags.DEFINE_list("methods", ["echo", "vae"], f"Of {', '.join(METHODS)}; or all.")
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
flags.DEFINE_integer("codes", 10, "Codes of each test image in Figures 6 and 7.", 1)


@flags.validator("methods", message=f"the methods are {', '.join(METHODS)}, or all")
def _known(methods):
    return methods == ["all"] or bool(methods) and set(methods) <= set(METHODS)


def methods():
    return list(METHODS) if FLAGS.methods == ["all"] else FLAGS.methods


def prepare(argv):
    """The output folder and the data set that the flags name."""
    return image_experiments.prepare(argv, OUT_DIR)


def configuration(method, seed, **changes):
    """Everything that decides a run's numbers, given the data."""
    protocol = DIGITS_PROTOCOL if FLAGS.dataset == "digits" else PROTOCOL
    config = {
        "dataset": FLAGS.dataset,
        "method": method,
        "seed": seed,
        "samples": FLAGS.samples,
        **image_experiments.chosen(protocol),
    }
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
        return objectives.echo(
            networks.conv_encoder,
            networks.conv_decoder,
            CODE,
            beta,
            parametrization=config["parametrization"],
            d_max=config["d_max"],
        )
    encoder, marginal = method.split("-") if "-" in method else ("vae", method)
    arguments, decoder = {"beta": beta}, networks.conv_decoder
    if encoder == "iaf" and marginal != "vamp":
        arguments["flow"] = IAFBlock(name="iaf")
    if marginal == "maf":
        arguments["marginal"] = MAFMarginal(name="maf")
    if marginal == "vamp":
        variant = "published_code" if published else "paper"
        arguments["marginal"] = VampPrior(variant=variant, name="vamp")
        pseudo = PseudoInputs(PSEUDO_INPUTS, name="pseudo")
        # The code that was published starts all of them at one and the same image.
        pseudo.adapt(images, "mean", noise=1e-12 if published else 0.05)
        arguments["pseudo_inputs"] = pseudo
        if encoder == "iaf":
            # The mixture is evaluated before the flow, which then belongs to the
            # decoder: densities of new codes would be slow to evaluate (App. E).
            flow = IAFBlock(name="iaf")
            decoder = functools.partial(networks.conv_decoder, flow=flow)
    if marginal in ("infovae", "mmd"):
        # In the code that was published, the kernel of this row is so narrow that
        # the penalty vanishes.
        weight = 0.0 if published else 999.0
        arguments["marginal_kl"] = MMDPenalty(weight=weight, name="mmd")
        return objectives.info_vae(networks.conv_encoder, decoder, CODE, **arguments)
    return objectives.vae(networks.conv_encoder, decoder, CODE, **arguments)


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""
    # As in the paper the echoes come from the other images of the test batch. The
    # second result is what a user's `predict` does.
    record = image_experiments.train_and_measure(
        config,
        lambda images, steps: build(config, images),
        experiments.run_folder(out, run_name(config)),
        data_dir,
        tensorboard,
    )
    return {"experiment": "echo_paper", **record}


def load_model(out, config):
    """The trained model of a run, or None with a line that says it is gone."""
    return experiments.load_model(out, run_name(config))


def run_all(out, dataset, configs):
    """Trains what has no record yet; returns the records, in order."""
    return experiments.run_all(
        train_and_measure, out, configs, run_name, dataset.checksum
    )


def reduction(protocol):
    """Says in what a protocol departs from the paper's, or that it does not."""
    return experiments.reduction(protocol, PROTOCOL)
