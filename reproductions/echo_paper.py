"""What the scripts of the Echo paper share: its study, methods and numbers."""

import functools
import json
import pathlib

import numpy as np

from echo_keras import networks, objectives
from echo_keras.layers import (
    IAFBlock,
    MAFMarginal,
    MMDPenalty,
    PseudoInputs,
    VampPrior,
)
from echo_keras.layers.echo import SAMPLINGS, SCALES
from echo_keras.layers.echo_bottleneck import PARAMETRIZATIONS
from echo_keras.studies import Study

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
# The Echo channel's arguments that are flags of the scripts, with their defaults.
ECHO = {"parametrization": "scaled", "sampling": "cyclic", "d_max": None}
ECHO |= {"scale": "diagonal", "multiplicative": False}
ECHO_DESCRIBED = {
    "parametrization": "Of Echo's f and s; see echo_keras.layers.EchoBottleneck.",
    "sampling": "How a batch provides Echo's echoes; see echo_keras.layers.EchoSample.",
    "d_max": "Echoes that are summed. Default: batch size - 1, the paper's choice.",
    "scale": "Form of Echo's S(x), which App. C leaves to the future if not diagonal.",
    "multiplicative": "Echo's z is exp(f + S e) (footnote 1).",
}
ECHO_CHOICES = {"parametrization": list(PARAMETRIZATIONS), "sampling": list(SAMPLINGS)}
ECHO_CHOICES["scale"] = list(SCALES)
LATENT_DIM = 32
PSEUDO_INPUTS = 750
PUBLISHED = json.loads(
    (pathlib.Path(__file__).parent / "published" / "echo.json").read_text()
)


def build(config, dataset):
    """The paper's network around the method's bottleneck.

    Each flow has four mean-only steps with three hidden layers of 640 units; there
    are 750 pseudo-inputs, started at the mean image plus noise; the MMD's weight is
    999 and its bandwidth 32 / sqrt 2 (Sec. 4, App. E).
    """
    method, variant = config["method"], config.get("variant", "paper")
    pair, beta = (networks.conv_encoder, networks.conv_decoder), config["beta"]
    if method == "echo":
        return objectives.echo(*pair, LATENT_DIM, beta, **echo_arguments(config))
    encoder, marginal = method.split("-") if "-" in method else ("vae", method)
    arguments = {"beta": beta}
    if encoder == "iaf" and marginal != "vamp":
        arguments["flow"] = IAFBlock(name="iaf")
    if marginal == "maf":
        arguments["marginal"] = MAFMarginal(name="maf")
    if marginal == "vamp":
        arguments["marginal"] = VampPrior(variant=variant, name="vamp")
        pseudo = PseudoInputs(PSEUDO_INPUTS, name="pseudo")
        # The published code starts all of them at one and the same image.
        noise = 0.05 if variant == "paper" else 1e-12
        pseudo.adapt(dataset.x_train, "mean", noise=noise)
        arguments["pseudo_inputs"] = pseudo
        if encoder == "iaf":
            # The mixture is evaluated before the flow, which then belongs to the
            # decoder: densities of new codes would be slow to evaluate (App. E).
            flow = IAFBlock(name="iaf")
            pair = pair[0], functools.partial(networks.conv_decoder, flow=flow)
    if marginal in ("infovae", "mmd"):
        # The published code's kernel is so narrow that the penalty vanishes.
        weight = 999.0 if variant == "paper" else 0.0
        arguments["divergence"] = MMDPenalty(weight=weight, name="mmd")
        return objectives.info_vae(*pair, LATENT_DIM, **arguments)
    return objectives.vae(*pair, LATENT_DIM, **arguments)


def echo_arguments(config):
    """Those of `objectives.echo` that ECHO makes flags of."""
    # The paper's choice of d_max, so that the batch provides all echoes.
    d_max = config["d_max"] or config["batch_size"] - 1
    return {**{key: config[key] for key in ECHO if key in config}, "d_max": d_max}


def of_echo(config):
    """The configuration, without ECHO's keys if the method is another.

    Nor with what App. C and footnote 1 only mention, where it is not asked for.
    """
    unused = [key for key in ("scale", "multiplicative") if config[key] == ECHO[key]]
    unused = unused if config["method"] == "echo" else ECHO
    return {key: value for key, value in config.items() if key not in unused}


def configure(config):
    """Without what a method does not have."""
    config = of_echo(config)
    if config["method"] not in PUBLISHED_OTHERWISE:
        del config["variant"]
    return config


def label(config):
    """The name of a method in tables and figures."""
    text = METHODS[config["method"]]
    kind = config.get("parametrization", ECHO["parametrization"])
    if kind != ECHO["parametrization"]:
        text += f" ({kind.replace('_', ' ')})"
    if config.get("sampling", ECHO["sampling"]) != ECHO["sampling"]:
        text += f" ({config['sampling'].replace('_', ' ')})"
    if config.get("scale", ECHO["scale"]) != ECHO["scale"]:
        text += f" ({config['scale']} S)"
    text += " (multiplicative)" * config.get("multiplicative", False)
    published = config.get("variant") == "published_code"
    return text + " (published code)" * published


# Sec. 5.1 and App. E. As in the paper the echoes come from the other images of the
# test batch; those from the bank are what a user's `predict` has.
STUDY = Study(
    "echo_paper",
    build,
    protocol={"schedule": "paper", "beta": 1.0, **ECHO, "variant": "paper"},
    quick={"digits": {"epochs": 40, "learning_rate": 1e-3}},
    vary={"method": list(METHODS)},
    configure=configure,
    echoes=("batch", "bank"),
    best="val_neg_elbo",
    measure_every=10,
    described={
        **ECHO_DESCRIBED,
        "variant": f"Of {', '.join(PUBLISHED_OTHERWISE)}, where paper and code differ.",
    },
    choices={
        **ECHO_CHOICES,
        "variant": ["paper", "published_code"],
    },
)


def kept(runs):
    """Of ten runs or more all but those of the highest and lowest -ELBO (Sec. 5.1)."""
    ranked = sorted(runs, key=lambda run: run["test"]["batch"]["neg_elbo"])
    return ranked[1:-1] if len(ranked) >= 10 else ranked


def standard_error(runs):
    """Of the mean -ELBO of the runs kept; NaN for one."""
    values = [run["test"]["batch"]["neg_elbo"] for run in kept(runs)]
    return np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
