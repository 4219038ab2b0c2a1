"""Tests of the training protocol: resume, logs, stops."""

import csv
import json

import keras
import numpy as np
import pytest
from keras import layers, ops
from tools import array

from echo_keras import losses
from echo_keras.layers import (
    EchoBottleneck,
    GaussianBottleneck,
    GaussianSample,
    MMDPenalty,
)
from echo_keras.model import RateDistortionModel
from echo_keras.training import Batches, StopOnNaN, best_epoch, run_folder, train

core = pytest.mark.core
TERMS = ("loss", "rate", "distortion", "neg_elbo")


def data(n=10, seed=0):
    x = np.random.RandomState(seed).random_sample((n, 6)) > 0.5
    return x.astype("float32")


def build():
    """A model with both kinds of noise, batch normalisation and a bank."""
    inputs = keras.Input((6,))
    features = layers.Dense(4, activation="tanh")(inputs)
    echo = EchoBottleneck(2, d_max=7, bank_size=16)(features)
    z = layers.Concatenate()([echo, GaussianBottleneck(2)(features)])
    return RateDistortionModel(inputs, layers.Dense(6)(z))


def run(directory, x=None, epochs=3, **arguments):
    arguments = {"batch_size": 4, "learning_rate": 0.01, "verbose": 0, **arguments}
    x = data() if x is None else x
    return train(arguments.pop("build", build), x, directory, epochs, **arguments)


class Killed(Exception):
    """Stands for a kill in the middle of an epoch."""


def kill_at(monkeypatch, epoch, batch):
    """Makes training die after this batch of this epoch, both counted from 0."""

    def on_train_batch_end(self, step, logs=None):
        if (self.epoch, step) == (epoch, batch):
            raise Killed

    monkeypatch.setattr(StopOnNaN, "on_train_batch_end", on_train_batch_end)


def interrupted_run(directory, epoch, batch, **arguments):
    with pytest.MonkeyPatch.context() as monkeypatch:
        kill_at(monkeypatch, epoch, batch)
        with pytest.raises(Killed):
            run(directory, **arguments)


def rows(directory):
    with open(directory / "log.csv") as file:
        return list(csv.DictReader(file))


def forbid_fit(monkeypatch):
    def fit(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(keras.Model, "fit", fit)


# Training and resuming


def test_training_follows_the_cuts_and_finds_them_again(tmp_path):
    cuts = [(1, 0.5), (2, 0.25)]
    run(tmp_path, schedule=cuts)
    model, _ = run(tmp_path, schedule=cuts)
    assert float(array(model.optimizer.learning_rate)) == pytest.approx(0.0025)
    with pytest.raises(ValueError, match="another schedule"):
        run(tmp_path, schedule=[(1, 0.5)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its weights and the optimizer's, history and log."""
    directory = tmp_path_factory.mktemp("whole")
    model, history = run(directory, validation=data(3, seed=1))
    variables = [*model.weights, *model.optimizer.variables]
    return [array(v) for v in variables], history, rows(directory)


@pytest.mark.parametrize("epoch", [0, pytest.param(1, marks=core)])
def test_a_resumed_run_ends_as_an_uninterrupted_one(epoch, tmp_path, whole):
    values, history, log = whole
    interrupted_run(tmp_path, epoch, batch=1, validation=data(3, seed=1))
    if epoch:
        # As if the kill had come between the row of epoch 2 and its checkpoint.
        path = tmp_path / "log.csv"
        path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
        path = tmp_path / "history.json"
        path.write_text(json.dumps(2 * json.loads(path.read_text())))
    resumed, again = run(tmp_path, validation=data(3, seed=1))
    variables = [*resumed.weights, *resumed.optimizer.variables]
    for expected, v in zip(values, variables, strict=True):
        np.testing.assert_allclose(array(v), expected, atol=1e-5, err_msg=v.path)
    assert len(again) == len(history) == 3
    for one, other in zip(history, again, strict=True):
        assert set(one) == {*TERMS, *(f"val_{name}" for name in TERMS), "seconds"}
        for name in TERMS:
            np.testing.assert_allclose(other[name], one[name], rtol=1e-4)
    assert [row["epoch"] for row in rows(tmp_path)] == ["0", "1", "2"]
    for one, other in zip(log, rows(tmp_path), strict=True):
        for name in TERMS:
            np.testing.assert_allclose(float(other[name]), float(one[name]), rtol=1e-4)


class EndlessRing(keras.utils.PyDataset):
    """Somebody's own batches: the same in every epoch, without `__len__`."""

    def __init__(self, num_batches):
        super().__init__()
        self.steps = num_batches

    @property
    def num_batches(self):
        return self.steps

    def __getitem__(self, index):
        return 2 * (data()[2 * index :][:2],)


@core
def test_any_keras_data_set_is_trained_on(tmp_path):
    model, history = run(tmp_path, EndlessRing(5), epochs=2)
    assert int(model.optimizer.iterations) == 10 and len(history) == 2
    with pytest.raises(ValueError, match="x must be batches of finite length"):
        run(tmp_path, EndlessRing(None))


@core
def test_a_resumed_run_sees_the_batches_of_its_epochs(tmp_path):
    def watched(seen):
        class Watched(Batches):
            def batch(self, index, epoch, order):
                x, y = super().batch(index, epoch, order)
                seen.append((epoch, index, x.tolist()))
                return x, y

        # A single batch too, which Keras reads once more to build the loss.
        return Watched(data(), 10, seed=0, binarize=True)

    whole, first, second = [], [], []
    run(tmp_path / "whole", watched(whole))
    interrupted_run(tmp_path / "broken", 1, batch=0, x=watched(first))
    run(tmp_path / "broken", watched(second))
    assert {epoch for epoch, *_ in whole} >= {0, 1, 2}
    epochs = [epoch for epoch, *_ in second]
    assert {1, 2} <= set(epochs)
    for batch in second:
        assert batch[0] in (0, 3) or batch in whole


@core
def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch, one_epoch):
    for name, content in one_epoch.items():
        (tmp_path / name).write_bytes(content)
    forbid_fit(monkeypatch)
    (first, history), (second, _) = (run(tmp_path, epochs=1) for _ in range(2))
    assert history == json.loads(one_epoch["history.json"])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == one_epoch
    for w, v in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(v, w)


@pytest.mark.parametrize(
    "other",
    [
        {"epochs": 2},
        {"batch_size": 5},
        {"schedule": "constant"},
        {"learning_rate": 0.02},
        {"seed": 5},
        {"binarize": True},
    ],
)
def test_a_checkpoint_of_other_arguments_raises(other, tmp_path, one_epoch):
    for name, content in one_epoch.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"made with another {next(iter(other))}"):
        run(tmp_path, **{"epochs": 1, **other})
    # The checkpoint is still there for the run that it belongs to.
    kept = (tmp_path / "checkpoint.keras").read_bytes()
    assert kept == one_epoch["checkpoint.keras"]


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    """The files of a run of one epoch."""
    directory = tmp_path_factory.mktemp("one_epoch")
    run(directory, epochs=1)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_no_part_files_remain_and_seconds_are_counted(one_epoch):
    names = {"arguments.json", "checkpoint.keras", "history.json", "log.csv"}
    assert set(one_epoch) == names
    history = json.loads(one_epoch["history.json"])
    assert len(history) == 1 and history[0]["seconds"] >= 0


def test_the_seed_decides(tmp_path, whole):
    _, history, _ = whole
    _, other = run(tmp_path, epochs=1, seed=4)
    assert other[0]["loss"] != pytest.approx(history[0]["loss"], rel=1e-3)


def test_loss_and_schedule_reach_the_optimizer_and_tensorboard_its_folder(tmp_path):
    loss, schedule = losses.Laplace(0.5), "published_code"
    model, _ = run(tmp_path, epochs=1, loss=loss, schedule=schedule, tensorboard=True)
    assert model.loss.get_config() == loss.get_config()
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert model.optimizer._learning_rate.get_config() == {
        "learning_rate": 0.01,
        "epochs": 1,
        "steps_per_epoch": 3,
        "schedule": schedule,
    }
    assert list((tmp_path / "tensorboard").rglob("events*"))


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"epochs": 0}, "epochs must be an integer >= 1. Received: epochs=0"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1"),
        ({"schedule": "cosine"}, "schedule must be one of"),
        ({"x": Batches(data(), 4, 0), "binarize": True}, "binarize must be False"),
    ],
)
def test_bad_arguments_raise_before_anything_is_written(bad, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        run(tmp_path / "new", **bad)
    assert not (tmp_path / "new").exists()


# NaN


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(np.nan, "finite"), (255.0, "in .0, 1.. Received: values from 0 to 255")],
)
def test_data_that_the_loss_does_not_know_are_refused(tmp_path, value, sentence):
    x = data(10)
    x[3, 2] = value
    with pytest.raises(ValueError, match=f"data of Bernoulli must be {sentence}"):
        run(tmp_path, x=x)
    assert not (tmp_path / "checkpoint.keras").exists()


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class Fragile(GaussianSample):
    """Its rate is NaN after the three batches of the first epoch; z stays sound."""

    def build(self, input_shape):
        self.calls = self.add_state("calls", (), 0.0)
        super().build(input_shape)

    def draw(self, *arguments):
        draw = super().draw(*arguments)
        self.calls.assign(self.calls + 1.0)
        return draw._replace(rate=ops.where(self.calls > 3.5, np.nan, draw.rate))


def build_fragile():
    inputs = keras.Input((6,))
    z = Fragile(noise_variance=0.5)(layers.Dense(2)(inputs))
    return RateDistortionModel(inputs, layers.Dense(6)(z))


@core
def test_a_rate_of_nan_is_named_with_its_epoch(tmp_path):
    # The distortion is the loss less the rate, and so NaN as well.
    sentence = r"^Training stopped in epoch 2, batch 1: .*rate is nan\. A smaller"
    with pytest.raises(FloatingPointError, match=sentence):
        run(tmp_path, build=build_fragile)
    # The checkpoint of the first epoch is sound.
    assert len(json.loads((tmp_path / "history.json").read_text())) == 1
    model = keras.saving.load_model(tmp_path / "checkpoint.keras")
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_the_model_of_the_best_epoch_is_kept_over_an_interruption(tmp_path):
    # Validation data that no training data resemble: the third epoch is the best.
    more = {"validation": 1.0 - data(), "schedule": "constant", "learning_rate": 0.3}
    more |= {"epochs": 5, "best": "val_distortion"}
    interrupted_run(tmp_path / "a", epoch=3, batch=1, **more)
    _, history = run(tmp_path / "a", **more)
    best = best_epoch(history, "val_distortion")
    assert best == 3
    until, _ = run(tmp_path / "b", **{**more, "epochs": best, "best": None})
    assert not (tmp_path / "b" / "best.keras").exists()
    kept = run_folder.load(tmp_path / "a", run_folder.BEST)
    for a, b in zip(kept.get_weights(), until.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="validation must be images where best"):
        run(tmp_path / "c", best="val_loss")


def test_validation_data_may_be_sorted(tmp_path):
    # A batch of a sorted file is no draw from the aggregate posterior.
    def build():
        inputs = keras.Input((2,))
        dense = layers.Dense(2, kernel_initializer="identity", trainable=False)
        z = MMDPenalty(1.0, kernel="imq", estimator="unbiased", name="mmd", seed=0)
        return RateDistortionModel(inputs, layers.Dense(2)(z(dense(inputs))))

    z = np.random.RandomState(0).normal(size=(600, 2)).astype("float32")
    found = {}
    for name, order in (("shuffled", slice(None)), ("sorted", np.argsort(z[:, 0]))):
        _, history = run(
            tmp_path / name,
            z,
            epochs=1,
            build=build,
            batch_size=100,
            validation=z[order],
            loss=losses.SquaredError(),
        )
        found[name] = history[0]["val_mmd"]
    # In file order the second would be .13.
    assert abs(found["shuffled"]) < 0.02 and abs(found["sorted"]) < 0.02
