"""Tests of a run's folder: what it was made of, damage in it, who trains there."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest
from keras import layers
from tools import array

from echo_keras import losses
from echo_keras.__main__ import main
from echo_keras.layers import GaussianBottleneck
from echo_keras.model import RateDistortionModel
from echo_keras.training import Batches, RunFolderError, StopOnNaN, lock, parts, train
from echo_keras.training.digests import of_data, of_model

EPOCHS = 3


def data(n=10, seed=0):
    x = np.random.RandomState(seed).random_sample((n, 6)) > 0.5
    return x.astype("float32")


def build(units=2, activation="tanh"):
    inputs = keras.Input((6,))
    z = GaussianBottleneck(units)(layers.Dense(4, activation=activation)(inputs))
    return RateDistortionModel(inputs, layers.Dense(6)(z))


def run(directory, x=None, **arguments):
    given = {"epochs": EPOCHS, "batch_size": 4, "learning_rate": 0.01, "verbose": 0}
    x = data() if x is None else x
    return train(arguments.pop("build", build), x, directory, **{**given, **arguments})


def values(model):
    return [array(v) for v in [*model.weights, *model.optimizer.variables]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an uninterrupted run, its values and its history."""
    directory = tmp_path_factory.mktemp("whole")
    model, history = run(directory)
    return directory, values(model), history


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory):
    """The folder of a run that was interrupted in its last epoch."""
    directory = tmp_path_factory.mktemp("broken_off")

    def stop(callback, epoch, logs=None):
        if epoch == EPOCHS - 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopOnNaN, "on_epoch_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            run(directory)
    names = {"arguments.json", "checkpoint.keras", "previous.keras"}
    assert {p.name for p in directory.iterdir()} == names | {"history.json", "log.csv"}
    return directory


@pytest.fixture
def unfinished(broken_off, tmp_path):
    return shutil.copytree(broken_off, tmp_path / "run")


def change(path, **changes):
    """Other values in a JSON file; None removes a key."""
    content = {**json.loads(path.read_text()), **changes}
    content = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(content))


def sentence_of(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# What the checkpoint was made of


OTHERS = {
    "units": ("model", {"build": lambda: build(3)}),
    "activation": ("model", {"build": lambda: build(activation="relu")}),
    "loss": ("loss", {"loss": losses.SquaredError()}),
    "parameter of the loss": ("loss", {"loss": losses.Laplace(0.5)}),
    "optimizer": ("optimizer", {"optimizer": keras.optimizers.SGD}),
    "parameter of the optimizer": (
        "optimizer",
        {"optimizer": lambda rate: keras.optimizers.Adam(rate, beta_1=0.5)},
    ),
    "data": ("data", {"x": 1 - data()}),
    "one pixel": ("data", {"x": np.abs(data() - np.eye(10, 6, dtype="float32") / 9)}),
    "validation": ("validation", {"validation": data(3)}),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_checkpoint_of_something_else_is_refused(kind, whole):
    directory, *_ = whole
    name, arguments = OTHERS[kind]
    before = {p.name: p.read_bytes() for p in directory.iterdir()}
    with pytest.raises(RunFolderError) as error:
        run(directory, **arguments)
    assert sentence_of(error) == (
        f"The checkpoint in {directory} was made with another {name}: use another "
        "folder, or remove it, or go on with it by force_resume=True."
    )
    assert {p.name: p.read_bytes() for p in directory.iterdir()} == before


def test_it_goes_on_with_the_old_model_where_that_is_asked_for(unfinished, capsys):
    arguments = {"build": lambda: build(activation="relu"), "force_resume": True}
    model, history = run(unfinished, **arguments)
    assert len(history) == EPOCHS
    assert of_model(model) == of_model(build())
    assert "another model: it goes on as it was made" in capsys.readouterr().out


def test_what_is_built_alike_is_the_same_whatever_its_name(tmp_path):
    # Names are numbered, seeds drawn, and what is computed differs in rounding.
    seeds = iter(range(9))

    def network(bias):
        constant = keras.initializers.Constant(bias)
        inputs = keras.Input((6,))
        x = layers.Add()([inputs, layers.Dense(6, bias_initializer=constant)(inputs)])
        return keras.Model(inputs, layers.Dropout(0.5, seed=next(seeds))(x))

    first, second = network(0.1), network(0.1 + 1e-9)
    assert first.layers[1].name != second.layers[1].name
    assert of_model(first) == of_model(second) != of_model(network(0.2))
    # Which layer feeds which is no name.
    inputs = keras.Input((6,))
    a, b = layers.Dense(6), layers.Dense(6)
    one = keras.Model(inputs, layers.Add()([inputs, b(a(inputs))]))
    inputs = keras.Input((6,))
    c, d = layers.Dense(6), layers.Dense(6)
    h = c(inputs)
    other = keras.Model(inputs, layers.Add()([h, d(h)]))
    assert of_model(one) != of_model(other)
    one.save(tmp_path / "m.keras")
    assert of_model(keras.saving.load_model(tmp_path / "m.keras")) == of_model(one)


def test_data_sets_are_told_apart_by_all_that_they_draw():
    x, y = data(), np.arange(10)
    same = [Batches(x, 4, 0, y=y), Batches(x.copy(), 4, 0, y=y)]
    others = [
        Batches(x, 4, 0),
        Batches(x, 5, 0, y=y),
        Batches(x, 4, 1, y=y),
        Batches(x, 4, 0, y=y[::-1]),
        Batches(x, 4, 0, y=y, binarize=True),
        x,
        x.reshape(10, 2, 3),
        x.astype("float64"),
    ]
    found = [of_data(x) for x in [*same, *others]]
    assert found[0] == found[1] and len(set(found)) == 1 + len(others)


@pytest.mark.parametrize("kind", ["same", "activation", "loss", "optimizer"])
def test_older_folders_are_compared_with_their_checkpoint(kind, unfinished, capsys):
    change(unfinished / "arguments.json", digests=None, parts=None)
    if kind == "same":
        _, history = run(unfinished)
        assert len(history) == EPOCHS
        # From now on they are kept.
        with pytest.raises(RunFolderError, match="made with another data: use"):
            run(unfinished, 1 - data())
    else:
        name, arguments = OTHERS[kind]
        with pytest.raises(RunFolderError, match=f"made with another {name}: use"):
            run(unfinished, **arguments)
    assert "kept no digest of the data" in capsys.readouterr().out


def test_newer_code_may_know_more_arguments(unfinished):
    # Then its configurations have other digests, and the loaded model's are the same.
    path = unfinished / "arguments.json"
    kept = json.loads(path.read_text())["digests"]
    change(path, digests={**kept, "model": "older", "loss": "older"})
    assert len(run(unfinished)[1]) == EPOCHS


def test_a_run_goes_on_under_its_backend_alone(unfinished, capsys):
    path = unfinished / "arguments.json"
    change(path, parts=[{"from_epoch": 0, "backend": "numpy", "threads": 3}])
    with pytest.raises(RunFolderError, match="made with another backend, numpy: use"):
        run(unfinished)
    run(unfinished, force_resume=True)
    first, second = parts(unfinished)
    assert (first["backend"], first["threads"]) == ("numpy", 3)
    assert second["backend"] == keras.backend.backend() and second["threads"] >= 1
    assert (first["from_epoch"], second["from_epoch"]) == (0, 2)
    # A run that is finished may be read anywhere.
    change(path, parts=[first])
    assert len(run(unfinished)[1]) == EPOCHS


# Damage


def cut(name, share):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return damage


def flip(folder):
    content = bytearray((folder / "checkpoint.keras").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "checkpoint.keras").write_bytes(content)


def remove(name):
    return lambda folder: (folder / name).unlink()


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


CHECKPOINTS = {
    "empty": cut("checkpoint.keras", 0),
    "most": cut("checkpoint.keras", 0.99),
    "flipped": flip,
    "gone": remove("checkpoint.keras"),
}
FILES = {
    "history gone": ("history.json", remove("history.json"), "no such file"),
    "history cut": ("history.json", cut("history.json", 0.5), "damage"),
    "history empty": ("history.json", write("history.json", "[]"), "0 entries"),
    "history numbers": ("history.json", write("history.json", "[1, 2, 3]"), "3 entr"),
    "history a dict": ("history.json", write("history.json", "{}"), "a dict"),
    "arguments gone": ("arguments.json", remove("arguments.json"), "no such file"),
    "arguments cut": ("arguments.json", cut("arguments.json", 0.5), "damage"),
    "arguments bytes": (
        "arguments.json",
        lambda folder: (folder / "arguments.json").write_bytes(b"\xff\xfe"),
        "damage",
    ),
    "arguments older": (
        "arguments.json",
        lambda folder: change(folder / "arguments.json", images=None),
        "none for images, as an older version leaves it",
    ),
    "arguments odd": (
        "arguments.json",
        lambda folder: change(folder / "arguments.json", parts=[{"backend": "jax"}]),
        "digests or parts of another form",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_one_sentence(kind, whole, broken_off, tmp_path, capsys):
    name, damage, found = FILES[kind]
    source = whole[0] if "gone" in kind else broken_off
    folder = shutil.copytree(source, tmp_path / "run")
    damage(folder)
    with pytest.raises(RunFolderError, match=found) as error:
        run(folder)
    text = sentence_of(error)
    assert text.startswith(f"{folder / name} must hold ")
    assert text.endswith("Put the file back, or delete the folder to start again.")
    assert main(["doctor", str(folder)]) == 1
    out = capsys.readouterr().out
    assert f"WRONG {folder / name}: must hold" in out and out.count("WRONG") == 1


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_the_checkpoint_before_a_damaged_one_is_taken(kind, unfinished, whole, capsys):
    CHECKPOINTS[kind](unfinished)
    assert main(["doctor", str(unfinished)]) == 1
    assert "goes on from previous.keras, which is whole" in capsys.readouterr().out
    model, history = run(unfinished)
    assert "Going on from previous.keras" in capsys.readouterr().out
    _, expected, logs = whole
    for one, other in zip(expected, values(model), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)
    assert [h["loss"] for h in history] == pytest.approx([h["loss"] for h in logs])
    assert main(["doctor", str(unfinished)]) == 0
    assert "whole; finished" in capsys.readouterr().out


@pytest.mark.parametrize("kind", sorted(set(CHECKPOINTS) - {"gone"}))
def test_without_one_before_it_the_way_out_is_said(kind, unfinished, capsys):
    CHECKPOINTS[kind](unfinished)
    cut("previous.keras", 0.5)(unfinished)
    with pytest.raises(RunFolderError) as error:
        run(unfinished)
    text = sentence_of(error)
    path = unfinished / "checkpoint.keras"
    assert text.startswith(f"{path} must hold a whole checkpoint. Received: damage")
    assert text.endswith("delete the folder to start again.")
    assert main(["doctor", str(unfinished)]) == 1
    assert "delete the folder to start again" in capsys.readouterr().out


def test_a_class_that_is_not_known_here_is_no_damage(unfinished, monkeypatch):
    def load(path):
        raise TypeError("Could not locate class 'Mine'.\nAnd much more.")

    monkeypatch.setattr(keras.saving, "load_model", load)
    with pytest.raises(RunFolderError) as error:
        run(unfinished)
    assert "TypeError: Could not locate class 'Mine'. Import" in sentence_of(error)


def test_what_killed_processes_left_is_removed(unfinished, capsys):
    names = ["history.json.1-ab.part", "checkpoint.keras.1-ab.part.keras", "part.keras"]
    for name in names:
        (unfinished / name).touch()
    assert main(["doctor", str(unfinished)]) == 0
    assert capsys.readouterr().out.count("left by a process that died") == 3
    run(unfinished)
    names = {"arguments.json", "checkpoint.keras", "history.json", "log.csv"}
    assert {path.name for path in unfinished.iterdir()} == names


# Disks


def fail(number):
    def save(model, path):
        path.write_text("half a model")
        raise OSError(number, os.strerror(number))

    return save


@pytest.mark.parametrize("number", [errno.ENOSPC])
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(
    number, unfinished, whole, monkeypatch
):
    before = (unfinished / "checkpoint.keras").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save", fail(number))
        with pytest.raises(OSError) as error:
            run(unfinished)
    assert sentence_of(error) == (
        "directory must be a folder that can be written to. Received: "
        f"{unfinished} ({os.strerror(number)}). The last checkpoint stays as it was: "
        "make room or correct the folder, and call again with the same arguments to "
        "go on."
    )
    assert (unfinished / "checkpoint.keras").read_bytes() == before
    assert not list(unfinished.glob("*part*"))
    model, _ = run(unfinished)
    for one, other in zip(whole[1], values(model), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


def test_a_file_in_the_place_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(OSError) as error:
        run(tmp_path / "run")
    assert f"Received: {tmp_path / 'run'} (File exists)" in sentence_of(error)


def test_errors_of_the_data_are_not_those_of_the_folder(tmp_path):
    def broken():
        raise PermissionError(errno.EACCES, "Permission denied", "/data/images")

    with pytest.raises(PermissionError, match="/data/images"):
        run(tmp_path / "run", build=broken)


# Two processes


# What `locked` does, without the seconds that TensorFlow needs.
OTHER = """
import fcntl, json, os, socket, sys, time
file = open(sys.argv[1] + "/lock.json", "w")
fcntl.flock(file, fcntl.LOCK_EX)
json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
file.flush()
print("locked", flush=True)
time.sleep(600)
"""


@pytest.fixture
def other(unfinished):
    """Another process that trains there."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(unfinished)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_named_and_its_lock_goes_with_it(
    other, unfinished, monkeypatch, capsys
):
    monkeypatch.setattr(lock, "ORPHAN", 0.0)
    with pytest.raises(RunFolderError) as error:
        run(unfinished)
    holder = f"pid {other.pid} on {socket.gethostname()}"
    assert sentence_of(error) == (
        f"{unfinished} must be trained in by one process at a time. Received: another "
        f"process trains this run ({holder}). Wait until it ends, or choose another "
        "folder."
    )
    main(["doctor", str(unfinished)])
    assert f"{holder} trains this run now" in capsys.readouterr().out
    other.kill()
    other.wait()
    main(["doctor", str(unfinished)])
    assert f"left by {holder}, which died" in capsys.readouterr().out
    assert len(run(unfinished)[1]) == EPOCHS
    assert not (unfinished / "lock.json").exists()


def test_a_finished_run_is_read_by_many(whole, monkeypatch):
    monkeypatch.setattr(lock, "ORPHAN", 0.0)
    with lock.locked(whole[0]):
        assert run(whole[0])[1] == whole[2]


@pytest.mark.parametrize("alive", [True, False])
def test_a_lock_of_another_host_counts_while_it_is_renewed(
    alive, unfinished, monkeypatch, capsys
):
    monkeypatch.setattr(lock, "PATIENCE", 1.0)
    path = unfinished / "lock.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    os.utime(path, (1, 1))
    ended = threading.Event()
    if alive:
        monkeypatch.setattr(lock, "BEAT", 0.05)
        threading.Thread(target=lock._beat, args=(path, ended), daemon=True).start()
    try:
        if alive:
            with pytest.raises(RunFolderError, match=r"\(pid 7 on elsewhere\)"):
                run(unfinished)
            assert json.loads(path.read_text())["pid"] == 7
        else:
            assert len(run(unfinished)[1]) == EPOCHS
            assert not path.exists()
    finally:
        ended.set()
    assert "pid 7 on elsewhere still trains" in capsys.readouterr().out


def test_the_holder_renews_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with lock.locked(tmp_path):
        os.utime(tmp_path / "lock.json", (1, 1))
        end = time.monotonic() + 30
        while (tmp_path / "lock.json").stat().st_mtime == 1:
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_lock_that_says_nothing_is_taken_over(text, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    (tmp_path / "lock.json").write_text(text)
    with lock.locked(tmp_path):
        assert json.loads((tmp_path / "lock.json").read_text())["pid"] == os.getpid()


# Ctrl-C


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def fit(model, *arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line == (
        "Interrupted in epoch 1 of 3. Call again with the same arguments to go on from "
        f"the last checkpoint in {tmp_path}."
    )


# The doctor


def test_the_doctor_looks_at_all_runs_of_a_study(whole, broken_off, tmp_path, capsys):
    for name, source in {"a": whole[0], "b": broken_off}.items():
        shutil.copytree(source, tmp_path / "checkpoints" / name)
    assert main(["doctor", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("ok ") == out.count("\n") == 6
    assert "whole; finished" in out and "whole; the same call goes on from it" in out
    assert f"3 epochs, on {keras.backend.backend()}" in out
    (tmp_path / "a.json").write_text("{}")
    assert main(["doctor", str(tmp_path)]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_the_doctor_refuses_other_folders(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 1
    assert "folder must hold a training" in capsys.readouterr().err
