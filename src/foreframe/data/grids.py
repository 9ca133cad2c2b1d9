"""Gridded fields: clips out of NetCDF and Zarr.

Files keep to the CF conventions (https://cfconventions.org) more or less; what they leave open is
decided here, once.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cftime
import numpy as np

from foreframe.base.budget import check_stretch
from foreframe.clips.clip import (
    LATITUDES,
    LONGITUDES,
    Clip,
    Coordinate,
    Input,
    Variable,
    direction_of_name,
    shared_attributes,
)
from foreframe.clips.data_options import BUDGET
from foreframe.clips.frames import Frames
from foreframe.data.header_limits import USUAL, check_frames_fit
from foreframe.data.store import (
    Opened,
    RefusedError,
    bytes_to_read,
    in_one_line,
    open_grid,
    stored_bytes,
)

# xarray takes a second to import, so it is imported where a grid is opened.

_TIMES = ("time", "valid_time", "t")
_NORTHWARD = ("grid_latitude", "projection_y_coordinate", "projection_y_angular_coordinate")
_BOUNDS = ("bnds", "bounds", "nv")
_SECONDS = {"": 1, "s": 1, "seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


class _GridFrames(Frames):
    """Frames (T,C,H,W), float32, NaN where missing; each slice is read from the file when it is
    needed.

    Args:
        grid: where they lie.
        flip: whether rows are turned upside down.
        budget: GiB that a slice may take.

    Raises:
        ValueError: on slicing, a damaged file, or more than the budget.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, grid: "GridLayout", flip: bool, budget: float) -> None:
        self._fields, self._where, self._flip, self._budget = grid.fields, grid.where, flip, budget
        self._time, self._channel = grid.time, grid.channel
        self._dims = (grid.time, grid.channel, grid.row, grid.column)
        self.shape = grid.shape

    def read(self, first: int, last: int) -> np.ndarray:
        count = last - first
        largest = max(bytes_to_read(field, {self._time: count}) for field in self._fields)
        check_stretch((count, *self.shape[1:]), 8, self._budget, largest)
        parts = []
        for field in self._fields:
            # Cut in the file's own order and turn afterwards: xarray's lazy transpose would read
            # point by point.
            with in_one_line(f"cannot read {self._where}; is it whole?"):
                cut = field.isel({self._time: slice(first, last)}).values
            order = [field.dims.index(dim) for dim in self._dims if dim in field.dims]
            part = cut.transpose(order).astype(np.float32)
            parts.append(part if self._channel in field.dims else part[:, None])
        frames = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return np.ascontiguousarray(frames[:, :, ::-1] if self._flip else frames)


def read_grid(
    source: Any,
    variable: str | Sequence[str] | None = None,
    select: Mapping[str, Any] | None = None,
    budget: float = BUDGET,
    inputs: Sequence[str] = (),
) -> Clip:
    """A clip out of a NetCDF file, a Zarr store or an xarray object, read when its frames are
    needed.

    Frames are float32 (T,C,H,W) in the file's own units, NaN where a value is missing. Rows run
    north to south where the file says where north is, and `notes` tell when they were turned;
    longitudes stay as they are. A dimension called `channel` becomes C. Times are datetime64[ns],
    calendar dates (cftime) where that cannot hold them, seconds where the file has plain numbers,
    and None where it has no more than an index.

    Args:
        source: a NetCDF file, a Zarr store (a folder or a .zip), either behind a URL that fsspec
            knows, an xarray Dataset or DataArray.
        variable: what to read, "group/name" where it lies in a group; several names become channels
            in that order. May be left out where only one fits.
        select: the value to take of each further dimension, e.g. {"level": 850}: the nearest
            coordinate, or an index where the dimension has no coordinate.
        budget: GiB that opening, and reading a slice, may take.
        inputs: further variables on the same grid, perhaps without a time, which become the clip's
            inputs.

    Raises:
        ValueError: no such file, not a grid or damaged, no such variable or several that fit, no
            time, times that do not run forward, a further dimension without a choice, more than the
            budget, pickled arrays.
    """
    names = [variable] if isinstance(variable, str) else list(variable or ())
    opened = open_grid(source, _group_of(names), budget)
    where = opened.name
    dataset, notes = _select(opened.dataset, dict(select or {}), where)
    axes = _axes(dataset)
    known = opened.dataset.variables
    names = [wanted if wanted in known else wanted.rpartition("/")[2] for wanted in names]
    names = names or [_only_candidate(dataset.drop_vars(inputs, errors="ignore"), axes, opened)]
    _check_numbers(dataset, [*names, *inputs], opened)
    time = _dimensions(dataset, axes, names[0], where)[0].time
    dataset, constant = _with_constants(dataset, time, inputs, where)
    grid = _layout(dataset, axes, [*names, *inputs], where)
    if opened.path is not None:
        stored = stored_bytes(opened.path, math.prod(grid.shape) * 4 // USUAL)
        check_frames_fit(grid.shape, 4, stored, budget, str(opened.path))
    with in_one_line(f"cannot read the coordinates of {where}; is it whole?"):
        times = _read_times(grid)
        coordinates, flip = _read_coordinates(grid)
    if flip:
        notes.append("rows ran south to north: turned north-up")
    targets = [_read_variable(grid, name, coordinates) for name in names]
    units = [target.units for target in targets]
    return Clip(
        _GridFrames(grid, flip, budget),
        times,
        units[0] if len(set(units)) == 1 else ", ".join(units),
        coordinates,
        name=where,
        variable=", ".join(_titles(grid, names)),
        notes=tuple(notes),
        attributes=shared_attributes([target.attributes for target in targets]),
        dims=(str(grid.row), str(grid.column)),
        start=_read_start(dataset, times),
        time_dim=grid.time_dim,
        turned=flip,
        variables=tuple(targets) if len(targets) > 1 else (),
        about={key: str(dataset.attrs[key]) for key in _ABOUT if dataset.attrs.get(key)},
        inputs=tuple(Input(name, name in constant) for name in inputs),
    )


def select_variables(
    variable: str | Sequence[str] | None,
    names: Sequence[str],
    where: str,
    kinds: tuple[str, str] = ("variable", "variables"),
    spellings: Mapping[str, str] | None = None,
) -> list[str]:
    """The names of those of a file's variables that are read, or of the only one.

    Args:
        variable: a name, several, or None for the only one.
        names: what the file holds.
        where: the file's name, for messages.
        kinds: what the file calls one of them, and several.
        spellings: other spellings of the names, and the names themselves, each with its name.

    Raises:
        ValueError: no such name; several, and no name is given.
    """
    spellings = spellings or dict(zip(names, names, strict=True))
    wanted = [variable] if isinstance(variable, str) else list(variable or names)
    if variable is None and len(names) > 1:
        raise ValueError(
            f"{where} holds several {kinds[1]}: {', '.join(names)}; name one, or a list that "
            "become channels"
        )
    for name in wanted:
        if name not in spellings:
            raise ValueError(f"{where} has no {kinds[0]} {name}; it holds {', '.join(names)}")
    return [spellings[name] for name in wanted]


def _check_numbers(dataset: Any, names: Sequence[str], opened: Opened) -> None:
    """Refuse names of no variable, and of variables that hold no numbers (ValueError)."""
    for name in names:
        if name not in dataset.variables:
            held = _listed(dataset.data_vars or opened.dataset.variables)
            raise ValueError(f"{opened.name} has no variable {name}; it holds {held}")
        if dataset.variables[name].dtype.kind not in "fiub":
            raise ValueError(f"{opened.name}: {name} holds text, not numbers; name another")


# -- which dimension is which ----------------------------------------------------------------------


def _attribute(variable: Any, key: str) -> str:
    return str(variable.attrs.get(key, variable.encoding.get(key, "")))


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names) or "none"


class _Axes(NamedTuple):
    """What the variables of a Dataset say about the sides of the picture.

    Args:
        sides: "row", "column" or "" by name: along which side a variable runs.
        latitudes, longitudes: the names of those.
    """

    sides: dict[Any, str]
    latitudes: set[Any]
    longitudes: set[Any]


def _axes(dataset: Any) -> _Axes:
    """By CF's attributes and, where they are silent, by names."""
    import cf_xarray  # noqa: F401  gives every Dataset its `cf`

    every = dataset.set_coords(list(dataset.data_vars)).drop_attrs(deep=False)
    every.encoding = {}  # may name some coordinates, and cf_xarray would look at no others
    axes, places = every.cf.axes, every.cf.coordinates
    rows = {*axes.get("Y", ()), *places.get("latitude", ())}
    columns = {*axes.get("X", ()), *places.get("longitude", ())}
    sides = {
        name: "row" if name in rows else "column" if name in columns else direction_of_name(name)
        for name in dataset.variables
    }
    named = {name: str(name).lower() for name in dataset.variables}
    return _Axes(
        sides,
        {*places.get("latitude", ()), *(n for n, low in named.items() if low in LATITUDES)},
        {*places.get("longitude", ()), *(n for n, low in named.items() if low in LONGITUDES)},
    )


@dataclass(frozen=True)
class GridLayout:
    """Where the frames lie in a Dataset, and which of its dimensions is which.

    Args:
        dataset: an xarray Dataset.
        axes: what its variables say of the sides of the picture.
        names: the variables that become channels, in order.
        where: its name, for messages.
        time, channel, row, column: the names of dimensions; `channel` is None where there is none.
    """

    dataset: Any
    axes: _Axes
    names: list[str]
    where: str
    time: Any
    channel: Any
    row: Any
    column: Any

    @property
    def fields(self) -> list[Any]:
        """The variables that become channels."""
        return [self.dataset.variables[name] for name in self.names]

    @property
    def shape(self) -> tuple[int, ...]:
        """(T,C,H,W) of the frames."""
        sizes = self.dataset.sizes
        channels = sum(field.sizes.get(self.channel, 1) for field in self.fields)
        return sizes[self.time], channels, sizes[self.row], sizes[self.column]

    @property
    def time_dim(self) -> str:
        """What a clip calls its times: as the file does, where they are those of its dimension."""
        dim, described = self.time, _time_variable(self.dataset, self.time)
        if described is None or described[0] != dim or dim in ("start", "lead", "channel"):
            return "time"
        return "time" if _attribute(described[1], "standard_name") in _STARTS else str(dim)


def _points_north(name: str, coordinate: Coordinate, axes: _Axes) -> bool:
    """Whether greater values of a coordinate lie farther north; a plain `y` does not tell."""
    named = name.lower().startswith("lat") or name.lower() == "rlat" or name in axes.latitudes
    northward = named or coordinate.attributes.get("standard_name") in _NORTHWARD
    return northward and "row" in coordinate.dims


def _along(dataset: Any, dim: Any) -> dict[Any, Any]:
    """The 1-D variables of a dimension, its own coordinate first."""
    lines = {name: v for name, v in dataset.variables.items() if v.dims == (dim,)}
    return dict(sorted(lines.items(), key=lambda item: item[0] != dim))


def _is_date(variable: Any) -> bool:
    if variable.dtype.kind == "O" and variable.size:
        first = variable[(slice(1),) * variable.ndim].values.ravel()[0]
        return isinstance(first, cftime.datetime)
    return variable.dtype.kind == "M"


def _time_variable(dataset: Any, dim: Any) -> tuple[Any, Any] | None:
    """The coordinate that tells the time along a dimension: the valid time before the start of a
    forecast.
    """

    def fit(item: tuple[Any, Any]) -> int:
        name, variable = item
        standard = _attribute(variable, "standard_name")
        if standard == "time":
            return 0 if name == dim else 1
        start, axis = standard == "forecast_reference_time", _attribute(variable, "axis")
        own = _is_date(variable) or start or axis == "T"
        if str(name).lower() in _TIMES or (name == dim and own):
            return 2
        return 3 if name in dataset.coords and _is_date(variable) else 9

    fitting = [item for item in _along(dataset, dim).items() if fit(item) < 9]
    return min(fitting, key=fit, default=None)


def _time_dimension(dataset: Any, dims: Iterable[Any]) -> Any:
    """The name of the time dimension, None without one."""
    times = {dim: _time_variable(dataset, dim) for dim in dims}
    dated = [d for d, item in times.items() if item and _is_date(item[1])]
    named = [d for d in times if str(d).lower() in _TIMES]
    described = [d for d, item in times.items() if item]
    return next(iter([d for d in dated if d in named] + dated + described + named), None)


def _dimensions(
    dataset: Any, axes: _Axes, variable: str, name: str
) -> tuple[GridLayout, list[Any]]:
    """The layout of one variable, and its further dimensions, which are of size 1."""
    field = dataset.variables[variable]
    time = _time_dimension(dataset, field.dims)
    if time is None:
        raise ValueError(
            f"{name}: {variable} has no time among its dimensions ({_listed(field.dims)}); name "
            "another variable"
        )
    rest = [d for d in field.dims if d != time]
    channel = next((d for d in rest if str(d).lower() in ("channel", "channels")), None)
    rest = [d for d in rest if d != channel]
    sides = {}
    for dim in rest:
        hints = [axes.sides.get(dim, direction_of_name(dim))]
        hints += [axes.sides[name] for name in _along(dataset, dim)]
        sides[dim] = next(filter(None, hints), "")
    row = next((d for d in rest if sides[d] == "row"), None)
    column = next((d for d in rest if sides[d] == "column"), None)
    # A single level is no direction in space, while there are enough others.
    spare = [d for d in rest if d not in (row, column)]
    for single in [d for d in spare if field.sizes[d] == 1]:
        if len(spare) > (row is None) + (column is None):
            spare.remove(single)
    if column is None and spare:
        column = spare.pop()
    if row is None and spare:
        row = spare.pop()
    if row is None or column is None:
        raise ValueError(
            f"{name}: {variable} has dimensions {_listed(field.dims)}, not a time and two of "
            "space; name another variable"
        )
    further = [d for d in rest if d not in (row, column)]
    many = [d for d in further if field.sizes[d] > 1]
    if many:
        raise ValueError(
            f"{name}: {variable} has further dimensions: "
            f"{'; '.join(f'{d} ({_listed(_choices(dataset, d)[:6])})' for d in many)}; "
            f"select one of each, e.g. {many[0]}={_choices(dataset, many[0])[0]}"
        )
    return GridLayout(dataset, axes, [variable], name, time, channel, row, column), further


def _with_constants(
    dataset: Any, time: Any, inputs: Sequence[str], name: str
) -> tuple[Any, set[str]]:
    """The dataset with its constant inputs, those without a time, repeated at every time, and their
    names. They are read here; the repeats are one array in memory.

    Raises:
        ValueError: a damaged file.
    """
    constant = {}
    for wanted in inputs:
        field = dataset.variables[wanted]
        if _time_dimension(dataset, field.dims) is None:
            with in_one_line(f"cannot read {wanted} of {name}; is it whole?"):
                constant[wanted] = field.set_dims({time: dataset.sizes[time], **field.sizes})
    return dataset.assign(constant), set(constant)


def _layout(dataset: Any, axes: _Axes, names: list[str], where: str) -> GridLayout:
    """The layout of several variables, which must share a grid; only some may have a channel.

    Raises:
        ValueError: they lie on different grids, or the grid is empty.
    """
    layouts = [_dimensions(dataset, axes, name, where) for name in names]
    first = layouts[0][0]
    mine = [first.time, first.row, first.column]
    for name, (other, _) in zip(names, layouts, strict=True):
        theirs = [other.time, other.row, other.column]
        if theirs != mine:
            raise ValueError(
                f"{where}: {names[0]} lies on {_listed(mine)}, but {name} on {_listed(theirs)}; "
                "channels need one grid: read them apart"
            )
    if not all(dataset.sizes[dim] for dim in mine):
        sizes = ", ".join(f"{dim} {dataset.sizes[dim]}" for dim in mine)
        raise ValueError(f"{where}: {names[0]} is empty: {sizes}")
    channels = [layout.channel for layout, _ in layouts if layout.channel is not None]
    single = dict.fromkeys((dim for _, further in layouts for dim in further), 0)
    return replace(
        first, dataset=dataset.isel(single), names=names, channel=(channels or [None])[0]
    )


def _choices(dataset: Any, dim: Any) -> list[str]:
    """The values of a dimension, or its numbers where it has none."""
    if dim not in dataset.variables:
        return [str(k) for k in range(dataset.sizes[dim])]
    return [str(value) for value in dataset.variables[dim].values]


def _group_of(names: Sequence[str]) -> str:
    """The group that variables lie in, "" for the root."""
    groups = list(dict.fromkeys(name.rpartition("/")[0] for name in names)) or [""]
    if len(groups) > 1:
        raise ValueError(f"channels come from one group, not from {_listed(groups)}")
    return groups[0]


def _only_candidate(dataset: Any, axes: _Axes, opened: Opened) -> str:
    """The one variable with a time and two space dimensions."""
    bounds = {_attribute(v, "bounds") for v in dataset.variables.values()}
    candidates = [
        str(title)
        for title, v in dataset.data_vars.items()
        if v.dtype.kind in "fiub"
        and len(v.dims) >= 3
        and title not in bounds | axes.latitudes | axes.longitudes
        and not any(str(d).lower() in _BOUNDS for d in v.dims)
        and _time_dimension(dataset, v.dims) is not None
    ]
    if not candidates:
        content = _listed(f"{title} ({_listed(v.dims)})" for title, v in dataset.data_vars.items())
        raise ValueError(
            f"{opened.name} has no variable with a time and two space dimensions; it holds "
            f"{content}; one that lies in a group is named group/name"
        )
    return select_variables(None, candidates, opened.name)[0]


def _select(dataset: Any, wanted: dict[str, Any], name: str) -> tuple[Any, list[str]]:
    """The dataset with one place taken of each dimension in `wanted`, and a note where another
    value was nearest.
    """
    notes, places = [], {}
    for dim, value in wanted.items():
        if dim not in dataset.sizes:
            raise ValueError(
                f"{name} has no dimension {dim} to select from; it has {_listed(dataset.sizes)}"
            )
        choices = _choices(dataset, dim)
        values = dataset.variables[dim].values if dim in dataset.variables else np.array(choices)
        try:
            if str(value) in choices:
                places[dim] = choices.index(str(value))
                continue
            exact = np.array(value).astype(values.dtype)
            places[dim] = int(np.nanargmin(np.abs(values - exact)))
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"{name}: {value!r} is no choice of {dim} ({_listed(choices[:6])}); select one of "
                "these"
            ) from None
        if values[places[dim]] != exact:
            notes.append(f"{dim} {values[places[dim]]} is the nearest to {value}")
    return dataset.isel(places), notes


# -- reading coordinates ---------------------------------------------------------------------------


def _read_times(grid: GridLayout) -> np.ndarray | None:
    """Times (T,) as a Clip has them: numbers in units that say no date are taken as seconds, and a
    plain count 0, 1, 2 ... as none.

    Raises:
        ValueError: numbers in units that are not known.
    """
    described = _time_variable(grid.dataset, grid.time)
    if described is None:
        return None
    _, variable = described
    values = np.asarray(variable.values)
    if values.dtype.kind == "M":
        return values.astype("datetime64[ns]")
    if values.dtype.kind == "m":
        return values / np.timedelta64(1, "s")
    if values.dtype.kind == "O":
        return values
    units = _attribute(variable, "units").strip()
    counted = units in ("", "1") and not _attribute(variable, "standard_name")
    if values.dtype.kind not in "fiu" or (counted and np.array_equal(values, range(len(values)))):
        return None
    if units not in _SECONDS:
        raise RefusedError(f"{grid.where}: times in '{units}' are not read; store dates")
    return values.astype(np.float64) * _SECONDS[units]


# What a reader of the file needs to know of its numbers on disk, and pointers to what no clip
# holds.
OF_THE_FILE = (
    "_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "dtype", "calendar",
    "coordinates", "ancillary_variables", "cell_measures", "bounds", "climatology",
    "formula_terms", "actual_range", "stored_direction",
    "valid_min", "valid_max", "valid_range",  # a forecast may go beyond, and would be masked
)  # fmt: skip
_STARTS = ("forecast_reference_time", "forecast_period")
_ABOUT = ("title", "institution", "source", "references", "comment", "license", "history")


def _attributes(variable: Any, *without: str) -> dict[str, Any]:
    left_out = (*OF_THE_FILE, *without)
    return {
        str(key): value
        for key, value in variable.attrs.items()
        if key not in left_out and not key.startswith("_NC")
    }


def mapping_names(text: str) -> list[str]:
    """The names in a grid_mapping attribute: "crs", or CF's longer way "crs: x y wgs84: lat
    lon".
    """
    words = text.split()
    return [word.rstrip(":") for word in words if word.endswith(":")] if ":" in text else words


def _read_variable(grid: GridLayout, name: str, coordinates: Mapping[str, Any]) -> Variable:
    """What the file says of a variable; pointers to what the clip does not hold are left out."""
    variable = grid.dataset.variables[name]
    attributes = _attributes(variable, "units", "grid_mapping")
    mapping = _attribute(variable, "grid_mapping")
    if mapping and all(title in coordinates for title in mapping_names(mapping)):
        attributes["grid_mapping"] = mapping
    channels = variable.sizes.get(grid.channel, 1)
    return Variable(name, _attribute(variable, "units"), attributes, channels)


def _titles(grid: GridLayout, names: list[str]) -> list[str]:
    """What the channels are called: by the names of variables, or those of one with channels."""
    for label in (grid.channel, f"{grid.channel}_name"):
        words = grid.dataset.variables.get(label)
        if len(names) == 1 and words is not None and words.dtype.kind in "OUT":
            names = [str(title) for title in words.values]
    return names


def _read_start(dataset: Any, times: np.ndarray | None) -> Any:
    """The reference time of a file with one forecast, None without."""
    if times is None:
        return None
    for variable in dataset.variables.values():
        standard = _attribute(variable, "standard_name")
        if not variable.dims and standard == "forecast_reference_time":
            value = variable.values
            value = value.astype("datetime64[ns]") if value.dtype.kind == "M" else value
            return value[()] if value.dtype.kind == times.dtype.kind else None
    return None


def _read_coordinates(grid: GridLayout) -> tuple[dict[str, Coordinate], bool]:
    """Coordinates, the 1-D ones before the 2-D ones and those of the whole clip, north-up; and
    whether that took a flip.
    """
    coordinates = {
        str(name): Coordinate(dims, values, _attributes(variable))
        for name, variable, dims, values in (*_lines(grid), *_planes(grid), *_points(grid))
    }
    if not _runs_north(coordinates, grid.axes):
        return coordinates, False
    return {name: turned(coordinate) for name, coordinate in coordinates.items()}, True


def _runs_north(coordinates: Mapping[str, Coordinate], axes: _Axes) -> bool:
    """Whether the last row lies north of the first, by the first coordinate that tells."""
    for name, coordinate in coordinates.items():
        if _points_north(name, coordinate, axes):
            first, last = (edge[np.isfinite(edge)] for edge in coordinate.values[[0, -1]])
            if first.size and last.size and first.mean() != last.mean():
                return bool(first.mean() < last.mean())
    return False


_Place = tuple[Any, Any, tuple[str, ...], np.ndarray]  # name, variable, dims, values


def _lines(grid: GridLayout) -> Iterator[_Place]:
    """Along one side: rows' before columns', each beginning with the dimension's own."""
    for dim, side in ((grid.row, "row"), (grid.column, "column")):
        for name, variable in _along(grid.dataset, dim).items():
            is_coordinate = name == dim or name in grid.dataset.coords
            fits = (side, "") if is_coordinate else (side,)
            counted = variable.attrs.get("long_name") == counts_pixels(side)
            if variable.dtype.kind in "fiu" and grid.axes.sides[name] in fits and not counted:
                yield name, variable, (side,), np.asarray(variable.values)


def _planes(grid: GridLayout) -> Iterator[_Place]:
    """Over both sides: latitudes, longitudes, and what else the file calls a coordinate."""
    axes, sides = grid.axes, (grid.row, grid.column)
    others = {*grid.dataset.coords} - axes.latitudes - axes.longitudes
    for names in (axes.latitudes, axes.longitudes, others):
        for name, variable in grid.dataset.variables.items():
            # WRF repeats its grid at every time.
            if grid.time in variable.dims and variable.ndim == 3:
                variable = variable.isel({grid.time: 0})
            flat = set(variable.dims) == {*sides} and variable.dtype.kind in "fiu"
            if flat and name in names:
                values = np.asarray(variable.transpose(*sides).values)
                yield name, variable, ("row", "column"), values


def _points(grid: GridLayout) -> Iterator[_Place]:
    """What is true of the whole clip: levels and the like, and grid mappings."""
    for name, variable in grid.dataset.coords.variables.items():
        if not variable.dims and variable.dtype.kind in "fiuUSTO" and not _is_time(name, variable):
            value = np.asarray(variable.values)
            yield name, variable, (), value if value.dtype.kind in "fiu" else np.array(str(value))
    for text in {_attribute(field, "grid_mapping") for field in grid.fields}:
        for name in mapping_names(text):
            if name in grid.dataset.variables:
                variable = grid.dataset.variables[name]
                # Joined files repeat it.
                value = variable.isel(dict.fromkeys(variable.dims, 0)).values
                yield name, variable, (), value if value.dtype.kind in "fiu" else np.array(0)


def counts_pixels(side: str) -> str:
    """The long_name of a coordinate that only counts the pixels of a side, which is none here."""
    return f"{side} of the picture"


def turned(coordinate: Coordinate) -> Coordinate:
    """The coordinate of frames whose rows are turned upside down."""
    if "row" not in coordinate.dims:
        return coordinate
    return replace(coordinate, values=np.ascontiguousarray(coordinate.values[::-1]))


def without_corner(coordinate: Coordinate) -> Coordinate:
    """A grid mapping without GDAL's attribute that says where the first pixel lies, for frames that
    begin at another one.
    """
    kept = {key: value for key, value in coordinate.attributes.items() if key != "GeoTransform"}
    return replace(coordinate, attributes=kept)


def _is_time(name: Any, variable: Any) -> bool:
    """Whether a single value says when a forecast of the file began, or how far ahead it looks."""
    return (
        _is_date(variable)
        or _attribute(variable, "standard_name") in (*_STARTS, "time")
        or str(name).lower() in (*_TIMES, "start", "lead", "step", "channel")
    )
