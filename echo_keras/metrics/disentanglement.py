"""Scores of how far the dimensions of a code follow the factors of its images.

Each score takes two things besides its protocol:

- `represent`, a function from images, a NumPy array (n, h, w, c), to codes (n, d).
  `representation` makes one of a trained model.
- `dataset`, anything that knows its factors of variation, as `FactorGrid` does:
  `factor_sizes`, a tuple with the number of values of each of the k factors;
  `len(dataset)`; `factors(rows)`, ints (n, k), and `images(rows)`, float32
  (n, h, w, c), of rows given by number; `sample(n, rng)`, n rows drawn uniformly
  with replacement by a `np.random.RandomState`; and `sample_given(factor, value, n,
  rng)`, the same among the rows where the factor has that value.

All take `batch_size`, the most images that `represent` receives at once (see
`map_batches`), and `seed`, an int. They raise a ValueError where an argument is out of
range, `represent` does not give a finite array (n, d), or a factor does not vary.

The default protocols are those of Locatello et al., Challenging Common Assumptions
in the Unsupervised Learning of Disentangled Representations (2019), App. B and C,
with which most published numbers were computed. The docstrings say what differs.
Scores are in [0, 1], higher for a code that is better disentangled.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.svm import LinearSVC

from echo_keras.layers import arguments

from .factor_codes import (
    FactorData,
    Represent,
    draw,
    draw_varied,
    encode_rows,
)
from .factor_information import gap_to_second, mig, modularity


def factor_vae_score(
    represent: Represent,
    dataset: FactorData,
    *,
    votes: int = 10_000,
    test_votes: int = 5_000,
    vote_size: int = 64,
    points: int = 10_000,
    min_std: float = 0.05,
    used: Sequence[bool] | np.ndarray | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """FactorVAE score: does a fixed factor hold one dimension still?

    A vote draws a factor uniformly, a value of it as frequent as in the data, and
    `vote_size` images with that value. It names the dimension

    `argmin_j Var_vote(z_j) / Var(z_j)`

    among those whose standard deviation over all images is at least `min_std`. Each
    dimension stands for the factor that most votes named it for; the score is the
    share of fresh votes that it gets right. A code without information scores 1/k on
    average, and one that keeps no dimension 0.

    The full protocol encodes 970,000 images. The threshold is absolute, so the score
    depends on the scale of a code near it; otherwise not at all. It is meant for a
    posterior that collapses to a standard normal, whose means then have no spread. A
    code of another scale, or an Echo code, whose dimensions carry `min_rate` at the
    least and spread as widely when they serve nothing, loses no dimension to it. To
    compare channels, say by `used` which dimensions count, by a rule that means the
    same for all: for one, a rate of 0.1 nats more than the channel's least
    (`rate_by_dimension`).

    Args:
        represent, dataset, batch_size, seed: See `metrics.disentanglement`.
        votes, test_votes: Ints >= 1, votes for the classifier and for its score.
        vote_size: Int >= 2, images in a vote.
        points: Int >= 2, images for the variances over all images.
        min_std: Float >= 0.
        used: Bools (d,), the dimensions that count, in the place of `min_std`; or None.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: See `metrics.disentanglement`; or used is not of shape (d,).

    Example:

    >>> from echo_keras.metrics import FactorGrid
    >>> flat = lambda images: images[:, 0, 0]  # the code is the factors
    >>> factor_vae_score(flat, FactorGrid(3, 4), votes=100, test_votes=50)
    1.0

    References:
        Kim & Mnih, Disentangling by Factorising (2018), Sec. 4 and App. B.
    """
    votes = arguments.integer("votes", votes)
    test_votes = arguments.integer("test_votes", test_votes)
    vote_size = arguments.integer("vote_size", vote_size, low=2)
    min_std = arguments.number("min_std", min_std, low=0)
    rng = np.random.RandomState(arguments.seed(seed, optional=False))
    codes, _ = draw_varied(represent, dataset, points, batch_size, rng)
    variances = codes.var(axis=0, ddof=1)
    kept = np.sqrt(variances) >= min_std if used is None else np.asarray(used)
    if kept.shape != variances.shape or kept.dtype != bool:
        raise ValueError(
            f"used must be None or {len(variances)} bools, one for each dimension. "
            f"Received: shape {kept.shape} and dtype {kept.dtype}"
        )
    kept = kept & (variances > 0)  # a constant dimension has no relative variance
    if not kept.any():
        return 0.0

    def cast(votes):
        """The fixed factor and the dimension of the least relative variance."""
        fixed = rng.randint(len(dataset.factor_sizes), size=votes)
        values = dataset.factors(dataset.sample(votes, rng))[np.arange(votes), fixed]
        rows = [
            dataset.sample_given(factor, value, vote_size, rng)
            for factor, value in zip(fixed, values, strict=True)
        ]
        codes = encode_rows(represent, dataset, np.concatenate(rows), batch_size)
        codes = codes.reshape(votes, vote_size, -1)[:, :, kept]
        return fixed, np.argmin(codes.var(axis=1, ddof=1) / variances[kept], axis=1)

    count = np.zeros((len(dataset.factor_sizes), kept.sum()))
    np.add.at(count, cast(votes), 1)
    fixed, dimension = cast(test_votes)
    return float(np.mean(np.argmax(count, axis=0)[dimension] == fixed))


def dci(
    represent: Represent,
    dataset: FactorData,
    *,
    classifier: Any = None,
    points: int = 10_000,
    test_points: int = 5_000,
    batch_size: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    r"""Disentanglement, completeness and informativeness (DCI).

    A classifier for each factor i says how important dimension j was to it,
    `R_ji >= 0`. With `P_ji = R_ji / sum_i R_ji` and
    `P_tilde_ji = R_ji / sum_j R_ji`, and entropies to the base of the number
    of things compared,

    $$D = \sum_j \rho_j (1 - H_k(P_{j\cdot})), \qquad
      C = \sum_i \sigma_i (1 - H_d(\tilde P_{\cdot i}))$$

    where `rho_j` and `sigma_i` are the shares of dimension j and of factor i in
    the sum of all `R`. The informativeness is the accuracy on fresh images, averaged
    over factors (the paper reports an error of prediction, for factors on a scale).
    Without any importance D = C = 0; compared with nothing else (k = 1 or d = 1)
    what has importance counts 1.

    Args:
        represent, dataset, batch_size, seed: See `metrics.disentanglement`.
        classifier: A scikit-learn classifier with `feature_importances_`, cloned for
            each factor; `GradientBoostingClassifier(random_state=seed)` if None, as
            the field uses. This fits 100 trees for each value of each factor, which
            takes minutes at the full protocol on dSprites.
            `RandomForestClassifier(max_features=None)` takes seconds and gives other
            numbers; at its own max_features, each split sees some dimensions only,
            and importance is spread over those that have none.
        points, test_points: Ints >= 2 and 1, images for the classifiers and their
            accuracy.

    Returns:
        A dict with `disentanglement`, `completeness` and `informativeness`, floats in
        [0, 1].

    Raises:
        ValueError: an argument is out of range, `represent` does not give a finite
            array (n, d), a factor does not vary, or the classifier does not say how
            important each dimension was.

    Example:

    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from echo_keras.metrics import FactorGrid
    >>> flat = lambda images: images[:, 0, 0]  # the code is the factors
    >>> dci(flat, FactorGrid(3, 4), classifier=DecisionTreeClassifier())
    {'disentanglement': 1.0, 'completeness': 1.0, 'informativeness': 1.0}

    References:
        Eastwood & Williams, A Framework for the Quantitative Evaluation of
        Disentangled Representations (2018), Sec. 2.
    """
    seed = arguments.seed(seed, optional=False)
    if classifier is None:
        classifier = GradientBoostingClassifier(random_state=seed)
    if not hasattr(classifier, "fit"):
        raise ValueError(
            f"classifier must be one of scikit-learn's kind, with fit and predict, or "
            f"None. Received: classifier={classifier!r}"
        )
    test_points = arguments.integer("test_points", test_points)
    rng = np.random.RandomState(seed)
    train = draw_varied(represent, dataset, points, batch_size, rng)
    test = draw(represent, dataset, test_points, batch_size, rng)
    importance, accuracy = [], []
    for values, test_values in zip(train[1].T, test[1].T, strict=True):
        fitted = clone(classifier).fit(train[0], values)
        found = np.abs(np.asarray(getattr(fitted, "feature_importances_", 0.0)))
        if found.shape != train[0].shape[1:]:
            raise ValueError(
                f"classifier must have feature_importances_ of shape "
                f"{train[0].shape[1:]}. Received: {type(fitted).__name__} with shape "
                f"{found.shape}"
            )
        importance.append(found)
        accuracy.append(np.mean(fitted.predict(test[0]) == test_values))
    importance = np.stack(importance, axis=1)
    return {
        "disentanglement": _concentration(importance),
        "completeness": _concentration(importance.T),
        "informativeness": float(np.mean(accuracy)),
    }


def sap(
    represent: Represent,
    dataset: FactorData,
    *,
    points: int = 10_000,
    test_points: int = 5_000,
    batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """Separated attribute predictability: is each factor read off one dimension only?

    `SAP = 1/k sum_i (A_i1 - A_i2)`

    where `A_i1` and `A_i2` are the two highest accuracies on fresh images
    of linear support vector machines (C = 0.01, classes weighted by their inverse
    frequency) that predict factor i from one dimension. A dimension that is constant
    counts 0. (So does disentanglement_lib for factors on a scale; for classes, as
    here, it lets the constant predict blindly, which differs where fewer than two
    dimensions vary.) 0 takes the place of the second where there is but one.

    A perfect code does not score 1: the second dimension is right by chance, and
    one line for each value tells few of many values on one scale apart. The machines
    are fitted without randomness; shift and scale of a code do count.

    Args:
        represent, dataset, batch_size, seed: See `metrics.disentanglement`.
        points, test_points: Ints >= 2 and 1, images for the machines and their
            accuracy.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: See `metrics.disentanglement`.

    Example:

    >>> from echo_keras.metrics import FactorGrid
    >>> flat = lambda images: images[:, 0, 0] - 0.5  # the code is the factors
    >>> round(sap(flat, FactorGrid(2, 2)), 1)  # others are right half of the time
    0.5

    References:
        Kumar, Sattigeri & Balakrishnan, Variational Inference of Disentangled Latent
        Concepts from Unlabeled Observations (2018), Sec. 3.
    """
    test_points = arguments.integer("test_points", test_points)
    rng = np.random.RandomState(arguments.seed(seed, optional=False))
    codes, factors = draw_varied(represent, dataset, points, batch_size, rng)
    test = draw(represent, dataset, test_points, batch_size, rng)
    accuracy = np.zeros((factors.shape[1], codes.shape[1]))
    for j in np.flatnonzero(np.ptp(codes, axis=0)):
        for i, values in enumerate(factors.T):
            machine = LinearSVC(C=0.01, class_weight="balanced", dual=False)
            machine.fit(codes[:, [j]], values)
            accuracy[i, j] = machine.score(test[0][:, [j]], test[1][:, i])
    return float(np.mean(gap_to_second(accuracy)))


METRICS = (
    "factor_vae",
    "mig",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
    "sap",
    "modularity",
)


def evaluate(
    represent: Represent,
    dataset: FactorData,
    seed: int = 0,
    metrics: Sequence[str] | None = None,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Several scores, each at the field's protocol.

    Args:
        represent, dataset, batch_size, seed: See `metrics.disentanglement`.
        seed: Int.
        metrics: Names out of `METRICS`, or None for all.
        batch_size: Int >= 1, most images that `represent` receives at once; see
            `map_batches`.

    Returns:
        A dict from names to floats, in the order of `METRICS`.

    Raises:
        ValueError: a metric is unknown, or as for the scores themselves.

    Example:

    >>> from echo_keras.metrics import FactorGrid
    >>> flat = lambda images: images[:, 0, 0]  # the code is the factors
    >>> result = evaluate(flat, FactorGrid(3, 4), metrics=["mig", "modularity"])
    >>> {name: round(value, 2) for name, value in result.items()}
    {'mig': 1.0, 'modularity': 1.0}
    """
    wanted = set(METRICS if metrics is None else arguments.texts("metrics", metrics))
    if not wanted <= set(METRICS):
        raise ValueError(
            f"metrics must be out of {', '.join(METRICS)}. Received: "
            f"{', '.join(sorted(map(str, wanted - set(METRICS))))}"
        )
    scores = {
        "factor_vae": factor_vae_score,
        "mig": mig,
        "sap": sap,
        "modularity": modularity,
    }
    settings = {"batch_size": batch_size, "seed": seed}
    result = {
        name: score(represent, dataset, **settings)
        for name, score in scores.items()
        if name in wanted
    }
    if any(name.startswith("dci_") for name in wanted):
        parts = dci(represent, dataset, **settings)
        result.update({f"dci_{name}": value for name, value in parts.items()})
    return {name: result[name] for name in METRICS if name in wanted}


def _concentration(importance):
    """1 - entropy of each row's shares, averaged with the rows' weight: a float."""
    weight = importance.sum(axis=1)
    if not weight.any():
        return 0.0
    share = importance / np.where(weight > 0, weight, 1.0)[:, None]
    plogp = share * np.log(np.where(share > 0, share, 1.0))
    # The log of 1 is zero, as is the entropy where there is one thing only.
    entropy = -plogp.sum(axis=1) / np.log(max(importance.shape[1], 2))
    return float(np.sum(weight / weight.sum() * (1.0 - entropy)))
