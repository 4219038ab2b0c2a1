"""Tests of the MMD penalty. Statistical tests allow 4.5 standard errors."""

import keras
import numpy as np
import pytest
from keras import ops
from tools import array, gradients, normal

from echo_keras.layers import Logistic, MMDPenalty

pytestmark = pytest.mark.core

ERRORS = 4.5


class Given(keras.layers.Layer):
    """A prior whose samples are the rows of one array, so that nothing is random."""

    def build(self, input_shape):
        self.rows = normal(50, *input_shape[1:], seed=7)

    def sample(self, n):
        return ops.convert_to_tensor(self.rows)[:n]


def kernel_of(name, d, bandwidth):
    def rbf(x, y):
        b = bandwidth or d / np.sqrt(2)
        return np.exp(-((x - y) ** 2).sum() / (2 * b**2))

    def imq(x, y):
        c = bandwidth**2 if bandwidth else 2 * d
        return c / (c + ((x - y) ** 2).sum())

    return {"rbf": rbf, "imq": imq}[name]


def double_loop(z, y, kernel, unbiased):
    n, total = len(z), 0.0
    for i in range(n):
        for j in range(n):
            if i != j or not unbiased:
                pairs = n * (n - 1) if unbiased else n**2
                total += (kernel(z[i], z[j]) + kernel(y[i], y[j])) / pairs
            total -= 2 * kernel(z[i], y[j]) / n**2
    return total


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("bandwidth", [None, 0.7])
@pytest.mark.parametrize("shape", [(9, 3), (6, 2, 3)])
def test_value_is_that_of_the_double_loop(kernel, estimator, bandwidth, shape):
    layer = MMDPenalty(2.0, kernel, bandwidth, estimator, prior=Given())
    z = 1.5 * normal(*shape) + 0.5
    np.testing.assert_array_equal(array(layer(z)), z)
    z, y = (x.reshape(len(x), -1).astype("float64") for x in (z, layer.prior.rows))
    kernel = kernel_of(kernel, z.shape[1], bandwidth)
    expected = double_loop(z, y[: len(z)], kernel, estimator == "unbiased")
    np.testing.assert_allclose(array(layer.last_value), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        array(layer.losses[0]), 2 * expected, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_gradient_is_that_of_the_double_loop(kernel):
    layer, z = MMDPenalty(1.0, kernel, 1.5, prior=Given()), normal(6, 2) + 0.5
    layer.build((None, 2))
    (found,) = gradients(layer.penalty, z)
    z, y = z.astype("float64"), layer.prior.rows[:6].astype("float64")
    expected = np.zeros_like(z)
    for i in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[i] = 1e-5
        above, below = (
            double_loop(x, y, kernel_of(kernel, 2, 1.5), False)
            for x in (z + step, z - step)
        )
        expected[i] = (above - below) / 2e-5
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def values(layer, draw, repeats=60):
    found = [float(array(layer.penalty(draw(i)))) for i in range(repeats)]
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(repeats)


def expected_rbf(mean, variance, d, b):
    """MMD^2 between N(mean, variance I) and N(0, I)."""

    def mean_kernel(spread, distance):
        total = b**2 + spread
        return (b**2 / total) ** (d / 2) * np.exp(-(distance**2) / (2 * total))

    away = np.sqrt(d) * mean
    return (
        mean_kernel(2 * variance, 0.0)
        + mean_kernel(2.0, 0.0)
        - 2 * mean_kernel(1 + variance, away)
    )


@pytest.mark.parametrize("mean, scale", [(0.0, 1.0), (0.5, 1.0), (0.0, 0.3)])
def test_unbiased_estimate_has_the_mean_that_gaussians_have(mean, scale):
    layer = MMDPenalty(estimator="unbiased", bandwidth=1.5, seed=0)
    layer.build((None, 3))
    found, error = values(layer, lambda i: mean + scale * normal(40, 3, seed=i))
    expected = expected_rbf(mean, scale**2, 3, 1.5)
    assert abs(found - expected) < ERRORS * error
    assert error < 0.005


def test_biased_estimate_is_above_by_its_diagonal():
    layer = MMDPenalty(bandwidth=1.5, seed=0)
    layer.build((None, 3))
    found, error = values(layer, lambda i: normal(20, 3, seed=i))
    mean_kernel = (1.5**2 / (1.5**2 + 2)) ** 1.5
    assert abs(found - 2 * (1 - mean_kernel) / 20) < ERRORS * error


def test_default_bandwidth_is_that_of_the_echo_paper():
    z = normal(10, 32)
    default, paper = MMDPenalty(seed=1), MMDPenalty(bandwidth=32 / np.sqrt(2), seed=1)
    default(z), paper(z)
    assert float(array(default.weight)) == 999.0
    assert array(default.last_value) == array(paper.last_value) > 0


def test_unbiased_estimate_of_one_example_is_zero():
    layer = MMDPenalty(estimator="unbiased")
    layer(normal(1, 3) + 5)
    assert float(array(layer.last_value)) == 0.0
    layer = MMDPenalty()
    layer(normal(1, 3) + 5)
    assert float(array(layer.last_value)) > 0


def test_scales_are_added_up_and_leave_out_the_diagonal():
    z, scales = normal(7, 3), (0.1, 0.5, 5.0)
    for kernel in ("rbf", "imq"):
        for estimator in ("biased", "unbiased"):
            arguments = {"estimator": estimator, "prior": Given()}
            several = MMDPenalty(1.0, kernel, 1.5, scales=scales, **arguments)
            several.build(z.shape)
            expected = 0.0
            for scale in scales:
                one = MMDPenalty(1.0, kernel, 1.5 * scale**0.5, **arguments)
                one.build(z.shape)
                expected += float(array(one.penalty(z)))
            found = float(array(several.penalty(z)))
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_root_of_the_estimate_and_its_gradient():
    layer, root = (
        MMDPenalty(1.0, "imq", 1.5, prior=Given(), squared=squared)
        for squared in (True, False)
    )
    z = normal(6, 2) + 0.5
    for each in (layer, root):
        each.build(z.shape)
    square = float(array(layer.penalty(z)))
    assert float(array(root.penalty(z))) == pytest.approx(square**0.5, rel=1e-5)
    (of_square,), (of_root,) = (gradients(each.penalty, z) for each in (layer, root))
    np.testing.assert_allclose(of_root, of_square / (2 * square**0.5), rtol=1e-3)


def test_the_root_of_a_negative_estimate_is_zero_with_a_gradient_of_zero():
    root = MMDPenalty(estimator="unbiased", prior=Given(), squared=False)
    root.build((5, 3))
    z = array(root.prior.sample(5))  # the prior's own draws
    assert float(array(root.penalty(z))) == 0.0
    (gradient,) = gradients(root.penalty, z)
    np.testing.assert_array_equal(gradient, 0.0)


def test_another_prior():
    layer = MMDPenalty(estimator="unbiased", bandwidth=2.0, prior=Logistic(0.5, seed=1))
    layer.build((None, 2))
    rng = np.random.RandomState(0)
    found, error = values(
        layer, lambda i: rng.logistic(0, 0.5, (40, 2)).astype("float32")
    )
    assert abs(found) < ERRORS * error
    away, _ = values(layer, lambda i: 3 + 0.1 * normal(20, 2, seed=i), repeats=20)
    assert away > 0.5


def test_half_precision_computes_in_float32():
    full, half = MMDPenalty(seed=0), MMDPenalty(seed=0, dtype="mixed_bfloat16")
    z = array(ops.cast(ops.cast(normal(30, 4), "bfloat16"), "float32"))
    full(z)
    assert keras.backend.standardize_dtype(half(z).dtype) == "bfloat16"
    np.testing.assert_array_equal(array(full.last_value), array(half.last_value))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"kernel": "linear"}, "one of rbf, imq. Received: kernel='linear'"),
        ({"estimator": "fast"}, "one of biased, unbiased. Rec.*estimator='fast'"),
        ({"bandwidth": 0.0}, "bandwidth must be a finite number > 0.*bandwidth=0.0"),
        ({"scales": ()}, r"scales must be a list of at least one .*scales=\(\)"),
        (
            {"scales": (1.0, 0.0)},
            "scales must be a finite number > 0. Received: scales=0.0",
        ),
        ({"weight": -1.0}, "weight must be a finite number >= 0"),
    ],
)
def test_bad_arguments_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        MMDPenalty(**arguments)


def test_unknown_axis_raises():
    with pytest.raises(ValueError, match=r"every axis but the batch.*\(None, None\)"):
        MMDPenalty().build((None, None))
