"""Information in nats: of samples, of generated images, of codes against a prior."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy import stats
from sklearn.metrics import pairwise_distances_chunked

from echo_keras.layers import (
    Channel,
    GaussianBottleneck,
    PseudoInputs,
    StandardNormal,
    arguments,
)
from echo_keras.layers.backend import no_gradients
from echo_keras.losses import CategoricalNLL, Distortion, SquaredError
from echo_keras.model import find_layers

from .batching import (
    default_batch_size,
    map_batches,
    with_standard_error,
)
from .rate_distortion import per_example_likelihood


def generative_information(
    model: keras.Model,
    n: int,
    samples: int = 100,
    log_density: Callable[[np.ndarray], np.ndarray] | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
) -> dict[str, float]:
    """Bounds of the information between the codes and the images a model generates.

    Along the generative path, `p_d(x, z) = m(z) d(x|z)`, they are

    `E = mean log e(z|x) / m(z) <= I_d(X; Z) <= mean log d(x|z) / q(x) = G`

    with means over z of m(z) and x of d(x|z), the model's encoder e, and any
    density q of images. E is too small by `mean KL[p_d(z|x) || e(z|x)]`,
    by how badly the encoder infers the codes of generated images, and may be negative;
    G is too large by `KL[p_d(x) || q(x)]`.

    Without a density of the user's, the importance-weighted estimate `p_K(x)`
    of `importance_weighted` stands for q(x). It is no density, but its mean is
    `p_d(x)`, so that by Jensen's inequality
    `mean log p_K(x) <= log p_d(x)` for every x, and

    `mean [log d(x|z) - log p_K(x)] >= mean [log d(x|z) - log p_d(x)] = I_d.`

    The upper bound holds in expectation, and falls towards `I_d` as K grows. The
    bounds are of means: estimates may cross by a few standard errors.

    Layers between bottleneck and decoder, such as a flow or penalties, are applied on
    the way. A decoder with a method `draw(z)` -> (images, outputs), such as `PixelCNN`,
    draws for itself; from others the loss draws.

    Args:
        model: Model that is a chain of layers around one `GaussianBottleneck`, as
            `autoencoder` makes it; compiled with a loss of `echo_keras.losses`
            that is a likelihood.
        n: Int >= 1, how many codes and images are drawn.
        samples: Int >= 1, K, the codes drawn for each image to estimate log p(x); each
            costs a pass through the model.
        log_density: Function of images, float32 (batch, ...), that returns log q(x) in
            nats, (batch,); of a density where the loss is one, and for `Bernoulli` of
            a probability of binary images. None for the estimate.
        batch_size: Int >= 1, codes that are decoded at once; None for
            `default_batch_size` of the images.
        seed: Int or None, for what the loss draws. Codes follow the marginal's seed,
            and images of a decoder that draws follow its own.

    Returns:
        A dict with `generative_lower`, E, and `generative_upper`, G, in nats, and the
        standard error of each, `generative_lower_se` and `generative_upper_se`: the
        spread over the n draws divided by sqrt(n). (The bias of log p(x) is not in it.)

    Raises:
        ValueError: an argument is out of range, the model is not as above, its channel
            has no density (Echo has none) or its marginal none that its samples come
            from, the loss is no likelihood, or log_density returns another shape.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.Bernoulli())
    >>> bounds = generative_information(model, n=20, samples=5)
    >>> sorted(bounds)  # doctest: +NORMALIZE_WHITESPACE
    ['generative_lower', 'generative_lower_se',
     'generative_upper', 'generative_upper_se']

    References:
        Fixing a Broken ELBO, App. C, Eq. 9 to 11, and D.5, D.6.
    """
    n = arguments.integer("n", n)
    samples = arguments.integer("samples", samples)
    arguments.function("log_density", log_density, optional=True)
    seed = arguments.seed(seed)
    arguments.layer("model", model, kind=keras.Model)
    encoder, bottleneck, between, decoder = _chain(model)
    loss, marginal = model.loss, bottleneck.channel.marginal
    # A squared error lacks the constant of its density, and labels are no images.
    no_density = CategoricalNLL, SquaredError
    if (
        not isinstance(loss, Distortion)
        or isinstance(loss, no_density)
        or type(loss).sample is Distortion.sample
    ):
        raise ValueError(
            f"model must be compiled with a likelihood, such as "
            f"echo_keras.losses.Bernoulli. Received: loss={loss!r}"
        )
    if getattr(marginal, "variant", "paper") == "published_code":
        raise ValueError(
            "The marginal must have a density m(z) that its samples come from. "
            "Received: VampPrior(variant='published_code'); 'paper' has one."
        )
    seed_generator = keras.random.SeedGenerator(seed)
    with no_gradients():
        # A VampPrior's components follow the encoder at a call of the model only.
        model(ops.zeros((1, *model.input_shape[1:])), training=False)
    if batch_size is None:
        batch_size = default_batch_size(np.empty((0, *model.input_shape[1:])))

    def bounds(rows):
        z = bottleneck.sample(len(rows))
        h = _apply(between, z)
        if hasattr(decoder, "draw"):
            x, output = (ops.convert_to_tensor(a) for a in decoder.draw(h))
        else:
            output = decoder(h, training=False)
            x = loss.sample(output, seed_generator)
        log_d = -ops.convert_to_numpy(loss.call(x, output))
        log_e = bottleneck.log_prob(z, _apply(encoder, x))
        lower = ops.convert_to_numpy(log_e - marginal.log_prob(z))
        x = ops.convert_to_numpy(x)
        if log_density is None:
            log_q = per_example_likelihood(
                model, x, samples=samples, batch_size=batch_size
            )
        else:
            log_q = np.asarray(log_density(x))
            if log_q.shape != log_d.shape:
                raise ValueError(
                    f"log_density must return one number for each image, shape "
                    f"{log_d.shape}. Received: shape {log_q.shape}"
                )
        return lower.astype("float64"), log_d.astype("float64") - log_q

    lower, upper = map_batches(bounds, np.arange(n), batch_size)
    return {
        **with_standard_error("generative_lower", lower),
        **with_standard_error("generative_upper", upper),
    }


def aggregate_posterior(
    z: np.ndarray, prior: keras.layers.Layer | None = None, seed: int = 0
) -> dict[str, float]:
    """How far the law of codes is from a prior.

    The order of the codes does not matter: all pairs of them are compared. (Means over
    blocks of a file that is sorted compare one class after the other with the prior,
    and are far too large.) Time is O(n^2 d), memory O(n).

    Args:
        z: Codes, (n, d), draws from q(z); n >= 2.
        prior: As for `MMDPenalty`, of which n draws are taken; the standard normal if
            None.
        seed: Int, of the draws from the standard normal.

    Returns:
        A dict of floats: `summed_variance`, `sum_j Var(z_j)`, d for a standard
        normal; `mmd`, the unbiased estimate of the squared maximum mean discrepancy
        with the inverse multiquadric kernel `2d / (2d + |x - y|^2)`, 0 in the mean if
        q(z) is the prior; `mmd_se`, its standard error over codes and draws from the
        prior, to first order; and `excess_kurtosis`, the mean over dimensions, 0 for a
        normal law.

    Raises:
        ValueError: z is not of that shape.

    Example:

    >>> z = np.random.RandomState(0).normal(size=(2000, 2))
    >>> found = aggregate_posterior(z)
    >>> round(found["summed_variance"], 1), abs(found["mmd"]) < 0.01
    (1.9, True)

    References:
        Variance Constrained Autoencoding, Tables 6 to 9; The Variational InfoMax
        Autoencoder, Fig. 1; Gretton et al., A Kernel Two-Sample Test (2012), Lemma 6.
    """
    z = arguments.array("z", z, "(n, d)").astype("float64")
    prior = arguments.layer("prior", prior, ("sample",), optional=True)
    seed = arguments.seed(seed, optional=False)
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(
            f"z must be codes of shape (n, d), n >= 2. Received: shape {z.shape}"
        )
    if prior is None:
        prior = StandardNormal(seed=seed, dtype="float32")
    if not prior.built:
        prior.build((None, z.shape[1]))
    with no_gradients():
        y = ops.convert_to_numpy(prior.sample(len(z))).astype("float64")
    return {
        "summed_variance": float(z.var(axis=0).sum()),
        **_squared_mmd(z, y),
        "excess_kurtosis": float(_kurtosis(z).mean()),
    }


def _kurtosis(z):
    """The excess kurtosis of each dimension that varies; 0 if none does."""
    varies = np.ptp(z, axis=0) > 0
    return stats.kurtosis(z[:, varies], axis=0) if varies.any() else np.zeros(1)


def _squared_mmd(z: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The unbiased estimate for n samples of each law, and its standard error."""
    n, d = z.shape

    def similarities(a, b):
        """Sums of the kernel over all of b, and over all of a."""
        of_b = np.zeros(n)

        def sums(squared, start):
            squared /= 2.0 * d
            squared += 1.0
            similar = np.reciprocal(squared, out=squared)
            of_b[:] += similar.sum(axis=0)
            return similar.sum(axis=1)

        chunks = pairwise_distances_chunked(
            a, b, reduce_func=sums, squared=True, working_memory=64
        )
        return np.concatenate(list(chunks)), of_b

    # How much more like its own law than like the other each sample is, whose mean is
    # the estimate. A sample is similar to itself by 1, which is left out.
    zy, yz = similarities(z, y)
    of_z = (similarities(z, z)[0] - 1.0) / (n - 1) - zy / n
    of_y = (similarities(y, y)[0] - 1.0) / (n - 1) - yz / n
    spread = of_z.var(ddof=1) + of_y.var(ddof=1)
    return {
        "mmd": float(of_z.mean() + of_y.mean()),
        "mmd_se": float(2.0 * np.sqrt(spread / n)),
    }


def information_bounds(
    rate: Any, distortion: Any, entropy: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the information in a code: `H - D <= I(X; Z) <= R`, in nats.

    The upper bound is loose by `KL[q(z) || m(z)]`, the lower by how far the
    decoder is from the data given the code, `q(x|z)`. A negative lower bound says
    nothing beyond `I >= 0`.

    H is seldom known. With `H_hat >= H` in its place, as `entropy_bound` gives it,
    the lower number is too high by `H_hat - H` and may exceed I: it is as good as
    `H_hat`. For the very model that gave `H_hat` it is R, and no bound at all.

    Args:
        rate, distortion: Numbers or arrays of one shape, nats per example.
        entropy: Number H, in nats per example.

    Returns:
        (lower, upper), each of the shape of rate.

    Raises:
        ValueError: the shapes differ, entropy is no number, or a value is not finite.

    Example:

    >>> lower, upper = information_bounds([20.0, 60.0], [62.0, 40.0], entropy=81.0)
    >>> lower.tolist(), upper.tolist()
    ([19.0, 41.0], [20.0, 60.0])

    References:
        Fixing a Broken ELBO, Eq. 2, App. D.1 and D.2.
    """
    if isinstance(entropy, (bool, np.bool_)):
        raise ValueError(f"entropy must be a number. Received: entropy={entropy}")
    rate, distortion, entropy = (
        arguments.array(name, v, axes=range(33), finite=False).astype("float64")
        for name, v in (
            ("rate", rate),
            ("distortion", distortion),
            ("entropy", entropy),
        )
    )
    if rate.shape != distortion.shape or entropy.ndim:
        raise ValueError(
            f"rate and distortion must have one shape and entropy must be a number. "
            f"Received: shapes {rate.shape}, {distortion.shape} and {entropy.shape}"
        )
    if not all(np.isfinite(v).all() for v in (rate, distortion, entropy)):
        raise ValueError(
            "rate, distortion and entropy must be finite numbers. Received: NaN or "
            "infinity"
        )
    return entropy - distortion, rate


def _chain(model):
    """Layers before the bottleneck, itself, those behind it, and the decoder."""
    layers = [
        layer
        for layer in model.layers
        if not isinstance(layer, (keras.layers.InputLayer, PseudoInputs))
    ]
    channels = find_layers(model, Channel)
    found = [i for i, x in enumerate(layers) if isinstance(x, GaussianBottleneck)]
    if len(channels) != 1 or len(found) != 1 or found[0] == len(layers) - 1:
        raise ValueError(
            f"model must be a chain of encoder, GaussianBottleneck and decoder, with a "
            f"density q(z|x) and no other channel. Received: the layers "
            f"{', '.join(type(layer).__name__ for layer in layers)}"
        )
    at = found[0]
    return layers[:at], layers[at], layers[at + 1 : -1], layers[-1]


def _apply(layers, x):
    for layer in layers:
        x = layer(x, training=False)
    return x
