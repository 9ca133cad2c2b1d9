"""Baselines are forecasters, on the scale and in the units of their input."""

from pathlib import Path

import numpy as np
import pytest
import torch

import foreframe
import standins


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
    with pytest.raises(ValueError, match="missing"):
        forecaster.predict(torch.full((2, 1, 8, 8), torch.nan), 1)


def test_a_refused_frame_does_not_set_the_scale_of_a_stream() -> None:
    live = foreframe.Forecaster.load("persistence").stream(steps=1)
    frame = np.linspace(0, 9, 64, dtype=np.float32).reshape(1, 8, 8)
    with pytest.raises(ValueError, match="infinite"):
        live.push(np.where(frame == 0, np.inf, frame / 100))
    live.push(frame)
    assert (live.forecaster.scaling.low, live.forecaster.scaling.high) == (0.0, 9.0)


def test_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rain.nc"
    standins.rain(file, frames=12, side=32)
    made = foreframe.predict("persistence", file, steps=3).future
    (was,) = foreframe.clips_from(file)
    assert (made.units, made.times[0] > was.times[-1]) == (was.units, True)
    np.testing.assert_allclose(made.frames[0], was.frames[-1:][0], rtol=1e-4, atol=1e-4)
    given = {"split": "all", "past": 3, "future": 2, "clips": 4, "baselines": ["persistence"]}
    card = foreframe.evaluate("dense_motion", file, **given)
    assert "dense_motion is" in card["in_words"]
    assert "persistence" in card["scores"]
    with pytest.raises(ValueError, match="name what to score on: --data"):
        foreframe.evaluate("dense_motion")
