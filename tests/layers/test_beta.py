"""Tests of the rules that move beta: the arithmetic, and what Keras does with it."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from tools import array, gradients

from echo_keras.layers import Channel, Draw, EchoSample, GaussianSample
from echo_keras.layers.beta import BetaRule, BetaSchedule, TargetRate, TargetRateL1

pytestmark = pytest.mark.core

BACKEND = keras.backend.backend()
quick = settings(max_examples=30, deadline=None, derandomize=True, database=None)


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class Given(Channel):
    """Passes its input on; the rate of an example is its first value."""

    def draw(self, x, echoes_from="bank"):
        return Draw(x, ops.cast(x, "float32")[:, 0], None)


def of_rate(rate, rows=2):
    return np.full((rows, 1), rate, "float32")


def follow(channel, rates):
    """beta of each training call with these rates."""
    betas = []
    for rate in rates:
        channel(of_rate(rate), training=True)
        betas.append(float(array(channel.beta)))
    return betas


def frozen(rule, **kwargs):
    """A model whose loss is beta x its input and whose weights stay."""
    inputs = keras.Input((1,))
    x = Given(beta=rule, name="channel", **kwargs)(inputs)
    outputs = keras.layers.Dense(1, kernel_initializer="zeros")(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


def beta_of(model):
    return float(array(model.get_layer("channel").beta))


# 1. The schedule


@pytest.mark.parametrize("start, end", [(0.0, 1.0), (0.25, 4.0), (3.0, 0.0)])
def test_schedule_is_linear_and_then_constant(start, end):
    channel = Given(beta=BetaSchedule(4, start, end))
    channel.build((None, 1))
    assert float(array(channel.beta)) == start
    betas = follow(channel, [1.0] * 7)
    expected = [start + (end - start) * min(t / 4, 1) for t in range(7)]
    np.testing.assert_allclose(betas, expected, rtol=1e-6)
    assert betas[0] == start and betas[4:] == [end] * 3


def test_schedule_ends_exactly_where_it_should():
    # 0.1 + (0.7 - 0.1) is not 0.7 in float32.
    channel = Given(beta=BetaSchedule(3, 0.1, 0.7))
    betas = np.float32(follow(channel, [1.0] * 5))
    assert betas[0] == np.float32(0.1) and (betas[3:] == np.float32(0.7)).all()


def test_loss_uses_the_beta_of_the_call():
    channel = Given(beta=BetaSchedule(2))
    for beta in (0.0, 0.5, 1.0):
        channel(of_rate(3.0), training=True)
        assert float(array(channel.losses[0])) == 3 * beta
        assert float(array(channel.last_rate)) == 3.0


def test_schedule_in_fit_step_by_step():
    model = frozen(BetaSchedule(4))
    x = of_rate(2.0, rows=6)
    log = model.fit(x, 0 * x, batch_size=2, epochs=3, verbose=0)
    betas = np.minimum(np.arange(9) / 4, 1).reshape(3, 3)
    np.testing.assert_allclose(log.history["loss"], 2 * betas.mean(axis=1), rtol=1e-6)
    assert beta_of(model) == 1.0


# 2. The target


def test_target_rate_by_its_formula():
    rates = [4.0, 0.5, 3.0, 100.0, 2.0, 0.0, 2.5]
    rule = TargetRate(2.0, step_size=0.2, initial=0.5, smoothing=0.75)
    log_beta, average, expected = np.log(0.5), 2.0, []
    for rate in rates:
        average = 0.75 * average + 0.25 * rate
        log_beta += 0.2 * np.clip((average - 2) / 2, -1, 1)
        expected.append(np.exp(log_beta))
    np.testing.assert_allclose(follow(Given(beta=rule), rates), expected, rtol=1e-5)


def test_target_rate_is_reached_by_a_beta_that_stays():
    # At the target nothing moves, above it beta grows, below it falls.
    assert follow(Given(beta=TargetRate(3.0)), [3.0] * 3) == [1.0] * 3
    assert (np.diff([1.0, *follow(Given(beta=TargetRate(3.0)), [5.0] * 5)]) > 0).all()
    assert (np.diff([1.0, *follow(Given(beta=TargetRate(3.0)), [2.0] * 5)]) < 0).all()


@quick
@given(st.lists(st.floats(width=32), max_size=12), st.floats(0.01, 50.0))
def test_beta_stays_within_its_bounds_whatever_the_rates(rates, step_size):
    rule = TargetRate(2.0, step_size=step_size, low=1e-3, high=1e3)
    beta = ops.convert_to_tensor(np.float32(1.0))
    state = {"average": ops.convert_to_tensor(np.float32(2.0))}
    for rate in rates:
        rate = ops.convert_to_tensor(np.float32(rate))
        beta, state = rule.update(beta, rate, **state)
        assert 0.999e-3 <= float(array(beta)) <= 1.001e3


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
def test_a_rate_that_is_not_finite_changes_nothing(rate):
    channel = Given(beta=TargetRate(2.0, smoothing=0.5))
    before = follow(channel, [3.0])
    average = array(channel.beta_state["average"])
    assert follow(channel, [rate]) == before
    assert array(channel.beta_state["average"]) == average


def test_beta_that_was_set_by_hand_is_where_the_rule_goes_on():
    channel = Given(beta=TargetRate(2.0, step_size=0.5, smoothing=0.0, low=1e-2))
    follow(channel, [2.0])
    channel.beta.assign(5.0)
    np.testing.assert_allclose(follow(channel, [4.0]), 5 * np.exp(0.5), rtol=1e-6)
    channel.beta.assign(0.0)
    np.testing.assert_allclose(follow(channel, [4.0]), 1e-2 * np.exp(0.5), rtol=1e-6)


def test_no_gradient_through_the_rule():
    # beta is computed from the rate that it multiplies.
    inputs = keras.Input((1,))
    scaled = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(inputs)
    rule = TargetRate(1.0, step_size=1.0, smoothing=0.0)
    z = Given(beta=rule, name="channel")(scaled)
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(z))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.fit(of_rate(1.5), of_rate(0.0), verbose=0)
    beta = np.exp(0.5)
    np.testing.assert_allclose(beta_of(model), beta, rtol=1e-5)
    # d(beta w x)/dw = beta x
    kernel = float(array(model.layers[1].kernel)[0, 0])
    assert kernel == pytest.approx(1 - 0.01 * beta * 1.5, rel=1e-5)


def autoencoder(channel, seed=0):
    """Two numbers through a linear encoder and decoder."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((2,))
    heads = [keras.layers.Dense(2, name=name) for name in ("f", "log_s")]
    z = channel([head(inputs) for head in heads])
    model = keras.Model(inputs, keras.layers.Dense(2)(z))
    model.compile(keras.optimizers.Adam(0.03), "mse")
    return model


def rate_of(model, x):
    """The mean rate on all of x, nats."""
    channel = model.get_layer("channel")
    inputs = [model.get_layer(name)(x) for name in ("f", "log_s")]
    return array(channel.rate(inputs)).mean()


@pytest.mark.parametrize("kind, target", [(EchoSample, 3.0), (GaussianSample, 1.5)])
def test_training_settles_at_the_target(kind, target):
    x = np.random.default_rng(0).normal(size=(128, 2)).astype("float32")
    rule = TargetRate(target, step_size=0.05)
    arguments = {"d_max": 31, "bank_size": 64} if kind is EchoSample else {}
    model = autoencoder(kind(beta=rule, seed=0, name="channel", **arguments))
    many = np.tile(x, (200, 1))
    model.fit(many, many, batch_size=32, verbose=0)
    # Measured on the three backends: within 7 %, and within 12 % of the beta below.
    assert rate_of(model, x) == pytest.approx(target, rel=0.12)
    # Gaussian rate-distortion: the mean square over two coordinates falls by
    # 1/2 sum of var_j exp(-2 R_j), of slope -beta at R_j = 1/2 log(var_j / beta).
    optimal = np.sqrt(np.linalg.det(np.cov(x.T))) * np.exp(-target)
    assert beta_of(model) == pytest.approx(optimal, rel=0.2)


# 3. What Keras does with them


RULES = [TargetRate(2.0, step_size=0.1), BetaSchedule(7)]


@pytest.mark.parametrize("rule", RULES)
def test_only_training_moves_beta(rule):
    model = frozen(rule)
    x = of_rate(3.0, rows=4)
    model.fit(x, x, batch_size=2, verbose=0)
    before = [array(v) for v in model.get_layer("channel").variables]
    model.evaluate(x, x, verbose=0)
    model.predict(x, verbose=0)
    model.get_layer("channel")(x)
    after = [array(v) for v in model.get_layer("channel").variables]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    loss = model.evaluate(x, np.zeros_like(x), verbose=0)
    assert loss == pytest.approx(3 * beta_of(model), rel=1e-6)
    assert beta_of(model) != rule.initial


@pytest.mark.parametrize(
    "rule, kind", [(RULES[0], EchoSample), (RULES[1], GaussianSample)]
)
def test_a_resumed_run_is_the_uninterrupted_one(rule, kind, tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 2)).astype("float32")
    arguments = {"d_max": 31, "bank_size": 32} if kind is EchoSample else {}

    def run(model, epochs):
        arguments = {"batch_size": 4, "shuffle": False, "verbose": 0}
        return model.fit(x, x, epochs=epochs, **arguments).history["loss"]

    models = [
        autoencoder(kind(beta=rule, seed=0, name="channel", **arguments))
        for _ in range(2)
    ]
    losses = run(models[0], 2)
    assert run(models[1], 1) == pytest.approx(losses[:1], rel=1e-5)
    models[1].save(tmp_path / "model.keras")
    resumed = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert beta_of(resumed) == beta_of(models[1]) != rule.initial
    assert run(resumed, 1) == pytest.approx(losses[1:], rel=1e-5)
    assert beta_of(resumed) == pytest.approx(beta_of(models[0]), rel=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_one_channel_used_twice(rule):
    # A rule sees one rate for each step, however often the channel is called in it.
    channel = Given(beta=rule, name="channel")
    inputs = keras.Input((1,))
    dense = keras.layers.Dense(1)
    x = channel(dense(channel(dense(inputs))))
    model = keras.Model(inputs, x)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    log = model.fit(of_rate(3.0), of_rate(0.0), epochs=2, verbose=0)
    assert np.isfinite(log.history["loss"]).all()
    if isinstance(rule, BetaSchedule):
        assert beta_of(model) == pytest.approx(1 / 7)  # two steps: 0, 1


@pytest.mark.parametrize("rule", RULES)
def test_config_round_trip(rule):
    config = rule.get_config()
    assert type(rule).from_config(config).get_config() == config
    channel = GaussianSample(beta=rule, name="channel")
    again = GaussianSample.from_config(channel.get_config())
    assert type(again.beta_rule) is type(rule)
    assert again.get_config() == channel.get_config()
    clone = keras.models.clone_model(frozen(rule)).get_layer("channel")
    assert clone.get_config()["beta"] == channel.get_config()["beta"]


@pytest.mark.parametrize("rule", RULES)
def test_state_is_float32_and_not_trained(rule):
    channel = GaussianSample(beta=rule, dtype="mixed_bfloat16")
    channel.build([(None, 2), (None, 2)])
    assert channel.trainable_weights == []
    assert len(channel.non_trainable_weights) == 2 + len(rule.state)
    assert {v.dtype for v in channel.weights} == {"float32"}


def test_a_number_has_no_state():
    channel = GaussianSample(beta=0.5)
    channel.build([(None, 2), (None, 2)])
    assert len(channel.weights) == 2
    assert channel.get_config()["beta"] == 0.5


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class Halved(BetaRule):
    """A rule of the user's own, without state."""

    initial = 8.0

    def update(self, beta, rate):
        return beta / 2, {}

    def get_config(self):
        return {}


def test_a_rule_of_ones_own():
    assert follow(Given(beta=Halved()), [1.0] * 3) == [4.0, 2.0, 1.0]
    config = Given(beta=Halved()).get_config()
    assert isinstance(Given.from_config(config).beta_rule, Halved)


# 4. Bad arguments


@pytest.mark.parametrize(
    "kind, arguments, sentence",
    [
        (
            TargetRate,
            {"rate": 0},
            "^rate must be a finite number > 0. Rec.* rate=0$",
        ),
        (TargetRate, {"rate": float("inf")}, "^rate must be .* Received: rate=inf$"),
        (TargetRate, {"rate": float("nan")}, "^rate must be .* Received: rate=nan$"),
        (TargetRate, {"rate": 1, "step_size": 0.0}, "^step_size must be .*> 0"),
        (
            TargetRate,
            {"rate": 1, "smoothing": 1.0},
            r"^smoothing must be .* in \[0",
        ),
        (TargetRate, {"rate": 1, "low": 0.0}, r"^low must be .*\[1e-30, .* low=0.0"),
        (TargetRate, {"rate": 1, "low": 2.0, "high": 1.0}, r"^high must be .*\(2, 1"),
        (TargetRate, {"rate": 1, "high": float("inf")}, "^high must be .* high=inf"),
        (
            TargetRate,
            {"rate": 1, "initial": 0.0},
            r"^initial must be .* in \[0.0",
        ),
        (BetaSchedule, {"steps": 0}, r"^steps must be an integer in \[1, 16"),
        (BetaSchedule, {"steps": 1.5}, "^steps must be an integer .* steps=1.5$"),
        (BetaSchedule, {"steps": float("inf")}, "^steps must be an integer"),
        (BetaSchedule, {"steps": 3, "start": -1}, "^start must be a finite number >="),
        (BetaSchedule, {"steps": 3, "end": float("nan")}, "^end must be a finite numb"),
    ],
)
def test_bad_arguments_raise(kind, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        kind(**arguments)


def test_a_target_below_the_lowest_rate_raises():
    sentence = (
        "at least min_rate = 1.434 nats, the lowest of 8 dim.* Received: rate=1.0"
    )
    channel = EchoSample(d_max=99, beta=TargetRate(1.0))
    with pytest.raises(ValueError, match=sentence):
        channel.build([(None, 8), (None, 8)])


# The distance from a target


@pytest.mark.parametrize("rate, loss", [(5.0, 4.0), (3.0, 0.0), (1.0, 4.0)])
@pytest.mark.parametrize("training", [True, False])
def test_deviation_is_added_on_both_sides_of_the_target(rate, loss, training):
    channel = Given(beta=TargetRateL1(3.0, weight=2.0))
    channel(of_rate(rate), training=training)
    assert float(array(channel.losses[0])) == loss
    assert float(array(channel.last_rate)) == rate
    assert float(array(channel.beta)) == 2.0


def test_deviation_pulls_the_rate_from_both_sides():
    # d |R - R*| / dR is the sign, spread over the batch's mean.
    channel = Given(beta=TargetRateL1(3.0))
    channel.build((2, 1))
    state = [ops.convert_to_tensor(v) for v in channel.non_trainable_variables]

    def loss(x):
        return channel.stateless_call([], state, x, training=True, return_losses=True)[
            2
        ][0]

    for rate, sign in ((5.0, 1.0), (1.0, -1.0)):
        (gradient,) = gradients(loss, of_rate(rate))
        np.testing.assert_allclose(gradient, sign / 2 * np.ones((2, 1)))


def test_deviation_holds_a_rate_that_the_elbo_gives_up():
    # The code is of no use: beta alone drives its rate to 0, the deviation to 2 nats.
    rates = {}
    for rule in (1.0, TargetRateL1(2.0)):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((1,))
        moments = keras.layers.Dense(2, bias_initializer="ones")(inputs)
        mean, log_var = ops.split(moments, 2, axis=1)
        z = GaussianSample(beta=rule, name="channel")([mean, log_var])
        model = keras.Model(inputs, 0.0 * z)
        model.compile(keras.optimizers.Adam(0.02), "mse")
        batches = np.ones((200 * 50, 1), "float32")
        model.fit(batches, 0 * batches, batch_size=50, verbose=0)
        rates[rule] = float(array(model.get_layer("channel").last_rate))
    free, held = rates.values()
    assert free < 0.02 and held == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("bad", [{"rate": -1.0}, {"rate": 1.0, "weight": np.inf}])
def test_bad_deviations_raise(bad):
    with pytest.raises(ValueError, match="must be a finite number >= 0"):
        TargetRateL1(**bad)
