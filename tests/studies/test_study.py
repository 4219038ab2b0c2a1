"""A study: its configurations, its names, and what becomes of its runs."""

import dataclasses
import json
import math
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from tools import small_networks

from echo_keras import RateDistortionModel, data, metrics, objectives, training
from echo_keras.layers import Channel, GaussianBottleneck
from echo_keras.losses import SquaredError
from echo_keras.model import find_layers
from echo_keras.studies import FactorStudy, Run, RunsFailed, Study, factor_study
from echo_keras.studies import study as module
from echo_keras.studies.outcome import reference
from echo_keras.training import run_folder


def build(config, dataset):
    inputs = keras.Input(dataset.x_train.shape[1:])
    z = GaussianBottleneck(2, beta=config["beta"])(keras.layers.Flatten()(inputs))
    x = keras.layers.Dense(784)(z)
    return RateDistortionModel(inputs, keras.layers.Reshape((28, 28, 1))(x))


def few(dataset, config):
    """Enough for a batch and a half."""
    return dataclasses.replace(
        dataset, x_train=dataset.x_train[:30], x_test=dataset.x_test[:20]
    )


STUDY = Study(
    "tiny",
    build,
    protocol={"epochs": 20, "batch_size": 20, "learning_rate": 1e-3},
    quick={"digits": {"epochs": 2}},
    vary={"beta": [0.5, 1.0]},
    loss=SquaredError(),
    transform=few,
    measures={"norm": lambda run: float(np.abs(run.model.get_weights()[0]).sum())},
)


EXTRA = ("training_mode", "training_set", "rate_by_dimension")


@pytest.fixture(autouse=True)
def nothing_kept():
    module._kept.clear()


# Configurations


def test_configurations_are_all_combinations_and_seeds():
    study = Study(
        "many", None, protocol={}, vary={"a": [1, 2], ("b", "c"): [(3, 4), (5, 6)]}
    )
    configs = study.configs("mnist", seed=7, runs=2)
    found = [(c["seed"], c["a"], c["b"], c["c"]) for c in configs]
    pairs = [(1, 3, 4), (1, 5, 6), (2, 3, 4), (2, 5, 6)]
    assert found == [(seed, *pair) for seed in (7, 8) for pair in pairs]
    assert {key: configs[0][key] for key in Study.DEFAULTS} == Study.DEFAULTS
    assert {c["dataset"] for c in configs} == {"mnist"}


def test_what_is_asked_for_beats_the_quick_look_and_this_the_paper():
    assert STUDY.configs("mnist")[0]["epochs"] == 20
    assert STUDY.configs("digits")[0]["epochs"] == 2
    config = STUDY.configs("digits", epochs=3, batch_size=None, beta=[4.0])[0]
    assert (config["epochs"], config["batch_size"], config["beta"]) == (3, 20, 4.0)


def test_a_protocol_may_depend_on_the_data_and_on_what_varies():
    study = Study(
        "own",
        None,
        protocol=lambda config: {"epochs": 7 if config["method"] == "slow" else 1},
        vary={"method": ["slow", "fast"]},
    )
    slow, fast = study.configs("mnist", epochs=1)
    assert study.deviations(slow) == "reduced or changed protocol: epochs 1 (paper 7)"
    # The library keeps a sixth of MNIST's training images for validation.
    used = "the paper's protocol, on 50,000 of 60,000 training images"
    assert study.deviations(fast) == used
    assert study.run_name(slow) == "mnist-slow-epochs1-seed0"


def test_configurations_are_completed_left_out_and_not_repeated():
    def configure(config):
        if config["a"] == 2:
            return None
        config.pop("b")
        return {**config, "twice": 2 * config["a"]}

    study = Study("few", None, {}, vary={"a": [1, 2], "b": [3, 4]}, configure=configure)
    (config,) = study.configs()
    assert config["twice"] == 2 and "b" not in config


def test_a_key_that_the_study_does_not_have_is_refused():
    with pytest.raises(
        ValueError, match="must be one of beta, epochs, .*: gamma, steps"
    ):
        STUDY.configs(gamma=[20.0], steps=7)


# Names


def test_names_tell_runs_apart_by_what_departs_from_the_paper():
    configs = [
        *STUDY.configs("mnist", runs=2),
        *STUDY.configs("mnist", learning_rate=1e-4, train_limit=100),
        *STUDY.configs("digits"),
    ]
    names = [STUDY.run_name(config) for config in configs]
    assert len(set(names)) == len(names)
    assert names[0] == "mnist-beta0.5-seed0"
    assert names[4] == "mnist-beta0.5-learning_rate0.0001-train_limit100-seed0"
    assert STUDY.protocol_name(configs[6]) == "digits-epochs2"


def test_a_value_of_the_protocol_has_one_name_whether_it_varies_or_not():
    fixed = Study("a", None, protocol={"beta": 1.0}, vary={"method": ["vae"]})
    curve = dataclasses.replace(fixed, vary={"method": ["vae"], "beta": [1.0, 2.0]})
    one, two = curve.configs()
    assert (
        curve.run_name(one) == fixed.run_name(fixed.configs()[0]) == "digits-vae-seed0"
    )
    assert curve.run_name(two) == fixed.run_name(fixed.configs(beta=2.0)[0])
    assert curve.protocol_name(two) == "digits"


def test_a_text_that_could_be_taken_for_a_flag_is_named_with_its_key():
    study = Study("a", None, {}, vary={"family": ["-+v"]})
    assert study.run_name(study.configs()[0]) == "digits-family-+v-seed0"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "the paper's protocol"),
        (
            {"epochs": 3000, "train_limit": 10_000},
            "reduced or changed protocol: epochs 3,000 (paper 200), train limit 10,000",
        ),
        (
            {"learning_rate": 0.1},
            "reduced or changed protocol: learning rate 0.1 (paper 0.0003)",
        ),
    ],
)
def test_departures_are_said_above_tables(changes, text):
    study = Study("a", None, {})
    assert study.deviations(study.configs(**changes)[0]) == text


def test_what_a_paper_does_not_state_is_always_said():
    study = Study("a", None, {"epochs": 5}, unstated=["epochs"])
    (config,) = study.configs()
    assert study.deviations(config) == "reduced or changed protocol: epochs 5"
    ours = Study("a", None, {"epochs": 5, "samples": 1}, paper=False)
    assert ours.deviations(ours.configs()[0], without=["samples", "schedule"]) == (
        "a protocol of our own, the paper gives none (epochs 5, batch size 100, "
        "learning rate 0.0003)"
    )


# Runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two runs, and how often data were read for them."""
    out = tmp_path_factory.mktemp("runs")
    module._kept.clear()
    loads, load = [], data.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda *a, **k: loads.append(a) or load(*a, **k))
        runs = STUDY.run(STUDY.configs(), out)
    return out, runs, loads


def test_each_run_leaves_a_record(finished):
    out, runs, _ = finished
    assert [run["config"] for run in runs] == STUDY.configs()
    for run in runs:
        path = out / f"{STUDY.run_name(run['config'])}.json"
        assert json.loads(path.read_text()) == run
        assert run["study"] == "tiny" and len(run["history"]) == 2
        assert run["data"]["training_examples"] == 30
        (part,) = run["parts"]
        assert part["backend"] == run["versions"]["backend"]
        assert part["from_epoch"] == 0 and part["threads"] >= 1
        assert run["parameters"] == 2 * (784 + 1) * 2 + (2 + 1) * 784


def test_data_are_read_once(finished):
    assert len(finished[2]) == 1


def test_a_record_holds_what_its_model_measures(finished):
    out, runs, _ = finished
    for run, (config, model) in zip(
        runs, STUDY.models(out, STUDY.configs()), strict=True
    ):
        assert run["config"] == config
        x = few(data.load("digits"), config).x_test
        found = metrics.evaluate(model, x, batch_size=20)
        # The rate has no noise in it, the distortion one code for each image.
        assert found["rate"] == pytest.approx(run["test"]["bank"]["rate"], rel=1e-5)
        difference = found["distortion"] - run["test"]["bank"]["distortion"]
        assert abs(difference) < 5 * found["distortion_se"]
        norm = np.abs(model.get_weights()[0]).sum()
        assert run["measures"] == {"norm": pytest.approx(norm, rel=1e-5)}


def test_a_record_tells_training_from_test_and_each_dimension_from_the_others(finished):
    for run in finished[1]:
        test = run["test"]
        assert set(test) == {"bank", *EXTRA}
        assert test["training_set"]["examples"] == 30
        assert test["training_set"]["log_n"] == pytest.approx(np.log(30))
        rates = test["rate_by_dimension"]
        assert len(rates) == 2
        assert sum(rates) == pytest.approx(test["bank"]["rate"], rel=1e-4)
        # A VAE is the same model in training and at inference.
        gap = test["training_mode"]["distortion"] - test["bank"]["distortion"]
        assert abs(gap) < 5 * test["bank"]["distortion_se"]
        # It has been trained on the one, and not on the other.
        assert test["training_set"]["neg_elbo"] < test["bank"]["neg_elbo"]


def test_grey_training_images_are_sampled_before_they_are_evaluated(monkeypatch):
    grey = np.full((40, 28, 28, 1), 0.25, "float32")
    dynamic = {"x_train": grey, "binarize": "dynamic"}
    dataset = dataclasses.replace(data.load("digits"), **dynamic)
    given = {}
    monkeypatch.setattr(
        module,
        "evaluated",
        lambda model, x_test, x_train, **_: given.update(x=x_train),
    )
    (config,) = STUDY.configs("digits", beta=[0.5])
    STUDY.test(Run(STUDY, config, None, dataset, None, None))
    assert set(np.unique(given["x"])) == {0, 1}
    assert given["x"].mean() == pytest.approx(0.25, abs=0.01)


def test_a_finished_run_is_not_run_again(finished, monkeypatch, capsys):
    out, runs, _ = finished
    monkeypatch.setattr(training, "train", None)
    assert STUDY.run(STUDY.configs(), out) == runs
    assert capsys.readouterr().out.count("finished before, not run again") == 2


def test_an_interrupted_run_goes_on(finished, tmp_path, monkeypatch):
    config = STUDY.configs()[0]
    train = training.train

    def interrupted(*args, **kwargs):
        train(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        STUDY.run([config], tmp_path)
    assert not list(tmp_path.glob("*.json"))
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(keras.Model, "fit", None)  # all epochs are in the checkpoint
    (run,) = STUDY.run([config], tmp_path)
    assert run["history"][-1]["loss"] == pytest.approx(
        finished[1][0]["history"][-1]["loss"], rel=1e-4
    )


def test_a_record_of_other_data_is_refused(finished):
    out, runs, _ = finished
    path = out / f"{STUDY.run_name(runs[0]['config'])}.json"
    other = {**runs[0], "data": {**runs[0]["data"], "checksum": "other"}}
    path.write_text(json.dumps(other))
    try:
        with pytest.raises(
            ValueError, match="Received: checksum=other. Choose another"
        ):
            STUDY.run(STUDY.configs(), out)
    finally:
        path.write_text(json.dumps(runs[0]))


def test_what_all_runs_need_is_prepared_once_and_only_if_any_is_missing(
    finished, tmp_path, monkeypatch
):
    seen = []
    study = dataclasses.replace(
        STUDY, prepare=lambda config, dataset, out, data_dir: seen.append(out)
    )
    monkeypatch.setattr(module.runners, "run_all", lambda *args, **kwargs: None)
    study.run(study.configs(), finished[0])
    assert seen == []
    with pytest.raises(FileNotFoundError):  # nothing was run, so nothing can be read
        study.run(study.configs(), tmp_path)
    assert seen == [tmp_path]


def test_a_run_that_fails_leaves_the_others(tmp_path):
    def broken(config, dataset):
        if config["beta"] == 0.5:
            raise ValueError("no such network")
        return build(config, dataset)

    study = dataclasses.replace(STUDY, build=broken)
    with pytest.raises(RunsFailed, match="beta0.5-epochs2-seed0: .*no such network"):
        study.run(study.configs(), tmp_path)
    (record,) = tmp_path.glob("*.json")
    assert record.stem == "digits-beta1-epochs2-seed0"


def test_a_run_of_another_process_is_one_sentence_without_a_traceback(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(training.lock, "ORPHAN", 0.0)
    first, second = STUDY.configs()
    folder = STUDY.folder(tmp_path.resolve(), first)
    folder.mkdir(parents=True)
    with training.lock.locked(folder), pytest.raises(RunsFailed) as error:
        STUDY.run([first, second], tmp_path)
    sentence = "another process trains this run"
    assert [sentence in line for line in error.value.failures.values()] == [True]
    out, err = capsys.readouterr()
    assert "Traceback" not in err and sentence in out
    # The other one was trained.
    (record,) = tmp_path.glob("*.json")
    assert record.stem == STUDY.run_name(second)


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(training.UnwritableFolderError) as error:
        STUDY.run(STUDY.configs(), tmp_path / "out")
    assert str(error.value) == (
        f"out must be a folder to write to. Received: {tmp_path / 'out'} (File "
        "exists). Choose another one."
    )


def test_a_model_that_is_gone_is_said(tmp_path, capsys):
    assert list(STUDY.models(tmp_path, STUDY.configs()[:1])) == []
    assert "beta0.5-epochs2-seed0: no model is left" in capsys.readouterr().out


def test_validation_images_are_those_of_the_data_set_in_random_order():
    (config,) = STUDY.configs("digits", beta=[0.5])
    sizes = {"x_train": np.zeros((100, 28, 28, 1)), "x_valid": np.arange(500)}
    dataset = dataclasses.replace(data.load("digits", limit=9), **sizes)
    found = STUDY.feed(config, dataset)["validation"]
    # As many as are trained on; sorted files would show as an increasing sequence.
    assert len(found) == len(set(found)) == 100 and set(found) <= set(range(500))
    assert (np.diff(found) < 0).any() and np.ptp(found) > 400
    again = STUDY.feed({**config, "seed": 5}, dataset)["validation"]
    np.testing.assert_array_equal(found, again)
    said = STUDY.describe(dataset)["validation"]
    assert said == "100 of 500 validation images, drawn with seed 0"


def test_the_model_of_the_best_epoch_is_tested_too(tmp_path, monkeypatch):
    def held_out(dataset, config):
        return few(dataset.hold_out(40), config)

    study = dataclasses.replace(STUDY, transform=held_out, best="val_neg_elbo")
    # It climbs the loss: the first epoch is the best.
    study = dataclasses.replace(
        study, optimizer=lambda rate: keras.optimizers.SGD(-1e-4)
    )
    (run,) = study.run(study.configs(beta=[0.5]), tmp_path)
    assert run["best"]["log"] == "val_neg_elbo" and run["best"]["epoch"] == 1
    folder = study.folder(tmp_path, run["config"])
    x = held_out(data.load("digits"), run["config"]).x_test
    for name, test in (("best", run["best"]["test"]), ("checkpoint", run["test"])):
        found = metrics.evaluate(run_folder.load(folder, f"{name}.keras"), x)
        assert found["rate"] == pytest.approx(test["bank"]["rate"], rel=1e-5)
    assert run["best"]["test"]["bank"]["rate"] != run["test"]["bank"]["rate"]
    # What is there is of another epoch: nothing is said.
    (folder / "best.keras").write_bytes((folder / "checkpoint.keras").read_bytes())
    assert "best" not in study.train_one(run["config"], tmp_path)


def test_test_images_never_stand_in_for_validation_images(finished):
    (config,) = STUDY.configs("digits", beta=[0.5])
    assert STUDY.feed(config, data.load("digits"))["validation"] is None
    for run in finished[1]:
        assert run["data"]["validation"].startswith("none, ")
        assert not [name for name in run["history"][0] if name.startswith("val_")]


def test_a_loss_and_a_schedule_may_depend_on_the_configuration(tmp_path, monkeypatch):
    given = {}

    def train(build, **arguments):
        given.update(arguments)
        raise SystemExit("enough")

    monkeypatch.setattr(training, "train", train)
    study = dataclasses.replace(
        STUDY,
        loss=lambda config: f"loss of {config['beta']}",
        schedule=lambda config: [(config["epochs"], 0.5)],
    )
    with pytest.raises(SystemExit):
        study.train_one(study.configs()[0], tmp_path)
    assert (given["loss"], given["schedule"]) == ("loss of 0.5", [(2, 0.5)])
    assert given["directory"] == study.folder(tmp_path, study.configs()[0])


# Workers


def test_workers_find_a_study_by_its_name_in_the_module_of_its_models():
    (name, file), path = reference(STUDY.train_one)
    assert (name, str(file)) == (build.__module__, __file__)
    assert path == "STUDY.train_one"
    # A copy that varies other things stands for the same study.
    assert reference(dataclasses.replace(STUDY, vary={}).train_one)[1] == path


def test_workers_cannot_find_a_study_that_no_module_holds():
    with pytest.raises(ValueError, match="top level of a module .*, or a method of"):
        reference(dataclasses.replace(STUDY, name="elsewhere").train_one)


# Factors


def test_steps_of_a_factor_study_are_whole_epochs():
    study = FactorStudy("factors", None, {})
    (config,) = study.configs("dsprites", steps=1500)

    class Images:
        def batches(self, batch_size, steps, seed):
            return batch_size, steps, seed

    with pytest.raises(ValueError, match="multiple of 1000. Received: steps=1500"):
        study.feed(config, Images())
    found = study.feed({**config, "steps": 3000, "seed": 4}, Images())
    assert found == {"x": (64, 1000, 4), "epochs": 3}
    assert study.feed({**config, "steps": 10}, Images())["x"] == (64, 10, 0)


def test_scores_of_factors_follow_votes_and_points(monkeypatch):
    given = []

    def score(name):
        return lambda encoder, dataset, **sizes: given.append((name, sizes)) or 0.5

    for name in ("factor_vae_score", "mig"):
        monkeypatch.setattr(metrics.disentanglement, name, score(name))
    monkeypatch.setattr(metrics, "representation", lambda model: None)
    used = np.array([True, False])
    monkeypatch.setattr(factor_study, "used_dimensions", lambda run: used)
    study = FactorStudy("factors", None, {})
    (config,) = study.configs("dsprites", seed=3, votes=200)
    run = Run(study, config, None, None, None, None)
    scores = {"factor_vae": 0.5, "mig": 0.5, "factor_vae_used": 0.5, "used": 1}
    assert factor_study.scores(run) == scores
    sizes = {"votes": 200, "test_votes": 100, "points": 10_000, "seed": 3}
    assert given == [
        ("factor_vae_score", sizes),
        ("mig", {"points": 10_000, "seed": 3}),
        ("factor_vae_score", {"used": used, **sizes}),
    ]


def test_noisy_codes_and_the_curve_of_training_have_scores_too(monkeypatch):
    given = []

    def score(name, value):
        def of(encoder, dataset, **sizes):
            given.append((encoder, name, sizes))
            return value

        return of

    for name, value in (("factor_vae_score", 0.25), ("mig", 0.75)):
        monkeypatch.setattr(metrics.disentanglement, name, score(name, value))
    monkeypatch.setattr(
        metrics, "representation", lambda model, noisy=False, seed=0: (noisy, seed)
    )
    study = FactorStudy("factors", None, {}, measure_every=3)
    (config,) = study.configs("dsprites", seed=3, votes=200, points=40)
    run = Run(study, config, None, None, None, None)
    found = factor_study.sampled_scores(run)
    assert found == {"factor_vae": 0.25, "mig": 0.75}
    sizes = {"points": 40, "seed": 3}
    votes = {"votes": 200, "test_votes": 100}
    assert given == [
        ((True, 3), "factor_vae_score", {**votes, **sizes}),
        ((True, 3), "mig", sizes),
    ]
    given.clear()
    assert study.watch(config, None, None) == {"mig": 0.75}
    assert given == [((False, 0), "mig", sizes)]


def test_a_dimension_is_used_above_the_least_rate_of_its_channel(monkeypatch):
    # An Echo dimension at its lowest rate is as idle as a Gaussian one at 0 nats.
    monkeypatch.setattr(factor_study, "test_images", lambda run: None)
    config = {"batch_size": 2}
    for make in (objectives.vae, objectives.echo):
        model = make(*small_networks(), 4)
        (channel,) = find_layers(model, Channel)
        least = -math.log(channel.r) if make is objectives.echo else 0.0
        found = np.array([0.0, 0.09, 0.11, 3.0]) + least
        monkeypatch.setattr(metrics, "rate_by_dimension", lambda *_, f=found: f)
        run = Run(None, config, model, None, None, None)
        used = factor_study.used_dimensions(run)
        assert used.tolist() == [False, False, True, True]


def test_each_seed_removes_its_own_pairs_of_factors(monkeypatch):
    asked = []

    def load(name, data_dir, seed):
        asked.append((name, seed))
        return SimpleNamespace(name=name, description="", source="", checksum="")

    monkeypatch.setattr(factor_study.factors, "load", load)
    study = FactorStudy("factors", None, {"removed_pairs": "own"})
    for name, changes in (
        ("dsprites_dependent", {}),
        ("dsprites_dependent", {"removed_pairs": "shared"}),
        ("dsprites", {}),
    ):
        for config in study.configs(name, seed=4, runs=2, **changes):
            study.load(config, "somewhere")
    # What does not change from seed to seed is read once.
    assert asked == [
        ("dsprites_dependent", 4),
        ("dsprites_dependent", 5),
        ("dsprites_dependent", 0),
        ("dsprites", 0),
    ]
    with pytest.raises(ValueError, match="own, shared. Received: removed_pairs='all'"):
        study.load({**config, "removed_pairs": "all"})


def test_a_list_has_a_name_and_is_said():
    study = Study("mine", None, protocol={"others": ["a"], "epochs": 9})
    (config,) = study.configs(others=["b", "c"])
    assert study.run_name(config) == "digits-othersb+c-seed0"
    assert "others b and c (paper a)" in study.deviations(config)


# Wrong input


@pytest.mark.parametrize(
    ("study", "arguments", "sentence"),
    [
        ({}, {"runs": 0}, "runs must be an integer >= 1. Received: runs=0"),
        ({}, {"seed": -1}, "seed must be an integer >= 0. Received: seed=-1"),
        ({}, {"beta": 0.5}, "must have a list of values. Received: beta=0.5"),
        ({}, {"beta": []}, r"must have a list of values. Received: beta=\[\]"),
        ({"vary": {"beta": "vae"}}, {}, "list of values. Received: beta='vae'"),
        ({"vary": {("a", "b"): [(1,)]}}, {}, r"must be tuples of 2. Received: \(1,\)"),
        ({}, {"dataset": ["digits"]}, "dataset must be a name, as tiny does not"),
        ({"vary": {"f": [np.zeros(2)]}}, {}, "or lists of them. Received: f=array"),
        ({"vary": {"f": [np.tanh]}}, {}, "must be numbers, texts, None .*: f=<ufunc"),
        ({"protocol": ["epochs"]}, {}, r"protocol must be a dict.*\['epochs'\]"),
        ({"configure": lambda c: None}, {}, "configure must leave a configuration"),
        ({"configure": lambda c: [c]}, {}, "configure must return a configuration or"),
    ],
)
def test_configurations_of_wrong_input_are_refused(study, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(STUDY, **study).configs(**arguments)


def test_numpy_scalars_become_numbers_that_records_hold():
    vary = {"beta": np.array([0.5], "float32"), "k": np.arange(2)}
    configs = dataclasses.replace(STUDY, vary=vary).configs()
    assert [(c["beta"], c["k"]) for c in configs] == [(0.5, 0), (0.5, 1)]
    assert json.loads(json.dumps(configs)) == configs


@pytest.mark.parametrize(
    ("study", "sentence"),
    [
        ({"build": None}, "build must be a function. Received: build=None"),
        ({"optimizer": "adam"}, "optimizer must be a function. Received: .*='adam'"),
        ({"loss": "mse"}, "loss must be a function. Received: loss='mse'"),
        ({"measures": {"a": 3}}, r"measures\['a'\] must be a function"),
        ({"measures": [len]}, "measures must be a dict from names to functions"),
        ({"echoes": "bank"}, "echoes must be a list of bank, batch"),
        ({"echoes": ["all"]}, r"echoes must be a list of .*Received: echoes=\['all'\]"),
        ({"vary": {"beta": [0.12345678, 0.12345679]}}, "twice, with another beta"),
        ({"vary": {"method": ["a/b"]}}, "must have no slash. Received: digits-a/b-"),
    ],
)
def test_what_would_fail_after_a_training_is_refused_before(tmp_path, study, sentence):
    study = dataclasses.replace(STUDY, **study)
    with pytest.raises(ValueError, match=sentence):
        study.run(study.configs(), tmp_path)
    assert not list(tmp_path.glob("*.json"))


def test_one_configuration_in_the_place_of_a_list_is_refused(tmp_path):
    with pytest.raises(ValueError, match="configs must be a list of dicts"):
        STUDY.run(STUDY.configs()[0], tmp_path)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"name": "other"}, "this configuration of other. Received: study=tiny"),
        (
            {"protocol": {**STUDY.protocol, "batch_size": 10}},
            "this configuration of tiny. Received: another batch_size",
        ),
    ],
)
def test_a_record_of_another_study_is_not_taken_for_this_one(finished, other, sentence):
    study = dataclasses.replace(STUDY, **other)
    with pytest.raises(ValueError, match=sentence):
        study.run(study.configs(), finished[0])


def test_a_model_that_is_none_is_said_in_a_sentence(tmp_path):
    study = dataclasses.replace(STUDY, build=lambda config, dataset: None)
    with pytest.raises(RunsFailed, match="must return a keras.Model. Received: None"):
        study.run(study.configs(), tmp_path)


def test_workers_do_not_take_another_study_of_the_same_name():
    other = dataclasses.replace(STUDY, measures={"other": lambda run: 0.0})
    with pytest.raises(ValueError, match="What workers run must be"):
        reference(other.train_one)


def test_workers_find_a_study_of_a_script_whose_models_are_built_elsewhere(monkeypatch):
    study = dataclasses.replace(STUDY, name="elsewhere")
    script = sys.modules["__main__"]
    monkeypatch.setattr(script, "STUDY_OF_A_SCRIPT", study, raising=False)
    monkeypatch.setattr(script, "__file__", __file__, raising=False)
    assert reference(study.train_one)[1] == "STUDY_OF_A_SCRIPT.train_one"
