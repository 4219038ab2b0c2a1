"""Features of images for Frechet distances: of a classifier and of InceptionV3."""

import hashlib
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from echo_keras.data import check_images
from echo_keras.layers import arguments

from .batching import map_batches

Features = keras.Model | Callable[[np.ndarray], np.ndarray]


def vectors(
    function: Features, images: np.ndarray, batch_size: int | None, name: str
) -> np.ndarray:
    """Vectors that a Keras model or function makes of images, a batch at a time.

    Args:
        function: Keras model or function from (m, h, w, c) to (m, k), arrays or
            tensors.
        images: Array (n, h, w, c), n >= 1.
        batch_size: Int >= 1, most images that it receives at once; see `map_batches`.
        name: What to call the function in an error.

    Returns:
        A float64 array (n, k).

    Raises:
        ValueError: it does not make finite vectors, or batch_size is out of range.

    Example:

    >>> vectors(lambda x: x[:, 0, 0], np.ones((5, 2, 2, 3)), 2, "corners").shape
    (5, 3)
    """
    arguments.function(name, function)
    if isinstance(function, keras.Model):
        function = function.predict_on_batch

    def checked(batch):
        found = ops.convert_to_numpy(function(batch))
        if found.ndim != 2 or len(found) != len(batch) or not found.shape[1]:
            raise ValueError(
                f"{name} must make vectors of shape ({len(batch)}, k), k >= 1. "
                f"Received: {found.shape}"
            )
        return found.astype("float64")

    found = map_batches(checked, images, batch_size)
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite. Received: NaN or infinity")
    return found


def classifier_features(
    x: np.ndarray,
    y: np.ndarray,
    name: str,
    directory: str | os.PathLike | None = None,
    epochs: int = 5,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    width: int = 32,
    seed: int = 0,
) -> tuple[keras.Model, float]:
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
            f"y must have shape ({len(x)},) and integer classes, one for each image. "
            f"Received: shape {y.shape} and dtype {y.dtype}"
        )
    if len(x) < 10:
        raise ValueError(
            f"x must be at least 10 images, of which a tenth is held out. Received: "
            f"{len(x)}"
        )
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise ValueError(
            f'name must be letters, digits, ".", "_" and "-". Received: name={name!r}'
        )
    counts = {"epochs": epochs, "batch_size": batch_size, "width": width}
    for argument, value in counts.items():
        arguments.integer(argument, value)
    learning_rate = arguments.number("learning_rate", learning_rate, above=0)
    seed = arguments.seed(seed, optional=False)
    classes, y = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y must hold at least two classes to tell apart. Received: {len(classes)}"
        )
    made = {
        "image_shape": list(x.shape[1:]),
        "images": len(x),
        "checksum": _checksum(x, classes[y].astype("int64")),
        **{argument: int(value) for argument, value in counts.items()},
        "learning_rate": float(learning_rate),
        "seed": int(seed),
    }
    directory = arguments.path("directory", directory, optional=True, folder=True)
    if directory is not None:
        path = pathlib.Path(directory).expanduser() / f"{name}.keras"
        if path.exists():
            return _load(path, made)
    features, accuracy = _train_classifier(x, y, name, made)
    if directory is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The model last, and at once: where it is, it is whole, with its description.
        described = json.dumps({**made, "accuracy": accuracy}, indent=2)
        path.with_suffix(".json").write_text(described)
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
    do = "Choose another name or directory, or delete both files to train again."
    try:
        found = json.loads(described.read_text())
        accuracy = float(found["accuracy"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must have {described.name} beside it, which says what it was made "
            f"of. Received: none that can be read ({error!r}). {do}"
        ) from error
    for key, value in made.items():
        if found.get(key) != value:
            raise ValueError(
                f"{path} must hold features made with {key} {value}. Received: "
                f"{found.get(key)}. {do}"
            )
    try:
        return keras.saving.load_model(path, compile=False), accuracy
    except Exception as error:  # zip, HDF5 and Keras each have errors of their own
        raise ValueError(
            f"{path} must hold a Keras model. Received: damage ({error}). {do}"
        ) from error


def _train_classifier(x, y, name, made):
    rng = np.random.RandomState(made["seed"])
    sizes = (made[key] for key in ("epochs", "batch_size", "learning_rate", "width"))
    features, classifier, held_out = train_classifier(
        x, y, name, *sizes, rng, held_out=len(x) // 10
    )
    predicted = vectors(classifier, x[held_out], made["batch_size"], "logits")
    return features, float(np.mean(predicted.argmax(axis=1) == y[held_out]))


def train_classifier(
    x: np.ndarray,
    y: np.ndarray,
    name: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    width: int,
    rng: np.random.RandomState,
    held_out: int = 0,
) -> tuple[keras.Model, keras.Model, np.ndarray]:
    """Trains the network of `classifier_features`.

    Args:
        x: Images (n, h, w, c).
        y: Ints (n,), classes from 0, each of them there.
        name: Of the features.
        epochs, batch_size, learning_rate, width: See `classifier_features`.
        rng: Draws the initial weights and the order; Keras's global seed does not.
        held_out: How many images, drawn at random, it does not see.

    Returns:
        Two models, from images to features and to logits, and the rows held out.
    """
    # A seed for each layer: Keras's own would not repeat.
    initial = (
        keras.initializers.GlorotUniform(int(s)) for s in rng.randint(2**31, size=5)
    )
    h = inputs = keras.Input(x.shape[1:])
    for factor in (1, 2, 4):
        h = layers.Conv2D(
            factor * width,
            3,
            strides=2,
            padding="same",
            activation="relu",
            data_format="channels_last",
            kernel_initializer=next(initial),
        )(h)
    h = layers.Flatten("channels_last")(h)
    h = layers.Dense(64, "relu", kernel_initializer=next(initial))(h)
    features = keras.Model(inputs, h, name=name)
    logits = layers.Dense(int(y.max()) + 1, kernel_initializer=next(initial))(h)
    classifier = keras.Model(inputs, logits)
    classifier.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    order = rng.permutation(len(x))
    for _ in range(epochs):
        # Shuffled here: how Keras shuffles depends on its global seed.
        rows = rng.permutation(order[held_out:])
        classifier.fit(x[rows], y[rows], batch_size, shuffle=False, verbose=0)
    return features, classifier, order[:held_out]


def inception_features(
    input_shape: tuple[int, int, int], weights: str | None = "imagenet"
) -> keras.Model:
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
    input_shape = arguments.integers("input_shape", input_shape, length=3)
    if input_shape[2] not in (1, 3):
        raise ValueError(
            f"input_shape must be (height, width, channels) with 1 or 3 channels. "
            f"Received: input_shape={input_shape}"
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
