"""A place in a recording: a cell, by latitude and longitude or by row and column."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from foreframe.clips.clip import LATITUDES, LONGITUDES, Clip


class Place(NamedTuple):
    """One cell of a grid.

    Args:
        row, column: of the cell.
        name: in words: "latitude 47.38, longitude 8.54 (row 12, column 20)".
    """

    row: int
    column: int
    name: str


def place_at(clip: Clip, at: str) -> Place:
    """The cell whose centre is nearest to a point.

    Args:
        at: "latitude,longitude" where the clip's coordinates have these, of a regular or any other
            grid, else "row,column", counted from 0 at the top left.

    Raises:
        ValueError: no two numbers; a point beyond the grid.
    """
    try:
        y, x = map(float, at.split(","))
    except ValueError:
        raise ValueError(
            f"--at is latitude,longitude or row,column, such as 47.4,8.5, not {at!r}"
        ) from None
    lat, lon = _degrees(clip, "latitude", LATITUDES), _degrees(clip, "longitude", LONGITUDES)
    if lat is not None and lon is not None:
        return _nearest(lat, lon, y, x)
    h, w = clip.frames.shape[2:]
    if y not in range(h) or x not in range(w):
        raise ValueError(
            f"--at {at}: this recording tells no latitudes and longitudes, so a place is "
            f"row,column, of rows 0 to {h - 1} and columns 0 to {w - 1}"
        )
    return Place(int(y), int(x), f"row {y:g}, column {x:g} of {h}x{w}")


def _degrees(clip: Clip, standard: str, names: tuple[str, ...]) -> Float[np.ndarray, "h w"] | None:
    """Latitude or longitude of each cell; None where the clip does not know it."""
    sides = dict(zip(("row", "column"), clip.frames.shape[2:], strict=True))
    for name, coordinate in clip.coordinates.items():
        usual = standard if str(name).lower() in names else None
        if coordinate.dims and coordinate.attributes.get("standard_name", usual) == standard:
            shape = [n if side in coordinate.dims else 1 for side, n in sides.items()]
            values = np.asarray(coordinate.values, np.float64).reshape(shape)
            return np.broadcast_to(values, clip.frames.shape[2:])
    return None


def _nearest(
    lat: Float[np.ndarray, "h w"], lon: Float[np.ndarray, "h w"], y: float, x: float
) -> Place:
    distance = _distance(lat, lon, y, x)
    k = int(np.where(np.isnan(distance), np.inf, distance).argmin())
    row, column = divmod(k, lat.shape[1])
    centre = float(lat[row, column]), float(lon[row, column])
    # A point is in a cell, or beyond all, by how far its neighbours are.
    around = np.s_[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    width = float(np.nanmax(_distance(lat[around], lon[around], *centre))) or 1.0
    if not distance[row, column] <= (0.5 + SLACK) * width:
        ends = [f"{np.nanmin(of):.4g} to {np.nanmax(of):.4g}" for of in (lat, lon)]
        raise ValueError(
            f"--at {y:g},{x:g}: no cell lies there; the recording has latitudes {ends[0]}, "
            f"longitudes {ends[1]}"
        )
    name = f"latitude {centre[0]:.5g}, longitude {centre[1]:.5g} (row {row}, column {column})"
    return Place(row, column, name)


SLACK = 1e-3  # of a cell, beyond the edge of the grid


def _distance(
    lat: Float[np.ndarray, "h w"], lon: Float[np.ndarray, "h w"], y: float, x: float
) -> Float[np.ndarray, "h w"]:
    """From a point to each cell, in degrees of latitude, for cells that are not far from it."""
    turned = (lon - x + 180) % 360 - 180  # the shorter way round
    return np.hypot(lat - y, np.cos(np.radians(y)) * turned)
