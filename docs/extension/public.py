"""What is public, and which of it a text in backticks means."""

import functools
import importlib
import inspect
import re
import types
from collections.abc import Collection, Iterator
from typing import Any

PACKAGE = "echo_keras"
# Modules that list nothing in `__all__`: public is what they define.
MODULES = (
    "losses",
    "autoencoders",
    "model",
    "networks",
    "codec",
    "latent_flow",
    "probe",
    "interop.tfp",
)
# What rooms share among themselves, in modules that list nothing.
INTERNAL = {
    "echo_keras.autoencoders.made",
    "echo_keras.metrics.rate_distortion.check_targets",
    "echo_keras.model.target_of",
}


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


@functools.cache
def references() -> "References":
    """The one of this build."""
    return References()


class References:
    """Finds what a text in backticks means."""

    def __init__(self) -> None:
        self.public = public_names()
        # Numbers and texts may be equal objects without being one name.
        kinds = (type, types.FunctionType)
        public = self.public.items()
        self.names = {id(t): name for name, t in public if isinstance(t, kinds)}
        # `metrics.evaluate`; of names that are no common words `EchoSample` as well.
        self.short: dict[str, str] = {}
        for name in sorted(self.public, key=lambda name: -name.count(".")):
            last = name.rpartition(".")[2]
            if not last.islower() or "_" in last:
                self.short[last] = name
            self.short[name.removeprefix(f"{PACKAGE}.")] = name

    def bases(self, thing: type) -> list[type]:
        """Public bases, and Keras's and Python's: of others what they are made from."""
        found = [
            next(
                base
                for base in one.__mro__
                if id(base) in self.names or not base.__module__.startswith(PACKAGE)
            )
            for one in thing.__bases__
        ]
        return [base for base in dict.fromkeys(found) if base is not object]

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
