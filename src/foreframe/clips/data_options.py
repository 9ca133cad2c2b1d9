"""How recordings are read and split: every option, without torch or numpy.

The command line describes itself from these two classes, so they must load at once.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Annotated, Any, Literal, get_args

from foreframe.base.typed import brief, typed

BUDGET = 1.0  # GiB

Match = Literal["last", "guide", "none"]  # whose values a forecast takes, rank by rank
LAST, GUIDE, NONE = get_args(Match)


@dataclass(frozen=True)
class ReadOptions:
    """How recordings are read: done to a few frames at a time, when they are asked for.

    Args:
        variable: which array or variable of a file that has several; several names become channels
            (grids).
        targets: the same as variable, where there are inputs too.
        inputs: what is seen and not forecast: variables of a grid, hour_of_day or day_of_year.
        known: those of the inputs that change with time and whose future the file tells, such as
            another model's forecast.
        select: value of each further dimension of a grid, e.g. {level: 500}.
        missing: the number that stands for no data in whole numbers; "auto" takes the largest of
            the type where the same pixels of a gridded field hold it in every frame; None takes
            none.
        colour: what pictures are turned into; grey is BT.601 luma.
        crop: (top, left, H, W) in pixels of the source, before anything else.
        size: (H, W) to resize to.
        coarsen: instead of a size, the mean of so many rows by so many columns becomes one pixel; a
            rest at the bottom and right is left out.
        every: take every n-th frame.
        cuts: split a film or a series of pictures where the scene changes.
        strict: refuse damaged frames and files cut short; else such frames are marked, and
            unreadable files of a folder left out.
        budget: GiB of memory that opening, or reading frames once, may take; what would take more
            is refused before it is read.

    Raises:
        ValueError: for values that mean nothing, and choices that do not fit each other.
    """

    variable: str | Sequence[str] | None = None
    select: Mapping[str, Any] = field(default_factory=dict)
    missing: float | str | None = "auto"
    colour: Literal["as_is", "grey", "rgb"] = "as_is"
    crop: Sequence[int] | None = None
    size: Sequence[int] | None = None
    coarsen: int = 1
    every: int = 1
    cuts: bool = False
    strict: bool = False
    budget: float = BUDGET
    targets: str | Sequence[str] | None = None
    inputs: Sequence[str] = ()
    known: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.targets is not None:
            if self.variable not in (None, self.targets):
                raise ValueError("give variable or targets, not both: they mean the same")
            object.__setattr__(self, "variable", self.targets)
        names = [self.variable or "any"] if isinstance(self.variable, str | None) else self.variable
        if not _are_names(names) or not names:
            raise ValueError(f"variable is a name or a list of names, not {self.variable!r}")
        for name in ("inputs", "known"):
            given = getattr(self, name)
            if not _are_names(given):
                raise ValueError(f"{name} is a list of names, not {given!r}")
        if unseen := [name for name in self.known if name not in self.inputs]:
            raise ValueError(f"known names {unseen[0]}, which is none of the inputs")
        if self.inputs and self.colour != "as_is":
            raise ValueError("inputs go with gridded fields, not with a colour of pictures")
        if not isinstance(self.select, Mapping) or not all(map(_is_place, self.select.values())):
            raise ValueError(
                f"select is a number or a name for each dimension, such as {{level: 500}}, not "
                f"{self.select!r}"
            )
        if self.colour not in ("as_is", "grey", "rgb"):
            raise ValueError(f"colour {self.colour!r} is unknown; choose as_is, grey or rgb")
        for name, count, sides in (("crop", 4, "top, left, H, W"), ("size", 2, "H, W")):
            given = getattr(self, name)
            whole = isinstance(given, list | tuple) and all(is_whole(n) for n in given)
            fits = whole and len(given) == count and min(given) >= 0 and min(given[-2:]) > 0
            if given is not None and not fits:
                raise ValueError(f"{name} is {sides} in whole pixels, not {given!r}")
        if self.size and self.coarsen != 1:
            raise ValueError("give size or coarsen, not both")
        counts: dict[str, int] = {"coarsen": self.coarsen, "every": self.every}
        for name, number in counts.items():
            if not is_whole(number) or number < 1:
                raise ValueError(f"{name} is a whole number and at least 1, not {number!r}")
        for name in ("cuts", "strict"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is true or false, not {getattr(self, name)!r}")
        if self.missing != "auto" and self.missing is not None and not is_number(self.missing):
            raise ValueError(
                f"missing is a number, auto or null, not {self.missing!r}; NaN is missing in any "
                "case"
            )
        if not (is_number(self.budget) and self.budget > 0):
            raise ValueError(f"budget is a number of GiB, more than 0, not {self.budget!r}")


@dataclass(frozen=True)
class SplitOptions:
    """How recordings become train, validation and test, and windows of each.

    Args:
        by: what is shared out; "recording": whole recordings, the first ones train, the last ones
            test; "time": each recording is cut in time, but one that is too short to give each
            split a window is trained on whole; "auto": by recording where there are at least ten,
            or where none is long enough to be cut. A folder that holds folders `train` and `test`
            (and `validation`) has decided already; without one for validation, the training
            recordings are shared between both.
        shares: of train, validation and test.
        gap: frames left out between two splits of one recording; None takes the window's future.
        tile: side of the square tiles that big frames are cut into; 0 leaves frames whole.
        active: least share of a window's past values that lie above 5 % of the scaled range; dry
            tiles of a radar teach little.
        augment: training clips are also shown mirrored; "flips": left to right, half of the time;
            "turns": mirrored and turned by quarters, for square tiles; both also move a training
            tile about its place.
        seed: of augmentation.

    Raises:
        ValueError: for values that mean nothing.
    """

    by: Literal["auto", "recording", "time"] = "auto"
    shares: Sequence[float] = (0.8, 0.1, 0.1)
    gap: int | None = None
    tile: int = 0
    active: float = 0.0
    augment: Literal["none", "flips", "turns"] = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in ("auto", "recording", "time"):
            raise ValueError(f"by {self.by!r} is unknown; choose auto, recording or time")
        listed = isinstance(self.shares, list | tuple) and all(map(is_number, self.shares))
        shares = self.shares if listed else ()
        if len(shares) != 3 or min(shares) < 0 or not 0.999 < sum(shares) < 1.001:
            raise ValueError(
                "shares are three numbers, of train, validation and test, that add up to 1, not "
                f"{self.shares!r}"
            )
        if self.augment not in ("none", "flips", "turns"):
            raise ValueError(f"augment {self.augment!r} is unknown; choose none, flips or turns")
        for name in ("gap", "tile", "seed"):
            value = getattr(self, name)
            if not (is_whole(value) and value >= 0) and not (name == "gap" and value is None):
                raise ValueError(f"{name} is a whole number and at least 0, not {value!r}")
        if not is_number(self.active) or not 0 <= self.active < 1:
            raise ValueError(f"active lies in [0,1), not {self.active!r}")


# Groups of options, of which those that were given are kept.
Reading = Annotated[dict[str, Any] | None, ReadOptions]
Splits = Annotated[dict[str, Any] | None, SplitOptions]
# Of verbs that read or split as in training where nothing is given: the help shows no defaults.
ReadingAsTrained = Annotated[dict[str, Any] | None, ReadOptions, "as trained"]
SplitsAsTrained = Annotated[dict[str, Any] | None, SplitOptions, "as trained"]

GROUPS = {"reading": ReadOptions, "splits": SplitOptions}


def as_data_args(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options`, those of reading and splits and the scaling among the arguments of the data.

    Recordings take all of them as arguments of one name each, as a Dataset takes its own. So
    `reading: {size: [96,128]}` and `data_args: {size: [96,128]}` are the same.

    Raises:
        ValueError: a name that is no field of its group, or a value that the field cannot have; an
            option under both of its names.
    """
    rest = {name: value for name, value in options.items() if name not in (*GROUPS, "scaling")}
    own = rest.get("data_args") or {}
    if not isinstance(own, Mapping):
        raise ValueError(f"data_args holds names and values, not {brief(own)}")
    inner: dict[str, Any] = {}
    for group, kind in GROUPS.items():
        if group in options:
            typed(kind, options[group], group)
            for name, value in options[group].items():
                _check_once(f"{group}.{name}", name, own)
                inner[name] = value
    if "scaling" in options:
        _check_once("scaling", "scaling", own)
        inner["scaling"] = options["scaling"]
    return rest | {"data_args": {**own, **inner}} if inner else rest


def _check_once(today: str, name: str, data_args: Mapping[str, Any]) -> None:
    if name in data_args:
        raise ValueError(f"{today} and data_args.{name} are one option: give {today} alone")


DRAWN = ("moving_mnist",)  # data that foreframe generates itself


def check_drawn(data: Any, told: Iterable[Sequence[str]]) -> None:
    """Refuse options of recordings for data that foreframe draws itself.

    Args:
        data: its name, or what is in memory.
        told: the names that lead to each option.

    Raises:
        ValueError: the first of them.
    """
    if not isinstance(data, str) or data not in DRAWN:
        return
    done = {"reading": "read", "splits": "split"}
    for path in told:
        if path[0] in done:
            raise ValueError(
                f"{data} is drawn, not {done[path[0]]}: --{'.'.join(path)} does nothing"
            )


def check_at_least(least: float, **options: float | None) -> None:
    """Refuse options below `least`, naming the first; None is left alone."""
    for name, value in options.items():
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


def check_scoring(
    clips: int | Literal["all"] | None,
    past: int | None,
    future: int | None,
    batch_size: int,
    split: str | None,
    pasts: Any = None,
) -> None:
    """Refuse options of scoring, before anything heavy is loaded.

    Raises:
        ValueError: the first that has a value that it cannot have.
    """
    check_at_least(1, clips=None if clips == "all" else clips, past=past, future=future)
    if not 1 <= batch_size <= 4096:
        raise ValueError(f"batch_size must be 1 to 4096, not {batch_size}")
    if split not in (None, "train", "validation", "test", "all"):
        raise ValueError(f"split {split!r} is unknown; choose train, validation, test or all")
    if pasts is not None and not str(pasts).lower().endswith(".npy"):
        raise ValueError(f"pasts {pasts}: frames for another program are written as .npy")


def check_match(*match: str | None) -> None:
    """Refuse a name that is none of `Match`; None leaves it to the forecaster.

    Raises:
        ValueError: with the choices.
    """
    for name in match:
        if name not in (None, LAST, GUIDE, NONE):
            raise ValueError(f"match {name!r} is unknown; choose {LAST}, {GUIDE} or {NONE}")


def read_options(options: Mapping[str, Any]) -> ReadOptions:
    """Options by name.

    Raises:
        ValueError: a name that is no field, with the nearest that is; what `ReadOptions` raises.
    """
    return typed(ReadOptions, options, "reading")


def is_whole(value: Any) -> bool:
    """Whether an option is a whole number that counts things or pixels; true and false are none."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and -(2**31) < int(value) < 2**31


def is_number(value: Any) -> bool:
    """Whether an option is a finite number; true and false are none."""
    number: Any = value  # whole ones of any size, which numpy does not take
    return isinstance(value, Real) and not isinstance(value, bool) and bool(abs(number) < math.inf)


def _are_names(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(name, str) for name in values)


def _is_place(value: Any) -> bool:
    """Whether a value may name a place along a dimension: a number, a name or a date."""
    return is_number(value) or isinstance(value, str) or type(value).__module__ == "numpy"
