"""How the site reads docstrings: their names as links, their maths and tables as such.

Docstrings are written to be read as text, in an editor: single backticks, `\\(x\\)`,
here and there a Markdown table. This extension turns them into what Sphinx takes, and
adds the directive `names`, which documents public names.
"""

import importlib
import inspect
import re
import sys
import types
from collections.abc import Callable, Collection, Iterator
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.util import inspect as sphinx_inspect
from sphinx.util.nodes import make_refnode

PACKAGE = "echo_keras"
# Modules that list nothing in `__all__`: public is what they define.
MODULES = ("losses", "model", "networks", "codec", "latent_flow", "interop.tfp")
# What rooms share among themselves, in modules that list nothing.
INTERNAL = {"echo_keras.model.made", "echo_keras.metrics.rate_distortion.check_targets"}


def public_names() -> dict[str, Any]:
    """Every public class, function and constant, by the shortest path to it."""
    found: dict[str, Any] = {}
    rooms = [importlib.import_module(PACKAGE)]
    rooms += [importlib.import_module(f"{PACKAGE}.{name}") for name in MODULES]
    for module in rooms:
        for name, thing in _members(module, set()):
            known = next((n for n, t in found.items() if t is thing), None)
            if known is None:
                found[name] = thing
            elif name.count(".") < known.count("."):
                del found[known]
                found[name] = thing
    return found


def _members(module: types.ModuleType, seen: set[str]) -> Iterator[tuple[str, Any]]:
    seen.add(module.__name__)
    own = [
        name
        for name, thing in vars(module).items()
        if name[0] != "_"
        and isinstance(thing, type | types.FunctionType)
        and thing.__module__ == module.__name__
        and f"{module.__name__}.{name}" not in INTERNAL
    ]
    for name in getattr(module, "__all__", own):
        thing = getattr(module, name)
        if not inspect.ismodule(thing):
            yield f"{module.__name__}.{name}", thing
        elif thing.__name__ not in seen:
            yield from _members(thing, seen)


class References:
    """Finds what a text in backticks means."""

    def __init__(self) -> None:
        self.public = public_names()
        # Numbers and texts may be equal objects without being one name.
        kinds = (type, types.FunctionType)
        self.names = {id(t): n for n, t in self.public.items() if isinstance(t, kinds)}
        # `metrics.evaluate`, and of names that are no common words `EchoSample` as well.
        self.short: dict[str, str] = {}
        for name in sorted(self.public, key=lambda name: -name.count(".")):
            last = name.rpartition(".")[2]
            if not last.islower() or "_" in last:
                self.short[last] = name
            self.short[name.removeprefix(f"{PACKAGE}.")] = name

    def find(self, text: str, near: str) -> str | None:
        """The full name of what `text` names in the docstring of `near`."""
        if not re.fullmatch(r"\w+(\.\w+)*", text) or text in parameters(locate(near)):
            return None
        owner = near
        while "." in owner:  # `sample` in a class or module
            if (found := self.resolve(f"{owner}.{text}")) is not None:
                return found
            owner = owner.rpartition(".")[0]
        head, _, rest = text.partition(".")
        for name in (text, self.short.get(text), self.short.get(head, "") + "." + rest):
            if name and (found := self.resolve(name)) is not None:
                return found
        return None

    def resolve(self, path: str) -> str | None:
        """The public name of the object at a path, or of its member."""
        if path in self.public:
            return path
        thing = locate(path)
        if id(thing) in self.names:
            return self.names[id(thing)]
        owner, _, member = path.rpartition(".")
        if not inspect.isclass(holder := locate(owner)) or member.startswith("_"):
            return None
        owner = self.names.get(id(holder))
        return f"{owner}.{member}" if owner and documented(holder, member) else None


def locate(path: str) -> Any:
    """The object at a dotted path, or None."""
    parts = path.split(".")
    if parts[0] != PACKAGE:
        return None
    thing = importlib.import_module(PACKAGE)
    for part in parts[1:]:
        try:
            thing = getattr(thing, part)
        except AttributeError:
            try:
                thing = importlib.import_module(f"{thing.__name__}.{part}")
            except (AttributeError, ImportError):
                return None
    return thing


def parameters(thing: Any) -> Collection[str]:
    """Names of the arguments of a class or function."""
    try:
        return inspect.signature(thing).parameters
    except (TypeError, ValueError):
        return ()


def documented(holder: Any, member: str) -> str | None:
    """The docstring of a member, or of what it overrides in this library."""
    for base in getattr(holder, "__mro__", ()):
        thing = vars(base).get(member)
        thing = getattr(thing, "__func__", thing)
        if not base.__module__.startswith(PACKAGE):
            return None
        if inspect.isfunction(thing) or isinstance(thing, property):
            if thing.__doc__:
                return inspect.cleandoc(thing.__doc__)
    return None


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
    return re.sub(r"^( +(?:\w+, )*\w+,)\n +((?:\w+, )*\w+: )", r"\1 \2", text, flags=re.M)


class Names(Directive):
    """A summary of public names and then the documentation of each.

    The argument is their module, the content one name a line.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module = self.arguments[0]
        names = " ".join(self.content).split()
        lines = [f".. currentmodule:: {module}", "", ".. autosummary::"]
        lines += ["   :nosignatures:", ""]
        lines += [f"   {name}" for name in names] + [""]
        for name in names:
            thing = getattr(importlib.import_module(module), name)
            lines += _documentation(name, thing)
        source, _ = self.state_machine.get_source_and_line(self.lineno)
        node = nodes.container()
        content = StringList(lines, source=source)
        self.state.nested_parse(content, self.content_offset, node)
        return node.children


def _documentation(name: str, thing: Any) -> list[str]:
    if inspect.isclass(thing):
        return [f".. autoclass:: {name}", ""]
    if inspect.isfunction(thing):
        return [f".. autofunction:: {name}", ""]
    raise TypeError(f"{name} must be a class or function; write its entry by hand")


def setup(app) -> dict[str, bool]:
    references = References()

    def process(app, what, name, thing, options, lines):
        if what == "data":
            lines.clear()  # it is the type's; the page itself says what it is
            return
        if what in ("method", "property") and not any(lines):
            holder, _, member = name.rpartition(".")
            lines[:] = (documented(locate(holder), member) or "").split("\n")
        lines[:] = to_rst(lines, lambda text: references.find(text, name))

    def missing(app, env, node, contnode):
        """Links to names under other paths; none to types of other packages."""
        if node.get("refdomain") != "py":
            return None
        target = references.resolve(node["reftarget"]) or ""
        found = env.domains["py"].objects.get(target)
        if found is not None:
            here = node["refdoc"]
            return make_refnode(app.builder, here, found[0], found[1], contnode)
        return contnode if node.get("reftype") == "class" else None

    def skip(app, what, name, thing, skipped, options):
        """What a class has of Keras or of Python is not shown."""
        thing = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
        module = getattr(thing, "__module__", None) or ""
        if not inspect.isfunction(thing) or not module.startswith(PACKAGE):
            return True
        holder = getattr(sys.modules[module], thing.__qualname__.split(".")[0], None)
        shown = name[0] != "_" and module != f"{PACKAGE}.layers.symbolic"
        return not (shown and documented(holder, thing.__name__))

    def signature(app, what, name, thing, options, arguments, returned):
        """A layer's own: `Layer.__new__` hides it."""
        if what != "class" or not inspect.isfunction(getattr(thing, "__init__", None)):
            return None
        found = sphinx_inspect.signature(thing.__init__, bound_method=True)
        found = found.replace(return_annotation=found.empty)
        return sphinx_inspect.stringify_signature(found, unqualified_typehints=True), ""

    def bases(app, name, thing, options, found):
        """Public ones, and Keras's: of others what they are made from."""
        public = [
            next(
                base
                for base in one.__mro__
                if id(base) in references.names
                or not base.__module__.startswith(PACKAGE)
            )
            for one in found
            if inspect.isclass(one)
        ]
        found[:] = list(dict.fromkeys(public)) or found

    # Before Napoleon (500), which reads the sections.
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-bases", bases)
    app.connect("missing-reference", missing)
    app.add_directive("names", Names)
    return {"parallel_read_safe": True}
