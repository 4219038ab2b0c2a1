"""What is measured does not depend on the order of a file."""

import inspect
import math

import keras
import numpy as np
import pytest
from tools import normal

from echo_keras import losses, metrics, objectives
from echo_keras.layers import GaussianBottleneck
from echo_keras.metrics import novelty

N, SHAPE = 2100, (4, 4, 1)
# Public names that take neither codes nor images in the order of a file: numbers,
# moments, functions of one example, what draws images by their factors, and what trains
# on images in an order of its own.
NO_FILES = {
    *("area_under_front", "common_interval", "convex_front", "pareto_front"),
    *("entropy_bound", "information_bounds", "frechet_distance"),
    *("density_bounds", "expected_divergence"),
    *("corrupt", "decode", "encode", "images", "map_batches", "predictive"),
    *("per_example", "per_example_likelihood", "representation", "law"),
    *("classifier_features", "inception_features", "fid_name"),
    "generative_information",
    *("default_batch_size", "dci", "factor_vae_score", "mig", "modularity", "sap"),
}


def examples():
    """Images of three classes, and the classes, sorted."""
    random = np.random.RandomState(0)
    y = np.repeat([0, 1, 2], N // 3)
    light = random.uniform(0.35, 0.65, size=(3, *SHAPE))[y]
    noise = random.uniform(-0.35, 0.35, size=light.shape)
    return (light + noise).astype("float32"), y


def codes(x):
    """Codes of 3 dimensions that tell the classes apart."""
    return flat(x) @ np.random.RandomState(1).normal(size=(16, 3))


def flat(images):
    return images.reshape(len(images), -1)


@pytest.fixture(scope="module")
def models():
    """A VAE and a classifier with Echo noise, not trained."""
    keras.utils.set_random_seed(0)
    shape = math.prod(SHAPE)

    def encoder():
        dense = keras.layers.Dense(8, "tanh")
        return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), dense])

    def decoder(d):
        return keras.Sequential(
            [keras.Input((d,)), keras.layers.Dense(shape), keras.layers.Reshape(SHAPE)],
            name="decoder",
        )

    vae = objectives.vae(encoder(), decoder, 2)
    vae.compile(loss=losses.Bernoulli())
    bottleneck = GaussianBottleneck(2, name="bottleneck")
    classifier = objectives.information_bottleneck(encoder(), bottleneck, 3)
    echo = objectives.echo(encoder(), decoder, 2, d_max=9)
    echo.compile(loss=losses.Bernoulli())
    return {"vae": vae, "classifier": classifier, "echo": echo}


def of_model(found, *names):
    """Numbers that noise moves: 4 standard errors of each of two draws."""
    return {k: (found[k], 4 * found[f"{k}_se"] + 1e-6) for k in names}


def exact(found):
    return {k: (v, 1e-9 + 1e-5 * abs(float(v))) for k, v in found.items()}


def terms(x):
    """Scores of images that are no function of each other."""
    return {"distortion": codes(x)[:, 0], "rate": codes(x)[:, 1]}


def rates(model, x):
    return np.ravel(metrics.rate_by_dimension(model, x))


def areas(m, x, y):
    found = novelty.scores(m["vae"], x)
    known = {k: v[y < 2] for k, v in found.items()}
    novel = {k: v[y == 2] for k, v in found.items()}
    area = metrics.roc_auc(novel["rate"], known["rate"])
    combined = metrics.combined_score(novel, known)
    return exact({"rate": area}) | {"combined": (combined.mean(), 0.3)}


MEASURES = {
    "aggregate_posterior": lambda m, x, y: exact(metrics.aggregate_posterior(codes(x))),
    "total_correlation": lambda m, x, y: exact(
        {"tc": metrics.total_correlation(codes(x))}
    ),
    "conditional_total_correlation": lambda m, x, y: exact(
        {"tc": metrics.conditional_total_correlation(codes(x), 1 + np.square(codes(x)))}
    ),
    "mahalanobis_score": lambda m, x, y: exact(
        {"mean": metrics.mahalanobis_score(terms(x), terms(x)).mean()}
    ),
    "learned_score": lambda m, x, y: {
        "mean": (metrics.learned_score(terms(x), terms(x), terms(x + 1)).mean(), 1e-3)
    },
    "manifold_score": lambda m, x, y: {
        "mean": (metrics.manifold_score(m["vae"], x)(x).mean(), 0.05)
    },
    "differential_entropy": lambda m, x, y: exact(
        {"h": metrics.differential_entropy(codes(x))[0]}
    ),
    "divergence": lambda m, x, y: of_model(
        metrics.divergence(codes(x), 2 * normal(N, 3)), "kl", "js"
    ),
    "match_gaussian": lambda m, x, y: exact(
        {"sum": metrics.match_gaussian(codes(x), 5).sum()}
    ),
    "squared_error": lambda m, x, y: exact(
        metrics.squared_error(m["vae"], x, noisy=False)
    ),
    "noise_sensitivity": lambda m, x, y: exact(
        metrics.noise_sensitivity(m["vae"], x, step=0.5)
    ),
    "evaluate": lambda m, x, y: (
        of_model(metrics.evaluate(m["vae"], x), "rate", "distortion")
        | {
            f"echo_{k}": v
            for k, v in of_model(
                metrics.evaluate(m["echo"], x, echoes="batch"), "rate", "distortion"
            ).items()
        }
    ),
    "rate_by_dimension": lambda m, x, y: {
        f"{j}": (rate, 1e-5) for j, rate in enumerate(rates(m["vae"], x))
    },
    "importance_weighted": lambda m, x, y: of_model(
        metrics.importance_weighted(m["vae"], x, samples=5), "log_likelihood_iw5"
    ),
    "information_plane": lambda m, x, y: of_model(
        metrics.information_plane(m["classifier"], x, y),
        *("rate", "label_information", "distortion", "label_entropy"),
    ),
    "classification_metrics": lambda m, x, y: exact(
        metrics.classification_metrics(codes(x), y)
    ),
    "calibration_error": lambda m, x, y: exact(
        {"ece": metrics.calibration_error(codes(x), y)}
    ),
    "roc_auc": areas,
    "combined_score": areas,
    "roc_areas": lambda m, x, y: {
        k: (v, 0.05)
        for k, v in metrics.roc_areas(
            m["vae"], {"2": x[y == 2]}, x[y < 2], x[y < 2], samples=5
        )["2"].items()
    },
    "fid": lambda m, x, y: exact({"fid": metrics.fid(flat, x, x[y < 2])}),
    "parzen_log_likelihood": lambda m, x, y: exact(
        metrics.parzen_log_likelihood(x[y == 0], x[y == 1], bandwidth=0.3)
    ),
    "nearest_neighbours": lambda m, x, y: exact(
        {"distance": metrics.nearest_neighbours(x[y == 0], x[y == 1])[1].mean()}
    ),
    "svm_accuracy": lambda m, x, y: of_model(
        metrics.svm_accuracy(flat, x, y, x, y), "clean", "gaussian 0.2", "mask 0.5"
    ),
    "stratified_subset": lambda m, x, y: exact(
        {c: n for c, n in enumerate(np.bincount(y[metrics.stratified_subset(y, 90)]))}
    ),
    "evenly_spaced": lambda m, x, y: {
        "mean": (metrics.evenly_spaced(x, 300).mean(), 6 * x.std() / np.sqrt(300 * 16))
    },
}


def test_every_public_measure_is_tried():
    functions = {
        name
        for name in metrics.__all__
        if inspect.isfunction(getattr(metrics, name, None))
    }
    assert functions == set(MEASURES) | (NO_FILES & functions)


@pytest.mark.parametrize("name", MEASURES)
def test_a_sorted_file_gives_what_a_shuffled_one_gives(name, models):
    x, y = examples()
    order = np.random.RandomState(0).permutation(N)
    found, again = (MEASURES[name](models, x[r], y[r]) for r in (np.arange(N), order))
    assert found.keys() == again.keys()
    for key, (value, error) in found.items():
        assert abs(value - again[key][0]) <= error + again[key][1], key
