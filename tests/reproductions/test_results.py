"""Every committed table is what its records say, and every record is readable."""

import re
import sys

import pytest
from tools import script

from echo_keras.studies import parse, records, write_numbers
from echo_keras.studies.outcome import reference

# Folder of reproductions/ and script, folder of results/.
SCRIPTS = [
    ("", "table1", "echo_paper"),
    ("", "multi_rate", "multi_rate"),
    ("", "invariant", "invariant"),
    ("", "table2", "table2"),
    ("", "table3", "echo_paper/table3"),
    ("bib_ae", "compression", "bib_ae_compression"),
    ("bib_ae", "novelty", "bib_ae_novelty"),
    ("bib_ae", "objectives", "bib_ae_objectives"),
    ("bib_ae", "supervised", "bib_ae_supervised"),
    ("broken_elbo", "figure3", "broken_elbo"),
    ("vcae", "proposition1", "vcae_proposition1"),
    ("broken_elbo", "appendix_c", "broken_elbo_appendix_c"),
    ("vcae", "table1", "vcae_table1"),
    ("vcae", "table2", "vcae_table2"),
    ("vcae", "table6", "vcae_table2"),
    ("vcae", "table3", "vcae_table3"),
    ("vcae", "toy", "vcae_toy"),
    ("vcae", "figure8", "vcae_figure8"),
    ("vimae", "table3", "vimae"),
    ("vimae", "figure1", "vimae_figure1"),
    ("vimae", "frontier", "vimae"),
    ("vimae", "table1", "vimae"),
    ("vimae", "table5", "vimae"),
    ("vimae", "table2", "vimae_cifar10"),
    ("vimae", "table4", "vimae_omniglot"),
    ("vimae", "table1", "vimae_omniglot"),
]

# What rate_distortion.py was asked for, by the stem of what it drew.
CURVES = {
    "binary_mnist-epochs20-train_limit10000-precisionmixed_bfloat16": (
        "--dataset=binary_mnist --train_limit=10000 --epochs=20 "
        "--precision=mixed_bfloat16",
        [
            "--methods=echo --betas=0.1,0.2,0.4,1,2,4",
            "--methods=vae --betas=0.1,0.4,1,2",
        ],
    ),
}


@pytest.mark.parametrize(("folder", "name", "results"), SCRIPTS)
def test_tables_are_rendered_from_their_records(repository, folder, name, results):
    module = script(folder, name)
    place = repository / "reproductions" / "results" / results
    runs, written = records.read(place), 0
    assert runs
    for table in module.main.tables or [module.TABLE]:
        for path in (place / f"{table.name}.md", place.parent / f"{table.name}.md"):
            if path.exists():
                assert table.render(runs) + "\n" == path.read_text()
                written += 1
    assert written


def test_curves_are_rendered_from_the_records_of_one_protocol(repository):
    main, table = (getattr(script("", "rate_distortion"), x) for x in ("main", "TABLE"))
    place = repository / "reproductions" / "results" / "echo_paper"
    for name, (protocol, parts) in CURVES.items():
        stems = [
            main.study.run_name(config)
            for part in parts
            for config in main.configs(
                parse(main.flags(), f"{protocol} {part}".split())
            )
        ]
        runs = [records.load(place / f"{stem}.json") for stem in stems]
        text = (place / f"{name}-rate_distortion.md").read_text()
        assert table.render(runs) + "\n" == text


@pytest.mark.parametrize(("folder", "name", "results"), SCRIPTS)
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


@pytest.mark.parametrize(("folder", "name", "results"), SCRIPTS)
def test_records_have_the_names_that_their_study_gives(
    repository, folder, name, results
):
    study = script(folder, name).STUDY
    for path in (repository / "reproductions" / "results" / results).glob("*.json"):
        assert study.run_name(records.load(path)["config"]) == path.stem


@pytest.mark.parametrize(("folder", "name", "results"), SCRIPTS)
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
