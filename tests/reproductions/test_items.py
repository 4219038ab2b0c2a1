"""The papers' items, from the reports that records were rendered to."""

import pathlib

import items
import pytest
from items import Item

REPORT = """# Table 1 of a paper

## mnist: reduced or changed protocol: epochs 10 (paper 200)

**5 % of the paper's updates.**

| Method | Error | paper's |
| --- | ---: | ---: |
| A | 9.00 | 8.00 |

- The paper: A is below B (Fig. 1); here: 9.0, 8.0; does not agree.

## mnist: reduced or changed protocol: epochs 20 (paper 200)

**1 to 10 % of the paper's updates.**

| Method | Error | paper's |
| --- | ---: | ---: |
| A | 4.00 ± 0.10 | 8.00 |
| B | 9.00 | - |
| C | - | 1,000.00 |
| D | 1,100.00 | 1,000.00 |

Nats.

- The paper: A is below B (Fig. 1); here: 4.0; 9.0; agrees.
- The paper: C is last; here: -; too short to tell.

## digits: the paper's protocol

All of the paper's updates.

| Method | Error |
| --- | ---: |
| A | 1.00 |
"""


@pytest.fixture
def report(tmp_path, monkeypatch):
    monkeypatch.setattr(items, "HERE", tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "report.md").write_text(REPORT)
    return "report.md"


def test_the_longest_protocol_of_a_data_set_is_shown():
    found = items.sections(REPORT)
    assert [(s.data, s.share, s.extent) for s in found] == [
        ("mnist", 0.1, "10 %"),
        ("digits", 1.0, "100 %"),
    ]
    assert found[0].claims == [
        ("A is below B (Fig. 1)", "4.0; 9.0", "agrees"),
        ("C is last", "-", "too short to tell"),
    ]


def test_protocols_of_our_own_are_all_shown():
    ours = "mnist: a protocol of our own, the paper gives none (epochs {})\n\nText.\n"
    found = items.sections("# T\n\n## " + "\n## ".join(map(ours.format, (1, 2))))
    assert [s.extent for s in found] == ["a protocol of our own"] * 2
    assert [items.apart(s, found) for s in found] == [["epochs 1"], ["epochs 2"]]
    assert items.apart(found[0], found[:1]) == []


def test_the_title_of_a_report_of_one_part_has_its_protocol():
    title = "# Figure 6: marginals, mnist, reduced or changed protocol: epochs 20\n"
    (found,) = items.sections(title + "\n- The paper: a; here: b; agrees.\n")
    assert (found.data, found.extent) == ("mnist", "epochs 20")
    assert found.claims == [("a", "b", "agrees")]


def test_numbers_stand_beside_the_papers(report):
    item = Item("Table 1", "table1.py", report, {"Error": "paper's"})
    first, _, second, third = items.lines(item)
    where = f"[mnist](results/{report}), 10 %"
    name, script = "Table 1", "[table1.py](table1.py)"
    # 4 for 8 is 50 % off; a row without one of the two numbers is left out.
    numbers = ["Error: A 8.00, D 1,000.00", "A 4.00 ± 0.10, D 1,100.00", "within 50 %"]
    assert first == [name, script, where, *numbers]
    assert second == [name, script, where, "C is last", "-", "too short to tell"]
    assert third == [name, script, f"[digits](results/{report}), 100 %", "", "", ""]


def test_what_a_line_repeats_is_left_out(report):
    listed = [Item("Table 1", "a.py", report), Item("Table 2", "a.py", why="p(x|z)")]
    rows = items.table(listed).splitlines()
    assert rows[2].startswith("| Table 1 | [a.py](a.py) | [mnist]")
    assert rows[3].startswith("|  |  |  | C is last")
    assert rows[4].startswith("|  |  | [digits]")
    assert rows[5] == "| Table 2 | [a.py](a.py) |  |  | p(x\\|z) |  |"


def test_the_readme_has_every_item(repository):
    text = (repository / "reproductions" / "README.md").read_text()
    assert items.rewritten(text) == text, "run python reproductions/render.py"
    with pytest.raises(SystemExit, match="README.md must have a line <!-- items: echo"):
        items.rewritten("")


def test_every_script_and_every_report_has_an_item(repository):
    folder = repository / "reproductions"
    listed = [item for paper in items.PAPERS.values() for item in paper]
    for item in listed:
        assert (folder / item.script).is_file(), item.script
    named = {pathlib.PurePosixPath(item.script) for item in listed}
    scripts = {
        pathlib.PurePosixPath(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if "__main__" in path.read_text()
    }
    of_no_paper = {
        "items.py",
        "layer_rates.py",
        "multi_rate.py",
        "plan.py",
        "render.py",
    }
    assert {str(path) for path in scripts - named} == of_no_paper | {
        "broken_elbo/figure4.py"  # draws the models of figure3.py
    }
    reports = {
        str(path.relative_to(folder / "results"))
        for path in (folder / "results").rglob("*.md")
        if "- The paper: " in path.read_text()
    }
    assert reports <= {item.report for item in listed}
