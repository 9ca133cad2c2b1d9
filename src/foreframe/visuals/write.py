"""Pixels to files: png and gif."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from foreframe.files import whole_file
from foreframe.visuals.strip import ORANGE


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """uint8 (H,W,3) to a PNG file.

    Raises:
        ValueError: when it cannot be written; no half file stays.
    """
    with whole_file(path) as rough:
        Image.fromarray(pixels).save(rough, format="PNG")


def write_gif(path: str | Path, frames: np.ndarray, fps: float = 5.0) -> None:
    """uint8 (T,H,W,3) to a looping GIF file; raises as `write_png`."""
    with whole_file(path) as rough:
        rough.write_bytes(gif_bytes(frames, fps))


def gif_bytes(frames: np.ndarray, fps: float = 5.0) -> bytes:
    """The bytes of a looping GIF. Grey stays exact (but for level 254, which becomes 253 to make room for the orange frame)."""
    orange = (frames == ORANGE).all(axis=-1)
    grey = (frames[..., 0] == frames[..., 1]) & (frames[..., 1] == frames[..., 2])
    if (orange | grey).all():
        levels = np.where(frames[..., 0] == 254, 253, frames[..., 0])
        palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
        palette[254] = ORANGE
        pictures = [Image.fromarray(one.astype(np.uint8), mode="P") for one in np.where(orange, 254, levels)]
        for picture in pictures:
            picture.putpalette(palette.tobytes())
    else:
        pictures = [Image.fromarray(one).quantize(256, dither=Image.Dither.NONE) for one in frames]
    stream = io.BytesIO()
    duration = max(20, round(1000 / fps))  # browsers slow anything under 20 ms down
    pictures[0].save(
        stream, format="GIF", save_all=True, append_images=pictures[1:], duration=duration, loop=0, optimize=False, disposal=1
    )
    return stream.getvalue()
