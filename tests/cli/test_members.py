"""Members on the command line: forecasts and scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import foreframe
import foreframe.forecasting.outputs
from foreframe import Forecaster, Window
from foreframe.cli import main
from foreframe.clips.scaling import Scaling
from foreframe.models import build_model
from recorded import series

RAIN = np.linspace(0, 8, 6 * 12 * 16, dtype=np.float32).reshape(6, 1, 12, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A saved forecaster that draws, and some rain."""
    folder = tmp_path_factory.mktemp("members")
    torch.manual_seed(0)
    drawing = {"of": {"quick": {"core": {"convlstm": {"hidden": [4]}}}}}
    scaling = Scaling(0.0, 10.0, "mm/h", "range")
    Forecaster(build_model("dressed", drawing), Window(4, 3), scaling).save(folder / "drawing")
    series(folder / "rain.nc", RAIN)
    return folder


def predict(folder: Path, output: str, *more: str) -> str:
    path = str(folder / output)
    rain = str(folder / "rain.nc")
    assert main(["predict", str(folder / "drawing"), rain, "-o", path, *more]) == 0
    return path


def test_members_are_realizations(folder: Path) -> None:
    rain = xr.open_dataset(predict(folder, "members.nc", "--members", "4", "--seed", "3"))
    assert rain["rain"].dims[:2] == ("realization", "time")
    assert rain["rain"].shape == (4, 3, 12, 16)
    assert rain["realization"].attrs["standard_name"] == "realization"
    assert "4 members of seed 3" in rain.attrs["history"]
    forecaster = Forecaster.load(folder / "drawing")
    made = forecaster.predict(RAIN[2:], 3, members=4, seed=3)
    np.testing.assert_allclose(rain["rain"].values, made[:, :, 0], atol=1e-4)
    again = np.load(predict(folder, "members.npz", "--members", "4", "--seed", "3"))["frames"]
    np.testing.assert_array_equal(again, made)


def test_the_mean_of_streamed_members_is_scored(folder: Path) -> None:
    live = foreframe.stream(folder / "drawing", str(folder / "rain.nc"), members=3, steps=2)
    frames = list(live)
    made = frames[4].forecast
    assert made.shape == (3, 2, 1, 12, 16)
    wanted = np.sqrt(np.square(made.mean(axis=0)[0] - RAIN[5]).mean())
    assert frames[5].errors[1] == pytest.approx(wanted, rel=1e-4)


def test_an_ensemble_of_clips(folder: Path) -> None:
    forecaster = Forecaster.load(folder / "drawing")
    clip = forecaster.open(str(folder / "rain.nc"))
    made = forecaster.predict(clip, 3, members=4)
    assert len(made) == 4
    np.testing.assert_allclose(np.asarray(made.mean().frames), made.frames.mean(axis=0), rtol=1e-5)
    spread = made.frames.std(axis=0, ddof=1)
    np.testing.assert_allclose(np.asarray(made.spread().frames), spread, rtol=1e-4)
    assert (np.asarray(made[:1].spread().frames) == 0).all()
    assert made[1].start == clip.times[-1]
    np.testing.assert_array_equal(made[0].times, made.mean().times)
