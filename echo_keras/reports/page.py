"""The HTML page of a report: one file, with its images in it."""

import html
import string
from collections.abc import Iterable, Sequence

from .facts import Facts, rows_of_measures
from .figures import data_uri
from .finding import Audit

# Colours follow the reader's; figures keep a light ground in the dark.
STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1c1f23; --soft: #5a6270;
  --line: #d9dde3; --card: #f6f7f9; --error: #b3261e; --warning: #8a5a00;
  --note: #1f5fa8; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c; --text: #e6e8eb;
  --soft: #a3abb6; --line: #343a43; --card: #1e2228; --error: #ff8a80;
  --warning: #f2c14e; --note: #8ab8f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 3rem;
  background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .5rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 44rem; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none;
  padding: 0; margin: 1rem 0 0; }
a { color: var(--note); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th[scope=row] { font-weight: 500; color: var(--soft); white-space: nowrap; }
.numbers td, .numbers thead th:nth-child(n+3) { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
code { font: .9em ui-monospace, Consolas, monospace; overflow-wrap: anywhere; }
figure { margin: .75rem 0; }
figure img { display: block; width: 100%; max-width: 36rem; height: auto;
  background: #fff; padding: .5rem; border: 1px solid var(--line);
  border-radius: .375rem; }
figcaption { margin-top: .4rem; max-width: 44rem; }
.finding { background: var(--card); border-left: .3rem solid; padding: .6rem .9rem;
  margin: .75rem 0; border-radius: 0 .375rem .375rem 0; }
.finding h3 { font-size: 1rem; margin: 0; }
.finding p { color: var(--text); }
.error { border-color: var(--error); } .error h3 { color: var(--error); }
.warning { border-color: var(--warning); } .warning h3 { color: var(--warning); }
.note { border-color: var(--note); } .note h3 { color: var(--note); }
@media (max-width: 30rem) { .stacked, .stacked tbody, .stacked tr, .stacked th,
  .stacked td { display: block; width: 100%; }
  .stacked th { border: 0; padding-bottom: 0; white-space: normal; }
  .stacked td { padding-top: 0; } th, td { padding-right: .4rem; }
  .numbers { font-size: .8rem; } }
@media print { nav { display: none; } .finding, figure { break-inside: avoid; } }
"""

PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="soft">Report of an autoencoder's rate and distortion, <time datetime="$date">\
$date</time>. Nats per example unless said otherwise.</p>
$description
<nav aria-label="Sections"><ul>
$links
</ul></nav>
</header>
<main>
$sections
</main>
</body>
</html>
""")


def page(facts: Facts) -> str:
    """A report as HTML, of one file that needs no network."""
    parts = [
        ("Numbers", _numbers(facts)),
        ("Audit", _audit(facts.audit)),
        *((s.title, _figure(s)) for s in facts.sections),
        ("The model", _pairs(facts.model)),
        ("How it was made", _pairs(facts.made)),
    ]
    ids = [title.lower().replace(" ", "-").replace("'", "") for title, _ in parts]
    links = (
        f'<li><a href="#{name}">{_text(title)}</a></li>'
        for name, (title, _) in zip(ids, parts, strict=True)
    )
    bodies = (
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{_text(title)}</h2>\n'
        f"{body}\n</section>"
        for name, (title, body) in zip(ids, parts, strict=True)
    )
    description = facts.description and f"<p>{_text(facts.description)}</p>"
    return PAGE.substitute(
        title=_text(facts.title),
        style=STYLE,
        date=_text(facts.date),
        description=description,
        links="\n".join(links),
        sections="\n".join(bodies),
    )


def _text(text: str) -> str:
    return html.escape(str(text))


def _numbers(facts: Facts) -> str:
    rows = rows_of_measures(facts)
    if not rows:
        return _paragraph(f"Not measured: {facts.unmeasured}", "soft")
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("data", "measure", "nats", "bits")
    )
    body = "".join(
        f'<tr><th scope="row">{_text(data)}</th><th scope="row">{_text(name)}</th>'
        f"<td>{_text(nats)}</td><td>{_text(bits)}</td></tr>\n"
        for data, name, nats, bits in rows
    )
    return (
        f'<div class="scroll"><table class="numbers"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>\n"
        + _paragraph(
            "Means over examples ± their standard errors. The -ELBO is rate + "
            "distortion, whatever beta is; it bounds -log p(x) where the loss is a "
            "likelihood and the rate that of a prior. log n bounds what any code "
            "tells of n examples.",
            "soft",
        )
    )


def _audit(audit: Audit) -> str:
    found = [
        f'<article class="finding {finding.severity}">\n'
        f"<h3>{_text(finding.severity)}: {_text(finding.name)}</h3>\n"
        f"{_paragraph(finding.evidence)}\n{_paragraph(finding.remedy)}\n</article>"
        for finding in audit
    ] or [_paragraph("Nothing found.")]
    if audit.clean:
        found.append(_paragraph(f"Not found: {', '.join(audit.clean)}.", "soft"))
    if audit.skipped:
        items = "".join(
            f"<li>{_text(name)}: {_text(why)}</li>"
            for name, why in audit.skipped.items()
        )
        found.append(
            f'<details class="soft"><summary>Not looked for: {len(audit.skipped)}'
            f"</summary><ul>{items}</ul></details>"
        )
    return "\n".join(found)


def _figure(section) -> str:
    if section.png is None:
        return _paragraph(f"Not shown: {section.text}", "soft")
    return (
        f'<figure><img alt="{_text(section.title)}" src="{data_uri(section.png)}">'
        f'<figcaption class="soft">{_text(section.text)}</figcaption></figure>'
    )


def _pairs(rows: Iterable[Sequence[str]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>\n'
        for name, value in rows
    )
    return f'<table class="stacked"><tbody>\n{body}</tbody></table>'


def _paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{_text(text)}</p>' if kind else f"<p>{_text(text)}</p>"
