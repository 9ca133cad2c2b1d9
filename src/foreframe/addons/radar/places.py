"""Places in a recording: grid cells, by latitude and longitude or by row and column."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Num

from foreframe.base.extras import needed
from foreframe.base.wording import in_one_line
from foreframe.clips.clip import LATITUDES, LONGITUDES, Clip
from foreframe.data.maps import METRES, mapping_names

_Point = tuple[str, float, float]  # its name, and its two numbers

SLACK = 1e-3  # of a cell, beyond the edge of the grid
HEADERS = (("latitude", "longitude"), ("lat", "lon"), ("row", "column"))


class Place(NamedTuple):
    """One cell of a grid.

    Args:
        name: the name in a list, or the two numbers.
        row, column: the position in the grid.
        latitude, longitude: the centre in degrees; None for a recording without them.
    """

    name: str
    row: int
    column: int
    latitude: float | None = None
    longitude: float | None = None

    @property
    def geometry(self) -> dict[str, Any] | None:
        """The location as GeoJSON; None without latitude and longitude."""
        if self.latitude is None:
            return None
        return {"type": "Point", "coordinates": [self.longitude, self.latitude]}

    def variables(self, channels: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """Return the names and units of `values_in`."""
        return channels

    def values_in(self, frames: Num[np.ndarray, "*m c h w"]) -> Num[np.ndarray, "*m c"]:
        """Return the values of the cell."""
        return frames[..., self.row, self.column]

    def __str__(self) -> str:
        cell = f"row {self.row}, column {self.column}"
        if self.latitude is None:
            return cell
        return f"latitude {self.latitude:.5g}, longitude {self.longitude:.5g} ({cell})"


def places_at(clip: Clip, at: str | Sequence[str], files: bool = False) -> list[Place]:
    """Return the cells whose centres are nearest to points.

    Args:
        at: each "latitude,longitude" if the clip has coordinates or a map projection on any grid,
            otherwise "row,column", counted from 0 at the top left; or the path of a .csv with
            these two columns, or lat and lon, and optionally `name`.
        files: True if `at` may name files; never for requests of strangers.

    Raises:
        ValueError: no two numbers; a point beyond the grid; a .csv that does not exist, or has
            other columns.
    """
    points: list[_Point] = []
    for word in [at] if isinstance(at, str) else at:
        if files and word.lower().endswith(".csv"):
            points += _listed(Path(word))
        else:
            points.append(_point(word, word.split(","), word))
    # Not without points: a map projection needs a package and takes a while.
    grid = degrees(clip) if points else None
    if grid is None:
        return [_cell(clip, *point) for point in points]
    lat, lon = grid
    return [nearest(lat, lon, *point) for point in points]


def _point(name: str, numbers: Sequence[str], where: str) -> _Point:
    try:
        y, x = map(float, numbers)
    except ValueError:
        raise ValueError(
            "a location is latitude,longitude or row,column, such as 47.4,8.5, or a .csv file of "
            f"several, not {where!r}"
        ) from None
    return name, y, x


def _listed(path: Path) -> list[_Point]:
    with (
        in_one_line(f"cannot read the list of locations {path}"),
        path.open(encoding="utf-8-sig", newline="") as file,
    ):
        lines = list(csv.DictReader(file))
    header = next((pair for pair in HEADERS if lines and set(pair) <= lines[0].keys()), None)
    if header is None:
        raise ValueError(
            f"{path}: the first line must name the columns, separated by commas: latitude and "
            "longitude (or row and column), and optionally name; each other line is a location"
        )
    points = []
    for k, line in enumerate(lines, 2):
        numbers = [line[side] or "" for side in header]
        where = ",".join(numbers)
        points.append(_point(line.get("name") or where, numbers, f"{path}, line {k}: {where}"))
    return points


def _cell(clip: Clip, name: str, y: float, x: float) -> Place:
    h, w = clip.frames.shape[2:]
    if y not in range(h) or x not in range(w):
        raise ValueError(
            f"{name}: this recording has no latitudes and longitudes; give row,column, with rows 0 "
            f"to {h - 1} and columns 0 to {w - 1}"
        )
    return Place(name, int(y), int(x))


def nearest(
    lat: Float[np.ndarray, "h w"], lon: Float[np.ndarray, "h w"], name: str, y: float, x: float
) -> Place:
    distance = _distance(lat, lon, y, x)
    k = int(np.where(np.isnan(distance), np.inf, distance).argmin())
    row, column = divmod(k, lat.shape[1])
    centre = float(lat[row, column]), float(lon[row, column])
    # The distance of the neighbours is the width of a cell.
    around = np.s_[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    width = float(np.nanmax(_distance(lat[around], lon[around], *centre))) or 1.0
    if not distance[row, column] <= (0.5 + SLACK) * width:
        ends = [f"{np.nanmin(side):.4g} to {np.nanmax(side):.4g}" for side in (lat, lon)]
        raise ValueError(
            f"{name}: no cell at this location; the recording has latitudes {ends[0]}, longitudes "
            f"{ends[1]}"
        )
    return Place(name, row, column, *centre)


def _distance(
    lat: Float[np.ndarray, "h w"], lon: Float[np.ndarray, "h w"], y: float, x: float
) -> Float[np.ndarray, "h w"]:
    """Return the distance of each cell from a point near it, in degrees of latitude."""
    turned = (lon - x + 180) % 360 - 180  # the shorter way round
    return np.hypot(lat - y, np.cos(np.radians(y)) * turned)


def degrees(clip: Clip) -> tuple[np.ndarray, np.ndarray] | None:
    """Return latitudes and longitudes (H,W) of the cells, from the file or by its map projection;
    None without either.

    Raises:
        ValueError: pyproj is not installed, or does not support the projection.
    """
    lat, lon = _values(clip, "latitude", LATITUDES), _values(clip, "longitude", LONGITUDES)
    if lat is not None and lon is not None:
        lat, lon = np.broadcast_arrays(lat, lon)
        return lat, lon
    names = mapping_names(clip.attributes.get("grid_mapping", ""))
    mapping = next((clip.coordinates[name] for name in names if name in clip.coordinates), None)
    y, x = (clip.coordinates.get(name) for name in clip.dims)
    if mapping is None or y is None or x is None:
        return None
    pyproj = needed("pyproj", "radar", f"{clip.name}: computing latitudes from its map projection")
    with in_one_line(f"{clip.name}: its map projection is not supported"):
        crs = pyproj.CRS.from_cf(dict(mapping.attributes))
        unit = crs.axis_info[0].unit_conversion_factor
        across, down = (
            np.asarray(of.values, np.float64) * METRES.get(of.attributes.get("units"), unit) / unit
            for of in (x, y)
        )
        to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        lon, lat = to_degrees.transform(*np.meshgrid(across, down))
    return lat, lon


def _values(clip: Clip, standard: str, names: tuple[str, ...]) -> np.ndarray | None:
    """Return a coordinate by its standard or usual name, with axes for rows and columns."""
    sides = dict(zip(("row", "column"), clip.frames.shape[2:], strict=True))
    for name, coordinate in clip.coordinates.items():
        usual = standard if str(name).lower() in names else None
        if coordinate.dims and coordinate.attributes.get("standard_name", usual) == standard:
            shape = [n if side in coordinate.dims else 1 for side, n in sides.items()]
            return np.asarray(coordinate.values, np.float64).reshape(shape)
    return None
