"""What the benchmarks share: timing in turn, child processes, markdown tables."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np


def in_turn(functions, repeats, clock=time.perf_counter):
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
            began = clock()
            function()
            row[i] = clock() - began
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


def _again(arguments, environment):
    """What `subprocess` needs to run this script again with more arguments."""
    return {
        "args": [sys.executable, *sys.argv, *arguments],
        "env": {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        "text": True,
    }


def child(*arguments, **environment):
    """Runs this script again with more arguments; returns the JSON it prints last."""
    done = subprocess.run(**_again(arguments, environment), capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class Worker:
    """This script once more, with more arguments, which stays and answers requests.

    So that functions of several backends, each in a process of its own, can be called
    in turn. The other end calls `serve`.
    """

    def __init__(self, *arguments, **environment):
        self.name = " ".join(arguments)
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            **_again(arguments, environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )

    def ask(self, request):
        """The answer to a request; both are anything that JSON holds."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            sys.exit(f"{self.name} failed:\n{self.errors.read()[-3000:]}")
        return json.loads(line)


def serve(answer):
    """Answers requests of a `Worker` by a function, until there are no more."""
    replies = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # for whatever else is printed
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), file=replies, flush=True)
