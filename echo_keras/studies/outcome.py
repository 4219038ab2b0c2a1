"""What a run leaves, and how a worker finds the function that makes it."""

import dataclasses
import json
import operator
import pathlib
import sys
import traceback

from echo_keras.training import RunFolderError, UnwritableFolderError


def outcome(function, task):
    """The last event of a run, where it runs: its record or its error."""
    try:
        # As text, so that what a record can hold does not depend on the runner.
        return "finished", json.dumps(function(**task))
    except (Exception, SystemExit) as error:
        # The first line: below it Keras and TensorFlow list what they were called with.
        line = "".join(traceback.format_exception_only(error)).splitlines()[0]
        if isinstance(error, RunFolderError | UnwritableFolderError):
            return "failed", (str(error), "")  # which says all there is to say
        return "failed", (line, traceback.format_exc())


def reference(function):
    """The function's module (name and file) and its name there, to find it again."""
    name = getattr(function, "__qualname__", repr(function))
    module = sys.modules.get(getattr(function, "__module__", None))
    owner = getattr(function, "__self__", None)
    if hasattr(owner, "build") and hasattr(owner, "name"):
        # A study: where the function stands that builds its models, or in the script.
        places = [getattr(owner.build, "__module__", None), "__main__"]
        module, key, owner = _standing(owner, [sys.modules.get(m) for m in places])
        name = f"{key}.{function.__name__}" if key else name
    try:
        found = operator.attrgetter(name)(module)
    except AttributeError:
        found = None
    same = (
        found is function
        if owner is None
        else getattr(found, "__self__", None) is owner
    )
    if not same:
        raise ValueError(
            "What workers run must be a function at the top level of a module or "
            f"script, or a method of a study there. Received: {name}"
        )
    file = getattr(module, "__file__", None)
    file = file and pathlib.Path(file).resolve()
    if module.__name__ != "__main__":
        return (module.__name__, file), name
    if file is None:
        raise ValueError(
            "What workers run must stand in a file, from which they import it. "
            f"Received: {name} of an interactive session"
        )
    return (file.stem, file), name


def _standing(study, modules):
    """The module that holds a study, its name there, and the study as it is there.

    A copy that varies other things trains alike; one that differs in anything else,
    such as what it builds or measures, is another study.
    """
    for module in filter(None, modules):
        for key, value in vars(module).items():
            if type(value) is type(study) and study == dataclasses.replace(
                value, vary=study.vary
            ):
                return module, key, value
    return modules[0], None, study
