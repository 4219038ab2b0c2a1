"""Optimizers that the papers use and Keras does not have."""

from collections.abc import Sequence

import keras

from echo_keras.layers.typing import Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class _DiscriminatorMap(keras.optimizers.OptimizerMap):
    """Maps the weights of discriminators to an optimizer of their own."""

    def __call__(self, variable):
        own = getattr(variable, "is_discriminator", False)
        return self._optimizer_map["discriminators"] if own else self.default_optimizer


def with_discriminator_optimizer(
    optimizer: keras.optimizers.Optimizer,
    discriminators: keras.optimizers.Optimizer | None = None,
) -> keras.optimizers.Optimizer:
    """Two optimizers in one: discriminators of density-ratio penalties have their own.

    Args:
        optimizer: Keras optimizer for all other weights.
        discriminators: Keras optimizer for the discriminators' weights; if None, Adam
            with the settings of FactorVAE's discriminator: 1e-4, beta_1 = .5,
            beta_2 = .9.

    Returns:
        A `keras.optimizers.MultiOptimizer`, which `compile` takes and `.keras` files
        keep, with the state of both.

    Example:

    >>> optimizer = with_discriminator_optimizer(keras.optimizers.Adam(1e-3))
    >>> [round(float(part.learning_rate), 4) for part in optimizer.optimizers]
    [0.0001, 0.001]

    References:
        Kim & Mnih, Disentangling by Factorising (2018), App. A.
    """
    for name, value in (("optimizer", optimizer), ("discriminators", discriminators)):
        given = value is not None or name == "optimizer"
        if given and not isinstance(value, keras.optimizers.Optimizer):
            raise ValueError(
                f"{name} must be a Keras optimizer. Received: {name}={value!r:.100}"
            )
    if discriminators is None:
        discriminators = keras.optimizers.Adam(1e-4, beta_1=0.5, beta_2=0.9)
    parts = _DiscriminatorMap(optimizer, {"discriminators": discriminators})
    return keras.optimizers.MultiOptimizer(parts)


@keras.saving.register_keras_serializable(package="echo_keras")
class NormalizedAdam(keras.optimizers.Adam):
    """Adam on normalized gradients: `g / |g|`, for each weight tensor by itself.

    Adam forgets a scale that all gradients share; here a step whose gradients are
    unusually large weighs no more than the others either.

    Args:
        As `keras.optimizers.Adam`.

    Example:

    >>> optimizer = NormalizedAdam(0.1, beta_1=0.0)
    >>> weight = keras.Variable([1.0, 1.0])
    >>> optimizer.apply([keras.ops.array([3e4, 4e4])], [weight])
    >>> [round(float(x), 2) for x in optimizer.variables[-2].value]  # of norm 1
    [0.6, 0.8]

    References:
        Yu et al., Normalized Gradient with Adaptive Stepsize Method for Deep Neural
        Network Training (2017), Sec. 3; Fixing a Broken ELBO, App. F.4.
    """

    def apply(
        self,
        grads: Sequence[Tensor | None],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        grads = [None if g is None else g / (_norm(g) + 1e-12) for g in grads]
        super().apply(grads, trainable_variables)


def _norm(x):
    return keras.ops.sqrt(keras.ops.sum(keras.ops.square(x)))
