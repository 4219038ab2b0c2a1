r"""Table 2 of Variance Constrained Autoencoding: reconstruction and generation.

    python reproductions/vcae/table2.py                       # digits
    python reproductions/vcae/table2.py --dataset mnist --data_dir FOLDER
    python reproductions/vcae/table2.py --dataset celeba --data_dir FOLDER

VAE, VAE + IAF, cWAE and VCAE (Sec. 6.3, App. B.3 and B.4), then a flow fitted to the
codes of each, the second stage. Each run leaves one JSON record; a finished run is
never run twice and an interrupted one resumes. From the records come table2.md and,
where models are left, Figures 3, 6 and 7: generated images and their nearest training
images.

The quality of images is the Fréchet distance of generated images from test images in
the features of a network: of a classifier trained on the data set's own labels, or
InceptionV3 where there are none (CelebA). Distances of different networks do not
compare, and the paper's are of Inception.
"""

import keras
import numpy as np
import vcae_paper
from absl import app, flags

from echo_keras import experiments, image_experiments, metrics, plots, wae_experiments
from echo_keras.experiments import number
from echo_keras.metrics import sample_quality
from echo_keras.studies import records

OUT_DIR = "runs/vcae_table2"
TABLE = ["vae", "vae-iaf", "cwae", "vcae"]
WEIGHTS = {"mnist": {"vcae": 0.1, "cwae": 50.0}, "celeba": {"vcae": 0.5, "cwae": 750.0}}
# Training and test error, FID of the prior's and of the flow's images.
PAPER = {
    "mnist": {
        "vae": (6.16, 8.72, 23.20, 23.03),
        "vae-iaf": (6.65, 7.91, 29.30, None),
        "cwae": (1.36, 5.36, 30.08, 8.22),
        "vcae": (1.36, 5.15, None, 7.68),
    },
    "celeba": {
        "vae": (85.45, 100.16, 58.84, 54.19),
        "vae-iaf": (96.18, 120.82, 50.73, None),
        "cwae": (63.22, 96.04, 61.29, 47.09),
        "vcae": (62.76, 94.40, None, 43.14),
    },
}

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum("models", TABLE, TABLE, "Models of Table 2.")


def main(argv):
    out, dataset = image_experiments.prepare(argv, OUT_DIR)
    configs = [
        configuration(method, seed)
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for method in FLAGS.models
    ]
    try:
        vcae_paper.run_all(out, dataset, configs)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_table(out)}\n")
    draw(out, dataset, [c for c in configs if c["seed"] == FLAGS.seed])


def configuration(method, seed):
    """Everything that decides a run's numbers, given the data."""
    celeba = FLAGS.dataset == "celeba"
    paper = vcae_paper.CELEBA if celeba else vcae_paper.GENERATION
    weights = WEIGHTS["celeba" if celeba else "mnist"]
    return vcae_paper.configuration(method, seed, paper, weights.get(method))


def write_table(out):
    """Writes table2.md from the records in `out`; returns it."""
    # VAE + IAF has epochs and a learning rate of its own.
    shared = ["dataset", "code", "batch_size", "train_limit", "filters", "flow_epochs"]
    groups = records.by_protocol(records.read(out), shared)
    parts = [section(protocol, runs) for protocol, runs in groups]
    text = "\n\n".join(["# Table 2 of Variance Constrained Autoencoding", *parts])
    (out / "table2.md").write_text(text + "\n")
    return text


def section(protocol, runs):
    """One table in Markdown: what shares data and a protocol."""
    name = protocol["dataset"]
    body = []
    for run in sorted(runs, key=lambda r: TABLE.index(r["config"]["method"])):
        config, fid = run["config"], run["fid"]
        paper = PAPER.get(name, {}).get(config["method"], [None] * 4)
        body.append(
            [
                vcae_paper.METHODS[config["method"]],
                config["seed"],
                config["epochs"],
                number(run["train"]["error"]),
                number(run["test"]["bank"]["distortion"]),
                number(run["test_mean"]["error"]),
                number(run["posterior"]["summed_variance"]),
                *(number(fid.get(k)) for k in ("prior", "gaussian", "flow")),
                number(fid["posterior"]),
                *(number(x) for x in paper),
            ]
        )
    fid = runs[0]["fid"]
    header = ["Model", "seed", "epochs", "Train", "Test", "Test, code without noise"]
    header += ["sum of Var(z)", f"{fid['features']}: N(0, I)", "Gaussian", "flow"]
    header += ["codes of training images", "paper's Train", "Test", "FID N(0, I)"]
    header += ["flow"]
    paper = vcae_paper.CELEBA if name == "celeba" else vcae_paper.GENERATION
    epochs = {"epochs": max(c["config"]["epochs"] for c in runs if not of_iaf(c))}
    accuracy = fid.get("features_accuracy")
    network = (
        f"{fid['features']}: Fréchet distance of {fid['images']:,} generated images "
        f"from as many test images in the features of a network"
        + (f" that classifies {100 * accuracy:.1f} % right" if accuracy else "")
        + f"; {number(fid['training images'])} for as many training images"
    )
    return (
        f"## {name}: {experiments.reduction({**protocol, **epochs}, paper)}\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Squared error summed over pixels; Train and Test have noise on the code. "
        f"{network}. Codes come from N(0, I), from independent Gaussians of the codes' "
        "own means and variances, from the flow fitted to the codes, and from training "
        "images. "
        f"{wae_experiments.provenance(runs)}"
    )


def of_iaf(run):
    return run["config"]["method"] == "vae-iaf"


def draw(out, dataset, configs):
    """Generated images of each model, and their nearest training images."""
    generated = {}
    for config in configs:
        model = vcae_paper.load_model(out, config)
        if model is None:
            continue
        folder = experiments.run_folder(out, vcae_paper.run_name(config))
        sampler = vcae_paper.second_stage(model, dataset, config, folder)
        if sampler is None:
            noise = np.random.RandomState(0).normal(size=(12, config["code"]))
            z = noise.astype("float32")
        else:
            with metrics.no_gradients():
                z = keras.ops.convert_to_numpy(sampler.sample(12))
        images = wae_experiments.pixels(model.get_layer("decoder"), z)
        rows, _ = sample_quality.nearest_neighbours(images, dataset.x_train)
        name = vcae_paper.METHODS[config["method"]]
        generated[name] = images
        generated[f"{name}: nearest"] = dataset.x_train[rows[:, 0]]
    if generated:
        path = out / f"{dataset.name}-generated.png"
        plots.image_rows(generated, path)


if __name__ == "__main__":
    app.run(main)
