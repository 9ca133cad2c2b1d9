"""Forecasts of other programs: files, their rows in a scorecard, and the past frames to forecast
from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Num
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.base.files import atomic_write, check_source
from foreframe.base.wording import plural
from foreframe.clips.clip import Window
from foreframe.clips.scaling import Scaling
from foreframe.clips.units import check_units
from foreframe.data import Recordings, batches, chosen
from foreframe.data.arrays import ARRAYS, clips_of, opened, read_named
from foreframe.data.data_options import BUDGET
from foreframe.data.datasets import clip_set
from foreframe.data.grids import read_grid
from foreframe.data.store import open_grid, select_variables
from foreframe.evaluation.card import Others, ReadForecasts
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import Parts

STARTS = ("start", "forecast_reference_time", "reference_time", "init_time", "initial_time")
LEADS = ("lead", "lead_time", "forecast_period", "step", "prediction_timedelta")


@dataclass(frozen=True)
class Forecasts:
    """Forecasts in the data's units, read one at a time.

    Args:
        name: name of their row in a table.
        count: number of forecasts.
        steps: frames of each forecast.
        read: returns the k-th forecast, (S,C,H,W), row 0 at the top; NaN for missing values.
        times: valid times of each forecast, from `moments`; None if the file has no times, and
            forecasts are in the order of the clips.
        units: "" if the file has none.
    """

    name: str
    count: int
    steps: int
    read: Callable[[int], Num[np.ndarray, "s c h w"]]
    times: Sequence[tuple[str, ...]] | None = None
    units: str = ""


class External:
    """Forecasts of other programs, as `foreframe evaluate --forecasts` reads them.

    Args:
        files: see `open_forecasts`.
        variable: variable of a grid that has several.

    Attributes:
        steps: frames of each forecast of the first file.

    Raises:
        ValueError: as `open_forecasts`.
    """

    def __init__(self, files: str | Path | Sequence[str | Path], variable: Any = None) -> None:
        several = [files] if isinstance(files, str | Path) else files
        self.forecasts = [open_forecasts(file, variable) for file in several]
        self.steps = self.forecasts[0].steps

    def rows(
        self, dataset: Any, forecaster: Forecaster, clips: int | None
    ) -> tuple[Sequence[int], Others]:
        """Return the clips that all files cover, at most `clips`, and a row's name and reader for
        each file.

        Raises:
            ValueError: forecasts that are too short, in other units, or without a clip in common.
        """
        window, scaling = forecaster.window, forecaster.scaling
        timed = [each for each in self.forecasts if each.times]
        times = _times(dataset, window) if timed else {}
        by_time = {each.name: _rows_by_time(each, times) for each in timed if times}
        among = [k for k in range(len(dataset)) if all(k in rows for rows in by_time.values())]
        scored = chosen(dataset, clips, among)
        if not scored:
            raise ValueError(
                f"{' and '.join(by_time)} have no clip in common with the data, whose frames to "
                f"forecast begin at {times[0][0]} and end at {times[len(times) - 1][-1]}"
            )
        readers = []
        for each in self.forecasts:
            check_units(each.units, scaling.units, each.name, "the clips are in")
            if each.steps < window.future:
                raise ValueError(
                    f"{each.name} forecasts {plural(each.steps, 'frame')}, but "
                    f"{window.future} are scored; --future {each.steps} scores as many"
                )
            if each.name not in by_time and each.count != len(scored):
                raise ValueError(
                    f"{each.name} holds {plural(each.count, 'forecast')}, but "
                    f"{plural(len(scored), 'clip')} to score; forecast those that --pasts writes, "
                    "in order"
                )
            rows = by_time.get(each.name, dict(zip(scored, range(each.count), strict=False)))
            readers.append((each.name, _reader(each, rows, dataset, window, scaling)))
        return scored, readers


def open_forecasts(path: str | Path, variable: Any = None) -> Forecasts:
    """Open the forecasts in a file.

    Args:
        path: .npy or .npz of (N,S,C,H,W) or (N,S,H,W), one forecast for each clip, in the order of
            the clips, or in any order if an .npz has `times` (N,S) of their frames; NetCDF or Zarr
            with a dimension of starts and one of lead times, as `foreframe predict --every` writes
            them. Dimensions have the standard names forecast_reference_time and forecast_period, or
            plain names, such as start and lead.
        variable: variable of a grid that has several.

    Raises:
        ValueError: no such file; axes, times or units that are no forecasts'.
    """
    check_source(str(path))
    path = Path(path)
    if path.suffix.lower() not in ARRAYS:
        return _from_grid(path, variable)
    where, _, values = opened(path, None, BUDGET)
    frames, times = clips_of(values, where), None
    if path.suffix.lower() == ".npz":
        times = read_named(path, ["times"], BUDGET).get("times")
    if times is not None and times.shape != (len(frames), len(frames[0])):
        raise ValueError(
            f"{path}: times of shape {times.shape} for {len(frames)} forecasts of "
            f"{len(frames[0])} frames; give each frame a time"
        )
    known = None if times is None else [moments(row) for row in times]
    return Forecasts(path.stem, len(frames), len(frames[0]), lambda k: frames[k][:], known)


def _from_grid(path: Path, variable: Any) -> Forecasts:
    import xarray as xr

    dataset = xr.decode_cf(open_grid(path, BUDGET).dataset, decode_timedelta=True)
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
    """The dimension with a name, or a coordinate with a standard name, among `names`."""
    for dim in dataset.sizes:
        standard = dataset[dim].attrs.get("standard_name") if dim in dataset.coords else None
        if standard in names or str(dim).lower() in names:
            return dim
    return None


def _valid_times(dataset: Any, start: Any, lead: Any) -> Sequence[tuple[str, ...]] | None:
    """The valid times of each forecast; None if starts are counted, or lead times have no unit."""
    both = [c for c in dataset.coords.values() if set(c.dims) == {start, lead}]
    if both:
        return [moments(row) for row in both[0].transpose(start, lead).values]
    begun, ahead = dataset[start].values, dataset[lead].values
    if begun.dtype.kind in "iu" or ahead.dtype.kind != "m":
        return None
    return [moments(row) for row in begun[:, None] + ahead]


def moments(times: np.ndarray) -> tuple[str, ...]:
    """Times as text for comparison: dates to the second, seconds of a film to the hundredth."""
    if times.dtype.kind == "M":
        return tuple(times.astype("datetime64[s]").astype(str).tolist())
    if times.dtype.kind in "fiu":
        return tuple(f"{time:.2f}" for time in times.tolist())
    return tuple(str(time).replace(" ", "T") for time in times.tolist())


def _times(dataset: Any, window: Window) -> dict[int, tuple[str, ...]]:
    """The times of the future frames of each clip; {} if they are unknown."""
    if not isinstance(dataset, Recordings) or any(clip.times is None for clip in dataset.clips):
        return {}
    known = [moments(np.asarray(clip.times)) for clip in dataset.clips]
    times, owners = {}, set()
    for k, (recording, start, *_) in enumerate(dataset.windows):
        times[k] = known[recording][start + window.past : start + window.length]
        owners.add((recording, times[k]))
    if len(owners) > len(set(times.values())):
        raise ValueError(
            f"{dataset.name}: two recordings are of one time; give the forecasts as .npy in the "
            "order of the clips"
        )
    return times


def _rows_by_time(forecasts: Forecasts, times: Mapping[int, tuple[str, ...]]) -> dict[int, int]:
    """{clip: number of its forecast}, for the clips with a forecast.

    Args:
        times: times of the future frames of each clip.
    """
    steps = min(forecasts.steps, *map(len, times.values()))
    number = {when[:steps]: k for k, when in enumerate(forecasts.times or ())}
    return {clip: number[when[:steps]] for clip, when in times.items() if when[:steps] in number}


def _reader(
    forecasts: Forecasts, rows: dict[int, int], dataset: Any, window: Window, scaling: Scaling
) -> ReadForecasts:
    c, h, w = np.shape(dataset[0])[1:]
    c -= len(scaling.inputs)

    def read(clip: int) -> Tensor:
        values = forecasts.read(rows[clip])[: window.future]
        if isinstance(dataset, Recordings) and dataset.splits.tile:
            top, left = dataset.windows[clip][2:]
            values = values[..., top : top + h, left : left + w]
        if values.shape[1:] != (c, h, w):
            raise ValueError(
                f"{forecasts.name} forecasts frames of {'x'.join(map(str, values.shape[1:]))}, but "
                f"the clips have {c}x{h}x{w}"
            )
        stored = _of_files(scaling, dataset, clip)
        values = np.ascontiguousarray(stored.from_pictures(values), dtype=np.float32)
        return replace(stored, inputs=()).to_network(torch.from_numpy(values))

    def checked(clips: Sequence[int], parts: Parts) -> Tensor:
        """The forecasts; 0, as in the input of networks, if they are NaN and no past value is
        known.
        """
        forecast = torch.stack([read(clip) for clip in clips]).to(parts.past.device)
        forecast = forecast.where(~(forecast.isnan() & parts.last.isnan().unsqueeze(1)), 0)
        bad = int((~forecast.isfinite() & ~parts.truth.isnan()).sum())
        if bad:
            raise ValueError(
                f"{forecasts.name}: {plural(bad, 'value')} of a forecast are NaN or infinite where "
                "the truth is known; give each a number"
            )
        return forecast

    return checked


def _of_files(scaling: Scaling, dataset: Any, clip: int) -> Scaling:
    """The scaling of a clip's values in files, as `foreframe predict` writes them: 8-bit pictures
    are on 0 to 255 even if the network was trained on 0 to 1.
    """
    return scaling.of(clip_set(dataset).dtype_of(clip))


def write_pasts(
    path: str | Path, dataset: Dataset, window: Window, scaling: Scaling, clips: int | None = None
) -> int:
    """Write the past frames of the clips that `evaluate` scores, in its order, as input of other
    programs: (N,T,C,H,W) as .npy, float32 in the data's units (0 to 255 for 8-bit pictures), NaN
    for missing values, without inputs.

    Returns:
        The number of clips.

    Raises:
        ValueError: it cannot be written; no partial file stays.
    """
    which = chosen(dataset, clips)
    c, h, w = np.shape(dataset[0])[1:]
    shape = (len(which), window.past, c - len(scaling.inputs), h, w)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with atomic_write(path) as rough, rough.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for clip, batch in zip(which, batches(dataset, 1, among=which), strict=True):
            past = window.split(batch)[0][:, :, : shape[2]]
            values = _of_files(scaling, dataset, clip).to_units(past)
            file.write(np.ascontiguousarray(values.numpy(), dtype="<f4").tobytes())
    return len(which)
