"""What the benchmarks share: timing in turn, child processes, markdown tables."""

import json
import os
import subprocess
import sys
import time

import numpy as np


def in_turn(functions, repeats):
    """Seconds of each function, called A B C A B C ...; shape (repeats, functions).

    A machine's speed drifts, by other processes and by heat. Neighbours in a row
    share that drift, so that their ratio is steadier than either of them. Each
    function is called once untimed, which compiles it, and must return only when
    its work is done.
    """
    for function in functions:
        function()
    seconds = np.empty((repeats, len(functions)))
    for row in seconds:
        for i, function in enumerate(functions):
            began = time.perf_counter()
            function()
            row[i] = time.perf_counter() - began
    return seconds


def spread(values, digits=3):
    """Median and range of repeated measurements as text."""
    low, middle, high = (f"{x:.{digits}f}" for x in np.quantile(values, [0, 0.5, 1]))
    return f"{middle} ({low} to {high})"


def table(header, rows):
    """Prints a markdown table."""
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def child(*arguments, **environment):
    """Runs this script again with more arguments; returns the JSON it prints last."""
    done = subprocess.run(
        [sys.executable, *sys.argv, *arguments],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])
