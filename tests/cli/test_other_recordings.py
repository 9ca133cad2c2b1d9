"""Recordings that are not the run's own: read alike, scored beside, and doubted where they look
unlike.
"""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import standins
from foreframe import Forecaster, Scaling, Window
from foreframe.cli import main
from foreframe.data import ReadOptions
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model
from refusals import refused


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREFRAME_CACHE", str(tmp_path / "cache"))


def test_another_film_is_read_as_the_runs_own_and_scored_beside_it() -> None:
    standins.film(Path("other.mp4"), 60, 32, 40)
    how = ReadOptions(colour="grey", size=[16, 16])
    trained = Trained("mine.mp4", reading=how, frame=(16, 16), preset="persistence", seed=0)
    model = build_model("persistence")
    Forecaster(model, Window(2, 2), Scaling(0, 255), trained).save("run")
    Path("run/evaluation").mkdir()
    words = ["--data", "other.mp4", "--clips", "2", "--baselines", "[]"]
    assert main(["evaluate", "run", *words]) == 0
    assert Path("run/evaluation-other/scorecard.json").is_file()
    assert not any(Path("run/evaluation").iterdir())  # the run's own scores stay


def temperature(path: str, values: np.ndarray, units: str) -> None:
    times = np.datetime64("2019-03-01T00", "ns") + np.arange(len(values)) * np.timedelta64(1, "h")
    attributes = {"long_name": "2 metre temperature"} | ({"units": units} if units else {})
    field = xr.DataArray(values, {"time": times}, ("time", "y", "x"), "t2m", attributes)
    field.to_dataset().to_netcdf(path)


@pytest.mark.parametrize("units", ["", "K"])
def test_a_grid_of_other_numbers_is_forecast_with_a_note(units, capsys) -> None:
    Forecaster(build_model("persistence"), Window(2, 2), Scaling(260, 290, "K", "minmax")).save(
        "run"
    )
    temperature("celsius.nc", np.linspace(-5, 5, 6 * 64).reshape(6, 8, 8).astype("f4"), units)
    assert main(["predict", "run", "celsius.nc", "-o", "future.nc"]) == 0
    said = capsys.readouterr().err
    assert "all outside 260 to 290 K, which the model was trained on" in said
    temperature("kelvin.nc", np.full((6, 8, 8), 270, "f4"), "K")
    assert main(["predict", "run", "kelvin.nc", "-o", "future.nc"]) == 0
    assert "note" not in capsys.readouterr().err


def test_a_forecast_does_not_replace_its_input(capsys) -> None:
    Forecaster(build_model("persistence"), Window(2, 2)).save("run")
    np.save("past.npy", np.full((4, 1, 8, 8), 0.5, "f4"))
    said = refused(capsys, "predict", "run", "past.npy", "-o", "past.npy")
    assert "is the input: name another file" in said
    assert len(np.load("past.npy")) == 4


@pytest.fixture
def radar() -> str:
    """Persistence of rain that, as it says, was scored every five minutes on grids of 1 to 2 km."""
    trained = Trained(step=300, spacing=(1000.0, 2000.0))
    scaling = Scaling(0.5, 100, "mm/h", "log")
    Forecaster(build_model("persistence"), Window(3, 2), scaling, trained).save("run")
    return "run"


def rain(path: str, units: str = "mm/h", km: float = 1, minutes: int = 5, **places) -> xr.DataArray:
    times = np.datetime64("2026-07-01", "ns") + np.arange(6) * np.timedelta64(minutes, "m")
    rows = xr.DataArray(np.arange(8) * km * 1e3, dims="y", attrs={"units": "m"})
    values = np.random.default_rng(0).uniform(0, 9, (6, 8, 8)).astype("f4")
    there = {"time": times, "y": rows} | places
    field = xr.DataArray(
        values, there, ("time", "y", "x"), "rain", {"units": units} if units else {}
    )
    field.to_netcdf(path)
    return field


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"units": ""}, "it does not say its units: mm/h is assumed"),
        ({"y": np.arange(8)}, "it does not say its grid spacing: 1 to 2 km is assumed"),
        ({"minutes": 2}, "it has a frame every 2 min; one in 3 is read, as the model knows 5 min"),
        ({"minutes": 10}, "it has a frame every 10 min; the model was scored at 5 min"),
        ({"km": 0.5}, "its rows are 0.5 km apart; means of 2x2 values are forecast"),
        ({"km": 4}, "its rows are 4 km apart; the model was scored on grids of 1 to 2 km"),
        (
            {"y": ("y", 47 + np.arange(8) / 10, {"units": "degrees_north"})},
            "rows are 11.1 km apart",
        ),
    ],
)
def test_what_a_forecast_assumes_is_said(radar, changes, said, capsys) -> None:
    rain("rain.nc", **changes)
    assert main(["predict", radar, "rain.nc", "-o", "future.nc"]) == 0
    told = capsys.readouterr().err
    assert (f"note: rain.nc: {said}" in told or said in told) if said else not told


def test_a_forecast_on_the_grid_of_its_source(radar) -> None:
    """Each value at the pixels it is the mean of; the last row and column have the nearest."""
    field = rain("rain.nc", km=0.5)[:, :7, :7]
    field.to_netcdf("rain.nc")
    words = ["predict", radar, "rain.nc", "-o"]
    assert main([*words, "coarse.nc"]) == main([*words, "fine.nc", "--grid", "source"]) == 0
    with xr.open_dataset("coarse.nc") as coarse, xr.open_dataset("fine.nc") as fine:
        assert (fine.y.values == field.y.values).all()
        for row, column in np.ndindex(7, 7):
            block = coarse.rain[:, min(row // 2, 2), min(column // 2, 2)]
            assert (fine.rain[:, row, column].values == block.values).all()


def test_an_array_says_nothing_of_itself(radar, capsys) -> None:
    """Nor to `stream`, nor to `evaluate`."""
    np.save("array.npy", np.random.default_rng(0).random((9, 1, 16, 16)).astype("f4"))
    said = "note: array.npy: it does not say its units, time step, grid spacing: mm/h, 5 min, 1 to"
    for verb in (["predict", radar, "array.npy", "-o", "out.npy"], ["stream", radar, "array.npy"]):
        assert main(verb) == 0
        assert said in capsys.readouterr().err
    words = ["--baselines", "[]", "--clips", "1", "--split", "all"]
    assert main(["evaluate", radar, "--data", "array.npy", *words]) == 0
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("fill", [-9999, -3, 655.35])
def test_an_undeclared_fill_value_is_missing(radar, capsys, fill: float) -> None:
    """Negative rain, as where MRMS has no coverage; and equal heavy rain in every frame."""
    field = rain("rain.nc")
    field[:, :4] = fill
    field.to_netcdf("rain.nc")
    said = f"50% of its values are {fill:g}, taken as"
    assert main(["predict", radar, "rain.nc", "-o", "future.nc"]) == 0
    assert f"{said} no data" in capsys.readouterr().err
    with xr.open_dataset("future.nc") as made:
        assert made.rain[0].isnull().mean() == 0.5
    words = ["--data", "rain.nc", "--baselines", "[]", "--clips", "1", "--split", "all"]
    assert main(["evaluate", radar, *words]) == 0
    assert f"{said} values; --reading.missing" in capsys.readouterr().err
    if fill < 0:
        assert main(["stream", radar, "rain.nc", "--every", "6", "-o", "live"]) == 0
        assert f"{said} no data" in capsys.readouterr().err
        with xr.open_dataset("live/latest.nc") as made:
            assert made.rain[0].isnull().mean() == 0.5
    words = ["--reading.missing", f"{fill}"]
    assert main(["predict", radar, "rain.nc", "-o", "future.nc", *words]) == 0
    assert not capsys.readouterr().err


def test_negative_rain_in_arrays_is_missing(radar) -> None:
    """As the service pushes them to a stream."""
    frame = np.ones((1, 8, 8), np.float32)
    frame[:, :4] = -3
    forecaster = Forecaster.load(radar)
    for made in (forecaster.stream(1).push(frame), forecaster.predict(frame[None], 1)):
        assert np.isnan(made[..., :4, :]).all()
        assert np.isfinite(made[..., 4:, :]).all()


def test_frames_without_any_value_at_the_end_are_no_past(radar, capsys) -> None:
    field = rain("rain.nc")
    field[4:] = np.nan
    field.to_netcdf("rain.nc")
    assert main(["predict", radar, "rain.nc", "-o", "future.nc"]) == 0
    assert "no value after frame 3 of 5: the forecast begins there" in capsys.readouterr().err
    with xr.open_dataset("future.nc") as made:
        assert made.forecast_reference_time == field.time[3]
        np.testing.assert_array_equal(made.time, field.time[4:])
        np.testing.assert_allclose(made.rain[0], field[3], rtol=1e-5)
