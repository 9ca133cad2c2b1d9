"""Places by latitude and longitude, on any grid, and by row and column."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from foreframe import Clip
from foreframe.addons.radar.places import places_at
from foreframe.clips.clip import Coordinate
from foreframe.data.maps import on_map


def regular(latitudes: np.ndarray, longitudes: np.ndarray) -> Clip:
    frames = np.zeros((2, 1, len(latitudes), len(longitudes)), np.float32)
    return Clip(frames, coordinates={"latitude": latitudes, "lon": longitudes})


ALPS = regular(np.arange(48, 46, -0.25), np.arange(6, 10, 0.5))  # 8 rows, 8 columns
PLAIN = Clip(np.zeros((1, 1, 8, 9), np.float32), coordinates={"x": np.arange(9.0)})
WORLD = regular(np.arange(90, -91, -1.0), np.arange(0, 360, 1.0))


@pytest.mark.parametrize(
    ("clip", "at", "row", "column", "name"),
    [
        (ALPS, "47.4,8.6", 2, 5, "latitude 47.5, longitude 8.5 (row 2, column 5)"),
        (ALPS, " 48.12, 5.76 ", 0, 0, "latitude 48"),  # half a cell beyond centres
        (WORLD, "-33.9,151.2", 124, 151, "latitude -34"),
        (WORLD, "40.7,-74", 49, 286, "latitude 41"),
        (WORLD, "0,359.7", 90, 0, "latitude 0"),
        (PLAIN, "7,8", 7, 8, "row 7, column 8"),
    ],
)
def test_a_point_is_the_cell_whose_centre_is_nearest(
    clip: Clip, at: str, row: int, column: int, name: str
) -> None:
    (place,) = places_at(clip, at)
    assert (place.row, place.column) == (row, column)
    assert str(place).startswith(name)
    assert place.name == at


BEYOND = "no cell at this location; the recording has latitudes 46.25 to 48, longitudes 6 to 9.5"
ROWS = "row,column, with rows 0 to 7 and columns 0 to 8"
NO_PLACE = r"a location is latitude,longitude or row,column, such as 47\.4"


@pytest.mark.parametrize(
    ("clip", "points", "words"),
    [
        (ALPS, ["48.3,8", "47,9.9", "47,-172", "99,8", "1,nan"], BEYOND),
        (PLAIN, ["8,0", "0,9", "-1,0", "1.5,2"], ROWS),
        (ALPS, ["", "1,2,3", "here"], NO_PLACE),
    ],
    ids=["beyond", "rows", "no place"],
)
def test_a_point_that_is_no_cell_is_refused(clip: Clip, points: list[str], words: str) -> None:
    for at in points:
        with pytest.raises(ValueError, match=words):
            places_at(clip, at)


def turned(angle: float) -> Clip:
    """A grid of 0.1 degrees that is turned against north, about 60°N 25°E."""
    y, x = np.mgrid[:20, :30] - np.array([10, 15]).reshape(2, 1, 1)
    along, across = np.cos(angle), np.sin(angle)
    latitude = 60 - 0.1 * (along * y + across * x)
    longitude = 25 + 0.1 * (along * x - across * y) / np.cos(np.radians(60))
    sides = ("row", "column")
    places = {
        "yc": Coordinate(("row",), np.arange(20.0), {"standard_name": "projection_y_coordinate"}),
        "a": Coordinate(sides, latitude, {"standard_name": "latitude"}),
        "b": Coordinate(sides, longitude, {"standard_name": "longitude"}),
    }
    return Clip(np.zeros((1, 1, 20, 30), np.float32), coordinates=places)


@pytest.mark.parametrize("angle", [0, 0.5, -2.2])
def test_a_grid_in_two_dimensions(angle: float) -> None:
    clip = turned(angle)
    lat, lon = clip.coordinates["a"].values, clip.coordinates["b"].values
    for row, column in ((0, 0), (7, 21), (19, 29)):
        (place,) = places_at(clip, f"{lat[row, column] + 0.02},{lon[row, column] - 0.03}")
        assert (place.row, place.column) == (row, column)
    # A whole cell beyond the first row.
    y, x = (2 * of[0, 12] - of[1, 12] for of in (lat, lon))
    with pytest.raises(ValueError, match="no cell at this location"):
        places_at(clip, f"{y},{x}")


def test_a_map_projection_tells_latitudes_and_longitudes(monkeypatch) -> None:
    """As PROJ's own table of the Swiss grid has the old observatory of Bern at 600, 200 km."""
    pyproj = pytest.importorskip("pyproj")
    x, y = 560_000 + 2000 * np.arange(40.0), 240_000 - 2000 * np.arange(30.0)
    swiss = Clip(np.zeros((1, 1, 30, 40), np.float32), **on_map(pyproj.CRS("EPSG:21781"), x, y))
    (bern,) = places_at(swiss, "46.951,7.4386")
    assert (bern.row, bern.column) == (20, 20)
    assert bern.latitude == pytest.approx(46.951, abs=2e-3)
    assert bern.longitude == pytest.approx(7.4386, abs=2e-3)
    km = {
        k: Coordinate(c.dims, c.values / 1000, {**c.attributes, "units": "km"}) if c.dims else c
        for k, c in swiss.coordinates.items()
    }
    assert places_at(replace(swiss, coordinates=km), "46.951,7.4386") == [bern]
    with pytest.raises(ValueError, match="no cell at this location"):
        places_at(swiss, "46.951,9")
    monkeypatch.setitem(sys.modules, "pyproj", None)
    assert places_at(swiss, ()) == []  # whoever asks for no place needs no package
    with pytest.raises(ValueError, match=r"needs pyproj; pip install 'foreframe\[radar\]'"):
        places_at(swiss, "46.951,7.4386")


def test_a_list_of_places(tmp_path) -> None:
    path = tmp_path / "places.csv"
    path.write_text("name,longitude,latitude\nLake,8.5,47.5\n,6,46.3\n")
    lake, other = places_at(ALPS, [str(path)], files=True)
    assert (lake.name, lake.row, lake.column) == ("Lake", 2, 5)
    assert (other.name, other.row, other.column) == ("46.3,6", 7, 0)
    names = [place.name for place in places_at(ALPS, ["47,8", str(path)], files=True)]
    assert names == ["47,8", "Lake", "46.3,6"]
    for content, words in (
        ("where,x\nLake,3\n", "the first line must name the columns"),
        ("latitude,longitude\n47,east\n", r"places\.csv, line 2: 47,east"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=words):
            places_at(ALPS, str(path), files=True)
    with pytest.raises(ValueError, match=r"locations .*none\.csv .*there is no file"):
        places_at(ALPS, str(tmp_path / "none.csv"), files=True)
    with pytest.raises(ValueError, match="a location is latitude,longitude"):
        places_at(ALPS, str(path))  # which a stranger may not have opened
