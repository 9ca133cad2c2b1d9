"""Options of forecasts, defined once: flags and Python arguments are views of these fields. Loads
no torch, so that `--help` is fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal, TypeVar, get_args

from foreframe.base.extras import registered
from foreframe.base.schema import check_above_0, check_at_least, check_types
from foreframe.data.data_options import ReadingAsTrained

Kind = TypeVar("Kind")

Match = Literal["last", "guide", "none"]  # source of a forecast's values, rank by rank
LAST, GUIDE, NONE = get_args(Match)
Precision = Literal["32-true", "bf16-mixed", "auto"]  # number format of a network's products
EXACT, HALF, AUTO = get_args(Precision)
ONNX = "onnx"  # the core's format of an export


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Device

    Args:
        device: cpu, cuda or mps; auto uses cuda if available
        compile: compile recurrent cells; auto does so if it saves time
    """

    device: str = "auto"
    compile: bool | Literal["auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """Precision and memory

    Args:
        precision: bf16-mixed computes products in bfloat16, which rounds to three digits and is
            often faster; auto uses it if the processor supports it
        budget: memory limit in GiB
    """

    precision: Precision = "32-true"
    budget: float = 1.0

    def __post_init__(self) -> None:
        check_above_0(budget=self.budget)


@dataclass(frozen=True, kw_only=True)
class MemberOptions(ComputeOptions):
    """Ensemble

    Args:
        members: number of members; pictures and films show their mean and three of them, a .png
            also their spread
        seed: seed of the members
    """

    members: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, members=self.members)
        check_at_least(0, seed=self.seed)


@dataclass(frozen=True)
class ForecastOptions(MemberOptions):
    """Options of every forecast.

    Args:
        match: none is the plain forecast; last and guide replace its values, by rank, by those of
            the last frame or the model's guide, so that heavy rain does not fade; by default the
            forecaster's choice (radar: guide)
        budget: memory limit of a forecast in GiB

    Raises:
        ValueError: a value out of its range.
    """

    match: Match | None = None
    budget: float = 4.0


@dataclass(frozen=True)
class TiledOptions(ForecastOptions):
    """Options of the forecast of a recording.

    Args:
        tile: side of square tiles, which limit memory and are blended where they overlap; 0 =
            whole frames; by default tiles only for frames much larger than in training
        overlap: overlap of neighbouring tiles in pixels; by default a quarter of a tile

    Raises:
        ValueError: a value out of its range.
    """

    tile: int | None = None
    overlap: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, tile=self.tile)


@dataclass(frozen=True, kw_only=True)
class RecordingOptions(DeviceOptions):
    """Forecast

    Args:
        steps: number of frames to forecast; 0 = as in training
        reading: read options that differ from training, e.g. --reading.size [96,128]
    """

    steps: int = 0
    reading: ReadingAsTrained = None

    def __post_init__(self) -> None:
        check_at_least(0, steps=self.steps)


@dataclass(frozen=True)
class PredictOptions(TiledOptions, RecordingOptions):
    """Horizon, past and output of a forecast.

    Args:
        past: number of past frames to use; 0 = as in training
        after: number of the last input frame, from 0; by default the last of the recording
        every: forecast again after every N frames, and score each forecast by the frames that
            followed
        recording: number of the recording, counted from 0, if the input holds several
        colours: auto, grey, radar, temperature or a matplotlib colormap
        fps: frame rate of a film; by default a quarter of the input's but at least 5, and with
            every that of the input

    Raises:
        ValueError: a value out of its range, or options that exclude each other.
    """

    past: int = 0
    after: int | None = None
    every: int = 0
    recording: int | None = None
    colours: str = "auto"
    fps: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        RecordingOptions.__post_init__(self)
        check_at_least(0, past=self.past, every=self.every)
        check_above_0(fps=self.fps)
        if self.every and self.after is not None:
            raise ValueError("give after or every, not both")


@dataclass(frozen=True)
class StreamOptions(ForecastOptions, RecordingOptions):
    """Horizon, interval and state of a live forecast.

    Args:
        every: forecast after every N frames; each frame updates the state
        state: file of the state: resumed from if it exists, saved every few seconds, at the end and
            when stopped, with the position in INPUT
        wait: seconds without a new frame after which what grows counts as finished, inf for never;
            by default 5, and three steps of a series that is not an hour old

    Raises:
        ValueError: a value out of its range.
    """

    every: int = 1
    state: str | None = None
    wait: float | Literal["inf"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        RecordingOptions.__post_init__(self)
        if self.wait is not None and float(self.wait) != inf:
            check_at_least(0, wait=float(self.wait))
        check_at_least(1, every=self.every)


def changed(options: Kind, changes: Mapping[str, Any]) -> Kind:
    """Options, an object of a dataclass, with other values of the fields that are named.

    Raises:
        ValueError: a name that is no field, with the nearest; a value of another type or out of its
            range.
    """
    checked = check_types(type(options), changes, "")
    return replace(options, **checked)  # type: ignore[type-var]


@dataclass(frozen=True)
class ExportOptions:
    """How a forecaster is exported.

    Args:
        format: onnx, or a format of an installed package; page, of the add-on serve: a folder for
            any static host, whose page forecasts in the browser.
        size: (H, W) of frames, for a model that decides by it; by default as trained.
        channels: of frames, for a model that takes any number.
        noise: the steps of a member, which take noise as an input; a page has them beside the
            others wherever the model draws members.
        steps: also a whole forecast of so many frames in one file.

    Raises:
        ValueError: a value out of its range; an unknown format; steps with another than onnx.
    """

    format: str = ONNX
    size: tuple[int, int] | None = None
    channels: int = 1
    noise: bool = False
    steps: int | None = None

    def __post_init__(self) -> None:
        check_at_least(1, channels=self.channels, steps=self.steps)
        formats = (ONNX,) if self.format == ONNX else (ONNX, *registered("formats"))
        if self.format not in formats:
            raise ValueError(f"format {self.format!r} is unknown; choose {', '.join(formats)}")
        if self.steps and self.format != ONNX:
            raise ValueError("only the format onnx has a forecast of --steps frames in one file")
