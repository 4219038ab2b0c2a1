"""Rate, distortion, -ELBO and likelihood of a trained model on held-out images.

And what is known of its codes: the information between them and the images it
generates, `generative_information`, and how far their law is from a prior,
`aggregate_posterior`.
"""

import math

import keras
import numpy as np
from keras import ops
from scipy import stats

from echo_keras.layers import (
    Channel,
    GaussianBottleneck,
    MMDPenalty,
    PseudoInputs,
    collect_draws,
)
from echo_keras.layers.backend import no_gradients
from echo_keras.losses import Distortion
from echo_keras.metrics.disentanglement import representation

ECHOES = ("bank", "batch")


def evaluate(model, x, samples=1, echoes="bank", batch_size=100, bits=False):
    r"""Means over examples, each with its standard error.

    Args:
        model: A `RateDistortionModel`, compiled with a loss of `echo_keras.losses`.
        x: Images, shape (n, ...), which are also the targets.
        samples: Int >= 1, codes drawn for each image. Distortions are averaged over
            them, so that more samples give the same expectation less noisily.
        echoes: Where Echo noise comes from: "bank", rows of the training data; or
            "batch", the other images of the batch, as the Echo paper evaluates.
            Batches are then drawn in a fixed random order, because echoes must be
            independent draws from the data and files may be sorted: Binary MNIST's
            test file is, by digit, and in file order zeros would hear but zeros.
            Without effect on other channels.
        batch_size: Int >= 1.
        bits: If True, bits per example instead of nats.

    Returns:
        A dict with `rate`, `distortion`, `neg_elbo`, and the standard error of each
        as `rate_se` and so on: the spread over images divided by sqrt(n). The keys
        end in `_bits` if bits is True.

    Raises:
        ValueError: an argument is out of range, or the model's loss does not give
            one number for each example.

    Example:

    >>> from echo_keras import losses, networks
    >>> from echo_keras.layers import GaussianBottleneck
    >>> inputs = keras.Input((8,))
    >>> logits = keras.layers.Dense(8)(GaussianBottleneck(2)(inputs))
    >>> model = RateDistortionModel(inputs, logits)
    >>> model.compile(loss=losses.Bernoulli())
    >>> result = evaluate(model, np.ones((20, 8)), samples=3)
    >>> sorted(result)  # doctest: +NORMALIZE_WHITESPACE
    ['distortion', 'distortion_se', 'neg_elbo', 'neg_elbo_se', 'rate', 'rate_se']
    """
    if samples < 1 or batch_size < 1:
        raise ValueError(
            f"samples and batch_size must be >= 1; received {samples} and {batch_size}."
        )
    if echoes not in ECHOES:
        raise ValueError(
            f"echoes must be one of {', '.join(ECHOES)}; received {echoes!r}."
        )
    rate, distortion = per_example(model, x, samples, echoes, batch_size)
    unit, suffix = (math.log(2), "_bits") if bits else (1.0, "")
    result = {}
    for name, values in (
        ("rate", rate),
        ("distortion", distortion),
        ("neg_elbo", rate + distortion),
    ):
        values = values / unit
        result[name + suffix] = float(values.mean())
        result[f"{name}_se{suffix}"] = _standard_error(values)
    return result


def per_example(model, x, samples=1, echoes="bank", batch_size=100):
    """Rate and distortion of each image in nats: two float64 arrays (n,).

    Both are averages over `samples` codes for each image; see `evaluate`.
    """
    total = np.zeros((2, len(x)))
    order = np.arange(len(x))
    if echoes == "batch":
        order = np.random.RandomState(0).permutation(len(x))
    for start in range(0, len(x), batch_size):
        here = order[start : start + batch_size]
        batch = ops.convert_to_tensor(x[here], "float32")
        for _ in range(samples):
            draws, distortion = _step(model, batch, echoes)
            total[0, here] += sum(rate for rate, _ in draws)
            total[1, here] += distortion
    rate, distortion = total / samples
    return rate, distortion


def importance_weighted(model, x, samples=100, batch_size=100):
    r"""Importance-weighted estimate of log p(x), a lower bound in expectation.

    $$\log \hat p(x) = \log \frac1K \sum_{k=1}^K
        p(x|z_k)\, \frac{m(z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x)$$

    With K = 1 its mean is the ELBO at beta 1; in expectation it grows with K, towards
    log p(x). The K codes of an image are drawn one after the other, so that memory
    does not depend on K; each costs a pass through the whole model.

    Args:
        model: A `RateDistortionModel`, compiled with a loss of `echo_keras.losses`
            that is a likelihood (`SquaredError` is none). Every channel needs a
            density q(z|x); Echo has none.
        x: Images, shape (n, ...), which are also the targets.
        samples: Int >= 1, K.
        batch_size: Int >= 1.

    Returns:
        A dict with `log_likelihood_iw{K}`, the mean over images in nats, and its
        standard error `log_likelihood_iw{K}_se`, the spread over images divided by
        sqrt(n). (The bias, of the bound against log p(x), is not in it.)

    Raises:
        ValueError: an argument is out of range, the model's loss does not give one
            number for each example, or a channel has no density.

    Example:

    >>> from echo_keras import losses, networks
    >>> from echo_keras.layers import GaussianBottleneck
    >>> inputs = keras.Input((8,))
    >>> logits = keras.layers.Dense(8)(GaussianBottleneck(2)(inputs))
    >>> model = RateDistortionModel(inputs, logits)
    >>> model.compile(loss=losses.Bernoulli())
    >>> sorted(importance_weighted(model, np.ones((20, 8)), samples=5))
    ['log_likelihood_iw5', 'log_likelihood_iw5_se']

    References:
        Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders (2016), Eq. 8.
    """
    if samples < 1 or batch_size < 1:
        raise ValueError(
            f"samples and batch_size must be >= 1; received {samples} and {batch_size}."
        )
    values = per_example_likelihood(model, x, samples, batch_size)
    name = f"log_likelihood_iw{samples}"
    return {name: float(values.mean()), f"{name}_se": _standard_error(values)}


def per_example_likelihood(model, x, samples=100, batch_size=100):
    """The estimate of log p(x) for each image, float64 (n,); `importance_weighted`."""
    total = np.full(len(x), -np.inf)
    for start in range(0, len(x), batch_size):
        here = slice(start, start + batch_size)
        batch = ops.convert_to_tensor(x[here], "float32")
        for _ in range(samples):
            draws, distortion = _step(model, batch)
            if any(log_ratio is None for _, log_ratio in draws):
                raise ValueError(
                    "importance_weighted needs a density q(z|x) of every channel, and "
                    "one of the model's has none."
                )
            log_ratio = sum(log_ratio for _, log_ratio in draws)
            log_weight = -(log_ratio + distortion.astype("float64"))
            total[here] = np.logaddexp(total[here], log_weight)
    return total - math.log(samples)


def generative_information(
    model, n, samples=100, log_density=None, batch_size=100, seed=None
):
    r"""Bounds of the information between the codes and the images a model generates.

    Along the generative path, \(p_d(x, z) = m(z)\, d(x|z)\), they are

    $$E = \mathbb E \log \frac{e(z|x)}{m(z)} \le I_d(X; Z) \le
        \mathbb E \log \frac{d(x|z)}{q(x)} = G$$

    with means over \(z \sim m(z)\), \(x \sim d(x|z)\), the model's encoder e, and any
    density q of images. E is too small by \(\mathbb E\, KL[p_d(z|x) \,\|\, e(z|x)]\),
    by how badly the encoder infers the codes of generated images, and may be negative;
    G is too large by \(KL[p_d(x) \,\|\, q(x)]\).

    Without a density of the user's, the importance-weighted estimate \(\hat p_K(x)\)
    of `importance_weighted` stands for q(x). It is no density, but its mean is
    \(p_d(x)\), so that by Jensen's inequality
    \(\mathbb E \log \hat p_K(x) \le \log p_d(x)\) for every x, and

    $$\mathbb E [\log d(x|z) - \log \hat p_K(x)] \ge
        \mathbb E [\log d(x|z) - \log p_d(x)] = I_d.$$

    The upper bound holds in expectation, and falls towards \(I_d\) as K grows. The
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
        batch_size: Int >= 1.
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

    >>> from echo_keras import losses, networks
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(8)])
    >>> model = autoencoder(encoder, GaussianBottleneck(2), decoder)
    >>> model.compile(loss=losses.Bernoulli())
    >>> bounds = generative_information(model, n=20, samples=5)
    >>> sorted(bounds)  # doctest: +NORMALIZE_WHITESPACE
    ['generative_lower', 'generative_lower_se',
     'generative_upper', 'generative_upper_se']

    References:
        Fixing a Broken ELBO, App. C, Eq. 9 to 11, and D.5, D.6.
    """
    if n < 1 or samples < 1 or batch_size < 1:
        raise ValueError(
            f"n, samples and batch_size must be >= 1; received {n}, {samples} and "
            f"{batch_size}."
        )
    encoder, bottleneck, between, decoder = _chain(model)
    loss, marginal = model.loss, bottleneck.channel.marginal
    if not isinstance(loss, Distortion) or type(loss).sample is Distortion.sample:
        raise ValueError(
            f"generative_information needs a model compiled with a likelihood, such as "
            f"echo_keras.losses.Bernoulli; received {loss!r}."
        )
    if getattr(marginal, "variant", "paper") == "published_code":
        raise ValueError(
            "VampPrior(variant='published_code') has no density m(z) that its samples "
            "come from, and so no bounds; variant='paper' has one."
        )
    seed_generator = keras.random.SeedGenerator(seed)
    with no_gradients():
        # A VampPrior's components follow the encoder at a call of the model only.
        model(ops.zeros((1, *model.input_shape[1:])), training=False)
    lower, upper = np.zeros(n), np.zeros(n)
    for start in range(0, n, batch_size):
        here = slice(start, min(start + batch_size, n))
        with no_gradients():
            z = bottleneck.sample(here.stop - start)
            h = _apply(between, z)
            if hasattr(decoder, "draw"):
                x, output = (ops.convert_to_tensor(a) for a in decoder.draw(h))
            else:
                output = decoder(h, training=False)
                x = loss.sample(output, seed_generator)
            log_d = -ops.convert_to_numpy(loss.call(x, output))
            log_e = bottleneck.log_prob(z, _apply(encoder, x))
            lower[here] = ops.convert_to_numpy(log_e - marginal.log_prob(z))
        x = ops.convert_to_numpy(x)
        if log_density is None:
            log_q = per_example_likelihood(model, x, samples, batch_size)
        else:
            log_q = np.asarray(log_density(x))
            if log_q.shape != log_d.shape:
                raise ValueError(
                    f"log_density must return one number for each image, shape "
                    f"{log_d.shape}; it returned shape {log_q.shape}."
                )
        upper[here] = log_d - log_q
    return {
        "generative_lower": float(lower.mean()),
        "generative_lower_se": _standard_error(lower),
        "generative_upper": float(upper.mean()),
        "generative_upper_se": _standard_error(upper),
    }


def encode(model, x, noisy=True, seed=0, batch_size=500):
    """The codes of images as the decoder receives them, (n, d).

    Args:
        model: Model with one bottleneck; see `disentanglement.representation`.
        x: Images, shape (n, ...).
        noisy: If True, one draw from q(z|x) for each image, so that all codes together
            are draws from the aggregate posterior q(z); else codes without noise.
        seed: Int, of the noise.
        batch_size: Int >= 1.

    Example:

    >>> from echo_keras import objectives
    >>> model = objectives.vcae(*objectives.tiny_networks(), 2, noise_variance=0.1)
    >>> codes(model, np.ones((5, 8))).shape
    (5, 2)
    """
    return map_batches(representation(model, noisy, seed), x, batch_size)


def map_batches(function, x, batch_size=500):
    """What a function makes of arrays, piece by piece, so that memory is bounded.

    Args:
        function: Function from an array (n, ...) to an array (n, ...).
        x: Array (n, ...), n >= 1.
        batch_size: Int >= 1.

    Example:

    >>> map_batches(lambda x: 2 * x, np.arange(5), batch_size=2).tolist()
    [0, 2, 4, 6, 8]
    """
    pieces = [x[i : i + batch_size] for i in range(0, len(x), batch_size)]
    return np.concatenate([np.asarray(function(piece)) for piece in pieces])


def aggregate_posterior(z, prior=None, batch_size=1000, seed=0):
    r"""How far the law of codes is from a prior.

    Args:
        z: Codes, (n, d), draws from q(z); n >= 2.
        prior: As for `MMDPenalty`; the standard normal if None.
        batch_size: Int >= 2, codes that are compared at once; what is left over at the
            end is left out.
        seed: Int, of the draws from the standard normal.

    Returns:
        A dict of floats: `summed_variance`, \(\sum_j Var(z_j)\), d for a standard
        normal; `mmd`, the unbiased estimate of the squared maximum mean discrepancy
        with the inverse multiquadric kernel, 0 in the mean if q(z) is the prior, a mean
        over batches; and `excess_kurtosis`, the mean over dimensions, 0 for a normal
        law.

    Raises:
        ValueError: z is not of that shape.

    Example:

    >>> z = np.random.RandomState(0).normal(size=(5000, 2))
    >>> found = aggregate_posterior(z)
    >>> round(found["summed_variance"], 1), abs(found["mmd"]) < 0.01
    (2.0, True)

    References:
        Variance Constrained Autoencoding, Tables 6 to 9; The Variational InfoMax
        Autoencoder, Fig. 1.
    """
    z = np.asarray(z, "float32")
    if z.ndim != 2 or len(z) < 2 or batch_size < 2:
        raise ValueError(
            f"expected codes of shape (n, d), n >= 2, in batches of at least 2; found "
            f"shape {z.shape} and batches of {batch_size}."
        )
    batch_size = min(batch_size, len(z))
    penalty = MMDPenalty(
        kernel="imq", estimator="unbiased", prior=prior, seed=seed, dtype="float32"
    )
    penalty.build((None, z.shape[1]))
    starts = range(0, len(z) - batch_size + 1, batch_size)
    with no_gradients():
        mmd = [float(penalty.penalty(z[i : i + batch_size])) for i in starts]
    return {
        "summed_variance": float(z.var(axis=0).sum()),
        "mmd": float(np.mean(mmd)),
        "excess_kurtosis": float(stats.kurtosis(z, axis=0).mean()),
    }


def _chain(model):
    """Layers before the bottleneck, itself, those behind it, and the decoder."""
    layers = [
        layer
        for layer in model.layers
        if not isinstance(layer, (keras.layers.InputLayer, PseudoInputs))
    ]
    channels = [x for x in model._flatten_layers() if isinstance(x, Channel)]
    found = [i for i, x in enumerate(layers) if isinstance(x, GaussianBottleneck)]
    if len(channels) != 1 or len(found) != 1 or found[0] == len(layers) - 1:
        raise ValueError(
            f"generative_information needs a chain of encoder, GaussianBottleneck and "
            f"decoder, with a density q(z|x) and no other channel; the model's layers "
            f"are {', '.join(type(layer).__name__ for layer in layers)}."
        )
    at = found[0]
    return layers[:at], layers[at], layers[at + 1 : -1], layers[-1]


def _apply(layers, x):
    for layer in layers:
        x = layer(x, training=False)
    return x


def _standard_error(values):
    """Of the mean over images; NaN for one image."""
    spread = values.std(ddof=1) if len(values) > 1 else math.nan
    return float(spread / math.sqrt(len(values)))


def _step(model, batch, echoes="bank"):
    # No graph is traced: what the contexts say holds for this very call.
    with no_gradients(), collect_draws(echoes) as draws:
        output = model(batch, training=False)
        if isinstance(model.loss, keras.losses.Loss):
            distortion = model.loss.call(batch, output)
            given = f"shape {tuple(distortion.shape)}"
        else:  # the name of a loss, a function, or a model that was not compiled
            distortion, given = None, "none"
    if distortion is None or len(distortion.shape) != 1:
        raise ValueError(
            f"The model's loss must give one number for each example, as those of "
            f"echo_keras.losses do; {model.loss!r} gives {given}."
        )
    draws = [
        tuple(None if x is None else ops.convert_to_numpy(x) for x in draw)
        for draw in draws
    ]
    return draws, ops.convert_to_numpy(distortion)
