"""Bad flags and configs end in exit code 2 and one line that names what is wrong."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from foreframe.cli import main
from foreframe.cli.train import parse
from foreframe.clips.data_options import ReadOptions, SplitOptions
from foreframe.training import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(str(stop.code))
    said = capsys.readouterr().err
    assert code == 2, said
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--learning_rate", "nan"], "learning_rate is a finite number, not"),
        (["--learning_rate", ".inf"], "learning_rate is a finite number, not inf"),
        (["--learning_rate", "1e400"], "learning_rate is a finite number"),
        (["--learning_rate", "-1"], "learning_rate must be above 0"),
        (["--minutes", ".nan"], "minutes"),
        (["--epochs", "1e3"], "epochs"),
        (["--epochs", "null"], "--epochs is a whole number, not None"),
        (["--epochs", "99999999999999999999"], "epochs"),
        (["--batch_size", "2.5"], "batch_size"),
        (["--hidden", "1e9"], "--hidden is a whole number, not 1000000000.0"),
        (["--hidden", "100000"], "more than the budget of 1 GiB"),
        (["--model_args.core.convlstm.hidden", "null"], "core convlstm.hidden is a list"),
        (["--model_args.hidden", "[8]"], "model quick takes no argument 'hidden'"),
        (["--model_args.x.y.z", "3"], "takes no argument 'x'"),
        (["--data_args.x.y.z", "3"], "takes no argument 'x'"),
        (["--data_args", "5"], "--data_args is names and values, not 5"),
        (["--data_args.clips"], "--data_args.clips: expected one argument"),
        (["--data_args.motion", "[" * 3000], "more than 32 levels"),
        (["--learning_rate", "[" * 3000], "more than 32 levels"),
        (["--data", ""], "data is empty"),
        (["--data_args.clips", "1000000000000"], "at most"),
        (["--data_args.canvas", "1000000"], "of memory; draw shorter or smaller ones"),
        (["--future", "1000000000"], "of memory; draw shorter or smaller ones"),
        (["--workers", "1000000"], "256 at most"),
        (["--port", "99999"], "port must be 0 (any free one) to 65535"),
        (["--devices", "-1"], "devices must be at least 1"),
        (["--devices", "[0,0]"], "devices"),
        (["--device", "abacus"], "accelerator"),
        (["--precision", "foo"], "precision"),
        (["--trainer.model_registry", "x"], "model_registry"),
        (["--trainer.strategy", "{class_path: os.system}"], "Trainer refuses these settings"),
        (["--save_every", "-1"], "save_every must be at least 0"),
        (["--run", "a\0b"], "run is empty, or holds what no name can"),
    ],
    ids=lambda value: " ".join(word[:30] for word in value) if isinstance(value, list) else "",
)
def test_bad_flags_of_train(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few = [
        *("--data_args.clips", "8", "--validation_clips", "2", "--batch_size", "2"),
        *("--device", "cpu", "--devices", "1"),
    ]
    assert said in refused(["train", *few, "--run", str(tmp_path / "run"), *flags], capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models", "--past", "1000000000"], "1000 at most"),
        (["models", "--size", "[1000000000,64]"], "65536"),
        (["models", "--past", "null"], "--past is a whole number, not None"),
        (["evaluate", "moving-mnist", "--thresholds", "[nan]"], "thresholds"),
        (
            ["evaluate", "moving-mnist", "--clips", "2", "--batch_size", "1000000"],
            "batch_size must be 1 to 4096",
        ),
        (["evaluate", "moving-mnist", "--clips", "2", "--period", "1000000"], "10,000 at most"),
        (["data", "--future", "1000000000"], "of memory"),
        (
            ["predict", "moving-mnist", "clip.npy", "-o", "out.npy", "--steps", "1000000000"],
            "budget of 4 GiB; forecast fewer steps",
        ),
        (["predict", "moving-mnist", "clip.npy", "-o", "out.npy", "--fps", "nan"], "fps"),
        (
            ["predict", "moving-mnist", "clip.npy", "-o", "out.npy", "--budget", "-1"],
            "budget must be at least 0",
        ),
        (
            ["stream", "moving-mnist", "clip.npy", "--steps", "1000000000"],
            "budget of 4 GiB; forecast fewer steps",
        ),
        (["stream", "moving-mnist", "clip.npy", "--wait", "nan"], "wait"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_flags_of_other_verbs(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("clip.npy", np.zeros((3, 1, 64, 64), np.float32) + 0.5)
    assert said in refused(arguments, capsys)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("batch_size: null", "batch_size is a whole number, not None"),
        ("budget: null", "budget is a finite number, not None"),
        ("budget: [1]", "budget"),
        ("learning_rate: .nan", "learning_rate is a finite number, not nan"),
        ("learning_rate: 2020-01-01", "learning_rate is a finite number, not"),
        ("model: [quick]", "c.yaml: model is a word, not ['quick']"),
        ("model_args: {core: {convlstm: {hidden: .inf}}}", "core convlstm.hidden is a list"),
        ("data_args: [1]", "data_args is names and values, not [1]"),
        ("batch_size: 3\nbatch_size: 4", "line 2: batch_size stands there twice"),
        ("hidden: [[[[", "not YAML"),
        ("#" * 300_000, "larger than 256 KiB"),
        ("minutes: 1\n\tx", "not YAML"),
        ("", "holds no options"),
    ],
    ids=lambda value: value[:30],
)
def test_bad_configs(
    config: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(config)
    told = refused(
        ["train", "--config", str(tmp_path / "c.yaml"), "--run", str(tmp_path / "run")], capsys
    )
    assert said in told
    assert not (tmp_path / "run").exists()


def test_flags_win_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "batch_size: 3\npast: 4\nmodel_args: {draw: {kernel: 5, over: all}}"
    )
    (tmp_path / "two.yaml").write_text("batch_size: 4\nlearning_rate: 1e-3")
    configs = ["--config", str(tmp_path / "one.yaml"), f"--config={tmp_path / 'two.yaml'}"]
    options = parse(
        [
            "--past",
            "7",
            *configs,
            "--model_args.draw.kernel",
            "3",
            "--model_args={draw: {over: last}}",
        ]
    )
    assert (options[DataOptions].batch_size, options[DataOptions].past) == (4, 7)
    assert options[LearningOptions].learning_rate == 1e-3
    assert options[ModelOptions].model_args == {"draw": {"over": "last"}}
    options = parse([*configs, "--model_args.draw.kernel", "3"])
    # Its neighbour stays.
    assert options[ModelOptions].model_args == {"draw": {"kernel": 3, "over": "all"}}


def test_ranges_hold_in_python_too() -> None:
    for kind, bad in (
        (ModelOptions, {"hidden": 0}),
        (DataOptions, {"past": 0}),
        (LearningOptions, {"beta_1": 1.0}),
        (LearningOptions, {"learning_rate": float("nan")}),
        (MachineOptions, {"devices": 0}),
        (RunOptions, {"port": -1}),
    ):
        with pytest.raises(ValueError, match=next(iter(bad))):
            kind(**bad)


def values(arguments: list[str]) -> dict:
    """What a verb's function would be called with."""
    verb, *rest = arguments
    return import_module(f"foreframe.cli.{verb}").parser().values(rest)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("predict a b -o c --reading.strict", "predict a b -o c --reading.strict true"),
        ("predict a --input b --output c", "predict a b -o c"),
        ("predict --steps 3 a -o c b", "predict a b -o c --steps=3"),
        ("predict a b -o c --reading {every: 2}", "predict a b -o c --reading.every 2"),
        ("stream a -", "stream --input - a"),
    ],
)
def test_an_option_is_written_in_several_ways(one: str, other: str) -> None:
    split = r"(?<!:) "  # {every: 2} is one word
    assert values(re.split(split, one)) == values(re.split(split, other))


def test_options_of_recordings_are_fields_in_flags_and_configs(tmp_path: Path) -> None:
    film = ["--data", "film.mp4"]
    flags = ["--reading.size", "[8,9]", "--splits.by", "time", "--scaling.kind", "log"]
    (tmp_path / "c.yaml").write_text(
        "reading: {size: [8, 9]}\nsplits: {by: time}\nscaling: {kind: log}\n"
    )
    config = ["--config", str(tmp_path / "c.yaml")]
    for words in (flags, config):
        data = parse([*film, *words])[DataOptions]
        assert (data.reading, data.splits) == (ReadOptions(size=[8, 9]), SplitOptions(by="time"))
        assert (data.scaling, data.data_args) == ({"kind": "log"}, {})
    changed = parse([*film, *config, "--reading.size", "[4,4]", "--splits.tile", "8"])[DataOptions]
    assert changed.reading == ReadOptions(size=[4, 4])
    assert changed.splits == SplitOptions(by="time", tile=8)


def test_recordings_take_no_arguments(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("film.npy", np.zeros((40, 8, 8), np.uint8))
    said = refused(["train", "--data", "film.npy", "--data_args.size", "[8,9]"], capsys)
    assert "takes no argument 'size': options of recordings are those of --reading" in said


def test_generated_clips_take_no_options_of_recordings(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("train", "data", "evaluate --data moving_mnist"):
        assert main([*verb.split(), "--reading.size", "[8,8]"]) == 2
        said = capsys.readouterr().err
        assert "moving_mnist holds clips, not recordings: --reading.size does nothing" in said


def test_words_that_look_like_other_values_stay_words() -> None:
    given = values(["predict", "2020", "1e3", "-o", "true", "--reading.variable", "17"])
    assert given == {
        "run": "2020",
        "input": "1e3",
        "output": "true",
        "reading": {"variable": "17"},
    }


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("reading: {sice: [8, 8]}", "reading takes no argument 'sice'; did you mean size?"),
        ("splits: {by: tyme}", "splits.by is one of auto, recording, time, not 'tyme'"),
        ("reading: {size: 8}", "reading.size is a list"),
        ("reading: [1]", "reading is names and values"),
        ("reading: {size: [8, 8]}\ndata_args: [1]", "data_args is names and values, not [1]"),
        ("splits: {gap: -1}", "splits: gap must be at least 0, not -1"),
    ],
)
def test_bad_options_of_recordings_in_configs(
    config: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(config)
    assert f"c.yaml: {said}" in refused(["train", "--config", str(tmp_path / "c.yaml")], capsys)


def test_the_help_of_a_model_lists_its_own_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model", "nowcast", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())  # lines are as long as the terminal is wide
    for line in (
        "--model_args.core.convlstm.forget_bias",
        "constant added to f before its sigmoid. [1.0]",
        "--model_args.output.blend.blurs",
        "[none]",
    ):
        assert line in said
    assert "--learning_rate" not in said
    assert main(["train", "--data", "moving_mnist", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--data_args.motion.redraw" in said
    assert "--reading.size" not in said


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "foreframe VERB --help" in capsys.readouterr().out


def test_a_device_has_one_name_in_every_verb(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("device: cpu")
    config = ["--config", str(tmp_path / "config.yaml")]
    for words in (["--device", "cpu"], config):
        assert parse(words)[MachineOptions].device == "cpu"
    assert parse([*config, "--device", "cuda"])[MachineOptions].device == "cuda"
    for verb in ("predict a b -o c", "stream a b", "evaluate a"):
        assert values([*verb.split(" "), "--device", "cpu"])["device"] == "cpu"


def test_an_option_of_a_group_is_found_by_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--size", "[4,4]"]) == 2
    assert "did you mean --reading.size?" in capsys.readouterr().err
