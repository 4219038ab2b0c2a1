"""Scripts: exactly their own flags, and what they do with a study."""

import dataclasses
import json

import pytest
from absl import flags

from echo_keras import training
from echo_keras.studies import (
    Column,
    Command,
    Option,
    RunsFailed,
    Script,
    Study,
    Table,
    parse,
    start,
)
from echo_keras.studies import script as script_module

STUDY = Study(
    "mine",
    None,
    protocol={"epochs": 20, "schedule": "paper", "kind": "a"},
    quick={"digits": {"epochs": 2}},
    vary={"method": ["echo", "vae"], "beta": [0.5, 1.0], ("c", "d"): [(1, 2)]},
    choices={"kind": ["a", "b"]},
)
OPTIONS = [
    Option("points", 20, "Points.", least=2),
    Option("rate", None, "A rate.", float, least=0),
    Option("names", ["x"], "Names.", [str], ["x", "y", "z", "all"]),
    Option("betas", [1.0], "Weights.", [float], least=0),
    Option("kind", "a", "Kind.", str, ["a", "b"]),
    Option("loud", False, "Aloud."),
    Option("folder", None, "Where.", str),
]


def names(options):
    return [option.name for option in options]


# Flags


def test_defaults_are_the_options_own():
    found = vars(parse(OPTIONS, []))
    assert found == {
        "points": 20,
        "rate": None,
        "names": ["x"],
        "betas": [1.0],
        "kind": "a",
        "loud": False,
        "folder": None,
    }


def test_values_have_the_kinds_of_their_options():
    arguments = ["--points=7", "--rate", "1e-3", "--names=z,x", "--betas=1,.5"]
    found = parse(OPTIONS, [*arguments, "--kind=b", "--loud", "--folder=f"])
    assert (found.points, found.rate, found.names) == (7, 1e-3, ["z", "x"])
    assert (found.betas, found.kind, found.loud, found.folder) == (
        [1, 0.5],
        "b",
        True,
        "f",
    )


def test_all_stands_for_every_choice():
    assert parse(OPTIONS, ["--names=all"]).names == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        (
            "--steps=7",
            "(?s)Unknown command line flag 'steps'.*flags are --points, --rate",
        ),
        ("--gammas=20", "This script's flags are --points, .*, --folder"),
        ("--points=x", "(?s)--points=x: invalid literal.*flags are"),
        ("--points=1", "--points=1: 1 is not an integer greater|--points=1"),
        ("--rate=-1", "--rate=-1"),
        ("--kind=c", "--kind=c: value should be one of <a|b>"),
        ("--names=x,w", "--names must be x, y, z, all. Received: x, w"),
        ("--betas=1,x", "--betas must be a list of float values >= 0. Received: 1, x"),
        ("--betas=-1", "--betas must be a list of float values >= 0"),
        ("--betas=nan", "--betas must be a list of float values >= 0"),
        ("--names=", "--names must be x, y, z, all. Received: -"),
        ("digits", "Unexpected arguments: digits.\nThis script's flags are"),
    ],
)
def test_anything_else_is_refused_with_a_sentence(argument, sentence):
    with pytest.raises(SystemExit, match=sentence):
        parse(OPTIONS, [argument])


def test_help_lists_exactly_these_flags_with_their_defaults(capsys):
    with pytest.raises(SystemExit) as done:
        parse(OPTIONS, ["--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    listed = [
        line.split(":")[0].strip() for line in text.splitlines() if "  --" in line
    ]
    expected = ["--betas", "--folder", "--kind", "--[no]loud", "--names", "--points"]
    assert listed == [*expected, "--rate"]
    assert "(default: '20')" in text


def test_no_global_flag_is_defined():
    before = set(flags.FLAGS)
    parse(OPTIONS, ["--points=7"])
    Script(STUDY).flags()
    assert set(flags.FLAGS) == before


def test_a_command_hands_its_options_on(capsys):
    Command(lambda options: print(options.points), OPTIONS)(["name", "--points=5"])
    assert capsys.readouterr().out == "5\n"


# Flags of a study


def test_a_study_has_a_flag_for_each_thing_that_can_be_chosen():
    found = names(Script(STUDY).flags())
    assert found == [
        *("dataset", "methods", "betas"),
        *(
            "epochs",
            "batch_size",
            "learning_rate",
            "schedule",
            "train_limit",
            "samples",
            "precision",
        ),
        *("kind", "seed", "data_dir", "out_dir"),
        *("runs", "tensorboard", "force_resume", "runner", "workers", "address"),
        *("cpus_per_run", "gpus_per_run", "side_by_side"),
    ]


def test_what_is_left_out_by_default_may_vary():
    study = dataclasses.replace(STUDY, vary={**STUDY.vary, "target": [None]})
    (option,) = (o for o in Script(study).flags() if o.name == "targets")
    assert parse([option], []).targets is None
    assert parse([option], ["--targets=5,.5"]).targets == [5.0, 0.5]


def test_a_script_adds_leaves_out_and_has_other_defaults():
    script = Script(
        STUDY,
        options=[Option("shown", 4, "Rates.")],
        defaults={"methods": ["vae"]},
        without=["runs", "betas"],
        datasets=["mnist", "digits"],
    )
    options = {option.name: option for option in script.flags()}
    assert options["shown"].default == 4 and options["methods"].default == ["vae"]
    assert not {"runs", "betas"} & set(options)
    assert options["dataset"].default == "mnist"
    assert "Default: 20." in options["epochs"].help
    on_digits = {option.name: option for option in Script(STUDY).flags()}["epochs"]
    assert "Default: 20, or 2 on digits." in on_digits.help


def test_flags_reach_the_configurations():
    script = Script(STUDY)
    arguments = ["--methods=vae", "--betas=4", "--runs=2", "--seed=3", "--kind=b"]
    configs = script.configs(parse(script.flags(), [*arguments, "--learning_rate=.1"]))
    assert [c["seed"] for c in configs] == [3, 4]
    for config in configs:
        assert (config["method"], config["beta"], config["kind"]) == ("vae", 4.0, "b")
        assert (config["epochs"], config["learning_rate"]) == (2, 0.1)
        assert (config["c"], config["d"]) == (1, 2)


# Runs


def record(study, config, rate):
    return {
        "schema": 2,
        "study": study.name,
        "config": config,
        "test": {"bank": {"rate": rate}},
        "measures": {},
        "data": {"description": "digits", "checksum": "c"},
        "device": "CPU",
        "versions": {"backend": "jax"},
    }


class Pretended(Study):
    """Leaves records without a training; the second run fails if it is told so."""

    def run(self, configs, out, fail=False, **where):
        out.mkdir(parents=True, exist_ok=True)
        runs = []
        for number, config in enumerate(configs):
            if number and (fail or where["tensorboard"]):
                raise RunsFailed({"second": "broken"}, 2)
            runs.append(record(self, config, float(number)))
            path = out / f"{self.run_name(config)}.json"
            path.write_text(json.dumps(runs[-1]))
        return runs


def script(**more):
    study = Pretended("pretended", None, {}, vary={"method": ["echo", "vae"]})
    columns = [Column("Method", "config.method"), Column("Rate", "test.bank.rate")]
    return Script(study, [Table(study, columns, name="table7")], **more)


def test_a_script_writes_its_tables_and_draws(tmp_path, capsys):
    drawn = []
    main = script(draw=drawn.append)
    main(["name", f"--out_dir={tmp_path}", "--seed=1"])
    assert "| vae | 1.00 |" in (tmp_path / "table7.md").read_text()
    assert "| vae | 1.00 |" in capsys.readouterr().out
    (results,) = drawn
    assert [run["config"] for run in results.runs] == results.configs
    assert (results.out, results.options.seed) == (tmp_path, 1)
    assert results.path("curves.png") == tmp_path / "digits-curves.png"


def test_models_are_drawn_from_the_first_seed_alone(tmp_path, capsys):
    drawn = []
    main = script(draw=drawn.append)
    main(["name", f"--out_dir={tmp_path}", "--seed=1", "--runs=2"])
    assert len(drawn[0].configs) == 4
    capsys.readouterr()
    assert list(drawn[0].models()) == []  # nothing was trained
    asked = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert asked == ["digits-echo-seed1", "digits-vae-seed1"]


def test_what_is_finished_is_in_the_table_whatever_failed(tmp_path):
    with pytest.raises(RunsFailed):
        script()(["name", f"--out_dir={tmp_path}", "--tensorboard"])
    text = (tmp_path / "table7.md").read_text()
    assert "| echo | 0.00 |" in text and "vae" not in text


def test_a_script_may_say_what_varies(tmp_path):
    main = script(
        options=[Option("weights", [1.0], "Weights.", [float])],
        vary=lambda options: {("method", "w"): [("vae", w) for w in options.weights]},
    )
    study = dataclasses.replace(main.study, vary={("method", "w"): []})
    main = dataclasses.replace(main, study=study)
    main(["name", f"--out_dir={tmp_path}", "--weights=3,4"])
    names = sorted(path.stem for path in tmp_path.glob("*.json"))
    assert names == ["digits-vae-w3-seed0", "digits-vae-w4-seed0"]


def test_a_configuration_that_cannot_be_is_one_sentence(tmp_path):
    def vary(options):
        raise ValueError("beta must be > 0. Received: beta=0")

    with pytest.raises(SystemExit, match="^beta must be > 0. Received: beta=0$"):
        script(vary=vary)(["name", f"--out_dir={tmp_path}"])


def test_records_of_another_study_are_not_in_the_table(tmp_path):
    study = Pretended("another", None, {})
    (tmp_path / "other.json").write_text(
        json.dumps(record(study, study.configs()[0], 7.0))
    )
    script()(["name", f"--out_dir={tmp_path}"])
    assert "7.00" not in (tmp_path / "table7.md").read_text()


def test_data_that_are_missing_are_one_sentence(tmp_path):
    study = Study("mine", print, {})
    with pytest.raises(SystemExit, match="^data_dir must be a folder that holds mnist"):
        Script(study)(
            [
                "name",
                f"--out_dir={tmp_path}",
                "--dataset=mnist",
                "--data_dir=/no/folder",
            ]
        )


def test_another_file_is_said_before_anything_is_trained(tmp_path):
    (tmp_path / "mine.json").write_text('{"a": 1}')
    with pytest.raises(SystemExit, match="^mine.json must hold a run record. Receiv"):
        script()(["name", f"--out_dir={tmp_path}"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "Interrupted. The same command goes on: finished"),
        (RunsFailed({"a": "broken"}, 2), "1 of 2 runs failed:\n  a: broken", ""),
        (training.UnwritableFolderError("no room"), "no room", ""),
    ],
)
def test_a_script_ends_with_a_sentence(error, code, line, monkeypatch, capsys):
    def main(argv):
        raise error

    monkeypatch.setattr(script_module.app, "run", lambda run, **_: run(["name"]))
    with pytest.raises(SystemExit) as ended:
        start(main)
    assert ended.value.code == code
    assert capsys.readouterr().err.startswith(line)


def test_names_that_are_no_flags_or_two_are_refused():
    with pytest.raises(
        ValueError, match="must name flags of the study. Received: beta"
    ):
        Script(STUDY, without=["beta"]).flags()
    with pytest.raises(ValueError, match="different names. Received: epochs twice"):
        Script(STUDY, options=[Option("epochs", 1)])(["name"])


def test_flags_of_the_protocol_keep_its_kinds_and_its_zero():
    study = Study("mine", None, {"hidden": [64, 32], "annealing": 0})
    flags = Script(study).flags()
    found = parse(flags, ["--hidden=8,4", "--annealing=0"])
    assert (found.hidden, found.annealing) == ([8, 4], 0)
    helps = {option.name: option.help for option in flags}
    assert helps["hidden"].endswith("Default: 64,32.")
    assert helps["out_dir"].endswith("Default: runs/mine.")
