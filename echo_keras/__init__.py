"""Autoencoders whose rate and distortion, in nats, are first-class.

The layers are in `echo_keras.layers`; what stands around them is here.
"""

import pathlib as _pathlib

__version__ = "0.1.0"

# In a checkout `layers/` stands beside this package rather than inside it. This
# lets a checkout be used from its own folder, however the package was installed.
if not (_pathlib.Path(__path__[0]) / "layers").is_dir():
    __path__.append(str(_pathlib.Path(__path__[0]).parent))

# Imported here so that Keras finds their classes when it loads a saved model.
from echo_keras import layers, losses, models, training  # noqa: E402
from echo_keras.models import RateDistortionModel  # noqa: E402

__all__ = ["RateDistortionModel", "layers", "losses", "models", "training"]
