"""The functional model that logs rate and distortion."""

import math
import pathlib
import re
from typing import Any, TypeVar

import keras
import numpy as np
from keras import ops, tree

from echo_keras.layers import Channel, Penalty, TargetDistortion
from echo_keras.layers.backend import replicas_in_sync
from echo_keras.layers.base import example_weights
from echo_keras.layers.bottleneck import Bottleneck
from echo_keras.layers.typing import Tensor

from ._onnx import check_operations
from .losses import Distortion

AnyLayer = TypeVar("AnyLayer", bound=keras.layers.Layer)


def find_layers(model: keras.Model, kind: type[AnyLayer]) -> list[AnyLayer]:
    """All layers of a kind, those inside of nested models and of layers too.

    Example:

    >>> from echo_keras import autoencoder, networks
    >>> from echo_keras.layers import GaussianBottleneck
    >>> parts = networks.dense_encoder((8,)), networks.dense_decoder(2, (8,))
    >>> model = autoencoder(parts[0], GaussianBottleneck(2), parts[1])
    >>> [channel.name for channel in find_layers(model, Channel)]
    ['channel']
    """
    # Keras has no public way to the layers inside of a layer.
    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if isinstance(layer, kind)]


@keras.saving.register_keras_serializable(package="echo_keras")
class RateDistortionModel(keras.Model):
    """A functional Keras model that logs rate, distortion and -ELBO in nats.

    The compiled loss is the distortion `D = -E log p(x|z)`; channels add
    `beta R` and penalties their weighted value by `add_loss`. Keras logs only the
    sum of all these. This model logs them apart, in `fit`, `evaluate` and with the
    prefix `val_`, as means over examples:

    - `distortion`: the compiled loss, summed over outputs if there are several. (Keras
      logs each as "<output>_loss".)
    - `rate`: the sum over all channels, and over the calls of each, without beta. For
      what it says of I(X; Z), see `metrics.evaluate`.
    - `neg_elbo`: rate + distortion, whatever beta is.
    - `beta` of a channel whose beta follows a rule; if there are several, by the name
      of the bottleneck or of the bare channel, "<name>_beta".
    - each `Penalty` under its layer's name, without its weight; and the cross-entropy
      of a penalty's discriminator as "<name>_discriminator_loss".

    So `loss` = `distortion` + beta `rate` for one channel and no penalties. A model
    without a channel has a code without noise, and no finite rate: `rate` and
    `neg_elbo` are then not among its logs. To `ModelCheckpoint`, `EarlyStopping` and
    `ReduceLROnPlateau` smaller is better in all of these but beta. Layers of the
    library train as well under a plain `keras.Model`.

    An autoencoder's target is its input: `fit(x)` and `evaluate(x)` need no y. Sample
    weights, (batch,), weigh distortion, rate and penalties of an example alike; weights
    of the data's shape weigh values within the distortion alone (see `Distortion`). Of
    weights for each of several outputs that which all outputs of an example share
    weighs its rate; where outputs differ, or one has weights of values, they weigh the
    distortion alone.

    Args:
        inputs, outputs: As for `keras.Model`.

    Raises:
        ValueError: in `compile`, for a loss of Keras's own, which averages over pixels
            where a rate is a sum, a weighted one, or a reduction other than the mean
            over examples; in `fit` or `evaluate`, if the model was compiled without a
            loss, if targets are outside of what the loss knows (pixels beyond [0, 1]
            for `Bernoulli`), or if there are several inputs and no y.

    Example:

    >>> import numpy as np, keras
    >>> from echo_keras.layers import EchoBottleneck
    >>> from echo_keras.losses import Bernoulli
    >>> inputs = keras.Input((8,))
    >>> logits = keras.layers.Dense(8)(EchoBottleneck(2)(inputs))
    >>> model = RateDistortionModel(inputs, logits)
    >>> model.compile("adam", loss=Bernoulli())
    >>> log = model.evaluate(np.ones((5, 8)), verbose=0, return_dict=True)
    >>> sorted(log)
    ['distortion', 'loss', 'neg_elbo', 'rate']

    References:
        Echo paper, Eq. 8; Fixing a Broken ELBO, Sec. 2.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.distortion_tracker = keras.metrics.Mean(name="distortion")
        self.rate_tracker = self.neg_elbo_tracker = None
        channels = find_layers(self, Channel)
        if channels:
            self.rate_tracker = keras.metrics.Mean(name="rate")
            self.neg_elbo_tracker = keras.metrics.Mean(name="neg_elbo")
        ruled = [channel for channel in channels if channel.beta_rule]
        # The channels of bottlenecks all have one name.
        owners = {id(owner.channel): owner for owner in find_layers(self, Bottleneck)}
        names = [f"{owners.get(id(c), c).name}_beta" for c in ruled]
        self.beta_trackers = [
            keras.metrics.Mean(name=name if len(ruled) > 1 else "beta")
            for name in names
        ]
        self.penalty_trackers = [
            keras.metrics.Mean(name=name)
            for layer in find_layers(self, Penalty)
            for name in layer.logs
        ]

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        **kwargs: Any,
    ) -> None:
        """As in Keras; the loss must be nats: a sum over the values of an example.

        Args:
            optimizer, loss: As in Keras.
            loss_weights: None or 1. beta weighs the rate against the distortion.

        Raises:
            ValueError: the loss is one of Keras's own, is weighted, or is not reduced
                to its mean over examples.
        """
        for each in tree.flatten(loss):
            _refuse_keras_loss(each)
            _refuse_reduction(each)
        for weight in tree.flatten(loss_weights):
            if weight is not None and not weight == 1:
                raise ValueError(
                    f"loss_weights must be None or 1: the distortion is in nats, "
                    f"against which beta weighs the rate. Received: "
                    f"loss_weights={loss_weights!r}"
                )
        super().compile(optimizer, loss, loss_weights=loss_weights, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model, which Keras leaves to a model's own `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        # JAX trains by `stateless_call`, in which Keras takes each layer for the
        # outermost one, and drops what earlier layers added to the loss when Python
        # gives a new tensor the identity of an old one. A context of the model's own,
        # which `__call__` would open, keeps them.
        self._get_call_context()
        try:
            return super().call(inputs, training=training, mask=mask)
        finally:
            self._maybe_reset_call_context()

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """As in Keras, after a look at the targets; those of `fit(x)` are x.

        Callbacks learn that a smaller rate or error is better.
        """
        self._check_targets(x, y)
        y = _weighted_target(x, y, sample_weight)
        if isinstance(validation_data, (list, tuple)):
            self._check_targets(*validation_data[:2])
            if len(validation_data) == 3:
                valid, target, weights = validation_data
                target = _weighted_target(valid, target, weights)
                validation_data = (valid, target, weights)
        # Keras finds this out for what was compiled, not for a model's own trackers.
        trackers = [self.distortion_tracker, self.rate_tracker, self.neg_elbo_tracker]
        trackers = filter(None, [*trackers, *self.penalty_trackers])
        ours = {tracker.name for tracker in trackers}
        for callback in tree.flatten(getattr(callbacks, "callbacks", callbacks)):
            monitored = getattr(callback, "monitor", "").removeprefix("val_")
            if monitored in ours and callback.mode == "auto":
                callback.mode = "min"
        check = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self._check_distortion(logs["distortion"])
        )
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(check)
        else:
            callbacks = [check, *tree.flatten(callbacks or [])]
        return super().fit(
            x,
            y,
            batch_size,
            epochs,
            verbose,
            callbacks,
            validation_split,
            validation_data,
            shuffle,
            class_weight,
            sample_weight,
            *args,
            **kwargs,
        )

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As in Keras, after a look at the targets; those of `evaluate(x)` are x."""
        self._check_targets(x, y)
        weights = kwargs.get("sample_weight", args[2] if len(args) > 2 else None)
        y = _weighted_target(x, y, weights)
        found = super().evaluate(x, y, *args, **kwargs)
        self._check_distortion(float(self.distortion_tracker.result()))
        return found

    def export(
        self,
        filepath: str | pathlib.Path,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """As in Keras, but an ONNX file is not left behind if no program can run it.

        ONNX has none of the operations that draw noise from a seed. See
        docs/guides/export.md for what to export in place of a noisy model.

        Raises:
            ValueError: format is "onnx" and the model has operations unknown to it.
        """
        super().export(filepath, format, verbose, input_signature, **kwargs)
        if format == "onnx":
            check_operations(filepath)

    def _check_targets(self, x, y=None):
        """Checks arrays. Of batches only the distortion tells, at an epoch's end."""
        losses, targets = tree.flatten(self.loss), tree.flatten(x if y is None else y)
        if len(losses) == len(targets):
            for loss, target in zip(losses, targets, strict=True):
                if isinstance(loss, Distortion) and isinstance(target, np.ndarray):
                    loss.check_data(target)

    def _check_distortion(self, found):
        losses = tree.flatten(self.loss)
        lowest = sum(getattr(loss, "lowest", -math.inf) for loss in losses)
        if found < lowest:
            names = ", ".join(type(loss).__name__ for loss in losses)
            raise ValueError(
                f"The distortion of {names} must be >= {lowest:g}: targets are outside "
                f"of what it is a loss of, as pixels beyond [0, 1] are. Received: "
                f"distortion={found:g}"
            )

    def train_step(self, *args: Any) -> Any:
        *state, data = args
        data, weights = self._with_targets(data)
        with example_weights(weights):
            return super().train_step(*state, data)

    def test_step(self, *args: Any) -> Any:
        *state, data = args
        data, weights = self._with_targets(data)
        with example_weights(weights):
            return super().test_step(*state, data)

    def _with_targets(self, data):
        """A batch with targets, those of an autoencoder if it has none; its weights."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        y = target_of(x, y)
        data = keras.utils.pack_x_y_sample_weight(x, y, weights)
        leaves = tree.flatten(weights)
        of_examples = _weights_of_examples(leaves)
        # Outputs with a weight each are not weighed as the whole that a target is of.
        whole = None if len(leaves) > 1 else of_examples
        if weights is not None and whole is None and self._weighs_whole_examples():
            raise ValueError(
                "sample_weight must have the shape (batch,) for a model with a target "
                "for its distortion or -ELBO, which are those of whole examples, and "
                "the model one output. Received: "
                f"{[None if w is None else tuple(w.shape) for w in leaves]}"
            )
        return data, of_examples

    def _weighs_whole_examples(self):
        return bool(find_layers(self, TargetDistortion))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        if self.loss is None:
            raise ValueError(
                "RateDistortionModel must be compiled with a loss, the distortion, "
                "such as echo_keras.losses.Bernoulli(). Received: loss=None"
            )
        y = target_of(x, y)
        # As Keras does, but for the first term by itself: to subtract the others from
        # the sum would round it to the digits of a large beta times the rate.
        distortion = self._compile_loss(y, y_pred, sample_weight)
        added = [self._aggregate_additional_loss(term) for term in self.losses]
        added = [ops.cast(term, distortion.dtype) for term in added]
        loss = ops.sum([distortion, *added])
        # TensorFlow's strategies scale each term by 1 / replicas; what is logged is
        # per example.
        distortion = distortion * replicas_in_sync()
        logs = [(self.distortion_tracker, distortion)]
        channels = find_layers(self, Channel)
        if self.rate_tracker is not None:
            rate = sum((layer.last_rate.value for layer in channels), 0.0)
            logs.append((self.rate_tracker, rate))
            neg_elbo = ops.cast(rate, distortion.dtype) + distortion
            logs.append((self.neg_elbo_tracker, neg_elbo))
        ruled = [channel.beta.value for channel in channels if channel.beta_rule]
        logs += zip(self.beta_trackers, ruled, strict=True)
        penalties = [
            value
            for layer in find_layers(self, Penalty)
            for value in layer.logs.values()
        ]
        logs += zip(self.penalty_trackers, penalties, strict=True)
        count = ops.cast(ops.shape(tree.flatten(y_pred)[0])[0], "float32")
        for tracker, value in logs:
            tracker.update_state(ops.convert_to_tensor(value), sample_weight=count)
        return loss

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        return super().compute_metrics(x, target_of(x, y), y_pred, sample_weight)


# The loss of this library for one of Keras's.
_INSTEAD = {
    "crossentropy": "Bernoulli() for pixels, CategoricalNLL() for labels",
    "squared": "SquaredError() or Gaussian()",
    "absolute": "Laplace()",
}


def _refuse_keras_loss(loss):
    """Raises a ValueError for a loss that averages over the values of an example."""
    named = keras.losses.get(loss) if isinstance(loss, str) else loss
    kind = named if callable(named) and hasattr(named, "__name__") else type(named)
    if not getattr(kind, "__module__", "").startswith("keras."):
        return
    name = re.sub("[^a-z]", "", getattr(kind, "__name__", str(loss)).lower())
    instead = [loss for word, loss in _INSTEAD.items() if word in name]
    raise ValueError(
        f"loss must be a sum over the values of an example, as rates are, such as "
        f"echo_keras.losses.{(instead or ['Gaussian()'])[0]}; those of Keras are means "
        f"over its last axis. Received: loss={loss!r}"
    )


def _refuse_reduction(loss):
    """Raises a ValueError for a loss that is not the mean over the batch."""
    reduction = getattr(loss, "reduction", "mean")  # of a function Keras takes it
    if reduction not in ("sum_over_batch_size", "mean"):  # which are the same
        raise ValueError(
            f"reduction of the loss must be 'sum_over_batch_size', the mean over "
            f"examples that rates are. Received: reduction={reduction!r} of {loss!r}"
        )


def target_of(x: Any, y: Any) -> Any:
    """y, or the input if there is none: that of an autoencoder."""
    if y is not None:
        return y
    inputs = tree.flatten(x)
    if len(inputs) != 1:
        raise ValueError(
            f"y must be given for a model of several inputs. Received: y=None with "
            f"{len(inputs)} inputs"
        )
    return inputs[0]


def _weights_of_examples(leaves):
    """What weighs rates, (batch,), of the weights of each output; None for 1.

    Keras makes one array into one for each output. An example that has another weight
    for one output than for the next has none for its code, which is that of all.
    """
    shapes = [getattr(w, "shape", None) for w in leaves]  # None has none
    # Weights of the data's shape are the distortion's alone.
    if any(s is None or len(s) != 1 and tuple(s[1:]) != (1,) for s in shapes):
        return None
    first, *others = (ops.reshape(w, (-1,)) for w in leaves)
    for other in others:
        first = ops.where(ops.equal(first, other), first, ops.ones_like(first))
    return first


def _weighted_target(x, y, weights):
    """y, or of weighted arrays the input: Keras drops weights where y is None."""
    if y is None and weights is not None and hasattr(tree.flatten(x)[0], "shape"):
        return target_of(x, y)
    return y
