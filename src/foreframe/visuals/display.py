"""What a notebook shows of clips, scorecards and runs: PNGs and HTML, as bytes and text."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foreframe.clips.clip import Clip
from foreframe.visuals.colours import paint_for
from foreframe.visuals.grid import contact_sheet
from foreframe.visuals.tables import figures, score_table, wrap

FRAMES = 12  # of a clip that are shown, at most


def png_bytes(pixels: np.ndarray) -> bytes:
    """uint8 (H,W,3) as a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def clip_png(clip: Clip) -> bytes:
    """Frames of a clip side by side, evenly spread, under their times or numbers."""
    n = len(clip)
    shown = np.unique(np.linspace(0, n - 1, min(n, FRAMES)).round().astype(int))
    frames = np.concatenate([np.asarray(clip.frames[t : t + 1]) for t in shown])
    known = frames[np.isfinite(frames)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if not clip.units:  # pictures, of 8 bits or in [0,1]
        low, high = 0.0, 255.0 if frames.dtype == np.uint8 or high > 2 else 1.0
    paint = paint_for("auto", low, high, clip.units)
    labels = [str(t) if clip.times is None else _moment(clip.times[t]) for t in shown]
    return png_bytes(contact_sheet(frames, labels, paint))


def _moment(time: Any) -> str:
    if isinstance(time, np.datetime64):
        return str(time.astype("datetime64[s]")).replace("T", " ").removesuffix(":00")
    return f"{time:.2f} s" if isinstance(time, float | np.floating) else str(time)


def image_html(png: bytes, about: str) -> str:
    """A picture within a page of HTML."""
    encoded = base64.b64encode(png).decode()
    return (
        f'<img alt="{escape(about)}" src="data:image/png;base64,{encoded}" style="max-width:100%">'
    )


def table_html(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A table whose rows have names."""
    cell = '<td style="text-align:right">'
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *columns))
    body = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th>'
        + "".join(f"{cell}{escape(value)}</td>" for value in values)
        + "</tr>"
        for name, values in rows.items()
    )
    caption = f'<caption style="text-align:left">{escape(title)}</caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Card(dict[str, Any]):
    """A scorecard, as `foreframe.evaluation.card.score_clips` gives it; a terminal and a notebook
    show the errors by lead time and who is ahead, and the model's scores in other conventions.
    """

    remarks: Sequence[str] = ()  # on the clips that were scored
    report: Sequence[Path] = ()  # written files

    def __repr__(self) -> str:
        return "\n".join([str(score_table(self)), *map(wrap, self._said())])

    def _said(self) -> list[str]:
        return [*self["in_words"].splitlines(), figures(self)]

    def _repr_html_(self) -> str:
        shown = score_table(self)
        heads = [" ".join(head).strip() for head in shown.columns]
        notes = "".join(f"<div><small>{escape(note)}</small></div>" for note in shown.notes)
        said = "".join(f"<div>{escape(line)}</div>" for line in self._said())
        return table_html(shown.title, heads, shown.rows) + notes + said
