"""Numbered images, and files that hold several pictures: GIF, WebP, TIFF. Read one picture at a
time.
"""

import atexit
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from foreframe.base.budget import OverBudgetError, check_budget
from foreframe.base.notes import warn
from foreframe.clips.clip import Clip
from foreframe.clips.data_options import BUDGET
from foreframe.clips.frames import FLOAT32, Frames, resized
from foreframe.data.claims import check_claim
from foreframe.data.npy import stamp_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
ANIMATED = (".tif", ".tiff", ".webp")  # those of which one file may hold several pictures
_GREY = ("1", "L", "LA", "La", "I", "F")  # pillow's modes; those of 16 bits begin with I;16
_KEPT_BYTES = 128 * 2**20  # of decoded pictures that are kept of one file, for windows that overlap
# TIFF's tags: NewSubfileType, which tells overviews and masks, and GDAL_NODATA.
_NO_PAGE, _NO_DATA = 254, 42113


def read_gif(path: str | Path, budget: float = BUDGET) -> Clip:
    """An animated GIF: frames (T,C,H,W) uint8, composited, transparent parts black, and times in
    seconds from the first frame.

    C is 1 where every frame is grey and 3 (RGB) otherwise. Opening looks at every frame once; they
    are read when asked for. A duration of 0 counts as 0.1 s, as in browsers. A GIF that is cut
    short gives what is there, and a note.

    Args:
        path: of the GIF, or of an animated WebP.
        budget: GiB that opening and reading may take at once.

    Raises:
        ValueError: no such file, no GIF that can be read, or one that claims more than the budget.
    """
    path = Path(path)
    kind = path.suffix[1:].upper() or "GIF"
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    seconds, grey = [0.0], True
    note: tuple[str, ...] = ()
    try:
        with _opened(path) as image:
            size = (image.height, image.width)
            _check_size(path, *size, 16, budget)
            check_claim((count_pages(path), 3, *size), 1, path.stat().st_size, budget, str(path))
            try:
                for _ in ImageSequence.Iterator(image):
                    picture = _on_black(image, size)
                    grey = grey and bool((picture == picture[:1]).all())
                    seconds.append(seconds[-1] + (image.info.get("duration") or 100) / 1000)
            except OverBudgetError:
                raise
            except Exception as error:
                if len(seconds) == 1:
                    raise
                whole = f"only its first {len(seconds) - 1} frames are there"
                note = (f"the {kind} is damaged: {whole} ({_short(error)})",)
    except OverBudgetError:
        raise
    except Exception as error:  # pillow's readers raise whatever they stumble over
        raise ValueError(
            f"{path.name} is no {kind} that can be read ({_short(error)}); make or fetch it again"
        ) from None
    kind_of_all = _Kind(*size, grey, np.dtype(np.uint8), 16, False, None)
    frames = Pages(path, range(len(seconds) - 1), kind_of_all, kind_of_all.dtype, True, budget)
    return Clip(frames, times=np.array(seconds[:-1]), name=path.name, notes=note)


def read_pages(path: str | Path, budget: float = BUDGET) -> Clip:
    """An animated WebP as `read_gif` gives it, or a TIFF of several pages: frames (T,C,H,W), a
    frame a page; no times.

    Overviews and masks are no pages. Where the file says which number stands for no data
    (GDAL_NODATA), frames are float32, NaN there.

    Raises:
        ValueError: no such file, no picture that can be read, pages of unlike sizes or depths, more
            than the budget.
    """
    path = Path(path)
    if path.suffix.lower() == ".webp":
        return read_gif(path, budget)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    pages: list[tuple[int, _Kind]] = []
    try:
        with _opened(path) as image:
            for k in range(_frames_in(image)):
                image.seek(k)
                if not int(image.tag_v2.get(_NO_PAGE, 0)):
                    pages.append((k, _kind(image)))
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read ({_short(error)}); make or fetch it again"
        ) from None
    if not pages:
        raise ValueError(f"{path} has no pages but overviews and masks; make or fetch it again")
    first = pages[0][1]
    for k, other in pages:
        if other[:2] != first[:2] or other.grey != first.grey or other.dtype != first.dtype:
            raise ValueError(
                f"{path}: page {pages[0][0]} is {first.size}, {first.dtype}, and page {k} "
                f"{other.size}, {other.dtype}; store pages that are alike, or each in a file of "
                "its own"
            )
    _check_size(path, first.height, first.width, first.weight, budget)
    dtype = _dtype_of_all([kind for _, kind in pages])
    return Clip(
        Pages(path, tuple(k for k, _ in pages), first, dtype, False, budget), name=path.name
    )


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def count_pages(path: Path) -> int:
    """How many pictures a file holds; 0 where it cannot be read."""
    try:
        with _opened(path) as image:
            return _frames_in(image)
    except Exception:
        return 0


def read_images(
    folder_or_list: str | Path | Sequence[str | Path],
    strict: bool = False,
    size: tuple[int, int] | None = None,
    budget: float = BUDGET,
) -> Clip:
    """Numbered images as frames (T,C,H,W), read when asked for: uint8, uint16 where grey images
    have 16 bits, or as stored.

    A folder's images (png, jpg, bmp, tif, webp) are taken in the order of the numbers in their
    names, img2 before img10, without hidden files; a list keeps its order. C is 1 where the first
    image is grey and 3 (RGB) otherwise; transparent parts are black; pictures are turned upright as
    their EXIF tag says; of a file with several pages the first is read. Where a GeoTIFF says which
    number stands for no data (GDAL_NODATA), frames are float32, NaN there. There are no times.

    Args:
        folder_or_list: a folder, or the paths of images.
        strict: refuse an image that cannot be read, instead of the one before it in its place.
        size: H and W that every image is resized to; needed where they differ.
        budget: GiB that reading may take at once.

    Raises:
        ValueError: no such folder, no images, unlike sizes or depths, an image that `strict`
            refuses, more than the budget.
    """
    if isinstance(folder_or_list, str | Path):
        folder = Path(folder_or_list)
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
        paths = sorted((path for path in folder.iterdir() if _is_image(path)), key=natural)
        name = folder.resolve().name
    else:
        paths, name = [Path(p) for p in folder_or_list], ""
    if not paths:
        raise ValueError(
            f"{folder_or_list or 'the list'} has no images; give files that end in "
            f"{', '.join(SUFFIXES)}"
        )
    if size is not None and min(size) < 1:
        raise ValueError(f"size {size}: rows and columns are at least 1")

    kinds: list[tuple[Path, _Kind]] = []
    broken: set[int] = set()
    for k, path in enumerate(paths):
        try:
            with _opened(path) as image:
                kinds.append((path, _kind(image)))
        except Exception as error:
            if strict:
                raise ValueError(
                    f"{path} cannot be read ({_short(error)}); replace it, or leave strict out"
                ) from None
            broken.add(k)
    if not kinds:
        raise ValueError(
            f"none of the {len(paths)} images can be read, among them {paths[0].name}; make or "
            "fetch them again"
        )
    first, kind = kinds[0]
    for path, other in kinds:
        if size is None and other[:2] != kind[:2]:
            raise ValueError(
                f"{first.name} is {kind.size} and {path.name} {other.size} (rows x columns); "
                "give a size to which all are resized"
            )
        if other.dtype != kind.dtype:
            raise ValueError(
                f"{first.name} holds {kind.dtype} and {path.name} {other.dtype}; store all images "
                "with the same depth"
            )
        _check_size(path, other.height, other.width, other.weight, budget)
    unlike = sum(other.grey != kind.grey for _, other in kinds)
    notes = []
    if unlike:
        what = (
            "in colour: they are turned grey, as the first is"
            if kind.grey
            else "grey: they are given three equal channels"
        )
        notes.append(f"{unlike} of {len(paths)} images are {what}")
    if size is not None and any(other[:2] != size for _, other in kinds):
        notes.append(f"images are resized to {size[0]}x{size[1]}")
    shape = (len(paths), 1 if kind.grey else 3, *(size or kind[:2]))
    dtype = _dtype_of_all([other for _, other in kinds])
    return Clip(Images(paths, shape, dtype, strict, broken, budget), name=name, notes=tuple(notes))


@dataclass(frozen=True)
class Pages(Frames):
    """Frames (T,C,H,W) of one file that holds several pictures, decoded when a slice asks for them.

    Slices that follow each other go on where the one before ended, since a picture of a GIF is
    drawn on the one before; a jump back begins anew. The pictures of the last slices are kept, up
    to 128 MiB, so that windows may overlap. Each thread and process decodes for itself.

    Args:
        path: of the file.
        pages: the numbers of its pictures.
        kind: of the pictures.
        dtype: of the frames.
        film: whether they are composited as of a GIF, not pictures of their own.
        budget: GiB that a slice may take.
    """

    path: Path
    pages: Sequence[int]
    kind: "_Kind"
    dtype: np.dtype
    film: bool
    budget: float
    shape: tuple[int, ...] = field(init=False)
    stamp: tuple[int, ...] = field(init=False)  # of the file, when it was opened

    def __post_init__(self) -> None:
        channels = 1 if self.kind.grey else 3
        shape = (len(self.pages), channels, self.kind.height, self.kind.width)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "path", self.path.absolute())
        object.__setattr__(self, "stamp", stamp_of(self.path))

    def read(self, first: int, last: int) -> Shaped[np.ndarray, "t c h w"]:
        pictures = _room(last - first, self.shape[1:], self.dtype, self.path, self.budget)
        if first == last:
            return pictures
        k = first
        try:
            decoder = _decoder(self.path, self.stamp, os.getpid(), threading.get_ident())
            kept = decoder.kept
            room = max(1, min(last - first, _KEPT_BYTES // pictures[0].nbytes))
            for k in range(first, last):
                if k not in kept:
                    kept[k] = self._picture(decoder.image, k)
                pictures[k - first] = kept[k]
                while len(kept) > room:
                    del kept[next(iter(kept))]
        except OverBudgetError:
            raise
        except Exception as error:
            _decoder.cache_clear()  # a decoder that has failed stands nobody knows where
            raise ValueError(
                f"{self.path}: picture {k} cannot be read ({_short(error)}); make or fetch the "
                "file again"
            ) from None
        return pictures

    def _picture(self, image: Any, k: int) -> np.ndarray:
        image.seek(self.pages[k])
        if self.film:
            return _on_black(image, self.shape[2:])[: self.shape[1]]
        return _picture(image, _kind(image), self.shape[1:], self.dtype)


class _Decoder:
    """An open file, the pictures of it that were decoded last by their number, and where it
    stands.
    """

    def __init__(self, path: Path) -> None:
        with _without_limit():
            self.image = Image.open(path)
        self.kept: dict[int, np.ndarray] = {}

    def __del__(self) -> None:
        if "image" in self.__dict__:
            self.image.close()


@lru_cache(maxsize=32)
def _decoder(path: Path, stamp: tuple[int, ...], process: int, thread: int) -> _Decoder:
    """The decoder of this thread: a file's position is shared neither by threads nor by forked
    workers.
    """
    return _Decoder(path)


atexit.register(_decoder.cache_clear)  # later pillow has nothing left to close files with


class Images(Frames):
    """Frames (T,C,H,W) of numbered images, each read when a slice asks for it.

    `broken` are the indices, so far, of images that cannot be read: the one before stands in its
    place (the next good one at the start), and the first of them warns.

    Raises:
        ValueError: an image that `strict` refuses; no image left that can be read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        shape: tuple[int, ...],
        dtype: np.dtype,
        strict: bool,
        broken: set[int],
        budget: float = BUDGET,
    ) -> None:
        self.shape, self.dtype, self._budget = shape, dtype, budget
        self._paths, self._strict = [path.absolute() for path in paths], strict
        self._broken: set[int] = set()
        for k in sorted(broken):
            self._break(k)

    def read(self, first: int, last: int) -> Shaped[np.ndarray, "t c h w"]:
        where = self._paths[0].parent
        pictures = _room(last - first, self.shape[1:], self.dtype, where, self._budget)
        for k in range(first, last):
            picture = self._read(k)
            if picture is None and k > first:
                picture = pictures[k - first - 1]
            pictures[k - first] = self._stand_in(k) if picture is None else picture
        return pictures

    def _read(self, k: int) -> np.ndarray | None:
        if k in self._broken:
            return None
        try:
            with _opened(self._paths[k]) as image:
                kind = _kind(image)
                _check_size(self._paths[k], kind.height, kind.width, kind.weight, self._budget)
                return _picture(image, kind, self.shape[1:], self.dtype)
        except OverBudgetError:
            raise
        except Exception as error:  # pillow's readers raise whatever they stumble over
            if self._strict:
                raise ValueError(
                    f"{self._paths[k]} cannot be read ({_short(error)}); replace it, or leave "
                    "strict out"
                ) from None
        self._break(k)
        return None

    def _stand_in(self, k: int) -> np.ndarray:
        for other in [*range(k - 1, -1, -1), *range(k + 1, len(self))]:
            picture = self._read(other)
            if picture is not None:
                return picture
        raise ValueError(
            f"none of the {len(self)} images beside {self._paths[k]} can be read; make or fetch "
            "them again"
        )

    def _break(self, k: int) -> None:
        if not self._broken:
            what = f"{self._paths[k].name} (frame {k}) cannot be read"
            warn(f"{what}; the image before stands in its place; strict refuses it")
        self._broken.add(k)


class _Kind(NamedTuple):
    """What a picture's header says of it, once it is upright; nothing is decoded.

    Args:
        height, width: rows and columns.
        grey: one channel, not three.
        dtype: of its numbers.
        weight: bytes a pixel that decoding and converting it takes.
        turned: whether its EXIF tag asks for that.
        nodata: the number that stands for no data, of a GeoTIFF.
    """

    height: int
    width: int
    grey: bool
    dtype: np.dtype
    weight: int
    turned: bool
    nodata: float | None

    @property
    def size(self) -> str:
        return f"{self.height}x{self.width}"


def _dtype_of_all(kinds: Sequence[_Kind]) -> np.dtype:
    """That of the first, or float32, which has NaN, where any says which number is no data."""
    return FLOAT32 if any(kind.nodata is not None for kind in kinds) else kinds[0].dtype


def _kind(image: Any) -> _Kind:
    height, width, mode = image.height, image.width, image.mode
    # Pillow would decode a whole PNG to find this tag.
    turn = image.getexif().get(0x0112, 1) if image.format in ("JPEG", "MPO", "TIFF", "WEBP") else 1
    if turn in (5, 6, 7, 8):
        height, width = width, height
    grey = mode in _GREY or mode.startswith("I;16")
    dtype: np.dtype = np.dtype(np.uint8)
    if mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        grey = bool((palette == palette[:, :1]).all())
    elif mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        # Older pillows call 16 bits so.
        dtype = np.dtype(np.uint16)
    elif mode in ("I", "F"):
        dtype = np.dtype(np.int32 if mode == "I" else np.float32)
    # Pillow keeps three channels in four bytes; what has to be converted lies there twice, what
    # shines through more often.
    weights = {"L": 1, "1": 2, "RGB": 4, "I": 4, "F": 4}
    weight = 4 if mode.startswith("I;16") else weights.get(mode, 8)
    weight += 16 if _is_clear(image) else 0
    return _Kind(height, width, grey, dtype, weight, turn in range(2, 9), _nodata(image, dtype))


def _nodata(image: Any, dtype: np.dtype) -> float | None:
    """The number that a GeoTIFF marks what is missing by, where its type can hold it."""
    if image.format != "TIFF":
        return None
    try:
        value = float(str(image.tag_v2.get(_NO_DATA, "nan")).strip("\0 "))
    except ValueError:  # a text that is no number
        return None
    if not np.isfinite(value):
        return None
    if dtype.kind == "f":
        return value
    limits = np.iinfo(dtype)
    return value if value == round(value) and limits.min <= value <= limits.max else None


def _is_clear(image: Any) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _picture(
    image: Any, kind: _Kind, shape: tuple[int, ...], dtype: np.dtype
) -> Shaped[np.ndarray, "c h w"]:
    """The picture at which an open file stands, as (C,H,W) in the numbers of `dtype`, resized where
    it must be.
    """
    if kind.turned:
        image = ImageOps.exif_transpose(image)
    if kind.dtype == np.uint8:
        image, mode = _flat(image), "L" if shape[0] == 1 else "RGB"
        image = image if image.mode == mode else image.convert(mode)
    if kind.nodata is not None:
        values = np.asarray(image)
        nodata = np.float32(kind.nodata) if values.dtype.kind == "f" else kind.nodata
        values = np.where(values == nodata, np.float32(np.nan), values.astype(np.float32))
        values = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
        return resized(values[None], shape[1], shape[2], dtype)[0]
    if (image.height, image.width) != shape[1:]:
        shrinks = image.height >= shape[1] and image.width >= shape[2]
        how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
        if kind.dtype != np.uint8:  # pillow resizes no 16 bits
            image = Image.fromarray(np.asarray(image).astype(np.float32))
        image = image.resize(shape[:0:-1], how)
    values = np.asarray(image)
    if dtype.kind in "iu" and values.dtype.kind == "f":
        values = np.rint(values)
    values = values.astype(dtype)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _flat(image: Any) -> Any:
    """An image without transparency: what shows through is black."""
    if not _is_clear(image):
        return image
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")


def _on_black(frame: Any, size: tuple[int, ...]) -> UInt8[np.ndarray, "3 h w"]:
    """A frame of a film on its canvas, beyond which damaged files may draw."""
    return np.asarray(_flat(frame).convert("RGB")).transpose(2, 0, 1)[:, : size[0], : size[1]]


# -- opening


_limit = threading.RLock()


@contextmanager
def _without_limit() -> Iterator[None]:
    """Pillow's own limit of pixels, which no option of ours can raise, is off while a header is
    read: the budget stands for it.
    """
    with _limit:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = usual


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with _without_limit():
        image = Image.open(path)
    with image:
        yield image


def _frames_in(image: Any) -> int:
    return int(getattr(image, "n_frames", 1))


def _check_size(path: Path, height: int, width: int, weight: int, budget: float) -> None:
    what = f"{path.name} of {height}x{width} pixels"
    check_budget(height * width * weight, budget, what, "leave it out")


def _room(
    count: int, shape: tuple[int, ...], dtype: np.dtype, path: Path, budget: float
) -> np.ndarray:
    """Memory for so many frames (C,H,W), if the budget has it."""
    need = count * int(np.prod(shape)) * dtype.itemsize
    check_budget(need, budget, f"a stretch of {count} frames of {path}", "read fewer")
    return np.empty((count, *shape), dtype)


# -- names, slices, messages


def natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Numbers in a name count as numbers; the name itself settles what is left equal, as img1 and
    img01.
    """
    parts = re.findall(r"\d+|\D+", path.stem)
    keys = [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts]
    return keys, path.name


def _short(error: BaseException) -> str:
    """Pillow's words without the file's path, which the message has already."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return (str(error).splitlines() or ["damaged"])[0][:160]
