"""Figures: what is drawn is what was asked for, on every backend."""

import keras
import matplotlib.image
import numpy as np
import pytest

from echo_keras import plots
from echo_keras.layers import GaussianSample

pytestmark = pytest.mark.core


@pytest.fixture
def grids(monkeypatch):
    """The rows of images that a figure is drawn from."""
    drawn = []
    draw = plots._grid

    def spy(rows, path, labels=None):
        drawn.append([np.asarray(row) for row in rows])
        draw(rows, path, labels)

    monkeypatch.setattr(plots, "_grid", spy)
    return drawn


def noisy(shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, GaussianSample(noise_variance=1.0)(inputs))


def test_reconstructions_are_input_one_sample_and_mean(grids, tmp_path):
    x = np.zeros((4, 28, 28, 1), "float32")
    plots.reconstructions(noisy((28, 28, 1)), x, tmp_path / "r.png", samples=50)
    inputs, one, mean = grids[0]
    assert (inputs == x).all()
    # sigmoid of standard normal noise: standard deviation .21, of the mean .21/sqrt 50
    assert one.std() == pytest.approx(0.208, abs=0.01)
    assert mean.std() == pytest.approx(0.208 / np.sqrt(50), rel=0.1)
    assert matplotlib.image.imread(tmp_path / "r.png").std() > 0.05


def test_generations_are_the_decoders_probabilities(grids, tmp_path):
    decoder = keras.Sequential([keras.Input((784,)), keras.layers.Reshape((28, 28, 1))])
    codes = np.linspace(-3, 3, 7 * 784, dtype="float32").reshape(7, 784)
    plots.generations(decoder, codes, tmp_path / "g.png", columns=5)
    assert [len(row) for row in grids[0]] == [5, 2]
    expected = 1 / (1 + np.exp(-codes.reshape(7, 28, 28, 1)))
    np.testing.assert_allclose(np.concatenate(grids[0]), expected, atol=1e-6)
    assert (tmp_path / "g.png").exists()


@pytest.fixture
def figures(monkeypatch):
    made = []
    make = plots.mpl.Figure

    def spy(*args, **kwargs):
        made.append(make(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(plots.mpl, "Figure", spy)
    return made


@pytest.mark.parametrize(
    "history",
    [
        [{"rate": 3.0, "val_rate": 4.0}, {"rate": 2.0, "val_rate": 5.0}],
        {"rate": [3.0, 2.0], "val_rate": [4.0, 5.0]},
    ],
)
def test_training_curves_show_validation_dashed(history, figures, tmp_path):
    plots.training_curves({"Echo": history}, tmp_path / "c.png", metrics=("rate",))
    (axes,) = figures[0].axes
    drawn = {line.get_linestyle(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {"-": [3.0, 2.0], "--": [4.0, 5.0]}
    assert "nats" in axes.get_ylabel()


def test_rate_distortion_draws_points_front_tangent_and_lowest_rate(figures, tmp_path):
    points = [(5, 90), (10, 80), (20, 72), (12, 85)]
    plots.rate_distortion({"mine": points}, tmp_path / "rd.png", min_rate=4.0)
    (axes,) = figures[0].axes
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    # (12, 85) is beaten by (10, 80).
    assert lines["mine"].tolist() == [[5, 90], [10, 80], [20, 72]]
    tangent = lines["R + D = 90.0"]
    np.testing.assert_allclose(tangent.sum(axis=1), 90.0)
    assert lines["lowest Echo rate"][0, 0] == 4.0
    assert matplotlib.image.imread(tmp_path / "rd.png").std() > 0.05


def test_image_rows_and_mean_reconstruction(grids, tmp_path):
    x = np.zeros((4, 28, 28, 1), "float32")
    mean = plots.mean_reconstruction(noisy((28, 28, 1)), x, samples=50)
    assert mean.shape == x.shape
    assert mean.std() == pytest.approx(0.208 / np.sqrt(50), rel=0.1)
    plots.image_rows({"input": x, "mean": mean}, tmp_path / "rows.png")
    assert (grids[0][0] == x).all() and (grids[0][1] == mean).all()


def test_mean_by_is_the_loop():
    rng = np.random.RandomState(0)
    keys, values = rng.randint(0, [[3], [4]], (2, 40)), rng.normal(size=40)
    found = plots.mean_by(list(keys), values)
    assert found.shape == (3, 4)
    for i in range(3):
        for j in range(4):
            mine = values[(keys[0] == i) & (keys[1] == j)]
            expected = mine.mean() if len(mine) else np.nan
            np.testing.assert_allclose(found[i, j], expected)


def test_codes_by_factor_draws_lines_and_heat_maps(figures, tmp_path):
    sizes = (2, 5, 3, 4)
    factors = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=-1)
    shape, scale, x, y = factors.T.astype("float64")
    codes = np.stack([scale + 10 * shape, x - y], axis=-1)
    names = ("shape", "scale", "pos_x", "pos_y")
    plots.codes_by_factor(codes, factors, names, tmp_path / "c.png")
    (first, second), (third, fourth) = np.reshape(figures[0].axes, (2, 2))
    lines = [line.get_ydata() for line in second.get_lines()]
    np.testing.assert_allclose(lines, [np.arange(5), 10 + np.arange(5)])
    # Across and down: x and y.
    heat = np.array(third.images[0].get_array())
    np.testing.assert_allclose(heat, np.arange(3)[None, :] - np.arange(4)[:, None])
    np.testing.assert_allclose([line.get_ydata() for line in fourth.get_lines()], -0.5)
    assert first.get_title() == "position" and second.get_title() == "scale"


def test_codes_by_factor_without_shape_and_position(figures, tmp_path):
    factors = np.stack(np.unravel_index(np.arange(12), (3, 4)), axis=-1)
    plots.codes_by_factor(factors[:, :1], factors, ("a", "b"), tmp_path / "c.png")
    a, b = figures[0].axes
    np.testing.assert_allclose(a.get_lines()[0].get_ydata(), [0, 1, 2])
    np.testing.assert_allclose(b.get_lines()[0].get_ydata(), [1, 1, 1, 1])
