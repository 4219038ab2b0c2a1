"""Figures: what is drawn is what was asked for, on every backend."""

import keras
import matplotlib.image
import numpy as np
import pytest
from matplotlib import figure as mpl

from echo_keras import plots
from echo_keras.layers import GaussianSample
from echo_keras.losses import Bernoulli, Gaussian, Laplace, SquaredError
from echo_keras.plots import _figure, images


@pytest.fixture
def grids(monkeypatch):
    """The rows of images that a figure is drawn from."""
    drawn = []
    draw = images._grid

    def spy(rows, path, labels=None):
        drawn.append([np.asarray(row) for row in rows])
        return draw(rows, path, labels)

    monkeypatch.setattr(images, "_grid", spy)
    return drawn


def noisy(shape, loss):
    inputs = keras.Input(shape)
    model = keras.Model(inputs, GaussianSample(noise_variance=1.0)(inputs))
    model.compile(loss=loss)
    return model


@pytest.mark.core
def test_reconstructions_are_input_one_sample_and_mean(grids, tmp_path):
    x, model = np.zeros((4, 28, 28, 1), "float32"), noisy((28, 28, 1), Bernoulli())
    plots.reconstructions(model, x, tmp_path / "r.png", samples=50)
    inputs, one, mean = grids[0]
    assert (inputs == x).all()
    # sigmoid of standard normal noise: standard deviation .21, of the mean .21/sqrt 50
    assert one.std() == pytest.approx(0.208, abs=0.01)
    assert mean.std() == pytest.approx(0.208 / np.sqrt(50), rel=0.1)
    assert matplotlib.image.imread(tmp_path / "r.png").std() > 0.05


@pytest.mark.core
@pytest.mark.parametrize("loss", [SquaredError(), Gaussian(0.1), Laplace()])
def test_a_perfect_model_draws_its_images(loss, grids):
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=loss)
    x = np.random.RandomState(0).randint(2, size=(3, 4, 4, 1)).astype("float32")
    plots.reconstructions(model, x)
    for row in grids[0]:
        np.testing.assert_array_equal(row, x)


@pytest.mark.core
def test_a_learned_variance_is_not_drawn(grids):
    inputs = keras.Input((4, 4, 1))
    both = keras.layers.Concatenate()([inputs, inputs - 9.0])
    model = keras.Model(inputs, both)
    model.compile(loss=Gaussian("learned"))
    x = np.random.RandomState(0).rand(3, 4, 4, 1).astype("float32")
    plots.reconstructions(model, x)
    np.testing.assert_array_equal(grids[0][1], x)


def test_a_model_whose_law_is_not_known_is_refused():
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss="mse")
    with pytest.raises(ValueError, match="compiled with a loss of echo_keras.losses"):
        plots.reconstructions(model, np.zeros((3, 4, 4, 1)))


def test_pixels_outside_of_the_unit_interval_are_black_or_white(tmp_path):
    figure = plots.image_rows(
        {"a": np.array([[-3.0, 0.5], [7.0, 1.0]]).reshape(1, 2, 2, 1)}
    )
    assert figure.axes[0].images[0].get_array().tolist() == [[0.0, 0.5], [1.0, 1.0]]


def test_generations_are_in_rows_and_written_if_asked(grids, tmp_path):
    images = np.random.RandomState(0).rand(7, 4, 4, 1)
    figure = plots.generations(images, columns=5)
    assert isinstance(figure, mpl.Figure) and not list(tmp_path.iterdir())
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert [len(row) for row in grids[0]] == [5, 2]
    np.testing.assert_array_equal(np.concatenate(grids[0]), images)
    plots.generations(images, tmp_path / "g.png")
    assert (tmp_path / "g.png").exists()


def decoded(shape=(2, 2, 1)):
    """A model whose decoder copies the code into pixels."""
    codes = keras.Input((4,))
    decoder = keras.Model(codes, keras.layers.Reshape(shape)(codes), name="decoder")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, decoder(inputs))
    model.compile(loss=SquaredError())
    return model


def test_traversal_moves_one_dimension_in_each_row(grids):
    code, values = np.array([0.1, 0.2, 0.3, 0.4]), np.array([-1.0, 0.0, 1.0])
    plots.latent_traversal(decoded(), code, values, dimensions=[0, 2])
    rows = np.array(grids[0]).reshape(2, 3, 4)
    for row, dimension in zip(rows, (0, 2), strict=True):
        np.testing.assert_allclose(row[:, dimension], values)
        others = [k for k in range(4) if k != dimension]
        np.testing.assert_allclose(row[:, others], code[others][None].repeat(3, 0))


def test_interpolation_is_a_straight_line(grids):
    start, end = np.zeros((2, 4)), np.array([[1.0] * 4, [2.0] * 4])
    plots.interpolation(decoded(), start, end, steps=5)
    rows = np.array(grids[0]).reshape(2, 5, 4)
    np.testing.assert_allclose(rows[0, :, 1], np.linspace(0, 1, 5), atol=1e-6)
    np.testing.assert_allclose(rows[1, :, 3], np.linspace(0, 2, 5), atol=1e-6)


def test_rates_of_dimensions_are_sorted_and_summed():
    figure = plots.rate_by_dimension({"Echo": np.array([0.2, 2.0, 1.0])})
    (line,) = figure.axes[0].lines
    assert line.get_ydata().tolist() == [2.0, 1.0, 0.2]
    assert line.get_label() == "Echo, 3.2 nats in all"


@pytest.fixture
def figures(monkeypatch):
    made = []
    make = _figure.Figure

    def spy(*args, **kwargs):
        made.append(make(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(_figure, "Figure", spy)
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


# One point is beaten by (20, 62), one is on the front and not on its hull.
RUNS = {"simple": [(5, 90), (60, 50), (20, 85)], "complex": [(20, 62), (22, 61.9)]}


def artists(axes):
    """Drawn data by label; what has none, by colour."""
    labels = [line.get_label() for line in axes.lines]
    names = [
        line.get_color() if label.startswith("_") else label
        for line, label in zip(axes.lines, labels, strict=True)
    ]
    assert len(set(names)) == len(names)
    return dict(zip(names, [line.get_xydata() for line in axes.lines], strict=True))


def skewed(points):
    return [(r, r + d) for r, d in points]


def test_phase_diagram_draws_runs_front_hull_and_diagonal(figures, tmp_path):
    plots.phase_diagram(RUNS, tmp_path / "p.png", skew=True)
    plane, skew = figures[0].axes
    diagonal = "R + D = 82.0"
    for axes, seen in ((plane, list), (skew, skewed)):
        drawn = artists(axes)
        assert set(drawn) == {*RUNS, "Pareto front", "convex hull", diagonal}
        for label, points in RUNS.items():
            np.testing.assert_allclose(drawn[label], seen(points))
        # The least distortion at each rate or below: down at a point, then level.
        corners = [(5, 90), (20, 90), (20, 62), (22, 62), (22, 61.9), (60, 61.9)]
        corners.append((60, 50))
        front = drawn["Pareto front"]
        np.testing.assert_allclose(front[1:-1], seen(corners))
        # It comes from above and goes on level, beyond the edges.
        assert front[0, 0] == 5 and front[0, 1] > axes.get_ylim()[1]
        assert front[-1, 0] > axes.get_xlim()[1]
        level = front[-1, 1] - (front[-1, 0] if axes is skew else 0)
        assert level == pytest.approx(50)
        hull = [(5, 90), (20, 62), (60, 50)]
        np.testing.assert_allclose(drawn["convex hull"], seen(hull))
        np.testing.assert_allclose(drawn[diagonal], seen([(0, 82), (82, 0)]))
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        everything = [p for name in (*RUNS, diagonal) for p in drawn[name]]
        assert all(left < x < right and low < y < high for x, y in everything)
    styles = {(line.get_color(), line.get_marker()) for line in plane.lines[:2]}
    assert len({c for c, _ in styles}) == len({m for _, m in styles}) == 2
    colors = {line.get_label(): line.get_color() for line in plane.lines}
    assert (colors["Pareto front"], colors["convex hull"]) == ("k", "0.6")
    assert "nats" in plane.get_ylabel() and "-ELBO" in skew.get_ylabel()
    (legend,) = figures[0].legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [*RUNS, "convex hull", "Pareto front", diagonal]
    assert matplotlib.image.imread(tmp_path / "p.png").std() > 0.05


def test_phase_diagram_with_a_front_for_each_label(figures, tmp_path):
    plots.phase_diagram(RUNS, tmp_path / "p.png", fronts="each", entropy=80.2)
    (axes,) = figures[0].axes
    drawn = artists(axes)
    assert set(drawn) == {*RUNS, "C0", "C1", "R + D = 80.2"}
    simple = [(5, 90), (20, 90), (20, 85), (60, 85), (60, 50)]
    np.testing.assert_allclose(drawn["C0"][1:-1], simple)
    complex_ = [(20, 62), (22, 62), (22, 61.9)]
    np.testing.assert_allclose(drawn["C1"][1:-1], complex_)
    colors = {line.get_label(): line.get_color() for line in axes.lines}
    assert (colors["simple"], colors["complex"]) == ("C0", "C1")
    np.testing.assert_allclose(drawn["R + D = 80.2"], [(0, 80.2), (80.2, 0)])


def test_phase_diagram_of_densities_whose_distortion_is_negative(figures, tmp_path):
    plots.phase_diagram({"a": [(1, -3), (8, -20)]}, tmp_path / "p.png")
    (axes,) = figures[0].axes
    # The lowest R + D is -12: from the axis down to the lowest distortion.
    assert artists(axes)["R + D = -12.0"].tolist() == [[0, -12], [8, -20]]
    assert axes.get_ylim()[0] < -20 and axes.get_ylim()[1] > -3


def test_a_dozen_labels_look_different(figures, tmp_path):
    curves = {str(i): [(i, 90 - i)] for i in range(12)}
    plots.phase_diagram(curves, tmp_path / "p.png")
    lines = figures[0].axes[0].lines[:12]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 12


@pytest.mark.parametrize(
    ("curves", "arguments", "says"),
    [
        (
            RUNS,
            {"fronts": "some"},
            "'all' or 'each'. Received: fronts='some'",
        ),
        (
            RUNS,
            {"entropy": np.inf},
            "a finite number. Received: entropy=inf",
        ),
        ({}, {}, "at least 1"),
        (
            {"a": [(1, 2)], "b": []},
            {},
            r"at least one .* shape \(0,\) for 'b'",
        ),
        ({"a": [(1, 2, 3)]}, {}, r"pairs \(rate, distortion\).*\(1, 3\) for 'a'"),
        ({"a": [(1, np.nan)]}, {}, "must be finite numbers"),
        ({"a": [(1, np.nan)]}, {"entropy": 3, "fronts": "each"}, "must be finite"),
    ],
)
def test_bad_runs_of_a_phase_diagram(curves, arguments, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        plots.phase_diagram(curves, tmp_path / "p.png", **arguments)
    assert not (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("curves", "says"),
    [({}, "at least 1"), ({"b": []}, "at least one .* Received: shape")],
)
def test_bad_points_of_rate_distortion(curves, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        plots.rate_distortion(curves, tmp_path / "p.png")


def test_image_rows_and_mean_reconstruction(grids, tmp_path):
    x = np.zeros((4, 28, 28, 1), "float32")
    mean = plots.mean_reconstruction(noisy((28, 28, 1), Bernoulli()), x, samples=50)
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


def test_phase_diagram_of_one_run(tmp_path):
    plots.phase_diagram({"mine": [(5.0, 80.0)]}, tmp_path / "p.png", skew=True)
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_codes_in_plane_draws_points_classes_and_circles(figures, tmp_path):
    codes = np.random.RandomState(0).normal(size=(50, 2))
    classes = np.arange(50) % 10
    panels = {"one": (codes, classes), "other": (2 * codes, None)}
    plots.codes_in_plane(panels, tmp_path / "c.png")
    one, other = figures[0].axes
    for label, dots in enumerate(one.lines[:10]):
        np.testing.assert_allclose(dots.get_xydata(), codes[classes == label])
    np.testing.assert_allclose(other.lines[0].get_xydata(), 2 * codes)
    # One scale, and a legend of the classes.
    assert one.get_xlim() == other.get_xlim()
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.texts] == [str(k) for k in range(10)]
    radii = [np.hypot(*line.get_xydata().T) for line in one.lines[10:]]
    np.testing.assert_allclose(radii, np.outer([1, 2, 3], np.ones(100)))
    assert [axes.get_title() for axes in (one, other)] == ["one", "other"]
    plots.codes_in_plane(panels, tmp_path / "d.png", normal=False)
    assert len(figures[1].axes[0].lines) == 10


@pytest.mark.parametrize(
    ("panel", "says"),
    [
        ((np.zeros((4, 3)), None), r"codes must have shape \(n, 2\).* for .mine"),
        ((np.zeros((4, 2)), [1, 2]), "as many as codes, 4. Received: 2 for .mine"),
    ],
)
def test_bad_codes_in_plane(panel, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        plots.codes_in_plane({"mine": panel}, tmp_path / "c.png")


def test_code_histograms_are_densities_beside_the_normal(figures, tmp_path):
    codes = np.random.RandomState(0).normal(size=(400, 3))
    plots.code_histograms({"a": codes, "b": 3 * codes}, tmp_path / "h.png", bins=10)
    grid = figures[0].axes
    assert len(grid) == 6
    counts, edges = np.histogram(codes[:, 1], 10, density=True)
    bars = grid[1].patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], counts)
    np.testing.assert_allclose([bar.get_x() for bar in bars], edges[:-1])
    x, density = grid[1].lines[0].get_data()
    np.testing.assert_allclose(density, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))
    with pytest.raises(ValueError, match="d the same for all labels"):
        plots.code_histograms({"a": codes, "b": codes[:, :2]}, tmp_path / "h.png")


def test_an_information_plane_names_the_beta_of_each_model(figures, tmp_path):
    curves = {"Echo": [(0.1, 6.6, 1.9), (1.0, 2.9, 1.0)], "Gaussian": [(0.1, 4.3, 1.8)]}
    plots.information_plane(curves, 2.3, tmp_path / "i.png")
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.texts] == [
        rf"$\beta$ = {beta}" for beta in ("0.1", "1", "0.1")
    ]
    echo, _, entropy, diagonal = (line.get_xydata().tolist() for line in axes.lines)
    assert echo == [[6.6, 1.9], [2.9, 1.0]]
    assert {y for _, y in entropy} == {2.3} and diagonal == [[0, 0], [2.3, 2.3]]


def test_discrete_channels_have_one_scale_in_each_row():
    joint, half = np.full((2, 4), 1 / 8), np.full((2, 4), 0.5)
    sure = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    even = half, half / 2, half[0, :2]
    told = sure, sure / 2, np.array([0.9, 0.1])
    figure = plots.discrete_channels(joint, {"blind": even, "told": told})
    grid = np.array(figure.axes[:10]).reshape(5, 2)
    for left, right in grid[:2]:
        assert left.get_ylim() == right.get_ylim()
        assert left.get_ylim()[0] == 0
    for (left, right), top in zip(grid[2:], (1.0, 0.5, 0.5), strict=True):
        assert left.images[0].get_clim() == right.images[0].get_clim() == (0, top)


def test_discrete_channels_sort_codes_by_their_class(figures, tmp_path):
    joint = np.array([[0.4, 0.1], [0.0, 0.5]])
    encoder, decoder = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0, 1.0], [1, 0]])
    channel = encoder, decoder, np.array([0.6, 0.4])
    plots.discrete_channels(joint, {"mine": channel}, tmp_path / "d.png")
    in_x, in_z, of_x, *_ = figures[0].axes
    # Code 1, which x = 0 sends, has nothing of class 1: it comes first.
    np.testing.assert_allclose(of_x.images[0].get_array(), [[1, 0], [0, 1]])
    np.testing.assert_allclose([b.get_height() for b in in_z.patches[:2]], [0.4, 0.1])
    np.testing.assert_allclose(in_x.lines[0].get_ydata(), [0.4, 0.6])


def test_training_curves_of_a_model_without_a_rate_have_no_panel_for_it():
    history = {"distortion": [3.0, 2.0], "val_distortion": [4.0, 5.0]}
    (axes,) = plots.training_curves({"WAE": history}).axes
    assert axes.get_ylabel() == "distortion (nats per example)"
    with pytest.raises(
        ValueError, match="such as distortion. Received: metrics=.'rate"
    ):
        plots.training_curves({"WAE": history}, metrics=("rate",))
