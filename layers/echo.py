"""The Echo channel: noise made of the other examples' codes, exact rate."""

import functools
import math

import keras
import numpy as np
from keras import ops
from scipy import optimize

from .backend import compiled_on_cpu
from .beta import TargetRate
from .channel import Channel, Draw, check_echoes_from, pair_shape
from .numerics import matvec, matvec_transposed, outer, project, sum_over_latent
from .typing import Tensors

SCALES = ("diagonal", "triangular")
SAMPLINGS = ("cyclic", "without_replacement", "with_replacement")


def max_scale(d_max, max_magnitude=1.0, precision=2.0**-23):
    r"""The largest noise scale r for which d_max echoes are as good as all of them.

    Solves \(M r^{d_{max}} / (1 - r) = \) `precision`, the bound on the sum of the
    echoes left out (Echo paper, App. B).

    Args:
        d_max: Int >= 1, number of echoes that are summed.
        max_magnitude: Float > 0, the bound M on |f|.
        precision: Float > 0, largest error allowed in a coordinate of the noise.

    Returns:
        r, a float in (0, 1).

    Raises:
        ValueError: an argument is out of range, or together they put r outside of
            what a float can tell from 0 and 1.

    Example:

    >>> round(max_scale(99), 4)
    0.8359
    """
    if not 1 <= d_max < math.inf or d_max != int(d_max):
        raise ValueError(f"d_max must be an integer >= 1; received {d_max}.")
    if not 0 < max_magnitude < math.inf:
        raise ValueError(
            f"max_magnitude must be a finite number > 0; received {max_magnitude}."
        )
    if not 0 < precision < math.inf:
        raise ValueError(
            f"precision must be a finite number > 0; received {precision}."
        )

    log_bound = math.log(precision) - math.log(max_magnitude)

    # In u = log r the excess rises from -inf to +inf, so there is one root.
    def excess(u):
        return d_max * u - math.log(-math.expm1(u)) - log_bound

    low, high = -700.0, -1e-12
    if not excess(low) < 0 < excess(high):
        raise ValueError(
            f"No r between 0 and 1 - 1e-12 fits: d_max = {d_max} echoes of at most "
            f"max_magnitude = {max_magnitude} leave out far "
            f"{'more' if excess(low) >= 0 else 'less'} than precision = {precision} "
            f"whatever r is."
        )
    return math.exp(optimize.brentq(excess, low, high, xtol=1e-15))


def ring_noise(f, s, depth):
    r"""Echo noise of every row of a ring from at least `depth` rows that follow it.

    Row k receives \(\sum_{l \ge 1} (\prod_{l'=1}^{l-1} S_{k+l'}) f_{k+l}\), the
    indices taken modulo the number of rows. The sum over a window of 2n rows is made
    of the sums over two windows of n rows, so that the work is O(n d log depth) and
    the memory O(n d), or O(n d^3 log depth) and O(n d^2 log depth) for matrices. The
    number of echoes is `depth`, rounded up to a power of two.

    The noise is linear in f, and its gradient is the transposed map, of the same cost.
    As \(n_k = f_{k+1} + S_{k+1} n_{k+1}\) for an endless sum, the gradient of S is
    that of f times the noise. What this leaves out, and what a row hears of itself
    beyond the end of the ring, is below the precision for which `max_scale` gives r.

    Matrices attenuate the echoes after the second by matrix products, for which
    TensorFlow and JAX use TF32 on a GPU unless they are configured otherwise.

    Args:
        f: Tensor (rows, ...).
        s: Tensor of the shape of f, at most `max_scale(depth, M)`; or, for f of shape
            (rows, d), matrices (rows, d, d) of at most that infinity norm.
        depth: Int >= 1, at most rows - 1 for the echoes to be other rows.

    Returns:
        Noise, the shape of f.
    """
    forward, backward = ring_maps(depth, matrices=len(s.shape) > len(f.shape))

    @ops.custom_gradient
    def noise(f, s):
        noise, scales = forward(f, s)

        def grad(*args, upstream=None):
            return backward(args[0] if upstream is None else upstream, noise, scales)

        return noise, grad

    return noise(f, s)


@functools.cache
def ring_maps(depth, matrices):
    """The two halves of `ring_noise`: f, s to the noise, and its gradient.

    Some sixty small operations one after another, and therefore compiled.
    """
    if matrices:
        apply, transposed, compose, pair = matvec, matvec_transposed, ops.matmul, outer
    else:
        apply = transposed = compose = pair = ops.multiply
    steps = range((depth - 1).bit_length())

    def ahead(x, rows):
        return ops.roll(x, -rows, axis=0)

    def forward(f, s):
        window, scales = f, [s]  # the k-th scale attenuates what is 2^k rows ahead
        for k in steps:
            if k:
                scales.append(compose(scales[-1], ahead(scales[-1], 2 ** (k - 1))))
            window = window + apply(scales[k], ahead(window, 2**k))
        return ahead(window, 1), scales

    def backward(upstream, noise, scales):
        grad_f = ahead(upstream, -1)
        for k in reversed(steps):
            grad_f = grad_f + ahead(transposed(scales[k], grad_f), -(2**k))
        return grad_f, pair(grad_f, noise)

    return compiled_on_cpu(forward), compiled_on_cpu(backward)


def triangular_scale(log_s, lower, r):
    r"""Lower triangular matrices S, no row of which sums to more than r.

    $$S_{jj} = s_j, \qquad
      S_{jk} = (r - s_j)\, \frac{l_{jk}}{1 + \sum_{k' < j} |l_{jk'}|}, \quad k < j$$

    What the diagonal leaves of a row's share r is divided among its other entries.
    The absolute sum of each row is then at most r, and so is the largest change of a
    coordinate by S, whatever it is multiplied with: the remainder of the series is
    that of a diagonal S, for which `max_scale` gives r. Every S of norm below r can
    be written so, and no gradient vanishes for being out of bounds.

    Args:
        log_s: Tensor (rows, d), at most log r.
        lower: Tensor (rows, d (d - 1) / 2), any values: the rows of the matrix one
            after the other, in the order of `np.tril_indices(d, -1)`.
        r: Float in (0, 1).

    Returns:
        S, shape (rows, d, d). Its determinant is the product of s.
    """
    dims, entries = log_s.shape[1], lower.shape[1]
    place = np.full((dims, dims), entries)  # of the zero that the padding adds
    place[np.tril_indices(dims, -1)] = np.arange(entries)
    shares = ops.take(ops.pad(lower, ((0, 0), (0, 1))), place, axis=1)
    shares = shares / (1.0 + ops.sum(ops.abs(shares), axis=2, keepdims=True))
    s = ops.expand_dims(ops.exp(log_s), 2)
    return s * ops.eye(dims) + (r - s) * shares


def permute(x, order, inverse):
    """Rows of x in a new order. Its gradient is a gather as well: no scattered sum."""

    @ops.custom_gradient
    def gather(x):
        def grad(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            return ops.take(upstream, inverse, axis=0)

        return ops.take(x, order, axis=0), grad

    return gather(x)


def gathered_noise(f, log_s, index):
    r"""Echo noise from explicit indices: the paper's Eq. 3, term by term.

    Args:
        f, log_s: Tensors (rows, d).
        index: Ints (n, depth); row i of the result sums the echoes of the rows
            index[i, 0], index[i, 1], ... in this order.

    Returns:
        Noise, shape (n, d). Time and memory are O(n depth d).
    """
    f, log_s = ops.take(f, index, axis=0), ops.take(log_s, index, axis=0)
    # The l-th echo is attenuated by those before it, hence the shift by one.
    before = ops.pad(log_s[:, :-1], ((0, 0), (1, 0), (0, 0)))
    before = ops.cumsum(before, axis=1)
    return ops.sum(ops.exp(before) * f, axis=1)


def matrix_gathered_noise(f, s, index, depth):
    """`gathered_noise` for scales that are matrices, from the last echo to the first.

    Args:
        f: Tensor (rows, d).
        s: Tensor (rows, d, d).
        index: Ints (n, depth), as for `gathered_noise`.
        depth: Int >= 1.

    Returns:
        Noise, shape (n, d). Time and memory are O(n depth d^2).
    """
    noise = ops.take(f, index[:, depth - 1], axis=0)
    for lag in reversed(range(depth - 1)):
        heard = index[:, lag]
        noise = matvec(ops.take(s, heard, axis=0), noise)
        noise = noise + ops.take(f, heard, axis=0)
    return noise


def triple_shape(layer, names, input_shape):
    """The shape of the first two of three inputs, or a sentence on what was wrong."""
    name = f"{type(layer).__name__} with a triangular scale"
    is_triple = (
        isinstance(input_shape, (list, tuple))
        and len(input_shape) == 3
        and all(isinstance(shape, (list, tuple)) for shape in input_shape)
    )
    if not is_triple:
        raise ValueError(
            f"{name} takes a list of three tensors, {names}; received shape "
            f"{input_shape}."
        )
    code = pair_shape(layer, "[f, log_s]", input_shape[:2])
    if len(code) != 2 or code[1] is None or code[1] < 2:
        raise ValueError(
            f"{name} takes f of shape (batch, d) with d >= 2 known; received {code}."
        )
    lower = tuple(input_shape[2])
    if lower[1:] != (code[1] * (code[1] - 1) // 2,):
        raise ValueError(
            f"{name} takes lower of shape (batch, d (d - 1) / 2), which for d = "
            f"{code[1]} is (batch, {code[1] * (code[1] - 1) // 2}); received {lower}."
        )
    return code


@keras.saving.register_keras_serializable(package="echo_keras")
class EchoSample(Channel):
    r"""Echo channel: \(z = f(x) + S(x)\,\epsilon\) with the exact rate \(I(X; Z)\).

    The noise is made of the other examples,
    \(\epsilon = \sum_l (\prod_{l' < l} S(x^{l'}))\, f(x^l)\), so that it has the
    distribution of z itself, and

    $$I(X; Z) = -E \sum_j \log s_j(x)$$

    holds without a prior wherever z has a density (Echo paper, Eq. 1-4); codes that
    fill no volume, such as two values of f with s below 1/2, carry less. Here
    \(s = r e^{log\_s}\), where r < 1 is solved from `d_max` and `max_magnitude` such
    that the echoes left out change no coordinate of the noise by more than 2^-23
    (App. B). The lowest rate is therefore not zero but `min_rate` = -d log r.

    f is clipped to \([-M, M]\) and log_s to \((-\infty, 0]\). Gradients that lead back
    inside pass the clip, so that plain `Dense` outputs serve as well as the
    paper's tanh(x/16) and log-sigmoid.

    With `scale="triangular"` S(x) is a lower triangular matrix with s on its
    diagonal, so that \(\log |\det S| = \sum_j \log s_j\) and the rate is what it was.
    A diagonal S has TC(Z) = TC(Z|X) (App. C); this one can tell them apart. Its
    other entries come from a third input, `lower`, of any values:
    \(S_{jk} = (r - s_j)\, l_{jk} / (1 + \sum_{k'} |l_{jk'}|)\). No row sums to more
    than r, so the series converges as fast as before; at its lowest rate S is
    diagonal. Sums over matrices cost a factor of up to d^2 more.

    In training the echoes are the other examples of the batch. At inference they
    come from the *bank*, the newest `bank_size` rows of (f, log s, lower) seen in
    training, which is saved with the weights: `predict` works on one image, and
    what shares the batch makes no difference. A training batch of fewer than
    d_max + 1 examples is topped up from the bank. A layer that has never been
    trained has an empty bank: it adds no noise, z = f(x).

    Args:
        d_max: Int >= 1, number of echoes that are summed.
        max_magnitude: Float > 0, the bound M on |f|.
        sampling: How a training batch provides its echoes.

            - "cyclic": the batch is put in one random circular order and the
              echoes of an example are its successors. Each example's noise has
              the law of "without_replacement", every example is heard at every
              lag exactly once, and the cost is O(B d log d_max) time and O(B d)
              memory.
            - "without_replacement": the other examples in an order drawn for each
              example (the paper). O(B d d_max) time and memory.
            - "with_replacement": independent draws from the other examples.
        multiplicative: If True, log z is the Echo code: z = exp(f + S e). The
            rate is the same, since exp is invertible.
        bank_size: Int > d_max, rows kept for inference; the larger of 1,024 and
            4 (d_max + 1) if None.
        beta: Float >= 0, weight on the rate, or a rule that moves it; see `Channel`.
        seed: Int or None; see `Channel`.
        scale: "diagonal" or "triangular", the form of S(x).

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
        d_max=99,
        max_magnitude=1.0,
        sampling="cyclic",
        multiplicative=False,
        bank_size=None,
        beta=1.0,
        seed=None,
        scale="diagonal",
        **kwargs,
    ):
        super().__init__(beta=beta, seed=seed, **kwargs)
        if scale not in SCALES:
            raise ValueError(
                f"scale must be one of {', '.join(SCALES)}; received {scale!r}."
            )
        if sampling not in SAMPLINGS:
            raise ValueError(
                f"sampling must be one of {', '.join(SAMPLINGS)}; received "
                f"{sampling!r}."
            )
        self.r = max_scale(d_max, max_magnitude)
        if bank_size is None:
            bank_size = max(1024, 4 * (d_max + 1))
        if not d_max < bank_size < math.inf or bank_size != int(bank_size):
            raise ValueError(
                f"bank_size must be an integer greater than d_max = {d_max}, so that "
                f"the bank alone can provide all echoes; received {bank_size}."
            )
        self.d_max = int(d_max)
        self.max_magnitude = max_magnitude
        self.sampling = sampling
        self.multiplicative = multiplicative
        self.bank_size = int(bank_size)
        self.scale = scale

    def build(self, input_shape):
        super().build(input_shape)
        if self.scale == "triangular":
            self.code_shape = triple_shape(self, "[f, log_s, lower]", input_shape)[1:]
        else:
            self.code_shape = pair_shape(self, "[f, log_s]", input_shape)[1:]
        if None in self.code_shape:
            raise ValueError(
                f"{type(self).__name__} needs to know every axis but the batch; "
                f"received shape {(None, *self.code_shape)}."
            )
        d = self.dims = math.prod(self.code_shape)
        lowest = -d * math.log(self.r)
        if isinstance(self.beta_rule, TargetRate) and self.beta_rule.rate < lowest:
            raise ValueError(
                f"TargetRate holds the rate at {self.beta_rule.rate} nats, which {d} "
                f"dimensions cannot reach: with d_max = {self.d_max} echoes their "
                f"lowest rate is {lowest:.3f}. Raise the target or d_max, or use "
                f"fewer dimensions."
            )
        self.widths = [d, d]
        if self.scale == "triangular":
            self.widths.append(d * (d - 1) // 2)
        # Rows of f, log s and `lower`, the newest first, and how many were seen.
        self.bank = self.add_state("bank", (self.bank_size, sum(self.widths)), 0.0)
        self.bank_rows = self.add_state("bank_rows", (), 0.0)

    @property
    def min_rate(self):
        """The lowest rate the layer can reach, -d log r, in nats per example."""
        if not self.built:
            raise ValueError(
                "min_rate depends on the number of noise dimensions, so the layer "
                "must be built first."
            )
        return -self.dims * math.log(self.r)

    def draw(self, inputs: Tensors, echoes_from: str = "bank") -> Draw:
        """z, its rate (batch,), and no log-ratio: q(z|x) has no known density.

        Args:
            inputs: `[f, log_s]`, and `lower` if S is triangular.
            echoes_from: "bank", as at inference; or "batch", as in training.
        """
        check_echoes_from(echoes_from)
        bounded = self._bounded(inputs)
        return self._with_echoes(bounded, from_batch=echoes_from == "batch")

    def _step(self, inputs, training):
        bounded = self._bounded(inputs)
        draw = self._with_echoes(bounded, from_batch=training)
        if training:
            self._remember(ops.concatenate(bounded, axis=1))
        return draw

    def _with_echoes(self, bounded, from_batch):
        f, *scale = bounded
        if from_batch:
            noise = self._noise_from_batch(ops.concatenate(bounded, axis=1))
        else:
            noise = self._noise_from_bank(ops.shape(f)[0])
        if self.scale == "triangular":
            z = f + matvec(triangular_scale(*scale, self.r), noise)
        else:
            z = f + ops.exp(*scale) * noise
        return Draw(self._code(z), -sum_over_latent(scale[0]), None)

    def code(self, f):
        """What z would be without noise, float32: f within its bound, or its exp."""
        f = ops.clip(ops.cast(f, "float32"), -self.max_magnitude, self.max_magnitude)
        return ops.exp(f) if self.multiplicative else f

    def rate(self, inputs):
        """Pointwise information -sum_j log s_j(x) in nats, shape (batch,).

        Its mean over the data is I(X; Z) (Echo paper, Eq. 4 and App. D.3).
        """
        return -sum_over_latent(self._bounded(inputs)[1])

    def rate_by_dimension(self, inputs):
        """What each dimension adds to the rate of each example: nats, (batch, ...).

        For a diagonal S these are the informations I(X; Z_j), which add up to
        I(X; Z) (Echo paper, App. C).
        """
        return ops.reshape(-self._bounded(inputs)[1], (-1, *self.code_shape))

    def sample(self, n):
        """Draws n codes from the marginal q(z), shape (n, ...), from the bank.

        The noise has the distribution of z (Lemma 2.1), so this is Echo noise.

        Raises:
            ValueError: the layer has never been trained, so its bank is empty.
        """
        if not self.built or not float(ops.convert_to_numpy(self.bank_rows)):
            raise ValueError(
                "EchoSample draws from the rows it saw in training, and this layer "
                "has seen none: train it (or call it with training=True) first."
            )
        return self._code(self._noise_from_bank(n))

    def _bounded(self, inputs):
        """The inputs in float32, each (batch, width), f and log s within bounds."""
        f, log_s, *lower = (
            ops.reshape(ops.cast(x, "float32"), (-1, width))
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
        batch = heard = ops.shape(rows)[0]
        if not isinstance(batch, int) or batch <= self.d_max:
            # Too few others, or perhaps too few: the bank's newest rows join them.
            # Where it has not enough yet, what is there is heard again.
            heard = self.d_max + 1
            if not isinstance(batch, int):
                heard = ops.maximum(batch, heard)
            known = batch + ops.cast(self.bank_rows, "int32")
            rows = ops.concatenate([rows, self.bank])
            rows = ops.take(rows, ops.arange(heard) % known, axis=0)
        if self.sampling == "cyclic":
            order = ops.argsort(self.uniform((heard,)))
            inverse = ops.argsort(order)
            noise = self._noise_on_ring(permute(rows, order, inverse))
            return permute(noise, inverse, order)[:batch]
        me = ops.expand_dims(ops.arange(batch), 1)
        if self.sampling == "without_replacement":
            keys = self.uniform((batch, heard))
            # Greater than all others, an example's own key sorts last.
            keys = ops.where(me == ops.expand_dims(ops.arange(heard), 0), 2.0, keys)
            index = ops.argsort(keys, axis=1)[:, : self.d_max]
        else:
            index = (me + 1 + self.integers((batch, self.d_max), heard - 1)) % heard
        return self._noise_gathered(rows, index)

    def _noise_from_bank(self, n):
        """Noise (n, dims) from the bank alone."""
        rows = ops.convert_to_tensor(self.bank)
        # An empty bank has its first row of zeros, which is no noise.
        known = ops.maximum(ops.cast(self.bank_rows, "int32"), 1)
        if self.sampling == "with_replacement":
            index = self.integers((n, self.d_max), self.bank_size) % known
            return self._noise_gathered(rows, index)
        # One ring for all: examples differ in where on it their echoes start.
        order = ops.argsort(self.uniform((self.bank_size,)))
        noise = self._noise_on_ring(ops.take(rows, order % known, axis=0))
        return ops.take(noise, self.integers((n,), self.bank_size), axis=0)

    def _noise_on_ring(self, rows):
        f, *scale = self._split(rows)
        if self.scale == "triangular":
            scale = triangular_scale(*scale, self.r)
            return ring_noise(f, scale, self.d_max)
        return ring_noise(f, ops.exp(*scale), self.d_max)

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

    def _remember(self, rows):
        """Puts the batch at the front of the bank; the oldest rows drop out."""
        seen = self.bank_rows + ops.cast(ops.shape(rows)[0], "float32")
        self.bank_rows.assign(ops.minimum(seen, float(self.bank_size)))
        rows = ops.concatenate([ops.stop_gradient(rows), self.bank])
        self.bank.assign(ops.reshape(rows[: self.bank_size], self.bank.shape))

    def get_config(self):
        return {
            **super().get_config(),
            "d_max": self.d_max,
            "max_magnitude": self.max_magnitude,
            "sampling": self.sampling,
            "multiplicative": self.multiplicative,
            "bank_size": self.bank_size,
            "scale": self.scale,
        }
