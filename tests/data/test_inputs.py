"""Inputs from a file to a forecast: seen by the network, known ahead or not, and in no score."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import Dataset

from foreframe import Forecaster, Window
from foreframe.base.notes import Note
from foreframe.base.schema import typed
from foreframe.cli import main
from foreframe.data import ReadOptions, Recordings, clips_from
from foreframe.data.inputs import clock, known_after
from foreframe.forecasting.forecast_options import TiledOptions
from foreframe.training.preparation import prepared
from foreframe.training.recipes import named, options_from

HOURS = np.arange("2020-01-01", "2020-01-04", dtype="datetime64[h]").astype("datetime64[ns]")
DRAW = np.random.default_rng(0)
HEIGHTS = DRAW.uniform(0, 2000, (8, 12)).astype(np.float32)
WIND, PLAN = (DRAW.normal(0, 3, (len(HOURS), 8, 12)).astype(np.float32) for _ in range(2))
INPUTS = ["elevation", "wind", "plan", "hour_of_day"]
READING = {"variable": "t2m", "inputs": INPUTS, "known": ["plan"]}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    dims = ("time", "latitude", "longitude")
    t2m = 280 - 0.0065 * HEIGHTS + np.arange(len(HOURS))[:, None, None] / 10
    dataset = xr.Dataset(
        {
            "t2m": (dims, t2m.astype(np.float32), {"units": "K"}),
            "elevation": (dims[1:], HEIGHTS, {"units": "m"}),
            "wind": (dims, WIND, {"units": "m s-1"}),
            "plan": (dims, PLAN),
        },
        {"time": HOURS, "latitude": np.linspace(50, 60, 8), "longitude": np.arange(12.0)},
    )
    path = tmp_path_factory.mktemp("weather") / "weather.nc"
    dataset.to_netcdf(path)
    return path


def test_inputs_are_the_last_channels_north_up_as_the_frames(file: Path) -> None:
    (clip,) = clips_from(file, **READING)
    assert clip.frames.shape == (72, 6, 8, 12)
    assert (clip.channels, clip.units, clip.variable) == (1, "K", "t2m")
    assert [(i.name, i.known) for i in clip.inputs] == [
        ("elevation", True),
        ("wind", False),
        ("plan", True),
        ("hour_of_day, sine", True),
        ("hour_of_day, cosine", True),
    ]
    frame = clip.frames[30]
    np.testing.assert_array_equal(frame[1], HEIGHTS[::-1])
    np.testing.assert_array_equal(frame[2], WIND[30, ::-1])
    np.testing.assert_allclose(frame[4:, 0, 0], [1, 0], atol=1e-6)  # six o'clock
    assert clip.without_inputs().frames.shape == (72, 1, 8, 12)


def test_clocks_close() -> None:
    hours = clock("hour_of_day", HOURS[:25])
    np.testing.assert_allclose(hours[[0, 6, 12, 24]], [[0, 1], [1, 0], [0, -1], [0, 1]], atol=1e-6)
    years = clock("day_of_year", np.array(["2020-01-01", "2020-07-02"], "datetime64[ns]"))
    np.testing.assert_allclose(years, [[0, 1], [0, -1]], atol=0.01)


def test_what_is_known_ahead(file: Path) -> None:
    (clip,) = clips_from(file, **READING)
    known = known_after(clip, 70, 4)
    assert known is not None
    np.testing.assert_array_equal(known[:2, 0], np.stack([HEIGHTS[::-1]] * 2))
    assert np.isnan(known[:, 1]).all()  # the wind of tomorrow
    np.testing.assert_array_equal(known[:2, 2], PLAN[70:, ::-1])
    assert np.isnan(known[2:, 2]).all()  # beyond the file
    np.testing.assert_allclose(known[2:, 3, 0, 0], clock("hour_of_day", HOURS[:2])[:, 0], atol=1e-6)
    assert known_after(clip.without_inputs(), 70, 4) is None


def test_windows_hold_only_what_will_be_known(file: Path) -> None:
    windows = Recordings(file, "train", Window(3, 2), reading=ReadOptions(**READING))
    assert (windows.inputs, windows[0].shape) == (5, (5, 6, 8, 12))
    low, high = windows.scaling.inputs[1]
    item = windows[7].numpy()
    wind = item[:, 2] * (high - low) + low
    np.testing.assert_allclose(wind[:3], WIND[7:10, ::-1], atol=1e-4)
    np.testing.assert_allclose(wind[3:], [WIND[9, ::-1]] * 2, atol=1e-4)
    assert not np.array_equal(item[4, 3], item[2, 3])  # the plan goes on
    assert windows.scaling.inputs[0] == (HEIGHTS.min(), HEIGHTS.max())
    assert windows.scaling.inputs[3:] == ((-1, 1), (-1, 1))


def test_a_film_of_a_grid_without_dates_has_no_clock() -> None:
    with pytest.raises(ValueError, match="no dates of the standard calendar, so hour_of_day"):
        clips_from(np.zeros((5, 1, 8, 8), np.float32), inputs=["hour_of_day"])
    with pytest.raises(ValueError, match="is no grid with a variable elevation; inputs are"):
        clips_from(np.zeros((5, 1, 8, 8), np.float32), inputs=["elevation"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"inputs": ["wind"], "known": ["rain"]},
            "known names rain, which is not among the inputs",
        ),
        ({"inputs": ["wind"], "colour": "grey"}, "leave out colour, or the inputs"),
        ({"inputs": "wind"}, "inputs is a list"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        typed(ReadOptions, options, "reading")


def test_a_variable_that_is_not_there(file: Path) -> None:
    with pytest.raises(ValueError, match=r"has no variable wnd; it has .*wind"):
        clips_from(file, variable="t2m", inputs=["wnd"])


@pytest.mark.slow
def test_from_a_file_to_a_forecast(file: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--reading.variable", "t2m", "--reading.inputs", "[elevation,wind,plan,hour_of_day]"]
    options += ["--reading.known", "[plan]", "--past", "3", "--future", "2", "--batch_size", "4"]
    small = ["--model_args.core.convlstm.hidden", "[8]", "--model_args.codec.strided.widths", "[8]"]
    steps = ["--epochs", "1", "--trainer.max_steps", "2", "--tensorboard", "false"]
    train = ["train", "--model", "quick", "--data", str(file), "--run", "run"]
    assert main([*train, *options, *small, *steps]) == 0
    assert "input       wind, " in capsys.readouterr().out
    assert main(["evaluate", "run", "--clips", "4"]) == 0
    assert main(["predict", "run", str(file), "-o", "ahead.nc", "--steps", "5"]) == 0
    assert main(["predict", "run", str(file), "-o", "film.gif", "--every", "30"]) == 0
    with xr.open_dataset("ahead.nc") as ahead:
        assert set(ahead.data_vars) == {"t2m"}
        assert ahead.t2m.shape == (5, 8, 12)
    forecaster = Forecaster.load("run")
    assert (forecaster.model.channels, forecaster.model.inputs) == (1, 5)
    with pytest.warns(Note, match="turned north-up"):
        clip = forecaster.open(file)

    def forecast(**changes: int) -> np.ndarray:
        frames = np.array(clip.frames)
        for name, change in changes.items():
            frames[40:, 1 + INPUTS.index(name)] += change
        future = forecaster.forecast_from(replace(clip, frames=frames), 40, 2, 3, TiledOptions())[1]
        return np.asarray(future.frames)

    np.testing.assert_array_equal(forecast(wind=5), forecast())  # nobody knows it ahead
    assert not np.array_equal(forecast(plan=5), forecast())


class Tides(Dataset):
    """Clips of water, and the height of the moon."""

    inputs = 1

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((5, 2, 8, 8), index / 10)


def test_a_dataset_of_ones_own_says_how_many_of_its_channels_are_inputs() -> None:
    data = {"data": Tides(), "past": 3, "future": 2, "batch_size": 2}
    small = {"core": {"convlstm": {"hidden": [4]}}, "codec": {"strided": {"widths": [4]}}}
    _, given = named(None, {"model": "quick", "model_args": small, **data})
    _, network, train, _ = prepared(options_from([], given))
    assert (network.channels, network.inputs, train.inputs) == (1, 1, 1)
