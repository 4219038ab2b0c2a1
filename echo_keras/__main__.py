"""`python -m echo_keras doctor FOLDER`: what in a run's folder is whole."""

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line for each file; returns 1 if something is wrong, else 0."""
    parser = argparse.ArgumentParser("python -m echo_keras", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser(
        "doctor", help="say what in a folder is whole, what is not and what to do"
    )
    doctor.add_argument("folder", help="of a training, or of a study's records")
    options = parser.parse_args(arguments)

    from echo_keras.studies.doctor import examine

    try:
        found = examine(options.folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for path, wrong, text in found:
        print(f"{'WRONG' if wrong else 'ok':5} {path}: {text.removeprefix(f'{path} ')}")
    return int(any(finding.wrong for finding in found))


if __name__ == "__main__":
    sys.exit(main())
