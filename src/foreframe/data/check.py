"""What lies in recordings, before anybody trains on them: one pass, bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foreframe.clips.clip import Clip, Window, format_step
from foreframe.clips.data_options import ReadOptions, SplitOptions
from foreframe.clips.scaling import Moments
from foreframe.data.cuts import find_cuts
from foreframe.data.header_limits import frames_at_once
from foreframe.data.readers import gaps_in, in_parts
from foreframe.data.splits import (
    SPLITS,
    lacking,
    raw_by_folder,
    split_clips,
    split_lines,
)
from foreframe.data.windows import CHUNK

THUMBNAILS = 30
MANY = 10  # recordings up to which each is described; of more, those that stand out
LINES = 40  # of recordings that stand out


# What may stand out of frames, and what it means.
MARKS = {
    "gap": "in time, before the frame",
    "empty": "every value is missing",
    "black": "nothing to see",
    "flat": "one value alone",
    "frozen": "the same as the frame before",
    "cut": "a new scene begins",
    "broken": "cannot be decoded",
}


@dataclass
class Checked:
    """A recording and what a pass over it says; frames are numbered from 0.

    Attributes:
        clip: the recording, as it would be read if nothing split it.
        folder: that decides its split (see `split_clips`).
        parts: what gaps, and changes of the scene with `cuts`, make of it.
        marked: frames that stand out, by the names of MARKS: the first after a gap in time, those
            in which everything is missing, that are black (0 everywhere, or of a picture of 8 bits
            at most 16), that have another value alone, that equal the frame before in every pixel,
            the first of a new scene (pictures only), and those that could not be decoded.
        moments: count, range, mean and deviation of the values that are known.
        missing: share of values that are missing.
        always: share of pixels that are missing in every frame: land, or what the radar does not
            reach.
        shown: thumbnails, (k,C,H,W), of the frames numbered in `shown_at`.
    """

    clip: Clip
    folder: str
    parts: list[Clip]
    marked: dict[str, list[int]]
    moments: Moments = field(default_factory=Moments)
    missing: float = 0.0
    always: float = 0.0
    shown: list[np.ndarray] = field(default_factory=list)
    shown_at: list[int] = field(default_factory=list)

    def flags(self) -> dict[int, str]:
        """What stands out, by frame."""
        names = ("frozen", "black", "flat", "empty", "cut", "gap", "broken")
        return {k: name for name in names for k in self.marked[name]}


def check_recordings(source: Any, options: ReadOptions) -> list[Checked]:
    """Look through every recording in `source`.

    Raises:
        ValueError: as `foreframe.clips_from`, and when no recording holds a value that is not
            missing.
    """
    recordings = [
        _check(clip, folder, options)
        for folder, clips in raw_by_folder(source, options).items()
        for clip in clips
    ]
    if not any(checked.moments.count for checked in recordings):
        what = "every value of every recording" if len(recordings) > 1 else "every value"
        raise ValueError(f"{recordings[0].clip.name}: {what} is missing")
    return recordings


def _check(raw: Clip, folder: str, options: ReadOptions) -> Checked:
    # First, since it refuses what is too big to look at.
    (whole,) = in_parts(raw, [], options)
    clip = whole.without_inputs()
    found = {"gap": gaps_in(raw), "cut": find_cuts(raw.frames) if raw.pictures else []}
    parts = in_parts(raw, sorted({*found["gap"], *(found["cut"] if options.cuts else ())}), options)
    marked: dict[str, list[int]] = {name: [] for name in MARKS}
    for name, firsts in found.items():  # the first frame that is taken from there on
        starts = {-(-k // options.every) for k in firsts}
        marked[name] = sorted(k for k in starts if k < len(clip))
    checked = Checked(clip, folder, parts, marked)
    n = len(clip)
    beside_cuts = {k for cut in marked["cut"][:6] for k in (cut - 1, cut)}
    spread = {int(k) for k in np.linspace(0, n - 1, min(n, THUMBNAILS)).round()}
    checked.shown_at = sorted(spread | beside_cuts)
    absent, before = 0, None
    ever = np.zeros(clip.frames.shape[1:], bool)
    dark = 16 if raw.pictures and clip.frames.dtype == np.uint8 else 0
    few = frames_at_once(clip.frames.shape, CHUNK, options.budget)
    for start in range(0, n, few):
        frames = clip.frames.read(start, min(start + few, n))
        checked.moments = checked.moments.plus(frames)
        known = np.isfinite(frames)
        absent += int(known.size - known.sum())
        ever |= known.any(axis=0)
        here = range(start, start + len(frames))
        checked.shown += [frames[k - start] for k in checked.shown_at if k in here]
        for k, frame in enumerate(frames, start):
            if not known[k - start].any():
                marked["empty"].append(k)
                continue
            least, most = np.nanmin(frame), np.nanmax(frame)
            if 0 <= least <= most <= dark:
                marked["black"].append(k)
            elif least == most:
                marked["flat"].append(k)
            equal_nan = frame.dtype.kind == "f"
            if before is not None and np.array_equal(frame, before, equal_nan=equal_nan):
                marked["frozen"].append(k)
            before = frame
    checked.missing, checked.always = absent / np.prod(clip.frames.shape), float(1 - ever.mean())
    marked["broken"] = sorted(clip.frames.broken)
    return checked


def describe_splits(
    recordings: Sequence[Checked], splits: SplitOptions, window: Window
) -> list[str]:
    """How many windows a split gives each of train, validation and test; tiles and what windows
    hold are not looked at.
    """
    by_folder: dict[str, list[list[Clip]]] = {}
    for checked in recordings:
        by_folder.setdefault(checked.folder, []).append(checked.parts)
    clips = split_clips(by_folder, splits, window)
    fitting = {
        split: sum(max(0, (len(part) - window.length) // window.stride + 1) for part in parts)
        for split, parts in clips.items()
    }
    lines = [
        f"split     windows of {window.past} past and {window.future} future frames, no frame in "
        "two splits:"
    ]
    lines += ["          " + line for line in split_lines(clips, fitting)]
    for split in SPLITS[:2]:
        if not fitting[split]:
            why = lacking(split, clips[split], splits, window)
            lines.append(
                f"          too short to train on with a recipe: no window in {split}: {why}"
            )
    return lines


def summarise(recordings: Sequence[Checked]) -> list[str]:
    """Each recording in a few lines; of more than MANY, all of them together, and a line for each
    that stands out.
    """
    if len(recordings) <= MANY:
        return [line for checked in recordings for line in describe(checked)]
    clips = [checked.clip for checked in recordings]
    lengths = sorted({len(clip) for clip in clips})
    each = " to ".join(str(n) for n in dict.fromkeys((lengths[0], lengths[-1])))
    kinds = list(dict.fromkeys(_kind(clip) for clip in clips))
    steps = list(dict.fromkeys(format_step(clip.step) for clip in clips if clip.step is not None))
    rate = f"every {_few(steps, ', ', 4)}" if steps else "none: frames are counted"
    lines = [
        f"{len(clips)} recordings, {sum(map(len, clips))} frames, {each} each: "
        f"{_few(kinds, '; ', 4)}",
        f"times     {rate}",
        *_values(sum((checked.moments for checked in recordings), Moments()), clips[0].units),
    ]
    sizes = [float(np.prod(clip.frames.shape)) for clip in clips]
    missing = np.average([checked.missing for checked in recordings], weights=sizes)
    if missing:
        lines.append(f"missing   {missing:.1%} of all values")
    shared = set.intersection(*(set(clip.notes) for clip in clips))
    lines += [f"note      {note}" for note in clips[0].notes if note in shared]
    notable = [
        f"          {checked.clip.name}: {what}"
        for checked in recordings
        if (what := _stands_out(checked, shared))
    ]
    lines.append(f"notable   {len(notable)} of {len(recordings)} recordings")
    lines += notable[:LINES]
    if len(notable) > LINES:
        lines.append(f"          and {len(notable) - LINES} more")
    return lines


def _stands_out(checked: Checked, shared: set[str]) -> str:
    """What stands out of a recording, in one line; "" for nothing."""
    marks = [f"{name} {_runs(frames, 4)}" for name, frames in checked.marked.items() if frames]
    return "; ".join([*marks, *(note for note in checked.clip.notes if note not in shared)])


def _kind(clip: Clip) -> str:
    c, h, w = clip.frames.shape[1:]
    colour = {1: "grey" if clip.frames.dtype == np.uint8 else "1 channel"}.get(c, f"{c} channels")
    return f"{h}x{w} (rows x columns), {colour}, {clip.frames.dtype}"


def _values(m: Moments, units: str) -> list[str]:
    if not m.count:
        return []
    ends = f"{m.lowest:.4g} to {m.highest:.4g} {units}".rstrip()
    return [f"values    {ends}, mean {m.mean:.4g}, standard deviation {m.deviation:.4g}"]


def describe(checked: Checked) -> list[str]:
    """A line for each thing that is worth knowing."""
    clip = checked.clip
    lines = [f"{clip.name}: {len(clip)} frames of {_kind(clip)}"]
    step = clip.step
    if clip.times is None or step is None:
        lines.append("times     none: frames are counted")
    elif clip.times.dtype.kind == "f":
        steps = np.diff(clip.times)
        rate = f"{1 / step:.4g} frames a second" if 0 < step < 1 else f"every {format_step(step)}"
        varying = steps.max() > 1.5 * step or steps.min() < 0.5 * step
        length = clip.times[-1] - clip.times[0] + step
        lines.append(f"times     {length:.2f} s, {rate}{', VARYING' if varying else ''}")
    else:
        first, last = _stamp(clip.times[0]), _stamp(clip.times[-1])
        lines.append(f"times     {first} to {last}, every {format_step(step)}")
    places = {name: place.values for name, place in clip.coordinates.items() if place.dims}
    ends = [f"{name} {v.flat[0]:.6g} to {v.flat[-1]:.6g}" for name, v in places.items()]
    if ends:
        lines.append(f"place     {', '.join(ends)}")
    lines += _values(checked.moments, clip.units)
    if checked.missing:
        always = f"; {checked.always:.1%} of the pixels in every frame" if checked.always else ""
        lines.append(f"missing   {checked.missing:.1%} of all values{always}")
    for name, frames in checked.marked.items():
        if frames:
            what = f"{len(frames)} ({MARKS[name]}): {_runs(frames, 12)}"
            if name == "cut" and len(checked.parts) == 1:
                what += "; windows look across (reading.cuts true splits there)"
            lines.append(f"{name:<10}{what}")
    return lines + [f"note      {note}" for note in clip.notes]


def _stamp(time: Any) -> str:
    return str(time.astype("datetime64[m]")) if isinstance(time, np.datetime64) else str(time)


def _few(words: Sequence[str], separator: str, most: int) -> str:
    return separator.join(words if len(words) <= most else [*words[:most], "..."])


def _runs(frames: Sequence[int], most: int) -> str:
    """ "17, 202-204, ...": at most so many runs."""
    runs: list[list[int]] = []
    for k in frames:
        if runs and k == runs[-1][1] + 1:
            runs[-1][1] = k
        else:
            runs.append([k, k])
    return _few([str(a) if a == b else f"{a}-{b}" for a, b in runs], ", ", most)
