r"""Table 1 of the Echo paper on its own protocol, three data sets, piece by piece.

    KERAS_BACKEND=jax python reproductions/plan.py --plan gpu --minutes 9 \
        --data_dir FOLDER --out_dir FOLDER
    python reproductions/plan.py --plan cpu --data_dir FOLDER --out_dir FOLDER

What the paper claims most comes first: Echo and the VAE on binary_mnist, fashion_mnist
and omniglot, then Echo parametrised as in the paper and the VampPrior. With "gpu" all
seeds of a method train side by side, on JAX; with "cpu" one run after the other, in
mixed_bfloat16. After --minutes it stops, and the same command goes on, until it ends
with the table; records say on what each part ran.
"""

import _thread
import pathlib
import signal
import threading

import echo_paper
import table1

from echo_keras.studies import Command, Option, records, start
from echo_keras.studies.script import COMMON

DATASETS = ["binary_mnist", "fashion_mnist", "omniglot"]
SETTINGS = {
    "echo": {"method": ["echo"]},
    "vae": {"method": ["vae"]},
    "echo_paper": {"method": ["echo"], "parametrization": "paper"},
    "vae-vamp": {"method": ["vae-vamp"]},
}
FIRST = ["echo", "vae"]
PLANS = {
    "cpu": {"runs": 1, "precision": "mixed_bfloat16", "together": False},
    "gpu": {"runs": 5, "precision": "float32", "together": True},
}


def ordered(datasets, settings):
    """Pairs of a data set and a setting, the most valuable first."""
    first = [(d, s) for d in datasets for s in settings if s in FIRST]
    return first + [(d, s) for s in settings for d in datasets if s not in FIRST]


def run(options):
    plan = PLANS[options.plan]
    runs = options.runs or plan["runs"]
    out = pathlib.Path(options.out_dir or pathlib.Path("runs") / echo_paper.STUDY.name)
    if plan["together"]:
        import jax  # of which this process compiles the same again in every piece

        jax.config.update("jax_compilation_cache_dir", str(out.resolve() / "compiled"))
    if options.minutes is not None:
        # As Ctrl-C, also where a shell has told a job in its background to ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop = threading.Timer(60 * options.minutes, _thread.interrupt_main)
        stop.daemon = True
        stop.start()
    changes = {"epochs": options.epochs, "train_limit": options.train_limit}
    study = echo_paper.STUDY
    for dataset, setting in ordered(options.datasets, options.settings):
        configs = study.configs(
            dataset,
            options.seed,
            runs,
            precision=options.precision or plan["precision"],
            **SETTINGS[setting],
            **changes,
        )
        study.run(
            configs,
            out,
            data_dir=options.data_dir,
            side_by_side=len(configs) if plan["together"] else 1,
        )
        found = [r for r in records.read(out) if r["study"] == study.name]
        print(f"\n{table1.TABLE.write(found, out)}\n", flush=True)


main = Command(
    run,
    [
        Option("plan", "cpu", "What it runs on.", choices=list(PLANS)),
        Option("minutes", None, "Stop after so long; the same command goes on.", float),
        Option("runs", None, "Seeds. Default: 5 on a GPU, 1 on a CPU.", int, least=1),
        Option("datasets", DATASETS, "Data sets.", [str]),
        Option("settings", list(SETTINGS), "Methods.", [str], [*SETTINGS, "all"]),
        Option("precision", None, "Default: the plan's.", str),
        Option("epochs", None, "Instead of 200.", int, least=1),
        Option("train_limit", None, "Train on the first so many.", int, least=1),
        *COMMON,
    ],
)

if __name__ == "__main__":
    start(main)
