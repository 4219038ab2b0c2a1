r"""Is an image unlike what a model was trained on? Scores for novelty detection.

Each score is a number for each image, higher where it is more novel: a term of the
model's loss at that image alone. `roc_auc` says how well a score tells novel images
from known ones.

| score | term of the information bottleneck | for models with |
| --- | --- | --- |
| `distortion` | C, `-E log p(x\|z)` | any loss of `echo_keras.losses` |
| `rate` | A, `KL[q(z\|x) \|\| m(z)]` | a channel |
| `neg_elbo` | A + C | a channel |
| `data` | D, `-log p_D(x) / p(x)` as its discriminator learned it | a `GANPenalty` |
| `marginal` | B, `-E log q(z) / p(z)` likewise | a `MarginalKLPenalty` |

No term needs to be higher where an image is novel. The rate often is lower: an encoder
that sees nothing it knows stays near the prior. On MNIST with one known digit the rate
of a VAE has areas under the ROC curve of .2 to .9, and `combined_score` therefore
counts how unusual each term is, whether high or low. `mahalanobis_score` knows besides
which terms go together, and `learned_score` learns signs from images that stand for
novel ones.

Not a term but a density of its own is `metrics.manifold_score`.

References:
    Voloshynovskiy et al., Information Bottleneck through Variational Glasses (2019),
    the BIB-AE paper, Sec. 4.3; Pidhorskyi et al., Generative Probabilistic Novelty
    Detection with Adversarial Autoencoders (2018).
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy import stats
from sklearn.covariance import EmpiricalCovariance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from echo_keras.layers import Channel, GANPenalty, MarginalKLPenalty, arguments
from echo_keras.model import find_layers

from .._graph import inputs_to
from .batching import map_batches
from .rate_distortion import per_example

Scores = dict[str, np.ndarray]

# What `combined_score` averages. `neg_elbo` is a sum of others.
TERMS = ("distortion", "rate", "data", "marginal")


def scores(
    model: keras.Model, x: Any, samples: int = 1, batch_size: int | None = None
) -> Scores:
    """How novel each image is to a trained model, by each term that the model has.

    Args:
        model: A `RateDistortionModel`, compiled with a loss of `echo_keras.losses`,
            with at most one `GANPenalty` and one `MarginalKLPenalty`.
        x: Images, shape (n, ...).
        samples: Int >= 1, codes drawn for each image, over which all terms but D are
            averaged.
        batch_size: Int >= 1; see `map_batches`.

    Returns:
        A dict of arrays (n,), in nats: `distortion`; where the model has a channel,
        `rate` and their sum `neg_elbo`; where it has a `GANPenalty`, `data`, minus what
        its discriminator says of the image itself, which the autoencoder has not
        touched; and where it has a `MarginalKLPenalty`, `marginal`, minus what its
        discriminator says of the image's code.

    Raises:
        ValueError: an argument is out of range, there are no images, the model has
            several discriminators of a kind, or its loss does not give one number for
            each example.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.SquaredError())
    >>> found = scores(model, np.ones((5, 8)))
    >>> [(name, values.shape) for name, values in found.items()]
    [('distortion', (5,)), ('rate', (5,)), ('neg_elbo', (5,))]

    References:
        BIB-AE paper, Sec. 4.3.
    """
    arguments.layer("model", model, kind=keras.Model)
    of_images, of_codes = _only(model, GANPenalty), _only(model, MarginalKLPenalty)
    rate, distortion = per_example(model, x, samples=samples, batch_size=batch_size)
    found = {"distortion": distortion}
    if find_layers(model, Channel):
        found |= {"rate": rate, "neg_elbo": rate + distortion}

    def log_ratio(x):
        return of_images.log_ratio(ops.convert_to_tensor(x, "float32"))

    if of_images is not None:
        found["data"] = -map_batches(log_ratio, x, batch_size).astype("float64")
    if of_codes is not None:
        encoder = keras.Model(model.inputs, inputs_to(model, of_codes))

        def log_ratio_of_codes(x):
            x = ops.convert_to_tensor(x, "float32")
            drawn = [encoder(x, training=False) for _ in range(samples)]
            return sum(map(of_codes.log_ratio, drawn)) / samples

        ratio = map_batches(log_ratio_of_codes, x, batch_size)
        found["marginal"] = -ratio.astype("float64")
    return found


def _only(model, kind):
    """The model's one layer of a kind, or None."""
    found = find_layers(model, kind)
    if len(found) > 1:
        raise ValueError(
            f"model must have at most one {kind.__name__}. Received: {len(found)}"
        )
    return found[0] if found else None


def combined_score(scores: Scores, reference: Scores) -> np.ndarray:
    """One score of several: how many standard deviations the terms are from usual.

    `1/T sum_t |s_t(x) - m_t| / d_t`

    over the terms `TERMS` that the model has, where `m_t` and `d_t` are mean
    and standard deviation of `s_t` over training images. So all terms weigh the same,
    however many nats they have, nothing but known images says how, and a term that is
    unusually low counts as well: known images cannot say which side novel ones are on.

    Args:
        scores: What `scores` returned for images, arrays (n,).
        reference: What it returned for training images, arrays (m,), m >= 2.

    Returns:
        Array (n,) >= 0, without unit: 0 for an image whose terms are the means.

    Raises:
        ValueError: the two do not have the same terms, or a term of the reference is
            constant, or contains NaN or infinity.

    Example:

    >>> train = {"distortion": np.array([80.0, 100.0]), "rate": np.array([9.0, 11.0])}
    >>> x = {"distortion": np.array([120.0]), "rate": np.array([9.0])}
    >>> combined_score(x, train).tolist()  # three deviations and one
    [2.0]
    """
    x, _ = _standardised(scores, reference=reference)
    return np.mean(np.abs(x), axis=1)


def mahalanobis_score(scores: Scores, reference: Scores) -> np.ndarray:
    """One score of several: how unlikely the terms are, taken together.

    `(s(x) - m)^T C^-1 (s(x) - m)`

    over the terms `TERMS` that the model has, with the mean m and the covariance C of
    known images: up to constants twice the negative log-density of a Gaussian fitted to
    them. Beside `combined_score` it knows which terms go together, as a rate and a
    distortion do that both are high where there is much ink.

    Args:
        scores, reference: See `combined_score`. Terms of images that the model was not
            trained on are the better reference.

    Returns:
        Array (n,) >= 0, without unit; the mean over the reference is the number of
        terms.

    Raises:
        ValueError: as `combined_score`, or a term of the reference is a linear function
            of others.

    Example:

    >>> generator = np.random.default_rng(0)
    >>> a, b = generator.normal(size=(2, 10_000))
    >>> known = {"distortion": a, "rate": 0.6 * a + 0.8 * b}
    >>> x = {"distortion": np.array([2.0, 2.0]), "rate": np.array([2.0, -2.0])}
    >>> mahalanobis_score(x, known).round().tolist()  # 8 / 1.6, 8 / 0.4
    [5.0, 20.0]
    """
    x, known = _standardised(scores, reference=reference)
    rank = np.linalg.matrix_rank(known - known.mean(axis=0))
    if rank < known.shape[1]:
        raise ValueError(
            "reference must have terms of which none is a linear function of others. "
            f"Received: {known.shape[1]} terms of {len(known)} images, of rank {rank}"
        )
    return EmpiricalCovariance().fit(known).mahalanobis(_cut(x))


def learned_score(scores: Scores, reference: Scores, novel: Scores) -> np.ndarray:
    """One score of several, with signs and weights that are learned.

    The log-odds of a logistic regression on the standardized terms `TERMS`, which tells
    known images from others. These need not be what is novel in the end: known images
    that were cut up, say, are unlike them for certain, and show which terms rise and
    which fall. A sum of terms has no such sign.

    Args:
        scores: What `scores` returned for images, arrays (n,).
        reference: What it returned for known images, better none of training.
        novel: What it returned for images that stand for novel ones.

    Returns:
        Array (n,), nats, higher where an image is more novel.

    Raises:
        ValueError: as `combined_score`, of three.

    Example:

    >>> known = {"rate": np.array([9.0, 10.0, 11.0])}
    >>> novel = {"rate": np.array([3.0, 4.0])}  # which have a lower rate
    >>> low, high = learned_score({"rate": np.array([2.0, 12.0])}, known, novel)
    >>> bool(low > high)
    True
    """
    x, known, others = _standardised(scores, reference=reference, novel=novel)
    is_novel = np.repeat([0, 1], [len(known), len(others)])
    # Both kinds count the same, however many there are of each.
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(np.concatenate([known, _cut(others)]), is_novel)
    return regression.decision_function(_cut(x))


def _cut(x):
    """Standardized terms, of which none is infinite."""
    return np.clip(x, -1e3, 1e3)


def _standardised(scores, **others):
    """Terms of scores and of others in the reference's units: arrays (n, terms)."""
    reference, given = others["reference"], {"scores": scores, **others}
    for name, found in given.items():
        for term, values in arguments.mapping(name, found, "terms").items():
            finite = name == "reference"  # what is novel may have a density of 0
            each = arguments.array(f"{name}[{term!r}]", values, "(n,)", (1,), finite)
            if np.isnan(each.astype("float64")).any():
                raise ValueError(
                    f"{name}[{term!r}] must have no NaN. Received: shape {each.shape} "
                    "with NaN"
                )
        lengths = {len(found[term]) for term in TERMS if term in found}
        if len(lengths) > 1:
            raise ValueError(
                f"{name} must have as many values of each term. Received: {lengths}"
            )
    of_each = [[term for term in TERMS if term in found] for found in given.values()]
    terms = of_each[0]
    if not terms or any(found != terms for found in of_each):
        raise ValueError(
            f"{' and '.join(given)} must have the same terms, out of "
            f"{', '.join(TERMS)}. Received: "
            f"{' and '.join(', '.join(found) for found in given.values())}"
        )
    units = {}
    for term in terms:
        mean, spread = np.mean(reference[term]), np.std(reference[term])
        if not 0 < spread < np.inf:
            raise ValueError(
                f"{term} must be finite and differ between training images. Received: "
                f"a standard deviation of {spread} over {len(reference[term])}. Leave "
                f"the term out of both."
            )
        units[term] = mean, spread
    return [
        np.stack(
            [
                (np.asarray(found[t]) - mean) / spread
                for t, (mean, spread) in units.items()
            ],
            axis=1,
        )
        for found in given.values()
    ]


def roc_auc(novel: np.ndarray, known: np.ndarray) -> float:
    """Area under the ROC curve of a score, `P(s_novel > s_known)`, ties half.

    1 if every novel image has a higher score than every known one, 1/2 for a score
    that says nothing. A score may be infinite: of a decoder that gives an image a
    density of 0 in float32.

    Args:
        novel: Scores of novel images, (n,), n >= 1.
        known: Scores of known images, (m,), m >= 1.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: an array is empty, not of that shape, or contains NaN.

    Example:

    >>> roc_auc([2.0, 3.0], [1.0, 2.0])  # three of four pairs, and one tie
    0.875
    """
    novel, known = (
        arguments.array(name, x, "(n,)", finite=False).astype("float64")
        for name, x in (("novel", novel), ("known", known))
    )
    for name, values in (("novel", novel), ("known", known)):
        bad = np.isnan(values).any()
        if values.ndim != 1 or not len(values) or bad:
            raise ValueError(
                f"{name} must be scores of shape (n,), n >= 1, without NaN. Received: "
                f"shape {values.shape}{' with NaN' if bad else ''}"
            )
    is_novel = np.repeat([1, 0], [len(novel), len(known)])
    # Ranks, since scikit-learn refuses what is infinite.
    ranks = stats.rankdata(np.concatenate([novel, known]))
    return float(roc_auc_score(is_novel, ranks))


def roc_areas(
    model: keras.Model,
    novel: dict[str, np.ndarray],
    known: np.ndarray,
    reference: np.ndarray,
    samples: int = 1,
    batch_size: int | None = None,
    held_out: np.ndarray | None = None,
    pseudo_novel: np.ndarray | None = None,
    further: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
) -> dict[str, dict[str, float]]:
    """How well each score of a model tells several kinds of novel images from known.

    Args:
        model, samples, batch_size: See `scores`.
        novel: From a label to images.
        known: Images of the kind that the model was trained on.
        reference: Training images, for `combined_score`.
        held_out: Known images of neither training nor test, for `mahalanobis_score`;
            None to leave that score out.
        pseudo_novel: Images that stand for novel ones, for `learned_score`, which
            takes held_out as well; None to leave it out.
        further: Functions from images to arrays (n,), by name: more scores, such as
            `manifold_score`.

    Returns:
        From each label to a dict from each score, "deviation", which is
        `combined_score`, "mahalanobis" and "learned" to its `roc_auc`.

    Raises:
        ValueError: as `scores` and `combined_score`, or there are pseudo_novel images
            without held_out ones.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.SquaredError())
    >>> x = np.random.RandomState(0).rand(20, 8)
    >>> sorted(roc_areas(model, {"bright": x + 9}, x, x)["bright"])
    ['deviation', 'distortion', 'neg_elbo', 'rate']
    """
    novel = arguments.mapping("novel", novel, "images by name")
    if further is None:
        further = {}
    else:
        further = arguments.mapping("further", further, "functions by name")
        for name, function in further.items():
            arguments.function(f"further[{name!r}]", function)
    if pseudo_novel is not None and held_out is None:
        raise ValueError(
            "held_out must be images where pseudo_novel are. Received: held_out=None"
        )
    of_reference, of_held_out, of_pseudo_novel = (
        None if x is None else scores(model, x, samples, batch_size)
        for x in (reference, held_out, pseudo_novel)
    )

    def all_scores(x):
        found = scores(model, x, samples, batch_size)
        more = {"deviation": combined_score(found, of_reference)}
        if of_held_out is not None:
            more["mahalanobis"] = mahalanobis_score(found, of_held_out)
        if of_pseudo_novel is not None:
            more["learned"] = learned_score(found, of_held_out, of_pseudo_novel)
        found |= more
        if taken := sorted(further.keys() & found.keys()):
            raise ValueError(
                f"further must name scores that there are not. Received: {taken[0]!r}"
            )
        return {**found, **{name: f(x) for name, f in further.items()}}

    of_known = all_scores(known)
    return {
        label: {
            name: roc_auc(values, of_known[name])
            for name, values in all_scores(x).items()
        }
        for label, x in novel.items()
    }
