"""Clips, scorecards and runs in notebooks, as PNG and HTML."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foreframe.clips.clip import Clip, stamp
from foreframe.visuals.colours import paint_for
from foreframe.visuals.grid import contact_sheet
from foreframe.visuals.tables import figures, score_table, wrap

FRAMES = 12  # largest number of shown frames of a clip


def png_bytes(pixels: np.ndarray) -> bytes:
    """Encode uint8 (H,W,3) as a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def clip_png(clip: Clip) -> bytes:
    """Draw evenly spread frames of a clip side by side with their times or numbers."""
    n = len(clip)
    shown = np.unique(np.linspace(0, n - 1, min(n, FRAMES)).round().astype(int))
    frames = np.concatenate([np.asarray(clip.frames[t : t + 1]) for t in shown])
    known = frames[np.isfinite(frames)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if not clip.units:  # pictures, of 8 bits or in [0,1]
        low, high = 0.0, 255.0 if frames.dtype == np.uint8 or high > 2 else 1.0
    paint = paint_for("auto", low, high, clip.units)
    labels = [str(t) for t in shown]
    if clip.times is not None:
        labels = [stamp(clip.times[t]).replace("T", " ").removesuffix(":00") for t in shown]
    return png_bytes(contact_sheet(frames, labels, paint))


def image_html(png: bytes, about: str) -> str:
    """Embed a picture in HTML."""
    encoded = base64.b64encode(png).decode()
    return (
        f'<img alt="{escape(about)}" src="data:image/png;base64,{encoded}" style="max-width:100%">'
    )


class Card(dict[str, Any]):
    """A scorecard from `foreframe.evaluation.card.score_clips`. Terminals and notebooks show errors
    by lead time, comparisons, and the model's scores in other conventions.
    """

    remarks: Sequence[str] = ()  # on the clips that were scored
    report: Sequence[Path] = ()  # written files

    def __repr__(self) -> str:
        lines = [*self["in_words"].splitlines(), figures(self)]
        return "\n".join([str(score_table(self)), *map(wrap, lines)])
