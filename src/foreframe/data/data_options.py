"""Options of data: source, reading and splits. The command line derives its flags and help from
these classes, so this module loads neither torch nor numpy.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from foreframe.base.extras import of_package, registered
from foreframe.base.schema import (
    Checked,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Range,
    check_types,
    merged,
    optional,
)

if TYPE_CHECKING:
    from foreframe.clips.clip import Window

BUDGET = 1.0  # GiB
GENERATED = "moving_mnist"  # data for which the default recipe chooses nothing


@dataclass(frozen=True)
class ReadOptions(Checked):
    """How recordings are read: applied to frames on demand, a few at a time.

    Args:
        variable: name of the array or variable in a file with several; several names become
            channels (grids). With inputs, these variables are forecast.
        inputs: channels that are read but not forecast: variables of a grid, hour_of_day or
            day_of_year.
        known: inputs with a known future, such as another model's forecast
        select: value for each other dimension of a grid, e.g. {level: 500}.
        missing: the integer that marks missing values; "auto" uses the largest of the type if the
            same pixels of a gridded field have it in every frame; None marks no values.
        colour: conversion of pictures; grey is BT.601 luma.
        crop: (top, left, H, W) in pixels of the source, applied first.
        size: (H, W) to resize to.
        coarsen: average blocks of this many rows and columns, instead of a size; incomplete blocks
            at the bottom and right are dropped.
        every: use every n-th frame.
        cuts: split a film or a series of pictures at scene changes.
        strict: stop at damaged frames and truncated files; otherwise such frames are missing and
            unreadable files of a folder are skipped.
        budget: GiB of memory for opening a file or reading frames.

    Raises:
        ValueError: invalid values, and options that exclude each other.
    """

    variable: str | Sequence[str] | None = None
    select: Mapping[str, Any] = field(default_factory=dict)
    missing: float | Literal["auto"] | None = "auto"
    colour: Literal["as_is", "grey", "rgb"] = "as_is"
    crop: Sequence[NonNegativeInt] | None = None
    size: Sequence[PositiveInt] | None = None
    coarsen: PositiveInt = 1
    every: PositiveInt = 1
    cuts: bool = False
    strict: bool = False
    budget: PositiveFloat = BUDGET
    inputs: Sequence[str] = ()
    known: Sequence[str] = ()

    def check(self) -> None:
        _as_tuples(self)
        if self.variable is not None and not self.variable:
            raise ValueError("variable is a name or a list of names, and not empty")
        if unread := [name for name in self.known if name not in self.inputs]:
            raise ValueError(f"known names {unread[0]}, which is not among the inputs")
        if self.inputs and self.colour != "as_is":
            raise ValueError("inputs are for gridded fields; leave out colour, or the inputs")
        if not all(map(_is_coordinate, self.select.values())):
            raise ValueError(
                "select is a number or a name for each dimension, such as {level: 500}, not "
                f"{self.select!r}"
            )
        for name, count, sides in (("crop", 4, "top, left, H, W"), ("size", 2, "H, W")):
            numbers = getattr(self, name)
            if numbers is not None and (len(numbers) != count or min(numbers[-2:]) < 1):
                raise ValueError(f"{name} is {sides} in whole pixels, not {numbers!r}")
        if self.size and self.coarsen != 1:
            raise ValueError("give size or coarsen, not both")

    def changed(self, given: Mapping[str, Any]) -> "ReadOptions":
        """Return these options with other values of the named fields.

        Raises:
            ValueError: an unknown name, with the closest one; errors of `ReadOptions`.
        """
        return replace(self, **check_types(ReadOptions, given, "reading"))


@dataclass(frozen=True)
class SplitOptions(Checked):
    """How recordings are divided into train, validation and test, and into windows.

    Args:
        by: "recording": whole recordings, the first train, the last test; "time": each recording is
            cut in time, and a recording too short to give each split a window is used for training;
            "auto": by recording for at least ten recordings, or if none is long enough to cut. A
            folder with subfolders `train` and `test` (and `validation`) is divided already; without
            `validation`, the training recordings are divided between both.
        shares: shares of train, validation and test.
        tile: side of the square tiles that big frames are cut into; 0 leaves frames whole.
        active: smallest share of a window's past values above 5 % of the scaled range; excludes dry
            tiles of a radar.
        augment: mirror training clips: "flips": left to right, half of the time; "turns": mirror
            and rotate by quarter turns, for square tiles; both also shift training tiles. Winds
            from left to right, recognised by their names, change their sign in a mirror.
        seed: seed of augmentation.

    Raises:
        ValueError: invalid values.
    """

    by: Literal["auto", "recording", "time"] = "auto"
    shares: Sequence[NonNegativeFloat] = (0.8, 0.1, 0.1)
    tile: NonNegativeInt = 0
    active: Annotated[float, Range(least=0, below=1)] = 0.0
    augment: Literal["none", "flips", "turns"] = "none"
    seed: NonNegativeInt = 0

    def check(self) -> None:
        _as_tuples(self)
        if len(self.shares) != 3 or not 0.999 < sum(self.shares) < 1.001:
            raise ValueError(
                "shares are three numbers, of train, validation and test, that add up to 1, not "
                f"{self.shares!r}"
            )


@dataclass(frozen=True)
class SourceOptions(Checked):
    """Data

    Args:
        data: moving_mnist, a file or folder (films, pictures, .npy, NetCDF, Zarr), the name
            of a published dataset (such as kth), or the import path of a Dataset
        data_args: arguments of moving_mnist or of a Dataset, e.g. --data_args.motion svg
        scaling: scaling of values, e.g. standard, or --scaling.kind log; by default fitted
    """

    data: Any = GENERATED  # a name on the command line; in Python also data in memory
    data_args: dict = field(default_factory=dict)
    scaling: str | dict | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class WindowOptions(Checked):
    """Clips

    Args:
        past: number of past frames of a clip
        future: number of future frames of a clip
        stride: frames between the starts of two windows of a recording
        reading: how recordings are read
        splits: how recordings are split into train, validation and test
    """

    past: PositiveInt = 10
    future: PositiveInt = 10
    stride: PositiveInt = 1
    reading: ReadOptions = field(default_factory=ReadOptions)
    splits: SplitOptions = field(default_factory=SplitOptions)

    @property
    def window(self) -> "Window":
        from foreframe.clips.clip import Window  # which loads torch

        return Window(self.past, self.future, self.stride)


@dataclass(frozen=True)
class ClipOptions(WindowOptions, SourceOptions):
    """Data"""

    def of_recordings(self) -> list[str]:
        """Return the names of the options of `reading`, `splits` and `scaling` that differ from
        their defaults.
        """
        groups = {"reading": self.reading, "splits": self.splits}
        names = [f"{name}.{of}" for name, group in groups.items() for of in not_usual(group)]
        return names + ["scaling"] * (self.scaling is not None)


@dataclass(frozen=True)
class DataOptions(ClipOptions):
    """Data

    Args:
        batch_size: clips per step and process
        loader_workers: number of processes that load clips
        train_clips: clips of an epoch, evenly spread and always the same; 0 = all
        validation_clips: clips of the validation split to score after each epoch
    """

    batch_size: PositiveInt = 12
    loader_workers: Annotated[int, Range(least=0, most=256)] = 0
    train_clips: NonNegativeInt = 0
    validation_clips: PositiveInt = 200


def protocol_of(data: Any) -> Mapping[str, Any]:
    """Return the options with which papers use a dataset registered by this name; {} for others."""
    named = isinstance(data, str) and data != GENERATED and data in registered("datasets")
    return getattr(of_package("datasets", data), "protocol", {}) if named else {}


def as_published(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user's fields of `DataOptions`, completed by the protocol of `data`."""
    protocol = protocol_of(given.get("data"))
    reading = merged(protocol.get("reading", {}), given.get("reading") or {})
    return {**protocol, **given, **({"reading": reading} if reading else {})}


def not_usual(options: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults."""
    usual = asdict(type(options)())
    return {name: value for name, value in asdict(options).items() if value != usual[name]}


# Options with the training's values by default; the help shows no defaults.
ReadingAsTrained = Annotated[dict[str, Any] | None, ReadOptions]
ClipsAsTrained = optional(ClipOptions)


def _as_tuples(options: Any) -> None:
    """Turn lists into tuples, so that options of files and of calls are equal."""
    for name, value in vars(options).items():
        if isinstance(value, list):
            object.__setattr__(options, name, tuple(value))


def _is_coordinate(value: Any) -> bool:
    """Return whether a value may be a coordinate of a dimension: a number, a name or a date."""
    if isinstance(value, int | float):
        return not isinstance(value, bool) and abs(value) < math.inf
    return isinstance(value, str) or type(value).__module__ == "numpy"
