"""The configurations of a study: all combinations, their names, what they cut."""

import itertools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from echo_keras import data
from echo_keras.layers import arguments

from .records import Record

Config = dict[str, Any]

LIMITED = r"first (\d+) of (\d+) training"


class Configurations:
    """What a `Study` knows of its configurations, from its fields; see there."""

    def protocol_of(self, config: Config) -> Mapping[str, Any]:
        """The paper's values for a data set and what is varied."""
        given = self.protocol(config) if callable(self.protocol) else self.protocol
        if not isinstance(given, Mapping):
            raise ValueError(
                "protocol must be a dict, or a function that returns one. Received: "
                f"{given!r}"
            )
        return {**self.DEFAULTS, **given}

    def configs(
        self,
        dataset: str | Sequence[str] = "digits",
        seed: int = 0,
        runs: int = 1,
        **changes: Any,
    ) -> list[Config]:
        """The configurations of all combinations and seeds.

        Args:
            dataset: Name of the data set; or a list, where data sets vary.
            seed: Int >= 0, seed of the first run.
            runs: Int >= 1, how many seeds.
            **changes: Values in the place of the protocol's, and lists in the place of
                those that vary; None changes nothing.

        Raises:
            ValueError: a key is not one of the study's, an argument is out of range,
                a value is none that JSON can hold, or no configuration is left.
        """
        arguments.integer("seed", seed, low=0)
        arguments.integer("runs", runs)
        changes = {k: v for k, v in changes.items() if v is not None}
        vary = {k: changes.pop(k, values) for k, values in self.vary.items()}
        if "dataset" in vary and not isinstance(dataset, str):
            vary["dataset"] = dataset
        elif not isinstance(dataset, str):
            raise ValueError(
                f"dataset must be a name, as {self.name} does not vary it. Received: "
                f"dataset={dataset!r}"
            )
        for keys, values in vary.items():
            _check_values(keys, values)
        found = []
        for number in range(seed, seed + runs):
            for point in itertools.product(*vary.values()):
                varied = {}
                for keys, value in zip(vary, point, strict=True):
                    many = isinstance(keys, tuple)
                    varied |= zip(keys, value, strict=True) if many else {keys: value}
                config = {"dataset": dataset, **varied, "seed": number}
                protocol = self.protocol_of(config)
                unknown = sorted(changes.keys() - protocol.keys())
                if unknown:
                    raise ValueError(
                        f"What {self.name} can change must be one of "
                        f"{', '.join(map(str, [*vary, *protocol]))}. Received: "
                        f"{', '.join(unknown)}"
                    )
                quick = self.quick.get(config["dataset"], {})
                config |= {**protocol, **quick, **changes, **varied}
                if self.configure is not None:
                    config = self.configure(config)
                if not isinstance(config, Mapping | None):
                    raise ValueError(
                        "configure must return a configuration or None. Received: "
                        f"{config!r:.80}"
                    )
                if config is not None:
                    config = {k: _plain_value(k, v) for k, v in config.items()}
                    if config not in found:
                        found.append(config)
        if not found:
            raise ValueError(
                f"configure must leave a configuration of {self.name}. Received: None "
                "for each"
            )
        return found

    def run_name(self, config: Config) -> str:
        """A file name: data set, what varies, departures from the paper, seed."""
        # A value of the protocol is named where it departs, also if it varies: so that
        # scripts that vary different things share their runs.
        known = {"dataset", *self.protocol_of(config)}
        varied = [k for keys in self.vary for k in _keys(keys) if k not in known]
        named = [_named(k, config[k]) for k in varied if config.get(k) is not None]
        parts = [config["dataset"], *named, *self._departures(config)]
        return "-".join([*parts, f"seed{config['seed']}"])

    def protocol_name(self, config: Config) -> str:
        """Data set and departures from the paper: for figures of many runs."""
        varied = [k for keys in self.vary for k in _keys(keys)]
        return "-".join([config["dataset"], *self._departures(config, varied)])

    def _departures(self, config: Config, varied: Sequence[str] = ()) -> list[str]:
        return [
            f"{key}{_short(config[key])}"
            for key, value in self.protocol_of(config).items()
            if key not in varied and key in config and config[key] != value
        ]

    def deviations(self, config: Config, without: Sequence[str] = ()) -> str:
        """Says in what a protocol departs from the paper's, or that it does not.

        Args:
            config: A configuration.
            without: Keys that are not mentioned.
        """
        shown = {
            key: (config[key], value)
            for key, value in self.protocol_of(config).items()
            if key in config
            and key not in without
            # Nobody expects another one, so that it is said where it is.
            and (key, config[key]) != ("precision", "float32")
        }
        if not self.paper:
            ours = (_said(key, v) for key, (v, _) in shown.items() if v is not None)
            return f"a protocol of our own, the paper gives none ({', '.join(ours)})"
        changes = [
            _said(key, value)
            + (
                f" (paper {_plain(paper_value)})"
                if paper_value is not None and told
                else ""
            )
            for key, (value, paper_value) in shown.items()
            for told in [key not in self.unstated]
            if value != paper_value or (value is not None and not told)
        ]
        if not changes:
            return "the paper's protocol" + _kept_for_validation(config)
        return "reduced or changed protocol: " + ", ".join(changes)

    def extent(self, runs: Sequence[Record]) -> str | None:
        """How many of the paper's updates runs have made, as a sentence.

        An update is a batch. The paper's batches are those of all examples that the
        data set has for training; None where no paper gives a protocol.
        """
        shares = sorted({self.share_of_updates(run) for run in runs} - {None})
        if not shares or not self.paper:
            return None
        if shares[0] >= 1:
            return "All of the paper's updates."
        least, most = (f"{100 * share:.2g}" for share in (shares[0], shares[-1]))
        found = least if least == most else f"{least} to {most}"
        return f"**{found} % of the paper's updates.**"

    def share_of_updates(self, record: Record) -> float | None:
        """Updates of a run as a part of the paper's; None where they are not known."""
        config = record["config"]
        if config.get("dataset") in self.quick:  # no paper has it
            return None
        paper = self.protocol_of(config)
        keys = [key for key in ("steps", "epochs") if key in paper and key in config]
        keys = [key for key in keys if key not in self.unstated]
        if not keys:
            return None
        share = config[keys[0]] / paper[keys[0]]
        if keys[0] == "epochs":
            # A limit other than the paper's is in the description of the data.
            found = re.search(LIMITED, record["data"]["description"])
            if found and config.get("train_limit") != paper.get("train_limit"):
                share *= int(found[1]) / int(found[2])
            size = paper["batch_size"]
            share *= size / config.get("batch_size", size)
        return share

    def order(self, record: Record) -> Any:
        """What rows of tables are sorted by: what varies, in its order, then seeds."""
        config, place = record["config"], []
        for keys, values in self.vary.items():
            many = isinstance(keys, tuple)
            value = tuple(config.get(k) for k in keys) if many else config.get(keys)
            known = [tuple(v) for v in values] if many else list(values)
            numbers = [v for v in (value if many else [value]) if _is_number(v)]
            place += [known.index(value) if value in known else len(known), numbers]
        return [*place, config["seed"]]


def _kept_for_validation(config: Config) -> str:
    """What part of the published training images the library trains on."""
    entry = data.DATASETS.get(config.get("dataset"))
    if entry is None or not entry.validation or not entry.counts:
        return ""
    whole = entry.counts[0]
    used = whole - whole // entry.validation
    return f", on {used:,} of {whole:,} training images"


def _keys(keys: Any) -> Sequence[str]:
    return keys if isinstance(keys, tuple) else (keys,)


def _check_values(keys: Any, values: Any) -> None:
    is_list = isinstance(values, Collection) and not isinstance(values, (str, bytes))
    if not is_list or not len(values):
        raise ValueError(
            f"What varies must have a list of values. Received: {keys}={values!r}"
        )
    for value in values if isinstance(keys, tuple) else ():
        if not isinstance(value, (tuple, list)) or len(value) != len(keys):
            raise ValueError(
                f"Values of {keys} must be tuples of {len(keys)}. Received: {value!r}"
            )


def _plain_value(key: str, value: Any) -> Any:
    """A value as records hold it: a scalar of NumPy as Python's number."""
    value = value.item() if isinstance(value, np.generic) else value
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "What a configuration holds must be numbers, texts, None or lists of them. "
            f"Received: {key}={value!r}"
        ) from error
    return value


def differing(one: Config, other: Config) -> str:
    """The keys that two configurations share and whose values differ."""
    shared = [key for key in one if key in other]
    return ", ".join(k for k in shared if json.dumps(one[k]) != json.dumps(other[k]))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _named(key: str, value: Any) -> str:
    """A varied value as a part of a file name; a text stands alone if it can."""
    if isinstance(value, str) and value[:1].isalnum():
        return value
    return f"{key}{_short(value)}"


def _said(key: str, value: Any) -> str:
    return f"{key.replace('_', ' ')} {_plain(value)}"


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return " and ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else value
