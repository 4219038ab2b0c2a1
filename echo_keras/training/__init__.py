"""The papers' training protocol on Keras's own `fit`: schedules, resume, logs."""

from echo_keras._files import write_json

from .batches import Batches
from .callbacks import Checkpoint, StopOnNaN, best_epoch
from .optimizers import NormalizedAdam, with_discriminator_optimizer
from .pretraining import pretrain_encoder
from .run_folder import RunFolderError, UnwritableFolderError, parts
from .schedules import SCHEDULES, HalfwaySchedule, learning_rates
from .side_by_side import train_side_by_side
from .train import train

__all__ = [
    "Batches",
    "Checkpoint",
    "HalfwaySchedule",
    "NormalizedAdam",
    "RunFolderError",
    "SCHEDULES",
    "StopOnNaN",
    "UnwritableFolderError",
    "best_epoch",
    "learning_rates",
    "parts",
    "pretrain_encoder",
    "train",
    "train_side_by_side",
    "with_discriminator_optimizer",
    "write_json",
]
