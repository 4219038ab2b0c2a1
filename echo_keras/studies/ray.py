"""Runs as tasks of a Ray cluster."""

import collections
import contextlib
import importlib
import operator
import os
import signal
import sysconfig
import traceback

from .outcome import outcome, reference
from .processes import SHARED_GPU, threads_of


def on_ray(function, runs, workers, address, resources, attempts):
    """Events of runs, each a task of Ray; see `runners.run_all`."""
    module, name = reference(function)
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
        files = _files_to_send(module)  # an empty list of them Ray cannot set up
        # Without an address Ray would join any cluster that it finds here.
        address = address or os.environ.get("RAY_ADDRESS") or "local"
        ray.init(
            address=address,
            runtime_env={"py_modules": files} if files else None,
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
    except ray.exceptions.RayError as error:
        # The cluster itself, or this node of it, is gone.
        line = f"Ray is gone ({type(error).__name__}); the same command goes on from "
        line += "the last checkpoint"
        for run in [*submitted, *(run for run, _ in runs)]:
            yield run, "failed", (line, "")
        runs.clear()
        submitted.clear()
    finally:
        with contextlib.suppress(ray.exceptions.RayError):
            for result in submitted.values():
                ray.cancel(result, force=True)
        if ours:
            ray.shutdown()


def _work_on_ray(module, name, task, run, starts):
    """What a worker of Ray does; the function goes by name, not by value.

    Of a script, Ray would otherwise send copies of the globals that it uses.
    """
    # Ray would turn it into a SystemExit, and that is a failure of the run for good;
    # a worker that is ended, as where a node is drained, is started elsewhere.
    with contextlib.suppress(ValueError):  # of a thread that is not the main one
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    starts.put(run)
    try:
        function = operator.attrgetter(name)(importlib.import_module(module))
    except Exception as error:
        return "failed", (f"{type(error).__name__}: {error}", traceback.format_exc())
    return outcome(function, task)


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
    variables = threads_of(cpus)
    if gpus == 0:  # Ray would leave all of a node's GPUs visible
        variables["CUDA_VISIBLE_DEVICES"] = ""
    elif gpus < 1:
        variables.update(SHARED_GPU)
    return {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "runtime_env": {"env_vars": variables},
    }


def _files_to_send(module):
    """The Python files beside a script; packages are installed on the workers."""
    name, file = module
    installed = map(sysconfig.get_path, ("purelib", "platlib", "stdlib"))
    if "." in name or file is None or any(map(file.is_relative_to, installed)):
        return []
    return [str(path) for path in sorted(file.parent.glob("*.py"))]
