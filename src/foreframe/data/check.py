"""What lies in recordings, before anybody trains on them: one pass, bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foreframe.clip import Clip, Window
from foreframe.data.cuts import find_cuts
from foreframe.data.recordings import CHUNK, SPLITS, Dealing, dealt, found_in, split_lines
from foreframe.data.sources import Reading, broken_in, gaps_in, raw_clips, spoken, viewed
from foreframe.scaling import Moments

THUMBNAILS = 30


@dataclass
class Found:
    """What a pass over one recording found; frames are numbered from 0.

    Attributes:
        clip: the recording, as it would be read.
        moments: count, range, mean and deviation of the values that are there.
        missing: share of values that are missing.
        always: share of pixels that are missing in every frame: land, or what the radar does not reach.
        empty: frames in which everything is missing.
        black: frames without anything in them: all pixels alike (of a picture: and dark).
        frozen: frames equal to the one before in every pixel.
        gaps: first frames after a gap in time.
        cuts: first frames of a new scene; pictures only.
        broken: frames that could not be decoded.
        shown: thumbnails, (k,C,H,W), of the frames numbered in `shown_at`.
    """

    clip: Clip
    moments: Moments = field(default_factory=Moments)
    missing: float = 0.0
    always: float = 0.0
    empty: list[int] = field(default_factory=list)
    black: list[int] = field(default_factory=list)
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
            "empty": self.empty,
            "cut": self.cuts,
            "gap": self.gaps,
            "broken": self.broken,
        }
        return {k: name for name, frames in named.items() for k in frames}


def check_recordings(source: Any, reading: Reading) -> list[Found]:
    """Look through every recording in `source`; raises as `foreframe.clips_from`."""
    return [_looked_through(viewed(clip, reading), is_picture) for clip, is_picture in raw_clips(source, reading)]


def _looked_through(clip: Clip, is_picture: bool) -> Found:
    found = Found(clip, gaps=gaps_in(clip), cuts=find_cuts(clip.frames) if is_picture else [])
    n = len(clip)
    beside_cuts = {k for cut in found.cuts[:6] for k in (cut - 1, cut)}
    found.shown_at = sorted({int(k) for k in np.linspace(0, n - 1, min(n, THUMBNAILS)).round()} | beside_cuts)
    absent, ever, before = 0, None, None
    dark = 16 if clip.frames.dtype == np.uint8 else None
    for start in range(0, n, CHUNK):
        frames = np.asarray(clip.frames[start : min(start + CHUNK, n)])
        found.moments = found.moments.plus(frames)
        there = np.isfinite(frames) if frames.dtype.kind == "f" else np.ones(frames.shape, bool)
        absent += int(there.size - there.sum())
        seen = there.any(axis=0)
        ever = seen if ever is None else ever | seen
        found.shown += [frames[k - start] for k in found.shown_at if start <= k < start + len(frames)]
        for k, frame in enumerate(frames, start):
            if not there[k - start].any():
                found.empty.append(k)
                continue
            least, most = np.nanmin(frame), np.nanmax(frame)
            if (is_picture and dark is not None and most <= dark) or least == most:
                found.black.append(k)
            if before is not None and np.array_equal(frame, before, equal_nan=frame.dtype.kind == "f"):
                found.frozen.append(k)
            before = frame
    assert ever is not None
    found.missing, found.always = absent / np.prod(clip.frames.shape), float(1 - ever.mean())
    found.broken = sorted(broken_in(clip.frames))
    return found


def splits_in_words(source: Any, reading: Reading, dealing: Dealing, window: Window) -> list[str]:
    """How many windows a split gives each of train, validation and test; tiles and dry windows are not looked at.

    Raises:
        ValueError: what reading raises.
    """
    clips, counts = found_in(source, reading)
    blocks = dealt(clips, counts, dealing, window)
    fitting = {s: sum(max(0, (len(b) - window.length) // window.stride + 1) for b in blocks[s]) for s in SPLITS}
    title = f"split     windows of {window.past} past and {window.future} future frames, no frame in two splits:"
    return [title, *("          " + line for line in split_lines(clips, blocks, fitting))]


def in_words(found: Found) -> list[str]:
    """A line for each thing that is worth knowing."""
    clip = found.clip
    t, c, h, w = clip.frames.shape
    kind = {1: "grey" if clip.frames.dtype == np.uint8 else "1 channel", 3: "3 channels"}.get(c, f"{c} channels")
    lines = [f"{clip.name}: {t} frames of {h}x{w} (rows x columns), {kind}, {clip.frames.dtype}"]
    step = clip.step
    if step is None:
        lines.append("times     none: frames are counted")
    elif clip.times is not None and clip.times.dtype.kind == "f":
        steps = np.diff(clip.times)
        rate = f"{1 / step:.4g} frames a second" if step > 0 else "no rate"
        varying = steps.max() > 1.5 * step or steps.min() < 0.5 * step
        lines.append(f"times     {clip.times[-1] - clip.times[0] + step:.2f} s, {rate}" + (", VARYING" if varying else ""))
    elif clip.times is not None:
        lines.append(f"times     {_stamp(clip.times[0])} to {_stamp(clip.times[-1])}, every {spoken(step)}")
    where = {name: values for name, values in clip.coordinates.items() if values.size}
    if where:
        lines.append(
            "place     " + ", ".join(f"{name} {values.flat[0]:.6g} to {values.flat[-1]:.6g}" for name, values in where.items())
        )
    if found.moments.count:
        m = found.moments
        units = f" {clip.units}" if clip.units else ""
        lines.append(f"values    {m.lowest:.4g} to {m.highest:.4g}{units}, mean {m.mean:.4g}, standard deviation {m.deviation:.4g}")
    if found.missing:
        always = f"; {found.always:.1%} of the pixels in every frame" if found.always else ""
        lines.append(f"missing   {found.missing:.1%} of all values{always}")
    lines.append(f"gaps      {_numbered(found.gaps, 'in time, before frame') if found.gaps else 'none'}")
    for name, frames, what in (
        ("empty", found.empty, "everything missing, frame"),
        ("black", found.black, "nothing to see, frame"),
        ("frozen", found.frozen, "the same as the one before, frame"),
        ("cuts", found.cuts, "a new scene at frame"),
        ("BROKEN", found.broken, "cannot be decoded, frame"),
    ):
        if frames:
            lines.append(f"{name:<10}{_numbered(frames, what)}")
    return lines + [f"note      {note}" for note in clip.notes]


def _stamp(time: Any) -> str:
    return str(time.astype("datetime64[m]")) if isinstance(time, np.datetime64) else str(time)


def _numbered(frames: Sequence[int], what: str) -> str:
    """ "3: a new scene at frames 17, 202, 310"; runs are written 4-9."""
    runs: list[list[int]] = []
    for k in frames:
        if runs and k == runs[-1][1] + 1:
            runs[-1][1] = k
        else:
            runs.append([k, k])
    shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs[:12]) + (", ..." if len(runs) > 12 else "")
    return f"{len(frames)}: {what}{'s' * (len(frames) > 1)} {shown}"
