"""Datasets of the field by name: which of the files that their makers publish belong to which
split, and the options with which papers read them and cut them into windows.

Downloads no files. If papers have no validation split, it is taken from the training split, so that
no choice depends on the test split.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8

from foreframe.base.budget import check_budget
from foreframe.base.extras import needed
from foreframe.base.wording import in_one_line
from foreframe.clips.clip import Clip
from foreframe.clips.frames import Frames
from foreframe.clips.scaling import Scaling
from foreframe.data.arrays import ArrayClips
from foreframe.data.data_options import ReadOptions
from foreframe.data.npy import header_of
from foreframe.data.readers import raw_clips, reader_of
from foreframe.data.reading import apply_options
from foreframe.data.splits import SPLITS, Published

BySplit = Iterator[tuple[str, Clip]]
Dates = tuple[str, str, str]  # when train, validation and test begin

FIVE_MINUTES = np.timedelta64(5, "m")
MOVING_MNIST = "https://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy"
MOVING_MNIST_SHAPE = (20, 10_000, 64, 64)  # frames first
MD5 = "be083ec986bfe91a449d63653c411eb2"


class KTH(Published):
    """KTH actions (Schuldt, Laptev, Caputo 2004): grey films of 25 persons, 160x120, 25 frames/s.

    Persons 1 to 16 train and 17 to 25 test, 10 -> 20 frames (or 40) of 128x128, as in Villegas et
    al. (2017, arXiv 1706.08033), PredRNN and OpenSTL; here 15 and 16 validate. With 00sequences.txt
    windows lie within its sequences, and otherwise anywhere in a film.

    Args:
        folder: with the films, such as boxing/person01_boxing_d1_uncomp.avi, and 00sequences.txt.
    """

    name = "kth"
    files = "person01_boxing_d1_uncomp.avi, ..., from www.csc.kth.se/cvap/actions"
    protocol: ClassVar = {
        "past": 10,
        "future": 20,
        "reading": {"size": [128, 128], "colour": "grey"},
    }

    def read(self, options: ReadOptions) -> BySplit:
        listed = self.folder / "00sequences.txt"
        text = listed.read_text(encoding="utf-8", errors="replace") if listed.is_file() else ""
        lines = re.findall(r"^(person\w+)\s+frames\s+(.*)", text, re.MULTILINE)
        sequences = {film: re.findall(r"(\d+)-(\d+)", spans) for film, spans in lines}
        patterns = {
            "validation": ["person1[56]_*.avi"],
            "test": ["person1[789]_*.avi", "person2?_*.avi"],
            "train": ["person??_*.avi"],
        }
        for split, path in matching(self.folder, patterns):
            (film,) = raw_clips(path, options)
            spans = sequences.get(path.stem.removesuffix("_uncomp"), [(1, len(film))])
            for k, (first, last) in enumerate(spans, 1):  # counted from 1, both included
                begin, end = int(first) - 1, min(int(last), len(film))
                if begin < end:
                    yield split, part(film, begin, end, k)


class Human36M(Published):
    """Human3.6M (Ionescu et al. 2014): films of 50 frames/s in colour, of about 1000x1000.

    Subjects 1, 5, 6, 7 and 8 train and 9 and 11 test, 4 -> 4 frames, of 256x256 in OpenSTL; here
    subject 8 validates. OpenSTL scores lists of sequences from STRPM, which are not the windows
    here; others take the films of Walking alone, at 128x128.

    Args:
        folder: with the films, such as S1/Videos/Walking.54138969.mp4.
    """

    name = "human36m"
    files = "S1/Videos/*.mp4 to S11/Videos/*.mp4, from vision.imar.ro/human3.6m"
    protocol: ClassVar = {"past": 4, "future": 4, "reading": {"size": [256, 256], "colour": "rgb"}}

    def read(self, options: ReadOptions) -> BySplit:
        patterns = {  # films called _ALL hold all others
            "validation": ["S8/Videos/[!_]*.mp4"],
            "test": ["S9/Videos/[!_]*.mp4", "S11/Videos/[!_]*.mp4"],
            "train": ["S[1567]/Videos/[!_]*.mp4"],
        }
        for split, path in matching(self.folder, patterns):
            yield from ((split, film) for film in raw_clips(path, options))


class KITTICaltech(Published):
    """KITTI (Geiger et al. 2013) to train, Caltech Pedestrian (Dollar et al. 2009) to test.

    10 -> 1 frames of 128x160, cut from the centre, at 10 frames/s, as in PredNet (Lotter et al.
    2017, arXiv 1605.08104) and OpenSTL: of KITTI the right colour camera, of Caltech sets 6 to 10,
    of which every third frame is taken. Here KITTI's drive 5 validates.

    Args:
        folder: with KITTI's raw drives, such as 2011_09_26_drive_0001_sync/image_03/data, and
            Caltech's set06/V000 to set10: folders of pictures, or films, made of the .seq.
    """

    name = "kitti_caltech"
    files = "KITTI's 2011_09_26_drive_0001_sync/image_03/data, ..., and Caltech's set06/V000, ..."
    protocol: ClassVar = {"past": 10, "future": 1, "reading": {"size": [128, 160], "colour": "rgb"}}

    def read(self, options: ReadOptions) -> BySplit:
        height, width = options.size or (128, 160)
        whole = replace(options, size=None)
        patterns = {
            "validation": ["*_drive_0005_sync/image_03/data"],
            "test": ["set0[6789]/V*", "set10/V*"],
            "train": ["*_sync/image_03/data"],
        }
        for split, path in matching(self.folder, patterns):
            for clip in raw_clips(path, whole):
                h, w = clip.frames.shape[2:]
                rows, columns = min(h, w * height // width), min(w, h * width // height)
                crop = ((h - rows) // 2, (w - columns) // 2, rows, columns)
                every = 3 if split == "test" else 1  # of 30 frames/s
                centre = ReadOptions(crop=crop, every=every, budget=options.budget)
                cut = apply_options(clip, centre, None)
                yield split, replace(cut, name=f"{clip.name} [centre]")


class TaxiBJ(Published):
    """TaxiBJ (Zhang, Zheng, Qi 2017, arXiv 1610.00081): inflow and outflow of taxis in Beijing,
    every 30 minutes on 32x32 cells.

    The last four weeks, from 14 March 2016, test, and values are scaled from their lowest to their
    highest in training, as there; 4 -> 4 frames as in MIM (Wang et al. 2019) and OpenSTL. Here the
    four weeks before validate. OpenSTL's dataset.npz has other windows of the same.

    Args:
        folder: with BJ13_M32x32_T30_InOut.h5 to BJ16_M32x32_T30_InOut.h5.
    """

    name = "taxibj"
    files = "BJ13_M32x32_T30_InOut.h5 to BJ16_M32x32_T30_InOut.h5, from TaxiBJ of DeepST"
    protocol: ClassVar = {"past": 4, "future": 4, "scaling": "minmax"}

    def read(self, options: ReadOptions) -> BySplit:
        h5py = needed("h5py", "radar", "data taxibj: reading HDF5")
        for path in sorted(self.folder.rglob("BJ*_M32x32_T30_InOut.h5")):
            with in_one_line(f"cannot read {path}; is it whole?"), h5py.File(path) as file:
                flows = file["data"]
                check_budget(12 * flows.size, options.budget, f"{path}: an array of {flows.shape}")
                frames = flows[:].astype(np.float32)
                slots = file["date"].asstr()[:]  # 2016041048: the last half hour of 10 April 2016
                days = np.array([f"{s[:4]}-{s[4:6]}-{s[6:8]}" for s in slots], "datetime64[ns]")
                halves = np.array([int(s[8:]) - 1 for s in slots])
                clip = Clip(frames, days + halves * np.timedelta64(30, "m"), name=str(path))
            yield from by_date(clip, ("2013-01-01", "2016-02-15", "2016-03-14"))


class WeatherBench(Published):
    """WeatherBench (Rasp et al. 2020, arXiv 2002.00469): ERA5, hourly, on a coarse global grid.

    2010 to 2015 train, 2016 validates, 2017 and 2018 test; 12 -> 12 frames, standardised, as in
    OpenSTL.

    Args:
        folder: of one variable, such as 2m_temperature, with its files of a year each.
    """

    name = "weatherbench"
    files = "2m_temperature_2010_5.625deg.nc, ..., of one variable, from pangeo-data/WeatherBench"
    protocol: ClassVar = {"past": 12, "future": 12, "scaling": "standard"}

    def read(self, options: ReadOptions) -> BySplit:
        if any(self.folder.rglob("*.nc")):
            for clip in raw_clips(self.folder, options):
                yield from by_date(clip, ("2010-01-01", "2016-01-01", "2017-01-01"))


class SEVIR(Published):
    """SEVIR's vertically integrated liquid (Veillette et al. 2020): events of four hours, every
    five minutes on 384x384 km, as bytes.

    Events from June 2019 on test, as there; those from January 2019 on validate, and windows of
    13 -> 12 frames begin at every twelfth, as in Earthformer (Gao et al. 2022, arXiv 2207.05833).
    Events with missing values are left out. Values stay the bytes 0 to 254, on which the thresholds
    16, 74, 133, 160, 181 and 219 are.

    Args:
        folder: with CATALOG.csv, and the files of type vil that it names, in it or in data/.
    """

    name = "sevir"
    files = "CATALOG.csv and data/vil/2018/*.h5, ..., from s3://sevir"
    protocol: ClassVar = {"past": 13, "future": 12, "stride": 12, "reading": {"missing": None}}

    def read(self, options: ReadOptions) -> BySplit:
        needed("h5py", "radar", "data sevir: reading HDF5")
        catalog = self.folder / "CATALOG.csv"
        if not catalog.is_file():
            return
        others = np.array(["2019-01-01", "2019-06-01"], "datetime64[ns]")  # where train ends
        with in_one_line(f"cannot read {catalog}; is it whole?"), catalog.open(newline="") as file:
            events = list(self._events(csv.DictReader(file)))
        for event in events:
            middle = np.asarray(event.times)[24]
            yield SPLITS[int(np.searchsorted(others, middle, "right"))], event

    def _events(self, rows: Iterable[Mapping[str, str]]) -> Iterator[Clip]:
        """Yield radar events without missing values whose file exists."""
        for row in rows:
            if row["img_type"] == "vil" and float(row["pct_missing"] or 0) == 0:
                name, side = row["file_name"], (int(row["size_y"]), int(row["size_x"]))
                # The catalogue's minute_offsets repeat some: frames are five minutes apart.
                times = np.datetime64(row["time_utc"], "ns") + np.arange(-24, 25) * FIVE_MINUTES
                paths = (self.folder / "data" / name, self.folder / name)
                path = next(filter(Path.is_file, paths), None)
                if path is not None:
                    frames = Event(path, int(row["file_index"]), (len(times), 1, *side))
                    yield Clip(frames, times, name=f"{path} [{row['id']}]", variable="vil")


def published_moving_mnist(
    path: str | Path = "data/mnist_test_seq.npy", download: bool = False, split: str = "test"
) -> ArrayClips:
    """The 10,000 published test clips (Srivastava et al. 2015), read from `path` one by one;
    fetched there first if `download`.

    Raises:
        ValueError: a split to train on; when the file is not there and may not be downloaded, or is
            another file.
        OSError, RuntimeError: the download failed.
    """
    path = Path(path)
    if not path.is_file():
        if not download:
            raise ValueError(
                f"there is no {path}; put mnist_test_seq.npy there, or allow the download "
                "(download true, 820 MB)"
            )
        utils = needed("torchvision.datasets.utils", "digits", "downloading the published clips")
        utils.download_url(MOVING_MNIST, str(path.parent), path.name, MD5)
    header = header_of(path)
    if (header.shape, header.dtype) != (MOVING_MNIST_SHAPE, np.uint8):
        raise ValueError(f"{path} is not the published test set: its shape is another")
    if split not in ("test", "all"):
        raise ValueError(f"{path} is a test set, without clips for {split}")
    clips = ArrayClips(np.load(path, mmap_mode="r").transpose(1, 0, 2, 3), "all")
    clips.name, clips.scaling = str(path), Scaling()
    return clips


def matching(folder: Path, patterns: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Path]]:
    """The recordings in a folder, each with the split of which a pattern fits its path first."""
    for path in sorted(folder.rglob("*")):
        fitting = (split for split, of in patterns.items() if any(map(path.match, of)))
        split = next(fitting, None)
        if split is not None and (path.is_dir() or reader_of(path) is not None):
            yield split, path


def part(clip: Clip, first: int, last: int, label: object) -> Clip:
    return replace(clip.part(first, last), name=f"{clip.name} [{label}]")


def by_date(clip: Clip, begins: Dates) -> BySplit:
    """A recording cut where the splits begin; what is earlier, or has no date, is left out."""
    if clip.times is None or clip.times.dtype.kind != "M":
        return
    first, *others = np.searchsorted(clip.times, np.array(begins, "datetime64[ns]")).tolist()
    for split, last in zip(SPLITS, [*others, len(clip)], strict=True):
        if first < last:
            yield split, part(clip, first, last, split)
        first = last


@dataclass(frozen=True, eq=False)
class Event(Frames):
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
