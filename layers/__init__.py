"""Keras layers for autoencoders with a measured rate: channels, marginals, flows."""

from .beta import BetaRule, BetaSchedule, RateDeviation, TargetRate
from .bottleneck import (
    DeterministicBottleneck,
    EchoBottleneck,
    GaussianBottleneck,
    QuantizedBottleneck,
    tanh16,
)
from .channel import Channel, collect_rates
from .couplings import Coupling, FlowChain, LinearScale, LinearShift, Permutation
from .critics import DensityRatioPenalty, TotalCorrelationPenalty, dense_critic
from .divergences import (
    AggregateDivergence,
    DataDivergence,
    PriorSamples,
    conv_critic,
)
from .echo import EchoSample, echoes_from_batch, max_scale
from .flows import (
    MADE,
    Flow,
    FlowMarginal,
    IAFBlock,
    MAFBlock,
    MAFMarginal,
    MaskedDense,
)
from .gated import GatedConv2D, GatedConv2DTranspose, GatedDense
from .gaussian import GaussianSample
from .marginals import Logistic, Marginal, PseudoInputs, StandardNormal, VampPrior
from .noise import InputNoise
from .penalties import MMDPenalty, VariancePenalty
from .pixelcnn import PixelCNN
from .quantizer import VectorQuantizer
from .terms import Penalty

__all__ = [
    "AggregateDivergence",
    "BetaRule",
    "BetaSchedule",
    "Channel",
    "Coupling",
    "DataDivergence",
    "DensityRatioPenalty",
    "DeterministicBottleneck",
    "EchoBottleneck",
    "EchoSample",
    "Flow",
    "FlowChain",
    "FlowMarginal",
    "GatedConv2D",
    "GatedConv2DTranspose",
    "GatedDense",
    "GaussianBottleneck",
    "GaussianSample",
    "IAFBlock",
    "InputNoise",
    "LinearScale",
    "LinearShift",
    "Logistic",
    "MADE",
    "MAFBlock",
    "MAFMarginal",
    "MMDPenalty",
    "Marginal",
    "MaskedDense",
    "Penalty",
    "Permutation",
    "PixelCNN",
    "PriorSamples",
    "PseudoInputs",
    "QuantizedBottleneck",
    "RateDeviation",
    "StandardNormal",
    "TargetRate",
    "TotalCorrelationPenalty",
    "VampPrior",
    "VariancePenalty",
    "VectorQuantizer",
    "collect_rates",
    "conv_critic",
    "dense_critic",
    "echoes_from_batch",
    "max_scale",
    "tanh16",
]
