"""Scores of novelty: models whose terms are known, and areas in closed form."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from scipy import stats

from echo_keras import losses
from echo_keras.autoencoders import autoencoder
from echo_keras.layers import (
    DeterministicBottleneck,
    GANPenalty,
    GaussianBottleneck,
    MarginalKLPenalty,
)
from echo_keras.metrics import novelty
from echo_keras.model import RateDistortionModel

CENTRE = np.array([0.5, -1.0, 2.0])
VARIANCE = 0.25
KERNEL = np.array([1.0, -2.0, 0.5])


def known_model(bottleneck, discriminator=False):
    """The code's mean is x, the decoder says `CENTRE`; a linear discriminator."""
    encoder = keras.Sequential([keras.Input((3,)), layers.Identity()], name="encoder")
    decoder = keras.Sequential([keras.Input((3,)), layers.Dense(3)], name="decoder")
    divergence = None
    if discriminator:
        linear = keras.Sequential([layers.Dense(1)])
        divergence = GANPenalty(discriminator=linear, name="gan_penalty")
    model = autoencoder(encoder, bottleneck, decoder, gan_penalty=divergence)
    model.get_layer("bottleneck").heads[0].set_weights([np.eye(3), np.zeros(3)])
    decoder.set_weights([np.zeros((3, 3)), CENTRE])
    if discriminator:
        linear.set_weights([KERNEL[:, None], np.array([0.7])])
    model.compile(loss=losses.SquaredError())
    return model


def gaussian():
    return GaussianBottleneck(3, noise_variance=VARIANCE, name="bottleneck")


def data(n=7):
    return np.random.RandomState(0).normal(size=(n, 3)).astype("float32")


@pytest.mark.core
def test_every_score_is_its_term():
    x = data()
    found = novelty.scores(known_model(gaussian(), discriminator=True), x, batch_size=3)
    assert set(found) == {"distortion", "rate", "neg_elbo", "data"}
    distortion = np.square(x - CENTRE).sum(axis=1)
    constant = 3 * (VARIANCE - np.log(VARIANCE) - 1)
    rate = 0.5 * (np.square(x).sum(axis=1) + constant)
    for name, expected in {
        "distortion": distortion,
        "rate": rate,
        "neg_elbo": distortion + rate,
        "data": -(x @ KERNEL + 0.7),
    }.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, err_msg=name)


@pytest.mark.core
def test_a_model_has_the_scores_of_its_terms_only():
    found = novelty.scores(known_model(gaussian()), data())
    assert set(found) == {"distortion", "rate", "neg_elbo"}
    deterministic = DeterministicBottleneck(3, name="bottleneck")
    assert set(novelty.scores(known_model(deterministic), data())) == {"distortion"}


def test_more_samples_are_a_mean_over_codes():
    model = known_model(gaussian())
    model.get_layer("decoder").set_weights([np.eye(3), np.zeros(3)])
    x = np.zeros((400, 3), "float32")
    one, many = (novelty.scores(model, x, n)["distortion"] for n in (1, 25))
    # Sums of three squares of variance V: mean 3 V, variance 6 V^2 / samples.
    for found, samples in ((one, 1), (many, 25)):
        spread = np.sqrt(6 / samples) * VARIANCE
        assert abs(found.mean() - 3 * VARIANCE) < 5 * spread / np.sqrt(400)
        assert found.std() == pytest.approx(spread, rel=0.25)


@pytest.mark.core
@pytest.mark.parametrize("bottleneck", [DeterministicBottleneck, GaussianBottleneck])
def test_codes_are_scored_by_their_discriminator(bottleneck):
    linear = keras.Sequential([layers.Dense(1)])
    model = autoencoder(
        keras.Sequential([keras.Input((3,)), layers.Identity()]),
        bottleneck(3, name="bottleneck"),
        keras.Sequential([keras.Input((3,)), layers.Dense(3)]),
        [MarginalKLPenalty(discriminator=linear)],
    )
    kernel, bias = np.array([[0.5, 0.0, -2.0], [0, 1, 0], [0, 0, 3]]), np.ones(3)
    model.get_layer("bottleneck").heads[0].set_weights([kernel, bias])
    linear.set_weights([KERNEL[:, None], np.array([0.7])])
    model.compile(loss=losses.SquaredError())
    x, samples = data(), 100
    found = novelty.scores(model, x, samples, batch_size=3)["marginal"]
    expected = -((x @ kernel + bias) @ KERNEL + 0.7)
    spread = 0.0
    if bottleneck is GaussianBottleneck:
        log_var = model.get_layer("bottleneck").heads[1].get_weights()
        variance = np.exp(x @ log_var[0] + log_var[1])
        spread = np.sqrt(variance @ KERNEL**2 / samples)
    np.testing.assert_array_less(np.abs(found - expected), 4 * spread + 1e-4)


@pytest.mark.parametrize("kind", [GANPenalty, MarginalKLPenalty])
def test_several_discriminators_raise(kind):
    inputs = x = keras.Input((3,))
    for _ in range(2):
        layer = kind(discriminator=keras.Sequential([layers.Dense(1)]))
        x = layer([inputs, x] if kind is GANPenalty else x)
    model = RateDistortionModel(inputs, x)
    with pytest.raises(ValueError, match=f"at most one {kind.__name__}. Received: 2"):
        novelty.scores(model, data())


@pytest.mark.parametrize(
    ("n", "arguments", "says"),
    [
        (0, {}, "at least one example"),
        (7, {"samples": 0}, "samples must be an integer >= 1"),
        (7, {"batch_size": 0}, "batch_size must be an integer >= 1"),
    ],
)
def test_bad_arguments_of_scores_raise(n, arguments, says):
    with pytest.raises(ValueError, match=says):
        novelty.scores(known_model(gaussian()), data(n), **arguments)


# Several terms in one


def terms(n=50, seed=0):
    generator = np.random.RandomState(seed)
    found = {
        "distortion": 30 * generator.normal(size=n) + 100,
        "rate": generator.normal(size=n) + 10,
        "data": 0.1 * generator.normal(size=n) - 2,
    }
    return {**found, "neg_elbo": found["distortion"] + found["rate"]}


def test_combined_is_a_mean_distance_in_standard_units():
    reference, x = terms(), terms(5, seed=1)
    expected = 0.0
    for name in ("distortion", "rate", "data"):
        values = reference[name]
        spread = np.sqrt(np.mean(values**2) - values.mean() ** 2)
        expected += np.abs(x[name] - values.mean()) / spread / 3
    np.testing.assert_allclose(novelty.combined_score(x, reference), expected)


def test_combined_counts_what_is_unusually_low():
    """A rate below that of all training images, as of a class that is not known."""
    reference = terms()
    usual = {name: values.mean(keepdims=True) for name, values in reference.items()}
    low = {**usual, "rate": reference["rate"].min(keepdims=True) - 3}
    assert novelty.combined_score(usual, reference) == pytest.approx(0.0)
    assert novelty.combined_score(low, reference) > 1.0


def test_combined_has_no_unit():
    reference, x = terms(), terms(5, seed=1)
    scaled = [{k: 7 * v - 3 for k, v in found.items()} for found in (x, reference)]
    expected = novelty.combined_score(x, reference)
    np.testing.assert_allclose(novelty.combined_score(*scaled), expected)


def test_combined_of_other_terms_raises():
    without = {k: v for k, v in terms().items() if k != "data"}
    for pair in ((terms(), without), (without, terms()), ({}, {})):
        sentence = "the same terms, out of dist|a dict of terms"
        with pytest.raises(ValueError, match=sentence):
            novelty.combined_score(*pair)


@pytest.mark.parametrize("value", [1.0, np.nan, np.inf])
def test_a_reference_without_a_spread_raises(value):
    reference = {**terms(), "rate": np.full(50, value)}
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ValueError, match="rate.* must be finite"),
    ):
        novelty.combined_score(terms(), reference)


def related(n, seed, shift=0.0):
    """Two terms of correlation .8; the rate of another kind of images is shifted."""
    first, other = np.random.RandomState(seed).normal(size=(2, n))
    rate = 9 + shift + 0.8 * first + 0.6 * other
    return {"distortion": 100 + 30 * first, "rate": rate}


def test_mahalanobis_is_minus_twice_the_log_density_of_a_gaussian():
    reference, x = related(400, 0), related(9, 1)
    found = novelty.mahalanobis_score(x, reference)
    rows = np.stack([reference["distortion"], reference["rate"]], axis=1)
    law = stats.multivariate_normal(rows.mean(0), np.cov(rows.T, bias=True))
    points = np.stack([x["distortion"], x["rate"]], axis=1)
    expected = -2 * (law.logpdf(points) - law.logpdf(rows.mean(0)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_breaks_a_relation_of_terms_is_novel_to_mahalanobis_alone():
    """A low rate beside a high distortion, each of them usual."""
    reference = related(5_000, 0)
    x = {"distortion": np.array([130.0, 130.0]), "rate": np.array([9.8, 8.0])}
    usual, odd = novelty.mahalanobis_score(x, reference)
    assert usual < 1.5 and odd > 5 * usual
    usual, odd = novelty.combined_score(x, reference)
    assert odd == pytest.approx(usual, rel=0.15)


@pytest.mark.parametrize("shift", [3.0, -3.0])
def test_learned_signs_are_those_of_the_images_learned_from(shift):
    known, novel = related(2_000, 1), related(2_000, 2, shift)
    fit = related(1_000, 3), related(300, 4, shift)
    area = novelty.roc_auc(
        *(novelty.learned_score(found, *fit) for found in (novel, known))
    )
    # The best there is: a shift of the part of the rate that distortion does not tell.
    best = stats.norm.cdf(abs(shift) / 0.6 / np.sqrt(2))
    assert area == pytest.approx(best, abs=0.002)
    combined = (novelty.combined_score(found, fit[0]) for found in (novel, known))
    assert novelty.roc_auc(*combined) < best - 0.03


def test_infinite_terms_are_the_most_novel_to_fitted_scores_too():
    reference, x = related(200, 0), related(3, 1)
    x["distortion"][0] = np.inf
    for found in (
        novelty.mahalanobis_score(x, reference),
        novelty.learned_score(x, reference, {k: v + 40 for k, v in reference.items()}),
    ):
        assert np.isfinite(found).all() and found.argmax() == 0


def test_learned_from_images_without_a_term_raises():
    novel = {"distortion": related(5, 0)["distortion"]}
    with pytest.raises(ValueError, match="scores and reference and novel must have"):
        novelty.learned_score(related(5, 1), related(5, 2), novel)


# Areas under the ROC curve


@pytest.mark.parametrize(("d", "spread"), [(0.0, 1.0), (1.0, 1.0), (1.5, 2.0)])
def test_area_of_two_gaussians(d, spread):
    generator, n = np.random.RandomState(0), 20_000
    novel = d + spread * generator.normal(size=n)
    area = novelty.roc_auc(novel, generator.normal(size=n))
    expected = stats.norm.cdf(d / np.sqrt(1 + spread**2))  # for one: Phi(d / sqrt 2)
    # Its standard error is at most 1 / (2 sqrt n) for equal numbers.
    assert abs(area - expected) < 5 * 0.5 / np.sqrt(n)


values = st.lists(st.integers(-5, 5), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(novel=values, known=values)
def test_area_counts_pairs_and_only_their_order(novel, known):
    novel, known = np.array(novel, float), np.array(known, float)
    difference = novel[:, None] - known
    area = novelty.roc_auc(novel, known)
    assert area == pytest.approx(np.mean((np.sign(difference) + 1) / 2))
    for transform in (np.exp, np.arctan, lambda s: 3 * s**3 - 1):
        assert novelty.roc_auc(transform(novel), transform(known)) == area
    assert novelty.roc_auc(known, novel) == pytest.approx(1 - area)


@pytest.mark.parametrize(
    ("novel", "known", "found"),
    [
        ([], [1.0], r"novel must be .*Received: shape \(0,\)$"),
        ([1.0], [[1.0]], r"known must be .*Received: shape \(1, 1\)$"),
        ([1.0], [np.nan], r"known must be .*shape \(1,\) with NaN$"),
    ],
)
def test_bad_scores_raise(novel, known, found):
    with pytest.raises(ValueError, match=found):
        novelty.roc_auc(novel, known)


def test_an_image_of_density_zero_is_the_most_novel():
    assert novelty.roc_auc([np.inf, 1.0], [0.0, 2.0, -np.inf]) == 5 / 6
    train = {"distortion": np.array([80.0, 100.0])}
    found = novelty.combined_score({"distortion": np.array([np.inf, 90.0])}, train)
    np.testing.assert_array_equal(found, [np.inf, 0.0])


def test_areas_of_each_score_by_kind_of_novelty():
    model = autoencoder(
        keras.Sequential([keras.Input((4,)), layers.Dense(3)]),
        GaussianBottleneck(2, name="bottleneck"),
        keras.Sequential([keras.Input((2,)), layers.Dense(4)]),
    )
    model.compile(loss=losses.SquaredError())
    x = np.random.RandomState(0).rand(60, 4).astype("float32")
    novel = {"same": x[:30], "far": x[:30] + 50}
    areas = novelty.roc_areas(model, novel, x[30:], x)
    assert set(areas["far"]) == {"distortion", "rate", "neg_elbo", "deviation"}
    assert areas["far"]["distortion"] == areas["far"]["deviation"] == 1.0
    given = {"held_out": x[:30], "pseudo_novel": x[:30] + 20}
    more = novelty.roc_areas(
        model, novel, x[30:], x, **given, further={"mean": lambda x: x.mean(axis=1)}
    )
    assert set(more["far"]) - set(areas["far"]) == {"mahalanobis", "learned", "mean"}
    assert more["far"]["learned"] == more["far"]["mahalanobis"] == 1.0
    assert more["same"]["mean"] == novelty.roc_auc(x[:30].mean(1), x[30:].mean(1))
    with pytest.raises(ValueError, match="further must name scores.*Received: 'rate'"):
        novelty.roc_areas(model, novel, x, x, further={"rate": np.ravel})
    with pytest.raises(ValueError, match="^held_out must be images where"):
        novelty.roc_areas(model, novel, x, x, pseudo_novel=x)
    one, other = (novelty.scores(model, images)["rate"] for images in (x[:30], x[30:]))
    assert areas["same"]["rate"] == pytest.approx(novelty.roc_auc(one, other), abs=0.02)


def test_mahalanobis_refuses_terms_that_go_together():
    """A direction of no variance would count for nothing."""
    a = np.arange(10.0)
    x, message = {"distortion": a, "rate": 3 * a}, "2 terms of 10 images, of rank 1"
    with pytest.raises(ValueError, match=message):
        novelty.mahalanobis_score(x, x)
    few = {"distortion": np.array([0.0, 1.0]), "rate": np.array([1.0, 0.0])}
    with pytest.raises(ValueError, match="of 2 images, of rank 1"):
        novelty.mahalanobis_score(x, few)


def test_learned_odds_do_not_depend_on_how_many_images_are_novel():
    generator = np.random.RandomState(0)
    known = {"rate": generator.normal(size=200)}
    novel = {"rate": 2.0 + generator.normal(size=4_000)}
    (between,) = novelty.learned_score({"rate": np.array([1.0])}, known, novel)
    assert abs(between) < 0.5  # not log 20


def test_images_of_density_0_may_stand_for_novel_ones():
    known = {"rate": np.arange(5.0)}
    novel = {"rate": np.array([np.inf, 9.0])}
    low, high = novelty.learned_score({"rate": np.array([0.0, 20.0])}, known, novel)
    assert low < high < np.inf


def test_scores_that_are_fitted_take_the_images_held_out(monkeypatch):
    seen = {}

    def recording(name):
        def score(found, *others):
            seen[name] = [other["rate"][0] for other in others]
            return found["rate"]

        return score

    monkeypatch.setattr(novelty, "scores", lambda model, x, *_: {"rate": x})
    names = "combined_score", "mahalanobis_score", "learned_score"
    for name in names:
        monkeypatch.setattr(novelty, name, recording(name))
    x, reference, held_out, pseudo_novel = np.arange(12.0).reshape(4, 3)
    novelty.roc_areas(
        None, {"a": x}, x, reference, held_out=held_out, pseudo_novel=pseudo_novel
    )
    expected = [reference[0]], [held_out[0]], [held_out[0], pseudo_novel[0]]
    assert seen == dict(zip(names, expected, strict=True))
