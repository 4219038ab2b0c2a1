r"""Objectives of autoencoders: functions from networks to a trainable model.

Each takes an encoder (inputs to features, or a function that makes one), a decoder
(codes to outputs, or a function from the latent dimension to one) and `latent_dim`,
the number of code dimensions, and returns a `RateDistortionModel`, not yet compiled.
`penalties` are more layers that codes pass, such as a `TotalCorrelationPenalty`.

An encoder of several inputs, `[x, condition]`, and a decoder of `[z, condition]` make
`vae`, `echo`, `info_vae` and all others without a discriminator conditional; see
`echo_keras.autoencoder`.

All are choices among four terms of the information bottleneck
`I(X; Z) - beta I(Z; X)`, each a part of the model:

| term | | what it is here |
| --- | --- | --- |
| A | `E KL[q(z\|x) \|\| p(z)]` | the rate of a channel, with the weight `beta` |
| B | `KL[q(z) \|\| p(z)]` | `MarginalKLPenalty`, or `MMDPenalty` in its place |
| C | `-E log p(x\|z)` | the loss that the model is compiled with |
| D | `KL[p_D(x) \|\| p(x)]`, or another divergence | `GANPenalty` |

In words: A is what it costs to send the code of an example to somebody who knows only
the prior. B is how far the codes of all examples together are from the prior; A - B
is the information that codes have of their examples. C is what the decoder then still
has to be told to restore the example. D is how far the images that come out of the
model are, as a population, from the data.

| function | loss | equation in the BIB-AE paper |
| --- | --- | --- |
| `vae`, `echo` | A + C | 30, and 31 with beta |
| `aae` | B + C | 32 |
| `info_vae` | A - B + C, or A + MMD + C | 33 |
| `gan` | D, or D + C | 24, 25 |
| `vae_gan` | A + C + D | 34 |
| `bib_ae` | A - B + C + D | 26 to 29 |
| `wae`, `vim` | MMD + C | 32, with MMD for B |
| `shannon_ae` | `R_Q` + C, of a quantized code | 35 |
| `generative_compression` | `R_Q` + C + D, with dither | 36 |
| `vcae` | `lambda \|sum_j Var(z_j) - v\|` + C | |
| `information_bottleneck` | A + `H(C\|Z)`, with class labels | 1 to 9 |

The paper weighs C and D by its `beta`; here A and B are weighed by `beta` instead,
which is its reciprocal.

What a function does not list is set on the layer: build the bottleneck, and hand it to
`echo_keras.autoencoder` with the penalties. In the examples, `encoder` and `decoder`
are small dense networks for inputs of 8 numbers.

References:
    Voloshynovskiy et al., Information Bottleneck through Variational Glasses (2019),
    the BIB-AE paper.
"""

from .adversarial import IMAGES, aae, bib_ae, gan, vae_gan
from .compression import generative_compression, shannon_ae
from .entropy_target import EntropyTargetModel
from .matching import PRIORS, UNIT_LOGISTIC, vcae, vim, wae
from .rate import echo, info_vae, information_bottleneck, vae

__all__ = [
    "EntropyTargetModel",
    "IMAGES",
    "PRIORS",
    "UNIT_LOGISTIC",
    "aae",
    "bib_ae",
    "echo",
    "gan",
    "generative_compression",
    "info_vae",
    "information_bottleneck",
    "shannon_ae",
    "vae",
    "vae_gan",
    "vcae",
    "vim",
    "wae",
]
