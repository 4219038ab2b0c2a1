"""Many independent trainings: one after another, in processes, or on Ray.

Each is one call of a function that trains a configuration, goes on from its own
checkpoint if it was interrupted (as `training.train` does), and returns a record.
"""

import collections
import contextlib
import importlib
import json
import multiprocessing
import multiprocessing.connection
import operator
import os
import pathlib
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback

import keras

RUNNERS = ("local", "ray")


class RunsFailed(RuntimeError):
    """Some runs failed; all the others were finished first.

    Attributes:
        failures: Dict, each failed run's name and its error in one line.
    """

    def __init__(self, failures, runs):
        self.failures = failures
        lines = [f"  {name}: {error}" for name, error in failures.items()]
        super().__init__(f"{len(failures)} of {runs} runs failed:\n" + "\n".join(lines))


def run_all(
    function,
    tasks,
    names,
    runner="local",
    workers=None,
    address=None,
    cpus_per_run=None,
    gpus_per_run=None,
    attempts=3,
    on_done=None,
    log_dir=None,
):
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
            must stand at the top level of a module or script.
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
    tasks, names = list(tasks), list(names)
    if len(names) != len(tasks) or len(set(names)) != len(names):
        raise ValueError(
            f"{len(tasks)} tasks need as many names, all different; received "
            f"{', '.join(map(repr, names))}."
        )
    for argument, value in {"workers": workers, "attempts": attempts}.items():
        if value is not None and value < 1:
            raise ValueError(f"{argument} must be >= 1; received {value}.")
    if cpus_per_run is not None and not cpus_per_run > 0:
        raise ValueError(f"cpus_per_run must be > 0; received {cpus_per_run}.")
    if gpus_per_run is not None and not gpus_per_run >= 0:
        raise ValueError(f"gpus_per_run must be >= 0; received {gpus_per_run}.")
    runs = collections.deque(zip(names, tasks, strict=True))
    if runner == "ray":
        resources = cpus_per_run or 1, gpus_per_run
        events = _on_ray(function, runs, workers, address, resources, attempts)
    elif runner == "local":
        gpus = _gpus() if len(runs) > 1 and workers != 1 else []
        workers = min(workers or len(gpus) or 1, max(1, len(runs)))
        if workers == 1:
            events = _in_this_process(function, runs)
        else:
            settings = _settings(workers, gpus, cpus_per_run)
            events = _in_processes(function, runs, settings, attempts, log_dir)
    else:
        raise ValueError(
            f"runner must be one of {', '.join(RUNNERS)}; received {runner!r}."
        )

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


# Every runner below is a generator of events: (name, "started", None), (name, "died",
# what follows), (name, "finished", record as JSON), (name, "failed", (line, details)).


def _outcome(function, task):
    """The last event of a run, where it runs: its record or its error."""
    try:
        # As text, so that what a record can hold does not depend on the runner.
        return "finished", json.dumps(function(**task))
    except (Exception, SystemExit) as error:
        # The first line: below it Keras and TensorFlow list what they were called with.
        line = "".join(traceback.format_exception_only(error)).splitlines()[0]
        return "failed", (line, traceback.format_exc())


def _in_this_process(function, runs):
    for name, task in runs:
        yield name, "started", None
        yield name, *_outcome(function, task)


# Processes on this machine


def _in_processes(function, runs, settings, attempts, log_dir):
    _reference(function)
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


def _work(sender, function, task):
    """What a worker does."""
    # Ctrl-C reaches every process of a terminal; this one is ended by its parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sender.send(_outcome(function, task))


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


def _settings(workers, gpus, cpus_per_run=None):
    """Environment variables for each of the local workers."""
    cores = os.cpu_count()
    if hasattr(os, "sched_getaffinity"):  # those that this process may use
        cores = len(os.sched_getaffinity(0))
    threads = int(cpus_per_run or cores / workers)
    settings = [_threads(threads) for _ in range(workers)]
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


def _threads(threads):
    """Variables for a process with so many threads and the backend of this one."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    variables = dict.fromkeys(names, str(max(1, int(threads))))
    return {"KERAS_BACKEND": keras.backend.backend(), **variables}


def _gpus():
    """The GPUs that the backend sees, as in CUDA_VISIBLE_DEVICES; none are touched."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        number = len(tf.config.list_physical_devices("GPU"))
    elif backend == "torch":
        import torch

        number = torch.cuda.device_count()
    else:
        # JAX takes the memory of the GPUs that it counts: another process counts.
        code = "import jax; print(sum(d.platform == 'gpu' for d in jax.devices()))"
        answer = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
        )
        number = int(answer.stdout)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return (visible.split(",") if visible else [str(i) for i in range(number)])[:number]


# Ray


def _on_ray(function, runs, workers, address, resources, attempts):
    module, name = _reference(function)
    try:
        import ray
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
    except ImportError as error:
        raise ImportError(
            "Ray is not installed: pip install 'echo-keras[ray]'."
        ) from error

    ours = not ray.is_initialized()
    if ours:
        # Without an address Ray would join any cluster that it finds here.
        address = address or os.environ.get("RAY_ADDRESS") or "local"
        ray.init(
            address=address,
            runtime_env={"py_modules": _files_to_send(module)},
            log_to_driver=False,
            logging_level="warning",
        )
    submitted = {}
    try:
        options = _ray_options(ray, address, *resources)
        # Where this process is, which does not go away before the runs do.
        here = NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        starts = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        # One call for each process: the next run starts from a clean one.
        task_on_ray = ray.remote(max_calls=1, max_retries=attempts - 1, **options)(
            _work_on_ray
        )
        started = collections.Counter()
        while runs or submitted:
            while runs and len(submitted) < (workers or len(runs) + len(submitted)):
                run, task = runs.popleft()
                submitted[run] = task_on_ray.remote(module[0], name, task, run, starts)
            done, _ = ray.wait(list(submitted.values()), timeout=1.0)
            while not starts.empty():
                run = starts.get()
                started[run] += 1
                if started[run] > attempts:
                    # Ray itself tries forever where a node ran out of memory.
                    ray.cancel(submitted[run], force=True)
                    continue
                if started[run] > 1:
                    attempt = f"attempt {started[run]} of {attempts}"
                    yield run, "died", f"with its worker; next is {attempt}"
                yield run, "started", None
            for run in [run for run, result in submitted.items() if result in done]:
                try:
                    outcome = ray.get(submitted.pop(run))
                except ray.exceptions.RayError as error:
                    cause = getattr(error, "cause", None) or error
                    line = f"{type(cause).__name__}: {cause}".splitlines()[0]
                    if started[run]:
                        line = f"its worker died in every attempt, the last time {line}"
                    outcome = "failed", (line, f"{error}\n")
                yield run, *outcome
    finally:
        for result in submitted.values():
            ray.cancel(result, force=True)
        if ours:
            ray.shutdown()


def _work_on_ray(module, name, task, run, starts):
    """What a worker of Ray does; the function goes by name, not by value.

    Of a script, Ray would otherwise send copies of the globals that it uses.
    """
    starts.put(run)
    try:
        function = operator.attrgetter(name)(importlib.import_module(module))
    except Exception as error:
        return "failed", (f"{type(error).__name__}: {error}", traceback.format_exc())
    return _outcome(function, task)


def _ray_options(ray, address, cpus, gpus):
    """What a run reserves, after a look whether any node has so much."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpus is None:
        gpus = 1 if any(node.get("GPU") for node in nodes) else 0
    if not any(n.get("CPU", 0) >= cpus and n.get("GPU", 0) >= gpus for n in nodes):
        sentence = (
            f"No node of the Ray cluster has {cpus} CPUs and {gpus} GPUs for a run"
        )
        if address == "local":
            raise ValueError(f"{sentence}: lower cpus_per_run or gpus_per_run.")
        print(f"{sentence}; the runs wait until one joins.", flush=True)
    variables = _threads(cpus)
    if gpus == 0:  # Ray would leave all of a node's GPUs visible
        variables["CUDA_VISIBLE_DEVICES"] = ""
    elif gpus < 1:
        variables.update(SHARED_GPU)
    return {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "runtime_env": {"env_vars": variables},
    }


def _reference(function):
    """The function's module (name and file) and its name there, to find it again."""
    name = getattr(function, "__qualname__", repr(function))
    module = sys.modules.get(getattr(function, "__module__", None))
    try:
        found = operator.attrgetter(name)(module)
    except AttributeError:
        found = None
    if found is not function:
        raise ValueError(
            "Workers can only run a function at the top level of a module or script; "
            f"received {name}."
        )
    file = getattr(module, "__file__", None)
    file = file and pathlib.Path(file).resolve()
    if module.__name__ != "__main__":
        return (module.__name__, file), name
    if file is None:
        raise ValueError(f"Put {name} into a file: workers import it from there.")
    return (file.stem, file), name


def _files_to_send(module):
    """The Python files beside a script; packages are installed on the workers."""
    name, file = module
    installed = map(sysconfig.get_path, ("purelib", "platlib", "stdlib"))
    if "." in name or file is None or any(map(file.is_relative_to, installed)):
        return []
    return [str(path) for path in sorted(file.parent.glob("*.py"))]
