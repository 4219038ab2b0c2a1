"""How far two laws are from each other, told by discriminators from samples alone.

They are trained here, afterwards, whatever terms a model was trained with: so that
models compare.
"""

import math
import warnings
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import beta
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from echo_keras.layers import arguments

from .batching import map_batches
from .features import train_classifier

# Of the log-ratio, where samples are split in two for a lower bound.
SPLITS = np.arange(-20.0, 21.0)
CONFIDENCE = 0.95
# Log-ratios beyond are those of probabilities that float64 rounds to 0 or 1.
LARGEST = 34.0
# Share of rows at a value of one dimension that others have too.
ATOMS = 0.1


def divergence(
    a: np.ndarray,
    b: np.ndarray,
    discriminator: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> dict[str, float | bool]:
    """An estimate of KL[a || b] and of the Jensen-Shannon divergence, in nats.

    A discriminator that tells samples of a from as many of b learns
    `ratio = log a / b`, and

    `KL[a || b] >= E_a ratio - log E_b exp(ratio)`

    with equality for the true ratio (Donsker & Varadhan). Each sample is scored by a
    discriminator that never saw it: samples are cut into folds at random, and the
    discriminator of a fold is trained on all others. Log-ratios are then multiplied by
    the number in [0, 1] that is best for the other folds, so that a discriminator that
    learned its samples by heart says 0 rather than noise.

    No estimate from n samples says how large a divergence far above log n is. Where no
    sample of b is as much like a as the mean sample of a is, `lower_bound` is True, and
    `kl` is not the estimate but a bound from below with 95 % confidence: the
    divergence of the shares of a and of b on either side of a value of `l`, which
    no processing can make larger than that of the laws. At most it is about
    log n - 2.

    Vectors in a that repeat in one dimension values which b never takes, as quantized
    codes do beside draws from a density, have an infinite divergence. No discriminator
    sees that. (Floats of 16 bits, of a model in half precision, repeat values in any
    case, and are not looked at for it.) Nor does it see that codes without noise may fill no volume: their
    divergence is at least the number here.

    Args:
        a, b: Samples: vectors (n, d), such as codes and draws from their prior; or
            images (n, h, w, c), such as data and what a model generates. Of the longer
            one as many are taken as the other has. n >= 10 folds.
        discriminator: A scikit-learn classifier with `predict_proba`, cloned for each
            fold. If None, a perceptron with two hidden layers of 128 on standardized
            vectors, and for images the network of `classifier_features` of width 16.
        folds: Int >= 2.
        seed: Int >= 0, of the folds, and of the discriminator if None is given.

    Returns:
        A dict with `kl` and `js`, in nats; `kl_se` and `js_se`, the standard error of
        each, the spread over folds divided by the root of their number (NaN where `kl`
        is a bound or infinite); and `lower_bound`. JS is at most log 2, and its
        estimate is too small by what the discriminator does not see.

    Raises:
        ValueError: a and b are not samples of one shape, there are too few of them, or
            an argument is out of range.

    Example:

    >>> random = np.random.RandomState(0)
    >>> found = divergence(random.normal(2.0, size=(500, 1)), random.normal(size=(500, 1)))
    >>> 1.5 < found["kl"] < 2.5, found["lower_bound"]  # 2 nats
    (True, False)
    >>> coins = random.randint(0, 2, size=(500, 1))
    >>> divergence(coins, random.normal(size=(500, 1)))["kl"]
    inf

    References:
        BIB-AE paper, terms B and D, Eq. 18 and 27; Sugiyama, Suzuki & Kanamori,
        Density Ratio Estimation in Machine Learning (2012), Ch. 4; McAllester &
        Stratos, Formal Limitations on the Measurement of Mutual Information (2020);
        Belghazi et al., Mutual Information Neural Estimation (2018), Eq. 6.
    """  # noqa: E501
    folds = arguments.integer("folds", folds, low=2)
    seed = arguments.seed(seed, optional=False)
    if discriminator is not None and not hasattr(discriminator, "predict_proba"):
        raise ValueError(
            f"discriminator must be a classifier of scikit-learn's kind, with fit and "
            f"predict_proba, or None. Received: discriminator={discriminator!r}"
        )
    a, b, rounded = _samples(a, b, folds, seed)
    n = len(a)
    if discriminator is None:
        discriminator = _default(a.shape[1:], 2 * n * (folds - 1) // folds, seed)
    x, is_a = np.concatenate([a, b]), np.repeat([1, 0], n)
    ratio, fold = np.empty(2 * n), np.empty(2 * n, int)
    cuts = StratifiedKFold(int(folds), shuffle=True, random_state=seed)
    for k, (others, here) in enumerate(cuts.split(is_a, is_a)):
        with warnings.catch_warnings():
            # A fixed number of epochs; what they overfit is taken back below.
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Threads that wait for each other take longer than these small products.
            with threadpool_limits(1):
                fitted = clone(discriminator).fit(x[others], is_a[others])
        p = fitted.predict_proba(x[here])
        with np.errstate(divide="ignore"):
            found = np.log(p[:, 1]) - np.log(p[:, 0])
        ratio[here], fold[here] = np.clip(found, -LARGEST, LARGEST), k
    is_a = is_a == 1
    scales = [_shrinkage(ratio[fold != k], is_a[fold != k]) for k in range(folds)]
    for k in range(folds):
        ratio[fold == k] *= scales[k]
    return _summary(ratio, is_a, fold, not rounded and _has_atoms(a, b))


def _samples(a, b, folds, seed):
    """As many of each, in float32, and whether those of a are floats of 16 bits."""
    a, b = (arguments.array(name, x, finite=False) for name, x in (("a", a), ("b", b)))
    rounded = a.dtype.name in ("float16", "bfloat16")
    a, b = a.astype("float32"), b.astype("float32")
    if a.ndim not in (2, 4) or a.shape[1:] != b.shape[1:] or not a[:1].size:
        raise ValueError(
            f"a and b must be vectors (n, d) or images (n, h, w, c) of one shape. "
            f"Received: shapes {a.shape} and {b.shape}"
        )
    n = min(len(a), len(b))
    if n < 10 * folds:
        raise ValueError(
            f"a and b must be at least {10 * folds} samples, ten for each fold. "
            f"Received: {len(a)} and {len(b)}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a and b must be finite. Received: NaN or infinity")
    random = np.random.RandomState(seed)
    a, b = (x if len(x) == n else x[random.permutation(len(x))[:n]] for x in (a, b))
    return a, b, rounded


def _default(shape, n, seed):
    """The discriminator of samples of this shape, to be trained on n of them."""
    if len(shape) == 3:
        return _Convolutions(min(max(40_000 // n, 5), 30), seed)
    # Some 250 steps of 200 examples, but of few of them no more than 50 epochs.
    epochs = min(max(50_000 // n, 6), 50)
    network = MLPClassifier(
        (128, 128), alpha=0.01, max_iter=epochs, random_state=seed, tol=0.0
    )
    return make_pipeline(StandardScaler(), network)


class _Convolutions(ClassifierMixin, BaseEstimator):
    """The network of `classifier_features`, as scikit-learn knows classifiers."""

    def __init__(self, epochs: int = 5, seed: int = 0) -> None:
        self.epochs, self.seed = epochs, seed

    def fit(self, x: np.ndarray, y: np.ndarray) -> "_Convolutions":
        sizes = self.epochs, 100, 1e-3, 16
        rng = np.random.RandomState(self.seed)
        _, self.network_, _ = train_classifier(x, y, "discriminator", *sizes, rng)
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        logits = map_batches(lambda batch: self.network_(batch, training=False), x)
        ratio = np.diff(logits.astype("float64"))[:, 0]
        return np.stack([expit(-ratio), expit(ratio)], axis=1)


def _bound(ratio, is_a):
    """What log-ratios say of KL[a || b] (Donsker & Varadhan)."""
    return ratio[is_a].mean() - _log_mean(ratio[~is_a])


def _log_mean(ratio):
    return logsumexp(ratio) - math.log(len(ratio))


def _shrinkage(ratio, is_a):
    """What log-ratios must be multiplied by for the highest bound, at most 1."""
    found = minimize_scalar(
        lambda scale: -_bound(scale * ratio, is_a), bounds=(0, 1), method="bounded"
    )
    return found.x


def _summary(ratio, is_a, fold, infinite):
    def standard_error(values):
        each = [values[fold == k].mean() for k in range(fold.max() + 1)]
        return np.std(each, ddof=1) / math.sqrt(len(each))

    of_a, of_b = ratio[is_a], ratio[~is_a]
    kl = _bound(ratio, is_a)
    # To first order in the means, each of half of the samples.
    weights = np.exp(ratio - _log_mean(of_b))
    kl_se = standard_error(2.0 * np.where(is_a, ratio, -weights))
    js = math.log(2) + log_expit(np.where(is_a, ratio, -ratio))
    unresolved = not infinite and not (of_b >= of_a.mean()).any()
    if infinite:
        kl, kl_se = math.inf, math.nan
    elif unresolved:
        kl, kl_se = _least(of_a, of_b), math.nan
    return {
        "kl": float(kl),
        "kl_se": float(kl_se),
        "js": float(js.mean()),
        "js_se": float(standard_error(js)),
        "lower_bound": unresolved,
    }


def _least(of_a, of_b):
    """A lower bound of KL[a || b], of the shares on either side of each split."""
    n = len(of_a)
    # All splits and both shares at once, each with its confidence interval.
    wrong = (1.0 - CONFIDENCE) / (2 * len(SPLITS))
    above_a, above_b = ((x[:, None] >= SPLITS).sum(axis=0) for x in (of_a, of_b))
    p = np.where(above_a > 0, beta.ppf(wrong, above_a, n - above_a + 1), 0.0)
    q = np.where(above_b < n, beta.ppf(1 - wrong, above_b + 1, n - above_b), 1.0)
    known = p > q
    p, q = p[known], q[known]
    values = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return values.max(initial=0.0)


def _has_atoms(a, b):
    """Whether vectors in a repeat values of one dimension that b never takes."""
    if a.ndim != 2:
        return False  # pixels take 256 values
    for of_a, of_b in zip(a.T, b.T, strict=True):
        values, counts = np.unique(of_a, return_counts=True)
        own = (counts > 1) & ~np.isin(values, of_b)
        if counts[own].sum() > ATOMS * len(a):
            return True
    return False
