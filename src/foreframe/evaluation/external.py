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
from foreframe.data.forecasts import Forecasts, moments, rows_by_time, rows_in_order
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
    times = _times(dataset, window) if any(given.times for given in forecasts) else None
    by_time = {
        given.name: rows_by_time(given, times) for given in forecasts if times and given.times
    }
    among = [clip for clip in range(len(dataset)) if all(clip in rows for rows in by_time.values())]
    scored = chosen(dataset, clips, among)
    if not scored:
        raise ValueError(f"{' and '.join(by_time)} have no clip in common")
    readers = {}
    for given in forecasts:
        check_units(given.units, scaling.units, given.name, "the clips are in")
        if given.steps < window.future:
            raise ValueError(
                f"{given.name} forecasts {plural(given.steps, 'frame')}, but "
                f"{window.future} are scored; --future {given.steps} scores as many"
            )
        rows = by_time.get(given.name) or rows_in_order(given, scored)
        readers[given.name] = _reader(given, rows, dataset, window, scaling)
    return scored, readers


def _times(dataset: Any, window: Window) -> dict[int, tuple[str, ...]] | None:
    """The times of the future frames of each clip; None if they are not known."""
    if not isinstance(dataset, Recordings) or any(clip.times is None for clip in dataset.clips):
        return None
    known = [moments(clip.times) for clip in dataset.clips if clip.times is not None]
    times, owner = {}, dict[tuple[str, ...], int]()
    for k, (recording, start, *_) in enumerate(dataset.windows):
        times[k] = known[recording][start + window.past : start + window.length]
        if owner.setdefault(times[k], recording) != recording:
            raise ValueError(
                f"{dataset.name}: two recordings are of one time, {times[k][0]}; give the "
                "forecasts as .npy in the order of the clips"
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
            f"{name}: {plural(bad, 'value')} of a forecast NaN or infinite where the truth is "
            "known; a forecast has to give each a number"
        )
    return forecast
