"""Rate against distortion of quantised, Echo and Gaussian codes, and bytes on disk.

    python reproductions/bib_ae/compression.py                       # digits
    python reproductions/bib_ae/compression.py --dataset mnist --data_dir FOLDER

Codewords (BIB-AE paper, Sec. 4.2, Eq. 35) or beta vary. Needs echo-keras[codec].
"""

import math

from bib_ae_paper import LATENT_DIM, PROTOCOL, dense

from echo_keras import codec, metrics, objectives, plots
from echo_keras.studies import Column, Script, Study, Table, points, start

CHANNELS = {"quantized": "Quantised", "echo": "Echo", "vae": "Gaussian"}


def build(config, dataset):
    if config["method"] == "quantized":
        words = config["codewords"]
        return objectives.shannon_ae(*dense(dataset), words, groups=LATENT_DIM)
    if config["method"] == "vae":
        return objectives.vae(*dense(dataset), config["beta"])
    d_max = config["batch_size"] - 1
    return objectives.echo(*dense(dataset), config["beta"], d_max=d_max)


def configure(config):
    del config["beta" if config["method"] == "quantized" else "codewords"]
    return config


class Compression(Study):
    """Counts the codewords of training images: moving frequencies trail behind."""

    def test(self, run):
        if run.config["method"] == "quantized":
            _, quantizer, _ = codec.split(run.model)
            quantizer.set_frequencies(codec.encode(run.model, run.dataset.x_train))
        return super().test(run)


def file(run):
    """A file of test images, whether it is exact, and percent of bits over the rate."""
    if run.config["method"] != "quantized":
        return None
    _, quantizer, _ = codec.split(run.model)
    x, path = metrics.evenly_spaced(run.dataset.x_test, 1000), run.folder / "codes.ekvq"
    report = codec.compress(run.model, x, path)
    same = codec.unpack(quantizer, path.read_bytes()) == codec.encode(run.model, x)
    bits = 8 * report["payload_bytes"] / len(x)
    found = {"exact": "yes" if same.all() else "NO", "entropy": quantizer.entropy()}
    return {**report, **found, "excess": 100 * (bits / report["rate_bits"] - 1)}


def channel(config):
    return CHANNELS[config["method"]]


def label(runs):
    config = runs[0]["config"]
    if "beta" in config:
        return f"{channel(config)}, beta {config['beta']:g}"
    return f"{channel(config)}, {LATENT_DIM} of {config['codewords']} codewords"


STUDY = Compression(
    "bib_ae_compression",
    build,
    PROTOCOL,
    vary={"method": list(CHANNELS), "codewords": [2, 4, 8, 16, 64]}
    | {"beta": [10.0, 3.0, 1.0, 0.3]},
    configure=configure,
    measures={"file": file},
    paper=False,
    described={"codewords": "Codewords of each latent dimension. A list."},
)
TABLE = Table(
    STUDY,
    [
        Column("Code", label),
        Column("seed", "config.seed", "g"),
        Column("Rate", "test.bank.rate"),
        Column("in bits", lambda runs: runs[0]["test"]["bank"]["rate"] / math.log(2)),
        Column("Dist", "test.bank.distortion"),
        Column("R_Q", "measures.file.entropy"),
        Column("Rate of the file, bits", "measures.file.rate_bits"),
        Column("file, bytes", "measures.file.file_bytes", ".0f"),
        Column("over the rate, %", "measures.file.excess"),
        Column("exact", "measures.file.exact"),
    ],
    title="Compression (BIB-AE paper, Sec. 4.2)",
    name="compression",
    rows=("method", "codewords", "beta", "seed"),
    note="Nats per test image; grey pixels. The rate of quantised codes is their "
    "length under the frequencies of codewords in training images, R_Q the entropy of "
    "these. Files hold up to 1,000 test images and a header of 34 bytes, which the "
    "excess over the rate leaves out.",
)


def draw(results):
    curves = points(results.runs, channel, "test.bank.rate", "test.bank.distortion")
    plots.rate_distortion(curves, results.path("compression.png"))


main = Script(STUDY, [TABLE], draw)

if __name__ == "__main__":
    start(main)
