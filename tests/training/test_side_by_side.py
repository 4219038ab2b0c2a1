"""Tests of runs side by side: each is the run that it is alone."""

import functools

import keras
import numpy as np
import pytest

from echo_keras import objectives
from echo_keras.layers import IAFBlock
from echo_keras.networks import conv_decoder, conv_encoder, dense_decoder, dense_encoder
from echo_keras.training import Checkpoint, train, train_side_by_side

pytestmark = pytest.mark.core
on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="runs train side by side on JAX"
)
X = (np.random.RandomState(0).rand(25, 4, 4, 1) < 0.3).astype("float32")
ENCODER = functools.partial(dense_encoder, (4, 4, 1), (8,))
DECODER = functools.partial(dense_decoder, output_shape=(4, 4, 1), hidden=(8,))
PROTOCOL = {"batch_size": 10, "learning_rate": 0.01, "validation": X[:15]}


def vae(beta=1.0, **arguments):
    return objectives.vae(ENCODER, DECODER, 2, beta, **arguments)


def echo(beta=1.0):
    return objectives.echo(ENCODER, DECODER, 2, beta, d_max=9)


def noisy(model):
    """A measure that moves a model's noise on, as an evaluation does."""
    return {"loss": float(model.evaluate(X, verbose=0, return_dict=True)["loss"])}


def alone(builds, folder, seeds, measure=None, **protocol):
    measure = measure or [None] * len(seeds)
    return [
        train(
            *(build, X, folder / f"alone{i}"),
            seed=seed,
            measure=measured,
            verbose=0,
            **protocol,
        )
        for i, (build, seed, measured) in enumerate(
            zip(builds, seeds, measure, strict=True)
        )
    ]


def assert_same(run, other):
    """Weights, optimizer, noise and logs, up to rounding."""
    (model, history), (expected, logs) = run, other
    for variables in (lambda m: m.variables, lambda m: m.optimizer.variables):
        for found, wanted in zip(variables(model), variables(expected), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-6)
    assert len(history) == len(logs)
    for one, two in zip(history, logs, strict=True):
        assert one.keys() == two.keys()
        for name in one.keys() - {"seconds", "measured"}:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-5)
        assert one.get("measured", {}) == pytest.approx(
            two.get("measured", {}), rel=1e-5
        )


@on_jax
@pytest.mark.parametrize("binarize", [False, True])
@pytest.mark.parametrize("build", [vae, echo])
def test_each_is_the_run_that_it_is_alone(build, binarize, tmp_path):
    builds = [functools.partial(build, beta) for beta in (1.0, 0.1, 1.0)]
    seeds = (0, 0, 7)
    protocol = {**PROTOCOL, "epochs": 4, "binarize": binarize, "best": "val_loss"}
    protocol |= {"measure": [noisy] * 3, "measure_every": 2}
    folders = [tmp_path / str(i) for i in range(3)]
    found = train_side_by_side(builds, X, folders, seeds, verbose=False, **protocol)
    expected = alone(builds, tmp_path, seeds, **protocol)
    for i in range(3):
        assert_same(found[i], expected[i])
        ours, theirs = (tmp_path / f"{way}{i}" for way in ("", "alone"))
        assert {p.name for p in ours.iterdir()} == {p.name for p in theirs.iterdir()}
        header = [(p / "log.csv").read_text().splitlines()[0] for p in (ours, theirs)]
        assert header[0] == header[1]
        kept = [keras.saving.load_model(p / "best.keras") for p in (ours, theirs)]
        steps = [int(model.optimizer.iterations) for model in kept]
        assert steps[0] == steps[1]
    # They are different runs: beta and the seed arrived.
    assert found[0][1][-1]["rate"] < found[1][1][-1]["rate"]
    assert found[0][1][0]["loss"] != found[2][1][0]["loss"]


@on_jax
def test_convolutions_are_the_same_too(tmp_path):
    x = (np.random.RandomState(0).rand(4, 28, 28, 1) < 0.3).astype("float32")
    build = functools.partial(objectives.vae, conv_encoder, conv_decoder, 2)
    protocol = {"epochs": 1, "batch_size": 2}
    folders = [tmp_path / "0", tmp_path / "1"]
    found = train_side_by_side(
        [build] * 2, x, folders, (0, 1), verbose=False, **protocol
    )
    expected = train(build, x, tmp_path / "alone", seed=1, verbose=0, **protocol)
    assert_same(found[1], expected)


@on_jax
def test_an_interrupted_group_goes_on_each_from_its_own_checkpoint(
    tmp_path, monkeypatch
):
    saved = Checkpoint.on_epoch_end

    def killed(self, epoch, logs=None):
        if epoch == 2 and self.path.parent.name == "1":
            raise KeyboardInterrupt
        saved(self, epoch, logs)

    folders, seeds = [tmp_path / "0", tmp_path / "1"], (3, 4)
    protocol = {**PROTOCOL, "epochs": 5, "save_seconds": 0.0}
    monkeypatch.setattr(Checkpoint, "on_epoch_end", killed)
    with pytest.raises(KeyboardInterrupt):
        train_side_by_side([echo] * 2, X, folders, seeds, verbose=False, **protocol)
    monkeypatch.setattr(Checkpoint, "on_epoch_end", saved)
    # One has three epochs, the other two.
    found = train_side_by_side([echo] * 2, X, folders, seeds, verbose=False, **protocol)
    for run, expected in zip(
        found, alone([echo] * 2, tmp_path, seeds, **protocol), strict=True
    ):
        assert_same(run, expected)
    # And a finished run is read, not trained.
    again = train_side_by_side([echo] * 2, X, folders, seeds, verbose=False, **protocol)
    assert_same(again[1], found[1])


@on_jax
def test_what_train_began_goes_on_side_by_side(tmp_path, monkeypatch):
    folders, seeds = [tmp_path / "0", tmp_path / "1"], (0, 1)
    protocol = {**PROTOCOL, "epochs": 3}
    saved = Checkpoint.on_epoch_end

    def killed(self, epoch, logs=None):
        saved(self, epoch, logs)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "on_epoch_end", killed)
    with pytest.raises(KeyboardInterrupt):
        train(vae, X, folders[0], seed=0, verbose=0, **protocol)
    monkeypatch.setattr(Checkpoint, "on_epoch_end", saved)
    found = train_side_by_side([vae] * 2, X, folders, seeds, verbose=False, **protocol)
    for run, expected in zip(
        found, alone([vae] * 2, tmp_path, seeds, **protocol), strict=True
    ):
        assert_same(run, expected)


@on_jax
def test_one_that_goes_bad_ends_alone(tmp_path):
    def bad():
        model = vae()
        kernel = model.trainable_variables[0]
        kernel.assign(np.full(kernel.shape, np.nan))
        return model

    folders, protocol = [tmp_path / str(i) for i in range(3)], {**PROTOCOL, "epochs": 3}
    found = train_side_by_side(
        [vae, bad, vae], X, folders, (0, 1, 2), verbose=False, **protocol
    )
    sentence = str(found[1])
    assert isinstance(found[1], FloatingPointError)
    assert sentence.startswith("Training stopped in epoch 1, batch 1: ")
    expected = alone([vae] * 2, tmp_path, (0, 2), **protocol)
    assert_same(found[0], expected[0])
    assert_same(found[2], expected[1])
    rows = (folders[0] / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2"]


def with_flow(seed):
    """Whose random orders, drawn from the seed, are constants of the step."""
    flow = IAFBlock(steps=2, hidden=(4,), permutation="random", seed=seed)
    return vae(flow=flow)


@on_jax
@pytest.mark.parametrize(
    "builds", [[vae, echo], [lambda: with_flow(8), lambda: with_flow(9)]]
)
def test_models_of_another_step_are_refused(builds, tmp_path):
    folders = [tmp_path / "0", tmp_path / "1"]
    with pytest.raises(ValueError, match="2 steps of 2 models. Train them one by one"):
        train_side_by_side(builds, X, folders, (0, 1), epochs=1, verbose=False)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="of other backends")
def test_other_backends_say_so(tmp_path):
    with pytest.raises(ValueError, match="set KERAS_BACKEND=jax. Received: "):
        train_side_by_side([vae], X, [tmp_path], (0,), epochs=1)
    assert not list(tmp_path.iterdir())
