"""Puts what README.md and reproductions/ have into pages: texts, tables, figures.

A page asks by a line of its own, which on GitHub is a link that serves there:

- `[HEADING](../../reproductions/README.md#heading)`: that section,
- `[...](../../reproductions/results/FOLDER)`: all tables and figures of that folder,

and by a comment where there is nothing to link to:

- `<!-- gallery -->`: the figures of all folders,
- `<!-- example -->`: the first Python block of README.md, and its output.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPRODUCTIONS = ROOT / "reproductions"
RESULTS = REPRODUCTIONS / "results"
PAPERS = ROOT / "docs" / "papers"

SECTION_LINK = re.compile(r"^\[(.*)\]\(\S*/reproductions/README\.md#\S+\)$", re.M)
RESULTS_LINK = re.compile(r"^\[.*\]\(\S*/reproductions/results/(\w+)\)$", re.M)

# What a figure shows, by the last word of its name, unless its folder says more.
SHOWS = {
    "appendix_c": "Bounds of information over beta",
    "by_decoder": "Rate against distortion, by decoder",
    "by_encoder": "Rate against distortion, by encoder",
    "by_marginal": "Rate against distortion, by marginal",
    "codes": "Codes of images in the plane",
    "compression": "Rate against distortion of quantised, Echo and Gaussian codes",
    "curves": "Rate and distortion by epoch, training and validation",
    "errors": "Test error against the summed variance, for both constraints",
    "frontier": "What beta and lambda trade",
    "generated": "Generated images, and the training images nearest to them",
    "generations": "Generated images",
    "invariant": "Accuracy on the class against the rate",
    "histograms": "Histograms of the dimensions of codes",
    "reconstructions": "Test images and their reconstructions",
    "supervised": "Information of the image and of the class",
    "traversal": "Images as one dimension of the code moves",
    "echo_paper/figure1": "Gaussian and Echo noise on a source in the plane",
    "echo_paper/figure6": "Marginal activations of each latent dimension",
    "echo_paper/figure7": "f(x) against S(x), sorted by likelihood",
    "broken_elbo/figure3": "Rate against distortion of all families",
    "broken_elbo_figure2/figure2": "The toy model, a decoder that is a table",
    "broken_elbo_figure2/per_bin": "The toy model, a decoder by bins",
    "broken_elbo_figure2/per_code": "The toy model, a decoder by codes",
    "table2/figure4": "Latent dimensions against the factors of dSprites",
    "vcae_figure8/figure8": "Codes, and what the inverse of the flow makes of them",
    "vimae_figure1/figure1": "Codes of MNIST in the plane",
}


def tables(folder: str) -> list[pathlib.Path]:
    """The tables of a folder and of folders in it, before what figures measured."""
    found = (RESULTS / folder).rglob("*.md")
    return sorted(
        found, key=lambda path: (not path.stem.startswith("table"), path.stem)
    )


def figures(folder: str) -> list[pathlib.Path]:
    """The figures of a folder."""
    return sorted((RESULTS / folder).rglob("*.png"))


def caption(path: pathlib.Path) -> str:
    """What a figure shows, and of which runs: as its file is named."""
    folder = path.relative_to(RESULTS).parts[0]
    *runs, word = re.sub(r"--", "-~", path.stem).split("-")
    shows = SHOWS.get(f"{folder}/{word}", SHOWS.get(word, word.replace("_", " ")))
    runs = [re.sub(r"^(figure|parametrization)(?=\w)", r"\1 ", run) for run in runs]
    runs = [re.sub(r"(?<=[a-z])(?=\d+(\.\d+)?$)", " ", run) for run in runs]
    words = ", ".join(run.replace("~", "-") for run in runs)
    return f"{shows}: {words}." if words else f"{shows}."


def figure(path: pathlib.Path, page: str) -> str:
    """A figure with its caption, for a page of this name."""
    up = "../" * (page.count("/") + 1)
    return (
        f":::{{figure}} {up}{path.relative_to(ROOT)}\n:loading: lazy\n"
        f":alt: {caption(path)}\n\n{caption(path)}\n:::\n"
    )


def results(folder: str, page: str) -> str:
    """Tables and figures of a folder; a table's heading becomes one of the page's."""
    if not (found := tables(folder) + figures(folder)):
        raise ValueError(f"results/{folder} must hold tables. Received: none")
    texts = [re.sub(r"^#", "##", t.read_text(), flags=re.M) for t in tables(folder)]
    texts += [figure(path, page) for path in found if path.suffix == ".png"]
    return "\n".join(texts)


def section(heading: str) -> str:
    """A section of reproductions/README.md, without its heading."""
    text = (REPRODUCTIONS / "README.md").read_text()
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if found is None:
        raise ValueError(f"reproductions/README.md must have a section {heading!r}")
    # A table stands below, under its own heading; so do figures. Scripts have no page.
    text = re.sub(r"\[[^]]+\]\((?:\.\./)?([\w/]+\.py)\)", r"`\1`", found[1])
    return re.sub(r"\[([^]]+)\]\((results/[^)]+)\)", _link, text)


def _link(found: re.Match) -> str:
    """A link to a table, which stands on one of the papers' pages."""
    text, path = " ".join(found[1].split()), REPRODUCTIONS / found[2]
    if path.suffix != ".md":
        return text
    heading = path.read_text().split("\n")[0].lstrip("# ").lower()
    slug = re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")
    folder = path.relative_to(RESULTS).parts[0]
    for page in PAPERS.glob("*.md"):
        if folder in RESULTS_LINK.findall(page.read_text()):
            return f"[{text}]({page.name}#{slug})"
    raise ValueError(f"docs/papers/ must have a page with results/{folder}")


def gallery(page: str) -> str:
    """Every figure, by paper."""
    parts = []
    for path in sorted(PAPERS.glob("*.md")):
        text = path.read_text()
        folders = RESULTS_LINK.findall(text)
        found = [one for folder in folders for one in figures(folder)]
        if found:
            title = re.match(r"# (.*)", text)[1]
            parts += [f"## {title}\n", f"[Tables and claims](papers/{path.name}).\n"]
            parts += ["::::{container} gallery\n"]
            parts += [*(figure(one, page) for one in found), "::::\n"]
    return "\n".join(parts)


def example() -> str:
    """The first Python block of README.md, and what it prints."""
    readme = (ROOT / "README.md").read_text()
    return re.search(r"^```python\n.*?^```\n\n```\n.*?^```$", readme, re.M | re.S)[0]


def expand(text: str, page: str) -> str:
    """A page's text with what it asks for."""
    text = re.sub(r"^<!-- gallery -->$", lambda _: gallery(page), text, flags=re.M)
    text = re.sub(r"^<!-- example -->$", lambda _: example(), text, flags=re.M)
    text = SECTION_LINK.sub(lambda found: section(found[1]), text)
    text = RESULTS_LINK.sub(lambda found: results(found[1], page), text)
    return text.replace("-ELBO", "\N{NON-BREAKING HYPHEN}ELBO")


def setup(app) -> dict[str, bool]:
    def read(app, page, source):
        source[0] = expand(source[0], page)

    app.connect("source-read", read)
    return {"parallel_read_safe": True}
