"""Readers of all sources of frames; folders, and recordings in several files or with gaps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foreframe.base.extras import of_package, registered
from foreframe.base.notes import warn
from foreframe.base.schema import typed
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, Coordinate, format_step, shared_attributes
from foreframe.clips.frames import Concatenated
from foreframe.data.arrays import ARRAYS, read_arrays
from foreframe.data.cuts import find_cuts, find_frozen
from foreframe.data.data_options import ReadOptions
from foreframe.data.films import read_film
from foreframe.data.grids import read_grid
from foreframe.data.inputs import CLOCKS, with_clocks
from foreframe.data.pictures import SUFFIXES as IMAGES
from foreframe.data.pictures import Pictures, natural, read_gif
from foreframe.data.reading import apply_options, missing_value

FILMS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".y4m")
GRIDS = (".nc", ".nc4", ".cdf", ".netcdf", ".zarr")


@dataclass(frozen=True)
class Reader:
    """Reader of recordings of one kind.

    Args:
        endings: endings of its files, in small letters.
        read: function that opens paths and returns their recordings in data units. It reads frames
            on demand, and raises a ValueError in one line.
        together: whether all files of this kind in a folder are one recording; otherwise `read` is
            called for each path.
        pictures: whether frames are pictures, which have scenes and may vary in rate, instead of
            gridded values, which are split at gaps in time.
    """

    endings: tuple[str, ...]
    read: Callable[[Sequence[Path], ReadOptions], Sequence[Clip]]
    together: bool = False
    pictures: bool = False


def _grid(source: Any, options: ReadOptions) -> Clip:
    names = [name for name in options.inputs if name not in CLOCKS]
    clip = read_grid(source, options.variable, options.select, options.budget, names)
    inputs = [replace(i, known=i.known or i.name in options.known) for i in clip.inputs]
    return replace(clip, inputs=tuple(inputs))


def _read_pictures(paths: Sequence[Path], options: ReadOptions) -> list[Clip]:
    # A crop is in pixels of the source, so it comes before the size.
    size = None if options.crop or not options.size else (options.size[0], options.size[1])
    return [Clip(Pictures(paths, options.strict, size, options.budget))]


# The first suitable one reads a path.
READERS = {
    "grid": Reader(GRIDS, lambda paths, o: [_grid(paths[0], o)]),
    "film": Reader(
        FILMS, lambda paths, o: [read_film(paths[0], o.strict, o.budget)], pictures=True
    ),
    "animation": Reader((".gif",), lambda paths, o: [read_gif(paths[0], o.budget)], pictures=True),
    "arrays": Reader(ARRAYS, lambda paths, o: read_arrays(paths[0], o.variable, o.budget)),
    "pictures": Reader(IMAGES, _read_pictures, together=True, pictures=True),
}
PICTURES = READERS["pictures"]


def added() -> tuple[str, ...]:
    """Return the endings that installed packages read."""
    return tuple(f".{name}" for name in registered("readers"))


def endings() -> tuple[str, ...]:
    """Return the endings of all supported files, except single pictures."""
    own = (e for reader in READERS.values() if reader != PICTURES for e in reader.endings)
    return (*own, *added())


def holds_frame(path: str) -> bool:
    """Whether a file with this ending may be a single frame of a series."""
    return Path(path).suffix.lower() in (*IMAGES, ".npy", *GRIDS, *added())


def reader_of(path: Path) -> Reader | None:
    """Return the reader of a file or folder, or None. The entry point of an installed package has
    the name of its ending, and is used for files without another reader.
    """
    ending = path.suffix.lower()
    if path.is_dir():
        return READERS["grid"] if ending == ".zarr" else None
    found = next((r for r in READERS.values() if ending in r.endings), None)
    if found is None and ending[1:] in registered("readers"):
        found = of_package("readers", ending[1:])
        if not isinstance(found, Reader):
            raise ValueError(f"{ending} is registered as foreframe.readers, but is no Reader")
    return found


def clips_from(
    source: Any, variable: str | Sequence[str] | None = None, **options: Any
) -> list[Clip]:
    """Return every recording in a source, in data units; frames are read on demand.

        (film,) = foreframe.clips_from("film.mp4", size=[48, 64])
        first = film[:10].frames  # (10,3,48,64), 0 to 255

    Args:
        source: a film (mp4, avi, mkv, webm, mov), a GIF, a folder of numbered pictures,
            a .npy or .npz file, a NetCDF file, a Zarr store (folder or any fsspec URL),
            a file of an installed reader (ODIM HDF5 and GRIB of the add-on radar), a folder of any
            of these with subfolders; or, in memory, an array, a tensor or an xarray object.
        variable, options: fields of `ReadOptions`.

    A recording is split at gaps in its times. Files of a folder that follow each other without a
    gap, such as one a day or one a frame, are one recording. Axes of plain arrays: (T,H,W) is one
    grey recording, (N,T,C,H,W) are N clips. Four axes are clips (N,T,H,W) if the array is called
    `clips` or its second axis is above 4, otherwise one recording (T,C,H,W). Unreadable files of a
    folder are skipped with one warning.

    Raises:
        ValueError: no such file, no readable file, a damaged file (in a folder: all files, or any
            with `strict`), no such variable, times that run backwards or irregularly.
    """
    return read_clips(source, typed(ReadOptions, {"variable": variable, **options}, "reading"))


def read_clips(source: Any, options: ReadOptions) -> list[Clip]:
    """Return `clips_from` with options in one object."""
    return [
        with_clocks(part, options.inputs)
        for clip in raw_clips(source, options)
        for part in in_parts(clip, options)
    ]


def raw_clips(source: Any, options: ReadOptions) -> Iterator[Clip]:
    """Yield recordings as stored. Sources of a list that follow each other in time are one, as in a
    folder.
    """
    if isinstance(source, list):
        every = [clip for one in source for clip in raw_clips(one, options)]
        yield from every if len(source) == 1 else _concatenated(every)
        return
    if isinstance(source, np.ndarray | torch.Tensor):
        yield from read_arrays(source)
        return
    if not isinstance(source, str | Path):  # an xarray object
        yield _grid(source, options)
        return
    if "://" in str(source):
        yield replace(_grid(str(source), options), name=str(source))
        return
    path = Path(source)
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    reader = reader_of(path)
    if reader is None and path.is_dir():
        yield from _folder(path, options)
        return
    if reader is None:
        ending = path.suffix.lower() or "a file without ending"
        kinds = ", ".join(endings())
        raise ValueError(f"{path}: {ending} is not supported; use one of {kinds}")
    if reader == PICTURES:
        raise ValueError(f"{path} is a single picture; give the folder of numbered pictures")
    yield from _read(reader, [path], str(path), options)


def _read(reader: Reader, paths: Sequence[Path], name: str, options: ReadOptions) -> Iterator[Clip]:
    """Yield the recordings of files; a single one gets the name `name`."""
    clips = reader.read(paths, options)
    for clip in clips:
        yield replace(clip, name=name if len(clips) == 1 else clip.name, pictures=reader.pictures)


def _folder(folder: Path, options: ReadOptions) -> Iterator[Clip]:
    """Yield the recordings in a folder, in natural order of their names; all pictures are one. One
    warning names files of unsupported kinds and, without `strict`, unreadable files.

    Raises:
        ValueError: no recording; the first unreadable file, with `strict` or if there is no other.
    """
    skipped: dict[Path, ValueError | None] = {}
    clips = list(_inside(folder, options, skipped))
    if not clips:
        errors = [error for error in skipped.values() if error]
        nothing = f"the folder {folder} has no recording: no pictures, and no "
        raise errors[0] if errors else ValueError(nothing + ", ".join(endings()))
    if skipped:
        named = [f"{path.name} ({e or 'not supported'})" for path, e in skipped.items()]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        files = plural(len(named), "file")
        warn(f"{folder}: {files} skipped: {', '.join(named[:3])}{more}")
    yield from _concatenated(clips)


def _inside(
    folder: Path, options: ReadOptions, skipped: dict[Path, ValueError | None]
) -> Iterator[Clip]:
    """Yield the recordings in a folder and its subfolders; add other files to `skipped`, with their
    errors if their kind is supported.
    """
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural)
    readers = {path: reader_of(path) for path in entries}
    for kind in dict.fromkeys(r for r in readers.values() if r and r.together):
        paths = [path for path in entries if readers[path] == kind]
        yield from _read(kind, paths, str(folder), options)
    for path, reader in readers.items():
        if reader is None and path.is_dir():
            yield from _inside(path, options, skipped)
        elif reader is None:
            skipped[path] = None
        elif not reader.together:
            try:
                yield from _read(reader, [path], str(path), options)
            except ValueError as error:
                if options.strict:
                    raise
                skipped[path] = error


def _concatenated(recordings: Sequence[Clip]) -> Iterator[Clip]:
    """Yield recordings in order of their times, and consecutive files of one kind, such as one an
    hour, a day or a frame, as one.
    """
    kinds: dict[Any, list[Clip]] = {}
    for k, clip in enumerate(recordings):
        kinds.setdefault(kind_of(clip) or k, []).append(clip)
    for kind in kinds.values():
        run: list[Clip] = []
        for clip in kind if len(kind) == 1 else sorted(kind, key=lambda c: np.asarray(c.times)[0]):
            if run and not _goes_on(run[-1], clip):
                yield _as_one(run)
                run = []
            run.append(clip)
        yield _as_one(run)


def _goes_on(last: Clip, clip: Clip) -> bool:
    """Whether a clip follows another of its kind at the usual step, or, for files of one frame, at
    any step, since `gaps_in` finds gaps later.
    """
    ahead = np.asarray(clip.times)[0] - np.asarray(last.times)[-1]
    if not ahead > 0 * ahead:
        return False
    return len(last) == 1 or len(clip) == 1 or bool(ahead <= 1.5 * last.step)


def kind_of(clip: Clip) -> tuple[Any, ...] | None:
    """Return the properties that concatenated clips share, with the coordinates of pixels and the
    map. A level or the number of a run may differ. Returns None for a clip without dates.
    """
    if clip.pictures or clip.times is None or clip.times.dtype.kind not in "MO":
        return None
    places = {
        (name, _content(c))
        for name, c in clip.coordinates.items()
        if c.dims or "grid_mapping_name" in c.attributes
    }
    kind = clip.frames.shape[1:], clip.frames.dtype, clip.variable, clip.inputs, clip.units
    return *kind, clip.times.dtype.kind, frozenset(places)


def one_after_another(clips: Sequence[Clip]) -> bool:
    """Whether recordings are of one kind, and each begins after the end of the one before."""
    kinds = {kind_of(clip) for clip in clips}
    times = [np.asarray(clip.times) for clip in clips]
    of_a_kind = len(kinds) == 1 and None not in kinds
    return of_a_kind and all(b[0] > a[-1] for a, b in pairwise(times))


def _content(coordinate: Coordinate) -> tuple[Any, ...]:
    """Return the content of a coordinate; attributes count for one without dimensions."""
    values, attributes = coordinate.values, sorted(coordinate.attributes.items())
    numbers = str(values) if values.dtype.kind == "O" else values.tobytes()
    return coordinate.dims, hash(numbers), "" if coordinate.dims else repr(attributes)


def _as_one(run: Sequence[Clip]) -> Clip:
    """Return consecutive clips as one, with their common attributes."""
    first = run[0]
    if len(run) == 1:
        return first
    contents = [{(name, _content(c)) for name, c in clip.coordinates.items()} for clip in run]
    shared = {name for name, _ in set.intersection(*contents)}
    variables = zip(*(clip.variables for clip in run), strict=True)
    return replace(
        first,
        frames=Concatenated([clip.frames for clip in run]),
        times=np.concatenate([clip.times for clip in run if clip.times is not None]),
        name=f"{first.name} and the {len(run) - 1} files after it",
        notes=tuple(dict.fromkeys(note for clip in run for note in clip.notes)),
        coordinates={name: c for name, c in first.coordinates.items() if name in shared},
        attributes=shared_attributes([clip.attributes for clip in run]),
        about=shared_attributes([clip.about for clip in run]),
        variables=tuple(
            replace(same[0], attributes=shared_attributes([v.attributes for v in same]))
            for same in variables
        ),
        start=None,
    )


# Recordings in parts


def in_parts(clip: Clip, options: ReadOptions, starts: Sequence[int] | None = None) -> list[Clip]:
    """Apply options to a recording, and divide it at `starts`, by default at gaps in its times, and
    with `cuts` at scene changes.
    """
    has = {channel.name for channel in clip.inputs}
    for name in options.inputs:
        if name not in CLOCKS and name not in has:
            raise ValueError(
                f"{clip.name} is no grid with a variable {name}; inputs are variables of a NetCDF "
                f"file or a Zarr store, or {' or '.join(CLOCKS)}"
            )
    if starts is None:
        scenes = find_cuts(clip.frames) if clip.pictures and options.cuts else []
        starts = sorted({*gaps_in(clip), *scenes})
    missing, notes = missing_value(clip, options)
    clip = replace(clip, notes=(*clip.notes, *notes))
    parts = [clip]
    if starts:
        parts = [
            replace(clip.part(first, last), name=f"{clip.name} [{k}]")
            for k, (first, last) in enumerate(pairwise([0, *starts, len(clip)]), 1)
        ]
    return [apply_options(part, options, missing) for part in parts]


def moving_parts(clips: Sequence[Clip]) -> list[Clip]:
    """Return the parts of films and pictures without frozen stretches, which make errors relative
    to the last frame meaningless. A note names these. Recordings without any change, and other than
    pictures, stay whole.
    """
    moving: list[Clip] = []
    for clip in clips:
        frozen = find_frozen(clip.frames) if clip.pictures else []
        ends = [0, *(end for stretch in frozen for end in stretch), len(clip)]
        parts = [clip.part(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if a < b]
        runs = ", ".join(f"{first}-{end - 1}" for first, end in frozen)
        note = f"{clip.name}: frames {runs} hardly change (frozen or corrupt) and are left out"
        notes = (*clip.notes, note) if frozen else clip.notes
        moving += [replace(part, notes=notes) for part in parts] or [clip]
    return moving


def gaps_in(clip: Clip) -> list[int]:
    """Return the first frames after gaps, steps above 1.5 times the usual one; none for pictures.

    Raises:
        ValueError: times that do not increase, or steps that often differ from the usual one.
    """
    if clip.times is None or len(clip) < 2 or clip.pictures:
        return []
    steps, usual = np.diff(clip.times), clip.step
    backwards = ~np.asarray(steps > 0 * usual, bool)
    # Months have 28 to 31 days.
    odd = backwards | np.asarray((steps > 1.5 * usual) | (steps < 0.8 * usual), bool)
    if backwards.any() or odd.mean() > 0.25:
        k = int(np.argmax(backwards if backwards.any() else odd))
        what = "time does not run forwards" if backwards.any() else "the time step is irregular"
        raise ValueError(
            f"{clip.name}: {what} from frame {k} ({clip.times[k]}): steps are "
            f"{format_step(steps.min())} to {format_step(steps.max())}; "
            "bring the frames to one step first (xarray's resample or interp does)"
        )
    return [int(k) + 1 for k in np.flatnonzero(odd)]
