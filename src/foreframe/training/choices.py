"""What the default recipe chooses from what a recording is: sizes, windows, shares, each with its
reason and the option that sets it. Nothing is opened here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHORT, AREA = 96, 128 * 128  # pixels of a picture's short side, and of all of it
SIDES = 8  # pictures have multiples of this
LARGE = 192  # a grid's short side beyond which several of its values become one
MOST_FRAMES = 4000  # of a recording; beyond, windows begin at every n-th frame
FILM = (10, 8, 6, 4, 3, 2)  # frames in, and as many out: the longest that leaves enough windows
LEFT = 0.45  # of the frames must be left to train on

Path = tuple[str, ...]


@dataclass(frozen=True)
class Recording:
    """What is known of recordings before they are read.

    Args:
        name: of them, for messages.
        lengths: frames of each, without the gaps in it.
        channels, height, width: of a frame, as it would be read.
        pictures: whether frames are pictures, not values of a grid.
        colour: whether their channels differ.
        hours: from frame to frame of those with dates; None where there are none.
        monthly: whether a frame is a month's.
        divided: whether folders say already which recordings belong to which split.
    """

    name: str
    lengths: Sequence[int]
    channels: int = 1
    height: int = 64
    width: int = 64
    pictures: bool = True
    colour: bool = False
    hours: float | None = None
    monthly: bool = False
    divided: bool = False

    @property
    def period(self) -> int | None:
        """Frames of a day, or of a year where a frame is a month's; None where that says nothing,
        or is longer than anybody looks back.
        """
        if self.monthly:
            return 12
        if not self.hours:
            return None
        frames = 24 / self.hours
        whole = math.isclose(frames, round(frames), rel_tol=1e-3)
        return round(frames) if whole and 2 <= frames <= 48 else None


@dataclass(frozen=True)
class Choice:
    """A value for an option, and the line that says so; "" where that is no news."""

    path: Path
    value: Any
    line: str = ""


def choices(recording: Recording, told: Mapping[str, Any]) -> list[Choice]:
    """What is chosen for a recording, where nobody has told it.

    Args:
        told: options that were given, by name, those of recordings among `data_args`.

    Raises:
        ValueError: too few frames to train on.
    """
    chosen = [
        *_frames(recording, told.get("data_args") or {}),
        *_windows(recording, told),
        *_learning(recording),
    ]
    return [choice for choice in chosen if not _is_told(told, choice.path)]


def _is_told(told: Any, path: Path) -> bool:
    for name in path:
        if not isinstance(told, Mapping) or name not in told:
            return False
        told = told[name]
    return True


def _frames(recording: Recording, args: Mapping[str, Any]) -> list[Choice]:
    """Size and colour."""
    h, w = recording.height, recording.width
    chosen = []
    if not {"size", "coarsen", "tile"} & set(args):
        if recording.pictures and (size := working_size(h, w)) != (h, w):
            line = f"size {size[0]}x{size[1]} of {h}x{w} (--reading.size)"
            chosen.append(Choice(("data_args", "size"), list(size), line))
        elif not recording.pictures and min(h, w) > LARGE:
            n = -(-min(h, w) // (LARGE * 2 // 3))
            line = f"{n}x{n} values become one, {h // n}x{w // n} of {h}x{w} (--reading.coarsen)"
            chosen.append(Choice(("data_args", "coarsen"), n, line))
    if recording.pictures and recording.channels > 1:
        colour = "rgb" if recording.colour else "grey"
        why = "" if recording.colour else ", as its channels are alike"
        if (colour, recording.channels) != ("rgb", 3):
            line = f"colour {colour}{why} (--reading.colour)"
            chosen.append(Choice(("data_args", "colour"), colour, line))
    return chosen


def working_size(h: int, w: int) -> tuple[int, int]:
    """Rows and columns of pictures to train on: never more than there are, of about their shape;
    multiples of 8 where they become fewer.
    """
    scale = min(1.0, SHORT / min(h, w), math.sqrt(AREA / (h * w)))
    if scale == 1:
        return h, w
    rows, columns = (max(SIDES, SIDES * round(side * scale / SIDES)) for side in (h, w))
    return min(rows, h), min(columns, w)


def _windows(recording: Recording, told: Mapping[str, Any]) -> list[Choice]:
    """Past, future, shares and stride."""
    past, future, shares = window_and_shares(recording, told)
    args, length = told.get("data_args") or {}, max(recording.lengths)
    why = ""
    if recording.period and past >= recording.period:
        why = ", " + ("a year" if recording.monthly else "a day")
    elif (past, future) != (FILM[0], FILM[0]):
        why = f", as there are {length} frames"
    line = f"{past} frames in, {future} out{why} (--past, --future)"
    chosen = [Choice(("past",), past, line), Choice(("future",), future)]
    if shares is not None and not {"by", "gap"} & set(args):
        parts = " ".join(f"{100 * share:.0f} %" for share in shares)
        line = f"{parts} to train, validate and test on (--splits.shares)"
        chosen.append(Choice(("data_args", "shares"), list(shares), line))
    if length > MOST_FRAMES:
        stride = round(length / MOST_FRAMES) + 1
        line = f"a window every {stride} frames of {length:,} (--stride)"
        chosen.append(Choice(("stride",), stride, line))
    return chosen


def window_and_shares(
    recording: Recording, told: Mapping[str, Any]
) -> tuple[int, int, tuple[float, float, float] | None]:
    """The longest window that leaves enough to train on, and how the frames are shared out where
    the usual shares would not do; None where they do.

    Raises:
        ValueError: no window does.
    """
    lengths = sorted(recording.lengths)
    n, middle = lengths[-1], lengths[len(lengths) // 2]
    asked = told.get("past"), told.get("future")
    whole = recording.divided or len(lengths) >= 10
    for past, future in _candidates(recording.period):
        past, future = asked[0] or past, asked[1] or future
        if whole and past + future + more_windows(future) <= middle:
            return past, future, None
        if not whole and (shares := shares_for(n, past, future)):
            return past, future, shares if shares != (0.8, 0.1, 0.1) else None
    if None not in asked:  # what is wrong with these is told where they are used
        return asked[0] or 1, asked[1] or 1, None
    least = next(n for n in range(1000) if shares_for(n, 2, 2))
    raise ValueError(
        f"{recording.name}: {n} frames are too few to learn from; the fewest are {least}, for "
        f"windows of 2 frames in and 2 out. Record more, or let foreframe evaluate --data "
        f"{recording.name} --split all --past 1 --future 1 say which baseline forecasts it best"
    )


def _candidates(period: int | None) -> list[tuple[int, int]]:
    """Frames in and out, the longest first."""
    same = [(n, n) for n in FILM]
    if period is None:
        return same
    cycles = [(period, period), (period, -(-period // 2)), (period, -(-period // 4))]
    return [pair for pair in cycles if pair[0] >= 4] + [p for p in same if p[0] < period]


def more_windows(future: int) -> int:
    """Windows of a split beyond its first."""
    return max(2, future // 2)


def shares_for(n: int, past: int, future: int) -> tuple[float, float, float] | None:
    """Shares of train, validation and test of n frames in order, where each of the last two has
    some windows, and most is left to the first; None where that cannot be.
    """
    test = past + future + more_windows(future)
    validation = test + future  # which is left out before the test
    if n == 0 or test + validation > (1 - LEFT) * n:
        return None
    # A little more than needed, whatever rounding does.
    parts = [max(0.1, math.ceil(1000 * (part + 0.5) / n) / 1000) for part in (validation, test)]
    return round(1 - sum(parts), 3), parts[0], parts[1]


def _learning(recording: Recording) -> list[Choice]:
    """What films are augmented by, and which of their errors count. Where some of a film is still
    and some of it cut or faded, a mean squared error is about the cuts, which nobody can foresee.
    """
    if not recording.pictures:
        return []
    mirrored = "to train on, also mirrored (--splits.augment)"
    alike = "clips of little and of much error count alike (--loss geometric)"
    return [
        Choice(("data_args", "augment"), "flips", mirrored),
        Choice(("loss",), "geometric", alike),
    ]
