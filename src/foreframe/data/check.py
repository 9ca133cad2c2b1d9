"""Examination of recordings before training, in bounded memory."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any

import numpy as np

from foreframe.base.progress import Progress, silent
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, Window, format_step
from foreframe.clips.frames import Frames
from foreframe.clips.scaling import Moments, Scaling
from foreframe.data.cuts import find_cuts
from foreframe.data.data_options import BUDGET, ReadOptions, SplitOptions, WindowOptions
from foreframe.data.decoding import stretches_of
from foreframe.data.readers import gaps_in, in_parts, moving_parts
from foreframe.data.splits import SPLITS, lacking, noted, raw_by_folder, split_clips, split_lines
from foreframe.data.windows import fit_scaling, windows_in

LINES = 10  # most recordings in a list
RUNS = 12  # most runs of marked frames in a line, as "17, 202-204"

# Kinds of marked frames, and their meaning.
MARKS = {
    "frozen": "equal to the one before",
    "flat": "of one value",
    "empty": "without any value",
    "cut": "after a change of scene (reading.cuts true splits there)",
    "gap": "after a gap in time",
    "broken": "that cannot be decoded",
}


@dataclass
class Checked:
    """A recording and the result of examining it; frames are numbered from 0.

    Attributes:
        clip: the recording before it is split.
        folder: folder that decides its split (see `split_clips`).
        parts: its parts between gaps, and between scene changes with `cuts`.
        marked: frames by the names of MARKS: the first frame after a gap in time; frames with only
            missing values; frames with one value; frames that equal the frame before in every
            pixel; the first frame of a new scene (pictures only); frames that cannot be decoded.
        moments: count, range, mean and deviation of the known values.
    """

    clip: Clip
    folder: str
    parts: list[Clip]
    marked: dict[str, list[int]]
    moments: Moments = field(default_factory=Moments)


@dataclass(frozen=True, eq=False)
class DataCheck:
    """Result of `check`, which prints its lines.

    Args:
        recordings: each with its missing, damaged and repeated frames.
        lines: the same in words, and the split of the recordings.
    """

    recordings: Sequence[Checked]
    lines: Sequence[str]

    def __repr__(self) -> str:
        return "\n".join(self.lines)


class _Counted(Frames):
    """Frames that report the number of frames of each read."""

    def __init__(self, source: Frames, report: Callable[[int], None]) -> None:
        self.source, self.report, self.chunk = source, report, source.chunk
        self.shape, self.dtype = source.shape, source.dtype

    def read(self, first: int, last: int) -> np.ndarray:
        frames = self.source.read(first, last)
        self.report(last - first)
        return frames


def check_data(
    source: Any,
    options: WindowOptions,
    progress: Progress = silent,
) -> DataCheck:
    """Examine every recording in `source`.

    Args:
        source: recordings, as in `foreframe.clips_from`.
        options: how the recordings are read and split.
        progress: called with the number of frames read and about how many will be; frames count
            once for each pass over them.

    Raises:
        ValueError: errors of `check_recordings`.
    """
    recordings = check_recordings(source, options.reading, progress)
    lines = describe_splits(recordings, options.splits, options.window, options.reading.budget)
    return DataCheck(recordings, [*summarise(recordings), *lines])


def check_recordings(
    source: Any, options: ReadOptions, progress: Progress = silent
) -> list[Checked]:
    """Examine every recording in `source`, as in `check_data`.

    Raises:
        ValueError: errors of `foreframe.clips_from`; every value is missing.
    """
    by_folder, done = raw_by_folder(source, options), 0
    # Scene changes, frozen frames and values; or values, and windows with known values.
    total = sum(len(clip) * (3 if clip.pictures else 2) for clip in chain(*by_folder.values()))

    def report(frames: int) -> None:
        nonlocal done
        done += frames
        progress(min(done, total), total)

    report(0)
    recordings = [
        _check(replace(clip, frames=_Counted(clip.frames, report)), folder, options)
        for folder, clips in by_folder.items()
        for clip in clips
    ]
    if not any(checked.moments.count for checked in recordings):
        raise ValueError(f"{recordings[0].clip.name}: every value is missing")
    return recordings


def _check(raw: Clip, folder: str, options: ReadOptions) -> Checked:
    # This comes first, as it raises an error for frames over the budget.
    (whole,) = in_parts(raw, options, [])
    clip = whole.without_inputs()
    found = {"gap": gaps_in(raw), "cut": find_cuts(raw.frames) if raw.pictures else []}
    starts = sorted({*found["gap"], *found["cut"] * options.cuts})
    parts = moving_parts(in_parts(raw, options, starts))
    n, marked = len(clip), dict[str, list[int]]((name, []) for name in MARKS)
    for name, firsts in found.items():  # the next frame with `every`
        marked[name] = sorted({-(-k // options.every) for k in firsts} & {*range(n)})
    checked = Checked(clip, folder, parts, marked)
    before, floats = None, clip.frames.dtype.kind == "f"
    numbers = count()
    for frames in stretches_of(clip, options.budget):
        checked.moments = checked.moments.plus(frames)
        for frame, k in zip(frames, numbers, strict=False):
            if not np.isfinite(frame).any():
                marked["empty"].append(k)
                continue
            if np.nanmin(frame) == np.nanmax(frame):
                marked["flat"].append(k)
            if before is not None and np.array_equal(frame, before, equal_nan=floats):
                marked["frozen"].append(k)
            before = frame
    marked["broken"] = sorted(clip.frames.broken)
    return checked


def describe_splits(
    recordings: Sequence[Checked], splits: SplitOptions, window: Window, budget: float = BUDGET
) -> list[str]:
    """Count the windows of train, validation and test for a training with these options."""
    by_folder: dict[str, list[list[Clip]]] = {}
    for checked in recordings:
        by_folder.setdefault(checked.folder, []).append(checked.parts)
    clips = split_clips(by_folder, splits, window)
    parts = [part for checked in recordings for part in checked.parts]
    scaling = Scaling()
    if splits.active:
        scaling = fit_scaling(parts[0].name, parts, clips["train"] or parts, None, budget)
    windows = {
        split: sum(1 for _ in windows_in(clips[split], split, window, splits, scaling, budget))
        for split in SPLITS
    }
    lines = [
        f"split     windows of {window.past} past and {window.future} future frames, no frame in "
        "two splits; without --config, training chooses its own:"
    ]
    lines += ["          " + line for line in split_lines(clips, windows)]
    for split in SPLITS[:2]:
        if not windows[split]:
            why = lacking(clips[split], window)
            lines.append(f"          too short for --config: no window in {split}: {why}")
    return lines


def summarise(recordings: Sequence[Checked]) -> list[str]:
    """Describe each recording in a line, and the values and marked frames of all."""
    clips = [checked.clip for checked in recordings]
    lines = [f"{clip.name}: {len(clip)} frames of {_kind(clip)}; {_times(clip)}" for clip in clips]
    if len(clips) > 1:
        total = f"{len(clips)} recordings, {sum(map(len, clips))} frames"
        lines = [*_few(lines), total]
    places = {name: place.values for name, place in clips[0].coordinates.items() if place.dims}
    ends = [f"{name} {v.flat[0]:.6g} to {v.flat[-1]:.6g}" for name, v in places.items()]
    if ends:
        lines.append(f"place     {', '.join(ends)}")
    m = sum((checked.moments for checked in recordings), Moments())
    ends_of_values = f"{m.lowest:.4g} to {m.highest:.4g} {clips[0].units}".rstrip()
    lines.append(
        f"values    {ends_of_values}, mean {m.mean:.4g}, standard deviation {m.deviation:.4g}"
    )
    missing = 1 - m.count / sum(math.prod(clip.frames.shape) for clip in clips)
    if missing:
        lines.append(f"missing   {missing:.1%} of all values")
    for name, meaning in MARKS.items():
        marked = [(c.clip.name, c.marked[name]) for c in recordings if c.marked[name]]
        frames = plural(sum(len(frames) for _, frames in marked), "frame")
        head = f"{name:<10}{frames} {meaning}:"
        if len(recordings) == 1:
            lines += [f"{head} {_runs(frames)}" for _, frames in marked]
        elif marked:
            lines += [head, *_few([f"          {who}: {_runs(frames)}" for who, frames in marked])]
    return [*lines, *noted([part for checked in recordings for part in checked.parts])]


def _few(lines: list[str]) -> list[str]:
    if len(lines) <= LINES:
        return lines
    return [*lines[:LINES], f"          and {len(lines) - LINES} more"]


def _kind(clip: Clip) -> str:
    c, h, w = clip.frames.shape[1:]
    grey = c == 1 and clip.frames.dtype == np.uint8
    colour = "grey" if grey else plural(c, "channel")
    return f"{h}x{w} (rows x columns), {colour}, {clip.frames.dtype}"


def _times(clip: Clip) -> str:
    times, step = clip.times, clip.step
    if times is None:
        return "no times"
    if step is None:
        return "no times" if times.dtype.kind == "f" else f"{_stamp(times[0])}"
    every = f"every {format_step(step)}"
    if times.dtype.kind != "f":
        return f"{_stamp(times[0])} to {_stamp(times[-1])}, {every}"
    rate = f"{1 / step:.4g} frames a second" if 0 < step < 1 else every
    return f"{times[-1] - times[0] + step:.2f} s, {rate}"


def _stamp(time: Any) -> str:
    return str(time.astype("datetime64[m]")) if isinstance(time, np.datetime64) else str(time)


def _runs(frames: Sequence[int]) -> str:
    """Return runs of frames as "17, 202-204, ..."."""
    runs: list[list[int]] = []
    for k in frames:
        if runs and k == runs[-1][1] + 1:
            runs[-1][1] = k
        else:
            runs.append([k, k])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in runs[:RUNS]]
    return ", ".join([*words, "..."] if len(runs) > RUNS else words)
