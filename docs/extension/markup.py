r"""Docstrings as reStructuredText.

They are written to be read as text, in an editor: single backticks, `\(x\)` where
plain notation would not do, here and there a Markdown table.
"""

import re
from collections.abc import Callable


def to_rst(lines: list[str], refer: Callable[[str], str | None]) -> list[str]:
    """A docstring in the Markdown of this library, as reStructuredText.

    Args:
        lines: Of the docstring.
        refer: From the text in single backticks to a full name, or None.
    """
    # Examples and indented code stay as they are.
    example = r"(^ *>>> (?:.*\n?)+?(?=^ *$|\Z))"
    parts = re.split(example, "\n".join(lines), flags=re.M)
    parts[::2] = [_blocks(part, refer) for part in parts[::2]]
    return "".join(parts).split("\n")


def link_names(text: str, refer: Callable[[str], str | None]) -> str:
    """A page of Markdown in which public names in backticks are links."""

    def link(found):
        target = refer(found[1])
        return f"{{py:obj}}`{found[1]} <{target}>`" if target else found[0]

    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    name = r"(?<![`\[}\w])`([\w.]+)`(?![`\]])"
    parts[::2] = [re.sub(name, link, part) for part in parts[::2]]
    return "".join(parts)


def _blocks(text: str, refer: Callable[[str], str | None]) -> str:
    text = _continue_arguments(text)
    text = re.sub(r"(?:^ *\|.*\n?)+", _table, text, flags=re.M)
    text = re.sub(r"^( *)\$\$(.*?)\$\$", _display, text, flags=re.M | re.S)
    # Code is what follows a colon and stands deeper: not a list, not maths.
    code = r"(^( *)\S.*[^:\n]):(\n\n\2 +(?![ .*|>-]).*(?:\n\2 .*|\n(?=\n\2 ))*)"
    out, end = "", 0
    for found in re.finditer(code, text, flags=re.M):
        out += _inline(text[end : found.start()] + found[1], refer) + "::" + found[3]
        end = found.end()
    return out + _inline(text[end:], refer)


def _inline(text: str, refer: Callable[[str], str | None]) -> str:
    def replace(found):
        if found["kept"]:
            return found["kept"]
        if found["special"]:
            return "\\" + found["special"]
        if found["maths"]:
            return _role("math", found["maths"]) + after(found)
        content = " ".join(found["name"].split())
        target = refer(content)
        if target is None:
            return f"``{content}``" + after(found)
        return _role("py:obj", f"{content} <{target}>") + after(found)

    def after(found):
        """Lets a letter right after a closing backtick pass."""
        return "\\ " if re.match(r"\w", found.string[found.end() :]) else ""

    pattern = (
        r"(?P<kept>^ *\.\. math:: [^\n]*|:\w+:`[^`]*`|``.+?``|\*\*[^*\n]+\*\*|^ *\* - )"
        r"|\\\((?P<maths>.+?)\\\)|`(?P<name>[^`]+)`|(?P<special>[|*]|_\b)"
    )
    return re.sub(pattern, replace, text, flags=re.M | re.S)


def _role(role: str, content: str) -> str:
    return f":{role}:`{' '.join(content.split())}`"


def _display(found: re.Match) -> str:
    indent, body = found[1], " ".join(found[2].split())
    return f"{indent}.. math:: {body}\n"


def _table(found: re.Match) -> str:
    rows = found[0].rstrip("\n").split("\n")
    if len(rows) < 3 or not re.fullmatch(r" *\|[ |:-]+\|", rows[1]):
        return found[0]
    indent = re.match(" *", rows[0])[0]
    cells = [
        [c.strip().replace(r"\|", "|") for c in re.split(r"(?<!\\)\|", r.strip())[1:-1]]
        for r in (rows[0], *rows[2:])
    ]
    out = [".. list-table::"]
    if any(cells[0]):
        out.append("   :header-rows: 1")
    else:
        del cells[0]
    out.append("")
    for row in cells:
        out += [f"   {'* -' if i == 0 else '  -'} {c}" for i, c in enumerate(row)]
    return "\n".join(indent + line if line else "" for line in out) + "\n"


def _continue_arguments(text: str) -> str:
    """Names of arguments that share a description, on one line: Napoleon wants that."""
    return re.sub(
        r"^( +(?:\w+, )*\w+,)\n +((?:\w+, )*\w+: )", r"\1 \2", text, flags=re.M
    )
