"""Tests of the masked networks: which output depends on which input."""

import numpy as np
import pytest
from tools import array, normal, randomize

from echo_keras.layers import MADE, MaskedDense

pytestmark = pytest.mark.core

D, CONTEXT = 4, 2


def test_mask_follows_degrees():
    layer = MaskedDense([1, 2, 3], [1, 3], kernel_initializer="ones")
    np.testing.assert_array_equal(array(layer(np.eye(3))), [[1, 1], [0, 1], [0, 1]])
    strict = MaskedDense([1, 2, 3], [1, 3], strict=True, kernel_initializer="ones")
    np.testing.assert_array_equal(array(strict(np.eye(3))), [[0, 1], [0, 1], [0, 0]])
    assert (layer.effective_params, strict.effective_params) == (4 + 2, 2 + 2)
    assert layer.count_params() == 6 + 2


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("order", [None, (2, 0, 3, 1)])
@pytest.mark.parametrize("outputs", [1, 2])
def test_outputs_depend_on_the_inputs_before_them(order, outputs, context):
    network = MADE((9, 8), outputs_per_dim=outputs, activation="tanh", order=order)
    x, condition = normal(5, D), normal(5, CONTEXT, seed=1)
    zeros = array(network([x, condition] if context else x))
    np.testing.assert_array_equal(zeros, np.zeros((5, D, outputs)))  # untrained
    randomize(network)

    def run(x, condition=condition):
        return array(network([x, condition] if context else x))

    rank = np.argsort(range(D) if order is None else order)
    before = run(x)
    for j in range(D):
        moved = x.copy()
        moved[:, j] += 1.0
        changed = run(moved) != before
        # Not a bit changes in those that come no later, all others do.
        expected = np.broadcast_to((rank > rank[j])[None, :, None], changed.shape)
        np.testing.assert_array_equal(changed, expected)
    if context:
        assert (run(x, condition + 1.0) != before).all()


@pytest.mark.parametrize("context", [False, True])
def test_one_dimension(context):
    network = MADE((3, 2))
    inputs = [normal(5, 1), normal(5, CONTEXT)] if context else normal(5, 1)
    network(inputs)
    spread = np.ptp(array(randomize(network)(inputs)))
    assert spread > 0 if context else spread == 0


def test_context_counts_in_full():
    network = MADE((12, 10))
    network.build([(None, D), (None, CONTEXT)])
    masked = [*network.hidden, network.output_layer]
    expected = sum(x.effective_params for x in masked) + CONTEXT * 12
    assert network.effective_params == expected


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"units_per_hidden": ()}, r"units_per_hidden must be .* Received: .*=\(\)"),
        ({"units_per_hidden": 64}, "units_per_hidden must be .* Received: .*=64"),
        ({"outputs_per_dim": 0}, "outputs_per_dim must be .* Received: .*=0"),
        ({"order": (0, 1)}, "each of the 3 input indices once. Received: order="),
        ({"order": (0, 0, 1)}, "each of the 3 input indices once. Received: order="),
        ({"units_per_hidden": (2, 1)}, r"at least 2 for 3 dim.* Received: .*\(2, 1\)"),
    ],
)
def test_bad_arguments_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        MADE(**{"units_per_hidden": (8,), **arguments}).build((None, 3))


def test_bad_shapes_raise():
    with pytest.raises(
        ValueError, match=r"each of its 2 degrees. Received: .*\(4, 3\)"
    ):
        MaskedDense([1, 2], [1, 2])(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"MADE takes x of shape \(batch, d\), or"):
        MADE((8,)).build((None, 2, 3))
