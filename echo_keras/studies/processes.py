"""Runs in processes on this machine, and the share of it that each has."""

import collections
import contextlib
import importlib
import multiprocessing
import multiprocessing.connection
import operator
import os
import pathlib
import signal
import sys
import tempfile
import threading
from typing import NamedTuple

import keras

from echo_keras.layers.backend import count_gpus

from .outcome import outcome, reference

# A runner is a generator of events: (name, "started", None), (name, "died", what
# follows), (name, "finished", record as JSON), (name, "failed", (line, details)).


def in_processes(function, runs, settings, attempts, log_dir):
    """Events of runs, each in a process of its own; see `runners.run_all`."""
    function = _by_name(function)
    log_dir = pathlib.Path(log_dir or tempfile.mkdtemp(prefix="echo_keras-"))
    log_dir.mkdir(parents=True, exist_ok=True)
    print(f"{len(settings)} workers; their output is in {log_dir}", flush=True)
    context = multiprocessing.get_context("spawn")
    started = collections.Counter()
    free, running = list(settings), {}
    try:
        while runs or running:
            while runs and free:
                (name, task), setting = runs.popleft(), free.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                worker = context.Process(target=_work, args=(sender, function, task))
                with _surroundings(setting, log_dir / f"{name}.log"):
                    worker.start()
                running[receiver] = worker, name, task, setting
                sender.close()  # then the worker's end is the only one
                started[name] += 1
                yield name, "started", None
            for receiver in multiprocessing.connection.wait(list(running)):
                worker, name, task, setting = running[receiver]
                outcome = None
                with contextlib.suppress(EOFError, OSError):
                    outcome = receiver.recv()
                worker.join(60)  # it may hang in its libraries' clean-up
                worker.kill()
                worker.join()
                del running[receiver]
                receiver.close()
                free.append(setting)
                if outcome:
                    yield name, *outcome
                    continue
                reason = _death(worker.exitcode)
                if started[name] < attempts:
                    # Before those that wait: its place is free now.
                    runs.appendleft((name, task))
                    attempt = f"attempt {started[name] + 1} of {attempts}"
                    yield name, "died", f"{reason}; next is {attempt}"
                else:
                    line = f"its worker died in every attempt, the last time {reason}"
                    line += f"; see {log_dir / name}.log"
                    yield name, "failed", (line, "")
    finally:
        for worker, *_ in running.values():
            worker.kill()
            worker.join()


class _Method(NamedTuple):
    """A method of something at the top level of a module, by its name.

    Pickled by value it would drag along all that its owner holds.
    """

    module: str
    name: str

    def __call__(self, **task):
        module = importlib.import_module(self.module)
        return operator.attrgetter(self.name)(module)(**task)


def _by_name(function):
    (module, file), name = reference(function)
    if not hasattr(function, "__self__"):
        return function
    main = getattr(sys.modules["__main__"], "__file__", None)
    is_main = main is not None and pathlib.Path(main).resolve() == file
    return _Method("__main__" if is_main else module, name)


def _work(sender, function, task):
    """What a worker does."""
    # Ctrl-C reaches every process of a terminal; this one is ended by its parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sender.send(outcome(function, task))


def _end_with_parent():
    """So that no orphan writes the checkpoints of a run that was started again."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _death(code):
    return f"by {signal.Signals(-code).name}" if code < 0 else f"by exit code {code}"


@contextlib.contextmanager
def _surroundings(setting, log):
    """Environment and output that a process started meanwhile inherits.

    Set in the parent, since a worker loads Keras before it comes to any line of ours.
    """
    before = {name: os.environ.get(name) for name in setting}
    sys.stdout.flush()
    sys.stderr.flush()
    with open(log, "ab") as file, contextlib.ExitStack() as stack:
        for number in (1, 2):
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            os.dup2(file.fileno(), number)
        os.environ.update(setting)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def settings(workers, gpus, cpus_per_run=None):
    """Environment variables for each of the local workers."""
    cores = os.cpu_count()
    if hasattr(os, "sched_getaffinity"):  # those that this process may use
        cores = len(os.sched_getaffinity(0))
    threads = int(cpus_per_run or cores / workers)
    settings = [threads_of(threads) for _ in range(workers)]
    for i, setting in enumerate(settings):
        setting["PYTHONUNBUFFERED"] = "1"  # the log of a killed worker is complete
        if gpus:
            setting["CUDA_VISIBLE_DEVICES"] = gpus[i % len(gpus)]
        if gpus and workers > len(gpus):
            setting.update(SHARED_GPU)
    return settings


# TensorFlow and JAX would each take (nearly) all of a GPU's memory at once.
SHARED_GPU = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def threads_of(threads):
    """Variables for a process with so many threads and the backend of this one."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    variables = dict.fromkeys(names, str(max(1, int(threads))))
    return {"KERAS_BACKEND": keras.backend.backend(), **variables}


def gpus():
    """The GPUs that the backend sees, as in CUDA_VISIBLE_DEVICES."""
    visible, number = os.environ.get("CUDA_VISIBLE_DEVICES", ""), count_gpus()
    return (visible.split(",") if visible else [str(i) for i in range(number)])[:number]
