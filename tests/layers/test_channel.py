"""Tests of what all channels share, on the Gaussian one and on a bare one."""

import keras
import numpy as np
import pytest
from keras import ops
from tools import BACKEND, array

from echo_keras.layers import (
    BetaSchedule,
    Channel,
    Draw,
    GaussianSample,
    collect_draws,
)
from echo_keras.layers.base import example_weights

pytestmark = pytest.mark.core


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class Counted(Channel):
    """Passes its input on; the rate of an example is the sum of its values."""

    def draw(self, x, echoes_from="bank"):
        x = ops.cast(x, "float32")
        log_ratio = None if echoes_from == "bank" else 2.0 * x[:, 0]
        return Draw(x + self.normal(ops.shape(x)), ops.sum(x, axis=1), log_ratio)


def ramp(rows=4, columns=3):
    return np.arange(rows * columns, dtype="float32").reshape(rows, columns) / 8


@pytest.mark.parametrize("beta", [-1e-3, float("inf"), float("nan"), -float("inf")])
def test_bad_beta_raises(beta):
    sentence = rf"^beta must be a finite number >= 0, .* Received: beta={beta}$"
    with pytest.raises(ValueError, match=sentence):
        GaussianSample(beta=beta)


@pytest.mark.parametrize("beta", ["0.5", None, [1.0]])
def test_beta_that_is_neither_number_nor_rule_raises(beta):
    with pytest.raises(
        ValueError, match="^beta must be a finite number .* or a rule such as"
    ):
        GaussianSample(beta=beta)


def test_beta_may_be_any_kind_of_number():
    for beta in (2, np.float32(2.0), np.array(2.0)):
        assert GaussianSample(beta=beta).get_config()["beta"] == 2.0


def test_beta_zero_adds_nothing_but_the_rate_is_measured():
    layer = Counted(beta=0)
    layer(ramp())
    assert float(array(layer.losses[0])) == 0.0
    np.testing.assert_allclose(array(layer.last_rate), ramp().sum(1).mean(), rtol=1e-6)


def test_loss_is_beta_times_the_batch_mean():
    layer = Counted(beta=0.25)
    layer(ramp())
    assert len(layer.losses) == 1 and tuple(layer.losses[0].shape) == ()
    mean = ramp().sum(1).mean()
    np.testing.assert_allclose(array(layer.losses[0]), 0.25 * mean, rtol=1e-6)
    layer.beta.assign(2.0)
    layer(ramp())
    np.testing.assert_allclose(array(layer.losses[0]), 2 * mean, rtol=1e-6)


def test_beta_and_last_rate_are_float32_and_not_trained():
    layer = Counted(dtype="mixed_bfloat16")
    layer.build((None, 3))
    assert layer.trainable_weights == []
    assert layer.beta.dtype == layer.last_rate.dtype == "float32"
    layer(ramp())
    # 100.25 needs more digits than bfloat16 has.
    layer.beta.assign(100.25)
    assert float(array(layer.beta)) == 100.25


def test_collect_draws_lists_calls_in_order_and_ends_with_the_block():
    layer = Counted()
    with collect_draws() as outer:
        layer(ramp())
        with collect_draws("batch") as inner:
            layer(ramp(2))
        layer(2 * ramp())
    layer(ramp())
    assert len(outer) == 2 and len(inner) == 1
    for (rate, log_ratio), x in zip(outer, (ramp(), 2 * ramp()), strict=True):
        np.testing.assert_allclose(array(rate), x.sum(1), rtol=1e-6)
        assert log_ratio is None
    np.testing.assert_allclose(array(inner[0][0]), ramp(2).sum(1), rtol=1e-6)
    np.testing.assert_allclose(array(inner[0][1]), 2 * ramp(2)[:, 0], rtol=1e-6)


def test_collect_draws_ends_after_an_error():
    layer = Counted()
    with pytest.raises(RuntimeError, match="on purpose"), collect_draws() as draws:
        raise RuntimeError("on purpose")
    layer(ramp())
    assert draws == []


def test_collect_draws_from_elsewhere_raises():
    sentence = r"^echoes_from must be one of bank, batch. Received: echoes_from='x'$"
    with pytest.raises(ValueError, match=sentence), collect_draws("x"):
        pass


def test_a_collected_call_is_the_same_draw_without_loss_or_state():
    first = Counted(beta=BetaSchedule(2), seed=5)
    other = Counted(beta=BetaSchedule(2), seed=5)
    first(ramp(), training=True)
    other(ramp(), training=True)
    before = {w.path.split("/")[-1]: array(w) for w in other.weights}
    z = array(first(2 * ramp(), training=True))
    with collect_draws():
        collected = array(other(2 * ramp(), training=True))
    np.testing.assert_array_equal(collected, z)
    assert before == {w.path.split("/")[-1]: array(w) for w in other.weights}
    assert other.losses == []


def test_draw_is_what_call_returns():
    first, other = Counted(seed=5), Counted(seed=5)
    first.build((None, 3))
    draw = first.draw(ramp())
    np.testing.assert_array_equal(array(draw.z), array(other(ramp())))
    np.testing.assert_allclose(array(draw.rate), ramp().sum(1), rtol=1e-6)
    assert float(array(first.last_rate)) == 0.0 and first.losses == []


def test_collect_draws_inside_a_compiled_function():
    model = small_model(seed=5)
    expected = array(model(ramp()))
    state = [array(v) for v in model.non_trainable_variables]

    def draw(x):
        with collect_draws("batch") as draws:
            z = model(x)
        return z, draws[0]

    if BACKEND == "tensorflow":
        import tensorflow as tf

        draw = tf.function(draw)
    elif BACKEND == "jax":
        import jax

        variables = [ops.convert_to_tensor(v) for v in model.non_trainable_variables]

        @jax.jit
        def draw(x):
            with collect_draws("batch") as draws:
                z, _ = model.stateless_call([], variables, x)
            return z, draws[0]

    for _ in range(2):
        z, (rate, log_ratio) = draw(ops.convert_to_tensor(ramp()))
        assert np.abs(array(z) - expected).min() > 0
        np.testing.assert_allclose(array(rate), ramp().sum(1), rtol=1e-6)
        np.testing.assert_allclose(array(log_ratio), 2 * ramp()[:, 0], rtol=1e-6)
    names = [v.name for v in model.non_trainable_variables]
    for name, old, new in zip(names, state, model.non_trainable_variables, strict=True):
        assert name == "seed_generator_state" or array(new) == old


def test_an_int_seed_repeats_in_another_layer_but_not_in_the_next_call():
    first, second, other = Counted(seed=5), Counted(seed=5), Counted(seed=6)
    z = [array(layer(ramp())) for layer in (first, second, other)]
    np.testing.assert_array_equal(z[0], z[1])
    assert np.abs(z[0] - z[2]).min() > 0
    assert np.abs(array(first(ramp())) - z[0]).min() > 0


def test_without_a_seed_keras_decides():
    draws = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        draws.append((array(Counted()(ramp())), array(Counted()(ramp()))))
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    assert np.abs(draws[0][0] - draws[0][1]).min() > 0


def small_model(seed=None):
    inputs = keras.Input((3,))
    return keras.Model(inputs, Counted(seed=seed, name="counted")(inputs))


def test_noise_continues_from_saved_weights(tmp_path):
    model = small_model()
    model(ramp())
    model.save_weights(tmp_path / "model.weights.h5")
    after = array(model(ramp()))
    other = small_model()
    assert np.abs(array(other(ramp())) - after).min() > 0
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(array(other(ramp())), after)


def test_changed_beta_is_saved_and_the_initial_one_stays_in_the_config(tmp_path):
    model = small_model()
    model.get_layer("counted").beta.assign(0.5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").get_layer("counted")
    assert float(array(loaded.beta)) == 0.5
    assert loaded.get_config()["beta"] == 1.0


def test_weights_without_a_seed_state_load():
    layer, store = Counted(seed=5), {}
    layer.build((None, 3))
    layer.beta.assign(0.5)
    layer.save_own_variables(store)
    assert set(store) == {"0", "1", "seed_state"}
    del store["seed_state"]
    other = Counted(seed=5)
    other.build((None, 3))
    other.load_own_variables(store)
    assert float(array(other.beta)) == 0.5


@pytest.mark.parametrize("wrong", ["by dimension", "mean", "none"])
def test_a_rate_that_is_not_one_number_of_each_example_is_refused(wrong):
    class Wrong(Channel):
        def draw(self, x, echoes_from="bank"):
            rates = {"by dimension": ops.square(x), "mean": ops.mean(x), "none": None}
            return Draw(x, rates[wrong], None)

    with pytest.raises(
        ValueError, match=r"Wrong.draw gives must be one number of each"
    ):
        Wrong()(ops.ones((4, 3)))


def test_weights_are_one_for_each_row():
    layer = Counted()
    with example_weights(ops.convert_to_tensor([1.0, 0.0])):
        # Of three positions each, side by side; tiled weights would be of others.
        with pytest.raises(ValueError, match=r"each row .* Received: 2 for 6 rows"):
            layer(ramp(6))
