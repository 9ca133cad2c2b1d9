"""Windows of recordings: where they begin, tiles, augmentation; frames decoded once."""

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.budget import GIB, in_gib
from foreframe.base.files import atomic_write
from foreframe.base.notes import warn
from foreframe.clips.clip import Clip, Window
from foreframe.clips.data_options import ReadOptions, SplitOptions
from foreframe.clips.frames import ArrayFrames, Frames
from foreframe.clips.scaling import Moments, Scaling, scaling_from
from foreframe.clips.units import check_units
from foreframe.data.arrays import array_of, data_name
from foreframe.data.datasets import ClipSet, Key
from foreframe.data.header_limits import frames_at_once
from foreframe.data.inputs import CLOCKS, with_clocks
from foreframe.data.npy import NpyFrames, frames_in, header_of
from foreframe.data.readers import breaks, in_parts
from foreframe.data.splits import SPLITS, lacking, noted, raw_by_folder, split_clips, split_lines

IN_MEMORY = 2**30  # bytes of decoded frames that are kept in memory; more are kept in a file
CHUNK = 32  # frames read at once
ACTIVE = 0.05  # of the scaled range: what lies above it counts as something to forecast
ENOUGH = 0.25  # of a tile's past values must be known, or it is no window
ROUNDING = 1e-9


@dataclass(frozen=True)
class Decoded:
    """Recordings that fit together, and whose frames are quick to get at.

    Args:
        name: of all of them, for messages.
        recordings: each in its parts, by the folder that decides their split (see `split_clips`).
        budget: GiB that reading may take at once.
    """

    name: str
    recordings: Mapping[str, Sequence[Sequence[Clip]]]
    budget: float

    @property
    def clips(self) -> list[Clip]:
        """All parts of all recordings, in order."""
        folders = self.recordings.values()
        return [part for recordings in folders for parts in recordings for part in parts]


def decode(source: Any, options: ReadOptions, tile: int = 0) -> Decoded:
    """The recordings in `source`, decoded; refused before that where they do not fit together.

    Args:
        source: anything that `foreframe.clips_from` opens.
        options: how it is read.
        tile: side of the tiles that windows are of, which recordings of several sizes need.

    Raises:
        ValueError: what reading raises; recordings of different sizes; no room on the disk.
    """
    recordings = {
        folder: [in_parts(clip, breaks(clip, options), options) for clip in clips]
        for folder, clips in raw_by_folder(source, options).items()
    }
    read = Decoded("", recordings, options.budget)
    name = str(source) if isinstance(source, str | Path) else read.clips[0].name
    _check_sizes(name, read.clips, tile)
    quick = iter(decoded(read.clips, source, options))
    recordings = {
        folder: [[with_clocks(next(quick), options.inputs) for _ in parts] for parts in inside]
        for folder, inside in recordings.items()
    }
    return Decoded(name, recordings, options.budget)


class Recordings(ClipSet):
    """Windows (T,C,H,W), float32, of recordings, scaled to [0,1].

    Missing values are NaN; training and scores leave them out. Frames are decoded once: into
    memory, or, where they would need more than 1 GiB, into a file under FOREFRAME_CACHE
    (~/.cache/foreframe).

    Args:
        source: anything that `foreframe.clips_from` opens, or what `decode` made of it, so that
            several splits share it. URLs and xarray objects have no date: times, first and last
            frame tell whether a file of decoded frames is still theirs.
        split: "train", "validation", "test" or "all".
        window: past and future frames of an item.
        scaling: a kind to be fitted to the training frames ("minmax", "standard"), or one with
            `low` and `high` (see `Scaling`); by default 0 to 255 for 8-bit frames, else "minmax".
        reading, splits: see there.

    Raises:
        ValueError: what reading raises; recordings of different sizes; a split without a window.
    """

    bounded = False
    ordered = True

    def __init__(
        self,
        source: Any,
        split: str = "train",
        window: Window = Window(),  # noqa: B008 (frozen)
        scaling: str | Mapping[str, Any] | Scaling | None = None,
        reading: ReadOptions = ReadOptions(),  # noqa: B008
        splits: SplitOptions = SplitOptions(),  # noqa: B008
    ) -> None:
        if split not in (*SPLITS, "all"):
            raise ValueError(f"split {split!r} is unknown; choose train, validation, test or all")
        read = source if isinstance(source, Decoded) else decode(source, reading, splits.tile)
        self.name, self.split, self.window, self.splits = read.name, split, window, splits
        self._budget, self._all = read.budget, read.clips
        self._by_split = split_clips(read.recordings, splits, window)
        self.clips = self._all if split == "all" else self._by_split[split]
        channels = self._all[0].inputs
        self.inputs = len(channels)
        unknown = [k for k, channel in enumerate(channels) if not channel.known]
        self._unknown = [k - len(channels) for k in unknown]
        self.scaling = self._with_inputs(self._scaling(scaling))
        self.windows = list(self._windows(self.clips, split))
        self.by_epoch = split == "train" and splits.augment != "none"
        if not self.windows:
            if max(map(len, self.clips), default=0) >= window.length:
                smaller = " or a smaller active" if splits.active else ""
                raise ValueError(
                    f"{self.name}: each window of {window.length} frames in {split} holds damaged "
                    "frames, or too little to forecast from; use a smaller past and future"
                    f"{smaller}"
                )
            raise ValueError(
                f"{self.name}: no window of {window.past} past and {window.future} future frames "
                f"in {split}: {lacking(split, self.clips, splits, window)}"
            )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: Key) -> Float[Tensor, "t c h w"]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        clip, start, top, left = self.windows[index]
        frames, tile = self.clips[clip].frames, self.splits.tile
        h, w = frames.shape[2:]
        tile_h, tile_w = (min(tile or side, side) for side in (h, w))
        draw = None
        if self.by_epoch:
            draw = np.random.default_rng((self.splits.seed, epoch, index % len(self)))
            if tile:
                slack = tile // 2
                top = int(np.clip(top + draw.integers(-slack, slack + 1), 0, h - tile_h))
                left = int(np.clip(left + draw.integers(-slack, slack + 1), 0, w - tile_w))
        stop = start + self.window.length
        values = frames[start:stop, :, top : top + tile_h, left : left + tile_w]
        if draw is not None:
            values = _augmented(values, draw, self.splits.augment)
        if self._unknown:
            values = np.array(values)
            past = self.window.past
            values[past:, self._unknown] = values[past - 1 : past, self._unknown]
        values = self.scaling.from_pictures(values)
        # What lies in memory stays as it is; what a file gave is nobody else's.
        own = np.array if isinstance(frames, ArrayFrames) else np.ascontiguousarray
        return self.scaling.to_network(torch.from_numpy(own(values, dtype=np.float32)))

    def dtype_of(self, index: int) -> np.dtype:
        return self.clips[self.windows[index][0]].frames.dtype

    def _scaling(self, given: str | Mapping[str, Any] | Scaling | None) -> Scaling:
        named = [clip for clip in self._all if clip.units]
        units = named[0].units if named else ""
        for clip in named:
            check_units(clip.units, units, clip.name, f"{named[0].name} in")
        if given is None and self._all[0].frames.dtype == np.uint8:
            return Scaling(0, 255, units)
        wanted = scaling_from("minmax" if given is None else given)
        if isinstance(wanted, Scaling):
            check_units(units, wanted.units, str(self.name), "the scaling is for")
            return wanted if wanted.units or not units else replace(wanted, units=units)
        moments = Moments()
        for clip in self._by_split["train"] or self._all:
            for frames in _chunks(clip, self._budget):
                moments = moments.plus(frames[:, : clip.channels])
        if moments.count == 0:
            raise ValueError(f"{self.name}: every value of the training frames is missing")
        try:
            return Scaling.from_moments(moments, units, wanted)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    def _with_inputs(self, scaling: Scaling) -> Scaling:
        """The scaling with one for each input: from its lowest to its highest value in the training
        frames.
        """
        if not self.inputs or scaling.inputs:
            return scaling
        moments = [Moments() for _ in range(self.inputs)]
        for clip in self._by_split["train"] or self._all:
            for frames in _chunks(clip, self._budget):
                for k, before in enumerate(moments):
                    moments[k] = before.plus(frames[:, clip.channels + k])
        ends = []
        for channel, m in zip(self._all[0].inputs, moments, strict=True):
            if m.count == 0:
                raise ValueError(f"{self.name}: every value of {channel.name} is missing")
            above = m.highest if m.highest > m.lowest else m.lowest + 1  # one value has no range
            is_clock = channel.name.partition(", ")[0] in CLOCKS
            ends.append((-1, 1) if is_clock else (m.lowest, above))
        return replace(scaling, inputs=tuple(ends))

    def _windows(self, clips: Sequence[Clip], split: str) -> Iterator[tuple[int, int, int, int]]:
        """(clip, first frame, top, left) of every window without a damaged frame that has
        something to forecast from, and to compare with: of a tile a quarter of the past must be
        known, of a whole frame anything. Tiles to train on overlap by half, others no more than
        they must.
        """
        past, length, tile = self.window.past, self.window.length, self.splits.tile
        spacing = max(1, tile // (2 if split == "train" else 1))
        for number, clip in enumerate(clips):
            h, w = clip.frames.shape[2:]
            places = list(_places(h, w, tile, spacing))
            starts = np.arange(0, len(clip) - length + 1, self.window.stride)
            for k in clip.frames.broken:
                starts = starts[(starts > k) | (k >= starts + length)]
            if not len(starts):
                continue
            wanted = np.ones((len(starts), len(places)), bool)
            if self.splits.active or clip.frames.dtype.kind == "f":
                known, active = (_means(values) for values in self._content(clip, places))
                least = ENOUGH - ROUNDING if tile else ROUNDING
                wanted &= known(starts, starts + past) > least
                wanted &= known(starts + past, starts + length) > ROUNDING
                wanted &= active(starts, starts + past) > self.splits.active - ROUNDING
            for start, places_of in zip(starts.tolist(), wanted, strict=True):
                for place in np.flatnonzero(places_of).tolist():
                    yield number, start, *places[place]

    def _content(
        self, clip: Clip, places: Sequence[tuple[int, int]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each frame of a clip and each tile: the share of values that are known, and of those
        that are active.
        """
        known, active = (np.zeros((len(clip), len(places)), np.float32) for _ in range(2))
        side = self.splits.tile or max(clip.frames.shape[2:])
        scaling = replace(self.scaling, inputs=())
        row = 0
        for values in _chunks(clip, self._budget):
            rows = slice(row, row := row + len(values))
            values = values[:, : clip.channels]
            y = None
            if self.splits.active:
                y = scaling.to_network(scaling.from_pictures(values).astype(np.float32))
            for k, (top, left) in enumerate(places):
                tile = np.s_[:, :, top : top + side, left : left + side]
                known[rows, k] = np.isfinite(values[tile]).mean(axis=(1, 2, 3))
                if y is not None:
                    active[rows, k] = (y[tile] > ACTIVE).mean(axis=(1, 2, 3))
        return known, active

    def check_range(self) -> None:
        """Refuse what a forecaster trained on [0, 1] cannot mean; 8-bit pictures are brought there.

        Raises:
            ValueError: values beyond [0, 1] where `scaling` is that range.
        """
        for clip in self._all:
            if not self.scaling.is_unit or clip.frames.dtype == np.uint8:
                continue
            for k in np.linspace(0, len(clip) - 1, min(len(clip), 16)).astype(int).tolist():
                values = clip.frames.read(k, k + 1)[:, : clip.channels]
                known = values[np.isfinite(values)]
                if known.size and not -1e-3 <= known.min() <= known.max() <= 1 + 1e-3:
                    raise ValueError(
                        f"{clip.name}: frame {k} has values from {known.min():.4g} to "
                        f"{known.max():.4g}, but the model was trained on [0, 1]; scale them to "
                        "that range first, or train on these"
                    )

    def report(self) -> list[str]:
        """A line a split: how many recordings, frames and windows, and from when to when; and what
        reading has to tell.
        """
        counts = {
            split: len(self)
            if split == self.split
            else sum(1 for _ in self._windows(self._by_split[split], split))
            for split in SPLITS
        }
        return [*split_lines(self._by_split, counts), *noted(self._all)]


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
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, dtype=np.float64, out=sums[1:])
    return lambda first, last: (sums[last] - sums[first]) / (last - first)[:, None]


def _augmented(values: np.ndarray, draw: np.random.Generator, augment: str) -> np.ndarray:
    if draw.random() < 0.5:
        values = values[..., ::-1]
    if augment == "turns" and values.shape[-1] == values.shape[-2]:
        values = np.rot90(values, int(draw.integers(4)), axes=(-2, -1))
    return values


# Frames, decoded once


def _check_sizes(name: str, clips: Sequence[Clip], tile: int) -> None:
    """Refuse recordings whose windows do not fit into one batch."""
    sizes = {clip.frames.shape[1:] for clip in clips}
    channels = {size[0] for size in sizes}
    tiles_fit = 0 < tile <= min((min(size[1:]) for size in sizes), default=0)
    if len(channels) > 1 or (len(sizes) > 1 and not tiles_fit):
        two = " and ".join("x".join(map(str, size)) for size in sorted(sizes)[:2])
        grey = "colour grey makes their channels one"
        cure = grey if len(channels) > 1 else "size, crop or a tile that fits into each will do"
        raise ValueError(f"{name}: recordings of different sizes, {two}; {cure}")


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


def decoded(clips: Sequence[Clip], source: Any, options: ReadOptions) -> list[Clip]:
    """The clips of `source` with their frames where any stretch of them is quick to get at: in
    memory, or in a .npy file.
    """
    kinds = [(clip, type(clip.frames)) for clip in clips]
    slow = sum(_bytes(clip) for clip, kind in kinds if kind not in (ArrayFrames, NpyFrames))
    stored = sum(_bytes(clip) for clip, kind in kinds if kind is NpyFrames)
    room = min(IN_MEMORY, options.budget * GIB)

    def quick(clip: Clip) -> Frames:
        if isinstance(clip.frames, ArrayFrames):
            return clip.frames
        if isinstance(clip.frames, NpyFrames):  # a copy is quicker than a call for each window
            return _in_memory(clip, options.budget) if slow + stored <= room else clip.frames
        return _in_memory(clip, options.budget) if slow <= room else _in_file(clip, source, options)

    return [replace(clip, frames=quick(clip)) for clip in clips]


def _bytes(clip: Clip) -> int:
    return math.prod(clip.frames.shape) * clip.frames.dtype.itemsize


def _chunks(clip: Clip, budget: float) -> Iterator[np.ndarray]:
    few = frames_at_once(clip.frames.shape, CHUNK, budget)
    for start in range(0, len(clip), few):
        yield clip.frames.read(start, min(start + few, len(clip)))


def _in_memory(clip: Clip, budget: float) -> ArrayFrames:
    frames = np.empty(clip.frames.shape, clip.frames.dtype)
    start = 0
    for chunk in _chunks(clip, budget):
        frames[start : start + len(chunk)] = chunk
        start += len(chunk)
    return ArrayFrames(frames, clip.frames.broken)


def _in_file(clip: Clip, source: Any, options: ReadOptions) -> NpyFrames:
    """The same in a .npy file that later runs use again; its name tells the source's names, sizes,
    dates and how it was read.

    Raises:
        ValueError: the disk has no room for it.
    """
    stamps: Any = _stamps(source)
    if stamps is None:
        ends = [clip.frames.read(k, k + 1).tobytes() for k in (0, len(clip) - 1)]
        times = None if clip.times is None else clip.times.tolist()
        stamps = (times, [hashlib.sha256(end).hexdigest() for end in ends])
    how = asdict(options)
    del how["budget"]  # which changes no frame
    identity = repr((stamps, clip.name, clip.frames.shape, how))
    key = hashlib.sha256(identity.encode()).hexdigest()[:24]
    folder = Path(os.environ.get("FOREFRAME_CACHE", Path.home() / ".cache" / "foreframe"))
    file, damaged = folder / f"{key}.npy", folder / f"{key}.broken"
    if (cached := _decoded_before(file, damaged, clip, options.budget)) is not None:
        return cached
    where = next(place for place in (folder, *folder.parents) if place.exists())
    free, need = shutil.disk_usage(where).free, _bytes(clip)
    if need > free:
        raise ValueError(
            f"{clip.name}: {in_gib(need)} of frames would be decoded into {folder}, where "
            f"{in_gib(free)} are free; size, coarsen or every make them fewer, and FOREFRAME_CACHE "
            "names another folder"
        )
    warn(
        f"{clip.name}: {in_gib(need)} of frames are decoded into {file}; size, coarsen or every "
        "make them fewer"
    )
    with atomic_write(file) as rough, rough.open("wb") as out:
        kind = np.lib.format.dtype_to_descr(clip.frames.dtype)
        header = {"descr": kind, "fortran_order": False, "shape": clip.frames.shape}
        np.lib.format.write_array_header_2_0(out, header)
        for chunk in _chunks(clip, options.budget):
            out.write(np.ascontiguousarray(chunk).data)
    with atomic_write(damaged) as rough:
        rough.write_text(" ".join(map(str, sorted(clip.frames.broken))), encoding="utf-8")
    cached = _decoded_before(file, damaged, clip, options.budget)
    assert cached is not None
    return cached


def _decoded_before(file: Path, damaged: Path, clip: Clip, budget: float) -> NpyFrames | None:
    """The frames that an earlier run has decoded; None where its files are not whole."""
    try:
        frames = frames_in(file, header_of(file), budget)
        broken = frozenset(map(int, damaged.read_text(encoding="utf-8").split()))
    except (OSError, ValueError):
        return None
    if (frames.shape, frames.dtype) != (tuple(clip.frames.shape), clip.frames.dtype):
        return None
    return replace(frames, damaged=broken)
