"""What `multi_rate` and `at` make of layers of all kinds."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from tools import array

from echo_keras import (
    MultiRateModel,
    RateDistortionModel,
    autoencoder,
    losses,
    multi_rate,
    networks,
)
from echo_keras.layers import (
    BetaInput,
    BetaRange,
    Chain,
    DeterministicBottleneck,
    EchoBottleneck,
    EchoSample,
    GatedDense,
    GaussianBottleneck,
    GaussianSample,
    IAFBlock,
    PseudoInputs,
    RateGate,
    VampPrior,
)
from echo_keras.layers.channel import given_beta
from echo_keras.model import find_layers

pytestmark = pytest.mark.core

X = np.random.default_rng(0).integers(0, 2, (40, 8)).astype("float32")


def model_of(*before, bottleneck=None, shape=(8,)):
    """A model with layers of some kind before the bottleneck."""
    keras.utils.set_random_seed(0)
    x = h = keras.Input(shape)
    for layer in before:
        h = layer(h)
    z = (bottleneck or GaussianBottleneck(2, seed=0))(h)
    model = RateDistortionModel(x, layers.Dense(shape[-1])(z))
    model.compile("adam", loss=losses.Gaussian(1.0))
    return model


def check(one, x=X):
    """It begins as the model that it is made of; `at` is it at that beta."""
    model = multi_rate(one, 0.5, 8.0, seed=0)  # whose middle is not 1
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, one.predict(x, verbose=0), atol=1e-5)
    for gate in find_layers(model, RateGate):
        gate.a.assign(0.3 * np.cos(np.arange(gate.units)))
    model.set_beta(5.0)
    single = model.at(5.0)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(single.predict(x, verbose=0), expected, atol=1e-4)
    assert np.abs(expected - found).max() > 0.01
    return model, single


@keras.saving.register_keras_serializable(package="tests")
class Block(layers.Layer):
    """A layer of one's own, whose sub-layers have the names that Keras gives them."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.parts = [layers.Dense(units), layers.Dense(units)]

    def build(self, shape):
        for part in self.parts:
            part.build(shape)

    def call(self, h):
        return self.parts[0](h) * ops.tanh(self.parts[1](h))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def normalization():
    layer = layers.Normalization()
    layer.adapt(3 + 5 * X)
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: Block(4),
        normalization,
        # Its activation comes before the product of its halves.
        lambda: GatedDense(4, activation="tanh"),
    ],
    ids=["block", "normalization", "gated"],
)
def test_layers_are_copied_whole(make):
    check(model_of(make(), layers.Dense(4, activation="relu")))


def test_the_layers_of_a_flow_are_copied():
    flow = Chain([IAFBlock(1, hidden=(4,)), IAFBlock(1, hidden=(4,))])
    bottleneck = GaussianBottleneck(2, flow=flow, context=True, seed=0)
    one = model_of(layers.Dense(4), bottleneck=bottleneck)
    for n, variable in enumerate(flow.trainable_variables):
        variable.assign(0.3 * ops.cos(n + ops.cast(variable, "float32")))
    check(one)


def test_a_frozen_layer_within_a_layer_stays_frozen():
    block, bottleneck = Block(4), EchoBottleneck(2, d_max=5, bank_size=8, seed=0)
    one = model_of(block, bottleneck=bottleneck)
    block.parts[0].trainable = bottleneck.channel.trainable = False
    model = multi_rate(one)
    for each in (model, model.at(1.0)):
        (copy,) = find_layers(each, Block)
        assert [part.trainable for part in copy.parts] == [False, True]
        (copy,) = find_layers(each, EchoBottleneck)
        assert copy.trainable and not copy.channel.trainable


def test_an_activity_regularizer_is_of_the_activation():
    penalty = keras.regularizers.L1(1.0)
    for activation in ("relu", None):
        dense = layers.Dense(4, activation, activity_regularizer=penalty)
        one = model_of(dense)
        extra = []
        for each in (one, multi_rate(one)):
            logs = each.evaluate(X, verbose=0, return_dict=True)
            extra.append(logs["loss"] - logs["neg_elbo"])
        assert extra[0] == pytest.approx(extra[1], rel=1e-3) and extra[0] > 0.01


def test_gates_are_on_the_axis_of_channels():
    # Not called, which TensorFlow cannot on a CPU.
    x = keras.Input((2, 6, 5))
    h = layers.Conv2D(3, 2, data_format="channels_first")(x)
    h = GaussianBottleneck(2)(layers.Flatten()(h))
    gate = find_layers(multi_rate(RateDistortionModel(x, h)), RateGate)[0]
    assert gate.axis == 1 and gate.units == 3


def test_masked_positions_stay_without_a_rate():
    one = model_of(layers.Masking(), layers.Dense(4, "relu"), shape=(5, 3))
    x = np.random.default_rng(0).normal(size=(32, 5, 3)).astype("float32")
    x[:, 2:] = 0
    model, single = check(one, x)
    for each in (model, single):
        logs = each.evaluate(x, verbose=0, return_dict=True)
        (channel,) = find_layers(each, GaussianSample)
        channel.beta.assign(5.0)
        (bottleneck,) = find_layers(each, GaussianBottleneck)
        h = each.layers[[x.name for x in each.layers].index(bottleneck.name) - 1]
        inputs = keras.Model(each.input, h.output).predict(x, verbose=0)
        parts = array(bottleneck.rate_by_dimension(inputs))
        assert logs["rate"] == pytest.approx(parts[:, :2].sum((1, 2)).mean(), rel=1e-4)


def test_a_fixed_noise_variance_has_no_slope():
    bottleneck = GaussianBottleneck(2, noise_variance=1.0, seed=0)
    model, _ = check(model_of(layers.Dense(4), bottleneck=bottleneck))
    assert find_layers(model, GaussianBottleneck)[0].slope is None


def test_a_beta_of_each_example_is_that_of_all_its_positions():
    one = model_of(layers.Dense(4), shape=(4, 3))
    model = multi_rate(one, per="example")
    (bottleneck,) = find_layers(model, GaussianBottleneck)
    # As many examples as positions, so that a wrong axis would fit too.
    h = np.ones((4, 4, 4), "float32")
    betas = np.geomspace(0.1, 10.0, 4, dtype="float32")[:, None]
    z = bottleneck(h, beta=ops.convert_to_tensor(betas))
    assert tuple(z.shape) == (4, 4, 2)
    model.fit(np.ones((8, 4, 3), "float32"), batch_size=4, verbose=0)
    with given_beta(ops.convert_to_tensor(betas)):
        log_var = array(bottleneck.encode(h)[1])
    np.testing.assert_allclose(log_var, log_var[:, :1] * np.ones((1, 4, 1)), rtol=1e-5)
    assert (np.diff(log_var[:, 0, 0]) > 1).all()


def test_methods_in_the_graph_have_the_beta_of_the_call():
    x = keras.Input((8,))
    bottleneck = GaussianBottleneck(2, seed=0)
    outputs = [bottleneck(x), bottleneck.rate(x)]
    model = multi_rate(RateDistortionModel(x, outputs), seed=0)
    # In training beta is drawn, and the rate falls with it.
    found = [float(array(model(X[:1], training=True)[1])[0]) for _ in range(20)]
    assert np.ptp(found) > 1.0
    model.set_beta(5.0)
    expected = array(model(X)[1])
    np.testing.assert_allclose(array(model.at(5.0)(X)[1]), expected, atol=1e-5)


def test_a_bottleneck_without_noise_beside_one_with_noise():
    x = keras.Input((8,))
    parts = [DeterministicBottleneck(2)(x), GaussianBottleneck(2, seed=0)(x)]
    one = RateDistortionModel(x, layers.Dense(8)(layers.Concatenate()(parts)))
    one.compile("adam", loss=losses.Gaussian(1.0))
    check(one)


def by_hand(of_gate=lambda beta: beta, of_channel=lambda beta: beta):
    """A model whose layers get functions of beta."""
    keras.utils.set_random_seed(0)
    x, betas = keras.Input((8,)), BetaRange()
    beta = BetaInput(betas)(x)
    h = RateGate(name="gate")([layers.Dense(4)(x), of_gate(beta)])
    z = GaussianBottleneck(2, beta=betas, seed=0)(h, beta=of_channel(beta))
    model = MultiRateModel(x, layers.Dense(8)(z))
    model.compile("adam", loss=losses.Gaussian(1.0))
    model.get_layer("gate").a.assign([0.3, -0.3, 0.2, 0.1])
    model.set_beta(5.0)
    return model


def test_the_beta_of_the_model_stays_where_at_is_asked_for_another():
    bottleneck = EchoBottleneck(2, d_max=5, bank_size=8, seed=0)
    model = multi_rate(model_of(layers.Dense(4), bottleneck=bottleneck))
    (channel,) = find_layers(model, EchoSample)
    model.set_beta(0.1)
    model.at(10.0)
    betas = [float(array(x.beta)) for x in (channel, model.beta_input)]
    assert betas == pytest.approx([0.1, 0.1])


def test_layers_that_get_a_function_of_beta():
    beta = keras.Input((1,))
    within = keras.Model(beta, ops.square(beta))
    for function in (lambda beta: 2 * beta, within):
        model = by_hand(of_gate=function)
        np.testing.assert_allclose(
            model.at(5.0).predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-5
        )
    with pytest.raises(ValueError, match="beta must be what the BetaInput gives"):
        by_hand(of_channel=lambda beta: 2 * beta).at(5.0)


def test_pseudo_inputs_have_no_beta_of_an_example():
    one = autoencoder(
        networks.dense_encoder((8,), (4,)),
        GaussianBottleneck(2, marginal=VampPrior()),
        networks.dense_decoder(2, (8,), (4,)),
        pseudo_inputs=PseudoInputs(3),
    )
    with pytest.raises(ValueError, match="per must be 'batch'"):
        multi_rate(one, per="example")
