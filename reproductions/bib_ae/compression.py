"""Rate against distortion of quantised, Echo and Gaussian codes, and bytes on disk.

    python reproductions/bib_ae/compression.py                       # digits
    python reproductions/bib_ae/compression.py --dataset mnist --data_dir FOLDER

Codewords (BIB-AE paper, Sec. 4.2, Eq. 35) or beta vary; with the most codewords the
weight of the code length, the beta of Eq. 35, too. Needs echo-keras[codec].
"""

import gzip
import io
import math

import numpy as np
from bib_ae_paper import LATENT_DIM, PROTOCOL, dense
from bib_ae_samples import eight_bits, of_data
from PIL import Image  # Matplotlib needs it, and brings it

from echo_keras import codec, metrics, objectives, plots
from echo_keras.studies import (
    Claim,
    Column,
    Script,
    Study,
    Table,
    mean,
    points,
    records,
    start,
)
from echo_keras.studies.table import plus_minus

MOST = 64  # codewords
CHANNELS = {"quantized": "Quantised", "echo": "Echo", "vae": "Gaussian"}


def build(config, dataset):
    if config["method"] == "quantized":
        words, weight = config["codewords"], config.get("length_weight", 0.0)
        return objectives.shannon_ae(
            *dense(dataset),
            words,
            groups=LATENT_DIM,
            length_weight=weight,
            # What a weight leaves unused is to stay so.
            dead_code_threshold=None if weight else 100,
        )
    if config["method"] == "vae":
        return objectives.vae(*dense(dataset), config["beta"])
    d_max = config["batch_size"] - 1
    return objectives.echo(*dense(dataset), config["beta"], d_max=d_max)


def configure(config):
    if config["method"] != "quantized":
        del config["codewords"], config["length_weight"]
        return config
    del config["beta"]
    if config["length_weight"]:
        return config if config["codewords"] == MOST else None
    del config["length_weight"]
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
    return {
        **report,
        "exact": "yes" if same.all() else "NO",
        "entropy": quantizer.entropy(),
        "excess": 100 * (bits / report["rate_bits"] - 1),
        "gzip_bits": 8 * len(gzip.compress(packed(x), mtime=0)) / len(x),
        "png_bits": 8 * png_bytes(x) / len(x),
        "pixels": math.prod(x.shape[1:]),
    }


def png_bytes(x):
    """The bytes of one PNG file of images below one another."""
    pixels = np.round(255 * eight_bits(x)).astype("uint8")
    image = Image.fromarray(pixels.reshape(-1, *pixels.shape[2:]).squeeze())
    if np.isin(x, (0, 1)).all():
        image = image.convert("1")  # one bit for each pixel
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return len(buffer.getvalue())


def packed(x):
    """The bytes of images themselves: one bit for each pixel of binary ones, or 8."""
    if np.isin(x, (0, 1)).all():
        return np.packbits(x.astype("uint8")).tobytes()
    return np.round(255 * eight_bits(x)).astype("uint8").tobytes()


def channel(config):
    return CHANNELS[config["method"]]


def label(runs):
    config = runs[0]["config"]
    if "beta" in config:
        return f"{channel(config)}, beta {config['beta']:g}"
    weight = config.get("length_weight")
    weighed = f", length weight {weight:g}" if weight else ""
    return (
        f"{channel(config)}, {LATENT_DIM} of {config['codewords']} codewords{weighed}"
    )


STUDY = Compression(
    "bib_ae_compression",
    build,
    PROTOCOL,
    vary={"method": list(CHANNELS), "codewords": [2, 4, 8, 16, MOST]}
    | {"length_weight": [0.0, 0.003, 0.01, 0.03, 0.1]}
    | {"beta": [10.0, 3.0, 1.0, 0.3]},
    configure=configure,
    measures={"file": file},
    paper=False,
    described={
        "codewords": "Codewords of each latent dimension. A list.",
        "length_weight": f"Weight of the code length, with {MOST} codewords. A list.",
    },
)


def length(runs):
    """Whether a code's length is the entropy of its codewords."""
    found = [run for run in runs if run["config"]["method"] == "quantized"]
    if not found:
        return None
    rates = np.array([records.get(run, "test.bank.rate") for run in found])
    entropies = np.array([run["measures"]["file"]["entropy"] for run in found])
    off = 100 * np.abs(rates / entropies - 1).max()
    excess = max(abs(run["measures"]["file"]["excess"]) for run in found)
    here = (
        f"rates on test images within {off:.1f} % of it, files within {excess:.2f} % "
        "of their rates"
    )
    return here, bool(off < 2 and excess < 1)


def note(runs):
    of_files = []
    for kind in ("gzip", "png"):
        found = [records.get(run, f"measures.file.{kind}_bits") for run in runs]
        found = [bits for bits in found if bits is not None]
        if found:
            name = "one gzip file" if kind == "gzip" else "one PNG file"
            of_files.append(f"{np.mean(found):.0f} bits each in {name}")
    parts = [NOTE]
    if of_files:
        files = " and ".join(of_files)
        parts.append(f"The images themselves, without loss, take {files}.")
    return " ".join(filter(None, [*parts, of_data(runs)]))


def per_pixel(runs):
    """Bits of the file for a pixel; the header is not counted."""
    files = [run["measures"]["file"] for run in runs]
    if any(file is None or "pixels" not in file for file in files):
        return None
    bits = [
        8 * file["payload_bytes"] / file["examples"] / file["pixels"] for file in files
    ]
    return float(np.mean(bits))


NOTE = (
    "Nats per test image, with standard errors over images. The rate of quantised "
    "codes is their length under the frequencies of codewords in training images, R_Q "
    "the entropy of these. It is not weighed where no weight is named (beta 0), and "
    "the number of codewords bounds it; with a length weight a codeword is chosen by "
    "its squared distance plus so many times its length (Eq. 35). Files hold up to "
    "1,000 test images and a header of 34 bytes, which the excess over the rate and "
    "the bits a pixel leave out. No file of Gaussian or Echo codes exists: their rates "
    "are what an ideal code for noisy z would take on average."
)
BITS = 1 / math.log(2)
TABLE = Table(
    STUDY,
    [
        Column("Code", label),
        Column("seed", "config.seed", "g"),
        Column("Rate", plus_minus("test.bank.rate", ".2f", "test.bank.rate_se")),
        Column("in bits", lambda runs: BITS * mean(runs, "test.bank.rate")),
        Column(
            "Dist",
            plus_minus("test.bank.distortion", ".2f", "test.bank.distortion_se"),
        ),
        Column("R_Q", "measures.file.entropy"),
        Column("Rate of the file, bits", "measures.file.rate_bits"),
        Column("file, bytes", "measures.file.file_bytes", ".0f"),
        Column("over the rate, %", "measures.file.excess"),
        Column("exact", "measures.file.exact"),
        Column("bits a pixel", per_pixel, ".4f"),
    ],
    title="Compression (BIB-AE paper, Sec. 4.2)",
    name="compression",
    rows=("method", "codewords", "length_weight", "beta", "seed"),
    note=note,
    claims=[
        Claim(
            "a deterministic quantised code has I(X; Z) = H(Z) = R_Q (Sec. 4.2)", length
        )
    ],
)


def curve(config):
    if config.get("length_weight"):
        return f"{channel(config)}, {MOST} words of weighed length, files"
    of_files = config["method"] == "quantized"
    return channel(config) + (", files" if of_files else ", rates without a file")


def draw(results):
    curves = points(results.runs, curve, "test.bank.rate", "test.bank.distortion")
    plots.rate_distortion(curves, results.path("compression.png"))


main = Script(STUDY, [TABLE], draw)

if __name__ == "__main__":
    start(main)
