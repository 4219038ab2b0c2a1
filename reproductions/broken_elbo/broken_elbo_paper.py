"""What the scripts of Fixing a Broken ELBO share: model families and their study.

A family is named by its encoder, decoder and marginal, each simple (-) or complex (+),
and v for a VampPrior: "-+v" has the simple encoder, the PixelCNN++ decoder and the
VampPrior. "e-" and "e+" have the Echo channel, whose rate needs no marginal, and "+" is
the PixelCNN++ decoder alone, without a code: the auto-decoding limit.

Complex encoders are Gaussians followed by an inverse autoregressive flow (IAF). The
paper does not say whether the flow sees the image. `--flows` offers both:

    conditional  the encoder's features are a context of each step, as in Kingma et al.
                 (2016), and e(z|x) is no Gaussian. The default: a complex encoder.
    fixed        one map T for all images. e(z|x) with T is the simple encoder with
                 another marginal and decoder, m(T(.)) and d(.|T(.)): T has determinant
                 1, so these "complex encoders" add nothing to the simple one's.

Grey data sets are made binary for PixelCNN++ and for -ELBOs that can be compared: each
pixel is sampled once (`--binarize=static`, the default, so that the data have one
entropy), in every epoch (dynamic), or cut at one half (threshold). Grey pixels would be
targets whose own entropy, 45.7 nats an image of Omniglot, no model goes below.
"""

import functools
import itertools
import json
import math
import pathlib

import keras
import numpy as np

from echo_keras import data, layers, metrics, networks, objectives, training
from echo_keras.layers.echo_bottleneck import PARAMETRIZATIONS
from echo_keras.layers.echo_noise import max_scale
from echo_keras.layers.pixelcnn import CONDITIONING, SHORTCUTS
from echo_keras.model import RateDistortionModel
from echo_keras.studies import Study, mean
from echo_keras.studies.records import get
from echo_keras.studies.study import keep

PUBLISHED = json.loads(
    (pathlib.Path(__file__).parents[1] / "published" / "broken_elbo.json").read_text()
)
LATENT_DIM = 64
ENCODERS = {"-": "Gaussian", "+": "IAF", "e": "Echo", "": "none"}
DECODERS = {"-": "deconvolutions", "+": "PixelCNN++"}
MARGINALS = {"-": "normal", "+": "MAF", "v": "VampPrior", "": "Echo's own"}
TWELVE = ["".join(family) for family in itertools.product("-+", "-+", "-+v")]
FAMILIES = [*TWELVE, "e-", "e+", "+"]
FLOWS = ["conditional", "fixed"]
DATASETS = [name for name, of in data.DATASETS.items() if of.shape == (28, 28, 1)]
OURS = {"parametrization": "scaled", "binarize": "static", "generated": 0}
PIXELCNN = {"conditioning": "image", "shortcuts": "distinct"}  # arguments of the layer
POINT = ("test.bank.rate", "test.bank.distortion")


def parts(config):
    """The names of a model's encoder, decoder and marginal."""
    family = config["family"]
    if family == "+":
        return "none", DECODERS["+"], "none"
    encoder, decoder, marginal = f"{family} "[:3]
    encoder = ENCODERS[encoder]
    if encoder == "IAF" and config.get("flow") == "fixed":
        encoder = "IAF, fixed"
    return encoder, DECODERS[decoder], MARGINALS[marginal.strip()]


def configure(config):
    """Without what a family, an objective or a data set does not have."""
    encoder, decoder, marginal = parts(config)
    unused = ["target"] if config["target"] is None else ["beta", "annealing"]
    if encoder == "none":  # no rate to weigh
        unused += ["beta", "target", "annealing", "generated"]
    # Echo has no density.
    unused.append("generated" if encoder == "Echo" else "parametrization")
    if "IAF" not in encoder:
        unused.append("flow")
    if decoder != "PixelCNN++":
        unused.append("features")
    for key, usual in PIXELCNN.items():
        if decoder != "PixelCNN++" or config[key] == usual:
            unused.append(key)
    if encoder == "none":
        unused.append("conditioning")
    if marginal != "VampPrior":
        unused.append("pseudo_inputs")
    if data.DATASETS[config["dataset"]].binary:
        unused.append("binarize")
    return {k: v for k, v in config.items() if k not in unused}


def build(config, dataset):
    """The autoencoder of a family (App. F).

    Where a flow and a VampPrior meet ("+-v", "++v"), the mixture is of the encoder's
    densities after the flow. If all of them have the same flow, its determinant cancels
    in the rate: so the rate is taken before the flow, and codes pass it on the way to
    the decoder. With a conditional flow each density would cost an inverse, 64 passes
    for each pseudo-input. There the mixture is of the Gaussians before the flow: a
    marginal like any other, under which the rate remains an upper bound.
    """
    encoder, decoder, marginal = parts(config)

    def pixelcnn(_=None):
        how = {key: config[key] for key in PIXELCNN if key in config}
        return layers.PixelCNN(config["features"], name="decoder", **how)

    if encoder == "none":
        inputs = keras.Input(dataset.x_train.shape[1:])
        return RateDistortionModel(inputs, pixelcnn()(inputs))
    if "target" in config:
        beta = layers.TargetRateL1(config["target"])
    elif config["annealing"]:
        steps = config["annealing"] * STUDY.steps_per_epoch(config, dataset)
        beta = layers.BetaSchedule(steps, end=config["beta"])
    else:
        beta = config["beta"]
    code = (
        networks.conv_encoder(gated=True),
        functools.partial(networks.conv_decoder, gated=True)
        if decoder == "deconvolutions"
        else pixelcnn,
        LATENT_DIM,
        beta,
    )
    if encoder == "Echo":
        kind, d_max = config["parametrization"], config["batch_size"] - 1
        return objectives.echo(*code, parametrization=kind, d_max=d_max)
    arguments = {"variance_activation": "softplus"}
    if marginal == "MAF":
        arguments["marginal"] = layers.MAFMarginal(name="maf")
    if marginal == "VampPrior":
        arguments["marginal"] = layers.VampPrior(learned_weights=True, name="vamp")
        pseudo = layers.PseudoInputs(config["pseudo_inputs"], name="pseudo")
        pseudo.adapt(dataset.x_train, "mean", noise=0.05)
        arguments["pseudo_inputs"] = pseudo
    if encoder == "IAF":
        arguments |= {"flow": layers.IAFBlock(name="iaf"), "context": True}
    if encoder == "IAF, fixed":
        flow = layers.IAFBlock(name="iaf")
        before = marginal == "VampPrior"
        arguments |= {"penalties": [flow]} if before else {"flow": flow}
    return objectives.vae(*code, **arguments)


class FamilyStudy(Study):
    """A study that makes grey data sets binary.

    A decoder alone has no code: its rate is 0, and its error the -ELBO.
    """

    def load(self, config, data_dir=None):
        name, limit = config["dataset"], config.get("train_limit")
        how = config.get("binarize")
        key = name, limit, how, data_dir
        return keep(key, data.load, name, data_dir, binarize=how, limit=limit)

    def test(self, run):
        found = super().test(run)
        for values in () if has_code(run.model) else found.values():
            values |= {"rate": 0.0, "rate_se": 0.0}
            for end in ("", "_se"):
                values[f"neg_elbo{end}"] = values[f"distortion{end}"]
        return found


def least_rate(run):
    """The lowest rate that a model's channel can have, in nats: Echo's is not 0."""
    channel = run.model.get_layer("bottleneck").channel if has_code(run.model) else None
    return getattr(channel, "min_rate", 0.0)


def has_code(model):
    return "bottleneck" in [layer.name for layer in model.layers]


def mean_image(run):
    """Nats per test image of a decoder that knows the mean of each pixel alone."""
    x, dataset = run.dataset.x_test, run.dataset
    mean = np.clip(dataset.x_train.mean(axis=0, dtype="float64"), 1e-3, 1 - 1e-3)
    pixels = x.mean(axis=0, dtype="float64")
    nats = -pixels * np.log(mean) - (1 - pixels) * np.log1p(-mean)
    return float(nats.sum())


def generative(run):
    """E and G of App. C, from as many images as --generated says."""
    n = run.config.get("generated")
    if not n:
        return None
    return metrics.generative_information(run.model, n, seed=run.config["seed"])


# App. F. As many pseudo-inputs as in the VampPrior's own paper.
STUDY = FamilyStudy(
    "broken_elbo",
    build,
    {"schedule": "paper", "features": 64, "pseudo_inputs": 500, "annealing": 0}
    | OURS
    | PIXELCNN,
    quick={"digits": {"epochs": 20, "learning_rate": 1e-3, "features": 16}},
    vary={"family": FAMILIES, "flow": FLOWS}
    | {"beta": [0.1, 0.15, 0.5, 0.9, 1.0, 1.1, 2.0, 10.0], "target": [None]},
    configure=configure,
    optimizer=training.NormalizedAdam,
    measures={
        "least_rate": least_rate,
        "mean_image": mean_image,
        "generative": generative,
    },
    unstated=["batch_size", "pseudo_inputs", *OURS, *PIXELCNN],
    described={
        "flow": "Of conditional, which sees the image, and fixed; or all.",
        "features": "Channels of PixelCNN++.",
        "pseudo_inputs": "Components of the VampPrior.",
        "annealing": "Epochs in which beta rises linearly from 0.",
        "parametrization": "Of Echo; see echo_keras.layers.EchoBottleneck.",
        "target": "Rates to aim at, in nats, instead of betas.",
        "binarize": "How grey pixels are made binary.",
        "conditioning": "How the code reaches PixelCNN++; see echo_keras.layers.",
        "shortcuts": "Of PixelCNN++; repeated in models of earlier versions.",
        "generated": "Images drawn from each model for E and G (App. C); 0 for none.",
    },
    choices={"parametrization": list(PARAMETRIZATIONS)}
    | {"conditioning": CONDITIONING, "shortcuts": SHORTCUTS}
    | {"binarize": ["static", "dynamic", "threshold"]},
)


def category(rate, distortion, least_rate=0.0, mean_image=math.inf):
    """What kind of encoder a model is, by the share of its nats that its code carries.

    A rule of our own, which puts the models that the paper names (Sec. 4, Fig. 4) where
    the paper has them.

    Args:
        rate, distortion: Of the model, in nats.
        least_rate: The lowest rate of its channel. A rate within a nat of it says
            nothing of what the code is used for.
        mean_image: Distortion of a decoder that knows but the mean of each pixel. A
            model that is no better has learned nothing.

    >>> [category(r, d) for r, d in ((0.0004, 80.6), (6.2, 74.1), (120.3, 8.1))]
    ['autodecoder', 'semantic encoder', 'syntactic encoder']
    >>> category(1.85, 543.0, mean_image=206.0), category(12.0, 86.7, least_rate=11.5)
    ('untrained', 'at its least rate')
    """
    if distortion >= mean_image:
        return "untrained"
    if rate < least_rate + 1.0:
        return "at its least rate" if least_rate else "autodecoder"
    share = rate / (rate + distortion)
    if share <= 0.2:
        return "semantic encoder"
    return "syntactic encoder" if share <= 0.95 else "autoencoder"


def kind(runs):
    """The category of a row's runs, from their records."""
    run = runs[0]
    least, blank = [
        get(run, f"measures.{name}") for name in ("least_rate", "mean_image")
    ]
    if least is None:  # records that were made before it was measured, with |f| < 1
        echo = parts(run["config"])[0] == "Echo"
        r = max_scale(run["config"]["batch_size"] - 1) if echo else 1.0
        least = -LATENT_DIM * math.log(r)
    blank = math.inf if blank is None else blank
    return category(*(mean(runs, path) for path in POINT), least, blank)


def label(config):
    """A run in tables and figures: family and objective."""
    ends = {"target": ", target {:g}", "beta": ", beta {:g}"}
    named = [text.format(config[k]) for k, text in ends.items() if k in config]
    annealed = ", annealed" if config.get("annealing") else ""
    flow = ", fixed flow" if config.get("flow") == "fixed" else ""
    if config.get("conditioning") == "layers":
        flow += ", code in layers"
    if config.get("parametrization", "scaled") != "scaled":
        flow += f", {config['parametrization'].replace('_', ' ')}"
    return config["family"] + flow + (named[0] if named else ", alone") + annealed
