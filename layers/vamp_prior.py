"""The VampPrior, whose components are codes of learned pseudo-inputs."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from . import arguments
from .base import LossTerm
from .channel_inputs import check_built
from .marginals import Marginal
from .numerics import project, scaled_distances
from .typing import Shape, Tensor

VARIANTS = ("paper", "published_code")


@keras.saving.register_keras_serializable(package="echo_keras")
class VampPrior(Marginal, LossTerm):
    """The VampPrior: a mixture of the encoder's own Gaussians at pseudo-inputs.

    `m(z) = sum_k w_k N(z; mean(u_k), var(u_k))`

    where `u_1, ..., u_K` are the learned pseudo-inputs of a `PseudoInputs` layer.
    The encoder stands in the user's model and not in here, where cloning and
    loading would make a second one of it:

        pseudo = PseudoInputs(750)(x)
        z = GaussianBottleneck(32, marginal=VampPrior())([encoder(x), encoder(pseudo)])

    (An encoder with batch normalisation has the pseudo-inputs in its statistics.)

    The components of the last call are kept as non-trainable weights, so that
    `log_prob(z)` alone and `sample(n)` work after training and after loading. They
    follow the encoder at the next call only (and not inside `collect_draws`): call
    the model, or its `evaluate`, once before you sample.

    Args:
        learned_weights: If True, the w_k are the softmax of K trainable logits,
            equal at first; otherwise all are 1/K.
        variant: "paper"; or "published_code", where `log m(z)` is replaced by
            `1/K sum_k log N(z; mu_k, sigma_k^2)`, as in the code published
            for the Echo paper. By Jensen's inequality it is never larger, and up to
            a constant it is the log-density of one Gaussian: a weaker baseline than
            the VampPrior, for comparison. `sample` draws from the mixture all the
            same.
        seed: Int or None, for `sample`.

    Inputs:
        z, shape (batch, ...); mean and log_var of the components, each (K, ...).

    Raises:
        ValueError: the components are missing when the layer is built, their number
            is unknown, or their shapes do not fit; variant is unknown, or is
            "published_code" beside learned_weights.

    Example:

    >>> import numpy as np
    >>> prior = VampPrior()
    >>> mean, log_var = np.array([[0.0, 0.0], [9.0, 9.0]]), np.zeros((2, 2))
    >>> log_m = prior(np.zeros((1, 2)), mean, log_var)
    >>> round(float(log_m[0]), 3)  # log 1/2 - log 2 pi
    -2.531
    >>> tuple(prior.sample(5).shape)
    (5, 2)

    References:
        Tomczak & Welling, VAE with a VampPrior (2018), Eq. 9; Echo paper, Sec. 4
        and App. E.
    """

    takes = ("mean", "log_var")

    def __init__(
        self,
        learned_weights: bool = False,
        variant: str = "paper",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        arguments.choice("variant", variant, VARIANTS)
        arguments.flag("learned_weights", learned_weights)
        if learned_weights and variant == "published_code":
            raise ValueError(
                "learned_weights must be False with variant='published_code', which "
                "is a mean over components without weights. "
                "Received: learned_weights=True"
            )
        self.learned_weights = learned_weights
        self.variant = variant

    def build(
        self,
        z_shape: Shape,
        mean_shape: Shape | None = None,
        log_var_shape: Shape | None = None,
    ) -> None:
        if mean_shape is None or log_var_shape is None:
            raise ValueError(
                "VampPrior needs the mean and log_var of its components, the code of "
                "the pseudo-inputs: GaussianBottleneck(units, marginal=VampPrior())"
                "([encoder(x), encoder(PseudoInputs(750)(x))])."
            )
        super().build(z_shape)
        mean_shape, log_var_shape = tuple(mean_shape), tuple(log_var_shape)
        if mean_shape != log_var_shape or mean_shape[1:] != self.code_shape:
            raise ValueError(
                f"mean and log_var of the VampPrior's components must have the shape "
                f"{('K', *self.code_shape)}. Received: {mean_shape} and "
                f"{log_var_shape}"
            )
        if None in mean_shape:
            raise ValueError(
                f"The number of components and every axis of the code must be known "
                f"in VampPrior. Received: {mean_shape}"
            )
        self.dims = math.prod(self.code_shape)
        # Means, then log-variances; infinite until the first call.
        self.components = self.add_state("components", (2, *mean_shape), math.inf)
        if self.learned_weights:
            self.logits = self.add_weight(
                name="logits",
                shape=mean_shape[:1],
                initializer="zeros",
                dtype="float32",
                autocast=False,
            )

    def call(
        self, z: Tensor, mean: Tensor | None = None, log_var: Tensor | None = None
    ) -> Tensor:
        if mean is not None:
            self.keep(mean, log_var)
        return self.log_prob(z, mean, log_var)

    def keep(self, mean: Tensor, log_var: Tensor) -> None:
        """Keeps the components, each (K, ...), for `log_prob(z)` and `sample`."""
        components = ops.stack([ops.cast(x, "float32") for x in (mean, log_var)])
        self.components.assign(ops.stop_gradient(components))

    def compute_output_shape(
        self,
        z_shape: Shape,
        mean_shape: Shape | None = None,
        log_var_shape: Shape | None = None,
    ) -> Shape:
        return tuple(z_shape)[:1]

    def log_prob(
        self, z: Tensor, mean: Tensor | None = None, log_var: Tensor | None = None
    ) -> Tensor:
        """log m(z) in nats, (batch, ...) -> (batch,).

        Args:
            z: Tensor (batch, ...).
            mean, log_var: Tensors (K, ...); those of the last call if None.

        Raises:
            ValueError: mean and log_var are None, and there was no call before.
        """
        if mean is None:
            components = self._kept()
        else:
            components = ops.stack([ops.cast(x, "float32") for x in (mean, log_var)])
        check_built(self)
        z = ops.reshape(ops.cast(z, "float32"), (-1, self.dims))
        mean, log_var = ops.unstack(
            ops.reshape(components, (2, -1, self.dims)), 2, axis=0
        )
        log_scale = ops.sum(log_var + math.log(2 * math.pi), axis=1)
        log_n = -0.5 * (scaled_distances(z, mean, log_var) + log_scale)
        if self.variant == "published_code":
            return ops.mean(log_n, axis=1)
        return ops.logsumexp(log_n + self._log_weights(), axis=1)

    def sample(self, n: int) -> Tensor:
        """Draws n codes from the components of the last call: (n, ...).

        Raises:
            ValueError: there was no call before.
        """
        n = arguments.sample_size(n)
        components, seed = self._kept(), self.seed_generator
        log_weights = ops.expand_dims(self._log_weights(), 0)
        k = keras.random.categorical(log_weights, n, seed=seed)[0]
        mean, log_var = ops.unstack(ops.take(components, k, axis=1), 2, axis=0)
        noise = keras.random.normal((n, *self.code_shape), dtype="float32", seed=seed)
        return ops.cast(mean + ops.exp(0.5 * log_var) * noise, self.compute_dtype)

    def _log_weights(self):
        """log w_k, (K,)."""
        if self.learned_weights:
            return ops.log_softmax(ops.convert_to_tensor(self.logits))
        count = self.components.shape[1]
        return ops.full((count,), -math.log(count), dtype="float32")

    def _kept(self):
        """The components of the last call, (2, K, ...)."""
        known = self.built
        if known:
            components = ops.convert_to_tensor(self.components)
            try:
                known = np.isfinite(ops.convert_to_numpy(components)).all()
            except (NotImplementedError, TypeError):
                # While a graph is traced there is nothing to look at. Unknown
                # components give NaN there.
                known = True
        if not known:
            raise ValueError(
                "VampPrior has no components yet: call the model once, on data, "
                "before log_prob(z) or sample(n)."
            )
        return components

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "learned_weights": self.learned_weights,
            "variant": self.variant,
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class PseudoInputs(keras.layers.Layer):
    """Learned inputs for `VampPrior`; of the layer's inputs only the shape matters.

    The output is the same on every call: `count` trainable examples, kept within
    [low, high] by clipping. Gradients that lead back inside pass the clip.

    They start uniformly distributed in [low, high], unless an initializer is given.
    Better is to start from data, by `adapt`.

    Args:
        count: Int >= 1, number K of pseudo-inputs.
        initializer: Keras initializer or None.
        low, high: Floats, the range of the data, low < high.

    Inputs:
        Examples, shape (batch, ...); their values do not matter.

    Output:
        Pseudo-inputs, shape (count, ...).

    Raises:
        ValueError: count is not an integer >= 1, low is not below high, or an axis
            of the examples is unknown.

    Example:

    >>> import numpy as np
    >>> images = np.random.default_rng(0).uniform(size=(100, 28, 28, 1))
    >>> layer = PseudoInputs(10)
    >>> layer.adapt(images)
    >>> tuple(layer(images[:2]).shape)
    (10, 28, 28, 1)

    References:
        Tomczak & Welling, VAE with a VampPrior (2018), Sec. 3.
    """

    def __init__(
        self,
        count: int,
        initializer: keras.initializers.Initializer | str | None = None,
        low: float = 0.0,
        high: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.count = arguments.integer("count", count)
        self.initializer = keras.initializers.get(initializer)
        self.low = arguments.number("low", low)
        self.high = arguments.number("high", high, above=self.low)

    def build(self, input_shape: Shape) -> None:
        shape = tuple(input_shape)[1:]
        if None in shape:
            raise ValueError(
                f"Every axis but the batch must be known in PseudoInputs. "
                f"Received: {tuple(input_shape)}"
            )
        default = keras.initializers.RandomUniform(self.low, self.high)
        self.pseudo_inputs = self.add_weight(
            name="pseudo_inputs",
            shape=(self.count, *shape),
            initializer=self.initializer or default,
            autocast=False,
        )

    def call(self, inputs: Tensor) -> Tensor:
        # A copy: TensorFlow wants no variable itself in a gradient of our own.
        inside = project(ops.copy(self.pseudo_inputs), self.low, self.high)
        return ops.cast(inside, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (self.count, *input_shape[1:])

    def adapt(
        self,
        x: np.ndarray,
        method: str = "examples",
        noise: float = 0.01,
        seed: int | None = None,
    ) -> None:
        """Initializes the pseudo-inputs from data; call it before training.

        Args:
            x: Data, shape (n, ...), within [low, high].
            method: "examples", copies of `count` different examples drawn at random;
                or "mean", the mean of x plus Gaussian noise.
            noise: Float > 0, standard deviation of the noise of "mean". (Without
                any, all pseudo-inputs would stay alike.)
            seed: Int or None.

        Raises:
            ValueError: method is unknown, noise is not positive, x has fewer than
                `count` examples, does not fit the layer's shape, is not finite or
                lies outside of [low, high].
        """
        if method not in ("examples", "mean"):
            raise ValueError(
                f"method must be 'examples' or 'mean'. Received: method={method!r}"
            )
        if not 0 < noise < math.inf:
            raise ValueError(
                f"noise must be a finite number > 0. Received: noise={noise}"
            )
        x = np.asarray(x)
        if not self.built:
            self.build(x.shape)
        shape = tuple(self.pseudo_inputs.shape)
        if x.shape[1:] != shape[1:]:
            raise ValueError(
                f"x must have the shape {('n', *shape[1:])} of the pseudo-inputs. "
                f"Received: {x.shape}"
            )
        if not np.isfinite(x).all():
            raise ValueError("x must be finite. Received: NaN or infinity")
        if x.size and (x.min() < self.low or x.max() > self.high):
            raise ValueError(
                f"x must lie within [low, high] = [{self.low:g}, {self.high:g}]: scale "
                f"it, or give PseudoInputs its range. Received: values from "
                f"{x.min():g} to {x.max():g}"
            )
        seed = keras.random.SeedGenerator(seed)
        if method == "mean":
            around = keras.random.normal(shape, 0.0, noise, dtype="float32", seed=seed)
            start = x.mean(axis=0, dtype="float64") + ops.convert_to_numpy(around)
        elif len(x) < self.count:
            raise ValueError(
                f"x must have at least {self.count} examples, one for each "
                f"pseudo-input. Received: {len(x)}"
            )
        else:
            keys = keras.random.uniform((len(x),), dtype="float32", seed=seed)
            start = x[np.argsort(ops.convert_to_numpy(keys))[: self.count]]
        self.pseudo_inputs.assign(np.clip(start, self.low, self.high))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "count": self.count,
            "initializer": keras.initializers.serialize(self.initializer)
            if self.initializer
            else None,
            "low": self.low,
            "high": self.high,
        }
