"""Each objective's loss is its equation, and its layers are what the paper names."""

import inspect
import math

import keras
import numpy as np
import pytest
from scipy import stats
from tools import array, small_networks

from echo_keras import codec, losses, metrics, networks, objectives
from echo_keras.layers import (
    DeterministicBottleneck,
    EchoBottleneck,
    EchoSample,
    GANPenalty,
    GaussianBottleneck,
    GaussianMixture,
    GaussianSample,
    IAFBlock,
    Logistic,
    MarginalKLPenalty,
    MMDPenalty,
    PriorSamples,
    ShuffledCodes,
    StandardNormal,
    VectorQuantizer,
    max_scale,
)


def data(n=20, seed=0):
    return np.random.RandomState(seed).random_sample((n, 8)).astype("float32")


def heads(model, x):
    """What each head of the bottleneck says of inputs, in float64."""
    features = array(model.get_layer("encoder")(x)).astype("float64")
    bottleneck = model.get_layer("bottleneck")
    return [features @ array(h.kernel) + array(h.bias) for h in bottleneck.heads]


def loss_of(model, x):
    model.compile("sgd", loss=losses.SquaredError())
    return model.evaluate(x, x, batch_size=len(x), verbose=0, return_dict=True)


def kl(mean, log_var):
    each = np.square(mean) + np.exp(log_var) - log_var - 1
    return 0.5 * each.sum(axis=1).mean()


@pytest.mark.core
@pytest.mark.parametrize("beta", [1.0, 0.2])
def test_vae(beta):
    model = objectives.vae(*small_networks(), 2, beta=beta)
    x = data()
    log = loss_of(model, x)
    rate = kl(*heads(model, x))
    assert log["rate"] == pytest.approx(rate, rel=1e-4)
    assert log["loss"] == pytest.approx(log["distortion"] + beta * rate, rel=1e-5)


@pytest.mark.core
def test_vae_with_a_flow_and_a_context_of_its_own():
    flow = IAFBlock(steps=1, hidden=(4,))
    model = objectives.vae(
        *small_networks(), 2, flow=flow, context=True, context_units=3
    )
    log = loss_of(model, data())
    assert log["loss"] == pytest.approx(log["distortion"] + log["rate"], rel=1e-5)
    assert flow.context_d == 3


@pytest.mark.core
def test_info_vae():
    penalty = MMDPenalty(50.0, name="mmd")
    model = objectives.info_vae(*small_networks(), 2, penalty, beta=0.5)
    x = data()
    log = loss_of(model, x)
    added = 0.5 * kl(*heads(model, x)) + 50.0 * log["mmd"]
    assert log["loss"] == pytest.approx(log["distortion"] + added, rel=1e-5)
    assert model.get_layer("mmd").kernel == "rbf"


@pytest.mark.core
def test_vcae_without_noise_is_its_equation():
    model = objectives.vcae(*small_networks(), 2, weight=3.0, variance=1.5)
    x = data()
    log = loss_of(model, x)
    (z,) = heads(model, x)
    output = array(model.get_layer("decoder")(z.astype("float32")))
    distortion = np.square(output - x).sum(axis=1).mean()
    penalty = abs(z.var(axis=0).sum() - 1.5)
    assert log["loss"] == pytest.approx(distortion + 3.0 * penalty, rel=1e-4)
    assert log["variance"] == pytest.approx(penalty, rel=1e-4)
    assert "rate" not in log and "neg_elbo" not in log


@pytest.mark.core
def test_wae_without_noise_is_its_equation():
    model = objectives.wae(*small_networks(), 2, weight=7.0)
    penalty = model.get_layer("mmd")
    y = np.random.RandomState(1).normal(size=(20, 2)).astype("float32")
    penalty.prior.sample = lambda n: keras.ops.convert_to_tensor(y)
    x = data()
    log = loss_of(model, x)
    (z,) = heads(model, x)

    def mean_kernel(a, b, same):
        squared = np.square(a[:, None] - b).sum(axis=2)
        k = 4 / (4 + squared)  # C = 2 d
        return k[~np.eye(len(a), dtype=bool)].mean() if same else k.mean()

    mmd = mean_kernel(z, z, True) + mean_kernel(y, y, True)
    mmd -= 2 * mean_kernel(z, y, False)
    assert log["mmd"] == pytest.approx(mmd, rel=1e-3, abs=1e-5)
    assert log["loss"] == pytest.approx(log["distortion"] + 7.0 * mmd, rel=1e-4)


@pytest.mark.core
@pytest.mark.parametrize("objective", [objectives.vcae, objectives.wae])
def test_fixed_noise_has_a_capacity_and_no_weight_on_the_rate(objective):
    model = objective(*small_networks(), 4, weight=1.0, noise_variance=0.25)
    log = loss_of(model, data())
    penalty = log.get("mmd", log.get("variance"))
    assert log["loss"] == pytest.approx(log["distortion"] + penalty, rel=1e-5)
    assert model.get_layer("bottleneck").channel.capacity_bits() == pytest.approx(4.0)


@pytest.mark.core
def test_vim_is_wae_with_noise_on_the_input():
    model = objectives.vim(*small_networks(), 2, weight=5.0)
    log = loss_of(model, data())
    expected = log["distortion"] + 5.0 * log["mmd"]
    assert log["loss"] == pytest.approx(expected, rel=1e-5)
    penalty = model.get_layer("mmd")
    assert (penalty.kernel, penalty.estimator) == ("imq", "unbiased")
    assert type(penalty.prior) is StandardNormal
    assert type(model.get_layer("bottleneck")) is DeterministicBottleneck
    # The noise is the encoder's; what the decoder is compared with is the image.
    x = data(4)
    noisy, plain = (array(model(x, training=t)) for t in (True, False))
    assert 0 < np.abs(noisy - plain).max() < 0.1


@pytest.mark.core
def test_vim_as_the_published_code_of_wae_has_it():
    given = {"weight": 10.0, "variant": "published_code"}
    model = objectives.vim(*small_networks(), 2, **given)
    penalty = model.get_layer("mmd")
    # Ten beside an error of weight .05 is 200 beside one of weight 1.
    assert penalty.initial_weight == pytest.approx(200.0)
    assert penalty.scales == [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0] and penalty.squared
    assert model.get_layer("input_noise").bound == 0.02
    paper = objectives.vim(*small_networks(), 2, kernel="rbf", squared=False)
    assert paper.get_layer("input_noise").bound == 0.01
    penalty = paper.get_layer("mmd")
    assert penalty.kernel == "rbf" and not penalty.squared and penalty.scales == [1.0]
    with pytest.raises(ValueError, match="variant must be one of paper, published_c"):
        objectives.vim(*small_networks(), 2, variant="wae")


@pytest.mark.core
def test_vims_logistic_prior_has_variance_one():
    model = objectives.vim(*small_networks(), 3, prior="logistic")
    prior = model.get_layer("mmd").prior
    assert type(prior) is Logistic
    assert prior.scale**2 * math.pi**2 / 3 == pytest.approx(1.0)


def at_one_place():
    """A prior whose draws are all at one place."""
    place = np.array([[3.0, -4.0]])
    return GaussianMixture(place, scale=1e-6, seed=0), place


@pytest.mark.core
@pytest.mark.parametrize("objective", [objectives.wae, objectives.vim])
def test_mmd_is_from_the_prior_that_is_given(objective):
    prior, place = at_one_place()
    model = objective(*small_networks(), 2, prior=prior)
    log = loss_of(model, data())
    (z,) = heads(model, data())
    k = 4 / (4 + np.square(z[:, None] - z).sum(axis=2))
    expected = k[~np.eye(len(z), dtype=bool)].mean() + 1
    expected -= 2 * np.mean(4 / (4 + np.square(z - place).sum(axis=1)))
    assert log["mmd"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.core
def test_aae_tells_codes_from_the_prior_that_is_given():
    prior, place = at_one_place()
    discriminator = linear_discriminator()
    model = objectives.aae(*small_networks(), 2, 3.0, discriminator, prior)
    log = loss_of(model, data())
    (z,) = heads(model, data())
    expected = cross_entropy(*(log_ratio(discriminator, v) for v in (z, place)))
    assert log["marginal_kl_discriminator_loss"] == pytest.approx(expected, rel=1e-4)


def test_an_implicit_encoder_spreads_one_image_by_a_law_without_a_rate():
    encoder = networks.dense_encoder((8,), (2,), noise=1)
    model = objectives.aae(
        encoder,
        networks.dense_decoder(1, (8,), (4,)),
        1,
        discriminator=linear_discriminator(),
    )
    # z = relu(9 e) - relu(-9 e) = 9 e
    encoder.set_weights([np.r_[np.zeros((8, 2)), [[9.0, -9.0]]], np.zeros(2)])
    head = model.get_layer("bottleneck").heads[0]
    head.set_weights([np.array([[1.0], [-1.0]]), np.zeros(1)])
    x = np.ones((500, 8), "float32")
    z = metrics.encode(model, x)[:, 0]
    assert stats.kstest(z / 9, stats.norm.cdf).pvalue > 1e-3
    assert "rate" not in loss_of(model, x)
    before = encoder.get_weights()[0]
    model.train_on_batch(x, x)
    assert np.all(encoder.get_weights()[0][8] != before[8])  # the noise's weights


# The terms B and D, whose discriminators are linear here and so known


def linear_discriminator():
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])


def log_ratio(discriminator, x):
    kernel, bias = (array(w) for w in discriminator.get_weights())
    return (x.reshape(len(x), -1) @ kernel + bias)[:, 0]


def softplus(x):
    return np.logaddexp(0, x)


def cross_entropy(of_one, of_other):
    return 0.5 * (softplus(-of_one).mean() + softplus(of_other).mean())


def without_noise(model):
    """Variances of e^-30 instead of learned ones: codes are means."""
    kernel, bias = model.get_layer("bottleneck").heads[1].get_weights()
    model.get_layer("bottleneck").heads[1].set_weights([0 * kernel, 0 * bias - 30])


def fixed_draws(prior, n=20, seed=5):
    """Makes a prior's draws the same at every call; returns them."""
    y = np.random.RandomState(seed).normal(size=(n, 2)).astype("float32")
    prior.sample = lambda n: keras.ops.convert_to_tensor(y)
    return y


def decoded(model, z):
    return array(model.get_layer("decoder")(z.astype("float32")))


def squared(x, y):
    return np.square(x - y).sum(axis=1).mean()


@pytest.mark.core
def test_aae_is_equation_32():
    model = objectives.aae(*small_networks(), 2, 3.0, linear_discriminator())
    term = model.get_layer("marginal_kl")
    y, x = fixed_draws(term.prior), data()
    log = loss_of(model, x)
    (z,) = heads(model, x)
    of_codes, of_prior = (log_ratio(term.discriminator, v) for v in (z, y))
    expected = squared(decoded(model, z), x) + 3.0 * of_codes.mean()
    expected += cross_entropy(of_codes, of_prior)
    assert log["loss"] == pytest.approx(expected, rel=1e-4)
    assert log["marginal_kl"] == pytest.approx(of_codes.mean(), rel=1e-3, abs=1e-5)


@pytest.mark.core
def test_aae_with_a_stochastic_encoder_has_a_rate_without_a_weight():
    model = objectives.aae(
        *small_networks(), 2, 3.0, linear_discriminator(), stochastic=True
    )
    log = loss_of(model, data())
    expected = log["distortion"] + 3.0 * log["marginal_kl"]
    expected += log["marginal_kl_discriminator_loss"]
    assert log["rate"] > 0
    assert log["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.core
def test_info_vae_with_the_information_is_equation_33():
    term = MarginalKLPenalty(-1.0, linear_discriminator(), name="marginal_kl")
    model = objectives.info_vae(*small_networks(), 2, term)
    without_noise(model)
    y, x = fixed_draws(term.prior), data()
    log = loss_of(model, x)
    mean, log_var = heads(model, x)
    of_codes, of_prior = (log_ratio(term.discriminator, v) for v in (mean, y))
    expected = kl(mean, log_var) - of_codes.mean() + squared(decoded(model, mean), x)
    expected += cross_entropy(of_codes, of_prior)
    assert log["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.core
def test_gan_is_term_d_alone():
    decoder = small_networks()[1]
    model = objectives.gan(decoder, 2, (8,), discriminator=linear_discriminator())
    y, x = fixed_draws(model.get_layer("prior").prior), data()
    model.compile("sgd", loss=losses.ZeroLoss())
    log = model.evaluate(x, x, batch_size=len(x), verbose=0, return_dict=True)
    discriminator = model.get_layer("gan_penalty").discriminator
    of_data = log_ratio(discriminator, x)
    drawn = array(model.layers[2](y))
    of_drawn = log_ratio(discriminator, drawn)
    expected = softplus(-of_drawn).mean() + cross_entropy(of_data, of_drawn)
    assert log["loss"] == pytest.approx(expected, rel=1e-4)
    assert log["distortion"] == 0.0
    assert log["gan_penalty"] == pytest.approx(of_data.mean(), rel=1e-3, abs=1e-5)


@pytest.mark.core
@pytest.mark.parametrize(
    ("objective", "images"),
    [("vae_gan", "reconstructions"), ("vae_gan", "samples"), ("bib_ae", "both")],
)
def test_vae_gan_and_bib_ae_are_their_equations(objective, images):
    arguments = {
        "discriminator": linear_discriminator(),
        "weight": 2.0,
        "images": images,
    }
    if objective == "bib_ae":
        arguments["code_discriminator"] = linear_discriminator()
    model = getattr(objectives, objective)(*small_networks(), 2, beta=0.5, **arguments)
    without_noise(model)
    term, x = model.get_layer("gan_penalty"), data()
    z = fixed_draws(StandardNormal(), seed=6)
    for layer in model.layers:
        if isinstance(layer, PriorSamples):
            z = fixed_draws(layer.prior, seed=6)
    if objective == "bib_ae":
        y = fixed_draws(model.get_layer("marginal_kl").prior)
    log = loss_of(model, x)
    mean, log_var = heads(model, x)
    reconstructions, samples = decoded(model, mean), decoded(model, z)
    drawn = {
        "reconstructions": reconstructions,
        "samples": samples,
        "both": np.concatenate([reconstructions, samples]),
    }[images]
    of_data, of_drawn = (log_ratio(term.discriminator, v) for v in (x, drawn))
    expected = 0.5 * kl(mean, log_var) + squared(reconstructions, x)
    expected += 2.0 * softplus(-of_drawn).mean() + cross_entropy(of_data, of_drawn)
    if objective == "bib_ae":
        discriminator = model.get_layer("marginal_kl").discriminator
        of_codes = log_ratio(discriminator, mean)
        expected -= 0.5 * of_codes.mean()
        expected += cross_entropy(of_codes, log_ratio(discriminator, y))
    assert log["loss"] == pytest.approx(expected, rel=1e-4)
    assert log["distortion"] == pytest.approx(squared(reconstructions, x), rel=1e-4)


# Every argument that is handed on to a layer; `dither` alone has another default.
HANDED_ON = {
    "vae": (GaussianBottleneck, GaussianSample),
    "echo": (EchoBottleneck, EchoSample),
    "info_vae": (GaussianBottleneck, GaussianSample),
    "shannon_ae": (VectorQuantizer,),
    "generative_compression": (VectorQuantizer, GANPenalty),
    "gan": (GANPenalty,),
    "vae_gan": (GANPenalty,),
    "bib_ae": (GANPenalty,),
}
OWN = ("encoder", "decoder", "latent_dim", "beta", "dither")


@pytest.mark.parametrize("name", HANDED_ON)
def test_defaults_are_those_of_the_layers(name):
    def defaults(function):
        parameters = inspect.signature(function).parameters.values()
        return {p.name: p.default for p in parameters}

    of_layers = {}
    for layer in HANDED_ON[name]:
        of_layers = {**defaults(layer), **of_layers}
    ours = defaults(getattr(objectives, name))
    shared = [x for x in ours if x in of_layers and x not in OWN]
    assert shared
    for argument in shared:
        assert ours[argument] == of_layers[argument], argument


def test_arguments_reach_the_layers():
    networks = small_networks()
    given = {"d_max": 7, "sampling": "with_replacement", "parametrization": "paper"}
    given |= {"bank_size": 9, "scale": "triangular", "seed": 3}
    config = objectives.echo(*networks, 2, **given).get_layer("bottleneck").get_config()
    assert {name: config[name] for name in given} == given
    given = {"groups": 2, "update": "gradient", "commitment": 0.5, "temperature": 2.0}
    given |= {"dead_code_threshold": None, "beta": 0.3}
    of_images = {"weight": 2.0, "form": "reverse_kl", "logits": True}
    of_images["discriminator"] = linear_discriminator()
    for model in (
        objectives.shannon_ae(*networks, 2, 5, **given),
        objectives.generative_compression(*networks, 2, 5, **given, **of_images),
    ):
        config = model.get_layer("bottleneck").get_config()
        assert {name: config[name] for name in given} == given
    penalty = model.get_layer("gan_penalty")
    assert penalty.get_config() == {
        **penalty.get_config(),
        "weight": 2.0,
        "form": "reverse_kl",
        "logits": True,
    }


def test_unknown_images_raise():
    with pytest.raises(
        ValueError, match=r"^images must be one of .* Received: images='all'$"
    ):
        objectives.vae_gan(*small_networks(), 2, images="all")


# Quantised codes


@pytest.mark.core
@pytest.mark.parametrize("dither", [None, 0.0])
def test_compression_is_equations_35_and_36(dither):
    levels = np.random.RandomState(3).normal(size=(2, 5, 1)).astype("float32")
    quantizer = {
        "groups": 2,
        "initializer": keras.initializers.Constant(levels),
        "commitment": 0.0,
    }
    if dither is None:
        model = objectives.shannon_ae(*small_networks(), 2, 5, beta=0.5, **quantizer)
    else:
        model = objectives.generative_compression(
            *small_networks(),
            2,
            5,
            beta=0.5,
            dither=dither,
            **quantizer,
            weight=2.0,
            discriminator=linear_discriminator(),
        )
    x = data()
    log = loss_of(model, x)
    (code,) = heads(model, x)
    nearest = np.abs(code[:, :, None] - levels[:, :, 0]).argmin(axis=2)
    z = np.stack([levels[g, nearest[:, g], 0] for g in range(2)], axis=1)
    output = decoded(model, z)
    # Frequencies are even before training: two groups of log 5 nats.
    expected = 0.5 * 2 * np.log(5) + squared(output, x)
    if dither is not None:
        discriminator = model.get_layer("gan_penalty").discriminator
        of_data, of_drawn = (log_ratio(discriminator, v) for v in (x, output))
        expected += 2.0 * softplus(-of_drawn).mean() + cross_entropy(of_data, of_drawn)
    assert log["rate"] == pytest.approx(2 * np.log(5), rel=1e-4)
    assert log["loss"] == pytest.approx(expected, rel=1e-4)
    bottleneck = model.get_layer("bottleneck")
    features = model.get_layer("encoder")(x)
    np.testing.assert_allclose(array(bottleneck.code(features)), z, atol=1e-6)
    np.testing.assert_array_equal(array(bottleneck.indices(features)), nearest)


@pytest.mark.core
def test_generative_compression_decodes_draws_from_its_codebook():
    levels = np.random.RandomState(3).normal(size=(2, 5, 1)).astype("float32")
    model = objectives.generative_compression(
        *small_networks(),
        2,
        5,
        groups=2,
        dither=0.0,
        initializer=keras.initializers.Constant(levels),
        images="samples",
        discriminator=linear_discriminator(),
    )
    (shuffle,) = (x for x in model.layers if isinstance(x, ShuffledCodes))
    assert shuffle.groups == 2 and not any(
        isinstance(layer, PriorSamples) for layer in model.layers
    )
    drawn = keras.Model(model.inputs, shuffle.output).predict(data(), verbose=0)
    for dimension in range(2):
        distance = np.abs(drawn[:, dimension, None] - levels[dimension, :, 0])
        np.testing.assert_allclose(distance.min(axis=1), 0.0, atol=1e-6)
    # It is no other model for the codec, nor for what reads the bottleneck.
    assert codec.encode(model, data()).shape == (20, 2)


# Exact information, and labels


@pytest.mark.core
def test_echo_is_its_equation():
    model = objectives.echo(*small_networks(), 2, beta=0.5, d_max=7)
    x = data()
    log = loss_of(model, x)
    # The head gives log s / r, with r the greatest s.
    _, log_ratio_to_r = heads(model, x)
    log_s = math.log(max_scale(7, 10.0)) + np.minimum(log_ratio_to_r, 0.0)
    rate = -log_s.sum(axis=1).mean()
    assert log["rate"] == pytest.approx(rate, rel=1e-3)
    assert log["loss"] == pytest.approx(log["distortion"] + 0.5 * rate, rel=1e-3)


@pytest.mark.core
def test_supervised_bottleneck_is_equation_9():
    encoder, _ = small_networks()
    bottleneck = GaussianBottleneck(2, beta=0.1, name="bottleneck")
    model = objectives.information_bottleneck(encoder, bottleneck, 3)
    without_noise(model)
    x, labels = data(), np.arange(20) % 3
    model.compile("sgd", loss=losses.CategoricalNLL())
    log = model.evaluate(x, labels, batch_size=20, verbose=0, return_dict=True)
    mean, log_var = heads(model, x)
    logits = decoded(model, mean)
    entropy = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(20), labels]
    expected = entropy.mean() + 0.1 * kl(mean, log_var)
    assert log["loss"] == pytest.approx(expected, rel=1e-4)
    assert log["distortion"] == pytest.approx(entropy.mean(), rel=1e-4)


def test_unknown_prior_raises():
    with pytest.raises(
        ValueError, match="^prior must be one of normal, logistic. Received: prior="
    ):
        objectives.vim(*small_networks(), 2, prior="cauchy")


@pytest.mark.core
def test_a_model_without_noise_trains_saves_and_is_evaluated(tmp_path):
    model = objectives.vim(*small_networks(), 2, prior="logistic")
    model.compile(keras.optimizers.Adam(0.01), loss=losses.SquaredError())
    x = data(40)
    before = metrics.evaluate(model, x)["distortion"]
    model.fit(x, x, batch_size=20, epochs=10, verbose=0)
    after = metrics.evaluate(model, x)
    assert after["distortion"] < before
    assert set(after) == {"distortion", "distortion_se"}
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(
        metrics.encode(again, x), metrics.encode(model, x), atol=1e-6
    )
    assert type(again.get_layer("mmd")) is MMDPenalty
