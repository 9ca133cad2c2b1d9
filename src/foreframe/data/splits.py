"""Division of recordings into train, validation and test, without a common frame."""

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
# Subfolders with the recordings of each split.
FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
UNDECIDED = "undecided"


class Published:
    """The recordings of a published dataset with published splits. A subclass is registered by its
    name, as an entry point `foreframe.datasets`.

    Args:
        folder: folder of its files.

    Attributes:
        name: name of the dataset.
        files: description and origin of the files, for messages.
        protocol: options of data that papers use, as defaults.
    """

    name: ClassVar[str]
    files: ClassVar[str]
    protocol: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def read(self, options: ReadOptions) -> Iterator[tuple[str, Clip]]:
        """Yield stored recordings or parts, each with its split. The name of a part is the name of
        its file and " [x]".
        """
        raise NotImplementedError

    def by_split(self, options: ReadOptions) -> dict[str, list[Clip]]:
        """Return the recordings of each split.

        Raises:
            ValueError: no recordings; errors of reading.
        """
        clips: dict[str, list[Clip]] = {split: [] for split in SPLITS}
        for split, clip in self.read(options) if self.folder.is_dir() else ():
            clips[split].append(clip)
        if not any(clips.values()):
            why = "has none of its files" if self.folder.is_dir() else "is no folder"
            raise ValueError(f"data {self.name}: {self.folder} {why}; name one with {self.files}")
        return clips

    def source_of(self, clip: Clip) -> Path:
        """Return the file of a recording, or the folder for several files."""
        path = Path(re.sub(r"( \[\w+\])+$", "", clip.name))
        return path if path.exists() else self.folder


def raw_by_folder(source: Any, options: ReadOptions) -> dict[str, list[Clip]]:
    """Return stored recordings by the split of their folder (train, validation or test), otherwise
    under `UNDECIDED`.
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
    """Return the clips of each split, parts of the recordings without a common frame.

    Args:
        recordings: recordings, each in its parts between gaps or cuts, by the split of their
            folder, or under `UNDECIDED`.
        options: with the shares.
        window: length of the windows.
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
    """Yield the clips of recordings, each in parts, with their splits."""
    wanted = [split for split, share in zip(SPLITS, shares, strict=True) if share > 0]
    in_time = [_cut_in_time(parts, shares, window.future) for parts in recordings]
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
        # A recording too short to be cut stays whole, unless it is the only recording.
        for split, clips in (cut if long or n == 1 else {wanted[0]: parts}).items():
            yield from ((split, clip) for clip in clips)


def _shared_out(n: int, shares: Sequence[float]) -> list[int]:
    """Return the number of n whole recordings in each split: at least one for each share, if there
    are enough.
    """
    sizes = np.diff(_ends(n, shares), prepend=0)
    for k in range(3):
        if shares[k] > 0 and sizes[k] == 0 and sizes.max() > 1:
            sizes[sizes.argmax()] -= 1
            sizes[k] = 1
    return [int(size) for size in sizes]


def _ends(n: int, shares: Sequence[float]) -> list[int]:
    """Return the ends of three shares of n items in order; the last end is n."""
    return [round(n * sum(shares[: k + 1]) / sum(shares)) for k in range(3)]


def _cut_in_time(parts: Sequence[Clip], shares: Sequence[float], gap: int) -> dict[str, list[Clip]]:
    """Cut a recording in parts into three stretches, with a `gap` of frames between them."""
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
    """Explain why a split has no window, and the cure."""
    longest = max(map(len, clips), default=0)
    if longest >= window.length:
        return (
            "each window has damaged frames, or too few values: use a smaller past "
            "and future, or a smaller active (splits.active)"
        )
    has = plural(longest, "frame") if clips else "no recording"
    return (
        f"{has}, {window.length} frames needed: use a smaller past and future, a larger share "
        "(splits.shares), all of a recording (split all, to score), or longer or more recordings"
    )


def split_lines(clips: Mapping[str, Sequence[Clip]], windows: Mapping[str, int]) -> list[str]:
    """Return a line for each split: numbers of recordings, frames and windows, and the period."""
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
    """Return the notes of recordings, each once."""
    return [f"note: {note}" for note in dict.fromkeys(note for c in clips for note in c.notes)]
