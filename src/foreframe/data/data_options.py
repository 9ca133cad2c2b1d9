"""Which data, and how recordings are read and split: every option, without torch or numpy.

The command line describes itself from these classes, so they must load at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from foreframe.base.extras import of_package, registered
from foreframe.base.schema import LONG, check_at_least, check_types, check_words, optional

if TYPE_CHECKING:
    from foreframe.clips.clip import Window

BUDGET = 1.0  # GiB
GENERATED = "moving_mnist"  # the name of data that need no choices


@dataclass(frozen=True)
class ReadOptions:
    """How recordings are read: applied to frames on demand, a few at a time.

    Args:
        variable: name of the array or variable in a file with several; several names become
            channels (grids). Where there are inputs, this is what is forecast.
        inputs: channels that are read but not forecast: variables of a grid, hour_of_day or
            day_of_year.
        known: inputs with a known future, such as another model's forecast
        select: value for each other dimension of a grid, e.g. {level: 500}.
        missing: the integer that marks missing values; "auto" takes the largest of the type if the
            same pixels of a gridded field hold it in every frame; None takes none.
        colour: conversion of pictures; grey is BT.601 luma.
        crop: (top, left, H, W) in pixels of the source, applied first.
        size: (H, W) to resize to.
        coarsen: instead of a size, average blocks of this many rows and columns to a pixel; a rest
            at the bottom and right is dropped.
        every: take every n-th frame.
        cuts: split a film or a series of pictures at changes of the scene.
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
    crop: Sequence[int] | None = None
    size: Sequence[int] | None = None
    coarsen: int = 1
    every: int = 1
    cuts: bool = False
    strict: bool = False
    budget: float = BUDGET
    inputs: Sequence[str] = ()
    known: Sequence[str] = ()

    def __post_init__(self) -> None:
        _as_tuples(self)
        if self.variable is not None and not self.variable:
            raise ValueError("variable is a name or a list of names, and not empty")
        if unseen := [name for name in self.known if name not in self.inputs]:
            raise ValueError(f"known names {unseen[0]}, which is none of the inputs")
        if self.inputs and self.colour != "as_is":
            raise ValueError("inputs go with gridded fields, not with a colour of pictures")
        if not all(map(_is_place, self.select.values())):
            raise ValueError(
                "select is a number or a name for each dimension, such as {level: 500}, not "
                f"{self.select!r}"
            )
        for name, count, sides in (("crop", 4, "top, left, H, W"), ("size", 2, "H, W")):
            given = getattr(self, name)
            if given is None:
                continue
            in_frame = len(given) == count and 0 <= min(given) <= max(given) < LONG
            if not in_frame or min(given[-2:]) < 1:
                raise ValueError(f"{name} is {sides} in whole pixels, not {given!r}")
        if self.size and self.coarsen != 1:
            raise ValueError("give size or coarsen, not both")
        check_at_least(1, coarsen=self.coarsen, every=self.every)
        if not self.budget > 0:
            raise ValueError(f"budget is a number of GiB, more than 0, not {self.budget!r}")

    def changed(self, given: Mapping[str, Any]) -> "ReadOptions":
        """With other values of these fields.

        Raises:
            ValueError: a name that is no field, with the nearest; what `ReadOptions` raises.
        """
        return replace(self, **check_types(ReadOptions, given, "reading"))


@dataclass(frozen=True)
class SplitOptions:
    """How recordings are divided into train, validation and test, and into windows.

    Args:
        by: "recording": whole recordings, the first train, the last test; "time": each recording is
            cut in time, and one too short to give each split a window is used for training; "auto":
            by recording for at least ten recordings, or if none is long enough to cut. A folder
            with subfolders `train` and `test` (and `validation`) is divided already; without one
            for validation, the training recordings are divided between both.
        shares: shares of train, validation and test.
        gap: frames left out between two splits of a recording; None takes the window's future.
        tile: side of the square tiles that big frames are cut into; 0 leaves frames whole.
        active: least share of a window's past values above 5 % of the scaled range; excludes dry
            tiles of a radar.
        augment: mirror training clips: "flips": left to right, half of the time; "turns": mirror
            and rotate by quarter turns, for square tiles; both also shift training tiles. Winds
            from left to right, known by their names, change their sign in a mirror.
        seed: seed of augmentation.

    Raises:
        ValueError: invalid values.
    """

    by: Literal["auto", "recording", "time"] = "auto"
    shares: Sequence[float] = (0.8, 0.1, 0.1)
    gap: int | None = None
    tile: int = 0
    active: float = 0.0
    augment: Literal["none", "flips", "turns"] = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        _as_tuples(self)
        shares = self.shares
        if len(shares) != 3 or min(shares) < 0 or not 0.999 < sum(shares) < 1.001:
            raise ValueError(
                "shares are three numbers, of train, validation and test, that add up to 1, not "
                f"{shares!r}"
            )
        check_at_least(0, gap=self.gap, tile=self.tile, seed=self.seed)
        if not 0 <= self.active < 1:
            raise ValueError(f"active lies in [0,1), not {self.active!r}")


@dataclass(frozen=True)
class SourceOptions:
    """Input

    Args:
        data: moving_mnist, a file or folder (films, pictures, .npy, NetCDF, Zarr), the name
            of a published dataset (such as kth), or the import path of a Dataset
        data_args: arguments of moving_mnist or of a Dataset, e.g. --data_args.motion svg
        scaling: scaling of values, e.g. standard, or --scaling.kind log; by default fitted
    """

    data: Any = GENERATED  # a name on the command line; in Python also what is in memory
    data_args: dict = field(default_factory=dict)
    scaling: str | dict | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_words(data=self.data)


@dataclass(frozen=True)
class WindowOptions:
    """Windows, reading and splits of recordings

    Args:
        past: number of past frames of a clip
        future: number of future frames of a clip
        stride: frames between the starts of two windows of a recording
        reading: how recordings are read
        splits: how recordings are split into train, validation and test
    """

    past: int = 10
    future: int = 10
    stride: int = 1
    reading: ReadOptions = field(default_factory=ReadOptions)
    splits: SplitOptions = field(default_factory=SplitOptions)

    def __post_init__(self) -> None:
        check_at_least(1, past=self.past, future=self.future, stride=self.stride)

    @property
    def window(self) -> "Window":
        from foreframe.clips.clip import Window  # which loads torch

        return Window(self.past, self.future, self.stride)


@dataclass(frozen=True)
class ClipOptions(WindowOptions, SourceOptions):
    """Clips"""

    def __post_init__(self) -> None:
        SourceOptions.__post_init__(self)
        super().__post_init__()

    def of_recordings(self) -> list[str]:
        """Names of the options of `reading`, `splits` and `scaling` that differ from their
        defaults.
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

    batch_size: int = 12
    loader_workers: int = 0
    train_clips: int = 0
    validation_clips: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, batch_size=self.batch_size, validation_clips=self.validation_clips)
        check_at_least(0, train_clips=self.train_clips)
        if not 0 <= self.loader_workers <= 256:  # processes
            raise ValueError(
                f"loader_workers must be 0 or more, and 256 at most, not {self.loader_workers}"
            )


def protocol_of(data: Any) -> Mapping[str, Any]:
    """The options with which papers use a dataset that is registered by this name; none of other
    data.
    """
    named = isinstance(data, str) and data != GENERATED and data in registered("datasets")
    return getattr(of_package("datasets", data), "protocol", {}) if named else {}


def as_published(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `DataOptions` as a user gives them, the others by the protocol of `data`."""
    protocol = protocol_of(given.get("data"))
    reading = {**protocol.get("reading", {}), **(given.get("reading") or {})}
    return {**protocol, **given, **({"reading": reading} if reading else {})}


def not_usual(options: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults."""
    usual = asdict(type(options)())
    return {name: value for name, value in asdict(options).items() if value != usual[name]}


# Some fields of a group, in place of those of training: the help shows no defaults.
ReadingAsTrained = Annotated[dict[str, Any] | None, ReadOptions]
ClipsAsTrained = optional(ClipOptions)


def _as_tuples(options: Any) -> None:
    """Turn lists into tuples, so that options from a file equal those of a call."""
    for name, value in vars(options).items():
        if isinstance(value, list):
            object.__setattr__(options, name, tuple(value))


def _is_place(value: Any) -> bool:
    """Whether a value may name a place along a dimension: a number, a name or a date."""
    if isinstance(value, int | float):
        return not isinstance(value, bool) and abs(value) < math.inf
    return isinstance(value, str) or type(value).__module__ == "numpy"
