"""All of a recording at a glance."""

from collections.abc import Mapping, Sequence

import numpy as np

from foreframe.clips.frames import FramesLike
from foreframe.visuals.colours import GREY, INK, Paint
from foreframe.visuals.grid import Cell, fit, grid

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
    painted, flagged, cells, captions = paint or Paint(), flagged or {}, [], []
    for t, label in enumerate(labels):
        pixels = painted(fit(np.asarray(frames[t : t + 1])[0], *THUMBNAIL))
        cells.append(Cell(pixels, RED if t in flagged else GREY))
        word = f"{label}  {flagged.get(t, '')}".rstrip()
        captions.append((word, RED if t in flagged else INK))
    return grid([cells], captions, painted, COLUMNS)
