"""Data that a model, or its loss, is not made for, given to what measures models."""

import keras
import numpy as np
import pytest
from fuzzing import X, model

from echo_keras import codec, losses, metrics
from echo_keras.metrics import classification, novelty

WITH_NAN = np.where(np.arange(12)[:, None] == 3, np.nan, X)
MEASURES = {
    "evaluate": metrics.evaluate,
    "per_example": metrics.per_example,
    "importance_weighted": lambda m, x: metrics.importance_weighted(m, x, samples=2),
    "scores": novelty.scores,
    "encode": metrics.encode,
    "representation": lambda m, x: metrics.representation(m)(x),
    "rate_by_dimension": metrics.rate_by_dimension,
    "squared_error": metrics.squared_error,
    "forward": classification.forward,
    "codec.encode": lambda m, x: codec.encode(model("vq"), x),
}
SOME = ("evaluate", "importance_weighted", "encode", "forward")
# Of these the data are targets too, of a Bernoulli loss.
OF_LOSS = ("evaluate", "per_example", "importance_weighted", "scores")


@pytest.fixture(scope="module", autouse=True)
def models():
    """Made once: the session that each test begins with leaves them as they are."""
    yield
    model.cache_clear()


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize("x", [WITH_NAN, np.where(X > 0.9, np.inf, X)])
def test_rows_that_are_not_finite(measure, x):
    with pytest.raises(ValueError, match="finite.* Received: NaN or infinity"):
        measure(model("vae"), x)


@pytest.mark.parametrize("name", [n for n in MEASURES if n != "representation"])
def test_no_data(name):
    with pytest.raises(ValueError, match="at least one .*Received: "):
        MEASURES[name](model("vae"), X[:0])


@pytest.mark.parametrize("name", SOME)
def test_a_list_of_numbers_is_no_batches(name):
    with pytest.raises(ValueError, match="^x must be an array, a list or dict of"):
        MEASURES[name](model("vae"), X.tolist())


@pytest.mark.parametrize("name", OF_LOSS)
@pytest.mark.parametrize(
    "x, found",
    [
        ((255 * X).astype("uint8"), "from 4 to 252. Divide pixels by 255"),
        (2 * X - 1, "from -0.9"),
        (X + 0.5, "from 0.5"),
    ],
)
def test_pixels_outside_of_0_and_1(name, x, found):
    with pytest.raises(ValueError, match=f"Bernoulli must be in .0, 1.. .*{found}"):
        MEASURES[name](model("vae"), x)


def test_grey_pixels_and_whole_ones_are_as_before():
    whole = (X > 0.5).astype("uint8")
    found = metrics.evaluate(model("vae"), whole)
    same = metrics.evaluate(model("vae"), whole.astype("float32"))
    # Of the same noise but for its seed: within the spread of one draw.
    assert abs(found["distortion"] - same["distortion"]) < 2.0
    assert np.isfinite(metrics.evaluate(model("vae"), X)["neg_elbo"])


@pytest.mark.parametrize("labels", [[7], [-1], [0.5]])
def test_labels_that_do_not_exist(labels):
    y = np.resize(labels, 12)
    with pytest.raises(ValueError, match="CategoricalNLL must be|classes must be"):
        metrics.evaluate(model("classifier"), X, y)
    with pytest.raises(ValueError, match="classes must be integers from 0 to 2"):
        classification.information_plane(model("classifier"), X, y)


@pytest.mark.parametrize("loss", [losses.SquaredError(), losses.ZeroLoss()])
def test_a_loss_without_a_density_has_no_likelihood(loss):
    found = model.__wrapped__("vae")
    found.compile("sgd", loss)
    with pytest.raises(ValueError, match="compiled with a likelihood, such as .*Gauss"):
        metrics.importance_weighted(found, X, samples=2)
    found.compile("sgd", losses.Gaussian())
    assert len(metrics.importance_weighted(found, X, samples=2)) == 2


@pytest.mark.parametrize("name", SOME)
def test_a_model_whose_weights_are_nan(name):
    broken = model.__wrapped__("vae")
    broken.set_weights([w + np.nan for w in broken.get_weights()])
    with pytest.raises(ValueError, match="must be numbers. Received: NaN for 12 of 12"):
        MEASURES[name](broken, X)


@pytest.mark.parametrize("value", [None, "model", keras.layers.Dense])
def test_what_is_no_model(value):
    for measure in MEASURES.values():
        if measure is not MEASURES["codec.encode"]:
            with pytest.raises(ValueError, match="model must be a Model. Received: "):
                measure(value, X)
