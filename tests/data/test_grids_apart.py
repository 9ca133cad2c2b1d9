"""Grids that do not lie at the root of a file on this machine: in groups, and behind URLs."""

import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr
from fsspec.implementations.memory import MemoryFile

from foreframe import clips_from
from foreframe.data.grids import read_grid
from refusals import one_line

HOURS = np.datetime64("2019-03-01T00", "ns") + np.arange(6) * np.timedelta64(1, "h")
FIELD = np.random.default_rng(1).normal(280, 5, (6, 4, 5)).astype(np.float32)
LATITUDE = {"standard_name": "latitude", "units": "degrees_north"}
PROJECTION = {"grid_mapping_name": "latitude_longitude", "earth_radius": 6371000.0}


def in_groups() -> xr.DataTree:
    """Times and places at the root, fields in groups; one of them has a level of its own."""
    root = xr.Dataset(
        {"crs": ((), np.int32(0), PROJECTION)},
        {
            "time": HOURS,
            "lat": ("lat", [60.0, 59.5, 59.0, 58.5], LATITUDE),
            "lon": ("lon", np.arange(5.0), {"standard_name": "longitude"}),
        },
        {"title": "several products"},
    )
    dims, said = ("time", "lat", "lon"), {"units": "K", "grid_mapping": "crs"}
    near = xr.Dataset({"t": (dims, FIELD, said)}, attrs={"institution": "near the ground"})
    far = xr.Dataset({"t": (dims, FIELD - 60, said), "z": (dims, FIELD * 2)}, {"level": 500.0})
    return xr.DataTree.from_dict({"/": root, "/near": near, "/aloft/middle": far})


@pytest.fixture(params=["nc", "zarr", "zip"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"a.{request.param}"
    if request.param == "nc":
        in_groups().to_netcdf(path, engine="netcdf4", write_inherited_coords=False)
    else:
        in_groups().to_zarr(tmp_path / "a.zarr", consolidated=False, write_inherited_coords=False)
        if request.param == "zip":
            shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "a.zarr")
    return path


def test_a_field_of_a_group_knows_what_its_root_says(source: Path) -> None:
    clip = read_grid(source, "near/t")
    np.testing.assert_array_equal(clip.frames[0:6][:, 0], FIELD)
    np.testing.assert_array_equal(clip.times, HOURS)
    assert (clip.variable, clip.units) == ("t", "K")
    assert clip.coordinates["lat"].attributes == LATITUDE
    assert clip.coordinates["lat"].dims == ("row",)
    assert clip.coordinates["crs"].attributes == PROJECTION
    assert clip.about == {"title": "several products", "institution": "near the ground"}
    clip = read_grid(source, ["aloft/middle/z", "aloft/middle/t"])
    np.testing.assert_array_equal(clip.frames[2:4], np.stack([FIELD * 2, FIELD - 60], 1)[2:4])
    assert clip.coordinates["level"].values == 500


def test_what_no_group_has(source: Path) -> None:
    for variable, words in (
        (None, "a variable of a group is named group/name"),
        ("far/t", "cannot open .*, group far; check the path"),
        ("near/u", "has no variable u; it has t"),
        (["near/t", "aloft/middle/t"], "one group, not in near, aloft/middle"),
    ):
        with one_line(words):
            read_grid(source, variable)


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
