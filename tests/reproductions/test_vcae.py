"""The scripts of Variance Constrained Autoencoding."""

from types import SimpleNamespace

import numpy as np
import pytest
from render import script

from echo_keras import data
from echo_keras.studies import Results, parse, records
from echo_keras.training.schedules import learning_rates

table1, table2, table3, table6, toy, figure8, proposition1 = (
    script("vcae", name)
    for name in (
        *("table1", "table2", "table3", "table6", "toy", "figure8"),
        "proposition1",
    )
)
vcae_paper = vars(__import__("vcae_paper"))
TINY = ["--epochs=1", "--train_limit=60", "--batch_size=30", "--filters=2"]


def configs(module, *arguments):
    options = parse(module.main.flags(), arguments)
    return module.main.configs(options)


# Protocols


def test_vae_with_a_flow_trains_twice_as_long_at_a_tenth_of_the_rate():
    found = {c["method"]: c for c in configs(table2, "--dataset=mnist")}
    assert (found["vae"]["epochs"], found["vae-iaf"]["epochs"]) == (100, 200)
    assert found["vae-iaf"]["learning_rate"] == pytest.approx(1e-4)
    said = table2.STUDY.deviations(found["vae-iaf"])
    assert said == "the paper's protocol, on 50,000 of 60,000 training images"


def test_weights_and_latent_dimensions_are_those_of_the_data():
    mnist = {c["method"]: c for c in configs(table2, "--dataset=mnist")}
    celeba = {c["method"]: c for c in configs(table2, "--dataset=celeba")}
    assert (mnist["vcae"]["weight"], celeba["cwae"]["weight"]) == (0.1, 750.0)
    assert (mnist["vae"]["latent_dim"], celeba["vae"]["latent_dim"]) == (16, 64)
    assert "weight" not in mnist["vae"] and "noise" not in mnist["vae"]


def test_the_rate_of_learning_is_cut_at_the_same_shares_of_fewer_epochs():
    (config,) = configs(table2, "--dataset=mnist", "--models=vcae", "--epochs=10")
    assert table2.STUDY.schedule(config) == [(3.0, 0.5), (5.0, 0.1)]
    (config,) = configs(table2, "--models=vcae", "--schedule=constant")
    assert table2.STUDY.schedule(config) == "constant"


@pytest.mark.parametrize("epochs", [10, 15, 100])
def test_vae_with_a_flow_has_the_papers_share_of_learning_at_any_length(epochs):
    learned = {}
    arguments = ["--dataset=mnist", "--models=vae,vae-iaf"]
    arguments += [] if epochs == 100 else [f"--epochs={epochs}"]
    for config in configs(table2, *arguments):
        rate = learning_rates(
            *(config["learning_rate"], config["epochs"], 100),
            table2.STUDY.schedule(config),
        )
        steps = range(0, 100 * config["epochs"], 10)
        learned[config["method"]] = sum(float(rate(step)) for step in steps)
    # Of 100 epochs at 1e-3 and 200 at 1e-4, cut to a half after 30, a tenth after 50.
    paper = (30 + 20 / 2 + 150 / 10) / 10 / (30 + 20 / 2 + 50 / 10)
    assert learned["vae-iaf"] / learned["vae"] == pytest.approx(paper, rel=0.02)


def test_tables_2_and_6_share_their_runs():
    (two,) = configs(table2, "--dataset=mnist", "--models=vcae")
    six = configs(table6, "--dataset=mnist", "--constraints=vcae")
    assert [c["weight"] for c in six] == [0.05, 0.1, 0.5, 1.0, 1.5]
    assert six[1] == two
    assert table6.STUDY.run_name(six[1]) == table2.STUDY.run_name(two)


def test_the_rows_of_table_1():
    found = configs(table1, "--dataset=mnist")
    assert len(found) == 7 and {c["train_limit"] for c in found} == {600}
    assert {c["flow_epochs"] for c in found} == {None}
    assert [c.get("noise") for c in found] == [0.2, 0.2, 0.1, 0.1, None, None, None]


@pytest.mark.parametrize("method", ["vae", "vae-iaf", "vcae", "cwae", "dvcae", "wae"])
def test_every_method_has_its_constraint(method):
    digits = data.load("digits", limit=9)
    config = {"method": method, "latent_dim": 2, "filters": 2, "weight": 3.0}
    config |= {"noise": 0.1} if method in ("vcae", "cwae") else {}
    model = vcae_paper["build"](config, digits)
    names = {layer.name for layer in model.layers}
    assert ("variance" in names, "mmd" in names) == (
        method in ("vcae", "dvcae"),
        method in ("cwae", "wae"),
    )
    kind = type(model.get_layer("bottleneck")).__name__
    assert (kind == "DeterministicBottleneck") == (method in ("dvcae", "wae"))


# Runs


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Table 2 of one model, with its second stage."""
    out = tmp_path_factory.mktemp("vcae")
    arguments = ["--models=vcae", "--flow_epochs=1", "--compared=30"]
    table2.main(["table2", f"--out_dir={out}", *TINY, *arguments])
    return out


def test_table_2_measures_errors_and_images_of_every_sampler(out):
    (run,) = records.read(out)
    errors = {run["measures"][k]["error"] for k in ("train", "train_mean", "test_mean")}
    assert len(errors) == 3 and min(errors) > 0
    fid = run["measures"]["fid"]
    assert fid["images"] == 30 and fid["features"] == "FID-digits_classifier"
    for codes in ("prior", "gaussian", "flow", "posterior"):
        assert fid[codes] > fid["training images"] > 0
    text = (out / "table2.md").read_text()
    # The only lambda is the chosen one; one run of one epoch.
    errors = f"{run['measures']['train']['error']:.2f} | "
    assert f"| VCAE | yes | 0.1 | 1 | 1 | {errors}" in text
    flow = run["measures"]["flow"]
    assert f"| {flow['train']:.2f} | {flow['test']:.2f} |" in text
    assert "% right" in text
    assert list(out.glob("*-generated.png"))


def test_the_flow_is_fitted_once_and_kept(out, monkeypatch):
    monkeypatch.setattr(vcae_paper["latent_flow"], "fit_latent_flow", None)
    (run,), digits = records.read(out), data.load("digits", limit=60)
    config = run["config"]
    ((_, model),) = table2.STUDY.models(out, [config])
    folder = table2.STUDY.folder(out, config)
    kept = vcae_paper["second_stage"](model, digits, config, folder)
    assert tuple(kept.sample(3).shape) == (3, 16)
    # As in the paper only the prior of VAE + IAF is sampled.
    iaf = {**config, "method": "vae-iaf"}
    assert vcae_paper["second_stage"](model, digits, iaf, folder) is None


def test_table_2_draws_traversals_and_histograms(out):
    names = [path.name for path in out.glob("*.png")]
    for ending in ("vcae-traversal.png", "histograms.png"):
        assert sum(name.endswith(ending) for name in names) == 1


def test_figure_8_measures_codes_and_what_the_flow_makes_of_them(tmp_path):
    options = parse(figure8.main.flags(), [*TINY, "--flow_epochs=1"])
    (config, _) = figure8.main.configs(options)
    runs = figure8.STUDY.run([config], tmp_path)
    # Of nothing generated, so that no classifier is trained.
    assert not (tmp_path / "features").exists()
    found = runs[0]["measures"]
    assert found["clouds"]["codes"]["mmd"] != found["clouds"]["inverse"]["mmd"]
    assert f"{found['flow']['test']:.2f} |" in figure8.TABLE.render(runs)
    figure8.draw(Results(figure8.STUDY, [config], runs, tmp_path, options))
    assert list(tmp_path.glob("*-figure8.png"))


def test_the_inverse_of_a_flow_is_nearer_to_the_normal_law_or_not():
    def run(before, after):
        clouds = {
            name: {"mmd": mmd, "mmd_se": 0.01}
            for name, mmd in (("codes", before), ("inverse", after))
        }
        return {"config": {"method": "vcae"}, "measures": {"clouds": clouds}}

    assert figure8.nearer([run(0.2, 0.1)]) == ("MMD VCAE 0.2000 to 0.1000", True)
    assert figure8.nearer([run(0.2, 0.1), run(0.1, 0.2)])[1] is False
    assert figure8.nearer([run(0.2, 0.1), run(0.11, 0.1)])[1] is None


# Proposition 1


def test_noise_on_the_code_costs_what_eq_5_says(tmp_path):
    arguments = ["--epochs=2", "--train_limit=300", "--noises=0.05"]
    proposition1.main(["proposition1", f"--out_dir={tmp_path}", *arguments])
    (run,) = records.read(tmp_path)
    found = {
        part["config"]["added"]: part["of_eq5"]
        for part in proposition1.by_variance(run)
    }
    assert list(found) == proposition1.ADDED
    # Networks that have hardly learned are nearly linear within so little noise.
    assert found[0.01] == pytest.approx(1, abs=0.1)
    share = proposition1.share([run])
    assert 1 / 8 < share < 1
    text = (tmp_path / "proposition1.md").read_text()
    assert "over Eq. 5, at variance 0.0001" in text and text.count("| 0.05 |") >= 6


def test_claims_of_proposition_1():
    def run(noise, jacobian, seed, curvature=0.0):
        config = {"noise": noise, "seed": seed}
        slopes = {"jacobian": jacobian, "curvature": curvature}
        added = {f"{v:g}": {"error": v * 5.0} for v in proposition1.ADDED}
        measures = {"jacobian": slopes, "added": {"by_variance": added}}
        return {"config": config, "measures": measures}

    runs = [run(n, j + s / 10, s) for n, j in ((0.01, 9), (0.2, 4.9)) for s in (0, 1)]
    assert proposition1.smooths(runs) == ("9.1 at 0.01, 5.0 at 0.2", True)
    assert proposition1.smooths(runs[:1]) is None
    parts = [part for one in runs[2:] for part in proposition1.by_variance(one)]
    here, agrees = proposition1.eq5(parts)
    assert agrees is True and here.endswith("1.010 and 1.010 trained at 0.2")
    parts += [part for one in runs[:2] for part in proposition1.by_variance(one)]
    assert proposition1.eq5(parts)[1] is False
    (first, *_) = proposition1.by_variance(run(0.2, 6.0, 0, curvature=1.0))
    assert first["of_bent"] == pytest.approx(1.0)


def record(method, weight, error, variance, seed=0):
    config = {"method": method, "weight": weight, "seed": seed, "latent_dim": 2}
    return {
        "config": {**config, "noise": 0.1},
        "test": {"error": error},
        "measures": {"posterior": {"summed_variance": variance}},
    }


def test_a_lambda_is_chosen_by_the_variance_and_never_by_the_error():
    runs = [
        record(method, weight, error, variance, seed)
        for seed in (0, 1)
        for method, weight, error, variance in (
            ("vcae", 1.0, 0.5, 2.05),
            ("vcae", 2.0, 0.4, 2.0),  # nearer, but a greater lambda
            ("vcae", 10.0, 0.1, 2.4),  # a lower error, at more capacity
            ("cwae", 1.0, 0.1, 3.0),
            ("cwae", 10.0, 0.9, 1.95),
        )
    ]
    found = vcae_paper["chosen"](runs)
    assert {key: rows[0]["config"]["weight"] for key, rows in found.items()} == {
        ("vcae", 0.1): 1.0,
        ("cwae", 0.1): 10.0,
    }
    chosen = [vcae_paper["is_chosen"](runs, [run]) for run in runs[:5]]
    assert chosen == ["yes", "no", "no", "no", "yes"]
    here, agrees = vcae_paper["between_constraints"]("test.error", "error")(runs)
    assert agrees is True and here.startswith("0.50 against 0.90 error at noise 0.1")
    # Errors of .1 over three runs, .3 over two: 2 x hypot(.1 / 3^.5, .3 / 2^.5) = .44.
    few = [record("vcae", 1.0, e, 2.0, s) for s, e in enumerate((0.9, 1.0, 1.1))]
    for apart, told in ((0.40, None), (0.48, True)):
        far = [
            record("cwae", 1.0, 1.0 + apart + e, 2.0, s)
            for s, e in enumerate((-0.3 / 2**0.5, 0.3 / 2**0.5))
        ]
        verdict = vcae_paper["between_constraints"]("test.error", "error")(few + far)
        assert verdict[1] is told
    # 1/2 x 2 log(2.05 / 2 / .1) nats.
    assert vcae_paper["capacity"](runs[:1]) == pytest.approx(np.log(10.25))


def test_the_mixture_is_carried_into_100_dimensions_without_a_change():
    x, plane, component = toy.mixture(2000, seed=3)
    distances = [np.linalg.norm(a[:100] - a[100:200], axis=1) for a in (x, plane)]
    np.testing.assert_allclose(*distances, rtol=1e-5)
    means = np.array([plane[component == k].mean(axis=0) for k in range(4)])
    np.testing.assert_allclose(np.abs(means), 2.0, atol=0.06)  # 4.5 standard errors
    assert not np.allclose(toy.mixture(5, seed=4)[0], x[:5])


def test_the_toy_trains_on_the_mixture(tmp_path):
    arguments = ["--epochs=15", "--examples=1000", "--batch_size=50"]
    arguments += ["--cwae_lambdas=10", "--vcae_lambdas=1"]
    toy.main(["toy", f"--out_dir={tmp_path}", *arguments])
    runs = records.read(tmp_path)
    assert [run["config"]["weight"] for run in runs] == [10.0, 1.0]
    for run in runs:
        # It has learned something: less than half of the variance about the mean.
        assert run["test"]["bank"]["distortion"] < 0.5 * 2 * (4 + 0.09)
    text = (tmp_path / "toy.md").read_text()
    assert "(examples 1,000, epochs 15)" in text and " 0.067 |" in text
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_filters_are_of_images_alone():
    image, *_ = configs(toy, "--dataset=mnist", "--filters=8")
    assert image["filters"] == 8
    assert "filters" not in configs(toy)[0]
    with pytest.raises(ValueError, match="filters must be left alone"):
        configs(toy, "--filters=8")


def test_the_mixture_heeds_the_train_limit():
    config, *_ = configs(toy, "--examples=50", "--train_limit=20")
    assert len(toy.STUDY.load(config).x_train) == 20
    assert "examples 50, epochs 50, train limit 20" in toy.STUDY.deviations(config)


# Table 3


def shapes(method, seed, score, error=4000.0):
    (config,) = table3.STUDY.configs("shapes3d", seed=seed, method=[method])
    return {
        "config": config,
        "test": {"bank": {"rate": 1.0, "distortion": error}},
        "measures": {"scores": {"factor_vae": score, "mig": 0.1}},
        "history": [{"tc": 2.0}],
        "data": {"description": "d"},
        "device": "c",
        "versions": {"backend": "b"},
    }


def test_table_3_has_the_best_run_and_table_10_all():
    runs = [shapes("tc-vcae", 0, 0.5, 10.0), shapes("tc-vcae", 1, 0.7, 20.0)]
    best, every = (table.render(runs) for table in table3.main.tables)
    assert "| TC-VCAE | 1 | 20.0 | 3538.0 | 0.70 | 0.93 |" in best
    assert best.count("| TC-VCAE |") == 1
    assert "| TC-VCAE | 0 | 10.0 | 3538.5 | 0.50 | 0.93 |" in every
    assert "| TC-VCAE | 1 | 20.0 | 3578.9 | 0.70 | 0.69 |" in every


def test_table_3_draws_the_codes_of_the_best_runs(monkeypatch, tmp_path):
    runs = [shapes("tc-vcae", 0, 0.5), shapes("tc-vcae", 1, 0.7)]
    drawn = []
    monkeypatch.setattr(
        table3, "draw_codes", lambda results, names, models, x: drawn.extend(models)
    )
    monkeypatch.setattr(
        type(table3.STUDY), "models", lambda study, out, configs: configs
    )
    images = SimpleNamespace(sample=lambda n, random: None, images=lambda rows: None)
    results = SimpleNamespace(runs=runs, out=tmp_path, dataset=images)
    table3.draw(results)
    assert [config["seed"] for config in drawn] == [1]


@pytest.mark.parametrize("method", ["tc-vcae", "tc-cwae", "factorvae"])
def test_disentangling_models_have_total_correlation(method):
    model = table3.build({"method": method}, None)
    assert model.get_layer("tc").initial_weight == 7.0
    assert model.output_shape == (None, 64, 64, 3)
