"""Tests of the training protocol: schedule, batches, resume, logs, stops."""

import csv
import json

import keras
import numpy as np
import pytest
from keras import layers, ops

from echo_keras import losses, training
from echo_keras.layers import EchoBottleneck, GaussianBottleneck, GaussianSample
from echo_keras.model import RateDistortionModel
from echo_keras.training import Batches, HalfwaySchedule, StopOnNaN, train

core = pytest.mark.core
TERMS = ("loss", "rate", "distortion", "neg_elbo")


def array(x):
    return ops.convert_to_numpy(x)


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


# Schedule


def rates(schedule, epochs, at, steps=10):
    rate = HalfwaySchedule(1.0, epochs, steps, schedule)
    return [float(array(rate(round(epoch * steps)))) for epoch in at]


@core
@pytest.mark.parametrize(
    ("schedule", "epochs", "at", "expected"),
    [
        ("paper", 4, (0, 1.9, 2, 3, 3.5, 4, 5), (1, 1, 1, 0.5, 0.25, 0, 0)),
        ("paper", 5, (2.9, 3, 4, 5), (1, 1, 0.5, 0)),
        ("paper", 1, (0, 0.9), (1, 1)),
        ("as_run", 4, (0, 1.9, 2, 2.9, 3, 3.9), (1, 1, 0.01, 0.01, 0.99, 0.99)),
        ("as_run", 5, (2.9, 3, 3.9, 4), (1, 0.01, 0.01, 0.99)),
        ("as_run", 3, (1.9, 2, 2.9), (1, 0.01, 0.01)),
        ("as_run", 1, (0, 0.9), (1, 1)),
        ("constant", 4, (0, 2, 3.9), (1, 1, 1)),
    ],
)
def test_schedule(schedule, epochs, at, expected):
    np.testing.assert_allclose(rates(schedule, epochs, at), expected, atol=1e-6)


@core
def test_schedule_of_the_published_code_at_200_epochs():
    rate = HalfwaySchedule(3e-4, 200, 500, "as_run")
    at = [0, 99.998, 100, 100.998, 101, 150, 199, 199.998]
    found = [float(array(rate(round(500 * epoch)))) for epoch in at]
    step = (2.97e-4 - 3e-6) / 99
    expected = [3e-4, 3e-4, 3e-6, 3e-6, 3e-6 + step, 3e-6 + 50 * step, 2.97e-4, 2.97e-4]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@core
def test_schedule_of_the_paper_falls_evenly_to_zero_at_200_epochs():
    at = [0, 100, 125, 150, 175, 200]
    found = rates("paper", 200, at, steps=500)
    np.testing.assert_allclose(found, [1, 1, 0.75, 0.5, 0.25, 0], atol=1e-6)


@core
def test_schedule_serializes():
    rate = HalfwaySchedule(1e-3, 7, 9, "as_run")
    again = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(keras.saving.serialize_keras_object(rate)))
    )
    assert type(again) is HalfwaySchedule
    assert again.get_config() == rate.get_config()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((1.0, 2, 2, "cosine"), "one of paper, as_run, constant; received 'cosine'"),
        ((0.0, 2, 2), "must be positive; received 0.0, 2 and 2"),
        ((-1.0, 2, 2), "must be positive; received -1.0, 2 and 2"),
        ((float("nan"), 2, 2), "must be positive; received nan, 2 and 2"),
        ((1.0, 0, 2), "must be positive; received 1.0, 0 and 2"),
        ((1.0, 2, 0), "must be positive; received 1.0, 2 and 0"),
    ],
)
def test_bad_schedule_raises(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        HalfwaySchedule(*arguments)


# Normalized gradients


@core
def test_rates_cut_after_given_epochs():
    rate = training.learning_rates(1e-3, 100, 600, [(30, 0.5), (50, 0.1)])
    at = [0, 29.9, 30.1, 49.9, 50.1, 100]
    found = [float(array(rate(round(600 * epoch)))) for epoch in at]
    np.testing.assert_allclose(found, [1e-3, 1e-3, 5e-4, 5e-4, 1e-4, 1e-4], rtol=1e-6)


@core
def test_rates_by_name_are_those_of_the_class():
    rate = training.learning_rates(1.0, 4, 10, "as_run")
    assert isinstance(rate, HalfwaySchedule) and rate.schedule == "as_run"


def test_training_follows_the_cuts_and_resumes_with_them(tmp_path):
    cuts = [(1, 0.5), (2, 0.25)]
    interrupted_run(tmp_path, 1, batch=1, schedule=cuts)
    model, _ = run(tmp_path, schedule=cuts)
    assert float(array(model.optimizer.learning_rate)) == pytest.approx(0.0025)
    with pytest.raises(ValueError, match="another schedule"):
        run(tmp_path, schedule=[(1, 0.5)])


def test_short_epochs_are_saved_first_last_and_now_and_then(tmp_path, monkeypatch):
    saved = []
    clock = iter(range(0, 1000, 3))  # each look at it is 3 s later
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    checkpoint = training.Checkpoint(tmp_path, history=[], seconds=20)

    class Model:
        def save(self, path):
            saved.append(len(checkpoint.history))
            path.write_text("a model")

    checkpoint.set_model(Model())
    checkpoint.set_params({"epochs": 9})
    for epoch in range(9):
        checkpoint.on_epoch_begin(epoch)
        checkpoint.on_epoch_end(epoch, {"loss": 1.0})
    assert saved == [1, 4, 7, 9]
    assert len(json.loads((tmp_path / "history.json").read_text())) == 9


@core
def test_normalized_adam_is_adam_on_gradients_of_norm_one():
    gradients = [np.float32([3e4, 4e4]), np.float32([[0.0, 5e-6]]), np.float32([0.0])]
    start = [np.ones_like(g) for g in gradients]
    found, expected = [
        [keras.Variable(x) for x in start] for _ in range(2)
    ]  # fmt: skip
    normalized = training.NormalizedAdam(0.1, beta_1=0.5)
    plain = keras.optimizers.Adam(0.1, beta_1=0.5)
    for scale in (1.0, 100.0, 0.01):  # the scale of a step makes no difference
        normalized.apply([keras.ops.array(scale * g) for g in gradients], found)
        unit = [g / max(np.linalg.norm(g), 1e-30) for g in gradients]
        plain.apply([keras.ops.array(np.float32(g)) for g in unit], expected)
    for a, b in zip(found, expected, strict=True):
        a, b = keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)
        np.testing.assert_allclose(a, b, rtol=1e-4)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(normalized))
    assert type(again) is training.NormalizedAdam


# Batches


def epoch_of(batches, epoch):
    batches.callback.on_epoch_begin(epoch)
    pairs = [batches[i] for i in range(len(batches))]
    for x, y in pairs:
        np.testing.assert_array_equal(x, y)
    return [x for x, _ in pairs]


NUMBERS = np.arange(10.0)[:, None]


def order(batches, epoch):
    return np.concatenate(epoch_of(batches, epoch))[:, 0].tolist()


def test_each_image_once_an_epoch_with_a_short_last_batch():
    batches = Batches(NUMBERS, batch_size=4, seed=0)
    assert len(batches) == 3
    assert [len(x) for x in epoch_of(batches, 0)] == [4, 4, 2]
    assert sorted(order(batches, 3)) == NUMBERS[:, 0].tolist()


def test_order_depends_on_seed_and_epoch_alone():
    first, second = (Batches(NUMBERS, 4, seed=1) for _ in range(2))
    orders = [order(first, epoch) for epoch in range(4)]
    assert order(second, 3) == orders[3]  # epochs 0 to 2 were skipped
    assert order(first, 0) == orders[0]
    assert len(set(map(tuple, orders))) == 4
    assert order(Batches(NUMBERS, 4, seed=2), 0) != orders[0]


def test_fit_tells_the_epoch():
    seen = []

    class Watched(Batches):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            seen.append((self.epoch[0], x))
            return x, y

    inputs = keras.Input((1,))
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    batches = Watched(NUMBERS / 10, 5, seed=1)
    model.fit(
        batches,
        initial_epoch=1,
        epochs=3,
        shuffle=False,
        callbacks=[batches.callback],
        verbose=0,
    )
    # Each epoch's own batches were drawn; Keras may have looked at more of them.
    for epoch in (1, 2):
        drawn = np.concatenate([x for e, x in seen if e == epoch])
        assert set(drawn[:, 0]) == set((NUMBERS / 10)[:, 0])


def test_binarized_afresh_with_the_grey_values_as_means():
    # 4,000 draws of each grey value: 4.5 standard errors, once in 140,000 seeds.
    grey = np.tile(np.array([0.0, 0.1, 0.5, 0.9, 1.0], "float32"), (4000, 1))
    batches = Batches(grey, 1000, seed=0, binarize=True)
    first = epoch_of(batches, 0)
    x = np.concatenate(first)
    assert x.dtype == np.float32 and set(np.unique(x)) == {0, 1}
    error = np.sqrt(grey[0] * (1 - grey[0]) / 4000)
    assert np.all(np.abs(x.mean(0) - grey[0]) <= 4.5 * error)
    again, later = np.concatenate(epoch_of(batches, 0)), epoch_of(batches, 1)
    np.testing.assert_array_equal(again, x)
    assert np.any(later[0] != first[0]) and np.any(first[0] != first[1])


# Training and resuming


@pytest.mark.parametrize("epoch", [0, pytest.param(1, marks=core)])
def test_a_resumed_run_ends_as_an_uninterrupted_one(epoch, tmp_path):
    whole, history = run(tmp_path / "whole")
    interrupted_run(tmp_path / "broken", epoch, batch=1)
    resumed, again = run(tmp_path / "broken")
    for w, v in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_allclose(array(v), array(w), atol=1e-5, err_msg=w.path)
    for w, v in zip(
        whole.optimizer.variables, resumed.optimizer.variables, strict=True
    ):
        np.testing.assert_allclose(array(v), array(w), atol=1e-5, err_msg=w.path)
    assert len(again) == len(history) == 3
    for one, other in zip(history, again, strict=True):
        assert set(one) == {*TERMS, "seconds"}
        for name in TERMS:
            np.testing.assert_allclose(other[name], one[name], rtol=1e-4)


def test_log_has_one_row_an_epoch_even_if_interrupted_after_it_was_written(tmp_path):
    run(tmp_path / "whole", validation=data(3, seed=1))
    interrupted_run(tmp_path / "broken", 2, 1, validation=data(3, seed=1))
    # As if the kill had come between the row of epoch 3 and its checkpoint.
    log, history = (tmp_path / "broken" / n for n in ("log.csv", "history.json"))
    log.write_text(log.read_text() + log.read_text().splitlines()[-1] + "\n")
    epochs = json.loads(history.read_text())
    history.write_text(json.dumps([*epochs, epochs[-1]]))
    _, again = run(tmp_path / "broken", validation=data(3, seed=1))
    assert len(again) == 3
    whole, broken = rows(tmp_path / "whole"), rows(tmp_path / "broken")
    assert [row["epoch"] for row in broken] == ["0", "1", "2"]
    assert {"loss", "rate", "val_rate", "val_neg_elbo"} <= set(broken[0])
    for one, other in zip(whole, broken, strict=True):
        for name in TERMS:
            np.testing.assert_allclose(float(other[name]), float(one[name]), rtol=1e-4)


@core
def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    model, history = run(tmp_path, epochs=1)
    before = (tmp_path / "log.csv").read_bytes()
    forbid_fit(monkeypatch)
    again, same = run(tmp_path, epochs=1)
    assert same == history
    assert (tmp_path / "log.csv").read_bytes() == before
    for w, v in zip(model.get_weights(), again.get_weights(), strict=True):
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


def test_no_part_files_remain(one_epoch):
    names = {"arguments.json", "checkpoint.keras", "history.json", "log.csv"}
    assert set(one_epoch) == names


def test_history_counts_the_seconds(one_epoch):
    history = json.loads(one_epoch["history.json"])
    assert len(history) == 1 and history[0]["seconds"] >= 0


def test_a_failing_save_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    run(tmp_path, epochs=1, schedule="constant")
    before = (tmp_path / "checkpoint.keras").read_bytes()
    broken = training.Checkpoint(tmp_path, history=[])

    class Model:
        def save(self, path):
            path.write_text("half a file")
            raise OSError("disk full")

    broken.set_model(Model())
    broken.on_epoch_begin(0)
    with pytest.raises(OSError, match="disk full"):
        broken.on_epoch_end(0, {"loss": 1.0})
    assert (tmp_path / "checkpoint.keras").read_bytes() == before


def test_seed_decides_everything(tmp_path):
    one, same, other = (
        run(tmp_path / str(i), epochs=1, seed=seed)[1][0]["loss"]
        for i, seed in enumerate((3, 3, 4))
    )
    assert one == pytest.approx(same, rel=1e-6)
    assert one != pytest.approx(other, rel=1e-3)


def test_loss_and_schedule_reach_the_optimizer(tmp_path):
    model, _ = run(tmp_path, epochs=1, loss=losses.Laplace(0.5), schedule="as_run")
    assert model.loss.get_config() == losses.Laplace(0.5).get_config()
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    rate = model.optimizer._learning_rate
    assert rate.get_config() == {
        "learning_rate": 0.01,
        "epochs": 1,
        "steps_per_epoch": 3,
        "schedule": "as_run",
    }


def test_tensorboard_logs_are_written(tmp_path):
    run(tmp_path, epochs=1, tensorboard=True)
    assert list((tmp_path / "tensorboard").rglob("events*"))


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"batch_size": 0}])
def test_bad_arguments_raise_before_anything_is_written(bad, tmp_path):
    with pytest.raises(
        ValueError, match="epochs and batch_size must be >= 1; received"
    ):
        run(tmp_path / "new", **bad)
    assert not (tmp_path / "new").exists()


def test_unknown_schedule_raises(tmp_path):
    with pytest.raises(ValueError, match="schedule must be one of"):
        run(tmp_path, schedule="cosine")


# NaN


@core
def test_data_with_nan_stop_the_run(tmp_path):
    x = data(10)
    x[3, 2] = np.nan
    sentence = r"^Training stopped in epoch 1, batch \d: .*distortion is nan"
    with pytest.raises(FloatingPointError, match=sentence):
        run(tmp_path, x=x)
    assert not (tmp_path / "checkpoint.keras").exists()


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class Fragile(GaussianSample):
    """Its rate is NaN after the three batches of the first epoch; z stays sound."""

    def build(self, input_shape):
        self.calls = self.add_state("calls", (), 0.0)
        super().build(input_shape)

    def add_rate(self, rate, *arguments):
        self.calls.assign(self.calls + 1.0)
        super().add_rate(ops.where(self.calls > 3.5, np.nan, rate), *arguments)


def build_fragile():
    inputs = keras.Input((6,))
    z = Fragile(noise_variance=0.5)(layers.Dense(2)(inputs))
    return RateDistortionModel(inputs, layers.Dense(6)(z))


@core
def test_a_rate_of_nan_is_named_with_its_epoch(tmp_path):
    sentence = r"^Training stopped in epoch 2, batch 1: rate is nan\. A smaller"
    with pytest.raises(FloatingPointError, match=sentence):
        run(tmp_path, build=build_fragile)
    # The checkpoint of the first epoch is sound.
    assert len(json.loads((tmp_path / "history.json").read_text())) == 1
    model = keras.saving.load_model(tmp_path / "checkpoint.keras")
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize(
    ("logs", "named"),
    [
        ({"loss": np.nan, "rate": 1.0, "distortion": np.inf}, "distortion is inf"),
        (
            {"loss": np.nan, "rate": np.nan, "distortion": np.nan, "neg_elbo": np.nan},
            "rate is nan and distortion is nan",
        ),
        # A penalty, or a model that logs no terms.
        ({"loss": np.inf, "rate": 1.0, "distortion": 1.0}, "loss is inf"),
        ({"loss": np.nan}, "loss is nan"),
    ],
)
def test_the_bad_terms_are_named(logs, named):
    callback = StopOnNaN()
    callback.on_epoch_begin(4)
    callback.on_train_batch_end(0, {"loss": 1.0, "rate": 1.0})
    callback.on_train_batch_end(1)
    sentence = rf"^Training stopped in epoch 5, batch 3: {named}\. A"
    with pytest.raises(FloatingPointError, match=sentence):
        callback.on_train_batch_end(2, logs)
