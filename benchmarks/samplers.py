"""Time and memory of the three samplings of `EchoSample` as the batch grows.

    python benchmarks/samplers.py
    python benchmarks/samplers.py --d_max=99
    KERAS_BACKEND=jax python benchmarks/samplers.py --batches=100,512

Measured is a call in training and the gradients of sum(z w) with respect to f and
log s, compiled (by tf.function or jax.jit; eager on PyTorch). For small batches
several calls, each a step along the gradients, are compiled into one function, as a
layer is part of a training step: to enter a compiled function from Python and to
fetch its result takes 0.2 ms, and that is not the sampler's. Prints for each batch:

- ms per call and its ratio to cyclic, median (min to max), the samplings in turn
  in one process;
- peak memory of a call beyond what the process held before, on the CPU, each in a
  process of its own;

and then how the memory of cyclic grows with the batch at a fixed `slope_d_max`, as
the slope of log memory over log batch.

Expected: cyclic is far cheaper. It takes O(B d log d_max), the others O(B d d_max),
which is O(B^2 d) at the default d_max = B - 1 and less of a difference at
--d_max=99. The slope is 1, linear. Batches whose arrays would not fit in --max_gib
are skipped, and the table says so.
"""

import contextlib
import json
import pathlib
import resource
import sys

import numpy as np
import timing
from absl import app, flags

SAMPLINGS = ("cyclic", "without_replacement", "with_replacement")

FLAGS = flags.FLAGS
flags.DEFINE_list("batches", "100,512,1024,2048,4096", "Sizes of the batch.")
flags.DEFINE_integer("d_max", 0, "Echoes that are summed; 0: batch - 1, all others.")
flags.DEFINE_bool("xla", False, "Compile with XLA on TensorFlow, as GPUs do.")
flags.DEFINE_integer("latent_dim", 32, "Latent dimensions.", lower_bound=1)
flags.DEFINE_integer("repeats", 7, "Timings of each sampling.", lower_bound=1)
flags.DEFINE_integer("rows", 1000, "Compile calls on this many rows into one.")
flags.DEFINE_float("max_gib", 8.0, "Skip what is estimated to need more memory.")
flags.DEFINE_list(
    "slope_batches",
    "8192,16384,32768,65536",
    "Batches for the slope: large, since a process's memory is known to about a MiB.",
)
flags.DEFINE_integer("slope_d_max", 99, "d_max for the slope.", lower_bound=1)
flags.DEFINE_string("child", "", "For the script's own use: a measurement, as JSON.")


def compiled_steps(sampling, batch, d_max, calls):
    """A function that takes `calls` steps along the gradients and waits for them."""
    import keras
    from keras import ops

    from echo_keras.layers import EchoSample

    # The smallest bank there may be: it costs the same whatever the sampling.
    layer = EchoSample(d_max, sampling=sampling, bank_size=d_max + 1, seed=0)
    shape = (batch, FLAGS.latent_dim)
    layer.build([shape, shape])
    rng = np.random.default_rng(0)
    f, log_s, w = (
        ops.convert_to_tensor(x.astype("float32"))
        for x in (
            rng.uniform(-0.9, 0.9, shape),
            rng.uniform(-1.5, -0.1, shape),
            rng.standard_normal(shape),
        )
    )

    def descend(inputs, gradients):
        return [x - 1e-4 * g for x, g in zip(inputs, gradients, strict=True)]

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=FLAGS.xla)
        def steps(f, log_s):
            for _ in range(calls):
                with tf.GradientTape() as tape:
                    tape.watch([f, log_s])
                    loss = ops.sum(layer([f, log_s], training=True) * w)
                f, log_s = descend([f, log_s], tape.gradient(loss, [f, log_s]))
            return f, log_s

        compiled = steps.get_concrete_function(f, log_s)
        return lambda: [x.numpy() for x in compiled(f, log_s)]

    if keras.backend.backend() == "jax":
        import jax

        def loss(f, log_s, state):
            z, state = layer.stateless_call([], state, [f, log_s], training=True)
            return ops.sum(z * w), state

        def steps(f, log_s, state):
            for _ in range(calls):
                gradients, state = jax.grad(loss, (0, 1), has_aux=True)(f, log_s, state)
                f, log_s = descend([f, log_s], gradients)
            return f, log_s, state

        state = [variable.value for variable in layer.non_trainable_variables]
        compiled = jax.jit(steps).lower(f, log_s, state).compile()
        return lambda: jax.block_until_ready(compiled(f, log_s, state))

    import torch

    def steps():
        inputs = [f, log_s]
        for _ in range(calls):
            inputs = [x.detach().requires_grad_() for x in inputs]
            loss = ops.sum(layer(inputs, training=True) * w)
            inputs = descend(inputs, torch.autograd.grad(loss, inputs))
        return [x.cpu() for x in inputs]

    return steps


def peak_mib():
    """The most memory this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measure(samplings, batch, d_max, what):
    """Seconds (repeats, samplings), or MiB of one call of one sampling."""
    if what == "time":
        calls = max(1, FLAGS.rows // batch)
        steps = [compiled_steps(s, batch, d_max, calls) for s in samplings]
        return (timing.in_turn(steps, FLAGS.repeats) / calls).tolist()
    # Thread pools and kernels that a first call sets up are none of the sampling's.
    compiled_steps(samplings[0], 8, 7, 1)()
    step = compiled_steps(samplings[0], batch, d_max, 1)
    # Compiling may have needed more than the call will: on Linux, forget that peak.
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = peak_mib()
    step()
    return peak_mib() - before


def in_child(samplings, batch, d_max, what):
    # This process imports no framework: a child's peak starts from its parent's.
    request = f"--child={json.dumps([samplings, batch, d_max, what])}"
    if what == "time":
        return timing.child(request)
    return timing.child(
        request,
        CUDA_VISIBLE_DEVICES="-1",
        JAX_PLATFORMS="cpu",
        # glibc gives freed arrays back at once, so that the peak is what was alive.
        MALLOC_MMAP_THRESHOLD_="65536",
    )


def rows_for(batch):
    d_max = FLAGS.d_max or batch - 1
    # About eight float32 arrays (B, d_max, d) live at once; cyclic has none of them.
    need = 8 * 4 * batch * d_max * FLAGS.latent_dim / 2**30
    fitting = SAMPLINGS if need <= FLAGS.max_gib else SAMPLINGS[:1]
    seconds = np.array(in_child(fitting, batch, d_max, "time"))
    for sampling in SAMPLINGS:
        if sampling in fitting:
            own = seconds[:, fitting.index(sampling)]
            memory = in_child([sampling], batch, d_max, "memory")
            ratio = timing.spread(own / seconds[:, 0], 2)
            cells = [timing.spread(1000 * own, 2), ratio, f"{memory:.1f}"]
        else:
            cells = [f"skipped, about {need:.1f} GiB", "", ""]
        yield [batch, d_max, sampling, *cells]


def main(_):
    if FLAGS.child:
        print(json.dumps(measure(*json.loads(FLAGS.child))))
        return
    rows = [row for batch in map(int, FLAGS.batches) for row in rows_for(batch)]
    header = ["batch", "d_max", "sampling", "ms per call", "ratio to cyclic"]
    timing.table([*header, "peak memory, MiB"], rows)

    batches = [int(batch) for batch in FLAGS.slope_batches]
    if len(batches) > 1:
        d_max = FLAGS.slope_d_max
        memory = [in_child(["cyclic"], batch, d_max, "memory") for batch in batches]
        timing.table(
            [f"cyclic, d_max = {d_max}: batch", "peak memory, MiB"],
            [[b, f"{m:.1f}"] for b, m in zip(batches, memory, strict=True)],
        )
        if min(memory) > 0:
            slope = np.polyfit(np.log(batches), np.log(memory), 1)[0]
            print(f"slope of log memory over log batch: {slope:.2f}")
        else:
            print("no slope: the smallest batch is below what can be measured")


if __name__ == "__main__":
    app.run(main)
