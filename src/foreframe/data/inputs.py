"""Inputs: channels that are not forecast, such as the terrain height, a second variable or the hour
of the day. They are the last channels of a clip's frames.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float32

from foreframe.clips.clip import Clip, Input
from foreframe.clips.frames import FLOAT32, Frames

CLOCKS = ("hour_of_day", "day_of_year")
"""Inputs computed from times, two channels each: sine and cosine of the elapsed share of the day
(UTC) or the year.
"""


def clock(name: str, times: np.ndarray) -> Float32[np.ndarray, "t 2"]:
    """Return sine and cosine of 2π times the elapsed share of the day or the year.

    Args:
        name: one of CLOCKS.
        times: datetime64.
    """
    unit: Literal["D", "Y"] = "D" if name == "hour_of_day" else "Y"
    begin = times.astype(f"datetime64[{unit}]")
    end = begin + np.timedelta64(1, unit)
    length = end.astype("datetime64[s]") - begin.astype("datetime64[s]")
    share = (times - begin) / length
    angle = 2 * math.pi * share.astype(np.float64)
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def with_clocks(clip: Clip, inputs: Sequence[str]) -> Clip:
    """Return the clip with the clocks among `inputs` as further input channels; raises a ValueError
    for a clip without dates of the standard calendar.
    """
    names = [name for name in inputs if name in CLOCKS]
    if not names:
        return clip
    if clip.times is None or clip.times.dtype.kind != "M":
        raise ValueError(
            f"{clip.name}: its frames have no dates of the standard calendar, so "
            f"{' and '.join(names)} cannot be inputs"
        )
    values = np.concatenate([clock(name, clip.times) for name in names], axis=1)
    channels = [Input(f"{name}, {part}", True) for name in names for part in ("sine", "cosine")]
    return replace(clip, frames=_WithClocks(clip.frames, values), inputs=(*clip.inputs, *channels))


class _WithClocks(Frames):
    """Frames (T,C,H,W) with values (T,K) as further, spatially constant channels."""

    dtype = FLOAT32

    def __init__(self, source: Frames, values: Float32[np.ndarray, "t k"]) -> None:
        self.source, self.values, self.chunk = source, values, source.chunk
        t, c, h, w = source.shape
        self.shape = (t, c + values.shape[1], h, w)

    def read(self, first: int, last: int) -> np.ndarray:
        t, c, h, w = self.shape
        frames = np.empty((last - first, c, h, w), np.float32)
        channels = self.source.shape[1]
        frames[:, :channels] = self.source.read(first, last)
        frames[:, channels:] = self.values[first:last, :, None, None]
        return frames


def known_after(clip: Clip, first: int, steps: int) -> Float32[np.ndarray, "s i h w"] | None:
    """Return the inputs of frames `first` to `first + steps` of a recording that are known before
    frame `first`, NaN for unknown values. Returns None for a clip without inputs.

    Clocks are always known, other known inputs until the end of the recording. Afterwards,
    `Forecaster.predict` repeats the last value, which is correct for constants.

    Args:
        clip: the recording, with its inputs as the last channels.
        first: first future frame, at most the length of the recording.
        steps: number of frames.
    """
    if not clip.inputs:
        return None
    t, c, h, w = clip.frames.shape
    values = np.full((steps, len(clip.inputs), h, w), np.nan, np.float32)
    recorded = clip.frames[first : first + steps][:, c - len(clip.inputs) :]
    values[: len(recorded)] = recorded
    times = clip.times_from(first, steps)
    for k, channel in enumerate(clip.inputs):
        name, _, part = channel.name.partition(", ")
        if not channel.known:
            values[:, k] = np.nan
        elif name in CLOCKS and times is not None:
            values[:, k] = clock(name, times)[:, int(part == "cosine"), None, None]
    return values
