"""Recordings that are not the run's own: read alike, scored beside, and doubted where they look
unlike.
"""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from foreframe import Forecaster, Scaling, Window
from foreframe.cli import main
from foreframe.data import ReadOptions
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model
from foreframe.visuals import write_mp4


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREFRAME_CACHE", str(tmp_path / "cache"))


def film(name: str, height: int = 32, width: int = 40, frames: int = 60) -> None:
    draw = np.random.default_rng(0)
    write_mp4(name, draw.integers(0, 256, (frames, height, width, 3), dtype=np.uint8), 10)


@pytest.mark.slow
def test_another_film_is_read_as_the_runs_own_and_scored_beside_it() -> None:
    film("other.mp4")
    how = ReadOptions(colour="grey", size=[16, 16])
    trained = Trained("mine.mp4", reading=how, frame=(16, 16), preset="persistence", seed=0)
    model = build_model("persistence")
    Forecaster(model, Window(2, 2), Scaling(0, 255), trained).save("run")
    Path("run/evaluation").mkdir()
    assert main(["evaluate", "run", "--data", "other.mp4", "--clips", "2"]) == 0
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
    assert main(["predict", "run", "past.npy", "-o", "past.npy"]) == 2
    assert "is the input: name another file" in capsys.readouterr().err
    assert len(np.load("past.npy")) == 4
