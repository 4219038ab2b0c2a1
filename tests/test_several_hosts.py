"""examples/several_hosts.py on two processes of this machine: JAX alone."""

import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
from tools import BACKEND, array

pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution is JAX's"),
]
# What takes the place of the script's own: a small model, of which process 1 ends in
# epoch 1 by `FAULT`.
SMALL = """
def model_and_data():
    import keras, numpy as np
    from echo_keras import autoencoder, networks
    from echo_keras.layers import EchoBottleneck, TargetRate
    from echo_keras.losses import SquaredError
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    channel = EchoBottleneck(2, d_max=15, beta=TargetRate(3.0))
    decoder = networks.dense_decoder(2, (8,), (4,))
    model = autoencoder(encoder, channel, decoder)
    model.compile(keras.optimizers.SGD(1e-3), loss=SquaredError())
    return model, np.random.default_rng(0).normal(size=(96, 8))

BATCH_SIZE = 32
sound_shares = shares

def shares(images, process, processes):
    import os, signal
    data = sound_shares(images, process, processes)
    begin = data.begin
    def begin_or_end(epoch):
        if process == 1 and epoch == 1:
            FAULT
        begin(epoch)
    data.begin = begin_or_end
    return data

"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
ERROR = 'raise ValueError("no such image")'


def start(repository, folder, *options, fault="pass", **environment):
    text = (repository / "examples" / "several_hosts.py").read_text()
    script = folder.with_name("script.py")
    main = 'if __name__ == "__main__":'
    script.write_text(text.replace(main, SMALL.replace("FAULT", fault) + main))
    return subprocess.Popen(
        [sys.executable, script, "--folder", folder, "--epochs=3", *options],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends(*processes):
    """Exit codes, and what each process said."""
    said = ["".join(p.communicate(timeout=400)) for p in processes]
    return [p.returncode for p in processes], said


def together(repository, folder, **settings):
    """How two processes end that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = [f"--coordinator={address}", "--processes=2"]
    return ends(
        *(
            start(repository, folder, *shared, f"--process={i}", **settings)
            for i in range(2)
        )
    )


@pytest.fixture(scope="module")
def alone(repository, tmp_path_factory):
    """The variables of the model that one process trains, and its bank's rows."""
    folder = tmp_path_factory.mktemp("hosts") / "one"
    codes, said = ends(start(repository, folder))
    assert codes == [0], said
    return trained(folder)


def trained(folder):
    assert [p.name for p in folder.iterdir()] == ["model.keras"]
    model = keras.models.load_model(folder / "model.keras")
    assert array(model.get_layer("echo_bottleneck").channel.bank_rows) == 288
    return [array(v) for v in model.variables]


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_two_processes_train_the_model_of_one_and_survive_a_kill(
    alone, repository, tmp_path
):
    folder = tmp_path / "two"
    codes, said = together(repository, folder, fault=KILL)
    assert codes == [1, -9], said
    assert "Another process of this training has ended" in said[0]
    assert "Start all 2 again" in said[0]
    # An error of one does not leave the other waiting, nor itself.
    codes, said = together(repository, folder, fault=ERROR)
    assert codes == [1, 1], said
    assert "Another process of this training has ended" in said[0]
    assert "ValueError: no such image" in said[1]
    codes, said = together(repository, folder)
    assert codes == [0, 0], said
    assert "going on after epoch 1" in said[0]
    assert_same(trained(folder), alone)


@pytest.fixture(scope="module")
def cluster():
    """Address of a real cluster on this machine: two nodes with one CPU each."""
    pytest.importorskip("ray", reason="Ray is not installed")
    # Not in this process, which JAX forbids to fork.
    code = """
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
try:
    input()
finally:
    cluster.shutdown()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate("\n", timeout=100)


def test_ray_starts_both_and_says_how_to_go_on(alone, cluster, repository, tmp_path):
    folder = tmp_path / "ray"

    def by_ray(fault):
        options = ["--ray", "--processes=2"]
        settings = {"fault": fault, "RAY_ADDRESS": cluster}
        (code,), (said,) = ends(start(repository, folder, *options, **settings))
        return code, said

    code, said = by_ray(KILL)
    assert code == 1, said
    assert "Another process of this training has ended" in said  # by process 0
    last = [line for line in said.splitlines() if line.startswith("A process of")]
    assert len(last) == 1 and last[0].endswith(
        f"The same command goes on from the last epoch in {folder}."
    )
    code, said = by_ray("pass")
    assert code == 0, said
    assert "going on after epoch 1" in said
    assert_same(trained(folder), alone)
