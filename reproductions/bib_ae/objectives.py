r"""Every objective of the BIB-AE paper on one data set: what each of its four terms is.

    python reproductions/bib_ae/objectives.py                       # digits
    python reproductions/bib_ae/objectives.py --dataset mnist --data_dir FOLDER

All models have dense networks with two hidden layers of 256 and 16 code dimensions, and
see grey pixels as Bernoulli probabilities; they differ in their terms alone (Sec. 4,
Eq. 26 to 36). Each run leaves one JSON record; a finished run is never run twice and an
interrupted one resumes. From the records come objectives.md and, where models are left,
a picture of what they generate. The paper has no experiments: protocol and numbers are
ours.
"""

import functools
import pathlib

import keras
import numpy as np
from absl import app, flags

from echo_keras import (
    experiments,
    image_experiments,
    losses,
    metrics,
    networks,
    objectives,
    plots,
    training,
    wae_experiments,
)
from echo_keras.experiments import number
from echo_keras.layers import (
    EchoBottleneck,
    GaussianBottleneck,
    MarginalKLPenalty,
    QuantizedBottleneck,
    conv_discriminator,
    dense_discriminator,
)
from echo_keras.metrics import disentanglement
from echo_keras.studies import records

OUT_DIR = "runs/bib_ae_objectives"
CODE, HIDDEN = 16, (256, 256)
# Name in the table, equation.
NAMED = {
    "vae": ("VAE", "30"),
    "beta_vae": ("beta-VAE, beta 4", "31"),
    "aae": ("AAE", "32"),
    "stochastic_aae": ("AAE, stochastic", "32"),
    "info_vae": ("InfoVAE", "33"),
    "gan": ("GAN", "24"),
    "vae_gan": ("VAE/GAN", "34"),
    "bib_ae": ("BIB-AE", "26"),
    "shannon_ae": ("Shannon AE", "35"),
    "generative_compression": ("Generative compression", "36"),
    "echo": ("Echo", "11"),
    "wae": ("WAE", "32, MMD"),
    "vim": ("VIM, logistic", "32, MMD"),
    "vcae": ("VCAE", "-"),
}
PROTOCOL = {
    "epochs": 40,
    "batch_size": 100,
    "learning_rate": 1e-3,
    "schedule": "paper",
    "train_limit": None,
}

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum("named", list(NAMED), list(NAMED), "Objectives, by name.")


def main(argv):
    out, dataset = image_experiments.prepare(argv, OUT_DIR)
    configs = [
        {
            "dataset": FLAGS.dataset,
            "method": name,
            "seed": seed,
            "samples": FLAGS.samples,
            "compared": FLAGS.compared,
            **image_experiments.chosen(PROTOCOL),
        }
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for name in FLAGS.named
    ]
    # Here and once: runs in other processes then only load the network.
    wae_experiments.features(FLAGS.dataset, FLAGS.data_dir, out)
    try:
        experiments.run_all(train_and_measure, out, configs, run_name, dataset.checksum)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_table(out)}\n")
    draw(out, dataset, [c for c in configs if c["seed"] == FLAGS.seed])


def run_name(config):
    """A file name that tells runs apart."""
    return wae_experiments.run_name(config, {**PROTOCOL, "compared": 10_000})


def build(config, image_shape):
    """The model of a named objective; weights of terms are 1 unless said here."""
    name = config["method"]
    encoder = functools.partial(networks.dense_encoder, image_shape, HIDDEN)
    decoder = functools.partial(
        networks.dense_decoder, output_shape=image_shape, hidden=HIDDEN
    )
    pair = encoder, decoder, CODE
    codes = {"discriminator": dense_discriminator(HIDDEN)}
    # The decoder's gradient is not normalised as GANs' are: distortions are of the
    # order of 100 nats, and term D of 1.
    images = {
        "discriminator": conv_discriminator((32, 64)),
        "logits": True,
        "weight": 5.0,
    }
    of_each_dimension = {"groups": CODE}
    if name == "gan":
        return objectives.gan(decoder, CODE, image_shape, **images)
    if name == "info_vae":
        term = MarginalKLPenalty(-1.0, **codes, name="marginal_kl")
        return objectives.info_vae(*pair, term)
    arguments = {
        "vae": {},
        "beta_vae": {"beta": 4.0},
        "aae": {"weight": 10.0, **codes},
        "stochastic_aae": {"weight": 10.0, "stochastic": True, **codes},
        "vae_gan": images,
        "bib_ae": {"code_discriminator": codes["discriminator"], **images},
        "shannon_ae": {"codewords": 16, **of_each_dimension},
        "generative_compression": {
            "codewords": 16,
            **of_each_dimension,
            **images,
        },
        "echo": {"d_max": config["batch_size"] - 1},
        "wae": {"weight": 1000.0},
        "vim": {"weight": 1000.0, "prior": "logistic"},
        "vcae": {"weight": 10.0, "noise_variance": 0.05},
    }[name]
    function = {"beta_vae": "vae", "stochastic_aae": "aae"}.get(name, name)
    return getattr(objectives, function)(*pair, **arguments)


def optimizer(rate):
    """Adam, and for discriminators Adam at a rate of their own."""
    discriminators = keras.optimizers.Adam(1e-3, beta_1=0.5)
    return training.with_discriminator_optimizer(
        keras.optimizers.Adam(rate), discriminators
    )


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""
    without = config["method"] == "gan"
    record = image_experiments.train_and_measure(
        config,
        lambda images, steps: build(config, images.shape[1:]),
        experiments.run_folder(out, run_name(config)),
        data_dir,
        tensorboard,
        echoes=["bank"],
        loss=losses.ZeroLoss() if without else losses.Bernoulli(),
        optimizer=optimizer,
        measure=lambda model, dataset: measured(model, dataset, config, out, data_dir),
    )
    return {"experiment": "bib_ae_objectives", **record}


def measured(model, dataset, config, out, data_dir):
    """The four terms, as far as a model has them, and the quality of its images."""
    last = {}
    log = model.evaluate(
        dataset.x_test, dataset.x_test, batch_size=100, verbose=0, return_dict=True
    )
    if "gan_penalty" in log:
        last["D"] = log["gan_penalty"]
    if config["method"] != "gan":
        represent = disentanglement.representation(model, noisy=True, seed=1)
        z = metrics.map_batches(represent, dataset.x_train)
        z_test = metrics.map_batches(represent, dataset.x_test)
        last["B"] = divergence_from_normal(z, z_test)
        last["posterior"] = metrics.aggregate_posterior(z_test)
    if any(isinstance(layer, GaussianBottleneck) for layer in model.layers):
        last["A"] = metrics.evaluate(model, dataset.x_test)["rate"]
    real = wae_experiments.some(dataset.x_test, config["compared"])
    network, described = wae_experiments.features(
        config["dataset"], data_dir, pathlib.Path(out)
    )
    images = generated(model, len(real))
    found = wae_experiments.distances(network, real, {"prior": images})
    return {"terms": last, "fid": {**described, **found}}


def divergence_from_normal(z, z_test):
    """KL[q(z) || N(0, I)] by a discriminator of its own, trained after the model: nats.

    Comparable between objectives, as a model's own discriminator is not. Codes without noise
    may fill no volume: the divergence is then infinite, and the number a sign of it.
    """
    keras.utils.set_random_seed(0)
    inputs = keras.Input(z.shape[1:])
    layer = MarginalKLPenalty(0.0, dense_discriminator((128, 128)), seed=0)
    discriminator = keras.Model(inputs, layer(inputs))
    discriminator.compile(keras.optimizers.Adam(1e-3), loss=losses.ZeroLoss())
    rows = np.random.RandomState(0).permutation(len(z))[:10_000]
    discriminator.fit(z[rows], z[rows], batch_size=250, epochs=10, verbose=0)
    with metrics.no_gradients():
        ratio = metrics.map_batches(
            lambda x: keras.ops.convert_to_numpy(layer.penalty(x)), z_test
        )
    return float(np.mean(ratio))


def generated(model, n):
    """n images of a model: from N(0, I), or from the marginal that the channel has."""
    of_their_own = EchoBottleneck, QuantizedBottleneck
    z = np.random.RandomState(0).normal(size=(n, CODE)).astype("float32")
    for layer in model.layers:
        if isinstance(layer, of_their_own):
            with metrics.no_gradients():
                z = keras.ops.convert_to_numpy(layer.sample(n))
    logits = wae_experiments.decoded(model.get_layer("decoder"), z)
    return 1.0 / (1.0 + np.exp(-logits))


def write_table(out):
    """Writes objectives.md from the records in `out`; returns it."""
    keys = ["dataset", "epochs", "train_limit"]
    groups = records.by_protocol(records.read(out), keys)
    parts = [section(protocol, runs) for protocol, runs in groups]
    text = "\n\n".join(["# The objectives of the BIB-AE paper", *parts])
    (out / "objectives.md").write_text(text + "\n")
    return text


def section(protocol, runs):
    """One table in Markdown: what shares data and a protocol."""
    order = list(NAMED)
    runs = sorted(
        runs, key=lambda r: (order.index(r["config"]["method"]), r["config"]["seed"])
    )
    body = []
    for run in runs:
        title, equation = NAMED[run["config"]["method"]]
        terms, test = run["terms"], run["test"]["bank"]
        posterior = terms.get("posterior", {})
        compares = run["config"]["method"] not in ("gan", "aae", "wae", "vim")
        body.append(
            [
                title,
                equation,
                run["config"]["seed"],
                number(terms.get("A")),
                number(terms.get("B")),
                number(posterior.get("mmd"), ".4f"),
                number(None if title == "GAN" else test["distortion"]),
                number(terms.get("D")),
                number(test["rate"] if compares else None),
                number(run["fid"]["prior"]),
            ]
        )
    features = runs[0]["fid"]["features"]
    header = ["Objective", "Eq.", "seed", "A", "B", "MMD", "C", "D", "rate", features]
    return (
        f"## {protocol['dataset']}: {wae_experiments.own_protocol(protocol)}\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Nats per test image. A: KL[q(z|x) || N(0, I)]; B: KL[q(z) || N(0, I)] by a "
        "discriminator trained after the model; MMD to N(0, I); C: cross-entropy of grey "
        "pixels; D: KL[p_D(x) || p(x)] by the model's own discriminator; rate: what the "
        "channel reports, exact for Echo, a code length for quantised codes. "
        f"{features}: Fréchet distance of generated images, from N(0, I) or, for Echo "
        "and quantised codes, from their own marginals; Echo's is made of the codes of "
        "training images in its bank, and so nearer to reconstructions. "
        f"{wae_experiments.provenance(runs)}"
    )


def draw(out, dataset, configs):
    """Generated images, a row for each objective."""
    rows = {}
    for config in configs:
        model = experiments.load_model(out, run_name(config))
        if model is not None:
            rows[NAMED[config["method"]][0]] = generated(model, 12)
    if rows:
        plots.image_rows(rows, out / f"{dataset.name}-generated.png")


if __name__ == "__main__":
    app.run(main)
