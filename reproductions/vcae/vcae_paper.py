"""What the scripts of Variance Constrained Autoencoding share: methods and runs.

A script defines what it varies, calls `run_all` with the configurations it wants, and
reads their records. A finished run is never run twice. (Table 3, disentanglement, has
networks and data of its own.)
"""

import json
import pathlib

import keras
import numpy as np
from absl import flags

from echo_keras import (
    experiments,
    image_experiments,
    latent_flow,
    metrics,
    networks,
    objectives,
    wae_experiments,
)
from echo_keras.layers import IAFBlock
from echo_keras.losses import SquaredError

OUT_DIR = "runs/vcae"
METHODS = {
    "vcae": "VCAE",
    "cwae": "cWAE",
    "dvcae": "dVCAE",
    "wae": "WAE",
    "vae": "VAE",
    "vae-iaf": "VAE + IAF",
}
NOISELESS = ("dvcae", "wae")

# MNIST (App. B.3). The rate of learning is cut in half after 30 epochs, and to a fifth
# of that after 50. VAE + IAF trains twice as long at a tenth of the rate.
GENERATION = {
    "code": 16,
    "noise": 0.05,
    "epochs": 100,
    "batch_size": 100,
    "learning_rate": 1e-3,
    "schedule": "paper",
    "train_limit": None,
    "filters": 128,
    "flow_epochs": 100,
}
CELEBA = {**GENERATION, "code": 64, "epochs": 70}
# Codes in the plane (App. B.1, B.2, C.1). The paper does not say for how many epochs:
# as many as on MNIST otherwise.
PLANE = {
    **GENERATION,
    "code": 2,
    "noise": 0.01,
    "batch_size": 200,
    "learning_rate": 1e-4,
    "schedule": "constant",
}
UNKNOWN = {"epochs": None, "flow_epochs": None}  # of codes in the plane
CUTS = [(30, 0.5), (50, 0.1)]
# On the embedded digits, to see a script run: minutes instead of days.
DIGITS = {
    "epochs": 20,
    "batch_size": 50,
    "learning_rate": 1e-3,
    "filters": 16,
    "flow_epochs": 20,
}

FLAGS = flags.FLAGS
flags.DEFINE_integer("flow_epochs", None, "Epochs of the second stage.", 1)


def protocol(paper, method=None, **changes):
    """The paper's protocol for a method, with what the flags and a script change."""
    own = {}
    if method == "vae-iaf":
        own = {
            "epochs": 2 * paper["epochs"],
            "learning_rate": paper["learning_rate"] / 10,
        }
    if FLAGS.dataset == "digits":
        own = {**own, **DIGITS}
    return {**image_experiments.chosen({**paper, **own}), **changes}


def configuration(method, seed, paper, weight=None, **changes):
    """Everything that decides a run's numbers, given the data.

    Args:
        method: One of `METHODS`.
        seed: Int >= 0.
        paper: One of the protocols above.
        weight: The method's lambda, if it has one.
        **changes: Of the protocol.
    """
    config = {
        "dataset": FLAGS.dataset,
        "method": method,
        "seed": seed,
        "samples": FLAGS.samples,
        "compared": FLAGS.compared,
        **protocol(paper, method, **changes),
    }
    if method not in ("vae", "vae-iaf"):
        config["weight"] = weight
    if method not in ("vcae", "cwae"):
        del config["noise"]
    return config


def run_name(config):
    """A file name that tells runs apart."""
    parts = [f"code{config['code']}"]
    parts += [f"{k}{config[k]:g}" for k in ("noise", "weight") if k in config]
    paper = {k: v for k, v in GENERATION.items() if k not in ("code", "noise")}
    name = {**config, "method": "-".join([config["method"], *parts])}
    return wae_experiments.run_name(name, paper)


def build(config, image_shape):
    """The networks of Table 4 under the method's objective."""
    method, code, filters = config["method"], config["code"], config["filters"]
    pair = (
        networks.wae_encoder(image_shape, filters),
        lambda units: networks.wae_decoder(units, image_shape, filters),
        code,
    )
    if method == "vae":
        return objectives.vae(*pair)
    if method == "vae-iaf":
        # The paper does not list this flow: as many steps as the second stage has.
        flow = IAFBlock(steps=6, hidden=(64, 64), mean_only=False, name="iaf")
        return objectives.vae(*pair, flow=flow, context=True, context_units=code)
    fixed = {"weight": config["weight"], "noise_variance": config.get("noise")}
    if method in ("vcae", "dvcae"):
        return objectives.vcae(*pair, **fixed)
    return objectives.wae(*pair, **fixed)


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""
    folder = experiments.run_folder(out, run_name(config))
    schedule = config["schedule"]
    if schedule == "paper":
        # A shorter training is cut at the same shares of its epochs.
        full = CELEBA if config["dataset"] == "celeba" else GENERATION
        whole = full["epochs"] * (2 if config["method"] == "vae-iaf" else 1)
        share = config["epochs"] / whole
        schedule = [(end * share, factor) for end, factor in CUTS]

    def measure(model, dataset):
        return measured(model, dataset, config, folder, out, data_dir)

    record = image_experiments.train_and_measure(
        config,
        lambda images, steps: build(config, images.shape[1:]),
        folder,
        data_dir,
        tensorboard,
        echoes=["bank"],
        loss=SquaredError(),
        schedule=schedule,
        measure=measure,
    )
    return {"experiment": "vcae", **record}


def measured(model, dataset, config, folder, out, data_dir):
    """Errors, the aggregate posterior, and with a second stage the images' quality."""
    train = wae_experiments.some(dataset.x_train, 10_000)
    z = metrics.encode(model, dataset.x_train)
    found = {
        "train": wae_experiments.error(model, train),
        "train_mean": wae_experiments.error(model, train, noisy=False),
        "test_mean": wae_experiments.error(model, dataset.x_test, noisy=False),
        "posterior": metrics.aggregate_posterior(z),
    }
    if config["flow_epochs"] is None:
        return found
    sampler = second_stage(model, dataset, config, folder)
    real = wae_experiments.some(dataset.x_test, config["compared"])
    n = len(real)
    normal = np.random.RandomState(0).normal(size=(n, z.shape[1])).astype("float32")
    codes = {
        "prior": normal,
        "gaussian": wae_experiments.matched_gaussian(z, n),
        "posterior": z[np.random.RandomState(0).permutation(len(z))[:n]],
    }
    if sampler is not None:
        with metrics.no_gradients():
            codes["flow"] = keras.ops.convert_to_numpy(sampler.sample(n))
    decoder = model.get_layer("decoder")
    images = {k: wae_experiments.pixels(decoder, c) for k, c in codes.items()}
    images["training images"] = wae_experiments.some(dataset.x_train, n)
    network, described = wae_experiments.features(
        config["dataset"], data_dir, pathlib.Path(out)
    )
    found["fid"] = {**described, **wae_experiments.distances(network, real, images)}
    return found


def second_stage(model, dataset, config, folder):
    """The flow fitted to the codes of the training images; None for VAE + IAF.

    Kept in the run's folder: called again it is loaded and not trained.
    """
    if config["method"] == "vae-iaf":  # as in the paper: only the prior is sampled
        return None
    kept = folder / "flow"
    history = kept / "history.json"
    done = len(json.loads(history.read_text())) if history.exists() else 0
    if done == config["flow_epochs"]:
        return keras.saving.load_model(kept / "checkpoint.keras").layers[-1]
    of_mnist = config["dataset"] != "celeba"
    chain = latent_flow.maf_chain if of_mnist else latent_flow.real_nvp_chain
    # Fixed noise is drawn afresh for each batch (Algorithm 1); a VAE's once.
    fresh = config.get("noise", 0.0)
    return latent_flow.fit_latent_flow(
        metrics.encode(model, dataset.x_train, noisy=not fresh),
        chain(seed=config["seed"]),
        epochs=config["flow_epochs"],
        noise_variance=fresh,
        directory=kept,
        seed=config["seed"],
    )


def run_all(out, dataset, configs):
    """Trains what has no record yet; returns the records, in order."""
    if any(config["flow_epochs"] for config in configs):
        # Here and once: runs in other processes then only load the network.
        wae_experiments.features(FLAGS.dataset, FLAGS.data_dir, out)
    return experiments.run_all(
        train_and_measure, out, configs, run_name, dataset.checksum
    )


def load_model(out, config):
    """The trained model of a run, or None with a line that says it is gone."""
    return experiments.load_model(out, run_name(config))


def label(config):
    """A run in tables and figures: its method and its noise."""
    name = METHODS[config["method"]]
    if config["method"] in NOISELESS:
        return f"{name} (no noise)"
    return f"{name} (noise {config['noise']:g})" if "noise" in config else name
