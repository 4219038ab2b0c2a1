"""Renders the tables in results/ anew from their records.

    python reproductions/render.py

Beside them numbers.csv of every folder, the reports of rate-distortion curves, and the
items of README.md. Nothing is trained. Figures, and the reports of scripts that have no
records of a study (figure1.py, figure6.py, figure7.py, layer_rates.py,
broken_elbo/figure2.py), are left as they are.
"""

import importlib.util
import pathlib
import sys

import items

from echo_keras.studies import parse, records, write_numbers

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results"
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
    ("broken_elbo", "figure3", "broken_elbo_omniglot"),
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
# What rate_distortion.py was asked for, by the stem of what it drew: the protocol, and
# the methods with their betas.
SHORT = "--train_limit=10000 --epochs=20 --precision=mixed_bfloat16"
CURVES = {
    f"binary_mnist-{items.SHORT}": (
        f"--dataset=binary_mnist {SHORT}",
        [
            "--methods=echo --betas=0.1,0.2,0.4,1,2,4",
            "--methods=vae --betas=0.1,0.4,1,2",
        ],
    ),
    f"omniglot-{items.SHORT}": (
        f"--dataset=omniglot {SHORT}",
        ["--methods=echo,vae --betas=0.2,0.4,1,2"],
    ),
    f"fashion_mnist-{items.SHORT}": (
        f"--dataset=fashion_mnist {SHORT}",
        ["--methods=echo,vae --betas=0.2,1"],
    ),
}


def script(folder, name):
    """A script of a folder of reproductions/; its name may stand in others too."""
    here = HERE / folder
    if str(here) not in sys.path:
        sys.path.append(str(here))  # for what the folder's scripts share
    path = here / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tables(module, place):
    """(file, table) of what a script has written of the records of a folder."""
    for table in module.main.tables or [module.TABLE]:
        for folder in (place, place.parent):
            if (folder / f"{table.name}.md").exists():
                yield folder / f"{table.name}.md", table


def curve_runs(main, protocol, parts):
    """The records of one curve."""
    names = [
        main.study.run_name(config)
        for part in parts
        for config in main.configs(parse(main.flags(), f"{protocol} {part}".split()))
    ]
    return [records.load(RESULTS / "echo_paper" / f"{name}.json") for name in names]


def render():
    """Writes all of it."""
    for folder, name, results in SCRIPTS:
        module, place = script(folder, name), RESULTS / results
        runs = records.read(place)
        write_numbers(runs, module.STUDY, place)
        for path, table in tables(module, place):
            table.write(runs, path.parent)
    curve = script("", "rate_distortion")
    for stem, (protocol, parts) in CURVES.items():
        text = curve.TABLE.render(curve_runs(curve.main, protocol, parts))
        report = RESULTS / "echo_paper" / f"{stem}-rate_distortion.md"
        report.write_text(text + "\n")
    items.write()


if __name__ == "__main__":
    render()
