"""Every committed table is what its records say, and every record is readable."""

import re
import sys

import pytest
import render
from render import script

from echo_keras.studies import records, write_numbers
from echo_keras.studies.outcome import reference

every_folder = pytest.mark.parametrize(("folder", "name", "results"), render.SCRIPTS)


@every_folder
def test_tables_are_rendered_from_their_records(repository, folder, name, results):
    place = repository / "reproductions" / "results" / results
    runs = records.read(place)
    assert runs
    found = list(render.tables(script(folder, name), place))
    assert found
    for path, table in found:
        assert table.render(runs) + "\n" == path.read_text()


@pytest.mark.parametrize("stem", render.CURVES)
def test_curves_are_rendered_from_the_records_of_one_protocol(repository, stem):
    curve = script("", "rate_distortion")
    runs = render.curve_runs(curve.main, *render.CURVES[stem])
    place = repository / "reproductions" / "results" / "echo_paper"
    text = (place / f"{stem}-rate_distortion.md").read_text()
    assert curve.TABLE.render(runs) + "\n" == text


@every_folder
def test_every_number_of_the_records_is_shown(
    repository, folder, name, results, tmp_path
):
    place = repository / "reproductions" / "results" / results
    runs, study = records.read(place), script(folder, name).STUDY
    text = write_numbers(runs, study, tmp_path).read_text()
    assert (place / "numbers.csv").read_text() == text
    leaves = text.splitlines()[0].split(",")
    for run in runs:
        assert f"test.{next(iter(run['test']))}.distortion" in leaves


@every_folder
def test_records_have_the_names_that_their_study_gives(
    repository, folder, name, results
):
    study = script(folder, name).STUDY
    for path in (repository / "reproductions" / "results" / results).glob("*.json"):
        assert study.run_name(records.load(path)["config"]) == path.stem


@every_folder
def test_workers_find_the_study_of_a_script(monkeypatch, folder, name, results):
    module = script(folder, name)
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where `build` stands
    assert reference(module.main.study.train_one)[1].endswith(".train_one")


def test_scripts_measure_images_from_all_over_a_file(repository):
    """Files are sorted: MNIST's first 5,000 test images are the easier half."""
    for path in (repository / "reproductions").rglob("*.py"):
        assert not re.search(r"[xy]_(test|valid)\[:", path.read_text()), path.name


def test_links_of_the_readmes_lead_somewhere(repository):
    for path in (repository / "README.md", repository / "reproductions" / "README.md"):
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
