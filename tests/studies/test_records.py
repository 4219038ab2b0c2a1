"""Records: what is read, averaged and rendered."""

import json
import math

import keras
import pytest

from echo_keras.studies import records


def run(neg_elbo, bank=0.0):
    def result(total):
        return {"rate": 1.0, "distortion": total - 1.0, "neg_elbo": total}

    return {"config": {}, "test": {"batch": result(neg_elbo), "bank": result(bank)}}


def test_nine_runs_are_all_averaged_and_ten_lose_two():
    nine = records.summarize([run(float(i)) for i in range(9)])
    assert (nine["runs"], nine["kept"], nine["neg_elbo"]) == (9, 9, 4.0)
    ten = records.summarize([run(float(i)) for i in [*range(9), 1000]])
    assert (ten["runs"], ten["kept"], ten["neg_elbo"]) == (10, 8, 4.5)
    # Standard deviation of 1, ..., 8 with n - 1 in the denominator.
    assert ten["sigma"] == pytest.approx(math.sqrt(6.0))


def test_one_run_has_no_spread():
    summary = records.summarize([run(5.0, bank=7.0)], echoes="bank")
    assert summary["neg_elbo"] == 7.0
    assert math.isnan(summary["sigma"])


def test_read_is_sorted_and_complete(tmp_path):
    for name, value in (("b", 2.0), ("a", 1.0)):
        (tmp_path / f"{name}.json").write_text(json.dumps(run(value)))
    (tmp_path / "notes.md").write_text("not a record")
    values = [r["test"]["batch"]["neg_elbo"] for r in records.read(tmp_path)]
    assert values == [1.0, 2.0]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"config": {}}', "3"])
def test_what_is_no_record_is_named(tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ValueError, match="odd.json is not a run record"):
        records.read(tmp_path)


def test_environment_names_versions_and_device():
    found = records.environment()
    assert found["versions"]["keras"] == keras.__version__
    assert found["versions"]["backend"] == keras.backend.backend()
    assert found["device"]


def test_markdown():
    table = records.markdown(["a", "b"], [["x", 1], ["y", 2]])
    assert table == "| a | b |\n| --- | ---: |\n| x | 1 |\n| y | 2 |"
