"""Train, validation and test: which frames of which recordings belong to which, so that no frame is
in two of them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, Window
from foreframe.data.data_options import ReadOptions, SplitOptions
from foreframe.data.readers import raw_clips

SPLITS = ("train", "validation", "test")
# Of a folder of recordings, the folders whose recordings belong to a split.
FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
UNDECIDED = "undecided"


class Published:
    """The recordings of a published dataset, whose splits are published too. A subclass is
    registered by its name, as an entry point `foreframe.datasets`.

    Args:
        folder: where its files are.

    Attributes:
        name: of the dataset.
        files: what these are and where they come from, for messages.
        protocol: options of data that papers use, if a user gives no others.
    """

    name: ClassVar[str]
    files: ClassVar[str]
    protocol: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def read(self, options: ReadOptions) -> Iterator[tuple[str, Clip]]:
        """Yield recordings as the files have them, or parts of these, each with its split. The name
        of a part is that of its file and then " [x]".
        """
        raise NotImplementedError

    def by_split(self, options: ReadOptions) -> dict[str, list[Clip]]:
        """The recordings of each split.

        Raises:
            ValueError: there are none; what reading raises.
        """
        clips: dict[str, list[Clip]] = {split: [] for split in SPLITS}
        for split, clip in self.read(options) if self.folder.is_dir() else ():
            clips[split].append(clip)
        if not any(clips.values()):
            there = "holds none of its files" if self.folder.is_dir() else "is no folder"
            raise ValueError(f"data {self.name}: {self.folder} {there}; give one with {self.files}")
        return clips

    def source_of(self, clip: Clip) -> Path:
        """The file of a recording, or the folder where it comes of several."""
        path = Path(re.sub(r"( \[\w+\])+$", "", clip.name))
        return path if path.exists() else self.folder


def raw_by_folder(source: Any, options: ReadOptions) -> dict[str, list[Clip]]:
    """Recordings as the files have them: of the folders train, validation and test by the split
    that these decide, else all of them under `UNDECIDED`.
    """
    if isinstance(source, Published):
        return source.by_split(options)
    folder = Path(source) if isinstance(source, str | Path) else None
    if folder is None or not ((folder / "train").is_dir() and (folder / "test").is_dir()):
        return {UNDECIDED: list(raw_clips(source, options))}
    return {
        split: [
            clip
            for name in names
            if (folder / name).is_dir()
            for clip in raw_clips(folder / name, options)
        ]
        for split, names in FOLDERS.items()
    }


def split_clips(
    recordings: Mapping[str, Sequence[Sequence[Clip]]], options: SplitOptions, window: Window
) -> dict[str, list[Clip]]:
    """The clips of each split, none of them read yet: parts of the recordings that share no frame.

    Args:
        recordings: each in the parts that gaps or cuts have made of it, in order; by the split that
            a folder decides, or under `UNDECIDED`.
        options, window: see there.
    """
    a, b, c = options.shares
    shares = {UNDECIDED: (a, b, c), "validation": (0.0, 1.0, 0.0), "test": (0.0, 0.0, 1.0)}
    train = a / (a + b) if a + b and not recordings.get("validation") else 1.0
    shares["train"] = (train, 1 - train, 0.0)
    clips: dict[str, list[Clip]] = {split: [] for split in SPLITS}
    for folder, inside in recordings.items():
        for split, clip in _split(inside, shares[folder], options, window):
            clips[split].append(clip)
    return clips


def _split(
    recordings: Sequence[Sequence[Clip]],
    shares: Sequence[float],
    options: SplitOptions,
    window: Window,
) -> Iterator[tuple[str, Clip]]:
    """The splits of recordings, each in parts, that share them as `shares` says."""
    wanted = [split for split, share in zip(SPLITS, shares, strict=True) if share > 0]
    gap = window.future if options.gap is None else options.gap
    in_time = [_cut_in_time(parts, shares, gap) for parts in recordings]
    enough = [
        all(any(len(clip) >= window.length for clip in cut[split]) for split in wanted)
        for cut in in_time
    ]
    n = len(recordings)
    many = n >= 10 or (n > 1 and n >= len(wanted) and not any(enough))
    if len(wanted) == 1 or options.by == "recording" or (options.by == "auto" and many):
        owners = np.repeat(SPLITS, _shared_out(n, shares)).tolist()
        for owner, parts in zip(owners, recordings, strict=True):
            yield from ((owner, part) for part in parts)
        return
    for parts, cut, long in zip(recordings, in_time, enough, strict=True):
        # One that is too short to give each split a window stays whole, where others can be cut.
        for split, clips in (cut if long or n == 1 else {wanted[0]: parts}).items():
            yield from ((split, clip) for clip in clips)


def _shared_out(n: int, shares: Sequence[float]) -> list[int]:
    """How many of n whole recordings each split gets: at least one where it has a share, as far as
    they go.
    """
    sizes = np.diff(_ends(n, shares), prepend=0)
    for k in range(3):
        if shares[k] > 0 and sizes[k] == 0 and sizes.max() > 1:
            sizes[sizes.argmax()] -= 1
            sizes[k] = 1
    return [int(size) for size in sizes]


def _ends(n: int, shares: Sequence[float]) -> list[int]:
    """Where three shares of n things end, in order; the last one at n, whatever rounding the shares
    have.
    """
    return [round(n * sum(shares[: k + 1]) / sum(shares)) for k in range(3)]


def _cut_in_time(parts: Sequence[Clip], shares: Sequence[float], gap: int) -> dict[str, list[Clip]]:
    """Three stretches of a recording in order, whatever parts it is in; where another follows,
    `gap` frames at the end of a stretch are left out.
    """
    ends = _ends(sum(map(len, parts)), shares)
    cut: dict[str, list[Clip]] = {}
    for k, (first, last) in enumerate(pairwise([0, *ends])):
        if shares[k] > 0 and any(share > 0 for share in shares[k + 1 :]):
            last -= gap
        before, cut[SPLITS[k]] = 0, []
        for part in parts:
            start, stop = max(first - before, 0), min(last - before, len(part))
            if start < stop:
                cut[SPLITS[k]].append(part.part(start, stop))
            before += len(part)
    return cut


def lacking(clips: Sequence[Clip], window: Window) -> str:
    """What a split without a window needs, in words."""
    longest = max(map(len, clips), default=0)
    if longest >= window.length:
        return (
            "each window holds damaged frames, or too little to forecast from: use a smaller past "
            "and future, or a smaller active (splits.active)"
        )
    has = plural(longest, "frame") if clips else "no recording is in it"
    return (
        f"{has}, {window.length} needed: use a smaller past and future, a larger share "
        "(splits.shares), all of a recording (split all, to score), or longer or more recordings"
    )


def split_lines(clips: Mapping[str, Sequence[Clip]], windows: Mapping[str, int]) -> list[str]:
    """A line a split: how many recordings, frames and windows, and from when to when."""
    lines = []
    for split in SPLITS:
        parts = clips[split]
        times = [c.times for c in parts if c.times is not None]
        when = ""
        if parts and len(times) == len(parts) and all(t.dtype.kind == "M" for t in times):
            first, last = min(t[0] for t in times), max(t[-1] for t in times)
            when = f", {np.datetime64(first, 'm')} to {np.datetime64(last, 'm')}"
        elif len(parts) == len(times) == 1 and times[0].dtype.kind == "f":
            when = f", {times[0][0]:.2f} to {times[0][-1]:.2f} s"
        what = f"{sum(map(len, parts))} frames of {plural(len(parts), 'recording')}"
        lines.append(f"{split:<12}{plural(windows[split], 'window')} in {what}{when}")
    return lines


def noted(clips: Sequence[Clip]) -> list[str]:
    """The notes that reading has left on recordings, each once."""
    return [f"note: {note}" for note in dict.fromkeys(note for c in clips for note in c.notes)]
