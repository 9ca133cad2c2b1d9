"""The nowcasts of pysteps: what is handed to them and comes back, beside calls of its own."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

import foreframe
import standins
from foreframe.addons.radar.nowcasts import filled
from foreframe.base.extras import registered
from foreframe.base.notes import listening
from foreframe.clips.clip import Coordinate


@pytest.fixture(scope="module")
def rain() -> np.ndarray:
    """(10,96,96) mm/h: showers that drift by three pixels a frame."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    places = rng.uniform(0, 90, (12, 2))
    frames = [
        np.sum([8 * np.exp(-((y - r) ** 2 + (x - c - 3 * t) ** 2) / 40) for r, c in places], axis=0)
        for t in range(10)
    ]
    frames = np.stack(frames).astype(np.float32)
    return np.where(frames < 0.1, 0, frames)


@pytest.fixture
def pysteps():
    with redirect_stdout(io.StringIO()):
        return pytest.importorskip("pysteps", reason="needs pysteps")


def test_steps_has_the_grid_of_the_data() -> None:
    """Also beside others in a scorecard; a note says where data do not tell."""
    times = np.datetime64("2026-07-01", "ns") + np.arange(4) * np.timedelta64(10, "m")
    rows = Coordinate(("row",), np.arange(8) * 500.0, {"units": "m"})
    frames = np.ones((4, 1, 8, 8), np.float32)
    clip = foreframe.Clip(frames, times, "mm/h", {"y": rows})
    steps = foreframe.Forecaster.load("pysteps/steps").fitted(clip).model
    assert (steps.spacing, steps.interval) == (0.5, 10)
    notes: list[str] = []
    with listening(notes.append):
        plain = foreframe.Forecaster.load("pysteps/steps").fitted(foreframe.Clip(frames)).model
    assert (plain.spacing, plain.interval) == (2, 5)
    assert notes == [
        "pysteps/steps assumes 2 km from row to row, 5 min between frames: the data do not say both"
    ]


def test_the_extrapolation_is_pysteps_own(pysteps, rain: np.ndarray, capsys) -> None:
    from pysteps import motion
    from pysteps.nowcasts import extrapolation
    from pysteps.utils.transformation import dB_transform

    forecast = foreframe.Forecaster.load("pysteps/extrapolation").predict(rain, 4)
    assert not capsys.readouterr().out
    with redirect_stdout(io.StringIO()):
        dB, _ = dB_transform(rain[-3:], threshold=0.1, zerovalue=-15.0)
        own = extrapolation.forecast(rain[-1], motion.get_method("lucaskanade")(dB), 4)
    seen = np.isfinite(own)
    assert seen.mean() > 0.9
    np.testing.assert_allclose(forecast[:, 0][seen], own[seen], atol=1e-3)
    assert np.isfinite(forecast).all()


@pytest.mark.parametrize("name", [name for name in registered("nowcasts") if "pysteps" in name])
def test_each_forecasts_showers_that_drift(pysteps, rain: np.ndarray, name: str) -> None:
    past, truth = rain[:6], rain[6:8]
    forecast = foreframe.Forecaster.load(name).predict(past, 2)[:, 0]
    still = np.square(past[-1] - truth).mean()
    assert np.square(forecast - truth).mean() < 0.6 * still
    assert forecast.min() >= 0


def test_members_are_drawn_by_their_keys(pysteps, rain: np.ndarray) -> None:
    steps = foreframe.Forecaster.load("pysteps/steps")
    members = steps.predict(rain, 2, members=2, seed=1)
    assert members.shape == (2, 2, 1, 96, 96)
    assert np.abs(members[0] - members[1]).max() > 0.5
    np.testing.assert_array_equal(steps.predict(rain, 2, members=1, seed=1)[0], members[0])


def test_dry_frames_and_single_ones_stay(pysteps, rain: np.ndarray) -> None:
    sprog = foreframe.Forecaster.load("pysteps/sprog")
    np.testing.assert_allclose(sprog.predict(rain[:1], 2)[1, 0], rain[0], atol=1e-4)
    dry = np.concatenate([rain[:3], 0 * rain[:1]])
    assert not sprog.predict(dry, 2).any()


def test_what_it_cannot_forecast_is_told_in_a_line(pysteps, rain: np.ndarray) -> None:
    sprog = foreframe.Forecaster.load("pysteps/sprog")
    with pytest.raises(ValueError, match="pysteps cannot forecast this"):
        sprog.predict(rain[:, :3, :3] + 1, 2)
    with pytest.raises(ValueError, match="rain in mm/h, not of K"):
        sprog.predict(foreframe.Clip(rain[:, None], units="K"), 2)
    with pytest.raises(ValueError, match="no more"):
        next(frame for k, frame in enumerate(sprog.rollout(rain, steps=2)) if k == 2)


def test_it_is_scored_beside_others(pysteps, tmp_path: Path) -> None:
    standins.rain(file := tmp_path / "rain.nc", frames=16, side=64)
    given = {"split": "all", "past": 4, "future": 2, "clips": 2, "baselines": ["pysteps/sprog"]}
    card = foreframe.evaluate("faded_motion", file, **given)
    assert card["baselines"] == ["pysteps/sprog"]
    assert card["scores"]["pysteps/sprog"]["physical"]["rmse"]["overall"] > 0


def test_without_pysteps_a_line_says_how_to_have_it(monkeypatch, rain: np.ndarray) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pysteps", None)
    with pytest.raises(ValueError, match=r"pip install 'foreframe\[pysteps\]'"):
        foreframe.Forecaster.load("pysteps/sprog").predict(rain, 2)


def test_the_nearest_value_in_place_of_none() -> None:
    frames = np.full((2, 4, 5), np.nan, np.float32)
    frames[0, 1:3, 1:3] = [[1, 2], [3, 4]]
    last = np.full((4, 5), 7, np.float32)
    done = filled(frames, last)
    assert done[0, 0].tolist() == [1, 1, 2, 2, 2]
    assert (done[1] == 7).all()
