"""Keras layers for autoencoders with a measured rate: channels, marginals, flows."""

from .autoregressive import IAFBlock, MAFBlock
from .beta import BetaRange, BetaRule, BetaSchedule, TargetRate, TargetRateL1
from .beta_input import BetaInput
from .chain import Chain
from .channel import Channel, Draw, collect_draws
from .coupling import Coupling
from .density_ratio_penalty import DensityRatioPenalty
from .deterministic_bottleneck import DeterministicBottleneck
from .discriminators import conv_discriminator, dense_discriminator
from .echo import EchoSample
from .echo_bottleneck import EchoBottleneck
from .echo_noise import max_scale
from .flow import Flow
from .flow_marginal import FlowMarginal, MAFMarginal
from .gan_penalty import GANPenalty
from .gated import GatedConv2D, GatedConv2DTranspose, GatedDense
from .gaussian import GaussianSample
from .gaussian_bottleneck import GaussianBottleneck
from .made import MADE, MaskedDense
from .marginal_kl_penalty import MarginalKLPenalty
from .marginals import Logistic, Marginal, StandardNormal
from .mmd_penalty import MMDPenalty
from .noise import InputNoise
from .penalty import Penalty
from .permutation import Permutation
from .pixelcnn import PixelCNN
from .prior_samples import PriorSamples
from .quantized_bottleneck import QuantizedBottleneck
from .rate_gate import RateGate
from .scale_and_shift import Scale, Shift
from .scaled_dense import ScaledDense
from .shuffled_codes import ShuffledCodes
from .spectral_normalization import SpectralNormalization
from .standardize import Standardize
from .target_distortion import TargetDistortion
from .total_correlation_penalty import TotalCorrelationPenalty
from .vamp_prior import PseudoInputs, VampPrior
from .variance_penalty import VariancePenalty
from .vector_quantizer import VectorQuantizer

__all__ = [
    "BetaInput",
    "BetaRange",
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
    "RateGate",
    "Scale",
    "ScaledDense",
    "Shift",
    "ShuffledCodes",
    "SpectralNormalization",
    "StandardNormal",
    "Standardize",
    "TargetDistortion",
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
]
