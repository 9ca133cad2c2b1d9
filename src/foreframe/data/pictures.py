"""Numbered pictures, read one at a time, and animations (GIF, WebP), by Pillow."""

import re
import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageMode, ImageOps, ImageSequence

from foreframe.base.budget import OverBudgetError, check_budget
from foreframe.base.notes import warn
from foreframe.base.wording import described
from foreframe.clips.clip import Clip
from foreframe.clips.frames import Frames
from foreframe.data.data_options import BUDGET

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
ANIMATED = (".tif", ".tiff", ".webp")  # those of which one file may hold several pictures
_WEIGHT = 16  # bytes a pixel that reading a picture takes: it is converted more than once
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the budget says it better


def read_gif(path: str | Path, budget: float = BUDGET) -> Clip:
    """An animated GIF or WebP: frames (T,C,H,W) uint8 in memory, composited, transparent parts
    black, and times in seconds from the first frame.

    C is 1 where every frame is grey and 3 (RGB) otherwise. A duration of 0 counts as 0.1 s, as in
    browsers.

    Args:
        path: of the file.
        budget: GiB that the frames may take.

    Raises:
        ValueError: no such file, no whole animation, a TIFF of several pages, or a file that says
            it holds more than the budget.
    """
    path = Path(path)
    if path.suffix.lower().startswith(".tif"):
        raise ValueError(
            f"{path}: several pages of a TIFF are no recording; store each in a file of its own"
        )
    seconds = [0.0]
    try:
        with Image.open(path) as image:
            shape = (getattr(image, "n_frames", 1), 3, image.height, image.width)
            what = f"{path.name}, {shape[0]} frames of 3x{image.height}x{image.width},"
            check_budget((3 * shape[0] + _WEIGHT) * image.height * image.width, budget, what)
            frames = np.empty(shape, np.uint8)
            for k, page in enumerate(ImageSequence.Iterator(image)):
                frames[k] = _pixels(page, 3, shape[2:])
                seconds.append(seconds[-1] + (page.info.get("duration") or 100) / 1000)
    except OverBudgetError:
        raise
    except Exception as error:  # pillow's readers raise whatever they stumble over
        raise ValueError(
            f"{path.name} is no animation that can be read ({described(error)}); make or fetch it "
            "again"
        ) from None
    is_grey = all((frame == frame[:1]).all() for frame in frames)
    frames = frames[:, :1] if is_grey else frames
    return Clip(frames, np.array(seconds[:-1]), name=path.name)


def count_pages(path: Path) -> int:
    """How many pictures a file holds; 0 where it cannot be read."""
    try:
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:
        return 0


class Pictures(Frames):
    """Numbered pictures as frames (T,C,H,W) in the order given, each read when a slice asks for it:
    uint8, uint16 where grey images have 16 bits, or as stored.

    C is 1 where the first image is grey and 3 (RGB) otherwise; transparent parts are black;
    photographs are turned upright as their EXIF tag says.

    `broken` are the indices, so far, of images that cannot be read: the one before stands in their
    place (the next good one at the start), and the first of them warns.

    Args:
        paths: of at least one image: png, jpg, bmp, tif, webp.
        strict: refuse an image that cannot be read.
        size: H and W that every image is resized to; needed where they differ.
        budget: GiB that reading an image may take.

    Raises:
        ValueError: none that can be read, more than the budget; on reading, one that `strict`
            refuses, or of another size or depth than the first.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        strict: bool = False,
        size: tuple[int, int] | None = None,
        budget: float = BUDGET,
    ) -> None:
        self._paths = [path.absolute() for path in paths]
        self._strict, self._size, self._budget = strict, size, budget
        self._broken: set[int] = set()
        self._channels = 0  # until the first is read: its own
        first = self._nearest(0)
        self._channels = len(first)
        self.shape, self.dtype = (len(paths), *first.shape), first.dtype

    def read(self, first: int, last: int) -> np.ndarray:
        frames = np.empty((last - first, *self.shape[1:]), self.dtype)
        for k in range(first, last):
            pixels = self._nearest(k)
            if (pixels.shape, pixels.dtype) != (self.shape[1:], self.dtype):
                raise ValueError(
                    f"{self._paths[k].name} is {pixels.shape} {pixels.dtype}, the first image "
                    f"{self.shape[1:]} {self.dtype}; give a size, and store all with one depth"
                )
            frames[k - first] = pixels
        return frames

    def _nearest(self, k: int) -> Shaped[np.ndarray, "c h w"]:
        """The picture, or else the one before, or the next one at the start."""
        for near in chain(range(k, -1, -1), range(k + 1, len(self._paths))):
            if near not in self._broken and (pixels := self._picture(near)) is not None:
                return pixels
        raise ValueError(
            f"none of the {len(self._paths)} images can be read, among them {self._paths[k]}; make "
            "or fetch them again"
        )

    def _picture(self, k: int) -> Shaped[np.ndarray, "c h w"] | None:
        path = self._paths[k]
        try:
            with Image.open(path) as image:
                what = f"{path.name} of {image.height}x{image.width} pixels"
                need = _WEIGHT * image.height * image.width
                check_budget(need, self._budget, what, "leave it out")
                return _pixels(image, self._channels, self._size)
        except OverBudgetError:
            raise
        except Exception as error:  # pillow's readers raise whatever they stumble over
            if self._strict:
                why = described(error)
                raise ValueError(
                    f"{path} cannot be read ({why}); replace it, or leave strict out"
                ) from None
        if not self._broken:
            what = f"{path.name} (frame {k}) cannot be read"
            warn(f"{what}; the image before stands in its place; strict refuses it")
        self._broken.add(k)
        return None


def _pixels(image: Any, channels: int, size: tuple[int, ...] | None) -> Shaped[np.ndarray, "c h w"]:
    """The picture at which an open file stands, upright and on black, in so many channels (0: its
    own), and at `size` (H,W) where one is given.
    """
    kind = ImageMode.getmode(image.mode)
    dtype = np.dtype(kind.typestr.replace("b1", "u1")).newbyteorder("=")
    is_grey = channels == 1 if channels else kind.basemode == "L"
    image = ImageOps.exif_transpose(image)
    if dtype == np.uint8:
        if image.has_transparency_data:
            black = Image.new("RGBA", image.size, "black")
            image = Image.alpha_composite(black, image.convert("RGBA"))
        image = image.convert("L" if is_grey else "RGB")
    if size is not None and (image.height, image.width) != size:
        shrinks = image.height >= size[0] and image.width >= size[1]
        how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
        # Pillow rounds twice where it resizes 16 bits.
        image = (image if dtype == np.uint8 else image.convert("F")).resize(size[::-1], how)
    values = np.asarray(image)
    values = (values.round() if dtype.kind in "iu" else values).astype(dtype)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def natural(path: Path) -> tuple[list[Any], str]:
    """Numbers in a name count as numbers; of names that are equal so, as img1 and img01, the
    letters decide.
    """
    parts = re.split(r"(\d+)", path.stem.lower())  # every second one is a number
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], path.name
