"""Strips and films of past, forecast and truth; forecast frames have an ORANGE edge."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from foreframe.base.wording import plural
from foreframe.clips.frames import FramesLike
from foreframe.visuals.colours import GREY, INK, ORANGE, Colour, Paint, round_up, text_width
from foreframe.visuals.grid import WIDEST, Cell, fit, grid, layout, letters_of

# The longer side of frames: small frames are enlarged to about the first number of pixels, and
# large ones are shrunk to the second.
STRIP = (64, 256)
FILM = (192, 768)
SHOWN = 3  # members


def strip(
    past: np.ndarray,
    forecast: np.ndarray,
    truth: np.ndarray | None = None,
    *,
    paint: Paint | None = None,
    times: Sequence[str] | None = None,
) -> np.ndarray:
    """Draw a forecast as a picture, (rows, columns, 3) uint8.

    With truth it has three rows: past then truth; past then forecast; absolute error in grey, with
    the value of white in the label. Without truth it has one: past then forecast.

    Args:
        past: (P,C,H,W) in [0,1], or in the units of `paint`.
        forecast, truth: (S,C,H,W).
        paint: colours of values; by default grey for [0,1].
        times: P+S labels; by default the lead times.
    """
    painted = paint or Paint()
    rows = [_cells(forecast, painted, ORANGE, "forecast")]
    if truth is not None:
        errors = np.abs(forecast.astype(np.float32) - truth)
        rows.append(_in_grey(errors, painted, "|forecast - truth|"))
    return _below_each_other(past, truth, rows, painted, times, with_past=1)


def members_by_name(members: np.ndarray) -> dict[str, np.ndarray]:
    """Return the panels of a film of members (M,S,C,H,W): their mean, and the first three."""
    shown = {f"member {k + 1}": member for k, member in enumerate(members[:SHOWN])}
    return {"mean": members.mean(axis=0)} | shown


def strip_of_members(
    past: np.ndarray,
    members: np.ndarray,
    truth: np.ndarray | None = None,
    *,
    paint: Paint | None = None,
    times: Sequence[str] | None = None,
) -> np.ndarray:
    """Draw members as a picture: past then truth, if any; the mean of the members; their spread
    (standard deviation) in grey, with the value of white in the label; the first three members.

    Args:
        members: (M,S,C,H,W).
        past, truth, paint, times: as in `strip`.
    """
    painted, named = paint or Paint(), members_by_name(members)
    mean = named.pop("mean")
    apart = np.square((members - mean).astype(np.float32)).sum(axis=0)
    spread = np.sqrt(apart / max(1, len(members) - 1))
    rows = [
        _cells(mean, painted, ORANGE, f"mean of\n{plural(len(members), 'member')}"),
        _in_grey(spread, painted, "spread"),
        *(_cells(frames, painted, ORANGE, name) for name, frames in named.items()),
    ]
    return _below_each_other(past, truth, rows, painted, times, with_past=int(truth is None))


def _below_each_other(
    past: np.ndarray,
    truth: np.ndarray | None,
    ahead: Sequence[list[Cell]],
    paint: Paint,
    times: Sequence[str] | None,
    with_past: int,
) -> np.ndarray:
    """Draw the truth and the rows `ahead`. The truth and the first `with_past` rows begin with the
    past.
    """
    p, seen = len(past), _cells(past, paint, GREY, "past")
    rows = [[*(seen if k < with_past else [None] * p), *row] for k, row in enumerate(ahead)]
    if truth is not None:
        rows.insert(0, [*seen, *_cells(truth, paint, GREY, "truth")])
    height, width, _ = seen[0].pixels.shape
    size, steps, captions = letters_of(width), len(ahead[0]), list[tuple[str, Colour]]()
    for t, text in enumerate(times or _leads(p, steps)):
        if text_width(text, size) > width:  # one word per line, with units next to their numbers
            text = re.sub(r" +(?![^\W\d])", "\n", text)
        captions.append((text, ORANGE if t >= p else INK))
    columns = layout(rows, captions, paint)[-1]
    places = _spread(p, steps, columns, max(1, WIDEST // (len(rows) * height)))
    if (leads := sum(k >= p for k in places)) < steps:
        note = f"\n{leads} of {steps} shown"
        rows[0][p:] = [cell and cell._replace(word=cell.word + note) for cell in rows[0][p:]]
    shown = [[row[place] for place in places] for row in rows]
    return grid(shown, [captions[k] for k in places], paint, ahead=sum(k < p for k in places))


def _spread(past: int, steps: int, columns: int, blocks: int) -> list[int]:
    """Choose frames if not all fit: the last frames of the past, and evenly spaced lead times that
    end with the last one and fill their rows.

    Args:
        columns, blocks: number of pictures in a row, and number of rows.
    """
    if past + steps <= columns * blocks:
        return list(range(past + steps))
    seen = min(past, columns if blocks > 1 else max(1, columns // 4))
    most = columns * (blocks - 1) if blocks > 1 else max(1, columns - seen)
    counts = [(step, -(-steps // step)) for step in range(1, steps + 1)]
    fits = (step for step, n in counts if n <= most and (n <= columns or n % columns == 0))
    leads = range(past + steps - 1, past - 1, -next(fits))
    return [*range(past - seen, past), *reversed(leads)]


def _leads(past: int, steps: int) -> list[str]:
    return [f"{lead:+d}" if lead else "0" for lead in range(1 - past, steps + 1)]


def _cells(frames: np.ndarray, paint: Paint, edge: Colour, word: str) -> list[Cell]:
    return [Cell(paint(fit(frame, *STRIP)), edge, word) for frame in frames]


def _in_grey(values: np.ndarray, paint: Paint, word: str) -> list[Cell]:
    """Errors or spreads (S,C,H,W) in grey, averaged over colours. White, whose value is in the
    label, is a round number above 99.5 % of the values, so that a few large ones do not darken the
    others. For pictures it is at most their range.
    """
    colours = paint.name == "grey" and values.shape[1] >= 3
    values = values[:, : 3 if colours else 1].mean(axis=1, keepdims=True) * paint.factor
    span = paint.high - paint.low
    most = float(np.nanpercentile(values, 99.5)) if np.isfinite(values).any() else 0.0
    white = round_up(most if most > 0 else span / 10)
    white = min(white, span) if paint.name == "grey" else white
    units = paint.shown_units if paint.shown_units not in ("", "1") else f"of {span:g}"
    more = "" if paint.name == "grey" and white == span else "\nand more"
    label = f"{word}\n" + f"white: {white:g} {units}".rstrip() + more
    return _cells(values, Paint("grey", 0.0, white), ORANGE, label)


def animation(*frames: FramesLike, **how: Any) -> np.ndarray:
    """`animation_frames` as an array (P+S, rows, columns, 3) uint8."""
    return np.stack(list(animation_frames(*frames, **how)))


def animation_frames(
    past: FramesLike,
    forecast: FramesLike | Mapping[str, FramesLike],
    truth: FramesLike | None = None,
    *,
    paint: Paint | None = None,
    times: Sequence[str] | None = None,
    most: int | None = None,
) -> Iterator[np.ndarray]:
    """Yield the pictures of a film, (rows, columns, 3) uint8: the past, then the forecast with an
    orange edge, next to the truth, if any. Captions have names and times.

    Args:
        past, truth, paint: as in `strip`.
        forecast: one forecast, or several by name, which are drawn side by side.
        times: P+S labels; by default the lead times.
        most: larger frames are shrunk to so many pixels along the longer side; by default as in a
            report.
    """
    panels = dict(forecast) if isinstance(forecast, Mapping) else {"forecast": forecast}
    if truth is not None:
        panels = {"truth": truth} | panels
    p, steps = past.shape[0], next(iter(panels.values())).shape[0]
    painted, times = paint or Paint(), times or _leads(p, steps)
    most = most or min(FILM[1], WIDEST // len(panels) - 24)
    for t in range(p + steps):
        cells, captions = [], []
        for word, frames in panels.items():
            frame = np.asarray(past[t : t + 1] if t < p else frames[t - p : t - p + 1])[0]
            pixels = painted(fit(frame, FILM[0], most))
            made = t >= p and word != "truth"
            cells.append(Cell(pixels, ORANGE if made else GREY))
            captions.append((f"{times[t]}\n{word if t >= p else 'past'}", ORANGE if made else INK))
        # Any date and lead time fit, so all pictures have one size.
        pitch = max(pixels.shape[1] + 24, 210)
        yield grid([cells], captions, painted, len(cells), pitch)
