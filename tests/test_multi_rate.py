"""One model for every rate: what it begins as, what `at` gives, and what it learns."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops
from tools import array

from echo_keras import (
    MultiRateModel,
    RateDistortionModel,
    autoencoder,
    codec,
    losses,
    metrics,
    multi_rate,
    networks,
    renew_memories,
)
from echo_keras.layers import (
    BetaInput,
    BetaRange,
    Channel,
    EchoBottleneck,
    EchoSample,
    GatedDense,
    GaussianBottleneck,
    GaussianSample,
    PseudoInputs,
    QuantizedBottleneck,
    RateGate,
    TargetRate,
    VampPrior,
)
from echo_keras.layers.bottleneck import Bottleneck
from echo_keras.model import find_layers

# The rest is of the model as a whole, and runs on TensorFlow alone.
core = pytest.mark.core

# Four patterns, of which few pixels differ: codewords have something to say.
RANDOM = np.random.default_rng(0)
PATTERNS = RANDOM.integers(0, 2, (4, 8))
X = PATTERNS[RANDOM.integers(0, 4, 200)] ^ (RANDOM.uniform(size=(200, 8)) < 0.05)
X = X.astype("float32")
ECHO = {"d_max": 30, "bank_size": 64}
BOTTLENECKS = {
    "echo": lambda **k: EchoBottleneck(2, seed=1, **ECHO, **k),
    "gaussian": lambda **k: GaussianBottleneck(2, seed=1, **k),
    "quantized": lambda **k: QuantizedBottleneck(
        2, 8, temperature=0.1, dead_code_threshold=None, seed=1, **k
    ),
}
every_channel = pytest.mark.parametrize("kind", BOTTLENECKS)


def of_one(kind="gaussian", **arguments):
    """A model of one beta, trained a little."""
    keras.utils.set_random_seed(0)
    model = autoencoder(
        networks.dense_encoder((8,), (16,)),
        BOTTLENECKS[kind](**arguments),
        networks.dense_decoder(2, (8,), (16,)),
    )
    model.compile(keras.optimizers.Adam(0.01), loss=losses.Bernoulli())
    model.fit(X, batch_size=100, epochs=2, verbose=0)
    return model


def trained(kind, epochs=15, **arguments):
    model = multi_rate(of_one(kind), seed=0, **arguments)
    model.fit(X, batch_size=100, epochs=epochs, verbose=0)
    return model


def randomized(model):
    """Gates that differ from 1, without a training."""
    for n, gate in enumerate(find_layers(model, RateGate)):
        units = np.arange(gate.units)
        gate.a.assign(0.3 * np.cos(units + n))
        gate.b.assign(0.3 * np.sin(units + n))
    return model


@core
@every_channel
def test_it_begins_as_the_model_that_it_is_made_of(kind):
    one = of_one(kind)
    model = multi_rate(one)
    middle = model.at(1.0)
    # The state of the noise is copied with the weights.
    expected = one.predict(X, verbose=0)
    for each in (model, middle):
        np.testing.assert_allclose(each.predict(X, verbose=0), expected, atol=1e-5)
    # And the two share nothing.
    for variable in model.trainable_variables:
        variable.assign(ops.zeros(variable.shape))
    again = of_one(kind).trainable_variables
    for old, new in zip(one.trainable_variables, again, strict=True):
        np.testing.assert_array_equal(array(old), array(new))


@core
@every_channel
def test_at_is_the_same_model_at_that_beta(kind):
    model = randomized(trained(kind, epochs=5))
    different = []
    for beta in (model.betas.low, model.betas.high):
        model.set_beta(beta)
        single = model.at(beta)
        assert type(single) is RateDistortionModel
        found = single.predict(X, verbose=0)
        np.testing.assert_allclose(found, model.predict(X, verbose=0), atol=1e-5)
        different.append(found)
        logs = single.evaluate(X, verbose=0, return_dict=True)
        rate, distortion = logs["rate"], logs["distortion"]
        (channel,) = find_layers(single, Channel)
        assert channel.beta_range is None and channel.initial_beta == beta
        # No input but x, nowhere.
        assert not find_layers(single, BetaInput)
        assert len(single.get_layer("encoder").inputs) == 1
        assert len(single.get_layer("decoder").inputs) == 1
        if kind != "quantized":  # whose commitment is another term
            assert logs["loss"] == pytest.approx(distortion + beta * rate, rel=1e-5)
    assert np.abs(different[0] - different[1]).max() > 0.01


@every_channel
def test_a_single_model_trains_on_and_keeps_its_beta(kind):
    single = trained(kind, epochs=2).at(0.1)
    single.fit(X, batch_size=100, epochs=1, verbose=0)
    (channel,) = find_layers(single, Channel)
    assert float(array(channel.beta)) == pytest.approx(0.1)


@every_channel
def test_round_trips(kind, tmp_path):
    model = randomized(trained(kind, epochs=2))
    model.set_beta(model.betas.high)
    single = model.at(model.betas.high)
    for each, name in ((model, "multi"), (single, "single")):
        path = tmp_path / f"{name}.keras"
        each.save(path)
        again = keras.models.load_model(path)
        assert type(again) is type(each)
        np.testing.assert_allclose(
            again.predict(X, verbose=0), each.predict(X, verbose=0), atol=1e-5
        )
    again.fit(X, batch_size=100, verbose=0)
    loaded = keras.models.load_model(tmp_path / "multi.keras")
    assert loaded.betas.get_config() == model.betas.get_config()
    log = loaded.fit(X, batch_size=100, epochs=1, verbose=0).history
    assert np.isfinite(log["loss"]).all()
    loaded.at(loaded.betas.low)


@every_channel
def test_a_lower_beta_has_a_higher_rate_after_one_training(kind):
    model = trained(kind, epochs=60)
    rates = [
        metrics.evaluate(model.at(beta), X)["rate"]
        for beta in (model.betas.low, model.betas.high)
    ]
    assert rates[0] > rates[1] + 0.1


# Variances of the data, and of the decoder.
EIGENVALUES, VARIANCE = np.array([4.0, 1.0, 0.25]), 0.25


def theory(beta):
    """Rate and distortion of the best linear model.

    Reverse water-filling at the level l = beta times the decoder's variance: a
    component of variance v has 1/2 log (v / l) nats, if v > l, and the error l, else v.
    """
    level = beta * VARIANCE
    rate = 0.5 * np.log(np.maximum(EIGENVALUES / level, 1.0)).sum()
    error = np.minimum(EIGENVALUES, level).sum()
    return rate, 0.5 * error / VARIANCE + 1.5 * np.log(2 * np.pi * VARIANCE)


@core
def test_the_curve_of_one_linear_model_is_that_of_theory():
    # Without any nonlinearity but the gates.
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(4000, 3)) * EIGENVALUES**0.5
    inputs = keras.Input((3,))
    h = layers.Dense(16)(inputs)
    z = GaussianBottleneck(3, seed=0)(h)
    model = RateDistortionModel(inputs, layers.Dense(3)(z))
    model = multi_rate(model, 0.25, 2.0, warmup=400, seed=0)
    falling = keras.optimizers.schedules.CosineDecay(0.02, 1600, alpha=0.01)
    model.compile(keras.optimizers.Adam(falling), loss=losses.Gaussian(VARIANCE))
    model.fit(x, batch_size=100, epochs=40, verbose=0)
    for beta in (0.3, 0.7, 1.5):
        found = metrics.evaluate(model.at(beta), x)
        rate, distortion = theory(beta)
        objective = distortion + beta * rate
        assert found["distortion"] + beta * found["rate"] == pytest.approx(
            objective, abs=0.12
        )
        assert found["rate"] == pytest.approx(rate, abs=0.12)


@core
@pytest.mark.parametrize("kind, slope", [("echo", 0.5), ("gaussian", 1.0)])
def test_noise_grows_with_beta_as_in_a_linear_model(kind, slope):
    one = of_one(kind)
    h = one.get_layer("encoder")(X)
    before = array(one.layers[2].encode(h)[1])
    model = multi_rate(one)
    for beta in (0.1, 10.0):
        single = model.at(beta)
        found = array(single.layers[2].encode(single.get_layer("encoder")(X))[1])
        np.testing.assert_allclose(found, before + slope * np.log(beta), atol=1e-4)
    bottleneck = next(x for x in model.layers if isinstance(x, Bottleneck))
    assert np.prod(bottleneck.slope.shape) == 2 and bottleneck.slope.trainable


@core
def test_gates_stand_before_the_activation():
    one = of_one("gaussian")
    model = randomized(multi_rate(one))
    dense = one.get_layer("encoder").layers[-1]
    pre = X @ array(dense.kernel) + array(dense.bias)
    encoder = model.get_layer("encoder")
    gate = find_layers(encoder, RateGate)[0]
    beta = ops.full((1, 1), 0.3)
    expected = np.maximum(pre * array(gate.scale(beta)), 0.0)
    found = array(encoder([ops.convert_to_tensor(X), beta], training=False))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_shared_layers_stay_shared_and_models_without_models_work():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    shared = layers.Dense(8, activation="tanh")
    h = shared(shared(inputs))
    z = EchoSample(seed=0, **ECHO)([layers.Dense(2)(h), layers.Dense(2)(h)])
    one = RateDistortionModel(inputs, layers.Dense(8)(z) + 0.5)
    one.compile("adam", loss=losses.Bernoulli())
    one.fit(X, verbose=0)
    model = multi_rate(one)
    # Two of a and b each for the shared layer, the two heads, and the last.
    gates = 2 * (8 + 2 + 2 + 8)
    count = [
        sum(np.prod(v.shape) for v in each.trainable_variables) for each in (model, one)
    ]
    assert count[0] - count[1] == gates
    np.testing.assert_allclose(
        model.at(1.0).predict(X, verbose=0), one.predict(X, verbose=0), atol=1e-5
    )


def test_conditional_models_and_pseudo_inputs_and_gated_layers():
    def joined(*shapes):
        inputs = [keras.Input(shape) for shape in shapes]
        return inputs, layers.Concatenate()(inputs)

    inputs, h = joined((8,), (2,))
    encoder = keras.Model(inputs, GatedDense(6)(h), name="encoder")
    inputs, h = joined((2,), (2,))
    decoder = keras.Model(inputs, layers.Dense(8)(h), name="decoder")
    one = autoencoder(encoder, GaussianBottleneck(2, seed=0), decoder)
    labels = np.eye(2, dtype="float32")[X[:, 0].astype(int)]
    one.compile("adam", loss=losses.Bernoulli())
    model = randomized(multi_rate(one))
    model.fit([X, labels], X, verbose=0)
    model.set_beta(2.0)
    np.testing.assert_allclose(
        model.at(2.0).predict([X, labels], verbose=0),
        model.predict([X, labels], verbose=0),
        atol=1e-5,
    )
    one = autoencoder(
        networks.dense_encoder((8,), (4,)),
        GaussianBottleneck(2, marginal=VampPrior(), seed=0),
        networks.dense_decoder(2, (8,), (4,)),
        pseudo_inputs=PseudoInputs(3),
    )
    one.compile("adam", loss=losses.Bernoulli())
    model = randomized(multi_rate(one))
    model.fit(X, verbose=0)
    model.set_beta(2.0)
    np.testing.assert_allclose(
        model.at(2.0).predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-5
    )


@core
@pytest.mark.parametrize("kind", ["echo", "gaussian"])
def test_measures_of_the_model_itself_are_at_its_beta(kind):
    model = randomized(trained(kind, epochs=3))
    for beta in (model.betas.low, model.betas.high):
        model.set_beta(beta)
        single = model.at(beta)
        parts = [metrics.rate_by_dimension(each, X) for each in (model, single)]
        np.testing.assert_allclose(*parts, rtol=1e-4)
        codes = [metrics.encode(each, X, noisy=False) for each in (model, single)]
        np.testing.assert_allclose(*codes, atol=1e-4)


def test_a_layer_of_ones_own_may_take_beta():
    inputs = keras.Input((8,))
    betas = BetaRange(0.1, 10.0)
    beta = BetaInput(betas)(inputs)
    h = layers.Dense(4)(inputs) + ops.log(beta)
    z = GaussianSample(beta=betas, seed=0)([h, layers.Dense(4)(inputs)], beta=beta)
    model = MultiRateModel(inputs, layers.Dense(8)(z))
    model.compile("adam", loss=losses.Bernoulli())
    model.set_beta(5.0)
    single = model.at(5.0)
    np.testing.assert_allclose(
        single.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-5
    )
    before = single.predict(X[:1], verbose=0)
    single.fit(X, verbose=0)  # beta is not drawn
    assert np.abs(single.predict(X[:1], verbose=0) - before).max() < 10
    assert float(array(find_layers(single, BetaInput)[0].beta)) == 5.0


@core
def test_betas_of_each_example():
    model = multi_rate(of_one(), per="example", seed=0)
    model.fit(X, batch_size=100, epochs=2, verbose=0)
    beta = array(model.beta_input(X, training=True))
    assert beta.shape == (200, 1) and len(np.unique(beta)) > 100


def test_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        one = of_one("echo")
        model = randomized(multi_rate(one))
        model.fit(X, batch_size=100, verbose=0)
        model.set_beta(model.betas.high)
        single = model.at(model.betas.high)
    finally:
        keras.config.set_dtype_policy(policy)
    for gate in find_layers(single, RateGate):
        assert gate.compute_dtype == "bfloat16"
    np.testing.assert_allclose(
        single.predict(X, verbose=0), model.predict(X, verbose=0), atol=0.05
    )


@pytest.mark.parametrize("kind", ["echo", "quantized"])
def test_between_two_levels_a_memory_is_made_of_examples(kind):
    model = trained(kind, epochs=3)
    for call in (model.at, model.set_beta):
        with pytest.raises(ValueError, match="must be one of the levels 0.1, 0.147"):
            call(0.3)
    single = model.at(0.3, X)
    (channel,) = find_layers(single, Channel)
    assert channel.initial_beta == 0.3
    expected = single.get_layer("encoder")(X)
    codes = single.layers[2].encode(expected)
    if kind == "quantized":
        counts = np.bincount(array(channel.indices(codes))[:, 0], minlength=8)
        np.testing.assert_allclose(array(channel.frequencies)[0], counts / 200)
    else:
        assert float(array(channel.bank_rows)) == 64.0
        bank = array(channel.bank)[:, :2]
        np.testing.assert_allclose(bank, array(codes[0])[:64], atol=1e-5)


def test_a_gaussian_serves_every_beta_of_the_range():
    model = trained("gaussian", epochs=1)
    model.at(0.123)
    for beta in (0.09, 11.0):
        with pytest.raises(ValueError, match="beta must be"):
            model.at(beta)


def test_renewed_memories_are_those_of_the_present_weights():
    model = of_one("echo")
    (channel,) = find_layers(model, EchoSample)
    kernel = model.layers[2].heads[0].kernel
    kernel.assign(-ops.convert_to_tensor(kernel))
    renew_memories(model, X)
    f, log_s = model.layers[2].encode(model.get_layer("encoder")(X[:64]))
    np.testing.assert_allclose(array(channel.bank)[:, :2], array(f), atol=1e-5)
    for bad in (of_one("gaussian"), trained("echo", epochs=1)):
        with pytest.raises(ValueError, match="a channel with a memory"):
            renew_memories(bad, X)


def test_renewed_memories_know_masks():
    """A masked position has f = 0, and s at its bound."""
    inputs = keras.Input((4, 3))
    channel = EchoSample(d_max=4, bank_size=8)
    shift = layers.Dense(3, kernel_initializer="identity", bias_initializer="ones")
    f = shift(layers.Masking()(inputs))
    model = keras.Model(inputs, channel([f, f]))
    x = np.ones((6, 4, 3), "float32")
    x[:, 2:] = 0
    renew_memories(model, x)
    rows = array(channel.bank)[:6].reshape(6, 2, 4, 3)
    log_s = math.log(channel.r)
    np.testing.assert_array_equal(rows[:, 0], x)  # f is clipped at 1
    np.testing.assert_allclose(rows[:, 1, 2:], log_s, rtol=1e-6)


def test_files_at_a_rate_chosen_at_run_time(tmp_path):
    pytest.importorskip("constriction")
    model = trained("quantized", epochs=60)
    with pytest.raises(ValueError, match="model must have one beta: see MultiRateM"):
        codec.split(model)
    low, high = model.betas.low, model.betas.high
    sizes = {}
    for beta in (low, high):
        path = tmp_path / f"{beta:g}.ekvq"
        found = codec.compress(model, X, path, beta=beta)
        sizes[beta] = found["payload_bytes"]
        # The length under the frequencies of that beta, within two words.
        assert found["payload_bytes"] == pytest.approx(
            found["rate_bits"] * len(X) / 8, abs=8
        )
        assert found["file_bytes"] == found["payload_bytes"] + 42
        # The file says which beta it is of.
        np.testing.assert_allclose(
            codec.decompress(model, path),
            model.at(beta).predict(X, verbose=0),
            atol=1e-5,
        )
        data = codec.compress_bytes(model.at(beta), X)
        assert len(data) == found["file_bytes"] - 8
    assert sizes[low] > sizes[high]
    with pytest.raises(ValueError, match="beta must be given"):
        codec.compress(model, X, path)
    with pytest.raises(ValueError, match="beta must be None"):
        codec.compress(model.at(low), X, path, beta=low)
    with pytest.raises(ValueError, match="must be of this model"):
        codec.decompress(model.at(low), path)
    # A file that states no beta is of no multi-rate model.
    with pytest.raises(ValueError, match="The file must state a beta"):
        codec.decompress_bytes(model, data)
    # Damage is told before beta is used, the first byte of which is the 35th.
    whole = path.read_bytes()
    changed = whole[:41] + bytes([whole[41] ^ 0x55]) + whole[42:]
    damaged = {whole[:20]: "is cut short", whole[:-4]: "CRC-32", changed: "CRC-32"}
    damaged[b"other" + whole] = "must begin with b'EKVQ'"
    for data, message in damaged.items():
        with pytest.raises(ValueError, match=message):
            codec.decompress_bytes(model, data)


def test_errors():
    one = of_one()
    with pytest.raises(ValueError, match="must be functional"):
        multi_rate(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(ValueError, match="must have a channel"):
        multi_rate(networks.dense_encoder((8,)))
    with pytest.raises(ValueError, match="numbers for the beta"):
        multi_rate(of_one(beta=TargetRate(1.0)))
    with pytest.raises(ValueError, match="numbers for the beta"):
        multi_rate(multi_rate(one))
    with pytest.raises(ValueError, match="no BatchNormalization"):
        h = layers.BatchNormalization()(one.inputs[0])
        multi_rate(keras.Model(one.inputs[0], one(h)))
    with pytest.raises(ValueError, match="must have one BetaInput"):
        MultiRateModel(one.input, one.output)
