"""Keras layers for autoencoders with a measured rate: channels, marginals, flows."""

from .beta import BetaRule, BetaSchedule, TargetRate, TargetRateL1
from .bottleneck import (
    DeterministicBottleneck,
    EchoBottleneck,
    GaussianBottleneck,
    QuantizedBottleneck,
    tanh16,
)
from .channel import Channel, Draw, collect_draws
from .couplings import Chain, Coupling, Permutation, Scale, Shift
from .discriminators import (
    DensityRatioPenalty,
    TotalCorrelationPenalty,
    dense_discriminator,
)
from .divergences import (
    GANPenalty,
    MarginalKLPenalty,
    PriorSamples,
    conv_discriminator,
)
from .echo import EchoSample, max_scale
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
    "BetaRule",
    "BetaSchedule",
    "Chain",
    "Channel",
    "Coupling",
    "DensityRatioPenalty",
    "DeterministicBottleneck",
    "Draw",
    "EchoBottleneck",
    "EchoSample",
    "Flow",
    "FlowMarginal",
    "GANPenalty",
    "GatedConv2D",
    "GatedConv2DTranspose",
    "GatedDense",
    "GaussianBottleneck",
    "GaussianSample",
    "IAFBlock",
    "InputNoise",
    "Logistic",
    "MADE",
    "MAFBlock",
    "MAFMarginal",
    "MMDPenalty",
    "Marginal",
    "MarginalKLPenalty",
    "MaskedDense",
    "Penalty",
    "Permutation",
    "PixelCNN",
    "PriorSamples",
    "PseudoInputs",
    "QuantizedBottleneck",
    "Scale",
    "Shift",
    "StandardNormal",
    "TargetRate",
    "TargetRateL1",
    "TotalCorrelationPenalty",
    "VampPrior",
    "VariancePenalty",
    "VectorQuantizer",
    "collect_draws",
    "conv_discriminator",
    "dense_discriminator",
    "max_scale",
    "tanh16",
]
