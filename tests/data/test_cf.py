"""What a grid says of itself, a forecast of it says too: files go through the command `foreframe
predict` and come back; xarray and CF's checker are the judges.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from foreframe import Clip, __version__, clips_from
from foreframe.clips.clip import Coordinate
from foreframe.data.cf import write_grid
from foreframe.data.grids import read_grid
from refusals import one_line
from roundtrip import (
    assert_follows_cf,
    assert_said_again,
    attributes,
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
    ("projected", ".nc"): projected(),
    ("projected northward", ".zarr"): projected(northward=True),
    ("north-up", ".zarr"): global_grid(northward=False),
    ("south-up", ".nc"): global_grid(northward=True),
}


@pytest.mark.parametrize(("kind", "ending"), GRIDS)
def test_a_grid_comes_back_as_it_was(tmp_path: Path, kind: str, ending: str) -> None:
    given = GRIDS[kind, ending]
    given.to_netcdf(tmp_path / "in.nc", engine="netcdf4")
    forecast = predicted(tmp_path / "in.nc", tmp_path, ending=ending)
    assert_said_again(forecast, opened(tmp_path / "in.nc"), "t2m")
    made = opened(forecast)
    for name in ("title", "institution", "source", "references"):
        assert made.attrs[name] == FILE[name]
    assert made.attrs["history"].startswith("2024-06-01: retrieved\n")
    assert "forecast from persistence" in made.attrs["history"]
    assert str(tmp_path) not in made.attrs["history"]
    if ending == ".nc":
        assert_follows_cf(forecast)
        difference = made.t2m - given.t2m  # no time is in both, every place is
        assert difference.shape == (0, *given.t2m.shape[1:])


WIND = {"standard_name": "eastward_wind", "units": "m s-1", "grid_mapping": "projection_lambert"}


def with_wind() -> xr.Dataset:
    given = projected(northward=True)
    wind = xr.Variable(("time", "y", "x"), FIELD - 280, WIND, {"coordinates": "lat lon"})
    return given.assign(u10=wind, depth=(("y", "x"), FIELD[0]))


@pytest.mark.parametrize(
    ("ending", "every"), [(".nc", ()), (".zarr", ()), (".nc", ("--every", "1"))]
)
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
    ("options", "rows", "columns", "northward"),
    [
        (["--reading.crop", "[1,2,4,6]"], [1, 2, 3, 4], [2, 3, 4, 5, 6, 7], True),
        (["--reading.coarsen", "2"], [0.5, 2.5, 4.5], [0.5, 2.5, 4.5, 6.5], False),
        (["--reading.size", "[14,3]"], np.arange(14) / 2 - 0.25, [1, 4, 7], True),
    ],
    ids=["crop", "coarsen", "size"],
)
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


def test_files_that_are_joined_keep_what_is_true_of_all(tmp_path: Path) -> None:
    given = projected()
    for k in (0, 3):
        part = given.isel(time=slice(k, k + 3)).assign_coords(orbit=k)
        part["d2m"] = part.t2m.assign_attrs(long_name=f"Dewpoint {k}")
        part.attrs["history"] = f"measured {k}"
        part.to_netcdf(tmp_path / f"{k}.nc")
    (clip,) = clips_from(tmp_path, ["d2m", "t2m"])
    assert len(clip) == 6
    assert clip.about.keys() == {"title", "institution", "source", "references"}
    dewpoint, temperature = clip.variables
    assert dewpoint.attributes.keys() == temperature.attributes.keys() - {"long_name"}
    assert temperature.attributes == {k: v for k, v in given.t2m.attrs.items() if k != "units"}
    assert "orbit" not in clip.coordinates
    moved = given.isel(time=slice(3, 6))
    moved.projection_lambert.attrs["longitude_of_central_meridian"] = 10.0
    (tmp_path / "3.nc").unlink()  # which is still open
    moved.to_netcdf(tmp_path / "4.nc")
    # Another map is another place.
    assert [len(clip) for clip in clips_from(tmp_path, "t2m")] == [3, 3]


def test_what_belongs_to_the_file_stays_there(tmp_path: Path) -> None:
    """Packing, bounds, pointers to what is not carried, and the start of a forecast that was
    read.
    """
    given = projected()
    given["y_bnds"] = (("y", "bnds"), np.zeros((7, 2)))
    given.y.attrs["bounds"] = "y_bnds"
    said = {"standard_name": "forecast_reference_time"}
    given = given.assign_coords(forecast_reference_time=((), HOURS[0], said))
    given.t2m.attrs |= {"valid_range": np.array([0, 9], "i2"), "cell_measures": "area: cells"}
    given.t2m.attrs |= {"note": ["a", "b"], "empty": []}
    packed = {"dtype": "int16", "scale_factor": 0.001, "add_offset": 280.0, "_FillValue": -32768}
    given.to_zarr(tmp_path / "in.zarr", encoding={"t2m": packed}, consolidated=False)
    made = opened(predicted(tmp_path / "in.zarr", tmp_path))
    expected = attributes(projected().t2m) | {"note": "a b", "empty": ""}
    assert attributes(made.t2m) == expected
    assert "bounds" not in made.y.attrs | made.y.encoding
    assert made.forecast_reference_time.values == HOURS[-1]
    assert made.t2m.encoding["dtype"] == np.float32
    given.t2m.attrs["grid_mapping"] = "gone"
    given.drop_vars("projection_lambert").to_netcdf(tmp_path / "in.nc", engine="netcdf4")
    made = opened(predicted(tmp_path / "in.nc", tmp_path))
    assert "grid_mapping" not in made.t2m.attrs | made.t2m.encoding


def test_several_variables_share_what_they_share(tmp_path: Path) -> None:
    given = with_wind()
    (clip,) = clips_from(given, ["t2m", "u10"])
    assert clip.attributes == {"grid_mapping": "projection_lambert"}
    # A forecast has the first of them: those after are inputs.
    write_grid(tmp_path / "a.nc", replace(clip, frames=clip.frames[0:6][:, :1]))
    made = opened(tmp_path / "a.nc")
    assert set(made.data_vars) == {"t2m", "projection_lambert"}
    assert attributes(made.t2m) == attributes(given.t2m)


WORDS = (
    "a name dtype _x _NCProperties _FillValue units standard_name axis calendar coordinates 1a a/b "
    "grid_mapping scale_factor missing_value _Unsigned CLASS DIMENSION_LIST é"
)
NAMES = [*WORDS.split(), "", " a", "a\nb", "\x00", "\ud800", "x" * 300]
PLAIN = ["", 1.5, float("nan"), 2**70, True, {"a": 1}, b"w", "\ud800", "a\x00b", 1j]
ROWS = [[1, 2], ["a", "b"], [], [[1], [2, 3]], np.array([1], ">f4"), np.float16(1)]


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
def test_no_attribute_stands_in_the_way_of_a_forecast(tmp_path: Path, ending: str) -> None:
    for value in PLAIN + ROWS:
        said = dict.fromkeys(NAMES, value)
        where = {
            "y": Coordinate(("row",), np.arange(7.0), said),
            "crs": Coordinate((), np.array(0), said),
        }
        of_it = {**said, "grid_mapping": "crs"}
        clip = Clip(FIELD[:2, None], HOURS[:2], "K", where, variable="t2m", attributes=of_it)
        write_grid(tmp_path / f"a{ending}", clip, said)
        (again,) = clips_from(tmp_path / f"a{ending}")
        np.testing.assert_array_equal(again.frames[0:2], clip.frames, err_msg=repr(value))
        assert again.units == "K"


def test_a_file_that_xarray_opens_with_all_coordinates_is_the_same(tmp_path: Path) -> None:
    given = projected(northward=True)
    given.projection_lambert.attrs["GeoTransform"] = "-1250 2500 0 -1250 0 2500"
    given.to_netcdf(tmp_path / "in.nc", engine="netcdf4")
    (clip,) = clips_from(tmp_path / "in.nc")
    with xr.open_dataset(tmp_path / "in.nc", decode_coords="all") as every:
        assert "projection_lambert" in every.coords
        (other,) = clips_from(every)
    assert other.attributes == clip.attributes
    assert other.coordinates.keys() == clip.coordinates.keys()
    np.testing.assert_array_equal(clip.coordinates["y"], projected().y)
    write_grid(tmp_path / "out.nc", clip)  # rows are turned back, to the corner that it tells
    made = opened(tmp_path / "out.nc")
    np.testing.assert_array_equal(made.y, given.y)
    assert attributes(made.projection_lambert) == attributes(given.projection_lambert)


# -- clips that come from no file, and forecasts by start

SMALL = np.random.default_rng(1).normal(280, 5, (6, 4, 5)).astype(np.float32)
SOUTHWARD = np.array([60.0, 59.5, 59.0, 58.5])
EASTWARD = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
NOLEAP = np.array(xr.date_range("2000-02-27", periods=6, calendar="noleap", use_cftime=True))


def same(a: Clip, b: Clip) -> None:
    np.testing.assert_array_equal(a.frames[:], b.frames[:])
    np.testing.assert_array_equal(a.times, b.times)
    assert (a.units, a.variable) == (b.units, b.variable)
    assert list(a.coordinates) == list(b.coordinates)
    for name, values in a.coordinates.items():
        np.testing.assert_array_equal(values, b.coordinates[name])


def clips_to_write() -> dict[str, Clip]:
    frames = SMALL[:, None].copy()
    frames[3, 0, 1, 2] = np.nan
    colours = np.concatenate([frames, frames * 2, frames * 3], axis=1)
    places = {"latitude": SOUTHWARD, "longitude": EASTWARD}
    curved = {
        "latitude": SOUTHWARD[:, None] - 0.1 * np.arange(5),
        "longitude": 370.0 + np.arange(20.0).reshape(4, 5),
    }
    upside = {"y": np.arange(4.0), "x": EASTWARD}
    return {
        "plain": Clip(frames, HOURS, "K", places, variable="t2m"),
        "noleap": Clip(frames, NOLEAP, "K", {"lat": SOUTHWARD, "lon": EASTWARD}, variable="t2m"),
        "curved": Clip(frames, HOURS, "", curved, variable="sst"),
        "upside": Clip(frames, HOURS, "", upside, variable="rain"),
        "seconds": Clip(frames, np.arange(6) * 0.04, variable="forecast"),
        "index": Clip(frames, variable="forecast"),
        "names": Clip(colours[:, :2], HOURS, "K, m/s", variable="t2m, u10"),
        "colours": Clip(colours, np.arange(6) * 0.04, variable="rgb"),
        "single row": Clip(frames[:1, :, :1], HOURS[:1], "K", variable="t2m"),
    }


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
def test_what_is_written_is_read_back(tmp_path: Path, ending: str) -> None:
    for kind, clip in clips_to_write().items():
        write_grid(tmp_path / f"{kind}{ending}", clip)
        read = read_grid(tmp_path / f"{kind}{ending}")
        same(read, clip)
        assert read.notes == ()
    assert len(os.listdir(tmp_path)) == len(clips_to_write())


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
def test_xarray_opens_what_is_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "deep" / f"a{ending}"
    said = {"model": "convlstm", "epochs": 3, "none": None, "list": [1, "a"]}
    # The title does not tell where the source lay.
    write_grid(path, replace(clips_to_write()["plain"], name=str(tmp_path / "rain.npz")), said)
    data = opened(path)
    assert data["t2m"].dims == ("time", "latitude", "longitude")
    assert data["t2m"].encoding["dtype"] == np.float32
    assert np.isnan(data["t2m"].encoding.get("_FillValue", data["t2m"].encoding.get("fill_value")))
    north = {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}
    assert data["latitude"].attrs == north
    assert data["time"].attrs["standard_name"] == "time"
    assert data.attrs.pop("history").endswith(f"Z: foreframe {__version__}")
    own = {"model": "convlstm", "epochs": 3, "list": "1 a"}
    assert data.attrs == {"Conventions": "CF-1.10", "title": "rain.npz", **own}


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
def test_rolling_forecasts_have_starts_leads_and_valid_times(tmp_path: Path, ending: str) -> None:
    hour = np.timedelta64(1, "h")
    for times, step in ((HOURS, hour), (NOLEAP, NOLEAP[1] - NOLEAP[0]), (np.arange(6) * 0.5, 0.5)):
        valid = np.stack([times[k : k + 3] for k in (1, 2, 3)])
        clips = [
            Clip(SMALL[k : k + 3, None], when, "K", variable="t2m")
            for k, when in enumerate(valid, 1)
        ]
        write_grid(tmp_path / f"a{ending}", clips)
        data = opened(tmp_path / f"a{ending}")
        assert data["t2m"].dims == ("start", "lead", "y", "x")
        np.testing.assert_array_equal(data["start"], times[:3])
        np.testing.assert_array_equal(data["time"], valid)
        expected = np.array([1, 2, 3]) * np.array(step)
        expected = expected if expected.dtype.kind == "f" else expected.astype("m8[ns]")
        np.testing.assert_array_equal(data["lead"], expected)
        assert data["start"].attrs["standard_name"] == "forecast_reference_time"
        assert data["lead"].attrs["standard_name"] == "forecast_period"
        same(read_grid(tmp_path / f"a{ending}", select={"start": times[1]}), clips[1])
    with pytest.raises(ValueError, match="other dimensions: lead"):
        read_grid(tmp_path / f"a{ending}")


def test_rolling_forecasts_whose_leads_differ_or_do_not_tell(tmp_path: Path) -> None:
    months = np.arange("2007-01", "2007-07", dtype="M8[M]").astype("M8[ns]")
    pairs = [SMALL[k : k + 2, None] for k in (1, 2, 3)]
    by_month = [Clip(p, months[k : k + 2], start=months[k - 1]) for k, p in enumerate(pairs, 1)]
    write_grid(tmp_path / "a.nc", by_month)
    data = opened(tmp_path / "a.nc")
    assert "lead" not in data.coords
    np.testing.assert_array_equal(data["start"], months[:3])
    np.testing.assert_array_equal(data["time"][2], months[3:5])
    write_grid(tmp_path / "a.nc", [Clip(pair) for pair in pairs])
    data = opened(tmp_path / "a.nc")
    assert data["forecast"].dims == ("start", "lead", "y", "x")
    for wrong, words in (
        ([], "no forecasts"),
        ([*by_month, Clip(SMALL[:1, None])], "must have the same shape"),
    ):
        with pytest.raises(ValueError, match=words):
            write_grid(tmp_path / "b.nc", wrong)
    assert os.listdir(tmp_path) == ["a.nc"]


def test_an_old_store_is_replaced_and_anything_else_is_left(tmp_path: Path) -> None:
    clips = clips_to_write()
    for ending in (".nc", ".zarr"):
        write_grid(tmp_path / f"a{ending}", clips["names"])
        write_grid(tmp_path / f"a{ending}", clips["plain"])
        same(read_grid(tmp_path / f"a{ending}"), clips["plain"])
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("dear")
    (tmp_path / "file").write_text("dear")
    for path, words in (
        ("mine.zarr", "no Zarr store"),
        ("file/a.nc", "cannot make the folder"),
        ("a.csv", "written as .nc or .zarr"),
    ):
        with one_line(words):
            write_grid(tmp_path / path, clips["plain"])
    assert (tmp_path / "mine.zarr" / "thesis.txt").read_text() == "dear"
