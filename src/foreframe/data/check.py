"""What lies in recordings, before anybody trains on them: one pass, bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foreframe.clip import Clip, Window, format_step
from foreframe.data.claims import frames_at_once
from foreframe.data.cuts import find_cuts
from foreframe.data.readers import gaps_in, in_parts
from foreframe.data.splits import (
    SPLITS,
    UNDECIDED,
    lacking,
    raw_by_folder,
    split_clips,
    split_lines,
)
from foreframe.data.windows import CHUNK
from foreframe.options import ReadOptions, SplitOptions
from foreframe.scaling import Moments

THUMBNAILS = 30
MANY = 10  # recordings up to which each is described; of more, those that stand out
LINES = 40  # of recordings that stand out


@dataclass
class Found:
    """What a pass over one recording found; frames are numbered from 0.

    Attributes:
        clip: the recording, as it would be read if nothing split it.
        folder: that decides its split (see `split_clips`).
        parts: what gaps, and cuts if asked, make of it.
        moments: count, range, mean and deviation of the values that are there.
        missing: share of values that are missing.
        always: share of pixels that are missing in every frame: land, or what the radar does not
            reach.
        empty: frames in which everything is missing.
        black: frames that are black: 0 everywhere, or of a picture of 8 bits at most 16.
        flat: other frames of one value alone, and that value.
        frozen: frames equal to the one before in every pixel.
        gaps: first frames after a gap in time.
        cuts: first frames of a new scene; pictures only.
        broken: frames that could not be decoded.
        shown: thumbnails, (k,C,H,W), of the frames numbered in `shown_at`.
    """

    clip: Clip
    folder: str = UNDECIDED
    parts: list[Clip] = field(default_factory=list)
    moments: Moments = field(default_factory=Moments)
    missing: float = 0.0
    always: float = 0.0
    empty: list[int] = field(default_factory=list)
    black: list[int] = field(default_factory=list)
    flat: dict[int, float] = field(default_factory=dict)
    frozen: list[int] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    shown: list[np.ndarray] = field(default_factory=list)
    shown_at: list[int] = field(default_factory=list)

    def flags(self) -> dict[int, str]:
        """What stands out, by frame."""
        named = {
            "frozen": self.frozen,
            "black": self.black,
            "flat": list(self.flat),
            "empty": self.empty,
            "cut": self.cuts,
            "gap": self.gaps,
            "broken": self.broken,
        }
        return {k: name for name, frames in named.items() for k in frames}


def check_recordings(source: Any, options: ReadOptions) -> list[Found]:
    """Look through every recording in `source`.

    Raises:
        ValueError: as `foreframe.clips_from`, and when no recording holds a value that is not
            missing.
    """
    found = [
        _looked_through(clip, folder, options)
        for folder, clips in raw_by_folder(source, options).items()
        for clip in clips
    ]
    if not any(one.moments.count for one in found):
        what = "every value of every recording" if len(found) > 1 else "every value"
        raise ValueError(f"{found[0].clip.name}: {what} is missing")
    return found


def _looked_through(raw: Clip, folder: str, options: ReadOptions) -> Found:
    clip = in_parts(raw, [], options)[
        0
    ].without_inputs()  # first, since it refuses what is too big to look at
    gaps, cuts = gaps_in(raw), find_cuts(raw.frames) if raw.pictures else []
    parts = in_parts(raw, sorted({*gaps, *(cuts if options.cuts else ())}), options)
    # The first frame that is taken from there on.
    gaps, cuts = (
        sorted({n for k in frames if (n := -(-k // options.every)) < len(clip)})
        for frames in (gaps, cuts)
    )
    found = Found(clip, folder, parts, gaps=gaps, cuts=cuts)
    n = len(clip)
    beside_cuts = {k for cut in found.cuts[:6] for k in (cut - 1, cut)}
    found.shown_at = sorted(
        {int(k) for k in np.linspace(0, n - 1, min(n, THUMBNAILS)).round()} | beside_cuts
    )
    absent, ever, before = 0, None, None
    dark = 16 if clip.frames.dtype == np.uint8 else None
    few = frames_at_once(clip.frames.shape, CHUNK, options.budget)
    for start in range(0, n, few):
        frames = clip.frames.read(start, min(start + few, n))
        found.moments = found.moments.plus(frames)
        there = np.isfinite(frames) if frames.dtype.kind == "f" else np.ones(frames.shape, bool)
        absent += int(there.size - there.sum())
        seen = there.any(axis=0)
        ever = seen if ever is None else ever | seen
        found.shown += [
            frames[k - start] for k in found.shown_at if start <= k < start + len(frames)
        ]
        for k, frame in enumerate(frames, start):
            if not there[k - start].any():
                found.empty.append(k)
                continue
            least, most = np.nanmin(frame), np.nanmax(frame)
            if (raw.pictures and dark is not None and most <= dark) or least == most == 0:
                found.black.append(k)
            elif least == most:
                found.flat[k] = float(least)
            if before is not None and np.array_equal(
                frame, before, equal_nan=frame.dtype.kind == "f"
            ):
                found.frozen.append(k)
            before = frame
    assert ever is not None
    found.missing, found.always = absent / np.prod(clip.frames.shape), float(1 - ever.mean())
    found.broken = sorted(clip.frames.broken)
    return found


def splits_in_words(found: Sequence[Found], splits: SplitOptions, window: Window) -> list[str]:
    """How many windows a split gives each of train, validation and test; tiles and what windows
    hold are not looked at.
    """
    recordings: dict[str, list[list[Clip]]] = {}
    for one in found:
        recordings.setdefault(one.folder, []).append(one.parts)
    clips = split_clips(recordings, splits, window)
    fitting = {
        split: sum(max(0, (len(clip) - window.length) // window.stride + 1) for clip in some)
        for split, some in clips.items()
    }
    title = (
        f"split     windows of {window.past} past and {window.future} future frames, "
        "no frame in two splits:"
    )
    lines = [title, *("          " + line for line in split_lines(clips, fitting))]
    return lines + [
        f"          too short to train on as it is: no window in {split}: "
        + lacking(split, clips[split], splits, window)
        for split in SPLITS[:2]
        if not fitting[split]
    ]


def all_in_words(found: Sequence[Found]) -> list[str]:
    """Each recording in a few lines; of more than MANY, all of them together, and a line for each
    that stands out.
    """
    if len(found) <= MANY:
        return [line for one in found for line in in_words(one)]
    clips = [one.clip for one in found]
    lengths = sorted({len(clip) for clip in clips})
    each = f"{lengths[0]} to {lengths[-1]} each" if len(lengths) > 1 else f"{lengths[0]} each"
    kinds = list(dict.fromkeys(_kind(clip) for clip in clips))
    lines = [
        f"{len(clips)} recordings, {sum(map(len, clips))} frames, {each}: "
        f"{'; '.join(kinds[:4])}{'; ...' * (len(kinds) > 4)}"
    ]
    steps = list(dict.fromkeys(format_step(clip.step) for clip in clips if clip.step is not None))
    lines.append(
        f"times     every {', '.join(steps[:4])}{', ...' * (len(steps) > 4)}"
        if steps
        else "times     none: frames are counted"
    )
    moments = sum((one.moments for one in found), Moments())
    lines += _values(moments, clips[0].units)
    values = [float(np.prod(clip.frames.shape)) for clip in clips]
    missing = sum(one.missing * n for one, n in zip(found, values, strict=True)) / sum(values)
    if missing:
        lines.append(f"missing   {missing:.1%} of all values")
    shared = set.intersection(*(set(clip.notes) for clip in clips))
    lines += [f"note      {note}" for note in clips[0].notes if note in shared]
    striking = [(one, told) for one in found if (told := _striking(one, shared))]
    lines.append(f"striking  {len(striking)} of {len(found)} recordings{':' * bool(striking)}")
    lines += [f"          {one.clip.name}: {told}" for one, told in striking[:LINES]]
    return lines + [f"          and {len(striking) - LINES} more"] * (len(striking) > LINES)


def _striking(found: Found, shared: set[str]) -> str:
    """What stands out of a recording, in one line; "" for nothing."""
    told = [f"{name} {_numbers(frames, 4)}" for name, frames in _of_note(found) if frames]
    return "; ".join([*told, *(note for note in found.clip.notes if note not in shared)])


def _of_note(found: Found) -> list[tuple[str, list[int]]]:
    flat = f"flat ({_flat_values(found)})"
    return [
        ("gap before frame", found.gaps), ("empty", found.empty), ("black", found.black),
        (flat, list(found.flat)), ("frozen", found.frozen), ("cut at frame", found.cuts),
        ("BROKEN", found.broken),
    ]  # fmt: skip


def _flat_values(found: Found) -> str:
    """The one value of each flat frame, or their range, with its unit."""
    values = sorted(set(found.flat.values()))
    told = " to ".join(
        f"{value:.4g}" for value in (values if len(values) < 3 else (values[0], values[-1]))
    )
    return f"{told} {found.clip.units}".rstrip()


def _kind(clip: Clip) -> str:
    c, h, w = clip.frames.shape[1:]
    colour = {1: "grey" if clip.frames.dtype == np.uint8 else "1 channel"}.get(c, f"{c} channels")
    return f"{h}x{w} (rows x columns), {colour}, {clip.frames.dtype}"


def _values(moments: Moments, units: str) -> list[str]:
    if not moments.count:
        return []
    m, unit = moments, f" {units}" if units else ""
    return [
        f"values    {m.lowest:.4g} to {m.highest:.4g}{unit}, mean {m.mean:.4g}, standard deviation "
        f"{m.deviation:.4g}"
    ]


def in_words(found: Found) -> list[str]:
    """A line for each thing that is worth knowing."""
    clip = found.clip
    lines = [f"{clip.name}: {len(clip)} frames of {_kind(clip)}"]
    step = clip.step
    if step is None:
        lines.append("times     none: frames are counted")
    elif clip.times is not None and clip.times.dtype.kind == "f":
        steps = np.diff(clip.times)
        rate = (
            f"every {format_step(step)}"
            if step >= 1
            else f"{1 / step:.4g} frames a second"
            if step > 0
            else "no rate"
        )
        varying = steps.max() > 1.5 * step or steps.min() < 0.5 * step
        lines.append(
            f"times     {clip.times[-1] - clip.times[0] + step:.2f} s, {rate}"
            + (", VARYING" if varying else "")
        )
    elif clip.times is not None:
        lines.append(
            f"times     {_stamp(clip.times[0])} to {_stamp(clip.times[-1])}, "
            f"every {format_step(step)}"
        )
    where = {name: place.values for name, place in clip.coordinates.items() if place.dims}
    if where:
        lines.append(
            "place     "
            + ", ".join(
                f"{name} {values.flat[0]:.6g} to {values.flat[-1]:.6g}"
                for name, values in where.items()
            )
        )
    lines += _values(found.moments, clip.units)
    if found.missing:
        always = f"; {found.always:.1%} of the pixels in every frame" if found.always else ""
        lines.append(f"missing   {found.missing:.1%} of all values{always}")
    lines.append(
        f"gaps      {_numbered(found.gaps, 'in time, before frame') if found.gaps else 'none'}"
    )
    for name, frames, what in (
        ("empty", found.empty, "everything missing, frame"),
        ("black", found.black, "nothing to see, frame"),
        ("flat", list(found.flat), f"one value alone ({_flat_values(found)}), frame"),
        ("frozen", found.frozen, "the same as the one before, frame"),
        ("cuts", found.cuts, "a new scene at frame"),
        ("BROKEN", found.broken, "cannot be decoded, frame"),
    ):
        if frames:
            lines.append(f"{name:<10}{_numbered(frames, what)}")
    if found.cuts and len(found.parts) == 1:
        lines[-1 - bool(found.broken)] += "; windows look across (reading.cuts true splits there)"
    return lines + [f"note      {note}" for note in clip.notes]


def _stamp(time: Any) -> str:
    return str(time.astype("datetime64[m]")) if isinstance(time, np.datetime64) else str(time)


def _numbered(frames: Sequence[int], what: str) -> str:
    """ "3: a new scene at frames 17, 202, 310"; runs are written 4-9."""
    return f"{len(frames)}: {what}{'s' * (len(frames) > 1)} {_numbers(frames, 12)}"


def _numbers(frames: Sequence[int], most: int) -> str:
    """ "17, 202-204, ...": at most so many runs."""
    runs: list[list[int]] = []
    for k in frames:
        if runs and k == runs[-1][1] + 1:
            runs[-1][1] = k
        else:
            runs.append([k, k])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs[:most]) + (
        ", ..." if len(runs) > most else ""
    )
