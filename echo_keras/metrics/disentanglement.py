r"""Scores of how far the dimensions of a code follow the factors of its images.

Each score takes two things besides its protocol:

- `represent`, a function from images, a NumPy array (n, h, w, c), to codes (n, d).
  `representation` makes one of a trained model.
- `dataset`, anything that knows its factors of variation, as `FactorGrid` does:
  `factor_sizes`, a tuple with the number of values of each of the k factors;
  `len(dataset)`; `factors(rows)`, ints (n, k), and `images(rows)`, float32
  (n, h, w, c), of rows given by number; `sample(n, rng)`, n rows drawn uniformly
  with replacement by a `np.random.RandomState`; and `sample_given(factor, value, n,
  rng)`, the same among the rows where the factor has that value.

The default protocols are those of Locatello et al., Challenging Common Assumptions
in the Unsupervised Learning of Disentangled Representations (2019), App. B and C,
with which most published numbers were computed. The docstrings say what differs.
Scores are in [0, 1], higher for a code that is better disentangled.
"""

import numpy as np
from keras import Model, ops, random
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import mutual_info_score
from sklearn.svm import LinearSVC

from echo_keras.layers.bottleneck import Bottleneck


class FactorGrid:
    """Every combination of some factors, once; the image is the factors themselves.

    The smallest data set that the scores take, to try them on codes that are known.

    Args:
        *factor_sizes: Ints, the number of values of each factor.

    Example:

    >>> grid = FactorGrid(3, 4)
    >>> len(grid), grid.factors([0, 1, 11]).tolist(), grid.images([11]).shape
    (12, [[0, 0], [0, 1], [2, 3]], (1, 1, 1, 2))
    """

    def __init__(self, *factor_sizes):
        self.factor_sizes = factor_sizes

    def __len__(self):
        return int(np.prod(self.factor_sizes))

    def factors(self, rows):
        """The factors' values, ints (n, k)."""
        return np.stack(np.unravel_index(rows, self.factor_sizes), axis=1)

    def images(self, rows):
        """The same as float32, (n, 1, 1, k)."""
        return self.factors(rows).astype("float32")[:, None, None, :]

    def sample(self, n, rng):
        """Draws n rows uniformly, with replacement."""
        return rng.randint(len(self), size=n)

    def sample_given(self, factor, value, n, rng):
        """Draws n of the rows where a factor has some value."""
        factors = self.factors(self.sample(n, rng))
        factors[:, factor] = value
        return np.ravel_multi_index(factors.T, self.factor_sizes)


def representation(model, noisy=False, seed=0):
    r"""The function from images to codes that the scores ask for, of a trained model.

    The code is what the decoder would receive without noise, as is usual: the mean
    of a Gaussian channel, and f(x) of an Echo channel. (Through the flow, `exp` or
    standardization that the channel or its bottleneck applies to z. The last brings
    f(x) to the scale of a z of variance 1, for which the threshold of
    `factor_vae_score` is meant; in the "paper" parametrization f(x) may be so small
    that no dimension passes it.)

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

    Returns:
        A function from images (n, ...) to codes (n, d), both NumPy arrays.

    Raises:
        ValueError: the model does not have one bottleneck among its layers.

    Example:

    >>> import keras
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
    found = [layer for layer in model.layers if isinstance(layer, Bottleneck)]
    if len(found) != 1:
        raise ValueError(
            f"expected a model with one bottleneck of echo_keras.layers among its "
            f"layers, found {len(found)}."
        )
    (bottleneck,) = found
    if not noisy or bottleneck.channel is None:
        return Model(model.input, bottleneck.code(bottleneck.input)).predict_on_batch
    encoder = Model(model.input, bottleneck.output)
    generator, own = bottleneck.channel.seed_generator, random.SeedGenerator(seed)

    def represent(images):
        before = np.array(ops.convert_to_numpy(generator.state))  # no view of it
        generator.state.assign(ops.convert_to_numpy(own.state))
        try:
            return encoder.predict_on_batch(images)
        finally:
            own.state.assign(ops.convert_to_numpy(generator.state))
            generator.state.assign(before)

    return represent


def factor_vae_score(
    represent,
    dataset,
    *,
    votes=10_000,
    test_votes=5_000,
    vote_size=64,
    points=10_000,
    min_std=0.05,
    batch_size=1024,
    seed=0,
):
    r"""FactorVAE score: does a fixed factor hold one dimension still?

    A vote draws a factor uniformly, a value of it as frequent as in the data, and
    `vote_size` images with that value. It names the dimension

    $$j^* = \arg\min_j \frac{\mathrm{Var}_{vote}(z_j)}{\mathrm{Var}(z_j)}$$

    among those whose standard deviation over all images is at least `min_std`. Each
    dimension stands for the factor that most votes named it for; the score is the
    share of fresh votes that it gets right. A code without information scores 1/k on
    average, and one that keeps no dimension 0.

    The full protocol encodes 970,000 images. The threshold is absolute, so the score
    depends on the scale of a code near it; otherwise not at all.

    Args:
        represent, dataset: See the module's docstring.
        votes, test_votes: Ints >= 1, votes for the classifier and for its score.
        vote_size: Int >= 2, images in a vote.
        points: Int >= 2, images for the variances over all images.
        min_std: Float >= 0.
        batch_size: Int >= 1, most images that `represent` receives at once.
        seed: Int.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: an argument is out of range, `represent` does not give a finite
            array (n, d), or a factor does not vary.

    Example:

    >>> flat = lambda images: images[:, 0, 0]  # the code is the factors
    >>> factor_vae_score(flat, FactorGrid(3, 4), votes=100, test_votes=50)
    1.0

    References:
        Kim & Mnih, Disentangling by Factorising (2018), Sec. 4 and App. B.
    """
    _check_counts(1, votes=votes, test_votes=test_votes)
    _check_counts(2, vote_size=vote_size)
    if not min_std >= 0:
        raise ValueError(f"expected min_std >= 0, found {min_std}.")
    rng = np.random.RandomState(seed)
    codes, _ = _draw_varied(represent, dataset, points, batch_size, rng)
    variances = codes.var(axis=0, ddof=1)
    # A constant dimension has no relative variance, whatever the threshold.
    kept = (np.sqrt(variances) >= min_std) & (variances > 0)
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
        codes = _encode(represent, dataset, np.concatenate(rows), batch_size)
        codes = codes.reshape(votes, vote_size, -1)[:, :, kept]
        return fixed, np.argmin(codes.var(axis=1, ddof=1) / variances[kept], axis=1)

    count = np.zeros((len(dataset.factor_sizes), kept.sum()))
    np.add.at(count, cast(votes), 1)
    fixed, dimension = cast(test_votes)
    return float(np.mean(np.argmax(count, axis=0)[dimension] == fixed))


def mig(represent, dataset, *, points=10_000, bins=20, batch_size=1024, seed=0):
    r"""Mutual information gap: is each factor in one dimension only?

    $$\mathrm{MIG} = \frac1k \sum_{i=1}^k \frac{I(v_i; z_{(1)}) - I(v_i; z_{(2)})}
        {H(v_i)}$$

    where (1) and (2) are the dimensions with the most information about factor
    \(v_i\), in nats, each cut into `bins` of equal width between its least and
    greatest value; 0 takes the place of the second where there is but one. Shift
    and scale of a dimension make no difference. Information from a sample is too
    high by about (bins - 1)(values - 1) / 2 points nats in a dimension without any.

    A factor of more than `bins` values that one dimension has on a uniform scale
    scores below 1, for values share bins; 20 bins of 40 values give 0.81.

    Args:
        represent, dataset: See the module's docstring.
        points: Int >= 2, images that are encoded.
        bins: Int >= 1.
        batch_size: Int >= 1, most images that `represent` receives at once.
        seed: Int.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: an argument is out of range, `represent` does not give a finite
            array (n, d), or a factor does not vary.

    Example:

    >>> flat = lambda images: images[:, 0, 0]  # the code is the factors
    >>> round(mig(flat, FactorGrid(3, 4)), 2)
    1.0

    References:
        Chen, Li, Grosse & Duvenaud, Isolating Sources of Disentanglement in
        Variational Autoencoders (2018), Sec. 4.1, there with I(v; z) from samples of
        q(z|x) rather than from a histogram of means.
    """
    rng = np.random.RandomState(seed)
    codes, factors = _draw_varied(represent, dataset, points, batch_size, rng)
    entropy = [mutual_info_score(values, values) for values in factors.T]
    gap = _gap(_mutual_information(codes, factors, bins))
    return float(np.mean(gap / entropy))


def modularity(represent, dataset, *, points=10_000, bins=20, batch_size=1024, seed=0):
    r"""Modularity: does each dimension tell of one factor only?

    $$1 - \frac1d \sum_{j=1}^d \frac{\sum_{i \ne i_j} I(v_i; z_j)^2}
        {(k - 1)\, I(v_{i_j}; z_j)^2}$$

    where \(i_j\) is the factor about which dimension j has the most information,
    computed as in `mig`. A factor in many dimensions costs nothing. A dimension
    without any information, such as a constant, counts 0. One of pure noise has a
    little from sampling, the most about the factor with the most values, and so
    counts something between 0 and 1 that means nothing. With one factor, every
    dimension with information counts 1.

    Args:
        represent, dataset: See the module's docstring.
        points: Int >= 2, images that are encoded.
        bins: Int >= 1.
        batch_size: Int >= 1, most images that `represent` receives at once.
        seed: Int.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: an argument is out of range, `represent` does not give a finite
            array (n, d), or a factor does not vary.

    Example:

    >>> flat = lambda images: images[:, 0, 0]  # the code is the factors
    >>> round(modularity(flat, FactorGrid(3, 4)), 2)
    1.0

    References:
        Ridgeway & Mozer, Learning Deep Disentangled Embeddings with the F-Statistic
        Loss (2018), Sec. 3.
    """
    rng = np.random.RandomState(seed)
    codes, factors = _draw_varied(represent, dataset, points, batch_size, rng)
    squared = _mutual_information(codes, factors, bins) ** 2
    most, others = squared.max(axis=0), max(len(squared) - 1, 1)
    informed = most > 0
    off = (squared.sum(axis=0) - most) / np.where(informed, most * others, 1.0)
    return float(np.mean(np.where(informed, 1.0 - off, 0.0)))


def dci(
    represent,
    dataset,
    *,
    classifier=None,
    points=10_000,
    test_points=5_000,
    batch_size=1024,
    seed=0,
):
    r"""Disentanglement, completeness and informativeness (DCI).

    A classifier for each factor i says how important dimension j was to it,
    \(R_{ji} \ge 0\). With \(P_{ji} = R_{ji} / \sum_i R_{ji}\) and
    \(\tilde P_{ji} = R_{ji} / \sum_j R_{ji}\), and entropies to the base of the number
    of things compared,

    $$D = \sum_j \rho_j (1 - H_k(P_{j\cdot})), \qquad
      C = \sum_i \sigma_i (1 - H_d(\tilde P_{\cdot i}))$$

    where \(\rho_j\) and \(\sigma_i\) are the shares of dimension j and of factor i in
    the sum of all \(R\). The informativeness is the accuracy on fresh images, averaged
    over factors (the paper reports an error of prediction, for factors on a scale).
    Without any importance D = C = 0; compared with nothing else (k = 1 or d = 1)
    what has importance counts 1.

    Args:
        represent, dataset: See the module's docstring.
        classifier: A scikit-learn classifier with `feature_importances_`, cloned for
            each factor; `GradientBoostingClassifier(random_state=seed)` if None, as
            the field uses. This fits 100 trees for each value of each factor, which
            takes minutes at the full protocol on dSprites.
            `RandomForestClassifier(max_features=None)` takes seconds and gives other
            numbers; at its own max_features, each split sees some dimensions only,
            and importance is spread over those that have none.
        points, test_points: Ints >= 2 and 1, images for the classifiers and their
            accuracy.
        batch_size: Int >= 1, most images that `represent` receives at once.
        seed: Int.

    Returns:
        A dict with `disentanglement`, `completeness` and `informativeness`, floats in
        [0, 1].

    Raises:
        ValueError: an argument is out of range, `represent` does not give a finite
            array (n, d), a factor does not vary, or the classifier does not say how
            important each dimension was.

    Example:

    >>> from sklearn.tree import DecisionTreeClassifier
    >>> flat = lambda images: images[:, 0, 0]  # the code is the factors
    >>> dci(flat, FactorGrid(3, 4), classifier=DecisionTreeClassifier())
    {'disentanglement': 1.0, 'completeness': 1.0, 'informativeness': 1.0}

    References:
        Eastwood & Williams, A Framework for the Quantitative Evaluation of
        Disentangled Representations (2018), Sec. 2.
    """
    if classifier is None:
        classifier = GradientBoostingClassifier(random_state=seed)
    _check_counts(1, test_points=test_points)
    rng = np.random.RandomState(seed)
    train = _draw_varied(represent, dataset, points, batch_size, rng)
    test = _draw(represent, dataset, test_points, batch_size, rng)
    importance, accuracy = [], []
    for values, test_values in zip(train[1].T, test[1].T, strict=True):
        fitted = clone(classifier).fit(train[0], values)
        found = np.abs(np.asarray(getattr(fitted, "feature_importances_", 0.0)))
        if found.shape != train[0].shape[1:]:
            raise ValueError(
                f"expected a classifier with feature_importances_ of shape "
                f"{train[0].shape[1:]}, found {type(fitted).__name__} with shape "
                f"{found.shape}."
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
    represent, dataset, *, points=10_000, test_points=5_000, batch_size=1024, seed=0
):
    r"""Separated attribute predictability: is each factor read off one dimension only?

    $$\mathrm{SAP} = \frac1k \sum_{i=1}^k (A_{i(1)} - A_{i(2)})$$

    where \(A_{i(1)}\) and \(A_{i(2)}\) are the two highest accuracies on fresh images
    of linear support vector machines (C = 0.01, classes weighted by their inverse
    frequency) that predict factor i from one dimension. A dimension that is constant
    counts 0. (So does disentanglement_lib for factors on a scale; for classes, as
    here, it lets the constant predict blindly, which differs where fewer than two
    dimensions vary.) 0 takes the place of the second where there is but one.

    A perfect code does not score 1: the second dimension is right by chance, and
    one line for each value tells few of many values on one scale apart. The machines
    are fitted without randomness; shift and scale of a code do count.

    Args:
        represent, dataset: See the module's docstring.
        points, test_points: Ints >= 2 and 1, images for the machines and their
            accuracy.
        batch_size: Int >= 1, most images that `represent` receives at once.
        seed: Int.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: an argument is out of range, `represent` does not give a finite
            array (n, d), or a factor does not vary.

    Example:

    >>> flat = lambda images: images[:, 0, 0] - 0.5  # the code is the factors
    >>> round(sap(flat, FactorGrid(2, 2)), 1)  # others are right half of the time
    0.5

    References:
        Kumar, Sattigeri & Balakrishnan, Variational Inference of Disentangled Latent
        Concepts from Unlabeled Observations (2018), Sec. 3.
    """
    _check_counts(1, test_points=test_points)
    rng = np.random.RandomState(seed)
    codes, factors = _draw_varied(represent, dataset, points, batch_size, rng)
    test = _draw(represent, dataset, test_points, batch_size, rng)
    accuracy = np.zeros((factors.shape[1], codes.shape[1]))
    for j in np.flatnonzero(np.ptp(codes, axis=0)):
        for i, values in enumerate(factors.T):
            machine = LinearSVC(C=0.01, class_weight="balanced", dual=False)
            machine.fit(codes[:, [j]], values)
            accuracy[i, j] = machine.score(test[0][:, [j]], test[1][:, i])
    return float(np.mean(_gap(accuracy)))


METRICS = (
    "factor_vae",
    "mig",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
    "sap",
    "modularity",
)


def evaluate(represent, dataset, seed=0, metrics=None, batch_size=1024):
    """Several scores, each at the field's protocol.

    Args:
        represent, dataset: See the module's docstring.
        seed: Int.
        metrics: Names out of `METRICS`, or None for all.
        batch_size: Int >= 1, most images that `represent` receives at once.

    Returns:
        A dict from names to floats, in the order of `METRICS`.

    Raises:
        ValueError: a metric is unknown, or as for the scores themselves.

    Example:

    >>> flat = lambda images: images[:, 0, 0]  # the code is the factors
    >>> result = evaluate(flat, FactorGrid(3, 4), metrics=["mig", "modularity"])
    >>> {name: round(value, 2) for name, value in result.items()}
    {'mig': 1.0, 'modularity': 1.0}
    """
    wanted = set(METRICS if metrics is None else metrics)
    if not wanted <= set(METRICS):
        raise ValueError(
            f"expected metrics out of {', '.join(METRICS)}, found "
            f"{', '.join(sorted(map(str, wanted - set(METRICS))))}."
        )
    scores = {
        "factor_vae": factor_vae_score,
        "mig": mig,
        "sap": sap,
        "modularity": modularity,
    }
    arguments = {"batch_size": batch_size, "seed": seed}
    result = {
        name: score(represent, dataset, **arguments)
        for name, score in scores.items()
        if name in wanted
    }
    if any(name.startswith("dci_") for name in wanted):
        parts = dci(represent, dataset, **arguments)
        result.update({f"dci_{name}": value for name, value in parts.items()})
    return {name: result[name] for name in METRICS if name in wanted}


def _check_counts(minimum, **counts):
    for name, value in counts.items():
        if not value >= minimum or value != int(value):
            raise ValueError(
                f"expected {name} to be an integer >= {minimum}, found {value}."
            )


def _draw(represent, dataset, points, batch_size, rng):
    """Codes (n, d) and factors (n, k) of n rows drawn uniformly."""
    rows = dataset.sample(points, rng)
    return _encode(represent, dataset, rows, batch_size), dataset.factors(rows)


def _draw_varied(represent, dataset, points, batch_size, rng):
    """The same, with every factor varying: one value is nothing to predict."""
    _check_counts(2, points=points)
    codes, factors = _draw(represent, dataset, points, batch_size, rng)
    fixed = np.flatnonzero(np.ptp(factors, axis=0) == 0)
    if len(fixed):
        raise ValueError(
            f"expected every factor to vary among {points} points, found one value "
            f"of factor {', '.join(map(str, fixed))}."
        )
    return codes, factors


def _encode(represent, dataset, rows, batch_size):
    """Codes float64 (n, d) of some rows, encoded `batch_size` at a time."""
    _check_counts(1, batch_size=batch_size)
    batches = []
    for start in range(0, len(rows), batch_size):
        here = rows[start : start + batch_size]
        codes = ops.convert_to_numpy(represent(dataset.images(here)))
        if codes.ndim != 2 or len(codes) != len(here) or not codes.shape[1]:
            raise ValueError(
                f"expected codes of shape ({len(here)}, d), d >= 1, from represent, "
                f"found {codes.shape}."
            )
        batches.append(codes.astype("float64"))
    codes = np.concatenate(batches)
    if not np.isfinite(codes).all():
        raise ValueError("expected finite codes from represent, found NaN or infinity.")
    return codes


def _mutual_information(codes, factors, bins):
    """Between each factor and each binned dimension, in nats: (k, d)."""
    _check_counts(1, bins=bins)
    low, width = codes.min(axis=0), np.ptp(codes, axis=0)
    place = (codes - low) / np.where(width > 0, width, 1.0)
    # The last bin has its upper edge.
    binned = np.minimum((place * bins).astype("int64"), bins - 1)
    return np.array([[mutual_info_score(v, z) for z in binned.T] for v in factors.T])


def _gap(values):
    """The highest of each row less the second highest, or less 0 if there is none."""
    values = np.sort(np.pad(values, ((0, 0), (1, 0))), axis=1)
    return values[:, -1] - values[:, -2]


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
