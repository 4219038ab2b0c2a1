"""Keras 3 layers for codes whose information is known: channels and marginals."""

from .bottleneck import EchoBottleneck, GaussianBottleneck, tanh16
from .channel import Channel
from .echo import EchoSample, max_scale
from .gaussian import GaussianSample
from .marginals import StandardNormal

__all__ = [
    "Channel",
    "EchoBottleneck",
    "EchoSample",
    "GaussianBottleneck",
    "GaussianSample",
    "StandardNormal",
    "max_scale",
    "tanh16",
]
