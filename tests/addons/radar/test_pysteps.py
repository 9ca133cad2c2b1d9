"""A forecaster as a method of pysteps: by itself, and, where pysteps is installed, inside it."""

import io
import re
import runpy
import tomllib
from contextlib import redirect_stdout
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
import xarray as xr

import foreframe
import standins
from foreframe import Forecaster, Scaling, Window
from foreframe.addons.radar.pysteps import forecast, register
from foreframe.base.notes import listening
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model

ROOT = Path(__file__).parents[3]
RAIN = Scaling(0, 20, "mm/h", "minmax")


@pytest.fixture
def weights() -> Forecaster:
    """Members of rain, scored at five minutes and 2 km."""
    network = build_model("lagged", {"of": "dense_motion", "lags": 3})
    return Forecaster(network, Window(4, 3), RAIN, Trained(step=300, spacing=(2000.0, 2000.0)))


@pytest.fixture
def precip() -> np.ndarray:
    """(6,24,32) mm/h, with a corner that the radar does not reach."""
    rain = (20 * standins.blobs(6, 24, 32) ** 2).astype(np.float32)
    rain[:, :3, :3] = np.nan
    return rain


TOLD = {"timestep": 5, "kmperpixel": 2.0}


def test_it_is_the_forecast_of_the_same_frames(weights: Forecaster, precip: np.ndarray) -> None:
    made = forecast(precip, None, 3, weights=weights, **TOLD)
    np.testing.assert_array_equal(made, weights.predict(precip[-4:], 3)[:, 0])
    assert np.isnan(made[:, :3, :3]).all()
    assert np.isfinite(made[:, 3:]).all()
    drawn = forecast(precip, None, 3, weights=weights, n_ens_members=2, seed=7, **TOLD)
    own = weights.predict(precip[-4:], 3, members=2, seed=7)
    np.testing.assert_array_equal(drawn, own[:, :, 0])
    zero = forecast(precip, None, 3, weights=weights, n_ens_members=2, seed=None, **TOLD)
    np.testing.assert_array_equal(zero, weights.predict(precip[-4:], 3, members=2)[:, :, 0])
    masked = np.ma.masked_invalid(precip.astype(np.float64))
    np.testing.assert_array_equal(forecast(masked, None, 3, weights=weights, **TOLD), made)


def test_a_list_of_timesteps_chooses_frames(weights: Forecaster, precip: np.ndarray) -> None:
    whole = forecast(precip, None, np.int64(6), weights=weights, **TOLD)
    some = forecast(precip, None, [1, 3.0, 6], weights=weights, **TOLD)
    np.testing.assert_array_equal(some, whole[[0, 2, 5]])
    drawn = forecast(precip, None, [2], weights=weights, n_ens_members=2, **TOLD)
    assert drawn.shape == (2, 1, 24, 32)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"precip": np.full((4, 8, 8), -15.0)}, "as dB is: .* gives mm/h"),
        ({"precip": np.zeros((8, 8))}, r"precip is \(t,m,n\), .* not of shape \(8, 8\)"),
        ({"timesteps": [1, 2.5]}, r"whole frames, 12 or \[3, 6, 12\], not \[1, 2.5\]"),
        ({"timesteps": 0}, "whole frames"),
        ({"timesteps": "12"}, "whole frames"),
        ({"n_ens_member": 4}, "no argument 'n_ens_member'; did you mean members"),
        ({"n_cascade_levels": 8}, "no argument 'n_cascade_levels'; choose"),
        ({"measure_time": True}, "no argument 'measure_time'"),
        ({"weights": "nowhere"}, "nowhere"),
    ],
)
def test_what_it_cannot_do_is_told_in_a_line(
    weights: Forecaster, precip: np.ndarray, change: dict[str, Any], line: str
) -> None:
    given = {"precip": precip, "velocity": None, "timesteps": 3, "weights": weights} | change
    with pytest.raises(ValueError, match=line) as told:
        forecast(**given)
    assert "\n" not in str(told.value)


def test_another_grid_is_told(weights: Forecaster, precip: np.ndarray) -> None:
    notes: list[str] = []
    with listening(notes.append):
        made = forecast(precip, None, 3, weights=weights)
        other = forecast(precip, None, 3, weights=weights, timestep=10, kmperpixel=1)
        forecast(precip[-2:], None, 3, weights=weights, **TOLD)
    np.testing.assert_array_equal(made, other)
    unsaid, step, spacing, few = notes
    assert "does not say its time step, grid spacing: 5 min, 2 km is assumed" in unsaid
    assert "a frame every 600 s; the model was scored at 5 min" in step
    scored = "the model was scored on grids of 2 km; --reading.coarsen 2 averages to that"
    assert f"rows are 1 km apart; {scored}" in spacing
    assert "2 frames are fewer than the 4" in few


def test_dbz_above_0_is_doubted(weights: Forecaster, precip: np.ndarray) -> None:
    notes: list[str] = []
    with listening(notes.append):
        forecast(10 * np.log10(200 * precip**1.6 + 1), None, 1, weights=weights, **TOLD)
    assert "where it is wet, as dBZ would: pysteps' conversion.to_rainrate" in notes[0]


def test_the_entry_point_is_the_forecast() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (method,) = project["entry-points"]["pysteps.plugins.nowcasts"].items()
    assert (method[0], resolve_name(method[1])) == ("foreframe", forecast)


# -- where pysteps is installed --------------------------------------------------------------------


@pytest.fixture
def pysteps():
    with redirect_stdout(io.StringIO()):
        return pytest.importorskip("pysteps", reason="needs pysteps")


@pytest.fixture
def interface(pysteps, monkeypatch: pytest.MonkeyPatch):
    """pysteps' table of methods, restored after the test."""
    interface = pysteps.nowcasts.interface
    assert isinstance(getattr(interface, "_nowcast_methods", None), dict), (
        "pysteps' private table of methods has moved: register needs another way"
    )
    monkeypatch.setattr(interface, "_nowcast_methods", {**interface._nowcast_methods})
    return interface


def test_pysteps_gives_it_by_its_name(pysteps, interface, monkeypatch) -> None:
    assert not hasattr(interface, "discover_nowcasts"), (
        "pysteps now reads the entry points of methods: say in docs/integrations.md since when"
    )
    register()
    assert pysteps.nowcasts.get_method("Foreframe") is forecast
    monkeypatch.delattr(interface, "_nowcast_methods")
    with pytest.raises(ValueError, match="no table of methods"):
        register()


@pytest.mark.filterwarnings("ignore")  # of pysteps, inside itself, and notes
def test_the_page_runs_in_pysteps(interface) -> None:
    page = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
    own = page.partition("## pysteps\n")[2].partition("\n## ")[0]
    names = {"precip": 20 * standins.blobs(12, 64, 64) ** 2}
    for code in re.findall(r"```python\n(.*?)```", own, re.DOTALL):
        exec(compile(code, "integrations.md", "exec"), names)
    assert names["future"].shape == (12, 64, 64)
    assert names["members"].shape == (16, 12, 64, 64)
    radar = foreframe.Forecaster.load("radar")
    past = names["precip"][-10:].astype(np.float32)
    np.testing.assert_array_equal(names["future"], radar.predict(past, 12)[:, 0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of pysteps, inside itself
def test_the_example_blends_members_and_a_weather_model(pysteps, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    standins.rain(Path("all.nc"), frames=16)
    with xr.open_dataset("all.nc") as recorded:
        recorded.isel(time=slice(0, 12)).to_netcdf("rain.nc")
        recorded.isel(time=slice(11, 16)).to_netcdf("weather.nc")
        truth = recorded["rain"].to_numpy()
    blend = runpy.run_path(str(ROOT / "examples" / "pysteps" / "blend.py"))["main"]
    blend("rain.nc", "weather.nc", "future.npy", members=2, steps=3, seed=0)
    future = np.load("future.npy")
    assert future.shape == (2, 3, 128, 128)
    assert (future >= 0).all()  # which NaN is not
    assert not np.array_equal(future[0], future[1])
    errors = [np.nanmean((each - truth[12:15]) ** 2) for each in (future.mean(axis=0), 0)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of pysteps, inside itself
@pytest.mark.parametrize(
    ("seen", "model"), [((0, 0), (0, 7)), ((0, 10), (0, 0)), ((0, 10), (4, 7)), ((0, 7), (0, 7))]
)
def test_blends_with_dry_or_late_rain_lie_between_their_inputs(pysteps, seen, model) -> None:
    """In amount and area; frames outside of these ranges are dry."""
    example = runpy.run_path(str(ROOT / "examples" / "pysteps" / "blend.py"))
    rain = (20 * standins.blobs(17, 64, 64) ** 2).astype(np.float32)
    past, weather = np.zeros_like(rain[:10]), np.zeros_like(rain[9:16])
    past[slice(*seen)], weather[slice(*model)] = rain[slice(*seen)], rain[9:16][slice(*model)] / 2
    times = np.datetime64("2026-01-01T00:00") + 5 * np.arange(10) * np.timedelta64(1, "m")
    made = example["blended"](past, weather, times, 2, 0)
    ours = forecast(past, None, 6, n_ens_members=2, seed=0, timestep=5, kmperpixel=1)
    for measure in (np.mean, lambda of: np.mean(of >= example["LEAST"])):
        of = [measure(each[..., -1, :, :]) for each in (ours, weather)]
        assert 0.95 * min(of) - 1e-3 <= measure(made[:, -1]) <= 1.05 * max(of) + 1e-3
