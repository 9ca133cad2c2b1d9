"""What a grid says of itself, a forecast of it says too: xarray and CF's own rules are the
judges.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from foreframe import Clip, Forecaster, Scaling, Window, clips_from
from foreframe.cli import main
from foreframe.clips.clip import Coordinate
from foreframe.data.cf import write_grid
from foreframe.data.grids import read_grid
from foreframe.forecasting.outputs import write_forecast
from foreframe.models import build_model

HOURS = np.datetime64("2019-03-01T00", "ns") + np.arange(8) * np.timedelta64(1, "h")
FIELD = np.random.default_rng(1).uniform(270, 290, (8, 6, 10)).astype(np.float32)
LAMBERT = {
    "grid_mapping_name": "lambert_conformal_conic",
    "standard_parallel": np.array([63.3, 63.3]),
    "longitude_of_central_meridian": 15.0,
    "latitude_of_projection_origin": 63.3,
    "earth_radius": 6371000.0,
}
NORTH_ON_TOP = {
    "standard_name": "projection_y_coordinate",
    "units": "m",
    "long_name": "y of the map",
}
EAST = {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"}


def still() -> Forecaster:
    return Forecaster(build_model("persistence"), Window(4, 3), Scaling(250, 310, "K"))


def on_a_map() -> xr.Dataset:
    """A weather model's file: metres, a grid mapping, latitudes and longitudes in 2-D, a height."""
    y, x = np.arange(6)[::-1] * 2500.0, np.arange(10) * 2500.0
    both = ("y", "x")
    where = "lat lon height_above_ground"
    said = {
        "standard_name": "air_temperature",
        "long_name": "Temperature at 2 m",
        "units": "K",
        "grid_mapping": "projection_lambert",
        "cell_methods": "time: mean area: point",
    }
    field = xr.Variable(("time", "y", "x"), FIELD, said, {"coordinates": where})
    return xr.Dataset(
        {"t2m": field, "projection_lambert": ((), np.int32(0), LAMBERT)},
        {
            "time": ("time", HOURS, {"standard_name": "time", "long_name": "valid time"}),
            "y": ("y", y, NORTH_ON_TOP),
            "x": ("x", x, EAST),
            "lat": (
                both,
                63 + np.add.outer(y, 0.1 * x) / 1e5,
                {"standard_name": "latitude", "units": "degrees_north"},
            ),
            "lon": (
                both,
                15 + np.add.outer(0.1 * y, x) / 1e5,
                {"standard_name": "longitude", "units": "degrees_east"},
            ),
            "height_above_ground": (
                (),
                2.0,
                {"standard_name": "height", "units": "m", "positive": "up"},
            ),
        },
        {"institution": "somewhere", "history": "measured"},
    )


def round_the_globe(northward: bool = False) -> xr.Dataset:
    latitude = np.linspace(60, 55, 6)[:: -1 if northward else 1]
    said = {
        "standard_name": "air_temperature",
        "long_name": "2 metre temperature",
        "units": "K",
        "cell_methods": "area: mean",
    }
    north = {
        "standard_name": "latitude", "units": "degrees_north", "bounds": "latitude_bnds",
        "note": "as surveyed",
    }  # fmt: skip
    east = {"standard_name": "longitude", "units": "degrees_east", "long_name": "east"}
    field = FIELD[:, ::-1] if northward else FIELD
    bounds = np.stack([latitude - 0.5, latitude + 0.5], axis=1)
    return xr.Dataset(
        {
            "t2m": (("valid_time", "latitude", "longitude"), field, said),
            "latitude_bnds": (("latitude", "bnds"), bounds),
        },
        {
            "valid_time": ("valid_time", HOURS, {"standard_name": "time"}),
            "latitude": ("latitude", latitude, north),
            "longitude": ("longitude", np.arange(10.0), east),
        },
    )


def said_of(variable: xr.DataArray) -> dict:
    """Attributes as they lie in the file; what xarray makes of times apart."""
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in variable.attrs.items()}


def forecast_of(source: Path | xr.Dataset, path: Path, **options: object) -> xr.Dataset:
    (clip,) = clips_from(source, **options)
    past = clip[:4]
    write_forecast(path, past, still().predict(past, 3), Scaling(250, 310, "K"))
    return xr.open_dataset(
        path, chunks=None, decode_timedelta=True, engine="zarr" if path.suffix == ".zarr" else None
    )


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
def test_a_projected_grid_keeps_all_it_says(tmp_path: Path, ending: str) -> None:
    given = on_a_map()
    given.to_netcdf(tmp_path / "in.nc")
    with forecast_of(tmp_path / "in.nc", tmp_path / f"out{ending}") as made:
        assert said_of(made.t2m) == said_of(given.t2m)
        assert made.t2m.dims == ("time", "y", "x")
        for name in ("y", "x", "lat", "lon", "height_above_ground"):
            np.testing.assert_array_equal(made[name].values, given[name].values)
            assert made[name].dims == given[name].dims
            assert name in made.coords
            assert said_of(made[name]).items() >= said_of(given[name]).items()
        assert made.y.attrs["axis"] == "Y"
        assert said_of(made.projection_lambert) == said_of(given.projection_lambert)
        assert "projection_lambert" not in made.coords  # by CF a grid mapping is no coordinate
        np.testing.assert_array_equal(made.time, HOURS[4:7])
        assert made.forecast_reference_time.shape == ()
        assert made.forecast_reference_time.values == HOURS[3]
        assert made.forecast_reference_time.attrs["standard_name"] == "forecast_reference_time"
        assert made.forecast_period.dims == ("time",)
        assert (made.forecast_period.values / np.timedelta64(1, "h")).tolist() == [1, 2, 3]
    how = {"engine": "zarr"} if ending == ".zarr" else {}
    with xr.open_dataset(tmp_path / f"out{ending}", decode_cf=False, **how) as plain:
        assert said_of(plain.projection_lambert) == said_of(given.projection_lambert)
        assert plain.forecast_period.attrs["units"] == "hours"
        assert " since " in plain.forecast_reference_time.attrs["units"]


@pytest.mark.parametrize("northward", [False, True])
def test_rows_and_times_are_those_of_the_source(tmp_path: Path, northward: bool) -> None:
    given = round_the_globe(northward)
    given.to_netcdf(tmp_path / "in.nc")
    with forecast_of(tmp_path / "in.nc", tmp_path / "out.nc") as made:
        assert said_of(made.t2m) == said_of(given.t2m)
        assert made.t2m.dims == given.t2m.dims
        np.testing.assert_array_equal(made.latitude, given.latitude)
        np.testing.assert_allclose(made.t2m[0], given.t2m[3], rtol=1e-5)
        # Persistence beside the last frame that it saw, by plain arithmetic.
        assert float(abs(made.t2m.isel(valid_time=0) - given.t2m.isel(valid_time=3)).max()) < 1e-3
        assert (made.t2m - given.t2m).shape == (3, 6, 10)
        assert said_of(made.latitude) == {
            "standard_name": "latitude",
            "units": "degrees_north",
            "note": "as surveyed",
            "axis": "Y",
        }
        assert said_of(made.longitude) == said_of(given.longitude) | {"axis": "X"}


def test_rolling_forecasts_keep_the_grid_too(tmp_path: Path) -> None:
    (clip,) = clips_from(on_a_map())
    several = [still().predict(clip[k : k + 4], 2) for k in range(3)]
    write_grid(tmp_path / "roll.nc", several)
    with xr.open_dataset(tmp_path / "roll.nc", decode_timedelta=True) as made:
        assert said_of(made.t2m) == said_of(on_a_map().t2m)
        assert made.t2m.dims == ("start", "lead", "y", "x")
        np.testing.assert_array_equal(made.start, HOURS[3:6])
        np.testing.assert_array_equal(made.time, np.stack([HOURS[k : k + 2] for k in (4, 5, 6)]))
        assert said_of(made.projection_lambert) == said_of(on_a_map().projection_lambert)
        np.testing.assert_array_equal(made.lon, on_a_map().lon)
    again = read_grid(tmp_path / "roll.nc", select={"start": HOURS[4]})
    assert again.start == HOURS[4]
    assert again.dims == ("y", "x")


def test_the_command_writes_all_of_it(tmp_path: Path) -> None:
    on_a_map().to_netcdf(tmp_path / "in.nc")
    still().save(tmp_path / "run")
    words = [str(tmp_path / "run"), str(tmp_path / "in.nc"), "--steps", "2", "-o"]
    assert main(["predict", *words, str(tmp_path / "one.nc")]) == 0
    assert main(["predict", *words, str(tmp_path / "roll.nc"), "--every", "2"]) == 0
    for name in ("one.nc", "roll.nc"):
        with xr.open_dataset(tmp_path / name) as made:
            assert said_of(made.t2m) == said_of(on_a_map().t2m)
            assert said_of(made.projection_lambert) == said_of(on_a_map().projection_lambert)
            assert made.attrs["Conventions"].startswith("CF-")
            assert made.attrs["institution"] == "somewhere"
            old, new = made.attrs["history"].splitlines()
            assert old == "measured"
            assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: foreframe ", new)
            assert "forecast from run" in made.attrs["history"]
            assert str(tmp_path) not in made.attrs["history"]
    with xr.open_dataset(tmp_path / "one.nc") as made:
        assert made.forecast_reference_time.values == HOURS[-1]  # and the times follow


def test_what_is_cut_and_averaged_keeps_its_words_and_moves_its_numbers(tmp_path: Path) -> None:
    given = on_a_map()
    given.projection_lambert.attrs["GeoTransform"] = "-1250 2500 0 13750 0 -2500"
    with forecast_of(given, tmp_path / "out.nc", crop=[2, 2, 4, 8], coarsen=2) as made:
        assert said_of(made.t2m) == said_of(given.t2m)
        np.testing.assert_allclose(made.x, given.x.values[2:].reshape(4, 2).mean(1))
        np.testing.assert_allclose(
            made.lat, given.lat.values[2:, 2:].reshape(2, 2, 4, 2).mean((1, 3))
        )
        assert said_of(made.x) == EAST
        # The corner is another one.
        assert said_of(made.projection_lambert) == said_of(on_a_map().projection_lambert)
    with forecast_of(given, tmp_path / "whole.nc") as made:
        assert said_of(made.projection_lambert) == said_of(given.projection_lambert)


def test_files_that_are_joined_keep_what_is_true_of_all(tmp_path: Path) -> None:
    given = on_a_map()
    for k in (0, 4):
        part = given.isel(time=slice(k, k + 4)).assign_coords(orbit=k)
        part["d2m"] = part.t2m.assign_attrs(long_name=f"Dewpoint {k}")
        part.attrs["history"] = f"measured {k}"
        part.t2m.attrs["note"] = f"part {k}"
        part.to_netcdf(tmp_path / f"{k}.nc")
    (clip,) = clips_from(tmp_path, ["d2m", "t2m"])
    assert clip.about == {"institution": "somewhere"}
    dewpoint, temperature = clip.variables
    assert dewpoint.attributes.keys() == temperature.attributes.keys() - {"long_name"}
    assert temperature.attributes == {k: v for k, v in given.t2m.attrs.items() if k != "units"}
    (clip,) = clips_from(tmp_path, "t2m")
    assert len(clip) == 8
    assert clip.attributes == {k: v for k, v in given.t2m.attrs.items() if k != "units"}
    assert "orbit" not in clip.coordinates
    np.testing.assert_array_equal(clip.coordinates["lat"], given.lat)
    moved = given.isel(time=slice(4, 8))
    moved.projection_lambert.attrs["longitude_of_central_meridian"] = 10.0
    (tmp_path / "4.nc").unlink()  # which is still open
    moved.to_netcdf(tmp_path / "5.nc")
    # Another map is another place.
    assert [len(clip) for clip in clips_from(tmp_path, "t2m")] == [4, 4]


def test_what_belongs_to_the_file_stays_there(tmp_path: Path) -> None:
    """Packing, bounds, pointers to what is not carried, and the start of a forecast that was
    read.
    """
    given = on_a_map()
    given = given.assign_coords(
        forecast_reference_time=((), HOURS[0], {"standard_name": "forecast_reference_time"})
    )
    given.t2m.attrs |= {
        "valid_range": np.array([0, 9], "i2"),
        "cell_measures": "area: cells",
        "ancillary_variables": "flags",
    }
    given.t2m.attrs |= {"note": ["a", "b"], "empty": [], "in/the/way": 1}
    packed = {"dtype": "int16", "scale_factor": 0.001, "add_offset": 280.0, "_FillValue": -32768}
    given.to_zarr(tmp_path / "in.zarr", encoding={"t2m": packed}, consolidated=False)
    with forecast_of(tmp_path / "in.zarr", tmp_path / "out.nc") as made:
        assert said_of(made.t2m) == said_of(on_a_map().t2m) | {"note": "a b", "empty": ""}
        assert made.forecast_reference_time.values == HOURS[3]
        assert made.t2m.encoding["dtype"] == np.float32
    given.t2m.attrs["grid_mapping"] = "gone"
    with forecast_of(given.drop_vars("projection_lambert"), tmp_path / "out.nc") as made:
        assert "grid_mapping" not in made.t2m.attrs


def test_there_and_back_is_the_same(tmp_path: Path) -> None:
    (clip,) = clips_from(on_a_map())
    future = still().predict(clip, 2)
    write_grid(tmp_path / "a.nc", future)
    (again,) = clips_from(tmp_path / "a.nc")
    assert (again.attributes, again.dims, again.start) == (
        future.attributes,
        future.dims,
        future.start,
    )
    assert again.coordinates.keys() == future.coordinates.keys()
    for name, coordinate in future.coordinates.items():
        assert again.coordinates[name].dims == coordinate.dims
        np.testing.assert_array_equal(again.coordinates[name], coordinate)


def test_several_variables_share_what_they_share(tmp_path: Path) -> None:
    given = on_a_map()
    given["d2m"] = given.t2m.assign_attrs(
        long_name="Dewpoint", standard_name="dew_point_temperature"
    )
    (clip,) = clips_from(given, ["t2m", "d2m"])
    assert clip.attributes == {
        "cell_methods": "time: mean area: point",
        "grid_mapping": "projection_lambert",
    }
    assert [variable.name for variable in clip.variables] == ["t2m", "d2m"]
    assert clip.variables[1].attributes["long_name"] == "Dewpoint"
    # A forecast has the first of them: those after are inputs.
    write_grid(tmp_path / "a.nc", replace(clip, frames=clip.frames[0:8][:, :1]))
    with xr.open_dataset(tmp_path / "a.nc", engine="netcdf4") as made:
        assert set(made.data_vars) == {"t2m", "projection_lambert"}
        assert said_of(made.t2m) == said_of(given.t2m)
    (grey,) = clips_from(given, ["t2m", "d2m"], colour="grey")
    assert grey.variables == ()  # the channel is neither


def test_plain_arrays_and_coordinates_mix() -> None:
    clip = Clip(
        FIELD[:, None],
        HOURS,
        "K",
        {"y": np.arange(6.0), "x": Coordinate(("column",), np.arange(10.0), {"units": "km"})},
    )
    assert clip.coordinates["y"].dims == ("row",)
    assert clip.coordinates["x"].attributes == {"units": "km"}
    with pytest.raises(
        ValueError, match=r"coordinate x has shape \(10,\), but frames have 6 rows and 5 columns"
    ):
        replace(clip, frames=FIELD[:, None, :, :5])


NAMES = (
    *(
        "a",
        "name",
        "dtype",
        "shape",
        "",
        "a/b",
        " a",
        "a ",
        "1a",
        "_x",
        "_Netcdf4Dimid",
        "_NCProperties",
        "_FillValue",
        "é",
    ),
    *(
        "a\nb",
        "\x00",
        "\ud800",
        "x" * 300,
        "units",
        "bounds",
        "standard_name",
        "axis",
        "calendar",
        "coordinates",
        "grid_mapping",
    ),
    *(
        "scale_factor",
        "missing_value",
        "_Unsigned",
        "positive",
        "CLASS",
        "NAME",
        "REFERENCE_LIST",
        "DIMENSION_LIST",
        "valid_range",
    ),
)
VALUES = (
    *(
        "",
        1.5,
        float("nan"),
        2**70,
        True,
        None,
        {"a": 1},
        [1, 2],
        ["a", "b"],
        [],
        [[1, 2], [3, 4]],
        [[1], [2, 3]],
        b"w",
    ),
    *(
        "\ud800",
        "a\x00b",
        np.datetime64("2020-01-01"),
        1j,
        np.array(5),
        np.array([1], ">f4"),
        np.float16(1),
        np.longdouble(1),
    ),
)


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_no_attribute_stands_in_the_way_of_a_forecast(
    tmp_path: Path, ending: str, value: object
) -> None:
    said = dict.fromkeys(NAMES, value)
    where = {
        "y": Coordinate(("row",), np.arange(6.0), said),
        "crs": Coordinate((), np.array(0), said),
    }
    clip = Clip(
        FIELD[:2, None],
        HOURS[:2],
        "K",
        where,
        variable="t2m",
        attributes={**said, "grid_mapping": "crs"},
    )
    write_grid(tmp_path / f"a{ending}", clip, said)
    (again,) = clips_from(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(again.frames[0:2], clip.frames)
    assert again.units == "K"


def test_a_calendar_without_leap_days_bounds_of_time_and_names_of_places(tmp_path: Path) -> None:
    noleap = np.array(xr.date_range("2001-02-25", periods=8, calendar="noleap", use_cftime=True))
    given = on_a_map().assign_coords(
        time=("time", noleap, {"standard_name": "time", "bounds": "time_bnds"}), region="north"
    )
    given["time_bnds"] = (("time", "bnds"), np.stack([noleap, noleap], axis=1))
    given.time.encoding["units"] = "hours since 2001-02-25"
    given.to_netcdf(tmp_path / "in.nc")
    with forecast_of(tmp_path / "in.nc", tmp_path / "out.nc") as made:
        assert made.time.values.tolist() == noleap[4:7].tolist()
        assert made.forecast_reference_time.item() == noleap[3]
        assert (made.forecast_period.values / np.timedelta64(1, "D")).tolist() == [1, 2, 3]
        assert "bounds" not in made.time.attrs | made.time.encoding
        assert made.region.item() == "north"


def test_a_file_that_xarray_opens_with_all_coordinates_is_the_same(tmp_path: Path) -> None:
    given = on_a_map().isel(y=slice(None, None, -1))
    given.projection_lambert.attrs["GeoTransform"] = "-1250 2500 0 -1250 0 2500"
    given.to_netcdf(tmp_path / "in.nc")
    (clip,) = clips_from(tmp_path / "in.nc")
    with xr.open_dataset(tmp_path / "in.nc", decode_coords="all") as opened:
        assert "projection_lambert" in opened.coords
        (other,) = clips_from(opened)
    assert other.attributes == clip.attributes
    assert other.coordinates.keys() == clip.coordinates.keys()
    np.testing.assert_array_equal(clip.coordinates["y"], on_a_map().y)
    write_grid(tmp_path / "out.nc", clip)  # rows are turned back, to the corner that it tells
    with xr.open_dataset(tmp_path / "out.nc") as made:
        np.testing.assert_array_equal(made.y, given.y)
        assert said_of(made.projection_lambert) == said_of(given.projection_lambert)
