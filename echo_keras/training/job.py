"""A training to begin or to resume: what is compared with a folder's checkpoint."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from echo_keras._files import write_json

from .digests import digests, weight_shapes
from .run_folder import (
    ARGUMENTS,
    RunFolderError,
    load,
    read_arguments,
    this_part,
)

Made = tuple[keras.Model, Any, keras.optimizers.Optimizer]


@dataclasses.dataclass
class Job:
    """What `train` was called for.

    Attributes:
        directory: The run's folder.
        arguments: Those of `train` that JSON holds.
        make: Function that returns a new model, its loss and its optimizer.
        batches, validation: The data.
        force: Whether to go on where something else than arguments differs.
    """

    directory: pathlib.Path
    arguments: dict[str, Any]
    make: Callable[[], Made]
    batches: np.ndarray | keras.utils.PyDataset
    validation: np.ndarray | None
    force: bool

    def begun(self) -> keras.Model:
        """A new model, compiled."""
        model, loss, optimizer = self.make()
        found = digests(model, loss, optimizer, self.batches, self.validation)
        write_json(self.directory / ARGUMENTS, {**self.arguments, "digests": found})
        model.compile(optimizer, loss=loss)
        if model.built:  # or TensorFlow traces the first step twice
            model.optimizer.build(model.trainable_variables)
        return model

    def resumed(self) -> tuple[keras.Model, int]:
        """The model of the checkpoint, and the number of epochs that it had.

        Raises:
            RunFolderError: it belongs to something else, or files are damaged.
        """
        before = read_arguments(self.directory)
        self._refuse([k for k, v in self.arguments.items() if v != before[k]])
        model = load(self.directory)
        new, *rest = self.make()
        kept = before.get("digests")
        if kept is None:
            same = weight_shapes(model) == weight_shapes(new)
            self._refuse([] if same else ["model"])
            print(
                f"{self.directory}: an older version trained here and kept no digests; "
                "its model, loss, optimizer and data are taken to be these"
            )
        else:
            found = digests(new, *rest, self.batches, self.validation)
            changed = [k for k, v in found.items() if v != kept.get(k)]
            last = (before.get("parts") or [{}])[-1].get("backend")
            if last not in (None, keras.backend.backend()):
                changed.append(f"backend, {last}")
            self._refuse(changed, self.force)
        # The number of finished epochs is in the optimizer's step count.
        steps = self.batches.num_batches
        return model, int(model.optimizer.iterations) // steps

    def note_part(self, done: int) -> None:
        """Notes what the training runs on from here, and the digests it goes on with."""
        arguments = read_arguments(self.directory)
        parts = [p for p in arguments.get("parts", []) if p["from_epoch"] < done]
        arguments["parts"] = [*parts, this_part(done)]
        write_json(self.directory / ARGUMENTS, arguments)

    def _refuse(self, changed: list[str], force: bool = False) -> None:
        if not changed:
            return
        sentence = (
            f"The checkpoint in {self.directory} was made with another "
            f"{', '.join(changed)}"
        )
        if not force:
            raise RunFolderError(f"{sentence}: use another folder, or remove it.")
        print(f"{sentence}: it goes on as it was made, with these data.")
