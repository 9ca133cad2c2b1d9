"""Frames with times, units and coordinates, and their division into past and future.

Shapes: B clips, T frames, C channels, H rows, W columns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreframe.base.schema import LONG
from foreframe.clips.frames import FirstChannels, as_frames


@dataclass(frozen=True)
class Window:
    """Numbers of past and future frames in training and evaluation.

    Forecasts may be of any length: their horizon is an argument of the call, not of the model.

        past, future = foreframe.Window(10, 5).split(torch.rand(2, 20, 1, 64, 64))

    Args:
        past: past frames, at least 1.
        future: future frames, at least 1.
        stride: frames from the start of one window of a recording to the start of the next.
    """

    past: int = 10
    future: int = 10
    stride: int = 1

    def __post_init__(self) -> None:
        for name in ("past", "future", "stride"):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not (whole and 1 <= value < LONG):
                raise ValueError(f"{name} is a whole number of frames, 1 or more, not {value!r}")

    @property
    def length(self) -> int:
        return self.past + self.future

    def split(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Cut the first frames of clips (B,T,C,H,W) into past (B,past,C,H,W) and future
        (B,future,C,H,W).

        Raises:
            ValueError: clips are shorter than the window.
        """
        if clips.shape[1] < self.length:
            raise ValueError(
                f"clips have {clips.shape[1]} frames, but {self.past} past and {self.future} "
                f"future frames need {self.length}: use longer clips or a smaller window"
            )
        return clips[:, : self.past], clips[:, self.past : self.length]


LATITUDES = ("latitude", "lat", "nav_lat", "xlat", "lats")
LONGITUDES = ("longitude", "lon", "long", "nav_lon", "xlong", "lons")
_ROWS = (
    *LATITUDES, "y", "yc", "nj", "j", "ny", "nlat", "rlat", "row", "rows", "south_north",
    "northing", "grid_latitude", "projection_y_coordinate",
)  # fmt: skip
_COLUMNS = (
    *LONGITUDES, "x", "xc", "ni", "i", "nx", "nlon", "rlon", "column", "columns", "west_east",
    "easting", "grid_longitude", "projection_x_coordinate",
)  # fmt: skip


def direction_of_name(name: Any) -> str:
    """Return the axis of a coordinate by its name: "row", "column" or ""."""
    low = str(name).lower()
    return "row" if low in _ROWS else "column" if low in _COLUMNS else ""


@dataclass(frozen=True, eq=False)
class Coordinate:
    """A coordinate of the frames, as in its file; numpy converts it to its array.

    Args:
        dims: ("row",), ("column",), ("row", "column"), or () for a scalar, such as a level, or a
            grid mapping, whose attributes describe the map projection.
        values: one axis for each of `dims`.
        attributes: in the file: standard_name, units, ...
    """

    dims: tuple[str, ...]
    values: np.ndarray
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype) if copy else np.asarray(self.values, dtype)

    def __getitem__(self, where: Any) -> Any:
        return self.values[where]


@dataclass(frozen=True)
class Variable:
    """A variable of a file that became one or more channels of a clip.

    Args:
        name: its name in the file.
        units: of its values.
        attributes: other attributes: standard_name, long_name, ...
        channels: number of channels.
    """

    name: str
    units: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 1


@dataclass(frozen=True)
class Input:
    """An input channel of a model, which is not forecast.

    Args:
        name: of the variable or clock.
        known: whether its future is known; otherwise the last value is repeated.
    """

    name: str
    known: bool = False


def shared_attributes(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the attributes that are equal in all mappings."""
    first, *others = several
    return {
        key: value
        for key, value in first.items()
        if all(key in other and np.array_equal(value, other[key]) for other in others)
    }


def _placed(coordinates: Mapping[str, Any], h: int, w: int) -> dict[str, Coordinate]:
    """Coordinates of frames (H,W). The name or length of a plain array determines its axis.

    Raises:
        ValueError: a shape that does not fit the frames.
    """
    sides = {"row": h, "column": w}
    placed: dict[str, Coordinate] = {}
    for name, values in coordinates.items():
        if isinstance(values, Coordinate):
            coordinate = values
        else:
            values = np.asarray(values)
            fits = [side for side, n in sides.items() if values.size == n]
            along = direction_of_name(name) or (fits or ["row"])[0]
            coordinate = Coordinate(((), (along,), ("row", "column"))[min(values.ndim, 2)], values)
        placed[str(name)] = coordinate
        if coordinate.values.shape != tuple(sides[side] for side in coordinate.dims):
            raise ValueError(
                f"coordinate {name} has shape {coordinate.values.shape}, but frames have {h} rows "
                f"and {w} columns; make them fit"
            )
    return placed


@dataclass(frozen=True)
class Clip:
    """Consecutive frames with times, units and coordinates: a recording or a part of one.

        hours = np.datetime64("2026-01-01") + np.arange(30) * np.timedelta64(1, "h")
        clip = foreframe.Clip(np.full((30, 1, 24, 32), 280.0), hours, units="K")
        print(clip[:10].times_after(2))

    Args:
        frames: (T,C,H,W), in the data's units and dtype, read on demand; NaN is a missing value.
            Arrays and tensors become `Frames`.
        times: (T,) numpy datetime64, calendar dates (cftime) or seconds; None if the source has
            none.
        units: units of the values, e.g. "mm/h" or "K"; "" for plain pictures.
        coordinates: by name, a `Coordinate` or an array, which becomes one: latitude (H,) and
            longitude (W,), or both (H,W), rows first; row 0 is the top of the picture, which is
            north if rows are latitudes.
        name: of the recording, for messages and reports.
        variable: the measured quantity, e.g. "t2m"; "" if the source has no name for it.
        notes: remarks of the reader for the user, a sentence each.
        attributes: attributes of the variable in its file: standard_name, long_name, grid_mapping,
            which names a coordinate.
        dims: the file's names of the dimensions of rows and columns; "" without a name.
        pictures: whether frames are pictures rather than gridded values. Pictures may be cut into
            scenes and have any frame rate.
        start: time of the last past frame of a forecast; None for measurements.
        time_dim: the file's name of the time dimension.
        turned: whether rows are reversed, because the file's rows run from south to north; written
            grids have the file's order.
        variables: a description of each variable, in the order of channels, if there are several.
        about: the file's global attributes: title, institution, source, references, history.
        inputs: descriptions of the last channels, which are not forecast; all other fields describe
            the channels before them.

    Raises:
        ValueError: frames, times or coordinates do not fit each other.
    """

    frames: Any  # `Frames` after __post_init__
    times: np.ndarray | None = None
    units: str = ""
    coordinates: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    variable: str = ""
    notes: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dims: tuple[str, str] = ("", "")
    start: Any = None
    time_dim: str = "time"
    turned: bool = False
    variables: tuple[Variable, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    pictures: bool = False
    inputs: tuple[Input, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", as_frames(self.frames))
        if len(self.frames.shape) != 4:
            raise ValueError(
                f"a clip is (T,C,H,W), but these frames have shape {tuple(self.frames.shape)}"
            )
        if self.times is not None and len(self.times) != len(self):
            raise ValueError(f"{len(self)} frames cannot have {len(self.times)} times")
        h, w = self.frames.shape[2:]
        object.__setattr__(self, "coordinates", _placed(self.coordinates, h, w))

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def channels(self) -> int:
        """Number of forecast channels: all but the inputs."""
        return int(self.frames.shape[1]) - len(self.inputs)

    def without_inputs(self) -> "Clip":
        """Return the clip without its input channels, not read yet."""
        if not self.inputs:
            return self
        return replace(self, frames=FirstChannels(self.frames, self.channels), inputs=())

    def __getitem__(self, when: slice) -> "Clip":
        """Read some frames into memory: `clip[:10]`."""
        times = None if self.times is None else self.times[when]
        return replace(self, frames=self.frames[when], times=times)

    def part(self, first: int, last: int) -> "Clip":
        """Return the frames `first` to `last`, excluding `last`, not read yet."""
        times = None if self.times is None else self.times[first:last]
        return replace(self, frames=self.frames.part(first, last), times=times)

    def __repr__(self) -> str:
        t, c, h, w = self.frames.shape
        words = [f"Clip {self.name}".rstrip() + f": {t} frames of {c} x {h} x {w}"]
        words += [self.units] if self.units else []
        words += [f"{self.times[0]} to {self.times[-1]}"] if self.times is not None and t else []
        return ", ".join(words)

    @property
    def step(self) -> Any:
        """Median time between frames: timedelta64, timedelta or seconds; None without times, or
        with only one.
        """
        if self.times is None or len(self) < 2:
            return None
        return np.sort(np.diff(self.times))[(len(self) - 1) // 2]

    def times_after(self, steps: int) -> np.ndarray | None:
        """Return times of the next `steps` frames, `step` apart, or months if the times follow the
        calendar; None without times, or with only one.
        """
        if self.times is None or self.step is None:
            return None
        if self.times.dtype.kind == "M" and (after := _months_after(self.times, steps)) is not None:
            return after
        ahead = np.arange(1, steps + 1)
        return np.array([self.times[-1] + k * self.step for k in ahead], dtype=self.times.dtype)

    def times_from(self, first: int, steps: int) -> np.ndarray | None:
        """Return times of frames `first` to `first + steps`, also after the recording's end; None
        without times.
        """
        if self.times is None:
            return None
        known = self.times[first : first + steps]
        beyond = self.times_after(steps - len(known))
        return None if beyond is None else np.concatenate([known, beyond])

    def truth_of(self, first: int, forecast: "Clip", end: int | None = None) -> "Clip":
        """Return the observed frames of a forecast that begins at frame `first`, float32, NaN from
        `end` on, by default the end of the recording.
        """
        truth = np.full(forecast.frames.shape, np.nan, np.float32)
        end = len(self) if end is None else end
        known = self.frames[first : min(first + len(truth), end), : self.channels]
        truth[: len(known)] = known
        return replace(forecast, frames=truth)


def _months_after(times: np.ndarray, steps: int) -> np.ndarray | None:
    """Return the next times of a monthly series; None for other series.

    Times are on the same day of each month (the last day of shorter months), or in the middle of
    months, to the hour or to the day. Other steps of about a month continue with the median day.
    """
    exact = times.astype("datetime64[us]")
    months = exact.astype("datetime64[M]")
    apart = np.diff(months)
    if apart.min() != apart.max() or not apart[0].astype(int):
        return None
    both = np.append(months, months[-1] + apart[0] * np.arange(1, steps + 1))
    length = (both + 1).astype("datetime64[us]") - both.astype("datetime64[us]")
    within, day = exact - months, np.timedelta64(1, "D")
    same = within.max()
    one_day = np.minimum(same, length - day + same % day)
    for place in (one_day, length // 2, length // (2 * day) * day):
        if np.all(within == place[: len(times)]):
            return (both + place)[len(times) :].astype(times.dtype)
    days = np.diff(exact) / day / int(apart[0].astype(int))
    if len(set(days)) > 1 and days.min() > 27 and days.max() < 34:
        usual = np.minimum(np.sort(within)[len(times) // 2], length - day)
        return (both + usual)[len(times) :].astype(times.dtype)
    return None


def check_frames(
    frames: Any,
    *,
    channels: int | None = None,
    low: float = 0.0,
    high: float = 1.0,
    missing: bool = False,
    what: str = "frames",
) -> Tensor:
    """Check frames of a user, and convert them to a float32 tensor of the same shape.

    Args:
        frames: numpy array or tensor (T,C,H,W) or (B,T,C,H,W).
        channels: number of channels of the model; None for any.
        low, high: range of the values, with a tolerance of a thousandth for rounding.
        missing: whether NaN is a missing value, or an error.
        what: name of the frames in messages.

    Raises:
        ValueError: wrong type, rank, channels or dtype, no frames, infinity, NaN, only NaN, or
            values out of range.
    """
    frames = _as_tensor(frames, what, integers=(low, high) != (0.0, 1.0))
    shape = tuple(frames.shape)
    if channels is not None and shape[-3] != channels:
        raise ValueError(
            f"{what}: {shape[-3]} channels in shape {shape}, but the model takes {channels}; axes "
            "are (T,C,H,W)"
        )
    frames = frames.float()
    least, most = _range_of(frames, missing)
    if not -math.inf < least <= most < math.inf:
        only_infinite = least <= most  # otherwise there is NaN, or only NaN
        bad = int((frames.isinf() if only_infinite else ~frames.isfinite()).sum())
        kind = "infinite" if only_infinite else "NaN or infinite"
        raise ValueError(
            f"{what}: {bad} of {frames.numel()} values are {kind}; fill or drop those frames first"
        )
    slack = 1e-3 * (high - low)
    if least < low - slack or most > high + slack:
        raise ValueError(
            f"{what}: values run from {least:.4g} to {most:.4g}, outside [{low:g}, {high:g}]; "
            "scale them to that range first, or use other weights (radar for rain in mm/h)"
        )
    return frames


def _as_tensor(frames: Any, what: str, integers: bool) -> Tensor:
    if not isinstance(frames, Tensor | np.ndarray):
        kind = type(frames).__name__
        raise ValueError(f"{what}: a {kind} where a float32 array (T,C,H,W) is needed")
    dtype = str(frames.dtype).removeprefix("torch.")
    name = getattr(frames.dtype, "name", dtype)  # of numpy: without the byte order
    if not name.startswith(("float", "bfloat", *(("int", "uint") if integers else ()))):
        raise ValueError(
            f"{what}: dtype {dtype}, but float32 is needed: use astype('float32'); for 8-bit "
            "pictures divide by 255"
        )
    if isinstance(frames, np.ndarray):
        # A copy, since memory-mapped files are read-only; torch needs the native byte order.
        frames = torch.from_numpy(np.array(frames, frames.dtype.newbyteorder("=")))
    if frames.ndim not in (4, 5) or frames.numel() == 0:
        raise ValueError(
            f"{what}: shape {tuple(frames.shape)} is neither (T,C,H,W) nor, of several clips, "
            "(B,T,C,H,W), with at least one frame"
        )
    return frames


def _range_of(frames: Tensor, missing: bool) -> tuple[float, float]:
    """Return the lowest and highest value. NaN is ignored if values may be missing."""
    least, most = (value.item() for value in frames.aminmax())
    if missing and math.isnan(least):
        known = ~frames.isnan()  # frames[known] would need several times the memory
        least = frames.where(known, torch.inf).min().item()
        most = frames.where(known, -torch.inf).max().item()
    return least, most


def in_seconds(step: Any) -> float:
    """Convert a time step, a timedelta64, a timedelta or a number, to seconds."""
    if isinstance(step, timedelta):
        return step.total_seconds()
    return float(step / np.timedelta64(1, "s") if isinstance(step, np.timedelta64) else step)


def format_step(step: Any) -> str:
    """Format a time step: "5 min", "1 h", "30 d"."""
    if isinstance(step, int | float):
        return f"{step:.4g} s"
    seconds = in_seconds(step)
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.4g} {name}"
    return f"{seconds:.4g} s"


def stamp(time: Any) -> str:
    """Format a date by ISO 8601, to the second, or a number of seconds."""
    if isinstance(time, np.datetime64):
        return str(time.astype("datetime64[s]"))
    return f"{time:.6g}" if isinstance(time, float) else str(time.isoformat())
