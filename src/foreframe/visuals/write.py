"""Pixels to files: png, gif, mp4, and a folder of numbered frames."""

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foreframe.base.files import atomic_folder, atomic_write


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """Write uint8 (H,W,3) to a PNG file.

    Raises:
        ValueError: the file cannot be written; no partial file remains.
    """
    with atomic_write(path) as rough:
        Image.fromarray(pixels).save(rough, format="PNG")


def write_frames(folder: str | Path, frames: Iterable[np.ndarray]) -> None:
    """Write frames, uint8 (H,W,3), to frame-0001.png, frame-0002.png, ... in a new folder.

    Raises:
        ValueError: the folder is not empty or cannot be written, or there are no frames.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not empty: name a new folder for the frames")
    with atomic_folder(folder) as rough:
        count = 0
        for count, pixels in enumerate(frames, 1):
            Image.fromarray(pixels).save(rough / f"frame-{count:04d}.png", format="PNG")
        if not count:
            raise ValueError(f"no frames to write to {folder}")


def write_mp4(path: str | Path, frames: Iterable[np.ndarray], fps: float = 10.0) -> None:
    """Write frames of one size, uint8 (H,W,3), to an H.264 film, which all browsers play.

    The last row and column of odd sizes are repeated, because the format halves the resolution of
    colours.

    Raises:
        ValueError: no frames, an invalid rate, or the file cannot be written; no partial file
            remains.
    """
    import av

    if not 0 < fps < 1000:
        raise ValueError(f"fps must lie between 0 and 1000, not {fps:g}")
    with atomic_write(path) as rough:
        try:
            with av.open(str(rough), "w", format="mp4", options={"movflags": "+faststart"}) as film:
                _encode(film, frames, Fraction(fps).limit_denominator(1001))
        except av.FFmpegError as error:
            raise ValueError(f"cannot write {path}: {error.strerror or error}") from error


def _encode(film: Any, frames: Iterable[np.ndarray], rate: Fraction) -> None:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    stream = None
    for pixels in frames:
        h, w = pixels.shape[:2]
        if stream is None:
            # A low crf keeps thin lines and letters sharp. Slower presets hardly shrink the file.
            options = {"crf": "16", "preset": "veryfast"}
            stream = film.add_stream("libx264", rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = w + w % 2, h + h % 2, "yuv420p"
            # Otherwise players guess the standard of the colours from the frame size.
            context = stream.codec_context
            context.color_range = 1  # limited
            context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        even = np.pad(pixels, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = frame.reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        film.mux(stream.encode(frame))
    if stream is None:
        raise ValueError("no frames to write")
    film.mux(stream.encode(None))


def write_gif(path: str | Path, frames: np.ndarray, fps: float = 5.0) -> None:
    """Write uint8 (T,H,W,3) to a looping GIF file; raises as `write_png`."""
    with atomic_write(path) as rough:
        rough.write_bytes(gif_bytes(frames, fps))


def gif_bytes(frames: np.ndarray, fps: float = 5.0) -> bytes:
    """Encode uint8 (T,H,W,3) as a looping GIF. All frames share one palette, which Pillow chooses
    from at most 24 of them, so that colours do not flicker.
    """
    sample = frames[np.linspace(0, len(frames) - 1, min(len(frames), 24)).astype(int)]
    mosaic = Image.fromarray(sample.reshape(-1, *sample.shape[2:]))
    palette = mosaic.quantize(256)
    plain = Image.Dither.NONE  # dithering would differ from frame to frame
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=plain) for frame in frames]
    stream = io.BytesIO()
    duration = max(20, round(1000 / fps))  # browsers slow down if it is under 20 ms
    how = {"duration": duration, "loop": 0, "optimize": False, "disposal": 1}
    pictures[0].save(stream, format="GIF", save_all=True, append_images=pictures[1:], **how)
    return stream.getvalue()
