"""One training on several hosts, with JAX: each has its share of every batch.

Start it on each host, with a folder that all of them see:

    python several_hosts.py --coordinator HOST:PORT --processes 2 --process 0 --folder F
    python several_hosts.py --coordinator HOST:PORT --processes 2 --process 1 --folder F

HOST is the first one's address, PORT one that is free there. Or let Ray start both:

    python several_hosts.py --ray --processes 2 --folder F

The model is that of one process with the same batches, up to rounding. A checkpoint is
written after every epoch. Where a process dies, the others end with a line that says so;
started again, all go on from the checkpoint.
"""

import argparse
import os
import pathlib
import sys
import traceback

ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",  # how CPUs exchange values
}
os.environ.update(ENVIRONMENT)

BATCH_SIZE = 100  # of all hosts together
SEED = 0


def model_and_data():
    """Replace this: a compiled model, and the training images that each host has."""
    import keras

    from echo_keras import autoencoder, data, networks
    from echo_keras.layers import EchoBottleneck
    from echo_keras.losses import Bernoulli

    keras.utils.set_random_seed(SEED)  # every process begins with the same weights
    shape = (28, 28, 1)
    model = autoencoder(
        networks.dense_encoder(shape),
        EchoBottleneck(8, d_max=63),
        networks.dense_decoder(8, shape),
    )
    model.compile(keras.optimizers.Adam(1e-3), loss=Bernoulli())
    return model, data.load("digits").x_train


def shares(images, process, processes, seed=SEED):
    """Batches of one seeded order, and of each the rows of this process."""
    import keras
    import numpy as np

    class Share(keras.utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.begin(0)

        def begin(self, epoch):
            self.order = np.random.default_rng([seed, epoch]).permutation(len(images))

        def __len__(self):
            return len(images) // BATCH_SIZE  # whole batches: equal shares

        def __getitem__(self, i):
            rows = self.order[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]
            x = images[np.array_split(rows, processes)[process]].astype("float32")
            return x, x

    return Share()


def train(coordinator, processes, process, folder, epochs):
    """Trains in this process, beside the others, and goes on from a checkpoint."""
    import jax
    import keras

    if processes > 1:
        keras.distribution.initialize(coordinator, processes, process)
    devices = keras.distribution.list_devices()
    # Each process brings its share itself.
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    )
    model, images = model_and_data()
    folder = pathlib.Path(folder)
    checkpoint, begun = folder / "model.keras", 0
    if checkpoint.exists():
        model = keras.models.load_model(checkpoint)
        batches = len(images) // BATCH_SIZE
        begun = int(keras.ops.convert_to_numpy(model.optimizer.iterations)) // batches
        print(f"{checkpoint}: going on after epoch {begun}", flush=True)
    data = shares(images, process, processes)

    def save(epoch, logs):
        # All of them, since JAX has all do the same with what they share; one file
        # stays.
        folder.mkdir(parents=True, exist_ok=True)
        own = folder / f"writing-{process}.keras"
        model.jax_state_sync()
        model.save(own)
        if process == 0:
            os.replace(own, checkpoint)
            print(f"epoch {epoch + 1}: {logs}", flush=True)
        else:
            own.unlink()

    every_epoch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: data.begin(epoch), on_epoch_end=save
    )
    try:
        model.fit(
            data,
            epochs=epochs,
            initial_epoch=begun,
            shuffle=False,
            verbose=0,
            callbacks=[every_epoch],
        )
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        print(
            f"Another process of this training has ended, and it cannot go on without "
            f"it ({reason}). Start all {processes} again: they go on from {checkpoint}.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)  # an orderly end would wait for the one that is gone


def train_by_ray(processes, folder, epochs):
    """The same, started by Ray on the nodes of its cluster."""
    import socket

    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # A process that ends with its task, so that the others learn of an error too.
    @ray.remote(num_cpus=1, max_retries=0, max_calls=1)
    def work(coordinator, process):
        train(coordinator, processes, process, folder, epochs)

    @ray.remote(num_cpus=0)
    def free_address():
        with socket.socket() as found:
            found.bind(("", 0))
            port = found.getsockname()[1]
        node = ray.get_runtime_context().get_node_id()
        return f"{ray.util.get_node_ip_address()}:{port}", node

    # A running cluster, or else one of this machine.
    ray.init(runtime_env={"env_vars": ENVIRONMENT})
    address, node = ray.get(free_address.remote())
    running = []
    for process in range(processes):
        # Process 0 where its address is, the others on as many nodes as there are.
        where = (
            "SPREAD" if process else NodeAffinitySchedulingStrategy(node, soft=False)
        )
        running.append(work.options(scheduling_strategy=where).remote(address, process))
    reasons = []
    while running:
        done, running = ray.wait(running, timeout=20 if reasons else None)
        if not done:  # those that wait for what has ended
            for task in running:
                ray.cancel(task, force=True)
        for task in done:
            try:
                ray.get(task)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)
                if cause and not reasons:
                    print(error, file=sys.stderr)  # its traceback there
                cause = cause or error
                reasons.append(f"{type(cause).__name__}: {cause}".splitlines()[0])
    if reasons:
        sys.exit(
            f"A process of this training has ended ({reasons[0]}). The same command "
            f"goes on from the last epoch in {folder}."
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coordinator", help="HOST:PORT of process 0")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--folder", required=True, help="seen by all hosts")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    folder = pathlib.Path(options.folder).resolve()
    if options.ray:
        train_by_ray(options.processes, folder, options.epochs)
        return
    number = options.process
    try:
        train(options.coordinator, options.processes, number, folder, options.epochs)
    except Exception:
        traceback.print_exc()
        os._exit(1)  # an orderly end would wait for the others, and they for this one


if __name__ == "__main__":
    main()
