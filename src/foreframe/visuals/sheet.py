"""All of a recording at a glance."""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from PIL import Image, ImageDraw

from foreframe.clips.frames import FramesLike
from foreframe.visuals.colours import GREY, INK, PAPER, Paint, text_width, with_legend, write_text
from foreframe.visuals.strip import fit

RED = (255, 72, 72)  # not ORANGE, which means a forecast
THUMBNAIL = (96, 160)
COLUMNS = 6


def contact_sheet(
    frames: FramesLike,
    labels: Sequence[str],
    paint: Paint | None = None,
    *,
    flagged: Mapping[int, str] | None = None,
) -> np.ndarray:
    """Thumbnails in rows of six, each under its label, (rows, columns, 3) uint8.

    Args:
        frames: (T,C,H,W) in [0,1], or in the units of `paint`; at least one.
        labels: T of them, e.g. numbers or times.
        flagged: frames (from 0) to mark in red, and the word that says why:
            {17: "cut", 40: "black"}.
    """
    n, flagged, painted, size, gap = int(frames.shape[0]), flagged or {}, paint or Paint(), 12, 10
    thumbnails = [fit(np.asarray(frames[t : t + 1])[0], *THUMBNAIL) for t in range(n)]
    h, w = thumbnails[0].shape[-2:]
    texts = [f"{label}  {flagged.get(t, '')}".rstrip() for t, label in enumerate(labels)]
    line, columns = size + 4, min(COLUMNS, n)
    width = max(w, ceil(max(text_width(text, size) for text in texts))) + gap
    height = h + line + gap
    picture = Image.new("RGB", (gap + columns * width, gap + ceil(n / columns) * height), PAPER)
    draw = ImageDraw.Draw(picture)
    for t, (thumbnail, text) in enumerate(zip(thumbnails, texts, strict=True)):
        x, y = gap + t % columns * width, gap // 2 + t // columns * height
        write_text(picture, (x, y), text, RED if t in flagged else INK, size)
        y += line + 2
        edge, colour = (3, RED) if t in flagged else (1, GREY)
        draw.rectangle((x - edge, y - edge, x + w + edge - 1, y + h + edge - 1), fill=colour)
        picture.paste(Image.fromarray(painted(thumbnail)), (x, y))
    return with_legend(np.asarray(picture), painted)
