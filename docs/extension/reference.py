"""The API reference: docstrings as this library writes them, with links."""

import importlib
import inspect
import sys
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.util import inspect as sphinx_inspect
from sphinx.util.nodes import make_refnode

from .markup import link_names, to_rst
from .public import PACKAGE, documented, locate, references


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
        shown = bool(references().bases(thing))
        return [f".. autoclass:: {name}", *shown * ["   :show-inheritance:"], ""]
    if inspect.isfunction(thing):
        return [f".. autofunction:: {name}", ""]
    raise TypeError(f"{name} must be a class or function; write its entry by hand")


class Shown:
    """A default value that is written as a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def plain(default: Any) -> Any:
    """A default as one would write it: a class by its name, no addresses."""
    if default is inspect.Parameter.empty or repr(default)[0] != "<":
        return default
    return Shown(getattr(default, "__name__", "..."))


def setup(app) -> dict[str, bool]:
    known = references()
    properties: dict[str, list[str]] = {}

    def process(app, what, name, thing, options, lines):
        if what == "data":
            lines.clear()  # it is the type's; the page itself says what it is
            return
        if what in ("method", "property") and not any(lines):
            holder, _, member = name.rpartition(".")
            lines[:] = (documented(locate(holder), member) or "").split("\n")
        lines[:] = to_rst(lines, lambda text: known.find(text, name))
        if what == "property":
            properties[name] = lines[:]
            lines.clear()

    def read(app, page, source):
        if str(app.env.doc2path(page)).endswith(".md"):
            source[0] = link_names(source[0], lambda text: known.find(text, PACKAGE))

    def restore(app, what, name, thing, options, lines):
        """Napoleon would take what stands before a colon for a property's type."""
        if what == "property":
            lines[:] = properties.pop(name, lines)

    def missing(app, env, node, contnode):
        """Links to names under other paths; none to types of other packages."""
        if node.get("refdomain") != "py":
            return None
        target = known.resolve(node["reftarget"]) or ""
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
        arguments = [
            p.replace(default=plain(p.default)) for p in found.parameters.values()
        ]
        found = found.replace(parameters=arguments, return_annotation=found.empty)
        return sphinx_inspect.stringify_signature(found, unqualified_typehints=True), ""

    def bases(app, name, thing, options, found):
        found[:] = known.bases(thing)

    # Before Napoleon (500), which reads the sections.
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-bases", bases)
    app.connect("source-read", read)
    app.connect("missing-reference", missing)
    app.add_directive("names", Names)
    return {"parallel_read_safe": True}
