"""The scripts import each other from their own folder, as when they are run."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "reproductions"))
