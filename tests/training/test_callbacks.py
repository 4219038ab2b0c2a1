"""Tests of the callbacks: what is saved, and what stops a training."""

import json

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
    checkpoint = Checkpoint(tmp_path, history, seconds=1e9, best="val_loss")

    class Model:
        def save(self, path):
            path.write_text(f"model {len(history)}")

    checkpoint.set_model(Model())
    checkpoint.set_params({"epochs": 6})
    kept = []
    for epoch, value in enumerate([4.0, 2.0, np.nan, 2.0], 2):
        checkpoint.on_epoch_begin(epoch)
        checkpoint.on_epoch_end(epoch, {"val_loss": value})
        path = tmp_path / "best.keras"
        kept.append(path.read_text() if path.exists() else None)
    assert kept == [None, "model 4", "model 4", "model 4"]  # the first of equal ones


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
