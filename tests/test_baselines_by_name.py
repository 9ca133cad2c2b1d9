"""Baselines are forecasters, on the scale and in the units of what they are given."""

from pathlib import Path

import numpy as np
import pytest
import torch

import foreframe
import standins
from foreframe.base.shipped import FREE
from foreframe.cli import main
from foreframe.models import BASELINES


def test_each_has_a_name() -> None:
    assert tuple(BASELINES) == FREE
    for name in FREE:
        if name != "optical_flow":  # which OpenCV may be missing for
            future = foreframe.Forecaster.load(name).predict(np.ones((3, 1, 8, 8)), steps=2)
            assert future.shape == (2, 1, 8, 8)


def test_values_keep_their_units() -> None:
    rng = np.random.default_rng(0)
    past = rng.normal(280, 5, (4, 1, 16, 16)).astype(np.float32)
    forecaster = foreframe.Forecaster.load("persistence")
    np.testing.assert_allclose(forecaster.predict(past, 2)[1], past[-1], rtol=1e-6)
    pictures = rng.integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)
    np.testing.assert_allclose(forecaster.predict(pictures, 1)[0], pictures[-1], atol=1e-4)
    assert (forecaster.predict(np.full((4, 1, 8, 8), 7.0), 1) == 7).all()
    live = forecaster.stream(steps=1)
    for frame in past:
        np.testing.assert_allclose(live.push(frame)[0], frame, rtol=1e-5)
    with pytest.raises(ValueError, match=r"budget of 0\.001 GiB"):
        forecaster.predict(np.ones((2, 1, 400, 400)), 4, budget=1e-3)
    with pytest.raises(ValueError, match="missing"):
        forecaster.predict(torch.full((2, 1, 8, 8), torch.nan), 1)


def test_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    standins.rain(Path("rain.nc"), frames=60)
    assert main(["predict", "persistence", "rain.nc", "--steps", "3", "-o", "still.nc"]) == 0
    made, was = foreframe.clips_from("still.nc")[0], foreframe.clips_from("rain.nc")[0]
    assert (made.units, made.times[0] > was.times[-1]) == (was.units, True)
    np.testing.assert_allclose(made.frames[:][0], was.frames[-1:][0], rtol=1e-4, atol=1e-4)
    arguments = "evaluate dense_motion --data rain.nc --split all --past 3 --future 2 --clips 4"
    assert main([*arguments.split(), "--output", "scored"]) == 0
    shown = capsys.readouterr().out
    assert "dense_motion is" in shown
    assert "persistence" in shown
    assert main(["evaluate", "dense_motion"]) == 2
    assert "name what to score on: --data" in capsys.readouterr().err
