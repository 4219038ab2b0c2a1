"""Tests of the disentanglement scores: codes of known score, brute force, bad input."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from echo_keras.metrics import FactorGrid
from echo_keras.metrics.disentanglement import (
    METRICS,
    dci,
    evaluate,
    factor_vae_score,
    mig,
    modularity,
    sap,
)

TREE = DecisionTreeClassifier(random_state=0)
FEW = {"votes": 200, "test_votes": 100, "vote_size": 16}


class Enumerated(FactorGrid):
    """Whole multiples of its length have no sampling error: each row as often."""

    def sample(self, n, rng):
        return super().sample(n, rng) if n % len(self) else np.arange(n) % len(self)


def flat(images):
    """The perfect code: the factors themselves."""
    return images[:, 0, 0]


def coded(function):
    return lambda images: function(flat(images).astype("float64"))


def scores(represent, dataset, points=None):
    """All scores, the sizes small; without sampling error on an `Enumerated`."""
    points = points or len(dataset)
    parts = dci(represent, dataset, classifier=TREE, points=points, test_points=points)
    return {
        "factor_vae": factor_vae_score(represent, dataset, points=points, **FEW),
        "mig": mig(represent, dataset, points=points),
        **{f"dci_{name}": value for name, value in parts.items()},
        "sap": sap(represent, dataset, points=points, test_points=points),
        "modularity": modularity(represent, dataset, points=points),
    }


# Codes of known score


def test_perfect_codes_score_one():
    # Two values, as one line can tell them apart. For SAP the other dimensions are
    # right half of the time.
    expected = dict.fromkeys(METRICS, 1.0) | {"sap": 0.5}
    found = scores(coded(lambda v: v - 0.5), Enumerated(2, 2, 2))
    assert set(found) == set(METRICS)
    for name, value in expected.items():
        assert type(found[name]) is float
        np.testing.assert_allclose(found[name], value, atol=1e-12, err_msg=name)


def test_perfect_codes_of_many_values_score_one_but_for_sap():
    found = scores(flat, Enumerated(3, 5, 7))
    del found["sap"]
    assert min(found.values()) > 1 - 1e-12


def test_permuted_scaled_codes_score_the_same():
    grid = Enumerated(3, 4, 5)
    mixed = coded(lambda v: v @ [[2.0, 1, 0], [0, 1, 0], [1, 0, 3]])
    moved = coded(
        lambda v: (v @ [[2.0, 1, 0], [0, 1, 0], [1, 0, 3]])[:, [2, 0, 1]] * [8, -2, 0.5]
    )
    before, after = scores(mixed, grid), scores(moved, grid)
    for name in ("factor_vae", "mig", "modularity"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-12, err_msg=name)
    assert before["mig"] < 0.9


def test_a_rotated_pair_of_factors_has_no_gap():
    # a + b and a - b have the same law given a, and given b, and the same bins. Only
    # the third factor is in a dimension of its own.
    rotate = np.array([[1.0, 1, 0], [1, -1, 0], [0, 0, 1]]) / math.sqrt(2)
    grid = Enumerated(8, 8, 4)
    found, straight = scores(coded(lambda v: v @ rotate), grid), scores(flat, grid)
    np.testing.assert_allclose(found["mig"], 1 / 3, atol=1e-12)
    # Both dimensions tell as much of a as of b, and nothing of c: 1 - 1 / (k - 1).
    np.testing.assert_allclose(found["modularity"], (0.5 + 0.5 + 1) / 3, atol=1e-12)
    # The third factor is always right, the other two half of the time: 2/3, with a
    # standard deviation of 0.05 from 100 votes.
    assert abs(found["factor_vae"] - 2 / 3) < 0.2
    for name in ("dci_disentanglement", "dci_completeness", "sap"):
        assert found[name] < straight[name] - 0.1


def test_constant_codes_score_zero():
    found = scores(coded(np.zeros_like), Enumerated(3, 4))
    # A tree that sees nothing is still right about one value of each factor.
    assert found.pop("dci_informativeness") == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert set(found.values()) == {0.0}


def test_a_constant_dimension_changes_little():
    grid = Enumerated(3, 4)
    found = scores(coded(lambda v: np.pad(v, ((0, 0), (0, 1)))), grid)
    straight = scores(flat, grid)
    assert found.pop("modularity") == pytest.approx(2 / 3)  # it is not modular
    for name, value in found.items():
        assert value == pytest.approx(straight[name]), name


def test_one_dimension():
    # Of the first of two factors: 1 for it and 0 for the other.
    found = scores(coded(lambda v: v[:, :1]), Enumerated(3, 4))
    assert found["mig"] == pytest.approx(0.5)
    assert found["modularity"] == found["dci_disentanglement"] == 1
    assert found["dci_informativeness"] == pytest.approx((1 + 1 / 4) / 2)
    assert found["dci_completeness"] == 1  # compared with no other dimension


def test_one_factor():
    found = scores(coded(lambda v: np.hstack([v, 0 * v]) - 0.5), Enumerated(2))
    assert found.pop("modularity") == 0.5  # one dimension says nothing
    assert min(found.values()) == 1.0


class Correlations(BaseEstimator):
    """Importance is |correlation|, equal for dimensions that are equal."""

    def fit(self, x, y):
        r = np.abs([np.corrcoef(column, y)[0, 1] for column in x.T])
        self.feature_importances_ = np.where(r > 1e-9, r, 0) / r.sum()
        return self

    def predict(self, x):
        return np.zeros(len(x), int)


def test_a_factor_in_two_dimensions():
    grid = Enumerated(4, 4)
    twice = coded(lambda v: v[:, [0, 1, 0]])
    found = scores(twice, grid)
    assert found["mig"] == pytest.approx(0.5)  # 0 and 1
    assert found["factor_vae"] == found["modularity"] == 1.0
    parts = dci(twice, grid, classifier=Correlations(), points=16, test_points=16)
    assert parts["disentanglement"] == pytest.approx(1.0)
    # Its importance is 1/2, 1/2 among three: 1 - log 2 / log 3. The other's is 1.
    expected = (1 - math.log(2) / math.log(3) + 1) / 2
    assert parts["completeness"] == pytest.approx(expected)
    assert parts["informativeness"] == 0.25


def test_two_factors_in_one_dimension():
    # For both factors dimension 0 has all importance: complete, not disentangled.
    class First(Correlations):
        def fit(self, x, y):
            self.feature_importances_ = np.array([1.0, 0.0])
            return self

    parts = dci(flat, Enumerated(4, 4), classifier=First(), points=16, test_points=16)
    assert parts["disentanglement"] == pytest.approx(0.0, abs=1e-12)
    assert parts["completeness"] == 1.0


def test_dci_weighs_dimensions_by_their_importance():
    importance = iter([np.array([0.9, 0.1, 0.0]), np.array([0.3, 0.7, 0.0])])

    class Given(Correlations):
        def fit(self, x, y):
            self.feature_importances_ = next(importance)
            return self

    def surprise(*p):
        return -sum(q * math.log(q) for q in p)

    code = coded(lambda v: np.hstack([v, v[:, :1]]))
    parts = dci(code, Enumerated(4, 4), classifier=Given(), points=16, test_points=16)
    d0 = 1 - surprise(0.9 / 1.2, 0.3 / 1.2) / math.log(2)
    d1 = 1 - surprise(0.1 / 0.8, 0.7 / 0.8) / math.log(2)
    assert parts["disentanglement"] == pytest.approx((1.2 * d0 + 0.8 * d1) / 2)
    c0 = 1 - surprise(0.9, 0.1) / math.log(3)
    c1 = 1 - surprise(0.3, 0.7) / math.log(3)
    assert parts["completeness"] == pytest.approx((c0 + c1) / 2)


def test_the_default_classifier_is_the_fields():
    parts = dci(flat, FactorGrid(2, 3), points=100, test_points=50)
    assert parts["informativeness"] == 1.0
    assert min(parts.values()) > 0.99


def test_without_an_active_dimension_factor_vae_is_zero():
    small = coded(lambda v: 0.04 * v)
    grid = FactorGrid(3, 3)  # standard deviation 0.82
    assert factor_vae_score(small, grid, **FEW) == 0.0
    assert factor_vae_score(small, grid, min_std=0.0, **FEW) == 1.0
    assert factor_vae_score(coded(np.ones_like), grid, min_std=0.0, **FEW) == 0.0


def test_the_threshold_is_of_the_standard_deviation():
    # Of 4 points at 0 and 1 it is sqrt(1 / 3) = .5774, and of 9 points at 0, 1 and 2
    # sqrt(3 / 4) = .8660, divided by n - 1.
    for min_std, expected in ((0.577, 1.0), (0.578, 0.0)):
        arguments = {"points": 4, "min_std": min_std, **FEW}
        assert factor_vae_score(flat, Enumerated(2, 2), **arguments) == expected
    for scale, expected in ((0.0578, 1.0), (0.0577, 0.0)):  # .05006 and .04997
        code = coded(lambda v, scale=scale: scale * v)
        found = factor_vae_score(code, Enumerated(3, 3), points=9, **FEW)
        assert found == expected


def test_only_active_dimensions_are_named():
    # The second dimension would be named always, were it not below the threshold.
    code = coded(lambda v: np.stack([v[:, 0], 0 * v[:, 0], v[:, 1]], axis=1))
    assert factor_vae_score(code, FactorGrid(3, 3), **FEW) == 1.0


def test_dimensions_can_be_left_out_that_spread_and_serve_nothing():
    # The first moves for one combination alone: most votes hold it still, whatever
    # factor is fixed, and its standard deviation is 3.
    code = coded(
        lambda v: np.stack([10.0 * (v.sum(axis=1) == 4), v[:, 0], v[:, 1]], axis=1)
    )
    grid = FactorGrid(3, 3)
    assert factor_vae_score(code, grid, **FEW) < 0.8
    assert factor_vae_score(code, grid, used=[False, True, True], **FEW) == 1.0
    assert factor_vae_score(code, grid, used=[False] * 3, **FEW) == 0.0
    with pytest.raises(ValueError, match="None or 3 bools.*Received: shape \\(2,\\)"):
        factor_vae_score(code, grid, used=[True, True], **FEW)


def noise(images):
    """Five dimensions of noise that knows nothing of the images."""
    return RANDOM.normal(size=(len(images), 5))


RANDOM = np.random.RandomState(0)


def test_codes_without_information_score_what_sampling_leaves():
    grid, points, values = FactorGrid(2, 8, 4), 10_000, np.array([2, 8, 4])
    # The classifier is independent of the fresh votes: 1/3, standard deviation 0.011.
    found = factor_vae_score(noise, grid, votes=500, test_votes=2_000, vote_size=8)
    assert abs(found - 1 / 3) < 4.5 * math.sqrt(2 / 9 / 2_000)
    # The information of each of 5 dimensions is near chi^2 / 2 points, of 19 (values
    # - 1) degrees of freedom; the gap is below the difference of the greatest of 5
    # and its mean, twice its standard deviation with room to spare.
    freedom = 19 * (values - 1)
    bound = np.mean(2 * np.sqrt(2 * freedom) / 2 / points / np.log(values))
    assert 0 <= mig(noise, grid) < bound < 0.004
    # Right by chance, the gap a few standard deviations sqrt(1 / 4 points).
    assert 0 <= sap(noise, grid) < 0.05


def test_values_that_share_bins():
    found = mig(flat, Enumerated(40, 2), points=80, bins=20)
    assert found == pytest.approx((math.log(20) / math.log(40) + 1) / 2)


# Brute force


def example(seed, n=60):
    """A table of factors and of codes that depend on them, n rows."""
    random = np.random.RandomState(seed)
    factors = np.stack([random.randint(3, size=n), random.randint(4, size=n)], axis=1)
    codes = factors @ random.normal(size=(2, 3)) + random.normal(size=(n, 3))
    return factors, codes


class Table:
    """Rows of some factors; the image is the row's number."""

    def __init__(self, factors):
        self.table = factors
        self.factor_sizes = tuple(factors.max(axis=0) + 1)

    def __len__(self):
        return len(self.table)

    def factors(self, rows):
        return self.table[rows]

    def images(self, rows):
        return np.asarray(rows, "float32")[:, None, None, None]

    def sample(self, n, rng):
        return rng.randint(len(self), size=n)

    def sample_given(self, factor, value, n, rng):
        return rng.choice(np.flatnonzero(self.table[:, factor] == value), n)


class WholeTable(Table):
    def sample(self, n, rng):
        return np.arange(n) % len(self)


def looked_up(codes):
    return lambda images: codes[images[:, 0, 0, 0].astype(int)]


def information(v, z, bins):
    """I(v; z) in nats from counts, z in bins of equal width."""
    edges = np.linspace(z.min(), z.max(), bins + 1)
    place = [sum(x >= edge for edge in edges[1:-1]) for x in z]
    total = 0.0
    for a in set(v):
        for b in set(place):
            both = np.mean([x == a and y == b for x, y in zip(v, place, strict=True)])
            if both:
                apart = np.mean(v == a) * np.mean(np.array(place) == b)
                total += both * math.log(both / apart)
    return total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bins", [2, 7])
def test_information_is_that_of_counts(seed, bins):
    factors, codes = example(seed)
    table = [[information(v, z, bins) for z in codes.T] for v in factors.T]

    gaps = []
    for v, row in zip(factors.T, table, strict=True):
        entropy = -sum(np.mean(v == a) * math.log(np.mean(v == a)) for a in set(v))
        first, second, _ = sorted(row, reverse=True)
        gaps.append((first - second) / entropy)
    arguments = looked_up(codes), WholeTable(factors)
    found = mig(*arguments, points=60, bins=bins)
    np.testing.assert_allclose(found, np.mean(gaps))

    parts = []
    for column in zip(*table, strict=True):
        best = max(column)
        rest = sum(x**2 for x in column) - best**2
        parts.append(1 - rest / (best**2 * (len(column) - 1)))
    found = modularity(*arguments, points=60, bins=bins)
    np.testing.assert_allclose(found, np.mean(parts))


def vote(table, codes, variances, size, rng):
    """The fixed factor and the named dimension of one vote, drawn vote by vote."""
    fixed = rng.randint(2)
    value = table.factors(table.sample(1, rng))[0, fixed]
    rows = [table.sample_given(fixed, value, 1, rng)[0] for _ in range(size)]
    ratios = []
    for z, variance in zip(codes.T, variances, strict=True):
        mean = sum(z[row] for row in rows) / size
        local = sum((z[row] - mean) ** 2 for row in rows) / (size - 1)
        ratios.append(local / variance if math.sqrt(variance) >= 0.05 else math.inf)
    return fixed, ratios.index(min(ratios))


def test_factor_vae_is_the_vote_by_vote_score():
    # The random numbers are drawn in another order, so the scores agree within their
    # standard errors: of 2,000 votes each, and the same classifier.
    factors, codes = example(0, n=200)
    codes[:, 1] *= 0.01
    table, rng = WholeTable(factors), np.random.RandomState(1)
    variances = [sum((z - z.mean()) ** 2) / (len(z) - 1) for z in codes.T]
    drawn = Table(factors)
    votes = [vote(drawn, codes, variances, 8, rng) for _ in range(2_000)]
    count = np.zeros((2, 3))
    for fixed, dimension in votes:
        count[fixed, dimension] += 1
    fresh = [vote(drawn, codes, variances, 8, rng) for _ in range(2_000)]
    expected = np.mean([count[:, j].argmax() == fixed for fixed, j in fresh])
    assert count[:, 1].sum() == 0 and 0.55 < expected < 0.95
    table.sample = lambda n, rng: (
        np.arange(n) if n == 200 else drawn.sample(n, rng)  # all of them for variances
    )
    found = factor_vae_score(
        looked_up(codes), table, votes=2_001, test_votes=2_000, vote_size=8, points=200
    )
    error = math.sqrt(expected * (1 - expected) * 2 / 2_000)
    assert abs(found - expected) < 4.5 * error


def test_sap_is_the_difference_of_accuracies():
    # Fitted to all 60 rows, one value frequent, and scored on the first 30.
    factors, codes = example(0)
    factors[10:50, 0] = 1
    codes += factors @ [[1, 0, 0], [0, 1, 0]]
    codes[:, 2] = 1.0
    expected = []
    for v in factors.T:
        accuracies = [0.0]
        for z in codes.T[:2]:
            machine = LinearSVC(C=0.01, class_weight="balanced", dual=False)
            machine.fit(z[:, None], v)
            right = [machine.predict([[z[i]]])[0] == v[i] for i in range(30)]
            accuracies.append(sum(right) / 30)
        first, second, _ = sorted(accuracies, reverse=True)
        expected.append(first - second)
    found = sap(looked_up(codes), WholeTable(factors), points=60, test_points=30)
    np.testing.assert_allclose(found, np.mean(expected))


def test_informativeness_is_that_of_fresh_images():
    # A tree learns noise by heart; on other rows it is right by chance.
    factors = np.random.RandomState(0).randint(2, size=(1_000, 2))
    codes = np.random.RandomState(1).normal(size=(1_000, 3))
    table = WholeTable(factors)
    table.sample = lambda n, rng: np.arange(400) if n == 400 else np.arange(400, 1_000)
    parts = dci(looked_up(codes), table, classifier=TREE, points=400, test_points=600)
    assert abs(parts["informativeness"] - 0.5) < 4.5 * 0.5 / math.sqrt(600)


def test_a_value_is_fixed_as_often_as_it_occurs():
    factors = np.zeros((100, 2), int)
    factors[:10, 0], factors[50:, 1] = 1, 1
    table, fixed = Table(factors), []
    draw = table.sample_given

    def sample_given(factor, value, n, rng):
        fixed.append((factor, value))
        return draw(factor, value, n, rng)

    table.sample_given = sample_given
    codes = factors + np.random.RandomState(0).normal(size=(100, 2))
    factor_vae_score(looked_up(codes), table, votes=2_000, test_votes=1, vote_size=2)
    for cell, share in (((0, 1), 0.05), ((0, 0), 0.45), ((1, 1), 0.25)):
        error = math.sqrt(share * (1 - share) / 2_000)
        assert abs(fixed.count(cell) / len(fixed) - share) < 4.5 * error


# The protocol


@pytest.mark.parametrize(
    "score, protocol",
    [
        (
            factor_vae_score,
            {
                "votes": 10_000,
                "test_votes": 5_000,
                "vote_size": 64,
                "points": 10_000,
                "min_std": 0.05,
            },
        ),
        (mig, {"points": 10_000, "bins": 20}),
        (modularity, {"points": 10_000, "bins": 20}),
        (dci, {"classifier": None, "points": 10_000, "test_points": 5_000}),
        (sap, {"points": 10_000, "test_points": 5_000}),
    ],
)
def test_defaults_are_the_fields(score, protocol):
    # Locatello et al. (2019), App. C; what has no effect on scores aside.
    parameters = inspect.signature(score).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    defaults.pop("used", None)  # all dimensions, unless the caller names some
    assert defaults == {**protocol, "batch_size": None, "seed": 0}


def test_represent_gets_batches():
    sizes = []

    def represent(images):
        assert images.dtype == "float32" and images.shape[1:] == (1, 1, 2)
        sizes.append(len(images))
        return flat(images)

    grid = FactorGrid(3, 3)
    mig(represent, grid, points=250, batch_size=100)
    assert sizes == [100, 100, 50]
    sizes.clear()
    factor_vae_score(represent, grid, votes=10, test_votes=5, vote_size=64, points=10)
    assert sizes == [10, 640, 320]
    sizes.clear()
    factor_vae_score(represent, grid, votes=1_000, test_votes=1)
    assert max(sizes) == 1024 and len(sizes) == 10 + 63 + 1


def test_how_images_are_batched_makes_no_difference():
    factors, codes = example(2)
    represent, table = looked_up(codes), Table(factors)
    for score, arguments in ((mig, {}), (factor_vae_score, FEW)):
        found = {
            score(represent, table, points=100, batch_size=size, **arguments)
            for size in (7, 64, 1_000)
        }
        assert len(found) == 1


def test_the_seed_decides():
    factors, codes = example(1)
    arguments = looked_up(codes), Table(factors)
    sizes = {"points": 100, "test_points": 50}
    for score in (
        lambda seed: factor_vae_score(*arguments, **FEW, seed=seed),
        lambda seed: mig(*arguments, points=100, seed=seed),
        lambda seed: modularity(*arguments, points=100, seed=seed),
        lambda seed: sap(*arguments, **sizes, seed=seed),
        lambda seed: dci(*arguments, **sizes, classifier=TREE, seed=seed),
    ):
        assert score(3) == score(3)
        assert score(3) != score(4)


def test_evaluate_is_the_scores_at_the_fields_protocol():
    names = ["sap", "modularity", "mig", "factor_vae"]
    factors, codes = example(1)
    arguments = looked_up(codes), Table(factors)
    found = evaluate(*arguments, seed=5, metrics=names)
    assert list(found) == ["factor_vae", "mig", "sap", "modularity"]
    assert found["factor_vae"] == factor_vae_score(*arguments, seed=5)
    assert found["mig"] == mig(*arguments, seed=5)
    assert found["sap"] == sap(*arguments, seed=5)
    assert found["modularity"] == modularity(*arguments, seed=5)


def test_evaluate_gives_all_scores(monkeypatch):
    def fast(represent, dataset, batch_size, seed):
        return dci(represent, dataset, classifier=TREE, batch_size=batch_size)

    monkeypatch.setattr("echo_keras.metrics.disentanglement.dci", fast)
    found = evaluate(flat, FactorGrid(2, 2))
    assert tuple(found) == METRICS
    assert min(found.values()) > 0.4
    assert list(evaluate(flat, FactorGrid(2, 2), metrics=["dci_completeness"])) == [
        "dci_completeness"
    ]


# Properties


@st.composite
def tables(draw):
    """Factors that vary, and codes of up to five dimensions."""
    seed = draw(st.integers(0, 1_000))
    random = np.random.RandomState(seed)
    dims = draw(st.integers(1, 5))
    factors = random.randint([2, 3], size=(40, 2))
    codes = factors @ random.normal(size=(2, dims)) + random.normal(size=(40, dims))
    return factors, codes, random.permutation(dims)


@settings(max_examples=20, deadline=None)
@given(tables())
def test_order_of_dimensions_makes_no_difference(case):
    factors, codes, order = case
    grid, few = Table(factors), {"points": 40, "test_points": 20}
    for score, arguments in (
        (mig, {"points": 40}),
        (modularity, {"points": 40}),
        (sap, few),
        (factor_vae_score, {**FEW, "points": 40}),
    ):
        before = score(looked_up(codes), grid, **arguments)
        after = score(looked_up(codes[:, order]), grid, **arguments)
        np.testing.assert_allclose(after, before, atol=1e-12)
        assert 0 <= before <= 1


@settings(max_examples=20, deadline=None)
@given(tables(), st.lists(st.integers(0, 8), min_size=5, max_size=5))
def test_scale_makes_no_difference(case, powers):
    # Powers of two scale without rounding; upwards, away from the threshold.
    factors, codes, _ = case
    grid, scaled = Table(factors), codes * 2.0 ** np.array(powers[: codes.shape[1]])
    for score, arguments in (
        (mig, {"points": 40}),
        (modularity, {"points": 40}),
        (factor_vae_score, {**FEW, "points": 40}),
    ):
        before = score(looked_up(codes), grid, **arguments)
        assert score(looked_up(scaled), grid, **arguments) == before


# Bad input

SCORES = [factor_vae_score, mig, modularity, dci, sap]


@pytest.mark.parametrize("score", SCORES)
@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from(
        [
            (lambda x: x, "represent must give codes of shape (10, d), d >= 1. Rec"),
            (lambda x: flat(x)[:, 0], "Received: (10,)"),
            (lambda x: flat(x)[1:], "Received: (9, 2)"),
            (lambda x: flat(x)[:, :0], "Received: (10, 0)"),
            (lambda x: flat(x) * np.nan, "represent must give finite codes. Received"),
            (lambda x: flat(x) + np.inf, "NaN or infinity"),
        ]
    )
)
def test_bad_codes_raise(score, case):
    represent, sentence = case
    with pytest.raises(ValueError) as error:
        score(represent, FactorGrid(2, 2), points=10)
    assert sentence in str(error.value)


ARGUMENTS = [
    (score, name, minimum)
    for score, names in (
        (factor_vae_score, {"votes": 1, "test_votes": 1, "vote_size": 2}),
        (mig, {"bins": 1}),
        (modularity, {"bins": 1}),
        (dci, {"test_points": 1}),
        (sap, {"test_points": 1}),
    )
    for name, minimum in {**names, "points": 2, "batch_size": 1}.items()
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ARGUMENTS), st.integers(-3, 1) | st.floats(1.1, 1.9))
def test_bad_numbers_raise(argument, value):
    score, name, minimum = argument
    if value == minimum:
        value = minimum - 1
    with pytest.raises(ValueError) as error:
        score(flat, FactorGrid(2, 2), **{name: value})
    expected = f"{name} must be an integer >= {minimum}. Received: {name}={value}"
    assert str(error.value) == expected


@pytest.mark.parametrize("value", [-0.1, math.nan])
def test_a_bad_threshold_raises(value):
    with pytest.raises(ValueError, match="min_std must be a finite number >= 0. Rec"):
        factor_vae_score(flat, FactorGrid(2, 2), min_std=value)


@pytest.mark.parametrize("score", SCORES)
def test_a_factor_that_does_not_vary_raises(score):
    sentence = "Every factor must vary among 20 points. Received: one value of fa"
    with pytest.raises(ValueError, match=sentence + "ctor 1"):
        score(flat, FactorGrid(2, 1, 2), points=20)


def test_a_classifier_without_importances_raises():
    with pytest.raises(ValueError, match="classifier must have feature_importances_"):
        dci(flat, FactorGrid(2, 2), classifier=LinearSVC(), points=20)


def test_unknown_metrics_raise():
    with pytest.raises(ValueError, match="must be out of factor_vae, .* Received: fid"):
        evaluate(flat, FactorGrid(2, 2), metrics=["mig", "fid"])
