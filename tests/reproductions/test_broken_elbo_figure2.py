"""The toy model of Fixing a Broken ELBO: sums by hand, gradients, stored numbers."""

import importlib.util
import itertools
import json
import math
import pathlib

import keras
import matplotlib.image
import numpy as np
import pytest
from keras import ops
from scipy import special, stats

pytestmark = pytest.mark.core

PATH = pathlib.Path(__file__).parents[2] / "reproductions/broken_elbo/figure2.py"
spec = importlib.util.spec_from_file_location("broken_elbo_figure2", PATH)
figure2 = importlib.util.module_from_spec(spec)
spec.loader.exec_module(figure2)

SIGMA, JOINT = figure2.source()
P = JOINT.sum(0)
H = -np.sum(P * np.log(P))


def random_model(decoder, seeds=(0,), target=None, scale=2.0):
    """A model whose tables are far from uniform."""
    model = figure2.ToyModel(decoder, list(seeds), target)
    rng = np.random.default_rng(7)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0, scale, weight.shape))
    return model


def by_hand(decoder, weights):
    """Rate and distortion of one seed, written out code by code and bin by bin."""
    encoder, decode, marginal = weights
    at = [(j + 0.5) / 30 for j in range(30)]

    def normalised(logits):
        return np.exp(logits) / np.sum(np.exp(logits))

    e = np.zeros((30, 30))  # code, bin
    for j in range(30):
        e[:, j] = normalised(
            [-((encoder[0, i] * at[j] - encoder[1, i]) ** 2) for i in range(30)]
        )
    d = np.zeros((30, 30))
    for i in range(30):
        logits = {
            "table": lambda i, j: decode[i, j],
            "per_code": lambda i, j: -((decode[0, i] * at[j] - decode[1, i]) ** 2),
            "per_bin": lambda i, j: -((decode[0, j] * at[i] - decode[1, j]) ** 2),
        }[decoder]
        d[i] = normalised([logits(i, j) for j in range(30)])
    m = normalised(marginal)
    rate = distortion = 0.0
    for i, j in itertools.product(range(30), range(30)):
        rate += P[j] * e[i, j] * math.log(e[i, j] / m[i])
        distortion -= P[j] * e[i, j] * math.log(d[i, j])
    return rate, distortion


def terms(model, x):
    """Rates and distortions as NumPy arrays."""
    return [ops.convert_to_numpy(term) for term in model(np.float32(x))]


def weights_of(model, seed=0):
    return [
        ops.convert_to_numpy(w)[seed].astype("float64") for w in model.trainable_weights
    ]


def test_source_knows_half_a_nat_of_its_class():
    # Straight from the definitions: no table and no root of the script's.
    edges = [-math.inf, *(j / 30 for j in range(1, 30)), math.inf]
    information = 0.0
    for j, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = [
            stats.norm(mean, SIGMA).cdf(high) - stats.norm(mean, SIGMA).cdf(low)
            for mean in (1 / 3, 2 / 3)
        ]
        p = 0.7 * inside[0] + 0.3 * inside[1]
        for c, prior in enumerate((0.7, 0.3)):
            assert JOINT[c, j] == pytest.approx(prior * inside[c], abs=1e-15)
            information += prior * inside[c] * math.log(inside[c] / p)
    assert information == pytest.approx(0.5, abs=1e-12)
    assert JOINT.sum(1) == pytest.approx([0.7, 0.3])


def test_source_at_another_rate():
    sigma, joint = figure2.source(0.2)
    assert sigma > SIGMA  # more noise
    assert figure2.information(joint) == pytest.approx(0.2, abs=1e-12)


@pytest.mark.parametrize("decoder", figure2.DECODERS)
def test_rate_and_distortion_by_hand(decoder):
    model = random_model(decoder, seeds=[0, 1])
    rate, distortion = terms(model, P[None])
    for seed, channel in enumerate(model.channels()):
        expected = by_hand(decoder, weights_of(model, seed))
        assert (rate[seed], distortion[seed]) == pytest.approx(expected, rel=1e-5)
        found = figure2.measure(JOINT, channel)
        assert (found["rate"], found["distortion"]) == pytest.approx(expected, rel=1e-5)
        assert found["neg_elbo"] == pytest.approx(sum(expected), rel=1e-5)


def test_rate_and_distortion_are_means_over_samples():
    # What a VAE would estimate from data: -log d(x|z) and log e(z|x)/m(z) of samples.
    model = random_model("table")
    (channel,) = model.channels()
    rng = np.random.default_rng(0)
    n = 100_000
    x = rng.choice(30, n, p=P)
    below = np.exp(channel.encoder).cumsum(0)[:, x]
    z = np.minimum((rng.uniform(size=n) > below).sum(0), 29)
    samples = np.stack(
        [channel.encoder[z, x] - channel.marginal[z], -channel.decoder[z, x]]
    )
    error = samples.std(axis=1) / math.sqrt(n)
    exact = np.ravel(terms(model, P[None]))
    assert (abs(samples.mean(axis=1) - exact) < 4 * error).all()


def test_a_batch_stands_for_its_mean():
    model = random_model("table")
    x = np.eye(30)[[3, 3, 20, 11]]
    rows = np.array([terms(model, row[None]) for row in x])
    assert np.array(terms(model, x)) == pytest.approx(rows.mean(0), rel=1e-5)


# With a target of 0 the rate is always above it, with 99 always below.
@pytest.mark.parametrize(("target", "sign"), [(None, 1), (0.0, 1), (99.0, -1)])
@pytest.mark.parametrize("decoder", figure2.DECODERS)
def test_gradient_on_both_sides_of_the_target(decoder, target, sign):
    model = random_model(decoder, target=target, scale=1.0)
    before = weights_of(model)
    model.compile(keras.optimizers.SGD(1.0))
    model.fit(P[None].astype("float32"), batch_size=1, verbose=0)
    for k, (old, new) in enumerate(zip(before, weights_of(model), strict=True)):
        # Two entries by central differences of D + R or D - R.
        for index in list(np.ndindex(old.shape))[5 :: old.size // 2]:
            losses = []
            for step in (1e-4, -1e-4):
                moved = [weight.copy() for weight in before]
                moved[k][index] += step
                rate, distortion = by_hand(decoder, moved)
                losses.append(distortion + sign * rate)
            expected = (losses[0] - losses[1]) / 2e-4
            assert old[index] - new[index] == pytest.approx(expected, abs=2e-6)


def test_the_loss_is_a_sum_over_seeds():
    model = random_model("table", seeds=[0, 1, 2], target=0.3)
    rate, distortion = terms(model, P[None])
    loss = model.compute_loss(y_pred=model(np.float32(P[None])))
    expected = np.sum(distortion + abs(0.3 - rate))
    assert ops.convert_to_numpy(loss) == pytest.approx(expected, rel=1e-6)


def trained(*seeds):
    model = figure2.ToyModel("table", seeds, 0.5)
    figure2.train(model, JOINT, 10)
    return model.channels()


def test_a_seed_trains_as_if_alone_and_the_same_again():
    (alone,), (again,), (other, beside) = trained(4), trained(4), trained(3, 4)
    for one, same, both in zip(alone, again, beside, strict=True):
        assert (one == same).all()
        assert both == pytest.approx(one, abs=1e-5)
    assert abs(other.encoder - alone.encoder).max() > 1e-3


def test_engineered_model_is_tight_and_knows_the_classes():
    channel = figure2.engineered(JOINT)
    result = figure2.measure(JOINT, channel)
    # The code is the class, relabelled within it: I(x; z) = I(x; class), D = H - R.
    assert result["rate"] == pytest.approx(0.5, abs=1e-12)
    assert result["information"] == pytest.approx(0.5, abs=1e-12)
    assert H - result["distortion"] == pytest.approx(0.5, abs=1e-12)
    assert result["variation"] == pytest.approx(0, abs=1e-12)
    assert result["class_1"] == pytest.approx(0.3)
    # Two classes drawn independently from one posterior agree with this probability.
    assert result["agreement"] == pytest.approx((JOINT**2 / P).sum())
    assert np.exp(channel.marginal) == pytest.approx(1 / 30)
    for c, codes in enumerate((range(21), range(21, 30))):
        for i in codes:
            assert np.exp(channel.decoder[i]) == pytest.approx(
                JOINT[c] / JOINT[c].sum()
            )


def test_tight_is_the_best_marginal_and_decoder():
    (loose,) = random_model("table").channels()
    best = figure2.tight(JOINT, np.exp(loose.encoder))
    found, before = figure2.measure(JOINT, best), figure2.measure(JOINT, loose)
    assert found["rate"] == pytest.approx(found["information"])
    assert H - found["distortion"] == pytest.approx(found["information"])
    # And no table of three random ones near them is better (App. D.3, D.4).
    assert before["rate"] > found["rate"] + 0.1
    assert before["distortion"] > found["distortion"] + 0.1
    rng = np.random.default_rng(0)
    for _ in range(3):
        other = figure2.Channel(
            best.encoder,
            special.log_softmax(best.decoder + rng.normal(0, 0.1, (30, 30)), axis=1),
            special.log_softmax(best.marginal + rng.normal(0, 0.1, 30)),
        )
        worse = figure2.measure(JOINT, other)
        assert worse["rate"] > found["rate"]
        assert worse["distortion"] > found["distortion"]


def test_parity_is_as_good_and_knows_nothing_of_the_class():
    result = figure2.measure(JOINT, figure2.parity(JOINT))
    assert result["rate"] == pytest.approx(0.5, abs=1e-12)
    assert result["neg_elbo"] == pytest.approx(H, abs=1e-12)
    assert result["class_information"] < 1e-4
    assert (result["class_1"], result["agreement"]) == (0, pytest.approx(0.7))


def test_clusters_of_a_code_by_hand():
    # Two letters: whether the bin is one of the first twelve.
    encoder = np.where(np.arange(30) < 12, 1 - 1e-9, 1e-9)
    result = figure2.measure(JOINT, figure2.tight(JOINT, [encoder, 1 - encoder]))
    assert result["class_1"] == pytest.approx(P[12:].sum(), abs=1e-6)
    agreement = JOINT[0, :12].sum() + JOINT[1, 12:].sum()
    assert result["agreement"] == pytest.approx(agreement, abs=1e-6)
    tables = [[JOINT[c, :12].sum(), JOINT[c, 12:].sum()] for c in (0, 1)]
    information = figure2.information(np.array(tables))
    assert result["class_information"] == pytest.approx(information, abs=1e-6)


def test_parameters():
    for decoder, count in ("table", 60 + 900 + 30), ("per_code", 150), ("per_bin", 150):
        model = figure2.ToyModel(decoder, [0, 1])
        shapes = [weight.shape for weight in model.trainable_weights]
        assert sum(math.prod(shape) for shape in shapes) == 2 * count


@pytest.fixture(scope="module")
def out(call, tmp_path_factory):
    out = tmp_path_factory.mktemp("broken_elbo_figure2")
    call(figure2, f"--out_dir={out}", "--runs=2", "--seed=5", "--steps=100")
    return out


# Rate and distortion of seeds 5 and 6 after 100 steps, as first measured.
STORED = {
    "elbo": [(0.000013, 3.31311), (0.000021, 3.31219)],
    "target": [(0.028062, 3.31324), (0.026083, 3.31233)],
}


def test_stored_numbers(out):
    record = json.loads((out / "table.json").read_text())
    assert record["config"]["seeds"] == [5, 6] and record["config"]["steps"] == 100
    assert record["data"]["entropy"] == pytest.approx(H)
    for objective, expected in STORED.items():
        found = [(r["rate"], r["distortion"]) for r in record["test"][objective]]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_report_and_figure(out):
    text = (out / "figure2.md").read_text()
    assert "| Engineered | 0.5000 | - | 2.5184 | 3.0184 |" in text
    assert "| 0.300 | 0.936 | 0.378 | 1 of 1 | 1 of 1 |" in text
    assert "Seeds 5 to 6; 100 steps" in text and "H = 3.0184" in text
    assert matplotlib.image.imread(out / "figure2.png").std() > 0.02


def test_report_of_several_decoders(out):
    table = json.loads((out / "table.json").read_text())
    other = {**table, "config": {**table["config"], "decoder": "per_bin"}}
    other["test"] = {**table["test"], "target": [result(0.505), result(0.52)]}
    text = figure2.report([other, table])
    first, second = text.split("## Decoder per_bin")
    assert "## Decoder table: 990 parameters" in first
    (row,) = (r for r in second.splitlines() if r.startswith("| Target rate"))
    assert "| 0.5125 ± 0.0106 | 0.4999 | 2.0000 ± 0.0000 |" in row
    assert row.endswith("| 1 of 2 | 2 of 2 |")


def result(rate):
    """What `measure` might return, with a rate of our choice."""
    names = "distortion", "neg_elbo", "information", "class_information"
    numbers = dict.fromkeys((*names, "agreement", "variation"), 2.0)
    return {"rate": rate, "class_1": 0.31, **numbers}
