"""GRIB, the files of weather models: a variable over the times that its messages are valid at.

cfgrib makes an xarray Dataset of messages, `read_grid` a clip of that. Decided here: which messages
belong together, what their times are, and what CF calls what GRIB says of them.
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

_WEIGHT = 32  # bytes a pixel that opening takes: a message as float64, latitudes and longitudes
_APART = ("typeOfLevel", "stepType", "dataType", "gridType")  # messages unlike in these are unlike
_KEYS = (*_APART, "shortName", "cfVarName", "time", "step", "valid_time", "numberOfPoints")
_METHODS = {"accum": "sum", "avg": "mean", "max": "maximum", "min": "minimum", "instant": "point"}
_UNKNOWN = ("unknown", "undef", "~")

Message = dict[str, Any]  # its values of `_KEYS`


def read_grib(
    path: str | Path,
    variable: str | Sequence[str] | None = None,
    select: Mapping[str, Any] | None = None,
    budget: float = BUDGET,
) -> Clip:
    """A clip out of a GRIB file of either edition, its messages read when its frames are needed.

    Frames are as `read_grid` has them. A frame's time is the time that its message is valid at.
    Grids in longitude and latitude have both as coordinates, others as auxiliary ones in 2-D.
    Opening looks at the header of every message; no index file is written.

    Args:
        path: of the file.
        variable: by its name in CF or GRIB, "t2m" or "2t"; several become channels in that order.
            May be left out where the file holds only one.
        select: the value of each further dimension, e.g. {"isobaricInhPa": 500}; "step" (hours) or
            "time" where several forecasts are valid at the same time; or one of typeOfLevel,
            stepType and dataType, where the messages of a variable differ in it.
        budget: GiB that opening, and reading a slice, may take.

    Raises:
        ValueError: cfgrib is not installed; not GRIB, or cut short; no such variable or several; a
            further dimension without a choice; a grid without rows and columns; more than the
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
            f"{path.name}: {', '.join(names)} lie on unlike grids or times; read them apart"
        ) from None
    dataset.encoding["source"] = str(path)
    return read_grid(dataset, [str(name) for each in opened for name in each], left, budget)


def _messages(path: Path) -> list[Message]:
    """The keys of each message.

    Raises:
        ValueError: no GRIB, or not all of it.
    """
    import cfgrib

    cure = "check that it is GRIB, or copy it again"
    with in_one_line(f"{path} is not a whole GRIB file; {cure}"):
        stream = cfgrib.FileStream(str(path), errors="raise")
        index = cfgrib.FieldsetIndex.from_fieldset(stream, _KEYS, cfgrib.COMPUTED_KEYS)
    return [
        dict(zip(_KEYS, values, strict=True)) for values, ids in index.iter_index() for _ in ids
    ]


def _name(message: Message) -> str:
    """Its CF name, or else its GRIB name."""
    return str(message["shortName" if message["cfVarName"] in _UNKNOWN else "cfVarName"])


def _chosen(
    messages: list[Message], name: str, select: Mapping[str, Any], where: str
) -> list[Message]:
    """The messages of a variable that are alike in all but times, levels and members.

    Raises:
        ValueError: several kinds, of which `select` names none.
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
    """An xarray Dataset of these messages alone, not read yet, that says what it is as CF has it.

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
            "errors": "ignore",  # whole, as `_messages` has seen; else a spectrum is logged
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


def _attributes(given: Mapping[str, Any]) -> dict[str, Any]:
    """CF's attributes out of those that cfgrib gives."""
    said = {k: v for k, v in given.items() if not k.startswith("GRIB_") and v not in _UNKNOWN}
    if method := _METHODS.get(given.get("GRIB_stepType", "")):
        said["cell_methods"] = f"time: {method}"
    return said


READER = Reader((), lambda paths, o: [read_grib(paths[0], o.variable, o.select, o.budget)])
