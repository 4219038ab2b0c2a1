"""Runs of a study that train side by side have the records of single runs."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from echo_keras import data, networks, objectives
from echo_keras.studies import RunsFailed, Study, groups

pytestmark = pytest.mark.core
on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="runs train side by side on JAX"
)


def build(config, dataset):
    shape = dataset.x_train.shape[1:]
    model = objectives.vae(
        networks.dense_encoder(shape, (8,)),
        networks.dense_decoder(2, shape, (8,)),
        2,
        config["beta"],
    )
    if config["fails"] and config["seed"] == 1:
        model.trainable_variables[0].assign(
            np.full(model.trainable_variables[0].shape, np.nan)
        )
    return model


def few(dataset, config):
    rows = slice(config["seed"] * config["own_data"], None)
    return dataclasses.replace(
        dataset,
        x_train=dataset.x_train[rows][:30],
        x_test=dataset.x_test[:20],
        x_valid=dataset.x_test[20:30],
    )


STUDY = Study(
    "tiny",
    build,
    protocol={"epochs": 4, "batch_size": 20, "fails": 0, "own_data": 0, "beta": 1.0},
    vary={"beta": [0.5, 1.0]},
    transform=few,
    best="val_loss",
    measure_every=2,
    measures={"norm": lambda run: float(np.abs(run.model.get_weights()[0]).sum())},
)


def assert_same(found, expected):
    """Records, but for seconds."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected.keys() - {"seconds"}:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, two in zip(found, expected, strict=True):
            assert_same(one, two)
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-4, abs_tol=1e-5)
    else:
        assert found == expected


@on_jax
def test_their_records_are_those_of_single_runs(tmp_path):
    configs = STUDY.configs("digits", runs=2)
    found = STUDY.run(configs, tmp_path / "together", side_by_side=3)
    assert_same(found, STUDY.run(configs, tmp_path / "alone"))
    assert len({record["test"]["bank"]["rate"] for record in found}) == 4
    assert "measured" in found[0]["history"][1]


@on_jax
def test_one_that_fails_leaves_the_others_their_records(tmp_path):
    configs = STUDY.configs("digits", runs=2, fails=1, beta=[1.0])
    with pytest.raises(RunsFailed, match="FloatingPointError: Training stopped in"):
        STUDY.run(configs, tmp_path, side_by_side=2)
    assert [p.name for p in tmp_path.glob("*.json")] == ["digits-fails1-seed0.json"]


@on_jax
def test_data_of_a_seed_are_refused(tmp_path):
    configs = STUDY.configs("digits", runs=2, own_data=1, beta=[1.0])
    with pytest.raises(RunsFailed, match="side_by_side must be 1 for a study whose"):
        STUDY.run(configs, tmp_path, side_by_side=2)


def test_what_differs_in_more_than_seed_and_beta_is_of_another_group():
    study = Study("many", build=None, protocol={"beta": 1.0}, vary={"d": [1, 2]})
    configs = study.configs("digits", runs=3) + study.configs("digits", beta=2.0)
    named = {study.run_name(config): config for config in configs}
    found = groups.groups(named, 3)
    assert [[(c["d"], c["seed"], c["beta"]) for c in g.values()] for g in found] == [
        [(1, 0, 1.0), (1, 1, 1.0), (1, 2, 1.0)],
        [(1, 0, 2.0)],
        [(2, 0, 1.0), (2, 1, 1.0), (2, 2, 1.0)],
        [(2, 0, 2.0)],
    ]


def test_precision_is_that_of_the_model_alone(tmp_path):
    configs = STUDY.configs("digits", beta=[1.0], precision="mixed_bfloat16", epochs=1)
    model = STUDY.built(configs[0], data.load("digits"))
    dense = [layer for layer in model._flatten_layers() if hasattr(layer, "kernel")]
    assert {layer.compute_dtype for layer in dense} == {"bfloat16"}
    assert keras.config.dtype_policy().name == "float32"
    with pytest.raises(ValueError, match="precision must be the name of a Keras dtype"):
        STUDY.run(STUDY.configs("digits", precision="half"), tmp_path)
