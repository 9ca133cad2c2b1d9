"""Inputs: channels that a model sees and does not forecast, such as a map's heights, a second
variable or the hour of the day. They are the last channels of a clip's frames.
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
"""Inputs that no file needs to hold: each is two channels, the sine and the cosine of how far the
day (of UTC, where times tell no zone) or the year has come, so that its end meets its beginning.
"""


def clock(name: str, times: np.ndarray) -> Float32[np.ndarray, "t 2"]:
    """Sine and cosine of 2π times the share of the day, or of the year, that has passed.

    Args:
        name: one of CLOCKS.
        times: datetime64, or calendar dates (cftime).
    """
    if times.dtype.kind == "M":
        unit: Literal["D", "Y"] = "D" if name == "hour_of_day" else "Y"
        begin = times.astype(f"datetime64[{unit}]")
        end = begin + np.timedelta64(1, unit)
        length = end.astype("datetime64[s]") - begin.astype("datetime64[s]")
        share = (times - begin) / length
    elif name == "hour_of_day":
        share = np.array([(t.hour + t.minute / 60 + t.second / 3600) / 24 for t in times])
    else:
        length = {"360_day": 360.0, "noleap": 365.0, "all_leap": 366.0}
        share = np.array(
            [(t.dayofyr - 1 + t.hour / 24) / length.get(t.calendar, 365.25) for t in times]
        )
    angle = 2 * math.pi * share.astype(np.float64)
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def with_clocks(clip: Clip, inputs: Sequence[str]) -> Clip:
    """The clip with those of these names that are clocks as further inputs.

    Raises:
        ValueError: a clip without dates.
    """
    names = [name for name in inputs if name in CLOCKS]
    if not names:
        return clip
    if clip.times is None or clip.times.dtype.kind == "f":
        raise ValueError(
            f"{clip.name}: its frames have no dates, so {' and '.join(names)} cannot be inputs"
        )
    values = np.concatenate([clock(name, clip.times) for name in names], axis=1)
    channels = [Input(f"{name}, {part}", True) for name in names for part in ("sine", "cosine")]
    return replace(clip, frames=_WithClocks(clip.frames, values), inputs=(*clip.inputs, *channels))


class _WithClocks(Frames):
    """Frames (T,C,H,W) and, as further channels, values (T,K) that are the same everywhere."""

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
    """The inputs of frames `first` to `first + steps` of a recording, as far as they are known when
    frame `first` is still to come: NaN where they are not. None for a clip without inputs.

    Clocks are known of every time, other known inputs as far as the recording goes. Beyond it the
    last value seen stands in (`Forecaster.predict`), which is right for what is constant.

    Args:
        clip: the recording, with its inputs as the last channels.
        first: at most its length, from where on all is future.
        steps: how many frames.
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
