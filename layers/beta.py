"""What beta may be besides a number: a rule that moves it, or a range of betas."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from . import arguments
from .typing import Tensor


class BetaRule:
    """Base class: a rule that sets beta at each training call.

    A rule has no state of its own. The channel keeps the numbers named in `state` as
    float32 weights, which are saved with the model and which Keras's `fit` carries on
    every backend.

    A subclass gives `initial`, the beta of a channel that has not been trained;
    `state`, a dict of names and initial values; `get_config`; and `update`.
    """

    initial: float = 1.0
    state: dict[str, float] = {}

    def update(
        self, beta: Tensor, rate: Tensor, **state: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The beta of this training call and the state after it.

        Args:
            beta: Scalar tensor, the beta of the call before.
            rate: Scalar tensor, the batch's mean rate in nats per example.
            **state: Scalar tensors, named as in `state`.

        Returns:
            beta, a scalar tensor, and a dict of scalar tensors, the new state.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `update`.")

    def term(self, beta: Tensor, rate: Tensor) -> Tensor:
        """What the channel adds to the loss, a scalar tensor: beta x rate."""
        return beta * rate

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BetaRule":
        return cls(**config)


@keras.saving.register_keras_serializable(package="echo_keras")
class TargetRate(BetaRule):
    """Holds a channel's rate at a target: beta is a Lagrange multiplier, as in GECO.

    To minimise the distortion subject to `R = R^*` is to find the saddle point of
    `D + beta (R - R^*)`. The model descends in its weights; each training call
    ascends in `log beta`, so that beta stays positive:

    `log beta <- log beta + eta clip((R_mean - R*) / R*, -1, 1)`

    where `R_mean` is the moving average of the batches' rates, which starts at
    the target. The deviation is relative, so that one step size eta serves all
    targets, and clipped, so that a rate that starts far too high moves beta by no
    more than the factor `e^eta` a call. beta is confined to [low, high]: a target
    that stays out of reach does not drive it to 0 or infinity, from where it would
    take as long to return. A batch whose rate is not finite changes nothing.

    The loss of a call uses the beta that this call has set. The rate settles
    smoothly where the step size is small beside one over the number of steps in
    which the model follows a change of beta; with a larger one it swings about the
    target.

    Args:
        rate: Float > 0, the target `R^*` in nats per example.
        step_size: Float > 0, `eta`, the largest change of log beta in a call.
        initial: Float in [low, high], beta before the first training call.
        smoothing: Float in [0, 1), the share of the old average kept at each call.
        low, high: Floats, 0 < low < high, the bounds of beta.

    Raises:
        ValueError: an argument is out of range. `EchoSample` raises one if the
            target is below its `min_rate`.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import GaussianSample
    >>> channel = GaussianSample(beta=TargetRate(2.0, step_size=0.1, smoothing=0.0))
    >>> mean, log_var = np.ones((5, 2)), np.zeros((5, 2))  # R = 1 nat, half of R*
    >>> z = channel([mean, log_var], training=True)
    >>> round(float(channel.beta.value), 4)  # exp(0.1 (1 - 2) / 2)
    0.9512

    References:
        Rezende & Viola, Taming VAEs (2018), Sec. 2 and Algorithm 1, there with the
        distortion constrained; Fixing a Broken ELBO, Sec. 2, and Echo paper,
        Sec. 4, on targets for the rate.
    """

    def __init__(
        self,
        rate: float,
        step_size: float = 0.01,
        initial: float = 1.0,
        smoothing: float = 0.9,
        low: float = 1e-4,
        high: float = 1e4,
    ) -> None:
        self.rate = arguments.number("rate", rate, above=0)
        self.step_size = arguments.number("step_size", step_size, above=0)
        self.smoothing = arguments.number("smoothing", smoothing, low=0, below=1)
        # Beyond these float32 has no room left for a step.
        self.low = arguments.number("low", low, low=1e-30, high=1e30)
        self.high = arguments.number("high", high, above=self.low, high=1e30)
        self.initial = arguments.number("initial", initial, self.low, self.high)
        self.state = {"average": self.rate}

    def update(
        self, beta: Tensor, rate: Tensor, average: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        usable = ops.isfinite(rate)
        rate = ops.where(usable, rate, average)
        average = average + (1 - self.smoothing) * (rate - average)
        deviation = ops.clip((average - self.rate) / self.rate, -1.0, 1.0)
        # beta itself is a weight that may have been set to anything, 0 included.
        within = ops.clip(beta, self.low, self.high)
        moved = ops.exp(ops.log(within) + self.step_size * deviation)
        moved = ops.clip(moved, self.low, self.high)
        return ops.where(usable, moved, beta), {"average": average}

    def get_config(self) -> dict[str, Any]:
        return {
            "rate": self.rate,
            "step_size": self.step_size,
            "initial": self.initial,
            "smoothing": self.smoothing,
            "low": self.low,
            "high": self.high,
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class BetaSchedule(BetaRule):
    """Linear annealing of beta (KL annealing): from `start` to `end`, then constant.

    Training call t = 0, 1, ... has
    `beta_t = (1 - a) start + a end` with `a = min(t / steps, 1)`: the first
    has `start`, and from the call numbered `steps` on it is `end`.

    Args:
        steps: Int >= 1, at most 2^24 (float32 counts no further).
        start, end: Floats >= 0.

    Raises:
        ValueError: an argument is out of range.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import GaussianSample
    >>> channel = GaussianSample(beta=BetaSchedule(steps=2))
    >>> betas = []
    >>> for _ in range(4):
    ...     z = channel([np.ones((5, 2)), np.zeros((5, 2))], training=True)
    ...     betas.append(float(channel.beta.value))
    >>> betas
    [0.0, 0.5, 1.0, 1.0]

    References:
        Bowman et al., Generating Sentences from a Continuous Space (2016), Sec. 3.1.
    """

    def __init__(self, steps: int, start: float = 0.0, end: float = 1.0) -> None:
        self.steps = arguments.integer("steps", steps, high=2**24)
        self.start = self.initial = arguments.number("start", start, low=0)
        self.end = arguments.number("end", end, low=0)
        self.state = {"step": 0.0}

    def update(
        self, beta: Tensor, rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        done = step / self.steps
        # This form, unlike start + done (end - start), is exact at both ends.
        beta = (1.0 - done) * self.start + done * self.end
        return beta, {"step": ops.minimum(step + 1.0, float(self.steps))}

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "start": self.start, "end": self.end}


@keras.saving.register_keras_serializable(package="echo_keras")
class TargetRateL1(BetaRule):
    """Adds the distance of the rate from a target: `D + beta |R - R^*|`.

    Fixing a Broken ELBO's objective for the rate `R^*`, where it has beta = 1. R is
    the mean rate of the batch. Its gradient is that of `D +- beta R`: a model whose
    rate is too low gains from each further nat, which prevents posterior collapse under
    an autoregressive decoder. The target is held where `|dD/dR| <= beta`.
    Elsewhere, or for a gradient without a jump at the target, see `TargetRate`.

    Args:
        rate: Float >= 0, the target `R^*` in nats per example.
        weight: Float >= 0, beta, a variable of the channel as elsewhere.

    Raises:
        ValueError: an argument is negative or not finite.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import GaussianSample
    >>> channel = GaussianSample(beta=TargetRateL1(3.0))
    >>> mean, log_var = np.ones((5, 2)), np.zeros((5, 2))  # R = 1 nat
    >>> z = channel([mean, log_var], training=True)
    >>> float(channel.losses[0])
    2.0

    References:
        Fixing a Broken ELBO, Sec. 4 (Toy Model): `min D + |sigma - R|`.
    """

    def __init__(self, rate: float, weight: float = 1.0) -> None:
        self.rate = arguments.number("rate", rate, low=0)
        self.weight = self.initial = arguments.number("weight", weight, low=0)

    def update(self, beta: Tensor, rate: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return ops.copy(beta), {}  # the channel assigns it to the variable it came from

    def term(self, beta: Tensor, rate: Tensor) -> Tensor:
        return beta * ops.abs(rate - self.rate)

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate, "weight": self.weight}


@keras.saving.register_keras_serializable(package="echo_keras")
class BetaRange:
    """The betas that one model is trained at: all between two, or so many levels.

    In the place of a channel's number for beta it says that beta comes with each call,
    `channel(inputs, beta=beta)`, as a `BetaInput` gives it.

    Args:
        low, high: Floats, 0 < low < high.
        levels: Int >= 2, so many betas with constant ratios from low to high; or None,
            all between them. Channels with a memory need levels: `EchoSample` keeps a
            bank for each, since echoes of another beta would be noise of another law,
            and `VectorQuantizer` the frequencies of its codewords.

    Raises:
        ValueError: an argument is out of range.

    Example:

    >>> BetaRange(0.1, 10.0, levels=3).values.round(3).tolist()
    [0.1, 1.0, 10.0]
    """

    def __init__(
        self, low: float = 0.1, high: float = 10.0, levels: int | None = None
    ) -> None:
        self.low = arguments.number("low", low, low=1e-30, high=1e30)
        self.high = arguments.number("high", high, above=self.low, high=1e30)
        self.levels = arguments.integer("levels", levels, 2, 1024, optional=True)

    @property
    def middle(self) -> float:
        """The geometric mean of low and high, or the level nearest to it from below."""
        if self.levels:
            return float(self.values[(self.levels - 1) // 2])
        return math.sqrt(self.low * self.high)

    @property
    def values(self) -> np.ndarray:
        """The levels, float64 (levels,).

        Raises:
            ValueError: there are none.
        """
        if not self.levels:
            raise ValueError("levels is None: this range has all betas between two.")
        return np.geomspace(self.low, self.high, self.levels)

    def at(self, u: Tensor) -> Tensor:
        """The beta at a share u in [0, 1) of the range, log-uniform if u is uniform."""
        if self.levels:
            index = ops.cast(ops.floor(u * self.levels), "int32")
            index = ops.minimum(index, self.levels - 1)
            return ops.take(ops.convert_to_tensor(self.values, "float32"), index)
        low, high = math.log(self.low), math.log(self.high)
        return ops.exp(low + u * (high - low))

    def nearest(self, beta: Tensor) -> Tensor:
        """The number of the level nearest to beta on the scale of logarithms: int32."""
        step = math.log(self.high / self.low) / (self.levels - 1)
        index = ops.round((ops.log(beta) - math.log(self.low)) / step)
        return ops.cast(ops.clip(index, 0, self.levels - 1), "int32")

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "levels": self.levels}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BetaRange":
        return cls(**config)
