"""Many independent trainings: one after another, in processes, or on Ray.

Each is one call of a function that trains a configuration, goes on from its own
checkpoint if it was interrupted (as `training.train` does), and returns a record.
"""

import collections
import contextlib
import json
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from echo_keras.layers import arguments

from . import processes, ray
from .outcome import outcome

RUNNERS = ("local", "ray")


class RunsFailed(RuntimeError):
    """Some runs failed; all the others were finished first.

    Attributes:
        failures: Dict, each failed run's name and its error in one line.
    """

    def __init__(self, failures: Mapping[str, str], runs: int) -> None:
        self.failures = failures
        lines = [f"  {name}: {error}" for name, error in failures.items()]
        super().__init__(f"{len(failures)} of {runs} runs failed:\n" + "\n".join(lines))


def run_all(
    function: Callable[..., Any],
    tasks: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    runner: str = "local",
    workers: int | None = None,
    address: str | None = None,
    cpus_per_run: float | None = None,
    gpus_per_run: float | None = None,
    attempts: int = 3,
    on_done: Callable[[str, Any], None] | None = None,
    log_dir: str | pathlib.Path | None = None,
) -> None:
    """Calls `function(**task)` for every task and hands each record to `on_done`.

    - "local" with one worker calls it in this process, in order. With more, each run
      has a process of its own and, where there are GPUs, sees one of them; runs that
      share a GPU take its memory as they need it.
    - "ray" makes each run a task of a Ray cluster, in a process of its own. Records
      travel back as values, so nothing but the checkpoints is written over there: on
      a file system that the nodes share a run resumes on any of them, otherwise on
      the node where it began. Workers may stand in another folder: give absolute
      paths. They need echo-keras installed; the Python files in the folder of the
      function's script are sent to them. A Ray that is already running in this
      process is used as it is.

    A worker that dies (killed, out of memory) is started again and its run resumes. A
    run that raises has failed for good, its traceback goes to stderr, and the others
    go on. Ctrl-C stops everything; what was running resumes next time.

    Args:
        function: Returns something that JSON can hold. With several workers or Ray it
            must stand at the top level of a module or script, or be a method of
            something that does, such as a `Study`.
        tasks: List of dicts of keyword arguments.
        names: List of file names for progress, logs and failures, all different.
        runner: One of the above.
        workers: Int >= 1, how many runs at once. If None, "local" takes one for each
            GPU that the backend sees, or one; "ray" as many as the cluster holds.
        address: Ray's, "auto" for the cluster on this machine. If None, that of
            `RAY_ADDRESS` or, where it is not set, a new Ray on this machine alone.
        cpus_per_run: Number > 0, what each run reserves on Ray (1 if None), and its
            threads; of local workers each has an equal share of the cores if None.
        gpus_per_run: Number >= 0, what each run reserves on Ray; a fraction shares a
            GPU. If None, 1 where the cluster has GPUs, else 0.
        attempts: Int >= 1, how often a run is started whose worker dies.
        on_done: Function of name and record, called here as each run finishes.
        log_dir: Folder for the output of local workers, NAME.log; a temporary one if
            None. Ray keeps its workers' output itself.

    Raises:
        RunsFailed: runs failed, after all the others were finished.
        ValueError: an argument is out of range, or Ray has no room for a run.
        ImportError: Ray is asked for and it is not installed.

    Example:

    >>> run_all(dict, [{"seed": 0}, {"seed": 1}], ["a", "b"], workers=1, on_done=print)
    a: started
    a {'seed': 0}
    a: finished in 0.0 minutes
    b: started
    b {'seed': 1}
    b: finished in 0.0 minutes
    """
    for name, value in (("tasks", tasks), ("names", names)):
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name} must be a list. Received: {name}={value!r:.100}")
    tasks, names = list(tasks), list(names)
    if len(names) != len(tasks) or len(set(names)) != len(names):
        raise ValueError(
            f"names must be {len(tasks)}, as many as tasks, all different. Received: "
            f"names={names}"
        )
    arguments.function("function", function)
    arguments.function("on_done", on_done, optional=True)
    arguments.choice("runner", runner, RUNNERS)
    workers = arguments.integer("workers", workers, optional=True)
    attempts = arguments.integer("attempts", attempts)
    arguments.number("cpus_per_run", cpus_per_run, above=0, optional=True)
    arguments.number("gpus_per_run", gpus_per_run, low=0, optional=True)
    log_dir = arguments.path("log_dir", log_dir, optional=True)
    runs = collections.deque(zip(names, tasks, strict=True))
    if runner == "ray":
        resources = cpus_per_run or 1, gpus_per_run
        events = ray.on_ray(function, runs, workers, address, resources, attempts)
    else:
        gpus = processes.gpus() if len(runs) > 1 and workers != 1 else []
        workers = min(workers or len(gpus) or 1, max(1, len(runs)))
        if workers == 1:
            events = (
                (name, "started", None) if begins else (name, *outcome(function, task))
                for name, task in runs
                for begins in (True, False)
            )
        else:
            places = processes.settings(workers, gpus, cpus_per_run)
            events = processes.in_processes(function, runs, places, attempts, log_dir)

    began, failures = {}, {}
    # Closing ends the workers, whether Ctrl-C comes here or `on_done` raises.
    with contextlib.closing(events):
        for name, event, content in events:
            line = f"{name}: {event}"
            if event == "started":
                began[name] = time.monotonic()
            elif event == "finished":
                if on_done:
                    on_done(name, json.loads(content))
                minutes = (time.monotonic() - began[name]) / 60
                line += f" in {minutes:.1f} minutes"
            elif event == "failed":
                failures[name], details = content
                print(details, end="", file=sys.stderr, flush=True)
                line += f": {failures[name]}"
            else:
                line += f" {content}"
            print(line, flush=True)
    if failures:
        raise RunsFailed(failures, len(tasks))
