"""Clips and forecasts as NetCDF and Zarr by the CF conventions (https://cfconventions.org), with
the attributes of their source.
"""

import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from foreframe import __version__
from foreframe.base.files import atomic_folder, atomic_write
from foreframe.base.wording import in_one_line
from foreframe.clips.clip import LATITUDES, LONGITUDES, Clip, Coordinate, Variable
from foreframe.clips.ensembles import Ensemble
from foreframe.data.grids import OF_THE_FILE
from foreframe.data.maps import mapping_names, turned

# 1.11 requires statements about temperature differences and leap seconds, which files do not have.
CONVENTIONS = "CF-1.10"


def write_grid(
    path: str | os.PathLike,
    clip: Clip | Ensemble | Sequence[Clip] | Sequence[Ensemble],
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write a clip, members, or rolling forecasts atomically as CF NetCDF-4 or Zarr.

    A clip becomes (time, [channel,] y, x), with a `forecast_reference_time` and a `forecast_period`
    along time if it has a start. Several forecasts become (start, lead, [channel,] y, x): `start`
    is the reference time, `lead` the time since then, and `time` (start, lead) the valid time.
    `lead` has no values if leads differ between forecasts, like months. Members are along
    `realization`, after the starts and before the times. Dimensions, the order of rows,
    coordinates, grid mapping and attributes are those of the (first) clip's source; channels from
    several variables become several variables again. Values are compressed float32, NaN if missing.
    `read_grid` returns a single clip again.

    Args:
        path: ends in .nc, or in .zarr for a folder; the complete new file replaces an old one.
        clip: clip to write, all of it in memory at once; or a list of forecasts of one shape, one
            for each start, by default one step before the first frame. Each may be an `Ensemble`.
        attributes: attributes of the file, e.g. the checkpoint; values other than numbers become
            text. `history` is a line, which is dated and appended to the history of the source.

    Raises:
        ValueError: another ending, forecasts of different shapes, coordinates that do not fit the
            frames, a path that cannot be written, a full disk.
    """
    path = Path(path)
    if path.suffix not in (".nc", ".zarr"):
        raise ValueError(f"{path}: grids are written as .nc or .zarr; use one of these endings")
    forecasts: list[Any] = [clip] if isinstance(clip, Clip | Ensemble) else list(clip)
    rolling = not isinstance(clip, Clip | Ensemble)
    if not forecasts:
        raise ValueError(f"there are no forecasts to write to {path}; give at least one")
    # If the disk is full, both libraries leave half-closed files behind, and HDF5 locks the name.
    # So they write to memory, and the bytes are then written to disk.
    with in_one_line(f"cannot write {path}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _as_dataset(forecasts, rolling, attributes or {})
        if path.suffix == ".zarr":
            from zarr.storage import MemoryStore

            files: dict[str, Any] = {}
            packing = encoding(dataset, "chunks")
            dataset.to_zarr(MemoryStore(files), consolidated=True, encoding=packing)
        else:
            packing = encoding(dataset, "chunksizes", zlib=True, complevel=4)
            content = dataset.to_netcdf(engine="netcdf4", encoding=packing)
    if path.suffix == ".zarr":
        _write_folder(path, {name: part.to_bytes() for name, part in files.items()})
        return
    with atomic_write(path) as rough:
        rough.write_bytes(content)


def forecast_dataset(forecast: Clip | Ensemble, attributes: Mapping[str, Any] | None = None) -> Any:
    """Return a forecast as an xarray Dataset with one start, as `write_grid` writes a list."""
    return _as_dataset([forecast], True, attributes or {})


def encoding(dataset: Any, chunks: str, **packing: Any) -> dict[str, Any]:
    """Return the storage of variables: compressed frames with NaN, unchanged coordinates."""
    frames = {"dtype": "float32", "_FillValue": np.float32(np.nan), **packing}
    places = {name for name, v in dataset.coords.items() if v.dtype.kind == "f"}
    return {name: {"_FillValue": None} for name in places} | {
        name: {chunks: _chunk(v), **frames} for name, v in dataset.data_vars.items() if v.ndim
    }


def _chunk(field: Any) -> tuple[int, ...]:
    """Return chunks of about a megabyte: whole frames of one start, as readers use stretches."""
    moment = next(dim for dim in field.dims if dim not in ("start", "realization"))
    taken = {"start": 1, "realization": 1, moment: 1}
    frame = 4 * math.prod(size for dim, size in field.sizes.items() if dim not in taken)
    taken[moment] = max(1, min(field.sizes[moment], (1 << 20) // max(1, frame)))
    return tuple(taken.get(dim, size) for dim, size in field.sizes.items())


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new folder, which then replaces `path`."""
    is_store = any((path / mark).is_file() for mark in ("zarr.json", ".zgroup"))
    if path.is_dir() and any(path.iterdir()) and not is_store:
        raise ValueError(f"{path} is a folder, but no Zarr store; choose another, or remove it")
    with atomic_folder(path) as rough:
        for name, content in files.items():
            (rough / name).parent.mkdir(parents=True, exist_ok=True)
            (rough / name).write_bytes(content)


def _as_dataset(
    forecasts: Sequence[Clip | Ensemble], rolling: bool, attributes: Mapping[str, Any]
) -> Any:
    """Return an xarray Dataset of clips or forecasts of one grid."""
    import xarray as xr

    has_members = any(isinstance(each, Ensemble) for each in forecasts)
    # By start and by member.
    clips = [list(each) if isinstance(each, Ensemble) else [each] for each in forecasts]
    first = clips[0][0]
    row, column, places = _places(first)
    moment = "lead" if rolling else first.time_dim
    frames = [[np.asarray(clip.frames[:], dtype=np.float32) for clip in each] for each in clips]
    whole = xr.DataArray(
        np.stack(frames), dims=("start", "realization", moment, "channel", row, column)
    )
    whole = whole.isel({} if rolling else {"start": 0})
    whole = whole.isel({} if has_members else {"realization": 0})
    if first.turned:
        whole = whole.isel({row: slice(None, None, -1)})
    coordinates = places | times_of([each[0] for each in clips], rolling)
    if has_members:
        coordinates["realization"] = ("realization", np.arange(len(clips[0])), _MEMBER)
    fields: dict[str, Any] = {}
    done = 0
    for variable in variables_of(first):
        end = done + variable.channels
        if variable.channels > 1:
            coordinates |= _channels(variable)
        field = whole.isel(channel=slice(done, end) if variable.channels > 1 else done)
        done = end
        name = _free_name(variable.name, {*fields, *coordinates, *map(str, field.dims)})
        fields[name] = (field.dims, field.values, _attributes_of(variable, name, places))
    # In CF, a grid mapping is a variable, not a coordinate.
    mappings = {
        name: coordinates.pop(name)
        for _, _, described in fields.values()
        for name in mapping_names(described.get("grid_mapping", ""))
        if name in coordinates
    }
    dataset = xr.Dataset({**fields, **mappings}, coordinates, _about(first, attributes))
    for name in mappings:
        dataset[name].encoding["coordinates"] = None  # the level of the field is not the mapping's
    return dataset


# -- variables -------------------------------------------------------------------------------------


def variables_of(clip: Clip) -> Sequence[Variable]:
    """Return the variables to write: the source's (a forecast has the first ones), or all channels
    as one variable.
    """
    channels = clip.frames.shape[1]
    ends = list(accumulate(variable.channels for variable in clip.variables))
    if channels in ends:
        return clip.variables[: ends.index(channels) + 1]
    return [Variable(clip.variable, clip.units, clip.attributes, channels)]


def _free_name(wanted: str, taken: set[str]) -> str:
    """Return a valid, unused name for both formats."""
    name = re.sub(r"[^\w.+-]+", "_", wanted).strip("_") or "forecast"
    while name in taken:
        name += "_values"
    return name


def _channels(variable: Variable) -> dict[str, Any]:
    """Return the names of channels, if each has one: in CF, a label along the dimension."""
    names = variable.name.split(", ")
    if len(names) != variable.channels:
        return {}
    return {"channel_name": ("channel", np.array(names, object), {"long_name": "channel"})}


def _attributes_of(variable: Variable, name: str, places: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a variable called `name`."""
    attributes = _writable(variable.attributes)
    if variable.units:
        attributes["units"] = variable.units
    if not all(mapping in places for mapping in mapping_names(attributes.get("grid_mapping", ""))):
        del attributes["grid_mapping"]
    if "standard_name" not in attributes or name != variable.name:
        attributes.setdefault("long_name", variable.name or name)
    return attributes


def _about(clip: Clip, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of the file."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = attributes.get("history") or f"foreframe {__version__}"
    about = {
        # Only the last part of a path: files are shared, and folders are private.
        "title": Path(clip.name).name or clip.variable or "frames",
        **clip.about,
        **attributes,
        "Conventions": CONVENTIONS,
        "history": "\n".join(filter(None, [clip.about.get("history"), f"{now}: {line}"])),
    }
    return _writable({str(key): value for key, value in about.items() if value is not None})


def _plain(value: Any) -> Any:
    """Return an attribute for both formats: a number, a list of numbers, or text."""
    several = isinstance(value, (list, tuple, np.ndarray))
    try:
        array = np.asarray(value).ravel()
    except ValueError:  # rows of different lengths
        return _text(value)
    if array.dtype.kind in "fiu" and array.size:
        odd = array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8)
        array = array.astype(np.float64 if odd else array.dtype.newbyteorder("="))
        return array if several else array[0]
    return " ".join(map(_text, array)) if several else _text(value)


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _writable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes with valid names for both formats, without those of the storage."""
    return {
        key: _text(value) if key in _WORDS else _plain(value)
        for key, value in attributes.items()
        if _NAME.fullmatch(key) and key not in (*OF_THE_FILE, *_OF_HDF5)
    }


# Libraries reserve names that begin with an underscore.
_NAME = re.compile(r"[^\W_][^/\x00-\x1f\x7f\ud800-\udfff]{0,60}(?<! )")
_OF_HDF5 = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "DIMENSION_LABELS")
_WORDS = ("units", "standard_name", "long_name", "axis", "cell_methods", "grid_mapping", "positive")


# -- coordinates -----------------------------------------------------------------------------------


def _places(clip: Clip) -> tuple[str, str, dict[str, Any]]:
    """Return the names of the row and column dimensions, and the coordinates for xarray: (dims,
    values, attributes) by name.
    """
    given: Mapping[str, Coordinate] = clip.coordinates
    dims = {}
    for side, called, spare in zip(("row", "column"), clip.dims, ("y", "x"), strict=True):
        along = [name for name, c in given.items() if c.dims == (side,)]
        dims[side] = called or (along or [spare])[0]
    places: dict[str, Any] = {}
    for name, coordinate in given.items():
        attributes = (_meaning(name) if coordinate.dims else {}) | _writable(coordinate.attributes)
        own = tuple(dims[side] for side in coordinate.dims)
        # Readers of CF mistake other axes with a standard name for latitude.
        if own == (name,) and attributes.get("standard_name"):
            attributes.setdefault("axis", "Y" if coordinate.dims == ("row",) else "X")
        values = turned(coordinate).values if clip.turned else coordinate.values
        places[name] = (own, values, attributes)
    return dims["row"], dims["column"], places


def _meaning(name: str) -> dict[str, str]:
    """Return CF attributes by a coordinate's name; a plain `y` has none, as it may not be north."""
    if name.lower() in LATITUDES:
        return {"standard_name": "latitude", "units": "degrees_north"}
    if name.lower() in LONGITUDES:
        return {"standard_name": "longitude", "units": "degrees_east"}
    return {}


_MEMBER = {"standard_name": "realization", "long_name": "member", "units": "1"}
_REFERENCE, _PERIOD = "forecast_reference_time", "forecast_period"
_BEGUN = {"standard_name": _REFERENCE, "long_name": "time of the last input frame"}
_AHEAD = {"standard_name": _PERIOD, "long_name": "time since the start of the forecast"}


def times_of(clips: list[Clip], rolling: bool) -> dict[str, Any]:
    """Return the valid times (time,) of a clip, with start and lead times for a forecast. Rolling
    forecasts have start (start,), lead (lead,) and valid times (start, lead). Clips without times
    have none.
    """
    dim = clips[0].time_dim
    if any(clip.times is None for clip in clips):
        return {}
    valid = np.stack([np.asarray(clip.times) for clip in clips])
    dated = valid.dtype.kind in "MO"
    valid = valid if dated else valid.astype(np.float64)
    # CF requires a reference date for a time axis; xarray writes the units of dates.
    unit = {} if dated else {"units": "s"}
    meaning = {"standard_name": "time"} if dated else {"long_name": "time in the recording", **unit}
    own = {dim: (dim, valid[0], meaning | ({"axis": "T"} if dated else {}))}
    if not rolling and clips[0].start is None:
        return own
    # By default, a forecast starts one step before its first frame.
    starts = [valid[k, 0] - c.step if c.start is None else c.start for k, c in enumerate(clips)]
    begun = np.array(starts, valid.dtype)
    leads = valid - begun[:, None]
    leads = leads.astype("timedelta64[us]") if valid.dtype.kind == "O" else leads
    start, lead = _BEGUN | unit, _AHEAD | unit
    if not rolling:
        return own | {_REFERENCE: ((), begun[0], start), _PERIOD: (dim, leads[0], lead)}
    alike = (leads == leads[:1]).all() if dated else np.allclose(leads, leads[:1])
    return {
        "start": ("start", begun, start),
        **({"lead": ("lead", leads[0], lead)} if alike else {}),
        dim: (("start", "lead"), valid, meaning),
    }
