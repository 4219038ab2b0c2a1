"""Marginals m(z): the reference of a rate, and the law that generation draws from.

`VampPrior` is in vamp_prior.py, `GaussianMixture` in gaussian_mixture.py.
"""

import math
from typing import Any

import keras
from keras import ops

from . import arguments
from .base import Seeded
from .numerics import sum_over_latent
from .symbolic import MethodCalls, symbolic
from .typing import Shape, Tensor

DENSITY = ("log_prob", "sample")  # the methods of a layer in a marginal's place


class Marginal(Seeded, MethodCalls):
    """Base class: a density over codes with `log_prob` and `sample`.

    A subclass gives `log_prob(z)`, (batch, ...) -> (batch,), and `sample(n)`,
    -> (n, ...). `kl(mean, log_var)` -> (batch,) is optional, for marginals that
    know their divergence from a diagonal Gaussian in closed form. Any layer with
    these methods can stand in the place of one.

    `takes` names what `log_prob` wants after z. A channel hands these over from
    its own further inputs.

    Densities are computed in float32 whatever the dtype policy; samples have the
    policy's compute dtype.

    Args:
        seed: Int or None, for `sample`.

    Example:

    >>> import numpy as np
    >>> class UnitCube(Marginal):
    ...     def log_prob(self, z):
    ...         inside = ops.all(ops.logical_and(z >= 0, z <= 1), axis=1)
    ...         return ops.where(inside, 0.0, -math.inf)
    ...     def sample(self, n):
    ...         return keras.random.uniform(
    ...             (n, *self.code_shape), seed=self.seed_generator)
    >>> marginal = UnitCube()
    >>> ops.convert_to_numpy(marginal(np.array([[0.5, 0.5], [2.0, 0.5]]))).tolist()
    [0.0, -inf]
    """

    takes: tuple[str, ...] = ()

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        # No autocast: half precision loses accuracy in the density.
        super().__init__(seed=seed, autocast=False, **kwargs)

    def build(self, input_shape: Shape) -> None:
        self.code_shape = tuple(input_shape)[1:]

    def call(self, z: Tensor, method: str | None = None) -> Tensor:
        return self.call_method(method or "log_prob", z)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)[:1]

    def check_built(self) -> None:
        """Raises a ValueError where the shape of the codes is not known yet."""
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} must be built, to know the shape of its codes: "
                f"call it, or the model it stands in, first. Received: not built"
            )

    def sample_shape(self, n: int) -> Shape:
        """The shape of n codes, (n, ...), once the layer is built."""
        n = arguments.sample_size(n)
        self.check_built()
        return (n, *self.code_shape)

    @symbolic
    def log_prob(self, z: Tensor) -> Tensor:
        """log m(z) in nats, (batch, ...) -> (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} must define `log_prob`.")

    def sample(self, n: int) -> Tensor:
        """Draws n codes: (n, ...)."""
        raise NotImplementedError(f"{type(self).__name__} must define `sample`.")


@keras.saving.register_keras_serializable(package="echo_keras")
class StandardNormal(Marginal):
    """The marginal N(0, I), which has no weights.

    Args:
        seed: Int or None, for `sample`.

    Inputs:
        z, shape (batch, ...). Calling the layer gives `log_prob(z)`.

    Example:

    >>> import numpy as np
    >>> marginal = StandardNormal()
    >>> marginal.log_prob(np.zeros((1, 2))).shape == (1,)  # -log(2 pi) nats
    True
    """

    @symbolic
    def log_prob(self, z: Tensor) -> Tensor:
        """log m(z) in nats, (batch, ...) -> (batch,)."""
        z = ops.cast(z, "float32")
        return -0.5 * sum_over_latent(ops.square(z) + math.log(2 * math.pi))

    @symbolic
    def kl(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """KL[N(mean, exp(log_var)) || m] in nats, (batch, ...) -> (batch,)."""
        return 0.5 * sum_over_latent(
            ops.square(mean) + ops.exp(log_var) - log_var - 1.0
        )

    def sample(self, n: int) -> Tensor:
        """Draws n codes: (n, ...). The layer must have been built."""
        z = keras.random.normal(
            self.sample_shape(n), dtype="float32", seed=self.seed_generator
        )
        return ops.cast(z, self.compute_dtype)


class _Scaled(Marginal):
    """Base class of laws that have a scale alone."""

    def __init__(
        self, scale: float = 1.0, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.scale = arguments.number("scale", scale, above=0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="echo_keras")
class Logistic(_Scaled):
    """Independent logistic variables: `m(z_j) = sigma'(z_j / c) / c`, scale c.

    Its tails fall off like `e^(-|z| / c)`, and its variance is
    `c^2 pi^2 / 3`: 3.29 for the standard logistic, c = 1, and 1 for
    c = sqrt(3) / pi.

    Args:
        scale: Float > 0, c.
        seed: Int or None, for `sample`.

    Inputs:
        z, shape (batch, ...). Calling the layer gives `log_prob(z)`.

    Raises:
        ValueError: scale is not a finite number > 0.

    Example:

    >>> import numpy as np
    >>> marginal = Logistic()
    >>> round(float(marginal.log_prob(np.zeros((1, 2)))[0]), 3)  # 2 log 1/4
    -2.773

    References:
        The Variational InfoMax Autoencoder, Sec. 5 and App. (VIMAE-l, with
        variance 1).
    """

    @symbolic
    def log_prob(self, z: Tensor) -> Tensor:
        """log m(z) in nats, (batch, ...) -> (batch,)."""
        # The density is even, and e^-|z| does not overflow.
        z = ops.abs(ops.cast(z, "float32")) / self.scale
        return -sum_over_latent(z + 2.0 * ops.softplus(-z) + math.log(self.scale))

    def sample(self, n: int) -> Tensor:
        """Draws n codes: (n, ...). The layer must have been built."""
        u = keras.random.uniform(
            self.sample_shape(n), dtype="float32", seed=self.seed_generator
        )
        # The numbers next to 0 and 1: beyond them the logarithms are infinite.
        u = ops.clip(u, 2.0**-24, 1.0 - 2.0**-24)
        z = self.scale * (ops.log(u) - ops.log1p(-u))
        return ops.cast(z, self.compute_dtype)


# The name: a loss of the library is called Laplace too.
@keras.saving.register_keras_serializable(package="echo_keras", name="LaplaceMarginal")
class Laplace(_Scaled):
    """Independent Laplace variables: `m(z_j) = e^(-|z_j| / b) / 2b`.

    More codes near 0 than a Gaussian has, and more far from it. Its variance is
    `2 b^2`.

    Args:
        scale: Float > 0, b.
        seed: Int or None, for `sample`.

    Inputs:
        z, shape (batch, ...). Calling the layer gives `log_prob(z)`.

    Raises:
        ValueError: scale is not a finite number > 0.

    Example:

    >>> import numpy as np
    >>> marginal = Laplace()
    >>> round(float(marginal.log_prob(np.zeros((1, 2)))[0]), 3)  # 2 log 1/2
    -1.386

    References:
        BIB-AE paper, Sec. 3 and Fig. 4.
    """

    @symbolic
    def log_prob(self, z: Tensor) -> Tensor:
        """log m(z) in nats, (batch, ...) -> (batch,)."""
        z = ops.abs(ops.cast(z, "float32")) / self.scale
        return -sum_over_latent(z + math.log(2 * self.scale))

    def sample(self, n: int) -> Tensor:
        """Draws n codes: (n, ...). The layer must have been built."""
        shape = self.sample_shape(n)
        u, v = (
            keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
            for _ in range(2)
        )
        # The difference of two exponential variables; 1 - u is never 0.
        z = self.scale * (ops.log1p(-v) - ops.log1p(-u))
        return ops.cast(z, self.compute_dtype)


@keras.saving.register_keras_serializable(package="echo_keras")
class SpikeAndSlab(Marginal):
    """A sparse marginal: each latent dimension is off, or else Gaussian.

    `m(z_j) = p N(z_j; 0, s^2) + (1 - p) N(z_j; 0, S^2)`, independently, with a narrow
    spike s for what is off. (A spike of width 0 has no density.)

    Args:
        off: Float in (0, 1), p, how often a dimension is off.
        spike: Float > 0, s.
        slab: Float > spike, S.
        seed: Int or None, for `sample`.

    Inputs:
        z, shape (batch, ...). Calling the layer gives `log_prob(z)`.

    Raises:
        ValueError: an argument is out of range.

    Example:

    >>> import numpy as np
    >>> marginal = SpikeAndSlab(off=0.75, seed=0)
    >>> marginal.build((None, 4))
    >>> z = np.abs(ops.convert_to_numpy(marginal.sample(1000)))
    >>> print(np.mean(z > 0.2).round(2))  # 1/4, less what a slab has so near 0
    0.21

    References:
        BIB-AE paper, Sec. 3 and Fig. 4 ("sparsifying prior"). Mitchell & Beauchamp,
        Bayesian Variable Selection in Linear Regression (1988).
    """

    def __init__(
        self,
        off: float = 0.5,
        spike: float = 0.05,
        slab: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.off = arguments.number("off", off, above=0, below=1)
        self.spike = arguments.number("spike", spike, above=0)
        self.slab = arguments.number("slab", slab, above=self.spike)

    @symbolic
    def log_prob(self, z: Tensor) -> Tensor:
        """log m(z) in nats, (batch, ...) -> (batch,)."""
        z = ops.cast(z, "float32")
        spike, slab = (
            math.log(share / scale) - 0.5 * ops.square(z / scale)
            for share, scale in ((self.off, self.spike), (1 - self.off, self.slab))
        )
        return sum_over_latent(ops.logaddexp(spike, slab) - 0.5 * math.log(2 * math.pi))

    def sample(self, n: int) -> Tensor:
        """Draws n codes: (n, ...). The layer must have been built."""
        shape, seed = self.sample_shape(n), self.seed_generator
        u = keras.random.uniform(shape, dtype="float32", seed=seed)
        noise = keras.random.normal(shape, dtype="float32", seed=seed)
        z = ops.where(u < self.off, self.spike, self.slab) * noise
        return ops.cast(z, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        config = {"off": self.off, "spike": self.spike, "slab": self.slab}
        return {**super().get_config(), **config}
