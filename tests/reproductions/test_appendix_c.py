"""Fixing a Broken ELBO, App. C: bounds of information over beta."""

from types import SimpleNamespace

import pytest
from render import script

from echo_keras.data import blocks
from echo_keras.studies import Results, records

appendix_c = script("broken_elbo", "appendix_c")


def record(beta, rate, lower, bounds=None, channel="gaussian", **measures):
    """A run of blocks: H - D, R, and E and G with standard errors of 0.1."""
    config = {"dataset": "blocks", "channel": channel, "beta": beta, "seed": 0}
    bank = {"rate": rate, "distortion": 22.0 - lower, "neg_elbo": 22.0 - lower + rate}
    representational = {"entropy": 22.0, "lower": lower, "gap": rate - lower}
    measures |= {"representational": {**representational, "gap_se": 0.1}}
    if bounds:
        keys = "generative_lower", "generative_upper"
        generative = dict(zip(keys, bounds, strict=True))
        measures["generative"] = generative | {f"{key}_se": 0.1 for key in keys}
    return {
        "config": config,
        "test": {"bank": bank, "training_set": {"neg_elbo": 21.0}},
        "measures": measures,
        "data": {"description": "images"},
        "device": "CPU",
        "versions": {"backend": "jax"},
    }


def verdicts(*runs):
    return [claim.verdict(list(runs)) for claim in appendix_c.CLAIMS]


def test_claims_by_hand():
    runs = [record(0.1, 30.0, 14.0, (-9.0, 25.0)), record(1.0, 11.0, 8.0, (8.0, 11.0))]
    holds, generative, loose = verdicts(*runs)
    here = "H - D <= R in 2 of 2 runs, a gap of 3.00 to 16.00 nats"
    assert holds == (here, True)
    assert generative == ("E <= G in 2 of 2 runs, a gap of 3.00 to 34.00 nats", True)
    assert loose == ("G - E is 34.00 at 0.1, 3.00 at 1", True)
    # Below 0 by two standard errors, and by more than three.
    assert verdicts(record(1.0, 7.8, 8.0))[0][1] is True
    assert verdicts(record(1.0, 7.6, 8.0))[0][1] is False
    assert verdicts(record(1.0, 11.0, 8.0, (8.0, 7.4)))[1][1] is False
    # Tighter at another beta; and an Echo channel has neither E nor G.
    runs[0] = record(0.1, 30.0, 14.0, (10.0, 11.0))
    assert verdicts(*runs)[2][1] is False
    assert verdicts(record(1.0, 11.0, 8.0, channel="echo"))[1:] == [None, None]


def test_the_table_by_hand():
    (row,) = appendix_c.TABLE.lines([record(1.0, 11.0, 8.0, (8.0, 11.5))])
    assert (row["R - (H - D)"], row["G - E"]) == (3.0, 3.5)
    assert row["training -ELBO - H"] == -1.0 and row["U"] is row["S"] is None


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("appendix_c")
    flags = ["--betas=0.5", "--epochs=1", "--train_limit=200", "--units=4"]
    flags += ["--generated=50", "--weights=2"]
    appendix_c.main(["script", f"--out_dir={out}", *flags])
    return out


def test_a_run_measures_all_that_a_channel_has(results):
    runs = records.read(results)
    assert len(runs) == 2
    for run in runs:
        found, tested = run["measures"], run["test"]["bank"]
        lower = found["representational"]["lower"]
        # Paired with the exact log-probability: H less its error on the test images.
        exact = -blocks.log_prob(blocks.draw(20_000, 1711)[10_000:]).mean()
        assert lower == pytest.approx(exact - tested["distortion"], abs=0.5)
        gap = tested["neg_elbo"] - exact
        assert found["representational"]["gap"] == pytest.approx(gap, abs=0.5)
        echo = run["config"]["channel"] == "echo"
        assert (found["generative"] is None) == (found["split"] is None) == echo
        if not echo:
            u_less_s = found["split"]["U"] - found["split"]["S"]
            assert u_less_s == pytest.approx(lower, abs=6.0)  # of 50 images
            of_truth = found["generative"]["true_generative_upper"]
            assert of_truth > found["generative"]["generative_upper"]


def test_a_panel_for_each_channel(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        appendix_c.plots, "scatter", lambda groups, *_, **__: drawn.append(groups)
    )
    runs = [record(1.0, 11.0, 8.0, (8.0, 11.0)), record(1.0, 12.0, 9.0, channel="echo")]
    options = SimpleNamespace(seed=0)
    configs = [{**run["config"], "epochs": 1} for run in runs]
    appendix_c.draw(Results(appendix_c.STUDY, configs, runs, tmp_path, options))
    assert drawn[0] == {
        name: [(1.0, value)]
        for name, value in {"R": 11.0, "H - D": 8.0, "G": 11.0, "E": 8.0}.items()
    }
    assert set(drawn[1]) == {"R", "H - D"}
    assert len(list(tmp_path.glob("*appendix_c.png"))) == 1
