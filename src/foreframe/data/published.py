"""Datasets of the field by name: which of the files that their makers publish belong to which
split. How they are read, and the windows, are in `data/protocols.py`.

Nothing is downloaded. Where papers have no validation split, it is taken from the training split,
so that nothing is chosen on the test split.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from foreframe.base.budget import check_budget
from foreframe.base.extras import needed
from foreframe.clips.clip import Clip
from foreframe.clips.frames import Frames
from foreframe.data.data_options import ReadOptions
from foreframe.data.readers import raw_clips, reader_of
from foreframe.data.reading import apply_options
from foreframe.data.splits import SPLITS, Published
from foreframe.data.store import in_one_line

BySplit = Iterator[tuple[str, Clip]]


def kth(folder: str | Path) -> Published:
    """KTH actions (Schuldt, Laptev, Caputo 2004): grey films of 25 persons, 160x120, 25 frames/s.

    Persons 1 to 16 train and 17 to 25 test, 10 -> 20 frames (or 40) of 128x128, as in Villegas et
    al. (2017, arXiv 1706.08033), PredRNN and OpenSTL; here 15 and 16 validate. With 00sequences.txt
    windows lie within its sequences, and otherwise anywhere in a film.

    Args:
        folder: with the films, such as boxing/person01_boxing_d1_uncomp.avi, and 00sequences.txt.
    """
    files = "person01_boxing_d1_uncomp.avi, ..., from www.csc.kth.se/cvap/actions"
    return Published("kth", Path(folder), files, _kth)


def human36m(folder: str | Path) -> Published:
    """Human3.6M (Ionescu et al. 2014): films of 50 frames/s in colour, of about 1000x1000.

    Subjects 1, 5, 6, 7 and 8 train and 9 and 11 test, 4 -> 4 frames, of 256x256 in OpenSTL; here
    subject 8 validates. OpenSTL scores lists of sequences from STRPM, which are not the windows
    here; others take the films of Walking alone, at 128x128.

    Args:
        folder: with the films, such as S1/Videos/Walking.54138969.mp4.
    """
    files = "S1/Videos/*.mp4 to S11/Videos/*.mp4, from vision.imar.ro/human3.6m"
    return Published("human36m", Path(folder), files, _human36m)


def kitti_caltech(folder: str | Path) -> Published:
    """KITTI (Geiger et al. 2013) to train, Caltech Pedestrian (Dollar et al. 2009) to test.

    10 -> 1 frames of 128x160, cut from the centre, at 10 frames/s, as in PredNet (Lotter et al.
    2017, arXiv 1605.08104) and OpenSTL: of KITTI the right colour camera, of Caltech sets 6 to 10,
    of which every third frame is taken. Here KITTI's drive 5 validates.

    Args:
        folder: with KITTI's raw drives, such as 2011_09_26_drive_0001_sync/image_03/data, and
            Caltech's set06/V000 to set10: folders of pictures, or films, made of the .seq.
    """
    files = "KITTI's 2011_09_26_drive_0001_sync/image_03/data, ..., and Caltech's set06/V000, ..."
    return Published("kitti_caltech", Path(folder), files, _kitti_caltech)


def taxibj(folder: str | Path) -> Published:
    """TaxiBJ (Zhang, Zheng, Qi 2017, arXiv 1610.00081): inflow and outflow of taxis in Beijing,
    every 30 minutes on 32x32 cells.

    The last four weeks, from 14 March 2016, test, and values are scaled from their lowest to their
    highest in training, as there; 4 -> 4 frames as in MIM (Wang et al. 2019) and OpenSTL. Here the
    four weeks before validate. OpenSTL's dataset.npz has other windows of the same.

    Args:
        folder: with BJ13_M32x32_T30_InOut.h5 to BJ16_M32x32_T30_InOut.h5.
    """
    files = "BJ13_M32x32_T30_InOut.h5 to BJ16_M32x32_T30_InOut.h5, from TaxiBJ of DeepST"
    return Published("taxibj", Path(folder), files, _taxibj)


def weatherbench(folder: str | Path) -> Published:
    """WeatherBench (Rasp et al. 2020, arXiv 2002.00469): ERA5, hourly, on a coarse global grid.

    2010 to 2015 train, 2016 validates, 2017 and 2018 test; 12 -> 12 frames, standardised, as in
    OpenSTL.

    Args:
        folder: of one variable, such as 2m_temperature, with its files of a year each.
    """
    files = "2m_temperature_2010_5.625deg.nc, ..., of one variable, from pangeo-data/WeatherBench"
    return Published("weatherbench", Path(folder), files, _weatherbench)


def sevir(folder: str | Path) -> Published:
    """SEVIR's vertically integrated liquid (Veillette et al. 2020): events of four hours, every
    five minutes on 384x384 km, as bytes.

    Events from June 2019 on test, as there; those from January 2019 on validate, and windows of
    13 -> 12 frames begin at every twelfth, as in Earthformer (Gao et al. 2022, arXiv 2207.05833).
    Events with missing values are left out. Values stay the bytes 0 to 254, on which the thresholds
    16, 74, 133, 160, 181 and 219 are.

    Args:
        folder: with CATALOG.csv, and the files of type vil that it names, in it or in data/.
    """
    files = "CATALOG.csv and data/vil/2018/*.h5, ..., from s3://sevir"
    return Published("sevir", Path(folder), files, _sevir)


PUBLISHED: dict[str, Callable[[str | Path], Published]] = {
    "kth": kth,
    "human36m": human36m,
    "kitti_caltech": kitti_caltech,
    "taxibj": taxibj,
    "weatherbench": weatherbench,
    "sevir": sevir,
}

# Patterns of the recordings' paths: the first that fits says the split.
_FILES: dict[str, dict[str, Sequence[str]]] = {
    "kth": {
        "validation": ["person1[56]_*.avi"],
        "test": ["person1[789]_*.avi", "person2?_*.avi"],
        "train": ["person??_*.avi"],
    },
    "human36m": {  # films called _ALL hold all others
        "validation": ["S8/Videos/[!_]*.mp4"],
        "test": ["S9/Videos/[!_]*.mp4", "S11/Videos/[!_]*.mp4"],
        "train": ["S[1567]/Videos/[!_]*.mp4"],
    },
    "kitti_caltech": {
        "validation": ["*_drive_0005_sync/image_03/data"],
        "test": ["set0[6789]/V*", "set10/V*"],
        "train": ["*_sync/image_03/data"],
    },
}
# When each split begins.
_DATES = {
    "taxibj": ("2013-01-01", "2016-02-15", "2016-03-14"),
    "weatherbench": ("2010-01-01", "2016-01-01", "2017-01-01"),
    "sevir": ("2017-01-01", "2019-01-01", "2019-06-01"),
}
_FIVE_MINUTES = np.timedelta64(5, "m")


def _files(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """The recordings in a folder by their paths, each with its split."""
    for path in sorted(folder.rglob("*")):
        fitting = (s for s, patterns in _FILES[name].items() if any(map(path.match, patterns)))
        split = next(fitting, None)
        if split is not None and (path.is_dir() or reader_of(path) is not None):
            yield split, path


def _part(clip: Clip, first: int, last: int, label: object) -> Clip:
    return replace(clip.part(first, last), name=f"{clip.name} [{label}]")


def _by_date(name: str, clip: Clip) -> BySplit:
    """A recording cut where the splits begin; what is earlier, or has no date, is left out."""
    if clip.times is None or clip.times.dtype.kind != "M":
        return
    begins = np.array(_DATES[name], "datetime64[ns]")
    first, *others = np.searchsorted(clip.times, begins).tolist()
    for split, last in zip(SPLITS, [*others, len(clip)], strict=True):
        if first < last:
            yield split, _part(clip, first, last, split)
        first = last


def _kth(folder: Path, options: ReadOptions) -> BySplit:
    listed = folder / "00sequences.txt"
    text = listed.read_text(encoding="utf-8", errors="replace") if listed.is_file() else ""
    lines = re.findall(r"^(person\w+)\s+frames\s+(.*)", text, re.MULTILINE)
    sequences = {film: re.findall(r"(\d+)-(\d+)", spans) for film, spans in lines}
    for split, path in _files("kth", folder):
        (film,) = raw_clips(path, options)
        spans = sequences.get(path.stem.removesuffix("_uncomp"), [(1, len(film))])
        for k, (first, last) in enumerate(spans, 1):  # counted from 1, both included
            begin, end = int(first) - 1, min(int(last), len(film))
            if begin < end:
                yield split, _part(film, begin, end, k)


def _human36m(folder: Path, options: ReadOptions) -> BySplit:
    for split, path in _files("human36m", folder):
        yield from ((split, film) for film in raw_clips(path, options))


def _kitti_caltech(folder: Path, options: ReadOptions) -> BySplit:
    height, width = options.size or (128, 160)
    whole = replace(options, size=None)
    for split, path in _files("kitti_caltech", folder):
        for clip in raw_clips(path, whole):
            h, w = clip.frames.shape[2:]
            rows, columns = min(h, w * height // width), min(w, h * width // height)
            crop = ((h - rows) // 2, (w - columns) // 2, rows, columns)
            every = 3 if split == "test" else 1  # of 30 frames/s
            centre = ReadOptions(crop=crop, every=every, budget=options.budget)
            yield split, replace(apply_options(clip, centre, None), name=f"{clip.name} [centre]")


def _weatherbench(folder: Path, options: ReadOptions) -> BySplit:
    if any(folder.rglob("*.nc")):
        for clip in raw_clips(folder, options):
            yield from _by_date("weatherbench", clip)


def _taxibj(folder: Path, options: ReadOptions) -> BySplit:
    h5py = needed("h5py", "radar", "data taxibj: reading HDF5")
    for path in sorted(folder.rglob("BJ*_M32x32_T30_InOut.h5")):
        with in_one_line(f"cannot read {path}; is it whole?"), h5py.File(path) as file:
            flows = file["data"]
            check_budget(12 * flows.size, options.budget, f"{path}: an array of {flows.shape}")
            frames = flows[:].astype(np.float32)
            slots = file["date"].asstr()[:]  # 2016041048: the last half hour of 10 April 2016
            days = np.array([f"{s[:4]}-{s[4:6]}-{s[6:8]}" for s in slots], "datetime64[ns]")
            halves = np.array([int(s[8:]) - 1 for s in slots])
            clip = Clip(frames, days + halves * np.timedelta64(30, "m"), name=str(path))
        yield from _by_date("taxibj", clip)


def _sevir(folder: Path, options: ReadOptions) -> BySplit:
    needed("h5py", "radar", "data sevir: reading HDF5")
    catalog = folder / "CATALOG.csv"
    if not catalog.is_file():
        return
    begins = np.array(_DATES["sevir"], "datetime64[ns]")
    with in_one_line(f"cannot read {catalog}; is it whole?"), catalog.open(newline="") as file:
        events = list(_events(folder, csv.DictReader(file)))
    for event in events:
        middle = np.asarray(event.times)[24]
        yield SPLITS[int(np.searchsorted(begins[1:], middle, "right"))], event


def _events(folder: Path, rows: Iterable[Mapping[str, str]]) -> Iterator[Clip]:
    """Those seen by radar without a missing value whose file is there."""
    for row in rows:
        if row["img_type"] == "vil" and float(row["pct_missing"] or 0) == 0:
            name, side = row["file_name"], (int(row["size_y"]), int(row["size_x"]))
            # The catalogue's minute_offsets repeat some: frames are five minutes apart.
            times = np.datetime64(row["time_utc"], "ns") + np.arange(-24, 25) * _FIVE_MINUTES
            path = next(filter(Path.is_file, (folder / "data" / name, folder / name)), None)
            if path is not None:
                frames = _Event(path, int(row["file_index"]), (len(times), 1, *side))
                yield Clip(frames, times, name=f"{path} [{row['id']}]", variable="vil")


@dataclass(frozen=True, eq=False)
class _Event(Frames):
    """Frames (T,1,H,W) uint8 of an event, stored together as (H,W,T); the file is opened for each
    slice.

    Args:
        path: of an HDF5 file.
        index: of the event in it.
        shape: (T,1,H,W).
    """

    path: Path
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype = np.dtype(np.uint8)  # noqa: RUF009

    @property
    def chunk(self) -> int:  # type: ignore[override]
        return len(self)

    def read(self, first: int, last: int) -> UInt8[np.ndarray, "t 1 h w"]:
        import h5py

        with in_one_line(f"cannot read {self.path}; is it whole?"), h5py.File(self.path) as file:
            values = file["vil"][self.index, :, :, first:last]
        return np.ascontiguousarray(values.transpose(2, 0, 1)[:, None])
