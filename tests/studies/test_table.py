"""Tables, on records made by hand."""

import csv
import math

import numpy as np
import pytest

from echo_keras.studies import (
    Column,
    Study,
    Table,
    cell,
    mean,
    plus_minus,
    points,
    published,
    spread,
)

STUDY = Study("mine", None, protocol={"epochs": 20}, vary={"method": ["echo", "vae"]})
COLUMNS = [
    Column("Method", "config.method"),
    Column("Rate", "test.bank.rate"),
    Column("runs", len, "d"),
]


def run(method, rate, epochs=20, seed=0, **config):
    protocol = {**STUDY.protocol_of({}), "epochs": epochs}
    config = {"dataset": "digits", "method": method, "seed": seed, **protocol, **config}
    return {
        "config": config,
        "test": {"bank": {"rate": rate}},
        "data": {"description": "handwritten"},
        "device": "CPU",
        "versions": {"backend": "jax"},
    }


def test_a_table_as_a_whole():
    runs = [run("vae", 4.0), run("echo", 1.0), run("echo", 2.0, seed=1)]
    table = Table(STUDY, COLUMNS, title="Table 9", rows=["method"], note="Nats.")
    assert (
        table.render(runs)
        == """# Table 9

## digits: the paper's protocol

All of the paper's updates.

| Method | Rate | runs |
| --- | ---: | ---: |
| echo | 1.50 | 2 |
| vae | 4.00 | 1 |

Nats. Data: handwritten. Device: CPU, jax."""
    )


def test_each_protocol_and_data_set_has_a_section():
    runs = [run("vae", 2.0, epochs=2), run("vae", 1.0), run("echo", 3.0)]
    runs += [run("vae", 4.0, dataset="mnist")]
    text = Table(STUDY, COLUMNS).render(runs)
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "## digits: the paper's protocol",
        "## digits: reduced or changed protocol: epochs 2 (paper 20)",
        "## mnist: the paper's protocol, on 50,000 of 60,000 training images",
    ]


def test_keys_apart_share_a_section():
    runs = [run("vae", 1.0), run("vae", 2.0, epochs=2)]
    assert len(Table(STUDY, COLUMNS, apart=["epochs"]).sections(runs)) == 1


def test_rows_are_in_the_order_of_what_varies_and_then_of_seeds():
    runs = [
        run("vae", 0.0),
        run("new", 1.0),
        run("echo", 2.0, seed=1),
        run("echo", 3.0),
    ]
    (section,) = Table(STUDY, COLUMNS).sections(runs)
    assert [row[0]["test"]["bank"]["rate"] for row in section] == [3.0, 2.0, 0.0, 1.0]


def test_rows_can_be_chosen_and_sorted():
    runs = [run("vae", 1.0), run("echo", 2.0), run("vae", 3.0, seed=1)]
    table = Table(
        STUDY,
        COLUMNS,
        select=lambda record: record["config"]["method"] == "vae",
        sort=lambda record: -record["test"]["bank"]["rate"],
    )
    (section,) = table.sections(runs)
    assert [row[0]["test"]["bank"]["rate"] for row in section] == [3.0, 1.0]


def test_paths_average_what_is_kept_and_functions_see_all():
    runs = [run("vae", float(rate), seed=rate) for rate in range(4)]
    table = Table(STUDY, COLUMNS, rows=["method"], keep=lambda runs: runs[1:3])
    assert "| vae | 1.50 | 4 |" in table.render(runs)


def test_headers_and_notes_may_depend_on_the_runs():
    columns = [Column(lambda runs: f"of {len(runs)}", "test.bank.rate")]
    table = Table(STUDY, columns, note=lambda runs: f"{len(runs)} runs.")
    text = table.render([run("vae", 1.0), run("echo", 2.0)])
    assert "| of 2 |" in text and "\n2 runs. Data: " in text


def test_columns_may_depend_on_the_runs_of_a_section():
    table = Table(
        STUDY, lambda runs: [*COLUMNS, Column("of", lambda _: len(runs), "d")]
    )
    text = table.render([run("vae", 1.0), run("echo", 2.0), run("vae", 4.0, epochs=2)])
    assert text.count("| Method | Rate | runs | of |") == 2
    assert "| vae | 1.00 | 1 | 2 |" in text and "| vae | 4.00 | 1 | 1 |" in text


def test_a_run_may_be_split_into_rows():
    def split(run):
        rates = run["test"]["bank"]["rate"], 9.0
        return [{**run, "rate": r, "config": {**run["config"], "of": r}} for r in rates]

    table = Table(STUDY, [Column("Rate", "rate")], rows=["of"], split=split)
    text = table.render([run("vae", 1.0), run("vae", 3.0, seed=1)])
    assert "| 1.00 |\n| 9.00 |\n| 3.00 |" in text


def test_what_only_some_rows_have_is_said_to_depart_from_the_paper():
    study = Study("mine", None, protocol={"epochs": 20, "depth": 4})
    runs = [run("vae", 1.0), run("echo", 2.0, depth=3)]
    text = Table(study, COLUMNS, apart=["depth"]).render(runs)
    assert "digits: reduced or changed protocol: depth 3 (paper 4)" in text


def test_points_are_grouped_by_their_label():
    runs = [run("vae", 1.0), run("echo", 2.0), run("vae", 4.0, epochs=2)]
    found = points(runs, lambda c: c["method"], "test.bank.rate", "config.epochs")
    assert found == {"vae": [(1.0, 20), (4.0, 2)], "echo": [(2.0, 20)]}


def test_files_hold_the_table_and_numbers_that_are_not_rounded(tmp_path):
    runs = [run("vae", 1 / 3), run("echo", 2.0, epochs=2)]
    text = Table(STUDY, COLUMNS, name="table9").write(runs, tmp_path)
    assert (tmp_path / "table9.md").read_text() == text + "\n"
    with open(tmp_path / "table9.csv") as file:
        lines = list(csv.DictReader(file))
    assert [(x["dataset"], x["epochs"], x["Method"]) for x in lines] == [
        ("digits", "20", "vae"),
        ("digits", "2", "echo"),
    ]
    assert float(lines[0]["Rate"]) == 1 / 3


def test_means_and_spreads():
    runs = [run("vae", x) for x in (1.0, 2.0, 6.0)]
    assert mean(runs, "test.bank.rate") == 3.0
    # The squared deviations 4, 1 and 9 over n - 1.
    assert spread(runs, "test.bank.rate") == pytest.approx(math.sqrt(7.0))
    assert spread(runs[:1], "test.bank.rate") is None
    assert mean(runs, "test.batch.rate") is None


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (1.234, ".2f", "1.23"),
        (1234, ",", "1,234"),
        (math.nan, ".2f", "-"),
        (None, ".2f", "-"),
        ("VAE", ".2f", "VAE"),
        (0.0, ".1f", "0.0"),
    ],
)
def test_cells(value, form, text):
    assert cell(value, form) == text


def test_numbers_of_a_paper_are_looked_up():
    numbers = {"digits": {"vae": (1.0, None)}}
    first = published(numbers, "dataset", "method", column=0)
    assert first([run("vae", 0.0)]) == 1.0
    assert published(numbers, "dataset", "method", column=1)([run("vae", 0.0)]) is None
    assert first([run("echo", 0.0)]) is None
    assert first([run("vae", 0.0, dataset="mnist")]) is None


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        (Column("x", "test.bank"), "test.bank must be a number in every record"),
        (Column("x", "test.bank.rate", "d"), "format must be .*Received: format='d'"),
        (Column("x", lambda runs: [1.0]), r"Received: format='.2f', of which \[1.0\]"),
        ("x", "columns must be Columns. Received: 'x'"),
        (Column("x", published({"digits": 3}, "dataset", "seed")), "numbers must be"),
    ],
)
def test_what_no_cell_can_show_is_a_sentence(column, sentence):
    with pytest.raises(ValueError, match=sentence):
        Table(STUDY, [column]).render([run("vae", 1.0)])


def test_a_path_is_a_text_or_a_sequence():
    with pytest.raises(ValueError, match="value must be a path .*Received: value=3"):
        Column("x", 3)


def test_texts_that_differ_are_not_the_first_of_them():
    runs = [run("vae", 1.0), run("echo", 1.0)]
    assert Column("x", "config.method").text(runs) == "-"
    assert Column("x", "config.method").text(runs[:1]) == "vae"
    with pytest.raises(ValueError, match="must be a number in every record"):
        Column("x", "config.method").text([*runs, run(3.0, 1.0)])


def test_nan_of_numpy_is_no_number():
    assert cell(np.float32("nan")) == "-"


def test_a_table_makes_its_folder(tmp_path):
    Table(STUDY, COLUMNS).write([run("vae", 1.0)], tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "table.csv").exists()


def test_a_model_without_a_rate_is_a_dash_in_a_table_and_no_point_of_a_curve():
    runs = [{**run("echo", 3.0), "seconds": 5}, {**run("wae", 2.0), "seconds": 6}]
    del runs[1]["test"]["bank"]["rate"]
    assert Column("Rate", "test.bank.rate").text(runs[1:]) == "-"
    assert plus_minus("test.bank.rate")(runs[1:]) is None
    found = points(runs, lambda config: "all", "test.bank.rate", "seconds")
    assert found == {"all": [(3.0, 5)]}
