"""Figure 1 of the Echo paper: Gaussian against Echo noise on a source in the plane.

    python reproductions/figure1.py

z = x + s e with s = 1/2 (Sec. 2.1). Echo noise e has the distribution of z itself, and
its rate is -2 log s = 1.39 nats, which is I(X; Z) if z has a density; Gaussian noise of
the same variance in every direction has a shape of its own. Writes figure1.png, and
figure1.md with a test of whether noise and output have one distribution.
"""

import math
import pathlib

import numpy as np
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier

from echo_keras import plots
from echo_keras.layers import EchoSample
from echo_keras.studies import Claim, Command, Option, markdown, start

SCALE = 0.5
D_MAX = 99
LEVEL = 0.01  # of the test that tells noise from output


def source(n, seed):
    """A spiral with two arms in [-1, 1] x [-1, 1], float32 (n, 2)."""
    rng = np.random.default_rng(seed)
    angle = 3 * math.pi * np.sqrt(rng.uniform(0.02, 1, n))
    radius = angle / (3.3 * math.pi)
    side = rng.choice([0, math.pi], n)
    points = radius * np.stack([np.cos(angle + side), np.sin(angle + side)])
    return (points.T + rng.normal(0, 0.015, (n, 2))).astype("float32")


def draws(n, seed):
    """Points x, and for each kind of noise the noise e and the output z."""
    x = source(n, seed)
    channel = EchoSample(d_max=D_MAX, seed=seed)
    log_s = np.full_like(x, math.log(SCALE / channel.r))
    echo = (np.array(channel([x, log_s], training=True)) - x) / SCALE
    # As much power as Echo's noise, alike in all directions.
    power = math.sqrt(echo.var(axis=0).mean())
    normal = np.random.default_rng(seed).normal(size=x.shape)
    noise = {"Gaussian": echo.mean(axis=0) + power * normal, "Echo": echo}
    return x, {name: (e, x + SCALE * e) for name, e in noise.items()}


def report(noise, others):
    """Whether a classifier of neighbours can tell noise from independent outputs."""
    body, chances = [], {}
    for name, (e, _) in noise.items():
        points = np.concatenate([e, others[name][1]])
        labels = np.repeat([0, 1], len(e))
        train = np.arange(len(points)) % 2 == 0
        neighbours = KNeighborsClassifier(15).fit(points[train], labels[train])
        right = neighbours.predict(points[~train]) == labels[~train]
        chance = stats.binomtest(int(right.sum()), len(right)).pvalue
        chances[name] = float(chance)
        body.append([name, f"{right.mean():.3f}", f"{chance:.2g}"])
    apart = {name: chance < LEVEL for name, chance in chances.items()}
    claim = Claim(
        "Echo noise has the law of the output, Gaussian noise has not (Fig. 1)",
        lambda _: (
            ", ".join(f"{name} p = {chance:.2g}" for name, chance in chances.items()),
            apart == {"Gaussian": True, "Echo": False},
        ),
    )
    return (
        f"# Figure 1: noise and output at s = {SCALE}\n\n"
        f"{markdown(['Noise', 'classification accuracy', 'p-value'], body)}\n\n"
        f"Share of {len(right)} points, half of them noise and half output, that a "
        "classifier of 15 neighbours assigns rightly, and the two-sided p-value for "
        "one half, which is what one distribution would give.\n\n"
        f"Echo's rate is -2 log s = {-2 * math.log(SCALE):.4f} nats.\n\n"
        f"- {claim.line([])}\n"
    )


def draw(options):
    out = pathlib.Path(options.out_dir)
    out.mkdir(parents=True, exist_ok=True)
    x, noise = draws(options.points, options.seed)
    _, others = draws(options.points, options.seed + 1)
    rows = {
        f"{name} noise": {"x": x, f"{name} noise e": e, "z = x + e / 2": z}
        for name, (e, z) in noise.items()
    }
    plots.clouds(rows, out / "figure1.png")
    text = report(noise, others)
    (out / "figure1.md").write_text(text)
    print(text)


main = Command(
    draw,
    [
        Option("points", 20000, "Points drawn from the source.", least=2 * D_MAX),
        Option("seed", 0, "Seed.", least=0),
        Option("out_dir", "runs/echo_paper", "Folder for figure and table."),
    ],
)

if __name__ == "__main__":
    start(main)
