"""The command as a user meets it: bad input ends in one line and exit code 2, and help is short."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import foreframe
from foreframe.cli import VERBS, main
from foreframe.cli.train import parse
from foreframe.training import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)
from foreframe.training.fit import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "a run with blanks, é"
    return train(
        ModelOptions(hidden=8),
        DataOptions(batch_size=4, validation_clips=4, data_args={"clips": 8, "canvas": 40}),
        LearningOptions(epochs=1),
        MachineOptions(device="cpu", devices=1),
        RunOptions(run=str(folder), picture_every=0),
    )


@pytest.fixture
def clip(tmp_path):
    """Writes an array and gives its path."""

    def write(array, name: str = "clip.npy"):
        np.save(tmp_path / name, array)
        return str(tmp_path / name)

    return write


def said(capsys, arguments: list[str]) -> str:
    """The one line that a refusal says; anything else fails the test."""
    try:
        code = main(arguments)
    except SystemExit as stop:  # argparse leaves so
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2, (code, out, err)
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    return err


GOOD = np.zeros((10, 1, 40, 40), np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean train?"),
        (["train", "--learning_rat", "1"], "did you mean --learning_rate?"),
        (["train", "--batch_size", "many"], "batch_size"),
        (["train", "--loss", "mee"], "mse"),
        (["train", "--model", "slow"], "model 'slow' is unknown"),
        (["train", "--config", "nowhere.yaml"], "config nowhere.yaml cannot be read: No such file"),
        (["train", "--resume", "runs/nowhere"], "there is no run in runs/nowhere"),
        (["train", "--data", "nowhere.Clips"], "cannot import it"),
        (["train", "--data_args.motoin", "svg"], "did you mean motion?"),
        (["train", "--model_args.kernal", "5"], "kernal"),
        (["train", "--trainer.max_stepz", "5"], "did you mean max_steps?"),
        (["evaluate", "runs/nowhere"], "there is no folder runs/nowhere"),
        (["evaluate", "moving_mnist"], "did you mean moving-mnist? Or name a run's folder"),
        (["evaluate", "runs/nowhere", "--clips", "0"], "clips must be at least 1"),
        (["evaluate", "a", "b"], "b"),
        (
            ["predict", "runs/nowhere", "--input", "x.npy", "--output", "y.gif"],
            "there is no folder runs/nowhere",
        ),
        (["predict", "moving-mnist", "/", "--output", "y.bmp"], "cannot write .bmp"),
        (["predict", "runs/nowhere"], "missing: INPUT, --output"),
        (["predict"], "missing: RUN, INPUT, --output"),
        (["models", "quick"], "options begin with --, so there is no place for 'quick'"),
        (["train", "--model_args.core.convlstm.kernel", "4"], "kernel 4x4 is even"),
        (["train", "--model_args.core.convlstm.hiden", "[4]"], "did you mean hidden?"),
        (["train", "--reading.sice", "[8,8]"], "did you mean --reading.size?"),
        (["train", "--splits.by", "tyme"], "--splits.by is one of auto, recording, time, not"),
        (["predict", "a", "b", "--reading.sice", "8", "-o", "c"], "did you mean --reading.size?"),
        (["data", "check", "a", "--splits.gab", "8"], "did you mean --splits.gap?"),
        (["data", "check", "runs/nowhere"], "there is no file or folder runs/nowhere"),
        (["train", "--compile", "perhaps"], "--compile is true or false or one of auto"),
        (["plan", "quick", "--compile", "perhaps"], "foreframe: --compile is true or false"),
        (["completion", "tcsh"], "one of bash, zsh, fish"),
        (["data", "--output", "x.mp4"], "cannot write .mp4"),
        (["data", "--clip", "99999"], "clips 0 to 9999"),
        (["data", "--data_args.digits", "mnist"], "allow the download"),
        (["models", "--past", "0"], "at least 1"),
    ],
)
def test_bad_options(capsys, tmp_path, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in said(capsys, arguments)
    assert not list(tmp_path.iterdir())


def test_values_are_what_they_look_like(tmp_path) -> None:
    """`false` is not a string, at any depth; flags win over the file."""
    (tmp_path / "a.yaml").write_text(
        "model_args: {codec: {strided: {show_last: true}}, embedding: true}\nbatch_size: 3\n"
    )
    given = "--model_args.codec.strided.show_last false --model_args.core.convlstm.hidden [8,16] "
    given += "--data_args.motion.rule svg --data_args.fixed true"
    options = parse(
        ["--config", str(tmp_path / "a.yaml"), *given.split(), "--tensorboard", "--batch_size", "5"]
    )
    assert options[ModelOptions].model_args == {
        "codec": {"strided": {"show_last": False}},
        "embedding": True,
        "core": {"convlstm": {"hidden": [8, 16]}},
    }
    assert options[DataOptions].data_args == {"motion": {"rule": "svg"}, "fixed": True}
    assert options[DataOptions].batch_size == 5
    assert options[RunOptions].tensorboard is True


def test_a_misspelt_yaml_key(capsys, tmp_path) -> None:
    (tmp_path / "a.yaml").write_text("learning_rate: 0.1\nbacth_size: 3\n")
    assert "a.yaml: there is no option 'bacth_size'; did you mean batch_size?" in said(
        capsys, ["train", "--config", str(tmp_path / "a.yaml")]
    )
    for held in (b"learning_rate: [0.1\n", b"\x93NUMPY", b"just words\n"):
        (tmp_path / "b.yaml").write_bytes(held)
        assert "b.yaml" in said(capsys, ["train", f"--config={tmp_path / 'b.yaml'}"])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (GOOD[0, 0], "no recording"),
        (GOOD.repeat(3, axis=1), "3 channels"),
        (GOOD.astype(np.int16), "divide by 255"),
        (GOOD.astype(complex), "complex"),
        (GOOD + np.nan, "every value is missing"),
        (GOOD + np.inf, "infinite"),
        (GOOD + 2, "outside [0, 1]"),
        (GOOD[:0], "holds no frames"),
        (GOOD[None].repeat(2, axis=0), "holds 2 recordings; choose one with --recording, 0 to 1"),
    ],
)
def test_bad_clips(capsys, run, clip, tmp_path, frames, message) -> None:
    output = tmp_path / "out.npy"
    told = said(capsys, ["predict", str(run), "--input", clip(frames), "--output", str(output)])
    assert message in told
    assert "clip.npy" in told
    assert not output.exists()


def test_negative_steps_and_unwritable_output(capsys, run, clip, tmp_path) -> None:
    good = clip(GOOD)
    assert "at least 0" in said(
        capsys, ["predict", str(run), "--input", good, "--output", "x.gif", "--steps", "-1"]
    )
    assert "cannot make" in said(
        capsys, ["predict", str(run), "--input", good, "--output", f"{good}/x.gif"]
    )


def test_a_device_that_is_not_there(capsys, run, clip) -> None:
    given = ["predict", str(run), "--input", clip(GOOD), "--output", "x.gif", "--device"]
    assert "choose cpu, cuda, mps or auto" in said(capsys, [*given, "toaster"])


def test_a_truncated_checkpoint(capsys, run, clip, tmp_path) -> None:
    whole = (run / "checkpoints" / "best.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    assert "cut short" in said(capsys, ["evaluate", str(tmp_path / "cut.ckpt")])
    broken = tmp_path / "broken"
    (broken / "checkpoints").mkdir(parents=True)
    (broken / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    (broken / "checkpoints" / "last.ckpt").write_bytes(whole[:1000])
    assert "cut short" in said(capsys, ["train", "--resume", str(broken)])


@pytest.mark.parametrize(
    ("ending", "frames"), [(".npy", 25), (".npz", 25), (".gif", 35), (".png", None)]
)
def test_forecasts_beyond_the_trained_horizon(run, clip, tmp_path, ending, frames) -> None:
    rng = np.random.default_rng(0)
    # (T,H,W) will do.
    moving = np.stack([rng.random((40, 40)).astype(np.float32) for _ in range(10)])
    output = tmp_path / "new folder" / f"out{ending}"
    assert (
        main(
            ["predict", str(run), "--input", clip(moving), "--steps", "25", "--output", str(output)]
        )
        == 0
    )
    if ending == ".npy":
        assert np.load(output).shape == (25, 1, 40, 40)
    elif ending == ".npz":
        assert np.load(output)["frames"].shape == (25, 1, 40, 40)
    elif ending == ".gif":
        with Image.open(output) as shown:
            assert shown.n_frames == frames
    else:
        Image.open(output).verify()


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
        "comparison.mp4",
    }


def test_models_lists_every_preset_with_its_size(capsys) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    for number in ("1,036,097", "7,585,296", "142,667,776", "11,675,648"):
        assert number in out
    assert "56.79 G" in out  # OpenSTL reports 56.8 G multiply-adds for its ConvLSTM-S


def test_help_is_short() -> None:
    """That it is quick, too, shows in what it loads: tests/test_floorplan.py."""
    for verb in VERBS:
        shown = subprocess.run(
            [sys.executable, "-m", "foreframe", verb, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"COLUMNS": "118"},
        )
        lines = shown.stdout.splitlines()
        assert 5 <= len(lines) <= 99
        assert max(map(len, lines)) <= 120


def test_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert foreframe.__version__ in capsys.readouterr().out
