"""Every objective of the BIB-AE paper on one data set: what each of its terms is.

    python reproductions/bib_ae/objectives.py                       # digits
    python reproductions/bib_ae/objectives.py --dataset mnist --data_dir FOLDER

The networks are the same, but for the GAN's decoder; models differ in their terms
(Sec. 4, Eq. 26 to 36). Leaves objectives.md and a picture of what the models generate.
"""

import math

import bib_ae_paper
import numpy as np
from bib_ae_paper import HIDDEN, LATENT_DIM, OF_ADAM, OF_IMAGES, dense
from bib_ae_samples import LAWS, codes, eight_bits, from_held_out, of_data, prior

from echo_keras import layers, losses, metrics, objectives, plots
from echo_keras.studies import (
    Claim,
    Column,
    Script,
    Table,
    compare,
    mean,
    mean_and_error,
    published,
    records,
    start,
)
from echo_keras.studies.measures import feature_network, frechet
from echo_keras.studies.table import cell, plus_minus

# Name in the table, equation, and the kind of its code: Gaussian with term A, or with
# fixed noise (F), with a rate of another kind (R), deterministic (-), or none.
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
    "vcae": ("VCAE", "-", "F"),
}
NOISE_VARIANCE = 0.05  # of VCAE's codes
COMPARED = 5000  # images by which D is estimated


def build(config, dataset):
    """The model of a named objective; weights of terms are 1 unless said here."""
    name, code = config["method"], dense(dataset)
    of_codes = {"discriminator": layers.dense_discriminator(HIDDEN)}
    images = {"discriminator": layers.conv_discriminator((32, 64)), **OF_IMAGES}
    groups, words = {"groups": LATENT_DIM}, {"codewords": 16}
    if name == "gan":
        decoder = bib_ae_paper.generator(dataset)
        shape = dataset.x_train.shape[1:]
        return objectives.gan(decoder, LATENT_DIM, shape, **images)
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
        "generative_compression": {**words, **groups, **images, "images": "both"},
        "echo": {"d_max": config["batch_size"] - 1},
        "wae": {"weight": 1000.0},
        "vim": {"weight": 1000.0, "prior": "logistic"},
        "vcae": {"weight": 10.0, "noise_variance": NOISE_VARIANCE},
    }[name]
    function = {"beta_vae": "vae", "stochastic_aae": "aae"}.get(name, name)
    return getattr(objectives, function)(*code, **arguments)


def of_codes(run):
    """Term B, and the MMD and moments of the codes of test images."""
    if run.config["method"] == "gan":
        return None
    z = metrics.encode(run.model, run.dataset.x_test, seed=1)
    draws = prior(run.config["method"]).sample(len(z))
    return {
        "B": metrics.divergence(z, np.asarray(draws)),
        "posterior": metrics.aggregate_posterior(z, prior(run.config["method"])),
    }


def of_images(run):
    """Term D, and Frechet distances, of images from the model's own law."""
    real = metrics.evenly_spaced(run.dataset.x_test, run.config["compared"])
    drawn = {"samples": metrics.images(run.model, codes(run, len(real)))}
    np.save(run.folder / "generated.npy", drawn["samples"][:12])
    if run.config["method"] == "echo":
        z = from_held_out(run, len(real))
        drawn["held_out"] = metrics.images(run.model, z)
    binary = np.isin(real, (0, 1)).all()
    pairs = (
        metrics.evenly_spaced(eight_bits(images, binary), COMPARED)
        for images in (real, drawn["samples"])
    )
    return {"D": metrics.divergence(*pairs), "fid": frechet(run, real, drawn)}


STUDY = bib_ae_paper.BottleneckStudy(
    "bib_ae_objectives",
    build,
    lambda config: {**bib_ae_paper.protocol(config), "compared": 10_000},
    vary={"method": list(NAMED)},
    loss=lambda c: (
        losses.ZeroLoss(logits=True) if c["method"] == "gan" else losses.Bernoulli()
    ),
    measures={"codes": of_codes, "images": of_images},
    prepare=feature_network,
    paper=False,
)


def named(column):
    return published(NAMED, "method", column=column)


def shown(path, form=".2f"):
    """A number with its error over images, or of several runs with their deviation."""
    of_one, of_many = plus_minus(path, form, f"{path}_se"), plus_minus(path, form)
    return lambda runs: (of_many if len(runs) > 1 else of_one)(runs)


def reported(name, kinds, form=".2f"):
    """A number of the objectives whose third column in `NAMED` is among `kinds`."""
    of = shown(f"test.bank.{name}", form)
    return lambda runs: of(runs) if named(2)(runs) in kinds else None


def divergence(path, form=".2f"):
    """A divergence with its standard error, or how far it is known."""

    def of(runs):
        found = records.get(runs[0], path)
        if not found:
            return None
        kl = mean(runs, f"{path}.kl")
        if math.isinf(kl):
            return "infinite"
        # Codes without noise may fill no volume.
        of_surface = path.endswith("B") and named(2)(runs) == "-"
        if of_surface or any(records.get(run, f"{path}.lower_bound") for run in runs):
            return f"at least {cell(kl, form)}"
        return shown(f"{path}.kl", form)(runs)

    return of


def information(runs):
    """I(X; Z): A - B of a Gaussian channel, and what is known of others."""
    kind = named(2)(runs)
    if kind == "R":
        text = shown("test.bank.rate")(runs)
        return text if runs[0]["config"]["method"] == "echo" else f"at most {text}"
    found = records.get(runs[0], "measures.codes.B")
    if kind not in ("A", "F") or not found:
        return None
    paths = "test.bank.rate", "measures.codes.B.kl"
    values = [records.get(run, paths[0]) - records.get(run, paths[1]) for run in runs]
    if any(run["measures"]["codes"]["B"]["lower_bound"] for run in runs):
        return f"at most {np.mean(values):.2f}"
    error = math.hypot(*(mean(runs, f"{path}_se") for path in paths))
    error = np.std(values, ddof=1) if len(values) > 1 else error
    return f"{np.mean(values):.2f} ± {error:.2f}"


def term_b(runs):
    """B of a method with its error: over runs, or over codes of a single one."""
    path = "measures.codes.B"
    found = mean_and_error(runs, f"{path}.kl", f"{path}.kl_se")
    if found is None:
        return None
    bound = any(records.get(run, f"{path}.lower_bound") for run in runs)
    return {"kl": found[0], "kl_se": found[1], "lower_bound": bound}


def nearer_to_normal(runs):
    """Whether a VAE's codes are nearer to N(0, I) than InfoVAE's."""
    low, high = (
        term_b([run for run in runs if run["config"]["method"] == method])
        for method in ("vae", "info_vae")
    )
    if not low or not high:
        return None
    form = "{} {}{:.2f}".format
    here = ", ".join(
        form(name, "at least " * b["lower_bound"], b["kl"])
        for name, b in (("B of the VAE", low), ("of InfoVAE", high))
    )
    if low["lower_bound"]:
        return here, None
    spread = 0.0 if high["lower_bound"] else high["kl_se"]
    gap = high["kl"] - low["kl"]
    told = abs(gap) > 2 * math.hypot(low["kl_se"], spread)
    return here, gap > 0 if told and (gap > 0 or not high["lower_bound"]) else None


def nearer_to_data(low, high):
    path = "measures.images.D.js"
    of_images = compare("method", low, high, path, error=f"{path}_se", form=".3f")

    def verdict(runs):
        found = of_images(runs)
        # Errors over images say nothing of another training.
        seeds = {run["config"]["seed"] for run in runs}
        return found if found is None or len(seeds) > 1 else (found[0], None)

    return verdict


CLAIMS = [
    Claim(
        "minus term B relaxes the condition that maps all codes to one Gaussian heap, "
        "InfoVAE against VAE (Sec. 4.1)",
        nearer_to_normal,
    ),
    Claim(
        "term D makes images of compressed codes more natural (Sec. 4.2): JS of data "
        "and generated images",
        nearer_to_data("generative_compression", "shannon_ae"),
    ),
    Claim(
        "fidelity is ensured by C and D together (Sec. 3.3): JS of data and generated "
        "images, with D and without",
        nearer_to_data("vae_gan", "vae"),
    ),
]
NOTE = (
    "Nats per test image, with standard errors over images, of several runs with the "
    "standard deviation over them. A: KL[q(z|x) || N(0, I)]. B: KL[q(z) "
    "|| p(z)] and MMD, between codes of test images and draws from N(0, I), for VIM "
    "the logistic; quantised codes are infinitely far from a density, and codes "
    "without noise at least as far as a discriminator sees. I(X; Z): A - B of "
    "Gaussian channels; Echo's is that of the population whenever q(z) has a density; "
    "a code's length is the most that a quantised one carries. C: the Bernoulli "
    "cross-entropy. D: KL[p_D(x) || p(x)] between test images and generated ones, JS "
    "their Jensen-Shannon divergence, log 2 = .693 where none is taken for another; "
    "both with 256 levels of a pixel, or drawn where pixels are binary. B and D come "
    "from discriminators trained after the model, cross-fitted over five folds, on "
    'the same test images for every row; "at least": what the samples do not resolve '
    "is bounded from below with 95 % confidence. Rate: KL to N(0, I), which VCAE does "
    "not have, so that its rate may exceed the capacity of its channel; a code length "
    "for quantised codes. Images come from the law in the last column but two: a flow "
    "fitted to the codes of training images, frequencies of codewords, or the bank of "
    "Echo's last training images, which are nearer to reconstructions; held-out: "
    "echoes of images that it was not trained on."
)


def note(runs):
    of_adam = bib_ae_paper.optimizers(runs)
    return " ".join(filter(None, [NOTE, of_adam, of_data(runs)]))


def features(runs):
    found = [records.get(run, "measures.images.fid.features") for run in runs]
    return next(filter(None, found), "FID")


TABLE = Table(
    STUDY,
    [
        Column("Objective", named(0)),
        Column("Eq.", named(1)),
        Column("runs", len, "d"),
        Column("A", reported("rate", ["A"])),
        Column("B", divergence("measures.codes.B")),
        Column("I(X; Z)", information),
        Column("MMD", shown("measures.codes.posterior.mmd", ".4f")),
        Column("C", reported("distortion", ["A", "F", "R", "-"])),
        Column("D", divergence("measures.images.D")),
        Column("JS", shown("measures.images.D.js", ".3f")),
        Column("rate", reported("rate", ["A", "F", "R"])),
        Column("capacity", "test.bank.capacity"),
        Column("images from", published(LAWS, "method")),
        Column(features, plus_minus("measures.images.fid.samples")),
        Column("held-out", plus_minus("measures.images.fid.held_out")),
    ],
    title="The objectives of the BIB-AE paper",
    name="objectives",
    rows=("method", *OF_ADAM),
    note=note,
    claims=CLAIMS,
)


def draw(results):
    """Generated images, a row for each objective."""
    rows = {}
    for config in results.configs:
        path = results.study.folder(results.out, config) / "generated.npy"
        method = config["method"]
        if config["seed"] == results.options.seed and path.exists():
            rows[f"{NAMED[method][0]}, {LAWS[method]}"] = np.load(path)
    if rows:
        plots.image_rows(rows, results.path("generated.png"))


main = Script(STUDY, [TABLE], draw)

if __name__ == "__main__":
    start(main)
