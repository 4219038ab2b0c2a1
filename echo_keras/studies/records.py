"""Run records, and tables rendered from nothing but them.

A record is a small JSON file: `config` (everything that was chosen), `data`
(source, checksum), `versions`, `device`, `parameters`, `history` (logs of each
epoch, with seconds) and `test` (what `metrics.evaluate` returned).
"""

import importlib.metadata
import json
import math
import pathlib
import platform

import keras
import numpy as np


def environment():
    """Versions and device of this process, for a record."""
    backend = keras.backend.backend()
    packages = ["keras", backend, "numpy", "echo-keras"]
    versions = {"python": platform.python_version(), "backend": backend}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"versions": versions, "device": device()}


def device():
    """Names the device that the backend computes on."""
    backend = keras.backend.backend()
    name = None
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            name = tf.config.experimental.get_device_details(gpus[0])["device_name"]
    elif backend == "jax":
        import jax

        if jax.default_backend() != "cpu":
            name = jax.devices()[0].device_kind
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            name = torch.cuda.get_device_name()
    return name or f"CPU ({platform.machine()})"


def read(folder):
    """All records in a folder, sorted by file name: a list of dicts.

    Raises:
        ValueError: a file is not a record.
    """
    records = []
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        try:
            record = json.loads(path.read_text())
            record["config"], record["test"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path.name} is not a run record ({error!r}): move it elsewhere, or "
                "delete it to run again."
            ) from error
        records.append(record)
    return records


def by_protocol(records, keys):
    """Records grouped by what they have in common, for a table each.

    Args:
        records: List of records.
        keys: Names in their configurations; one that a configuration lacks is None.

    Returns:
        A list of pairs, in the order of first appearance: a dict of the keys, and the
        records that share it.

    Example:

    >>> runs = [{"config": {"epochs": n}} for n in (2, 9, 2)]
    >>> [(protocol, len(of_it)) for protocol, of_it in by_protocol(runs, ["epochs"])]
    [({'epochs': 2}, 2), ({'epochs': 9}, 1)]
    """
    groups = []
    for record in records:
        protocol = {key: record["config"].get(key) for key in keys}
        for other, of_it in groups:
            if other == protocol:
                of_it.append(record)
                break
        else:
            groups.append((protocol, [record]))
    return groups


def summarize(records, metric="neg_elbo", echoes="batch"):
    """Means over runs by the Echo paper's rule (Sec. 5.1).

    Of ten runs or more the highest and the lowest are left out.

    Args:
        records: Records of one method that differ in their seed alone.
        metric: What the runs are ranked by, and whose spread is sigma.
        echoes: Which of the record's test results to read, "batch" or "bank".

    Returns:
        A dict with the means `rate`, `distortion` and `neg_elbo`; `sigma`, the
        standard deviation of `metric` over the runs kept (NaN for one run); `runs`,
        how many were made; and `kept`, how many were averaged.

    Example:

    >>> runs = [{"test": {"batch": {"rate": 1, "distortion": d, "neg_elbo": 1 + d}}}
    ...         for d in (1, 2, 3)]
    >>> summarize(runs)["neg_elbo"], summarize(runs)["sigma"]
    (3.0, 1.0)
    """
    results = sorted((r["test"][echoes] for r in records), key=lambda t: t[metric])
    kept = results[1:-1] if len(results) >= 10 else results
    summary = {
        name: float(np.mean([t[name] for t in kept]))
        for name in ("rate", "distortion", "neg_elbo")
    }
    spread = np.std([t[metric] for t in kept], ddof=1) if len(kept) > 1 else math.nan
    return {**summary, "sigma": float(spread), "runs": len(results), "kept": len(kept)}


def markdown(header, rows):
    """A Markdown table; the first column is text, the others are right-aligned."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
