"""Reading options: crops, colours, sizes and missing values, applied to frames on demand."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from foreframe.base.budget import check_budget, check_stretch, frames_at_once
from foreframe.clips.clip import Clip, Coordinate
from foreframe.clips.frames import FLOAT32, Frames, resized
from foreframe.data.data_options import ReadOptions
from foreframe.data.maps import without_corner

SOURCE_FRAMES = 32  # read at a time


def missing_value(clip: Clip, options: ReadOptions) -> tuple[float | None, list[str]]:
    """Return the number that marks missing values in the whole recording, and a note if it was
    detected.
    """
    if not isinstance(options.missing, str):
        return options.missing, []
    value = _fill_value(clip)
    note = f"{value}, which the same pixels have in every frame, counts as missing"
    return value, [] if value is None else [f"{note} (set missing to change this)"]


def _fill_value(clip: Clip) -> int | None:
    """Return the number that marks missing values in a gridded field of whole numbers: the largest
    of its type, if at least 1 % of the pixels have it in every frame. Pictures, in which it is
    white, have no dates; floats have NaN.
    """
    dtype = clip.frames.dtype
    dated = clip.times is not None and clip.times.dtype.kind != "f"
    if dtype.kind != "u" or not dated or clip.frames.shape[1] != 1:
        return None
    most = int(np.iinfo(dtype).max)
    few = range(0, len(clip), max(1, len(clip) // 16))  # a sample: masks do not change
    always = np.logical_and.reduce([clip.frames[k] == most for k in few])
    return most if always.mean() >= 0.01 else None


def with_missing(clip: Clip, missing: Sequence[float], below: float = -math.inf) -> Clip:
    """Return the clip with NaN for `missing` values and values up to `below`, also before blocks of
    pixels are averaged.
    """
    frames, options = clip.frames, ReadOptions()
    if isinstance(frames, View) and frames.missing is None:
        frames, options = frames.source, frames.options
    return replace(clip, frames=View(frames, options, missing, len(clip.inputs), below))


class View(Frames):
    """Frames after `options`; `missing` values, and values up to `below`, become NaN."""

    def __init__(
        self,
        source: Frames,
        options: ReadOptions,
        missing: float | Sequence[float] | None,
        inputs: int = 0,
        below: float = -math.inf,
    ) -> None:
        self.source, self.options, self.missing, self.inputs = source, options, missing, inputs
        self.below = below
        t, c, *sides = source.shape
        top, left, h, w = options.crop or (0, 0, *sides)
        block = options.coarsen
        # Incomplete blocks are dropped.
        self.rows = slice(top, top + h // block * block)
        self.columns = slice(left, left + w // block * block)
        h, w = options.size or (h // block, w // block)
        channels = {"grey": 1, "rgb": 3}.get(options.colour, c)
        self.shape = (-(-t // options.every), channels, h, w)
        self.chunk = -(-source.chunk // options.every)
        kind = source.dtype
        exact = missing is None and kind.kind != "b" and (block == 1 or kind == np.uint8)
        self.dtype = kind if exact or kind.kind == "f" else FLOAT32

    @property
    def same_grid(self) -> bool:
        return self.options.crop is None and self.shape[2:] == self.source.shape[2:]

    @property
    def changes_nothing(self) -> bool:
        same_values = self.missing is None and self.shape[1] == self.source.shape[1]
        return same_values and self.same_grid and self.options.every == 1

    @property
    def broken(self) -> set[int]:
        every = self.options.every
        return {k // every for k in self.source.broken if k % every == 0}

    def read(self, first: int, last: int) -> np.ndarray:
        shape = (last - first, *self.shape[1:])
        check_stretch(shape, self.dtype.itemsize, self.options.budget)
        # A few at a time, as frames before `every` and resizing need more memory.
        every = self.options.every
        bigger = max(self.source.shape[1:], self.shape[1:], key=math.prod)
        most = max(SOURCE_FRAMES, self.chunk * every)  # no chunk is read twice
        few = max(1, frames_at_once((1, *bigger), most, self.options.budget) // every)
        seen = np.empty(shape, self.dtype)
        for k in range(first, last, few):
            end = min(k + few, last)
            frames = self.source.read(k * every, (end - 1) * every + 1)[::every]
            seen[k - first : end - first] = self._apply(frames)
        return seen

    def _apply(self, frames: np.ndarray) -> np.ndarray:
        frames = frames[:, :, self.rows, self.columns]
        if self.missing is not None:
            absent = frames <= self.below
            for value in np.atleast_1d(self.missing).tolist():
                absent |= frames == value
            absent[:, absent.shape[1] - self.inputs :] = False  # inputs are unchanged
            frames = np.where(absent, np.float32(np.nan), frames.astype(np.float32))
        frames = _recoloured(frames, self.options.colour)
        return resized(frames, self.shape[2], self.shape[3], self.dtype)


def apply_options(clip: Clip, options: ReadOptions, missing: float | None) -> Clip:
    """Return a clip after `options`, with NaN for the number `missing`.

    Raises:
        ValueError: a crop beyond the frames, frames smaller than a block, or over the budget.
    """
    frames = View(clip.frames, options, missing, len(clip.inputs))
    rows, columns = clip.frames.shape[2:]
    top, left, h, w = options.crop or (0, 0, rows, columns)
    if top + h > rows or left + w > columns:
        raise ValueError(
            f"{clip.name}: crop {list(options.crop or ())} reaches beyond frames of "
            f"{rows}x{columns}"
        )
    if min(h, w) < options.coarsen:
        raise ValueError(
            f"{clip.name}: frames of {h}x{w} are too small to coarsen by {options.coarsen}"
        )
    # A frame is converted to float32, and resized into another array.
    c, height, width = frames.shape[1:]
    what = f"{clip.name}: one frame of {c}x{height}x{width}, twice as float32,"
    cure = "crop, size or coarsen make it smaller"
    check_budget(8 * c * height * width, options.budget, what, cure)
    if frames.changes_nothing:
        return clip
    times = None if clip.times is None else clip.times[:: options.every]
    coordinates = {name: _coordinate(place, frames) for name, place in clip.coordinates.items()}
    variables = clip.variables if frames.shape[1] == clip.frames.shape[1] else ()
    return replace(clip, frames=frames, times=times, coordinates=coordinates, variables=variables)


def _coordinate(coordinate: Coordinate, view: View) -> Coordinate:
    """Return a coordinate of rows, columns or both, cropped and averaged like the frames."""
    if not coordinate.dims:
        return coordinate if view.same_grid else without_corner(coordinate)
    taken = {"row": (view.rows, view.shape[2]), "column": (view.columns, view.shape[3])}
    values = coordinate.values
    for axis, side in enumerate(coordinate.dims):
        part, count = taken[side]
        values = _stretched(values.swapaxes(0, axis)[part], count).swapaxes(0, axis)
    return replace(coordinate, values=values)


def _stretched(values: np.ndarray, count: int) -> np.ndarray:
    """Return values along the first axis at `count` pixels, by linear interpolation and
    extrapolation.
    """
    n = len(values)
    if n == count:
        return values
    if n < 2:
        return np.repeat(values, count, axis=0)
    at = (np.arange(count) + 0.5) * n / count - 0.5
    before = np.clip(np.floor(at).astype(int), 0, n - 2)
    share = (at - before).reshape(-1, *[1] * (values.ndim - 1))
    stretched = values[before] * (1 - share) + values[before + 1] * share
    return stretched.astype(values.dtype if values.dtype.kind == "f" else np.float64)


def _recoloured(frames: np.ndarray, colour: str) -> np.ndarray:
    c = frames.shape[1]
    if colour == "as_is" or (colour == "grey" and c == 1) or (colour == "rgb" and c == 3):
        return frames
    if colour == "rgb":
        return frames[:, :1].repeat(3, axis=1) if c < 3 else frames[:, :3]
    if c < 3:
        return frames[:, :1]
    weights, colours = np.array([0.299, 0.587, 0.114], np.float32), frames[:, :3]
    luma = np.tensordot(weights, colours.astype(np.float32), axes=(0, 1))[:, None]
    luma = luma.round() if frames.dtype.kind in "iu" else luma
    return luma.astype(frames.dtype)
