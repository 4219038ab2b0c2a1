"""Codes: how they are read from a model, decoded, and drawn."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from echo_keras.layers import AppendNoise, arguments
from echo_keras.layers.backend import no_gradients
from echo_keras.layers.bottleneck import bottleneck_of
from echo_keras.layers.numerics import unmasked_positions
from echo_keras.losses import Distortion
from echo_keras.model import find_layers

from .._graph import before, decoder_of, inputs_of, output_of
from .batching import (
    check_finite,
    check_numbers,
    map_batches,
    of_inputs,
    with_standard_error,
)


def representation(
    model: keras.Model, noisy: bool = False, seed: int = 0, signal: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    r"""The function from images to codes that scores of codes ask for, of a model.

    The code is its mean E[z|x], through the flow or `exp` that the channel applies to
    z: the mean of a Gaussian channel, and f(x) + S(x) mu of an Echo channel, whose
    noise has the mean mu (see `EchoSample.mean`). With `signal=True` it is f(x) alone,
    which is off-centre and lacks what S(x) tells of x. Of an implicit encoder, with
    `AppendNoise`, the code is always a sample: it has no mean to compute.

    With `noisy=True` it is a sample of z. Its Echo noise then comes from the bank of
    training rows, never from the batch. The images of a vote share the value of a
    factor; were they each other's noise, then a dimension that encodes this factor
    would have noise without variance, however little it says about the factor. The
    score would be that of f(x), and depend on how images are cut into batches.

    Args:
        model: A functional Keras model, such as a `RateDistortionModel`, of one input,
            with one bottleneck of `echo_keras.layers` among its layers.
        noisy: If True, codes with noise.
        seed: Int, of the noise. One function draws noise afresh at each call, and a
            second one of this seed repeats what the first has drawn. The model's own
            generator is left as it is.
        signal: If True, f(x) of an Echo channel, as Sec. 5.3 of the Echo paper draws.

    Returns:
        A function from images (n, ...) to codes (n, d), both NumPy arrays.

    Raises:
        ValueError: the model does not have one bottleneck among its layers, or signal
            is True beside noise or without an Echo channel.

    Example:

    >>> from echo_keras.layers import GaussianBottleneck
    >>> inputs = keras.Input((8,))
    >>> logits = keras.layers.Dense(8)(GaussianBottleneck(2)(inputs))
    >>> represent = representation(keras.Model(inputs, logits))
    >>> represent(np.ones((5, 8))).shape
    (5, 2)

    References:
        Echo paper, Sec. 5.3 and Table 2; its published code scores noisy codes, with
        echoes from the batch.
    """
    noisy, signal = arguments.flag("noisy", noisy), arguments.flag("signal", signal)
    seed = arguments.seed(seed, optional=False)
    bottleneck = bottleneck_of(model)
    if signal:
        if noisy:
            raise ValueError(
                "noisy and signal must not both be True. Received: noisy=True, "
                "signal=True"
            )
        if not hasattr(bottleneck, "signal"):
            raise ValueError(
                "signal must be False for a model without an EchoBottleneck. Received: "
                f"signal=True with {type(bottleneck).__name__}"
            )
    if not noisy or bottleneck.channel is None:
        encoder = before(model, bottleneck)
        own_noise = _own_noise(_implicit(encoder), seed)
        code = bottleneck.signal if signal else bottleneck.code

        def represent(images):
            check_finite("images", images)
            with own_noise():
                found = encoder.predict_on_batch(images)
            found = tree.map_structure(ops.convert_to_tensor, found)
            with no_gradients(), unmasked_positions(found["mask"]):
                z = code(found["inputs"])
            return ops.convert_to_numpy(z)

        return represent
    encoder = keras.Model(inputs_of(model), output_of(model, bottleneck))
    generators = [bottleneck.channel.seed_generator, *_implicit(encoder)]
    own_noise = _own_noise(generators, seed)

    def represent(images):
        check_finite("images", images)
        with own_noise():
            return encoder.predict_on_batch(images)

    return represent


def _implicit(encoder):
    """The seed generators of an implicit encoder."""
    return [layer.seed_generator for layer in find_layers(encoder, AppendNoise)]


def _own_noise(generators, seed):
    """A context in which generators go on from a seed; after it they are as before."""
    seeds = [(seed + i) % 2**32 for i in range(len(generators))]
    own = [keras.random.SeedGenerator(seed) for seed in seeds]

    def state(generator):
        return np.array(ops.convert_to_numpy(generator.state))  # no view of it

    @contextlib.contextmanager
    def own_noise():
        before = [state(generator) for generator in generators]
        for generator, its_own in zip(generators, own, strict=True):
            generator.state.assign(state(its_own))
        try:
            yield
        finally:
            for generator, its_own, old in zip(generators, own, before, strict=True):
                its_own.state.assign(state(generator))
                generator.state.assign(old)

    return own_noise


def encode(
    model: keras.Model,
    x: Any,
    noisy: bool = True,
    seed: int = 0,
    batch_size: int | None = None,
) -> np.ndarray:
    """The codes of images as the bottleneck gives them, (n, d).

    Args:
        model: Model with one bottleneck; see `representation`.
        x: Images, shape (n, ...); or batches of images, see `map_batches`.
        noisy: If True, one draw from q(z|x) for each image, so that all codes together
            are draws from the aggregate posterior q(z); else codes without noise.
        seed: Int, of the noise.
        batch_size: Int >= 1; see `map_batches`.

    Raises:
        ValueError: as `representation` and `map_batches`.

    Example:

    >>> from echo_keras import objectives
    >>> model = objectives.vcae(encoder, decoder, 2, noise_variance=0.1)
    >>> encode(model, np.ones((5, 8))).shape
    (5, 2)
    """
    represent = of_inputs(representation(model, noisy, seed), x)
    z = map_batches(represent, x, batch_size)
    return check_numbers("codes", z)


def decode(
    decoder: keras.Model, codes: np.ndarray, batch_size: int | None = None
) -> np.ndarray:
    """What a decoder makes of codes, (n, ...): its raw output.

    Args:
        decoder: Model from codes to images or logits.
        codes: Array (n, d), n >= 1.
        batch_size: Int >= 1; see `map_batches`.

    Raises:
        ValueError: as `map_batches`.

    Example:

    >>> decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(8)])
    >>> decode(decoder, np.zeros((5, 2))).shape
    (5, 8)
    """
    arguments.layer("decoder", decoder)
    codes = arguments.array("codes", codes, "(n, ...)")
    found = map_batches(lambda z: decoder(z, training=False), codes, batch_size)
    return check_numbers("decoded codes", found)


def law(model: keras.Model) -> Distortion:
    """The loss of a model, which knows the law p(x|z) that raw outputs stand for.

    Raises:
        ValueError: the model was not compiled with a loss of `echo_keras.losses`.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.Bernoulli())
    >>> np.asarray(law(model).mean(np.zeros((1, 2)))).tolist()  # logits of 0
    [[0.5, 0.5]]
    """
    arguments.layer("model", model, kind=keras.Model)
    if not isinstance(model.loss, Distortion):
        raise ValueError(
            "model must be compiled with one loss of echo_keras.losses, which says "
            f"what its output stands for. Received: loss={model.loss!r}"
        )
    return model.loss


def images(
    model: keras.Model, codes: np.ndarray, batch_size: int | None = None
) -> np.ndarray:
    """The images that codes stand for, (n, ...): the means of p(x|z).

    In the data's units and not clipped: the mean of a Gaussian may lie outside [0, 1].

    Args:
        model: Model with one bottleneck or channel, or none and a layer "decoder";
            compiled with a loss of `echo_keras.losses`.
        codes: Array (n, d), n >= 1.
        batch_size: Int >= 1; see `map_batches`.

    Raises:
        ValueError: as `law` and `map_batches`; the model does not have one output, or
            what it makes of its inputs does not depend on the code alone.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.Bernoulli())
    >>> images(model, np.zeros((5, 2))).shape
    (5, 8)
    """
    mean, decoder = law(model).mean, decoder_of(model)
    codes = arguments.array("codes", codes, "(n, ...)")
    found = map_batches(lambda z: mean(decoder(z, training=False)), codes, batch_size)
    return check_numbers("images", found)


def squared_error(
    model: keras.Model,
    x: np.ndarray,
    noisy: bool = True,
    seed: int = 0,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Mean of the squared error of images, summed over pixels.

    Of the means of p(x|z) where the model is compiled with a loss of
    `echo_keras.losses`, else of the decoder's output.

    Args:
        model: An autoencoder with one bottleneck.
        x: Images, (n, ...).
        noisy: If False, codes have no noise.
        seed: Int, of the noise.
        batch_size: Int >= 1, see `map_batches`.

    Returns:
        A dict with `error` and its standard error over images, `error_se`.

    Raises:
        ValueError: as `encode` and `images`, or x has another shape than these.

    Example:

    >>> from echo_keras import objectives
    >>> model = objectives.vcae(encoder, decoder, 2, noise_variance=0.1)
    >>> sorted(squared_error(model, np.ones((5, 8))))
    ['error', 'error_se']
    """
    x = arguments.array("x", x)
    z = encode(model, x, noisy, seed, batch_size)
    if isinstance(getattr(model, "loss", None), Distortion):
        means = functools.partial(images, model)
    else:
        means = functools.partial(decode, decoder_of(model))
    decoded = means(z, batch_size)
    if decoded.shape != x.shape:
        raise ValueError(
            f"x must have the shape of what the decoder makes, {decoded.shape}. "
            f"Received: shape {x.shape}"
        )
    difference = decoded.astype("float64") - x
    errors = np.square(difference).reshape(len(x), -1).sum(axis=1)
    return with_standard_error("error", errors)


def match_gaussian(codes: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Draws n codes from the Gaussian with the codes' means and variances.

    Dimensions are independent: what is assumed of a code of known variance alone.

    Args:
        codes: Array (m, d).
        n: Int >= 0.
        seed: Int >= 0.

    Returns:
        Array float32 (n, d).

    Example:

    >>> match_gaussian(np.full((5, 2), 3.0), n=2).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    codes = arguments.array("codes", codes, "(n, d)", (2,)).astype("float64")
    n, seed = arguments.integer("n", n), arguments.seed(seed, optional=False)
    noise = np.random.RandomState(seed).normal(size=(n, codes.shape[1]))
    return (codes.mean(axis=0) + codes.std(axis=0) * noise).astype("float32")
