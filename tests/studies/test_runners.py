"""Tests of many runs: in this process, in several, and on a real Ray cluster."""

import collections
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pytest

from echo_keras.studies import outcome, processes
from echo_keras.studies import ray as on_ray
from echo_keras.studies.runners import RunsFailed, run_all

THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")

# A script as those in reproductions/, in a folder that is on nobody's path. Each run
# notes its process, and waits for what other processes do by looking for files.
SCRIPT = '''
import json, os, pathlib, signal, sys, time

from echo_keras.studies import runners

VARIABLES = ["TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"]
VARIABLES += ["KERAS_BACKEND", "CUDA_VISIBLE_DEVICES"]


def note(path, line):
    with open(path, "a") as file:
        file.write(f"{line}\\n")
    return path.read_text().split()


def wait_for(path, seconds=300):
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path.name} did not appear")
        time.sleep(0.02)


def run(kind, out, **task):
    return globals()[kind](pathlib.Path(out), **task)


def meet(out, me, other, error=None):
    (out / me).touch()
    wait_for(out / other)
    if error:
        raise ValueError(error)
    return {x: os.environ.get(x) for x in VARIABLES}


def die(out, name, times):
    print("begun")
    starts = note(out / name, os.getpid())
    if len(starts) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"starts": starts}


def wait_forever(out, name):
    note(out / name, os.getpid())
    wait_for(out / "never")


def train(out, name, seed, interrupt=False):
    """A training; on its first attempt it stops in epoch 3 and waits to be killed."""
    import numpy as np
    from keras import Input, layers
    from sklearn.datasets import load_digits

    from echo_keras import RateDistortionModel, metrics, training
    from echo_keras.layers import GaussianBottleneck

    attempts = note(out / f"{name}.attempts", os.getpid())
    processes = out / f"{name}.processes"

    class Noting(training.Checkpoint):
        def on_train_batch_end(self, batch, logs=None):
            if interrupt and len(attempts) == 1 and len(self.history) == 2:
                wait_for(out / "never")

        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            note(processes, os.getpid())

    sys.modules["echo_keras.training.open_run"].Checkpoint = Noting

    def build():
        inputs = Input((64,))
        z = GaussianBottleneck(4)(layers.Dense(16, activation="relu")(inputs))
        return RateDistortionModel(inputs, layers.Dense(64)(z))

    x = (load_digits().data / 16).astype("float32")
    model, history = training.train(
        build, x[:300], out / name, epochs=5, batch_size=50, seed=seed, verbose=0
    )
    return {
        "history": history,
        "test": metrics.evaluate(model, x[300:500]),
        "weights": [float(np.sum(w)) for w in model.get_weights()],
        "processes": processes.read_text().split(),
        "script": __file__,
    }


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    arguments = json.loads(sys.argv[2])
    tasks = arguments.pop("tasks")
    runners.run_all(
        run,
        [{"out": str(out), **task} for task in tasks.values()],
        list(tasks),
        on_done=lambda name, record: (out / f"{name}.json").write_text(
            json.dumps(record)
        ),
        **arguments,
    )
'''


def launch(folder, tasks, script=SCRIPT, **arguments):
    """Starts a script as a process; the records appear in `folder`."""
    scripts = folder / "scripts"
    scripts.mkdir()
    (scripts / "script.py").write_text(script)
    unwanted = (*THREADS, "CUDA_VISIBLE_DEVICES", "RAY_ADDRESS")
    environment = {k: v for k, v in os.environ.items() if k not in unwanted}
    return subprocess.Popen(
        [
            sys.executable,
            "-P",  # else Ray tells workers on the same machine where the script is
            str(scripts / "script.py"),
            str(folder),
            json.dumps({"tasks": tasks, **arguments}),
        ],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process, timeout=300):
    """Exit code, lines of progress and stderr of a script."""
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return types.SimpleNamespace(
        code=process.returncode, lines=out.split("\n"), err=err
    )


def record(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def wait_until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid):
    try:
        # A killed process stays in the table until its parent has asked for it.
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return False
    return state.split()[0] != "Z"


def kill_leftovers(*files):
    for file in files:
        for pid in file.read_text().split() if file.exists() else ():
            if alive(int(pid)):
                os.kill(int(pid), signal.SIGKILL)


# In this process


class Recorder:
    """What `on_done` was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, name, record):
        self.calls.append((name, record))


def call(function, values, **arguments):
    """One run for each value, in this process; returns what on_done was told."""
    done = Recorder()
    names = [f"run{i}" for i in range(len(values))]
    tasks = [{"value": value} for value in values]
    arguments = {"workers": 1, "on_done": done, **arguments}
    return done, lambda: run_all(function, tasks, names, **arguments)


def test_one_worker_calls_in_order_and_in_this_process(capsys):
    done, go = call(lambda value: {"value": value, "pid": os.getpid()}, [3, 1, 2])
    assert go() is None
    pid = os.getpid()
    assert done.calls == [
        ("run0", {"value": 3, "pid": pid}),
        ("run1", {"value": 1, "pid": pid}),
        ("run2", {"value": 2, "pid": pid}),
    ]
    assert capsys.readouterr().out.splitlines() == [
        line
        for i in range(3)
        for line in (f"run{i}: started", f"run{i}: finished in 0.0 minutes")
    ]


def test_one_process_is_the_default_without_gpus(monkeypatch):
    monkeypatch.setattr(processes, "gpus", lambda: [])
    done, go = call(lambda value: os.getpid(), [1, 2], workers=None)
    go()
    assert [x for _, x in done.calls] == [os.getpid()] * 2


def test_no_tasks():
    done, go = call(print, [])
    go()
    assert done.calls == []


def test_an_exception_does_not_stop_the_others(capsys):
    def function(value):
        if value == 1:
            raise ValueError("the first line\nand the second")
        if value == 2:
            sys.exit("no data")
        return value

    done, go = call(function, [0, 1, 2, 3])
    with pytest.raises(RunsFailed) as info:
        go()
    assert done.calls == [("run0", 0), ("run3", 3)]
    errors = {"run1": "ValueError: the first line", "run2": "SystemExit: no data"}
    assert info.value.failures == errors
    assert str(info.value) == (
        "2 of 4 runs failed:\n  run1: ValueError: the first line\n"
        "  run2: SystemExit: no data"
    )
    out, err = capsys.readouterr()
    assert "run1: failed: ValueError: the first line\nrun2: started\n" in out
    # The whole traceback is there too.
    assert "in function\n" in err and "and the second" in err


def test_a_record_that_json_cannot_hold_is_a_failure():
    done, go = call(lambda value: {1, 2} if value else {"a": (1, 2)}, [0, 1])
    with pytest.raises(RunsFailed, match="run1: TypeError: .*set is not JSON"):
        go()
    assert done.calls == [("run0", {"a": [1, 2]})]  # as it comes back from a file


@pytest.mark.parametrize("where", ["function", "on_done"])
def test_ctrl_c_stops(where):
    seen = []

    def stop(at):
        seen.append((where, at))
        if len(seen) == 2:
            raise KeyboardInterrupt

    def function(value):
        if where == "function":
            stop(value)
        return value

    def on_done(name, record):
        if where == "on_done":
            stop(record)

    _, go = call(function, [0, 1, 2], on_done=on_done)
    with pytest.raises(KeyboardInterrupt):
        go()
    assert seen == [(where, 0), (where, 1)]


# Arguments


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"names": ["a"]}, "names must be 2, as many as tasks, .* Received: names="),
        ({"names": ["a", "a"]}, r"all different. Received: names=\['a', 'a'\]"),
        ({"runner": "slurm"}, "must be one of local, ray. Received: runner='slurm'"),
        (
            {"workers": 0},
            "workers must be an integer >= 1, or None. Received: workers=0",
        ),
        ({"attempts": 0}, "attempts must be an integer >= 1. Received: attempts=0"),
        ({"cpus_per_run": 0}, "a finite number > 0, or None. Received: cpus_per_run=0"),
        (
            {"gpus_per_run": -1},
            ">= 0, or None. Received: gpus_per_run=-1",
        ),
        (
            {"function": lambda: None, "workers": 2},
            r"top level of a module or script, or a method .* Received: .*<lambda>",
        ),
        ({"function": lambda: None, "runner": "ray"}, "Received: .*<lambda>"),
    ],
)
def test_bad_arguments_raise(arguments, sentence):
    arguments = {"function": dict, "names": ["a", "b"], **arguments}
    with pytest.raises(ValueError, match=sentence):
        run_all(tasks=[{}, {}], **arguments)


def test_ray_that_is_not_installed_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'echo-keras\[ray\]'"):
        run_all(dict, [{}], ["a"], runner="ray")


# What each worker gets


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)


@pytest.mark.parametrize(
    ("workers", "cpus_per_run", "threads"),
    [(2, None, "4"), (3, None, "2"), (9, None, "1"), (2, 3, "3"), (2, 0.5, "1")],
)
def test_each_worker_has_its_share_of_threads(
    workers, cpus_per_run, threads, eight_cores
):
    settings = processes.settings(workers, [], cpus_per_run)
    expected = {"KERAS_BACKEND": keras.backend.backend()}
    expected |= dict.fromkeys(THREADS, threads)
    assert settings == [{**expected, "PYTHONUNBUFFERED": "1"}] * workers


def test_each_worker_sees_one_gpu(eight_cores):
    settings = processes.settings(2, ["0", "1"])
    assert [s["CUDA_VISIBLE_DEVICES"] for s in settings] == ["0", "1"]
    assert not any("TF_FORCE_GPU_ALLOW_GROWTH" in s for s in settings)


def test_workers_that_share_a_gpu_take_memory_as_they_need_it(eight_cores):
    settings = processes.settings(3, ["4", "7"])
    assert [s["CUDA_VISIBLE_DEVICES"] for s in settings] == ["4", "7", "4"]
    for setting in settings:
        assert setting["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
        assert setting["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


@pytest.mark.parametrize(
    ("visible", "expected"), [(None, ["0", "1"]), ("3,5", ["3", "5"])]
)
def test_gpus_are_those_that_the_backend_sees(visible, expected, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * 2)
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert processes.gpus() == expected


def reserve(cpus, gpus, nodes, address="auto"):
    """What a run reserves on a cluster of these (CPUs, GPUs)."""
    ray = types.SimpleNamespace(
        nodes=lambda: [
            {"Alive": alive, "Resources": {"CPU": c} | ({"GPU": g} if g else {})}
            for c, g, alive in nodes
        ]
    )
    options = on_ray._ray_options(ray, address, cpus, gpus)
    return options["num_cpus"], options["num_gpus"], options["runtime_env"]["env_vars"]


@pytest.mark.parametrize(
    ("gpus", "on_nodes", "expected"),
    [(None, 0, 0), (None, 2.0, 1), (0, 2.0, 0), (0.25, 2.0, 0.25), (2, 2.0, 2)],
)
def test_a_run_on_ray_reserves_cpus_and_gpus(gpus, on_nodes, expected):
    cpus, found, variables = reserve(4, gpus, [(8.0, 0, True), (8.0, on_nodes, True)])
    assert (cpus, found) == (4, expected)
    assert all(variables[name] == "4" for name in THREADS)
    assert variables["KERAS_BACKEND"] == keras.backend.backend()
    # Ray sets it where it reserves a GPU.
    assert variables.get("CUDA_VISIBLE_DEVICES") == (None if expected else "")
    assert ("TF_FORCE_GPU_ALLOW_GROWTH" in variables) == (expected == 0.25)


@pytest.mark.parametrize(
    ("cpus", "gpus"), [(16, 0), (8, 1), (1, 9)], ids=["cpus", "both", "gpus"]
)
def test_a_run_that_fits_on_no_node(cpus, gpus, capsys):
    # The last node would do, but it is gone.
    nodes = [(8.0, 0, True), (4.0, 8.0, True), (64.0, 64.0, False)]
    sentence = f"No node of the Ray cluster has {cpus} CPUs and {gpus} GPUs for a run"
    with pytest.raises(ValueError, match=f"^{sentence}: lower cpus_per_run"):
        reserve(cpus, gpus, nodes, address="local")
    reserve(cpus, gpus, nodes)
    assert capsys.readouterr().out == f"{sentence}; the runs wait until one joins.\n"


def test_files_beside_a_script_are_sent_and_installed_modules_are_not(tmp_path):
    for name in ("script.py", "other.py", "notes.txt"):
        (tmp_path / name).touch()
    module = "script", tmp_path / "script.py"
    sent = [str(tmp_path / name) for name in ("other.py", "script.py")]
    assert on_ray._files_to_send(module) == sent
    for function in (dict, json.dumps, os.path.join, pytest.importorskip):
        module, _ = outcome.reference(function)
        assert on_ray._files_to_send(module) == []


# Processes. Each of them loads Keras, so one launch serves several tests.


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two workers, four runs: what the script said and left behind."""
    folder = tmp_path_factory.mktemp("processes")
    tasks = {
        "right": {"kind": "meet", "me": "r", "other": "w"},
        "wrong": {"kind": "meet", "me": "w", "other": "r", "error": "no such method"},
        "doomed": {"kind": "die", "name": "doomed.starts", "times": 9},
        "killed": {"kind": "die", "name": "killed.starts", "times": 1},
    }
    process = launch(
        folder,
        tasks,
        workers=2,
        attempts=2,
        cpus_per_run=3,
        log_dir=str(folder / "logs"),
    )
    return folder, result(process)


def test_two_workers_overlap_with_their_threads_set(finished):
    # Each waited for the other's file, so both were there at the same time.
    assert record(finished[0], "right") == {
        **dict.fromkeys(THREADS, "3"),
        "KERAS_BACKEND": keras.backend.backend(),
        "CUDA_VISIBLE_DEVICES": None,
    }


def test_a_killed_worker_is_started_again(finished):
    folder, said = finished
    first, second = record(folder, "killed")["starts"]
    assert first != second
    lines = [line for line in said.lines if line.startswith("killed")]
    assert lines[:3] == [
        "killed: started",
        "killed: died by SIGKILL; next is attempt 2 of 2",
        "killed: started",
    ]
    assert lines[3].startswith("killed: finished in 0.") and len(lines) == 4
    # TensorFlow writes there too, as it loads.
    log = (folder / "logs" / "killed.log").read_text().splitlines()
    assert log.count("begun") == 2


def test_failures_are_named_at_the_end_and_the_script_exits_with_1(finished):
    folder, said = finished
    assert said.code == 1
    assert "in meet\n" in said.err  # the traceback of the run
    *_, summary, wrong, doomed, _ = said.err.split("\n")
    assert summary.endswith("RunsFailed: 2 of 4 runs failed:")
    assert wrong == "  wrong: ValueError: no such method"
    assert doomed == (
        "  doomed: its worker died in every attempt, the last time by SIGKILL; see "
        f"{folder / 'logs' / 'doomed.log'}"
    )
    assert len((folder / "doomed.starts").read_text().split()) == 2
    assert {path.stem for path in folder.glob("*.json")} == {"right", "killed"}


def test_workers_end_when_the_script_is_killed(tmp_path):
    tasks = {x: {"kind": "wait_forever", "name": x} for x in "ab"}
    process = launch(tmp_path, tasks, workers=2)
    notes = [tmp_path / x for x in tasks]
    try:
        wait_until(lambda: all(x.exists() and x.read_text() for x in notes))
        pids = [int(x.read_text()) for x in notes]
        assert all(map(alive, pids))
        process.kill()
        wait_until(lambda: not any(map(alive, pids)), seconds=20)
        result(process)
    finally:
        kill_leftovers(*notes)


def test_workers_are_killed_when_run_all_is_left(tmp_path, monkeypatch):
    # By Ctrl-C or an error, while a worker is busy: run_all closes this generator.
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.syspath_prepend(tmp_path)
    function = importlib.import_module("script").wait_forever
    runs = collections.deque([("a", {"out": tmp_path, "name": "note"})])
    environment = dict(os.environ)
    events = processes.in_processes(function, runs, [{"NEW": "1"}], 3, tmp_path)
    note = tmp_path / "note"
    try:
        assert next(events) == ("a", "started", None)
        assert dict(os.environ) == environment  # that of the worker is gone
        wait_until(lambda: note.exists() and note.read_text())
        pid = int(note.read_text())
        assert alive(pid)
        events.close()
        assert not alive(pid)
    finally:
        kill_leftovers(note)
        sys.modules.pop("script", None)


# Ray


@pytest.fixture(scope="module")
def cluster():
    """A real cluster on this machine: two nodes with one CPU each."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()


def test_a_training_killed_on_a_ray_cluster_ends_as_a_whole_one(cluster, tmp_path):
    tasks = {
        name: {"kind": "train", "name": name, "seed": seed}
        for name, seed in {"killed": 0, "whole": 0, "other": 1}.items()
    }
    tasks["killed"]["interrupt"] = True
    process = launch(tmp_path, tasks, runner="ray", address=cluster.address)
    attempts = tmp_path / "killed.attempts"
    processes = tmp_path / "killed.processes"
    try:
        # Two epochs are in the checkpoint; the worker stands in the third.
        wait_until(
            lambda: processes.exists() and len(processes.read_text().split()) == 2
        )
        (killed,) = attempts.read_text().split()
        os.kill(int(killed), signal.SIGKILL)
        said = result(process)
    finally:
        process.kill()
        kill_leftovers(attempts)

    assert said.code == 0, said.err
    records = {name: record(tmp_path, name) for name in ("killed", "whole", "other")}
    assert all(len(r["history"]) == 5 for r in records.values())

    # Another process went on after the second epoch.
    assert "killed: died with its worker; next is attempt 2 of 3" in said.lines
    first, second = attempts.read_text().split()
    assert first == killed != second
    assert records["killed"]["processes"] == [killed] * 2 + [second] * 3
    assert len(set(records["whole"]["processes"])) == 1

    # As in the tests of `train`: the same up to rounding.
    one, same, other = (flat(records[name]) for name in ("whole", "killed", "other"))
    assert same == pytest.approx(one, rel=1e-4, abs=1e-5)
    assert other != pytest.approx(one, rel=1e-4, abs=1e-5)

    # The workers had a copy of the script, in a place of Ray's.
    scripts = {pathlib.Path(r["script"]).parent for r in records.values()}
    assert tmp_path / "scripts" not in scripts

    # The script joined the cluster and left it running.
    assert cluster.head_node.remaining_processes_alive()


CURVE = """
import json, sys

import keras
import numpy as np

import echo_keras
from echo_keras import autoencoder, losses, networks
from echo_keras.layers import GaussianBottleneck


def build(beta):
    keras.utils.set_random_seed(0)
    model = autoencoder(
        networks.dense_encoder((8,), (4,)),
        GaussianBottleneck(2, beta=beta, seed=0),
        networks.dense_decoder(2, (8,), (4,)),
    )
    model.compile("adam", loss=losses.Bernoulli())
    return model


if __name__ == "__main__":
    folder, given = sys.argv[1], json.loads(sys.argv[2])
    x = np.random.RandomState(0).random_sample((24, 8)).astype("float32")
    curves = [
        echo_keras.rate_distortion_curve(
            build, x, [0.5, 2.0], epochs=2, out=f"{folder}/{name}", **how
        )
        for name, how in (("ray", given["ray"]), ("here", {}))
    ]
    with open(f"{folder}/curves.json", "w") as file:
        json.dump([curve.pairs for curve in curves], file)
"""


def test_a_curve_on_a_ray_cluster_is_that_of_this_process(cluster, tmp_path):
    how = {"runner": "ray", "address": cluster.address}
    said = result(launch(tmp_path, {}, CURVE, ray=how))
    assert said.code == 0, said.err
    on_ray, here = json.loads((tmp_path / "curves.json").read_text())
    assert len(here) == 2
    np.testing.assert_allclose(on_ray, here, rtol=1e-4)


def test_a_ray_that_is_gone_fails_what_is_left_and_says_how_to_go_on(monkeypatch):
    class RayError(Exception):
        pass

    class Queue:
        def __init__(self, **options):
            pass

        def empty(self):
            raise RayError("the raylet died, and a hundred lines more")

    task = types.SimpleNamespace(remote=lambda *arguments: object())
    ray = types.ModuleType("ray")
    ray.exceptions = types.SimpleNamespace(RayError=RayError)
    ray.is_initialized = lambda: True
    ray.nodes = lambda: [{"Alive": True, "Resources": {"CPU": 1}}]
    ray.get_runtime_context = lambda: types.SimpleNamespace(get_node_id=lambda: "0")
    ray.remote = lambda **options: lambda function: task
    ray.wait = lambda results, timeout: ([], results)
    queue, strategies = types.ModuleType("q"), types.ModuleType("s")
    queue.Queue = Queue
    strategies.NodeAffinitySchedulingStrategy = lambda node, soft: None
    names = "ray", "ray.util", "ray.util.queue", "ray.util.scheduling_strategies"
    for name, module in zip(names, (ray, ray, queue, strategies), strict=True):
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(RunsFailed) as error:
        run_all(dict, [{}] * 3, ["a", "b", "c"], runner="ray", workers=2)
    sentence = "Ray is gone (RayError); the same command goes on from the last "
    assert error.value.failures == dict.fromkeys("abc", f"{sentence}checkpoint")


def flat(record):
    """The numbers of a record, without the times."""
    numbers = {f"weights {i}": x for i, x in enumerate(record["weights"])}
    for epoch, logs in enumerate(record["history"]):
        numbers |= {f"{k} {epoch}": x for k, x in logs.items() if k != "seconds"}
    numbers |= {k: x for k, x in record["test"].items() if isinstance(x, float)}
    return numbers
