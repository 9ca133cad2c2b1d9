"""Long commands say how far they are, on standard error alone."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foreframe import Forecaster, MovingMNIST, evaluate
from foreframe.cli import main
from foreframe.models import build_model


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(Forecaster(build_model("persistence")).save("saved"))


@pytest.mark.slow
def test_a_bar_on_a_terminal_that_goes_when_it_is_done() -> None:
    ours, theirs = pty.openpty()
    code = """
import sys, time
from foreframe.cli.progress import progress
with progress("clips") as tell:
    for done in range(1, 5):
        tell(done, 4)
        time.sleep(0.15)
print("a result")
"""
    where = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, env=where, check=True
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:
            break
    os.close(ours)
    assert done.stdout == b"a result\n"
    text = shown.decode()
    assert "4/4" in text.replace("\x1b[32m", "").replace("\x1b[0m", "")
    assert "clips" in text
    assert "left" in text
    assert "\x1b[2K" in text.rpartition("left")[2]  # the line is cleared


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
