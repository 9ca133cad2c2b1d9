"""Grids are proved against files that xarray and netCDF4 write, and against what xarray reads from
ours.
"""

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cftime
import fsspec
import numpy as np
import pytest
import xarray as xr
from fsspec.implementations.memory import MemoryFile

from foreframe import clips_from
from foreframe.clips.clip import Clip
from foreframe.data.grids import read_grid
from refusals import one_line

HOURS = np.datetime64("2019-03-01T00", "ns") + np.arange(6) * np.timedelta64(1, "h")
NOLEAP = xr.date_range("2000-02-27", periods=6, calendar="noleap", use_cftime=True)
FIELD = np.random.default_rng(1).normal(280, 5, (6, 4, 5)).astype(np.float32)
SOUTHWARD = np.array([60.0, 59.5, 59.0, 58.5])
EASTWARD = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])


def era_like(field: np.ndarray = FIELD, **changes: np.ndarray) -> xr.Dataset:
    coords = {"time": HOURS, "latitude": SOUTHWARD, "longitude": EASTWARD, **changes}
    return xr.Dataset({"t2m": (("time", "latitude", "longitude"), field, {"units": "K"})}, coords)


def whole(clip: Clip) -> np.ndarray:
    return clip.frames[0 : len(clip)]


# -- reading


@pytest.mark.parametrize(
    "order", [("longitude", "latitude", "time"), ("latitude", "time", "longitude")]
)
def test_dimensions_come_in_any_order(tmp_path: Path, order: tuple[str, ...]) -> None:
    era_like().transpose(*order).to_netcdf(tmp_path / "era.nc")
    np.testing.assert_array_equal(whole(read_grid(tmp_path / "era.nc"))[:, 0], FIELD)
    np.testing.assert_array_equal(read_grid(tmp_path / "era.nc").frames[1:3][:, 0], FIELD[1:3])


def test_unnamed_space_is_the_last_two_dimensions_and_one_level_is_dropped() -> None:
    data = xr.DataArray(FIELD[:, None, :, :, None], dims=("t", "z", "a", "b", "one"))
    clip = read_grid(data)
    np.testing.assert_array_equal(whole(clip)[:, 0], FIELD)
    assert clip.times is None
    assert clip.coordinates == {}
    assert read_grid(xr.DataArray(FIELD, dims=("a", "b", "time"))).frames.shape == (5, 1, 6, 4)


@pytest.mark.parametrize(
    ("down", "across"),
    [
        ({"axis": "Y"}, {"axis": "X"}),
        ({"units": "degrees_north"}, {"units": "degrees_east"}),
        ({"axis": "Y"}, {}),
    ],
)
def test_attributes_tell_the_sides_whatever_they_are_called(down: dict, across: dict) -> None:
    """Rows are called x and come last; a column that nothing describes has a name that tells."""
    columns = "y" if across else "lon"
    data = xr.Dataset(
        {"v": (("time", columns, "x"), FIELD.transpose(0, 2, 1))},
        {"time": HOURS, "x": ("x", SOUTHWARD, down), columns: (columns, EASTWARD, across)},
        {"coordinates": "time"},
    )
    clip = read_grid(data)
    np.testing.assert_array_equal(whole(clip)[:, 0], FIELD)
    assert clip.dims == ("x", columns)
    assert clip.coordinates["x"].dims == ("row",)


def test_packed_integers_and_fill_values(tmp_path: Path) -> None:
    field = FIELD.copy()
    field[2, 1, 3] = np.nan
    packed = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32767}
    era_like(field).to_netcdf(tmp_path / "a.nc", encoding={"t2m": packed})
    read = whole(read_grid(tmp_path / "a.nc"))[:, 0]
    np.testing.assert_allclose(read, field, atol=0.006)
    assert np.isnan(read[2, 1, 3])
    assert np.isnan(read).sum() == 1


def test_rows_are_turned_north_up_with_their_coordinates() -> None:
    south = era_like(FIELD[:, ::-1], latitude=SOUTHWARD[::-1])
    clip = read_grid(south)
    np.testing.assert_array_equal(whole(clip)[:, 0], FIELD)
    np.testing.assert_array_equal(clip.coordinates["latitude"], SOUTHWARD)
    assert clip.notes == ("rows ran south to north: turned north-up",)

    plain = xr.Dataset(
        {"v": (("time", "y", "x"), FIELD)}, {"time": HOURS, "y": np.arange(4) * 10.0}
    )
    assert read_grid(plain).notes == ()
    np.testing.assert_array_equal(whole(read_grid(plain))[:, 0], FIELD)
    plain["y"].attrs["standard_name"] = "projection_y_coordinate"
    np.testing.assert_array_equal(whole(read_grid(plain))[:, 0], FIELD[:, ::-1])
    np.testing.assert_array_equal(read_grid(plain).coordinates["y"], [30, 20, 10, 0])


def test_a_curved_grid_is_turned_by_its_latitudes() -> None:
    latitude = SOUTHWARD[::-1, None] + 0.1 * np.arange(5)
    longitude = 370.0 + np.arange(20.0).reshape(4, 5)
    dims = ("Time", "south_north", "west_east")
    data = xr.Dataset(
        {"v": (dims, FIELD), "XLONG": (dims[:0:-1], longitude.T)},
        {"Time": HOURS, "XLAT": (dims, np.tile(latitude, (6, 1, 1)))},
    )
    clip = read_grid(data)  # XLONG is no candidate, XLAT is repeated at every time
    np.testing.assert_array_equal(whole(clip)[:, 0], FIELD[:, ::-1])
    np.testing.assert_array_equal(clip.coordinates["XLAT"], latitude[::-1])
    np.testing.assert_array_equal(clip.coordinates["XLONG"], longitude[::-1])
    assert set(clip.coordinates) == {"XLAT", "XLONG"}


def levels() -> xr.Dataset:
    field = np.stack([FIELD, FIELD + 10, FIELD + 20], axis=1)
    dims = ("time", "level", "latitude", "longitude")
    return era_like().assign(z=(dims, field)).assign_coords(level=[500.0, 700.0, 850.0])


def test_a_level_is_selected_by_its_nearest_value() -> None:
    clip = read_grid(levels(), "z", {"level": "700"})
    np.testing.assert_array_equal(whole(clip)[:, 0], FIELD + 10)
    assert clip.notes == ()
    assert read_grid(levels(), "z", {"level": 840}).notes == ("level 850.0 is the nearest to 840",)
    bare = levels().drop_vars("level")
    np.testing.assert_array_equal(whole(read_grid(bare, "z", {"level": 2}))[:, 0], FIELD + 20)
    for source, choice, words in (
        (levels(), {}, r"level \(500.0, 700.0, 850.0\); select one of each, e.g. level=500.0"),
        (bare, {"level": 3}, r"3 is no choice of level \(0, 1, 2\)"),
        (levels(), {"level": "low"}, "'low' is no choice of level"),
        (levels(), {"depth": 3}, "no dimension depth"),
    ):
        with pytest.raises(ValueError, match=words):
            read_grid(source, "z", choice)


def test_several_variables_become_channels_in_their_order() -> None:
    data = era_like().assign(
        u=(("longitude", "time", "latitude"), FIELD.transpose(2, 0, 1) * 2, {"units": "m/s"})
    )
    clip = read_grid(data, ["u", "t2m"])
    np.testing.assert_array_equal(whole(clip), np.stack([FIELD * 2, FIELD], axis=1))
    assert (clip.variable, clip.units) == ("u, t2m", "m/s, K")
    assert read_grid(data, ["t2m", "t2m"]).units == "K"
    with pytest.raises(ValueError, match="several variables: t2m, u; name one by"):
        read_grid(data)
    other = data.assign(s=(("time", "lat_s", "longitude"), FIELD[:, 1:]))
    with pytest.raises(ValueError, match=r"lat_s, longitude; a time .* the same for all"):
        read_grid(other, ["t2m", "s"])


def test_bounds_maps_and_scalars_are_no_candidates() -> None:
    data = era_like().assign(
        crs=0,
        mask=(("latitude", "longitude"), FIELD[0]),
        cells=(("time", "latitude", "longitude"), FIELD),
        label=(("time", "latitude", "longitude"), FIELD.astype(str)),
    )
    data["latitude"].attrs["bounds"] = "cells"
    assert read_grid(data).variable == "t2m"


@pytest.mark.parametrize(
    ("values", "units", "expected"),
    [
        (np.arange(6) * 0.5, "", np.arange(6) * 0.5),
        (np.arange(1, 7), "minutes", np.arange(1, 7) * 60.0),
        (np.arange(6), "", None),
    ],
)
def test_times_that_are_numbers(
    tmp_path: Path, values: np.ndarray, units: str, expected: np.ndarray | None
) -> None:
    era_like().assign_coords(time=("time", values, {"units": units})).to_netcdf(tmp_path / "a.nc")
    np.testing.assert_array_equal(read_grid(tmp_path / "a.nc").times, expected)


def test_times_of_other_calendars_and_names(tmp_path: Path) -> None:
    era_like(time=NOLEAP).to_netcdf(tmp_path / "a.nc")
    times = read_grid(tmp_path / "a.nc").times
    assert times is not None
    assert isinstance(times[0], cftime.DatetimeNoLeap)
    assert [d.day for d in times] == [27, 28, 1, 2, 3, 4]
    renamed = era_like().rename(time="valid_time")
    apart = era_like().rename(time="n").drop_vars("n").assign_coords(stamp=("n", HOURS))
    for data in (renamed, apart):
        np.testing.assert_array_equal(read_grid(data).times, HOURS)
    months = ("time", np.arange(6.0), {"units": "months since 2000-01-01"})
    with pytest.raises(ValueError, match="times in 'months since 2000-01-01' are not supported"):
        read_grid(era_like().assign_coords(time=months))


def test_folders_and_urls_also_of_workers(tmp_path: Path) -> None:
    era_like().to_zarr(tmp_path / "a.zarr", consolidated=False)
    era_like().to_zarr("memory://test_grid.zarr", mode="w", consolidated=False)
    era_like().to_netcdf(tmp_path / "a.nc")
    sources = [tmp_path / "a.nc", tmp_path / "a.zarr"]
    urls = [tmp_path.joinpath(name).as_uri() for name in ("a.zarr", "a.nc")]
    for source in [*sources, *urls, "memory://test_grid.zarr"]:
        clip = pickle.loads(pickle.dumps(read_grid(source)))
        np.testing.assert_array_equal(whole(clip)[:, 0], FIELD)
        assert clip.name == str(source).rsplit("/", 1)[-1]


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.nc").write_text("no grid\n" * 50)
    (tmp_path / "folder.zarr").mkdir()
    for kind in ("NETCDF4", "NETCDF3_64BIT"):
        era_like().to_netcdf(tmp_path / "a.nc", format=kind)
        content = (tmp_path / "a.nc").read_bytes()
        (tmp_path / f"cut_{kind}.nc").write_bytes(content[: len(content) // 2])
    flat = era_like().isel(time=0)
    flat.to_netcdf(tmp_path / "flat.nc")
    for source, variable, words in (
        (tmp_path / "none.nc", None, "there is no file or folder"),
        (tmp_path / "text.nc", None, "cannot open .*text.nc; check the path, or copy it again"),
        (tmp_path / "cut_NETCDF4.nc", None, "cannot open"),
        (tmp_path / "cut_NETCDF3_64BIT.nc", None, "cannot open .*it was cut short"),
        (tmp_path / "folder.zarr", None, "cannot open"),
        (tmp_path / "a.nc", "sst", "a.nc has no variable sst; it has t2m"),
        (
            tmp_path / "flat.nc",
            None,
            "no variable with a time and two space dimensions; "
            r"it has t2m \(latitude, longitude\)",
        ),
        (tmp_path / "flat.nc", "t2m", r"has the dimensions latitude, longitude; a time"),
        (era_like().isel(latitude=0), "t2m", "has the dimensions time, longitude; a time"),
        (era_like().isel(time=slice(0)), None, "is empty"),
        (xr.DataArray(FIELD.astype(str), dims=("time", "y", "x"), name="v"), "v", "no variable v"),
        ("memory://nothing.zarr", None, "check the address and the connection"),
        ("gopherspace://a.zarr", None, "cannot open gopherspace://a.zarr; check"),
        (7, None, "not a int"),
    ):
        with one_line(words):
            read_grid(source, variable)


def test_damage_that_shows_only_in_reading_is_one_line_too(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(6, 60, 60)).astype(np.float32)
    data = xr.Dataset({"v": (("time", "y", "x"), noise)}, {"time": HOURS})
    data.to_netcdf(tmp_path / "a.nc", encoding={"v": {"zlib": True, "chunksizes": (1, 60, 60)}})
    content = bytearray((tmp_path / "a.nc").read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    (tmp_path / "a.nc").write_bytes(content)
    with one_line(r"cannot read a\.nc; is it whole"):
        whole(read_grid(tmp_path / "a.nc"))


def test_a_file_that_was_read_can_be_written_again(tmp_path: Path) -> None:
    """Though the clip is still in use, which then reads the new file."""
    path = tmp_path / "hourly.nc"
    for field in (FIELD, FIELD + 1):
        era_like(field).to_netcdf(path)
        clip = read_grid(path)
        assert np.nanmax(clip.frames[1:2]) == np.nanmax(field[1:2])
        last = clip.frames
    era_like(FIELD).to_netcdf(path)
    assert np.nanmax(last[:]) == FIELD.max()


# -- behind URLs


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Puts a file of the folder behind a URL; all are removed at the end."""
    memory = fsspec.filesystem("memory")

    def put(name: str) -> str:
        memory.put(str(tmp_path / name), f"/apart/{name}")
        return f"memory://apart/{name}"

    yield put
    memory.rm("/apart", recursive=True)


def test_netcdf_behind_a_url_is_read_by_the_slice(
    tmp_path: Path, remote: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).normal(size=(48, 40, 50)).astype(np.float32)
    hours = HOURS[0] + np.arange(48) * np.timedelta64(1, "h")
    rain = xr.Dataset({"rain": (("time", "y", "x"), noise, {"units": "mm/h"})}, {"time": hours})
    chunks = {"rain": {"chunksizes": (1, 40, 50)}}
    rain.to_netcdf(tmp_path / "rain.nc", engine="netcdf4", encoding=chunks)
    read: list[int] = []
    original = MemoryFile.readinto
    monkeypatch.setattr(
        MemoryFile, "readinto", lambda f, into: read.append(n := original(f, into)) or n
    )
    (clip,) = clips_from(remote("rain.nc"))
    np.testing.assert_array_equal(clip.times, hours)
    np.testing.assert_array_equal(clip[3:5].frames[:, 0], noise[3:5])
    assert 0 < sum(read) < noise.nbytes / 2
    again = pickle.loads(pickle.dumps(clip))  # as workers get it
    np.testing.assert_array_equal(again[9:10].frames[:, 0], noise[9:10])


def test_what_a_url_does_not_give_is_said_in_one_line(
    tmp_path: Path, remote: Callable[[str], str]
) -> None:
    data = xr.Dataset({"v": (("time", "y", "x"), FIELD)}, {"time": HOURS})
    data.to_netcdf(tmp_path / "classic.nc", engine="netcdf4", format="NETCDF3_64BIT")
    for url in (remote("classic.nc"), "memory://apart/none.nc"):
        with one_line(f"cannot open {url}; check the address"):
            read_grid(url)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("h5netcdf", "h5py", "fsspec"):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            ValueError, match=rf"needs {package}; pip install 'foreframe\[remote\]'"
        ):
            read_grid("memory://a.nc")
        monkeypatch.undo()
