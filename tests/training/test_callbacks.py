"""Tests of the callbacks: what is saved, and what stops a training."""

import json

import keras
import numpy as np
import pytest

from echo_keras.training import Checkpoint, StopOnNaN, callbacks


def test_short_epochs_are_saved_first_last_and_now_and_then(tmp_path, monkeypatch):
    saved = []
    clock = iter(range(0, 1000, 3))  # each look at it is 3 s later
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: next(clock))
    checkpoint = Checkpoint(tmp_path, history=[], seconds=20)

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


@pytest.mark.parametrize("links", [True, False])
def test_the_checkpoint_before_stays(links, tmp_path, monkeypatch):
    def no_links(*arguments):
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(callbacks.os, "link", no_links)
    checkpoint = Checkpoint(tmp_path, history=[])

    class Model:
        def save(self, path):
            assert path.suffix == ".keras"  # or Keras would refuse it
            path.write_text(f"model {len(checkpoint.history)}")

    checkpoint.set_model(Model())
    for epoch in range(3):
        checkpoint.on_epoch_begin(epoch)
        checkpoint.on_epoch_end(epoch, {"loss": 1.0})
    assert (tmp_path / "checkpoint.keras").read_text() == "model 3"
    assert (tmp_path / "previous.keras").read_text() == "model 2"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_failing_save_leaves_the_last_checkpoint(tmp_path):
    (tmp_path / "checkpoint.keras").write_text("the last one")
    broken = Checkpoint(tmp_path, history=[])

    class Model:
        def save(self, path):
            path.write_text("half a file")
            raise OSError("disk full")

    broken.set_model(Model())
    broken.on_epoch_begin(0)
    with pytest.raises(OSError, match="disk full"):
        broken.on_epoch_end(0, {"loss": 1.0})
    assert (tmp_path / "checkpoint.keras").read_text() == "the last one"


def test_the_model_of_the_lowest_log_is_kept(tmp_path):
    # As after a resume: the history has two epochs, and one of them is the lowest.
    history = [{"val_loss": 5.0}, {"val_loss": 3.0}]
    checkpoint = Checkpoint(tmp_path, history, best="val_loss")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="dense")])
    model.compile("adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    checkpoint.set_model(model)
    checkpoint.set_params({"epochs": 7})
    kept = []
    for epoch, value in enumerate([4.0, 2.0, np.nan, 1.0, 1.0], 2):
        # What is saved now and then is the lowest of all epochs, not of those saved.
        checkpoint.seconds = 1e9 if epoch == 5 else 0.0
        model.layers[0].bias.assign([epoch + 1.0])
        model.optimizer.iterations.assign(epoch + 1)
        checkpoint.on_epoch_begin(epoch)
        checkpoint.on_epoch_end(epoch, {"val_loss": value})
        assert float(model.layers[0].bias[0]) == epoch + 1
        path = tmp_path / "best.keras"
        best = keras.saving.load_model(path) if path.exists() else None
        kept.append(best and int(best.optimizer.iterations))
        assert best is None or float(best.layers[0].bias[0]) == kept[-1]
    # The first of equal ones: it was the fourth epoch here, saved with the fifth.
    assert kept == [None, 4, 4, 4, 6]
    last = keras.saving.load_model(tmp_path / "checkpoint.keras")
    assert float(last.layers[0].bias[0]) == 7


def test_what_is_measured_stands_in_the_logs_of_its_epochs(tmp_path):
    history = []
    checkpoint = Checkpoint(
        tmp_path, history, measure=lambda model: {"name": model.name}, measure_every=3
    )
    model = keras.Sequential([keras.Input((1,)), keras.layers.Flatten()], name="m")
    checkpoint.set_model(model)
    for epoch in range(7):
        checkpoint.on_epoch_begin(epoch)
        checkpoint.on_epoch_end(epoch, {"loss": 1.0})
    found = [logs.get("measured") for logs in history]
    assert found == [None, None, {"name": "m"}] * 2 + [None]
    assert json.loads((tmp_path / "history.json").read_text()) == history


def test_a_log_that_an_epoch_lacks_is_named(tmp_path):
    checkpoint = Checkpoint(tmp_path, [], best="val_los")
    checkpoint.on_epoch_begin(0)
    sentence = "best must be .* one of loss, seconds. Received: best='val_los'"
    with pytest.raises(ValueError, match=sentence):
        checkpoint.on_epoch_end(0, {"loss": 1.0})


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
