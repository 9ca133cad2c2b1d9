"""GRIB, the files of weather models: a variable over the valid times of its messages.

cfgrib turns messages into an xarray Dataset, and `read_grid` that into a clip. This module decides
which messages belong together, and converts their times and attributes to CF.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foreframe.base.budget import check_budget, check_frames_fit
from foreframe.base.extras import needed
from foreframe.base.wording import in_one_line
from foreframe.clips.clip import Clip
from foreframe.data.data_options import BUDGET
from foreframe.data.grids import read_grid
from foreframe.data.readers import Reader
from foreframe.data.store import select_variables

_WEIGHT = 32  # bytes a pixel for opening: a message as float64, latitudes and longitudes
_APART = ("typeOfLevel", "stepType", "dataType", "gridType")  # equal in messages of one variable
_KEYS = (*_APART, "shortName", "cfVarName", "time", "step", "valid_time", "numberOfPoints")
_METHODS = {"accum": "sum", "avg": "mean", "max": "maximum", "min": "minimum", "instant": "point"}
_UNKNOWN = ("unknown", "undef", "~")

Message = dict[str, Any]  # the values of `_KEYS`


def read_grib(
    path: str | Path,
    variable: str | Sequence[str] | None = None,
    select: Mapping[str, Any] | None = None,
    budget: float = BUDGET,
) -> Clip:
    """Open a GRIB file of either edition; its messages are read when frames are needed.

    Frames are those of `read_grid`. The time of a frame is the valid time of its message. Latitude
    and longitude are coordinates, or 2-D auxiliary coordinates on other grids. Opening reads the
    header of every message, and writes no index file.

    Args:
        path: the file.
        variable: name in CF or GRIB, "t2m" or "2t"; several become channels in that order. By
            default the only one.
        select: the value of each other dimension, e.g. {"isobaricInhPa": 500}; "step" (hours) or
            "time" if several forecasts are valid at the same time; or one of typeOfLevel, stepType
            and dataType, if the messages of a variable differ in it.
        budget: memory limit for opening, and for reading a slice, in GiB.

    Raises:
        ValueError: cfgrib is not installed; not GRIB, or incomplete; no such variable or several;
            another dimension without a choice; a grid without rows and columns; more than the
            budget.
    """
    path = Path(path)
    needed("cfgrib", "grib", f"{path.name}: reading GRIB")
    import xarray as xr

    messages = _messages(path)
    points = max(int(message["numberOfPoints"]) for message in messages)
    check_budget(_WEIGHT * points, budget, f"a message of {path}, of {points} points,")

    wanted = dict(select or {})
    titles = list(dict.fromkeys(map(_name, messages)))
    spellings = {str(message["shortName"]): _name(message) for message in messages}
    names = select_variables(variable, titles, path.name, spellings)
    chosen = [_chosen(messages, name, wanted, path.name) for name in names]
    for same in chosen:
        shape = (len(same), 1, 1, int(same[0]["numberOfPoints"]))
        check_frames_fit(shape, 4, path.stat().st_size, budget, str(path))
    left = {key: value for key, value in wanted.items() if key not in _APART}
    opened = [_opened(path, same, left) for same in chosen]
    try:
        dataset = xr.merge(opened, compat="minimal", join="exact", combine_attrs="override")
    except ValueError:
        raise ValueError(
            f"{path.name}: {', '.join(names)} differ in grid or times; read them one by one"
        ) from None
    dataset.encoding["source"] = str(path)
    return read_grid(dataset, [str(name) for each in opened for name in each], left, budget)


def _messages(path: Path) -> list[Message]:
    """Return the keys of each message (ValueError: no GRIB, or incomplete)."""
    import cfgrib

    cure = "check that it is GRIB, or copy it again"
    with in_one_line(f"{path} is not a whole GRIB file; {cure}"):
        stream = cfgrib.FileStream(str(path), errors="raise")
        index = cfgrib.FieldsetIndex.from_fieldset(stream, _KEYS, cfgrib.COMPUTED_KEYS)
    return [
        dict(zip(_KEYS, values, strict=True)) for values, ids in index.iter_index() for _ in ids
    ]


def _name(message: Message) -> str:
    """Return the CF name of a message, or else its GRIB name."""
    return str(message["shortName" if message["cfVarName"] in _UNKNOWN else "cfVarName"])


def _chosen(
    messages: list[Message], name: str, select: Mapping[str, Any], where: str
) -> list[Message]:
    """Return the messages of a variable that differ only in times, levels and members.

    Raises:
        ValueError: several kinds, and `select` names none of them.
    """
    every = [message for message in messages if _name(message) == name]
    fitting = [m for m in every if all(m[key] == select.get(key, m[key]) for key in _APART)]
    fitting = [m for m in fitting if m["typeOfLevel"] in select] or fitting
    for key in _APART:
        if len({message[key] for message in fitting}) != 1:
            kinds = dict.fromkeys(str(message[key]) for message in every)
            raise ValueError(
                f"{where}: {name} comes with {key} {', '.join(kinds)}; select one of these, e.g. "
                f"{key}={next(iter(kinds))}"
            )
    return fitting


def _opened(path: Path, messages: list[Message], select: Mapping[str, Any]) -> Any:
    """Open these messages alone as an xarray Dataset with CF attributes, without reading values.

    Raises:
        ValueError: a grid without rows and columns.
    """
    import xarray as xr

    first = messages[0]
    valid = {message["valid_time"] for message in messages}
    runs = {(message["time"], message["step"]) for message in messages}
    by_run = len(valid) < len(runs) or {"time", "step"} & set(select)
    dataset = xr.open_dataset(
        path,
        engine="cfgrib",
        cache=False,
        decode_timedelta=False,
        backend_kwargs={
            "indexpath": "",  # no index file in the user's folder
            "filter_by_keys": {key: first[key] for key in (*_APART, "shortName")},
            "time_dims": ("time", "step") if by_run else ("valid_time",),
            "squeeze": False,
            "errors": "ignore",  # `_messages` has checked them; a spectrum would be logged
        },
    )
    if "values" in dataset.dims:
        raise ValueError(
            f"{path.name} has a grid without rows and columns ({first['gridType']}); bring it to "
            "longitudes and latitudes first, with cdo -R for example"
        )
    dataset = dataset if by_run else dataset.rename(valid_time="time")
    (title,) = dataset.data_vars
    dataset[title].attrs = _attributes(dataset[title].attrs)
    single = [d for d in dataset[title].dims[:-2] if dataset.sizes[d] == 1 and d not in select]
    return dataset.isel({d: 0 for d in single if d != "time"})


def _attributes(cfgrib: Mapping[str, Any]) -> dict[str, Any]:
    """Return the CF attributes among those of cfgrib."""
    made = {k: v for k, v in cfgrib.items() if not k.startswith("GRIB_") and v not in _UNKNOWN}
    if method := _METHODS.get(cfgrib.get("GRIB_stepType", "")):
        made["cell_methods"] = f"time: {method}"
    return made


READER = Reader((), lambda paths, o: [read_grib(paths[0], o.variable, o.select, o.budget)])
