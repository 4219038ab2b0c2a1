r"""How good generated images are: Frechet distances, Parzen windows, neighbours.

None of these numbers says everything. A Frechet distance compares two moments of
features that some network computes, and a model that copies its training images has
a good one; `nearest_neighbours` shows such copies. A Parzen window is a poor
likelihood; see `parzen_log_likelihood`.
"""

import hashlib
import json
import math
import os
import pathlib
import re
import tempfile
import warnings

import keras
import numpy as np
import scipy.linalg
import scipy.special
import scipy.stats
from keras import layers, ops
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors

from echo_keras.data import check_images
from echo_keras.training import write_json

# Twenty to the decade. A greater bandwidth is never the best for pixels in [0, 1].
BANDWIDTHS = np.geomspace(0.01, 1.0, 41)


def frechet_distance(mean_a, cov_a, mean_b, cov_b):
    r"""Frechet distance of two Gaussians, the square of their Wasserstein-2 distance.

    $$|\mu_a - \mu_b|^2 + \mathrm{tr}(A + B - 2 (A B)^{1/2}), \qquad
      \mathrm{tr} (A B)^{1/2} = \| A^{1/2} B^{1/2} \|_*$$

    The trace is computed as the sum of the singular values of \(A^{1/2} B^{1/2}\),
    with symmetric roots in which eigenvalues that rounding made negative are 0. So
    the result is real whatever the rank of A and B; the root of the product itself,
    which is not symmetric, may not exist if they are singular.

    Args:
        mean_a, mean_b: Arrays (k,).
        cov_a, cov_b: Arrays (k, k), symmetric without negative eigenvalues (up to
            1e-4 of the largest, which is left to rounding in float32).

    Returns:
        Float >= 0, computed in float64; the same if a and b change places, up to
        rounding.

    Raises:
        ValueError: the shapes do not fit, there is NaN or infinity, or a matrix is
            no covariance.

    Example:

    >>> frechet_distance([0.0, 3.0], np.eye(2), [4.0, 0.0], 4 * np.eye(2))
    27.0

    References:
        Dowson & Landau, The Frechet Distance between Multivariate Normal
        Distributions (1982).
    """
    mean_a, cov_a = _moments(mean_a, cov_a, "a")
    mean_b, cov_b = _moments(mean_b, cov_b, "b")
    if mean_a.shape != mean_b.shape:
        raise ValueError(
            f"expected two Gaussians of as many dimensions, found {len(mean_a)} and "
            f"{len(mean_b)}; use the same features for both."
        )
    roots = _root(cov_a, "cov_a") @ _root(cov_b, "cov_b")
    cross = scipy.linalg.svdvals(roots).sum()
    apart = np.sum((mean_a - mean_b) ** 2)
    # The second term is >= 0, but for rounding.
    return float(apart + max(0.0, np.trace(cov_a) + np.trace(cov_b) - 2 * cross))


def _moments(mean, covariance, name):
    mean, covariance = np.asarray(mean, "float64"), np.asarray(covariance, "float64")
    if mean.ndim != 1 or not len(mean) or covariance.shape != 2 * mean.shape:
        raise ValueError(
            f"expected mean_{name} of shape (k,), k >= 1, and cov_{name} of shape "
            f"(k, k), found {mean.shape} and {covariance.shape}."
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(
            f"expected finite moments, found NaN or infinity in mean_{name} or "
            f"cov_{name}."
        )
    return mean, covariance


def _root(covariance, name):
    """The symmetric square root."""
    # Halved first, or the sum of two large numbers would overflow.
    symmetric = 0.5 * covariance + 0.5 * covariance.T
    skew = np.abs(symmetric - covariance).max()
    values, vectors = scipy.linalg.eigh(symmetric)
    tolerance = 1e-4 * np.abs(values).max()
    if skew > tolerance or values[0] < -tolerance:
        raise ValueError(
            f"expected {name} to be symmetric without negative eigenvalues, found "
            f"{skew:.3g} between it and its symmetric part, and the eigenvalue "
            f"{values[0]:.3g}; pass a covariance matrix."
        )
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def fid(features, real, generated, batch_size=100):
    r"""Frechet distance of the features of two sets of images.

    The mean and covariance (divisor n - 1) of the features of each set are those of
    the Gaussians that `frechet_distance` compares.

    A FID means nothing without its features and its number of images. Values of
    different networks do not compare, which is why `fid_name` names the network. Nor
    do those of different numbers of images: fewer images give a larger value on
    average, even of samples of the data themselves. With n <= k images the covariance
    is singular, which the distance survives, but the value is then very much too
    large. Variance Constrained Autoencoding takes 10,000 test images and as many
    samples.

    Args:
        features: A Keras model or function from images, float32 (m, h, w, c), to
            vectors (m, k), such as `classifier_features` or `inception_features`
            makes. It gets one batch at a time, and must treat each image alone.
        real, generated: Images (n, h, w, c) in [0, 1], n >= 2, as
            `echo_keras.data.check_images` takes them; not necessarily as many.
        batch_size: Int >= 1.

    Returns:
        Float >= 0.

    Raises:
        ValueError: there are fewer than two images, they are no images or not of the
            same shape, or the features are not finite vectors.

    Example:

    >>> x = np.random.default_rng(0).random((50, 2, 2, 1))
    >>> flat = lambda images: images.reshape(len(images), -1)
    >>> round(fid(flat, x, x), 6), round(fid(flat, x / 2, x / 2 + 0.5), 6)
    (0.0, 1.0)

    References:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a
        Local Nash Equilibrium (2017); Variance Constrained Autoencoding, Sec. 6.3 and
        Table 2; The Variational InfoMax Autoencoder, Table 5.
    """
    real = check_images(real, "real")
    generated = check_images(generated, "generated", real.shape[1:])
    moments = []
    for name, images in (("real", real), ("generated", generated)):
        if len(images) < 2:
            raise ValueError(
                f"{name}: expected at least 2 images, found {len(images)}; a "
                "covariance needs more, and a good one some thousands."
            )
        found = vectors(features, images, batch_size, "features")
        covariance = np.cov(found, rowvar=False)
        moments += [found.mean(axis=0), np.atleast_2d(covariance)]
    return frechet_distance(*moments)


def vectors(function, images, batch_size, name):
    """Vectors that a Keras model or function makes of images, a batch at a time.

    Args:
        function: Keras model or function from (m, h, w, c) to (m, k), arrays or
            tensors.
        images: Array (n, h, w, c), n >= 1.
        batch_size: Int >= 1, most images that it receives at once.
        name: What to call the function in an error.

    Returns:
        A float64 array (n, k).

    Raises:
        ValueError: it does not make finite vectors, or batch_size is out of range.

    Example:

    >>> vectors(lambda x: x[:, 0, 0], np.ones((5, 2, 2, 3)), 2, "corners").shape
    (5, 3)
    """
    if not batch_size >= 1 or batch_size != int(batch_size):
        raise ValueError(
            f"expected batch_size to be an integer >= 1, found {batch_size}."
        )
    if isinstance(function, keras.Model):
        function = function.predict_on_batch
    batches = []
    for start in range(0, len(images), int(batch_size)):
        here = images[start : start + int(batch_size)]
        found = ops.convert_to_numpy(function(here))
        if found.ndim != 2 or len(found) != len(here) or not found.shape[1]:
            raise ValueError(
                f"expected {name} to make vectors of shape ({len(here)}, k), k >= 1, "
                f"found {found.shape}."
            )
        batches.append(found.astype("float64"))
    found = np.concatenate(batches)
    if not np.isfinite(found).all():
        raise ValueError(f"expected {name} to be finite, found NaN or infinity.")
    return found


def fid_name(features):
    """The name of the distance by these features, "FID-<name>".

    Args:
        features: A Keras model or a named function.

    Raises:
        ValueError: it has no name.

    Example:

    >>> fid_name(keras.Sequential([layers.Flatten()], name="pixels"))
    'FID-pixels'
    """
    name = getattr(features, "name", None) or getattr(features, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise ValueError(
            f"expected features with a name, found {features!r}; a FID without the "
            "name of its features compares with nothing: pass a Keras model or a "
            "function made by def."
        )
    return f"FID-{name}"


def classifier_features(
    x,
    y,
    name,
    directory=None,
    epochs=5,
    batch_size=100,
    learning_rate=1e-3,
    width=32,
    seed=0,
):
    r"""Features for `fid` of a classifier that is trained here, on the data at hand.

    Three 3 x 3 convolutions of stride 2 with `width`, 2 `width` and 4 `width`
    filters, a dense layer of 64 units, the features, all with ReLU, and logits of the
    classes. It is trained by Adam on nine tenths of the images; its accuracy on the
    others tells how far to trust it. Its FID compares with no published one, only
    with other models measured by the same features: save them, with `directory`.

    The files there are `<name>.keras` and, with what it was made of and its accuracy,
    `<name>.json`. Give them a folder apart from that of run records.

    Args:
        x: Images (n, h, w, c) in [0, 1], n >= 10, as `echo_keras.data.check_images`
            takes them.
        y: Ints (n,), their classes, at least two.
        name: Of the returned model and its files: letters, digits and ".", "_", "-".
        directory: Folder, made if need be. Where it holds these features already,
            they are loaded and nothing is trained. None to keep nothing.
        epochs, batch_size, width: Ints >= 1.
        learning_rate: Float > 0.
        seed: Int >= 0, of the held-out tenth, the initial weights and the order.

    Returns:
        (features, accuracy): a Keras model from images to features (n, 64), and a
        float, the share of the n // 10 held-out images that it classifies correctly.

    Raises:
        ValueError: an argument is out of range, or `directory` holds features of this
            name that were made of other images or labels, or with other arguments, or
            are damaged.

    Example:

    >>> x = np.repeat(np.eye(2), 50, axis=0).reshape(100, 2, 1, 1)
    >>> y = np.repeat([0, 1], 50)  # which of two pixels is white
    >>> features, accuracy = classifier_features(x, y, "toy", epochs=20, width=4)
    >>> features.name, features.output_shape, accuracy
    ('toy', (None, 64), 1.0)
    """
    x = check_images(x)
    y = np.asarray(y)
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise ValueError(
            f"expected y of shape ({len(x)},) with integer classes, one for each "
            f"image, found shape {y.shape} and dtype {y.dtype}."
        )
    if len(x) < 10:
        raise ValueError(
            f"expected at least 10 images, of which a tenth is held out, found "
            f"{len(x)}."
        )
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise ValueError(
            f'expected a name of letters, digits, ".", "_" and "-", found {name!r}.'
        )
    counts = {"epochs": epochs, "batch_size": batch_size, "width": width}
    for argument, value in counts.items():
        if not value >= 1 or value != int(value):
            raise ValueError(
                f"expected {argument} to be an integer >= 1, found {value}."
            )
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"expected a finite learning_rate > 0, found {learning_rate}.")
    classes, y = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"expected at least two classes to tell apart, found {len(classes)}."
        )
    made = {
        "image_shape": list(x.shape[1:]),
        "images": len(x),
        "checksum": _checksum(x, classes[y].astype("int64")),
        **{argument: int(value) for argument, value in counts.items()},
        "learning_rate": float(learning_rate),
        "seed": int(seed),
    }
    if directory is not None:
        path = pathlib.Path(directory).expanduser() / f"{name}.keras"
        if path.exists():
            return _load(path, made)
    features, accuracy = _train_classifier(x, y, name, made)
    if directory is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The model last, and at once: where it is, it is whole, with its description.
        write_json(path.with_suffix(".json"), {**made, "accuracy": accuracy})
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            features.save(pathlib.Path(folder) / path.name)
            os.replace(pathlib.Path(folder) / path.name, path)
    return features, accuracy


def _checksum(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _load(path, made):
    """The features in a file, if they are the ones that would be made; accuracy."""
    described = path.with_suffix(".json")
    do = "choose another name or directory, or delete both files to train again"
    try:
        found = json.loads(described.read_text())
        accuracy = float(found["accuracy"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected {described.name} beside it, which says what it was made "
            f"of, found none that can be read ({error!r}); {do}."
        ) from error
    for key, value in made.items():
        if found.get(key) != value:
            raise ValueError(
                f"{path}: expected features made with {key} {value}, found "
                f"{found.get(key)}; {do}."
            )
    try:
        return keras.saving.load_model(path, compile=False), accuracy
    except Exception as error:  # zip, HDF5 and Keras each have errors of their own
        raise ValueError(
            f"{path}: expected a Keras model, found damage ({error}); {do}."
        ) from error


def _train_classifier(x, y, name, made):
    rng = np.random.RandomState(made["seed"])
    # A seed for each layer: Keras's own would not repeat.
    initial = (
        keras.initializers.GlorotUniform(int(s)) for s in rng.randint(2**31, size=5)
    )
    h = inputs = keras.Input(x.shape[1:])
    for factor in (1, 2, 4):
        h = layers.Conv2D(
            factor * made["width"],
            3,
            strides=2,
            padding="same",
            activation="relu",
            kernel_initializer=next(initial),
        )(h)
    h = layers.Dense(64, "relu", kernel_initializer=next(initial))(layers.Flatten()(h))
    features = keras.Model(inputs, h, name=name)
    logits = layers.Dense(int(y.max()) + 1, kernel_initializer=next(initial))(h)
    classifier = keras.Model(inputs, logits)
    classifier.compile(
        keras.optimizers.Adam(made["learning_rate"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    order = rng.permutation(len(x))
    held_out, train = order[: len(x) // 10], order[len(x) // 10 :]
    for _ in range(made["epochs"]):
        # Shuffled here: how Keras shuffles depends on its global seed.
        rows, batch_size = rng.permutation(train), made["batch_size"]
        classifier.fit(x[rows], y[rows], batch_size, shuffle=False, verbose=0)
    predicted = vectors(classifier, x[held_out], made["batch_size"], "logits")
    return features, float(np.mean(predicted.argmax(axis=1) == y[held_out]))


def inception_features(input_shape, weights="imagenet"):
    r"""Features for `fid` of InceptionV3, as most papers use it, for any images.

    Images are resized to 299 x 299 (bilinear, also where that makes them smaller),
    grey ones repeated to three channels, and pixels mapped from [0, 1] to [-1, 1].
    The features are the 2,048 channels before the classes, averaged over pixels.

    These are the weights of `keras.applications`, not those of the original FID, a
    network of 2015 in another file: values do not compare with published ones.

    Args:
        input_shape: (height, width, channels), 1 or 3 channels.
        weights: "imagenet", which Keras downloads once; the path of a file with
            weights for InceptionV3 without its top; or None for random ones, which
            measure nothing and cost no download.

    Returns:
        A Keras model from images to features (n, 2048), named "inception", or
        "inception_untrained" where weights is None.

    Raises:
        ValueError: input_shape is of something else, or a file of weights is
            missing or does not fit.
        ConnectionError: the weights cannot be downloaded.

    Example:

    >>> features = inception_features((28, 28, 1))  # doctest: +SKIP
    >>> fid(features, real, generated)  # doctest: +SKIP

    References:
        Szegedy et al., Rethinking the Inception Architecture for Computer Vision
        (2016); Heusel et al. (2017), as in `fid`.
    """
    input_shape = tuple(input_shape)
    if len(input_shape) != 3 or input_shape[2] not in (1, 3):
        raise ValueError(
            f"expected input_shape (height, width, channels) with 1 or 3 channels, "
            f"found {input_shape}."
        )
    try:
        network = keras.applications.InceptionV3(
            include_top=False,
            weights=weights,
            input_shape=(299, 299, 3),
            pooling="avg",
        )
    except Exception as error:  # Keras raises a bare Exception
        if weights != "imagenet":
            raise
        raise ConnectionError(
            f"the ImageNet weights of InceptionV3 are not on this machine and cannot "
            f"be downloaded ({error}); connect to the network, pass the path of a file "
            "with them, or use classifier_features, which trains features on your own "
            "data."
        ) from error
    inputs = keras.Input(input_shape)
    x = layers.Resizing(299, 299, interpolation="bilinear")(inputs)
    if input_shape[2] == 1:
        x = layers.Concatenate()([x, x, x])
    x = layers.Rescaling(2.0, offset=-1.0)(x)
    name = "inception_untrained" if weights is None else "inception"
    return keras.Model(inputs, network(x), name=name)


def parzen_log_likelihood(samples, x, bandwidth=None, validation=None):
    r"""Log-density of images under a Gaussian Parzen window on generated samples.

    $$\log p(x) = \log \frac1n \sum_{i=1}^n \mathcal N(x; s_i, h^2 I)$$

    with the n samples \(s_i\) and the bandwidth h, averaged over the images. It is a
    poor estimate of a model's likelihood in as many dimensions as images have: far
    too low with as many samples as one can draw, it may rank models wrongly, and it
    rates the centres of k-means above the data themselves (Theis et al.). It is a
    density even where pixels are binary and the likelihood a probability. It is here
    because papers report it.

    Args:
        samples: Generated images (n, ...), n >= 1.
        x: Images (m, ...) of the same shape, m >= 1.
        bandwidth: Float > 0, h, in the units of a pixel; None for the one among
            `BANDWIDTHS`, 41 from 0.01 to 1 on a logarithmic scale, with the highest
            mean on `validation`.
        validation: Images (l, ...) that are not in x; None if bandwidth is given.

    Returns:
        A dict with `log_likelihood_parzen`, the mean over x in nats;
        `log_likelihood_parzen_se`, its standard error, the spread over x divided by
        sqrt(m) (NaN for one image), which leaves out the choice of samples; and
        `parzen_bandwidth`.

    Raises:
        ValueError: the shapes do not fit, there is NaN or infinity, bandwidth is out
            of range, or not one of bandwidth and validation is given.

    Warns:
        UserWarning: the best bandwidth is the first or the last one tried.

    Example:

    >>> result = parzen_log_likelihood(np.zeros((1, 2)), np.ones((3, 2)), bandwidth=1)
    >>> round(result["log_likelihood_parzen"], 4)  # -1 - log(2 pi)
    -2.8379

    References:
        Goodfellow et al., Generative Adversarial Nets (2014), Sec. 5; Theis, van den
        Oord & Bethge, A Note on the Evaluation of Generative Models (2016); The
        Variational InfoMax Autoencoder, Table 1, which does not say how its NLL of
        generated samples is computed.
    """
    shape = np.shape(samples)[1:]
    samples = _rows(samples, "samples")
    x = _rows(x, "x", shape)
    if (bandwidth is None) == (validation is None):
        raise ValueError(
            "expected either a bandwidth or validation images to choose it by, found "
            f"{'neither' if bandwidth is None else 'both'}."
        )
    if bandwidth is None:
        validation = _rows(validation, "validation", shape)
        means = _parzen(samples, validation, BANDWIDTHS).mean(axis=0)
        best = int(np.argmax(means))
        bandwidth = BANDWIDTHS[best]
        if best in (0, len(BANDWIDTHS) - 1):
            warnings.warn(
                f"the best bandwidth, {bandwidth:g}, is at the end of those tried: the "
                "validation images are among the samples, or pixels are not in [0, 1].",
                stacklevel=2,
            )
    elif not 0 < bandwidth < math.inf:
        raise ValueError(f"expected a finite bandwidth > 0, found {bandwidth}.")
    values = _parzen(samples, x, np.array([bandwidth], "float64"))[:, 0]
    return {
        "log_likelihood_parzen": float(values.mean()),
        "log_likelihood_parzen_se": (
            float(scipy.stats.sem(values)) if len(values) > 1 else math.nan
        ),
        "parzen_bandwidth": float(bandwidth),
    }


def _rows(images, name, shape=None):
    """Images as float64 (n, pixels)."""
    images = np.asarray(images)
    if images.ndim < 2 or not images.size or images.dtype.kind not in "fiub":
        raise ValueError(
            f"expected {name} to be numbers of shape (n, ...), n >= 1, found shape "
            f"{images.shape} and dtype {images.dtype}."
        )
    if shape is not None and images.shape[1:] != shape:
        raise ValueError(
            f"expected {name} to be of shape (n, ...) with {shape} after n, as what "
            f"they are compared with, found {images.shape}."
        )
    images = images.reshape(len(images), -1).astype("float64")
    if not np.isfinite(images).all():
        raise ValueError(f"expected {name} to be finite, found NaN or infinity.")
    return images


def _parzen(samples, x, bandwidths):
    """Log-density of each row of x for each bandwidth, (m, bandwidths)."""

    def log_sums(squared, start):
        # One bandwidth after the other: each makes copies of the distances.
        columns = [
            scipy.special.logsumexp(squared / (-2.0 * h**2), axis=1) for h in bandwidths
        ]
        return np.stack(columns, axis=1)

    chunks = pairwise_distances_chunked(
        x, samples, reduce_func=log_sums, squared=True, working_memory=64
    )
    n, d = samples.shape
    normalizer = math.log(n) + 0.5 * d * np.log(2.0 * math.pi * bandwidths**2)
    return np.concatenate(list(chunks)) - normalizer


def nearest_neighbours(images, others, n=1):
    r"""The most similar of other images, in Euclidean distance of pixels.

    For generated images and those of training, to show that a model does not copy:
    a copy is at distance 0. Distances in pixels do not see a copy that is shifted.

    Args:
        images: Array (m, ...), m >= 1.
        others: Array (l, ...) of images of the same shape, l >= n.
        n: Int >= 1, how many neighbours of each image.

    Returns:
        (indices, distances): ints (m, n), rows of `others`, the nearest first, and
        floats (m, n), \(|x - x'|_2\) over all pixels.

    Raises:
        ValueError: the shapes do not fit, there is NaN or infinity, or n is out of
            range.

    Example:

    >>> indices, distances = nearest_neighbours([[0.0], [0.9]], [[1.0], [0.0], [3.0]])
    >>> indices.tolist(), distances.round(6).tolist()
    ([[1], [0]], [[0.0], [0.1]])

    References:
        Variance Constrained Autoencoding, App. C.3.
    """
    shape = np.shape(others)[1:]
    others = _rows(others, "others")
    images = _rows(images, "images", shape)
    if not 1 <= n <= len(others) or n != int(n):
        raise ValueError(
            f"expected n to be an integer from 1 to the {len(others)} other images, "
            f"found {n}."
        )
    search = NearestNeighbors(n_neighbors=int(n), algorithm="brute").fit(others)
    indices = search.kneighbors(images, return_distance=False)
    # Scikit-learn's own come from squares and products: 1e-7 where it should be 0.
    distances = [
        np.linalg.norm(images - others[column], axis=1) for column in indices.T
    ]
    return indices, np.stack(distances, axis=1)
