"""Marginals that are made of a flow."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from . import arguments
from .autoregressive import MAFBlock
from .flow import Flow
from .marginals import DENSITY, Marginal, StandardNormal
from .symbolic import symbolic
from .typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class FlowMarginal(Marginal):
    """Learned marginal: a base distribution carried through a flow.

    `log m(z) = log b(w) + log |det dw/dz|` with w the image of z under the
    flow's `inverse`. It has no closed-form divergence from a Gaussian, so a channel
    falls back on the one-sample Monte Carlo rate. With an untrained flow, which is
    the identity, the marginal is its base.

    Args:
        flow: A `Flow` without a context: `transform` maps w to z, `inverse` z to w.
        base: Layer with `log_prob(w)` -> (batch,) and `sample(n)`; the standard normal
            if None.
        seed: Int or None, for the default base's samples.

    Inputs:
        z, shape (batch, d). Calling the layer gives `log_prob(z)`.

    Raises:
        ValueError: the code is not one-dimensional, or the flow was built for another
            shape.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import Scale
    >>> flow = Scale()
    >>> flow.adapt(np.array([[-3.0], [3.0]]))
    >>> marginal = FlowMarginal(flow)
    >>> log_m = marginal(np.zeros((1, 1)))  # of N(0, 3^2): -log 3 - 1/2 log 2 pi
    >>> print(ops.convert_to_numpy(log_m).round(3), tuple(marginal.sample(7).shape))
    [-2.018] (7, 1)

    References:
        VCAE paper, Sec. 4, Eq. 8.
    """

    def __init__(
        self,
        flow: Flow,
        base: keras.layers.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.flow = arguments.layer("flow", flow, kind=Flow)
        base = arguments.layer("base", base, DENSITY, optional=True)
        if base is None:
            # Not in half precision: the flow carries each sample's digits on.
            base = StandardNormal(seed=seed, dtype="float32")
        self.base = base

    def build(self, input_shape: Shape) -> None:
        shape = tuple(input_shape)
        if len(shape) != 2 or not isinstance(shape[1], int):
            raise ValueError(
                f"{type(self).__name__} takes codes of shape (batch, d). Received: "
                f"input_shape={input_shape}"
            )
        for layer in (self.flow, self.base):
            if not layer.built:
                layer.build(shape)

    @symbolic
    def log_prob(self, z: Tensor) -> Tensor:
        """log m(z) in nats, (batch, d) -> (batch,)."""
        w, log_det = self.flow.inverse(z)
        return self.base.log_prob(w) + log_det

    def sample(self, n: int) -> Tensor:
        """Draws n codes, (n, d), by `flow.transform`. The layer must be built."""
        self.check_built()
        z, _ = self.flow.transform(self.base.sample(n))
        return ops.cast(z, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "flow": keras.saving.serialize_keras_object(self.flow),
            "base": keras.saving.serialize_keras_object(self.base),
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class MAFMarginal(FlowMarginal):
    """Learned marginal: a base distribution carried through a `MAFBlock`.

    A `FlowMarginal` that makes its own flow: `log m(z) = log b(u) + log |det du/dz|`
    with u the image of z under the flow's parallel inverse. Drawing a code takes d
    passes per step.

    Args:
        steps, hidden, mean_only, permutation, activation: As for `IAFBlock`.
        base: Layer with `log_prob(u)` -> (batch,) and `sample(n)`; the standard normal
            if None.
        seed: Int or None, for the flow's random orders and for the default base's
            samples.

    Inputs:
        z, shape (batch, d). Calling the layer gives `log_prob(z)`.

    Raises:
        ValueError: the code is not one-dimensional, or as for `IAFBlock`.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import GaussianSample
    >>> marginal = MAFMarginal(steps=2, hidden=(8, 8))
    >>> channel = GaussianSample(marginal)
    >>> z = channel([np.ones((5, 2)), np.zeros((5, 2))])
    >>> tuple(marginal.log_prob(z).shape), tuple(marginal.sample(7).shape)
    ((5,), (7, 2))

    References:
        Papamakarios et al. 2017. Echo paper, Table 1 (VAE-MAF) and App. E; Fixing a
        Broken ELBO, App. F.
    """

    def __init__(
        self,
        steps: int = 4,
        hidden: Sequence[int] = (640, 640, 640),
        mean_only: bool = True,
        permutation: str = "reverse",
        activation: str | Callable = "relu",
        base: keras.layers.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        flow = MAFBlock(
            steps=steps,
            hidden=hidden,
            mean_only=mean_only,
            permutation=permutation,
            activation=activation,
            seed=seed,
            name="flow",
        )
        super().__init__(flow, base=base, seed=seed, **kwargs)

    @property
    def effective_params(self) -> int:
        """The number of the flow's weights that matter; see `IAFBlock`."""
        return self.flow.effective_params

    def get_config(self) -> dict[str, Any]:
        flow = self.flow.get_config()  # whose seed is the one its orders came from
        for key in ("name", "trainable", "dtype"):
            del flow[key]
        config = super().get_config()
        del config["flow"]
        return {**config, **flow}
