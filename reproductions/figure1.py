"""Figure 1 of the Echo paper: Gaussian against Echo noise on a source in the plane.

    python reproductions/figure1.py

z = x + s e with s = 1/2 (Sec. 2.1). Echo noise e has the distribution of z itself,
and its rate is exactly -2 log s = 1.39 nats; Gaussian noise of the same variance in
every direction has a shape of its own. Writes figure1.png, and figure1.md with a
test of whether noise and output have one distribution.
"""

import math

import echo_paper
import numpy as np
from absl import app, flags
from matplotlib import figure as mpl
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier

from echo_keras import experiments
from echo_keras.layers import EchoSample
from echo_keras.studies import records

SCALE = 0.5
D_MAX = 99

FLAGS = flags.FLAGS
flags.DEFINE_integer("points", 20000, "Points drawn from the source.", 2 * D_MAX)


def main(argv):
    out = experiments.prepare(argv, echo_paper.OUT_DIR)
    x, noise = draws(FLAGS.seed)
    _, other = draws(FLAGS.seed + 1)
    plot(x, noise, out / "figure1.png")
    text = report(noise, {name: z for name, (_, z) in other.items()})
    (out / "figure1.md").write_text(text)
    print(text)


def draws(seed):
    """Points x, and for each kind of noise the noise e and the output z."""
    x = source(FLAGS.points, seed)
    channel = EchoSample(d_max=D_MAX, seed=seed)
    log_s = np.full_like(x, math.log(SCALE / channel.r))
    echo = (np.array(channel([x, log_s], training=True)) - x) / SCALE
    # As much power as Echo's noise, alike in all directions.
    power = math.sqrt(echo.var(axis=0).mean())
    rng = np.random.default_rng(seed)
    gaussian = echo.mean(axis=0) + power * rng.normal(size=x.shape)
    noise = {"Gaussian": gaussian, "Echo": echo}
    return x, {name: (e, x + SCALE * e) for name, e in noise.items()}


def source(n, seed):
    """A spiral with two arms in [-1, 1] x [-1, 1], float32 (n, 2)."""
    rng = np.random.default_rng(seed)
    angle = 3 * math.pi * np.sqrt(rng.uniform(0.02, 1, n))
    radius = angle / (3.3 * math.pi)
    side = rng.choice([0, math.pi], n)
    points = radius * np.stack([np.cos(angle + side), np.sin(angle + side)])
    return (points.T + rng.normal(0, 0.015, (n, 2))).astype("float32")


def report(noise, outputs):
    """Whether a classifier of neighbours can tell noise from independent outputs."""
    body = []
    for name, (e, _) in noise.items():
        points = np.concatenate([e, outputs[name]])
        labels = np.repeat([0, 1], len(e))
        learn = np.arange(len(points)) % 2 == 0
        neighbours = KNeighborsClassifier(15).fit(points[learn], labels[learn])
        right = neighbours.predict(points[~learn]) == labels[~learn]
        chance = stats.binomtest(int(right.sum()), len(right)).pvalue
        body.append([name, f"{right.mean():.3f}", f"{chance:.2g}"])
    header = ["Noise", "told apart", "p-value"]
    return (
        f"# Figure 1: noise and output at s = {SCALE}\n\n"
        f"{records.markdown(header, body)}\n\n"
        f"Share of {len(right)} points, half of them noise and half output, that a "
        "classifier of 15 neighbours assigns rightly, and the two-sided p-value for "
        "one half, which is what one distribution would give.\n\n"
        f"Echo's rate is -2 log s = {-2 * math.log(SCALE):.4f} nats.\n"
    )


def plot(x, noise, path):
    figure = mpl.Figure((9, 6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    for row, (name, (e, z)) in zip(axes, noise.items(), strict=True):
        titles = "x", f"{name} noise e", "z = x + e / 2"
        for cell, points, title in zip(row, (x, e, z), titles, strict=True):
            cell.plot(*points.T, ",", color="C0")
            cell.set(title=title, aspect="equal", xlim=(-2, 2), ylim=(-2, 2))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    app.run(main)
