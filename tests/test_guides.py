"""Every Python block of docs/ and of reproductions/ runs, those of a page in turn."""

import pathlib
import re

import keras
import matplotlib
import pytest

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PAGES = [*sorted(DOCS.rglob("*.md")), DOCS.parent / "reproductions" / "README.md"]
PAGES = [p for p in PAGES if BLOCK.search(p.read_text())]
PAGES = [p for p in PAGES if p.stem != "export"]  # test_export.py runs it
# Trainings are cut short, and what is not on every machine is replaced.
SHORTER = {
    r"epochs=\d+": "epochs=1",
    r"batches\(64, steps=\d+\)": "batches(64, steps=2)",
    r'data\.load\("\w+"\)': 'data.load("digits", limit=300)',
    r"wae_(\w+)(\(\))?": r"dense_\1",
    r"dense_encoder,": "dense_encoder((28, 28, 1)),",
    r"networks\.dense_decoder,": "lambda d: networks.dense_decoder(d, (28, 28, 1)),",
    r"flow\(codes,": "flow(codes, epochs=1,",
    r'(study\.configs\("digits")': r"\1, epochs=1, train_limit=200",
    r"points=\d+, votes=\d+, test_votes=\d+": "points=40, votes=20, test_votes=10",
}

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="of the default backend"
)


# Of 200 images no code tells more than log 200 nats; a page shows this warning.
@pytest.mark.filterwarnings("ignore:The rate")
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    keras.utils.clear_session()  # names of layers begin anew, as in a script
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    text = "\n".join(BLOCK.findall(page.read_text()))
    for pattern, shorter in SHORTER.items():
        text = re.sub(pattern, shorter, text)
    exec(compile(text, page.name, "exec"), {"__name__": "__main__"})
