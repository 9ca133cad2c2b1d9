"""Long commands say how far they are, on standard error alone."""

import re
import time
from pathlib import Path

import numpy as np
import pytest

from foreframe import Forecaster, MovingMNIST, evaluate
from foreframe.base.notes import listening
from foreframe.base.progress import progress
from foreframe.cli import main
from foreframe.models import build_model


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(Forecaster(build_model("persistence")).save("saved"))


def test_a_bar_on_a_terminal_that_goes_when_it_is_done(capsys, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    with listening(python=False), progress("clips") as tell:
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
    assert told == [(0, 6), (4, 6), (6, 6)]
    evaluate(forecaster, clips, **how)
    assert capsys.readouterr() == ("", "")


def test_where_no_terminal_is_nothing_is_shown(run: str, capsys) -> None:
    np.save("film.npy", np.random.default_rng(0).random((40, 8, 8)).astype(np.float32))
    rolling = ["predict", run, "film.npy", "-o", "out.npy", "--steps", "2", "--every", "10"]
    assert main(rolling) == 0
    assert capsys.readouterr().err == ""


def test_a_log_has_lines_even_if_a_step_is_long(capsys, monkeypatch) -> None:
    monkeypatch.setattr("foreframe.base.progress.EVERY", 0.2)
    monkeypatch.setattr("foreframe.base.progress.FIRST", 0.1)
    with listening(python=False), progress("clips") as tell:
        time.sleep(0.3)  # loading
        tell(0, 100)
        time.sleep(0.5)
        tell(50, 100)
        time.sleep(0.5)
    out, err = capsys.readouterr()
    assert not out
    lines = re.sub(r"\d+ seconds", "n seconds", err).splitlines()
    assert list(dict.fromkeys(lines)) == [
        "working on clips for n seconds",
        "0 of 100 clips after n seconds",
        "50 of 100 clips: about n seconds left",
    ]
    assert len(lines) >= 5
