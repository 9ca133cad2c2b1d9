"""External forecasts: those of other programs, to be scored beside ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from foreframe.base.files import check_source
from foreframe.data.arrays import ARRAYS, clips_in, read_named
from foreframe.data.data_options import BUDGET
from foreframe.data.grids import read_grid, select_variables
from foreframe.data.store import open_grid

STARTS = ("start", "forecast_reference_time", "reference_time", "init_time", "initial_time")
LEADS = ("lead", "lead_time", "forecast_period", "step", "prediction_timedelta")


@dataclass(frozen=True)
class Forecasts:
    """Forecasts in the data's own units, read one at a time.

    Args:
        name: what their row in a table is called.
        count: how many there are.
        steps: how many frames each has.
        read: the k-th forecast, (S,C,H,W), row 0 at the top; NaN where it says nothing.
        times: the valid times of each forecast, by `moments`; None where the file has none, and
            forecasts are in the order of the clips.
        units: "" where the file does not say.
    """

    name: str
    count: int
    steps: int
    read: Callable[[int], Num[np.ndarray, "s c h w"]]
    times: Sequence[tuple[str, ...]] | None = None
    units: str = ""


def open_forecasts(path: str | Path, variable: Any = None) -> Forecasts:
    """Forecasts in a file.

    Args:
        path: .npy or .npz of (N,S,C,H,W) or (N,S,H,W), one forecast for each clip, in the order of
            the clips, or, where an .npz has `times` (N,S) of their frames, in any; NetCDF or Zarr
            with a dimension of starts and one of lead times, as `foreframe predict --every` writes
            it: known by their standard names, forecast_reference_time and forecast_period, or by
            plain ones, such as start and lead.
        variable: which variable of a grid, where there are several.

    Raises:
        ValueError: no such file; axes, times or units that are no forecasts'.
    """
    check_source(str(path))
    path = Path(path)
    if path.suffix.lower() not in ARRAYS:
        return _from_grid(path, variable)
    frames, times = clips_in(path), None
    if path.suffix.lower() == ".npz":
        times = read_named(path, ["times"], BUDGET).get("times")
    if times is not None and times.shape != (len(frames), len(frames[0])):
        raise ValueError(
            f"{path}: times of shape {times.shape} for {len(frames)} forecasts of "
            f"{len(frames[0])} frames; give each frame a time"
        )
    known = None if times is None else [moments(row) for row in times]
    return Forecasts(path.stem, len(frames), len(frames[0]), lambda k: frames[k][:], known)


def moments(times: np.ndarray) -> tuple[str, ...]:
    """Times as text that is equal where they are: dates to the second, seconds of a film to the
    hundredth.
    """
    if times.dtype.kind == "M":
        return tuple(times.astype("datetime64[s]").astype(str).tolist())
    if times.dtype.kind in "fiu":
        return tuple(f"{time:.2f}" for time in times.tolist())
    return tuple(str(time).replace(" ", "T") for time in times.tolist())


def _from_grid(path: Path, variable: Any) -> Forecasts:
    import xarray as xr

    dataset = xr.decode_cf(open_grid(path, "", BUDGET).dataset, decode_timedelta=True)
    start, lead = _dimension(dataset, STARTS), _dimension(dataset, LEADS)
    names = [str(name) for name, v in dataset.data_vars.items() if {start, lead} <= {*v.dims}]
    if not names:
        raise ValueError(
            f"{path} has no variable over starts and lead times (standard names "
            f"forecast_reference_time and forecast_period); it has {', '.join(dataset.sizes)}"
        )
    names = select_variables(None if len(names) == 1 else variable, names, path.name)
    # Coordinates of starts and lead times, and dates, would be taken for the frames' times.
    dates = [
        n for n, v in dataset.coords.items() if {start, lead} & {*v.dims} or v.dtype.kind in "mM"
    ]
    plain = dataset[names].drop_vars(dates).rename({lead: "time"})
    plain = plain.assign_coords(time=("time", np.arange(dataset.sizes[lead]), {"axis": "T"}))
    return Forecasts(
        path.stem,
        dataset.sizes[start],
        dataset.sizes[lead],
        lambda k: read_grid(plain.isel({start: k}), names).frames[:],
        _valid_times(dataset, start, lead),
        str(dataset[names[0]].attrs.get("units", "")),
    )


def _dimension(dataset: Any, names: Sequence[str]) -> Any:
    """The dimension whose coordinate has a standard name among `names`, or is called so."""
    for dim in dataset.sizes:
        standard = dataset[dim].attrs.get("standard_name") if dim in dataset.coords else None
        if standard in names or str(dim).lower() in names:
            return dim
    return None


def _valid_times(dataset: Any, start: Any, lead: Any) -> Sequence[tuple[str, ...]] | None:
    """Of each forecast; None where starts are counted, or lead times have no unit of time."""
    both = [c for c in dataset.coords.values() if set(c.dims) == {start, lead}]
    if both:
        return [moments(row) for row in both[0].transpose(start, lead).values]
    begun, ahead = dataset[start].values, dataset[lead].values
    if begun.dtype.kind in "iu" or ahead.dtype.kind != "m":
        return None
    return [moments(row) for row in begun[:, None] + ahead]


def rows_by_time(forecasts: Forecasts, times: Mapping[int, tuple[str, ...]]) -> dict[int, int]:
    """Which forecast is of which clip by the times that they are about: {clip: its forecast}, for
    the clips that have one.

    Args:
        times: of each clip, what `moments` makes of the times of the frames to forecast.
    """
    steps = min(forecasts.steps, *map(len, times.values()))
    number = {when[:steps]: k for k, when in enumerate(forecasts.times or ())}
    return {clip: number[when[:steps]] for clip, when in times.items() if when[:steps] in number}
