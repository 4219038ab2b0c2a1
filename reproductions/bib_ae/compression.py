r"""Rate against distortion of quantised, Echo and Gaussian codes, and bytes on disk.

    python reproductions/bib_ae/compression.py                       # digits
    python reproductions/bib_ae/compression.py --dataset mnist --data_dir FOLDER

Autoencoders with dense networks and 16 code dimensions (BIB-AE paper, Sec. 4.2, Eq.
35): quantised codes of 2 to 64 codewords for each dimension, and Echo and Gaussian
channels over beta. Codes of up to 1,000 test images of each quantised model are written
to a file by echo_keras.codec and read again: the table has the bytes beside the rate.
Each run leaves one JSON record; a finished run is never run twice and an interrupted
one resumes. The paper has no experiments: protocol and numbers are ours. Needs
echo-keras[codec].
"""

import functools
import math
import pathlib
import tempfile

import numpy as np
from absl import app, flags

from echo_keras import (
    codec,
    experiments,
    image_experiments,
    metrics,
    networks,
    objectives,
    plots,
    wae_experiments,
)
from echo_keras.experiments import number
from echo_keras.studies import records

OUT_DIR = "runs/bib_ae_compression"
CODE, HIDDEN = 16, (256, 256)
CODED = 1000
BETAS = [0.3, 1.0, 3.0, 10.0]
CHANNELS = {"quantized": "Quantised", "echo": "Echo", "vae": "Gaussian"}
PROTOCOL = {
    "epochs": 40,
    "batch_size": 100,
    "learning_rate": 1e-3,
    "schedule": "paper",
    "train_limit": None,
}

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "codebook_sizes", ["2", "4", "8", "16", "64"], "Codewords of each dimension."
)
flags.DEFINE_multi_enum("coders", list(CHANNELS), list(CHANNELS), "Kinds of codes.")


def main(argv):
    out, dataset = image_experiments.prepare(argv, OUT_DIR)
    configs = [
        {**configuration(seed), **changes}
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for changes in points()
    ]
    try:
        experiments.run_all(train_and_measure, out, configs, run_name, dataset.checksum)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_table(out)}\n")
            draw(out)


def points():
    """What the runs vary: codewords of quantised codes, beta of the channels."""
    for method in FLAGS.coders:
        if method == "quantized":
            for size in FLAGS.codebook_sizes:
                yield {"method": method, "codewords": int(size)}
        else:
            for beta in experiments.numbers(FLAGS.betas) or BETAS:
                yield {"method": method, "beta": beta}


def configuration(seed):
    """Everything that decides a run's numbers, but what its channel is."""
    return {
        "dataset": FLAGS.dataset,
        "seed": seed,
        "samples": FLAGS.samples,
        **image_experiments.chosen(PROTOCOL),
    }


def run_name(config):
    """A file name that tells runs apart."""
    size = f"{config['codewords']}words" if "codewords" in config else ""
    varied = size or f"beta{config['beta']:g}"
    method = f"{config['method']}-{varied}"
    return wae_experiments.run_name({**config, "method": method}, PROTOCOL)


def build(config, image_shape):
    """The autoencoder of a run."""
    pair = (
        functools.partial(networks.dense_encoder, image_shape, HIDDEN),
        functools.partial(
            networks.dense_decoder, output_shape=image_shape, hidden=HIDDEN
        ),
        CODE,
    )
    if config["method"] == "quantized":
        return objectives.shannon_ae(*pair, config["codewords"], groups=CODE)
    if config["method"] == "echo":
        d_max = config["batch_size"] - 1
        return objectives.echo(*pair, beta=config["beta"], d_max=d_max)
    return objectives.vae(*pair, beta=config["beta"])


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""
    coded = measured if config["method"] == "quantized" else None
    record = image_experiments.train_and_measure(
        config,
        lambda images, steps: build(config, images.shape[1:]),
        experiments.run_folder(out, run_name(config)),
        data_dir,
        tensorboard,
        echoes=["bank"],
        measure=coded,
    )
    return {"experiment": "bib_ae_compression", **record}


def measured(model, dataset):
    """Rate and distortion, and a file of some test images.

    Frequencies are first counted on all training images: the moving ones trail behind
    the codes.
    """
    _, quantizer, _ = codec.split(model)
    quantizer.set_frequencies(codec.encode(model, dataset.x_train))
    x = wae_experiments.some(dataset.x_test, CODED)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "codes.ekvq"
        report = codec.compress(model, x, path)
        again = codec.unpack(quantizer, path.read_bytes())
    exact = bool(np.array_equal(codec.encode(model, x), again))
    return {
        "test": {"bank": metrics.evaluate(model, dataset.x_test)},
        "file": {**report, "exact": exact, "entropy": quantizer.entropy()},
    }


def write_table(out):
    """Writes compression.md from the records in `out`; returns it."""
    keys = ["dataset", "epochs", "train_limit"]
    groups = records.by_protocol(records.read(out), keys)
    parts = [section(protocol, runs) for protocol, runs in groups]
    text = "\n\n".join(["# Compression (BIB-AE paper, Sec. 4.2)", *parts])
    (out / "compression.md").write_text(text + "\n")
    return text


def order(run):
    config = run["config"]
    varied = config.get("codewords") or -config["beta"]
    return list(CHANNELS).index(config["method"]), varied, config["seed"]


def section(protocol, runs):
    """One table in Markdown: what shares data and a protocol."""
    body = []
    for run in sorted(runs, key=order):
        config, test, file = run["config"], run["test"]["bank"], run.get("file", {})
        varied = f"beta {config.get('beta', 0):g}"
        if "codewords" in config:
            varied = f"{CODE} of {config['codewords']} codewords"
        excess = None
        if file:
            bits = 8 * file["payload_bytes"] / file["examples"]
            excess = 100 * (bits / file["rate_bits"] - 1)
        body.append(
            [
                f"{CHANNELS[config['method']]}, {varied}",
                config["seed"],
                number(test["rate"]),
                number(test["rate"] / math.log(2)),
                number(test["distortion"]),
                number(file.get("entropy")),
                number(file.get("rate_bits")),
                file.get("file_bytes", "-"),
                number(excess),
                {True: "yes", False: "NO"}.get(file.get("exact"), "-"),
            ]
        )
    header = [
        "Code",
        "seed",
        "Rate",
        "in bits",
        "Dist",
        "R_Q",
        "Rate of the file, bits",
    ]
    header += ["file, bytes", "over the rate, %", "exact"]
    coded = [run["file"]["examples"] for run in runs if "file" in run]
    return (
        f"## {protocol['dataset']}: {wae_experiments.own_protocol(protocol)}\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Nats per test image; distortion is the cross-entropy of grey pixels. The rate "
        "of quantised codes is their length under the frequencies of the codewords in "
        "training images, R_Q the entropy of these. Files hold "
        f"{max(coded, default=0):,} test images and a header of 34 bytes, which the "
        "excess over the rate leaves out. "
        f"{wae_experiments.provenance(runs)}"
    )


def draw(out):
    """Rate against distortion, a curve for each kind of code and data set."""
    curves = {}
    for run in records.read(out):
        config, test = run["config"], run["test"]["bank"]
        label = f"{config['dataset']}, {CHANNELS[config['method']]}"
        curves.setdefault(label, []).append((test["rate"], test["distortion"]))
    plots.rate_distortion(curves, out / "compression.png")


if __name__ == "__main__":
    app.run(main)
