"""The command as a user meets it: a run, clips that do not fit it, its report, and help."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import foreframe
from foreframe.cli import VERBS, main
from foreframe.models import BASELINES, PRESETS

TRAIN = (
    "train --model quick --hidden 8 --batch_size 4 --validation_clips 4 --data_args.clips 8 "
    "--data_args.canvas 40 --epochs 1 --device cpu --devices 1 --picture_every 0"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "a run with blanks, é"
    assert main([*TRAIN.split(), "--run", str(folder)]) == 0
    return folder


def said(capsys, arguments: list[str]) -> str:
    """The one line that a refusal says; anything else fails the test."""
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    return err


GOOD = np.zeros((10, 1, 40, 40), np.float32)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (GOOD[0, 0], "no recording"),
        (GOOD.repeat(3, axis=1), "3 channels"),
        (GOOD.astype(complex), "complex"),
        (GOOD + np.inf, "infinite"),
        (GOOD[:0], "is no recording"),
        (GOOD[None].repeat(2, axis=0), "holds 2 recordings; choose one with --recording, 0 to 1"),
    ],
)
def test_bad_clips(capsys, run, tmp_path, monkeypatch, frames, message) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("clip.npy", frames)
    told = said(capsys, ["predict", str(run), "clip.npy", "--output", "out.npy"])
    assert message in told
    assert not Path("out.npy").exists()


def test_a_truncated_checkpoint(capsys, run, tmp_path) -> None:
    whole = (run / "checkpoints" / "best.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    assert "cut short" in said(capsys, ["evaluate", str(tmp_path / "cut.ckpt")])
    broken = tmp_path / "broken"
    (broken / "checkpoints").mkdir(parents=True)
    (broken / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    (broken / "checkpoints" / "last.ckpt").write_bytes(whole[:1000])
    assert "cut short" in said(capsys, ["train", "--resume", str(broken)])


def test_evaluate_writes_a_report_and_names_conventions(run, capsys) -> None:
    assert main(["evaluate", str(run), "--clips", "6"]) == 0
    out = capsys.readouterr().out
    for word in (
        "openstl",
        "standard",
        "persistence",
        "linear_motion",
        "last frame repeated",
        "+10",
        "6 clips of moving_mnist (test)",
    ):
        assert word in out
    assert "the best baseline (" in " ".join(out.split())
    assert {path.name for path in (run / "evaluation").iterdir()} == {
        "scorecard.json",
        "curves.png",
        "strip.png",
        "forecast.gif",
    }


def test_models_lists_every_preset_with_its_size(capsys) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in out.split("\n\n")[1].splitlines()}
    assert rows.keys() >= {*PRESETS, "at_once"}
    # OpenSTL reports 56.8 G multiply-adds for its ConvLSTM-S
    assert rows["openstl"][1:] == ["next_frame", "of", "convlstm", "11,675,648", "56.79", "G"]
    assert f"Without training: {', '.join(BASELINES)}, lagged\n" in out


def flags(text: str) -> list[str]:
    return re.findall(r"^  (--?[a-z_.0-9-]+)", text, re.MULTILINE)


@pytest.mark.parametrize("verb", [*([verb] for verb in VERBS), ["data", "check"]], ids=" ".join)
def test_help_shows_the_options_that_people_use_and_help_all_every_one(
    verb: list[str], monkeypatch, capsys
) -> None:
    """That it is quick, too, shows in what it loads: tests/test_floorplan.py."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*verb, "--help"]) == 0
    short = capsys.readouterr().out
    *lines, last = short.splitlines()
    assert 5 <= len(lines) < 60
    assert 1 <= len(flags(short)) <= 30
    assert last == f"foreframe {' '.join(verb)} --help-all lists every option"
    assert main([*verb, "--help-all"]) == 0
    every = capsys.readouterr().out
    assert {*flags(short), "--help-all"} <= set(flags(every))
    named = import_module(f"foreframe.cli.{verb[0]}")
    parser = named.check_parser() if verb[1:] else named.parser()
    assert set(parser.common) <= set(parser.options)
    shown = {f"--{name}" for name, option in parser.options.items() if not option.positional}
    assert shown <= set(flags(every))


def test_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert foreframe.__version__ in capsys.readouterr().out
