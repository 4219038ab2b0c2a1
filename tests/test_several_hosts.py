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
# The script with a small model, in which process 1 dies in epoch DIES.
DRIVER = """
import os, signal, sys
sys.path.insert(0, {examples!r})
import several_hosts

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

shares = several_hosts.shares
def dying_shares(images, process, processes):
    data = shares(images, process, processes)
    begin = data.begin
    def begin_or_die(epoch):
        if process == 1 and epoch == int(os.environ.get("DIES", -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        begin(epoch)
    data.begin = begin_or_die
    return data

several_hosts.BATCH_SIZE = 32
several_hosts.model_and_data = model_and_data
several_hosts.shares = dying_shares
several_hosts.main()
"""


def start(repository, folder, *options, **environment):
    code = DRIVER.format(examples=str(repository / "examples"))
    return subprocess.Popen(
        [sys.executable, "-c", code, "--folder", folder, "--epochs=3", *options],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def together(repository, folder, **environment):
    """Exit codes and what is said of two processes that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = [f"--coordinator={address}", "--processes=2"]
    both = [
        start(repository, folder, *shared, f"--process={i}", **environment)
        for i in range(2)
    ]
    said = ["".join(p.communicate(timeout=400)) for p in both]
    return [p.returncode for p in both], said


def test_two_processes_train_the_model_of_one_and_survive_a_kill(repository, tmp_path):
    alone = start(repository, tmp_path / "one")
    codes, said = together(repository, tmp_path / "two", DIES="1")
    assert codes == [1, -9], said
    assert "Another process of this training has ended" in said[0]
    assert "Start all 2 again" in said[0]
    codes, said = together(repository, tmp_path / "two")
    assert codes == [0, 0], said
    assert "going on after epoch 1" in said[0]
    said = alone.communicate(timeout=400)
    assert alone.returncode == 0, said
    assert [p.name for p in (tmp_path / "two").iterdir()] == ["model.keras"]
    one, two = (
        keras.models.load_model(tmp_path / name / "model.keras")
        for name in ("one", "two")
    )
    for a, b in zip(one.variables, two.variables, strict=True):
        np.testing.assert_allclose(array(a), array(b), rtol=1e-4, atol=1e-5)
    assert array(one.get_layer("echo_bottleneck").channel.bank_rows) == 288
