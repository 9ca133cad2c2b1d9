"""Choices of the default recipe from a description of recordings: sizes, windows, shares. Each has
its reason and the option that sets it. This file opens no data.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

SHORT, AREA = 96, 128 * 128  # largest short side, and area, of pictures in pixels
MULTIPLE = 8  # pictures have multiples of this
LARGE = 192  # short side of a grid beyond which its values are averaged
MOST_FRAMES = 4000  # frames of a recording beyond which windows start at every n-th frame
FILM = (10, 8, 6, 4, 3, 2)  # past and future frames: the longest that leaves enough windows
MIN_TRAIN_SHARE = 0.45  # smallest share of frames for training

Path = tuple[str, ...]
Parts = Sequence[Sequence[int]]
Shares = tuple[float, float, float]


@dataclass(frozen=True)
class Recording:
    """A description of recordings before they are read.

    Args:
        name: their name in messages.
        parts: frames of each recording, in the parts between gaps, in order.
        channels, height, width: size of a frame as it would be read.
        pictures: whether frames are pictures, rather than values of a grid.
        colour: whether their channels differ.
        hours: hours between frames with dates; None without dates.
        monthly: whether a frame is a month's.
        divided: whether folders define the splits.
        scenes: frames of each recording, in the parts between scene changes; empty if no scene
            changes, or if none was searched for.
    """

    name: str
    parts: Parts
    channels: int = 1
    height: int = 64
    width: int = 64
    pictures: bool = True
    colour: bool = False
    hours: float | None = None
    monthly: bool = False
    divided: bool = False
    scenes: Parts = ()

    @property
    def period(self) -> int | None:
        """Frames of a day, or of a year if frames are monthly; None if there is no such period of
        2 to 48 frames.
        """
        if self.monthly:
            return 12
        frames = 24 / self.hours if self.hours else 0.0
        whole = math.isclose(frames, round(frames), rel_tol=1e-3)
        return round(frames) if whole and 2 <= frames <= 48 else None


@dataclass(frozen=True)
class Choice:
    """A value for an option, and the line to print; "" if it is the usual value."""

    path: Path
    value: Any
    line: str = ""


# Some of a film may stand still, be cut or fade: cuts would dominate a mean squared
# error, and they are unpredictable.
FILMS = (
    Choice(("splits", "augment"), "flips", "to train on, also mirrored (--splits.augment)"),
    Choice(
        ("loss",), "geometric", "clips of little and of much error count alike (--loss geometric)"
    ),
)


def choices(recording: Recording, given: Mapping[str, Any]) -> list[Choice]:
    """Return the options chosen for a recording, without those that the user has set.

    Args:
        given: the user's options, by name, in their groups.

    Raises:
        ValueError: too few frames to train on.
    """
    chosen = *_frames(recording, given), *_windows(recording, given)
    films = FILMS if recording.pictures else ()
    return [choice for choice in (*chosen, *films) if not is_given(given, choice.path)]


def is_given(given: Any, path: Path) -> bool:
    """Whether the user has set this option."""
    if not path:
        return True
    return isinstance(given, Mapping) and path[0] in given and is_given(given[path[0]], path[1:])


def _frames(recording: Recording, given: Mapping[str, Any]) -> Iterator[Choice]:
    """Choose size and colour."""
    h, w = recording.height, recording.width
    sized = {"size", "coarsen", "tile"} & {*given.get("reading", {}), *given.get("splits", {})}
    if not sized and recording.pictures and (size := working_size(h, w)) != (h, w):
        line = f"size {size[0]}x{size[1]} of {h}x{w} (--reading.size)"
        yield Choice(("reading", "size"), list(size), line)
    elif not sized and not recording.pictures and min(h, w) > LARGE:
        n = -(-min(h, w) // (LARGE * 2 // 3))
        line = f"{n}x{n} values become one, {h // n}x{w // n} of {h}x{w} (--reading.coarsen)"
        yield Choice(("reading", "coarsen"), n, line)
    if recording.pictures and recording.channels > 1:
        colour = "rgb" if recording.colour else "grey"
        if (colour, recording.channels) != ("rgb", 3):
            yield Choice(("reading", "colour"), colour, f"colour {colour} (--reading.colour)")


def working_size(h: int, w: int) -> tuple[int, int]:
    """Return rows and columns of pictures to train on, never more than there are. Reduced pictures
    have multiples of 8, and their shape as closely as the longer side allows.
    """
    scale = min(1.0, SHORT / min(h, w), math.sqrt(AREA / (h * w)))
    if scale == 1:
        return h, w
    shorter, longer = sorted((h, w))
    short = min(shorter, max(MULTIPLE, MULTIPLE * round(scale * shorter / MULTIPLE)))
    long = min(longer, max(MULTIPLE, MULTIPLE * round(short * longer / shorter / MULTIPLE)))
    return (short, long) if h <= w else (long, short)


def _windows(recording: Recording, given: Mapping[str, Any]) -> Iterator[Choice]:
    """Choose past, future, shares, stride, and whether windows may span scene changes."""
    past, future, shares = window_and_shares(recording, given)
    split, parts = {*given.get("splits", {})}, recording.parts
    if recording.scenes and not {"shares", "by", "gap"} & split:
        n = sum(map(len, recording.scenes))
        within = _longest_window(recording, recording.scenes, given)
        cuts = within is not None and 2 * within[1] >= future
        line = f"windows look across scenes, as these are short: {n} (--reading.cuts)"
        if within is not None and cuts:
            (past, future, shares), parts = within, recording.scenes
            line = f"{n} scenes, as pictures change: no window looks across (--reading.cuts)"
        yield Choice(("reading", "cuts"), cuts, line)
    why = ""
    if recording.period and past >= recording.period:
        why = ", " + ("a year" if recording.monthly else "a day")
    elif (past, future) != (FILM[0], FILM[0]):
        why = f", as the longest part has {max(map(max, parts))} frames"
    yield Choice(("past",), past, f"{past} frames in, {future} out{why} (--past, --future)")
    yield Choice(("future",), future)
    if shares is not None and not {"by", "gap"} & split:
        each = " ".join(f"{100 * share:.0f} %" for share in shares)
        line = f"{each} to train, validate and test on (--splits.shares)"
        yield Choice(("splits", "shares"), list(shares), line)
    length = max(map(sum, recording.parts))
    if length > MOST_FRAMES:
        stride = round(length / MOST_FRAMES) + 1
        line = f"a window every {stride} frames of {length:,} (--stride)"
        yield Choice(("stride",), stride, line)


def window_and_shares(
    recording: Recording, given: Mapping[str, Any]
) -> tuple[int, int, Shares | None]:
    """Return past and future of the longest window that leaves enough to train on, and the shares
    of the splits; None for the usual shares.

    Raises:
        ValueError: too few frames for any window.
    """
    found = _longest_window(recording, recording.parts, given)
    if found is not None:
        return found
    past, future = given.get("past"), given.get("future")
    chosen = {"shares", "by", "gap"} & {*given.get("splits", {})}
    if chosen or (past and future and len(recording.parts) > 1):
        return past or FILM[-1], future or FILM[-1], None  # `Recordings` checks these
    past, future = past or FILM[-1], future or FILM[-1]
    fewest = int((2 * (past + more_windows(future)) + 3 * future) / (1 - MIN_TRAIN_SHARE))
    least = next(n for n in count(fewest) if shares_for([n], past, future))
    raise ValueError(
        f"{recording.name}: {max(map(max, recording.parts))} frames are too few to learn from; the "
        f"fewest are {least}, for windows of {past} frames in and {future} out"
    )


def _longest_window(
    recording: Recording, recordings: Parts, given: Mapping[str, Any]
) -> tuple[int, int, Shares | None] | None:
    """Return the same for recordings in these parts; None if no window fits."""
    in_order = sorted(recordings, key=max)
    longest, middle = in_order[-1], max(in_order[len(in_order) // 2])
    whole = recording.divided or len(recordings) >= 10
    for past, future in _candidates(recording.period):
        past, future = given.get("past") or past, given.get("future") or future
        if whole and past + future + more_windows(future) <= middle:
            return past, future, None
        if not whole and (shares := shares_for(longest, past, future)):
            return past, future, shares if shares != (0.8, 0.1, 0.1) else None
    return None


def _candidates(period: int | None) -> Iterator[tuple[int, int]]:
    """Yield past and future frames, the longest first."""
    if period is not None and period >= 4:
        yield from ((period, -(-period // n)) for n in (1, 2, 4))
    within = FILM if period is None or period <= FILM[-1] else [n for n in FILM if n < period]
    yield from ((n, n) for n in within)


def more_windows(future: int) -> int:
    """Return the number of windows of a split beyond its first."""
    return max(2, future // 2)


def shares_for(parts: Sequence[int], past: int, future: int) -> Shares | None:
    """Return shares of train, validation and test for a recording in parts of these lengths, in
    order. The last two get some windows, and the first most frames; None if that is impossible.
    """
    n, least, length = sum(parts), 1 + more_windows(future), past + future
    shares: list[float] = []
    end, taken = n, 0
    for left_out in (0, future):  # before the test split
        frames = frames_for(parts, end, left_out, length, least)
        if frames is None or taken + frames > (1 - MIN_TRAIN_SHARE) * n:
            return None
        taken += frames
        # A little more than needed, against rounding.
        shares.insert(0, max(0.1, math.ceil(1000 * (frames + 0.5) / n) / 1000))
        end = round(n * (1 - sum(shares)))
    if frames_for(parts, end, future, length, least) is None:
        return None
    return round(1 - sum(shares), 3), shares[0], shares[1]


def frames_for(
    parts: Sequence[int], end: int, left_out: int, length: int, least: int
) -> int | None:
    """Return the number of frames before `end` that hold `least` windows of this length, each
    within a part and without the last `left_out` frames; None if all frames hold fewer.
    """
    begin, lacking = sum(parts), least
    for part in reversed(parts):
        begin -= part
        last = min(begin + part, end - left_out)
        windows = max(0, last - begin - length + 1)
        if windows >= lacking:
            return end - last + length + lacking - 1
        lacking -= windows
    return None
