"""What the scripts on Wasserstein autoencoders' networks share: what they measure.

Variance Constrained Autoencoding and The Variational InfoMax Autoencoder compare
objectives on the same networks and data. A run of theirs is
`image_experiments.train_and_measure` with a squared error as distortion; beside it, the
functions here measure what generated images and codes are like.
"""

import numpy as np
from absl import flags
from keras import ops

from echo_keras import data, metrics
from echo_keras.metrics import sample_quality

FLAGS = flags.FLAGS
flags.DEFINE_integer(
    "filters", None, "Filters of the first convolution. Paper: 128.", 1
)
flags.DEFINE_integer(
    "compared",
    10_000,
    "Generated and test images that are compared with each other.",
    2,
)


def run_name(config, paper):
    """A file name of the data, the method, what departs from the paper, and the seed.

    Args:
        config: Dict with dataset, method and seed.
        paper: Dict of the paper's values.

    Example:

    >>> config = {"dataset": "mnist", "method": "vae", "seed": 3, "epochs": 2}
    >>> run_name(config, {"epochs": 100})
    'mnist-vae-epochs2-seed3'
    """
    changed = [f"{k}{config[k]}" for k, v in paper.items() if config.get(k, v) != v]
    parts = [config["dataset"], config["method"], *changed, f"seed{config['seed']}"]
    return "-".join(parts)


def decoded(decoder, codes):
    """What a decoder makes of codes, (n, ...), NumPy."""
    with metrics.no_gradients():
        return metrics.map_batches(
            lambda z: ops.convert_to_numpy(decoder(z, training=False)), codes
        )


def pixels(decoder, codes):
    """What a decoder of pixels makes of codes, (n, ...), brought to [0, 1]."""
    return np.clip(decoded(decoder, codes), 0.0, 1.0)


def error(model, x, noisy=True, seed=0):
    """Mean of the squared error of images, summed over pixels, and its standard error.

    Args:
        model: An autoencoder with the layers "bottleneck" and "decoder".
        x: Images, (n, ...).
        noisy: If False, codes have no noise.
        seed: Int, of the noise.
    """
    z = metrics.encode(model, x, noisy, seed)
    difference = decoded(model.get_layer("decoder"), z) - x
    errors = np.square(difference).reshape(len(x), -1).sum(axis=1)
    return {
        "error": float(errors.mean()),
        "error_se": float(errors.std(ddof=1) / np.sqrt(len(x))),
    }


def features(name, data_dir, out):
    """The feature network of a data set, and a dict that describes it for records.

    A classifier trained on the data set's own labels, kept in `out`/features; where
    there are no labels, InceptionV3.

    Args:
        name, data_dir: See `data.load`.
        out: Path of the output folder.
    """
    # All training images, whatever a run has: so that distances compare.
    dataset = data.load(name, data_dir)
    if dataset.y_train is None:
        model = sample_quality.inception_features(dataset.x_train.shape[1:])
        return model, {"features": sample_quality.fid_name(model)}
    model, accuracy = sample_quality.classifier_features(
        dataset.x_train, dataset.y_train, f"{name}_classifier", out / "features"
    )
    return model, {
        "features": sample_quality.fid_name(model),
        "features_accuracy": accuracy,
        "features_images": len(dataset.x_train),
    }


def distances(network, test_images, generated):
    """The Fréchet distance of several sets of generated images from test images.

    Args:
        network: See `features`.
        test_images: Images, (n, ...).
        generated: Dict from a label to images.

    Returns:
        A dict from each label to the distance, and "images", how many of each.
    """
    found = {
        label: sample_quality.fid(network, test_images, images)
        for label, images in generated.items()
    }
    return {**found, "images": len(test_images)}


def matched_gaussian(codes, n, seed=0):
    """Draws n codes from the Gaussian with the codes' means and variances.

    Dimensions are independent: what is assumed of a code of known variance alone.
    """
    noise = np.random.RandomState(seed).normal(size=(n, codes.shape[1]))
    return (codes.mean(axis=0) + codes.std(axis=0) * noise).astype("float32")


def some(x, n):
    """n of the images, evenly from all over the file, which may be sorted."""
    rows = np.linspace(0, len(x) - 1, min(n, len(x))).round().astype(int)
    return x[rows]


def own_protocol(protocol):
    """Describes a protocol that no paper gives: what is reported of ours.

    Example:

    >>> own_protocol({"dataset": "mnist", "epochs": 20, "train_limit": None})
    'a protocol of our own, the paper gives none (epochs 20)'
    """
    shown = ", ".join(
        f"{name.replace('_', ' ')} {value:,}"
        for name, value in protocol.items()
        if name != "dataset" and value is not None
    )
    return f"a protocol of our own, the paper gives none ({shown})"


def provenance(runs):
    """On which data and device the runs were made, for the line under a table."""
    devices = {f"{run['device']}, {run['versions']['backend']}" for run in runs}
    description = runs[0]["data"]["description"]
    return f"Data: {description}. Device: {' and '.join(sorted(devices))}."
