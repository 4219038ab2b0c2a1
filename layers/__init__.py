"""Keras layers for autoencoders with a measured rate: channels, marginals, flows."""

from .autoregressive import IAFBlock, MAFBlock
from .beta import BetaRule, BetaSchedule, TargetRate, TargetRateL1
from .bottleneck import (
    DeterministicBottleneck,
    EchoBottleneck,
    GaussianBottleneck,
    QuantizedBottleneck,
    tanh16,
)
from .chain import Chain
from .channel import Channel, collect_rates
from .coupling import Coupling
from .density_ratio_penalty import DensityRatioPenalty
from .discriminators import conv_discriminator, dense_discriminator
from .echo import EchoSample, echoes_from_batch, max_scale
from .flow import Flow
from .flow_marginal import FlowMarginal, MAFMarginal
from .gan_penalty import GANPenalty
from .gated import GatedConv2D, GatedConv2DTranspose, GatedDense
from .gaussian import GaussianSample
from .made import MADE, MaskedDense
from .marginal_kl_penalty import MarginalKLPenalty
from .marginals import Logistic, Marginal, PseudoInputs, StandardNormal, VampPrior
from .mmd_penalty import MMDPenalty
from .noise import InputNoise
from .permutation import Permutation
from .pixelcnn import PixelCNN
from .prior_samples import PriorSamples
from .quantizer import VectorQuantizer
from .scale_and_shift import Scale, Shift
from .terms import Penalty
from .total_correlation_penalty import TotalCorrelationPenalty
from .variance_penalty import VariancePenalty

__all__ = [
    "BetaRule",
    "BetaSchedule",
    "Chain",
    "Channel",
    "Coupling",
    "DensityRatioPenalty",
    "DeterministicBottleneck",
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
    "collect_rates",
    "conv_discriminator",
    "dense_discriminator",
    "echoes_from_batch",
    "max_scale",
    "tanh16",
]
