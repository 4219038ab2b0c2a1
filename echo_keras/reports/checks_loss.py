"""Checks of weights, data and loss: what makes other numbers mean something else."""

import math

import keras
import numpy as np
from keras import ops

from echo_keras.losses import Bernoulli, Distortion

from .finding import Finding
from .subject import NotApplicable, Subject

# Layers that hand on what an activation made.
SHAPING = ("Reshape", "Flatten", "Identity", "Cropping2D", "Permute")


def not_finite(subject: Subject) -> Finding | None:
    """NaN or infinity in weights or outputs."""
    bad = [
        weight.path
        for weight in subject.model.weights
        if not np.isfinite(ops.convert_to_numpy(ops.cast(weight, "float32"))).all()
    ]
    rows = 0
    if not bad:
        finite = np.isfinite(subject.outputs).reshape(subject.n, -1).all(axis=1)
        rows = int((~finite).sum())
    if not bad and not rows:
        return None
    what = f"{len(bad)} weights ({', '.join(bad[:3])})" if bad else "no weight"
    return Finding(
        "not_finite",
        "error",
        f"NaN or infinity is in {what}, and in the outputs of {rows} of {subject.n} "
        f"examples."
        if not bad
        else f"NaN or infinity is in {what}.",
        "Train again with a smaller learning rate or clipped gradients (clipnorm of "
        "the optimizer); training.StopOnNaN ends a run where it begins.",
        {"weights": bad, "examples": rows},
    )


def distortion_averaged(subject: Subject) -> Finding | None:
    """A loss that is a mean over values, where the rate is a sum over dimensions."""
    loss = _loss(subject.model)
    if isinstance(loss, Distortion):
        return None
    if not subject.channels:
        raise NotApplicable("the model has no channel, whose rate would be a sum")
    y, output = subject.targets[:8], subject.outputs[:8].astype("float32")
    name = getattr(loss, "name", None) or getattr(loss, "__name__", repr(loss))
    if y.ndim < 2 or y.shape != output.shape:
        raise NotApplicable(
            f"the targets of {name} are not of the shape of the outputs"
        )
    axes = range(1, y.ndim)
    if "categorical" in str(name):
        axes = axes[:-1]  # classes, over which it sums
    one = _value(loss, y, output)
    if not math.isfinite(one) or abs(one) < 1e-12:
        raise NotApplicable(f"{name} of eight examples is {one}")
    averaged = []
    for axis in axes:
        # Twice the same values: a sum doubles, a mean stays.
        twice = _value(loss, *(np.concatenate([a, a], axis) for a in (y, output)))
        if twice / one < 1.5:
            averaged.append(axis)
    factor = math.prod(y.shape[axis] for axis in averaged)
    if factor == 1:
        return None
    return Finding(
        "distortion_averaged",
        "error",
        f"The loss {name} is a mean over {factor} values of an example, where the rate "
        f"is a sum: the model is trained as if beta were {factor} times what it is set "
        f"to.",
        "Compile with a loss of echo_keras.losses, such as Bernoulli() or Gaussian(), "
        f"or multiply this one by {factor}.",
        {"loss": str(name), "values": factor, "axes": averaged},
    )


def pixels_out_of_range(subject: Subject) -> Finding | None:
    """Targets that the loss is no loss of, or pixels from 0 to 255."""
    loss, y = _loss(subject.model), subject.targets
    if not np.isfinite(y).any():
        raise NotApplicable("no target is a finite number")
    low, high = float(np.nanmin(y)), float(np.nanmax(y))
    least, most = getattr(loss, "support", (-math.inf, math.inf))
    if _is_cross_entropy(loss):
        least, most = 0.0, 1.0
    share = float(((y < least) | (y > most)).mean())
    numbers = {"lowest": low, "highest": high, "share": share}
    divide = (
        "Divide pixels by 255." if high > 1 and low >= 0 else "Scale the data to it."
    )
    if share:
        return Finding(
            "pixels_out_of_range",
            "error",
            f"{share:.1%} of the values are outside of [{least:g}, {most:g}], what "
            f"{type(loss).__name__} is a loss of: they go from {low:g} to {high:g}.",
            divide,
            numbers,
        )
    bytes_of_images = y.ndim == 4 and low >= 0 and 2 < high <= 255
    if bytes_of_images and np.array_equal(y, np.round(y)):
        return Finding(
            "pixels_out_of_range",
            "warning",
            f"The pixels are whole numbers from {low:g} to {high:g}: at this scale a "
            f"squared error is 65,025 times what it is in [0, 1].",
            divide,
            numbers,
        )
    return None


def logits_for_probabilities(subject: Subject) -> Finding | None:
    """Probabilities where the loss takes logits, or logits where it takes those."""
    loss = _loss(subject.model)
    if isinstance(loss, Bernoulli):
        from_logits = True
    elif _is_cross_entropy(loss):
        from_logits = bool(getattr(loss, "from_logits", False))
    else:
        raise NotApplicable("the loss takes neither logits nor probabilities")
    low, high = float(subject.outputs.min()), float(subject.outputs.max())
    inside = 0.0 <= low and high <= 1.0
    numbers = {"lowest": low, "highest": high}
    found = f"All outputs lie in [0, 1], from {low:.3g} to {high:.3g}"
    if not from_logits and not inside:
        return Finding(
            "logits_for_probabilities",
            "error",
            f"The outputs go from {low:.3g} to {high:.3g}, and {type(loss).__name__} "
            f"takes probabilities: what is beyond [0, 1] is cut off without a "
            f"gradient.",
            "Compile with a loss from logits: echo_keras.losses.Bernoulli(), or "
            "Keras's with from_logits=True.",
            numbers,
        )
    if not from_logits or not inside:
        return None
    activation = _last_activation(subject.model)
    if activation in ("sigmoid", "softmax", "hard_sigmoid"):
        why = f"they come from a {activation}"
    elif (gain := _gain_as_probabilities(subject)) > 0:
        why = f"as probabilities they would have {gain:.4g} nats less per example"
        numbers["gain"] = gain
    else:
        return None
    return Finding(
        "logits_for_probabilities",
        "error",
        f"{found}, and {type(loss).__name__} takes logits: {why}. No pixel can get a "
        f"probability outside of [0.50, 0.73].",
        "Take the last activation away: the loss applies the sigmoid itself.",
        numbers,
    )


def _gain_as_probabilities(subject):
    """By how much the targets are likelier if outputs are probabilities; 0 if not."""
    y, output = subject.targets, subject.outputs
    if y.shape != output.shape or y.min() < 0 or y.max() > 1:
        return 0.0
    p = np.clip(output, 1e-7, 1 - 1e-7)
    as_probabilities = -(y * np.log(p) + (1 - y) * np.log1p(-p))
    as_logits = np.logaddexp(0, output) - y * output
    gain = (as_logits - as_probabilities).reshape(len(y), -1).sum(axis=1)
    clear = gain.mean() > 3 * gain.std() / math.sqrt(len(gain))
    return float(gain.mean()) if clear else 0.0


def _last_activation(model):
    """The name of the function that makes the outputs, as far as layers tell."""
    layer = model
    while True:
        inner = getattr(layer, "layers", None)
        if inner:
            tensor = getattr(layer, "outputs", [None])[0]
            history = getattr(tensor, "_keras_history", None)
            layer = history.operation if history is not None else inner[-1]
        elif type(layer).__name__ in SHAPING:
            tensor = layer.input
            layer = tensor._keras_history.operation
        else:
            break
    return getattr(getattr(layer, "activation", None), "__name__", None)


def _loss(model):
    """The loss a model is compiled with, as an object or function."""
    loss = model.loss
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if not callable(loss):
        raise NotApplicable("the model is not compiled with one loss")
    return loss


def _is_cross_entropy(loss):
    name = getattr(loss, "__name__", type(loss).__name__).lower().replace("_", "")
    return "binary" in name and "crossentropy" in name


def _value(loss, y, output):
    """The loss of a batch as Keras computes it: a mean of what a function gives."""
    given = ops.convert_to_tensor(y.astype("float32"))
    return float(ops.mean(loss(given, ops.convert_to_tensor(output))))
