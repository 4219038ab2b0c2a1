"""`python -m echo_keras`: what can be done with a saved model without a program.

`report` writes what there is to know of it into an HTML file; `compress` and
`decompress` turn arrays into files of a quantized model's codes and back; `doctor` says
what in a run's folder is whole, or what is wrong with a model.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from echo_keras._files import damaged, replacing


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 1 if something is wrong, else 0."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError, ImportError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m echo_keras", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, run, text, *files):
        added = commands.add_parser(name, help=text, description=text)
        for file, of in files:
            added.add_argument(file, help=of, type=pathlib.Path)
        added.set_defaults(run=run)
        return added

    model = ("model", "a model saved as .keras")
    array = "an array: .npy, or .npz with one array"
    report = command(
        "report",
        _report,
        "write what there is to know of a model into one HTML file",
        model,
        ("file", "the HTML file that is written"),
    )
    report.add_argument("--title", help="the heading; the model's name if left out")
    report.add_argument("--description", help="a paragraph on what the model is for")
    report.add_argument("--date", help="today's if left out")
    report.add_argument("--seed", type=int, default=0, help="of all noise")
    compress = command(
        "compress",
        _compress,
        "write the codes of examples to a file",
        model,
        ("x", array),
        ("file", "the file that is written"),
    )
    compress.add_argument("--beta", type=float, help="of a model of many rates")
    command(
        "decompress",
        _decompress,
        "write what the decoder makes of the codes in a file",
        model,
        ("file", "what compress wrote"),
        ("y", "the .npy file that is written: the decoder's raw outputs"),
    )
    doctor = command(
        "doctor",
        _doctor,
        "say what is whole, what is not and what to do: of a folder of a training or "
        "of a study's records; or of a model, with data its audit",
        ("path", "a folder, or a model saved as .keras"),
    )
    for each in (report, doctor):
        each.add_argument("--dataset", help="name of a data set, such as digits")
        each.add_argument("--data_dir", help="folder with its files")
        each.add_argument("--train", type=pathlib.Path, help=f"training data, {array}")
        each.add_argument("--test", type=pathlib.Path, help=f"test data, {array}")
    return parser


def _report(options: argparse.Namespace) -> int:
    from echo_keras.reports import report

    x_train, x_test = _data(options)
    audit = report(
        _model(options.model),
        x_train,
        x_test,
        options.file,
        title=options.title,
        description=options.description,
        date=options.date,
        seed=options.seed,
    )
    print(audit)
    print(f"Wrote {options.file}.")
    return 0


def _compress(options: argparse.Namespace) -> int:
    from echo_keras import codec

    found = codec.compress(
        _model(options.model), _array(options.x), options.file, beta=options.beta
    )
    print(
        f"Wrote {options.file}: {found['file_bytes']} bytes for {found['examples']} "
        f"examples, {found['file_bits']:.2f} bits each; their rate is "
        f"{found['rate_bits']:.2f} bits."
    )
    return 0


def _decompress(options: argparse.Namespace) -> int:
    from echo_keras import codec

    if options.y.suffix != ".npy":
        raise ValueError(f"y must be the name of a .npy file. Received: {options.y}")
    found = codec.decompress(_model(options.model), options.file)
    with replacing(options.y) as part, open(part, "wb") as file:
        np.save(file, found)
    print(f"Wrote {options.y}: {found.dtype} of shape {found.shape}.")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    if options.path.is_file() or options.path.suffix == ".keras":
        return _doctor_of_model(options)
    from echo_keras.studies.doctor import examine

    found = examine(options.path)
    for path, wrong, text in found:
        print(f"{'WRONG' if wrong else 'ok':5} {path}: {text.removeprefix(f'{path} ')}")
    return int(any(finding.wrong for finding in found))


def _doctor_of_model(options):
    from echo_keras.reports import audit

    model = _model(options.path)
    print(
        f"ok    {options.path}: whole; {type(model).__name__} of {model.count_params()}"
    )
    if not (options.dataset or options.test):
        print("      For its audit name data: --dataset, or --train and --test.")
        return 0
    x_train, x_test = _data(options, both=False)
    found = audit(model, x_test, x_train)
    print(found)
    return int(any(finding.severity == "error" for finding in found))


def _model(path: pathlib.Path) -> keras.Model:
    """A saved model; a ValueError says what is wrong with its file."""
    from echo_keras.training.run_folder import damage_of

    if damage := damage_of(path):
        raise ValueError(
            f"{path} must hold a model saved as .keras. Received: {damage}. Save it "
            f"again with model.save."
        )
    try:
        return keras.models.load_model(path)
    except (TypeError, ValueError) as error:
        said = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{path} must hold a model of Keras's layers and of this library's. "
            f"Received: {said} Classes of your own have to be registered, in a program "
            f"that loads the model."
        ) from error


def _data(options: argparse.Namespace, both: bool = True) -> tuple[Any, Any]:
    """Training data, or None, and test data."""
    arrays = options.train, options.test
    if options.dataset and any(arrays):
        raise ValueError(
            "Data must be named by --dataset or by --train and --test. Received: both"
        )
    if options.dataset:
        from echo_keras import data

        found = data.load(options.dataset, options.data_dir)
        return found.x_train, found.x_test
    if options.test is None or both and options.train is None:
        raise ValueError(
            "Data must be named: --dataset NAME, or --train and --test. Received: "
            f"--train {options.train} --test {options.test}"
        )
    x_train, x_test = (None if path is None else _array(path) for path in arrays)
    return x_train, x_test


def _array(path: pathlib.Path) -> np.ndarray:
    """The array in a file; a ValueError says what else is in it."""
    expected = "one array of numbers, as .npy or .npz"
    try:
        found = np.load(path)
    except FileNotFoundError:
        raise damaged(path, expected, "no such file") from None
    except (ValueError, EOFError, OSError) as error:
        raise damaged(path, expected, f"damage ({error})") from error
    if isinstance(found, np.ndarray):
        return found
    with found:
        if len(found.files) != 1:
            raise damaged(path, expected, f"the arrays {', '.join(found.files)}")
        return found[found.files[0]]


if __name__ == "__main__":
    sys.exit(main())
