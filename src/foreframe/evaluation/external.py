"""Forecasts of other programs: the past frames that these need, and matching forecasts to clips."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.base.files import atomic_write
from foreframe.base.wording import plural
from foreframe.clips.clip import Window
from foreframe.clips.scaling import Scaling
from foreframe.clips.units import check_units
from foreframe.data import Recordings, batches, chosen
from foreframe.data.datasets import clip_set
from foreframe.data.forecasts import Forecasts, moments, rows_by_time
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import Parts


def write_pasts(
    path: str | Path, dataset: Dataset, window: Window, scaling: Scaling, clips: int | None = None
) -> int:
    """Write the past frames of the clips that `evaluate` scores, in its order, from which other
    programs forecast: (N,T,C,H,W) as .npy, float32 in the data's own units (0 to 255 for 8-bit
    pictures), NaN where missing, without inputs.

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
            own = _of_files(scaling, dataset, clip)
            values = own.to_units(window.split(batch)[0][:, :, : shape[2]])
            file.write(np.ascontiguousarray(values.numpy(), dtype="<f4").tobytes())
    return len(which)


def open_external(
    forecasts: Sequence[Forecasts], dataset: Any, clips: int | None, forecaster: Forecaster
) -> tuple[Sequence[int], dict[str, Callable[[Sequence[int]], Tensor]]]:
    """The clips to score, and for each of `forecasts`, by name, a function that reads the forecasts
    of some clips, (B,S,C,H,W) on the network's scale.

    Raises:
        ValueError: forecasts that are too short, in other units, or without a clip in common.
    """
    window, scaling = forecaster.window, forecaster.scaling
    times = _times(dataset, window) if any(each.times for each in forecasts) else {}
    rows = {each.name: rows_by_time(each, times) for each in forecasts if times and each.times}
    among = [clip for clip in range(len(dataset)) if all(clip in own for own in rows.values())]
    scored = chosen(dataset, clips, among)
    if not scored:
        raise ValueError(
            f"{' and '.join(rows)} have no clip in common with the data, whose frames to forecast "
            f"begin at {times[0][0]} and end at {times[len(times) - 1][-1]}"
        )
    readers = {}
    for each in forecasts:
        check_units(each.units, scaling.units, each.name, "the clips are in")
        if each.steps < window.future:
            raise ValueError(
                f"{each.name} forecasts {plural(each.steps, 'frame')}, but "
                f"{window.future} are scored; --future {each.steps} scores as many"
            )
        if each.name not in rows and each.count != len(scored):
            raise ValueError(
                f"{each.name} holds {plural(each.count, 'forecast')}, but "
                f"{plural(len(scored), 'clip')} to score; forecast those that --pasts writes, in "
                "order"
            )
        own = rows.get(each.name, dict(zip(scored, range(each.count), strict=False)))
        readers[each.name] = _reader(each, own, dataset, window, scaling)
    return scored, readers


def _times(dataset: Any, window: Window) -> dict[int, tuple[str, ...]]:
    """The times of the future frames of each clip; {} if they are not known."""
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


def _reader(
    given: Forecasts, rows: dict[int, int], dataset: Any, window: Window, scaling: Scaling
) -> Callable[[Sequence[int]], Tensor]:
    c, h, w = np.shape(dataset[0])[1:]
    c -= len(scaling.inputs)

    def read(clip: int) -> Tensor:
        values = given.read(rows[clip])[: window.future]
        if isinstance(dataset, Recordings) and dataset.splits.tile:
            top, left = dataset.windows[clip][2:]
            values = values[..., top : top + h, left : left + w]
        if values.shape[1:] != (c, h, w):
            raise ValueError(
                f"{given.name} forecasts frames of {'x'.join(map(str, values.shape[1:]))}, but the "
                f"clips have {c}x{h}x{w}"
            )
        own = _of_files(scaling, dataset, clip)
        values = np.ascontiguousarray(own.from_pictures(values), dtype=np.float32)
        return replace(own, inputs=()).to_network(torch.from_numpy(values))

    return lambda which: torch.stack([read(clip) for clip in which])


def _of_files(scaling: Scaling, dataset: Any, clip: int) -> Scaling:
    """The scaling of a clip's values in files, as `foreframe predict` writes them: 8-bit pictures
    are on 0 to 255 even if the network was trained on 0 to 1.
    """
    return scaling.of(clip_set(dataset).dtype_of(clip))


def checked(name: str, forecast: Float[Tensor, "b s c h w"], parts: Parts) -> Tensor:
    """A forecast of another program, checked; 0, as in the input of networks, where it is NaN and
    no past value is known.

    Raises:
        ValueError: NaN or infinity where the truth is known.
    """
    forecast = forecast.to(parts.past.device)
    forecast = forecast.where(~(forecast.isnan() & parts.last.isnan().unsqueeze(1)), 0)
    bad = int((~forecast.isfinite() & ~parts.truth.isnan()).sum())
    if bad:
        raise ValueError(
            f"{name}: {plural(bad, 'value')} of a forecast are NaN or infinite where the truth is "
            "known; give each a number"
        )
    return forecast
