"""GRIB files written message by message with ecCodes, of both editions; xarray's cfgrib engine and
ecCodes itself are the judges.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from foreframe.addons.radar.grib import read_grib
from refusals import one_line
from roundtrip import assert_follows_cf, assert_said_again, predicted

eccodes = pytest.importorskip(
    "eccodes", reason="ecCodes is not installed: pip install 'foreframe[grib]'", exc_type=Exception
)

FIELD = np.random.default_rng(1).uniform(270, 290, (8, 6, 10))
MIDNIGHT = np.datetime64("2019-03-01T00", "ns")
HOUR = np.timedelta64(1, "h")
GRID = {
    "Ni": 10,
    "Nj": 6,
    "latitudeOfFirstGridPointInDegrees": 60,
    "latitudeOfLastGridPointInDegrees": 55,
    "longitudeOfFirstGridPointInDegrees": 0,
    "longitudeOfLastGridPointInDegrees": 9,
    "iDirectionIncrementInDegrees": 1,
    "jDirectionIncrementInDegrees": 1,
}


def message(values: np.ndarray, sample: str = "regular_ll_sfc_grib2", **keys: Any) -> bytes:
    """One message with a field (6,10), at 0 h on 1 March 2019 unless `keys` say otherwise."""
    handle = eccodes.codes_grib_new_from_samples(sample)
    for key, value in {**GRID, "dataDate": 20190301, "dataTime": 0, **keys}.items():
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set(handle, "bitmapPresent", 1)
    eccodes.codes_set(handle, "bitsPerValue", 24)
    eccodes.codes_set_values(handle, np.nan_to_num(values, nan=9999.0).ravel())
    content: bytes = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    return content


def write(path: Path, *messages: bytes) -> Path:
    path.write_bytes(b"".join(messages))
    return path


def hours(path: Path, **keys: Any) -> Path:
    """Eight analyses, an hour apart."""
    keys = {"shortName": "2t"} | keys
    return write(path, *(message(FIELD[k], dataTime=100 * k, **keys) for k in range(8)))


@pytest.mark.parametrize("sample", ["regular_ll_sfc_grib2", "regular_ll_sfc_grib1"])
def test_values_times_place_and_words(tmp_path: Path, sample: str) -> None:
    path = hours(tmp_path / "a.grib", sample=sample)
    clip = read_grib(path)
    np.testing.assert_allclose(clip.frames[2:5][:, 0], FIELD[2:5], rtol=1e-5)
    np.testing.assert_array_equal(clip.times, MIDNIGHT + np.arange(8) * HOUR)
    np.testing.assert_array_equal(clip.coordinates["latitude"].values, np.arange(60, 54, -1))
    assert clip.coordinates["longitude"].attributes["units"] == "degrees_east"
    assert (clip.variable, clip.units) == ("t2m", "K")
    said = {"long_name": "2 metre temperature", "cell_methods": "time: point"}
    if sample.endswith("2"):  # of the first edition ecCodes does not know CF's name
        said["standard_name"] = "air_temperature"
    assert dict(clip.attributes) == said
    assert [file.name for file in tmp_path.iterdir()] == ["a.grib"]  # no index beside it


def test_missing_values_and_rows_from_the_south(tmp_path: Path) -> None:
    field = FIELD[0].copy()
    field[0, :4] = np.nan
    south = {
        "jScansPositively": 1,
        "latitudeOfFirstGridPointInDegrees": 55,
        "latitudeOfLastGridPointInDegrees": 60,
    }
    clip = read_grib(write(tmp_path / "a.grb2", message(field[::-1], shortName="2t", **south)))
    np.testing.assert_allclose(clip.frames[0:1][0, 0], field, rtol=1e-5)
    assert clip.coordinates["latitude"].values[0] == 60
    assert clip.notes == ("rows ran south to north: turned north-up",)


def test_accumulations_of_several_forecasts_are_one_recording(tmp_path: Path) -> None:
    """As a reanalysis has them: each forecast goes on where the one before ends."""
    amounts = [
        message(np.full((6, 10), k), shortName="tp", dataTime=600 * run, stepRange=f"0-{k}")
        for run in (1, 2)
        for k in range(1, 7)
    ]
    clip = read_grib(write(tmp_path / "a.grib2", *amounts))
    np.testing.assert_array_equal(clip.times, MIDNIGHT + np.arange(7, 19) * HOUR)
    np.testing.assert_allclose(clip.frames[0:12][:, 0, 0, 0], [1, 2, 3, 4, 5, 6] * 2)
    assert clip.attributes["cell_methods"] == "time: sum"


def test_forecasts_of_the_same_times_need_a_choice(tmp_path: Path) -> None:
    runs = [
        message(FIELD[run] + step, shortName="2t", dataTime=600 * run, stepRange=str(step))
        for run in range(4)
        for step in (0, 6, 12)
    ]
    path = write(tmp_path / "a.grib2", *runs)
    with pytest.raises(ValueError, match=r"a\.grib2: t2m has other dimensions: step \(0\.0, 6"):
        read_grib(path)
    clip = read_grib(path, select={"step": 6})
    np.testing.assert_array_equal(clip.times, MIDNIGHT + 6 * np.arange(1, 5) * HOUR)
    np.testing.assert_allclose(clip.frames[1:2][0, 0], FIELD[1] + 6, rtol=1e-5)
    clip = read_grib(path, select={"time": "2019-03-01T12"})
    np.testing.assert_array_equal(clip.times, MIDNIGHT + 6 * np.arange(2, 5) * HOUR)


def test_levels_and_variables(tmp_path: Path) -> None:
    levels = [
        message(
            FIELD[k] + level, "regular_ll_pl_grib2", shortName="t", level=level, dataTime=100 * k
        )
        for k in range(4)
        for level in (500, 850)
    ]
    path = write(tmp_path / "a.grib2", *levels)
    with pytest.raises(ValueError, match=r"isobaricInhPa \(850\.0, 500\.0\)"):
        read_grib(path)
    clip = read_grib(path, select={"isobaricInhPa": 500})
    np.testing.assert_allclose(clip.frames[3:4][0, 0], FIELD[3] + 500, rtol=1e-5)
    assert clip.coordinates["isobaricInhPa"].values == 500
    assert clip.coordinates["isobaricInhPa"].attributes["units"] == "hPa"

    ground = [message(FIELD[k], shortName="t", dataTime=100 * k) for k in range(4)]
    path = write(tmp_path / "b.grib2", *levels, *ground)
    with pytest.raises(ValueError, match=r"t comes with typeOfLevel isobaricInhPa, surface; sel"):
        read_grib(path)
    for select in ({"typeOfLevel": "surface"}, {"surface": 0}):
        clip = read_grib(path, select=select)
        np.testing.assert_allclose(clip.frames[3:4][0, 0], FIELD[3], rtol=1e-5)
    clip = read_grib(path, select={"isobaricInhPa": 850})
    np.testing.assert_allclose(clip.frames[3:4][0, 0], FIELD[3] + 850, rtol=1e-5)


def test_several_variables(tmp_path: Path) -> None:
    winds = [
        message(FIELD[k] - 280 + n, shortName=name, dataTime=100 * k)
        for k in range(4)
        for n, name in enumerate(("10u", "10v", "2t"))
    ]
    path = write(tmp_path / "c.grib2", *winds)
    with one_line(r"c\.grib2 has several variables: u10, v10, t2m; name one by variable"):
        read_grib(path)
    with pytest.raises(ValueError, match=r"no variable rain; it has u10, v10, t2m"):
        read_grib(path, "rain")
    clip = read_grib(path, ["2t", "u10"])
    assert (clip.variable, clip.units) == ("t2m, u10", "K, m s**-1")
    differences = clip.frames[1:2][0] - FIELD[1]
    np.testing.assert_allclose(differences[:, 0, 0], [-278, -280], atol=1e-4)


def sample(path: Path, name: str, hours: Sequence[int] = (0, 1)) -> Path:
    """Messages of a grid that ecCodes has a sample of, an hour apart."""
    contents = []
    for k in hours:
        handle = eccodes.codes_grib_new_from_samples(name)
        eccodes.codes_set(handle, "dataTime", 100 * k)
        contents.append(eccodes.codes_get_message(handle))
        eccodes.codes_release(handle)
    return write(path, *contents)


def test_what_is_no_grid_or_no_whole_file(tmp_path: Path) -> None:
    whole = hours(tmp_path / "a.grib2").read_bytes()
    for name, content in {
        "cut": whole[:-40],
        "torn": whole[:300] + whole[330:],
        "text": b"no weather\n" * 50,
        "empty": b"",
    }.items():
        (tmp_path / f"{name}.grib2").write_bytes(content)
        with one_line(rf"{name}\.grib2 is not a whole GRIB file"):
            read_grib(tmp_path / f"{name}.grib2")
    for name in ("reduced_gg_pl_32_grib2", "sh_sfc_grib2"):
        with pytest.raises(ValueError, match=r"a grid without rows and columns .* cdo"):
            read_grib(sample(tmp_path / "b.grib2", name))
    with pytest.raises(ValueError, match=r"a message of .* of 60 points, would take"):
        read_grib(tmp_path / "a.grib2", budget=1e-6)
    with pytest.raises(ValueError, match="a stretch of 8 frames"):
        read_grib(tmp_path / "a.grib2", budget=6e-6).frames[0:8]


def test_files_of_one_time_on_a_map_through_predict_and_back(tmp_path: Path) -> None:
    paths = [tmp_path / "t" / f"{k}.grib2" for k in range(4)]
    paths[0].parent.mkdir()
    for k, path in enumerate(paths):
        sample(path, "polar_stereographic_pl_grib2", range(k, k + 1))
    forecast = predicted(paths[0].parent, tmp_path)
    assert_said_again(forecast, as_cfgrib_has_it(paths), "t")
    # GRIB has no x and y, so the checker cannot tell which is which
    assert_follows_cf(forecast, apart="spatio-temporal dimensions are not in the recommended order")


def as_cfgrib_has_it(paths: list[Path]) -> xr.Dataset:
    """A Dataset over valid times, with the attributes that are CF's."""
    how: dict[str, Any] = {"indexpath": "", "time_dims": ["valid_time"]}
    parts = [xr.open_dataset(path, engine="cfgrib", backend_kwargs=how) for path in paths]
    given = xr.concat(parts, "valid_time")
    for variable in given.variables.values():
        variable.attrs = {k: v for k, v in variable.attrs.items() if not k.startswith("GRIB_")}
        variable.attrs.pop("stored_direction", None)
    (title,) = given.data_vars
    given[title].attrs["cell_methods"] = "time: point"
    return given.rename(valid_time="time")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cfgrib", None)
    with one_line(r"needs cfgrib; pip install 'foreframe\[grib\]'"):
        read_grib("a.grib")
