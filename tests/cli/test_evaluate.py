"""foreframe evaluate: with and without a run, beside forecasts made elsewhere, and what it says of
differences that could be chance.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from foreframe import Forecaster, Window
from foreframe.cli import main
from foreframe.cli.evaluate import in_words
from foreframe.models import build_model


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys, *words: str) -> str:
    """What is refused in one line, before anything is written."""
    assert main(["evaluate", *words]) == 2
    out, err = capsys.readouterr()
    assert len(err.strip().splitlines()) == 1, err
    assert not list(Path().rglob("scorecard.json"))
    return err


def test_forecasts_are_scored_without_a_run(capsys) -> None:
    """The pasts are written, forecast elsewhere, and scored on the same clips."""
    mnist = ["evaluate", "--data", "moving_mnist", "--clips", "6", "--past", "4", "--future", "3"]
    assert main([*mnist, "--pasts", "pasts.npy", "-o", "first"]) == 0
    assert "the past frames of 6 clips lie in pasts.npy" in capsys.readouterr().out
    pasts = np.load("pasts.npy")
    assert pasts.shape == (6, 4, 1, 64, 64)
    np.save("still.npy", pasts[:, -1:, 0].repeat(3, axis=1))  # (N,S,H,W)
    np.save("dim.npy", pasts[:, -1:].repeat(3, axis=1) / 2)
    assert main([*mnist[:-2], "--forecasts", "[still.npy,dim.npy]"]) == 0
    out = capsys.readouterr().out
    card = json.loads(Path("evaluation-moving_mnist/scorecard.json").read_text())
    assert card["future"] == 3  # as far as they forecast
    assert list(card["scores"])[:3] == ["still", "persistence", "dim"]
    assert card["scores"]["still"] == card["scores"]["persistence"]
    assert card["comparison"]["persistence"]["tie"]
    assert card["comparison"]["persistence"]["over"] == "clips"
    assert "1.00 tie" in out
    assert "a tie with persistence (the difference could be chance)." in out
    assert "95 % intervals by a paired bootstrap of 6 clips" in out


def test_forecasts_stand_beside_a_run(capsys) -> None:
    Forecaster(build_model("mean"), Window(4, 3)).save("run")
    here = ["evaluate", "run", "--data", "moving_mnist", "--clips", "5"]
    np.save("zeros.npy", np.zeros((5, 3, 1, 64, 64), np.float32))
    assert main([*here, "--forecasts", "zeros.npy"]) == 0
    card = json.loads(Path("run/evaluation-moving_mnist/scorecard.json").read_text())
    assert list(card["scores"])[:2] == ["model", "zeros"]
    assert card["scores"]["zeros"] == card["scores"]["black"]
    assert card["reference"] == "model"


def test_what_cannot_be_scored_is_told(capsys) -> None:
    here = ["--data", "moving_mnist", "--clips", "5", "--past", "2", "--future", "3"]
    np.save("few.npy", np.zeros((4, 3, 1, 64, 64), np.float32))
    np.save("flat.npy", np.zeros((64, 64), np.float32))
    Path("junk.nc").write_text("junk")
    for words, said in (
        ([*here, "--forecasts", "few.npy"], "few holds 4 forecasts, but 5 clips are scored"),
        ([*here, "--forecasts", "flat.npy"], "flat.npy: shape (64, 64); a file of clips is"),
        ([*here, "--forecasts", "none.npy"], "there is no file none.npy"),
        ([*here, "--forecasts", "junk.nc"], "junk.nc cannot be read as NetCDF or Zarr"),
        ([*here, "--pasts", "pasts.mp4"], "pasts pasts.mp4: frames for another program"),
        ([*here, "--future", "0"], "future must be at least 1, not 0"),
        (["--clips", "5"], "name a RUN, or what to score on without one: --data"),
    ):
        assert said in told(capsys, *words)


def card(**comparison: tuple[float, float | None, bool]) -> dict:
    """ratio, the lower end of its interval, whether it is a tie."""
    rows = {
        name: {"ratio": ratio, "difference": ratio - 1, "low": low, "tie": tie, "n": 9}
        for name, (ratio, low, tie) in comparison.items()
    }
    return {
        "reference": "model",
        "comparison": {name: row | {"over": "recordings"} for name, row in rows.items()},
    }


def test_the_last_sentence() -> None:
    said = in_words(
        card(black=(4.0, 2.0, False), optical_flow=(0.8, -0.3, False), mean=(1.1, -1.0, True))
    )
    assert said == (
        "The model is better than black (MSE 75% lower); worse than optical flow (MSE 25% higher); "
        "a tie with mean (the difference could be chance)."
    )
    few = in_words(card(black=(4.0, None, True)))
    assert few == "Whether the model is better or worse cannot be told from 9 recordings."
