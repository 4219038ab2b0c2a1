"""Base classes of layers with state that outlasts a call."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .typing import Shape


class Seeded(keras.layers.Layer):
    """Base class: a seed generator whose state is saved with the weights.

    Keras saves a layer's weights but not the state of its generator, so that a
    resumed run would repeat its noise.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed = arguments.seed(seed)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}

    def save_own_variables(self, store: dict[str, Any]) -> None:
        super().save_own_variables(store)
        store["seed_state"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: dict[str, Any]) -> None:
        weights = {name: store[name] for name in store.keys() if name != "seed_state"}
        super().load_own_variables(weights)
        if "seed_state" in store.keys():
            self.seed_generator.state.assign(store["seed_state"][()])


class LossTerm(keras.layers.Layer):
    """Base class: state that Keras saves but neither trains nor casts."""

    def add_state(self, name: str, shape: Shape, value: float) -> keras.Variable:
        """A float32 weight that neither the optimizer nor autocasting touches.

        Each replica of a `tf.distribute` strategy updates its own copy, and the
        first one's is read and saved. To aggregate instead would make the replicas
        wait for each other inside `call`, where Keras then mixes up their losses.
        """
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=keras.initializers.Constant(value),
            dtype="float32",
            autocast=False,
            trainable=False,
        )
