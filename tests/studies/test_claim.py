"""Claims of papers: what is said of them is what the runs show."""

import pytest

from echo_keras.studies import Claim, Column, Study, Table, compare


def run(method, value, seed=0, error=None, **config):
    return {
        "config": {"dataset": "mnist", "method": method, "seed": seed, **config},
        "test": {"loss": value, **({} if error is None else {"loss_se": error})},
        "data": {"description": "first 100 of 400 training images"},
        "device": "CPU",
        "versions": {"backend": "jax"},
    }


def verdict(runs, **arguments):
    return compare("method", "a", "b", "test.loss", **arguments)(runs)


def test_two_standard_errors_over_runs_decide():
    apart = [run("a", v, s) for s, v in enumerate((1.0, 1.2))]
    apart += [run("b", v, s) for s, v in enumerate((2.0, 2.2))]
    # Each mean has the standard error .1, the difference .14.
    assert verdict(apart) == ("a 1.10 ± 0.10, b 2.10 ± 0.10", True)
    assert compare("method", "b", "a", "test.loss")(apart)[1] is False
    near = apart[:2] + [run("b", v, s) for s, v in enumerate((1.2, 1.4))]
    assert verdict(near)[1] is None


def test_a_single_run_has_the_error_of_its_examples_or_none():
    runs = [run("a", 1.0, error=0.1), run("b", 1.2, error=0.1)]
    assert verdict(runs) == ("a 1.00, b 1.20", None)
    assert verdict(runs, error="test.loss_se")[1] is None
    far = [run("a", 1.0, error=0.1), run("b", 1.5, error=0.1)]
    assert verdict(far, error="test.loss_se")[1] is True
    assert verdict(far, error="test.loss_se", enough=lambda r: False)[1] is None


def test_nothing_is_said_where_a_side_is_missing():
    assert verdict([run("a", 1.0)]) is None
    assert verdict([run("a", 1.0), run("b", None)]) is None
    assert Claim("x", compare("method", "a", "b", "test.loss")).line([]) is None


def test_a_table_says_how_much_was_run_and_what_became_of_each_claim():
    study = Study("mine", build=None, protocol={"epochs": 10})
    claims = [
        Claim("a is below b (Table 1)", compare("method", "a", "b", "test.loss")),
        Claim("b is below a", lambda runs: ("it is above", False)),
        Claim("not shown", lambda runs: None),
    ]
    table = Table(study, [Column("loss", "test.loss")], claims=claims)
    config = {"epochs": 5, "batch_size": 100, "train_limit": 100}
    runs = [run(m, v, **config) for m, v in (("a", 1.0), ("b", 2.0))]
    text = table.render(runs)
    # Half of the epochs over a quarter of the images.
    assert "\n\n**12 % of the paper's updates.**\n\n|" in text
    assert text.endswith(
        "- The paper: a is below b (Table 1); here: a 1.00, b 2.00; too short to tell."
        "\n- The paper: b is below a; here: it is above; does not agree."
    )


@pytest.mark.parametrize(
    ("protocol", "config", "share"),
    [
        ({"epochs": 10}, {"epochs": 10, "batch_size": 100}, 0.25),
        ({"epochs": 10}, {"epochs": 10, "batch_size": 50}, 0.5),
        ({"epochs": 10, "train_limit": 100}, {"epochs": 1, "train_limit": 100}, 0.1),
        ({"steps": 1000}, {"steps": 10}, 0.01),
        ({"epochs": 10}, {"dataset": "digits"}, None),
    ],
)
def test_share_of_the_papers_updates(protocol, config, share):
    study = Study("mine", build=None, protocol=protocol, quick={"digits": {}})
    record = run("a", 1.0, **{"epochs": 10, "batch_size": 100, "train_limit": 100})
    record["config"] |= config
    assert study.share_of_updates(record) == (share and pytest.approx(share))
