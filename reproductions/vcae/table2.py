r"""Table 2 of Variance Constrained Autoencoding: reconstruction and generation.

    python reproductions/vcae/table2.py                       # digits
    python reproductions/vcae/table2.py --dataset mnist --data_dir FOLDER
    python reproductions/vcae/table2.py --dataset celeba --data_dir FOLDER

VAE, VAE + IAF, cWAE and VCAE (Sec. 6.3, App. B.3, B.4), then a flow fitted to the codes
of each, the second stage; and Figures 3, 6 and 7: generated images and their nearest
training images. Quality is the Frechet distance from test images in the features of a
classifier trained on the data set's own labels, or of InceptionV3 where there are none:
distances of different networks do not compare, and the paper's are of Inception.
"""

import keras
import numpy as np
from vcae_paper import (
    METHODS,
    MODELS,
    PUBLISHED,
    STUDY,
    between_constraints,
    capacity,
    draw_codes,
    features,
    pixels,
    second_stage,
    weights_of,
    with_choice,
)

from echo_keras import metrics, plots
from echo_keras.studies import Claim, Column, Option, Script, Table, published, start


def vary(options):
    """The models that --models names, each with the lambda of the data set."""
    weights = weights_of(options.dataset)
    return {("method", "weight"): [(m, weights.get(m)) for m in options.models]}


def paper(column):
    return published(PUBLISHED["table2"], "dataset", "method", column=column)


def note(runs):
    found = runs[0]["measures"]["fid"]
    accuracy = found.get("features_accuracy")
    right = f" that classifies {100 * accuracy:.1f} % right" if accuracy else ""
    return (
        "Squared error summed over pixels, for a VAE the likelihood of a Gaussian of "
        "variance 1/2; App. B.3.2 takes the least lambda that holds the summed "
        "variance, the number of dimensions, within 1/30, or else the nearest. The "
        "rate is KL to N(0, I), a prior that VCAE does not have: its channel carries "
        "at most its capacity at the measured variance. Train and Test have noise on "
        f"the code. {found['features']}: Frechet distance of {found['images']:,} "
        "generated images from as many test images in the features of a "
        f"network{right}; "
        f"{found['training images']:.2f} for as many training images. Codes come from "
        "N(0, I), from independent Gaussians of the codes' own means and variances, "
        "from the flow fitted to the codes, and from training images."
    )


TABLE = Table(
    STUDY,
    with_choice(
        [
            Column("Model", lambda runs: METHODS[runs[0]["config"]["method"]]),
            Column("lambda", "config.weight", "g"),
            Column("runs", len, "d"),
            Column("epochs", "config.epochs", "g"),
            Column("Train", "measures.train.error"),
            Column("Test", "test.bank.distortion"),
            Column("Test, code without noise", "measures.test_mean.error"),
            Column("sum of Var(z)", "measures.posterior.summed_variance"),
            Column("excess kurtosis", "measures.posterior.excess_kurtosis"),
            Column("MMD to N(0, I)", "measures.posterior.mmd", ".4f"),
            Column("rate", "test.bank.rate"),
            Column("capacity", capacity),
            Column(features, "measures.fid.prior"),
            Column("Gaussian", "measures.fid.gaussian"),
            Column("flow", "measures.fid.flow"),
            Column("codes of training images", "measures.fid.posterior"),
            Column("log p(z) of the flow, training", "measures.flow.train"),
            Column("test", "measures.flow.test"),
            Column("paper's Train", paper(0)),
            Column("paper's Test", paper(1)),
            Column("paper's FID N(0, I)", paper(2)),
            Column("paper's FID flow", paper(3)),
        ]
    ),
    title="Table 2 of Variance Constrained Autoencoding",
    name="table2",
    rows=("method", "weight", "noise"),
    # VAE + IAF has epochs and a learning rate of its own.
    apart=("epochs", "learning_rate"),
    note=note,
    claims=[
        Claim(
            "VCAE's test error is below cWAE's (Table 2)",
            between_constraints("test.bank.distortion", "test error"),
        ),
        Claim(
            "with a flow VCAE's images are closer to the data than cWAE's (Table 2)",
            between_constraints("measures.fid.flow", "distance"),
        ),
    ],
)


def draw(results):
    """Generated images and their nearest training images; traversals, histograms."""
    rows, x_train, models = {}, results.dataset.x_train, []
    for config, model in results.models():
        models.append((config, model))
        folder = STUDY.folder(results.out, config)
        sampler = second_stage(model, results.dataset, config, folder)
        if sampler is None:
            noise = np.random.RandomState(0).normal(size=(12, config["latent_dim"]))
            z = noise.astype("float32")
        else:
            z = keras.ops.convert_to_numpy(sampler.sample(12))
        rows[METHODS[config["method"]]] = images = pixels(model, z)
        nearest, _ = metrics.nearest_neighbours(images, x_train)
        rows[f"{METHODS[config['method']]}: nearest"] = x_train[nearest[:, 0]]
    if rows:
        plots.image_rows(rows, results.path("generated.png"))
    few = metrics.evenly_spaced(results.dataset.x_test, 5000)
    draw_codes(results, METHODS, models, few)


main = Script(
    STUDY,
    [TABLE],
    draw,
    options=[Option("models", MODELS, "Models of Table 2.", [str], [*MODELS, "all"])],
    vary=vary,
)

if __name__ == "__main__":
    start(main)
