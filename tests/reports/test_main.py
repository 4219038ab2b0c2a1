"""The command line, on models saved to .keras."""

import keras
import numpy as np
import pytest
from tools import small_networks

from echo_keras import codec, losses, objectives
from echo_keras.__main__ import main


def saved(path, build, *args, **kwargs):
    keras.utils.set_random_seed(0)
    model = build(*small_networks(), *args, **kwargs)
    model.compile("sgd", loss=losses.Bernoulli())
    model.save(path)
    return model


def binary(n):
    return np.random.RandomState(n).randint(0, 2, (n, 8)).astype("float32")


@pytest.fixture
def arrays(tmp_path):
    """Options that name data, of two files."""
    paths = [tmp_path / "train.npy", tmp_path / "test.npz"]
    np.save(paths[0], binary(60))
    np.savez(paths[1], x=binary(50))
    return ["--train", str(paths[0]), "--test", str(paths[1])]


def test_compressed_files_come_back(tmp_path, capsys):
    pytest.importorskip("constriction", reason="needs the extra codec")
    path, x = tmp_path / "vq.keras", tmp_path / "x.npy"
    model = saved(path, objectives.shannon_ae, 2, 4, groups=2)
    np.save(x, binary(50))
    file, y = tmp_path / "codes.ekvq", tmp_path / "y.npy"
    assert main(["compress", str(path), str(x), str(file)]) == 0
    size = file.stat().st_size
    assert f"{size} bytes for 50 examples" in capsys.readouterr().out
    assert main(["decompress", str(path), str(file), str(y)]) == 0
    np.testing.assert_allclose(np.load(y), codec.decompress(model, file), atol=1e-6)
    # Errors are one sentence, and leave no file.
    other = tmp_path / "other.keras"
    saved(other, objectives.shannon_ae, 2, 8, groups=2)
    y.unlink()
    assert main(["decompress", str(other), str(file), str(y)]) == 1
    assert main(["decompress", str(path), str(file), "y.txt"]) == 1
    out, err = capsys.readouterr()
    assert err.count("\n") == 2 and "must be the name of a .npy file" in err
    assert not y.exists()


def test_report(tmp_path, arrays, capsys):
    path, page = tmp_path / "vae.keras", tmp_path / "report.html"
    saved(path, objectives.vae, 2)
    title = ["--title", "Of <8> numbers", "--date", "2026-01-02"]
    assert main(["report", str(path), str(page), *arrays, *title]) == 0
    text = page.read_text()
    assert "<h1>Of &lt;8&gt; numbers</h1>" in text and "2026-01-02" in text
    assert f"Wrote {page}." in capsys.readouterr().out


def test_the_doctor_audits_a_model(tmp_path, arrays, capsys):
    path = tmp_path / "echo.keras"
    saved(path, objectives.echo, 2, d_max=9)
    assert main(["doctor", str(path)]) == 0
    assert "whole; RateDistortionModel" in capsys.readouterr().out
    assert main(["doctor", str(path), *arrays]) == 1  # never trained
    assert "error: empty_bank" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: path.unlink(), "Received: no such file."),
        (lambda path: path.write_bytes(b"PK"), "Received: damage ("),
        (lambda path: path.write_bytes(path.read_bytes()[:-99]), "Received: damage ("),
    ],
)
def test_damaged_models(change, sentence, tmp_path, arrays, capsys):
    path = tmp_path / "vae.keras"
    saved(path, objectives.vae, 2)
    change(path)
    for command in (["report", str(path), "r.html"], ["doctor", str(path)]):
        assert main([*command, *arrays]) == 1
        err = capsys.readouterr().err
        assert f"{path} must hold a model saved as .keras. " in err
        assert sentence in err and err.count("\n") == 1


@keras.saving.register_keras_serializable(package="somebody")
class Own(keras.layers.Layer):
    def call(self, x):
        return x


def test_a_class_that_nobody_knows(tmp_path, arrays, capsys):
    path = tmp_path / "own.keras"
    inputs = keras.Input((8,))
    keras.Model(inputs, Own()(inputs)).save(path)
    del keras.saving.get_custom_objects()["somebody>Own"]
    with keras.saving.custom_object_scope({}):
        assert main(["doctor", str(path)]) == 1
    err = capsys.readouterr().err
    assert "have to be registered" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "no such file"),
        (b"text", "damage ("),
        ({"a": np.ones(3), "b": np.ones(3)}, "the arrays a, b"),
    ],
)
def test_data_that_are_no_array(content, sentence, tmp_path, capsys):
    path, x = tmp_path / "vae.keras", tmp_path / "x.npz"
    saved(path, objectives.vae, 2)
    if isinstance(content, dict):
        np.savez(x, **content)
    elif content is not None:
        x.write_bytes(content)
    assert main(["doctor", str(path), "--test", str(x)]) == 1
    err = capsys.readouterr().err
    assert "must hold one array of numbers, as .npy or .npz" in err and sentence in err


def test_data_have_to_be_named(tmp_path, arrays, capsys):
    path = tmp_path / "vae.keras"
    saved(path, objectives.vae, 2)
    for options in ([], arrays[:2], [*arrays, "--dataset", "digits"]):
        assert main(["report", str(path), str(tmp_path / "r.html"), *options]) == 1
        assert "Data must be named" in capsys.readouterr().err
    assert main(["doctor", str(path), "--dataset", "no such"]) == 1
    assert "no such" in capsys.readouterr().err


def test_unknown_commands_are_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as refused:
        main(["repair"])
    assert refused.value.code == 2
    err = capsys.readouterr().err
    for name in ("report", "compress", "decompress", "doctor"):
        assert name in err
