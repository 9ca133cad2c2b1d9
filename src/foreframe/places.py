"""A place in a recording: a point or a box, by latitude and longitude or by row and column."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float, Int, Shaped

from foreframe.clip import LATITUDES, LONGITUDES, Clip, Coordinate
from foreframe.notes import warn

Degrees = Float[np.ndarray, "h w"]


@dataclass(frozen=True, eq=False)
class Place:
    """One cell of a grid, or those of a box.

    Args:
        rows, columns: of each cell.
        name: in words: "47.38°N, 8.54°E (row 12, column 20)".
    """

    rows: Int[np.ndarray, " n"]
    columns: Int[np.ndarray, " n"]
    name: str

    def mean(self, frames: Shaped[np.ndarray, "*n h w"]) -> Float[np.ndarray, "*n"]:
        """The mean of its cells that have a value, in each frame; NaN where none has."""
        values = frames[..., self.rows, self.columns].astype(np.float64)
        known = ~np.isnan(values)
        count = known.sum(axis=-1)
        total = np.where(known, values, 0).sum(axis=-1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def place_at(clip: Clip, at: str) -> Place:
    """The place that is meant: the cell that a point lies in, or all whose centres lie in a box.

    Args:
        at: "latitude,longitude" where the clip's coordinates have these, of a regular or any other
            grid, else "row,column", counted from 0 at the top left; two such points are opposite
            corners of a box, which goes the shorter way round the earth. Where it reaches beyond
            the grid, the part within is taken, with a warning.

    Raises:
        ValueError: no two or four numbers; a point beyond the grid, or a box without a cell.
    """
    try:
        numbers = [float(word) for word in at.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 4) or not np.isfinite(numbers).all():
        raise ValueError(
            f"--at is latitude,longitude or row,column, such as 47.4,8.5, or two such points, the "
            f"corners of a box; not {at!r}"
        )
    degrees = _degrees_of(clip)
    if degrees is None:
        return _by_row(clip, numbers, at)
    if len(numbers) == 2:
        return _nearest(*degrees, numbers[0], numbers[1], at)
    return _in_box(*degrees, numbers, at)


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
    east = np.cos(np.radians(y))  # of a degree of latitude is one of longitude, there
    distance = np.hypot(lat - y, east * _turned(lon - x))
    if abs(y) > 90 or not np.isfinite(distance).any():
        _refuse(lat, lon, at)
    row, column = (int(k) for k in np.unravel_index(np.nanargmin(distance), lat.shape))

    def way(to_lat: float, to_lon: float) -> tuple[float, float]:
        """From the cell's centre, in degrees of latitude."""
        return to_lat - lat[row, column], float(east * _turned(to_lon - lon[row, column]))

    (a, b), (c, d) = _steps(lat, lon, row, column, way)
    up, right = way(y, x)
    with np.errstate(all="ignore"):  # coordinates may be missing, or all the same
        steps = np.array([up * d - right * c, right * a - up * b]) / np.float64(a * d - b * c)
    for step, k, n in zip(steps, (row, column), lat.shape, strict=True):
        if (step > 0.5 + SLACK and k == n - 1) or (step < -0.5 - SLACK and k == 0):
            _refuse(lat, lon, at)
    centre = _in_words(lat[row, column], lon[row, column])
    return Place(np.array([row]), np.array([column]), f"{centre} (row {row}, column {column})")


SLACK = 1e-3  # of a cell, beyond the edge of the grid
ROUNDED = 1e-6  # degrees, to which coordinates at the edge of a box may be rounded


def _steps(
    lat: Degrees, lon: Degrees, row: int, column: int, way: Callable[[float, float], Any]
) -> list[tuple[float, float]]:
    """The ways from a cell to the next one along rows and along columns; the cells of a single row
    or column are taken to be square, and a single cell to be a degree wide.
    """
    h, w = lat.shape
    steps: list[tuple[float, float] | None] = [None, None]
    if h > 1:
        near = row + 1 if row + 1 < h else row - 1
        dy, dx = way(lat[near, column], lon[near, column])
        steps[0] = (near - row) * dy, (near - row) * dx
    if w > 1:
        near = column + 1 if column + 1 < w else column - 1
        dy, dx = way(lat[row, near], lon[row, near])
        steps[1] = (near - column) * dy, (near - column) * dx
    down = steps[0] or (steps[1] and (steps[1][1], -steps[1][0])) or (-1.0, 0.0)
    return [down, steps[1] or (-down[1], down[0])]


def _in_box(lat: Degrees, lon: Degrees, corners: list[float], at: str) -> Place:
    south, north = sorted(corners[::2])
    first, width = corners[1], _turned(corners[3] - corners[1])
    along = _turned(lon - first) * (1 if width >= 0 else -1)
    inside = (lat >= south - ROUNDED) & (lat <= north + ROUNDED)
    inside &= (along >= -ROUNDED) & (along <= abs(width) + ROUNDED)
    rows, columns = np.nonzero(inside)
    if not len(rows):
        _refuse(lat, lon, at)
    ys, xs = corners[::2], [0.0, abs(width)]
    taken = (
        _within(ys, lat[inside], _step(lat, lat, lon)),
        _within(xs, along[inside], _step(lon, lon, lat)),
    )
    ends = [_in_words(y, first + (x if width >= 0 else -x)) for y, x in zip(*taken, strict=True)]
    name = f"{_cells(len(rows))} from {ends[0]} to {ends[1]}"
    if taken != (ys, xs):
        reach = [_in_words(of(lat), of(lon)) for of in (np.nanmin, np.nanmax)]
        warn(
            f"--at {at} reaches beyond the recording, whose cells lie from {reach[0]} to "
            f"{reach[1]}: what is taken is the {name}"
        )
    return Place(rows, columns, name)


def _within(ends: list[float], cells: Float[np.ndarray, " n"], step: float) -> list[float]:
    """The ends of a box along one axis, each at its outermost cell where there is none for more
    than a step beyond: the grid ends there.
    """
    least, most = float(cells.min()), float(cells.max())
    low, high = min(ends), max(ends)
    low = least if least - low > step + SLACK else low
    high = most if high - most > step + SLACK else high
    return [low, high] if ends[0] <= ends[1] else [high, low]


def _step(degrees: Degrees, *also: Degrees) -> float:
    """The widest way from a cell to its neighbours in these degrees; of a grid that is one cell
    wide that of the others.
    """
    for of in (degrees, *also):
        ways = [np.abs(np.nan_to_num(_turned(np.diff(of, axis=k)))) for k in (0, 1)]
        if step := sum(float(way.max(initial=0)) for way in ways):
            return step
    return 1.0


def _by_row(clip: Clip, numbers: list[float], at: str) -> Place:
    h, w = clip.frames.shape[2:]
    inside = all(0 <= n < side for n, side in zip(numbers, (h, w, h, w), strict=False))
    if not inside or any(n != int(n) for n in numbers):
        raise ValueError(
            f"--at {at}: this recording tells no latitudes and longitudes, so a place is "
            f"row,column, of rows 0 to {h - 1} and columns 0 to {w - 1}"
        )
    corners = list(map(int, numbers))
    top, bottom = sorted((corners[0], corners[-2]))
    left, right = sorted((corners[1], corners[-1]))
    rows, columns = np.mgrid[top : bottom + 1, left : right + 1].reshape(2, -1)
    name = f"{_cells(len(rows))}, rows {top} to {bottom}, columns {left} to {right}"
    name = f"row {top}, column {left}" if len(corners) == 2 else name
    return Place(rows, columns, f"{name} of {h}x{w}")


def _cells(n: int) -> str:
    return "1 cell" if n == 1 else f"mean of {n} cells"


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
