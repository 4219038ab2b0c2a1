"""Keras 3 layers for codes whose information is known: channels and marginals."""

from .bottleneck import EchoBottleneck, GaussianBottleneck, tanh16
from .channel import Channel, collect_rates
from .echo import EchoSample, echoes_from_batch, max_scale
from .gaussian import GaussianSample
from .marginals import StandardNormal
from .terms import Penalty

__all__ = [
    "Channel",
    "EchoBottleneck",
    "EchoSample",
    "GaussianBottleneck",
    "GaussianSample",
    "Penalty",
    "StandardNormal",
    "collect_rates",
    "echoes_from_batch",
    "max_scale",
    "tanh16",
]
