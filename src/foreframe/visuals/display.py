"""Scorecards and runs in notebooks, as PNG and HTML."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foreframe.visuals.tables import figures, score_table, wrap


def png_bytes(pixels: np.ndarray) -> bytes:
    """Encode uint8 (H,W,3) as a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


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
