"""Tests of the flows trained on codes: chains, fit, noise, resume, samples."""

import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tools import array

from echo_keras.latent_flow import (
    NegativeLogProb,
    NoisyBatches,
    fit_latent_flow,
    maf_chain,
    real_nvp_chain,
)
from echo_keras.layers import (
    Chain,
    Coupling,
    FlowMarginal,
    MAFBlock,
    Permutation,
    Scale,
    Shift,
)

core = pytest.mark.core

MEAN = np.array([5.0, -20.0, 0.1])
FACTOR = np.array([[10.0, 0.0, 0.0], [8.0, 6.0, 0.0], [-0.05, 0.03, 0.07]])
GAUSSIAN = stats.multivariate_normal(MEAN, FACTOR @ FACTOR.T)


def gaussian(n, seed):
    """Correlated codes of means and standard deviations far from 0 and 1."""
    return MEAN + np.random.RandomState(seed).normal(size=(n, 3)) @ FACTOR.T


def linear():
    """The smallest flow that adapts: its density is a diagonal Gaussian."""
    return Chain([Scale(), Shift()])


def log_prob(marginal, z):
    return array(marginal.log_prob(np.asarray(z, "float32"))).astype("float64")


# Chains


def test_maf_chain_is_that_of_the_paper():
    flow = maf_chain()
    flow.build((None, 16))
    kinds = [type(link) for link in flow.flows]
    maf, *rest = kinds[:-2]
    assert maf is MAFBlock and rest == 5 * [Permutation, MAFBlock]
    # Scale and shift next to z, where `transform` ends.
    assert kinds[-2:] == [Scale, Shift]
    # A MAF of 16 dimensions: 16 -> 64 -> 64 -> shift and log-scale.
    weights = (16 * 64 + 64) + (64 * 64 + 64) + (64 * 32 + 32)
    assert flow.count_params() == 6 * weights + 2 * 16 == 44_000
    orders = [link.order for link in flow.flows if isinstance(link, Permutation)]
    assert orders == ["reverse", "random", "reverse", "random", "reverse"]


def test_real_nvp_chain_is_that_of_the_paper():
    flow = real_nvp_chain()
    flow.build((None, 64))
    first, *rest = [type(link) for link in flow.flows]
    assert first is Coupling and rest == 7 * [Permutation, Coupling]
    weights = (32 * 256 + 256) + 2 * (256 * 256 + 256) + (256 * 64 + 64)
    assert flow.count_params() == 8 * weights == 1_251_840


@pytest.mark.parametrize("d", range(2, 10))
def test_couplings_in_a_row_change_every_dimension(d):
    flow = real_nvp_chain(steps=9, hidden=(4,), seed=0)
    flow.build((None, d))
    where, changed = np.arange(d), []
    for link in flow.flows:
        if isinstance(link, Permutation):
            where = where[link.orders]
        else:
            changed.append(set(where[link.kept :].tolist()))
    for start in (0, 3, 6):
        row = changed[start : start + (2 if d % 2 == 0 else 3)]
        assert set.union(*row) == set(range(d))


@pytest.mark.parametrize("make", [maf_chain, real_nvp_chain])
def test_random_orders_come_from_the_seed(make):
    def orders(seed):
        flow = make(steps=8, hidden=(20,), seed=seed)
        flow.build((None, 10))
        return [x.orders.tolist() for x in flow.flows if isinstance(x, Permutation)]

    assert orders(1) == orders(1) != orders(2)
    random = [o for o in orders(1) if sorted(o)[::-1] != o]
    assert len(set(map(tuple, random))) >= 3  # not one order over and over


@pytest.mark.parametrize("make", [maf_chain, real_nvp_chain])
def test_one_step_needs_no_permutation(make):
    kinds = [type(link) for link in make(steps=1).flows]
    assert Permutation not in kinds and kinds[0] in (MAFBlock, Coupling)


@pytest.mark.parametrize("make", [maf_chain, real_nvp_chain])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"steps": 0}, r"an integer in \[1, 1000\]. Received: steps=0"),
        ({"steps": 1.5}, r"an integer in \[1, 1000\]. Received: steps=1.5"),
        ({"hidden": 64}, "hidden must be a list of integers >= 1.*[Rr]eceived.*64"),
    ],
)
def test_bad_arguments_of_chains_raise(make, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**arguments)


# Batches and loss


def epoch_of(batches, epoch):
    batches.begin(epoch)
    pairs = [batches[i] for i in range(len(batches))]
    for z, target in pairs:
        assert z.dtype == target.dtype == np.float32
    return np.concatenate([z for z, _ in pairs])


def test_noise_has_its_variance_and_is_drawn_afresh():
    codes = np.zeros((10_000, 2), "float32")
    batches, again = (NoisyBatches(codes, 3000, 1, 0.25) for _ in range(2))
    first, second = epoch_of(batches, 0), epoch_of(batches, 1)
    for z in (first, second):
        # 4.5 standard errors, once in 70,000 seeds for each.
        assert np.abs(z.mean(0)).max() < 4.5 * 0.5 / 100
        assert np.abs(z.var(0) - 0.25).max() < 4.5 * 0.25 * np.sqrt(2 / 10_000)
    # No batch, dimension or epoch repeats another's noise.
    assert len(np.unique(np.stack([first, second]))) > 39_900
    np.testing.assert_array_equal(epoch_of(again, 1), second)
    assert (epoch_of(NoisyBatches(codes, 3000, 2, 0.25), 0) != first).any()


def test_without_noise_the_codes_come_as_they_are():
    codes = np.arange(20, dtype="float32").reshape(10, 2)
    z = epoch_of(NoisyBatches(codes, 4, 0), 2)
    np.testing.assert_array_equal(z[np.argsort(z[:, 0])], codes)


@core
def test_loss_is_the_mean_over_a_batch_and_serializes():
    loss = NegativeLogProb()
    value = loss(np.zeros((3, 2)), np.array([-1.0, -2.0, 6.0], "float32"))
    assert float(value) == -1.0
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is NegativeLogProb


# Maximum likelihood


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished training on correlated Gaussian codes."""
    directory = tmp_path_factory.mktemp("finished")
    keras.utils.set_random_seed(0)
    fit(directory)
    return directory


def fit(directory, **changes):
    arguments = {
        "codes": gaussian(4000, seed=0),
        "flow": maf_chain(2, (16,), seed=0),
        "epochs": 10,
        "batch_size": 200,
        "learning_rate": 3e-3,
        **changes,
    }
    return fit_latent_flow(directory=directory, **arguments)


@core
def test_flow_finds_the_entropy_of_a_gaussian(finished):
    z = gaussian(10_000, seed=1)
    nats = -log_prob(fit(finished), z)
    # The excess over the truth on the same data is a divergence, without the noise
    # of the entropy itself: sqrt(3 / 2) nats per code. Seeds leave 0.010 to 0.013.
    excess = nats.mean() + GAUSSIAN.logpdf(z).mean()
    assert -0.005 < excess < 0.03
    error = 4.5 * np.sqrt(1.5 / len(z))
    assert abs(nats.mean() - GAUSSIAN.entropy()) < error + 0.03


@core
def test_samples_have_mean_and_covariance_of_the_codes(finished):
    z = array(fit(finished).sample(10_000))
    white = np.linalg.solve(FACTOR, (z - MEAN).T).T
    # 0.045 is 4.5 standard errors of a mean, 0.064 of a variance; the rest is what
    # the flow may have left.
    assert np.abs(white.mean(0)).max() < 0.045 + 0.1
    assert np.abs(np.cov(white.T) - np.eye(3)).max() < 0.064 + 0.15


def test_a_finished_training_is_read_again(finished, monkeypatch):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}

    def forbidden(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(keras.Model, "fit", forbidden)
    first, second = (fit(finished) for _ in range(2))
    assert type(first) is FlowMarginal
    z = gaussian(20, seed=2)
    np.testing.assert_array_equal(log_prob(first, z), log_prob(second, z))
    np.testing.assert_array_equal(array(first.sample(5)), array(second.sample(5)))
    # Unseeded permutations do not make a flow another one.
    fit(finished, flow=maf_chain(2, (16,)))
    assert {p.name: p.read_bytes() for p in finished.iterdir()} == before


def test_the_paper_has_no_learning_rate_schedule(finished):
    arguments = json.loads((finished / "arguments.json").read_text())
    assert arguments["schedule"] == "constant"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"codes": gaussian(4000, seed=3)}, "codes"),
        ({"noise_variance": 0.1}, "noise_variance"),
        ({"flow": maf_chain(2, (17,), seed=0)}, "flow"),
        ({"flow": maf_chain(1, (16,)), "noise_variance": 0.1}, "flow, noise_variance"),
        ({"learning_rate": 1e-3}, "learning_rate"),
    ],
)
def test_a_training_of_something_else_raises(finished, changes, named):
    with pytest.raises(ValueError, match=f"was made with another {named}: use another"):
        fit(finished, **changes)


def test_a_checkpoint_of_another_kind_raises(finished, tmp_path):
    content = (finished / "checkpoint.keras").read_bytes()
    (tmp_path / "checkpoint.keras").write_bytes(content)
    with pytest.raises(ValueError, match="another codes, flow, noise_variance: use"):
        fit(tmp_path)


def test_two_modes_are_learnt():
    def draw(n, seed):
        generator = np.random.RandomState(seed)
        sign = np.where(generator.random_sample((n, 1)) < 0.5, -2.0, 2.0)
        return sign + 0.3 * generator.normal(size=(n, 2))

    flow = Chain([real_nvp_chain(4, (16, 16), seed=0), *linear().flows])
    marginal = fit_latent_flow(draw(4000, 0), flow, epochs=6, learning_rate=5e-3)
    z = draw(4000, 1)
    nats = -log_prob(marginal, z).mean()
    # No Gaussian does better than one of the codes' own covariance.
    best_gaussian = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * np.cov(z.T))[1]
    truth = np.log(2) + np.log(2 * np.pi * np.e) + 2 * np.log(0.3)
    assert truth - 0.1 < nats < best_gaussian - 1.0
    sampled = array(marginal.sample(2000))
    assert 0.4 < (sampled.sum(1) > 0).mean() < 0.6
    near = np.abs(sampled - 2 * np.sign(sampled)).max(1) < 1.2  # 4 deviations
    assert near.mean() > 0.85


def test_an_untrained_flow_starts_from_the_codes():
    # The rate is too small for a step to be seen.
    codes = gaussian(1000, seed=0)
    marginal = fit_latent_flow(
        codes, linear(), epochs=1, learning_rate=1e-9, noise_variance=4.0
    )
    scale, shift = (array(flow.weights[0]) for flow in marginal.flow.flows)
    np.testing.assert_allclose(np.exp(2 * scale), codes.var(0) + 4.0, rtol=1e-4)
    np.testing.assert_allclose(shift, codes.mean(0), rtol=1e-4, atol=1e-3)


def test_noise_widens_the_density():
    # A flow that does not adapt: it learns the noise from the batches alone.
    codes = 0.5 * np.random.RandomState(0).normal(size=(2000, 2))
    codes[:, 1] = 0.0  # without noise it would have no density
    flow = MAFBlock(steps=1, hidden=(8,), mean_only=False)
    marginal = fit_latent_flow(
        codes, flow, epochs=10, learning_rate=5e-3, noise_variance=2.0
    )
    z = array(marginal.sample(20_000))
    # 4.5 standard errors are 0.045; the rest is what the flow may have left.
    np.testing.assert_allclose(z.var(0), [2.25, 2.0], rtol=0.045 + 0.06)


# Resume


def small(directory=None, **changes):
    codes = np.random.RandomState(0).normal(3.0, 2.0, size=(40, 2))
    arguments = {"epochs": 3, "batch_size": 15, "noise_variance": 0.5, **changes}
    flow = maf_chain(1, (8,))
    flow.build((None, 2))
    before = flow.get_weights()
    marginal = fit_latent_flow(
        codes, flow, learning_rate=0.02, directory=directory, **arguments
    )
    # The flow handed over is not the one that is trained.
    for old, new in zip(before, flow.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return marginal


def test_a_resumed_fit_ends_as_an_uninterrupted_one(tmp_path):
    class Killed(Exception):
        pass

    def die(self, step, logs=None):
        if (self.epoch, step) == (1, 1):
            raise Killed

    whole = small()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("echo_keras.training.StopOnNaN.on_train_batch_end", die)
        with pytest.raises(Killed):
            small(tmp_path)
    history = json.loads((tmp_path / "history.json").read_text())
    assert len(history) == 1
    resumed = small(tmp_path)
    z = np.random.RandomState(1).normal(3.0, 2.0, size=(50, 2))
    expected = log_prob(whole, z)
    np.testing.assert_allclose(log_prob(resumed, z), expected, atol=1e-4)
    np.testing.assert_allclose(
        array(resumed.sample(5)), array(whole.sample(5)), atol=1e-3
    )
    assert np.abs(log_prob(small(seed=1, epochs=1), z) - expected).max() > 1e-3


@core
def test_half_precision_leaves_the_density_alone():
    codes = gaussian(200, seed=0)
    full = fit_latent_flow(codes, linear(), epochs=1)
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = fit_latent_flow(codes, linear(), epochs=1)
    assert keras.backend.standardize_dtype(half.log_prob(codes).dtype) == "float32"
    np.testing.assert_allclose(log_prob(half, codes), log_prob(full, codes), atol=1e-5)


@core
def test_codes_may_be_tensors_of_half_precision():
    codes = keras.ops.cast(np.float32(gaussian(100, seed=0)), "bfloat16")
    variance = np.float32(0.5)
    half = fit_latent_flow(codes, linear(), epochs=1, noise_variance=variance)
    same = array(keras.ops.cast(codes, "float32"))
    full = fit_latent_flow(same, linear(), epochs=1, noise_variance=variance)
    np.testing.assert_array_equal(log_prob(half, same), log_prob(full, same))


# Bad input


GOOD = gaussian(20, seed=0)


@settings(max_examples=20, deadline=None)
@given(shape=st.lists(st.integers(0, 3), max_size=3))
def test_codes_of_another_shape_raise(shape):
    if len(shape) == 2 and shape[0] >= 2 and shape[1]:
        shape = [*shape, 1]
    with pytest.raises(ValueError, match=r"codes must .* shape \(n, d\)"):
        fit_latent_flow(np.zeros(shape))


@settings(max_examples=20, deadline=None)
@given(
    bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e39]),
    where=st.tuples(st.integers(0, 19), st.integers(0, 2)),
)
def test_codes_that_are_not_finite_raise(bad, where):
    codes = GOOD.copy()
    codes[where] = bad
    with pytest.raises(ValueError, match="finite in float32. Received: 1 values"):
        fit_latent_flow(codes)


@pytest.mark.parametrize(
    ("codes", "arguments", "sentence"),
    [
        (np.array([["a", "b"]] * 3), {}, "codes must be real numbers of shape"),
        (GOOD + 1j, {}, "codes must be real numbers of shape"),
        (GOOD * [1, 0, 1], {}, r"must vary in every dimension.*dimensions \[1\]"),
        (GOOD, {"noise_variance": -0.1}, "noise_variance must be .*=-0.1"),
        (GOOD, {"noise_variance": np.nan}, "noise_variance must be .*=nan"),
        (GOOD, {"flow": keras.layers.Dense(3)}, "flow must be a Flow. Received"),
        (GOOD, {"flow": Scale}, "flow must be a Flow. Received"),
        (GOOD, {"epochs": 0}, "epochs must be an integer >= 1"),
        (GOOD, {"batch_size": 0}, "batch_size must be an integer >= 1"),
        (GOOD, {"learning_rate": 0.0}, "learning_rate must be a finite number > 0"),
    ],
)
def test_bad_arguments_raise_before_anything_is_written(
    codes, arguments, sentence, tmp_path
):
    with pytest.raises(ValueError, match=sentence):
        fit_latent_flow(codes, **arguments, directory=tmp_path / "new")
    assert not list(tmp_path.rglob("*.*"))


def test_a_flow_built_for_other_codes_raises(tmp_path):
    flow = linear()
    flow.build((None, 2))
    with pytest.raises(ValueError, match="built for"):
        fit_latent_flow(GOOD, flow, directory=tmp_path)
