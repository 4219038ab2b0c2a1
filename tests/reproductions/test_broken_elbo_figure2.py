"""The toy model of Fixing a Broken ELBO: sums by hand, gradients, its table."""

import itertools
import math

import keras
import matplotlib.image
import numpy as np
import pytest
from render import script
from scipy import stats
from tools import array

from echo_keras.studies import records

figure2 = script("broken_elbo", "figure2")

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
    return [array(term) for term in model(np.float32(x))]


def weights_of(model, seed=0):
    return [array(w)[seed].astype("float64") for w in model.trainable_weights]


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


@pytest.mark.core
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


# With a target of 0 the rate is always above it, with 99 always below.
@pytest.mark.core
@pytest.mark.parametrize(
    ("decoder", "target", "sign"),
    [("table", None, 1), ("per_bin", 0.0, 1), ("per_code", 99.0, -1)],
)
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
    assert array(loss) == pytest.approx(expected, rel=1e-6)


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
    assert before["rate"] > found["rate"] + 0.1
    assert before["distortion"] > found["distortion"] + 0.1


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


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("broken_elbo_figure2")
    flags = ["--runs=2", "--seed=5", "--steps=20", "--decoder=per_bin"]
    figure2.main(["script", f"--out_dir={out}", *flags])
    return out


def test_a_record_holds_means_and_each_seed(out):
    (record,) = records.read(out)
    assert record["config"]["seeds"] == [5, 6] and record["parameters"] == 150
    assert record["data"]["entropy"] == pytest.approx(H)
    for name, results in record["measures"]["models"].items():
        assert len(results) == (2 if name in ("elbo", "target") else 1)
        rates = [result["rate"] for result in results]
        assert record["test"][name]["rate"] == pytest.approx(np.mean(rates))
    assert "decoder per_bin, steps 20" in (out / "figure2.md").read_text()
    assert matplotlib.image.imread(out / "figure2-per_bin.png").std() > 0.02


def test_the_table_of_committed_records(repository):
    folder = repository / "reproductions" / "results" / "broken_elbo_figure2"
    text = figure2.TABLE.render(records.read(folder))
    assert (folder / "figure2.md").read_text() == text + "\n"
    of_table = text[text.index("decoder table, steps") :]
    assert "| ELBO | 0.0024 ± 0.0011 | 0.0002 | 3.0160 ± 0.0011 |" in of_table
    assert "| 0.300 | 0.936 | 0.378 | 1 of 1 | 1 of 1 |" in of_table
    assert "| 0.348 ± 0.006 | 10 of 10 | 10 of 10 |" in of_table
    assert of_table.count("; agrees.") == 3
    assert ".05 of 0.3 for 7 of 10 seeds; does not agree." in text  # per_bin


def test_strangers_are_refused_with_the_valid_flags():
    with pytest.raises(SystemExit, match="--decoder, --steps, --runs, --seed"):
        figure2.main(["script", "--epochs=3"])
