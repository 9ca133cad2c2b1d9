"""A place in a recording: a cell, by latitude and longitude or by row and column."""

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float, Shaped

from foreframe.clips.clip import LATITUDES, LONGITUDES, Clip, Coordinate

Degrees = Float[np.ndarray, "h w"]


@dataclass(frozen=True, eq=False)
class Place:
    """One cell of a grid.

    Args:
        row, column: of the cell.
        name: in words: "47.38°N, 8.54°E (row 12, column 20)".
    """

    row: int
    column: int
    name: str

    def of(self, frames: Shaped[np.ndarray, "*n h w"]) -> Float[np.ndarray, "*n"]:
        """Its values in frames."""
        return frames[..., self.row, self.column].astype(np.float64)


def place_at(clip: Clip, at: str) -> Place:
    """The cell whose centre is nearest to a point.

    Args:
        at: "latitude,longitude" where the clip's coordinates have these, of a regular or any other
            grid, else "row,column", counted from 0 at the top left.

    Raises:
        ValueError: no two numbers; a point beyond the grid.
    """
    try:
        numbers = [float(word) for word in at.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 2 or not np.isfinite(numbers).all():
        raise ValueError(f"--at is latitude,longitude or row,column, such as 47.4,8.5, not {at!r}")
    degrees = _degrees_of(clip)
    if degrees is None:
        return _by_row(clip, numbers, at)
    return _nearest(*degrees, numbers[0], numbers[1], at)


def _degrees_of(clip: Clip) -> tuple[Degrees, Degrees] | None:
    """Latitude and longitude of each cell; None where the clip does not know them."""
    latitude = _found(clip, "latitude", LATITUDES)
    longitude = _found(clip, "longitude", LONGITUDES)
    if latitude is None or longitude is None:
        return None
    return _spread(latitude, clip), _spread(longitude, clip)


def _found(clip: Clip, standard: str, names: tuple[str, ...]) -> Coordinate | None:
    for name, place in clip.coordinates.items():
        said = place.attributes.get("standard_name")
        if place.dims and (said == standard or (not said and str(name).lower() in names)):
            return place
    return None


def _spread(coordinate: Coordinate, clip: Clip) -> Degrees:
    values = np.asarray(coordinate.values, np.float64)
    shape = [
        side if name in coordinate.dims else 1
        for name, side in zip(("row", "column"), clip.frames.shape[2:], strict=True)
    ]
    return np.broadcast_to(values.reshape(shape), clip.frames.shape[2:])


def _nearest(lat: Degrees, lon: Degrees, y: float, x: float, at: str) -> Place:
    distance = _distance(lat, lon, y, x)
    if abs(y) > 90 or not np.isfinite(distance).any():
        _refuse(lat, lon, at)
    row, column = (int(k) for k in np.unravel_index(np.nanargmin(distance), lat.shape))
    centre = float(lat[row, column]), float(lon[row, column])
    # A point is in a cell, or beyond all, by how far its neighbours are.
    around = np.s_[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    width = float(np.nanmax(_distance(lat[around], lon[around], *centre))) or 1.0
    if distance[row, column] > (0.5 + SLACK) * width:
        _refuse(lat, lon, at)
    return Place(row, column, f"{_in_words(*centre)} (row {row}, column {column})")


SLACK = 1e-3  # of a cell, beyond the edge of the grid


def _distance(lat: Degrees, lon: Degrees, y: float, x: float) -> Degrees:
    """From a point to each cell, in degrees of latitude, for cells that are not far from it."""
    return np.hypot(lat - y, np.cos(np.radians(y)) * _turned(lon - x))


def _by_row(clip: Clip, numbers: list[float], at: str) -> Place:
    h, w = clip.frames.shape[2:]
    inside = all(0 <= n < side for n, side in zip(numbers, (h, w), strict=True))
    if not inside or any(n != int(n) for n in numbers):
        raise ValueError(
            f"--at {at}: this recording tells no latitudes and longitudes, so a place is "
            f"row,column, of rows 0 to {h - 1} and columns 0 to {w - 1}"
        )
    row, column = map(int, numbers)
    return Place(row, column, f"row {row}, column {column} of {h}x{w}")


def _turned(degrees: Any) -> Any:
    """A difference of longitudes the shorter way round: -180 up to 180."""
    return (degrees + 180) % 360 - 180


def _refuse(lat: Degrees, lon: Degrees, at: str) -> NoReturn:
    ends = [f"{np.nanmin(of):.4g} to {np.nanmax(of):.4g}" for of in (lat, lon)]
    raise ValueError(
        f"--at {at}: no cell lies there; the recording has latitudes {ends[0]}, "
        f"longitudes {ends[1]}"
    )


def _in_words(y: float, x: float) -> str:
    x = _turned(x)
    return f"{abs(y):.5g}°{'S' if y < 0 else 'N'}, {abs(x):.5g}°{'W' if x < 0 else 'E'}"
