"""Autoencoders whose rate and distortion, in nats, are first-class.

The layers are in `echo_keras.layers`. Around them stand the losses, the model that
logs rate and distortion, networks and objectives, training, data, metrics, and
studies of many runs; each is a module of that name, an attribute of this package.
"""

import importlib as _importlib
import importlib.util as _util
import pathlib as _pathlib
import sys as _sys

__version__ = "0.2.0"


def _load_layers_beside(package):
    """In a checkout `layers/` stands beside this package rather than inside it."""
    folder = package.parent / "layers"
    spec = _util.spec_from_file_location(
        f"{__name__}.layers",
        folder / "__init__.py",
        submodule_search_locations=[str(folder)],
    )
    _sys.modules[spec.name] = module = _util.module_from_spec(spec)
    spec.loader.exec_module(module)


if not (_pathlib.Path(__file__).parent / "layers").is_dir():
    _load_layers_beside(_pathlib.Path(__file__).resolve().parent)

# Imported here so that Keras finds their classes when it loads a saved model.
from echo_keras import layers, losses, model, networks, training  # noqa: E402
from echo_keras.autoencoders import autoencoder  # noqa: E402
from echo_keras.memories import renew_memories  # noqa: E402
from echo_keras.model import RateDistortionModel  # noqa: E402
from echo_keras.multi_rate_model import MultiRateModel, multi_rate  # noqa: E402

_LAZY = ("codec", "data", "interop", "latent_flow", "metrics", "objectives", "plots")
_LAZY += ("probe", "reports", "studies")

__all__ = [
    "MultiRateModel",
    "RateDistortionModel",
    "audit",
    "autoencoder",
    "codec",
    "data",
    "interop",
    "latent_flow",
    "layers",
    "losses",
    "metrics",
    "model",
    "multi_rate",
    "networks",
    "objectives",
    "plots",
    "probe",
    "rate_distortion_curve",
    "renew_memories",
    "report",
    "reports",
    "studies",
    "training",
]


def __getattr__(name):
    # These load scikit-learn, SciPy or Matplotlib: not before they are needed.
    if name in _LAZY:
        return _importlib.import_module(f"{__name__}.{name}")
    if name in ("audit", "report"):
        return getattr(__getattr__("reports"), name)
    if name == "rate_distortion_curve":
        return __getattr__("studies").rate_distortion_curve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(set(globals()) | set(__all__))
