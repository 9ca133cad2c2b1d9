"""Numbered pictures and animations (GIF, WebP), read one picture at a time by Pillow."""

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageMode, ImageOps, ImageSequence, UnidentifiedImageError

from foreframe.base.budget import OverBudgetError, check_budget
from foreframe.base.notes import warn
from foreframe.clips.clip import Clip
from foreframe.clips.data_options import BUDGET
from foreframe.data.decoders import DecodedFrames
from foreframe.data.header_limits import check_frames_fit

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
ANIMATED = (".tif", ".tiff", ".webp")  # those of which one file may hold several pictures
_TURN = 0x0112  # EXIF's tag: 5 to 8 swap rows and columns
_PHOTOS = ("JPEG", "MPO")  # formats whose headers have EXIF's tags
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the budget says it better


def read_gif(path: str | Path, budget: float = BUDGET) -> Clip:
    """An animated GIF or WebP: frames (T,C,H,W) uint8, composited, transparent parts black, and
    times in seconds from the first frame.

    C is 1 where every frame is grey and 3 (RGB) otherwise. Opening looks at every frame once; they
    are read when asked for. A duration of 0 counts as 0.1 s, as in browsers. A file that is cut
    short gives what is there, and a note.

    Args:
        path: of the file.
        budget: GiB that opening may take at once.

    Raises:
        ValueError: no such file, no animation that can be read, a TIFF of several pages, or a file
            that says it holds more than the budget.
    """
    path = Path(path)
    if path.suffix.lower().startswith(".tif"):
        raise ValueError(
            f"{path}: several pages of a TIFF are no recording; store each in a file of its own"
        )
    seconds, grey = [0.0], True
    notes: tuple[str, ...] = ()
    try:
        with Image.open(path) as image:
            shape = (3, image.height, image.width)
            _check_size(image, path, budget)
            pages = count_pages(path)
            check_frames_fit((pages, *shape), 1, path.stat().st_size, budget, str(path))
            for _ in ImageSequence.Iterator(image):
                pixels = _pixels(image, shape, np.dtype(np.uint8))
                grey = grey and bool((pixels == pixels[:1]).all())
                seconds.append(seconds[-1] + (image.info.get("duration") or 100) / 1000)
    except OverBudgetError:
        raise
    except Exception as error:  # pillow's readers raise whatever they stumble over
        if len(seconds) == 1:
            raise ValueError(
                f"{path.name} is no animation that can be read ({_short(error)}); make or fetch it "
                "again"
            ) from None
        notes = (f"damaged: only its first {len(seconds) - 1} frames are there ({_short(error)})",)
    places = [(path, k) for k in range(len(seconds) - 1)]
    shape = (1 if grey else 3, *shape[1:])
    frames = Pictures(places, shape, np.dtype(np.uint8), budget=budget)
    return Clip(frames, times=np.array(seconds[:-1]), name=path.name, notes=notes)


def count_pages(path: Path) -> int:
    """How many pictures a file holds; 0 where it cannot be read."""
    try:
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:
        return 0


def read_images(
    paths: Sequence[Path],
    strict: bool = False,
    size: tuple[int, int] | None = None,
    budget: float = BUDGET,
) -> Clip:
    """Images as frames (T,C,H,W) in the order given, read when asked for: uint8, uint16 where grey
    images have 16 bits, or as stored.

    C is 1 where the first image is grey and 3 (RGB) otherwise; transparent parts are black;
    photographs are turned upright as their EXIF tag says. There are no times.

    Args:
        paths: of at least one image: png, jpg, bmp, tif, webp.
        strict: refuse an image that cannot be read, instead of the one before it in its place.
        size: H and W that every image is resized to; needed where they differ.
        budget: GiB that reading an image may take.

    Raises:
        ValueError: unlike sizes or depths, an image that `strict` refuses, none that can be read,
            more than the budget.
    """
    kinds: dict[Path, _Kind] = {}
    broken: list[int] = []
    for k, path in enumerate(paths):
        try:
            with Image.open(path) as image:
                _check_size(image, path, budget)
                kinds[path] = _kind(image)
        except OverBudgetError:
            raise
        except Exception as error:
            if strict:
                raise _unreadable(path, error) from None
            broken.append(k)
    if not kinds:
        raise ValueError(
            f"none of the {len(paths)} images can be read, among them {paths[0].name}; make or "
            "fetch them again"
        )
    first, kind = next(iter(kinds.items()))
    for path, other in kinds.items():
        if (size is None and other.size != kind.size) or other.dtype != kind.dtype:
            has, but = (f"{of.size[0]}x{of.size[1]} {of.dtype}" for of in (kind, other))
            raise ValueError(
                f"{first.name} is {has} and {path.name} {but} (rows x columns); give a size to "
                "which all are resized, and store all with the same depth"
            )
    notes = []
    if unlike := sum(other.grey != kind.grey for other in kinds.values()):
        notes.append(f"{unlike} of {len(paths)} images are turned {'grey' if kind.grey else 'RGB'}")
    if size is not None and any(other.size != size for other in kinds.values()):
        notes.append(f"images are resized to {size[0]}x{size[1]}")
    shape = (1 if kind.grey else 3, *(size or kind.size))
    frames = Pictures([(path, 0) for path in paths], shape, kind.dtype, strict, broken, budget)
    return Clip(frames, notes=tuple(notes))


class Pictures(DecodedFrames):
    """Frames (T,C,H,W) that are pictures of files, each read when a slice asks for it.

    Slices of an animation that follow each other go on where the one before ended, since a picture
    of a GIF is drawn on the one before; a jump back begins anew.

    `broken` are the indices, so far, of pictures that cannot be read: the one before stands in
    their place (the next good one at the start), and the first of them warns.

    Args:
        places: for each frame its file, and the number of the picture in that.
        shape: (C,H,W) of a frame, to which pictures are brought.
        dtype: of the frames.
        strict: refuse a picture that cannot be read.
        broken: frames that are known to be.
        budget: GiB that reading a picture may take.

    Raises:
        ValueError: a picture that `strict` refuses; no picture left that can be read.
    """

    def __init__(
        self,
        places: Sequence[tuple[Path, int]],
        shape: tuple[int, ...],
        dtype: np.dtype,
        strict: bool = False,
        broken: Iterable[int] = (),
        budget: float = BUDGET,
    ) -> None:
        super().__init__((len(places), *shape), dtype)
        self._places = [(path.absolute(), number) for path, number in places]
        self._strict, self._budget = strict, budget
        self._broken: set[int] = set()
        for k in broken:
            self._break(k)

    def _open(self) -> "_OpenFile":
        return _OpenFile()

    def _picture(self, file: "_OpenFile", k: int) -> np.ndarray:
        # It, or else the one before, or the next one at the start.
        for near in [*range(k, -1, -1), *range(k + 1, len(self))]:
            if near not in self._broken and (pixels := self._read(file, near)) is not None:
                return pixels
        raise ValueError(
            f"none of the {len(self)} pictures in {self._places[k][0].parent} can be read; make or "
            "fetch them again"
        )

    def _read(self, file: "_OpenFile", k: int) -> np.ndarray | None:
        path, number = self._places[k]
        try:
            image = file.at(path, number)
            _check_size(image, path, self._budget)
            return _pixels(image, self.shape[1:], self.dtype)
        except OverBudgetError:
            raise
        except Exception as error:  # pillow's readers raise whatever they stumble over
            file.close()
            if self._strict:
                raise _unreadable(path, error) from None
        self._break(k)
        return None

    def _break(self, k: int) -> None:
        if not self._broken:
            what = f"{self._places[k][0].name} (frame {k}) cannot be read"
            warn(f"{what}; the image before stands in its place; strict refuses it")
        self._broken.add(k)


class _OpenFile:
    """The file that was read last, which stays open: an animation is read picture by picture."""

    image: Any = None
    path: Path | None = None

    def at(self, path: Path, number: int) -> Any:
        """The open picture of that number."""
        if self.path != path:
            self.close()
            self.image, self.path = Image.open(path), path
        self.image.seek(number)
        return self.image

    def close(self) -> None:
        if self.image is not None:
            self.image.close()
        self.image = self.path = None

    __del__ = close


class _Kind(NamedTuple):
    """What a picture's header says; nothing is decoded.

    Args:
        size: rows and columns, once it is upright.
        grey: one channel, not three.
        dtype: of its numbers.
    """

    size: tuple[int, int]
    grey: bool
    dtype: np.dtype


def _kind(image: Any) -> _Kind:
    size, mode = (image.height, image.width), ImageMode.getmode(image.mode)
    if image.format in _PHOTOS and image.getexif().get(_TURN, 1) in (5, 6, 7, 8):
        size = size[::-1]
    stored = mode.typestr[1:].replace("b1", "u1")  # in this machine's order of bytes
    return _Kind(size, mode.basemode == "L", np.dtype(stored))


def _pixels(image: Any, shape: tuple[int, ...], dtype: np.dtype) -> Shaped[np.ndarray, "c h w"]:
    """The picture at which an open file stands, upright and on black, as (C,H,W) in the numbers of
    `dtype`, resized where it must be.
    """
    if image.format in _PHOTOS:
        image = ImageOps.exif_transpose(image)
    if dtype == np.uint8:
        if image.has_transparency_data:
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
        mode = "L" if shape[0] == 1 else "RGB"
        image = image if image.mode == mode else image.convert(mode)
    if (image.height, image.width) != shape[1:]:
        shrinks = image.height >= shape[1] and image.width >= shape[2]
        how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
        if dtype != np.uint8:  # pillow resizes no 16 bits
            image = Image.fromarray(np.asarray(image).astype(np.float32))
        image = image.resize(shape[:0:-1], how)
    values = np.asarray(image)
    if dtype.kind in "iu" and values.dtype.kind == "f":
        values = np.rint(values)
    values = values.astype(dtype)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _check_size(image: Any, path: Path, budget: float) -> None:
    height, width = image.height, image.width
    # Pillow keeps three channels in four bytes; what is converted lies there more than once.
    grey = ImageMode.getmode(image.mode).basemode == "L"
    weight = (4 if grey else 12) + (16 if image.has_transparency_data else 0)
    what = f"{path.name} of {height}x{width} pixels"
    check_budget(height * width * weight, budget, what, "leave it out")


def natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Numbers in a name count as numbers; of names that are equal so, as img1 and img01, the
    letters decide.
    """
    parts = re.findall(r"\d+|\D+", path.stem)
    keys = [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts]
    return keys, path.name


def _unreadable(path: Path, error: BaseException) -> ValueError:
    return ValueError(f"{path} cannot be read ({_short(error)}); replace it, or leave strict out")


def _short(error: BaseException) -> str:
    """Pillow's words without the file's path, which the message has already."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return (str(error).splitlines() or ["damaged"])[0][:160]
