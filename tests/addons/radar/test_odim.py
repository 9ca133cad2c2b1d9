"""ODIM_H5: files made by h5py after the specification; PROJ and xarray are the judges."""

import sys
from datetime import datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest
import xarray as xr

from foreframe.addons.radar.odim import read_odim
from refusals import one_line
from roundtrip import assert_follows_cf, assert_said_again, predicted

LAEA = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84"
STORED = {"quantity": "DBZH", "gain": 0.5, "offset": -32.0, "nodata": 255.0, "undetect": 0.0}
NOON = datetime(2020, 11, 16, 12)
RAW = np.random.default_rng(0).integers(1, 255, (6, 8, 12), dtype=np.uint8)
RAW[:, 0, :3], RAW[:, 1, :5] = 255, 0  # not measured; nothing detected


def write(
    path: Path,
    pictures: list[dict],
    kind: str = "COMP",
    time: datetime = NOON,
    projection: str = LAEA,
    corner: tuple[float, float] = (-10.0, 67.0),
    scale: float = 2000.0,
) -> Path:
    """A file with one dataset for each picture: its `raw` numbers, and what it says of them."""
    height, width = pictures[0]["raw"].shape
    numbers = {"xsize": width, "ysize": height, "xscale": scale, "yscale": scale}
    what = {"object": kind, "date": f"{time:%Y%m%d}", "time": f"{time:%H%M%S}"}
    place = {"UL_lon": corner[0], "UL_lat": corner[1], "projdef": projection}
    with h5py.File(path, "w") as file:
        _say(file.create_group("what"), what)
        _say(file.create_group("where"), numbers | place)
        for n, picture in enumerate(pictures):
            said = STORED | picture
            raw, end = said.pop("raw"), time + timedelta(seconds=-13)
            data = file.create_group(f"dataset{n + 1}/data1")
            data["data"] = raw
            times = {"enddate": f"{end:%Y%m%d}", "endtime": f"{end:%H%M%S}"}
            _say(data.create_group("what"), said | times)
            data.create_group("quality1")["data"] = np.zeros_like(raw)
    return path


def _say(group: h5py.Group, attributes: dict) -> None:
    for key, value in attributes.items():
        group.attrs[key] = np.bytes_(value) if isinstance(value, str) else value


def test_values_times_and_place(tmp_path: Path) -> None:
    clip = read_odim(write(tmp_path / "a.h5", [{"raw": RAW[0]}]))
    frame = clip.frames[0:1][0, 0]
    expected = RAW[0] * 0.5 - 32.0
    expected[0, :3], expected[1, :5] = np.nan, -32.0
    np.testing.assert_array_equal(frame, expected.astype(np.float32))
    assert (clip.units, clip.variable, clip.dims) == ("dBZ", "DBZH", ("y", "x"))
    assert clip.attributes["standard_name"] == "equivalent_reflectivity_factor"
    assert clip.times.tolist() == np.array([NOON], "M8[ns]").tolist()  # not the end of its scan
    assert clip.notes == ("DBZH: where nothing was detected (undetect) the value is -32 dBZ",)

    said = clip.coordinates["crs"].attributes
    assert said["grid_mapping_name"] == "lambert_azimuthal_equal_area"
    crs = pyproj.CRS.from_cf(said)
    back = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    x, y = clip.coordinates["x"].values, clip.coordinates["y"].values
    np.testing.assert_allclose(back.transform(x[0] - 1000, y[0] + 1000), (-10, 67), atol=1e-9)
    np.testing.assert_allclose(np.diff(x), 2000)
    np.testing.assert_allclose(np.diff(y), -2000)
    assert clip.coordinates["y"].attributes["units"] == "m"


@pytest.mark.parametrize(
    ("quantity", "units", "nothing"),
    [("RATE", "mm/h", 0.0), ("TH", "dBZ", -32.0), ("CLASS", "", np.nan)],
)
def test_nothing_detected_is_told_from_not_measured(
    tmp_path: Path, quantity: str, units: str, nothing: float
) -> None:
    raw = np.array([[-8888000.0, -9999000.0, 1.5]])
    said = {"quantity": quantity, "gain": 1.0, "offset": 0.0, "nodata": -9999000.0}
    path = write(tmp_path / "a.hdf", [{"raw": raw, **said, "undetect": -8888000.0}])
    clip = read_odim(path)
    np.testing.assert_array_equal(clip.frames[0:1].ravel(), [nothing, np.nan, 1.5])
    assert clip.units == units
    assert ("missing" in clip.notes[0]) == bool(np.isnan(nothing))


def test_degrees_and_kilometres(tmp_path: Path) -> None:
    globe = "+proj=longlat +ellps=WGS84"
    where = {"projection": globe, "corner": (5.0, 50.0), "scale": 0.5}
    clip = read_odim(write(tmp_path / "a.h5", [{"raw": RAW[0]}], "IMAGE", **where))
    assert clip.dims == ("latitude", "longitude")
    np.testing.assert_allclose(clip.coordinates["latitude"].values, 49.75 - 0.5 * np.arange(8))
    in_km = LAEA.replace("+units=m", "+units=km")
    metres = read_odim(write(tmp_path / "m.h5", [{"raw": RAW[0]}])).coordinates
    clip = read_odim(write(tmp_path / "k.h5", [{"raw": RAW[0]}], projection=in_km))
    for name in ("x", "y"):
        np.testing.assert_allclose(clip.coordinates[name].values * 1000, metres[name].values)
    polar = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +a=6378137 +b=6356752"
    clip = read_odim(write(tmp_path / "p.h5", [{"raw": RAW[0]}], projection=polar))
    assert clip.coordinates["crs"].attributes["latitude_of_projection_origin"] == 90.0


def test_several_quantities_and_datasets_of_a_file(tmp_path: Path) -> None:
    rate = {"quantity": "RATE", "raw": RAW[1]}
    path = write(tmp_path / "a.h5", [{"raw": RAW[0]}, rate])
    with pytest.raises(ValueError, match=r"a\.h5 has several variables: DBZH, RATE; name"):
        read_odim(path)
    both = read_odim(path, ["RATE", "DBZH"])
    assert (both.frames.shape, both.units) == ((1, 2, 8, 12), "mm/h, dBZ")
    np.testing.assert_array_equal(both.frames[:][0, :, 4], RAW[[1, 0], 4] * 0.5 - 32.0)
    assert [variable.units for variable in both.variables] == ["mm/h", "dBZ"]
    with pytest.raises(ValueError, match="no variable VRAD; it has DBZH, RATE"):
        read_odim(path, "VRAD")

    path = write(tmp_path / "heights.h5", [{"raw": RAW[0]}, {"raw": RAW[1]}], "CVOL")
    with pytest.raises(ValueError, match=r"DBZH is in datasets 1, 2; select one .* dataset=1"):
        read_odim(path)
    clip = read_odim(path, select={"dataset": 2})
    np.testing.assert_array_equal(clip.frames[0:1][0, 0, 4], RAW[1, 4] * 0.5 - 32.0)
    with pytest.raises(ValueError, match="no dimension level"):
        read_odim(path, select={"level": 2})


def test_what_is_no_picture_of_odim(tmp_path: Path) -> None:
    polar = write(tmp_path / "polar.h5", [{"raw": RAW[0]}], "PVOL")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["image1/image_data"] = RAW[0]
    torn = tmp_path / "torn.h5"
    torn.write_bytes(polar.read_bytes()[:2000])
    placeless = write(tmp_path / "placeless.h5", [{"raw": RAW[0]}])
    with h5py.File(placeless, "a") as file:
        del file["where"].attrs["projdef"]
    odd = write(tmp_path / "odd.h5", [{"raw": RAW[0]}], projection="+proj=nonsense")
    for path, words in {
        polar: r"no composite or image of ODIM \(object 'PVOL'\); make a composite .* wradlib",
        other: r"no composite or image of ODIM \(object ''\); make",
        torn: "not a whole HDF5 file",
        placeless: r"placeless\.h5 has no valid place \('projdef'\)",
        odd: r"odd\.h5 has no valid place .*nonsense",
    }.items():
        with one_line(words):
            read_odim(path)
    whole = write(tmp_path / "a.h5", [{"raw": RAW[0]}])
    with pytest.raises(ValueError, match="of 8x12 pixels would take"):
        read_odim(whole, budget=1e-6)


def test_a_folder_through_predict_and_back(tmp_path: Path) -> None:
    folder = tmp_path / "rain"
    folder.mkdir()
    raw = np.where(RAW < 64, 0, RAW)  # no rain is negative
    for k, name in enumerate("fbadce"):  # names say nothing of their order
        picture = {"raw": raw[k], "quantity": "RATE"}
        write(folder / f"{name}.h5", [picture], time=NOON + k * timedelta(minutes=5))
    forecast = predicted(folder, tmp_path)
    crs = pyproj.CRS.from_proj4(LAEA)
    left, top = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(-10, 67)
    x = left + 1000 + 2000 * np.arange(12)
    y = top - 1000 - 2000 * np.arange(8)
    times = np.datetime64(NOON, "ns") + np.arange(6) * np.timedelta64(5, "m")
    values = np.where(raw == 255, np.nan, np.where(raw == 0, 0.0, raw * 0.5 - 32))
    said = {"standard_name": "lwe_precipitation_rate", "units": "mm/h", "grid_mapping": "crs"}
    axes = [{**axis, "units": "m"} for axis in crs.cs_to_cf()]
    given = xr.Dataset(
        {"RATE": (("time", "y", "x"), values, said), "crs": ((), 0, crs.to_cf())},
        {"time": times, "y": ("y", y, axes[1]), "x": ("x", x, axes[0])},
    )
    assert_said_again(forecast, given, "RATE")
    assert_follows_cf(forecast)


@pytest.mark.parametrize("package", ["h5py", "pyproj"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with one_line(rf"needs {package}; pip install 'foreframe\[radar\]'"):
        read_odim("a.h5")
