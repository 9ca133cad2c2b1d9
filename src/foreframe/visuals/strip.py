"""Frames side by side, and frames one after the other; forecast frames are edged in ORANGE."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from foreframe.base.wording import plural
from foreframe.clips.frames import FramesLike
from foreframe.visuals.colours import GREY, INK, ORANGE, Colour, Paint, round_up, text_width
from foreframe.visuals.grid import WIDEST, Cell, fit, grid, layout, letters_of

# The longer side of frames: small ones are enlarged to about the first number of pixels, large
# ones shrunk to the second.
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
    """One clip as a picture, (rows, columns, 3) uint8.

    With truth it has three rows: past then truth; past then forecast; error. Without truth it has
    one: past then forecast. Large frames are shrunk by averages.

    Args:
        past: (P,C,H,W) in [0,1], or in the units of `paint`.
        forecast, truth: (S,C,H,W).
        paint: how values become colours; None: grey for [0,1]. The error is absolute, in grey whose
            white the label states.
        times: P+S labels; frames ahead by default.
    """
    painted = paint or Paint()
    rows = [_cells(forecast, painted, ORANGE, "forecast")]
    if truth is not None:
        errors = np.abs(forecast.astype(np.float32) - truth)
        rows.append(_in_grey(errors, painted, "|forecast - truth|"))
    return _below_each_other(past, truth, rows, painted, times, with_past=1)


def members_by_name(members: np.ndarray) -> dict[str, np.ndarray]:
    """What a film shows of members (M,S,C,H,W): their mean, and the first three of them."""
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
    """A clip and its members as a picture: past then truth, where it is given; then the mean of the
    members, their spread (standard deviation), and the first three of them.

    Args:
        members: (M,S,C,H,W).
        past, truth, paint, times: as of `strip`. The spread is in grey; the label states its white.
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
    """Truth and rows of what is ahead; the truth and the first `with_past` of these have the
    past before them.
    """
    p, seen = len(past), _cells(past, paint, GREY, "past")
    rows = [[*(seen if k < with_past else [None] * p), *row] for k, row in enumerate(ahead)]
    if truth is not None:
        rows.insert(0, [*seen, *_cells(truth, paint, GREY, "truth")])
    height, width, _ = seen[0].pixels.shape
    size, steps, captions = letters_of(width), len(ahead[0]), list[tuple[str, Colour]]()
    for t, text in enumerate(times or _leads(p, steps)):
        if text_width(text, size) > width:  # a word a line; a unit or a month stays with its number
            text = re.sub(r" +(?![^\W\d])", "\n", text)
        captions.append((text, ORANGE if t >= p else INK))
    columns = layout(rows, captions, paint)[-1]
    places = _spread(p, steps, columns, max(1, WIDEST // (len(rows) * height)))
    if (leads := sum(k >= p for k in places)) < steps:
        said = f"\n{leads} of {steps} shown"
        rows[0][p:] = [cell and cell._replace(word=cell.word + said) for cell in rows[0][p:]]
    shown = [[row[place] for place in places] for row in rows]
    return grid(shown, [captions[k] for k in places], paint, ahead=sum(k < p for k in places))


def _spread(past: int, steps: int, columns: int, blocks: int) -> list[int]:
    """The frames to show where not all have room: the last ones of the past, and evenly spaced lead
    times that end with the last and fill their rows.

    Args:
        columns, blocks: pictures beside each other, and rows of them below each other.
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
    """Errors or spreads (S,C,H,W), of colours their mean, in grey. Its white, which the label
    states, is a round number that 99.5 % of them are not above: the largest would leave the rest
    in the dark. Of pictures it is no more than they can differ by.
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
    """(P+S, rows, columns, 3) uint8: the past, then the forecast in an orange frame; truth, where
    it is given third, is on the left. All else as `animation_frames`.
    """
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
    """The pictures of `animation`, one at a time: a long film need not fit in memory. Captions say
    what each is, and when.

    Args:
        past, truth, paint: as of `strip`.
        forecast: also several, by name, side by side.
        times: P+S; frames ahead by default.
        most: pixels along the longer side of a frame, from which on it is shrunk; by default those
            of a report.
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
        # Room for edges, and for a date and a lead time, whatever they are: all pictures have one
        # size.
        pitch = max(pixels.shape[1] + 24, 210)
        yield grid([cells], captions, painted, len(cells), pitch)
