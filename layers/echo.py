"""The Echo channel: noise from the codes of other examples."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from . import arguments
from .base import are_weighted, batch_weights
from .beta import BetaRange, BetaRule, TargetRate
from .channel import Draw, check_echoes_from
from .channel_inputs import (
    check_built,
    check_inputs,
    check_number_of_inputs,
    pair_shape,
)
from .echo_bank import EchoBank
from .echo_noise import (
    gathered_noise,
    matrix_gathered_noise,
    max_scale,
    ring_noise,
    triangular_scale,
)
from .numerics import matvec, project, sum_over_latent, unmasked
from .replicas import gathered, same_noise
from .symbolic import symbolic
from .typing import Shape, Tensor, Tensors

SCALES = ("diagonal", "triangular")
SAMPLED = 2**24  # numbers that `sample` holds at once: 64 MiB
SAMPLINGS = ("cyclic", "without_replacement", "with_replacement")


def _triple_shape(layer, names, input_shape):
    """The shape of the first two of three inputs; raises a ValueError otherwise."""
    name = f"{type(layer).__name__} with a triangular scale"
    check_number_of_inputs(name, names, input_shape, 3)
    code = pair_shape(layer, "[f, log_s]", input_shape[:2])
    if len(code) != 2 or code[1] is None or code[1] < 2:
        raise ValueError(
            f"f must have the shape (batch, d) with d >= 2 known, in {name}. "
            f"Received: {code}"
        )
    lower = tuple(input_shape[2])
    if lower[1:] != (code[1] * (code[1] - 1) // 2,):
        raise ValueError(
            f"lower must have the shape (batch, d (d - 1) / 2), for d = {code[1]} "
            f"(batch, {code[1] * (code[1] - 1) // 2}), in {name}. Received: {lower}"
        )
    return code


@keras.saving.register_keras_serializable(package="echo_keras")
class EchoSample(EchoBank):
    """Echo channel: `z = f(x) + S(x) epsilon` and `I(X; Z)` as its rate.

    The noise is made of the other examples,
    `epsilon = sum_l (prod_(l' < l) S(x^l')) f(x^l)`, so that it has the
    distribution of z itself, and

    `I(X; Z) = -E sum_j log s_j(x)`

    holds without a prior wherever z has a density (Echo paper, Eq. 1-4); otherwise it
    is only an upper bound: codes that fill no volume, such as two values of f with s
    below 1/2, carry less, and those of n distinct inputs no more than log n. Here
    `s = r e^log_s`, where r < 1 is solved from `d_max` and `max_magnitude` such
    that the echoes left out change no coordinate of the noise by more than 2^-23
    (App. B). The lowest rate is therefore not zero but `min_rate` = -d log r.

    f is clipped to `[-M, M]` and log_s to `(-inf, 0]`. Gradients that lead back
    inside pass the clip, so that plain `Dense` outputs serve as well as the
    paper's tanh(x/16) and log-sigmoid.

    With `scale="triangular"` S(x) is a lower triangular matrix with s on its
    diagonal, so that `log |det S| = sum_j log s_j` and the rate is what it was.
    A diagonal S has TC(Z) = TC(Z|X) (App. C); this one can tell them apart. Its
    other entries come from a third input, `lower`, of any values:
    `S_jk = (r - s_j) l_jk / (1 + sum_k' |l_jk'|)`. No row sums to more
    than r, so the series converges as fast as before; at its lowest rate S is
    diagonal. Sums over matrices cost a factor of up to d^2 more.

    In training the echoes are the other examples of the batch. At inference they
    come from a memory bank, the newest `bank_size` rows of (f, log s, lower) seen in
    training, which is saved with the weights: each example has echoes of its own,
    drawn with replacement, so that `predict` works on one image, and outputs do not
    depend on the composition of the batch. The bank keeps rows that are finite and
    whose sample weight is not 0; in training rows of it stand in for examples of weight
    0, and for what a batch of fewer than d_max + 1 examples lacks. A layer that has
    never been trained has an empty bank: it adds no noise, z = f(x).

    Gradients are for reverse mode alone. The gradient of the clip depends on the sign
    of the gradient that arrives, which no forward-mode rule can express, and that of
    the noise is a custom one: `jax.jvp` and `jax.jacfwd` raise a TypeError. Use
    `jax.vjp` and `jax.jacrev`.

    Args:
        d_max: Int >= 1, number of echoes that are summed.
        max_magnitude: Float > 0, the bound M on |f|.
        sampling: How a training batch provides its echoes.

            - "cyclic": the batch is put in one random circular order and the
              echoes of an example are its successors. Each example's noise has
              the law of "without_replacement", every example is used once at each
              lag, and the cost is O(B d log d_max) time and O(B d) memory.
            - "without_replacement": the other examples in an order drawn for each
              example (the paper). O(B d d_max) time and memory.
            - "with_replacement": independent draws from the other examples.
        multiplicative: If True, log z is the Echo code: z = exp(f + S e). The
            rate is the same, since exp is invertible.
        bank_size: Int > d_max, rows kept for inference; the larger of 1,024 and
            4 (d_max + 1) if None.
        beta: Float >= 0, weight on the rate, or a rule that moves it; see `Channel`.
            With a `BetaRange` each level has a bank of its own, and a batch has one.
        seed: Int or None; see `Channel`.
        scale: "diagonal" or "triangular", the form of S(x).
        synchronized: If True, echoes come from the batch of all devices, and so does
            the bank; if False, from each device's share, and each has a bank. Of
            effect where a device has a copy of the model; see
            docs/guides/distributed.md.
        free_bits: Float >= 0, nats of each dimension that cost nothing; see `Channel`.
            Every dimension has at least -log r anyhow.

    Inputs:
        `[f, log_s]`, two tensors of the same shape (batch, ...). The first axis is
        the batch, all others are noise dimensions and must be known. If `scale` is
        "triangular", `[f, log_s, lower]`, the first two (batch, d) with d >= 2, the
        third (batch, d (d - 1) / 2): the rows of the matrix below its diagonal, in
        the order of `np.tril_indices(d, -1)`.

    Output:
        z, the shape of f.

    Raises:
        ValueError: an argument is out of range, the inputs are not tensors of the
            shapes above, or beta is a `TargetRate` below `min_rate`.

    Example:

    >>> import numpy as np
    >>> channel = EchoSample(d_max=99, seed=0)
    >>> f = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    >>> z = channel([f, np.full((100, 2), -0.5)], training=True)
    >>> round(float(channel.last_rate.value), 3)  # nats: 2 x (0.5 - log 0.8359)
    1.359
    >>> round(channel.min_rate, 3)
    0.359

    References:
        Brekelmans, Moyer, Galstyan & Ver Steeg, Exact Rate-Distortion in
        Autoencoders via Echo Noise, Sec. 2 and App. B. The cyclic order, the bank
        and the triangular S, which App. C asks for, are additions of this library.
    """

    def __init__(
        self,
        d_max: int = 99,
        max_magnitude: float = 1.0,
        sampling: str = "cyclic",
        multiplicative: bool = False,
        bank_size: int | None = None,
        beta: float | BetaRule | BetaRange = 1.0,
        seed: int | None = None,
        scale: str = "diagonal",
        synchronized: bool = True,
        free_bits: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(beta=beta, seed=seed, **kwargs)
        self._set_free_bits(free_bits)
        self.scale = arguments.choice("scale", scale, SCALES)
        self.sampling = arguments.choice("sampling", sampling, SAMPLINGS)
        self.r = max_scale(d_max, max_magnitude)
        self.d_max, self.max_magnitude = int(d_max), float(max_magnitude)
        self.multiplicative = arguments.flag("multiplicative", multiplicative)
        if bank_size is None:
            bank_size = max(1024, 4 * (self.d_max + 1))
        # More than d_max: the echoes of an example differ.
        self.bank_size = arguments.integer("bank_size", bank_size, self.d_max + 1)
        self.synchronized = arguments.flag("synchronized", synchronized)

    def build(self, input_shape: list[Shape]) -> None:
        super().build(input_shape)
        if self.scale == "triangular":
            self.code_shape = _triple_shape(self, "[f, log_s, lower]", input_shape)[1:]
        else:
            self.code_shape = pair_shape(self, "[f, log_s]", input_shape)[1:]
        if None in self.code_shape:
            raise ValueError(
                f"Every axis but the batch must be known in {type(self).__name__}. "
                f"Received: {(None, *self.code_shape)}"
            )
        d = self.dims = math.prod(self.code_shape)
        lowest = -d * math.log(self.r)
        if isinstance(self.beta_rule, TargetRate) and self.beta_rule.rate < lowest:
            raise ValueError(
                f"rate, the target of TargetRate, must be at least min_rate = "
                f"{lowest:.3f} nats, the lowest of {d} dimensions with d_max = "
                f"{self.d_max}. Received: rate={self.beta_rule.rate}. Raise the target "
                f"or d_max, or use fewer dimensions."
            )
        self.widths = [d, d]
        if self.scale == "triangular":
            self.widths.append(d * (d - 1) // 2)
        self.build_bank(sum(self.widths))

    @property
    def min_rate(self) -> float:
        """The lowest rate the layer can reach, -d log r, in nats per example."""
        if not self.built:
            raise ValueError(
                "min_rate depends on the number of noise dimensions: the layer must be "
                "built first."
            )
        return -self.dims * math.log(self.r)

    @symbolic
    def draw(self, inputs: Tensors, echoes_from: str = "bank") -> Draw:
        """z, its rate (batch,), and no log-ratio: q(z|x) has no known density.

        Args:
            inputs: `[f, log_s]`, and `lower` if S is triangular.
            echoes_from: "bank", as at inference; or "batch", as in training.
        """
        check_echoes_from(echoes_from)
        bounded = self._bounded(inputs)
        if echoes_from == "batch":
            noise = self._noise_from_batch(ops.concatenate(bounded, axis=1))
        else:
            noise = self._noise_from_bank(ops.shape(bounded[0])[0])
        return self._with_echoes(bounded, noise)

    def _step(self, inputs, training):
        bounded = self._bounded(inputs)
        batch = ops.shape(bounded[0])[0]
        if not training:
            noise = self._noise_from_bank(batch)
            return self._with_echoes(bounded, noise)
        rows = ops.concatenate(bounded, axis=1)
        rows, weights, start = gathered(
            self.synchronized, rows, batch_weights(rows[:, 0])
        )
        with same_noise(self.synchronized):
            noise = self._noise_from_batch(self._that_count(rows, weights))
        # This replica's part of it.
        draw = self._with_echoes(bounded, noise[start : start + batch])
        if self.trainable:
            self._remember(rows, weights)
        return draw

    def _with_echoes(self, bounded, noise):
        f, *scale = bounded
        if self.scale == "triangular":
            z = f + matvec(triangular_scale(*scale, self.r), noise)
        else:
            z = f + ops.exp(*scale) * noise
        return Draw(self._code(z), self._summed(-scale[0]), None)

    def _summed(self, nats):
        """(batch, dims), summed over the positions that no mask leaves out."""
        return sum_over_latent(ops.reshape(nats, (-1, *self.code_shape)))

    @symbolic
    def code(self, f: Tensor) -> Tensor:
        """f within its bound in float32, or its exponential: z without noise.

        This is not the mean of z, which `mean` gives.
        """
        f = ops.clip(ops.cast(f, "float32"), -self.max_magnitude, self.max_magnitude)
        return ops.exp(f) if self.multiplicative else f

    @symbolic
    def mean(self, inputs: Tensors) -> Tensor:
        """The mean code E[z|x] = f(x) + S(x) mu in float32, with echoes of the bank.

        Echo noise has the mean of z, `mu = (I - E S)^(-1) E f`, which is not 0: f
        alone is off-centre, and lacks what S(x) tells. The expectations are over the
        rows of the bank; mu is 0 as long as it is empty. With `multiplicative=True`
        the exponential of the mean of log z.
        """
        f, *scale = self._bounded(inputs)
        rows, count = self._memory()
        known = ops.arange(self.bank_size) < ops.cast(count, "int32")
        weights = ops.cast(known, "float32") / ops.maximum(count, 1.0)
        f_bank, *scale_bank = self._split(rows)
        mean_f = ops.matmul(weights, f_bank)
        # What the series lacks after d_max echoes is below its precision.
        if self.scale == "triangular":
            s = ops.tensordot(weights, triangular_scale(*scale_bank, self.r), 1)
            mu = ops.solve(ops.eye(self.dims) - s, ops.expand_dims(mean_f, 1))[:, 0]
            z = f + ops.matmul(triangular_scale(*scale, self.r), mu)
        else:
            s = ops.matmul(weights, ops.exp(*scale_bank))
            z = f + ops.exp(*scale) * mean_f / (1.0 - s)
        z = ops.reshape(z, (-1, *self.code_shape))
        return ops.exp(z) if self.multiplicative else z

    @symbolic
    def noise_scale(self, inputs: Tensors) -> Tensor:
        """S(x), what the noise is multiplied with, in float32.

        Its diagonal s(x), (batch, dims), or a triangular S, (batch, dims, dims). See
        `echo_keras.metrics.conditional_total_correlation`.
        """
        _, *scale = self._bounded(inputs)
        if self.scale == "triangular":
            return triangular_scale(*scale, self.r)
        return ops.exp(*scale)

    @symbolic
    def rate(self, inputs: Tensors) -> Tensor:
        """Pointwise information -sum_j log s_j(x) in nats, shape (batch,).

        Its mean over the data is I(X; Z) of the population whenever q(z) has a density,
        otherwise an upper bound (Echo paper, Eq. 4 and App. D.3).
        """
        return self._summed(-self._bounded(inputs)[1])

    @symbolic
    def rate_by_dimension(self, inputs: Tensors) -> Tensor:
        """What each dimension adds to the rate of each example: nats, (batch, ...).

        For a diagonal S, and a q(z) that has a density, these are the rates I(X; Z_j),
        which add up to I(X; Z) (Echo paper, App. C).
        """
        nats = ops.reshape(-self._bounded(inputs)[1], (-1, *self.code_shape))
        return unmasked(nats)

    def sample(self, n: int) -> Tensor:
        """Draws n codes from the marginal q(z), shape (n, ...), from the bank.

        The noise has the distribution of z (Lemma 2.1), so this is Echo noise.

        Raises:
            ValueError: the layer has never been trained, so its bank is empty.
        """
        n = arguments.sample_size(n)
        if not self.built or not float(ops.convert_to_numpy(self._memory()[1])):
            raise ValueError(
                "EchoSample.sample draws from the bank, which is empty before "
                "training: train the layer (or call it with training=True) first."
            )
        # In parts: all echoes of all draws at once may be more than fits into memory.
        most = max(SAMPLED // (self.d_max * self.dims), 1)
        sizes = [min(most, n - start) for start in range(0, n, most)] or [0]
        return self._code(
            ops.concatenate([self._noise_from_bank(size) for size in sizes])
        )

    def _bounded(self, inputs):
        """The inputs in float32, each (batch, width), f and log s within bounds."""
        check_built(self)
        shapes = [self.code_shape] * 2
        if self.scale == "triangular":
            shapes.append(self.widths[2:])
        check_inputs(self, inputs, shapes)
        # A masked position has no signal: f = 0, and s at its bound.
        f, log_s, *lower = (
            ops.reshape(unmasked(ops.cast(x, "float32")), (-1, width))
            for x, width in zip(inputs, self.widths, strict=True)
        )
        m = self.max_magnitude
        log_s = project(log_s, -np.inf, 0.0) + math.log(self.r)
        return [project(f, -m, m), log_s, *lower]

    def _code(self, z):
        z = ops.reshape(z, (-1, *self.code_shape))
        return ops.cast(ops.exp(z) if self.multiplicative else z, self.compute_dtype)

    def _noise_from_batch(self, rows):
        """Noise (batch, dims) for rows of f, log s, ... from the other rows."""
        batch = ops.shape(rows)[0]
        rows, heard = self._topped_up(rows, self.d_max + 1)
        if self.sampling == "cyclic":
            order = ops.argsort(self.uniform((heard,)))
            noise = self._noise_on_ring(ops.take(rows, order, axis=0))
            return ops.take(noise, ops.argsort(order), axis=0)[:batch]
        me = ops.expand_dims(ops.arange(batch), 1)
        if self.sampling == "without_replacement":
            keys = self.uniform((batch, heard))
            # Greater than all others, an example's own key sorts last.
            keys = ops.where(me == ops.expand_dims(ops.arange(heard), 0), 2.0, keys)
            index = ops.argsort(keys, axis=1)[:, : self.d_max]
        else:
            index = (me + 1 + self.integers((batch, self.d_max), heard - 1)) % heard
        return self._noise_gathered(rows, index)

    def _that_count(self, rows, weights):
        """Rows as echoes: in the place of examples of no weight, rows of the bank.

        The bank has none of them either, so that training and inference have one law.
        """
        if not are_weighted():
            return rows
        bank, count = self._memory()
        picks = self._rows_of(ops.maximum(count, 1.0), ops.shape(weights))
        keep = ops.logical_or(weights > 0, count == 0)
        return ops.where(ops.expand_dims(keep, 1), rows, ops.take(bank, picks, axis=0))

    def _noise_from_bank(self, n):
        """Noise (n, dims) from the bank alone."""
        rows, count = self._memory()
        # An empty bank has its first row of zeros, which is no noise.
        known = ops.maximum(count, 1.0)
        # Echoes of its own for each: examples that shared a ring would have noise in
        # common, and a mean over them the error of fewer.
        index = self._rows_of(known, (n, self.d_max))
        return self._noise_gathered(rows, index)

    def _rows_of(self, known, shape):
        """Numbers of rows below known, a float32 >= 1, all equally likely."""
        index = ops.floor(self.uniform(shape) * known)
        return ops.cast(ops.minimum(index, known - 1.0), "int32")

    def _noise_on_ring(self, rows):
        f, *scale = self._split(rows)
        if self.scale == "triangular":
            scale = triangular_scale(*scale, self.r)
        else:
            scale = ops.exp(*scale)
        return ring_noise(f, scale, self.d_max)

    def _noise_gathered(self, rows, index):
        f, *scale = self._split(rows)
        if self.scale == "triangular":
            scale = triangular_scale(*scale, self.r)
            return matrix_gathered_noise(f, scale, index, self.d_max)
        return gathered_noise(f, *scale, index)

    def _split(self, rows):
        """The columns of f, log s and, if S is triangular, `lower`."""
        if self.scale == "diagonal":
            return ops.split(rows, 2, axis=1)
        d = self.dims
        return rows[:, :d], rows[:, d : 2 * d], rows[:, 2 * d :]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "d_max": self.d_max,
            "max_magnitude": self.max_magnitude,
            "sampling": self.sampling,
            "multiplicative": self.multiplicative,
            "bank_size": self.bank_size,
            "scale": self.scale,
            "synchronized": self.synchronized,
            "free_bits": self.free_bits,
        }
