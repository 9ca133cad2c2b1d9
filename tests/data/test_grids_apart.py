"""Grids that do not lie at the root of a file on this machine: in groups, and behind URLs."""

import functools
import http.server
import pickle
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from foreframe import clips_from
from foreframe.data.grids import read_grid
from roundtrip import opened, predicted

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
        (None, "one that lies in a group is named group/name"),
        ("far/t", "group far is not a whole"),
        ("near/u", "has no variable u; it holds t"),
        (["near/t", "aloft/middle/t"], "one group, not from near, aloft/middle"),
    ):
        with pytest.raises(ValueError, match=words) as told:
            read_grid(source, variable)
        assert "\n" not in str(told.value)


def test_a_forecast_of_a_field_in_a_group(tmp_path: Path) -> None:
    in_groups().to_netcdf(tmp_path / "a.nc", engine="netcdf4", write_inherited_coords=False)
    made = opened(predicted(tmp_path / "a.nc", tmp_path, "--reading.variable", "near/t"))
    np.testing.assert_allclose(made.t[0], FIELD[-1], rtol=1e-5)
    assert made.crs.attrs == PROJECTION


# -- behind URLs -----------------------------------------------------------------------------------


class Ranges(http.server.SimpleHTTPRequestHandler):
    """The standard library's server of files, which also sends stretches of them."""

    sent: list[int]
    ranges = True

    def do_GET(self) -> None:
        asked = re.match(r"bytes=(\d+)-(\d+)$", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not (self.ranges and asked and path.is_file()):
            return super().do_GET()
        whole = path.read_bytes()
        part = whole[int(asked[1]) : int(asked[2]) + 1]
        self.sent.append(len(part))
        self.send_response(206)
        last = int(asked[1]) + len(part) - 1
        self.send_header("Content-Range", f"bytes {asked[1]}-{last}/{len(whole)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes" if self.ranges else "none")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    Ranges.sent, Ranges.ranges = [], True
    handler = functools.partial(Ranges, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as here:
        threading.Thread(target=here.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{here.server_address[1]}"
        here.shutdown()


def test_netcdf_behind_a_url_is_read_by_the_slice(tmp_path: Path, server: str) -> None:
    noise = np.random.default_rng(0).normal(size=(48, 400, 500)).astype(np.float32)
    hours = HOURS[0] + np.arange(48) * np.timedelta64(1, "h")
    rain = xr.Dataset({"rain": (("time", "y", "x"), noise, {"units": "mm/h"})}, {"time": hours})
    chunks = {"rain": {"chunksizes": (1, 400, 500)}}
    rain.to_netcdf(tmp_path / "rain.nc", engine="netcdf4", encoding=chunks)
    (clip,) = clips_from(f"{server}/rain.nc")
    assert clip.frames.shape == (48, 1, 400, 500)
    np.testing.assert_array_equal(clip.times, hours)
    np.testing.assert_array_equal(clip[3:5].frames[:, 0], noise[3:5])
    assert 0 < sum(Ranges.sent) < (tmp_path / "rain.nc").stat().st_size / 2
    again = pickle.loads(pickle.dumps(clip))  # as workers get it
    np.testing.assert_array_equal(again[9:10].frames[:, 0], noise[9:10])


def test_groups_behind_a_url(tmp_path: Path, server: str) -> None:
    in_groups().to_netcdf(tmp_path / "a.nc", engine="netcdf4", write_inherited_coords=False)
    clip = read_grid(f"{server}/a.nc", "near/t")
    np.testing.assert_array_equal(clip.frames[0:6][:, 0], FIELD)
    np.testing.assert_array_equal(clip.times, HOURS)
    with pytest.raises(ValueError, match=r"a\.nc, group far; check"):
        read_grid(f"{server}/a.nc", "far/t")


def test_what_a_url_does_not_give_is_said_in_one_line(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = xr.Dataset({"v": (("time", "y", "x"), FIELD)}, {"time": HOURS})
    data.to_netcdf(tmp_path / "classic.nc", engine="netcdf4", format="NETCDF3_64BIT")
    data.to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    (tmp_path / "text.nc").write_text("no grid\n" * 50)
    for name in ("classic.nc", "text.nc", "none.nc"):
        with pytest.raises(ValueError, match=f"cannot open {server}/{name}; check") as told:
            read_grid(f"{server}/{name}")
        assert "\n" not in str(told.value)

    Ranges.ranges = False
    with pytest.raises(ValueError, match=r"address and the connection \("):
        read_grid(f"{server}/a.nc").frames[0:1]
    Ranges.ranges = True
    for package in ("h5netcdf", "h5py", "fsspec"):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            ValueError, match=rf"needs {package}; pip install 'foreframe\[remote\]'"
        ):
            read_grid(f"{server}/a.nc")
        monkeypatch.undo()
