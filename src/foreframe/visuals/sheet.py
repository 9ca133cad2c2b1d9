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


def contact_sheet(
    frames: FramesLike,
    labels: Sequence[str],
    paint: Paint | None = None,
    columns: int = 6,
    *,
    flagged: Mapping[int, str] | None = None,
) -> np.ndarray:
    """Thumbnails in rows, each under its label, (rows, columns, 3) uint8.

    Args:
        frames: (T,C,H,W) in [0,1], or in the units of `paint`.
        labels: T of them, e.g. numbers or times.
        columns: thumbnails in a row.
        flagged: frames (from 0) to mark in red, and the word that says why:
            {17: "cut", 40: "black"}.

    Raises:
        ValueError: no frames, labels of another number, a flag on no frame, no columns.
    """
    n, flagged = int(frames.shape[0]), flagged or {}
    if n == 0:
        raise ValueError("a contact sheet needs at least one frame")
    if len(labels) != n:
        raise ValueError(f"{len(labels)} labels for {n} frames: give one a frame")
    if columns < 1:
        raise ValueError(f"a contact sheet needs at least 1 column, not {columns}")
    if astray := [k for k in flagged if not 0 <= k < n]:
        raise ValueError(f"frame {astray[0]} cannot be flagged: the sheet has frames 0 to {n - 1}")
    painted, columns, size = paint or Paint(), min(columns, n), 12
    thumbnails = [fit(np.asarray(frames[t : t + 1])[0], *THUMBNAIL) for t in range(n)]
    h, w = thumbnails[0].shape[-2:]
    texts = [f"{label}  {flagged[t]}" if t in flagged else label for t, label in enumerate(labels)]
    # A label too long for its thumbnail goes in two lines, and only then makes room for itself.
    tall = any(text_width(text, size) > w for text in texts)
    lines = [[labels[t], flagged.get(t, "")] if tall else [texts[t]] for t in range(n)]
    widest = ceil(max(text_width(text, size) for texts in lines for text in texts))
    line, gap = size + 4, 10
    cell = (max(w, widest) + gap, h + line * len(lines[0]) + gap)
    picture = Image.new("RGB", (gap + columns * cell[0], gap + ceil(n / columns) * cell[1]), PAPER)
    draw = ImageDraw.Draw(picture)
    for t, thumbnail in enumerate(thumbnails):
        x, y = gap + t % columns * cell[0], gap // 2 + t // columns * cell[1]
        for k, text in enumerate(lines[t]):
            write_text(picture, (x, y + k * line), text, RED if t in flagged else INK, size)
        y += line * len(lines[t]) + 2
        edge = 3 if t in flagged else 1
        draw.rectangle(
            (x - edge, y - edge, x + w + edge - 1, y + h + edge - 1),
            fill=RED if t in flagged else GREY,
        )
        picture.paste(Image.fromarray(painted(thumbnail)), (x, y))
    shown = np.asarray(picture)
    missing = any(np.isnan(thumbnail).any() for thumbnail in thumbnails)
    return with_legend(shown, painted, missing)
