"""The papers item by item: what was run of each table, figure and equation.

    python reproductions/items.py

Rewrites the tables of reproductions/README.md between `<!-- items: NAME -->` and
`<!-- end -->`. What the paper says, what runs say of it, and how much of the protocol
they had come from the reports in results/, which are rendered from run records; the
list below says which report and which script an item has, and why one has none. Of each
data set the report's longest protocol is shown.
"""

import dataclasses
import pathlib
import re

HERE = pathlib.Path(__file__).parent
CLAIM = re.compile(r"^- The paper: (.*); here: (.*); ([^;]*)\.$", re.M)
SHARE = re.compile(r"^\*\*(?:.* to )?([\d.]+) % of the paper's updates\.\*\*$", re.M)
ALL = "All of the paper's updates."
CHANGED = "reduced or changed protocol: "
OWN = re.compile(r"^a protocol of our own.*\((.*)\)$")
CHOICE = "by App. B.3.2"  # rows that a paper's own rule does not choose say "no"
ONE_PART = re.compile(rf"(\w+), (the paper's protocol.*|{CHANGED}.*)$")
HEADER = [
    "Item",
    "Script",
    "Data, share of the paper's updates",
    "The paper",
    "Here",
    "",
]


@dataclasses.dataclass(frozen=True)
class Item:
    """A table, a figure or a statement of a paper.

    Attributes:
        name: What the paper calls it.
        script: What makes it, below reproductions/; a test, where nothing is trained.
        report: The Markdown file in results/ that is rendered from its records.
        numbers: From a column of the report's table to that of the paper's numbers.
        why: Why there is no report, or of what it is silent.
    """

    name: str
    script: str
    report: str = ""
    numbers: dict[str, str] = dataclasses.field(default_factory=dict)
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a report: one data set, one protocol."""

    data: str
    protocol: str
    share: float | None
    rows: list[dict[str, str]]
    claims: list[tuple[str, str, str]]

    @property
    def extent(self):
        """How much of the paper's protocol it had, for a cell."""
        if self.share is not None:
            return f"{100 * self.share:.3g} %"
        if self.protocol.startswith(CHANGED):
            return self.protocol.removeprefix(CHANGED)
        return "a protocol of our own"


def sections(text):
    """The `Section`s of a report, the longest protocol of each data set alone."""
    parts = re.split(r"^## ", text, flags=re.M)
    found = {}
    for part in parts[1:] or [parts[0].removeprefix("# ")]:
        heading, _, body = part.partition("\n")
        data, _, protocol = heading.partition(": ")
        # A report of one part has both in its title, "# Figure 6: data, protocol".
        if named := ONE_PART.search(heading):
            data, protocol = named.groups()
        share = SHARE.search(body)
        lines = re.findall(r"^\| (.*) \|$", body, re.M)
        header, _, *cells = [line.split(" | ") for line in lines] or [[], []]
        section = Section(
            data,
            protocol,
            1.0 if ALL in body else share and float(share[1]) / 100,
            [dict(zip(header, row, strict=True)) for row in cells],
            CLAIM.findall(body),
        )
        # Protocols of our own have no share, and differ in what they ask.
        key = data if section.share is not None else heading
        if key not in found or found[key].share <= section.share:
            found[key] = section
    return list(found.values())


def beside(section, ours, theirs):
    """A column beside the paper's: two texts, and how far they are apart at most."""
    rows = [row for row in section.rows if row.get(theirs, "-") != "-"]
    rows = [row for row in rows if row.get(ours, "-") != "-"]
    rows = [row for row in rows if row.get(CHOICE) != "no"]
    if not rows:
        return None
    first = next(iter(rows[0]))
    off = max(
        abs(number(row[ours]) / number(row[theirs]) - 1) if number(row[theirs]) else 0.0
        for row in rows
    )
    names = [
        f"{first} {row[first]}:" if row[first][0].isdigit() else row[first]
        for row in rows
    ]
    said, here = (
        ", ".join(
            f"{name} {row[column]}" for name, row in zip(names, rows, strict=True)
        )
        for column in (theirs, ours)
    )
    return f"{ours}: {said}", here, f"within {float(f'{100 * off:.2g}'):g} %"


def apart(section, shown):
    """What tells a protocol of our own from others on the same data."""
    settings = [
        OWN.findall(other.protocol)[0].split(", ")
        for other in shown
        if other.data == section.data and OWN.search(other.protocol)
    ]
    if len(settings) < 2 or not OWN.search(section.protocol):
        return []
    own = OWN.findall(section.protocol)[0].split(", ")
    return [part for part in own if not all(part in other for other in settings)]


def number(cell):
    """The number at the start of a cell such as "83.3 ± 1.1"."""
    return float(re.match(r"[+-]?[\d,.]+", cell)[0].replace(",", ""))


def lines(item):
    """The lines of an item in its paper's table."""
    script = f"[{pathlib.Path(item.script).name}]({item.script})"
    if not item.report:
        return [[item.name, script, "", "", item.why, ""]]
    found = []
    shown = sections((HERE / "results" / item.report).read_text())
    for section in shown:
        pairs = (beside(section, *pair) for pair in item.numbers.items())
        told = [*filter(None, pairs), *section.claims] or [("", item.why, "")]
        where = f"[{section.data}](results/{item.report}), {section.extent}"
        where = ", ".join([where, *apart(section, shown)])
        found += [[item.name, script, where, *row] for row in told]
    return found


def table(items):
    """The Markdown table of a paper's items, without what a line repeats."""
    rows, last = [HEADER, ["---"] * len(HEADER)], [None] * 3
    for line in (line for item in items for line in lines(item)):
        same = [new == old for new, old in zip(line, last, strict=False)]
        shown = ["" if all(same[: i + 1]) else line[i] for i in range(3)]
        rows.append([cell.replace("|", "\\|") for cell in (*shown, *line[3:])])
        last = line[:3]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def rewritten(text):
    """The README with each table as the reports have it."""
    for name, items in PAPERS.items():
        begin = f"<!-- items: {name} -->"
        if begin not in text:
            raise SystemExit(f"README.md must have a line {begin}")
        before, _, after = text.partition(begin)
        _, end, after = after.partition("<!-- end -->")
        text = f"{before}{begin}\n\n{table(items)}\n\n{end}{after}"
    return text


NEG_ELBO = {"-ELBO": "paper's -ELBO"}
TESTED = "nothing to train: tested against the closed form"
# The protocol of the rate-distortion curves.
SHORT = "epochs20-train_limit10000-precisionmixed_bfloat16"
PAPERS = {
    "echo": [
        Item("Lemma 2.1, Theorem 2.2", "../tests/layers/test_echo.py", why=TESTED),
        Item("Figure 1", "figure1.py", "echo_paper/figure1.md"),
        Item("Table 1", "table1.py", "echo_paper/table1.md", NEG_ELBO),
        Item("Weights of the nine methods", "../tests/reproductions/test_echo.py",
             why="1.40 to 4.84 million: met, with half of a flow's kernels"),
        Item("Sec. 5.3, factors that depend", "../tests/data/test_factors.py",
             why="15 % of images, total correlation 1.49 nats: 14.6 %, 1.4911"),
        Item("Figure 2", "rate_distortion.py",
             f"echo_paper/binary_mnist-{SHORT}-rate_distortion.md"),
        Item("Figure 3", "rate_distortion.py",
             f"echo_paper/omniglot-{SHORT}-rate_distortion.md"),
        Item("Figure 5", "rate_distortion.py",
             f"echo_paper/fashion_mnist-{SHORT}-rate_distortion.md"),
        Item("Table 2", "table2.py", "table2/table2.md"),
        Item("Figure 4", "figure4.py", why="draws the models of Table 2"),
        Item("Table 3", "table3.py", "echo_paper/table3.md", {"TC": "paper"}),
        Item("Sec. 6, invariant representations", "invariant.py",
             "invariant/invariant.md"),
        Item("Figure 6", "figure6.py",
             "echo_paper/binary_mnist-precisionmixed_bfloat16-figure6.md"),
        Item("Figure 7", "figure7.py",
             "echo_paper/binary_mnist-precisionmixed_bfloat16-figure7.md"),
    ],
    "broken_elbo": [
        Item("App. E, the source", "../tests/reproductions/test_broken_elbo_figure2.py",
             why="half a nat about its class: met at sigma .0997, H = 3.0184"),
        Item("Figure 2", "broken_elbo/figure2.py", "broken_elbo_figure2/figure2.md"),
        Item("App. C", "broken_elbo/appendix_c.py",
             "broken_elbo_appendix_c/appendix_c.md"),
        Item("Figures 3 to 6", "broken_elbo/figure3.py", "broken_elbo/figure3.md"),
        Item("Figures 7 to 9", "broken_elbo/figure3.py",
             "broken_elbo_omniglot/figure3.md"),
    ],
    "vcae": [
        Item("Proposition 1", "vcae/proposition1.py",
             "vcae_proposition1/proposition1.md"),
        Item("What follows from it (Sec. 3)", "vcae/proposition1.py",
             "vcae_proposition1/jacobian.md"),
        Item("Figures 2 and 5", "vcae/toy.py", "vcae_toy/toy.md"),
        Item("Table 1", "vcae/table1.py", "vcae_table1/table1.md",
             {"Test": "paper's Test"}),
        Item("Table 2", "vcae/table2.py", "vcae_table2/table2.md",
             {"Test": "paper's Test"}),
        Item("Table 3", "vcae/table3.py", "vcae_table3/table3.md",
             {"Error": "paper's", "FactorVAE score": "paper's score"}),
        Item("Figures 4, 9 to 12", "vcae/table3.py",
             why="drawn by the script: no models of it are kept"),
        Item("Table 6", "vcae/table6.py", "vcae_table2/table6.md",
             {"Test": "paper's Test", "sum of Var(z)": "paper's sum of Var(z)"}),
        Item("Table 7", "vcae/table6.py", "vcae_table2/table7.md",
             {"Test": "paper's Test", "sum of Var(z)": "paper's sum of Var(z)"}),
        Item("Tables 8 and 9", "vcae/table6.py",
             why="CelebA: not run, the data are not at hand"),
        Item("Figure 8", "vcae/figure8.py", "vcae_figure8/figure8.md"),
    ],
    "vimae": [
        Item("Figure 1", "vimae/figure1.py", "vimae_figure1/figure1.md"),
        Item("Table 1, Figures 2 to 7", "vimae/table1.py", "vimae/table1.md"),
        Item("Table 1", "vimae/table1.py", "vimae_omniglot/table1.md"),
        Item("Table 2", "vimae/table2.py", "vimae_cifar10/table2.md"),
        Item("Table 3", "vimae/table3.py", "vimae/table3.md"),
        Item("Table 4", "vimae/table4.py", "vimae_omniglot/table4.md"),
        Item("Table 5", "vimae/table5.py", "vimae/table5.md"),
        Item("Sec. 5, beta and lambda varied", "vimae/frontier.py",
             "vimae/frontier.md"),
    ],
    "bib_ae": [
        Item("Sec. 2.1, App. A", "bib_ae/supervised.py",
             "bib_ae_supervised/supervised.md"),
        Item("Sec. 3 and 4, the objectives", "bib_ae/objectives.py",
             "bib_ae_objectives/objectives.md"),
        Item("Sec. 4.2", "bib_ae/compression.py", "bib_ae_compression/compression.md"),
        Item("Sec. 4.3", "bib_ae/novelty.py", "bib_ae_novelty/novelty.md"),
    ],
}  # fmt: skip


def write():
    readme = HERE / "README.md"
    readme.write_text(rewritten(readme.read_text()))


if __name__ == "__main__":
    write()
