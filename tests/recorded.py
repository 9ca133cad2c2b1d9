"""Frames of a test as the files that recordings come in."""

from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from foreframe import Clip
from foreframe.data.cf import write_grid

LOSSLESS = {"codec": "ffv1", "pix_fmt": "bgr0", "options": {"g": "1"}}
GREY = {"codec": "ffv1", "pix_fmt": "gray"}


def encode(
    path: Path | BytesIO,
    frames: np.ndarray,
    codec: str = "ffv1",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rate: int = 25,
    stamps: list[int] | None = None,
    format: str | None = None,
) -> Any:
    """A film of grey (T,H,W) or coloured (T,H,W,3) frames of 8 bits."""
    kind = "gray" if frames.ndim == 3 else "rgb24"
    front = {"movflags": "faststart"} if str(path).endswith(".mp4") else {}  # the index first
    to = str(path) if isinstance(path, Path) else path
    with av.open(to, "w", format=format, options=front) as box:
        out = box.add_stream(codec, rate=rate, options=options or {})
        out.height, out.width, out.pix_fmt = *frames.shape[1:3], pix_fmt
        for k, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format=kind)
            frame.pts = stamps[k] if stamps else k
            box.mux(out.encode(frame))
        box.mux(out.encode())
    return path


def pictures(folder: Path, frames: np.ndarray, kind: str = "png") -> Path:
    """A folder of numbered pictures."""
    folder.mkdir(exist_ok=True)
    for k, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{k}.{kind}")
    return folder


def animation(path: Path | BytesIO, frames: np.ndarray, **how: Any) -> Any:
    """A file of several pictures."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=rest, **how)
    return path


def series(
    path: str | Path,
    values: np.ndarray,
    units: str = "mm/h",
    step: str = "5m",
    since: str = "2026-01-01",
    **places: np.ndarray,
) -> str | Path:
    """A grid (T,C,H,W) of rain, or of t2m in K, from a time on."""
    after = np.arange(len(values)) * np.timedelta64(int(step[:-1]), step[-1])
    name = "t2m" if units == "K" else "rain"
    times = np.datetime64(since, "ns") + after
    write_grid(path, Clip(values, times, units, places, variable=name))
    return path
