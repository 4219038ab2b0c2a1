"""The site has every public name and every result, and builds without warnings."""

import collections
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture
def docs(monkeypatch):
    """Imports a module that lies below docs/."""
    monkeypatch.syspath_prepend(str(DOCS))
    yield importlib.import_module
    for name in [n for n in sys.modules if n.split(".")[0] in ("extension", "figures")]:
        del sys.modules[name]


def documented():
    """How often each name has an entry on a page of the API reference."""
    found = collections.Counter()
    for page in (DOCS / "api").glob("*.rst"):
        text = page.read_text()
        blocks = re.findall(r"^\.\. names:: (\S+)\n\n((?:   \w+\n)+)", text, re.M)
        found.update(f"{m}.{name}" for m, names in blocks for name in names.split())
        found.update(re.findall(r"^\.\. autodata:: (\S+)", text, re.M))
    return found


def test_every_public_name_is_on_one_page(docs):
    found = documented()
    assert not [name for name, times in found.items() if times > 1]
    assert found.keys() == docs("extension.public").public_names().keys()


def test_names_in_backticks_become_links(docs):
    references = docs("extension.public").References()
    near = "echo_keras.layers.EchoSample"
    assert references.find("GaussianSample", near) == "echo_keras.layers.GaussianSample"
    assert references.find("min_rate", near) == f"{near}.min_rate"
    assert references.find("metrics.evaluate", near) == "echo_keras.metrics.evaluate"
    # The module of a function that rooms export has names of its own.
    near = "echo_keras.studies.records.load"
    assert references.find("read", near) == "echo_keras.studies.records.read"
    # An argument, a word of English, a method of Keras, a text, an expression.
    near = "echo_keras.layers.GaussianSample"
    for text in ("marginal", "images", "EchoSample.get_config", "cyclic", "a + b"):
        assert references.find(text, near) is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (r"Of \(x\)s and `Name`s.", r"Of :math:`x`\ s and :py:obj:`Name <a.Name>`\ s."),
        ("the bound on |f|, *args, h_", r"the bound on \|f\|, \*args, h\_"),
        ("`two\nlines` and ``code``", "``two lines`` and ``code``"),
        ("$$a\n  b$$", ".. math:: a b\n"),
        ("So:\n\n    f(|x|)\n\nThen |y|", "So::\n\n    f(|x|)\n\nThen \\|y\\|"),
        (">>> print('|a| `b`')\n|a| `b`", ">>> print('|a| `b`')\n|a| `b`"),
        ("a, b,\n    c: text\n", "a, b,\n    c: text\n"),
        ("    a, b,\n        c: text", "    a, b, c: text"),
        (
            "| a | |\n| --- | --- |\n| `x` | y\\|z |\n",
            ".. list-table::\n   :header-rows: 1\n\n   * - a\n     - \n"
            "   * - ``x``\n     - y\\|z\n",
        ),
    ],
)
def test_docstrings_become_restructured_text(docs, written, expected):
    refer = {"Name": "a.Name"}.get
    assert "\n".join(docs("extension.markup").to_rst(written.split("\n"), refer)) == (
        expected
    )


def test_names_on_pages_become_links(docs):
    text = "`Name`, [`Name`](a.md), `other`, {m}`Name`, ``Name``\n\n```\n`Name`\n```\n"
    found = docs("extension.markup").link_names(text, {"Name": "a.Name"}.get)
    assert found == text.replace("`Name`", "{py:obj}`Name <a.Name>`", 1)


def test_every_result_is_on_the_page_of_a_paper_or_guide(docs):
    results = docs("extension.results")
    pages = [*(DOCS / "papers").glob("*.md"), *(DOCS / "guides").glob("*.md")]
    pages = [path.read_text() for path in pages]
    asked = results.RESULTS_LINK.findall("\n".join(pages))
    files = [*results.RESULTS.rglob("*.md"), *results.RESULTS.rglob("*.png")]
    folders = {path.relative_to(results.RESULTS).parts[0] for path in files}
    assert sorted(asked) == sorted(folders)


def test_a_papers_page_shows_tables_claims_and_figures(docs):
    expand = docs("extension.results").expand
    text = expand("[Toy](../../reproductions/results/vcae_toy)", "papers/vcae")
    assert text.startswith("## Section 6.1 of Variance Constrained Autoencoding\n\n###")
    assert "- The paper: the variance constraint has about half" in text
    figure = "../../reproductions/results/vcae_toy/mixture-errors.png"
    assert f":::{{figure}} {figure}\n" in text
    assert (DOCS / "papers" / figure).resolve().is_file()
    assert figure[3:] in expand("<!-- gallery -->", "gallery")
    readme = "../../reproductions/README.md"
    section = expand(f"[Fixing a Broken ELBO]({readme}#f)", "papers/broken_elbo")
    assert "(broken_elbo.md#figure-2-of-fixing-a-broken-elbo-the-toy-model)" in section
    assert "`broken_elbo/figure2.py`" in section and ".py)" not in section
    with pytest.raises(ValueError, match="must have a section 'No such'"):
        expand(f"[No such]({readme}#no-such)", "papers/echo")


def test_the_first_figure_is_drawn_from_records(docs, repository):
    image = pytest.importorskip("PIL.Image")
    figures = docs("figures")
    assert figures.FIGURE.stat().st_size <= 80_000
    with image.open(figures.FIGURE) as png:
        drawn = json.loads(png.text["Description"])
    expected = collections.defaultdict(list)
    for path in sorted(figures.RUNS.glob("mnist-*.json")):
        record = json.loads(path.read_text())
        label = {"echo": "Echo", "vae": "VAE"}.get(record["config"]["method"])
        test = record["test"]["bank"]
        if label:
            expected[label].append([test["rate"], test["distortion"]])
    assert {k: sorted(v) for k, v in drawn.items()} == {
        k: sorted(v) for k, v in expected.items()
    }
    assert [len(points) for points in drawn.values()] == [4, 4]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning is an error."""
    for package in ("sphinx", "furo", "myst_nb"):
        pytest.importorskip(package, reason='needs pip install -e ".[docs]"')
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", out / "doctrees", DOCS, out / "html"],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return out / "html"


def test_no_markup_is_left_on_a_page(site):
    pages = list((site / "api").glob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = re.sub(
            r'<(span|div) class="math.*?</\1>', "", page.read_text(), flags=re.S
        )
        text = re.sub(r"<pre>.*?</pre>", "", text, flags=re.S)
        text = re.sub(r"<script.*?</script>", "", text, flags=re.S)
        for left in (r"\(", "$$", ":py:obj:", ":math:", "| ---", "*args, **kwargs)"):
            assert left not in text, f"{page.name}: {left}"


def test_signatures_of_layers_are_their_own(site):
    text = re.sub(r"<[^>]+>", "", (site / "api" / "channels.html").read_text())
    signature = text.split("class echo_keras.layers.EchoBottleneck(")[1][:400]
    assert signature.split()[:2] == ["units:", "int,"]
    assert "d_max:" in signature and "99" in signature
