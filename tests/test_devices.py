"""One training on two devices: the model of one, and noise of the same law."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from tools import BACKEND

pytestmark = pytest.mark.core

# Trains every kind on COUNT devices; then its noise at one input on either device.
SCRIPT = """
import os, sys
import numpy as np
backend = os.environ["KERAS_BACKEND"]
count, rank, address, out = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:5]
if backend == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    strategy = tf.distribute.get_strategy()
    if count == 2:
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
if backend == "torch":
    import torch, torch.distributed as dist
    if count == 2:
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
import keras
from keras import ops
from echo_keras import autoencoder, networks
from echo_keras.layers import *
from echo_keras.losses import SquaredError

if backend == "jax" and count == 2:
    devices = keras.distribution.list_devices()
    assert len(devices) == 2
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False))

KINDS = {
    "echo": lambda: [EchoBottleneck(2, d_max=15)],
    "standardized": lambda: [
        EchoBottleneck(2, "standardized", d_max=15, beta=TargetRate(3.0)),
        VariancePenalty(2.0)],
    "quantized": lambda: [
        QuantizedBottleneck(4, codewords=6, groups=2, dead_code_threshold=2)],
    "matched": lambda: [
        DeterministicBottleneck(4), MMDPenalty(50.0, estimator="unbiased"),
        TotalCorrelationPenalty(2.0, dense_discriminator((4,))), ShuffledCodes(2)],
}
# Of each device's share.
OWN = ("last_rate", "seed_generator_state", "last_discriminator_loss",
       "total_correlation_penalty/last_value")
x = np.random.RandomState(0).normal(size=(64, 8)).astype("float32")

def build(kind):
    keras.utils.set_random_seed(0)
    bottleneck, *penalties = KINDS[kind]()
    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6)])
    model = autoencoder(
        encoder, bottleneck, lambda d: networks.dense_decoder(d, (8,), (4,)), penalties)
    model.compile(keras.optimizers.SGD(1e-3), loss=SquaredError())
    return model

def train_by_torch(model):
    net = model
    if count == 2:
        net = torch.nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    free = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(free, 1e-3)
    for i in (0, 32):
        part = torch.tensor(np.split(x[i : i + 32], count)[rank])
        optimizer.zero_grad()
        loss = model.loss(part, net(part, training=True)) + sum(model.losses)
        loss.backward()
        optimizer.step()

found = {}
for kind in KINDS:
    keras.utils.clear_session(free_memory=False)  # names of layers begin anew
    if backend == "tensorflow":
        with strategy.scope():
            model = build(kind)
    else:
        model = build(kind)
    if backend == "torch":
        train_by_torch(model)
    else:
        log = model.fit(x, x, batch_size=32, shuffle=False, verbose=0).history
        found[f"{kind} log"] = [log[name][0] for name in sorted(log)]
    for v in model.variables:
        if not v.path.endswith(OWN):
            found[f"{kind} {v.path}"] = ops.convert_to_numpy(v)
            if backend == "tensorflow" and count == 2:
                for copy in strategy.experimental_local_results(v.value):
                    assert np.allclose(copy, found[f"{kind} {v.path}"], atol=1e-6)

class Noise(keras.layers.Layer):
    # Noise of a trained batch of n equal halves, so that both devices see one law.
    def __init__(self, channel):
        super().__init__()
        self.channel = channel
    def call(self, inputs, training=True):
        return self.channel(inputs, training=True)

n = 2000
half = np.random.RandomState(1).uniform(-1, 1, (n // 2, 1)).astype("float32")
f = np.concatenate([half, half])
log_s = np.full((n, 1), -0.5, "float32")
seed = count  # the ring of a synchronized Echo would be the same
channels = {
    "echo": lambda: EchoSample(d_max=15, seed=seed),
    "alone": lambda: EchoSample(d_max=15, seed=seed, synchronized=False),
    "gaussian": lambda: GaussianSample(seed=seed),
}
for name, make in channels.items():
    channel = make()
    if backend == "tensorflow" and count == 2:
        with strategy.scope():
            channel = make()
            channel.build([(None, 1), (None, 1)])
        halves = strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(np.split(f, 2)[c.replica_id_in_sync_group]))
        step = tf.function(lambda h: channel([h, -0.5 + 0 * h], training=True))
        z = strategy.experimental_local_results(strategy.run(step, (halves,)))
        z = np.concatenate(z)
    elif backend == "jax" and count == 2:
        a, b = (keras.Input(batch_shape=(n, 1)) for _ in range(2))
        model = keras.Model([a, b], Noise(channel)([a, b]))
        z = model.predict([f, log_s], batch_size=n, verbose=0)
    elif backend == "torch" and count == 2:
        rows = slice(rank * n // 2, (rank + 1) * n // 2)
        z = channel([f[rows], log_s[rows]], training=True).detach().numpy()
    else:
        z = ops.convert_to_numpy(channel([f, log_s], training=True))
    found[f"noise {name}"] = z[:, 0] - f[: len(z), 0]
np.savez(out, **found)
if backend == "torch" and count == 2:
    dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one device, and each process of two, ends with."""
    folder = tmp_path_factory.mktemp("devices")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    processes = {"one": (1, 0), "first": (2, 0)}
    if BACKEND == "torch":
        processes["second"] = (2, 1)
    flags = "--xla_force_host_platform_device_count=2"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT]
            + [str(count), str(rank), address, str(folder / f"{name}.npz")],
            env={**os.environ, "KERAS_BACKEND": BACKEND, "XLA_FLAGS": flags},
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, (count, rank) in processes.items()
    ]
    for process in running:
        _, errors = process.communicate(timeout=400)
        assert process.returncode == 0, errors
    return {name: dict(np.load(folder / f"{name}.npz")) for name in processes}


@pytest.mark.parametrize("kind", ["echo", "standardized", "quantized", "matched"])
def test_two_devices_train_the_model_of_one(kind, found):
    one, *others = found.values()
    names = [name for name in one if name.startswith(f"{kind} ")]
    assert len(names) > 8
    for other in others:
        for name in names:
            np.testing.assert_allclose(
                other[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name
            )


@pytest.mark.parametrize("channel", ["echo", "alone", "gaussian"])
def test_noise_has_one_law_and_differs_by_device(channel, found):
    one, *others = (run[f"noise {channel}"] for run in found.values())
    two = np.concatenate(others)
    assert len(one) == len(two) == 2000
    # Neighbours on a ring share echoes, so that p is smaller than of free draws.
    assert stats.ks_2samp(one, two).pvalue > 1e-3
    first, second = np.split(two, 2)
    assert stats.ks_2samp(first, second).pvalue > 1e-3
    # Keras's own generator draws the same on every replica.
    assert np.abs(np.corrcoef(first, second)[0, 1]) < 0.15
