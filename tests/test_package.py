"""What is installed, and which room may import which."""

import ast
import configparser
import graphlib
import json
import os
import re
import subprocess
import sys

import pytest

import echo_keras

# What a fresh interpreter knows, as one JSON object: starting one costs seconds.
REPORT = """
import importlib, importlib.metadata, importlib.util, json, pkgutil
from absl import flags

import echo_keras

report = {
    "missing": [n for n in echo_keras.__all__ if not hasattr(echo_keras, n)],
    "layers": [echo_keras.layers.__name__, echo_keras.layers.__file__],
    "version": importlib.metadata.version("echo-keras"),
    "tops": sorted({f.parts[0] for f in importlib.metadata.files("echo-keras")}),
}
spec = importlib.util.find_spec("layers")
report["named_layers"] = spec and spec.origin
# A package that holds itself would never end.
walk = pkgutil.walk_packages(echo_keras.__path__, "echo_keras.")
report["walked"] = [m.name for m, _ in zip(walk, range(1000))]
inner = pkgutil.iter_modules(echo_keras.layers.__path__, "echo_keras.layers.")
report["imported"] = sorted({*report["walked"], *(m.name for m in inner)})
for name in report["imported"]:
    importlib.import_module(name)
modules = {name: flags.FLAGS.find_module_defining_flag(name) for name in flags.FLAGS}
ours = {name: m for name, m in modules.items() if m.startswith("echo_keras")}
report["flags"] = ours  # absl.logging, which Keras imports, has some of its own
if "seed" not in modules:
    flags.DEFINE_integer("seed", 1, "A flag of the program's own.")
    flags.FLAGS(["program", "--seed=7"])
    report["seed"] = flags.FLAGS.seed
print(json.dumps(report))
"""
# With an editable install's finder taken out, only what stands on sys.path is left, as
# in a checkout that was never installed.
FROM_THE_CHECKOUT = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "Editable" not in repr(f)]
import echo_keras.layers
print(echo_keras.layers.__name__)
"""


def python(code, cwd):
    """Runs `code` in a new interpreter started in `cwd`; returns what it printed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What a fresh interpreter in an empty folder says of the library.

    In the checkout, the egg-info that an editable build leaves there would answer.
    """
    return json.loads(python(REPORT, tmp_path_factory.mktemp("empty")).split("\n")[-1])


def modules(folder):
    files = sorted(folder.rglob("*.py"))
    assert files, f"no Python files in {folder}"
    return files


def imports(path, root):
    """The imports of a file, as (line, absolute module name) pairs.

    Relative imports are resolved as the installed package sees them, where
    `layers/` is `echo_keras.layers`.
    """
    parts = path.relative_to(root).parts
    package = ["echo_keras"] if parts[0] == "layers" else []
    package += parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                assert node.level <= len(package), f"{path}:{node.lineno}"
                base = package[: len(package) - node.level + 1] + base
            # `from package import name`: the name may itself be a module.
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])


def test_version_is_that_of_the_installed_distribution(report):
    assert report["version"] == echo_keras.__version__


def test_citation_names_the_version(repository):
    citation = (repository / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {echo_keras.__version__}\n" in citation


def test_the_changelog_has_the_version(repository):
    log = (repository / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[{re.escape(echo_keras.__version__)}\] - ", log, re.M)


def test_the_repository_has_one_address(repository):
    settings = (repository / "setup.cfg").read_text()
    (address,) = re.findall(r"^url = https://github.com/(\S+)$", settings, re.M)
    pages = [repository / "README.md", *sorted(repository.glob("examples/*.ipynb"))]
    for page in pages:
        found = re.findall(
            r"(?://github\.com|research\.google\.com/github)/([\w-]+/[\w-]+)",
            page.read_text(),
        )
        assert found and set(found) == {address}, page.name


def test_layers_are_found_from_any_folder(report):
    name, path = report["layers"]
    assert name == "echo_keras.layers"
    assert path.endswith(os.path.join("layers", "__init__.py"))


def test_imports_from_the_checkout_without_an_editable_install(repository):
    # The checkout's echo_keras/ comes before an installed one there, and its
    # layers/ is not inside it.
    assert python(FROM_THE_CHECKOUT, repository) == "echo_keras.layers"


def test_nothing_named_layers_is_installed(report, repository):
    assert not (report["named_layers"] or "").startswith(str(repository))
    assert "layers" not in report["tops"]


def test_every_public_name_is_there_after_a_bare_import(report):
    assert report["missing"] == []
    assert echo_keras.__all__ == sorted(echo_keras.__all__)


def test_walking_the_package_finds_the_library_alone(report, repository):
    expected = set()
    for path in modules(repository / "echo_keras"):
        parts = path.relative_to(repository).with_suffix("").parts
        expected.add(".".join(p for p in parts if p != "__init__"))
    # layers/ is inside the package where it is installed, and beside it in a checkout.
    found = [n for n in report["walked"] if n.split(".")[1] != "layers"]
    assert sorted(found) == sorted(expected - {"echo_keras"})
    assert {"echo_keras.losses", "echo_keras.layers.echo"} <= set(report["imported"])


def test_importing_every_module_defines_no_flag(report):
    assert report["flags"] == {}


def test_a_programs_own_seed_flag_works_beside_the_library(report):
    assert report.get("seed") == 7


def test_setup_cfg_ships_every_package(repository):
    config = configparser.ConfigParser()
    config.read(repository / "setup.cfg", encoding="utf-8")
    packages = set(config["options"]["packages"].split())
    expected = set()
    for top, prefix in (("echo_keras", ()), ("layers", ("echo_keras",))):
        for path in modules(repository / top):
            parts = (*prefix, *path.relative_to(repository).parts[:-1])
            expected.add(".".join(parts))
    assert packages == expected


def test_layers_know_only_keras_numpy_and_scipy(repository):
    allowed = {"keras", "numpy", "scipy", *sys.stdlib_module_names}
    wrong = []
    for path in modules(repository / "layers"):
        for line, name in imports(path, repository):
            ours = f"{name}.".startswith("echo_keras.layers.")
            if not ours and name.split(".")[0] not in allowed | backends(path):
                wrong.append(f"{path.relative_to(repository)}:{line} imports {name}")
    assert not wrong, wrong


def backends(path):
    """The backends that a file of layers/ may name: one file may, for all others."""
    return {"tensorflow", "jax", "torch"} if path.name == "backend.py" else set()


def test_one_file_of_the_layers_names_backends(repository):
    wrong = []
    for path in modules(repository / "layers"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            if text in ("tensorflow", "jax", "torch") and not backends(path):
                wrong.append(f"{path.relative_to(repository)}:{node.lineno}")
    assert not wrong, wrong


# Imports go down these storeys. Modules with an underscore stand right above the
# layers, for all rooms.
STOREYS = [
    {"studies", "reports", "__main__"},
    {
        "metrics",
        "training",
        "data",
        "objectives",
        "codec",
        "plots",
        "latent_flow",
        "probe",
    },
    {"multi_rate_model"},
    {"autoencoders"},
    {"interop", "model", "losses", "networks", "memories"},
    {"_"},
    {"layers"},
]


# What the package itself exports.
DEFINED_IN = {"RateDistortionModel": "model", "autoencoder": "autoencoders"}


def storey(room):
    """The number of a room's storey, 0 at the top; None if it has no place."""
    room = "_" if room.startswith("_") and room != "__main__" else room
    return next((i for i, rooms in enumerate(STOREYS) if room in rooms), None)


def room_imports(repository):
    """Where, from which room and to which other room the library imports."""
    for path in modules(repository / "echo_keras"):
        room = path.relative_to(repository).with_suffix("").parts[1]
        for line, name in imports(path, repository):
            where = f"{path.relative_to(repository)}:{line} imports {name}"
            top, *rest = name.split(".")
            if top in ("reproductions", "examples", "benchmarks", "tests", "layers"):
                yield where, room, top
            elif top == "echo_keras" and room != "__init__" and rest:
                yield where, room, DEFINED_IN.get(rest[0], rest[0])


def test_imports_run_one_way(repository):
    wrong, graph = [], {}
    for where, room, target in room_imports(repository):
        if room == target:
            continue
        graph.setdefault(room, set()).add(target)
        storeys = storey(room), storey(target)
        if None in storeys or storeys[0] > storeys[1]:
            wrong.append(where)
    assert not wrong, "\n".join(wrong)
    graphlib.TopologicalSorter(graph).prepare()  # no two rooms need each other


@pytest.mark.core
def test_the_backend_is_the_one_asked_for():
    import keras

    assert keras.backend.backend() == os.environ["KERAS_BACKEND"]
