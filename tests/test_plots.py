"""Figures: what is drawn is what was asked for, on every backend."""

import inspect

import keras
import matplotlib.image
import numpy as np
import pytest
from matplotlib import figure as mpl

from echo_keras import losses, metrics, plots
from echo_keras.layers import GaussianSample
from echo_keras.plots.images import GAP

# Images


def tiles(figure, rows, columns):
    """The images of a grid as they are drawn, (rows, columns, height, width, 3)."""
    (axes,) = figure.axes
    mosaic = np.pad(np.array(axes.images[0].get_array()), ((0, GAP), (0, GAP), (0, 0)))
    height, width = mosaic.shape[0] // rows, mosaic.shape[1] // columns
    cells = mosaic.reshape(rows, height, columns, width, 3).swapaxes(1, 2)
    return cells[:, :, :-GAP, :-GAP]


def grey(figure, rows, columns):
    """The values of grey images: 0 is drawn white, 1 black, (rows, columns, h, w)."""
    drawn = tiles(figure, rows, columns)
    assert (drawn == drawn[..., :1]).all()
    return 1 - drawn[..., 0]


def identity(loss, shape=(8, 8, 1)):
    """A model whose raw output is its input, which is its code as well."""
    decoder = keras.layers.Identity(name="decoder")
    model = keras.Sequential([keras.Input(shape), decoder])
    model.compile(loss=loss)
    return model


def halves():
    """Five images whose upper half is black and whose lower half is white."""
    x = np.zeros((5, 8, 8, 1), "float32")
    x[:, :4] = 1.0
    return x


@pytest.mark.core
@pytest.mark.parametrize(
    ("loss", "output"),
    [
        (losses.SquaredError(), halves()),
        (losses.Gaussian(), halves()),
        (losses.Gaussian(0.01), halves()),
        (losses.Laplace(0.1), halves()),
        (losses.Bernoulli(), 400 * halves() - 200),
        (losses.Gaussian("learned"), np.concatenate([halves(), -9 - halves()], -1)),
        # Beyond black and white nothing is left to draw.
        (losses.SquaredError(), 3 * halves() - 1),
    ],
)
def test_a_perfect_model_draws_black_and_white(loss, output, tmp_path):
    model = identity(loss, output.shape[1:])
    images = metrics.images(model, output)
    figure = plots.generations(images, tmp_path / "g.png", columns=3)
    drawn = grey(figure, 2, 3)
    assert (drawn[:, :, :4] == 1.0)[0].all() and (drawn[:, :, 4:] == 0.0).all()
    assert (drawn[1, 2] == 0.0).all()  # the sixth place is empty, and white
    seen = matplotlib.image.imread(tmp_path / "g.png")[..., :3]
    black, white = (seen == 0).all(axis=-1), (seen == 1).all(axis=-1)
    assert black.mean() > 0.25 and white.mean() > 0.4 and (black | white).mean() > 0.95
    mean = plots.mean_reconstruction(model, output, samples=2)
    if output.shape[-1] == 1 and loss.name != "bernoulli":
        np.testing.assert_array_equal(mean, output)  # in the data's units, uncut
    else:
        np.testing.assert_allclose(mean, halves(), atol=1e-30)


@pytest.mark.core
def test_reconstructions_are_input_one_sample_and_mean():
    inputs = keras.Input((28, 28, 1))
    model = keras.Model(inputs, GaussianSample(noise_variance=1.0)(inputs))
    model.compile(loss=losses.Bernoulli())
    x = np.zeros((4, 28, 28, 1), "float32")
    drawn = grey(plots.reconstructions(model, x, samples=50), 3, 4)
    assert (drawn[0] == 0).all()
    # sigmoid of standard normal noise: standard deviation .21, of the mean .21/sqrt 50
    assert drawn[1].std() == pytest.approx(0.208, abs=0.01)
    assert drawn[2].std() == pytest.approx(0.208 / np.sqrt(50), rel=0.1)
    assert drawn[1:].mean() == pytest.approx(0.5, abs=0.01)
    mean = plots.mean_reconstruction(model, x, samples=50)
    assert mean.shape == x.shape
    assert mean.std() == pytest.approx(0.208 / np.sqrt(50), rel=0.1)


def test_generations_are_in_rows():
    images = np.random.RandomState(0).uniform(size=(7, 4, 4, 1))
    drawn = grey(plots.generations(images, columns=5), 2, 5).reshape(10, 4, 4)
    np.testing.assert_allclose(drawn[:7], images[..., 0])
    assert (drawn[7:] == 0).all()


def linear():
    """A model from codes (n, 4) to images of 2 x 2 pixels, a dimension each."""
    decoder = keras.layers.Reshape((2, 2, 1), name="decoder")
    model = keras.Sequential([keras.Input((4,)), decoder])
    model.compile(loss=losses.SquaredError())
    return model


@pytest.mark.core
def test_a_traversal_moves_one_dimension_a_row():
    code, values = np.array([0.1, 0.2, 0.3, 0.4]), np.linspace(0, 1, 5)
    figure = plots.latent_traversal(linear(), code, values, dimensions=[2, 0])
    drawn = grey(figure, 2, 5).reshape(2, 5, 4)
    for row, dim in zip(drawn, (2, 0), strict=True):
        np.testing.assert_allclose(row[:, dim], values, atol=1e-6)
        others = np.delete(np.arange(4), dim)
        still = np.tile(code[others], (5, 1))
        np.testing.assert_allclose(row[:, others], still, atol=1e-6)
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["z3", "z1"]
    heads = [t.get_text() for t in axes.get_xticklabels()]
    assert heads == ["0", "0.25", "0.5", "0.75", "1"]
    # Each dimension with values of its own.
    values = np.linspace([0.0, 0.1, 0.2, 0.3], [0.9, 0.8, 0.7, 0.6], 3)
    figure = plots.latent_traversal(linear(), code, values)
    drawn = grey(figure, 4, 3).reshape(4, 3, 4)
    for dim in range(4):
        np.testing.assert_allclose(drawn[dim, :, dim], values[:, dim], atol=1e-6)
    assert not figure.axes[0].get_xticklabels()


@pytest.mark.core
def test_an_interpolation_goes_straight_from_code_to_code():
    start, end = np.random.RandomState(0).uniform(size=(2, 3, 4)).astype("float32")
    drawn = grey(plots.interpolation(linear(), start, end, steps=5), 3, 5)
    for j, t in enumerate(np.linspace(0, 1, 5)):
        expected = (1 - t) * start + t * end
        np.testing.assert_allclose(drawn[:, j].reshape(3, 4), expected, atol=1e-6)


def test_rows_of_images_are_drawn_in_their_limits():
    rng = np.random.RandomState(0)
    colours, greys = rng.uniform(-1, 1, (2, 3, 4, 3)), rng.uniform(size=(2, 3, 4, 1))
    figure = plots.image_rows({"a": colours, "b": colours[:1]}, limits=(-1, 1))
    drawn = tiles(figure, 2, 2)
    np.testing.assert_allclose(drawn[0], (colours + 1) / 2)
    assert (drawn[1, 1] == 1).all()
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    # The names stand before the middle of their rows.
    np.testing.assert_allclose(axes.get_yticks(), [1.0, 1.0 + 3 + GAP])
    np.testing.assert_allclose(
        grey(plots.image_rows({"a": greys}), 1, 2)[0], greys[..., 0]
    )


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: plots.reconstructions(identity("mse"), halves()), "'mse'$"),
        (lambda: plots.mean_reconstruction(identity("mse"), halves()), "'mse'$"),
        (
            lambda: plots.image_rows({"a": halves(), "b": halves()[:, :4]}),
            r"of one shape, .* Received: \(5, 8, 8, 1\), \(5, 4, 8, 1\)",
        ),
        (
            lambda: plots.image_rows({"a": halves()[..., 0]}),
            r"Received: shape \(5, 8, 8\)",
        ),
        (
            lambda: plots.latent_traversal(linear(), np.eye(4), np.zeros(3)),
            r"code must have shape \(d,\). Received: shape \(4, 4\)",
        ),
        (
            lambda: plots.latent_traversal(linear(), np.zeros(4), np.eye(3)),
            r"shape \(n,\) or \(n, 4\). Received: shape \(3, 3\)",
        ),
        (
            lambda: plots.interpolation(linear(), np.eye(3), np.eye(4)),
            r"one shape \(n, d\). Received: \(3, 3\) and \(4, 4\)",
        ),
    ],
)
def test_bad_images(draw, says):
    with pytest.raises(ValueError, match=says):
        draw()


# All figures. Arguments that each can be drawn from, and the axes that it needs.

CODES = np.random.RandomState(0).normal(size=(60, 2))
FACTORS = np.stack(np.unravel_index(np.arange(12), (3, 4)), axis=-1)
HALF = np.full((2, 4), 0.5)
EVERY = {
    "clouds": (({"a": {"x": CODES, "z": CODES}},), 2),
    "code_histograms": (({"a": CODES},), 2),
    "codes_by_factor": ((FACTORS[:, :1], FACTORS, ["a", "b"]), 2),
    "codes_in_plane": (({"a": (CODES, np.arange(60) % 3), "b": (CODES, None)},), 2),
    "discrete_channels": ((HALF / 4, {"a": (HALF, HALF / 2, HALF[0, :2])}), 5),
    "generations": ((halves(),), 1),
    "image_rows": (({"a": halves()},), 1),
    "information_plane": (({"a": [(1, 2, 1)]}, 2.3), 1),
    "interpolation": ((linear(), -np.eye(4), np.eye(4)), 1),
    "latent_traversal": ((linear(), np.zeros(4), np.linspace(-2, 2, 9)), 1),
    "marginal_densities": (({"a": (CODES, [1.0, 2.0])},), 1),
    "phase_diagram": (({"a": [(5, 90)]},), 1),
    "rate_by_dimension": (({"a": np.arange(3.0)},), 1),
    "rate_distortion": (({"a": [(5, 90)]},), 1),
    "reconstructions": ((identity(losses.Laplace()), halves()), 1),
    "scatter": (({"a": [(1.0, 2.0)]}, "x", "y"), 1),
    "sorted_by": ((CODES[:, 0], {"a": CODES[:, 1]}, "key"), 1),
    "training_curves": (({"a": {"rate": [2.0, 1.0]}},), 1),
}


def test_every_figure_is_among_them():
    assert {*EVERY} == {*plots.__all__} - {"mean_by", "mean_reconstruction"}


@pytest.mark.parametrize("name", EVERY)
def test_a_figure_is_returned_and_written_only_if_asked(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw, (arguments, needed) = getattr(plots, name), EVERY[name]
    parameters = inspect.signature(draw).parameters
    assert [*parameters][-1] == "axes"
    assert parameters["path"].default is parameters["axes"].default is None
    figure = draw(*arguments)
    assert not list(tmp_path.iterdir())
    draw(*arguments, path=tmp_path / "f.png")
    seen = matplotlib.image.imread(tmp_path / "f.png")
    assert seen.std() > 0.02
    assert figure._repr_png_() == (tmp_path / "f.png").read_bytes()  # in notebooks
    # On axes of a larger figure, next to others.
    mine = mpl.Figure((9, 9))
    grid = mine.subplots(3, 2).ravel()
    given = grid[0] if needed == 1 else grid[:needed]
    assert draw(*arguments, axes=given) is mine
    assert all(axes.has_data() for axes in grid[:needed])
    assert not any(axes.has_data() for axes in grid[needed:])
    with pytest.raises(ValueError, match="Matplotlib axes, or None. Received: axes="):
        draw(*arguments, axes=grid)


@pytest.mark.parametrize(
    "history",
    [
        [{"rate": 3.0, "val_rate": 4.0}, {"rate": 2.0, "val_rate": 5.0}],
        {"rate": [3.0, 2.0], "val_rate": [4.0, 5.0]},
    ],
)
def test_training_curves_show_validation_dashed(history):
    figure = plots.training_curves({"Echo": history}, metrics=("rate",))
    (axes,) = figure.axes
    drawn = {line.get_linestyle(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {"-": [3.0, 2.0], "--": [4.0, 5.0]}
    assert "nats" in axes.get_ylabel()


def test_training_curves_leave_out_what_no_model_has():
    histories = {
        "AE": {"distortion": [2.0]},
        "VAE": {"distortion": [1.0], "mmd": [0.1]},
    }
    figure = plots.training_curves(histories, metrics=("rate", "mmd", "distortion"))
    names = [axes.get_ylabel().split()[0] for axes in figure.axes]
    assert names == ["mmd", "distortion"]
    assert [len(axes.lines) for axes in figure.axes] == [1, 2]
    with pytest.raises(ValueError, match="distortion, mmd. Received: metrics=.'rate'"):
        plots.training_curves(histories, metrics=("rate",))


def test_rate_distortion_draws_points_front_tangent_and_lowest_rate():
    points = [(5, 90), (10, 80), (20, 72), (12, 85)]
    figure = plots.rate_distortion({"mine": points}, min_rate=4.0)
    (axes,) = figure.axes
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    # (12, 85) is beaten by (10, 80).
    assert lines["mine"].tolist() == [[5, 90], [10, 80], [20, 72]]
    tangent = lines["R + D = 90.0"]
    np.testing.assert_allclose(tangent.sum(axis=1), 90.0)
    assert lines["lowest Echo rate"][0, 0] == 4.0


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


def test_phase_diagram_draws_runs_front_hull_and_diagonal():
    figure = plots.phase_diagram(RUNS, skew=True)
    plane, skew = figure.axes
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
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [*RUNS, "convex hull", "Pareto front", diagonal]


def test_phase_diagram_with_a_front_for_each_label():
    figure = plots.phase_diagram(RUNS, fronts="each", entropy=80.2)
    (axes,) = figure.axes
    drawn = artists(axes)
    assert set(drawn) == {*RUNS, "C0", "C1", "R + D = 80.2"}
    simple = [(5, 90), (20, 90), (20, 85), (60, 85), (60, 50)]
    np.testing.assert_allclose(drawn["C0"][1:-1], simple)
    complex_ = [(20, 62), (22, 62), (22, 61.9)]
    np.testing.assert_allclose(drawn["C1"][1:-1], complex_)
    colors = {line.get_label(): line.get_color() for line in axes.lines}
    assert (colors["simple"], colors["complex"]) == ("C0", "C1")
    np.testing.assert_allclose(drawn["R + D = 80.2"], [(0, 80.2), (80.2, 0)])


def test_phase_diagram_of_densities_whose_distortion_is_negative():
    figure = plots.phase_diagram({"a": [(1, -3), (8, -20)]})
    (axes,) = figure.axes
    # The lowest R + D is -12: from the axis down to the lowest distortion.
    assert artists(axes)["R + D = -12.0"].tolist() == [[0, -12], [8, -20]]
    assert axes.get_ylim()[0] < -20 and axes.get_ylim()[1] > -3


def test_phase_diagram_names_its_limits_and_keeps_given_ones():
    figure = plots.phase_diagram(RUNS, entropy=80, limits=((0, 30), (40, 95)))
    (axes,) = figure.axes
    assert axes.get_xlim() == (0, 30) and axes.get_ylim() == (40, 95)
    named = {text.get_text(): text.xy for text in axes.texts}
    assert named["auto-decoding limit"] == (0, 80)
    assert named["auto-encoding limit"] == (80, 0)
    assert sum(named["infeasible"]) < 80
    # Without an entropy, nobody knows what is infeasible.
    named = [text.get_text() for text in plots.phase_diagram(RUNS).axes[0].texts]
    assert named == ["auto-decoding limit", "auto-encoding limit"]
    assert not plots.phase_diagram(RUNS, labelled=False).axes[0].texts


def test_phase_diagram_in_styles_of_ones_own():
    styles = {"simple": {"marker": "s", "color": "k", "ms": 9}}
    (axes,) = plots.phase_diagram(RUNS, styles=styles).axes
    simple, other = axes.lines[:2]
    found = simple.get_marker(), simple.get_color(), simple.get_markersize()
    assert found == ("s", "k", 9) and other.get_color() == "C1"


def test_a_dozen_labels_look_different():
    curves = {str(i): [(i, 90 - i)] for i in range(12)}
    figure = plots.phase_diagram(curves)
    lines = figure.axes[0].lines[:12]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 12


@pytest.mark.parametrize(
    ("curves", "arguments", "says"),
    [
        (
            RUNS,
            {"fronts": "some"},
            "one of all, each. Received: fronts='some'",
        ),
        (
            RUNS,
            {"entropy": np.inf},
            "a finite number, or None. Received: entropy=inf",
        ),
        ({}, {}, "at least one"),
        (
            {"a": [(1, 2)], "b": []},
            {},
            r"'b'. must be .* at least one number. Received: shape \(0,\)",
        ),
        ({"a": [(1, 2, 3)]}, {}, r"pairs \(rate, distortion\).*\(1, 3\) for 'a'"),
        ({"a": [(1, np.nan)]}, {}, "curves.* must be finite"),
        ({"a": [(1, np.nan)]}, {"entropy": 3, "fronts": "each"}, "must be finite"),
    ],
)
def test_bad_runs_of_a_phase_diagram(curves, arguments, says):
    with pytest.raises(ValueError, match=says):
        plots.phase_diagram(curves, **arguments)


@pytest.mark.parametrize(
    ("curves", "says"),
    [({}, "at least one"), ({"b": []}, "at least one .* Received: shape")],
)
def test_bad_points_of_rate_distortion(curves, says):
    with pytest.raises(ValueError, match=says):
        plots.rate_distortion(curves)


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
    # Sizes are beyond what small keys can hold.
    keys = [np.array([0, 255], "uint8")] * 2
    assert plots.mean_by(keys, np.ones(2)).shape == (256, 256)


def test_codes_by_factor_draws_lines_and_heat_maps():
    sizes = (2, 5, 3, 4)
    factors = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=-1)
    shape, scale, x, y = factors.T.astype("float64")
    codes = np.stack([scale + 10 * shape, x - y], axis=-1)
    names = ("shape", "scale", "pos_x", "pos_y")
    figure = plots.codes_by_factor(codes, factors, names)
    (first, second), (third, fourth) = np.reshape(figure.axes, (2, 2))
    lines = [line.get_ydata() for line in second.get_lines()]
    np.testing.assert_allclose(lines, [np.arange(5), 10 + np.arange(5)])
    # Across and down: x and y.
    heat = np.array(third.images[0].get_array())
    np.testing.assert_allclose(heat, np.arange(3)[None, :] - np.arange(4)[:, None])
    np.testing.assert_allclose([line.get_ydata() for line in fourth.get_lines()], -0.5)
    assert first.get_title() == "position" and second.get_title() == "scale"
    arguments = codes, factors, names
    figure = plots.codes_by_factor(*arguments, shape_names=["square", "ellipse"])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["square", "ellipse"]


def test_codes_by_factor_without_shape_and_position():
    factors = np.stack(np.unravel_index(np.arange(12), (3, 4)), axis=-1)
    figure = plots.codes_by_factor(factors[:, :1], factors, ("a", "b"))
    a, b = figure.axes
    np.testing.assert_allclose(a.get_lines()[0].get_ydata(), [0, 1, 2])
    np.testing.assert_allclose(b.get_lines()[0].get_ydata(), [1, 1, 1, 1])


def test_codes_in_plane_draws_points_classes_and_circles():
    codes = np.random.RandomState(0).normal(size=(50, 2))
    classes = np.arange(50) % 10
    panels = {"one": (codes, classes), "other": (2 * codes, None)}
    figure = plots.codes_in_plane(panels)
    one, other = figure.axes
    np.testing.assert_allclose(one.collections[0].get_offsets(), codes)
    np.testing.assert_allclose(other.collections[0].get_offsets(), 2 * codes)
    radii = [np.hypot(*line.get_xydata().T) for line in one.lines]
    np.testing.assert_allclose(radii, np.outer([1, 2, 3], np.ones(100)))
    assert [axes.get_title() for axes in (one, other)] == ["one", "other"]
    assert one.get_xlim() == other.get_xlim() and one.get_ylim() == other.get_ylim()
    figure = plots.codes_in_plane(panels, normal=False, share=False)
    assert not figure.axes[0].lines
    assert figure.axes[0].get_xlim()[1] < figure.axes[1].get_xlim()[1]


def test_a_class_has_one_colour_in_all_panels_and_in_the_legend():
    codes = np.random.RandomState(0).normal(size=(6, 2))
    # The second panel lacks classes: the others keep their colours.
    first, second = np.array([1, 3, 7, 7, 3, 1]), np.array([7, 7, 3, 3, 3, 7])
    panels = {"one": (codes, first), "other": (codes, second)}
    names = ["T-shirt", "dress", "sneaker"]
    figure = plots.codes_in_plane(panels, names=names)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    colours = {
        label: matplotlib.colors.to_rgba(mark.get_color())
        for label, mark in zip((1, 3, 7), legend.get_lines(), strict=True)
    }
    assert len({*colours.values()}) == 3
    for axes, classes in zip(figure.axes, (first, second), strict=True):
        expected = [colours[label] for label in classes]
        np.testing.assert_allclose(axes.collections[0].get_facecolors(), expected)
    numbers = plots.codes_in_plane(panels).legends[0].get_texts()
    assert [text.get_text() for text in numbers] == ["1", "3", "7"]
    many = {"characters": (np.zeros((50, 2)), np.arange(50))}
    figure = plots.codes_in_plane(many)
    assert not figure.legends
    assert len(np.unique(figure.axes[0].collections[0].get_facecolors(), axis=0)) == 50
    with pytest.raises(ValueError, match="as many as classes, 3. Received: 2$"):
        plots.codes_in_plane(panels, names=names[:2])


def test_rates_of_dimensions_are_bars_from_the_highest_down():
    rates = {"Echo": np.array([1.0, 0.5, 3.0]), "VAE": np.array([[0, 4.0], [1, 2]])}
    (axes,) = plots.rate_by_dimension(rates).axes
    echo, vae = ([bar.get_height() for bar in bars] for bars in axes.containers)
    assert echo == [3.0, 1.0, 0.5] and vae == [3.0, 0.5]
    # Side by side, around the same numbers.
    places = [[bar.get_x() for bar in bars] for bars in axes.containers]
    np.testing.assert_allclose(places[0], [0.6, 1.6, 2.6])
    np.testing.assert_allclose(places[1], [1.0, 2.0])
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["Echo: 4.5 nats", "VAE: 3.5 nats"]
    assert "nats" in axes.get_ylabel()
    with pytest.raises(
        ValueError, match=r"rates\['a'\] must be an array .* shape \(\)"
    ):
        plots.rate_by_dimension({"a": np.float64(3)})


@pytest.mark.parametrize(
    ("panel", "says"),
    [
        ((np.zeros((4, 3)), None), r"codes must have shape \(n, 2\).* for .mine"),
        ((np.zeros((4, 2)), [1, 2]), "as many as codes, 4. Received: 2 for .mine"),
    ],
)
def test_bad_codes_in_plane(panel, says):
    with pytest.raises(ValueError, match=says):
        plots.codes_in_plane({"mine": panel})


def test_code_histograms_are_densities_beside_the_normal():
    codes = np.random.RandomState(0).normal(size=(400, 3))
    figure = plots.code_histograms({"a": codes, "b": 3 * codes}, bins=10)
    grid = figure.axes
    assert len(grid) == 6
    counts, edges = np.histogram(codes[:, 1], 10, density=True)
    bars = grid[1].patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], counts)
    np.testing.assert_allclose([bar.get_x() for bar in bars], edges[:-1])
    x, density = grid[1].lines[0].get_data()
    np.testing.assert_allclose(density, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))
    assert len({axes.get_xlim() for axes in grid}) == 1
    assert len({axes.get_ylim() for axes in grid}) == 1
    with pytest.raises(ValueError, match="d the same for all labels"):
        plots.code_histograms({"a": codes, "b": codes[:, :2]})


def test_an_information_plane_names_the_beta_of_each_model():
    curves = {"Echo": [(0.1, 6.6, 1.9), (1.0, 2.9, 1.0)], "Gaussian": [(0.1, 4.3, 1.8)]}
    figure = plots.information_plane(curves, entropy=2.3)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == [
        rf"$\beta$ = {beta}" for beta in ("0.1", "1", "0.1")
    ]
    echo, _, entropy, diagonal = (line.get_xydata().tolist() for line in axes.lines)
    assert echo == [[6.6, 1.9], [2.9, 1.0]]
    assert {y for _, y in entropy} == {2.3} and diagonal == [[0, 0], [2.3, 2.3]]


def test_discrete_channels_sort_codes_by_their_class():
    joint = np.array([[0.4, 0.1], [0.0, 0.5]])
    encoder, decoder = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0, 1.0], [1, 0]])
    channel = encoder, decoder, np.array([0.6, 0.4])
    figure = plots.discrete_channels(joint, {"mine": channel})
    in_x, in_z, of_x, *_ = figure.axes
    # Code 1, which x = 0 sends, has nothing of class 1: it comes first.
    np.testing.assert_allclose(of_x.images[0].get_array(), [[1, 0], [0, 1]])
    np.testing.assert_allclose([b.get_height() for b in in_z.patches[:2]], [0.4, 0.1])
    np.testing.assert_allclose(in_x.lines[0].get_ydata(), [0.4, 0.6])


@pytest.mark.parametrize("share", [True, False])
def test_discrete_channels_have_common_scales(share):
    joint, half = np.full((2, 2), 0.25), np.full((2, 2), 0.5)
    sharp = np.array([[0.9, 0.1], [0.1, 0.9]])
    channels = {"a": (half, half, half[0]), "b": (sharp, sharp, np.array([0.8, 0.2]))}
    axes = plots.discrete_channels(joint, channels, share=share).axes[:10]
    for a, b in np.reshape(axes, (5, 2))[:2]:
        assert (a.get_ylim() == b.get_ylim()) or not share
    for a, b in np.reshape(axes, (5, 2))[2:4]:
        found = [one.images[0].get_clim() for one in (a, b)]
        assert found == [(0, 0.9 if share else 0.5), (0, 0.9)]
