"""Codes as they are read from models, decoded and drawn."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops
from tools import array

from echo_keras import losses
from echo_keras.autoencoders import autoencoder as chained
from echo_keras.layers import (
    AppendNoise,
    DeterministicBottleneck,
    EchoBottleneck,
    GANPenalty,
    GaussianBottleneck,
    GaussianSample,
    IAFBlock,
    PriorSamples,
    PseudoInputs,
    VampPrior,
    VariancePenalty,
    collect_draws,
)
from echo_keras.metrics import (
    FactorGrid,
    decode,
    encode,
    factor_vae_score,
    map_batches,
    match_gaussian,
    mig,
    noise_sensitivity,
    rate_by_dimension,
    representation,
    squared_error,
)
from echo_keras.metrics import images as decoded
from echo_keras.model import RateDistortionModel

pytestmark = pytest.mark.core

# Images are the factors; the first head copies them.


def flat(images):
    return images[:, 0, 0]


def autoencoder(bottleneck):
    inputs = keras.Input((1, 1, 2))
    features = layers.Flatten(name="encoder")(inputs)
    return RateDistortionModel(inputs, layers.Dense(3)(bottleneck(features)))


def set_heads(bottleneck, first, second):
    for head, (kernel, bias) in zip(bottleneck.heads, (first, second), strict=True):
        head.kernel.assign(kernel)
        head.bias.assign(bias)


def echo_model(parametrization="scaled", d_max=15, **arguments):
    """s at half of its bound; the bank is full of random images."""
    bottleneck = EchoBottleneck(
        2, parametrization, d_max=d_max, bank_size=64, name="bottleneck", **arguments
    )
    model = autoencoder(bottleneck)
    level = 0.0 if parametrization == "paper" else math.log(0.5)
    set_heads(
        bottleneck, (np.eye(2) * 0.3, [-0.5, -0.5]), (np.zeros((2, 2)), [level] * 2)
    )
    images = FactorGrid(4, 4).images(np.random.RandomState(0).randint(16, size=64))
    model(images, training=True)
    return model, bottleneck


def images(n=32, seed=1):
    return FactorGrid(4, 4).images(np.random.RandomState(seed).randint(16, size=n))


def test_the_code_of_a_gaussian_is_its_mean():
    bottleneck = GaussianBottleneck(2, name="bottleneck")
    model = autoencoder(bottleneck)
    represent, x = representation(model), images()
    expected = array(bottleneck.heads[0](flat(x)))
    for _ in range(2):
        np.testing.assert_allclose(represent(x), expected, rtol=1e-5, atol=1e-6)
    set_heads(bottleneck, (np.eye(2), [0, 0]), (np.zeros((2, 2)), [-2, -2]))
    np.testing.assert_allclose(represent(x), flat(x), atol=1e-6)
    apart = representation(model, noisy=True)(images(4_000)) - flat(images(4_000))
    # Relative standard deviation of the standard deviation: 1 / sqrt(8,000).
    np.testing.assert_allclose(apart.std(axis=0), math.exp(-1), rtol=0.05)


@pytest.mark.parametrize("context", [False, True])
def test_the_code_of_a_flow_is_that_of_the_mean(context):
    flow = IAFBlock(steps=1, hidden=(8,))
    bottleneck = GaussianBottleneck(2, flow=flow, context=context, name="bottleneck")
    model, x = autoencoder(bottleneck), images()
    random = np.random.RandomState(0)  # a new flow is the identity
    flow.set_weights([random.normal(size=w.shape) for w in flow.get_weights()])
    mean = bottleneck.heads[0](flat(x))
    context = ops.convert_to_tensor(flat(x)) if context else None
    expected = array(bottleneck.channel.flow.transform(mean, context=context)[0])
    np.testing.assert_allclose(representation(model)(x), expected, rtol=1e-5, atol=1e-5)


def test_pseudo_inputs_do_no_harm():
    bottleneck = GaussianBottleneck(2, marginal=VampPrior(), name="bottleneck")
    inputs = keras.Input((1, 1, 2))
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(4)], name="encoder")
    pseudo = PseudoInputs(3)(inputs)
    z = bottleneck([encoder(inputs), encoder(pseudo)])
    model, x = RateDistortionModel(inputs, layers.Dense(3)(z)), images()
    expected = array(bottleneck.heads[0](encoder(x)))
    np.testing.assert_allclose(representation(model)(x), expected, rtol=1e-5, atol=1e-6)
    assert representation(model, noisy=True)(x).shape == (32, 2)


def test_the_code_of_echo_is_its_mean_and_its_signal_is_its_first_head():
    x = images()
    model, bottleneck = echo_model("paper")
    head = array(bottleneck.heads[0](flat(x)))
    found = representation(model, signal=True)(x)
    np.testing.assert_allclose(found, np.tanh(head / 16), rtol=1e-5, atol=1e-6)
    mean = representation(model)(x)
    np.testing.assert_allclose(mean, array(bottleneck.code(flat(x))), rtol=1e-5)
    represent = representation(model, noisy=True)
    draws = np.array([represent(x) for _ in range(400)])
    error = draws.std(axis=0) / np.sqrt(400)
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * error + 1e-3)

    model, bottleneck = echo_model("standardized")
    found = representation(model, signal=True)(x)
    norm = bottleneck.standardize
    expected = (np.tanh(head) - array(norm.mean)) / np.sqrt(array(norm.variance) + 1e-3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)

    model, bottleneck = echo_model("paper", multiplicative=True, max_magnitude=0.01)
    expected = np.exp(np.clip(np.tanh(head / 16), -0.01, 0.01))
    found = representation(model, signal=True)(x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_only_echo_has_a_signal_and_codes_are_one_of_three():
    model = autoencoder(GaussianBottleneck(2, name="bottleneck"))
    with pytest.raises(ValueError, match="signal must be False .*GaussianBottleneck"):
        representation(model, signal=True)
    model, _ = echo_model()
    with pytest.raises(ValueError, match="noisy and signal must not both be True"):
        representation(model, noisy=True, signal=True)


def test_noise_from_the_batch_does_not_vary_where_a_factor_is_fixed():
    # 64 images of which factor 0 is the same, as in a vote. From the batch, each
    # echo in dimension 0 is the same number; from the bank it is not.
    model, bottleneck = echo_model("paper")
    grid = FactorGrid(4, 4)
    x = grid.images(grid.sample_given(0, 2, 64, np.random.RandomState(0)))
    noiseless = representation(model, signal=True)(x)
    encoder = keras.Model(model.input, bottleneck.output)
    with collect_draws("batch"):
        batch = array(encoder(x, training=False)) - noiseless
    bank = representation(model, noisy=True)(x) - noiseless
    assert batch.std(axis=0)[0] < 1e-6 < 1e-3 < batch.std(axis=0)[1]
    assert bank.std(axis=0).min() > 1e-3


def test_noisy_codes_follow_their_seed_and_leave_the_models():
    model, bottleneck = echo_model()
    state, x = array(bottleneck.channel.seed_generator.state).copy(), images()
    first, second = (representation(model, noisy=True, seed=7) for _ in range(2))
    one, two = first(x), first(x)
    assert isinstance(one, np.ndarray) and one.shape == (32, 2)
    np.testing.assert_array_equal(second(x), one)
    np.testing.assert_array_equal(second(x), two)
    assert np.abs(one - two).max() > 1e-3
    other = representation(model, noisy=True, seed=8)(x)
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(array(bottleneck.channel.seed_generator.state), state)


def test_a_model_is_scored():
    model, _ = echo_model(d_max=63)
    grid, sizes = FactorGrid(4, 4), {"votes": 100, "test_votes": 50, "vote_size": 16}
    assert factor_vae_score(representation(model), grid, **sizes) == 1.0
    assert mig(representation(model), grid, points=1_000) > 0.9
    noisy = mig(representation(model, noisy=True), grid, points=1_000)
    assert 0.2 < noisy < 0.8


def test_a_model_without_one_bottleneck_raises():
    inputs = keras.Input((6,))
    for z, found in (
        (layers.Dense(2)(inputs), 0),
        (GaussianBottleneck(2)(EchoBottleneck(2)(inputs)), 2),
    ):
        with pytest.raises(ValueError, match=f"its layers. Received: {found} bott"):
            representation(keras.Model(inputs, z))


def test_codes_are_those_of_the_decoder_with_and_without_noise():
    model = autoencoder(GaussianBottleneck(2, noise_variance=0.25, name="bottleneck"))
    x = images(3000)
    bottleneck = model.get_layer("bottleneck")
    mean = array(bottleneck.code(flat(x)))
    without = encode(model, x, noisy=False, batch_size=7)
    np.testing.assert_allclose(without, mean, atol=1e-5)
    noise = encode(model, x, seed=1) - mean
    # 6,000 draws: the standard deviation within five of its standard errors.
    assert abs(noise.std() - 0.5) < 5 * 0.5 / math.sqrt(12_000)
    again = encode(model, x, seed=1) - mean
    np.testing.assert_array_equal(again, noise)


class Rows:
    """A table as pandas has it: [] with an array of numbers picks columns."""

    iloc = None

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)

    def to_numpy(self):
        return self.values

    def __getitem__(self, columns):
        raise KeyError(columns)


def test_rows_of_a_table_are_examples():
    x = np.random.RandomState(0).normal(size=(11, 3)).astype("float32")
    order = np.random.RandomState(1).permutation(11)
    for given in (None, order):
        found = map_batches(lambda part: 2 * part, Rows(x), 4, given)
        np.testing.assert_array_equal(found, 2 * x)


@pytest.mark.parametrize("kind", ["images", "pairs", "weighted"])
def test_batches_may_have_targets_and_be_of_another_backend(kind):
    """As `fit` and `evaluate` take them."""
    model = autoencoder(GaussianBottleneck(2))
    x = images(8)
    given = {"images": 1, "pairs": 2, "weighted": 3}[kind]

    def generator():
        for part in (x[:5], x[5:]):
            weights = np.ones(len(part), "float32")
            foreign = [Foreign(a) for a in (part, part, weights)[:given]]
            yield tuple(foreign) if given > 1 else foreign[0]

    found = encode(model, generator(), noisy=False)
    np.testing.assert_allclose(found, encode(model, x, noisy=False), rtol=1e-6)
    parts = rate_by_dimension(model, generator())
    np.testing.assert_allclose(parts, rate_by_dimension(model, x), rtol=1e-5)


class Foreign:
    """A tensor of another backend: NumPy can read it, ours does not know it."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)

    def __len__(self):
        return len(self.values)


# Decoding


def identity(bottleneck):
    """An autoencoder whose code is its input, up to the channel's noise."""
    encoder = keras.Sequential([keras.Input((3,)), layers.Identity()], name="encoder")
    inputs = keras.Input((3,))
    decoder = keras.Model(inputs, layers.Identity()(inputs), name="decoder")
    model = chained(encoder, bottleneck, decoder)
    bottleneck.heads[0].set_weights([np.eye(3), np.zeros(3)])
    return model


def test_squared_error_is_that_of_the_noise_and_none_without_it():
    noisy = identity(GaussianBottleneck(3, noise_variance=0.2))
    x = np.random.RandomState(0).random_sample((4000, 3)).astype("float32")
    found = squared_error(noisy, x)
    # Three variances; six standard errors.
    assert abs(found["error"] - 0.6) < 6 * found["error_se"] < 0.06
    assert squared_error(noisy, x, noisy=False)["error"] < 1e-10
    exact = identity(DeterministicBottleneck(3))
    assert squared_error(exact, x)["error"] < 1e-10


def test_squared_error_is_that_of_the_means_of_the_law():
    """Logits of a Bernoulli law are compared as probabilities."""
    model = identity(DeterministicBottleneck(3))
    x = np.random.RandomState(0).random_sample((50, 3)).astype("float32")
    model.compile(loss=losses.Bernoulli())
    expected = np.square(1 / (1 + np.exp(-x)) - x).sum(axis=1).mean()
    assert squared_error(model, x)["error"] == pytest.approx(expected, rel=1e-5)


def behind(build):
    """A compiled model whose code is its input, and behind it what `build` makes of z.

    `build(x, z)` gives the outputs.
    """
    x = keras.Input((3,))
    bottleneck = DeterministicBottleneck(3)
    model = RateDistortionModel(x, build(x, bottleneck(x)))
    bottleneck.heads[0].set_weights([np.eye(3), np.zeros(3)])
    model.compile(loss=losses.SquaredError())
    return model


def test_a_decoder_is_all_that_stands_behind_the_bottleneck():
    """Whatever its layers are called, and however many they are."""
    penalty = VariancePenalty()
    x = np.random.RandomState(0).random_sample((50, 3)).astype("float32")

    def build(_, z):
        z = layers.Rescaling(2.0)(penalty(z))
        decoder = keras.Sequential([keras.Input((3,)), layers.Rescaling(3.0)])
        return layers.Rescaling(1.0, offset=1.0)(decoder(z))

    model = behind(build)
    np.testing.assert_allclose(decoded(model, x), 6 * x + 1, rtol=1e-6)
    expected = np.square(5 * x + 1).sum(axis=1).mean()
    assert squared_error(model, x)["error"] == pytest.approx(expected, rel=1e-5)
    # J = 6 I.
    found = noise_sensitivity(model, x)
    assert found["jacobian"] == pytest.approx(3 * 36, rel=1e-4)


def test_decoding_looks_at_no_penalty():
    penalty = VariancePenalty()
    model = behind(lambda _, z: layers.Rescaling(2.0)(penalty(z)))
    x = np.random.RandomState(0).random_sample((50, 3)).astype("float32")
    model(x, training=True)
    before = float(array(penalty.last_value))
    decoded(model, 5 * x)
    assert float(array(penalty.last_value)) == before


def test_what_is_decoded_need_not_be_what_is_penalized():
    def build(_, z):
        VariancePenalty()(z)
        return layers.Rescaling(2.0)(z)

    x = np.ones((4, 3), "float32")
    np.testing.assert_allclose(decoded(behind(build), x), 2 * x)


def test_a_bare_channel_has_a_decoder_too():
    x = keras.Input((2,))
    z = GaussianSample()([x, layers.Rescaling(0.0)(x)])
    model = keras.Model(x, layers.Rescaling(2.0)(z))
    model.compile(loss=losses.SquaredError())
    np.testing.assert_allclose(decoded(model, np.ones((4, 2), "float32")), 2.0)


def test_a_discriminator_of_images_is_no_part_of_the_decoder():
    discriminator = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    penalty = GANPenalty(1.0, discriminator)
    model = behind(lambda x, z: penalty([x, layers.Rescaling(2.0)(z)]))
    x = np.ones((4, 3), "float32")
    np.testing.assert_allclose(decoded(model, x), 2 * x)


def test_a_gan_has_a_layer_that_decodes():
    decoder = keras.Sequential(
        [keras.Input((2,)), layers.Dense(3, kernel_initializer="ones")], name="decoder"
    )
    x = keras.Input((3,))
    model = keras.Model(x, decoder(PriorSamples(2)(x)))
    model.compile(loss=losses.SquaredError())
    np.testing.assert_allclose(decoded(model, np.ones((4, 2), "float32")), 2.0)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda x, z: layers.Add()([x, z]), "something passes it by"),
        (lambda x, z: [layers.Rescaling(a)(z) for a in (1.0, 2.0)], "2 outputs"),
        (lambda x, z: GaussianBottleneck(3)(z), "Received: a model with 2"),
    ],
)
def test_a_model_without_one_decoder_of_codes_raises(build, said):
    with pytest.raises(ValueError, match=said):
        decoded(behind(build), np.ones((4, 3), "float32"))
    x = keras.Input((3,))
    without = keras.Model(x, layers.Dense(3)(x))
    without.compile(loss=losses.SquaredError())
    with pytest.raises(ValueError, match="Received: a model with 0"):
        decoded(without, np.ones((4, 3), "float32"))


def test_decoding_is_that_of_the_decoder():
    inputs = keras.Input((2,))
    decoder = keras.Model(inputs, layers.Rescaling(2.0)(inputs))
    codes = np.arange(14, dtype="float32").reshape(7, 2)
    np.testing.assert_allclose(decode(decoder, codes, batch_size=3), 2 * codes)


def test_matched_gaussian_has_means_and_variances_and_no_covariance():
    generator = np.random.RandomState(0)
    codes = generator.normal(size=(5000, 1)) * [2.0, 0.5] + [1.0, -3.0]
    drawn = match_gaussian(codes, 5000, seed=1)
    np.testing.assert_allclose(drawn.mean(axis=0), [1.0, -3.0], atol=0.12)
    np.testing.assert_allclose(drawn.std(axis=0), [2.0, 0.5], rtol=0.05)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.06  # of the codes: 1


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("kind", [DeterministicBottleneck, GaussianBottleneck])
def test_noise_of_an_implicit_encoder_follows_the_seed(kind, noisy):
    encoder = keras.Sequential([keras.Input((3,)), AppendNoise(2, seed=0)])
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(3)])
    model, x = chained(encoder, kind(2), decoder), np.ones((5, 3), "float32")
    state = encoder.layers[-1].seed_generator.state
    before = array(state).copy()
    represent = representation(model, noisy, seed=3)
    first, second = represent(x), represent(x)
    np.testing.assert_array_equal(array(state), before)
    assert np.abs(first - second).max() > 1e-3
    again, other = (representation(model, noisy, seed=s)(x) for s in (3, 4))
    np.testing.assert_array_equal(again, first)
    assert np.abs(other - first).max() > 1e-3
