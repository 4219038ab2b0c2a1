"""The compiled pass: what an eager one gives, compiled once, and never stale."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers, ops
from tools import BACKEND, array

from echo_keras import losses
from echo_keras.layers import EchoBottleneck, GaussianBottleneck, collect_draws
from echo_keras.layers.backend import no_gradients
from echo_keras.metrics import forward as module
from echo_keras.metrics import per_example
from echo_keras.metrics.forward import forward_pass
from echo_keras.model import RateDistortionModel

pytestmark = pytest.mark.core


def data(n=10, seed=0):
    return np.random.RandomState(seed).random_sample((n, 6)).astype("float32")


def echo_model():
    bottleneck = EchoBottleneck(2, d_max=3, bank_size=16, seed=1)
    inputs = keras.Input((6,))
    model = RateDistortionModel(inputs, layers.Dense(6)(bottleneck(inputs)))
    model.compile("sgd", loss=losses.Bernoulli())
    model.fit(data(16), data(16), verbose=0)
    return model


def eagerly(model, x, echoes, batch_size, samples=1):
    """Batch by batch and outside of any compiled function."""
    order = np.arange(len(x))
    if echoes == "batch":
        order = np.random.RandomState(0).permutation(len(x))
    found = np.zeros((2, len(x)))
    for start in range(0, len(x), batch_size):
        here = order[start : start + batch_size]
        batch = ops.convert_to_tensor(x[here])
        for _ in range(samples):
            with no_gradients(), collect_draws(echoes) as draws:
                output = model(batch, training=False)
                distortion = model.loss.call(batch, output)
            found[:, here] += [array(draws[0][0]), array(distortion)]
    return found / samples


def test_weights_that_are_replaced_are_seen():
    """As by `quantize`, which needs no new `compile`."""
    inputs, bottleneck = keras.Input((6,)), GaussianBottleneck(2, seed=0)
    dense = layers.Dense(5)
    model = RateDistortionModel(inputs, layers.Dense(6)(bottleneck(dense(inputs))))
    model.compile("sgd", loss=losses.SquaredError())
    before = per_example(model, data())[0]
    dense.quantize("int8")
    array(dense.kernel_scale)
    dense.kernel_scale.assign(dense.kernel_scale / 10.0)  # ten times the features
    rate = per_example(model, data())[0]
    expected = array(bottleneck.rate(dense(data())))
    np.testing.assert_allclose(rate, expected, rtol=1e-4)
    assert abs(rate - before).min() > 0


@pytest.mark.parametrize("echoes", ["bank", "batch"])
def test_numbers_and_draws_are_those_of_an_eager_loop(echoes):
    model, x = echo_model(), data(11, seed=2)
    state = model.layers[1].channel.seed_generator.state
    before = array(state).copy()
    # Batches of 5, 5 and 1, with which echoes are not to mix up anything.
    expected = eagerly(model, x, echoes, batch_size=5, samples=2)
    after = array(state).copy()
    assert (before != after).any()
    state.assign(before)
    found = per_example(model, x, echoes=echoes, batch_size=5, samples=2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(array(state), after)


def test_in_training_mode_standardized_codes_have_the_moments_of_their_batch():
    """The sum of their squares is then their number, but for the epsilon."""
    inputs = keras.Input((2,))
    bottleneck = EchoBottleneck(2, "standardized", d_max=3, bank_size=16, seed=1)
    model = RateDistortionModel(inputs, layers.Identity()(bottleneck(inputs)))
    model.compile(keras.optimizers.SGD(0.0), loss=losses.SquaredError())
    x = 50 * (data(16)[:, :2] - 0.5)
    model.fit(x, x, verbose=0)
    bottleneck.standardize.mean.assign([3.0, -3.0])
    zeros = np.zeros((16, 2))
    _, inference = per_example(model, x, zeros, echoes="batch")
    assert inference.mean() > 10
    _, found = per_example(model, x, zeros, batch_size=8, training=True)
    np.testing.assert_allclose(found.mean(), 2, rtol=0.02)


def counted(monkeypatch):
    """A list that grows by one at each trace (PyTorch: at each call)."""
    traces, plain = [], module.collect_draws

    def collect(echoes_from):
        traces.append(echoes_from)
        return plain(echoes_from)

    monkeypatch.setattr(module, "collect_draws", collect)
    return traces


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch compiles nothing")
def test_a_model_is_traced_once(monkeypatch):
    traces, model = counted(monkeypatch), echo_model()
    per_example(model, data(11), batch_size=5)
    # JAX for each batch size.
    assert len(traces) == (1 if BACKEND == "tensorflow" else 2)
    per_example(model, data(6), batch_size=5, samples=3)
    model.fit(data(16), data(16), verbose=0)
    per_example(model, data(11), batch_size=5)
    assert len(traces) == (1 if BACKEND == "tensorflow" else 2)
    per_example(model, data(10), echoes="batch", batch_size=5)
    assert traces[-1] == "batch" and traces.count("batch") == 1


def test_what_is_trained_or_compiled_anew_is_seen():
    inputs = keras.Input((6,))
    bottleneck = GaussianBottleneck(2, noise_variance=1e-12)
    model = RateDistortionModel(inputs, layers.Dense(6)(bottleneck(inputs)))
    x = data()
    for loss in (losses.Bernoulli(), losses.SquaredError(), losses.SquaredError()):
        model.compile(keras.optimizers.SGD(0.1), loss=loss)
        for _ in range(2):
            rate, distortion = per_example(model, x)
            expected = array(loss.call(ops.convert_to_tensor(x), model(x)))
            np.testing.assert_allclose(distortion, expected, rtol=1e-4)
            np.testing.assert_allclose(rate, array(bottleneck.rate(x)), rtol=1e-5)
            model.fit(x, x, verbose=0)
    model.set_weights([2 * w for w in model.get_weights()])
    expected = array(loss.call(ops.convert_to_tensor(x), model(x)))
    np.testing.assert_allclose(per_example(model, x)[1], expected, rtol=1e-4)


def test_a_layer_that_was_frozen_is_seen():
    inputs, norm = keras.Input((6,)), layers.BatchNormalization(epsilon=1e-6)
    z = GaussianBottleneck(2, noise_variance=1e-12)(norm(inputs))
    model = RateDistortionModel(inputs, layers.Dense(6)(z))
    loss, x = losses.SquaredError(), 3 + 2 * data()
    model.compile("sgd", loss=loss)
    before = per_example(model, x, training=True)[1]
    norm.trainable = False  # it now has its moments at inference in training, too
    model.compile("sgd", loss=loss)
    found = per_example(model, x, training=True)[1]
    expected = array(loss.call(ops.convert_to_tensor(x), model(x, training=False)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.abs(found - before).max() > 0.1
    norm.trainable = True
    thawed = per_example(model, x, training=True)[1]
    np.testing.assert_allclose(thawed, before, rtol=1e-4)


def test_a_model_is_not_kept_alive():
    model = echo_model()
    per_example(model, data(), batch_size=5)
    alive = weakref.ref(model)
    del model
    keras.utils.clear_session()
    gc.collect()
    assert alive() is None


def test_a_shape_that_does_not_fit_raises_after_one_that_did():
    model = echo_model()
    per_example(model, data())
    with pytest.raises(ValueError, match="incompatible with the layer"):
        per_example(model, data()[:, :5])


def test_without_a_distortion_no_loss_is_needed():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(GaussianBottleneck(2)(inputs)))
    found = forward_pass(model, distortion=False)(data())
    assert found.distortion is None and tuple(found.output.shape) == (10, 3)
    assert found.log_ratio.shape == found.rate.shape == (10,)


def test_a_subclassed_model_that_was_not_built():
    class Plain(keras.Model):
        def __init__(self):
            super().__init__()
            self.bottleneck, self.dense = GaussianBottleneck(2), layers.Dense(6)

        def call(self, x):
            return self.dense(self.bottleneck(x))

    model = Plain()
    model.compile(loss=losses.Gaussian())
    rate, _ = per_example(model, data())
    np.testing.assert_allclose(rate, array(model.bottleneck.rate(data())), rtol=1e-5)
