"""Every committed table is what its records say, and every record is readable."""

import re

import pytest
from tools import script

from echo_keras.studies import records

# Folder of reproductions/, script, its table, results/, and the file.
TABLES = [
    ("", "table1", "TABLE", "echo_paper", "table1.md"),
    ("", "table2", "TABLE", "table2", "table2.md"),
    ("", "table3", "TABLE", "echo_paper/table3", "../table3.md"),
    ("bib_ae", "compression", "TABLE", "bib_ae_compression", "compression.md"),
    ("bib_ae", "novelty", "TABLE", "bib_ae_novelty", "novelty.md"),
    ("bib_ae", "objectives", "TABLE", "bib_ae_objectives", "objectives.md"),
    ("bib_ae", "supervised", "TABLE", "bib_ae_supervised", "supervised.md"),
    ("broken_elbo", "figure3", "TABLE", "broken_elbo", "figure3.md"),
]


@pytest.mark.parametrize(
    ("folder", "name", "table", "results", "file"), TABLES, ids=lambda x: str(x)
)
def test_a_table_is_rendered_from_its_records(
    repository, folder, name, table, results, file
):
    place = repository / "reproductions" / "results" / results
    tables = script(folder, name).main.tables or [getattr(script(folder, name), table)]
    text = tables[0].render(records.read(place))
    assert text + "\n" == (place / file).read_text()


def test_every_record_has_the_name_that_its_study_gives_it(repository):
    for folder, name, _, results, _ in TABLES:
        study = script(folder, name).STUDY
        for path in (repository / "reproductions" / "results" / results).glob("*.json"):
            assert study.run_name(records.load(path)["config"]) == path.stem


def test_links_of_the_readmes_lead_somewhere(repository):
    for path in (repository / "README.md", repository / "reproductions" / "README.md"):
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
