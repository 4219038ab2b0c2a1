"""The BIB-AE paper: builders, tables from committed records, tiny runs, flags."""

import dataclasses
import inspect
from types import SimpleNamespace

import numpy as np
import pytest
from render import script
from scipy import stats
from sklearn.dummy import DummyClassifier

from echo_keras import data, metrics, studies
from echo_keras import objectives as library
from echo_keras.layers import GANPenalty, max_scale
from echo_keras.losses import Bernoulli
from echo_keras.studies import Run, records

NAMES = ("compression", "novelty", "objectives", "supervised")
SCRIPTS = {name: script("bib_ae", name) for name in NAMES}
compression, novelty, objectives, supervised = SCRIPTS.values()
samples = script("bib_ae", "bib_ae_samples")
METHODS = ["vae", "aae", "gan"]
TINY = ["--epochs=1", "--train_limit=60", "--batch_size=20"]
TERMS = {"A": "GaussianBottleneck", "B": "MarginalKLPenalty", "D": "GANPenalty"}
# Beside C: a Gaussian channel, of which AAE and VCAE weigh no rate; B; and D.
OF_OBJECTIVES = {
    **{
        "vae": "A",
        "beta_vae": "A",
        "aae": "B",
        "stochastic_aae": "AB",
        "info_vae": "AB",
    },
    **{"gan": "D", "vae_gan": "AD", "bib_ae": "ABD", "generative_compression": "D"},
    **{"shannon_ae": "", "echo": "", "wae": "", "vim": "", "vcae": "A"},
}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def run(module, out, *arguments):
    """The records that a script leaves, by method."""
    module.main(["script", *TINY, *arguments, f"--out_dir={out}"])
    return {run["config"]["method"]: run for run in records.read(out)}


def kinds(model):
    return {type(layer).__name__ for layer in model.layers}


# Builders


@pytest.mark.parametrize("name", objectives.NAMED)
def test_objectives_have_the_terms_of_their_equation(name, digits):
    model = objectives.build({"method": name, "batch_size": 20}, digits)
    found = {term for term, kind in TERMS.items() if kind in kinds(model)}
    assert found == set(OF_OBJECTIVES[name])
    assert ("A" in found) == (objectives.NAMED[name][2] in ("A", "F"))


def test_every_objective_of_the_library_is_in_the_table():
    others = {"information_bottleneck", "beta_vae", "stochastic_aae"}
    functions = {n for n in library.__all__ if inspect.isfunction(getattr(library, n))}
    assert functions - others == set(objectives.NAMED) - others


@pytest.mark.parametrize(
    ("method", "terms"),
    [("vae", "A"), ("aae", "B"), ("vae-gan", "AD"), ("bib-ae", "ABD"), ("gpnd", "BD")],
)
def test_detectors_differ_in_their_terms(method, terms, digits):
    model = novelty.build({"method": method}, digits)
    assert {t for t, kind in TERMS.items() if kind in kinds(model)} == set(terms)
    for layer in model.layers:
        if isinstance(layer, GANPenalty):
            assert layer.logits and layer.weight == 5.0


def test_classifiers_are_linear_behind_a_channel_of_their_beta(digits):
    for method in supervised.CHANNELS:
        config = {"method": method, "beta": 0.3, "batch_size": 100}
        model = supervised.build(config, digits)
        channel = model.get_layer("bottleneck").channel
        assert channel.initial_beta == 0.3 and getattr(channel, "d_max", 99) == 99
        assert model.output_shape == (None, 10)
        assert len(model.get_layer("decoder").layers) == 1


def test_discriminators_have_an_optimizer_of_their_own(tmp_path, monkeypatch):
    shared = script("bib_ae", "bib_ae_paper")
    found = {}

    def train_one(self, config, out):
        found[config["method"]] = self.optimizer(1e-3)

    monkeypatch.setattr(studies.Study, "train_one", train_one)
    study = shared.BottleneckStudy("x", None, shared.protocol, vary={"method": METHODS})
    for config in study.configs():
        study.train_one(config, tmp_path)
    plain = found.pop("vae")
    assert (float(plain.learning_rate), plain.beta_1) == (pytest.approx(1e-3), 0.9)
    for method, rate in (("aae", 2e-4), ("gan", 5e-4)):
        of_discriminators, of_others = found[method].optimizers
        assert of_discriminators.beta_1 == of_others.beta_1 == 0.5
        assert float(of_discriminators.learning_rate) == pytest.approx(rate)
        assert float(of_others.learning_rate) == pytest.approx(1e-3)


# What is known


def test_only_known_images_train_and_are_tested(digits):
    config = {"dataset": "digits", "known": 7, "train_limit": 5}
    part = novelty.STUDY.load(config)
    np.testing.assert_array_equal(part.x_train, digits.x_train[digits.y_train == 7][:5])
    np.testing.assert_array_equal(part.x_test, digits.x_test[digits.y_test == 7])
    part = novelty.STUDY.load({**config, "known": "all", "train_limit": None})
    assert len(part.x_train) == 1297 and len(part.x_test) == 500
    with pytest.raises(ValueError, match="a class of digits. Received: known=ten"):
        novelty.STUDY.load({**config, "known": "ten"})


def test_images_of_all_other_classes_are_novel(digits, tmp_path, monkeypatch):
    given, named = [], {}

    def roc_areas(_, *images, **others):
        given.extend(images)
        named.update(others)

    monkeypatch.setattr(novelty.metrics, "roc_areas", roc_areas)
    monkeypatch.setattr(novelty.metrics, "manifold_score", lambda *_: None)
    config = {"dataset": "digits", "known": 7, "train_limit": 90, "samples": 3}
    part = novelty.STUDY.load(config)
    novelty.roc_auc(Run(novelty.STUDY, config, None, part, tmp_path, tmp_path))
    novel, known, reference, *sizes = given
    assert list(novel) == ["7"] and sizes == [3, 500]
    np.testing.assert_array_equal(novel["7"], digits.x_test[digits.y_test != 7])
    np.testing.assert_array_equal(known, digits.x_test[digits.y_test == 7])
    sevens = digits.x_train[digits.y_train == 7]
    np.testing.assert_array_equal(reference, sevens[:90])
    np.testing.assert_array_equal(named["held_out"], sevens[90:])
    rolled = np.split(named["pseudo_novel"], 3)
    for x, y in zip(rolled, ((14, 0), (0, 14), (14, 14)), strict=True):
        quarter = sevens[90:, :14, :14]
        np.testing.assert_array_equal(x[:, y[0] :, y[1] :][:, :14, :14], quarter)


@pytest.mark.parametrize(
    ("flags", "known", "others"),
    [
        ([], list(range(10)), {None}),
        (["--known=3,5"], [3, 5], {None}),
        (["--known=all", "--others=omniglot"], ["all"], {"omniglot"}),
    ],
)
def test_what_is_asked_to_be_known(flags, known, others, monkeypatch):
    asked = []
    monkeypatch.setattr(
        novelty.Novelty, "run", lambda self, c, *_, **__: asked.extend(c)
    )
    novelty.main(["script", "--out_dir=nowhere", "--methods=vae", *flags])
    assert [config["known"] for config in asked] == known
    assert {(c.get("others") or [None])[0] for c in asked} == others


def test_other_data_sets_are_as_binary_as_the_known_one(digits, tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (40, 28, 28), dtype="uint8")
    np.savez(tmp_path / "fashion_mnist.npz", x_train=pixels, x_test=pixels[:30])
    config = {"known": "all", "others": ["fashion_mnist"]}
    run = Run(novelty.STUDY, config, None, digits, tmp_path, tmp_path, str(tmp_path))
    (other,) = novelty.others(run)
    assert set(np.unique(other.x_test)) == {0.0, 1.0}
    binary = data.load("fashion_mnist", tmp_path, binarize="static").checksum
    assert novelty.checksums(run) == {"fashion_mnist": binary}


# Tables


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("compression", "of 4 codewords | 0 | 21.96 ± 0.01 | 31.69 | 97.36 ± 0.32 |"),
        ("compression", "| 31.71 | 3998 | 0.01 | yes |"),
        ("compression", "| 34.00 ± 0.03 | 49.04 | 83.18 ± 0.28 | - | - |"),
        ("compression", "codewords, length weight 0.03 | 0 | 34.06 ± 0.01 | 49.14 |"),
        ("compression", "each in one gzip file and 1405 bits each in one PNG file."),
        ("compression", "rates on test images within 0.4 % of it, files within 0.07 %"),
        ("novelty", "| VAE/GAN | D | 99.6% | 82.5% |"),
        ("novelty", "on the manifold | 97.6% | 99.8% | 87.6% | 92.5% | 94.6% | 93.7%"),
        ("novelty", "| Method | score | fashion_mnist | omniglot |\n"),
        ("novelty", "outliers (Sec. 4.3); here: mean areas of D VAE/GAN 91.1% (C"),
        ("objectives", "| VAE | 30 | 5 | 17.40 ± 0.47 | 1.45 ± 0.16 | 15.95 ± 0.32 |"),
        ("objectives", "| - | infinite | at most 39."),
        ("objectives", "B of the VAE 1.45, of InfoVAE at least 6.07; agrees."),
        (
            "supervised",
            "| Echo | 0.1 | 5.519 ± 0.009 | 2.013 ± 0.008 | 0.198 ± 0.005 | 7.1% |",
        ),
        ("supervised", "| Gaussian | 1 | at most 0.168 ± 0.001 | 0.144 ± 0.002 |"),
        ("supervised", "2.11 to 1.05 nats of the class at beta 0.001 and 1; agrees."),
        ("supervised", "has a density, and at least 3.224."),
    ],
)
def test_tables_of_committed_records(name, row, repository):
    folder = repository / "reproductions" / "results" / f"bib_ae_{name}"
    assert row in SCRIPTS[name].TABLE.render(records.read(folder))


def test_areas_are_means_over_seeds_and_classes():
    def run(known, seed, area):
        config = {"dataset": "x", "method": "vae", "known": known, "seed": seed}
        return {
            "config": config,
            "measures": {"roc_auc": {str(known): {"distortion": area}}},
            "data": {"description": "made up"},
            "device": "CPU",
            "versions": {"backend": "jax"},
        }

    runs = [run(2, 0, 0.5), run(2, 1, 0.7), run(9, 0, 0.9), run(9, 1, 1.0)]
    text = novelty.TABLE.render(runs)
    assert "| Method | score | 2 | 9 | mean |" in text
    assert "| VAE | C | 60.0% | 95.0% | 77.5% |" in text


# Trainings


def test_a_quantised_model_leaves_a_file_of_its_rate(tmp_path):
    found = run(compression, tmp_path, "--methods=quantized", "--codewords=4")
    record = found["quantized"]
    file, test = record["measures"]["file"], record["test"]["bank"]
    assert file["exact"] == "yes" and file["examples"] == 500
    assert file["file_bytes"] - file["payload_bytes"] == 34
    assert 0 <= file["excess"] <= 2
    text = compression.TABLE.render([record])
    shown = 8 * file["payload_bytes"] / 500 / 784
    assert f"| {shown:.4f} |" in text and "bits each in one PNG file" in text
    assert test["rate"] / np.log(2) == pytest.approx(file["rate_bits"], rel=1e-5)
    (picture,) = tmp_path.glob("digits-*-compression.png")
    assert picture.stat().st_size > 5000


def test_a_supervised_bottleneck_is_measured(tmp_path):
    arguments = ["--methods=echo", "--betas=0.1", "--samples=2"]
    record = run(supervised, tmp_path, *arguments)["echo"]
    test = record["test"]["bank"]
    total = test["label_information"] + test["distortion"]
    assert total == pytest.approx(test["label_entropy"])
    lowest = record["measures"]["min_rate"]
    assert lowest == pytest.approx(-16 * np.log(max_scale(19, 10.0)))
    assert test["rate"] > lowest
    names = ["clean", "gaussian 0.2", "gaussian 0.4", "mask 0.2", "mask 0.5"]
    assert list(record["measures"]["classification"]) == names


def test_one_class_is_told_from_the_others(tmp_path):
    arguments = ["--known=0", "--methods=bib-ae", "--epochs=3"]
    record = run(novelty, tmp_path, *arguments)["bib-ae"]
    areas = record["measures"]["roc_auc"]["0"]
    assert set(areas) == set(novelty.SCORES)
    assert min(areas["manifold"], areas["learned"]) > 0.8
    assert areas["distortion"] > 0.9  # a ring against all other digits
    assert record["data"]["training_examples"] == 60


@pytest.fixture
def tiny(monkeypatch):
    """A function that trains a little, and returns a record and what it was made by."""
    distances = []

    def frechet(run, real, generated):
        distances.append(generated)
        return {"features": "FID-x"} | {name: 1.0 for name in generated}

    def divergence(a, b):
        assert a.shape == b.shape
        return metrics.divergence(a, b, DummyClassifier(strategy="prior"), folds=2)

    monkeypatch.setattr(objectives, "frechet", frechet)
    # The networks take long, and are tested with the metrics.
    faster = SimpleNamespace(**{**vars(metrics), "divergence": divergence})
    monkeypatch.setattr(objectives, "metrics", faster)
    study = dataclasses.replace(objectives.main.study, prepare=None)

    def train(method, out):
        named = {"epochs": 1, "train_limit": 60, "compared": 100}
        config = study.configs("digits", method=[method], **named)[0]
        return study.train_one(config, out), distances[-1]

    return train


def test_the_terms_of_a_model_are_measured_after_its_training(tmp_path, tiny):
    record, images = tiny("bib_ae", tmp_path)
    found = record["measures"]
    assert found["codes"]["B"].keys() == found["images"]["D"].keys()
    assert set(found["codes"]["posterior"]) > {"mmd", "mmd_se", "summed_variance"}
    assert images["samples"].shape == (100, 28, 28, 1)
    assert record["config"]["discriminator_rate"] == 5e-4
    (kept,) = tmp_path.rglob("generated.npy")
    np.testing.assert_array_equal(np.load(kept), images["samples"][:12])


def test_a_gan_decodes_convolutions_and_has_no_codes(tmp_path, tiny):
    record, images = tiny("gan", tmp_path)
    assert record["measures"]["codes"] is None
    assert 0 <= images["samples"].min() < images["samples"].max() <= 1


class Recorded:
    """A run of a trained model, whose codes are what its bottleneck says."""

    def __init__(self, method, model, dataset, folder):
        self.config = {"method": method, "epochs": 1, "seed": 0, "batch_size": 20}
        self.model, self.dataset, self.folder = model, dataset, folder


def trained(method, dataset, folder):
    model = objectives.build({"method": method, "batch_size": 20}, dataset)
    model.compile("adam", loss=Bernoulli())
    model.fit(dataset.x_train[:200], dataset.x_train[:200], 20, verbose=0)
    return Recorded(method, model, dataset, folder)


def test_codes_come_from_a_models_own_law(digits, tmp_path):
    assert set(samples.LAWS) == set(objectives.NAMED)
    normal = samples.codes(Recorded("vae", None, digits, tmp_path), 4000)
    logistic = samples.codes(Recorded("vim", None, digits, tmp_path), 4000)
    # Both of variance 1, and the logistic of excess kurtosis 1.2.
    for z, kurtosis in ((normal, 0.0), (logistic, 1.2)):
        assert z.std() == pytest.approx(1, abs=0.02)
        assert stats.kurtosis(z, axis=None) == pytest.approx(kurtosis, abs=0.15)
    words = samples.codes(trained("shannon_ae", digits, tmp_path), 300)
    assert max(len(np.unique(column)) for column in words.T) <= 16
    run = trained("vcae", digits, tmp_path)
    z = metrics.encode(run.model, digits.x_train)
    drawn = samples.codes(run, 2000)
    np.testing.assert_allclose(drawn.mean(0), z.mean(0), atol=0.5 * z.std())


def test_echoes_of_held_out_images_leave_the_bank_as_it_was(digits, tmp_path):
    run = trained("echo", digits, tmp_path)
    bottleneck = run.model.get_layer("bottleneck")
    bank = np.array(bottleneck.channel.bank)
    own = samples.codes(run, 2000)
    black = dataclasses.replace(digits, x_test=np.zeros_like(digits.x_test))
    alike = samples.from_held_out(Recorded("echo", run.model, black, tmp_path), 2000)
    assert alike.shape == (2000, 16)
    # All echoes of one image are one code.
    assert alike.std(axis=0).max() < 1e-4 < 0.1 < own.std(axis=0).max()
    np.testing.assert_array_equal(bottleneck.channel.bank, bank)


def test_images_are_compared_with_as_many_levels_as_files_have():
    x = np.linspace(-0.1, 1.1, 1000)
    levels = 255 * samples.eight_bits(x)
    np.testing.assert_allclose(levels, np.round(levels))
    assert levels.min() == 0 and levels.max() == 255
    drawn = samples.eight_bits(np.full(4000, 0.3), binary=True)
    assert set(drawn) == {0, 1} and drawn.mean() == pytest.approx(0.3, abs=0.03)


def of_terms(method, rate, kl, kl_se=0.1, lower_bound=False):
    return {
        "config": {"method": method},
        "test": {"bank": {"rate": rate, "rate_se": 0.0}},
        "measures": {
            "codes": {"B": {"kl": kl, "kl_se": kl_se, "lower_bound": lower_bound}}
        },
    }


@pytest.mark.parametrize(
    ("record", "b", "information"),
    [
        (of_terms("bib_ae", 23.5, 7.25), "7.25 ± 0.10", "16.25 ± 0.10"),
        (of_terms("bib_ae", 23.5, 6.5, np.nan, True), "at least 6.50", "at most 17.00"),
        (of_terms("shannon_ae", 39.5, np.inf), "infinite", "at most 39.50 ± 0.00"),
        (of_terms("aae", None, 0.25), "at least 0.25", None),
        (of_terms("echo", 21.0, 0.25), "0.25 ± 0.10", "21.00 ± 0.00"),
        ({"config": {"method": "gan"}, "test": {}, "measures": {}}, None, None),
    ],
)
def test_what_is_a_bound_says_so(record, b, information):
    assert objectives.divergence("measures.codes.B")([record]) == b
    assert objectives.information([record]) == information


def test_of_several_runs_the_error_is_over_runs():
    runs = [of_terms("bib_ae", rate, kl) for rate, kl in ((20.0, 5.0), (24.0, 7.0))]
    assert objectives.divergence("measures.codes.B")(runs) == "6.00 ± 1.41"
    assert objectives.information(runs) == "16.00 ± 1.41"
    assert objectives.term_b(runs) == {
        "kl": 6.0,
        "kl_se": pytest.approx(1.0),
        "lower_bound": False,
    }
    bound = [*runs, of_terms("bib_ae", 22.0, 6.0, np.nan, True)]
    assert objectives.information(bound) == "at most 16.00"
    assert objectives.term_b(bound)["lower_bound"]


@pytest.mark.parametrize(
    ("of_vae", "of_info_vae", "agrees"),
    [
        ((1.0, 0.1), (7.0, 0.1), True),
        ((7.0, 0.1), (1.0, 0.1), False),
        ((1.0, 0.1), (1.1, 0.1), None),
        ((1.0, 0.1), (6.5, np.nan, True), True),
        ((7.0, 0.1), (6.5, np.nan, True), None),
    ],
)
def test_the_claim_on_terms_b(of_vae, of_info_vae, agrees):
    runs = [of_terms("vae", 1.0, *of_vae), of_terms("info_vae", 1.0, *of_info_vae)]
    assert objectives.nearer_to_normal(runs)[1] is agrees
    assert objectives.nearer_to_normal(runs[:1]) is None


def test_a_file_of_images_themselves(digits):
    x = digits.x_test[:8]
    assert len(compression.packed(x)) == x.size // 8
    grey = np.full((2, 3, 3, 1), 0.5, "float32")
    assert compression.packed(grey) == bytes([128] * 18)
    # Of one colour; and of noise, where a row has a byte more and is padded to bytes.
    assert compression.png_bytes(grey) < 100
    noise = np.random.RandomState(0).randint(0, 256, (50, 28, 28, 1)) / 255
    assert noise.size < compression.png_bytes(noise) < 1.05 * noise.size
    bits = np.round(noise)
    assert noise.size / 8 < compression.png_bytes(bits) < 1.5 * noise.size / 8


def test_lengths_are_weighed_with_the_most_codewords_alone():
    found = compression.STUDY.configs(method=["quantized", "vae"], beta=[1.0])
    pairs = [(c.get("codewords"), c.get("length_weight", 0)) for c in found]
    weights = compression.STUDY.vary["length_weight"][1:]
    expected = [(n, 0) for n in (2, 4, 8, 16, 64)] + [(64, w) for w in weights]
    assert sorted(pairs[:-1]) == sorted(expected) and pairs[-1] == (None, 0)
    model = compression.build({**found[-2], "batch_size": 20}, data.load("digits"))
    assert model.get_layer("bottleneck").channel.length_weight == weights[-1]


# Flags


@pytest.mark.parametrize("name", NAMES)
def test_strangers_are_refused_with_the_valid_flags(name):
    with pytest.raises(SystemExit, match=r"--epochs, --batch_size"):
        SCRIPTS[name].main(["script", "--gammas=1"])
