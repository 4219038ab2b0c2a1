"""The report: what stands in the page, that it repeats, how a browser shows it."""

import base64
import html.parser
import io
import pathlib
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest
from PIL import Image
from tools import array, small_networks

import echo_keras
from echo_keras import losses, metrics, networks, objectives
from echo_keras.reports import push_to_hub, write_for_hub
from echo_keras.reports.subject import own_noise
from echo_keras.studies import RateDistortionCurve


def images(n):
    """Small images: a bright row or a bright column."""
    random = np.random.RandomState(n)
    x = np.full((n, 6, 6, 1), 0.1)
    for image in x:
        place = random.randint(6)
        image[place if random.rand() < 0.5 else slice(None), ..., 0] = 0.9
    return (random.uniform(size=x.shape) < x).astype("float32")


X_TRAIN, X_TEST = images(200), images(100)
HISTORY = {"rate": [1.0, 2.0], "val_rate": [1.0, 2.5], "distortion": [9.0, 5.0]}
TITLE = 'Rows <b>&</b> "columns"'


def trained():
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(16, "relu")]
    )
    decoder = networks.dense_decoder(3, (6, 6, 1), (16,), name="decoder")
    model = objectives.echo(encoder, decoder, 3, d_max=9, bank_size=64)
    model.compile(keras.optimizers.Adam(0.01), loss=losses.Bernoulli())
    model.fit(X_TRAIN, batch_size=50, epochs=3, verbose=0)
    return model


def write(model, path):
    kwargs = {
        "title": TITLE,
        "description": "Not for <i>use</i>.",
        "date": "2026-01-02",
    }
    points = {"others": [(1.0, 30.0), (2.0, 25.0)]}
    return echo_keras.report(
        model, X_TRAIN, X_TEST, path, points=points, history=HISTORY, **kwargs
    )


class Page(html.parser.HTMLParser):
    """Whether every element is closed, and what the page loads and shows."""

    EMPTY = ("meta", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.images, self.words, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.links += [attrs[k] for k in ("src", "href") if k in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag == "img":
            self.images.append((attrs["alt"], attrs["src"]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(model, path)
    return path


def test_the_page_is_one_file_of_whole_elements(path):
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    loaded = [link for link in page.links if not link.startswith("#")]
    assert all(link.startswith("data:image/png;base64,") for link in loaded)
    assert {link[1:] for link in page.links if link.startswith("#")} == set(page.ids)
    assert "url(" not in path.read_text() and "http" not in path.read_text()


def test_texts_are_escaped(path):
    text = path.read_text()
    assert "<b>" not in text and "<i>" not in text
    page = Page(text)
    assert TITLE in page.text and "Not for <i>use</i>." in page.text


def test_all_figures_are_there(path):
    page = Page(path.read_text())
    assert [alt for alt, _ in page.images] == [
        "Rate and distortion",
        "Rate by dimension",
        "Reconstructions",
        "Samples and their nearest training images",
        "Latent traversals",
        "Codes",
        "Training",
    ]
    for alt, source in page.images:
        png = base64.b64decode(source.partition(",")[2])
        with Image.open(io.BytesIO(png)) as image:
            assert image.width > 500, alt
            grey = np.asarray(image.convert("L"))
            assert grey.min() < 100 and grey.max() == 255, alt  # not blank


def test_numbers_are_those_of_evaluate(model, path):
    with own_noise(model, 0):
        found = metrics.evaluate(model, X_TEST)
    words = Page(path.read_text()).text
    for name in ("neg_elbo", "rate", "distortion"):
        assert f"{found[name]:.2f} ± {found[f'{name}_se']:.2f}" in words


def test_the_data_have_checksums(path):
    from echo_keras._files import sha256

    words = Page(path.read_text()).text
    assert sha256(X_TRAIN) in words and sha256(X_TEST) in words


def test_a_report_repeats_and_leaves_the_model_as_it_was(model, path, tmp_path):
    before = [array(v).copy() for v in model.variables]
    audit = write(model, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == path.read_bytes()
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(array(variable), value, err_msg=variable.path)
    for finding in audit:
        assert finding.evidence in Page(path.read_text()).text


@pytest.mark.core
def test_a_model_of_vectors_has_its_reasons(tmp_path):
    encoder, decoder = small_networks()
    model = objectives.vae(encoder, decoder, 2)
    model.compile(loss=losses.Bernoulli())
    x = (np.random.RandomState(0).uniform(size=(60, 8)) < 0.5).astype("float32")
    echo_keras.report(model, x, x, tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text())
    assert page.text.count("Not shown: the data are no images") == 3
    shown = [alt for alt, _ in page.images]
    assert shown == ["Rate and distortion", "Rate by dimension", "Codes"]


def test_a_plain_model_with_a_loss_of_keras(tmp_path):
    inputs = keras.Input((8,))
    z = echo_keras.layers.GaussianBottleneck(2)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(8)(z))
    model.compile(loss="mse")
    x = np.random.RandomState(0).uniform(size=(60, 8)).astype("float32")
    audit = echo_keras.report(model, x, x, tmp_path / "r.html")
    assert audit["distortion_averaged"].numbers["values"] == 8
    assert (
        "Not measured: The model's loss" in Page((tmp_path / "r.html").read_text()).text
    )


# For the Hub


def test_the_folder_for_the_hub(model, tmp_path):
    folder = write_for_hub(
        model,
        X_TRAIN,
        X_TEST,
        tmp_path / "new" / "folder",
        title=TITLE,
        license="apache-2.0",
        dataset="rows",
        date="2026-01-02",
    )
    loaded = keras.models.load_model(folder / "model.keras")
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    card = (folder / "README.md").read_text()
    assert '# Rows \\<b\\>&\\</b\\> "columns"\n' in card
    assert 'license: "apache-2.0"\n' in card and "\n## Audit\n" in card
    rate = re.search(r"\| test \| Rate \| ([\d.]+) ±", card)[1]
    assert rate in Page((folder / "report.html").read_text()).text
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    data = hub.ModelCard.load(folder / "README.md").data
    assert data.library_name == "keras" and data.model_name == TITLE
    results = {r.metric_name: r.metric_value for r in data.eval_results}
    assert results["rate"] == pytest.approx(float(rate), abs=0.006)


def test_an_upload_is_of_these_files(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    calls = []

    class Hub:
        def create_repo(self, repo_id, *, private, exist_ok):
            calls.append((repo_id, private, exist_ok))

        def upload_folder(self, **kwargs):
            names = {p.name for p in pathlib.Path(kwargs["folder_path"]).iterdir()}
            calls.append(sorted(names & set(kwargs["allow_patterns"])))
            return f"https://hub/{kwargs['repo_id']}"

    monkeypatch.setattr(hub, "HfApi", Hub)
    with pytest.raises(ValueError, match="without model.keras. Write it with"):
        push_to_hub(tmp_path, "me/model")
    for name in ("model.keras", "README.md", "report.html", "secret.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="repo_id must be 'owner/name'"):
        push_to_hub(tmp_path, "model")
    assert push_to_hub(tmp_path, "me/model") == "https://hub/me/model"
    assert calls == [
        ("me/model", False, True),
        ["README.md", "model.keras", "report.html"],
    ]


# In a browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def chromium(*options):
    """What headless Chromium writes; the test is skipped where there is none."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is in PATH")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    done = subprocess.run(
        [browser, *flags, *options], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-1000:]
    return done.stdout


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page(width, path, tmp_path):
    shot = tmp_path / "shot.png"
    size = f"--window-size={width},6000"
    address = path.resolve().as_uri()
    chromium(size, f"--user-data-dir={tmp_path}", f"--screenshot={shot}", address)
    with Image.open(shot) as image:
        assert image.width == width
        seen = np.asarray(image.convert("L")).astype(int)
    drawn = np.flatnonzero((seen != seen[0, 0]).any(axis=1))
    assert drawn.max() > 2500  # the figures are there, one below the other
    margin = seen[:, -8:]
    assert (margin == seen[0, 0]).all()  # nothing is cut off at the right


def test_nothing_is_wider_than_a_phone(path, tmp_path):
    """A script in a copy of the page says how wide its contents are."""
    probe = (
        "<script>document.title = document.documentElement.scrollWidth + ' ' + "
        "[...document.images].every(i => i.complete && i.naturalWidth > 0)</script>"
    )
    copy = tmp_path / "probe.html"
    copy.write_text(path.read_text().replace("</body>", f"{probe}</body>"))
    # Headless Chromium has no window narrower than 500 but in an iframe.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe id="f" width="390" height="800" src="{copy.name}"></iframe>'
        "<script>onload = () => { document.body.dataset.found = "
        "document.getElementById('f').contentDocument.title }</script>"
    )
    options = "--allow-file-access-from-files", f"--user-data-dir={tmp_path}"
    dom = chromium(*options, "--dump-dom", frame.resolve().as_uri())
    found = re.search(r'data-found="([^"]*)"', dom)[1]
    assert found == "390 true"


def test_points_may_be_a_curve(model, tmp_path):
    numbers = {"rate": 2.0, "distortion": 25.0, "neg_elbo": 27.0}
    run = {**numbers, **{f"{key}_se": 0.1 for key in numbers}}
    run |= {"name": "a", "seed": 0, "beta": 1.0, "target": None}
    run |= {"last_beta": 1.0, "seconds": 1.0}
    curve = RateDistortionCurve([run], label="others")
    given = {"others": [(2.0, 25.0)]}
    pages = []
    for points in (curve, given):
        path = tmp_path / "report.html"
        how = {"points": points, "date": "2026-01-02", "examples": 20}
        echo_keras.report(model, X_TRAIN, X_TEST, path, **how)
        pages.append(path.read_text())
    assert pages[0] == pages[1]
