"""The entropy of the data as a target for the -ELBO, against overfitting."""

from typing import Any

import keras
from keras import ops

from echo_keras.layers import arguments
from echo_keras.layers.backend import replicas_in_sync
from echo_keras.layers.typing import Tensor

from ..model import RateDistortionModel


@keras.saving.register_keras_serializable(package="echo_keras")
class EntropyTargetModel(RateDistortionModel):
    """A model whose -ELBO is held at the entropy of the data: `H + |D + R - H|`.

    No density has a cross entropy below H in the data's law. Below H on a finite
    sample, it knows the sample's accidents. Fixing a Broken ELBO, App. C.1, wants a
    target for S, `KL[p^(x) || q(x)]` of the n training images: `H - log n`, which is
    what the law itself has there. The entropy of the sample is log n, so that the
    target is H for the cross entropy `C = -E log q(x)` of training images.

    The paper writes no objective down. This is the one that follows for the model's own
    density: its C is at most `D + R`, which training computes, and the distance from
    the target is added as in `TargetRateL1`. While D + R is above H the gradient is the
    ELBO's; below, it has the other sign. D + R is the mean of a batch. With beta 1 and
    no penalties D + R is the loss; otherwise the whole loss is held at H instead.

    H must be known, or bounded from below: the lowest -ELBO of held-out images is an
    upper bound, and stops training too early by what that model lacks.

    Sample weights, (batch,), weigh D + R and H of an example alike. Keras's
    `clone_model` calls a model without arguments of its own: a copy is
    `EntropyTargetModel.from_config(model.get_config())`.

    Args:
        inputs, outputs: As for `keras.Model`.
        entropy: Number, H of the data, nats per example.

    Raises:
        ValueError: entropy is no finite number; in training, sample weights of the
            data's shape.

    Example:

    >>> import numpy as np
    >>> from echo_keras import losses, objectives
    >>> plain = objectives.vae(encoder, decoder, 2)
    >>> model = EntropyTargetModel(plain.inputs, plain.outputs, entropy=10.0)
    >>> model.compile("adam", loss=losses.Bernoulli())
    >>> log = model.evaluate(np.ones((4, 8)), verbose=0, return_dict=True)
    >>> bool(abs(log["loss"] - (10 + abs(log["neg_elbo"] - 10))) < 1e-5)
    True

    References:
        Fixing a Broken ELBO, App. C.1, Eq. 14 and 16; Ishida et al., Do We Need Zero
        Training Loss After Achieving Zero Training Error? (2020), of classifiers.
    """

    def __init__(self, *args: Any, entropy: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entropy = arguments.number("entropy", entropy)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        n = replicas_in_sync()
        # D + R of an example counts as often as its weight says, and so does H.
        weight = 1.0 if sample_weight is None else ops.mean(sample_weight)
        entropy = self.entropy * ops.cast(weight, loss.dtype)
        return (entropy + ops.abs(loss * n - entropy)) / n

    def _weighs_whole_examples(self):
        return True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "entropy": self.entropy}
