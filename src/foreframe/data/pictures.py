"""Numbered pictures, read one at a time, and animations (GIF), by Pillow."""

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
from foreframe.base.wording import described, in_one_line
from foreframe.clips.clip import Clip
from foreframe.clips.frames import Frames
from foreframe.data.data_options import BUDGET

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_WEIGHT = 16  # bytes of memory for each pixel: pictures are converted more than once
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `budget` has its own message


def read_gif(path: str | Path, budget: float = BUDGET) -> Clip:
    """Read an animated GIF into memory: composited frames (T,C,H,W) uint8 on black, with
    times in seconds from the first frame.

    C is 1 if every frame is grey, otherwise 3 (RGB). A duration of 0 counts as 0.1 s, as in
    browsers.

    Args:
        path: the file.
        budget: GiB for the frames.

    Raises:
        ValueError: no such file, a truncated animation, or more frames than the budget.
    """
    path = Path(path)
    seconds = [0.0]
    what = f"{path.name} is no animation that can be read; make or fetch it again"
    with in_one_line(what), Image.open(path) as image:
        shape = (getattr(image, "n_frames", 1), 3, image.height, image.width)
        what = f"{path.name}, {shape[0]} frames of 3x{image.height}x{image.width},"
        check_budget((3 * shape[0] + _WEIGHT) * image.height * image.width, budget, what)
        frames = np.empty(shape, np.uint8)
        for k, page in enumerate(ImageSequence.Iterator(image)):
            frames[k] = _pixels(page, 3, shape[2:])
            seconds.append(seconds[-1] + (page.info.get("duration") or 100) / 1000)
    is_grey = all((frame == frame[:1]).all() for frame in frames)
    frames = frames[:, :1] if is_grey else frames
    return Clip(frames, np.array(seconds[:-1]), name=path.name)


class Pictures(Frames):
    """Numbered pictures as frames (T,C,H,W) in this order, read on demand: uint8, uint16 for grey
    images with 16 bits, or as stored.

    C is 1 if the first image is grey, otherwise 3 (RGB). Transparent parts are black. Photographs
    are rotated by their EXIF tag.

    `broken` has the indices of unreadable images found so far. The image before replaces each (at
    the start, the next readable one), with one warning.

    Args:
        paths: at least one image: png, jpg, bmp, tif, webp.
        strict: raise an error for an unreadable image.
        size: H and W of all frames, required for images of different sizes.
        budget: GiB for reading an image.

    Raises:
        ValueError: no readable image, more than the budget; on reading, an unreadable image with
            `strict`, or one of another size or depth than the first.
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
        self._channels = 0  # those of the first image, which is read next
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
        """Return the picture, or the readable one before it (at the start, after it)."""
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
                if getattr(image, "n_frames", 1) > 1:
                    raise ValueError("it has several pictures; store each in a separate file")
                return _pixels(image, self._channels, self._size)
        except OverBudgetError:
            raise
        except Exception as error:  # pillow raises many types
            if self._strict:
                why = described(error)
                raise ValueError(
                    f"{path} cannot be read ({why}); replace it, or leave strict out"
                ) from None
        if not self._broken:
            what = f"{path.name} (frame {k}) cannot be read"
            warn(f"{what}; the image before replaces it; use strict to stop instead")
        self._broken.add(k)
        return None


def _pixels(image: Any, channels: int, size: tuple[int, ...] | None) -> Shaped[np.ndarray, "c h w"]:
    """Return the current picture of an open file, upright and on black, with a number of channels
    (0: unchanged), and at `size` (H,W) if set.
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
        # Pillow would round 16 bits twice.
        image = (image if dtype == np.uint8 else image.convert("F")).resize(size[::-1], how)
    values = np.asarray(image)
    values = (values.round() if dtype.kind in "iu" else values).astype(dtype)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def natural(path: Path) -> tuple[list[Any], str]:
    """Return a key that sorts numbers in names as numbers, and img1 and img01 by their letters."""
    parts = re.split(r"(\d+)", path.stem.lower())  # every second one is a number
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], path.name
