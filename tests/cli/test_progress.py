"""Long commands say how far they are, on standard error alone."""

import time
from pathlib import Path

import numpy as np
import pytest

from foreframe import Forecaster, MovingMNIST, evaluate
from foreframe.cli import main
from foreframe.cli.progress import progress
from foreframe.models import build_model


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(Forecaster(build_model("persistence")).save("saved"))


def test_a_bar_on_a_terminal_that_goes_when_it_is_done(capsys, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    with progress("clips") as tell:
        tell(4, 4)
    out, err = capsys.readouterr()
    assert not out
    assert "clips" in err
    assert "100%" in err
    assert "\x1b[2K" in err.rpartition("100%")[2]  # the line is cleared


def test_python_is_told_and_the_screen_is_not(run: str, capsys) -> None:
    told: list[tuple[int, int]] = []
    forecaster, clips = Forecaster.load(run), MovingMNIST("test", clips=10)
    how = {"clips": 6, "batch_size": 4, "baselines": ()}
    evaluate(forecaster, clips, **how, progress=lambda *so: told.append(so))
    assert told == [(4, 6), (6, 6)]
    evaluate(forecaster, clips, **how)
    assert capsys.readouterr() == ("", "")


def test_where_no_terminal_is_nothing_is_shown(run: str, capsys) -> None:
    np.save("film.npy", np.random.default_rng(0).random((40, 8, 8)).astype(np.float32))
    rolling = ["predict", run, "film.npy", "-o", "out.npy", "--steps", "2", "--every", "10"]
    assert main(rolling) == 0
    assert capsys.readouterr().err == ""


def test_a_log_has_a_line_every_ten_seconds(capsys, monkeypatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with progress("clips") as tell:
        now += 5  # of loading
        for done in range(1, 9):
            now += 6 if done < 5 else 40
            tell(done, 8)
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines() == [
        "1 of 8 clips",
        "3 of 8 clips: about 30 seconds left",
        "5 of 8 clips: about 40 seconds left",
        "6 of 8 clips: about 40 seconds left",
        "7 of 8 clips: about 20 seconds left",
    ]
