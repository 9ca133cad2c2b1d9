"""Gridded fields: clips from NetCDF and Zarr.

Files follow the CF conventions (https://cfconventions.org) more or less. This module decides what a
file leaves open.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

import cftime
import numpy as np

from foreframe.base.budget import USUAL, check_frames_fit, check_stretch
from foreframe.base.wording import in_one_line
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
from foreframe.clips.frames import Frames
from foreframe.data.data_options import BUDGET
from foreframe.data.maps import mapping_names, turned
from foreframe.data.store import (
    bytes_to_read,
    open_grid,
    select_variables,
    stored_bytes,
    stored_together,
)

# xarray takes a second to import, so it is imported where a grid is opened.

_TIMES = ("time", "valid_time", "t")
_CHANNELS = ("channel", "channels")
_NORTHWARD = ("grid_latitude", "projection_y_coordinate", "projection_y_angular_coordinate")
_SECONDS = {"": 1, "s": 1, "seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
_STARTS = ("forecast_reference_time", "forecast_period")
_ABOUT = ("title", "institution", "source", "references", "comment", "license", "history")
# Attributes about numbers on disk, and pointers to variables that a clip does not have.
OF_THE_FILE = (
    "_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "dtype", "calendar",
    "coordinates", "ancillary_variables", "cell_measures", "bounds", "climatology",
    "formula_terms", "actual_range", "stored_direction",
    "valid_min", "valid_max", "valid_range",  # a forecast may go beyond, and would be masked
)  # fmt: skip


_READING = Lock()  # no thread closes a file while another one reads it


class _GridFrames(Frames):
    """Frames (T,C,H,W), float32, NaN where missing, read on demand.

    Args:
        grid: location of the frames.
        flip: whether to reverse the rows.
        budget: GiB for a slice.
        close: closes the file, after each slice.

    Raises:
        ValueError: on slicing, a damaged file, or more than the budget.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self, grid: "GridLayout", flip: bool, budget: float, close: Callable[[], None] | None
    ) -> None:
        self._grid, self._flip, self._budget, self._close = grid, flip, budget, close
        self.shape = grid.shape
        self.chunk = max(stored_together(field, grid.time) for field in grid.fields)

    def read(self, first: int, last: int) -> np.ndarray:
        shape = (last - first, *self.shape[1:])
        grid, parts = self._grid, []
        largest = max(bytes_to_read(field, {grid.time: shape[0]}) for field in grid.fields)
        check_stretch(shape, 8, self._budget, largest)
        # Cut in the file's own order and turn afterwards: xarray's lazy transpose would read point
        # by point.
        with in_one_line(f"cannot read {grid.where}; is it whole?"):
            cut = {grid.time: slice(first, last)}
            with _READING if self._close else nullcontext():
                loaded = [field.isel(cut, missing_dims="ignore").load() for field in grid.fields]
                if self._close:
                    self._close()
        sizes = dict(zip((grid.time, grid.channel, grid.row, grid.column), shape, strict=True))
        for part in loaded:
            shape_of_part = sizes | {grid.channel: part.sizes.get(grid.channel, 1)}
            parts.append(part.set_dims(shape_of_part).values.astype(np.float32))
        frames = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return np.ascontiguousarray(frames[:, :, ::-1] if self._flip else frames)


def read_grid(
    source: Any,
    variable: str | Sequence[str] | None = None,
    select: Mapping[str, Any] | None = None,
    budget: float = BUDGET,
    inputs: Sequence[str] = (),
) -> Clip:
    """Return a clip from a NetCDF file, a Zarr store or an xarray object, with frames read on
    demand.

    Frames are float32 (T,C,H,W) in the file's units, NaN if a value is missing. Rows run north to
    south if the file states the direction, and `notes` mention reversed rows; longitudes are
    unchanged. A dimension called `channel` becomes C. Times are datetime64[ns], calendar dates
    (cftime) beyond its range, seconds for plain numbers, or None for a mere index.

    Args:
        source: a NetCDF file, a Zarr store (a folder), or a URL of either that fsspec supports; an
            xarray Dataset or DataArray.
        variable: name to read; several names become channels in that order. Optional if only one
            variable fits.
        select: the value for each other dimension, e.g. {"level": 850}: the nearest coordinate, or
            an index for a dimension without a coordinate.
        budget: GiB for opening the file and for reading a slice.
        inputs: further variables on the same grid, with or without a time, which become the inputs
            of the clip.

    Raises:
        ValueError: no such file, not a grid or damaged, no such variable or several that fit, no
            time, another dimension without a choice, more than the budget, pickled arrays.
    """
    names = [variable] if isinstance(variable, str) else list(variable or ())
    opened = open_grid(source, budget)
    where = opened.name
    dataset, notes = _select(opened.dataset, select or {}, where)
    grid = _layout(dataset, names, inputs, where)
    if opened.path is not None:
        stored = stored_bytes(opened.path, math.prod(grid.shape) * 4 // USUAL)
        check_frames_fit(grid.shape, 4, stored, budget, str(opened.path))
    with in_one_line(f"cannot read the coordinates of {where}; is it whole?"):
        times = _read_times(grid)
        coordinates, flip = _read_coordinates(grid)
    if flip:
        notes.append("rows ran south to north: turned north-up")
    targets = [_read_variable(grid, name, coordinates) for name in grid.names]
    if opened.close:
        opened.close()
    units = [target.units for target in targets]
    return Clip(
        _GridFrames(grid, flip, budget, opened.close),
        times,
        units[0] if len(set(units)) == 1 else ", ".join(units),
        coordinates,
        name=where,
        variable=", ".join(_titles(grid)),
        notes=tuple(notes),
        attributes=shared_attributes([target.attributes for target in targets]),
        dims=(str(grid.row), str(grid.column)),
        time_dim=grid.time_dim,
        turned=flip,
        variables=tuple(targets) if len(targets) > 1 else (),
        about={key: str(dataset.attrs[key]) for key in _ABOUT if dataset.attrs.get(key)},
        inputs=tuple(Input(n, grid.time not in dataset.variables[n].dims) for n in inputs),
    )


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names) or "none"


# -- which variable, which place -------------------------------------------------------------------


def _choose(
    dataset: Any, axes: "_Axes", names: Sequence[str], inputs: Sequence[str], where: str
) -> list[str]:
    """Return the variables that become channels: `names`, or the only variable with a time and two
    space dimensions. Check that they and `inputs` are numeric.
    """
    numeric = [str(name) for name, v in dataset.variables.items() if v.dtype.kind in "fiub"]
    if not names:
        bounds = {_attribute(v, "bounds") for v in dataset.variables.values()}
        candidates = [
            name
            for name in numeric
            if name in dataset.data_vars
            and name not in {*inputs, *axes.places, *bounds}
            and len(dims := dataset.variables[name].dims) >= 3
            and _time_of(dataset, dims)[0] is not None
        ]
        if not candidates:
            content = (f"{name} ({_listed(v.dims)})" for name, v in dataset.data_vars.items())
            raise ValueError(
                f"{where} has no variable with a time and two space dimensions; it has "
                f"{_listed(content)}; open a group in Python: xarray.open_dataset(FILE, group=...)"
            )
        names = select_variables(None, candidates, where)
    wanted = [*names, *inputs]
    held = [name for name in numeric if name in dataset.data_vars or name in wanted]
    return select_variables(wanted, held, where)[: len(names)]


def _select(dataset: Any, select: Mapping[str, Any], where: str) -> tuple[Any, list[str]]:
    """Select one index of each dimension in `select`; return the dataset, and a note for each value
    that was only the nearest.
    """
    notes, places = [], {}
    for dim, value in select.items():
        if dim not in dataset.sizes:
            raise ValueError(
                f"{where} has no dimension {dim} to select from; it has {_listed(dataset.sizes)}"
            )
        choices = _choices(dataset, dim)
        try:
            if str(value) in choices:
                places[dim] = choices.index(str(value))
                continue
            values = dataset.variables[dim].values
            exact = np.array(value).astype(values.dtype)
            places[dim] = int(np.nanargmin(np.abs(values - exact)))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise ValueError(
                f"{where}: {value!r} is no choice of {dim} ({_listed(choices[:6])}); select one of "
                "these"
            ) from None
        if values[places[dim]] != exact:
            notes.append(f"{dim} {choices[places[dim]]} is the nearest to {value}")
    return dataset.isel(places), notes


def _choices(dataset: Any, dim: Any) -> list[str]:
    """Return the values of a dimension, or its indices if it has no coordinate."""
    return [str(value) for value in dataset[dim].values]


# -- which dimension is which ----------------------------------------------------------------------


def _attribute(variable: Any, key: str) -> str:
    return str(variable.attrs.get(key, variable.encoding.get(key, "")))


class _Axes(NamedTuple):
    """Directions of the variables and dimensions of a Dataset.

    Args:
        sides: "row", "column" or "" for each name.
        places: names of latitudes, which run along rows, and longitudes.
    """

    sides: dict[Any, str]
    places: set[Any]


def _axes(dataset: Any) -> _Axes:
    """Return the directions by CF attributes or, without attributes, by names."""
    import cf_xarray  # noqa: F401  gives every Dataset its `cf`

    every = dataset.set_coords(list(dataset.data_vars)).drop_attrs(deep=False)
    every.encoding = {}  # it may name some coordinates, and cf_xarray ignores the others
    axes, known = every.cf.axes, every.cf.coordinates
    latitudes, longitudes = known.get("latitude", ()), known.get("longitude", ())
    sides = {name: direction_of_name(name) for name in (*dataset.variables, *dataset.sizes)}
    sides |= dict.fromkeys((*axes.get("X", ()), *longitudes), "column")
    sides |= dict.fromkeys((*axes.get("Y", ()), *latitudes), "row")
    named = {n for n in dataset.variables if str(n).lower() in (*LATITUDES, *LONGITUDES)}
    return _Axes(sides, {*latitudes, *longitudes, *named})


@dataclass(frozen=True)
class GridLayout:
    """Location of the frames in a Dataset, and the meaning of its dimensions.

    Args:
        dataset: an xarray Dataset.
        axes: directions of its variables.
        names: names of the variables to forecast.
        fields: the variables that become channels, in order, with inputs.
        where: its name, for messages.
        time, channel, row, column: names of dimensions; `channel` need not exist.
        clock: name of the variable with the times, if any.
    """

    dataset: Any
    axes: _Axes
    names: list[str]
    fields: list[Any]
    where: str
    time: Any
    channel: Any
    row: Any
    column: Any
    clock: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """(T,C,H,W) of the frames."""
        sizes = self.dataset.sizes
        channels = sum(field.sizes.get(self.channel, 1) for field in self.fields)
        return sizes[self.time], channels, sizes[self.row], sizes[self.column]

    @property
    def time_dim(self) -> str:
        """Name of a clip's time dimension: the file's, unless another variable has the times."""
        if self.clock != self.time or self.time in ("start", "lead", "channel"):
            return "time"
        standard = _attribute(self.dataset.variables[self.time], "standard_name")
        return "time" if standard in _STARTS else str(self.time)


def _along(dataset: Any, dim: Any) -> list[Any]:
    """Return the names of the 1-D variables of a dimension."""
    return [name for name, variable in dataset.variables.items() if variable.dims == (dim,)]


def _is_date(variable: Any) -> bool:
    if variable.dtype.kind == "O" and variable.size:
        first = variable[(slice(1),) * variable.ndim].values.ravel()[0]
        return isinstance(first, cftime.datetime)
    return variable.dtype.kind == "M"


def _time_of(dataset: Any, dims: Iterable[Any]) -> tuple[Any, Any]:
    """Return the time dimension and the variable with the times, each None if there is none. The
    valid time has priority over the start of a forecast.
    """
    found = []
    for dim in dims:
        named = str(dim).lower() in _TIMES
        for name in _along(dataset, dim):
            variable = dataset.variables[name]
            standard, dated = _attribute(variable, "standard_name"), _is_date(variable)
            on_axis = standard == _STARTS[0] or _attribute(variable, "axis") == "T"
            dates = dated and name in dataset.coords
            clock = standard == "time" or str(name).lower() in _TIMES
            if dates or clock or (name == dim and on_axis):
                found.append(((not dated, not named, standard != "time", name != dim), dim, name))
        if named:
            found.append(((True,) * 4, dim, None))
    return min(found, key=lambda item: item[0], default=(None, None, None))[1:]


def _sides(dataset: Any, axes: _Axes, dims: Sequence[Any]) -> tuple[Any, Any]:
    """Return the dimensions of rows and columns: those with a known direction, otherwise the last
    ones. A dimension of length one is only used if there are too few others.
    """
    sides = {}
    for dim in dims:
        hints = [axes.sides[dim], *(axes.sides[name] for name in _along(dataset, dim))]
        sides[dim] = next(filter(None, hints), "")
    row = next((dim for dim in dims if sides[dim] == "row"), None)
    column = next((dim for dim in dims if sides[dim] == "column"), None)
    spare = [dim for dim in dims if dim not in (row, column)]
    spare.sort(key=lambda dim: dataset.sizes[dim] > 1)
    if column is None and spare:
        column = spare.pop()
    if row is None and spare:
        row = spare.pop()
    return row, column


def _layout(dataset: Any, wanted: Sequence[str], inputs: Sequence[str], where: str) -> GridLayout:
    """Return the layout of several variables and inputs, which must share a grid; inputs need no
    time.

    Raises:
        ValueError: no time, or not two dimensions of space; different grids, or other dimensions;
            an empty grid.
    """
    axes = _axes(dataset)
    names = _choose(dataset, axes, wanted, inputs, where)
    dims = {name: dataset.variables[name].dims for name in (*names, *inputs)}
    first = dims[names[0]]
    time, clock = _time_of(dataset, first)
    every = dict.fromkeys(dim for each in dims.values() for dim in each)
    channel = next((dim for dim in every if str(dim).lower() in _CHANNELS), "channel")
    row, column = _sides(dataset, axes, [dim for dim in first if dim not in (time, channel)])
    for name, each in dims.items():
        shared = {row, column} if name in inputs else {time, row, column}
        if None in (time, row, column) or not shared <= {*each}:
            raise ValueError(
                f"{where}: {name} has the dimensions {_listed(each)}; a time and two dimensions of "
                "space are required, the same for all: name other variables, or read them apart"
            )
    further = [dim for dim in every if dim not in (time, channel, row, column)]
    choices = {dim: _choices(dataset, dim)[:6] for dim in further if dataset.sizes[dim] > 1}
    if choices:
        dim, values = next(iter(choices.items()))
        raise ValueError(
            f"{where}: {names[0]} has other dimensions: "
            f"{'; '.join(f'{dim} ({_listed(some)})' for dim, some in choices.items())}; "
            f"select one of each, e.g. {dim}={values[0]}"
        )
    dataset = dataset.isel(dict.fromkeys(further, 0))
    fields = [dataset.variables[name] for name in dims]
    grid = GridLayout(dataset, axes, names, fields, where, time, channel, row, column, clock)
    if not all(grid.shape):
        raise ValueError(f"{where}: {names[0]} is empty: {grid.shape} as (T,C,H,W)")
    return grid


# -- reading coordinates ---------------------------------------------------------------------------


def _read_times(grid: GridLayout) -> np.ndarray | None:
    """Return the times (T,) of a Clip: numbers without a reference date become seconds, and a plain
    count 0, 1, 2 ... becomes None.

    Raises:
        ValueError: numbers in unknown units.
    """
    if grid.clock is None:
        return None
    variable = grid.dataset.variables[grid.clock]
    values = np.asarray(variable.values)
    if values.dtype.kind == "M":
        return values.astype("datetime64[ns]")
    if values.dtype.kind == "O":
        return values
    units = _attribute(variable, "units").strip()
    is_count = units in ("", "1") and not _attribute(variable, "standard_name")
    if values.dtype.kind not in "fiu" or (is_count and np.array_equal(values, range(len(values)))):
        return None
    if units not in _SECONDS:
        raise ValueError(f"times in '{units}' are not supported; store dates")
    return values.astype(np.float64) * _SECONDS[units]


def _attributes(variable: Any, *without: str) -> dict[str, Any]:
    left_out = (*OF_THE_FILE, *without)
    return {
        str(key): value
        for key, value in variable.attrs.items()
        if key not in left_out and not key.startswith("_NC")
    }


def _read_variable(grid: GridLayout, name: str, coordinates: Mapping[str, Any]) -> Variable:
    """Return the description of a variable, without pointers to variables outside the clip."""
    variable = grid.dataset.variables[name]
    attributes = _attributes(variable, "units", "grid_mapping")
    mapping = _attribute(variable, "grid_mapping")
    if mapping and all(title in coordinates for title in mapping_names(mapping)):
        attributes["grid_mapping"] = mapping
    channels = variable.sizes.get(grid.channel, 1)
    return Variable(name, _attribute(variable, "units"), attributes, channels)


def _titles(grid: GridLayout) -> list[str]:
    """Return the names of the channels: variables, or labels along the channel dimension."""
    for label in (grid.channel, f"{grid.channel}_name"):
        words = grid.dataset.variables.get(label)
        if len(grid.names) == 1 and words is not None and words.dtype.kind in "OUT":
            return [str(title) for title in words.values]
    return grid.names


_ORDER = (("row",), ("column",), ("row", "column"), ())  # of dimensions of coordinates


def _read_coordinates(grid: GridLayout) -> tuple[dict[str, Coordinate], bool]:
    """Return the coordinates, north-up, and whether rows are reversed. The 1-D coordinates come
    before the 2-D and scalar ones.
    """
    sides = {grid.row: "row", grid.column: "column"}
    mappings = {n for f in grid.fields for n in mapping_names(_attribute(f, "grid_mapping"))}
    found = {}
    for name, variable in grid.dataset.variables.items():
        attributes = _attributes(variable)
        if name in mappings:  # concatenated files repeat it
            variable = variable.isel(dict.fromkeys(variable.dims, 0))
        elif grid.time in variable.dims and variable.ndim == 3:  # WRF repeats its grid
            variable = variable.isel({grid.time: 0})
        dims = tuple(sides.get(dim, "") for dim in variable.dims)
        if name not in mappings and not _is_place(grid, name, dims):
            continue
        if len(dims) == 2:
            variable = variable.transpose(grid.row, grid.column)
        values = np.asarray(variable.values)
        if values.dtype.kind not in "fiu":
            values = np.array(0 if name in mappings else str(values))
        found[str(name)] = Coordinate(tuple(sorted(dims, reverse=True)), values, attributes)
    own = (str(grid.row), str(grid.column))
    order = sorted(found, key=lambda name: (_ORDER.index(found[name].dims), name not in own))
    coordinates = {name: found[name] for name in order}
    if not _runs_north(coordinates, grid.axes):
        return coordinates, False
    return {name: turned(coordinate) for name, coordinate in coordinates.items()}, True


def _is_place(grid: GridLayout, name: Any, dims: tuple[str, ...]) -> bool:
    """Whether a variable along rows and columns, or without dimensions, is a coordinate."""
    variable, side = grid.dataset.variables[name], grid.axes.sides[name]
    called = name in grid.dataset.coords
    if not dims:
        return called and variable.dtype.kind in "fiuUSTO" and not _is_time(name, variable)
    if variable.dtype.kind not in "fiu" or "" in dims or len({*dims}) != len(dims):
        return False
    if len(dims) == 2:
        return called or name in grid.axes.places
    return len(dims) == 1 and (side == dims[0] or (called and not side))


def _runs_north(coordinates: Mapping[str, Coordinate], axes: _Axes) -> bool:
    """Whether the last row is north of the first, by the first coordinate with a known direction; a
    plain `y` has none.
    """
    for name, coordinate in coordinates.items():
        standard = coordinate.attributes.get("standard_name")
        latitude = name in axes.places and axes.sides[name] == "row"
        northward = latitude or name.lower() == "rlat" or standard in _NORTHWARD
        if northward and "row" in coordinate.dims:
            first, last = (edge[np.isfinite(edge)] for edge in coordinate.values[[0, -1]])
            if first.size and last.size and first.mean() != last.mean():
                return bool(first.mean() < last.mean())
    return False


def _is_time(name: Any, variable: Any) -> bool:
    """Whether a single value is the start or the lead time of a forecast."""
    return (
        _is_date(variable)
        or _attribute(variable, "standard_name") in (*_STARTS, "time")
        or str(name).lower() in (*_TIMES, "start", "lead", "step", "channel")
    )
