"""Places by latitude and longitude, on any grid, and by row and column."""

import numpy as np
import pytest

from foreframe import Clip
from foreframe.clips.clip import Coordinate
from foreframe.forecasting.places import place_at


def regular(latitudes: np.ndarray, longitudes: np.ndarray) -> Clip:
    frames = np.zeros((2, 1, len(latitudes), len(longitudes)), np.float32)
    return Clip(frames, coordinates={"latitude": latitudes, "lon": longitudes})


ALPS = regular(np.arange(48, 46, -0.25), np.arange(6, 10, 0.5))  # 8 rows, 8 columns
WORLD = regular(np.arange(90, -91, -1.0), np.arange(0, 360, 1.0))


@pytest.mark.parametrize(
    ("clip", "at", "row", "column", "name"),
    [
        (ALPS, "47.4,8.6", 2, 5, "latitude 47.5, longitude 8.5 (row 2, column 5)"),
        (ALPS, " 48.12, 5.76 ", 0, 0, "latitude 48"),  # half a cell beyond centres
        (WORLD, "-33.9,151.2", 124, 151, "latitude -34"),
        (WORLD, "40.7,-74", 49, 286, "latitude 41"),
        (WORLD, "0,359.7", 90, 0, "latitude 0"),
    ],
)
def test_a_point_is_the_cell_whose_centre_is_nearest(
    clip: Clip, at: str, row: int, column: int, name: str
) -> None:
    place = place_at(clip, at)
    assert (place.row, place.column) == (row, column)
    assert place.name.startswith(name)


@pytest.mark.parametrize("at", ["48.3,8", "47,9.9", "47,-172", "99,8", "1,nan"])
def test_a_point_beyond_the_grid_is_refused(at: str) -> None:
    said = "no cell lies there; the recording has latitudes 46.25 to 48, longitudes 6 to 9.5"
    with pytest.raises(ValueError, match=said):
        place_at(ALPS, at)


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
        place = place_at(clip, f"{lat[row, column] + 0.02},{lon[row, column] - 0.03}")
        assert (place.row, place.column) == (row, column)
    # A whole cell beyond the first row.
    y, x = (2 * of[0, 12] - of[1, 12] for of in (lat, lon))
    with pytest.raises(ValueError, match="no cell lies there"):
        place_at(clip, f"{y},{x}")


def test_without_latitudes_a_place_is_row_and_column() -> None:
    plain = Clip(np.zeros((1, 1, 8, 9), np.float32), coordinates={"x": np.arange(9.0)})
    assert place_at(plain, "7,8").name == "row 7, column 8 of 8x9"
    for at in ("8,0", "0,9", "-1,0", "1.5,2"):
        with pytest.raises(ValueError, match="row,column, of rows 0 to 7 and columns 0 to 8"):
            place_at(plain, at)


@pytest.mark.parametrize("at", ["", "1,2,3", "here"])
def test_what_is_no_place(at: str) -> None:
    with pytest.raises(
        ValueError, match=r"--at is latitude,longitude or row,column, such as 47\.4"
    ):
        place_at(ALPS, at)
