"""Every registered layer, and variants: a new layer is one line of this table."""

import keras
import numpy as np

from echo_keras.layers import (
    MADE,
    AppendNoise,
    BetaInput,
    BetaRange,
    Chain,
    Coupling,
    DeterministicBottleneck,
    EchoBottleneck,
    EchoSample,
    FlowMarginal,
    GANPenalty,
    GatedConv2D,
    GatedConv2DTranspose,
    GatedDense,
    GaussianBottleneck,
    GaussianMixture,
    GaussianSample,
    IAFBlock,
    InputNoise,
    Laplace,
    Logistic,
    MAFBlock,
    MAFMarginal,
    MarginalKLPenalty,
    MaskedDense,
    MMDPenalty,
    Permutation,
    PixelCNN,
    PriorSamples,
    PseudoInputs,
    QuantizedBottleneck,
    RateGate,
    Scale,
    ScaledDense,
    Shift,
    ShuffledCodes,
    SpectralNormalization,
    SpikeAndSlab,
    Standardize,
    StandardNormal,
    TargetDistortion,
    TargetRate,
    TotalCorrelationPenalty,
    VampPrior,
    VariancePenalty,
    VectorQuantizer,
    dense_discriminator,
)
from echo_keras.losses import SquaredError

ROWS, PSEUDO = 5, 3
B = None  # the batch, whose size is not known

FLOW = {"steps": 2, "hidden": (6, 5), "mean_only": False, "permutation": "random"}
ECHO = {"d_max": 3, "bank_size": 8}
# A class, or a class and a word on the variant: (what makes it from a seed, the shape
# of each input).
CASES = {
    "AppendNoise": (lambda s: AppendNoise(3, seed=s), (B, 2, 3)),
    "BetaInput": (
        lambda s: BetaInput(BetaRange(0.5, 2.0, levels=3), "example", seed=s),
        (B, 2),
    ),
    "Chain": (
        lambda s: Chain([MAFBlock(**FLOW), Coupling((4,)), Scale()]),
        (B, 3),
        (B, 2),
    ),
    "Coupling": (lambda s: Coupling((6, 4), activation="tanh"), (B, 3)),
    "DeterministicBottleneck": (lambda s: DeterministicBottleneck(2), (B, 4)),
    "EchoBottleneck": (lambda s: EchoBottleneck(2, seed=s, **ECHO), (B, 4)),
    "EchoBottleneck, standardized": (
        lambda s: EchoBottleneck(2, parametrization="standardized", seed=s, **ECHO),
        (B, 4),
    ),
    "EchoBottleneck, paper": (
        lambda s: EchoBottleneck(2, parametrization="paper", seed=s, **ECHO),
        (B, 4),
    ),
    "EchoSample": (lambda s: EchoSample(seed=s, **ECHO), (B, 2), (B, 2)),
    "EchoSample, triangular": (
        lambda s: EchoSample(seed=s, scale="triangular", **ECHO),
        *((B, 3), (B, 3), (B, 3)),
    ),
    "EchoSample, with replacement": (
        lambda s: EchoSample(seed=s, sampling="with_replacement", **ECHO),
        *((B, 2, 2), (B, 2, 2)),
    ),
    "FlowMarginal": (lambda s: FlowMarginal(Coupling((4,)), seed=s), (B, 3)),
    "GANPenalty": (
        lambda s: GANPenalty(2.0, dense_discriminator((4,)), "forward_kl", True),
        *((B, 3), (B, 3)),
    ),
    "GatedConv2D": (lambda s: GatedConv2D(3, (3, 2), strides=2), (B, 5, 6, 2)),
    "GatedConv2DTranspose": (
        lambda s: GatedConv2DTranspose(3, 5, strides=2, padding="same"),
        (B, 3, 4, 2),
    ),
    "GatedDense": (lambda s: GatedDense(3, bias_initializer="ones"), (B, 2, 4)),
    "GaussianBottleneck": (lambda s: GaussianBottleneck(2, seed=s), (B, 4)),
    "GaussianBottleneck, flow": (
        lambda s: GaussianBottleneck(
            2,
            variance_activation="softplus",
            context_units=3,
            flow=IAFBlock(**FLOW),
            context=True,
            beta=TargetRate(3.0),
            seed=s,
        ),
        (B, 4),
    ),
    "GaussianMixture": (
        lambda s: GaussianMixture(
            [[-1.0, 0.0, 2.0], [1.0, 0.5, 0.0]], [0.5, 1.0], [0.25, 0.75], seed=s
        ),
        (B, 3),
    ),
    "GaussianSample": (lambda s: GaussianSample(seed=s), (B, 2), (B, 2)),
    "EchoSample, free bits": (
        lambda s: EchoSample(seed=s, free_bits=3.2, **ECHO),
        (B, 2),
        (B, 2),
    ),
    "GaussianSample, free bits": (
        lambda s: GaussianSample(seed=s, free_bits=0.4),
        (B, 2),
        (B, 2),
    ),
    "GaussianSample, marginal": (
        lambda s: GaussianSample(Logistic(0.5), noise_variance=0.5, seed=s),
        (B, 2, 3),
    ),
    "GaussianSample, VampPrior": (
        lambda s: GaussianSample(VampPrior(learned_weights=True), seed=s),
        *((B, 2), (B, 2), (PSEUDO, 2), (PSEUDO, 2)),
    ),
    "IAFBlock": (lambda s: IAFBlock(**FLOW), (B, 3)),
    "IAFBlock, context": (lambda s: IAFBlock(**FLOW), (B, 3), (B, 2)),
    "InputNoise": (lambda s: InputNoise(0.5, seed=s), (B, 2, 3)),
    "Laplace": (lambda s: Laplace(0.5, seed=s), (B, 3)),
    "Logistic": (lambda s: Logistic(0.5, seed=s), (B, 3)),
    "MADE": (lambda s: MADE((6, 5), 2, order=(2, 0, 1)), (B, 3)),
    "MAFBlock": (lambda s: MAFBlock(**FLOW), (B, 3)),
    "MAFMarginal": (lambda s: MAFMarginal(**FLOW, base=Logistic(seed=s)), (B, 3)),
    "MMDPenalty": (lambda s: MMDPenalty(2.0, "imq", 0.5, "unbiased", seed=s), (B, 3)),
    "MarginalKLPenalty": (
        lambda s: MarginalKLPenalty(-1.0, dense_discriminator((4,)), seed=s),
        (B, 3),
    ),
    "MarginalKLPenalty, non-saturating": (
        lambda s: MarginalKLPenalty(
            1.0, dense_discriminator((4,)), seed=s, form="non_saturating"
        ),
        (B, 3),
    ),
    "MaskedDense": (lambda s: MaskedDense([1, 2, 3], [0, 2], strict=True), (B, 3)),
    "Permutation": (lambda s: Permutation("random"), (B, 6)),
    "PixelCNN": (lambda s: PixelCNN(2, 1, seed=s), (B, 4, 4, 1), (B, 3)),
    "PixelCNN, code in layers": (
        lambda s: PixelCNN(2, 1, seed=s, conditioning="layers"),
        (B, 4, 4, 1),
        (B, 3),
    ),
    "PriorSamples": (lambda s: PriorSamples(2, seed=s), (B, 3, 3)),
    "PseudoInputs": (lambda s: PseudoInputs(PSEUDO, low=-1.0), (B, 2, 2)),
    "QuantizedBottleneck": (
        lambda s: QuantizedBottleneck(2, 4, dither=0.1, seed=s),
        (B, 4),
    ),
    "RateGate": (lambda s: RateGate(beta=2.0), (B, 2, 4)),
    "ScaledDense": (lambda s: ScaledDense(3), (B, 2, 4)),
    "Scale": (lambda s: Scale(), (B, 3)),
    "Shift": (lambda s: Shift(), (B, 3)),
    "ShuffledCodes": (lambda s: ShuffledCodes(2, seed=s), (B, 4)),
    "SpectralNormalization": (
        lambda s: SpectralNormalization(
            keras.layers.Conv2D(3, 2, strides=2, activation="relu"), squarings=2
        ),
        (B, 5, 6, 2),
    ),
    "SpikeAndSlab": (lambda s: SpikeAndSlab(0.7, 0.25, seed=s), (B, 3)),
    "StandardNormal": (lambda s: StandardNormal(seed=s), (B, 2, 3)),
    "Standardize": (lambda s: Standardize(), (B, 4)),
    "TargetDistortion": (
        lambda s: TargetDistortion(3.0, SquaredError()),
        *((B, 3), (B, 3)),
    ),
    "TotalCorrelationPenalty": (
        lambda s: TotalCorrelationPenalty(2.0, dense_discriminator((4,)), seed=s),
        (B, 3),
    ),
    "VampPrior": (
        lambda s: VampPrior(learned_weights=True, seed=s),
        *((B, 2), (PSEUDO, 2), (PSEUDO, 2)),
    ),
    "VariancePenalty": (lambda s: VariancePenalty(2.0, variance=1.0), (B, 3)),
    "VectorQuantizer, weighed lengths": (
        lambda s: VectorQuantizer(4, groups=2, length_weight=0.5, dither=0.1, seed=s),
        (B, 4),
    ),
    "VectorQuantizer": (
        lambda s: VectorQuantizer(4, groups=2, temperature=0.5, dither=0.1, seed=s),
        (B, 4),
    ),
}


def make(name, seed=3):
    """The layer of a case: all weights and draws follow from the seed."""
    keras.utils.set_random_seed(0)
    return CASES[name][0](seed)


def data(name, rows=ROWS):
    """Inputs that half precision holds exactly, pseudo-inputs apart."""
    generator = np.random.RandomState(0)
    shapes = [(rows, *s[1:]) for s in CASES[name][1:] if s[0] is None]
    return [generator.randint(-8, 9, s).astype("float32") / 8 for s in shapes]


def model_of(name, seed=3):
    """A layer in a model with pseudo-inputs where it takes them, no zero weights."""
    layer = make(name, seed)
    inputs = [keras.Input(s[1:]) for s in CASES[name][1:] if s[0] is None]
    pseudo = [
        PseudoInputs(s[0], "ones")(inputs[0]) for s in CASES[name][1:] if s[0] == PSEUDO
    ]
    tensors = [*inputs, *pseudo]
    if isinstance(layer, VampPrior):
        outputs = layer(*tensors)
    else:
        outputs = layer(tensors if len(tensors) > 1 else tensors[0])
    generator = np.random.RandomState(0)
    for weight in layer.trainable_variables:
        weight.assign(generator.normal(0, 0.4, weight.shape))
    return keras.Model(inputs, outputs), layer
