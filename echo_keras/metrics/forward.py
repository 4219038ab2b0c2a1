"""One compiled pass through a model, with the rates and the distortion per example."""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops, tree

from echo_keras.layers import GaussianSample, arguments, collect_draws
from echo_keras.layers.backend import compiled
from echo_keras.layers.typing import Tensor
from echo_keras.model import find_layers, target_of

# For each model, by where echoes come from, whether there is a distortion, and by the
# mode: the loss, which layers were frozen, and the function compiled with both. None
# holds the model, which may be freed.
_functions: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class Forward(NamedTuple):
    """What a pass through a model gives for each example of a batch.

    Attributes:
        output: The model's output.
        rate: The sum of the rates of all channels, (batch,), nats; None without a
            channel.
        log_ratio: The sum over channels of log q(z|x) - log m(z) at the codes that were
            drawn, (batch,), nats; None without a channel, or if one has no density.
        distortion: What the model's loss says, (batch,), nats; None if not asked for.
        capacity: What the channels can carry, summed over their calls, nats, the same
            for each example, (batch,); None unless all have fixed noise below 1.
    """

    output: Any
    rate: Tensor | None
    log_ratio: Tensor | None
    distortion: Tensor | None
    capacity: Tensor | None = None


def forward_pass(
    model: keras.Model,
    echoes_from: str = "bank",
    distortion: bool = True,
    training: bool = False,
) -> Callable[..., Forward]:
    """A function of inputs and targets that runs a model and trains nothing.

    It is compiled once for a model, and again when the model gets another loss or a
    layer is frozen or thawed. The model's weights stay as they are; its noise moves on.

    Args:
        model: Model of one output, compiled with a loss of `echo_keras.losses`.
        echoes_from: "bank" or "batch"; see `echo_keras.layers.collect_draws`.
        distortion: If False the loss is not needed and not computed.
        training: If True the model runs as it does in training, with the statistics of
            the batch and with dropout; else as at inference.

    Returns:
        A function of inputs (batch, ...), an array or a list or dict of arrays, and of
        targets (batch, ...) or None for the inputs, that returns a `Forward`.

    Raises:
        ValueError: the model's loss does not give one number for each example; the
            model has several outputs and a distortion is asked for; in the function,
            there are several inputs and no targets.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.SquaredError())
    >>> found = forward_pass(model)(np.ones((5, 8)))
    >>> tuple(found.rate.shape), tuple(found.distortion.shape)
    ((5,), (5,))
    """
    arguments.layer("model", model, kind=keras.Model)
    loss = model.loss if distortion else None
    if tree.is_nested(loss):
        _refuse_outputs(f"loss={loss!r}")
    if distortion and not isinstance(loss, keras.losses.Loss):
        # The name of a loss, a function, or a model that was not compiled.
        _refuse(loss)
    functions = _functions.setdefault(model, {})
    key = echoes_from, distortion, training
    # What a compiled function cannot see change: `quantize` replaces weights.
    state = [layer.trainable for layer in find_layers(model, keras.layers.Layer)]
    variables = model.variables  # kept, lest others get their identities
    state += map(id, variables)
    known, then, function, _ = functions.get(key, (None, None, None, None))
    if function is None or known() is not loss or then != state:
        function = None
        known = weakref.ref(loss) if distortion else lambda: None

    def run(x: Any, y: Any = None) -> Forward:
        nonlocal function
        x, y = (tree.map_structure(_tensor, a) for a in (x, y))
        if distortion:
            y = target_of(x, y)
        if function is None:
            if not model.built:
                model(x, training=False)
            function = compiled(_traceable(weakref.ref(model), *key), model.variables)
            functions[key] = known, state, function, variables
        return function(x, y)

    return run


def _traceable(model_ref, echoes_from, distortion, training):
    def pass_through(x, y):
        model = model_ref()
        with collect_draws(echoes_from) as draws:
            output = _as_in_training(model, x) if training else model(x, training=False)
        rate = log_ratio = capacity = None
        if draws:
            rates, log_ratios = zip(*draws, strict=True)
            rate = sum(rates)
            log_ratio = None if any(r is None for r in log_ratios) else sum(log_ratios)
            capacity = _capacity(draws.channels, rate)
        if not distortion:
            return Forward(output, rate, log_ratio, None, capacity)
        outputs = tree.flatten(output)  # a list of one, or of several
        if len(outputs) != 1:
            _refuse_outputs(f"{len(outputs)} outputs")
        error = model.loss.call(y, outputs[0])
        if len(error.shape) != 1:
            _refuse(model.loss, error)
        return Forward(output, rate, log_ratio, error, capacity)

    return pass_through


def _capacity(channels, rate):
    """Of all calls together, nats; None if it is not known without data."""
    fixed = [
        c.capacity()
        for c in channels
        if isinstance(c, GaussianSample) and c.dims and (c.noise_variance or 1.0) < 1.0
    ]
    if len(fixed) < len(channels):
        return None
    return ops.full_like(rate, sum(fixed))


def _as_in_training(model, x):
    """The output in training mode; of all state only the noise moves on."""
    state = model.non_trainable_variables
    output, after = model.stateless_call(
        [ops.convert_to_tensor(v) for v in model.trainable_variables],
        [ops.convert_to_tensor(v) for v in state],
        x,
        training=True,
    )
    for variable, value in zip(state, after, strict=True):
        if variable.name == "seed_generator_state":
            variable.assign(value)
    return output


def _refuse(loss, found=None):
    gives = "" if found is None else f", which gives shape {tuple(found.shape)}"
    raise ValueError(
        f"The model's loss must give one number for each example, as those of "
        f"echo_keras.losses do. Received: loss={loss!r}{gives}"
    )


def _refuse_outputs(found):
    raise ValueError(
        f"model must have one output, and one loss, for its rate and distortion to be "
        f"measured; `model.evaluate` takes several. Received: {found}"
    )


def _tensor(x):
    """Numbers as they are if they are integers, else as float32."""
    if x is None:
        return None
    if not ops.is_tensor(x):
        x = np.asarray(x)  # another backend's tensor as well
    dtype = keras.backend.standardize_dtype(x.dtype)
    whole = "int" in dtype and dtype != "uint8"  # 8 bits are pixels
    return ops.convert_to_tensor(x, None if whole else "float32")
