"""Windows of recordings: positions, tiles and augmentation."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from foreframe.clips.clip import Clip, Variable, Window
from foreframe.clips.scaling import Moments, Scaling, scaling_from
from foreframe.clips.units import check_units
from foreframe.data import decoding
from foreframe.data.cf import variables_of
from foreframe.data.data_options import ReadOptions, SplitOptions
from foreframe.data.datasets import ClipSet, Key, Stretches
from foreframe.data.decoding import decode, stretches_of
from foreframe.data.inputs import CLOCKS
from foreframe.data.splits import SPLITS, Published, lacking, noted, split_clips, split_lines

ACTIVE = 0.05  # share of the scaled range: values above are active
ENOUGH = 0.25  # least share of known past values in a window of a tile
ROUNDING = 1e-9
# Winds and currents by CF standard names (x_wind, eastward_sea_water_velocity) and usual names.
EAST = re.compile(r"(\b|_)(eastward|x)_(wind|\w*(velocity|stress))|\b\d*u\d*$")
NORTH = re.compile(r"(\b|_)(northward|y)_(wind|\w*(velocity|stress))|\b\d*v\d*$")


class Recordings(ClipSet):
    """Windows (T,C,H,W), float32, of recordings, scaled to [0,1].

    Missing values are NaN; training and scores ignore them. Frames are decoded once, into memory.
    Frames above 1 GiB are read in chunks from Zarr stores, and decoded into a file under
    FOREFRAME_CACHE (~/.cache/foreframe) from other sources.

    Args:
        source: any source of `foreframe.clips_from`, or a `Published`. URLs and xarray objects have
            no date: times and some frames identify their file of decoded frames.
        split: "train", "validation", "test" or "all".
        window: past and future frames of an item.
        scaling: a kind to fit to the training frames ("minmax", "standard"), or one with `low` and
            `high` (see `Scaling`); by default 0 to 255 for 8-bit frames, otherwise "minmax".
        reading, splits: options of these classes.

    Raises:
        ValueError: errors of reading; recordings of different sizes; a split without a window;
            values beyond [0,1] for a `Scaling` of that range, except 8-bit pictures.
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
        recordings = decode(source, reading, splits.tile)
        self.window, self.splits, self._budget = window, splits, reading.budget
        clips = [part for inside in recordings.values() for parts in inside for part in parts]
        named = source.name if isinstance(source, Published) else clips[0].name
        self.name = str(source) if isinstance(source, str | Path) else named
        self._by_split = split_clips(recordings, splits, window) | {"all": clips}
        channels = clips[0].inputs
        self.inputs = len(channels)
        self._unknown = [k - len(channels) for k, c in enumerate(channels) if not c.known]
        train = self._by_split["train"] or clips
        self.scaling = fit_scaling(self.name, clips, train, scaling, self._budget)
        self._found: dict[str, list[tuple[int, int, int, int]]] = {}  # windows by split
        if isinstance(scaling, Scaling) and scaling.is_unit:
            self._check_range()
        self._take(split)

    def of_split(self, split: str) -> "Recordings":
        """Return another split, with the same frames and scaling."""
        other = copy(self)
        other._take(split)
        return other

    def whole(self) -> "Recordings":
        """Return the recordings in whole frames instead of tiles, if all frames have one size:
        objects may move into a tile from outside.
        """
        if len({clip.frames.shape[2:] for clip in self._by_split["all"]}) > 1:
            return self
        other = copy(self)
        other.splits, other._found = replace(self.splits, tile=0), {}
        other._take(self.split)
        return other

    def later(self, skip: int, scaling: Scaling) -> "Recordings":
        """Return the windows without their first `skip` frames, with another scaling; raises as
        `Recordings` for values out of its range.
        """
        other = copy(self)
        other.scaling = scaling
        other.window = replace(self.window, past=self.window.past - skip)
        other.windows = [(k, start + skip, top, left) for k, start, top, left in self.windows]
        if scaling.is_unit:
            other._check_range()
        return other

    def _take(self, split: str) -> None:
        if split not in self._by_split:
            raise ValueError(f"split {split!r} is unknown; choose train, validation, test or all")
        self.split = split
        self.clips = self._by_split[split]
        self.windows = self._windows(split)
        self.by_epoch = split == "train" and self.splits.augment != "none"
        self._mirrored = sideways(self.clips[0], self.splits.augment) if self.by_epoch else []
        if not self.windows:
            raise ValueError(
                f"{self.name}: no window of {self.window.past} past and {self.window.future} "
                f"future frames in {split}: {lacking(self.clips, self.window)}"
            )

    def _windows(self, split: str) -> list[tuple[int, int, int, int]]:
        if split not in self._found:
            clips, how = self._by_split[split], (self.window, self.splits, self.scaling)
            self._found[split] = list(windows_in(clips, split, *how, self._budget))
        return self._found[split]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: Key) -> Float[Tensor, "t c h w"]:
        values = self.scaling.from_pictures(self.values(key))
        return self.scaling.to_network(torch.from_numpy(np.array(values, dtype=np.float32)))

    def compact(self, keys: Sequence[Key]) -> Shaped[Tensor, "b t c h w"]:
        if not self._in_bytes:
            return self.batch(keys)
        return torch.from_numpy(np.stack([self.values(key) for key in keys]))

    @property
    def _in_bytes(self) -> bool:
        """Whether frames are bytes, and the scaling divides them by 255."""
        if self.inputs or any(clip.frames.dtype != np.uint8 for clip in self.clips):
            return False
        levels = np.arange(256, dtype=np.uint8)
        scaled = self.scaling.to_network(self.scaling.from_pictures(levels).astype(np.float32))
        return np.array_equal(scaled, levels / np.float32(255))

    def values(self, key: Key) -> Shaped[np.ndarray, "t c h w"]:
        """Return the frames of a window in data units."""
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
            values = _augmented(values, draw, self.splits.augment, self._mirrored)
        if self._unknown:
            values = np.array(values)
            past = self.window.past
            values[past:, self._unknown] = values[past - 1 : past, self._unknown]
        return values

    def stretches(self) -> Stretches | None:
        chunk = max(clip.frames.chunk for clip in self.clips)
        if not chunk:
            return None
        # Windows extend beyond the end of a stretch, and its ends may be inside of chunks.
        length = self.window.length
        stretch = -(-2 * max(chunk, length) // chunk) * chunk
        frame = max(clip.frames.nbytes // len(clip) for clip in self.clips)
        begins = [clip * 2**32 + start // stretch for clip, start, _, _ in self.windows]
        numbers = np.unique(begins, return_inverse=True)[1]
        need = frame * (stretch + length + chunk)
        return Stretches(numbers, max(1, decoding.IN_MEMORY // need))

    def dtype_of(self, index: int) -> np.dtype:
        return self.clips[self.windows[index][0]].frames.dtype

    def _check_range(self) -> None:
        """Raise a ValueError for values beyond [0, 1]; 8-bit pictures are scaled."""
        for clip in self._by_split["all"]:
            if clip.frames.dtype == np.uint8:
                continue
            moments = Moments()
            for k in range(0, len(clip), max(1, len(clip) // 16)):
                moments = moments.plus(clip.frames[k : k + 1, : clip.channels])
            if moments.lowest < -1e-3 or moments.highest > 1 + 1e-3:
                raise ValueError(
                    f"{clip.name}: values are {moments.lowest:.4g} to {moments.highest:.4g}, "
                    "but the model was trained on [0, 1]; scale them to that range first, or train "
                    "on these"
                )

    def report(self) -> list[str]:
        """Return a line for each split, and the notes of reading."""
        counts = {split: len(self._windows(split)) for split in SPLITS}
        return [*split_lines(self._by_split, counts), *noted(self._by_split["all"])]


def fit_scaling(
    name: str,
    clips: Sequence[Clip],
    train: Sequence[Clip],
    given: str | Mapping[str, Any] | Scaling | None,
    budget: float,
) -> Scaling:
    """Return the scaling of recordings, by default fitted to the training clips; an input is scaled
    from its lowest to its highest value.

    Raises:
        ValueError: clips in several units, or in other units than the scaling; frames without a
            range.
    """
    named = [clip for clip in clips if clip.units]
    units = named[0].units if named else ""
    for clip in named:
        check_units(clip.units, units, clip.name, f"{named[0].name} in")
    if given is None:
        given = Scaling(0, 255) if clips[0].frames.dtype == np.uint8 else "minmax"
    scaling = scaling_from(given)
    inputs = clips[0].inputs
    if isinstance(scaling, Scaling):
        check_units(units, scaling.units, name, "the scaling is for")
        scaling = replace(scaling, units=scaling.units or units)
        if scaling.inputs or not inputs:
            return scaling
    targets, *others = _moments(train, budget)
    ends = []
    for channel, m in zip(inputs, others, strict=True):
        above = m.highest if m.highest > m.lowest else m.lowest + 1  # one value has no range
        is_clock = channel.name.partition(", ")[0] in CLOCKS
        ends.append((-1, 1) if is_clock else (m.lowest, above))
    try:
        if isinstance(scaling, str):
            scaling = Scaling.from_moments(targets, units, scaling)
        return replace(scaling, inputs=tuple(ends))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def windows_in(
    clips: Sequence[Clip],
    split: str,
    window: Window,
    options: SplitOptions,
    scaling: Scaling,
    budget: float,
) -> Iterator[tuple[int, int, int, int]]:
    """Yield (clip, first frame, top, left) of every window of a split without a damaged frame and
    with known values. A quarter of a tile's past must be known, and any value of a whole frame.
    Training tiles overlap by half, others as little as possible.
    """
    past, length, tile = window.past, window.length, options.tile
    spacing = max(1, tile // (2 if split == "train" else 1))
    for number, clip in enumerate(clips):
        h, w = clip.frames.shape[2:]
        places = _corners(h, w, tile, spacing)
        starts = np.arange(0, len(clip) - length + 1, window.stride)
        for k in clip.frames.broken:
            starts = starts[(starts > k) | (k >= starts + length)]
        if not len(starts):
            continue
        wanted = np.ones((len(starts), len(places)), bool)
        if options.active or clip.frames.dtype.kind == "f":
            contents = _content(clip, places, options, replace(scaling, inputs=()), budget)
            known, active = map(_means, contents)
            least = ENOUGH - ROUNDING if tile else ROUNDING
            wanted &= known(starts, starts + past) > least
            wanted &= known(starts + past, starts + length) > ROUNDING
            wanted &= active(starts, starts + past) > options.active - ROUNDING
        for start, at in zip(starts.tolist(), wanted, strict=True):
            for place in np.flatnonzero(at).tolist():
                yield number, start, *places[place]


def _content(
    clip: Clip,
    places: Sequence[tuple[int, int]],
    options: SplitOptions,
    scaling: Scaling,
    budget: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of known and of active values for each frame of a clip and each tile."""
    known, active = (np.zeros((len(clip), len(places)), np.float32) for _ in range(2))
    side = options.tile or max(clip.frames.shape[2:])
    row = 0
    for values in stretches_of(clip, budget):
        rows = slice(row, row := row + len(values))
        values = values[:, : clip.channels]
        y = values
        if options.active:
            y = scaling.to_network(scaling.from_pictures(values).astype(np.float32))
        for k, (top, left) in enumerate(places):
            tile = np.s_[:, :, top : top + side, left : left + side]
            known[rows, k] = np.isfinite(values[tile]).mean(axis=(1, 2, 3))
            if options.active:
                active[rows, k] = (y[tile] > ACTIVE).mean(axis=(1, 2, 3))
    return known, active


def _moments(clips: Sequence[Clip], budget: float) -> list[Moments]:
    """Return the statistics of all forecast channels together, and of each input."""
    targets, all_channels = clips[0].channels, clips[0].frames.shape[1]
    groups = [slice(targets), *(slice(k, k + 1) for k in range(targets, all_channels))]
    found = [Moments() for _ in groups]
    for clip in clips:
        for frames in stretches_of(clip, budget):
            found = [m.plus(frames[:, group]) for m, group in zip(found, groups, strict=True)]
    return found


def _corners(h: int, w: int, tile: int, spacing: int) -> list[tuple[int, int]]:
    """Return the top left corners of tiles that cover the frame evenly, at most `spacing` apart;
    one for whole frames.
    """
    return list(product(_starts(h, tile or h, spacing), _starts(w, tile or w, spacing)))


def _starts(side: int, tile: int, spacing: int) -> list[int]:
    count = 1 + max(0, -(-(side - tile) // spacing))
    return [round(k * max(0, side - tile) / max(1, count - 1)) for k in range(count)]


def _means(values: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function for the means (n,P) of rows first[i] to last[i] of values (T,P)."""
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, dtype=np.float64, out=sums[1:])
    return lambda first, last: (sums[last] - sums[first]) / (last - first)[:, None]


def sideways(clip: Clip, augment: str) -> list[int]:
    """Return the channels that change their sign in a mirror: winds and currents from left to
    right, by their standard or usual name.

    Raises:
        ValueError: directions; with "turns", any winds and currents.
    """
    named = [*variables_of(clip.without_inputs()), *(Variable(one.name) for one in clip.inputs)]
    names = [
        f"{variable.attributes.get('standard_name', '')} {variable.name}".lower()
        for variable in named
        for _ in range(variable.channels)
    ]
    turns = augment == "turns"
    for words in names:
        if "direction" in words or (turns and (EAST.search(words) or NORTH.search(words))):
            raise ValueError(
                f"{clip.name}: splits.augment {augment} cannot turn {words.strip()}: choose none, "
                "or, for components of a wind, flips"
            )
    return [k for k, words in enumerate(names) if EAST.search(words)]


def _augmented(
    values: np.ndarray, draw: np.random.Generator, augment: str, mirrored: list[int]
) -> np.ndarray:
    if draw.random() < 0.5:
        values = values[..., ::-1]
        if mirrored:
            values = np.array(values)
            values[:, mirrored] *= -1
    if augment == "turns" and values.shape[-1] == values.shape[-2]:
        values = np.rot90(values, int(draw.integers(4)), axes=(-2, -1))
    return values
