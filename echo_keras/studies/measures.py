"""Measures that many studies take of generated images."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from echo_keras import data, metrics

from .study import Config, Run

FEATURES = ("labels", "inception")


def feature_network(
    config: Config,
    dataset: data.Dataset,
    out: pathlib.Path,
    data_dir: str | None = None,
) -> tuple[Any, dict[str, Any]]:
    """The network in whose features images of a data set are compared.

    With "labels", the default of a configuration's key `features`, a classifier trained
    on all the labelled training images, whatever a run has of them, so that distances
    compare; it is kept in `out`/features. Where there are no labels, and with
    "inception" always, it is InceptionV3, whose weights Keras downloads: distances of
    different networks do not compare, and records name theirs. Given as
    `Study(prepare=...)`, it is trained once before the runs.

    Raises:
        ValueError: `features` is neither.

    Returns:
        The network, and a dict that describes it for records.
    """
    name, kind = config["dataset"], config.get("features", "labels")
    if kind not in FEATURES:
        raise ValueError(
            f"features must be one of {', '.join(FEATURES)}. Received: "
            f"features={kind!r}"
        )
    if kind == "inception" or dataset.y_train is None:
        model = metrics.inception_features(dataset.x_train.shape[1:])
        return model, {"features": metrics.fid_name(model)}
    dataset = data.load(name, data_dir)  # without limit, nor the study's transform
    model, accuracy = metrics.classifier_features(
        dataset.x_train,
        dataset.y_train,
        f"{name}_classifier",
        pathlib.Path(out) / "features",
    )
    return model, {
        "features": metrics.fid_name(model),
        "features_accuracy": accuracy,
        "features_images": len(dataset.x_train),
    }


def frechet(
    run: Run, real: np.ndarray, generated: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Frechet distances of several sets of generated images from real ones.

    Args:
        run: Whose data set decides the network; see `feature_network`.
        real: Images, (n, ...).
        generated: From a label to images, (n, ...).

    Returns:
        A dict from each label to its distance; `images`, how many of each; and what
        describes the network.
    """
    network, described = feature_network(run.config, run.dataset, run.out, run.data_dir)
    distances = {
        label: metrics.fid(network, real, images) for label, images in generated.items()
    }
    return {**described, **distances, "images": len(real)}
