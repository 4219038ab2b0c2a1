"""Settings of the site: `python -m sphinx -W -b html docs docs/_build/html`."""

import json
import os
import pathlib
import sys

# No message of TensorFlow, and no device, in what is only read.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "Agg")

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import echo_keras  # noqa: E402

project = "echo_keras"
author = "The echo_keras authors"
copyright = author
version = release = echo_keras.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "myst_nb",
    "extension.reference",
    "extension.results",
]
exclude_patterns = ["_build"]
nitpicky = True

# Docstrings.
autodoc_default_options = {
    "members": True,
    # Of this library alone: see `skip` in extension/reference.py.
    "inherited-members": True,
    "member-order": "bysource",
}
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_generate = False
python_maximum_signature_line_length = 72
napoleon_use_rtype = False
napoleon_attr_annotations = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Inputs", "Output", "Shapes"]
toc_object_entries_show_parents = "hide"

# Pages and notebooks: what notebooks print is stored in them.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "echo_keras"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
# A copy, to look at the site without a network.
mathjax_path = os.environ.get(
    "MATHJAX", "https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"
)


def _copy_notebooks() -> None:
    """Sphinx reads what lies below this folder; new copies alone are read again."""
    folder = HERE / "examples"
    folder.mkdir(exist_ok=True)
    for path in (HERE.parent / "examples").glob("*.ipynb"):
        notebook = json.loads(path.read_text())
        # So that lines for the shell are no errors of Python.
        notebook["metadata"]["language_info"] = {
            "name": "python",
            "pygments_lexer": "ipython3",
        }
        copy, text = folder / path.name, json.dumps(notebook)
        if not copy.exists() or copy.read_text() != text:
            copy.write_text(text)


_copy_notebooks()
