"""Frames side by side, and frames one after the other; forecast frames are edged in ORANGE."""

import re
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from foreframe.base.wording import plural
from foreframe.clips.frames import FramesLike, resized
from foreframe.visuals.colours import (
    GREY,
    INK,
    ORANGE,
    PAPER,
    Paint,
    legend,
    text_width,
    white_of,
    with_legend,
    write_text,
)

# The longer side of frames: small ones are enlarged to about the first number of pixels, large
# ones shrunk to the second.
STRIP = (64, 256)
FILM = (192, 768)
GAP = 3  # between the frames of a strip
WIDEST = 1600  # pixels of a picture: longer strips go on in further rows


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
        times: P+S labels, a word a line; frames ahead by default.
    """
    p, painted = len(past), paint or Paint()
    before, made = _fitted(past), _fitted(forecast)
    rows = [_Row(["past, forecast"], [*before, *made], painted)]
    if truth is not None:
        rows.insert(0, _Row(["past, truth"], [*before, *_fitted(truth)], painted, is_truth=True))
        errors = np.abs(forecast.astype(np.float32) - truth)
        rows.append(_grey_row(["|forecast - truth|"], p, errors, painted))
    return _drawn(rows, p, times, painted)


class _Row(NamedTuple):
    """A row of a strip: its label in lines, a frame or None for each time, and their paint."""

    label: list[str]
    frames: Sequence[np.ndarray | None]
    paint: Paint
    is_truth: bool = False


def _fitted(frames: np.ndarray) -> list[np.ndarray | None]:
    return [fit(frame, *STRIP) for frame in frames]


def _drawn(rows: Sequence[_Row], p: int, times: Sequence[str] | None, paint: Paint) -> np.ndarray:
    """Rows of pictures below each other, each with p of the past and then those ahead; what is too
    wide for one line goes on in the next.
    """
    total = len(rows[0].frames)
    w = next(frame for frame in rows[0].frames if frame is not None).shape[-1]
    size = min(16, max(10, w // 14))
    left = max(100, ceil(max(text_width(text, size) for row in rows for text in row.label)) + 14)
    room = WIDEST - left - legend(paint, 200).shape[1]
    lines = ceil(total / max(1, (room - 5 * GAP) // (w + GAP)))
    each = ceil(total / lines)
    labels = times or [f"{t - p + 1:+d}" if t - p + 1 else "0" for t in range(total)]
    columns = [range(t, min(t + each, total)) for t in range(0, total, each)]
    parts = [_line(rows, part, p, labels, left, size) for part in columns]
    width, top = max(part.width for part in parts), 0
    picture = Image.new("RGB", (width, sum(part.height for part in parts)), PAPER)
    for part in parts:
        picture.paste(part, (0, top))
        top += part.height
    return with_legend(np.asarray(picture), paint)


def _line(
    rows: Sequence[_Row], when: range, p: int, labels: Sequence[str], left: int, size: int
) -> Image.Image:
    """The frames of some times, under their labels and beside those of the rows that have any."""
    rows = [row for row in rows if any(row.frames[t] is not None for t in when)]
    h, w = next(frame.shape[-2:] for row in rows for frame in row.frames if frame is not None)
    line = size + 4
    # A unit or a month stays with its number.
    broken = [re.split(r" +(?![^\W\d])", labels[t]) for t in when]
    top = max(map(len, broken)) * line + 2
    width = left + len(when) * (w + GAP) + 4 * GAP
    picture = Image.new("RGB", (width, top + len(rows) * (h + 2 * GAP)), PAPER)
    draw = ImageDraw.Draw(picture)
    columns = [
        left + (t - when.start) * (w + GAP) + (4 * GAP if when.start < p <= t else 0) for t in when
    ]
    for r, row in enumerate(rows):
        y = top + r * (h + 2 * GAP)
        middle = y + h // 2 - len(row.label) * line // 2
        for k, text in enumerate(row.label):
            write_text(picture, (4, middle + k * line), text, INK, size)
        for t, x in zip(when, columns, strict=True):
            if (frame := row.frames[t]) is not None:
                edge = ORANGE if t >= p and not row.is_truth else GREY
                draw.rectangle((x - 1, y - 1, x + w, y + h), outline=edge)
                picture.paste(Image.fromarray(row.paint(frame)), (x, y))
    free = 0.0  # a label that would lie on the one before it stays away
    for t, x, texts in zip(when, columns, broken, strict=True):
        if x + 1 >= free:
            for k, text in enumerate(texts):
                place = (x + 1, top - 3 - (len(texts) - k) * line)
                write_text(picture, place, text, ORANGE if t >= p else INK, size)
                free = max(free, x + 1 + text_width(text, size) + 4)
    return picture


def in_grey(values: np.ndarray, paint: Paint) -> np.ndarray:
    """Errors or spreads (...,C,H,W) as (...,1,H,W) in shown units, of colours their mean."""
    channels = 3 if paint.name == "grey" and values.shape[-3] >= 3 else 1
    return values[..., :channels, :, :].mean(axis=-3, keepdims=True) * paint.factor


def _grey_row(label: Sequence[str], p: int, values: np.ndarray, paint: Paint) -> _Row:
    """Values of 0 and more in grey; the past has none."""
    values = in_grey(values, paint)
    # The largest of all would leave the rest in the dark.
    white = white_of(values, 99.5, paint)
    units = "" if paint.shown_units == "1" else paint.shown_units
    words = [*label, f"white: {white:g} {units}".rstrip(), "and more"]
    return _Row(words, [*([None] * p), *_fitted(values)], Paint("grey", 0.0, white))


SHOWN = 3  # members


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
    p, painted = len(past), paint or Paint()
    before, rows = _fitted(past), list[_Row]()
    if truth is not None:
        rows.append(_Row(["past, truth"], [*before, *_fitted(truth)], painted, is_truth=True))
    for k, (name, frames) in enumerate(members_by_name(members).items()):
        label = ["mean of", plural(len(members), "member")] if k == 0 else [name]
        if not rows:  # the first row has the past
            label = ["past; then", *label]
        shown = [None] * p if rows else before
        rows.append(_Row(label, [*shown, *_fitted(frames)], painted))
        if k == 0:
            apart = np.abs(members - frames).astype(np.float32)
            spread = np.sqrt(np.square(apart).sum(axis=0) / max(1, len(members) - 1))
            rows.append(_grey_row(["spread"], p, spread, painted))
    return _drawn(rows, p, times, painted)


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
) -> Iterator[np.ndarray]:
    """The pictures of `animation`, one at a time: a long film need not fit in memory.

    Args:
        past, truth, paint: as of `strip`.
        forecast: also several, by name, side by side.
        times: P+S, written above the frames.
    """
    panels = dict(forecast) if isinstance(forecast, Mapping) else {"forecast": forecast}
    if truth is not None:
        panels = {"truth": truth} | panels
    p, n = past.shape[0], past.shape[0] + next(iter(panels.values())).shape[0]
    if times is None and isinstance(forecast, Mapping):  # else nobody could tell which is which
        times = [f"{lead}" if lead <= 0 else f"+{lead}" for lead in range(1 - p, n - p + 1)]
    painted = paint or Paint()
    most = min(FILM[1], WIDEST // len(panels) - 8)
    for t in range(n):
        shown = []
        for word, frames in panels.items():
            frame = np.asarray(past[t : t + 1] if t < p else frames[t - p : t - p + 1])[0]
            is_forecast = word != "truth" and t >= p
            panel = framed(painted(fit(frame, FILM[0], most)), ORANGE if is_forecast else GREY)
            if times is not None:
                text = f"{times[t]}  {word if t >= p else 'past'}"
                panel = captioned(panel, text, ORANGE if is_forecast else INK)
            shown.append(panel)
        yield with_legend(np.concatenate(shown, axis=1), painted)


def framed(inner: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The picture within an edge of 4 pixels."""
    h, w = inner.shape[:2]
    picture = np.full((h + 8, w + 8, 3), colour, np.uint8)
    picture[4:-4, 4:-4] = inner
    return picture


def captioned(inner: np.ndarray, text: str, colour: tuple[int, int, int]) -> np.ndarray:
    """The picture under a band with text, in letters that some 36 fit in it, on paper that is wide
    enough for these.
    """
    width = max(inner.shape[1], 260)
    size = min(18, width // 23)
    paper = Image.new("RGB", (width, inner.shape[0] + size + 9), PAPER)
    paper.paste(Image.fromarray(inner), (0, size + 9))
    write_text(paper, (4, 2), text, colour, size)
    return np.asarray(paper)


def fit(frame: np.ndarray, least: int, most: int) -> np.ndarray:
    """(C,H,W) at a size to look at, where the longer side is about `least` to `most` pixels.

    Pixels of small frames are repeated; of large ones averages over areas are shown, which leave
    NaN out, and are NaN where most of the area is.
    """
    c, h, w = frame.shape
    if max(h, w) <= most:
        scale = max(1, round(least / max(h, w)))
        return frame.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = (max(1, round(side * most / max(h, w))) for side in (h, w))
    return resized(frame[None], height, width, np.dtype(np.float32))[0]
