"""One door for every source of frames: which reader takes what; folders, and recordings in several
files or with gaps.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foreframe.base.notes import warn
from foreframe.base.schema import typed
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, Coordinate, format_step, shared_attributes
from foreframe.clips.data_options import ReadOptions
from foreframe.clips.frames import Joined
from foreframe.clips.units import same_unit
from foreframe.data.arrays import ARRAYS, read_arrays
from foreframe.data.cuts import find_cuts
from foreframe.data.films import read_film
from foreframe.data.geotiff import is_geotiff, read_geotiff
from foreframe.data.grib import SUFFIXES as GRIBS
from foreframe.data.grib import read_grib
from foreframe.data.grids import read_grid
from foreframe.data.inputs import CLOCKS, with_clocks
from foreframe.data.odim import SUFFIXES as RADAR
from foreframe.data.odim import read_odim
from foreframe.data.pictures import (
    ANIMATED,
    count_pages,
    natural,
    read_gif,
    read_images,
)
from foreframe.data.pictures import SUFFIXES as IMAGES
from foreframe.data.reading import apply_options, missing_value

FILMS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".y4m")
GRIDS = (".nc", ".nc4", ".cdf", ".netcdf", ".zarr")


@dataclass(frozen=True)
class Reader:
    """What reads recordings of one kind.

    Args:
        endings: of the files that it takes, in small letters.
        read: from paths to their recordings, in the data's own numbers; it opens, refuses in one
            line (ValueError), and reads no more frames than it must.
        takes: whether a path is of this kind, for what an ending does not tell.
        together: whether all files of this kind in a folder are one recording; else `read` is given
            one path.
        pictures: whether frames are pictures, which may be cut into scenes, and whose rate may
            vary; not gridded values, which are cut where time leaves a gap.
    """

    endings: tuple[str, ...]
    read: Callable[[Sequence[Path], ReadOptions], Sequence[Clip]]
    takes: Callable[[Path], bool] = lambda path: False
    together: bool = False
    pictures: bool = False


def _read_grid(paths: Sequence[Path], options: ReadOptions) -> list[Clip]:
    return [_grid(paths[0], options)]


def _grid(source: Any, options: ReadOptions) -> Clip:
    names = [name for name in options.inputs if name not in CLOCKS]
    clip = read_grid(source, options.variable, options.select, options.budget, names)
    inputs = [replace(i, known=i.known or i.name in options.known) for i in clip.inputs]
    return replace(clip, inputs=tuple(inputs))


def _read_grib(paths: Sequence[Path], options: ReadOptions) -> list[Clip]:
    return [read_grib(paths[0], options.variable, options.select, options.budget)]


def _read_odim(paths: Sequence[Path], options: ReadOptions) -> list[Clip]:
    return [read_odim(paths[0], options.variable, options.select, options.budget)]


def _read_geotiff(paths: Sequence[Path], options: ReadOptions) -> list[Clip]:
    return [read_geotiff(paths, options.variable, options.strict, options.budget)]


def _read_film(paths: Sequence[Path], options: ReadOptions) -> list[Clip]:
    return [read_film(paths[0], options.strict, options.budget)]


def _read_animation(paths: Sequence[Path], options: ReadOptions) -> list[Clip]:
    (path,) = paths
    clip = read_gif(path, options.budget)
    torn = next((note for note in clip.notes if "damaged" in note), None)
    if torn and options.strict:
        cure = "fetch it again, or leave strict out to read what is there"
        raise ValueError(f"{path}: {torn}; {cure}")
    return [clip]


def _read_arrays(paths: Sequence[Path], options: ReadOptions) -> list[Clip]:
    if options.variable is not None and not isinstance(options.variable, str):
        raise ValueError(
            f"{paths[0]}: an array file gives one array, not {', '.join(options.variable)}"
        )
    return read_arrays(paths[0], options.variable, options.budget)


def _read_pictures(paths: Sequence[Path], options: ReadOptions) -> list[Clip]:
    # A crop is in pixels of the source, so it comes before the size.
    size = None if options.crop or not options.size else (options.size[0], options.size[1])
    return [read_images(paths, options.strict, size, options.budget)]


def _is_zarr(path: Path) -> bool:
    marks = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
    named = path.suffix.lower() in GRIDS
    return path.is_dir() and (named or any((path / name).exists() for name in marks))


def _is_geotiff(path: Path) -> bool:
    return path.is_file() and is_geotiff(path)


def _has_pages(path: Path) -> bool:
    """Whether a file holds several pictures."""
    return path.is_file() and path.suffix.lower() in ANIMATED and count_pages(path) > 1


# The first that takes a path reads it.
READERS = {
    "grid": Reader(GRIDS, _read_grid, _is_zarr),
    "grib": Reader(GRIBS, _read_grib),
    "odim": Reader(RADAR, _read_odim),
    "geotiff": Reader((), _read_geotiff, _is_geotiff, together=True),
    "film": Reader(FILMS, _read_film, pictures=True),
    "animation": Reader((".gif",), _read_animation, _has_pages, pictures=True),
    "arrays": Reader(ARRAYS, _read_arrays),
    "pictures": Reader(IMAGES, _read_pictures, together=True, pictures=True),
}
PICTURES = READERS["pictures"]
SUFFIXES = tuple(e for reader in READERS.values() if reader != PICTURES for e in reader.endings)
ZIPPED = ".zip"  # a Zarr store in one file; folders hold other zips too, so it must be named


def reader_of(path: Path) -> Reader | None:
    """The reader that takes a file or folder; None where none does."""
    ending = path.suffix.lower() if path.is_file() else None
    return next((r for r in READERS.values() if ending in r.endings or r.takes(path)), None)


def clips_from(
    source: Any, variable: str | Sequence[str] | None = None, **options: Any
) -> list[Clip]:
    """Every recording in a source, in the data's own numbers, its frames read when they are
    needed.

    Args:
        source: a film (mp4, avi, mkv, webm, mov), a GIF, an animated WebP, a folder of numbered
            pictures, a .npy or .npz file, a NetCDF file, a Zarr store (folder or any fsspec URL),
            an ODIM HDF5, GRIB or GeoTIFF file, a folder of any of these, however deep; or, in
            memory, an array, a tensor or an xarray object.
        variable, options: fields of `ReadOptions`.

    A recording is split where its times leave a gap; files of a folder that go on where the one
    before ends, a file a day or a frame, are one recording. Axes of plain arrays: (T,H,W) is one
    grey recording; (N,T,C,H,W) are N clips; of four axes, an array called `clips` and the published
    Moving MNIST file are clips (N,T,H,W), and anything else is one recording: (T,C,H,W) with at
    most 4 channels. What of a folder cannot be read is left out, and one warning says so.

    Raises:
        ValueError: nothing there, nothing readable, a damaged file (in a folder: all of them, or
            any with `strict`), no such variable, times that run backwards or irregularly.
    """
    return read_clips(source, typed(ReadOptions, {"variable": variable, **options}, "reading"))


def read_clips(source: Any, options: ReadOptions) -> list[Clip]:
    """`clips_from` with its options in one object."""
    return [
        with_clocks(part, options.inputs)
        for clip in raw_clips(source, options)
        for part in in_parts(clip, breaks(clip, options), options)
    ]


def raw_clips(source: Any, options: ReadOptions) -> Iterator[Clip]:
    """Recordings as the files have them."""
    if isinstance(source, np.ndarray | torch.Tensor):
        yield from read_arrays(source)
        return
    if not isinstance(source, str | Path):  # of xarray
        yield _grid(source, options)
        return
    if "://" in str(source):
        yield replace(_grid(str(source), options), name=str(source))
        return
    path = Path(source)
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    reader = READERS["grid"] if path.suffix.lower() == ZIPPED else reader_of(path)
    if reader == PICTURES:
        if path.suffix.lower() not in ANIMATED or count_pages(path):
            raise ValueError(f"{path} is a single picture; give the folder of numbered pictures")
        reader = READERS["animation"]  # which says why the file cannot be read
    if reader is not None:
        yield from _read(reader, [path], str(path), options)
    elif path.is_dir():
        yield from _folder(path, options)
    else:
        raise ValueError(
            f"{path}: {path.suffix.lower() or 'a file without ending'} is no kind that is read; "
            f"{', '.join(SUFFIXES)} are"
        )


def _read(reader: Reader, paths: Sequence[Path], name: str, options: ReadOptions) -> Iterator[Clip]:
    """What a reader makes of files; where that is one recording, it is called `name`."""
    clips = reader.read(paths, options)
    for clip in clips:
        yield replace(clip, name=name if len(clips) == 1 else clip.name, pictures=reader.pictures)


def _folder(folder: Path, options: ReadOptions) -> Iterator[Clip]:
    """The recordings in a folder, in the natural order of their names; its pictures together are a
    recording. One warning names what was left out: files of kinds that are not read and, without
    `strict`, those that cannot be read.

    Raises:
        ValueError: no recording; the first file that cannot be read, where none can or `strict` is
            set.
    """
    left_out: list[str] = []
    refused: list[ValueError] = []
    count = 0
    for clip in _joined(_inside(folder, options, left_out, refused)):
        yield clip
        count += 1
    if not count:
        endings = ", ".join(SUFFIXES)
        nothing = f"the folder {folder} holds no recording: no pictures, and no {endings}"
        raise refused[0] if refused else ValueError(nothing)
    if left_out:
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        files = plural(len(left_out), "file")
        warn(f"{folder}: {files} left out: {', '.join(left_out[:3])}{more}")


def _inside(
    folder: Path, options: ReadOptions, left_out: list[str], refused: list[ValueError]
) -> Iterator[Clip]:
    """The recordings in a folder and the folders in it; files that give none go to `left_out` and
    `refused`.
    """
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural)
    readers = {path: reader_of(path) for path in entries}
    for kind in READERS.values():
        paths = [path for path in entries if readers[path] == kind] if kind.together else []
        if paths:
            yield from _read(kind, paths, str(folder), options)
    for path, reader in readers.items():
        if reader is None and path.is_dir():
            yield from _inside(path, options, left_out, refused)
        elif reader is None:
            left_out.append(f"{path.name} (no kind that is read)")
        elif not reader.together:
            try:
                yield from _read(reader, [path], str(path), options)
            except ValueError as error:
                if options.strict:
                    raise
                refused.append(error)
                why = str(error)
                left_out.append(why if path.name in why else f"{path.name} ({why})")


def _joined(recordings: Iterable[Clip]) -> Iterator[Clip]:
    """Recordings of one kind in the order of their times; those that go on where the one before
    ends, a file an hour or a day, or one a frame, are one.
    """
    kinds: list[list[Clip]] = []
    for clip in recordings:
        kind = next((kind for kind in kinds if _is_alike(kind[0], clip)), None)
        if kind is None:
            kinds.append([clip])
        else:
            kind.append(clip)
    for kind in kinds:
        run: list[Clip] = []
        for clip in kind if len(kind) == 1 else sorted(kind, key=lambda c: np.asarray(c.times)[0]):
            if run and not _goes_on(run[-1], clip):
                yield _as_one(run)
                run = []
            run.append(clip)
        yield _as_one(run)


def _goes_on(last: Clip, clip: Clip) -> bool:
    """Whether a clip follows another of its kind: at the usual step, or, of files of one frame, at
    any, since gaps are looked for later.
    """
    ahead = np.asarray(clip.times)[0] - np.asarray(last.times)[-1]
    if not ahead > 0 * ahead:
        return False
    return len(last) == 1 or len(clip) == 1 or bool(ahead <= 1.5 * last.step)


def _is_alike(a: Clip, b: Clip) -> bool:
    """Whether two clips are dated and of one kind, and their pixels lie at the same places of the
    same map; a level or a number of a run may differ.
    """
    if _kind(a) is None or _kind(a) != _kind(b) or not same_unit(a.units, b.units):
        return False
    mine, theirs = _place(a), _place(b)
    return mine.keys() == theirs.keys() and all(_same(c, theirs[name]) for name, c in mine.items())


def _kind(clip: Clip) -> tuple[Any, ...] | None:
    """What clips that are joined have in common; None of one that has no dates."""
    if clip.pictures or clip.times is None or clip.times.dtype.kind not in "MO":
        return None
    frames = clip.frames
    return frames.shape[1:], frames.dtype, clip.variable, clip.inputs, clip.times.dtype.kind


def _place(clip: Clip) -> dict[str, Coordinate]:
    places = clip.coordinates.items()
    return {name: c for name, c in places if c.dims or "grid_mapping_name" in c.attributes}


def _same(a: Coordinate, b: Coordinate | None) -> bool:
    """Values that are equal, and, for what says all by its attributes, those too."""
    if b is None or a.dims != b.dims:
        return False
    numbers = a.values.dtype.kind in "fc" and b.values.dtype.kind in "fc"
    if not np.array_equal(a.values, b.values, equal_nan=numbers):
        return False
    both = a.attributes.keys() | b.attributes.keys()
    return bool(a.dims) or shared_attributes([a.attributes, b.attributes]).keys() == both


def _as_one(run: Sequence[Clip]) -> Clip:
    """Clips that go on from each other as one; what is true of all of them stays."""
    if len(run) == 1:
        return run[0]
    first = run[0]
    times = np.concatenate([clip.times for clip in run if clip.times is not None])
    notes = tuple(dict.fromkeys(note for clip in run for note in clip.notes))
    variables = zip(*(clip.variables for clip in run), strict=True)
    return replace(
        first,
        frames=Joined([clip.frames for clip in run]),
        times=times,
        name=f"{first.name} and the {len(run) - 1} files after it",
        notes=notes,
        coordinates={
            name: c
            for name, c in first.coordinates.items()
            if c.dims or all(_same(c, clip.coordinates.get(name)) for clip in run)
        },
        attributes=shared_attributes([clip.attributes for clip in run]),
        about=shared_attributes([clip.about for clip in run]),
        variables=tuple(
            replace(same[0], attributes=shared_attributes([v.attributes for v in same]))
            for same in variables
        ),
        start=None,
    )


# Recordings in parts


def breaks(clip: Clip, options: ReadOptions) -> list[int]:
    """First frames of the parts that a recording is split into after its first: gaps in its times,
    and scene changes with `cuts`.
    """
    scenes = find_cuts(clip.frames) if clip.pictures and options.cuts else []
    return sorted({*gaps_in(clip), *scenes})


def in_parts(clip: Clip, starts: Sequence[int], options: ReadOptions) -> list[Clip]:
    """A recording as the options say, split before the frames `starts`."""
    has = {channel.name for channel in clip.inputs}
    for name in options.inputs:
        if name not in CLOCKS and name not in has:
            raise ValueError(
                f"{clip.name} is no grid with a variable {name}; inputs are variables of a NetCDF "
                f"file or a Zarr store, or {' or '.join(CLOCKS)}"
            )
    missing, notes = missing_value(clip, options)
    clip = replace(clip, notes=(*clip.notes, *notes))
    parts = [clip]
    if starts:
        parts = [
            replace(clip.part(first, last), first=0, name=f"{clip.name} [{k}]")
            for k, (first, last) in enumerate(pairwise([0, *starts, len(clip)]), 1)
        ]
    return [apply_options(part, options, missing) for part in parts]


def gaps_in(clip: Clip) -> list[int]:
    """First frames after a gap: a step more than half as long again as usual. Films keep whatever
    rate they have.

    Raises:
        ValueError: times that stand still or run backwards, or that more often than not are unlike
            the usual step.
    """
    if clip.times is None or len(clip) < 2 or clip.pictures:
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
            f"{clip.name}: the time step is irregular, from {format_step(steps.min())} to "
            f"{format_step(steps.max())}; bring the frames to one step first (xarray's resample "
            "or interp does)"
        )
    return [int(k) + 1 for k in np.flatnonzero(odd)]
