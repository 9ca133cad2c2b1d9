"""Files go through the command `foreframe predict` and come back with all that they said; CF's
checker has nothing to say against them.
"""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from roundtrip import (
    assert_follows_cf,
    assert_said_again,
    attributes,
    complaints,
    opened,
    predicted,
)

HOURS = np.datetime64("2024-05-01T00", "ns") + np.arange(6) * np.timedelta64(1, "h")
FIELD = np.random.default_rng(3).uniform(270, 290, (6, 7, 9)).astype(np.float32)
TIME = {"standard_name": "time", "axis": "T"}
TEMPERATURE = {
    "standard_name": "air_temperature",
    "long_name": "Temperature at 2 m",
    "units": "K",
    "cell_methods": "time: mean area: point",
}
LAMBERT = {
    "grid_mapping_name": "lambert_conformal_conic",
    "standard_parallel": np.array([63.3, 63.3]),
    "longitude_of_central_meridian": 15.0,
    "latitude_of_projection_origin": 63.3,
    "earth_radius": 6371000.0,
}
FILE = {
    "Conventions": "CF-1.7",
    "title": "A reanalysis",
    "institution": "The weather service",
    "source": "model X",
    "references": "https://example.org",
    "history": "2024-06-01: retrieved",
}


def projected(northward: bool = False) -> xr.Dataset:
    """A weather model's file: axes in metres, a grid mapping, places in 2-D, a height, a member."""
    y, x = np.arange(7)[:: 1 if northward else -1] * 2500.0, np.arange(9) * 2500.0
    latitude = {"standard_name": "latitude", "units": "degrees_north", "long_name": "latitude"}
    longitude = {"standard_name": "longitude", "units": "degrees_east", "long_name": "longitude"}
    height = {"standard_name": "height", "units": "m", "positive": "up", "axis": "Z"}
    said = TEMPERATURE | {"grid_mapping": "projection_lambert"}
    return xr.Dataset(
        {
            "t2m": xr.Variable(("time", "y", "x"), FIELD, said, {"coordinates": "lat lon height"}),
            "projection_lambert": ((), np.int32(0), LAMBERT),
        },
        {
            "time": ("time", HOURS, TIME),
            "y": ("y", y, {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"}),
            "x": ("x", x, {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"}),
            "lat": (("y", "x"), 63 + np.add.outer(y, 0.1 * x) / 1e5, latitude),
            "lon": (("y", "x"), 15 + np.add.outer(0.1 * y, x) / 1e5, longitude),
            "height": ((), 2.0, height),
            "member": ((), np.int32(3), {"standard_name": "realization", "units": "1"}),
        },
        FILE,
    )


def global_grid(northward: bool) -> xr.Dataset:
    """A reanalysis: latitudes and longitudes, its times called `valid_time`."""
    north = {"standard_name": "latitude", "units": "degrees_north", "note": "as surveyed"}
    east = {"standard_name": "longitude", "units": "degrees_east"}
    said = TEMPERATURE | {"cell_methods": "valid_time: mean"}
    return xr.Dataset(
        {"t2m": (("valid_time", "latitude", "longitude"), FIELD, said)},
        {
            "valid_time": ("valid_time", HOURS, TIME),
            "latitude": ("latitude", np.linspace(60, 54, 7)[:: -1 if northward else 1], north),
            "longitude": ("longitude", np.arange(9.0), east),
        },
        FILE,
    )


GRIDS = {
    "projected": projected(),
    "projected northward": projected(northward=True),
    "north-up": global_grid(northward=False),
    "south-up": global_grid(northward=True),
}


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
@pytest.mark.parametrize("kind", GRIDS)
def test_a_grid_comes_back_as_it_was(tmp_path: Path, kind: str, ending: str) -> None:
    given = GRIDS[kind]
    given.to_netcdf(tmp_path / "in.nc", engine="netcdf4")
    forecast = predicted(tmp_path / "in.nc", tmp_path, ending=ending)
    assert_said_again(forecast, opened(tmp_path / "in.nc"), "t2m")
    made = opened(forecast)
    for name in ("title", "institution", "source", "references"):
        assert made.attrs[name] == FILE[name]
    assert made.attrs["history"].startswith("2024-06-01: retrieved\n")
    if ending == ".nc":
        assert_follows_cf(forecast)
        difference = made.t2m - given.t2m  # no time is in both, every place is
        assert difference.shape == (0, *given.t2m.shape[1:])


def test_rolling_forecasts_come_back_too(tmp_path: Path) -> None:
    given = projected(northward=True)
    given.to_netcdf(tmp_path / "in.nc", engine="netcdf4")
    forecast = predicted(tmp_path / "in.nc", tmp_path, "--every", "1")
    made = opened(forecast)
    assert made.t2m.dims == ("start", "lead", "y", "x")
    np.testing.assert_array_equal(made.y, given.y)
    np.testing.assert_array_equal(made.start, HOURS[2:])
    np.testing.assert_array_equal(made.time, made.start + made.lead)
    np.testing.assert_allclose(made.t2m[:, 0], given.t2m[2:], rtol=1e-5)
    # CF recommends the axis of time last before those of space; forecasts are stored by start
    # everywhere.
    assert_follows_cf(forecast, apart="are start (T), lead (U)")


WIND = {"standard_name": "eastward_wind", "units": "m s-1", "grid_mapping": "projection_lambert"}


def with_wind() -> xr.Dataset:
    given = projected(northward=True)
    wind = xr.Variable(("time", "y", "x"), FIELD - 280, WIND, {"coordinates": "lat lon"})
    return given.assign(u10=wind, depth=(("y", "x"), FIELD[0]))


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
@pytest.mark.parametrize("every", [(), ("--every", "1")], ids=["one", "rolling"])
def test_several_variables_come_back_as_several(
    tmp_path: Path, ending: str, every: tuple[str, ...]
) -> None:
    with_wind().to_netcdf(tmp_path / "in.nc", engine="netcdf4")
    options = ("--reading.variable", "[u10, t2m]", *every)
    forecast = predicted(tmp_path / "in.nc", tmp_path, *options, ending=ending)
    made, given = opened(forecast), opened(tmp_path / "in.nc")
    assert set(made.data_vars) == {"u10", "t2m", "projection_lambert"}
    for name in ("u10", "t2m"):
        assert attributes(made[name]) == attributes(given[name])
        assert "channel" not in made[name].dims
    if ending == ".nc":
        assert_follows_cf(forecast, apart="are start (T), lead (U)" if every else "")
    if not every:
        for name in ("u10", "t2m"):
            assert_said_again(forecast, given, name)
        # What was read as several is read again by the same names.
        again = predicted(forecast, tmp_path / "again", *options, ending=ending)
        assert_said_again(again, made.drop_vars("forecast_reference_time"), "u10")


@pytest.mark.parametrize(
    ("options", "rows", "columns"),
    [
        (["--reading.crop", "[1,2,4,6]"], [1, 2, 3, 4], [2, 3, 4, 5, 6, 7]),
        (["--reading.coarsen", "2"], [0.5, 2.5, 4.5], [0.5, 2.5, 4.5, 6.5]),
        (["--reading.size", "[14,3]"], np.arange(14) / 2 - 0.25, [1, 4, 7]),
    ],
    ids=["crop", "coarsen", "size"],
)
@pytest.mark.parametrize("northward", [False, True])
def test_a_grid_of_another_size_stays_on_its_map(
    tmp_path: Path, options: list[str], rows: list[float], columns: list[float], northward: bool
) -> None:
    given = projected(northward)
    given.projection_lambert.attrs["GeoTransform"] = "0 2500 0 0 0 2500"  # of the whole grid
    given.to_netcdf(tmp_path / "in.nc", engine="netcdf4")
    forecast = predicted(tmp_path / "in.nc", tmp_path, *options)
    made = opened(forecast)
    # Frames run north to south: their first row is the northernmost, the file's last or first.
    y, x = 15000 - 2500 * np.asarray(rows), 2500 * np.asarray(columns)
    np.testing.assert_allclose(made.y, y[::-1] if northward else y)
    np.testing.assert_allclose(made.x, x)
    np.testing.assert_allclose(made.lat, 63 + np.add.outer(made.y.values, 0.1 * x) / 1e5)
    assert attributes(made.projection_lambert) == attributes(projected().projection_lambert)
    assert attributes(made.t2m) == attributes(given.t2m)
    assert attributes(made.y) == attributes(given.y)
    assert {"height", "member", "lon"} <= set(made.coords)
    assert_follows_cf(forecast)


def test_the_checker_finds_what_is_wrong(tmp_path: Path) -> None:
    projected().to_netcdf(tmp_path / "in.nc", engine="netcdf4")
    forecast = predicted(tmp_path / "in.nc", tmp_path)
    broken = opened(forecast)
    broken.t2m.attrs["standard_name"] = "warmth"
    broken.y.attrs["units"] = "furlongs per fortnight"
    broken.to_netcdf(tmp_path / "broken.nc", engine="netcdf4")
    found = "\n".join(complaints(tmp_path / "broken.nc"))
    assert "warmth" in found
    assert "furlongs" in found
