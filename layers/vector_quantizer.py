"""Vector quantization with a rate: codes become their nearest codewords."""

import math
import numbers
from typing import Any

import keras
import numpy as np
from keras import ops

from . import arguments
from .backend import argmin
from .base import batch_mean
from .beta import BetaRange, BetaRule
from .channel import Draw
from .channel_inputs import check_built
from .codebook import distances, take_codes, take_codewords, with_floor
from .learned_codebook import LearnedCodebook
from .numerics import sum_over_latent, unmasked
from .replicas import same_noise
from .symbolic import symbolic
from .typing import Shape, Tensor, Tensors

UPDATES = ("ema", "gradient")


@keras.saving.register_keras_serializable(package="echo_keras")
class VectorQuantizer(LearnedCodebook):
    """Replaces codes by their nearest codewords; the rate is their code length.

    The last axis of z is split into `groups` sub-vectors `z_g` of equal width, each
    with a codebook of its own (a product quantizer; `groups` = d quantizes every
    dimension by itself):

    `z_g` becomes `z_hat_g = c_(g j_g(x)) + u`, `j_g(x) = argmin_j ||z_g - c_gj||^2`.

    All positions of a code with several axes share the codebooks. The gradient of
    `z_hat` is handed to z as it is (straight through).

    The rate of an example is the length of its code under the moving frequencies
    `p_gj` of the codewords, in nats, summed over groups and positions:
    `-sum_g log p_(g j_g(x))`. Its mean is the cross-entropy, which is at least
    `H(Z_hat) = I(X; Z_hat)` and, for codes that follow the frequencies,
    `R_Q = -sum_j p_j log p_j` (`entropy`). `echo_keras.codec` writes files of this
    length. A training batch is measured with the frequencies of those before it;
    `set_frequencies` replaces the moving ones by those of a whole data set.

    With a `length_weight` `lambda` the choice of a codeword counts its code length:

    `j_g(x) = argmin_j ||z_g - c_gj||^2 - lambda log p_gj`,

    an entropy-constrained quantizer, which minimizes distance plus `lambda` times
    rate. A codeword that is rare is chosen where it is much nearer, becomes rarer, and
    the entropy falls: to 0 at last, where all codes share one. (Here too choose
    `dead_code_threshold` None.) Codes are pulled to what was chosen, and
    `set_frequencies` moves the borders between codewords. A soft assignment, below,
    counts lengths too: it is the softmax of `-1 / T` times what is minimized here.

    The assignment is hard, and so the rate has no gradient by default: the number
    of codewords bounds it. With a `temperature` T it has the gradient of the rate of
    the soft assignment `softmax_j(-||z_g - c_gj||^2 / T)` to z; value
    and output stay those of the hard one. A rate penalty from step 0 causes codebook
    collapse: anneal beta (`BetaSchedule`).

    Training moves the codewords in one of two ways, with rate
    `a = max(1 - decay, 1 / t)` in the t-th training batch, in which a share
    `s_j` of all codes is assigned to `c_j`, with mean `m_j`:

    - "ema": `p_j <- p_j + a (s_j - p_j)`, then
      `c_j <- c_j + a (s_j / p_j) (m_j - c_j)`. This is the moving average of all
      codes that were assigned to the codeword. One without codes stays where it is,
      so that counts need no smoothing.
    - "gradient": the optimizer moves the codewords by the loss
      `||sg(z) - c||^2`; p as above.

    To both, `commitment` `||z - sg(c)||^2` is added, which keeps codes close to
    their codewords. Terms are sums over the code and means over the batch.

    The first training batch provides all codewords, unless there is an `initializer`.
    A codeword that was unused in `dead_code_threshold` training batches in a row is
    replaced by a random code of the batch, and shares the frequency of the codeword
    which that code was assigned to. (With a temperature choose None: the rate's
    gradient empties codewords to save nats.) With `trainable = False`
    codewords and frequencies stay as they are.

    With `dither` the output has uniform noise added, in training and at inference:
    generation then is not limited to as many codes as there are codewords. It
    belongs to the decoder, and the rate is that of the codeword alone.

    For sub-vectors of more than 4 dimensions distances are made of matrix products,
    which a GPU may round to 10 bits (TF32): of two codewords that are as close as
    that, either may be chosen.

    Args:
        codewords: Int from 2 to 65,536, K, codewords of each group.
        groups: Int >= 1, a divisor of d.
        update: "ema" or "gradient".
        decay: Float in [0, 1), of the moving averages.
        commitment: Float >= 0, weight on the distance of codes to their codewords.
        temperature: Float > 0, in the squared units of z, for the rate's gradient;
            or None for a rate without one.
        length_weight: Float >= 0, `lambda`, squared units of z for a nat; 0 for the
            nearest codeword.
        dither: Float >= 0, half the width of the uniform noise in each dimension.
        dead_code_threshold: Int >= 1 or None, never.
        initializer: Keras initializer of the codebooks (groups, codewords, d / groups),
            or None for the codes of the first training batch. (Until then they are
            standard normal.)
        beta: Float >= 0, weight on the rate, or a rule that moves it; see `Channel`.
            With a `BetaRange` all levels share the codewords, and each has frequencies
            of its own.
        seed: Int or None; see `Channel`.
        synchronized: If True, the codes of all devices move one codebook; if False,
            each device trains a codebook by its share of the batch, and that of the
            first is saved. See `EchoSample`.

    Inputs:
        z, shape (batch, ..., d) with d known.

    Output:
        The quantized z, of the same shape.

    Raises:
        ValueError: an argument is out of range, or d is not a multiple of `groups`.

    Example:

    >>> import numpy as np
    >>> levels = keras.initializers.Constant(np.array([[[-1.0], [1.0]]]))
    >>> layer = VectorQuantizer(2, initializer=levels)
    >>> z = layer(np.array([[0.3], [-5.0], [0.9]]))
    >>> ops.convert_to_numpy(z).ravel().tolist()
    [1.0, -1.0, 1.0]
    >>> round(float(layer.last_rate.value), 3)  # log 2: no frequencies known yet
    0.693

    References:
        Information bottleneck through variational glasses, Sec. 4.2, Eq. 35; the
        dither is Eq. 36 and the soft assignment footnote 9. van den Oord et al.,
        Neural Discrete Representation Learning (2017), Eq. 3 and App. A.1. Chou,
        Lookabaugh & Gray, Entropy-Constrained Vector Quantization (1989).
    """

    def __init__(
        self,
        codewords: int,
        groups: int = 1,
        update: str = "ema",
        decay: float = 0.99,
        commitment: float = 0.25,
        temperature: float | None = None,
        length_weight: float = 0.0,
        dither: float = 0.0,
        dead_code_threshold: int | None = 100,
        initializer: keras.initializers.Initializer | str | None = None,
        beta: float | BetaRule | BetaRange = 1.0,
        seed: int | None = None,
        synchronized: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(beta=beta, seed=seed, **kwargs)
        self.codewords = arguments.integer("codewords", codewords, 2, 2**16)
        self.groups = arguments.integer("groups", groups)
        self.update = arguments.choice("update", update, UPDATES)
        self.decay = arguments.number("decay", decay, low=0, below=1)
        self.commitment = arguments.number("commitment", commitment, low=0)
        self.temperature = arguments.number(
            "temperature", temperature, above=0, optional=True
        )
        self.length_weight = arguments.number("length_weight", length_weight, low=0)
        self.dither = arguments.number("dither", dither, low=0)
        self.dead_code_threshold = arguments.integer(
            "dead_code_threshold", dead_code_threshold, optional=True
        )
        self.synchronized = arguments.flag("synchronized", synchronized)
        self.initializer = None
        if initializer is not None:
            if isinstance(initializer, (numbers.Number, np.generic, np.ndarray)):
                raise ValueError(
                    f"initializer must be a Keras initializer, such as "
                    f"Constant(value), or None. Received: initializer={initializer!r}"
                )
            self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: Shape) -> None:
        dims = input_shape[-1]
        if len(input_shape) < 2 or dims is None or dims % self.groups:
            raise ValueError(
                f"The input of VectorQuantizer must have the shape (batch, ..., d), d "
                f"known and a multiple of groups = {self.groups}. "
                f"Received: {tuple(input_shape)}"
            )
        super().build()
        self.width = dims // self.groups
        self.positions = tuple(input_shape[1:-1])
        self.build_frequencies()
        shape = (self.groups, self.codewords)
        initializer = self.initializer
        if initializer is None:
            initializer = keras.initializers.RandomNormal(stddev=1.0, seed=self.seed)
        # The codebook is base + shift: JAX lets `call` assign no weight that is
        # trained, and the first batch and revived codewords have to be assigned.
        self.base = self.add_weight(
            name="base",
            shape=(*shape, self.width),
            initializer=initializer,
            dtype="float32",
            autocast=False,
            trainable=False,
        )
        self.shift = None
        if self.update == "gradient":
            self.shift = self.add_weight(
                name="shift",
                shape=(*shape, self.width),
                initializer="zeros",
                dtype="float32",
                autocast=False,
            )

    @symbolic
    def draw(self, inputs: Tensor, echoes_from: str = "bank") -> Draw:
        """The quantized z with its dither and its code length: (batch,), nats.

        The log-ratio is the rate, as q(z|x) is 1 at the codeword.

        Args:
            inputs: z, (batch, ..., d).
            echoes_from: For `EchoSample`; of no effect here.
        """
        z, base = self._vectors(inputs), ops.copy(self.base)
        rate, _, chosen = self._assign(inputs, z, base)
        return self._output(inputs, z, chosen, rate)

    def _step(self, inputs, training):
        learn = bool(training) and self.trainable
        z = self._vectors(inputs)
        fixed = ops.stop_gradient(z)
        base = ops.copy(self.base)  # PyTorch must not find what it saved changed
        if learn:
            vectors, usable = self._of_all(fixed, self._usable(inputs))
            with same_noise(self.synchronized):
                picks = self._picks(usable)
        if learn and self.initializer is None:
            first = ops.logical_and(self.steps == 0, ops.sum(usable) > 0)
            base = ops.where(first, take_codes(vectors, picks), base)
        rate, index, chosen = self._assign(inputs, z, base)
        chosen_fixed = ops.stop_gradient(chosen)
        if self.commitment:
            error = self._per_example(ops.square(z - chosen_fixed), inputs)
            self.add_loss(self.commitment * batch_mean(error))
        if self.shift is not None:
            error = self._per_example(ops.square(fixed - chosen), inputs)
            self.add_loss(batch_mean(error))
        if learn:
            index, residual = self._of_all(index, fixed - chosen_fixed)
            self._learn(vectors, index, residual, base, picks, usable)
        return self._output(inputs, z, chosen, rate)

    def _assign(self, inputs, z, base):
        """Rate (batch,), index and codeword of each sub-vector."""
        codebook = base if self.shift is None else base + self.shift
        log_p = ops.log(with_floor(self._law()))
        scores = self._scores(z, ops.stop_gradient(codebook))
        index = argmin(scores, axis=2)
        length = -take_codewords(ops.expand_dims(log_p, 2), index)[:, :, 0]
        if self.temperature is not None:
            share = ops.softmax(-scores / self.temperature, axis=2)
            soft = -ops.sum(share * log_p, axis=2)
            length = length + (soft - ops.stop_gradient(soft))
        rate = self._per_example(length, inputs)
        return rate, index, take_codewords(codebook, index)

    def _scores(self, z, codebook):
        """What the chosen codeword has least of: (batch x positions, groups, K)."""
        scores = distances(z, codebook)
        if not self.length_weight:
            return scores
        return scores - self.length_weight * ops.log(with_floor(self._law()))

    def _output(self, inputs, z, chosen, rate):
        # z - z is exactly 0: the value is the codeword's, the gradient z's.
        z = ops.stop_gradient(chosen) + (z - ops.stop_gradient(z))
        z = ops.reshape(self._with_dither(z), ops.shape(inputs))
        return Draw(ops.cast(z, self.compute_dtype), rate, rate)

    def _vectors(self, inputs):
        """Float32 sub-vectors, (batch x positions, groups, width)."""
        check_built(self)
        if inputs.shape[-1] != self.groups * self.width:
            raise ValueError(
                f"The last axis of this VectorQuantizer's input must have the length "
                f"{self.groups * self.width} that it was built for. "
                f"Received: shape {tuple(inputs.shape)}"
            )
        z = ops.cast(inputs, "float32")
        return ops.reshape(z, (-1, self.groups, self.width))

    def _per_example(self, values, inputs):
        """Sums (batch x positions, ...) over all but the batch: (batch,)."""
        shape = (*ops.shape(inputs)[:-1], -1)
        return sum_over_latent(ops.reshape(values, shape))

    def _with_dither(self, z):
        if not self.dither:
            return z
        return z + self.dither * (2.0 * self.uniform(ops.shape(z)) - 1.0)

    def codebook(self) -> Tensor:
        """The codewords, a float32 tensor (groups, codewords, d / groups)."""
        check_built(self)
        return ops.copy(self.base) if self.shift is None else self.base + self.shift

    @symbolic
    def indices(self, inputs: Tensor) -> Tensor:
        """The number of each sub-vector's codeword: int32 (batch, ..., groups)."""
        codebook = self.codebook()
        inputs = ops.convert_to_tensor(inputs)
        index = argmin(self._scores(self._vectors(inputs), codebook), axis=2)
        shape = (*ops.shape(inputs)[:-1], self.groups)
        return ops.reshape(index, shape)

    @symbolic
    def decode_indices(self, indices: Tensor) -> Tensor:
        """Codes (batch, ..., d) of given indices (batch, ..., groups), with dither.

        Raises:
            ValueError: the last axis of the indices is not `groups` long.
        """
        codebook = self.codebook()
        indices = ops.cast(indices, "int32")
        if indices.shape[-1] != self.groups:
            raise ValueError(
                f"indices must have the shape (batch, ..., groups) with groups = "
                f"{self.groups}. Received: {tuple(indices.shape)}"
            )
        z = take_codewords(codebook, ops.reshape(indices, (-1, self.groups)))
        shape = (*ops.shape(indices)[:-1], self.groups * self.width)
        return ops.cast(ops.reshape(self._with_dither(z), shape), self.compute_dtype)

    @symbolic
    def rate(self, inputs: Tensor) -> Tensor:
        """The code length of each example in nats, shape (batch,)."""
        return sum_over_latent(self.rate_by_dimension(inputs))

    @symbolic
    def rate_by_dimension(self, inputs: Tensor) -> Tensor:
        """The code length of each sub-vector in nats, shape (batch, ..., groups)."""
        index = self.indices(inputs)
        log_p = ops.expand_dims(ops.log(with_floor(self._law())), 2)
        length = -take_codewords(log_p, ops.reshape(index, (-1, self.groups)))
        return unmasked(ops.reshape(length, ops.shape(index)))

    @symbolic
    def rate_bits(self, inputs: Tensor) -> Tensor:
        """The code length of each example in bits, shape (batch,)."""
        return self.rate(inputs) / math.log(2)

    def renew_memory(self, inputs: Tensors) -> None:
        index = ops.reshape(self.indices(inputs), (-1, self.groups))
        usable = ops.convert_to_numpy(self._usable(inputs)) > 0
        self.set_frequencies(ops.convert_to_numpy(index)[usable])

    def entropy(self) -> float:
        """`R_Q = -sum_j p_j log p_j`, summed over groups and positions: nats.

        Raises:
            ValueError: the layer is not built, or the number of positions is unknown.
        """
        p = self.code_probabilities()
        if None in self.positions:
            raise ValueError(
                f"The number of positions must be known for an entropy. "
                f"Received: positions={self.positions}"
            )
        return float(-math.prod(self.positions) * np.sum(p * np.log(p)))

    def perplexity(self) -> np.ndarray:
        """Codebook perplexity, the exponential of each group's entropy: (groups,)."""
        p = self.code_probabilities()
        return np.exp(-np.sum(p * np.log(p), axis=1))

    def sample(self, n: int) -> Tensor:
        """Draws n codes whose sub-vectors are independent: (n, ..., d).

        Raises:
            ValueError: the layer is not built, or the number of positions is unknown.
        """
        n = arguments.sample_size(n)
        check_built(self)
        if None in self.positions:
            raise ValueError(
                f"The number of positions must be known to draw codes. "
                f"Received: positions={self.positions}"
            )
        log_p = ops.log(with_floor(self._law()))
        total = n * math.prod(self.positions)
        index = keras.random.categorical(
            log_p, total, dtype="int32", seed=self.seed_generator
        )
        shape = (n, *self.positions, self.groups)
        return self.decode_indices(ops.reshape(ops.transpose(index), shape))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        initializer = self.initializer
        if initializer is not None:
            initializer = keras.initializers.serialize(initializer)
        return {
            **super().get_config(),
            "codewords": self.codewords,
            "groups": self.groups,
            "update": self.update,
            "decay": self.decay,
            "commitment": self.commitment,
            "temperature": self.temperature,
            "length_weight": self.length_weight,
            "dither": self.dither,
            "dead_code_threshold": self.dead_code_threshold,
            "initializer": initializer,
            "synchronized": self.synchronized,
        }
