"""Frames that know what they mean, and how they are cut into past and future.

One shape language everywhere: B clips, T frames, C channels, H rows, W columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from foreframe.clips.frames import FirstChannels, Frames, FramesLike, HasSlices, as_frames


@dataclass(frozen=True)
class Window:
    """How many frames a model sees and how many it forecasts in training and evaluation.

    The horizon of a *forecast* is an argument of the call, never of the model: this is only what it
    practised.

    Args:
        past: frames in, at least 1.
        future: frames out, at least 1.
        stride: frames from the start of one window to the start of the next, where a recording is
            cut into windows.
    """

    past: int = 10
    future: int = 10
    stride: int = 1

    def __post_init__(self) -> None:
        for name in ("past", "future", "stride"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value >= 2**31:
                raise ValueError(f"{name} is a whole number of frames, not {value!r}")
        if self.past < 1 or self.future < 1:
            raise ValueError(
                f"a window needs at least 1 past and 1 future frame, not {self.past} and "
                f"{self.future}"
            )
        if self.stride < 1:
            raise ValueError(
                f"the stride from window to window is at least 1 frame, not {self.stride}"
            )

    @property
    def length(self) -> int:
        return self.past + self.future

    def split(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Cut clips (B,T,C,H,W) into past (B,past,C,H,W) and future (B,future,C,H,W): the first
        frames of the clip, in order.

        Raises:
            ValueError: when a clip is shorter than the window.
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
    """ "row", "column" or "": along which side of a picture a coordinate of that name runs."""
    low = str(name).lower()
    return "row" if low in _ROWS else "column" if low in _COLUMNS else ""


@dataclass(frozen=True, eq=False)
class Coordinate:
    """What a file says about where its values lie; numpy takes one for the array that it holds.

    Args:
        dims: ("row",), ("column",), ("row", "column"), or () for what is true of the whole clip: a
            level, or a grid mapping, which says by its attributes how the map is drawn.
        values: one axis for each of `dims`.
        attributes: as the file has them: standard_name, units, ...
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
    """What a file says of one of the variables that were read as the channels of a clip.

    Args:
        name: of the variable in its file.
        units: of its values.
        attributes: its others: standard_name, long_name, ...
        channels: how many of the clip's are this variable's.
    """

    name: str
    units: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 1


@dataclass(frozen=True)
class Input:
    """A channel that a model sees and does not forecast.

    Args:
        name: of the variable, or of the clock.
        known: whether it is known of the future too; else the last value seen stands in.
    """

    name: str
    known: bool = False


def shared_attributes(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The attributes that all have, with one value."""
    first, *others = several
    return {
        key: value
        for key, value in first.items()
        if all(key in other and np.array_equal(value, other[key]) for other in others)
    }


def _placed(given: Mapping[str, Any], h: int, w: int) -> dict[str, Coordinate]:
    """Coordinates of frames (H,W). A plain array runs along the side that its name or its length
    tells.

    Raises:
        ValueError: a length that neither side has.
    """
    sides = {"row": h, "column": w}
    placed: dict[str, Coordinate] = {}
    for name, values in given.items():
        if isinstance(values, Coordinate):
            coordinate = values
        else:
            values, named = np.asarray(values), direction_of_name(name)
            fits = [named] if named else [side for side, n in sides.items() if values.size == n]
            # Rows come first in a clip, so on a square the first nameless one is the rows'.
            later = any(other.dims == ("row",) for other in placed.values())
            along = (fits or ["row"])[-1 if later else 0]
            coordinate = Coordinate(((), (along,), ("row", "column"))[min(values.ndim, 2)], values)
        placed[str(name)] = coordinate
        if coordinate.values.shape != tuple(sides[side] for side in coordinate.dims):
            raise ValueError(
                f"coordinate {name} has shape {coordinate.values.shape}, but frames have {h} rows "
                f"and {w} columns; make them fit"
            )
    return placed


if TYPE_CHECKING:  # an array may be given for frames; the attribute is always Frames

    class _Given:
        def __get__(self, clip: Any, owner: Any) -> Frames: ...
        def __set__(self, clip: Any, values: FramesLike | Tensor | HasSlices) -> None: ...

    _required = _Given()
else:
    _Given, _required = Any, field()


@dataclass(frozen=True)
class Clip:
    """A stretch of frames with what they mean: a whole recording, or a part of one.

    Args:
        frames: (T,C,H,W), in the data's own numbers and dtype, read when they are asked for; NaN
            where a value is missing. Arrays, tensors and what has slices become `Frames`.
        times: (T,) numpy datetime64, calendar dates (cftime) or seconds, one a frame, or None where
            the source has none.
        units: of the values, e.g. "mm/h" or "K"; "" for plain pictures.
        coordinates: by name, a `Coordinate`, or an array, which becomes one: latitude (H,) and
            longitude (W,), or both (H,W), rows first; row 0 is the top of the picture, which is
            north where rows are latitudes.
        name: of the recording, for messages and reports.
        variable: what is measured, e.g. "t2m"; "" where the source has no name for it.
        notes: what reading did that its owner should know, a sentence each.
        attributes: of what is measured, as its file has them: standard_name, long_name,
            grid_mapping, which names a coordinate.
        dims: what the file calls the dimensions of rows and of columns; "" where it has no name for
            them.
        first: number of its first frame, where it is a part of a recording.
        pictures: whether frames are pictures, which may be cut into scenes and keep whatever rate
            they have; not gridded values.
        start: of a forecast, the time of the last frame that it has seen; None for what was
            measured.
        time_dim: what the file calls the dimension of time.
        turned: whether the file's rows run from south to north, against those of the frames; a grid
            that is written has the file's order again.
        variables: of channels that were read as several variables, what the file says of each, in
            the order of the channels.
        about: what the file says of itself: title, institution, source, references, history.
        inputs: what the last channels are that a model sees and does not forecast, one of each. All
            else is said of the channels before them.

    Raises:
        ValueError: frames, times or coordinates that do not fit each other.
    """

    frames: _Given = _required
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
    first: int = 0
    pictures: bool = False
    inputs: tuple[Input, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", as_frames(self.frames))
        if len(self.frames.shape) != 4:
            raise ValueError(
                f"a clip is (T,C,H,W), but these frames have shape {tuple(self.frames.shape)}"
            )
        if len(self.inputs) >= self.frames.shape[1] > 0 and self.inputs:
            raise ValueError(f"{self.frames.shape[1]} channels cannot all be inputs")
        if self.times is not None and len(self.times) != len(self):
            raise ValueError(f"{len(self)} frames cannot have {len(self.times)} times")
        h, w = self.frames.shape[2:]
        object.__setattr__(self, "coordinates", _placed(self.coordinates, h, w))

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def channels(self) -> int:
        """How many channels are forecast: all but the inputs."""
        return int(self.frames.shape[1]) - len(self.inputs)

    def without_inputs(self) -> "Clip":
        """The same clip with the channels alone that are forecast, not read yet."""
        if not self.inputs:
            return self
        return replace(self, frames=FirstChannels(self.frames, self.channels), inputs=())

    def __getitem__(self, when: slice) -> "Clip":
        """The same clip with fewer frames, read into memory: `clip[:10]`."""
        times = None if self.times is None else self.times[when]
        return replace(self, frames=self.frames[when], times=times)

    def part(self, first: int, last: int) -> "Clip":
        """The same clip with frames `first` to `last` alone, not read yet."""
        times = None if self.times is None else self.times[first:last]
        frames = self.frames.part(first, last)
        return replace(self, frames=frames, times=times, first=self.first + first)

    def _repr_png_(self) -> bytes:
        """What a notebook shows: some of the frames side by side."""
        from foreframe.visuals.display import clip_png

        return clip_png(self)

    @property
    def step(self) -> Any:
        """Time from one frame to the next, the median where it varies: timedelta64, timedelta or
        seconds; None without times.
        """
        if self.times is None or len(self) < 2:
            return None
        return np.sort(np.diff(self.times))[(len(self) - 1) // 2]

    def times_after(self, steps: int) -> np.ndarray | None:
        """The times of the `steps` frames that follow the last one, at the usual step; None without
        times. Months stay months.
        """
        if self.times is None or self.step is None:
            return None
        last, ahead = self.times[-1], np.arange(1, steps + 1)
        days = np.diff(self.times) / np.timedelta64(1, "D") if self.times.dtype.kind == "M" else 0
        if np.all(np.abs(days - 29.75) < 2):
            month = last.astype("datetime64[M]")
            # Every month has a 28th.
            within = np.minimum(last - month, np.timedelta64(27, "D").astype("timedelta64[ns]"))
            return (month + ahead).astype(self.times.dtype) + within
        return np.array([last + k * self.step for k in ahead], dtype=self.times.dtype)

    def times_from(self, first: int, steps: int) -> np.ndarray | None:
        """The times of frames `first` to `first + steps`, some of them beyond the recording's end;
        None without times.
        """
        if self.times is None:
            return None
        known = self.times[first : first + steps]
        beyond = self.times_after(steps - len(known))
        return None if beyond is None else np.concatenate([known, beyond])

    def truth_of(self, first: int, forecast: "Clip") -> "Clip":
        """The frames from `first` on that a forecast was about, float32, NaN where the recording
        has ended.
        """
        truth = np.full(forecast.frames.shape, np.nan, np.float32)
        known = self.frames[first : first + len(truth), : self.channels]
        truth[: len(known)] = known
        return replace(forecast, frames=truth)


def check_frames(
    frames: Any,
    *,
    channels: int | None = None,
    low: float = 0.0,
    high: float = 1.0,
    missing: bool = False,
    what: str = "frames",
) -> Tensor:
    """The one gate that all frames from outside pass: a float32 tensor of the same shape, or one
    line that says the cure.

    Args:
        frames: numpy array or tensor (T,C,H,W) or (B,T,C,H,W).
        channels: C that the model takes; None accepts any.
        low, high: the range that values must keep (a thousandth of it of rounding is forgiven);
            infinite where any will do.
        missing: whether NaN stands for a missing value; else it is refused.
        what: how the message names the frames.

    Raises:
        ValueError: wrong type, rank, channels or dtype, no frames, infinity, NaN, nothing but NaN,
            values out of range.
    """
    if isinstance(frames, np.ndarray) and frames.dtype.kind in "fiub":
        # A copy, since a memory-mapped file is read-only; in this machine's byte order, which is
        # all that torch knows.
        frames = torch.from_numpy(np.array(frames, frames.dtype.newbyteorder("=")))
    if not isinstance(frames, Tensor):
        is_array = isinstance(frames, np.ndarray)
        kind = f"dtype {frames.dtype}" if is_array else f"a {type(frames).__name__}"
        raise ValueError(f"{what}: {kind} where a float32 array (T,C,H,W) is needed")
    if frames.ndim not in (4, 5):
        raise ValueError(
            f"{what}: shape {tuple(frames.shape)} has {frames.ndim} axes; give (T,C,H,W), or "
            "(B,T,C,H,W) for several clips"
        )
    if frames.numel() == 0:
        raise ValueError(
            f"{what}: shape {tuple(frames.shape)} holds nothing; give at least one frame"
        )
    if channels is not None and frames.shape[-3] != channels:
        raise ValueError(
            f"{what}: {frames.shape[-3]} channels in shape {tuple(frames.shape)}, but the model "
            f"takes {channels}; axes are (T,C,H,W)"
        )
    if frames.dtype == torch.bool or frames.is_complex():
        raise ValueError(
            f"{what}: dtype {frames.dtype} is not supported; give float32 in [{low:g}, {high:g}]"
        )
    if not frames.is_floating_point() and (low, high) == (0.0, 1.0):
        raise ValueError(
            f"{what}: dtype {frames.dtype}, but float32 in [0, 1] is needed; for 8-bit pictures "
            "divide by 255"
        )
    frames = frames.float()
    if not missing or frames.isinf().any():
        least, most = (v.item() for v in frames.aminmax())
        if not (np.isfinite(least) and np.isfinite(most)):
            bad = int((~frames.isfinite()).sum())
            raise ValueError(
                f"{what}: {bad} of {frames.numel()} values are NaN or infinite; fill or drop those "
                "frames first"
            )
    else:
        known = ~frames.isnan()  # whose values alone, frames[known], would take many times as much
        least, most = frames.where(known, torch.inf).min(), frames.where(known, -torch.inf).max()
        least, most = least.item(), most.item()
        if least > most:
            raise ValueError(f"{what}: every value is missing; give frames that hold something")
    slack = 1e-3 * (high - low)
    if least < low - slack or most > high + slack:
        raise ValueError(
            f"{what}: values run from {least:.4g} to {most:.4g}, outside [{low:g}, {high:g}]; "
            "scale them to that range first"
        )
    return frames


def format_step(step: Any) -> str:
    """A time step in words: "5 min", "1 h", "30 d"."""
    if isinstance(step, int | float):
        return f"{step:.4g} s"
    exact = isinstance(step, np.timedelta64)
    seconds = step / np.timedelta64(1, "s") if exact else step.total_seconds()
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.4g} {name}"
    return f"{seconds:.4g} s"
