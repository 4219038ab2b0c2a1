"""Runs of a study that train side by side: which do, and the records of them."""

import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from echo_keras import training
from echo_keras._files import write_json

from . import runners
from .configurations import Config

if TYPE_CHECKING:
    from .study import Study

APART = ("seed", "beta")  # what runs of a group may differ in
SAVE_SECONDS = 60.0  # for each run is saved then


def groups(configs: Mapping[str, Config], size: int) -> list[dict[str, Config]]:
    """Configurations by name, in groups of up to `size` that can train side by side.

    Example:

    >>> three = {name: {"seed": s} for s, name in enumerate("abc")}
    >>> [list(group) for group in groups({**three, "d": {"seed": 0, "d_max": 9}}, 2)]
    [['a', 'b'], ['c'], ['d']]
    """
    alike: dict[str, list[str]] = {}
    for name, config in configs.items():
        shared = {key: value for key, value in config.items() if key not in APART}
        alike.setdefault(json.dumps(shared, sort_keys=True), []).append(name)
    return [
        {name: configs[name] for name in names[start : start + size]}
        for names in alike.values()
        for start in range(0, len(names), size)
    ]


def run_groups(
    study: "Study",
    found: list[dict[str, Config]],
    out: pathlib.Path,
    where: Mapping[str, Any],
    running: Mapping[str, Any],
) -> None:
    """Trains groups and writes the records, as `Study.run` does those of single runs.

    Raises:
        runners.RunsFailed: some runs failed; the others have their records.
    """
    failures: dict[str, str] = {}

    def write(_, results: dict[str, Any]) -> None:
        for name, record in results.items():
            if isinstance(record, str):
                failures[name] = record
                print(f"{name}: failed: {record}")
            else:
                write_json(out / f"{name}.json", record)

    names = [
        " and ".join([next(iter(g)), f"{len(g) - 1} more"][: len(g)]) for g in found
    ]
    try:
        runners.run_all(
            study.train_group,
            [{"configs": group, **where} for group in found],
            names=names,
            on_done=write,
            **running,
        )
    except runners.RunsFailed as error:
        failures |= error.failures
    if failures:
        raise runners.RunsFailed(failures, sum(map(len, found)))


def train(
    study: "Study",
    configs: Mapping[str, Config],
    out: pathlib.Path,
    data_dir: str | None,
    force_resume: bool,
) -> dict[str, Any]:
    """Trains a group; returns the record of each run by name, or its error."""
    from .study import Run

    datasets = [study.load(config, data_dir) for config in configs.values()]
    of_all = [
        study.training(*of) for of in zip(configs.values(), datasets, strict=True)
    ]
    shared = of_all[0]
    if (
        len({dataset.checksum for dataset in datasets}) > 1
        or len({repr(of["schedule"]) for of in of_all}) > 1
    ):
        raise ValueError(
            "side_by_side must be 1 for a study whose data or schedules depend on the "
            f"seed or on beta. Received: {study.name} with side_by_side={len(configs)}"
        )
    folders = [study.folder(out, config) for config in configs.values()]
    watched = [of["measure"] for of in of_all]
    results = training.train_side_by_side(
        [
            lambda config=config: study.built(config, datasets[0])
            for config in configs.values()
        ],
        directories=folders,
        seeds=[config["seed"] for config in configs.values()],
        save_seconds=SAVE_SECONDS,
        force_resume=force_resume,
        **{**shared, "measure": watched if shared["measure"] else None},
    )
    records = {}
    for (name, config), folder, result in zip(
        configs.items(), folders, results, strict=True
    ):
        if isinstance(result, FloatingPointError):
            records[name] = f"FloatingPointError: {result}"
        else:
            run = Run(study, config, result[0], datasets[0], folder, out, data_dir)
            records[name] = study.record(run, result[1])
    return records
