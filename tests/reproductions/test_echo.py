"""The Echo paper's scripts."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import traceback
import types

import echo_paper
import figure1
import figure4
import figure6
import figure7
import keras
import matplotlib.image
import numpy as np
import pytest
import rate_distortion
import table1
import table2
import table3
from echo_paper import METHODS, STUDY

from echo_keras import data, plots
from echo_keras.studies import parse, records

TINY = ["--epochs=2", "--train_limit=100", "--batch_size=50"]
NAME = "digits-{}-epochs2-batch_size50-learning_rate0.001-train_limit100-seed{}"

# Trainable weights of the paper's network (App. E), of 750 pseudo-inputs, and of a flow
# of four mean-only steps with three hidden layers of 640 units, with and without masks.
NETWORK, PSEUDO, FLOW, MASKED = 1_398_849, 750 * 784, 3_448_448, 1_781_008
FLOWS = {"vae-maf": 1, "iaf-prior": 1, "iaf-mmd": 1, "iaf-maf": 2, "iaf-vamp": 1}
# The paper's column, in millions.
COLUMN = {"vae-maf": 3.12, "iaf-prior": 3.12, "iaf-mmd": 3.12, "iaf-maf": 4.84}
COLUMN |= {"echo": 1.40, "vae": 1.40, "infovae": 1.40, "vae-vamp": 1.99}
COLUMN["iaf-vamp"] = 3.71


def config(method, **changes):
    (found,) = STUDY.configs("mnist", method=[method], **changes)
    return found


# Models


@pytest.mark.core
@pytest.mark.parametrize("method", METHODS)
def test_parameters_of_each_method(method):
    model = STUDY.build(config(method), data.load("digits", limit=50))
    pseudo, flows = PSEUDO * ("vamp" in method), FLOWS.get(method, 0)
    record = records.make("", {}, {}, model)
    assert record["dense_parameters"] == NETWORK + pseudo + flows * FLOW
    assert record["parameters"] == NETWORK + pseudo + flows * MASKED
    # The paper's numbers are met by half of the flows' kernels, without biases.
    half = (NETWORK + pseudo + flows * 1_720_320) / 1e6
    assert round(half, 2) == COLUMN[method]


def test_what_a_method_does_not_have_is_not_in_its_configuration():
    echo, vae, vamp = (config(m, batch_size=64) for m in ("echo", "vae", "vae-vamp"))
    assert echo_paper.echo_arguments(echo) == {
        "parametrization": "scaled",
        "sampling": "cyclic",
        "d_max": 63,
    }
    assert not {"d_max", "parametrization", "variant"} & set(vae)
    assert vamp["variant"] == "paper" and "variant" not in echo
    # What App. C and footnote 1 mention is named where it is asked for alone.
    assert not {"scale", "multiplicative"} & {*echo, *vae}
    other = config("echo", scale="triangular", multiplicative=True)
    assert echo_paper.label(other) == "Echo (triangular S) (multiplicative)"
    channel = STUDY.build(other, data.load("digits", limit=9)).get_layer("bottleneck")
    assert channel.channel.scale == "triangular" and channel.channel.multiplicative
    published = STUDY.configs(method=["vae", "iaf-mmd"], variant="published_code")
    assert [echo_paper.label(c) for c in published] == [
        "VAE",
        "IAF+MMD (published code)",
    ]


@pytest.mark.parametrize(
    ("method", "variant", "weight"),
    [("iaf-mmd", "paper", 999), ("iaf-mmd", "published_code", 0)],
)
def test_the_published_mmd_has_no_weight(method, variant, weight):
    model = STUDY.build(config(method, variant=variant), data.load("digits", limit=9))
    assert model.get_layer("mmd").initial_weight == weight


# Tables, from records made by hand


def record(neg_elbo, method="echo", seed=0, **changes):
    test = {"rate": 20.0, "distortion": neg_elbo - 20.0, "neg_elbo": neg_elbo}
    (found,) = STUDY.configs("binary_mnist", seed=seed, method=[method], **changes)
    return {
        "config": found,
        "test": {"batch": test, "bank": test},
        "parameters": 1_398_849,
        "dense_parameters": 1_398_849,
        "data": {"description": "d"},
        "device": "a device",
        "versions": {"backend": "b"},
    }


def rows(text):
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if "|" in line]
    return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}


def test_the_difference_is_in_units_of_the_papers_sigma():
    text = table1.TABLE.render([record(89.16)])
    assert rows(text)["Echo"]["difference"] == "+2.0"  # (89.16 - 88.8) / .18
    assert "## binary_mnist: the paper's protocol" in text


def test_the_vae_has_a_row_at_its_best_validation_epoch():
    def trained(run, *values):
        return {**run, "history": [{"val_neg_elbo": v} for v in values]}

    early = record(88.0, "vae")
    stopped = {"epoch": 1, "test": early["test"]}
    runs = [trained(record(89.0), 2.0, 1.0)]
    runs += [{**trained(record(90.0, "vae"), 1.0, 2.0), "best": stopped}]
    found = rows(table1.TABLE.render(runs))
    name = "VAE, at its best validation epoch ({})"
    assert {k: row["-ELBO"] for k, row in found.items()} == {
        "Echo": "89.00",
        "VAE": "90.00",
        name.format(1): "88.00",
    }
    # Echo has to be below both.
    runs = [
        {**run, "data": {**run["data"], "training_examples": 50_000}} for run in runs
    ]
    text = table1.TABLE.render(runs)
    assert f"{name.format(1)} 88.00; does not agree" in text
    # A record of before it was kept: the row is there if the last epoch is the best.
    for values, last in (((2.0, 1.0), True), ((1.0, 2.0), False)):
        found = rows(table1.TABLE.render([trained(record(90.0, "vae"), *values)]))
        assert (name.format(2) in found) == last


def test_ten_runs_lose_the_highest_and_the_lowest():
    values = [0.0, *[90.0 + i for i in range(8)], 1000.0]
    runs = [record(value, "vae", seed) for seed, value in enumerate(values)]
    row = rows(table1.TABLE.render(runs))["VAE"]
    assert (row["runs"], row["-ELBO"]) == ("8 of 10", "93.50")
    # Standard deviation of 90, ..., 97 with n - 1 in the denominator: sqrt(6).
    assert row["sigma"] == "2.45"
    assert rows(table1.TABLE.render(runs[:-1]))["VAE"]["runs"] == "9 of 9"


def test_echo_is_compared_in_standard_errors():
    runs = [record(v, seed=s) for s, v in enumerate((88.0, 90.0))]
    runs += [record(v, "vae", s) for s, v in enumerate((91.0, 93.0))]
    # Each mean has the standard error sqrt(2) / sqrt(2) = 1.
    text = table1.TABLE.render(runs)
    assert "Echo - VAE: -3.00 nats of -ELBO, -2.1 standard errors" in text


def test_other_betas_belong_to_the_curve():
    runs = [record(89.0), record(70.0, beta=0.1)]
    assert rows(table1.TABLE.render(runs))["Echo"]["-ELBO"] == "89.00"


def test_the_curve_shares_the_runs_of_table_1():
    curve = rate_distortion.STUDY
    for one in curve.configs(method=["echo", "vae"], beta=[1.0]):
        fixed = STUDY.configs(method=[one["method"]])[0]
        assert curve.run_name(one) == STUDY.run_name(fixed) and one == fixed


def curve(method, *points):
    runs = [record(40.0, method, beta=1.0 + beta) for beta, _ in enumerate(points)]
    for run, (rate, distortion) in zip(runs, points, strict=True):
        test = {"rate": rate, "distortion": distortion, "neg_elbo": rate + distortion}
        errors = {f"{key}_se": 0.1 for key in test}
        run["test"]["batch"] = {**test, **errors}
        run |= {"measures": {}, "seconds": 1.0}
    return runs


def test_methods_are_ranked_by_area_and_fronts_are_marked():
    runs = curve("echo", (10, 30), (15, 50), (20, 20)) + curve(
        "vae", (10, 40), (20, 30)
    )
    text = rate_distortion.TABLE.render(runs)
    assert re.findall(r"\| (yes|no) \|", text) == ["yes", "no", "yes", "yes", "yes"]
    # Trapezoids over the rates from 10 to 20.
    assert "10.00 to 20.00" in text
    assert "Echo 250.0 (mean distortion 25.00); VAE 350.0 (mean" in text
    # Of the halves 10 to 15 and 15 to 20.
    assert "VAE - Echo +10.0 nats at rates of 10 to 15 and +10.0 nats at" in text
    apart = rate_distortion.TABLE.render(curve("echo", (1, 9)) + curve("vae", (5, 9)))
    assert "rates do not overlap" in apart and "VAE - Echo" not in apart


def test_slopes_of_a_curve_are_compared_with_its_betas():
    """D = -log R has the slope -1 / R, which is that of beta = 1 / R."""
    betas = [0.1, 0.2, 0.5, 1.0]
    runs = curve("echo", *[(1 / beta, math.log(beta)) for beta in betas])
    for run, beta in zip(runs, betas, strict=True):
        run["config"]["beta"] = beta
    slopes = rate_distortion.slopes_are_those_of_beta
    assert slopes(runs)[0] == "3 of 3 chords between two betas"
    runs[0]["test"]["batch"]["distortion"] = 9.0
    assert slopes(runs)[0] == "2 of 3 chords between two betas"


def test_pairs_of_table_2_are_given_by_a_flag():
    options = ["--settings=0:1,1:20", "--methods=vae", "--datasets=dsprites"]
    configs = table2.main.configs(parse(table2.main.flags(), options))
    assert [(c["beta"], c["gamma"]) for c in configs] == [(0, 1), (1, 20)]
    assert {c["dataset"] for c in configs} == {"dsprites"}
    echo = {**configs[1], **echo_paper.ECHO, "method": "echo", "d_max": 7}
    model = table2.build(echo, None)
    assert model.get_layer("bottleneck").channel.d_max == 7
    assert model.get_layer("tc").initial_weight == 20.0


# Runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Table 1 of two methods on 100 digits; and who called `fit`."""
    out, stacks, fit = tmp_path_factory.mktemp("table1"), [], keras.Model.fit

    def noted(self, *args, **kwargs):
        stacks.append(traceback.extract_stack())
        return fit(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "fit", noted)
        table1.main(["table1", f"--out_dir={out}", *TINY])
    return out, stacks


def load(out, method, seed=0):
    return json.loads((out / f"{NAME.format(method, seed)}.json").read_text())


def test_few_functions_lie_between_main_and_fit(finished, repository):
    ours = [
        frame.name
        for frame in finished[1][0]
        if str(repository) in frame.filename
        and "site-packages" not in frame.filename
        and "/tests/" not in frame.filename
        and frame.name != "<genexpr>"
    ]
    assert ours == [
        *("__call__", "run", "run_all", "outcome", "train_one", "train", "fit"),
    ]


def test_a_record_says_how_it_came_about(finished):
    found = load(finished[0], "echo")
    assert found["config"]["train_limit"] == found["data"]["training_examples"] == 100
    echo = {key: found["config"].get(key, of) for key, of in echo_paper.ECHO.items()}
    assert echo == echo_paper.ECHO  # d_max None is the batch less one
    for echoes in ("batch", "bank"):
        test = found["test"][echoes]
        total = test["rate"] + test["distortion"]
        assert test["neg_elbo"] == pytest.approx(total, rel=1e-6)
        assert test["neg_elbo_se"] > 0
    assert len(found["test"]["rate_by_dimension"]) == 32
    assert found["test"]["training_set"]["log_n"] == pytest.approx(math.log(100))


def test_figures_are_pictures(finished):
    names = sorted(path.name for path in finished[0].glob("*.png"))
    protocol = "digits-epochs2-batch_size50-learning_rate0.001-train_limit100"
    kinds = [
        f"{NAME.format(method, 0)}-{kind}.png"
        for method in ("echo", "vae")
        for kind in ("reconstructions", "generations")
    ]
    assert names == sorted([f"{protocol}-curves.png", *kinds])
    for name in names:
        # Something is drawn: neither one colour nor unreadable.
        assert matplotlib.image.imread(finished[0] / name).std() > 0.05


def test_other_scripts_draw_and_measure_the_same_models(finished, monkeypatch, capsys):
    out, _ = finished
    monkeypatch.setattr(keras.Model, "fit", None)  # nothing is trained again
    arguments = [f"--out_dir={out}", *TINY]
    rate_distortion.main(["rate_distortion", *arguments, "--betas=1", "--shown=1"])
    table3.main(["table3", *arguments, "--draws=200"])
    figure6.main(["figure6", *arguments, "--codes=1"])
    figure7.main(["figure7", *arguments, "--codes=1"])
    assert capsys.readouterr().out.count("not run again") == 6
    (path,) = (out / "table3").glob("*.json")
    tc = records.load(path)["measures"]["total_correlation"]
    assert f"| digits | Echo | {tc:.2f} |" in (out / "table3.md").read_text()
    prefix = "digits-epochs2-batch_size50-learning_rate0.001-train_limit100"
    for name in ("rate_distortion.md", "rate_distortion.png", "matched_rates.png"):
        assert (out / f"{prefix}-{name}").exists()
    text = (out / f"{prefix}-figure6.md").read_text()
    assert re.search(r"\| Echo \| \d+ of 32 \|", text)
    assert "pointwise information" in (out / f"{prefix}-figure7.md").read_text()


def test_a_killed_run_ends_with_the_same_table(finished, tmp_path):
    """SIGKILL in mid-epoch; float noise of the CPU's threads is what may differ."""
    arguments = [f"--out_dir={tmp_path}", "--methods=echo", *TINY]
    name = NAME.format("echo", 0)
    killed = subprocess.Popen(
        [sys.executable, table1.__file__, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    checkpoint = tmp_path / "checkpoints" / name / "checkpoint.keras"
    while not checkpoint.exists():
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)  # before the second epoch and the record
    killed.wait()
    assert not (tmp_path / f"{name}.json").exists()
    table1.main(["table1", *arguments])
    first, second = load(finished[0], "echo"), load(tmp_path, "echo")
    assert len(second["history"]) == 2
    for echoes in ("batch", "bank"):
        expected = pytest.approx(first["test"][echoes], rel=1e-3, abs=1e-2)
        assert second["test"][echoes] == expected


def test_a_bad_data_dir_is_not_replaced_by_another_source(tmp_path):
    with pytest.raises(SystemExit, match="^data_dir must hold binary_mnist"):
        table1.main(
            [
                "table1",
                f"--out_dir={tmp_path}",
                "--dataset=binary_mnist",
                f"--data_dir={tmp_path}",
            ]
        )


def test_figure_1_tells_gaussian_noise_from_its_output_and_not_echo_noise(tmp_path):
    figure1.main(["figure1", f"--out_dir={tmp_path}"])
    text = (tmp_path / "figure1.md").read_text()
    found = dict(re.findall(r"\| (Gaussian|Echo) \| (0\.\d+) \|", text))
    # Of 20,000 points half are classified rightly by chance, +- .0035.
    assert float(found["Gaussian"]) > 0.52 > float(found["Echo"]) > 0.48
    assert matplotlib.image.imread(tmp_path / "figure1.png").std() > 0.05


def test_figure_4_needs_a_model(tmp_path):
    with pytest.raises(SystemExit, match="must hold models of Table 2.*Received: none"):
        figure4.main(["figure4", f"--out_dir={tmp_path}"])
    with pytest.raises(SystemExit, match="--model must be a .keras file"):
        figure4.main(["figure4", f"--out_dir={tmp_path}", "--model=no.keras"])


def test_figure_4_draws_the_echo_model_of_the_highest_mig_that_is_left(monkeypatch):
    def run(method, dataset, mig):
        (config,) = table2.STUDY.configs(
            [dataset], method=[method], steps=int(100 * mig)
        )[:1]
        return {"config": config, "measures": {"scores": {"mig": mig}}}

    runs = [run("echo", "dsprites", mig) for mig in (0.1, 0.4, 0.3)]
    runs += [run("vae", "dsprites", 0.9), run("echo", "dsprites_dependent", 0.8)]
    monkeypatch.setattr(figure4.records, "read", lambda out: runs)

    def models(self, out, configs):  # the best one is gone
        assert [c["steps"] for c in configs] == [40, 30, 10]
        return ((config, "model") for config in configs[1:])

    monkeypatch.setattr(type(table2.STUDY), "models", models)
    model, name = figure4.best_echo(None)
    assert model == "model" and "steps30" in name
    seen = []
    monkeypatch.setattr(
        type(table2.STUDY), "models", lambda self, out, configs: seen.extend(configs)
    )
    setting = runs[0]["config"]["beta"], runs[0]["config"]["gamma"]
    with contextlib.suppress(TypeError):  # there are no models to go through
        figure4.best_echo(None, setting)
    assert len(seen) == 3
    with contextlib.suppress(TypeError):
        figure4.best_echo(None, (0.0, 1.0))
    assert len(seen) == 3


def test_the_curve_of_table_2_is_over_thousands_of_steps(monkeypatch, tmp_path):
    def run(seed, *migs):
        (config,) = table2.STUDY.configs(
            ["dsprites"], method=["echo"], seed=seed, steps=9000
        )[:1]
        history = [{} if mig is None else {"measured": {"mig": mig}} for mig in migs]
        return {"config": config, "history": history}

    runs = [run(0, None, None, 0.1, None, None, 0.2), run(1), run(2, None, None, 0.3)]
    seen = {}
    monkeypatch.setattr(
        plots, "scatter", lambda groups, *axes: seen.update(groups, axes=axes)
    )
    results = types.SimpleNamespace(runs=runs, path=lambda name: tmp_path / name)
    table2.draw(results)
    assert seen.pop("axes")[0] == "thousands of steps"
    (label,) = seen
    assert label == "Echo, independent, beta 1, gamma 0"
    assert seen[label] == [(3.0, 0.1), (6.0, 0.2), (3.0, 0.3)]


def test_gaussian_noise_in_figure_1_has_the_power_of_echo_noise():
    _, noise = figure1.draws(4000, 0)
    gaussian, echo = (
        noise[name][0].var(axis=0).mean() for name in ("Gaussian", "Echo")
    )
    # The variance of 8,000 normal values has a relative standard error of .016.
    assert gaussian == pytest.approx(echo, rel=0.07)


@pytest.mark.parametrize("settings", ["1", "a:b", "1:2:3", "1:-1", ""])
def test_settings_that_are_no_pairs_are_refused(settings, tmp_path):
    arguments = [f"--out_dir={tmp_path}", f"--settings={settings}"]
    with pytest.raises(SystemExit, match="--settings must be .*Received: "):
        table2.main(["table2", *arguments])


@pytest.mark.parametrize("variant", ["paper", "published_code"])
def test_the_published_code_starts_all_pseudo_inputs_at_one_image(variant):
    model = STUDY.build(
        config("vae-vamp", variant=variant), data.load("digits", limit=9)
    )
    pseudo = np.asarray(model.get_layer("pseudo").weights[0])
    assert (pseudo.std(axis=0).max() < 1e-3) == (variant == "published_code")


def test_each_script_has_its_own_flags():
    def flags(script):
        return {option.name for option in script.main.flags()}

    assert "beta" not in flags(table1) and "betas" in flags(rate_distortion)
    assert {"steps", "settings", "votes"} <= flags(table2)
    assert "epochs" not in flags(table2) and "methods" not in flags(table3)
    assert {o.name for o in figure1.main.options} == {"points", "seed", "out_dir"}
    assert "runs" not in flags(figure6) | flags(figure7)


def test_the_highest_rates_are_shown_and_the_lowest():
    rates = np.random.default_rng(0).permutation(32)
    assert rates[figure6.choose(rates)].tolist() == [*range(31, 22, -1), 3, 2, 1, 0]


def test_activations_are_several_codes_of_each_image():
    class Bottleneck:
        def encode(self, features):
            return 7.0 * features

        def channel(self, inputs):
            return inputs  # not what a standardized z would be

        def rate_by_dimension(self, features):
            return np.tile(np.arange(4.0), (len(features), 1))

    class Model:
        def get_layer(self, name):
            if name == "bottleneck":
                return Bottleneck()
            return type("Encoder", (), {"predict": lambda self, x, verbose: x})()

    codes, rates = figure6.activations(Model(), np.ones((5, 4)), 3)
    assert (
        codes.shape == (15, 4) and codes.min() == 7.0 and rates.tolist() == [0, 1, 2, 3]
    )
    rng = np.random.default_rng(2)
    sample = np.stack([rng.normal(size=5000), rng.uniform(size=5000)], axis=1)
    counts, cells = figure6.normality(sample, seed=0)
    assert counts[1] == 1 and cells[2] == "1 of 2"  # the uniform one
