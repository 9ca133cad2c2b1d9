"""The command as a user meets it: a run, clips that do not fit it, its report, and help."""

import numpy as np
import pytest

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


def test_a_truncated_checkpoint(capsys, run, clip, tmp_path) -> None:
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


@pytest.mark.slow
def test_models_lists_every_preset_with_its_size(capsys) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    for number in ("1,036,097", "7,585,296", "142,667,776", "11,675,648"):
        assert number in out
    assert "56.79 G" in out  # OpenSTL reports 56.8 G multiply-adds for its ConvLSTM-S


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_short(verb: str, monkeypatch, capsys) -> None:
    """That it is quick, too, shows in what it loads: tests/test_floorplan.py."""
    monkeypatch.setenv("COLUMNS", "118")
    assert main([verb, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 5 <= len(lines) <= 99
    assert max(map(len, lines)) <= 120


def test_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert foreframe.__version__ in capsys.readouterr().out
