"""GeoTIFF written by rasterio; PROJ, xarray and the arrays themselves are the judges."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
from PIL import Image
from rasterio.transform import Affine

from foreframe import clips_from
from foreframe.data.geotiff import is_geotiff, read_geotiff, time_in
from roundtrip import assert_follows_cf, assert_said_again, opened, predicted

FIELD = np.random.default_rng(2).integers(0, 6000, (8, 6, 10)).astype(np.uint16)
FIELD[:, 0, :3] = 65535  # no data
EUROPE = Affine(1000, 0, 4_000_000, 0, -1000, 3_000_000)
START = np.datetime64("2020-11-16T12:00", "ns")
STEP = np.timedelta64(5, "m")


def write(
    path: Path,
    bands: np.ndarray,
    crs: str | None = "EPSG:3035",
    transform: Affine = EUROPE,
    nodata: float | None = 65535,
    **said: Any,
) -> Path:
    """Bands (n,H,W) as a GeoTIFF; `said` are attributes of the file."""
    options = {"nodata": nodata, "crs": crs, "transform": transform, **said.pop("options", {})}
    sizes = dict(zip(("count", "height", "width"), bands.shape, strict=True))
    options |= {"driver": "GTiff", "dtype": bands.dtype, **sizes}
    with rasterio.open(path, "w", **options) as file:
        file.write(bands)
        for name, value in said.items():
            setattr(file, name, value)
    return path


def stack(folder: Path, **said: Any) -> Path:
    """Eight files, five minutes apart, whose names say so."""
    folder.mkdir()
    for k in range(8):
        write(folder / f"rain_20201116_12{5 * k:02}.tif", FIELD[k : k + 1], **said)
    return folder


def test_values_times_and_place(tmp_path: Path) -> None:
    folder = stack(tmp_path / "rain", scales=[0.01], offsets=[-1.0], units=["mm/h"])
    (clip,) = clips_from(folder)
    expected = np.where(FIELD == 65535, np.nan, FIELD * 0.01 - 1)
    np.testing.assert_allclose(clip.frames[2:7][:, 0], expected[2:7], rtol=1e-6)
    np.testing.assert_array_equal(clip.times, START + np.arange(8) * STEP)
    np.testing.assert_array_equal(clip.coordinates["x"].values, 4_000_500 + 1000 * np.arange(10))
    np.testing.assert_array_equal(clip.coordinates["y"].values, 2_999_500 - 1000 * np.arange(6))
    assert clip.coordinates["x"].attributes["standard_name"] == "projection_x_coordinate"
    assert clip.units == "mm/h"
    assert clip.dims == ("y", "x")
    crs = pyproj.CRS.from_cf(clip.coordinates["crs"].attributes)
    assert crs == pyproj.CRS.from_epsg(3035)


def test_degrees_and_rows_from_the_south(tmp_path: Path) -> None:
    south = Affine(0.5, 0, 5, 0, 0.5, 50)
    clip = read_geotiff(write(tmp_path / "2020-11-16.tif", FIELD[:1], "EPSG:4326", south))
    np.testing.assert_array_equal(clip.coordinates["latitude"].values, 52.75 - 0.5 * np.arange(6))
    np.testing.assert_array_equal(clip.frames[0:1][0, 0, :5], FIELD[0, :0:-1])
    assert clip.notes == ("rows ran south to north: turned north-up",)


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("202011161205", datetime(2020, 11, 16, 12, 5)),
        ("20201116120530", datetime(2020, 11, 16, 12, 5, 30)),
        ("rain_20201116_1205_v2", datetime(2020, 11, 16, 12, 5)),
        ("2020111612", datetime(2020, 11, 16, 12)),
        ("2020.11.16", datetime(2020, 11, 16)),
        ("3B-HHR.MS.MRG.3IMERG.20200101-S003000-E005959.0030", datetime(2020, 1, 1, 0, 30)),
        ("mean_202011_bil", datetime(2020, 11, 1)),
        ("img12", None),
        ("tile_12345678", None),
        ("20201316", None),
    ],
)
def test_times_in_names(name: str, time: datetime | None) -> None:
    assert time_in(name) == time


def test_a_name_without_a_time_is_refused(tmp_path: Path) -> None:
    for k in range(8):
        write(tmp_path / f"img{k + 5}.tif", FIELD[k : k + 1], nodata=None)
    with pytest.raises(ValueError, match=r"img5\.tif: neither its name nor its bands say a time"):
        clips_from(tmp_path)


def test_bands_that_say_their_times(tmp_path: Path) -> None:
    times = START + np.arange(8) * STEP
    texts = [str(time)[:16] for time in times]
    (clip,) = clips_from(write(tmp_path / "series.tif", FIELD, descriptions=texts))
    np.testing.assert_array_equal(clip.times, times)
    np.testing.assert_array_equal(clip.frames[3:5][:, 0, 1:], FIELD[3:5, 1:])


def test_other_bands_are_channels(tmp_path: Path) -> None:
    for k in range(3):
        bands = FIELD[[k, k + 1]]
        said = {"descriptions": ["red", "infrared"], "units": ["1", "K"]}
        write(tmp_path / f"2020111{k}.tif", bands, **said)
    (clip,) = clips_from(tmp_path)
    assert (clip.frames.shape, clip.variable) == ((3, 2, 6, 10), "red, infrared")
    assert clip.units == "1, K"
    np.testing.assert_array_equal(clip.frames[1:2][0, :, 1:], FIELD[1:3, 1:])
    (clip,) = clips_from(tmp_path, "infrared")
    np.testing.assert_array_equal(clip.frames[1:2][0, 0, 1:], FIELD[2, 1:])
    with pytest.raises(ValueError, match="has no variable blue; it holds red, infrared"):
        clips_from(tmp_path, "blue")


def test_pictures_stay_pictures(tmp_path: Path) -> None:
    """A TIFF without a place, one with a place but in 8-bit colours, and what is no TIFF."""
    colours = np.random.default_rng(0).integers(0, 256, (3, 6, 10), dtype=np.uint8)
    for k in range(3):
        write(tmp_path / f"{k}.tif", colours, nodata=None, options={"photometric": "RGB"})
    (clip,) = clips_from(tmp_path)
    assert (clip.frames.dtype, clip.frames.shape) == (np.uint8, (3, 3, 6, 10))
    Image.fromarray(FIELD[0]).save(tmp_path / "plain.tif")
    (tmp_path / "text.tif").write_text("no picture")
    for name in ("0", "plain", "text", "none"):
        assert not is_geotiff(tmp_path / f"{name}.tif")
    assert is_geotiff(write(tmp_path / "big.tif", FIELD, options={"BIGTIFF": "YES"}))


def test_overviews_are_no_pages_and_pages_are_no_recording(tmp_path: Path) -> None:
    path = write(tmp_path / "20201116.tif", np.tile(FIELD[:1], (1, 20, 20)))
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2])
    assert read_geotiff(path).frames.shape == (1, 1, 120, 200)
    for options in ({}, {"APPEND_SUBDATASET": "YES"}):
        write(tmp_path / "pages.tif", FIELD[:1], nodata=None, options=options)
    with pytest.raises(ValueError, match="has several pages, no map"):
        clips_from(tmp_path / "pages.tif")


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    """Other sizes, maps and units are other recordings, and what cannot be read is left out."""
    stack(tmp_path / "rain")
    write(tmp_path / "rain" / "b_20201116_1240.tif", FIELD[:1, :5])
    write(tmp_path / "rain" / "c_20201116_1240.tif", FIELD[:1], "EPSG:3857")
    write(tmp_path / "rain" / "d_20201116_1240.tif", FIELD[:1], units=["mm"])
    turned = Affine(985, 174, 4e6, 174, -985, 3e6)
    write(tmp_path / "rain" / "e_20201116_1240.tif", FIELD[:1], transform=turned)
    with pytest.warns(UserWarning, match=r"1 file left out: .*turned against north; .* gdalwarp"):
        assert [len(clip) for clip in clips_from(tmp_path / "rain")] == [1, 1, 1, 8]
    with pytest.raises(ValueError, match="turned against north"):
        clips_from(tmp_path / "rain", strict=True)


def test_a_frame_larger_than_the_budget(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.tif of 8x6x10 would take"):
        read_geotiff(write(tmp_path / "a.tif", FIELD), budget=1e-6)


def test_a_missing_package_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.tif", FIELD)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    needs = r"x\.tif: reading GeoTIFF needs rasterio; pip install 'foreframe\[geotiff\]'"
    with pytest.raises(ValueError, match=needs):
        clips_from(path)


def test_a_stack_through_predict_and_back(tmp_path: Path) -> None:
    said = {"scales": [0.01], "units": ["mm/h"], "descriptions": ["rain"]}
    said |= {"transform": Affine(1000, 0, 4e6, 0, 1000, 2_994_000)}
    forecast = predicted(stack(tmp_path / "rain", **said), tmp_path)
    crs = pyproj.CRS.from_epsg(3035)
    axes = {axis["axis"]: {**axis, "units": "m"} for axis in crs.cs_to_cf()}
    y = 2_994_500.0 + 1000 * np.arange(6)
    values = np.where(FIELD == 65535, np.nan, FIELD * 0.01)
    given = xr.Dataset(
        {"rain": (("time", "y", "x"), values, {"units": "mm/h", "grid_mapping": "crs"})},
        {
            "time": START + np.arange(8) * STEP,
            "y": ("y", y, axes["Y"]),
            "x": ("x", 4_000_500.0 + 1000 * np.arange(10), axes["X"]),
        },
    )
    made = opened(forecast)
    given["crs"] = ((), 0, made.crs.attrs)
    assert_said_again(forecast, given, "rain", added=["long_name"])
    assert pyproj.CRS.from_cf(made.crs.attrs) == crs
    assert_follows_cf(forecast)
