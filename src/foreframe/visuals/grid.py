"""Pictures in rows and columns with captions and labels: the layout of strips, films and sheets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from foreframe.clips.frames import resized
from foreframe.visuals.colours import INK, PAPER, Colour, Paint, font, text_width, with_scale

GAP = 3
WIDEST = 1600  # pixels of a picture; longer rows continue below
SCALE = 100  # approximate width of a scale


class Cell(NamedTuple):
    """A picture, (h,w,3) uint8, the colour of its edge, and a word for the row's label."""

    pixels: np.ndarray
    edge: Colour
    word: str = ""


def letters_of(width: int) -> int:
    """Return the size of letters above pictures of that width."""
    return max(10, min(16, width // 14), width // 48)


def layout(
    rows: Sequence[Sequence[Cell | None]], captions: Sequence[tuple[str, Colour]], paint: Paint
) -> tuple[int, int, int, int]:
    """Return the pixels of an edge, of the labels on the left, and from column to column, and the
    number of columns that fit into `WIDEST`.
    """
    cells = [cell for row in rows for cell in row if cell]
    width = cells[0].pixels.shape[1]
    size, edge = letters_of(width), min(1 + width // 64, 12)
    label = max(text_width(cell.word, size) for cell in cells)
    left = label + 10 if label else 0
    pitch = max(width + 2 * edge, *(text_width(text, size) for text, _ in captions)) + GAP
    return edge, left, pitch, max(1, (WIDEST - left - SCALE * paint.has_scale) // pitch)


def grid(
    rows: Sequence[Sequence[Cell | None]],
    captions: Sequence[tuple[str, Colour]],
    paint: Paint,
    columns: int | None = None,
    pitch: int | None = None,
    ahead: int = 0,
) -> np.ndarray:
    """Draw rows of pictures of one size with the paint's scale, (rows, columns, 3) uint8. The label
    of a row has the words of its pictures. Empty rows are left out.

    Args:
        rows: for each column a picture or None.
        captions: above each column, and their colours.
        columns: in a row; longer rows continue below. By default as many as fit `WIDEST`.
        ahead: the column with which a new row begins, if they do not fit in one.
        pitch: pixels from column to column; by default pictures and captions fit.
    """
    pixels = next(cell.pixels for row in rows for cell in row if cell)
    h, w = pixels.shape[:2]
    size, n = letters_of(w), len(captions)
    edge, left, usual, most = layout(rows, captions, paint)
    pitch, columns = pitch or usual, columns or most
    spans = [(0, ahead), (ahead, n)] if n > columns else [(0, n)]
    parts = [
        slice(t, min(t + columns, end)) for start, end in spans for t in range(start, end, columns)
    ]
    # Equal rows are drawn once: the past is part of the rows of truth and forecast.
    held = [
        list({tuple(map(id, row[part])): row[part] for row in rows if any(row[part])}.values())
        for part in parts
    ]
    top = (max(text.count("\n") for text, _ in captions) + 1) * (size + 4) + 2
    down = h + 2 * edge + GAP
    height = len(parts) * top + sum(map(len, held)) * down
    width = left + max(part.stop - part.start for part in parts) * pitch
    picture = Image.new("RGB", (width, height), PAPER)
    draw, letters, y = ImageDraw.Draw(picture), font(size), 0
    for part, held_rows in zip(parts, held, strict=True):
        y += top
        for k, (text, colour) in enumerate(captions[part]):
            draw.text((left + k * pitch, y - 1), text, colour, letters, anchor="ld")
        for cells in held_rows:
            label = ",\n".join(dict.fromkeys(cell.word for cell in cells if cell))
            draw.text((4, y + down // 2), label, INK, letters, anchor="lm")
            for k, cell in enumerate(cells):
                if cell is not None:
                    x = left + k * pitch
                    end = x + w + 2 * edge - 1, y + h + 2 * edge - 1
                    draw.rectangle((x, y, *end), fill=cell.edge)
                    picture.paste(Image.fromarray(cell.pixels), (x + edge, y + edge))
            y += down
    return with_scale(picture, paint, size)


def fit(frame: np.ndarray, least: int, most: int) -> np.ndarray:
    """Resize (C,H,W) so that the longer side has about `least` to `most` pixels.

    Pixels of small frames are repeated. Large frames are averaged over areas, ignoring NaN unless
    most of the area is NaN.
    """
    c, h, w = frame.shape
    if max(h, w) <= most:
        scale = max(1, round(least / max(h, w)))
        return frame.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = (max(1, round(side * most / max(h, w))) for side in (h, w))
    return resized(frame[None], height, width, np.dtype(np.float32))[0]
