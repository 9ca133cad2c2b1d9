"""The example that hands members to pysteps, where that is installed."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import standins

EXAMPLE = Path(__file__).parents[3] / "examples" / "pysteps" / "blend.py"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of pysteps, inside itself
def test_members_and_a_weather_model_are_blended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pysteps")
    monkeypatch.chdir(tmp_path)
    standins.rain(Path("all.nc"), frames=16)
    with xr.open_dataset("all.nc") as recorded:
        recorded.isel(time=slice(0, 12)).to_netcdf("rain.nc")
        recorded.isel(time=slice(11, 16)).to_netcdf("weather.nc")
        truth = recorded["rain"].to_numpy()
    blend = runpy.run_path(str(EXAMPLE))["main"]
    blend("rain.nc", "weather.nc", "future.npy", members=2, steps=3, seed=0)
    future = np.load("future.npy")
    assert future.shape == (2, 3, 128, 128)
    assert np.isfinite(future).all()
    assert (future >= 0).all()
    assert not np.array_equal(future[0], future[1])
    errors = [np.nanmean((each - truth[12:15]) ** 2) for each in (future.mean(axis=0), 0)]
    assert errors[0] < 0.5 * errors[1]
