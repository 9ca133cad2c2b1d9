"""Windows over recordings, as a Dataset: dealt to train, validation and test so that no frame is in
two of them.
"""

import hashlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.clip import Clip, Window
from foreframe.data.budget import GIB, frames_at_once, in_gib
from foreframe.data.memory import array_of, data_name
from foreframe.data.npy import NpyFrames, frames_in, read_header
from foreframe.data.sources import (
    Reading,
    breaks,
    broken_in,
    in_parts,
    is_number,
    is_whole,
    raw_clips,
    warn,
)
from foreframe.files import atomic_write
from foreframe.scaling import Moments, Scaling, scaling_from
from foreframe.units import check_units

SPLITS = ("train", "validation", "test")
IN_MEMORY = 2**30  # bytes of decoded frames that are held; more are kept in a file
CHUNK = 32  # frames read at once
ACTIVE = 0.05  # of the scaled range: what lies above it counts as something to forecast


@dataclass(frozen=True)
class Dealing:
    """How recordings become windows of three splits.

    Args:
        by: "recording": whole recordings, the first ones train, the last ones test; "time": each
            recording is cut in time, but one that is too short to give each split a window is
            trained on whole; "auto": by recording where there are at least ten, or where none is
            long enough to be cut. A folder that holds folders `train` and `test` (and `validation`)
            has decided already; without one for validation, the training recordings are dealt to
            both.
        shares: of train, validation and test.
        gap: frames left out between two splits of one recording; None takes the window's future.
        tile: side of the square tiles that big frames are cut into; 0 leaves frames whole.
        active: least share of a window's past values that lie above 5 % of the scaled range: dry
            tiles of a radar teach little.
        augment: "none"; "flips": mirror training clips left to right, half of the time; "turns":
            mirror and turn them by quarters, for square tiles; both also move a training tile about
            its place.
        seed: of augmentation.

    Raises:
        ValueError: for values that mean nothing.
    """

    by: str = "auto"
    shares: Sequence[float] = (0.8, 0.1, 0.1)
    gap: int | None = None
    tile: int = 0
    active: float = 0.0
    augment: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in ("auto", "recording", "time"):
            raise ValueError(f"by {self.by!r} is unknown; choose auto, recording or time")
        shares = (
            self.shares
            if isinstance(self.shares, list | tuple) and all(map(is_number, self.shares))
            else ()
        )
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


@dataclass(frozen=True)
class Block:
    """Frames `start` to `stop` of recording number `recording` belong to one split."""

    recording: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class Recordings(Dataset):
    """Windows (T,C,H,W), float32, of the recordings in `path`, scaled to [0,1].

    Missing values are NaN; training and scores leave them out. Frames are decoded once: into
    memory, or, where they would need more than 1 GiB, into a file under FOREFRAME_CACHE
    (~/.cache/foreframe).

    Args:
        path: anything that `foreframe.clips_from` opens. URLs and xarray objects have no date:
            times, first and last frame tell whether a file of decoded frames is still theirs.
        split: "train", "validation", "test" or "all".
        window: past and future frames of an item.
        scaling: a kind to be fitted to the training frames ("minmax", "standard"), or one with
            `low` and `high` (see `Scaling`); by default 0 to 255 for 8-bit frames, else "minmax".
        reading, dealing: see there.

    Raises:
        ValueError: what reading raises; recordings of different sizes; a split without a window.
    """

    scaled = True  # items may leave [0,1] and hold NaN: that is meant
    ordered = (
        True  # neighbours are alike: a part of the items is taken evenly spread, not from the start
    )

    def __init__(
        self,
        path: Any,
        split: str = "train",
        window: Window = Window(),  # noqa: B008 (frozen)
        scaling: str | Mapping[str, Any] | Scaling | None = None,
        reading: Reading = Reading(),  # noqa: B008
        dealing: Dealing = Dealing(),
    ) -> None:
        if split not in (*SPLITS, "all"):
            raise ValueError(f"split {split!r} is unknown; choose train, validation, test or all")
        opened = _opened(path, reading, dealing.tile)
        self._budget = reading.budget
        self.path, self.split, self.window, self.dealing = opened.name, split, window, dealing
        self.clips, self.frames, self.broken = opened.clips, opened.frames, opened.broken
        self.blocks = dealt(
            [len(clip) for clip in opened.clips], opened.origins, opened.counts, dealing, window
        )
        self.scaling = self._scaling(scaling)
        wanted = (
            self.blocks[split]
            if split != "all"
            else [Block(k, 0, len(clip)) for k, clip in enumerate(self.clips)]
        )
        self.windows = list(self._windows(wanted, split))
        self.by_epoch = split == "train" and dealing.augment != "none"
        if not self.windows:
            longest = max((len(block) for block in wanted), default=0)
            if longest >= window.length:
                raise ValueError(
                    f"{self.path}: each window of {window.length} frames in {split} holds damaged "
                    "frames, or too little to "
                    "forecast from; use a smaller past and future"
                    + (" or a smaller active" if dealing.active else "")
                )
            way_out = what_fits(
                [len(clip) for clip in self.clips], opened.origins, opened.counts, dealing, window
            )
            raise ValueError(
                f"{self.path}: no window of {window.past} past and {window.future} future frames "
                f"in {split}, "
                f"whose longest stretch has {longest} frames; {way_out}"
            )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: int | tuple[int, int]) -> Float[Tensor, "t c h w"]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        recording, start, top, left = self.windows[index]
        frames = self.frames[recording]
        draw = (
            np.random.default_rng((self.dealing.seed, epoch, index % len(self)))
            if self.by_epoch
            else None
        )
        h, w = frames.shape[2:]
        tile_h, tile_w = (min(self.dealing.tile or side, side) for side in (h, w))
        if draw is not None and self.dealing.tile:
            slack = self.dealing.tile // 2
            top = int(np.clip(top + draw.integers(-slack, slack + 1), 0, h - tile_h))
            left = int(np.clip(left + draw.integers(-slack, slack + 1), 0, w - tile_w))
        values = np.asarray(
            frames[start : start + self.window.length, :, top : top + tile_h, left : left + tile_w]
        )
        if draw is not None:
            values = _augmented(values, draw, self.dealing.augment)
        values = self.scaling.from_pictures(values)
        # What lies in memory stays as it is; what a file gave is nobody else's.
        own = np.ascontiguousarray if isinstance(frames, NpyFrames) else np.array
        return self.scaling.to_network(torch.from_numpy(own(values, dtype=np.float32)))

    def _scaling(self, given: str | Mapping[str, Any] | Scaling | None) -> Scaling:
        named = [clip for clip in self.clips if clip.units]
        units = named[0].units if named else ""
        for clip in named:
            check_units(clip.units, units, clip.name, f"{named[0].name} in")
        if given is None and self.frames[0].dtype == np.uint8:
            return Scaling(0, 255, units)
        wanted = scaling_from("minmax" if given is None else given)
        if isinstance(wanted, Scaling):
            check_units(units, wanted.units, str(self.path), "the scaling is for")
            return (
                wanted
                if wanted.units or not units
                else Scaling(wanted.low, wanted.high, units, wanted.kind)
            )
        moments = Moments()
        for block in self.blocks["train"] or [
            Block(k, 0, len(clip)) for k, clip in enumerate(self.clips)
        ]:
            frames = self.frames[block.recording]
            few = frames_at_once(frames.shape, CHUNK, self._budget)
            for start in range(block.start, block.stop, few):
                moments = moments.plus(np.asarray(frames[start : min(start + few, block.stop)]))
        if moments.count == 0:
            raise ValueError(f"{self.path}: every value of the training frames is missing")
        try:
            return Scaling.from_moments(moments, units, wanted)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def _windows(self, blocks: Sequence[Block], split: str) -> Iterator[tuple[int, int, int, int]]:
        """(recording, first frame, top, left) of every window without a damaged frame that has
        something to forecast from, and to compare with: of a tile a quarter of the past must be
        there, of a whole frame anything. Tiles to train on overlap by half, others no more than
        they must.
        """
        past, length, tile = self.window.past, self.window.length, self.dealing.tile
        tiny = 1e-9  # of rounding
        for block in blocks:
            frames = self.frames[block.recording]
            places = list(
                _places(
                    frames.shape[2],
                    frames.shape[3],
                    tile,
                    max(1, tile // (2 if split == "train" else 1)),
                )
            )
            starts = np.arange(block.start, block.stop - length + 1, self.window.stride)
            for k in self.broken[block.recording]:
                starts = starts[(starts > k) | (k >= starts + length)]
            if not len(starts):
                continue
            wanted = np.ones((len(starts), len(places)), bool)
            if self.dealing.active or frames.dtype.kind == "f":
                first = starts - block.start
                there, active = (_means(values) for values in self._content(frames, block, places))
                wanted &= there(first, first + past) > (0.25 - tiny if tile else tiny)
                wanted &= there(first + past, first + length) > tiny
                wanted &= active(first, first + past) > self.dealing.active - tiny
            for start, places_of in zip(starts.tolist(), wanted, strict=True):
                for place in np.flatnonzero(places_of).tolist():
                    yield block.recording, start, *places[place]

    def _content(
        self, frames: np.ndarray | NpyFrames, block: Block, places: Sequence[tuple[int, int]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each frame of the block and each tile: the share of values that are there, and of
        those that are active.
        """
        there, active = (np.zeros((len(block), len(places)), np.float32) for _ in range(2))
        side = self.dealing.tile or max(frames.shape[2:])
        few = frames_at_once(frames.shape, CHUNK, self._budget)
        for start in range(block.start, block.stop, few):
            values = np.asarray(frames[start : min(start + few, block.stop)])
            y = (
                self.scaling.to_network(self.scaling.from_pictures(values).astype(np.float32))
                if self.dealing.active
                else None
            )
            rows = slice(start - block.start, start - block.start + len(values))
            for k, (top, left) in enumerate(places):
                tile = np.s_[:, :, top : top + side, left : left + side]
                there[rows, k] = np.isfinite(values[tile]).mean(axis=(1, 2, 3))
                if y is not None:
                    active[rows, k] = (y[tile] > ACTIVE).mean(axis=(1, 2, 3))
        return there, active

    def check_range(self) -> None:
        """Refuse what a forecaster trained on [0, 1] cannot mean; 8-bit pictures are brought there.

        Raises:
            ValueError: values beyond [0, 1] where `scaling` is that range.
        """
        for clip, frames in zip(self.clips, self.frames, strict=True):
            if not self.scaling.is_unit or frames.dtype == np.uint8:
                continue
            for k in np.linspace(0, len(clip) - 1, min(len(clip), 16)).astype(int).tolist():
                values = np.asarray(frames[k : k + 1])
                known = values[np.isfinite(values)]
                if known.size and not -1e-3 <= known.min() <= known.max() <= 1 + 1e-3:
                    raise ValueError(
                        f"{clip.name}: frame {k} has values from {known.min():.4g} to "
                        f"{known.max():.4g}, but the model was trained on [0, 1]; scale them to "
                        "that "
                        "range first, or train on these"
                    )

    def report(self) -> list[str]:
        """A line a split: how many recordings, frames and windows, and from when to when; and what
        reading has to tell.
        """
        lines = split_lines(
            self.clips,
            self.blocks,
            {s: len(list(self._windows(self.blocks[s], s))) for s in SPLITS},
        )
        return [*lines, *noted(self.clips)]


def split_lines(
    clips: Sequence[Clip], blocks: Mapping[str, Sequence[Block]], windows: Mapping[str, int]
) -> list[str]:
    """A line a split: how many recordings, frames and windows, and from when to when."""
    lines = []
    for split in SPLITS:
        frames, n = (
            sum(len(block) for block in blocks[split]),
            len({block.recording for block in blocks[split]}),
        )
        stamped = [(clips[b.recording].times, b) for b in blocks[split]]
        when = ""
        if stamped and all(times is not None and times.dtype.kind == "M" for times, _ in stamped):
            first = min(times[b.start] for times, b in stamped if times is not None)
            last = max(times[b.stop - 1] for times, b in stamped if times is not None)
            when = f", {np.datetime64(first, 'm')} to {np.datetime64(last, 'm')}"
        elif len(blocks[split]) == 1:
            when = f", {blocks[split][0].start} to {blocks[split][0].stop - 1}"
        lines.append(
            f"{split:<12}{windows[split]} windows in {frames} frames of {n} "
            f"recording{'s' * (n != 1)}{when}"
        )
    return lines


def noted(clips: Sequence[Clip]) -> list[str]:
    """What reading has to tell of recordings, each thing once."""
    notes = Counter(note for clip in clips for note in clip.notes)
    return [
        f"note: {note}" + (f" ({n} of {len(clips)} recordings)" if len(clips) > 1 else "")
        for note, n in notes.items()
    ]


def recordings_from(path: Any, split: str, window: Window, args: Mapping[str, Any]) -> Recordings:
    """`Recordings` from options by name: those of `Reading` and of `Dealing`, and `scaling`.

    Raises:
        ValueError: an option that is not there, with the nearest that is.
    """
    groups: dict[type, dict[str, Any]] = {Reading: {}, Dealing: {}}
    scaling = None
    names = {one.name: kind for kind in groups for one in fields(kind)}
    for name, value in args.items():
        if name == "scaling":
            scaling = value
        elif name in names:
            groups[names[name]][name] = value
        else:
            close = get_close_matches(name, [*names, "scaling"], n=1)
            hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(names)}, scaling"
            raise ValueError(f"data {data_name(path)} takes no argument {name!r}; {hint}")
    return Recordings(
        path, split, window, scaling, Reading(**groups[Reading]), Dealing(**groups[Dealing])
    )


# Dealing


def dealt(
    lengths: Sequence[int],
    origins: Sequence[int],
    counts: Sequence[int] | None,
    dealing: Dealing,
    window: Window,
) -> dict[str, list[Block]]:
    """Which frames of which recordings belong to which split.

    Args:
        lengths: frames of each recording, or of each part that gaps or cuts have made of one.
        origins: number of the recording that each is a part of, from 0, in order; parts stay
            together.
        counts: how many recordings, in order, lie in folders for train, validation and test; None
            where there are no such folders.
        dealing, window: see there.
    """
    blocks: dict[str, list[Block]] = {split: [] for split in SPLITS}
    a, b, c = dealing.shares
    if counts is None:
        groups = [(range(max(origins) + 1), (a, b, c))]
    else:
        train = a / (a + b) if a + b and not counts[1] else 1.0
        first, second, third = counts
        groups = [
            (range(first), (train, 1 - train, 0.0)),
            (range(first, first + second), (0.0, 1.0, 0.0)),
            (range(first + second, first + second + third), (0.0, 0.0, 1.0)),
        ]
    for group, shares in groups:
        recordings: list[list[Block]] = [[] for _ in group]
        for k, (n, origin) in enumerate(zip(lengths, origins, strict=True)):
            if origin in group:
                recordings[origin - group.start].append(Block(k, 0, n))
        for split, block in _dealt(recordings, shares, dealing, window):
            blocks[split].append(block)
    _check_apart(blocks)
    return blocks


def what_fits(
    lengths: Sequence[int],
    origins: Sequence[int],
    counts: Sequence[int] | None,
    dealing: Dealing,
    window: Window,
) -> str:
    """Words for shares, or else for past and future frames, that leave every split a window where
    `dealing` and `window` do not.
    """
    wanted = [split for split, share in zip(SPLITS, dealing.shares, strict=True) if share > 0]
    past, future = window.past, window.future
    while True:
        for shares in (
            dealing.shares,
            (0.7, 0.15, 0.15),
            (0.6, 0.2, 0.2),
            (0.5, 0.25, 0.25),
            (0.4, 0.3, 0.3),
        ):
            smaller = Window(past, future, window.stride)
            blocks = dealt(lengths, origins, counts, replace(dealing, shares=shares), smaller)
            if all(
                any(len(block) >= smaller.length for block in blocks[split]) for split in wanted
            ):
                said = (
                    f"past {past} and future {future}"
                    if (past, future) != (window.past, window.future)
                    else ""
                )
                if shares != dealing.shares:
                    said += (
                        " with " * bool(said)
                        + f"shares [{', '.join(f'{share:g}' for share in shares)}]"
                    )
                return f"{said} would do" if said else "it has no share"
        if past == future == 1:
            return "more frames are needed"
        past, future = max(1, past // 2), max(1, future // 2)


def _dealt(
    recordings: Sequence[Sequence[Block]], shares: Sequence[float], dealing: Dealing, window: Window
) -> Iterator[tuple[str, Block]]:
    """The splits of recordings, each in parts, that share them as `shares` says."""
    wanted = [split for split, share in zip(SPLITS, shares, strict=True) if share > 0]
    gap = window.future if dealing.gap is None else dealing.gap
    in_time = [_cut_in_time(parts, shares, gap) for parts in recordings]
    enough = [
        all(any(len(block) >= window.length for block in cut[split]) for split in wanted)
        for cut in in_time
    ]
    n = len(recordings)
    many = n >= 10 or (n > 1 and n >= len(wanted) and not any(enough))
    if len(wanted) == 1 or dealing.by == "recording" or (dealing.by == "auto" and many):
        owners = np.repeat(SPLITS, _shared_out(n, shares)).tolist()
        yield from (
            (owner, part) for owner, parts in zip(owners, recordings, strict=True) for part in parts
        )
        return
    for parts, cut, long in zip(recordings, in_time, enough, strict=True):
        # One that is too short to give each split a window stays whole, where others can be cut.
        for split, blocks in (cut if long or n == 1 else {wanted[0]: parts}).items():
            yield from ((split, block) for block in blocks)


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


def _cut_in_time(
    parts: Sequence[Block], shares: Sequence[float], gap: int
) -> dict[str, list[Block]]:
    """Three stretches of a recording in order, whatever parts it is in; where another follows,
    `gap` frames at the end of a stretch are left out.
    """
    ends = _ends(sum(map(len, parts)), shares)
    cut: dict[str, list[Block]] = {}
    for k, (first, last) in enumerate(pairwise([0, *ends])):
        if shares[k] > 0 and any(share > 0 for share in shares[k + 1 :]):
            last -= gap
        before, cut[SPLITS[k]] = 0, []
        for part in parts:
            start, stop = max(first - before, 0), min(last - before, len(part))
            if start < stop:
                cut[SPLITS[k]].append(Block(part.recording, part.start + start, part.start + stop))
            before += len(part)
    return cut


def _check_apart(blocks: Mapping[str, Sequence[Block]]) -> None:
    """No frame in two splits: checked, not assumed."""
    spans = sorted((b.recording, b.start, b.stop) for split in SPLITS for b in blocks[split])
    for (r, _, stop), (other, start, _) in pairwise(spans):
        assert r != other or start >= stop, f"frame {start} of recording {r} is in two splits"


def _places(h: int, w: int, tile: int, spacing: int) -> Iterator[tuple[int, int]]:
    """Top left corners of tiles that cover the frame evenly, at most `spacing` apart; one where
    there are none.
    """
    if not tile:
        yield 0, 0
        return
    for top in _starts(h, tile, spacing):
        for left in _starts(w, tile, spacing):
            yield top, left


def _starts(side: int, tile: int, spacing: int) -> list[int]:
    count = 1 + max(0, -(-(side - tile) // spacing))
    return [round(k * max(0, side - tile) / max(1, count - 1)) for k in range(count)]


def _means(values: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function that gives the means (n,P) of rows first[i] to last[i] of values (T,P)."""
    sums = np.concatenate(
        [np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)]
    )
    return lambda first, last: (sums[last] - sums[first]) / (last - first)[:, None]


def _augmented(values: np.ndarray, draw: np.random.Generator, augment: str) -> np.ndarray:
    if draw.random() < 0.5:
        values = values[..., ::-1]
    if augment == "turns" and values.shape[-1] == values.shape[-2]:
        values = np.rot90(values, int(draw.integers(4)), axes=(-2, -1))
    return values


def _by(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


# Frames, decoded once


@dataclass(frozen=True)
class _Opened:
    source: Any  # held, so that no other object can come to have its id
    name: str
    clips: list[Clip]
    origins: list[int]
    counts: list[int] | None
    frames: list[np.ndarray | NpyFrames]
    broken: list[set[int]]


_last: dict[str, _Opened] = {}  # what was opened last: train and validation share its frames


def _opened(source: Any, reading: Reading, tile: int) -> _Opened:
    """The recordings in `source`, decoded; refused before that where they do not fit together."""
    dated = _stamps(source)
    key = repr((str(source) if isinstance(source, str | Path) else id(source), dated, reading))
    if key not in _last:
        raw, counts = raw_in(source, reading)
        parts = [
            in_parts(clip, breaks(clip, is_picture, reading), reading) for clip, is_picture in raw
        ]
        clips, origins = (
            [clip for some in parts for clip in some],
            [k for k, some in enumerate(parts) for _ in some],
        )
        name = str(source) if isinstance(source, str | Path) else clips[0].name
        _check_sizes(name, clips, tile)
        kept = held(clips, dated, reading)
        _last.clear()
        _last[key] = _Opened(
            source,
            name,
            clips,
            origins,
            counts,
            [frames for frames, _ in kept],
            [broken for _, broken in kept],
        )
    _check_sizes(_last[key].name, _last[key].clips, tile)
    return _last[key]


def _check_sizes(name: str, clips: Sequence[Clip], tile: int) -> None:
    """Refuse recordings whose windows do not fit into one batch."""
    sizes = {clip.frames.shape[1:] for clip in clips}
    channels = {size[0] for size in sizes}
    if len(channels) > 1 or (
        len(sizes) > 1 and not 0 < tile <= min(min(size[1:]) for size in sizes)
    ):
        one, other = sorted(sizes)[:2]
        grey = "colour grey makes their channels one"
        cure = grey if len(channels) > 1 else "size, crop or a tile that fits into each will do"
        raise ValueError(
            f"{name}: recordings of different sizes, {_by(one)} and {_by(other)}; {cure}"
        )


def raw_in(source: Any, reading: Reading) -> tuple[list[tuple[Clip, bool]], list[int] | None]:
    """What `raw_clips` gives, and how many recordings lie in the folders train, validation and
    test; None without such folders.
    """
    folder = Path(source) if isinstance(source, str | Path) else None
    if folder is None or not ((folder / "train").is_dir() and (folder / "test").is_dir()):
        return list(raw_clips(source, reading)), None
    inside = [
        [
            found
            for name in names
            if (folder / name).is_dir()
            for found in raw_clips(folder / name, reading)
        ]
        for names in (("train",), ("validation", "val"), ("test",))
    ]
    return [found for some in inside for found in some], [len(some) for some in inside]


def _stamps(source: Any) -> list[tuple[str, int, int]] | None:
    """Names, sizes and dates of the files in `source`: when these change, so does what they hold.
    Of an array its checksum, since it may be written to. None of a URL or an xarray object.
    """
    if isinstance(source, np.ndarray | Tensor):
        values, checksum = array_of(source), 0
        for k in range(0, len(values), CHUNK):
            checksum = crc32(np.ascontiguousarray(values[k : k + CHUNK]).data, checksum)
        return [(data_name(source), values.nbytes, checksum)]
    if not isinstance(source, str | Path) or "://" in str(source):
        return None
    path = Path(source)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.exists()]


def held(
    clips: Sequence[Clip], dated: list[tuple[str, int, int]] | None, reading: Reading
) -> list[tuple[np.ndarray | NpyFrames, set[int]]]:
    """Each recording's frames where any stretch of them is quick to get at, in memory or in a .npy
    file, and which of them are damaged.
    """
    decoded = sum(
        _bytes(clip) for clip in clips if not isinstance(clip.frames, np.ndarray | NpyFrames)
    )
    stored = sum(_bytes(clip) for clip in clips if isinstance(clip.frames, NpyFrames))
    room = min(IN_MEMORY, reading.budget * GIB)

    def kept(clip: Clip) -> tuple[np.ndarray | NpyFrames, set[int]]:
        if isinstance(clip.frames, np.ndarray):
            return clip.frames, set()
        # A copy in memory is quicker than a call for each window.
        if isinstance(clip.frames, NpyFrames):
            return (
                _in_memory(clip, reading.budget)
                if decoded + stored <= room
                else (clip.frames, set())
            )
        return (
            _in_memory(clip, reading.budget) if decoded <= room else _in_file(clip, dated, reading)
        )

    return [kept(clip) for clip in clips]


def _bytes(clip: Clip) -> int:
    return math.prod(clip.frames.shape) * clip.frames.dtype.itemsize


def _chunks(clip: Clip, budget: float) -> Iterator[np.ndarray]:
    few = frames_at_once(clip.frames.shape, CHUNK, budget)
    for start in range(0, len(clip), few):
        yield np.asarray(clip.frames[start : min(start + few, len(clip))])


def _in_memory(clip: Clip, budget: float) -> tuple[np.ndarray, set[int]]:
    frames = np.empty(clip.frames.shape, clip.frames.dtype)
    start = 0
    for chunk in _chunks(clip, budget):
        frames[start : start + len(chunk)] = chunk
        start += len(chunk)
    return frames, broken_in(clip.frames)


def _in_file(
    clip: Clip, dated: list[tuple[str, int, int]] | None, reading: Reading
) -> tuple[NpyFrames, set[int]]:
    """The same in a .npy file that later runs use again; its name tells the source's names, sizes,
    dates and how it was read.

    Raises:
        ValueError: the disk has no room for it.
    """
    told: Any = dated
    if dated is None:
        ends = [
            hashlib.sha256(np.asarray(clip.frames[k : k + 1]).tobytes()).hexdigest()
            for k in (0, len(clip) - 1)
        ]
        told = (None if clip.times is None else clip.times.tolist(), ends)
    # The budget changes no frame.
    how = {name: value for name, value in asdict(reading).items() if name != "budget"}
    key = hashlib.sha256(repr((told, clip.name, clip.frames.shape, how)).encode()).hexdigest()[:24]
    folder = Path(os.environ.get("FOREFRAME_CACHE", Path.home() / ".cache" / "foreframe"))
    file, damaged = folder / f"{key}.npy", folder / f"{key}.broken"
    if (found := _decoded_before(file, damaged, clip, reading.budget)) is not None:
        return found
    where = next(place for place in (folder, *folder.parents) if place.exists())
    free, need = shutil.disk_usage(where).free, _bytes(clip)
    if need > free:
        raise ValueError(
            f"{clip.name}: {in_gib(need)} of frames would be decoded into {folder}, where "
            f"{in_gib(free)} are free; "
            "size, coarsen or every make them fewer, and FOREFRAME_CACHE names another folder"
        )
    warn(
        f"{clip.name}: {in_gib(need)} of frames are decoded into {file}; size, coarsen or every "
        "make them fewer"
    )
    with atomic_write(file) as rough, rough.open("wb") as out:
        header = {
            "descr": np.lib.format.dtype_to_descr(clip.frames.dtype),
            "fortran_order": False,
            "shape": clip.frames.shape,
        }
        np.lib.format.write_array_header_2_0(out, header)
        for chunk in _chunks(clip, reading.budget):
            out.write(np.ascontiguousarray(chunk).data)
    with atomic_write(damaged) as rough:
        rough.write_text(" ".join(map(str, sorted(broken_in(clip.frames)))), encoding="utf-8")
    found = _decoded_before(file, damaged, clip, reading.budget)
    assert found is not None
    return found


def _decoded_before(
    file: Path, damaged: Path, clip: Clip, budget: float
) -> tuple[NpyFrames, set[int]] | None:
    """The frames that an earlier run has decoded, and which of them are damaged; None where its
    files are not whole.
    """
    try:
        with file.open("rb") as opened:
            header = read_header(opened)
        frames = frames_in(file, header, budget)
        broken = {int(k) for k in damaged.read_text(encoding="utf-8").split()}
    except (OSError, ValueError):
        return None
    return (
        (frames, broken)
        if (frames.shape, frames.dtype) == (tuple(clip.frames.shape), clip.frames.dtype)
        else None
    )
