"""What is installed, and which room may import which."""

import ast
import configparser
import os
import subprocess
import sys

import pytest

import echo_keras

# Run in a child: with an editable install's finder taken out, only what stands on
# sys.path is left, as after a regular install.
WITHOUT_EDITABLE_FINDER = (
    "import sys;"
    "sys.meta_path[:] = [f for f in sys.meta_path if 'Editable' not in repr(f)];"
)


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


# Metadata is asked for from an empty folder: in the checkout, the egg-info that an
# editable build leaves there would answer.
def test_version_is_that_of_the_installed_distribution(tmp_path):
    code = "import importlib.metadata as m; print(m.version('echo-keras'))"
    assert python(code, tmp_path) == echo_keras.__version__


def test_citation_names_the_version(repository):
    citation = (repository / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {echo_keras.__version__}\n" in citation


def test_imports_from_any_folder(tmp_path):
    code = "import echo_keras, echo_keras.layers as l; print(l.__name__, l.__file__)"
    name, path = python(code, tmp_path).split(maxsplit=1)
    assert name == "echo_keras.layers"
    assert path.endswith(os.path.join("layers", "__init__.py"))


def test_imports_from_the_checkout_without_an_editable_install(repository):
    # The checkout's echo_keras/ comes before an installed one there, and its
    # layers/ is not inside it.
    code = WITHOUT_EDITABLE_FINDER + "import echo_keras.layers as l; print(l.__name__)"
    assert python(code, repository) == "echo_keras.layers"


def test_nothing_named_layers_is_installed(tmp_path, repository):
    code = (
        "import importlib.util as u; s = u.find_spec('layers');"
        "print('' if s is None else s.origin)"
    )
    assert not python(code, tmp_path).startswith(str(repository))
    code = (
        "import importlib.metadata as m;"
        "print(*sorted({f.parts[0] for f in m.files('echo-keras') or ()}))"
    )
    assert "layers" not in python(code, tmp_path).split()


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
            # The one place that may name a backend.
            ours = ours or (path.name, name) == ("backend.py", "tensorflow")
            if not ours and name.split(".")[0] not in allowed:
                wrong.append(f"{path.relative_to(repository)}:{line} imports {name}")
    assert not wrong, wrong


def test_echo_keras_imports_no_room_above_it(repository):
    above = {"reproductions", "examples", "benchmarks", "tests", "layers"}
    wrong = []
    for path in modules(repository / "echo_keras"):
        for line, name in imports(path, repository):
            if name.split(".")[0] in above:
                wrong.append(f"{path.relative_to(repository)}:{line} imports {name}")
    assert not wrong, wrong


@pytest.mark.core
def test_the_backend_is_the_one_asked_for():
    import keras

    assert keras.backend.backend() == os.environ["KERAS_BACKEND"]
