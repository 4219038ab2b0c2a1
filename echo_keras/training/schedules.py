"""The papers' learning-rate schedules."""

from collections.abc import Sequence

import keras

from echo_keras.layers import arguments
from echo_keras.layers.typing import Tensor

SCHEDULES = ("paper", "published_code", "constant")


@keras.saving.register_keras_serializable(package="echo_keras")
class HalfwaySchedule(keras.optimizers.schedules.LearningRateSchedule):
    r"""Constant for the first half of training, then linear.

    - "paper": falls to 0, as the Echo paper says (Sec. 5.1, App. E).
    - "published_code": drops to a hundredth and *rises* to 99 hundredths, epoch by
      epoch, as the published code does at 200 epochs.
    - "constant": stays.

    Args:
        learning_rate: Float > 0, the rate in the first half.
        epochs: Int >= 1.
        steps_per_epoch: Int >= 1.
        schedule: One of the above.

    Raises:
        ValueError: the schedule is unknown or a number is out of range.

    Example:

    >>> rate = HalfwaySchedule(3e-4, epochs=200, steps_per_epoch=500)
    >>> [round(float(rate(500 * epoch)), 6) for epoch in (0, 100, 150, 200)]
    [0.0003, 0.0003, 0.00015, 0.0]
    """

    def __init__(
        self,
        learning_rate: float,
        epochs: int,
        steps_per_epoch: int,
        schedule: str = "paper",
    ) -> None:
        self.schedule = arguments.choice("schedule", schedule, SCHEDULES)
        self.learning_rate = arguments.number("learning_rate", learning_rate, above=0)
        self.epochs = arguments.integer("epochs", epochs)
        self.steps_per_epoch = arguments.integer("steps_per_epoch", steps_per_epoch)

    def __call__(self, step: Tensor | int) -> Tensor:
        ops = keras.ops
        epoch = ops.cast(step, "float32") / self.steps_per_epoch
        first, second = self.epochs - self.epochs // 2, max(1, self.epochs // 2)
        past = ops.maximum(epoch - first, 0.0)
        if self.schedule == "paper":
            factor = ops.maximum(1.0 - past / second, 0.0)
        elif self.schedule == "published_code":
            rising = 0.01 + 0.98 * ops.floor(past) / max(1, second - 1)
            factor = ops.where(epoch < first, 1.0, rising)
        else:
            factor = 1.0
        return self.learning_rate * factor

    def get_config(self) -> dict:
        return {
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "schedule": self.schedule,
        }


def _pairs(schedule):
    """The ends and the factors of a schedule that is a list of pairs."""
    many = (list, tuple)
    if isinstance(schedule, many) and schedule:
        if all(isinstance(pair, many) and len(pair) == 2 for pair in schedule):
            ends = [
                arguments.number("An end of schedule", e, above=0) for e, _ in schedule
            ]
            factors = [
                arguments.number("schedule's factor", f, low=0) for _, f in schedule
            ]
            if ends == sorted(set(ends)):
                return ends, factors
    raise ValueError(
        f"schedule must be one of {', '.join(SCHEDULES)}, or a list of pairs "
        f"(epoch, factor) with rising epochs. Received: schedule={schedule!r:.100}"
    )


def learning_rates(
    learning_rate: float,
    epochs: int,
    steps_per_epoch: int,
    schedule: str | Sequence[tuple[float, float]] = "paper",
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A schedule for an optimizer, by name or by its steps.

    Args:
        learning_rate: Float > 0, the rate at the start.
        epochs, steps_per_epoch: Ints >= 1.
        schedule: A name of `HalfwaySchedule`; or pairs (epoch, factor) in order: from
            the end of that epoch on the rate is `learning_rate` x factor. Epochs may be
            fractions.

    Returns:
        A Keras schedule.

    Raises:
        ValueError: as `HalfwaySchedule`.

    Example:

    >>> rate = learning_rates(1e-3, 100, 600, [(30, 0.5), (50, 0.1)])
    >>> [round(float(rate(600 * epoch)), 6) for epoch in (29, 31, 51)]
    [0.001, 0.0005, 0.0001]

    References:
        Variance Constrained Autoencoding, App. B.3.1.
    """
    if isinstance(schedule, str):
        return HalfwaySchedule(learning_rate, epochs, steps_per_epoch, schedule)
    learning_rate = arguments.number("learning_rate", learning_rate, above=0)
    arguments.integer("epochs", epochs)
    steps_per_epoch = arguments.integer("steps_per_epoch", steps_per_epoch)
    ends, factors = _pairs(schedule)
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [max(1, round(end * steps_per_epoch)) for end in ends],
        [learning_rate, *(learning_rate * factor for factor in factors)],
    )
