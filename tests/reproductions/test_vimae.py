"""The Variational InfoMax Autoencoder: tables of committed records, tiny models."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
from render import script
from scipy import stats

from echo_keras import data, metrics, objectives
from echo_keras.layers import DeterministicBottleneck, Logistic
from echo_keras.studies import parse, records
from echo_keras.studies.study import Run

RESULTS = pathlib.Path(__file__).parents[2] / "reproductions" / "results"
tables = {n: script("vimae", f"table{n}") for n in range(1, 6)}
figure1, frontier = script("vimae", "figure1"), script("vimae", "frontier")
import vimae_information  # noqa: E402
import vimae_paper  # noqa: E402 (the scripts' folder is on the path now)

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="no operation of its own"
)


def config(dataset="mnist", method="vae", **changes):
    study = vimae_paper.STUDY
    (found,) = study.configs(dataset, method=[method], filters=2, **changes)
    return found


@pytest.mark.parametrize(
    ("dataset", "method", "beta"),
    [
        ("mnist", "vae", 1.0),
        ("mnist", "beta-h", 10.0),
        ("mnist", "beta-a", 0.2),
        ("cifar10", "beta-h", 100.0),
        ("cifar10", "beta-a", 0.4),
    ],
)
def test_elbo_methods_differ_in_beta(dataset, method, beta):
    code = vimae_paper.objective(config(dataset, method), *networks()).get_layer(
        "bottleneck"
    )
    assert code.channel.initial_beta == beta
    assert code.units == {"mnist": 8, "cifar10": 64}[dataset]


def networks():
    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    return encoder, lambda n: keras.Sequential(
        [keras.Input((n,)), keras.layers.Dense(8)]
    )


@pytest.mark.parametrize(
    ("method", "logistic"), [("vimae-n", False), ("vimae-l", True)]
)
def test_infomax_methods_differ_in_their_prior(method, logistic):
    chosen = config(method=method)
    model = vimae_paper.objective(chosen, *networks())
    penalty = model.get_layer("mmd")
    assert isinstance(penalty.prior, Logistic) == logistic
    assert penalty.initial_weight == 10.0
    assert type(model.get_layer("bottleneck")) is DeterministicBottleneck
    codes = vimae_paper.prior_codes(chosen, 20_000)
    np.testing.assert_allclose(codes.var(axis=0), 1.0, atol=0.06)
    kurtosis = (codes**4).mean() / (codes**2).mean() ** 2
    assert kurtosis == pytest.approx(4.2 if logistic else 3.0, rel=0.05)


def test_only_the_published_code_begins_with_the_priors_moments():
    def mean_square(variant, method):
        chosen = config("digits", method, variant=variant, learning_rate=0.05)
        keras.utils.set_random_seed(0)
        model = vimae_paper.build(chosen, data.load("digits", limit=200))
        z = metrics.encode(model, data.load("digits", limit=200).x_train, noisy=False)
        return np.mean(z**2)

    begun = mean_square("published_code", "vimae-n")
    assert begun > 5 * mean_square("paper", "vimae-n")
    assert vimae_paper.STUDY.configs("digits", method=["vae"])[0].get("variant") is None


def test_adam_has_the_papers_momentum():
    adam = vimae_paper.optimizer(1e-3)
    assert (adam.beta_1, adam.beta_2) == (0.5, 0.999)


@pytest.mark.parametrize(
    ("table", "folder"), [(tables[3].TABLE, "vimae"), (figure1.TABLE, "vimae_figure1")]
)
def test_committed_records_make_the_committed_table(table, folder):
    text = (RESULTS / folder / f"{table.name}.md").read_text()
    assert table.render(records.read(RESULTS / folder)) + "\n" == text


def test_without_labels_there_is_no_accuracy():
    runs = records.read(RESULTS / "vimae")
    run = next(run for run in runs if run["config"]["method"] == "vae")
    run["measures"]["accuracy"] = None
    assert "| VAE | 1 | - | - | - |" in tables[2].TABLE.render([run])


def test_every_published_number_is_in_its_table():
    for number, columns in ((2, 3), (3, 5), (4, 5)):
        (paper,) = vimae_paper.PUBLISHED[f"table{number}"].values()
        assert list(paper) == list(vimae_paper.METHODS)
        assert {len(values) for values in paper.values()} == {columns}
        assert len(tables[number].TABLE.columns) == 2 + 3 * columns
    # The best of each column of Table 3, which the paper sets in bold.
    paper = vimae_paper.PUBLISHED["table3"]["mnist"]
    np.testing.assert_array_equal(np.max(list(paper.values()), 0), paper["vimae-l"])


@tensorflow_only
def test_a_tiny_run_has_all_measures(tmp_path, monkeypatch):
    # Here without training the classifier whose features are compared.
    monkeypatch.setattr(vimae_paper, "frechet", lambda run, real, images: len(real))
    study = dataclasses.replace(
        vimae_paper.STUDY,
        prepare=None,
    )
    chosen = config("digits", "vimae-l", epochs=1, train_limit=60, batch_size=20)
    chosen |= {"compared": 40, "labelled": 30, "label_draws": 2}
    (run,) = study.run([chosen], tmp_path)
    found, test = run["measures"], run["test"]["bank"]
    assert "rate" not in test and "neg_elbo" not in test and found["fid"] == 40
    # Codes of this method have no noise.
    assert found["test_mean"]["error"] == pytest.approx(test["distortion"], rel=1e-4)
    for codes in ("sampled", "mean"):
        accuracies = found["accuracy"][codes]
        assert set(accuracies) >= {"clean", "mask 0.5", "gaussian 0.3_sd"}
    # Codes of this method have no noise: samples are means.
    assert found["accuracy"]["sampled"] == found["accuracy"]["mean"]
    assert np.isfinite(found["parzen"]["log_likelihood_parzen"])
    assert found["posterior"]["mmd"] > 0
    said = found["information"]
    assert said["information"] == said["entropy"] - said["conditional"]
    assert said["capacity"] == said["prior"] - said["conditional"]


# Entropies


@pytest.mark.parametrize("method", ["vae", "vimae-l"])
def test_the_priors_entropy_is_that_of_its_codes(method):
    chosen = config(method=method) | {"latent_dim": 2}
    h, error = metrics.differential_entropy(vimae_paper.prior_codes(chosen, 4000))
    assert vimae_information.prior_entropy(chosen) == pytest.approx(h, abs=4 * error)


def test_the_entropy_of_a_channel_of_fixed_noise():
    encoder, decoder = networks()
    model = objectives.wae(encoder, decoder, 3, noise_variance=0.1)
    x = np.random.RandomState(0).normal(size=(40, 8)).astype("float32")
    found, error = vimae_information.conditional_entropy(model, x, images=40)
    exact = 1.5 * np.log(2 * np.pi * np.e * 0.1)
    # Of 99 degrees: without its correction it would be off by .03, 3 errors.
    assert found == pytest.approx(exact, abs=4 * error) and error < 0.03


def test_the_entropy_that_noise_on_the_input_leaves_in_a_linear_code():
    inputs = keras.Sequential([keras.Input((400,)), keras.layers.Identity()])
    model = objectives.vim(
        inputs, lambda n: keras.layers.Dense(400), 2, input_noise=0.02
    )
    weights = model.get_layer("bottleneck").heads[0].get_weights()[0]
    x = np.random.RandomState(0).normal(size=(40, 400)).astype("float32")
    found, error = vimae_information.conditional_entropy(model, x, images=40)
    # Of a normal law cut at two deviations, which are the bound.
    variance = 0.01**2 * stats.truncnorm(-2, 2).var()
    covariance = variance * weights.T.astype("float64") @ weights
    exact = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
    assert found == pytest.approx(exact, abs=4 * error) and error < 0.03


def test_entropies_are_of_the_records_that_have_them():
    runs = [{"measures": {"information": {"entropy": h}}} for h in (2.0, 3.0)]
    runs.append({"measures": {}})
    assert vimae_paper.information_of("entropy")(runs) == "2.50 ± 0.71"
    assert vimae_paper.information_of("entropy")(runs[2:]) is None


# Other betas and lambdas than the paper's


def test_the_frontier_shares_the_papers_runs():
    options = parse(frontier.main.flags(), ["--dataset=mnist"])
    found = {
        (frontier.kind(c), frontier.value(c)): frontier.STUDY.run_name(c)
        for c in frontier.main.configs(options)
    }
    names = {method: vimae_paper.STUDY.run_name(paper(method)) for method in TABLES_OF}
    assert {found["VAE, beta", beta] for beta in (0.2, 1.0, 10.0)} == {
        names[method] for method in ("beta-a", "vae", "beta-h")
    }
    assert found["VIMAE-n, lambda", 10.0] == names["vimae-n"]
    assert found["VAE, beta", 3.0] == "mnist-beta-a-beta_low3-seed0"
    assert len(found) == len(frontier.BETAS) + len(frontier.LAMBDAS)


TABLES_OF = ("vae", "beta-h", "beta-a", "vimae-n")


def paper(method):
    (found,) = vimae_paper.STUDY.configs("mnist", method=[method])
    return found


def test_the_best_beta_is_compared_with_the_best_lambda():
    def records(distance, method, **changes):
        config = paper(method) | changes
        return [
            {"config": config, "measures": {"fid": {"prior": distance + off}}}
            for off in (-0.5, 0.5)
        ]

    runs = records(9.0, "vae") + records(20.0, "beta-a") + records(30.0, "vimae-n")
    path = "measures.fid.prior"
    # Of the VAE's best beta none on the other side was tried.
    assert frontier.better(path)(runs)[1] is None
    runs += records(40.0, "beta-h")
    here, agrees = frontier.better(path)(runs)
    assert (here, agrees) == ("VAE, beta 1: 9.0, VIMAE-n, lambda 10: 30.0", False)
    # Where more is better, the VAE's best beta is the one of 20.
    most = records(20.0, "vae") + records(9.0, "beta-a") + records(9.0, "beta-h")
    verdict = frontier.better(path, sign=-1)
    assert verdict(most + records(30.0, "vimae-n"))[1] is True
    assert verdict(most + records(10.0, "vimae-n"))[1] is False
    runs += records(6.0, "vimae-n", weight=100.0)
    here, agrees = frontier.better(path)(runs)
    assert agrees is True and here.endswith("lambda 100: 6.0")
    # The paper's claims are of its own lambda.
    assert vimae_paper.by_method(runs, path)["vimae-n"][0] == 30.0
    assert vimae_paper.label(runs[-1]["config"]) == "VIMAE-n, weight 100.0"


def test_figure1_has_dense_networks():
    digits = data.load("digits", limit=5)
    (chosen,) = figure1.STUDY.configs("digits", method=["vae"])
    # Four layers of the encoder with two heads, and four of the decoder.
    encoder = 785 * 256 + 2 * 257 * 256 + 2 * 257 * 2
    decoder = 3 * 256 + 2 * 257 * 256 + 257 * 784
    assert figure1.build(chosen, digits).count_params() == encoder + decoder + 2


def test_flags(capsys):
    names = {option.name for option in tables[1].main.flags()}
    assert names >= {"dataset", "methods", "latent_dim", "labelled", "compared"}
    assert "filters" not in {option.name for option in figure1.main.flags()}
    with pytest.raises(SystemExit, match="code"):
        tables[1].main(["table1.py", "--code=3"])


# Characters of alphabets that were never seen


@pytest.fixture(scope="module")
def alphabets():
    """Characters that are bright in a block of their own, 20 drawings of each."""
    generator = np.random.RandomState(0)
    x = np.zeros((8 * 20, 28, 28, 1), "float32")
    y = np.repeat(np.arange(8), 20)
    for row, label in enumerate(y):
        x[row, 2 : 5 + label, 3 : 6 + 2 * label] = 1.0
    x += 0.1 * generator.random_sample(x.shape).astype("float32")
    sides = {"x_train": x, "y_train": y, "x_test": np.clip(x, 0, 1), "y_test": y}
    return dataclasses.replace(data.load("digits"), name="omniglot_alphabets", **sides)


def test_five_characters_are_told_apart_by_pixels_and_not_by_nothing(alphabets):
    of = vimae_paper.accuracy_on_characters
    found = of(lambda x: x.reshape(len(x), -1), alphabets, seed=0)
    assert found["clean"] > 0.95
    assert set(found) >= {"clean_sd", "mask 0.5", "gaussian 0.4_sd"}
    noise = np.random.RandomState(0)
    blind = of(lambda x: noise.normal(size=(len(x), 2)), alphabets, seed=0)
    # Chance is a fifth; 20 draws of 100 test images, five standard errors.
    assert abs(blind["clean"] - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 2000)


def test_drawings_stand_on_one_side_with_all_their_rotations(alphabets, monkeypatch):
    sides = []

    def spy(represent, x_train, y_train, x_test, y_test, corruptions, seed):
        sides.append((x_train, y_train, x_test, y_test))
        return {"clean": 1.0}

    monkeypatch.setattr(vimae_paper.metrics, "svm_accuracy", spy)
    run = Run(None, {"seed": 0}, None, alphabets, None, None)
    vimae_paper.accuracy(run)
    assert len(sides) == 2 * 20  # of samples, of means
    x_train, y_train, x_test, y_test = sides[0]
    assert (len(x_train), len(x_test)) == (300, 100)
    assert set(np.bincount(y_train)) <= {0, 60} and set(np.bincount(y_test)) <= {0, 20}
    sums = [set(x.sum(axis=(1, 2, 3)).round(3)) for x in (x_train, x_test)]
    assert len(sums[0]) == 75 and not sums[0] & sums[1]


def test_rotations_are_quarter_turns(alphabets):
    x = np.arange(4.0).reshape(1, 2, 2, 1)
    turned, y = vimae_paper.rotated(x, np.array([7]))
    np.testing.assert_array_equal(turned[1, :, :, 0], [[1, 3], [0, 2]])
    assert len({image.tobytes() for image in turned}) == 4
    np.testing.assert_array_equal(y, [7, 7, 7, 7])
    of = {"dataset": "omniglot_alphabets"}
    described = vimae_paper.with_rotations(alphabets, of)
    assert len(described.x_train) == 640 and "rotations" in described.description
    digits = data.load("digits", limit=5)
    assert vimae_paper.with_rotations(digits, {"dataset": "digits"}) is digits


def test_accuracies_on_characters_are_means_over_draws_with_their_deviation(
    monkeypatch,
):
    monkeypatch.setattr(
        vimae_paper.metrics,
        "svm_accuracy",
        lambda *args, seed: {"clean": float(seed), "clean_se": 9.0},
    )
    x, y = np.zeros((120, 4, 4, 1)), np.repeat(np.arange(6), 20)
    dataset = dataclasses.replace(data.load("digits", limit=9), x_test=x, y_test=y)
    found = vimae_paper.accuracy_on_characters(None, dataset, seed=0)
    # The variance of 0, ..., 19 is 20 x 21 / 12 over n - 1.
    assert found == {"clean": 9.5, "clean_sd": pytest.approx(35**0.5)}
