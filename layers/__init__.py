"""Keras layers for autoencoders with a measured rate: channels, marginals, flows."""

from .beta import BetaRule, BetaSchedule, TargetRate, TargetRateL1
from .channel import Channel, Draw, collect_draws
from .couplings import Chain, Coupling, Permutation, Scale, Shift
from .deterministic_bottleneck import DeterministicBottleneck
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
from .echo import EchoSample
from .echo_bottleneck import EchoBottleneck, tanh16
from .echo_noise import max_scale
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
from .gaussian_bottleneck import GaussianBottleneck
from .marginals import Logistic, Marginal, StandardNormal
from .noise import InputNoise
from .penalties import MMDPenalty, VariancePenalty
from .penalty import Penalty
from .pixelcnn import PixelCNN
from .quantized_bottleneck import QuantizedBottleneck
from .vamp_prior import PseudoInputs, VampPrior
from .vector_quantizer import VectorQuantizer

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
