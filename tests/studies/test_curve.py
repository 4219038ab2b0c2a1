"""A rate-distortion curve in one call: its numbers, its runs, what it refuses."""

import pickle
import shutil

import keras
import numpy as np
import pytest
from tools import array, small_networks

import echo_keras
from echo_keras import (
    autoencoder,
    losses,
    metrics,
    multi_rate,
    networks,
    objectives,
)
from echo_keras.layers import BetaRule, EchoBottleneck, EchoSample, TargetRateL1
from echo_keras.model import find_layers
from echo_keras.studies import RateDistortionCurve
from echo_keras.studies.curve_study import CurveStudy, train_of
from echo_keras.studies.runners import RunsFailed

X = np.random.RandomState(0).random_sample((24, 8)).astype("float32")


def build(beta):
    """From beta 4 on training leaves the weights as they are, but for rounding."""
    encoder, decoder = small_networks()
    model = objectives.echo(encoder, decoder, 2, beta, d_max=5, bank_size=12)
    step = 1e-12 if isinstance(beta, float) and beta >= 4 else 0.02
    model.compile(keras.optimizers.SGD(step, momentum=0.5), losses.Gaussian(0.5))
    return model


def run(name="a", beta=1.0, target=None, rate=2.0, distortion=9.0, seed=0):
    numbers = {"rate": rate, "distortion": distortion, "neg_elbo": rate + distortion}
    errors = {f"{key}_se": 0.25 for key in numbers}
    run = {"name": name, "beta": beta, "target": target, "seed": seed}
    return {**run, "last_beta": 3.0, "seconds": 1.5, **numbers, **errors}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    keras.utils.set_random_seed(0)
    out = tmp_path_factory.mktemp("curve")
    arguments = dict(validation=X[:10], epochs=1, batch_size=8, out=out)
    betas = [0.5, 2.0]
    return echo_keras.rate_distortion_curve(build, X, betas, seeds=2, **arguments), out


def test_points_have_the_spread_of_seeds_or_of_examples():
    rates = 2.0, 4.0, 9.0
    runs = [run(str(s), 1.0, rate=r, seed=s) for s, r in enumerate(rates)]
    one, many = RateDistortionCurve([*runs, run("b", 0.5, rate=1.0)]).points
    assert (many.rate, many.distortion, many.seeds) == (5.0, 9.0, 3)
    assert many.rate_se == pytest.approx(np.std(rates, ddof=1) / np.sqrt(3))
    assert many.distortion_se == 0.0
    assert (one.beta, one.rate_se, one.seeds) == (0.5, 0.25, 1)


def test_front_area_and_entropy_bound_of_known_points():
    runs = [
        run("a", 4.0, rate=0.0, distortion=10.0),
        run("b", 1.0, rate=2.0, distortion=4.0),
        run("c", 0.5, rate=3.0, distortion=6.0),
        run("d", 0.1, rate=6.0, distortion=2.0),
    ]
    curve = RateDistortionCurve(runs[::-1])
    assert [point.beta for point in curve.points] == [4.0, 1.0, 0.5, 0.1]
    assert [point.beta for point in curve.front] == [4.0, 1.0, 0.1]
    assert curve.area() == 2 * 7 + 4 * 3
    assert curve.area(2.0, 4.0) == 2 * 3.5
    assert curve.entropy_bound == 6.0 and curve.seconds == 6.0
    assert curve.nearest(2.6)["name"] == "c" and curve.nearest(-1)["name"] == "a"
    lines = curve.table().splitlines()
    assert lines[3] == "| 1 | 2.00 ± 0.25 | 4.00 ± 0.25 | 6.00 ± 0.25 | 1 | yes |"
    assert lines[4].endswith("| no |")


def test_a_target_is_shown_beside_the_beta_that_met_it():
    curve = RateDistortionCurve([run("a", None, 2.5)])
    assert curve.points[0].beta == 3.0 and curve.points[0].target == 2.5
    assert curve.table().splitlines()[2].startswith("| 2.5 | 3 | 2.00 ")


def test_the_figure_has_points_and_errors(tmp_path):
    curve = RateDistortionCurve([run(), run("b", 2.0, rate=1.0)], min_rate=0.5)
    figure = curve.plot(path=tmp_path / "a.png")
    (ax,) = figure.axes
    (bars,) = ax.containers
    ((start, end), _) = (line.get_segments()[0] for line in bars.lines[2])
    assert start.tolist() == [0.75, 9.0] and end.tolist() == [1.25, 9.0]
    assert (tmp_path / "a.png").stat().st_size > 1500
    assert curve.plot(ax) is figure


def test_a_saved_curve_finds_its_models_where_both_were_moved(trained, tmp_path):
    curve, out = trained
    curve.save(out / "curve.json")
    moved = shutil.copytree(out, tmp_path / "moved")
    found = RateDistortionCurve.load(moved / "curve.json")
    assert found.points == curve.points and found.min_rate == curve.min_rate
    assert found.folder.resolve() == moved
    rate = curve.runs[-1]["rate"]
    assert found.nearest(rate) == curve.runs[-1]
    model = found.at_rate(rate)
    assert float(find_layers(model, EchoBottleneck)[0].channel.beta.value) == 2.0
    (moved / "curve.json").write_text('{"schema": 2}')
    with pytest.raises(ValueError, match="must hold a rate-distortion curve.*schema"):
        RateDistortionCurve.load(moved / "curve.json")


def test_models_keep_their_own_loss_and_optimizer(trained):
    model = trained[0].at_rate(1.0)
    assert isinstance(model.loss, losses.Gaussian) and model.loss.variance == 0.5
    assert model.optimizer.momentum == 0.5
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
    assert int(model.optimizer.iterations) == 3  # one epoch of batches of 8


def test_numbers_are_those_of_held_out_examples(trained):
    curve, _ = trained
    assert [point.seeds for point in curve.points] == [2, 2]
    first = curve.runs[0]
    model = curve.at_rate(first["rate"])
    expected = echo_keras.metrics.evaluate(model, X[:10], samples=20)
    assert first["rate"] == pytest.approx(expected["rate"], rel=1e-5)
    assert first["distortion"] == pytest.approx(
        expected["distortion"], abs=5 * expected["distortion_se"]
    )
    assert curve.min_rate == pytest.approx(-2 * np.log(model.layers[2].channel.r))
    assert curve.described == "trained on 24 examples, measured on 10 others"


def test_finished_runs_are_read_and_others_are_trained(trained, capsys):
    curve, out = trained
    arguments = dict(validation=X[:10], epochs=1, batch_size=8, out=out)
    more = echo_keras.rate_distortion_curve(build, X, [0.5, 4.0], **arguments)
    printed = capsys.readouterr().out
    assert printed.count("finished before") == printed.count("started") == 1
    assert curve.runs[0] in more.runs

    def wider(beta):
        encoder, decoder = small_networks()
        model = objectives.echo(encoder, decoder, 3, beta, d_max=5, bank_size=12)
        model.compile(keras.optimizers.SGD(0.02), losses.Gaussian(0.5))
        return model

    with pytest.raises(ValueError, match="Received: another model. Choose another fol"):
        echo_keras.rate_distortion_curve(wider, X, [0.5], **arguments)
    with pytest.raises(ValueError, match="must be of the data found now"):
        echo_keras.rate_distortion_curve(build, X[1:], [0.5], **arguments)


def test_a_warm_start_goes_on_from_the_neighbours_weights(trained):
    curve, out = trained
    arguments = dict(validation=X[:10], epochs=1, batch_size=8, out=out)
    warm = echo_keras.rate_distortion_curve(
        build, X, [0.5, 8.0], warm_epochs=2, **arguments
    )
    first, second = warm.runs
    assert first == curve.runs[0]  # a cold start, the same run
    assert "epochs2" in second["name"] and "start0.5-start_epochs1" in second["name"]
    before, after = (
        keras.saving.load_model(out / "checkpoints" / r["name"] / "checkpoint.keras")
        for r in (first, second)
    )
    for a, b in zip(before.trainable_weights, after.trainable_weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
    channel = find_layers(after, EchoBottleneck)[0].channel
    assert float(channel.beta.value) == 8.0
    assert int(after.optimizer.iterations) == 6


def test_target_rates_reach_the_model_as_a_rule(tmp_path):
    arguments = dict(epochs=1, batch_size=12, out=tmp_path)
    curve = echo_keras.rate_distortion_curve(build, X, rates=[8.0, 12.0], **arguments)
    assert {point.target for point in curve.points} == {8.0, 12.0}
    last = {run["target"]: run["last_beta"] for run in curve.runs}
    # The rate at the start is between the targets: beta falls for one, rises for one.
    assert last[12.0] < 1.0 < last[8.0]
    assert curve.described.startswith("measured on the 24 training examples")
    found = []

    def own(beta):
        found.append(beta)
        return build(TargetRateL1(beta) if isinstance(beta, float) else beta)

    names = dict(rule=float, **{**arguments, "out": tmp_path / "own"})
    echo_keras.rate_distortion_curve(own, X, rates=[8.0], **names)
    assert set(found) == {8.0}
    names["rule"] = lambda rate: TargetRateL1(rate, weight=2.0)
    names["out"] = tmp_path / "l1"
    curve = echo_keras.rate_distortion_curve(own, X, rates=[8.0], **names)
    assert isinstance(found[-1], BetaRule) and curve.points[0].beta == 2.0


def test_labels_are_trained_on_and_measured(tmp_path):
    y = np.arange(24) % 3

    def classifier(beta):
        encoder, _ = small_networks()
        model = objectives.information_bottleneck(
            encoder, EchoBottleneck(2, d_max=5, beta=beta), 3
        )
        model.compile("adam", losses.CategoricalNLL())
        return model

    arguments = dict(epochs=1, batch_size=8, out=tmp_path)
    curve = echo_keras.rate_distortion_curve(
        classifier, X, [1.0], y=y, validation=(X[:9], y[:9]), **arguments
    )
    assert 0.5 < curve.points[0].distortion < 3  # log 3 = 1.10 for a guess
    with pytest.raises(ValueError, match="must be of the data found now"):
        echo_keras.rate_distortion_curve(
            classifier, X, [1.0], y=y[::-1], validation=(X[:9], y[:9]), **arguments
        )


def test_a_worker_makes_the_same_record_of_a_copy(tmp_path, monkeypatch):
    tasks = []

    def kept(function, runs, **kwargs):
        tasks.extend((function, run) for run in runs)
        raise RunsFailed({}, 0)

    monkeypatch.setattr("echo_keras.studies.runners.run_all", kept)
    arguments = dict(epochs=1, batch_size=12, out=tmp_path, workers=2)
    with pytest.raises(RunsFailed):
        echo_keras.rate_distortion_curve(build, X, [0.5, 2.0], **arguments)
    (function, task), _ = tasks
    assert function is train_of
    copy = pickle.loads(pickle.dumps(task))
    assert isinstance(copy["study"], CurveStudy)
    copy["folder"] = tmp_path / "other"
    one, other = (function(**t)["test"]["bank"] for t in (task, copy))
    assert one == pytest.approx(other, rel=1e-4)
    with pytest.raises(ValueError, match="must be a function at the top level"):
        echo_keras.rate_distortion_curve(lambda b: build(b), X, [1.0], **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"betas": None}, "betas or rates must be given, one of them"),
        ({"rates": [2.0]}, "betas or rates must be given, one of them"),
        ({"betas": [1.0, 1]}, "betas must all differ"),
        ({"betas": [-1.0]}, "betas must be a finite number >= 0"),
        ({"build": lambda beta: keras.Sequential()}, "must return a compiled keras"),
        (
            {"build": lambda beta: build(1.0), "betas": [1, 2]},
            "the same model for 1 and",
        ),
        (
            {"build": lambda rule: build(1.0), "betas": None, "rates": [2]},
            "as its beta",
        ),
        ({"validation": (X, X)}, "validation must be examples, and a pair"),
        ({"y": X}, "validation must be examples, and a pair"),
        ({"y": X[1:], "validation": None}, "y must be as many as the examples, 24"),
        ({"x": X[:, 1:]}, "the shape that the model takes, .None, 8.. Received: shape"),
        ({"seeds": 0}, "seeds must be an integer >= 1"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(changes, message, tmp_path):
    arguments = {"build": build, "x": X, "betas": [1.0], "validation": X}
    arguments |= {"out": tmp_path, **changes}
    with pytest.raises(ValueError, match=message):
        echo_keras.rate_distortion_curve(**arguments)
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_channel_is_refused(tmp_path):
    def deterministic(beta):
        model = objectives.vcae(*small_networks(), 2)
        model.compile("sgd", losses.Gaussian())
        return model

    with pytest.raises(ValueError, match="a channel.*with 0 channels"):
        echo_keras.rate_distortion_curve(deterministic, X, [1.0], out=tmp_path)


@pytest.mark.core
def test_the_curve_of_one_model_of_many_rates(tmp_path):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).integers(0, 2, (60, 8)).astype("float32")
    one = autoencoder(
        networks.dense_encoder((8,), (4,)),
        EchoBottleneck(2, d_max=8, bank_size=64, seed=0),
        networks.dense_decoder(2, (8,), (4,)),
    )
    one.compile("adam", loss=losses.Bernoulli())
    model = multi_rate(one, 0.5, 2.0, levels=3)
    model.fit(x, verbose=0)
    curve = RateDistortionCurve.from_model(model, x, label="one")
    assert [run["beta"] for run in curve.runs] == [0.5, 1.0, 2.0]
    for run in curve.runs:
        found = metrics.evaluate(model.at(run["beta"]), x)
        assert run["rate"] == pytest.approx(found["rate"], rel=1e-5)
        assert run["rate_se"] == pytest.approx(found["rate_se"], rel=1e-5)
    assert curve.min_rate == pytest.approx(
        find_layers(model, EchoSample)[0].min_rate, rel=1e-6
    )
    by_rate = sorted(curve.runs, key=lambda run: run["rate"])
    for rate, run in ((1e3, by_rate[-1]), (0.0, by_rate[0])):
        (channel,) = find_layers(curve.at_rate(rate), EchoSample)
        assert float(array(channel.beta)) == run["beta"]
    curve.save(tmp_path / "curve.json")
    again = RateDistortionCurve.load(tmp_path / "curve.json")
    assert again.points == curve.points
    with pytest.raises(ValueError, match="model must be a MultiRateModel"):
        RateDistortionCurve.from_model(one, x)


def test_slopes_of_an_optimal_curve_lie_between_the_betas():
    # Reverse water-filling: rate 1/2 log(1 / beta), distortion beta / 2, of variance 1.
    betas = np.geomspace(0.05, 0.8, 7)
    runs = [
        run(f"b{b}", float(b), rate=-0.5 * np.log(b), distortion=b / 2) for b in betas
    ]
    slopes = RateDistortionCurve(runs[::-1]).slopes
    assert len(slopes) == 6
    assert all(low < slope < high for low, high, slope in slopes)
    # The distortions of a worse model, which are higher, are told.
    runs[3] = run("worse", float(betas[3]), rate=runs[3]["rate"], distortion=0.9)
    outside = [not a < s < b for a, b, s in RateDistortionCurve(runs).slopes]
    assert outside == [False, False, True, True, False, False]


def test_the_slope_without_a_change_of_rate_is_infinite():
    flat = [run("a", 1.0, rate=2.0, distortion=9.0)]
    flat += [run("b", 2.0, rate=2.0, distortion=9.5)]
    assert RateDistortionCurve(flat).slopes == [(1.0, 2.0, np.inf)]
