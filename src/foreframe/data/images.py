"""Numbered images and animated GIFs, read one picture at a time."""

import re
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from foreframe.clip import Clip

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_GREY = ("1", "L", "LA", "La", "I", "F")  # pillow's modes; those of 16 bits begin with I;16
# What pillow raises for damaged files, of its own and from the depths of its readers.
_NOT_READ = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, Image.DecompressionBombError)


def read_gif(path: str | Path) -> Clip:
    """An animated GIF: frames (T,C,H,W) uint8, composited, transparent parts black, and times in seconds from the first frame.

    C is 1 where every frame is grey and 3 (RGB) otherwise. Opening looks at every frame once; they are read when asked for. A
    duration of 0 counts as 0.1 s, as in browsers. A GIF that is cut short gives what is there, and a note.

    Raises:
        ValueError: no such file, or no GIF that can be read.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    seconds, grey = [0.0], True
    note: tuple[str, ...] = ()
    try:
        with Image.open(path) as image:
            size = (image.height, image.width)
            try:
                for frame in ImageSequence.Iterator(image):
                    picture = _on_black(frame)
                    grey = grey and bool((picture == picture[:1]).all())
                    seconds.append(seconds[-1] + (frame.info.get("duration") or 100) / 1000)
            except _NOT_READ as error:
                if len(seconds) == 1:
                    raise
                note = (f"the GIF is damaged: only its first {len(seconds) - 1} frames are there ({_short(error)})",)
    except _NOT_READ as error:
        raise ValueError(f"{path.name} is no GIF that can be read ({_short(error)}); make or fetch it again") from None
    frames = Gif(path, (len(seconds) - 1, 1 if grey else 3, *size))
    return Clip(frames, times=np.array(seconds[:-1]), name=path.name, notes=note)


def read_images(
    folder_or_list: str | Path | Sequence[str | Path], strict: bool = False, size: tuple[int, int] | None = None
) -> Clip:
    """Numbered images as frames (T,C,H,W), read when asked for: uint8, uint16 where grey images have 16 bits, or as stored.

    A folder's images (png, jpg, bmp, tif, webp) are taken in the order of the numbers in their names, img2 before img10, without
    hidden files; a list keeps its order. C is 1 where the first image is grey and 3 (RGB) otherwise; transparent parts are black;
    pictures are turned upright as their EXIF tag says. There are no times.

    Args:
        folder_or_list: a folder, or the paths of images.
        strict: refuse an image that cannot be read, instead of the one before it in its place.
        size: H and W that every image is resized to; needed where they differ.

    Raises:
        ValueError: no such folder, no images, unlike sizes or depths, or an image that `strict` refuses.
    """
    if isinstance(folder_or_list, str | Path):
        folder = Path(folder_or_list)
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
        held = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())
        paths, name = sorted(held, key=natural), folder.resolve().name
    else:
        paths, name = [Path(p) for p in folder_or_list], ""
    if not paths:
        raise ValueError(f"{folder_or_list or 'the list'} has no images; give files that end in {', '.join(SUFFIXES)}")
    if size is not None and min(size) < 1:
        raise ValueError(f"size {size}: rows and columns are at least 1")

    kinds: list[tuple[Path, _Kind]] = []
    broken: set[int] = set()
    for k, path in enumerate(paths):
        try:
            kinds.append((path, _kind(path)))
        except _NOT_READ as error:
            if strict:
                raise ValueError(f"{path} cannot be read ({_short(error)}); replace it, or leave strict out") from None
            broken.add(k)
    if not kinds:
        raise ValueError(f"none of the {len(paths)} images can be read, {paths[0].name} for one; make or fetch them again")
    first, kind = kinds[0]
    for path, other in kinds:
        if size is None and other[:2] != kind[:2]:
            raise ValueError(
                f"{first.name} is {kind[0]}x{kind[1]} and {path.name} {other[0]}x{other[1]} (rows x columns); "
                "give a size to which all are resized"
            )
        if other[3] != kind[3]:
            raise ValueError(f"{first.name} holds {kind[3]} and {path.name} {other[3]}; store all images with the same depth")
    unlike = sum(other[2] != kind[2] for _, other in kinds)
    notes = []
    if unlike:
        became = "turned grey, as the first is" if kind[2] else "given three equal channels"
        notes.append(f"{unlike} of {len(paths)} images are {'in colour' if kind[2] else 'grey'}: they are {became}")
    if size is not None and any(other[:2] != size for _, other in kinds):
        notes.append(f"images are resized to {size[0]}x{size[1]}")
    shape = (len(paths), 1 if kind[2] else 3, *(size or kind[:2]))
    return Clip(Images(paths, shape, kind[3], strict, broken), name=name, notes=tuple(notes))


class Gif:
    """Frames (T,C,H,W) uint8 of an animated GIF; each slice composites from the first frame on, since GIFs are short."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype, self._path = shape, np.dtype(np.uint8), path.absolute()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, when: slice, /) -> UInt8[np.ndarray, "t c h w"]:
        asked = _asked(when, len(self))
        pictures = np.empty((len(asked), *self.shape[1:]), np.uint8)
        with Image.open(self._path) as image:  # opened anew: an open file is shared neither by threads nor by forked workers
            for k in asked:
                image.seek(k)
                pictures[k - asked.start] = _on_black(image)[: self.shape[1]]
        return pictures


class Images:
    """Frames (T,C,H,W) of numbered images, each read when a slice asks for it.

    `broken` are the indices, so far, of images that cannot be read: the one before stands in its place (the next good one at the
    start), and the first of them warns.

    Raises:
        ValueError: on slicing, a step; an image that `strict` refuses; no image left that can be read.
    """

    def __init__(self, paths: Sequence[Path], shape: tuple[int, ...], dtype: np.dtype, strict: bool, broken: set[int]) -> None:
        self.shape, self.dtype, self.broken = shape, dtype, broken
        self._paths, self._strict, self._warned = [p.absolute() for p in paths], strict, False
        if self.broken:
            self._warn(min(self.broken))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, when: slice, /) -> Shaped[np.ndarray, "t c h w"]:
        asked = _asked(when, len(self))
        pictures = np.empty((len(asked), *self.shape[1:]), self.dtype)
        for k in asked:
            picture = self._read(k)
            if picture is None and k > asked.start:
                picture = pictures[k - asked.start - 1]
            pictures[k - asked.start] = self._stand_in(k) if picture is None else picture
        return pictures

    def _read(self, k: int) -> np.ndarray | None:
        if k in self.broken:
            return None
        try:
            return _picture(self._paths[k], self.shape[1:], self.dtype)
        except _NOT_READ as error:
            if self._strict:
                raise ValueError(f"{self._paths[k]} cannot be read ({_short(error)}); replace it, or leave strict out") from None
        self.broken.add(k)
        self._warn(k)
        return None

    def _stand_in(self, k: int) -> np.ndarray:
        for other in [*range(k - 1, -1, -1), *range(k + 1, len(self))]:
            picture = self._read(other)
            if picture is not None:
                return picture
        raise ValueError(f"none of the {len(self)} images beside {self._paths[k]} can be read; make or fetch them again")

    def _warn(self, k: int) -> None:
        if not self._warned:
            self._warned = True
            name = f"{self._paths[k].name} (frame {k})"
            warnings.warn(f"{name} cannot be read; the image before stands in its place; strict refuses it", stacklevel=4)


_Kind = tuple[int, int, bool, np.dtype]  # rows, columns, grey, numbers


def _kind(path: Path) -> _Kind:
    """What a file's header tells of the upright picture; nothing is decoded."""
    with Image.open(path) as image:
        height, width = image.height, image.width
        # Pillow would decode a whole PNG to find this tag.
        if image.format in ("JPEG", "MPO", "TIFF", "WEBP") and image.getexif().get(0x0112, 1) >= 5:
            height, width = width, height
        mode = image.mode
        if mode in ("P", "PA"):
            palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
            return height, width, bool((palette == palette[:, :1]).all()), np.dtype(np.uint8)
        if mode == "I" and image.format == "PNG":
            mode = "I;16"  # older pillows call 16 bits so
        kind = np.uint16 if mode.startswith("I;16") else {"I": np.int32, "F": np.float32}.get(mode, np.uint8)
        return height, width, mode in _GREY or mode.startswith("I;16"), np.dtype(kind)


def _picture(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> Shaped[np.ndarray, "c h w"]:
    """One image as (C,H,W) in the numbers of `dtype`, resized where it must be."""
    with Image.open(path) as opened:
        image: Any = ImageOps.exif_transpose(opened)
        if dtype == np.uint8:
            image = _flat(image).convert("L" if shape[0] == 1 else "RGB")
        if (image.height, image.width) != shape[1:]:
            shrinks = image.height >= shape[1] and image.width >= shape[2]
            if dtype != np.uint8:
                image = Image.fromarray(np.asarray(image).astype(np.float32))  # pillow resizes no 16 bits
            image = image.resize(shape[:0:-1], Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)
        values = np.asarray(image)
    if dtype.kind in "iu" and values.dtype.kind == "f":
        values = np.rint(values)
    values = values.astype(dtype)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _flat(image: Any) -> Any:
    """An image without transparency: what shows through is black."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image


def _on_black(frame: Any) -> UInt8[np.ndarray, "3 h w"]:
    return np.asarray(_flat(frame).convert("RGB")).transpose(2, 0, 1)


def natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Numbers in a name count as numbers; the name itself settles what is left equal, as img1 and img01."""
    parts = re.findall(r"\d+|\D+", path.stem)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts], path.name


def _asked(when: slice, length: int) -> range:
    if not isinstance(when, slice) or when.step not in (None, 1):
        raise ValueError(f"frames are read by slices without a step, frames[3:7], not by {when}")
    first, last, _ = when.indices(length)
    return range(first, max(first, last))


def _short(error: BaseException) -> str:
    """Pillow's words without the file's path, which the message has already."""
    return "not an image" if isinstance(error, UnidentifiedImageError) else (str(error).splitlines() or ["damaged"])[0]
