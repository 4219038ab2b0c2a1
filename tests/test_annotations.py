"""Every public signature says what it takes and what it returns."""

import importlib
import inspect

import pytest

ROOMS = ("layers", "metrics", "training", "data", "studies", "reports")
MODULES = (
    "losses",
    "model",
    "networks",
    "objectives",
    "codec",
    "latent_flow",
    "probe",
    "plots",
    "interop.tfp",
)


def public(module):
    """Every public function and class of a module, by its name from echo_keras on."""
    prefix = module.__name__.removeprefix("echo_keras.")
    # Where a module lists nothing: what it defines itself.
    own = [
        name
        for name, thing in vars(module).items()
        if name[0] != "_" and getattr(thing, "__module__", None) == module.__name__
    ]
    for name in getattr(module, "__all__", own):
        thing = getattr(module, name)
        if inspect.ismodule(thing):
            yield from public(thing)
        elif inspect.isfunction(thing) or inspect.isclass(thing):
            yield f"{prefix}.{name}", thing


def functions(name, thing):
    """A function, or a class's __init__ and the public methods that it defines."""
    if inspect.isfunction(thing):
        yield name, thing
        return
    for key, member in vars(thing).items():
        if isinstance(member, classmethod | staticmethod):
            member = member.__func__
        elif isinstance(member, property):
            member = member.fget
        if inspect.isfunction(member) and (key == "__init__" or key[0] != "_"):
            yield f"{name}.{key}", member


def missing(function):
    """What has no annotation: names of parameters, or "return"."""
    signature = inspect.signature(function)
    for i, parameter in enumerate(signature.parameters.values()):
        first = i == 0 and parameter.name in ("self", "cls")
        if parameter.annotation is parameter.empty and not first:
            yield parameter.name
    if signature.return_annotation is signature.empty:
        yield "return"


PUBLIC = {
    name: thing
    for module in (*ROOMS, *MODULES)
    for name, thing in public(importlib.import_module(f"echo_keras.{module}"))
}


@pytest.mark.parametrize("name", PUBLIC)
def test_signatures_are_annotated(name):
    found = {n: list(missing(f)) for n, f in functions(name, PUBLIC[name])}
    assert not {n: names for n, names in found.items() if names}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_list_what_is_public(room):
    assert importlib.import_module(f"echo_keras.{room}").__all__


def test_what_is_missing_is_found():
    class Thing:
        def __init__(self, a: int, b, *args, **kwargs):
            pass

        def method(self) -> None:
            pass

        @property
        def value(self):
            pass

    found = {n: list(missing(f)) for n, f in functions("Thing", Thing)}
    assert found == {
        "Thing.__init__": ["b", "args", "kwargs", "return"],
        "Thing.method": [],
        "Thing.value": ["return"],
    }


def test_the_package_says_that_it_is_typed(repository):
    assert (repository / "echo_keras" / "py.typed").is_file()
