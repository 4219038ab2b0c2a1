"""Records: how they are made, read and grouped."""

import json

import keras
import numpy as np
import pytest

from echo_keras.layers import MAFMarginal
from echo_keras.studies import records

DATA = {"checksum": "c", "description": "digits"}


def made(**more):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    return records.make("mine", {"seed": 0}, DATA, model, **more)


def test_a_record_has_these_keys_whatever_is_measured():
    record = made()
    assert list(record) == [
        *("schema", "study", "config", "data", "versions", "device", "parts"),
        *("parameters", "dense_parameters", "seconds", "test", "measures", "history"),
    ]
    assert (record["schema"], record["parameters"], record["seconds"]) == (2, 8, 0)
    assert record["versions"]["keras"] == keras.__version__
    assert record["versions"]["backend"] == keras.backend.backend()
    assert record["device"]
    assert json.loads(json.dumps(record)) == record


def test_seconds_are_those_of_all_epochs():
    assert made(history=[{"seconds": 1.25}, {"seconds": 2.5}])["seconds"] == 3.8


def test_masked_weights_are_counted_apart():
    marginal = MAFMarginal(steps=1, hidden=(4,))
    inputs = keras.Input((3,))
    record = records.make("mine", {}, {}, keras.Model(inputs, marginal(inputs)))
    # Masks leave, of 3 x 4 and 4 x 3 connections between degrees 1, 2, 3 and hidden
    # degrees 1, 2, 1, 2: 2 + 4 = 6 and, strictly greater, 2 + 4 = 6; and 4 + 3 biases.
    assert record["dense_parameters"] == 12 + 12 + 7
    assert record["parameters"] == 6 + 6 + 7


def test_read_is_sorted_and_complete(tmp_path):
    for name, seconds in (("b", 2.0), ("a", 1.0)):
        record = made(history=[{"seconds": seconds}])
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    (tmp_path / "notes.md").write_text("not a record")
    assert [r["seconds"] for r in records.read(tmp_path)] == [1.0, 2.0]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": 2, "config": {}}', "3"])
def test_what_is_no_record_is_named(tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ValueError, match="odd.json must hold a run record. Received: "):
        records.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": None}, r"Received: damage \(data is a NoneType\)\. Move it"),
        ({"data": {"checksum": "c"}}, "Received: no 'description'. Move it"),
        ({"test": {"bank": {"rate": "2.5"}}}, "'2.5' in the place of a number"),
    ],
)
def test_a_record_that_no_table_can_be_made_of_is_named(tmp_path, changes, sentence):
    (tmp_path / "odd.json").write_text(json.dumps(made() | changes))
    with pytest.raises(ValueError, match=f"^odd.json must hold a run rec.*{sentence}"):
        records.read(tmp_path)


def test_another_schema_is_refused(tmp_path):
    (tmp_path / "new.json").write_text(json.dumps({**made(), "schema": 3}))
    with pytest.raises(ValueError, match="schema 2. Received: schema=3"):
        records.read(tmp_path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("test.bank.rate", 2.5),
        ("history.-1.tc", 3.0),
        (["history", "-1", "at 0.2"], 7.0),
        ("history.0.tc", None),
        ("test.batch.rate", None),
        ("history.5.tc", None),
        ("seconds.total", None),
    ],
)
def test_what_stands_under_dotted_keys(path, value):
    record = made(
        history=[{}, {"tc": 3.0, "at 0.2": 7.0}], test={"bank": {"rate": 2.5}}
    )
    assert records.get(record, path) == value


def test_runs_are_grouped_by_lists_and_missing_keys_too():
    def run(**config):
        return {"config": config}

    runs = [run(a=[1, 2]), run(a=[1, 2], b=3), run(b=None, a=[1, 2]), run(a=[2])]
    assert records.group(runs, ["a"]) == [runs[:3], runs[3:]]
    assert records.group(runs, ["a", "b"]) == [[runs[0], runs[2]], [runs[1]], [runs[3]]]
    assert records.group([], ["a"]) == []


def test_provenance_names_each_device_and_description_once():
    runs = [
        {"data": {"description": d}, "device": "CPU", "versions": {"backend": b}}
        for d, b in (("digits", "jax"), ("digits", "torch"), ("mnist", "jax"))
    ]
    assert records.provenance(runs) == (
        "Data: digits; mnist. Device: CPU, jax and CPU, torch."
    )


def test_a_measure_of_numpy_scalars_is_held():
    held = made(measures={"a": np.float32(0.5), "b": {1: [np.int64(2), None]}})
    assert held["measures"] == {"a": 0.5, "b": {"1": [2, None]}}
    assert json.loads(json.dumps(held)) == held


@pytest.mark.parametrize("value", [np.zeros(2), {"x": np.zeros(2)}])
def test_a_measure_that_json_cannot_hold_is_refused(value):
    with pytest.raises(ValueError, match=r"measures\['a'\] must .*Received: ndarray"):
        made(measures={"a": value})
