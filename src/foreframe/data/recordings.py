"""Windows over recordings, as a Dataset: dealt to train, validation and test so that no frame is in two of them."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.clip import Clip, Window
from foreframe.data.sources import Reading, broken_in, read_clips, warn
from foreframe.files import whole_file
from foreframe.scaling import Moments, Scaling, scaling_from

SPLITS = ("train", "validation", "test")
IN_MEMORY = 2**30  # bytes of decoded frames that are held; more are kept in a file
CHUNK = 32  # frames read at once
ACTIVE = 0.05  # of the scaled range: what lies above it counts as something to forecast


@dataclass(frozen=True)
class Dealing:
    """How recordings become windows of three splits.

    Args:
        by: "recording": whole recordings, the first ones train, the last ones test; "time": each recording is cut in time,
            but one that is too short to give each split a window is trained on whole; "auto": by recording
            where there are at least ten. A folder that holds folders `train` and `test` (and `validation`)
            has decided already; without one for validation, that is cut off the end of each training recording.
        shares: of train, validation and test.
        gap: frames left out between two splits of one recording; None takes the window's future.
        tile: side of the square tiles that big frames are cut into; 0 leaves frames whole.
        active: least share of a window's past values that lie above 5 % of the scaled range: dry tiles of a radar teach little.
        augment: "none"; "flips": mirror training clips left to right, half of the time; "turns": mirror and turn them by quarters,
            for square tiles; both also move a training tile about its place.
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
        shares = self.shares if isinstance(self.shares, list | tuple) else ()
        if len(shares) != 3 or min(shares) < 0 or not 0.999 < sum(shares) < 1.001:
            raise ValueError(f"shares are three numbers, of train, validation and test, that add up to 1, not {self.shares}")
        if self.augment not in ("none", "flips", "turns"):
            raise ValueError(f"augment {self.augment!r} is unknown; choose none, flips or turns")
        if self.tile < 0 or (self.gap is not None and self.gap < 0) or not 0 <= self.active < 1:
            raise ValueError(f"tile and gap are at least 0, active lies in [0,1), not {self.tile}, {self.gap}, {self.active}")


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

    Missing values are NaN; training and scores leave them out. Frames are decoded once: into memory, or, where they would need
    more than 1 GiB, into a file under FOREFRAME_CACHE (~/.cache/foreframe).

    Args:
        path: anything that `foreframe.clips_from` opens.
        split: "train", "validation", "test" or "all".
        window: past and future frames of an item.
        scaling: a kind to be fitted to the training frames ("minmax", "standard"), or one with `low` and `high` (see `Scaling`);
            by default 0 to 255 for 8-bit frames, else "minmax".
        reading, dealing: see there.

    Raises:
        ValueError: what reading raises; recordings of different sizes; a split without a window.
    """

    scaled = True  # items may leave [0,1] and hold NaN: that is meant
    ordered = True  # neighbours are alike: a part of the items is taken evenly spread, not from the start

    def __init__(
        self,
        path: str | Path,
        split: str = "train",
        window: Window = Window(),  # noqa: B008 (frozen)
        scaling: str | Mapping[str, Any] | Scaling | None = None,
        reading: Reading = Reading(),  # noqa: B008
        dealing: Dealing = Dealing(),
    ) -> None:
        if split not in (*SPLITS, "all"):
            raise ValueError(f"split {split!r} is unknown; choose train, validation, test or all")
        self.path, self.split, self.window, self.dealing = str(path), split, window, dealing
        opened = _opened(path, reading)
        self.clips, self.frames, self.broken = opened.clips, opened.frames, opened.broken
        self.blocks = dealt(opened.clips, opened.counts, dealing, window)
        sizes = {clip.frames.shape[1:] for clip in self.clips}
        channels = {size[0] for size in sizes}
        if len(channels) > 1 or (len(sizes) > 1 and not dealing.tile):
            one, other = sorted(sizes)[:2]
            cure = "colour grey makes their channels one" if len(channels) > 1 else "size, crop or tile makes them alike"
            raise ValueError(f"{path}: recordings of different sizes, {_by(one)} and {_by(other)}; {cure}")
        self.scaling = self._scaling(scaling)
        wanted = self.blocks[split] if split != "all" else [Block(k, 0, len(clip)) for k, clip in enumerate(self.clips)]
        self.windows = list(self._windows(wanted, split))
        self.by_epoch = split == "train" and dealing.augment != "none"
        if not self.windows:
            longest = max((len(block) for block in wanted), default=0)
            raise ValueError(
                f"{path}: no window of {window.length} frames in {split}, whose longest stretch has {longest}; use a smaller "
                f"past and future, other shares ({', '.join(f'{share:g}' for share in dealing.shares)}), a smaller gap"
                + (" or a smaller active" if dealing.active else "")
            )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: int | tuple[int, int]) -> Float[Tensor, "t c h w"]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        recording, start, top, left = self.windows[index]
        frames = self.frames[recording]
        draw = np.random.default_rng((self.dealing.seed, epoch, index % len(self))) if self.by_epoch else None
        h, w = frames.shape[2:]
        tile_h, tile_w = (min(self.dealing.tile or side, side) for side in (h, w))
        if draw is not None and self.dealing.tile:
            slack = self.dealing.tile // 2
            top = int(np.clip(top + draw.integers(-slack, slack + 1), 0, h - tile_h))
            left = int(np.clip(left + draw.integers(-slack, slack + 1), 0, w - tile_w))
        values = np.asarray(frames[start : start + self.window.length, :, top : top + tile_h, left : left + tile_w])
        if draw is not None:
            values = _augmented(values, draw, self.dealing.augment)
        return self.scaling.to_network(torch.from_numpy(np.array(values, dtype=np.float32)))

    def _scaling(self, given: str | Mapping[str, Any] | Scaling | None) -> Scaling:
        units = next((clip.units for clip in self.clips if clip.units), "")
        if given is None and self.frames[0].dtype == np.uint8:
            return Scaling(0, 255, units)
        wanted = scaling_from("minmax" if given is None else given)
        if isinstance(wanted, Scaling):
            return wanted if wanted.units or not units else Scaling(wanted.low, wanted.high, units, wanted.kind)
        moments = Moments()
        for block in self.blocks["train"] or [Block(k, 0, len(clip)) for k, clip in enumerate(self.clips)]:
            for start in range(block.start, block.stop, CHUNK):
                moments = moments.plus(np.asarray(self.frames[block.recording][start : min(start + CHUNK, block.stop)]))
        if moments.count == 0:
            raise ValueError(f"{self.path}: every value of the training frames is missing")
        try:
            return Scaling.from_moments(moments, units, wanted)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def _windows(self, blocks: Sequence[Block], split: str) -> Iterator[tuple[int, int, int, int]]:
        """(recording, first frame, top, left) of every window that holds no damaged frame, and something to forecast from: a tile
        counts where a quarter of its past is there. Tiles to train on overlap by half; others no more than they must."""
        for block in blocks:
            frames = self.frames[block.recording]
            spacing = self.dealing.tile // (2 if split == "train" else 1)
            places = list(_places(frames.shape[2], frames.shape[3], self.dealing.tile, spacing))
            broken = sorted(self.broken[block.recording])
            starts = range(block.start, block.stop - self.window.length + 1, self.window.stride)
            whole = [a for a in starts if not any(a <= k < a + self.window.length for k in broken)]
            if not whole:
                continue
            plain = not self.dealing.active and (frames.dtype.kind != "f" or not self.dealing.tile)
            there, active = (None, None) if plain else self._content(frames, block, places)
            for start in whole:
                for k, (top, left) in enumerate(places):
                    if there is not None and active is not None:
                        past = slice(start - block.start, start - block.start + self.window.past)
                        if there[past, k].mean() < 0.25 or active[past, k].mean() < self.dealing.active:
                            continue
                    yield block.recording, start, top, left

    def _content(self, frames: np.ndarray, block: Block, places: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        """For each frame of the block and each tile: the share of values that are there, and of those that are active."""
        there, active = (np.zeros((len(block), len(places)), np.float32) for _ in range(2))
        tile = self.dealing.tile
        for start in range(block.start, block.stop, CHUNK):
            stop = min(start + CHUNK, block.stop)
            y = self.scaling.to_network(np.asarray(frames[start:stop]).astype(np.float32))
            rows = slice(start - block.start, stop - block.start)
            for k, (top, left) in enumerate(places):
                part = y[:, :, top : top + tile, left : left + tile] if tile else y
                there[rows, k] = np.isfinite(part).mean(axis=(1, 2, 3))
                active[rows, k] = (part > ACTIVE).mean(axis=(1, 2, 3))
        return there, active

    def report(self) -> list[str]:
        """A line a split: how many recordings, frames and windows, and from when to when."""
        return split_lines(self.clips, self.blocks, {s: len(list(self._windows(self.blocks[s], s))) for s in SPLITS})


def split_lines(clips: Sequence[Clip], blocks: Mapping[str, Sequence[Block]], windows: Mapping[str, int]) -> list[str]:
    """A line a split: how many recordings, frames and windows, and from when to when."""
    lines = []
    for split in SPLITS:
        frames, n = sum(len(block) for block in blocks[split]), len({block.recording for block in blocks[split]})
        stamped = [(clips[b.recording].times, b) for b in blocks[split]]
        when = ""
        if stamped and all(times is not None and times.dtype.kind == "M" for times, _ in stamped):
            first = min(times[b.start] for times, b in stamped if times is not None)
            last = max(times[b.stop - 1] for times, b in stamped if times is not None)
            when = f", {np.datetime64(first, 'm')} to {np.datetime64(last, 'm')}"
        elif len(blocks[split]) == 1:
            when = f", {blocks[split][0].start} to {blocks[split][0].stop - 1}"
        lines.append(f"{split:<12}{windows[split]} windows in {frames} frames of {n} recording{'s' * (n != 1)}{when}")
    return lines


def recordings_from(path: str, split: str, window: Window, args: Mapping[str, Any]) -> Recordings:
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
            raise ValueError(f"data {path} takes no argument {name!r}; {hint}")
    return Recordings(path, split, window, scaling, Reading(**groups[Reading]), Dealing(**groups[Dealing]))


# Dealing


def dealt(clips: Sequence[Clip], counts: Sequence[int] | None, dealing: Dealing, window: Window) -> dict[str, list[Block]]:
    """Which frames of which recordings belong to which split.

    Args:
        clips: the recordings.
        counts: how many of them, in order, lie in folders for train, validation and test; None where there are no such folders.
        dealing, window: see there.
    """
    gap = window.future if dealing.gap is None else dealing.gap
    blocks: dict[str, list[Block]] = {split: [] for split in SPLITS}
    shares = dealing.shares
    sources = list(dict.fromkeys(_source(clip) for clip in clips))  # the parts that gaps or cuts made of one stay together
    if counts is not None:
        of = np.repeat(SPLITS, counts)
        train = shares[0] / (shares[0] + shares[1] or 1.0)
        shares = (train, 1 - train, 0.0)  # where validation has no folder, of each training recording
        cut = [split == "train" and not counts[1] for split in of]
    elif dealing.by == "recording" or (dealing.by == "auto" and len(sources) >= 10):
        owner = {name: split for split, names in zip(SPLITS, _shared_out(sources, shares), strict=True) for name in names}
        of, cut = np.array([owner[_source(clip)] for clip in clips]), [False] * len(clips)
    else:
        of, cut = np.array(["train"] * len(clips)), [True] * len(clips)
    for k, clip in enumerate(clips):
        parts = {str(of[k]): Block(k, 0, len(clip))}
        if cut[k]:
            in_time = dict(zip(SPLITS, _cut_in_time(k, len(clip), shares, gap), strict=True))
            # One that is too short to give each split a window stays whole, to train on, where others can be cut.
            enough = all(len(in_time[split]) >= window.length for split, share in zip(SPLITS, shares, strict=True) if share > 0)
            parts = in_time if enough or len(clips) == 1 else parts
        for split, block in parts.items():
            if len(block):
                blocks[split].append(block)
    _check_apart(blocks)
    return blocks


def _source(clip: Clip) -> str:
    name, bracket, _ = clip.name.rpartition(" [")
    return name if bracket else clip.name


def _shared_out(names: Sequence[str], shares: Sequence[float]) -> list[Sequence[str]]:
    """Whole recordings in order; each split with a share gets at least one, as far as they go."""
    n = len(names)
    ends = [round(n * sum(shares[: k + 1])) for k in range(3)]
    if n >= 3:
        for k in (2, 1):  # the last ones first: train has the most to give
            if shares[k] > 0 and ends[k] - ends[k - 1] < 1:
                ends[k - 1] = ends[k] - 1
                ends[0] = min(ends[0], ends[1])
    return [names[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def _cut_in_time(recording: int, n: int, shares: Sequence[float], gap: int) -> list[Block]:
    """Three stretches in order; where another follows, `gap` frames at the end of a stretch are left out."""
    ends = [round(n * sum(shares[: k + 1])) for k in range(3)]
    blocks = []
    for k, (start, stop) in enumerate(zip([0, *ends], ends, strict=False)):
        followed = any(share > 0 for share in shares[k + 1 :])
        blocks.append(Block(recording, start, max(start, stop - gap) if followed and shares[k] > 0 else stop))
    return blocks


def _check_apart(blocks: Mapping[str, Sequence[Block]]) -> None:
    """No frame in two splits: checked, not assumed."""
    spans = sorted((b.recording, b.start, b.stop) for split in SPLITS for b in blocks[split])
    for (r, _, stop), (other, start, _) in pairwise(spans):
        assert r != other or start >= stop, f"frame {start} of recording {r} is in two splits"


def _places(h: int, w: int, tile: int, spacing: int) -> Iterator[tuple[int, int]]:
    """Top left corners of tiles that cover the frame evenly, at most `spacing` apart; one where there are none."""
    if not tile:
        yield 0, 0
        return
    for top in _starts(h, tile, spacing):
        for left in _starts(w, tile, spacing):
            yield top, left


def _starts(side: int, tile: int, spacing: int) -> list[int]:
    count = 1 + max(0, -(-(side - tile) // spacing))
    return [round(k * max(0, side - tile) / max(1, count - 1)) for k in range(count)]


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
    clips: list[Clip]
    counts: list[int] | None
    frames: list[np.ndarray]
    broken: list[set[int]]


_last: dict[str, _Opened] = {}  # what was opened last: train and validation share its frames


def _opened(path: str | Path, reading: Reading) -> _Opened:
    """The recordings in `path`, decoded, and how many lie in folders train, validation and test, where it has them."""
    key = repr((str(path), _stamps(path), reading))
    if key not in _last:
        clips, counts = found_in(path, reading)
        kept = held(clips, path, reading)
        _last.clear()
        _last[key] = _Opened(clips, counts, [frames for frames, _ in kept], [broken for _, broken in kept])
    return _last[key]


def found_in(path: str | Path, reading: Reading) -> tuple[list[Clip], list[int] | None]:
    """The recordings in `path`, and how many lie in its folders train, validation and test; None without such folders."""
    folder = Path(path)
    if not ((folder / "train").is_dir() and (folder / "test").is_dir()):
        return read_clips(path, reading), None
    clips, counts = [], []
    for names in (("train",), ("validation", "val"), ("test",)):
        inside = [clip for name in names if (folder / name).is_dir() for clip in read_clips(folder / name, reading)]
        counts.append(len(inside))
        clips += inside
    return clips, counts


def _stamps(path: str | Path) -> list[tuple[str, int, int]]:
    """Names, sizes and dates of the files in `path`: when these change, so does what they hold."""
    files = sorted(p for p in Path(path).rglob("*") if p.is_file()) if Path(path).is_dir() else [Path(path)]
    return [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.exists()]


def held(clips: Sequence[Clip], path: str | Path, reading: Reading) -> list[tuple[np.ndarray, set[int]]]:
    """Each recording's frames where any stretch of them is quick to get at, in memory or in a memory-mapped file, and which of them
    are damaged."""
    need = sum(_bytes(clip) for clip in clips if not isinstance(clip.frames, np.ndarray))
    return [
        (clip.frames, set())
        if isinstance(clip.frames, np.ndarray)
        else _in_memory(clip)
        if need <= IN_MEMORY
        else _in_file(clip, path, reading)
        for clip in clips
    ]


def _bytes(clip: Clip) -> int:
    return int(np.prod(clip.frames.shape)) * clip.frames.dtype.itemsize


def _chunks(clip: Clip) -> Iterator[np.ndarray]:
    for start in range(0, len(clip), CHUNK):
        yield np.asarray(clip.frames[start : min(start + CHUNK, len(clip))])


def _in_memory(clip: Clip) -> tuple[np.ndarray, set[int]]:
    frames = np.empty(clip.frames.shape, clip.frames.dtype)
    start = 0
    for chunk in _chunks(clip):
        frames[start : start + len(chunk)] = chunk
        start += len(chunk)
    return frames, broken_in(clip.frames)


def _in_file(clip: Clip, path: str | Path, reading: Reading) -> tuple[np.ndarray, set[int]]:
    """The same in a .npy file that later runs use again; its name tells the source's names, sizes, dates and how it was read."""
    key = hashlib.sha256(repr((_stamps(path), clip.name, clip.frames.shape, asdict(reading))).encode()).hexdigest()[:24]
    folder = Path(os.environ.get("FOREFRAME_CACHE", Path.home() / ".cache" / "foreframe"))
    file, damaged = folder / f"{key}.npy", folder / f"{key}.broken"
    if not (file.exists() and damaged.exists()):
        warn(
            f"{clip.name}: {_bytes(clip) / 2**30:.1f} GiB of frames are decoded into {file}; size, coarsen or every make them fewer"
        )
        with whole_file(file) as rough, rough.open("wb") as out:
            # Written, not mapped: a full disk must be an error, and is a crash in a mapped file.
            header = {"descr": np.lib.format.dtype_to_descr(clip.frames.dtype), "fortran_order": False, "shape": clip.frames.shape}
            np.lib.format.write_array_header_2_0(out, header)
            for chunk in _chunks(clip):
                out.write(np.ascontiguousarray(chunk).data)
        with whole_file(damaged) as rough:
            rough.write_text(" ".join(map(str, sorted(broken_in(clip.frames)))), encoding="utf-8")
    return np.load(file, mmap_mode="r"), {int(k) for k in damaged.read_text(encoding="utf-8").split()}
