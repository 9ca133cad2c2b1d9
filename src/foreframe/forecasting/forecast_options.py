"""Options of forecasts: the flags and the arguments of calls derive from these fields. Loads no
torch, so that `--help` is fast.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, Literal, TypeVar, get_args

from foreframe.base.extras import registered
from foreframe.base.schema import (
    Checked,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    check_types,
)
from foreframe.data.data_options import ReadingAsTrained, not_usual

Kind = TypeVar("Kind")

NONE = "none"  # the core's match: the plain forecast
Precision = Literal["32-true", "bf16-mixed", "auto"]  # number format of a network's products
EXACT, HALF, AUTO = get_args(Precision)
ONNX = "onnx"  # the core's format of an export


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Checked):
    """Compute

    Args:
        device: cpu, cuda or mps; auto uses cuda if available
        compile: compile recurrent cells; auto does so if it saves time
    """

    device: str = "auto"
    compile: bool | Literal["auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class ComputeOptions(Checked):
    """Compute

    Args:
        precision: bf16-mixed computes products in bfloat16, which rounds to three digits and is
            often faster; auto uses it if the processor supports it
        budget: memory limit in GiB
    """

    precision: Precision = "32-true"
    budget: PositiveFloat = 1.0


@dataclass(frozen=True, kw_only=True)
class MemberOptions(ComputeOptions):
    """Ensemble

    Args:
        members: number of members; pictures and films show their mean and three of them, a .png
            also their spread
        seed: seed of the members
    """

    members: PositiveInt | None = None
    seed: NonNegativeInt = 0


@dataclass(frozen=True)
class ForecastOptions(MemberOptions):
    """Forecast

    Args:
        match: none is the plain forecast; installed packages add matches: last and guide replace
            its values, by rank, by values of the last frame or the model's guide, so that heavy
            rain does not fade; layers moves objects of films in front of the background, so that
            they keep their shape; by default the forecaster's choice (radar: guide, scenes: layers)
        budget: memory limit of a forecast in GiB

    Raises:
        ValueError: a value out of its range.
    """

    match: str | None = None
    budget: PositiveFloat = 4.0

    def check(self) -> None:
        check_match(self.match or NONE)


@dataclass(frozen=True)
class TiledOptions(ForecastOptions):
    """Compute

    Args:
        tile: side of square tiles, which limit memory and are blended where they overlap; 0 =
            whole frames; by default tiles only for frames much larger than in training
        overlap: overlap of neighbouring tiles in pixels; by default a quarter of a tile

    Raises:
        ValueError: a value out of its range.
    """

    tile: NonNegativeInt | None = None
    overlap: int | None = None


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Checked):
    """Input and output

    Args:
        reading: read options that differ from training, e.g. --reading.size [96,128]
    """

    reading: ReadingAsTrained = None


@dataclass(frozen=True, kw_only=True)
class WaitOptions(Checked):
    """Live input

    Args:
        wait: seconds without a new frame after which a growing folder counts as finished, inf for
            never
    """

    wait: NonNegativeFloat | Literal["inf"] | None = None


@dataclass(frozen=True, kw_only=True)
class RecordingOptions(DeviceOptions, ReadingOptions):
    """Forecast

    Args:
        steps: number of frames to forecast; 0 = as in training
    """

    steps: NonNegativeInt = 0


@dataclass(frozen=True)
class RollingOptions(TiledOptions, RecordingOptions):
    """Forecast

    Args:
        past: number of past frames to use; 0 = as in training
        every: forecast again after every N frames, and score each forecast by the frames that
            followed; 0 = one forecast
    """

    past: NonNegativeInt = 0
    every: NonNegativeInt = 0


@dataclass(frozen=True)
class PredictOptions(RollingOptions):
    """Input and output

    Args:
        after: number of the last input frame, from 0; by default the last of the recording
        recording: number of the recording, counted from 0, if the input holds several
        grid: source writes the forecast on the input's grid if that is finer than the model's; each
            value is repeated for the block of pixels that it is the mean of
        colours: auto, grey, radar, temperature or a matplotlib colormap
        fps: frame rate of a film; by default a quarter of the input's but at least 5, and with
            every the input's

    Raises:
        ValueError: a value out of its range, or options that exclude each other.
    """

    after: int | None = None
    recording: int | None = None
    grid: Literal["model", "source"] = "model"
    colours: str = "auto"
    fps: PositiveFloat | None = None

    def check(self) -> None:
        super().check()
        if self.every and self.after is not None:
            raise ValueError("give after or every, not both")
        if self.grid == "source" and (self.every or "size" in (self.reading or {})):
            raise ValueError("grid source excludes every and reading.size")


@dataclass(frozen=True)
class StreamOptions(ForecastOptions, RecordingOptions, WaitOptions):
    """Live input

    Args:
        every: forecast after every N frames; each frame updates the state
        state: file of the state: resumed from if it exists, saved every few seconds, at the end and
            when stopped, with the position in INPUT
        wait: seconds without a new frame after which a growing input counts as finished, inf for
            never; by default 5, and three steps of a series that is less than an hour old

    Raises:
        ValueError: a value out of its range.
    """

    every: PositiveInt = 1
    state: str | None = None


def matches() -> list[str]:
    """Return the names of installed matches."""
    return [*sorted(registered("matches")), NONE]


def check_match(*names: str) -> None:
    """Raise a ValueError for the first unknown match."""
    for name in names:
        if name not in matches():
            raise ValueError(f"match {name!r} is unknown; choose {', '.join(matches())}")


def changed(options: Kind, changes: Mapping[str, Any]) -> Kind:
    """Return options with other values of the named fields.

    Raises:
        ValueError: an unknown name, with the closest one; a value of another type or out of its
            range.
    """
    if not changes:
        return options
    values = {name: plain_option(name, value) for name, value in changes.items()}
    return replace(options, **check_types(type(options), values, ""))  # type: ignore[type-var]


def plain_option(name: str, value: Any) -> Any:
    """Return the value of an option as a YAML file has it; data in memory are unchanged."""
    return value if name == "data" and not isinstance(value, os.PathLike) else plain(value)


def plain(value: Any) -> Any:
    """Return a value of a call as a YAML file has it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Checked):
        value = not_usual(value)
    elif is_dataclass(value) and not isinstance(value, type):  # a Scaling
        value = asdict(value)
    if hasattr(value, "tolist"):  # of numpy
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class ExportOptions(Checked):
    """Output

    Args:
        format: onnx, or a format of an installed package; page, of the add-on serve: a folder for
            any static host, whose page forecasts in the browser.
        size: (H, W) of frames, for a model that depends on it; by default as in training.
        channels: of frames, for a model that accepts any number.
        noise: also export the steps of a member, which have noise as an input; a page contains them
            if the model draws members.
        steps: also export a whole forecast of this many frames in one file.

    Raises:
        ValueError: a value out of its range; an unknown format; steps with another than onnx.
    """

    format: str = ONNX
    size: tuple[PositiveInt, PositiveInt] | None = None
    channels: PositiveInt = 1
    noise: bool = False
    steps: PositiveInt | None = None

    def check(self) -> None:
        formats = (ONNX,) if self.format == ONNX else (ONNX, *registered("formats"))
        if self.format not in formats:
            raise ValueError(f"format {self.format!r} is unknown; choose {', '.join(formats)}")
        if self.steps and self.format != ONNX:
            raise ValueError("--steps, a forecast in one file, requires the format onnx")
