"""Every objective of the BIB-AE paper on one data set: what each of its terms is.

    python reproductions/bib_ae/objectives.py                       # digits
    python reproductions/bib_ae/objectives.py --dataset mnist --data_dir FOLDER

The networks are the same; models differ in their terms alone (Sec. 4, Eq. 26 to 36).
Leaves objectives.md and a picture of what the models generate.
"""

import functools

import numpy as np
from bib_ae_paper import HIDDEN, LATENT_DIM, OF_IMAGES, PROTOCOL, dense, optimizer
from keras import ops

from echo_keras import layers, losses, metrics, objectives, plots
from echo_keras.studies import Column, Script, Study, Table, mean, published, start
from echo_keras.studies.measures import feature_network, frechet

# Name in the table, equation, and whether the rate is A, another's (R), or none (-).
NAMED = {
    "vae": ("VAE", "30", "A"),
    "beta_vae": ("beta-VAE, beta 4", "31", "A"),
    "aae": ("AAE", "32", "-"),
    "stochastic_aae": ("AAE, stochastic", "32", "A"),
    "info_vae": ("InfoVAE", "33", "A"),
    "gan": ("GAN", "24", ""),
    "vae_gan": ("VAE/GAN", "34", "A"),
    "bib_ae": ("BIB-AE", "26", "A"),
    "shannon_ae": ("Shannon AE", "35", "R"),
    "generative_compression": ("Generative compression", "36", "R"),
    "echo": ("Echo", "11", "R"),
    "wae": ("WAE", "32, MMD", "-"),
    "vim": ("VIM, logistic", "32, MMD", "-"),
    "vcae": ("VCAE", "-", "A"),
}


def build(config, dataset):
    """The model of a named objective; weights of terms are 1 unless said here."""
    name, code = config["method"], dense(dataset)
    of_codes = {"discriminator": layers.dense_discriminator(HIDDEN)}
    images = {"discriminator": layers.conv_discriminator((32, 64)), **OF_IMAGES}
    groups, words = {"groups": LATENT_DIM}, {"codewords": 16}
    if name == "gan":
        return objectives.gan(*code[1:], dataset.x_train.shape[1:], **images)
    if name == "info_vae":
        term = layers.MarginalKLPenalty(-1.0, **of_codes, name="marginal_kl")
        return objectives.info_vae(*code, term)
    arguments = {
        "vae": {},
        "beta_vae": {"beta": 4.0},
        "aae": {"weight": 10.0, **of_codes},
        "stochastic_aae": {"weight": 10.0, "stochastic": True, **of_codes},
        "vae_gan": images,
        "bib_ae": {"code_discriminator": of_codes["discriminator"], **images},
        "shannon_ae": {**words, **groups},
        "generative_compression": {**words, **groups, **images},
        "echo": {"d_max": config["batch_size"] - 1},
        "wae": {"weight": 1000.0},
        "vim": {"weight": 1000.0, "prior": "logistic"},
        "vcae": {"weight": 10.0, "noise_variance": 0.05},
    }[name]
    function = {"beta_vae": "vae", "stochastic_aae": "aae"}.get(name, name)
    return getattr(objectives, function)(*code, **arguments)


def terms(run):
    """Terms B and D in nats, as far as a model has them, and the MMD of its codes."""
    x, found = run.dataset.x_test, {}
    log = run.model.evaluate(x, x, batch_size=100, verbose=0, return_dict=True)
    if "gan_penalty" in log:
        found["D"] = log["gan_penalty"]
    if run.config["method"] != "gan":
        represent = metrics.representation(run.model, noisy=True, seed=1)
        both = run.dataset.x_train, x
        z, z_test = (metrics.map_batches(represent, x, 500) for x in both)
        found["B"] = metrics.marginal_kl(z, z_test)
        found["posterior"] = metrics.aggregate_posterior(z_test)
    return found


def generated(model, n):
    """n images of a model: from N(0, I), or from the marginal that the channel has."""
    z = np.random.RandomState(0).normal(size=(n, LATENT_DIM)).astype("float32")
    channels = layers.EchoBottleneck, layers.QuantizedBottleneck
    for layer in model.layers:
        if isinstance(layer, channels):
            z = ops.convert_to_numpy(layer.sample(n))
    # The GAN's own loss is zero; its discriminator sees the sigmoid as well.
    images = losses.Bernoulli().mean(metrics.decode(model.get_layer("decoder"), z))
    return ops.convert_to_numpy(images)


def fid(run):
    real = metrics.evenly_spaced(run.dataset.x_test, run.config["compared"])
    return frechet(run, real, {"prior": generated(run.model, len(real))})


STUDY = Study(
    "bib_ae_objectives",
    build,
    {**PROTOCOL, "compared": 10_000},
    vary={"method": list(NAMED)},
    loss=lambda c: losses.ZeroLoss() if c["method"] == "gan" else losses.Bernoulli(),
    optimizer=functools.partial(optimizer, of_discriminators=1e-3),
    measures={"terms": terms, "fid": fid},
    prepare=feature_network,
    paper=False,
)


def named(column):
    return published(NAMED, "method", column=column)


def reported(name, kinds):
    """A number of the objectives whose third column in `NAMED` is among `kinds`."""
    path = f"test.bank.{name}"
    return lambda runs: mean(runs, path) if named(2)(runs) in kinds else None


TABLE = Table(
    STUDY,
    [
        Column("Objective", named(0)),
        Column("Eq.", named(1)),
        Column("seed", "config.seed", "g"),
        Column("A", reported("rate", ["A"])),
        Column("B", "measures.terms.B"),
        Column("MMD", "measures.terms.posterior.mmd", ".4f"),
        Column("C", reported("distortion", ["A", "R", "-"])),
        Column("D", "measures.terms.D"),
        Column("rate", reported("rate", ["A", "R"])),
        Column(
            lambda runs: runs[0]["measures"]["fid"]["features"], "measures.fid.prior"
        ),
    ],
    title="The objectives of the BIB-AE paper",
    name="objectives",
    note="Nats per test image. A: KL[q(z|x) || N(0, I)]; B: KL[q(z) || N(0, I)] by a "
    "discriminator trained after the model; MMD to N(0, I); C: cross-entropy of grey "
    "pixels; D: KL[p_D(x) || p(x)] by the model's own discriminator; rate: exact for "
    "Echo, a code length for quantised codes. FID: of images from N(0, I) or, for Echo "
    "and quantised codes, from their own marginals; Echo's is made of training images' "
    "codes, and so nearer to reconstructions.",
)


def draw(results):
    """Generated images, a row for each objective."""
    models = results.models()
    rows = {NAMED[c["method"]][0]: generated(model, 12) for c, model in models}
    if rows:
        plots.image_rows(rows, results.path("generated.png"))


main = Script(STUDY, [TABLE], draw)

if __name__ == "__main__":
    start(main)
