"""One door for every source of frames: films, pictures, arrays, grids, and folders of them."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foreframe.clip import Clip, Coordinate, Frames, same_attributes
from foreframe.data.arrays import ARRAYS, read_arrays, stand_in
from foreframe.data.budget import BUDGET, check_budget, frames_at_once
from foreframe.data.cuts import find_cuts
from foreframe.data.geotiff import is_geotiff, read_geotiff
from foreframe.data.grib import SUFFIXES as GRIBS
from foreframe.data.grib import read_grib
from foreframe.data.grids import read_grid, without_corner
from foreframe.data.images import ANIMATED, count_pages, natural, read_gif, read_images, read_pages
from foreframe.data.images import SUFFIXES as IMAGES
from foreframe.data.memory import recordings_in
from foreframe.data.npy import NpyFrames
from foreframe.data.odim import SUFFIXES as RADAR
from foreframe.data.odim import read_odim
from foreframe.data.resize import resized
from foreframe.data.video import read_film
from foreframe.notes import Note
from foreframe.scaling import Scaling
from foreframe.units import same_unit

FILMS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".y4m")
GRIDS = (".nc", ".nc4", ".cdf", ".netcdf", ".zarr")
SUFFIXES = (*FILMS, ".gif", *ARRAYS, *GRIDS, *GRIBS, *RADAR)
AT_ONCE = 32  # frames of the source that are read at once where only some are taken


@dataclass(frozen=True)
class Reading:
    """How recordings are read. Everything here is done to a few frames at a time, when they are
    asked for.

    Args:
        variable: which array or variable of a file that has several; several names become channels
            (grids).
        select: value of each further dimension of a grid, e.g. {"level": 500}.
        missing: the number that stands for no data in whole numbers; "auto" takes the largest of
            the type where the same pixels of a gridded field hold it in every frame; None takes
            none.
        colour: "as_is", "grey" (BT.601 luma) or "rgb".
        crop: (top, left, H, W) in pixels of the source, before anything else.
        size: (H, W) to resize to.
        coarsen: instead, the mean of so many rows by so many columns becomes one pixel; a rest at
            the bottom and right is left out.
        every: take every so manieth frame.
        cuts: split a film or a series of pictures where the scene changes.
        strict: refuse damaged frames and files cut short; else such frames are marked, and
            unreadable files of a folder left out.
        budget: GiB of memory that opening, or reading frames once, may take; what would take more
            is refused before it is read.

    Raises:
        ValueError: for values that mean nothing, and choices that do not fit each other.
    """

    variable: str | Sequence[str] | None = None
    select: Mapping[str, Any] = field(default_factory=dict)
    missing: float | str | None = "auto"
    colour: str = "as_is"
    crop: Sequence[int] | None = None
    size: Sequence[int] | None = None
    coarsen: int = 1
    every: int = 1
    cuts: bool = False
    strict: bool = False
    budget: float = BUDGET

    def __post_init__(self) -> None:
        names = (
            [self.variable or "any"]
            if self.variable is None or isinstance(self.variable, str)
            else self.variable
        )
        if (
            not isinstance(names, list | tuple)
            or not names
            or not all(isinstance(name, str) for name in names)
        ):
            raise ValueError(f"variable is a name or a list of names, not {self.variable!r}")
        if not isinstance(self.select, Mapping) or not all(map(_is_place, self.select.values())):
            raise ValueError(
                f"select is a number or a name for each dimension, such as {{level: 500}}, not "
                f"{self.select!r}"
            )
        if self.colour not in ("as_is", "grey", "rgb"):
            raise ValueError(f"colour {self.colour!r} is unknown; choose as_is, grey or rgb")
        for name, count in (("crop", 4), ("size", 2)):
            given = getattr(self, name)
            whole = isinstance(given, list | tuple) and all(is_whole(n) for n in given)
            if given is not None and not (
                whole and len(given) == count and min(given) >= 0 and min(given[-2:]) > 0
            ):
                raise ValueError(
                    f"{name} is {'top, left, ' * (count == 4)}H, W in whole pixels, not {given!r}"
                )
        if self.size and self.coarsen != 1:
            raise ValueError("give size or coarsen, not both")
        counts: dict[str, int] = {"coarsen": self.coarsen, "every": self.every}
        for name, number in counts.items():
            if not is_whole(number) or number < 1:
                raise ValueError(f"{name} is a whole number and at least 1, not {number!r}")
        for name in ("cuts", "strict"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is true or false, not {getattr(self, name)!r}")
        if self.missing != "auto" and self.missing is not None and not is_number(self.missing):
            raise ValueError(
                f"missing is a number, auto or null, not {self.missing!r}; NaN is missing in any "
                "case"
            )
        if not (is_number(self.budget) and self.budget > 0):
            raise ValueError(f"budget is a number of GiB, more than 0, not {self.budget!r}")


def is_whole(value: Any) -> bool:
    """Whether an option is a whole number that counts things or pixels; true and false are none."""
    return (
        isinstance(value, int | np.integer)
        and not isinstance(value, bool)
        and -(2**31) < int(value) < 2**31
    )


def is_number(value: Any) -> bool:
    """Whether an option is a finite number; true and false are none."""
    number: Any = value  # whole ones of any size, which numpy does not take
    return (
        isinstance(value, int | float | np.number)
        and not isinstance(value, bool)
        and bool(abs(number) < math.inf)
    )


def _is_place(value: Any) -> bool:
    """Whether a value may name a place along a dimension: a number, a name or a date."""
    return is_number(value) or isinstance(value, str | np.datetime64 | np.timedelta64)


def reading_from(options: Mapping[str, Any]) -> Reading:
    """Options by name; one that is not there is refused with the nearest that is."""
    known = [one.name for one in fields(Reading)]
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            raise ValueError(
                f"there is no reading option {name!r}; "
                + (f"did you mean {close[0]}?" if close else ", ".join(known))
            )
    return Reading(**options)


def clips_from(
    source: Any, variable: str | Sequence[str] | None = None, **options: Any
) -> list[Clip]:
    """Every recording in a source, in the data's own numbers, its frames read when they are asked
    for.

    Args:
        source: a film (mp4, avi, mkv, webm, mov), a GIF, an animated WebP, a TIFF of several pages,
            a folder of numbered pictures, a .npy, .npz or .pt file, a NetCDF file, a Zarr store
            (folder or any fsspec URL), a folder of any of these, however deep; or, in memory, an
            array, a tensor or an xarray object.
        variable, options: fields of `Reading`.

    A recording is split where its times leave a gap; files of a folder that go on where the one
    before ends, one a day or one a frame, are one. Axes of plain arrays: (T,H,W) is one grey
    recording; (N,T,C,H,W) are N clips; of four axes, an array called `clips` and the published
    Moving MNIST file are clips (N,T,H,W), and anything else is one recording: (T,C,H,W) with at
    most 4 channels. What of a folder cannot be read is left out, and one warning says so.

    Raises:
        ValueError: nothing there, nothing readable, a damaged file (in a folder: all of them, or
            any with `strict`), no such variable, times that run backwards or irregularly.
    """
    return read_clips(source, reading_from({"variable": variable, **options}))


def read_clips(source: Any, reading: Reading) -> list[Clip]:
    """`clips_from` with its options in one object."""
    found = raw_clips(source, reading)
    return [
        part
        for clip, is_picture in found
        for part in in_parts(clip, breaks(clip, is_picture, reading), reading)
    ]


def raw_clips(source: Any, reading: Reading) -> Iterator[tuple[Clip, bool]]:
    """Recordings as the files have them, and whether they are pictures (not gridded values)."""
    if isinstance(source, np.ndarray | torch.Tensor):
        yield from ((clip, False) for clip in recordings_in(source))
        return
    if not isinstance(source, str | Path):
        yield read_grid(source, reading.variable, reading.select, reading.budget), False
        return
    path, suffix = Path(source), Path(source).suffix.lower()
    if "://" in str(source):
        yield (
            replace(
                read_grid(str(source), reading.variable, reading.select, reading.budget),
                name=str(source),
            ),
            False,
        )
    elif not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    elif suffix in (*GRIDS, ".zip") or _is_zarr(path):
        yield (
            replace(
                read_grid(path, reading.variable, reading.select, reading.budget), name=str(path)
            ),
            False,
        )
    elif suffix in (*GRIBS, *RADAR) and path.is_file():
        read = read_grib if suffix in GRIBS else read_odim
        clip = read(path, reading.variable, reading.select, reading.budget)
        yield replace(clip, name=str(path)), False
    elif path.is_file() and is_geotiff(path):
        clip = read_geotiff(path, reading.variable, reading.strict, reading.budget)
        yield replace(clip, name=str(path)), False
    elif path.is_dir():
        yield from _folder(path, reading)
    elif suffix in FILMS:
        yield replace(read_film(path, reading.strict, reading.budget), name=str(path)), True
    elif suffix == ".gif" or (suffix in ANIMATED and count_pages(path) != 1):
        clip = (
            read_gif(path, reading.budget) if suffix == ".gif" else read_pages(path, reading.budget)
        )
        torn = next((note for note in clip.notes if "damaged" in note), None)
        if torn and reading.strict:
            raise ValueError(
                f"{path}: {torn}; fetch it again, or leave strict out to read what is there"
            )
        yield replace(clip, name=str(path)), True
    elif suffix in ARRAYS:
        if reading.variable is not None and not isinstance(reading.variable, str):
            raise ValueError(
                f"{path}: an array file gives one array, not {', '.join(reading.variable)}"
            )
        for clip in read_arrays(path, reading.variable, reading.budget):
            yield clip, False
    elif suffix in IMAGES:
        raise ValueError(
            f"{path} is a single picture; give the folder of numbered pictures that it belongs to"
        )
    else:
        raise ValueError(
            f"{path}: {suffix or 'a file without ending'} is no kind that is read; "
            f"{', '.join(SUFFIXES)} are"
        )


def _folder(folder: Path, reading: Reading) -> Iterator[tuple[Clip, bool]]:
    """The recordings in a folder, in the natural order of their names; its pictures together are
    one. One warning names what was left out: files of kinds that are not read and, without
    `strict`, those that cannot be read.

    Raises:
        ValueError: no recording; the first file that cannot be read, where none can or `strict` is
            set.
    """
    left_out: list[str] = []
    refused: list[ValueError] = []
    count = 0
    for found in _joined(_inside(folder, reading, left_out, refused)):
        yield found
        count += 1
    if not count:
        raise (
            refused[0]
            if refused
            else ValueError(
                f"the folder {folder} holds no recording: no pictures, and no {', '.join(SUFFIXES)}"
            )
        )
    if left_out:
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        warn(
            f"{folder}: {len(left_out)} file{'s' * (len(left_out) > 1)} left out: "
            f"{', '.join(left_out[:3])}{more}"
        )


def _inside(
    folder: Path, reading: Reading, left_out: list[str], refused: list[ValueError]
) -> Iterator[tuple[Clip, bool]]:
    """The recordings in a folder and those in it; what gives none is told of in `left_out` and
    `refused`.
    """
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural)
    rasters = [p for p in entries if p.is_file() and is_geotiff(p)]
    if rasters:
        clip = read_geotiff(rasters, reading.variable, reading.strict, reading.budget)
        yield replace(clip, name=str(folder)), False
    pictures = [p for p in entries if p.is_file() and p.suffix.lower() in IMAGES]
    pictures = [p for p in pictures if p not in rasters]
    # Recordings of their own.
    several = {p for p in pictures if p.suffix.lower() in ANIMATED and count_pages(p) > 1}
    if len(pictures) > len(several):
        # A crop is in pixels of the source, so it comes before the size.
        size = (
            None
            if reading.size is None or reading.crop is not None
            else (reading.size[0], reading.size[1])
        )
        single = [p for p in pictures if p not in several]
        yield (
            replace(read_images(single, reading.strict, size, reading.budget), name=str(folder)),
            True,
        )
    for path in entries:
        if path.is_dir() and not _is_grid_folder(path):
            yield from _inside(path, reading, left_out, refused)
        elif path.suffix.lower() in SUFFIXES or _is_grid_folder(path) or path in several:
            try:
                yield from raw_clips(path, reading)
            except ValueError as error:
                if reading.strict:
                    raise
                refused.append(error)
                left_out.append(
                    f"{path.name} ({error})" if path.name not in str(error) else str(error)
                )
        elif path.suffix.lower() not in IMAGES:
            left_out.append(f"{path.name} (no kind that is read)")


def _joined(found: Iterator[tuple[Clip, bool]]) -> Iterator[tuple[Clip, bool]]:
    """Files that go on where the one before ends, one an hour or a day, or one a frame, are one
    recording.
    """
    run: list[Clip] = []
    for clip, is_picture in found:
        if run and not (not is_picture and _goes_on(run, clip)):
            yield _as_one(run), False
            run = []
        if is_picture or clip.times is None or clip.times.dtype.kind not in "MO":
            yield clip, is_picture
        else:
            run.append(clip)
    if run:
        yield _as_one(run), False


def _goes_on(run: Sequence[Clip], clip: Clip) -> bool:
    """Whether a clip is of the same kind and place as the last of a run, and follows it: at the
    usual step, or, where there is one frame a file, at any, since gaps are found later.
    """
    last = run[-1]
    if last.times is None or clip.times is None or clip.times.dtype.kind != last.times.dtype.kind:
        return False
    alike = (last.frames.shape[1:], last.frames.dtype, last.variable) == (
        clip.frames.shape[1:],
        clip.frames.dtype,
        clip.variable,
    )
    alike = alike and same_unit(last.units, clip.units)
    ahead = clip.times[0] - last.times[-1]
    if not (alike and _same_place(last, clip) and ahead > 0 * ahead):
        return False
    return len(last) == 1 or len(clip) == 1 or bool(ahead <= 1.5 * last.step)


def _same_place(one: Clip, other: Clip) -> bool:
    """Whether the pixels of two clips lie at the same places of the same map; a level or a number
    of a run may differ.
    """
    mine, theirs = (
        {
            name: c
            for name, c in clip.coordinates.items()
            if c.dims or "grid_mapping_name" in c.attributes
        }
        for clip in (one, other)
    )
    return mine.keys() == theirs.keys() and all(_same(c, theirs[name]) for name, c in mine.items())


def _same(one: Coordinate, other: Coordinate | None) -> bool:
    """Values that are equal, and, for what says all by its attributes, those too."""
    if other is None or one.dims != other.dims:
        return False
    numbers = one.values.dtype.kind in "fc" and other.values.dtype.kind in "fc"
    return np.array_equal(one.values, other.values, equal_nan=numbers) and (
        bool(one.dims)
        or same_attributes([one.attributes, other.attributes])
        == one.attributes.keys() | other.attributes.keys()
    )


def _as_one(run: Sequence[Clip]) -> Clip:
    """Clips that go on from each other as one; what is true of all of them stays."""
    if len(run) == 1:
        return run[0]
    first = run[0]
    times = np.concatenate([clip.times for clip in run if clip.times is not None])
    notes = tuple(dict.fromkeys(note for clip in run for note in clip.notes))
    shared = same_attributes([clip.attributes for clip in run])
    return replace(
        first,
        frames=Joined(tuple(clip.frames for clip in run)),
        times=times,
        name=f"{first.name} and the {len(run) - 1} files after it",
        notes=notes,
        coordinates={
            name: c
            for name, c in first.coordinates.items()
            if c.dims or all(_same(c, clip.coordinates.get(name)) for clip in run)
        },
        attributes={key: value for key, value in first.attributes.items() if key in shared},
        start=None,
    )


def _is_zarr(path: Path) -> bool:
    return path.is_dir() and any(
        (path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
    )


def _is_grid_folder(path: Path) -> bool:
    return path.suffix.lower() in GRIDS or _is_zarr(path)


# Recordings in parts


def breaks(clip: Clip, is_picture: bool, reading: Reading) -> list[int]:
    """First frames of the parts that a recording is split into after its first: gaps in its times,
    and scene changes if asked.
    """
    viewed(clip, reading, None)  # refuses what is too big to look at
    return sorted(
        {
            *gaps_in(clip, is_picture),
            *(find_cuts(clip.frames) if is_picture and reading.cuts else ()),
        }
    )


def in_parts(clip: Clip, starts: Sequence[int], reading: Reading) -> list[Clip]:
    """A recording as the reader wants it, split before the frames `starts`."""
    value, notes = _missing_value(clip, reading)
    clip = replace(clip, notes=(*clip.notes, *notes))
    if not starts:
        return [viewed(clip, reading, value)]
    parts = []
    for k, (start, stop) in enumerate(pairwise([0, *starts, len(clip)])):
        part = _part(clip.frames, start, stop)
        times = None if clip.times is None else clip.times[start:stop]
        parts.append(
            viewed(
                replace(clip, frames=part, times=times, name=f"{clip.name} [{k + 1}]"),
                reading,
                value,
            )
        )
    return parts


def _part(frames: Frames, start: int, stop: int) -> Frames:
    """Frames `start` to `stop`, not read yet."""
    if isinstance(frames, np.ndarray):
        return frames[start:stop]
    return frames.part(start, stop) if isinstance(frames, NpyFrames) else Part(frames, start, stop)


def _missing_value(clip: Clip, reading: Reading) -> tuple[float | None, list[str]]:
    """The number that stands for no data, asked of the whole recording before it is split, and a
    note where it was guessed.
    """
    if not isinstance(reading.missing, str):
        return reading.missing, []
    value = stand_in(clip)
    if value is None:
        return None, []
    return value, [
        f"{value}, which the same pixels hold in every frame, is taken as no data (missing says "
        "otherwise)"
    ]


def gaps_in(clip: Clip, is_picture: bool = False) -> list[int]:
    """First frames after a gap: a step more than half as long again as usual. Films keep whatever
    rate they have.

    Raises:
        ValueError: times that stand still or run backwards, or that more often than not are unlike
            the usual step.
    """
    if clip.times is None or len(clip) < 2 or is_picture:
        return []
    steps, usual = np.diff(clip.times), clip.step
    forwards = np.asarray(steps > 0 * usual, bool)
    if not forwards.all():
        k = int(np.argmin(forwards))
        raise ValueError(
            f"{clip.name}: time does not run forwards from frame {k} ({clip.times[k]}) to the next "
            f"({clip.times[k + 1]})"
        )
    # Months are 28 to 31 days long, and still one a step.
    odd = np.asarray((steps > 1.5 * usual) | (steps < 0.8 * usual), bool)
    if odd.mean() > 0.25:
        raise ValueError(
            f"{clip.name}: the time step is irregular, from {spoken(steps.min())} to "
            f"{spoken(steps.max())}; bring the frames to "
            "one step first (xarray's resample or interp does)"
        )
    return [int(k) + 1 for k in np.flatnonzero(odd)]


def spoken(step: Any) -> str:
    """A time step in words: "5 min", "1 h", "30 d"."""
    if isinstance(step, int | float):
        return f"{step:.4g} s"
    seconds = (
        step / np.timedelta64(1, "s") if isinstance(step, np.timedelta64) else step.total_seconds()
    )
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.4g} {name}"
    return f"{seconds:.4g} s"


@dataclass(frozen=True)
class Part:
    """Frames `start` to `stop` of others."""

    source: Frames
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.stop - self.start, *self.source.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.source.dtype

    @property
    def broken(self) -> set[int]:
        return {k - self.start for k in broken_in(self.source) if self.start <= k < self.stop}

    def __getitem__(self, when: slice) -> np.ndarray:
        a, b, _ = when.indices(self.shape[0])
        return self.source[self.start + a : self.start + max(a, b)]


@dataclass(frozen=True)
class Joined:
    """The frames of several sources, one after the other."""

    sources: tuple[Frames, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(source.shape[0] for source in self.sources), *self.sources[0].shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.sources[0].dtype

    @property
    def broken(self) -> set[int]:
        starts = accumulate((source.shape[0] for source in self.sources), initial=0)
        return {
            start + k
            for start, source in zip(starts, self.sources, strict=False)
            for k in broken_in(source)
        }

    def __getitem__(self, when: slice) -> np.ndarray:
        a, b, _ = when.indices(self.shape[0])
        found, start = [np.empty((0, *self.shape[1:]), self.dtype)], 0
        for source in self.sources:
            n = source.shape[0]
            if start < b and a < start + n:
                found.append(np.asarray(source[max(0, a - start) : min(n, b - start)]))
            start += n
        return np.concatenate(found)


# Frames as the reader wants them


def viewed(clip: Clip, reading: Reading, value: float | None) -> Clip:
    """A clip as `reading` says, whose `value` stands for no data.

    Raises:
        ValueError: a crop beyond the frames, frames too small to coarsen, or too big for the
            budget.
    """
    view = Viewed(clip.frames, reading, value)
    h, w = view.cropped
    if reading.crop and (
        reading.crop[0] + reading.crop[2] > clip.frames.shape[2]
        or reading.crop[1] + reading.crop[3] > clip.frames.shape[3]
    ):
        raise ValueError(
            f"{clip.name}: crop {list(reading.crop)} reaches beyond frames of "
            f"{clip.frames.shape[2]}x{clip.frames.shape[3]}"
        )
    if min(h, w) < reading.coarsen:
        raise ValueError(
            f"{clip.name}: frames of {h}x{w} are too small to coarsen by {reading.coarsen}"
        )
    # A frame is worked on as float32, and what it becomes lies beside it.
    c, height, width = view.shape[1:]
    what = (
        f"{clip.name}: one frame of {c}x{height}x{width}, "
        "as float32 and once more while it is worked on,"
    )
    check_budget(
        8 * c * height * width, reading.budget, what, "crop, size or coarsen make it smaller"
    )
    if view.plain:
        return clip
    times = None if clip.times is None else clip.times[:: reading.every]
    coordinates = {
        name: _coordinate(coordinate, view) for name, coordinate in clip.coordinates.items()
    }
    return replace(clip, frames=view, times=times, coordinates=coordinates)


def one_by_one(frames: Iterator[np.ndarray], reading: Reading) -> Iterator[np.ndarray]:
    """Frames (C,H,W) that come one at a time, as the reader wants them; "auto" can know of no
    missing values here.
    """
    value = None if isinstance(reading.missing, str) else reading.missing
    for k, frame in enumerate(frames):
        if k % reading.every == 0:
            yield Viewed(frame[None], replace(reading, every=1), value)[0:1][0]


def _coordinate(coordinate: Coordinate, view: "Viewed") -> Coordinate:
    """A coordinate along rows, columns or both, cropped and averaged as the frames are."""
    h, w = view.source.shape[2:]
    top, left, rows, columns = view.reading.crop or (0, 0, h, w)
    taken = {"row": (top, rows, view.shape[2]), "column": (left, columns, view.shape[3])}
    if not coordinate.dims:
        return (
            coordinate
            if (rows, columns, *view.shape[2:]) == (h, w, h, w)
            else without_corner(coordinate)
        )
    values = coordinate.values
    for axis, side in enumerate(coordinate.dims):
        values = _stretched(values.swapaxes(0, axis), *taken[side], view.reading.coarsen).swapaxes(
            0, axis
        )
    return replace(coordinate, values=values)


def _stretched(values: np.ndarray, start: int, count: int, new: int, coarsen: int) -> np.ndarray:
    """`count` values from `start` on, along the first axis, at the places of `new` pixels: on a
    straight line between neighbours, which goes on beyond the outermost.
    """
    values = values[start : start + count]
    count = new * coarsen if coarsen > 1 else count  # the rest at the end is in no block
    if count == new:
        return values
    if len(values) < 2:
        return np.repeat(values, new, axis=0)
    at = (np.arange(new) + 0.5) * count / new - 0.5
    before = np.clip(np.floor(at).astype(int), 0, len(values) - 2)
    share = (at - before).reshape(-1, *[1] * (values.ndim - 1))
    stretched = values[before] * (1 - share) + values[before + 1] * share
    return stretched.astype(values.dtype if values.dtype.kind == "f" else np.float64)


@dataclass(frozen=True)
class Viewed:
    """Frames cropped, in the colours, at the size and as often as `Reading` says; `value` becomes
    NaN.
    """

    source: Frames
    reading: Reading
    value: float | None

    @property
    def cropped(self) -> tuple[int, int]:
        crop = self.reading.crop
        return (crop[2], crop[3]) if crop else (self.source.shape[2], self.source.shape[3])

    @property
    def shape(self) -> tuple[int, ...]:
        t, c = self.source.shape[:2]
        h, w = self.reading.size or (side // self.reading.coarsen for side in self.cropped)
        channels = {"grey": 1, "rgb": 3}.get(self.reading.colour, c)
        return (-(-t // self.reading.every), channels, h, w)

    @property
    def dtype(self) -> np.dtype:
        kind = self.source.dtype
        exact = (
            self.value is None
            and kind.kind != "b"
            and (self.reading.coarsen == 1 or kind == np.uint8)
        )
        return kind if exact or kind.kind == "f" else np.dtype(np.float32)

    @property
    def plain(self) -> bool:
        """Whether nothing is to be done."""
        r = self.reading
        same_size = r.size is None or tuple(r.size) == self.cropped
        same_colour = r.colour == "as_is" or self.shape[1] == self.source.shape[1]
        return (
            self.value is None
            and r.crop is None
            and same_size
            and same_colour
            and r.coarsen == r.every == 1
        )

    @property
    def broken(self) -> set[int]:
        every = self.reading.every
        return {k // every for k in broken_in(self.source) if k % every == 0}

    def __getitem__(self, when: slice) -> np.ndarray:
        a, b, _ = when.indices(self.shape[0])
        b = max(a, b)
        t, *size = b - a, *self.shape[1:]
        need = t * math.prod(size) * self.dtype.itemsize
        check_budget(
            need,
            self.reading.budget,
            f"a stretch of {t} frames of {'x'.join(map(str, size))}",
            "read fewer",
        )
        # A few at a time: neither what lies between frames nor what they are made of may fill the
        # memory.
        every = self.reading.every
        bigger = max(self.source.shape[1:], self.shape[1:], key=math.prod)
        few = max(1, frames_at_once((t, *bigger), AT_ONCE, self.reading.budget) // every)
        seen = np.empty((t, *size), self.dtype)
        for k in range(a, b, few):
            last = min(k + few, b)
            seen[k - a : last - a] = self._viewed(
                np.asarray(self.source[k * every : (last - 1) * every + 1])[::every]
            )
        return seen

    def _viewed(self, frames: np.ndarray) -> np.ndarray:
        crop = self.reading.crop
        if crop:
            frames = frames[:, :, crop[0] : crop[0] + crop[2], crop[1] : crop[1] + crop[3]]
        if self.value is not None:
            frames = np.where(frames == self.value, np.float32(np.nan), frames.astype(np.float32))
        frames = _recoloured(frames, self.reading.colour)
        if self.reading.coarsen > 1:
            h, w = (
                side // self.reading.coarsen * self.reading.coarsen for side in frames.shape[-2:]
            )
            frames = frames[..., :h, :w]
        return resized(frames, self.shape[2], self.shape[3], self.dtype)


def on_scale(clip: Clip, scaling: Scaling) -> Clip:
    """A clip in the numbers that a forecaster of this scaling takes: pictures of 8 bits on [0, 1]
    where it was trained there.
    """
    if not (scaling.is_unit and clip.frames.dtype == np.uint8):
        return clip
    return replace(clip, frames=OnScale(clip.frames, scaling))


@dataclass(frozen=True)
class OnScale:
    """Pictures of 8 bits as floats in [0, 1]."""

    source: Frames
    scaling: Scaling
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def broken(self) -> set[int]:
        return broken_in(self.source)

    def __getitem__(self, when: slice) -> np.ndarray:
        return self.scaling.from_pictures(np.asarray(self.source[when]))


def _recoloured(frames: np.ndarray, colour: str) -> np.ndarray:
    c = frames.shape[1]
    if colour == "as_is" or (colour == "grey" and c == 1) or (colour == "rgb" and c == 3):
        return frames
    if colour == "rgb":
        return frames[:, :1].repeat(3, axis=1) if c < 3 else frames[:, :3]
    if c < 3:
        return frames[:, :1]
    luma = np.tensordot(
        np.array([0.299, 0.587, 0.114], np.float32), frames[:, :3].astype(np.float32), axes=(0, 1)
    )[:, None]
    return (
        luma.round().astype(frames.dtype)
        if frames.dtype.kind in "iu"
        else luma.astype(frames.dtype)
    )


def broken_in(frames: Any) -> set[int]:
    """Frames that could not be read so far, and for which the one before stands in."""
    broken: set[int] = getattr(frames, "broken", set())
    return broken


def warn(message: str) -> None:
    """One line for whoever runs this; the command line prints it as it is."""
    warnings.warn(Note(message), stacklevel=3)
