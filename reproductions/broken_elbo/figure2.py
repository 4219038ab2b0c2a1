"""Figure 2 of Fixing a Broken ELBO: a toy model that the ELBO leaves without a code.

    python reproductions/broken_elbo/figure2.py                       # a minute
    python reproductions/broken_elbo/figure2.py --decoder=per_code    # as printed

A class (70 or 30 percent), Gaussian noise and 30 bins make data x that know 0.5 nats
of their class (Sec. 4, App. E). Three models of them: engineered from the true
posterior; trained by the ELBO, min D + R; and trained at a target rate,
min D + |0.5 - R|. Data are infinite: rate and distortion are sums over all bins and
codes, and nothing is sampled. All seeds train side by side. Writes a record,
figure2.png, and figure2.md from all records in the folder. On PyTorch it takes long.

Fixed are the bins, 30 equal ones of [0, 1], and the means of the classes, 1/3 and 2/3;
the standard deviation, which they share, is solved for. The encoder has two parameters
for each code. The appendix prints -exp[(w x - b)^2], which is no density: it is read
as exp[-(w x - b)^2], normalised. Decoders:

    table     a logit for every pair of code and bin: the "very flexible nonparametric
              models" of Sec. 4
    per_code  w and b for each code, as the indices in App. E have it. Each d(x|z) is a
              Gaussian in x, which alone cannot be p*(x): the ELBO pays for a code
    per_bin   w and b for each bin, the encoder's form with x and z exchanged. With
              w = 0 every d(x|z) can be p*(x)

The paper's finding, an ELBO whose rate is near 0 while g(x) is p*(x), needs a decoder
that can do without a code; per_code cannot, and there the ELBO finds the classes.

Any tight model with R >= 0.5 minimises D + |0.5 - R|, so which one is found depends on
the training. Bins at positions in [-1, 1] instead of [0, 1], for one, lead to clusters
of 60 and 40 percent at the same loss, and 40,000 steps instead of 20,000 to R = 0.504.
"""

import collections
import hashlib
import math
import time

import keras
import numpy as np
from absl import app, flags
from keras import ops
from matplotlib import figure as mpl
from matplotlib import ticker
from scipy import optimize, special, stats

from echo_keras import experiments, training
from echo_keras.experiments import number
from echo_keras.studies import records

OUT_DIR = "runs/broken_elbo_figure2"
BINS = CODES = 30
POSITIONS = (np.arange(BINS) + 0.5) / BINS  # x_j, and z_i for the decoder per_bin
PRIOR = np.array([0.7, 0.3])
MEANS = 1 / 3, 2 / 3
RATE = 0.5  # nats: what x knows of its class, and the target
CODES_OF_CLASS = 21, 9  # of the engineered model: its m(z) is uniform
STEPS, LEARNING_RATE = 20_000, 3e-3
DECODERS = ["table", "per_code", "per_bin"]
NAMES = {
    "engineered": "Engineered",
    "elbo": "ELBO",
    "target": f"Target rate {RATE}",
    "parity": "Parity of the bin",
}
PAPER_RATES = {"elbo": 0.0002, "target": 0.4999}
NEAR_RATE, NEAR_CLASS = 0.01, 0.05  # how near counts as reached

FLAGS = flags.FLAGS
flags.DEFINE_enum("decoder", DECODERS[0], DECODERS, "Form of d(x|z); see above.")

# Logarithms of e(z|x) and d(x|z), both (codes, bins), and of m(z), (codes,).
Channel = collections.namedtuple("Channel", "encoder decoder marginal")


def main(argv):
    out = experiments.prepare(argv, OUT_DIR)
    seeds = list(range(FLAGS.seed, FLAGS.seed + FLAGS.runs))
    steps = FLAGS.steps or STEPS
    sigma, joint = source()
    channels = {"engineered": [engineered(joint)], "parity": [parity(joint)]}
    started = time.time()
    for objective, target in ("elbo", None), ("target", RATE):
        model = ToyModel(FLAGS.decoder, seeds, target)
        train(model, joint, steps)
        channels[objective] = model.channels()
    record = {
        "experiment": "broken_elbo_figure2",
        "config": {
            "decoder": FLAGS.decoder,
            "seeds": seeds,
            "steps": steps,
            "learning_rate": LEARNING_RATE,
            "target": RATE,
            "prior": PRIOR.tolist(),
            "means": MEANS,
        },
        "data": {
            "description": f"p*(x) on {BINS} bins, exact",
            "sigma": sigma,
            "entropy": entropy(joint),
            "checksum": hashlib.sha256(joint.round(12).tobytes()).hexdigest(),
        },
        **records.environment(),
        "parameters": sum(math.prod(w.shape[1:]) for w in model.trainable_weights),
        "seconds": round(time.time() - started, 1),
        "test": {
            name: [measure(joint, channel) for channel in channels[name]]
            for name in NAMES
        },
    }
    training.write_json(out / f"{FLAGS.decoder}.json", record)
    text = report(records.read(out))
    (out / "figure2.md").write_text(text)
    suffix = "" if FLAGS.decoder == DECODERS[0] else f"-{FLAGS.decoder}"
    shown = {name: channels[name][0] for name in ("engineered", "elbo", "target")}
    draw(joint, shown, out / f"figure2{suffix}.png")
    print(text)


# The data


def source(rate=RATE):
    """The noise that leaves `rate` nats of the class in x; and P(class, bin), (2, 30).

    The tails beyond [0, 1] belong to the outermost bins.
    """
    edges = np.arange(1, BINS) / BINS

    def joint(sigma):
        below = stats.norm.cdf(edges, np.array(MEANS)[:, None], sigma)
        return PRIOR[:, None] * np.diff(below, prepend=0, append=1)

    sigma = optimize.brentq(lambda s: information(joint(s)) - rate, 0.03, 1, xtol=1e-15)
    return sigma, joint(sigma)


def information(joint):
    """Mutual information, in nats, of the two axes of a table of probabilities."""
    apart = joint.sum(0) * joint.sum(1, keepdims=True)
    return float(special.rel_entr(joint, apart).sum())


def entropy(joint):
    """H of the data, in nats."""
    return float(special.entr(joint.sum(0)).sum())


# Models made by hand


def engineered(joint):
    """A code drawn from p(class|x), each class spread evenly over its codes."""
    posterior = joint / joint.sum(0)
    share = posterior / np.array(CODES_OF_CLASS)[:, None]
    return tight(joint, np.repeat(share, CODES_OF_CLASS, axis=0))


def parity(joint, rate=RATE):
    """A code of two letters that says, with errors, whether the bin is even."""
    even = np.arange(BINS) % 2 == 0

    def encoder(error):
        says_even = np.where(even, 1 - error, error)
        return np.stack([says_even, 1 - says_even])

    p = joint.sum(0)
    error = optimize.brentq(
        lambda error: information(p * encoder(error)) - rate, 1e-9, 0.5, xtol=1e-15
    )
    return tight(joint, encoder(error))


def tight(joint, encoder):
    """With the marginal and the decoder that are best for an encoder (App. D.3-4)."""
    codes = joint.sum(0) * encoder
    marginal = codes.sum(1)
    return Channel(*map(np.log, (encoder, codes / marginal[:, None], marginal)))


# The model that is trained


class ToyModel(keras.Model):
    """Encoder, decoder and marginal over 30 codes, for every seed at once.

    Weights have an axis of seeds in front. Adam works number by number and the loss
    is a sum over seeds, so each seed trains as if it were alone.

    Args:
        decoder: One of `DECODERS`.
        seeds: List of ints.
        target: Rate in nats, for the loss D + |target - R|; None for D + R.
    """

    def __init__(self, decoder, seeds, target=None):
        super().__init__()
        self.form, self.target = decoder, target
        draws = [np.random.default_rng(seed) for seed in seeds]

        def weights(*shape):  # scaled as Keras's RandomNormal
            values = np.stack([rng.normal(0, 0.05, shape) for rng in draws])
            return keras.Variable(values, dtype="float32")

        self.encoder = weights(2, CODES)
        self.decoder = weights(*((CODES, BINS) if decoder == "table" else (2, BINS)))
        self.marginal = keras.Variable(np.zeros((len(seeds), CODES)), dtype="float32")

    def call(self, x):
        """Rate and distortion, each (seeds,), from distributions over bins (n, 30)."""
        p = ops.mean(x, axis=0)
        encoder, decoder, marginal = self.logarithms()
        joint = p * ops.exp(encoder)
        rate = ops.sum(joint * (encoder - marginal[..., None]), axis=(1, 2))
        return rate, -ops.sum(joint * decoder, axis=(1, 2))

    def compute_loss(self, x=None, y=None, y_pred=None, *_, **__):
        rate, distortion = y_pred
        if self.target is None:
            return ops.sum(distortion + rate)
        return ops.sum(distortion + ops.abs(self.target - rate))

    def logarithms(self):
        """Of e(z|x) and d(x|z), both (seeds, codes, bins), and m(z), (seeds, codes)."""
        decoder = self.decoder
        if self.form != "table":
            decoder = _parabolas(decoder)
        if self.form == "per_bin":
            decoder = ops.swapaxes(decoder, 1, 2)
        return (
            ops.log_softmax(_parabolas(self.encoder), axis=1),
            ops.log_softmax(decoder, axis=2),
            ops.log_softmax(self.marginal, axis=1),
        )

    def channels(self):
        """A `Channel` for each seed."""
        arrays = [ops.convert_to_numpy(a).astype("float64") for a in self.logarithms()]
        return [Channel(*one) for one in zip(*arrays, strict=True)]


def _parabolas(weights):
    """-(w t - b)^2 at each position t: (seeds, 2, n) to (seeds, n, positions)."""
    w, b = weights[:, 0, :, None], weights[:, 1, :, None]
    return -ops.square(w * ops.convert_to_tensor(POSITIONS, "float32") - b)


def train(model, joint, steps):
    """Adam, its rate falling to 0 by a cosine: |target - R| has a kink to settle in."""
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    at_once = 1 if keras.backend.backend() == "torch" else math.gcd(steps, 20)
    model.compile(keras.optimizers.Adam(schedule), steps_per_execution=at_once)
    # Every step sees all of p*(x), as one row.
    rows = np.broadcast_to(joint.sum(0).astype("float32"), (steps, BINS))
    model.fit(rows, batch_size=1, shuffle=False, verbose=0)


# What is measured


def measure(joint, channel):
    """Numbers of one channel, in nats and in shares of probability.

    Each code belongs to the class of which it carries more. `class_1` is the
    probability of all codes of class 1; `agreement`, that a code belongs to the class
    that made x.
    """
    encoder, decoder, marginal = channel
    sent = joint.sum(0) * np.exp(encoder)
    rate = float(np.sum(sent * (encoder - marginal[:, None])))
    distortion = float(-np.sum(sent * decoder))
    mass = joint @ np.exp(encoder).T  # P(class, code)
    assigned = mass.argmax(0)
    generated = np.exp(marginal) @ np.exp(decoder)
    return {
        "rate": rate,
        "distortion": distortion,
        "neg_elbo": distortion + rate,
        "information": information(sent),
        "class_information": information(mass),
        "class_1": float(mass.sum(0)[assigned == 1].sum()),
        "agreement": float(mass.max(0).sum()),
        "variation": float(abs(generated - joint.sum(0)).sum() / 2),
    }


def report(runs):
    """The tables in Markdown: a section for each record."""
    by_decoder = {run["config"]["decoder"]: run for run in runs}
    sections = [section(by_decoder[d]) for d in DECODERS if d in by_decoder]
    _, joint = source()
    return (
        "# Figure 2 of Fixing a Broken ELBO: the toy model\n\n"
        + "\n\n".join(sections)
        + "\n\nNats; means over seeds and standard deviations. "
        f"The data have H = {entropy(joint):.4f}. All models with D = H - R are "
        f"optimal for the ELBO, and those of them with R >= {RATE} for the target "
        "rate: neither objective prefers one that knows the class. "
        "TV: total variation between g(x) and p*(x). Each code belongs to the class of "
        "which it carries more. Class 1: probability of the codes that belong to it, "
        f"{PRIOR[1]} in truth. Agreement: probability that a code belongs to the class "
        f"that made x; {PRIOR[0]} without any knowledge of x, "
        f"{joint.max(0).sum():.3f} by Bayes's rule from x itself. I(class; z): what "
        "the code knows of the class. Parity of the bin is a code made by hand, at the "
        "optimum of both objectives, that knows nothing of the class.\n"
    )


def section(record):
    """The table of one decoder."""
    config, seeds = record["config"], record["config"]["seeds"]
    body = []
    for name, label in NAMES.items():
        results = {
            key: np.array([result[key] for result in record["test"][name]])
            for key in record["test"][name][0]
        }
        rates = abs(results["rate"] - RATE) < NEAR_RATE
        classes = abs(results["class_1"] - PRIOR[1]) < NEAR_CLASS
        body.append(
            [
                label,
                spread(results["rate"]),
                number(PAPER_RATES.get(name), ".4f"),
                spread(results["distortion"]),
                spread(results["neg_elbo"]),
                spread(results["variation"]),
                spread(results["class_1"], ".3f"),
                spread(results["agreement"], ".3f"),
                spread(results["class_information"], ".3f"),
                f"{rates.sum()} of {len(rates)}",
                f"{classes.sum()} of {len(classes)}",
            ]
        )
    header = ["Model", "R", "paper's", "D", "-ELBO", "TV"]
    header += ["class 1", "agreement", "I(class; z)"]
    header += [f"R = {RATE} ± {NEAR_RATE}", f"class 1 = {PRIOR[1]} ± {NEAR_CLASS}"]
    return (
        f"## Decoder {config['decoder']}: {record['parameters']} parameters\n\n"
        f"{records.markdown(header, body)}\n\n"
        f"Seeds {seeds[0]} to {seeds[-1]}; {config['steps']:,} steps of Adam, "
        f"{config['learning_rate']} falling to 0; {record['seconds']:.0f} s in all on "
        f"{record['device']}, {record['versions']['backend']}."
    )


def spread(values, form=".4f"):
    """Mean and standard deviation; the mean alone of one value."""
    mean = number(np.mean(values), form)
    return f"{mean} ± {np.std(values, ddof=1):{form}}" if len(values) > 1 else mean


# The figure


def draw(joint, channels, path):
    """A column for each model; its codes are sorted by their share of class 1."""
    figure = mpl.Figure((11, 15), layout="constrained")
    axes = figure.subplots(5, 3, height_ratios=[1, 1, 1.4, 1.4, 1.4])
    for column, (name, channel) in zip(axes.T, channels.items(), strict=True):
        result = measure(joint, channel)
        draw_column(joint, channel, column)
        column[0].set_title(
            f"{NAMES[name]}\nR = {result['rate']:.4f}, D = {result['distortion']:.4f}"
        )
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].legend(fontsize=8, ncols=2, loc="upper center")
    for row, letter in zip(axes, ("i", "ii", "iii", "iv", "v"), strict=True):
        row[0].annotate(
            f"({letter})", (-0.3, 1.06), xycoords="axes fraction", weight="bold"
        )
    figure.savefig(path, dpi=110)


def draw_column(joint, channel, column):
    """The five panels of one model."""
    p, (encoder, decoder, marginal) = joint.sum(0), map(np.exp, channel)
    mass = joint @ encoder.T  # P(class, code)
    order = np.argsort(mass[1] / mass.sum(0), kind="stable")
    encoder, decoder, marginal = encoder[order], decoder[order], marginal[order]
    mass = mass[:, order]
    in_x, in_z, *tables = column

    bins = np.arange(BINS)
    in_x.bar(bins, p, color="0.82", label="$p^*(x)$")
    in_x.plot(bins, marginal @ decoder, "C0-", lw=2.5, label="$g(x)$")
    in_x.plot(bins, mass.sum(0) @ decoder, "C3--", lw=1.5, label="$d(x)$")
    in_x.set(xlabel="x", ylabel="probability")

    codes, shares = np.arange(CODES), mass.sum(0)
    in_z.bar(codes, mass[0], color="#5e3c99", label="$e(z_0)$")
    in_z.bar(codes, mass[1], bottom=mass[0], color="#f1b82d", label="$e(z_1)$")
    in_z.step(codes, shares, "k-", where="mid", lw=1.2, label="$e(z)$")
    in_z.plot(codes, marginal, "o", color="C0", ms=3.5, label="$m(z)$")
    top = max(shares.max(), marginal.max())
    in_z.set(xlabel="z", ylabel="probability", ylim=(0, 1.5 * top))

    for cell, table, title, across, up in zip(
        tables,
        (encoder, decoder, (encoder.T @ decoder).T),
        ("$e(z|x)$", "$d(x|z)$", "$p(x'|x)$"),
        ("x", "x", "x"),
        ("z", "z", "x'"),
        strict=True,
    ):
        shown = cell.imshow(table, "viridis", origin="lower", vmin=0, aspect="auto")
        cell.set(title=title, xlabel=across, ylabel=up)
        cell.figure.colorbar(shown, ax=cell, pad=0.02, ticks=ticker.MaxNLocator(4))


if __name__ == "__main__":
    FLAGS.set_default("runs", 10)
    app.run(main)
