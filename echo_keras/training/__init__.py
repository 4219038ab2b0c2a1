"""The papers' training protocol on Keras's own `fit`: schedules, resume, logs."""

from .train import (
    SCHEDULES,
    Batches,
    Checkpoint,
    HalfwaySchedule,
    NormalizedAdam,
    StopOnNaN,
    learning_rates,
    train,
    with_discriminator_optimizer,
    write_json,
)

__all__ = [
    "Batches",
    "Checkpoint",
    "HalfwaySchedule",
    "NormalizedAdam",
    "SCHEDULES",
    "StopOnNaN",
    "learning_rates",
    "train",
    "with_discriminator_optimizer",
    "write_json",
]
