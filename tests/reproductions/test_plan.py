"""The paper's own protocol, in pieces that a clock ends."""

import dataclasses
import signal

import echo_paper
import keras
import plan
import pytest
from echo_paper import STUDY

from echo_keras import objectives
from echo_keras.networks import dense_decoder, dense_encoder
from echo_keras.studies import records
from echo_keras.training import Checkpoint

pytestmark = pytest.mark.core
FLAGS = ["plan", "--datasets=digits", "--epochs=2", "--train_limit=40", "--runs=2"]


def small(config, dataset):
    """The method, on networks that train in no time."""
    pair = (
        dense_encoder((28, 28, 1), (8,)),
        lambda d: dense_decoder(d, (28, 28, 1), (8,)),
    )
    if config["method"] == "echo":
        return objectives.echo(*pair, 4, **echo_paper.echo_arguments(config))
    return objectives.vae(*pair, 4)


class Clock:
    """A timer that rings when the first epoch is saved."""

    daemon, rings = False, []

    def __init__(self, seconds, function):
        assert seconds == 540
        self.function = function

    def start(self):
        self.rings.append(self.function)


def test_what_the_paper_claims_most_comes_first():
    pairs = plan.ordered(plan.DATASETS, list(plan.SETTINGS))
    assert pairs[:3] == [
        ("binary_mnist", "echo"),
        ("binary_mnist", "vae"),
        ("fashion_mnist", "echo"),
    ]
    assert pairs[6] == ("binary_mnist", "echo_paper") and len(pairs) == 12
    for dataset, setting in pairs:
        (config,) = STUDY.configs(dataset, **plan.SETTINGS[setting])
        changed = "parametrization paper" in STUDY.deviations(config)
        assert changed == (setting == "echo_paper")
        assert (config["epochs"], config["batch_size"]) == (200, 100)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_piece_ends_and_the_same_command_goes_on(
    kind, tmp_path, monkeypatch, request
):
    if kind == "gpu" and keras.backend.backend() != "jax":
        pytest.skip("runs train side by side on JAX")
    monkeypatch.setattr(
        echo_paper, "STUDY", dataclasses.replace(STUDY, build=small, measure_every=1)
    )
    monkeypatch.setattr(plan.threading, "Timer", Clock)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a background job
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    saved = Checkpoint.on_epoch_end

    def saves(self, epoch, logs=None):
        saved(self, epoch, logs)
        while Clock.rings:
            Clock.rings.pop()()

    monkeypatch.setattr(Checkpoint, "on_epoch_end", saves)
    flags = [*FLAGS, f"--plan={kind}", "--settings=echo,vae", f"--out_dir={tmp_path}"]
    with pytest.raises(KeyboardInterrupt):
        plan.main([*flags, "--minutes=9"])
    assert not list(tmp_path.glob("*.json"))
    folders = list((tmp_path / "checkpoints").iterdir())
    assert len(folders) == (2 if kind == "gpu" else 1)
    plan.main(flags)
    runs = records.read(tmp_path)
    assert {(r["config"]["method"], r["config"]["seed"]) for r in runs} == {
        (method, seed) for method in ("echo", "vae") for seed in (0, 1)
    }
    echo = next(r for r in runs if r["config"]["method"] == "echo")
    assert echo["parts"][-1]["from_epoch"] == 1
    assert all("measured" in logs for logs in echo["history"])
    precision = {"cpu": "mixed_bfloat16", "gpu": "float32"}[kind]
    assert {r["config"]["precision"] for r in runs} == {precision}
    assert "| Echo |" in (tmp_path / "table1.md").read_text()
