"""The other scripts of the Echo paper, on tiny data, against stored numbers."""

import json

import echo_paper
import figure1
import figure6
import figure7
import matplotlib.image
import numpy as np
import pytest
import rate_distortion
import table1
import table3
from absl import app, flags
from absl.testing import flagsaver

TINY = ["--epochs=2", "--train_limit=200", "--batch_size=50"]
NAME = "digits-2epochs-200images-batch50-rate0.001"


@pytest.fixture(scope="module")
def out(call, tmp_path_factory):
    """A folder with rate-distortion runs of both methods at two betas."""
    out = tmp_path_factory.mktemp("echo_paper")
    call(rate_distortion, f"--out_dir={out}", "--betas=1,0.1", *TINY)
    return out


def drawn(path):
    """Something is drawn: neither one colour nor unreadable."""
    return matplotlib.image.imread(path).std() > 0.02


def cells(text, first):
    """The cells of the table row that begins with `first`."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


# Rate and distortion after two epochs, as first measured.
@pytest.mark.parametrize(
    ("method", "beta", "stored"),
    [
        ("echo", 0.1, (23.238, 523.445)),
        ("echo", 1, (28.694, 520.501)),
        ("vae", 0.1, (0.01, 522.69)),
        ("vae", 1, (0.0003, 521.780)),
    ],
)
def test_curve_stored_numbers(out, method, beta, stored):
    record = next(
        r
        for r in (json.loads(p.read_text()) for p in out.glob("*.json"))
        if (r["config"]["method"], r["config"]["beta"]) == (method, beta)
    )
    test = record["test"]["batch"]
    found = test["rate"], test["distortion"]
    assert found == pytest.approx(stored, rel=2e-3, abs=2e-2)


def test_curve_report_and_figures(out):
    text = (out / f"{NAME}-rate_distortion.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(("| Echo", "| VAE"))]
    assert sum(row.count(" yes |") + row.count(" no |") for row in rows) == 4
    assert "epochs 2 (paper 200)" in text
    # The methods' rates are far apart, so that no area can be compared.
    assert "do not overlap" in text
    assert drawn(out / f"{NAME}-rate_distortion.png")
    assert drawn(out / f"{NAME}-matched_rates.png")


def test_curve_shares_its_records_with_table1(call, out, capsys):
    call(table1, f"--out_dir={out}", *TINY)
    assert capsys.readouterr().out.count("not run again") == 2
    # Runs at other betas have no place in Table 1.
    assert "beta 0.1" not in (out / "table1.md").read_text()


def curve(*points):
    tests = [{"rate": r, "distortion": d, "neg_elbo": r + d} for r, d in points]
    config = {"beta": 1.0, "seed": 0}
    return [{"config": config, "test": {"batch": test}} for test in tests]


def test_curve_ranks_methods_by_area():
    class Dataset:
        name = "x"

    curves = {"A": curve((0, 4), (4, 0)), "B": curve((0, 2), (4, 0), (1, 9))}
    text = rate_distortion.report(Dataset, echo_paper.PROTOCOL, curves)
    assert text.index("| B | 4.0 | 1.00 |") < text.index("| A | 8.0 | 2.00 |")
    assert "| B | 1 | 0 | 1.00 | 9.00 | 10.00 | no |" in text


@pytest.mark.parametrize("flag", ["betas", "gammas"])
@pytest.mark.parametrize("values", ["", "a", "1,-1", "inf", "nan"])
def test_bad_weights(flag, values):
    with flagsaver.flagsaver(), pytest.raises(flags.Error, match="finite numbers >= 0"):
        flags.FLAGS(["x", f"--{flag}={values}"])


def test_curve_without_a_weight_on_the_rate(call, tmp_path):
    with pytest.raises(app.UsageError, match="numbers > 0"):
        call(rate_distortion, f"--out_dir={tmp_path}", "--betas=1,0", *TINY)


def test_figure1(call, tmp_path):
    call(figure1, f"--out_dir={tmp_path}", "--points=4000")
    text = (tmp_path / "figure1.md").read_text()
    gaussian, echo = cells(text, "Gaussian"), cells(text, "Echo")
    # Fixed seeds: the Gaussian noise is told from its output, Echo's is not.
    assert float(gaussian[2]) < 1e-3 < float(echo[2])
    assert "1.3863 nats" in text
    assert drawn(tmp_path / "figure1.png")


def test_figure1_noise_has_its_power(call):
    with flagsaver.flagsaver():
        flags.FLAGS(["figure1", "--points=4000"])
        _, noise = figure1.draws(seed=3)
    power = {name: e.var(axis=0).sum() for name, (e, _) in noise.items()}
    # Relative standard error of a variance of 8,000 numbers: 1.6 %; times 4.
    assert power["Gaussian"] == pytest.approx(power["Echo"], rel=0.064)


def test_table3(call, out):
    call(table3, f"--out_dir={out}", "--draws=500", *TINY)
    (path,) = (out / "table3").glob("*.json")
    measured = json.loads(path.read_text())["total_correlation"]
    assert measured == pytest.approx(TABLE3, rel=2e-2)
    row = cells((out / "table3.md").read_text(), "digits")
    assert float(row[1]) == pytest.approx(measured, abs=0.006)
    assert float(row[3]) == pytest.approx(2 * measured, abs=0.006)


TABLE3 = 71.15  # nats, as first measured


def test_figure6(call, out):
    call(figure6, f"--out_dir={out}", "--codes=2", *TINY)
    text = (out / f"{NAME}-figure6.md").read_text()
    for method in ("Echo", "VAE"):
        assert cells(text, method)[1].endswith(" of 32")
    # The untrained VAE's codes are the Gaussian noise: 5 % of 32 dimensions.
    assert int(cells(text, "VAE")[1].split()[0]) <= 6
    assert drawn(out / f"{NAME}-figure6.png")


def test_figure6_choice_of_dimensions():
    rates = np.random.default_rng(0).permutation(32).astype(float)
    chosen = rates[figure6.choice(rates)]
    assert chosen.tolist() == [31, 30, 29, 28, 27, 26, 25, 24, 23, 3, 2, 1, 0]


def test_figure6_normality_tells_laws_apart():
    rng = np.random.default_rng(0)
    codes = np.stack([rng.normal(size=9000), rng.uniform(size=9000)], axis=1)
    few, _, many, _ = figure6.normality(codes, seed=1)
    assert few == many == "1 of 2"


def test_figure7(call, out):
    call(figure7, f"--out_dir={out}", "--codes=2", *TINY)
    text = (out / f"{NAME}-figure7.md").read_text()
    correlations = [float(cells(text, t)[1]) for t in FIGURE7]
    assert correlations == pytest.approx(list(FIGURE7.values()), abs=0.03)
    assert drawn(out / f"{NAME}-figure7.png")


# Rank correlations with the likelihood, as first measured.
FIGURE7 = {
    "pointwise information": 0.84,
    "norm of f": -0.87,
    "norm of f, standardised": 0.0,
}
