"""Table 1's script: stored numbers, skipping, resuming, tables, bad flags."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time

import echo_paper
import pytest
import table1
from absl import flags
from absl.testing import flagsaver

TINY = ["--epochs=2", "--train_limit=200", "--batch_size=50"]


@pytest.fixture(scope="module")
def finished(call, tmp_path_factory):
    """A folder with both methods, two runs each, on 200 digits."""
    out = tmp_path_factory.mktemp("table1")
    call(table1, f"--out_dir={out}", "--runs=2", *TINY)
    return out


def record(out, method, seed=0):
    name = f"digits-{method}-2epochs-200images-batch50-rate0.001-seed{seed}.json"
    return json.loads((out / name).read_text())


# Rate, distortion and -ELBO after two epochs, as first measured.
@pytest.mark.parametrize(
    ("method", "stored"),
    [("echo", (28.694, 520.501, 549.195)), ("vae", (0.0003, 521.780, 521.780))],
)
def test_stored_numbers(finished, method, stored):
    test = record(finished, method)["test"]["batch"]
    found = [test[name] for name in ("rate", "distortion", "neg_elbo")]
    assert found == pytest.approx(stored, rel=2e-3, abs=2e-2)


def test_a_record_says_how_it_came_about(finished):
    r = record(finished, "echo")
    assert r["parameters"] == 1_398_849
    assert r["config"]["train_limit"] == r["data"]["training_images"] == 200
    assert r["config"]["d_max"] == 49
    assert len(r["data"]["checksum"]) == 64
    assert {"python", "backend", "keras"} <= set(r["versions"])
    assert len(r["history"]) == 2
    assert r["seconds"] == pytest.approx(
        sum(logs["seconds"] for logs in r["history"]), abs=0.1
    )
    for echoes in ("batch", "bank"):
        test = r["test"][echoes]
        total = test["rate"] + test["distortion"]
        assert test["neg_elbo"] == pytest.approx(total, rel=1e-6)
        assert test["neg_elbo_se"] > 0


def test_a_finished_run_is_not_run_again(call, finished, capsys):
    before = record(finished, "vae")
    call(table1, f"--out_dir={finished}", "--runs=2", *TINY)
    assert capsys.readouterr().out.count("not run again") == 4
    assert record(finished, "vae") == before


def test_other_data_under_the_same_name_are_refused(call, finished, tmp_path):
    changed = record(finished, "vae")
    changed["data"]["checksum"] = "0" * 64
    name = "digits-vae-2epochs-200images-batch50-rate0.001-seed0.json"
    (tmp_path / name).write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="made with other data"):
        call(table1, f"--out_dir={tmp_path}", "--methods=vae", *TINY)


def test_the_table_holds_the_records_means(finished):
    with open(finished / "table1.csv", newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    runs = [record(finished, "echo", s)["test"]["batch"]["neg_elbo"] for s in (0, 1)]
    assert float(rows["echo"]["neg_elbo"]) == pytest.approx(sum(runs) / 2)
    sigma = abs(runs[0] - runs[1]) / math.sqrt(2)
    assert float(rows["echo"]["sigma"]) == pytest.approx(sigma)
    text = (finished / "table1.md").read_text()
    assert "epochs 2 (paper 200)" in text
    assert "train limit 200" in text
    assert "standard errors over runs" in text


ECHO, VAE = {"method": "echo", "parametrization": "standardized"}, {"method": "vae"}


def fake_record(neg_elbo, method="echo", dataset="binary_mnist", **config):
    config = {"dataset": dataset, "method": method, "samples": 1, **config}
    test = {"rate": 20.0, "distortion": neg_elbo - 20, "neg_elbo": neg_elbo}
    return {
        "config": {**echo_paper.PROTOCOL, "seed": 0, **config},
        "test": {"batch": test, "bank": test},
        "parameters": 1_398_849,
        "data": {"description": "d"},
        "device": "a device",
        "versions": {"backend": "b"},
    }


def test_difference_in_units_of_the_papers_sigma():
    row = table1.summary(ECHO, [fake_record(89.16)])
    assert row["difference"] == pytest.approx(2.0)  # (89.16 - 88.8) / .18
    assert "the paper's protocol" == echo_paper.reduction(echo_paper.PROTOCOL)


def test_ten_runs_lose_the_highest_and_the_lowest():
    values = [0.0, *[90.0 + i for i in range(8)], 1000.0]
    row = table1.summary(VAE, [fake_record(v) for v in values])
    assert (row["runs"], row["kept"]) == (10, 8)
    assert row["neg_elbo"] == pytest.approx(93.5)
    nine = table1.summary(VAE, [fake_record(v) for v in values[:-1]])
    assert nine["kept"] == 9


def test_comparison_counts_standard_errors():
    echo = [fake_record(v) for v in (88.0, 90.0)]
    vae = [fake_record(v, "vae") for v in (91.0, 93.0)]
    rows = [table1.summary(ECHO, echo), table1.summary(VAE, vae)]
    # Each mean has the standard error sqrt(2) / sqrt(2) = 1.
    assert "-3.00 nats of -ELBO, -2.1 standard errors" in table1.comparison(*rows)


def test_figures_are_pictures(finished):
    names = sorted(path.name for path in finished.glob("*.png"))
    run = "digits-{}-2epochs-200images-batch50-rate0.001-seed0-{}.png"
    assert names == sorted(
        [
            "digits-2epochs-200images-batch50-rate0.001-curves.png",
            *(
                run.format(method, kind)
                for method in ("echo", "vae")
                for kind in ("reconstructions", "generations")
            ),
        ]
    )
    import matplotlib.image

    for name in names:
        # Something is drawn: neither one colour nor unreadable.
        assert matplotlib.image.imread(finished / name).std() > 0.05


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dataset=cats"], "digits|binary_mnist|mnist|omniglot|fashion_mnist"),
        (["--methods=echo,gan"], "the methods are echo, vae, infovae"),
        (["--schedule=cosine"], "paper|as_run|constant"),
        (["--parametrization=mine"], "standardized|paper"),
        (["--epochs=0"], "epochs"),
        (["--epochs=many"], "epochs"),
        (["--beta=-1"], "beta"),
        (["--batch_size=1"], "batch_size"),
        (["--runs=0"], "runs"),
    ],
)
def test_bad_flags_name_the_valid_values(arguments, says):
    with flagsaver.flagsaver(), pytest.raises(flags.Error) as error:
        flags.FLAGS(["table1", *arguments])
    assert says in str(error.value)


def test_bad_data_dir_is_not_replaced_by_another_source(call, tmp_path):
    with pytest.raises(FileNotFoundError, match="binary_mnist"):
        call(
            table1,
            f"--out_dir={tmp_path}",
            "--dataset=binary_mnist",
            f"--data_dir={tmp_path}",
        )


def test_killed_run_ends_with_the_same_table(call, finished, tmp_path):
    """SIGKILL in mid-epoch; float noise of the CPU's threads is what may differ."""
    arguments = [f"--out_dir={tmp_path}", "--methods=echo", *TINY]
    killed = subprocess.Popen(
        [sys.executable, table1.__file__, *arguments],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    name = "digits-echo-2epochs-200images-batch50-rate0.001-seed0"
    checkpoint = tmp_path / "checkpoints" / name / "checkpoint.keras"
    while not checkpoint.exists():
        assert killed.poll() is None
        time.sleep(0.02)
    time.sleep(0.2)  # an epoch takes longer than this: we are inside the next one
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / f"{name}.json").exists()
    call(table1, *arguments)
    first, second = record(finished, "echo"), record(tmp_path, "echo")
    assert len(second["history"]) == 2
    for echoes in ("batch", "bank"):
        assert second["test"][echoes] == pytest.approx(
            first["test"][echoes], rel=1e-3, abs=1e-2
        )
