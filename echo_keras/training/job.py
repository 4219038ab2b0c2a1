"""A training to begin or to resume: what is compared with a folder's checkpoint."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from echo_keras._files import write_json

from .digests import digests
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
        self.noted = {**self.arguments, "digests": found}
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
        # The number of finished epochs is in the optimizer's step count.
        done = int(model.optimizer.iterations) // self.batches.num_batches
        found = digests(*self.make(), self.batches, self.validation)
        # What was loaded counts as well: code that knows new arguments writes other
        # configurations of the same thing.
        loaded = digests(model, model.loss, model.optimizer)
        if "digests" not in before:
            before["digests"] = {k: v for k, v in found.items() if k not in loaded}
            print(
                f"{self.directory}: an older version trained here and kept no digest "
                "of the data; they are taken to be these"
            )
        kept = before["digests"]
        changed = [
            k for k, v in found.items() if v not in (kept.get(k), loaded.get(k, ""))
        ]
        before["parts"] = [
            part for part in before.get("parts", []) if part["from_epoch"] < done
        ]
        unfinished = done < self.arguments["epochs"]  # else it is only read
        for part in before["parts"][-1:] if unfinished else ():
            if part["backend"] != keras.backend.backend():
                changed.append(f"backend, {part['backend']}")
        self._refuse(changed, self.force)
        self.noted = before
        return model, done

    def note_part(self, done: int) -> None:
        """Notes what the training runs on from here."""
        self.noted["parts"] = [*self.noted.get("parts", []), this_part(done)]
        write_json(self.directory / ARGUMENTS, self.noted)

    def _refuse(self, changed: list[str], force: bool | None = None) -> None:
        if not changed:
            return
        sentence = (
            f"The checkpoint in {self.directory} was made with another "
            f"{', '.join(changed)}"
        )
        if not force:
            hint = ", or go on with it by force_resume=True" * (force is False)
            raise RunFolderError(f"{sentence}: use another folder, or remove it{hint}.")
        print(f"{sentence}: it goes on as it was made, with these data.")
