"""Frames side by side, and frames one after the other. Past and forecast are told apart: what is
forecast wears ORANGE.
"""

import re
from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
from PIL import Image, ImageDraw

from foreframe.clip import Frames
from foreframe.visuals.colours import (
    GREY,
    INK,
    ORANGE,
    PAPER,
    Paint,
    round_up,
    text_width,
    with_legend,
    write_text,
)

# Frames are enlarged to about the first, and shrunk to the second, pixels of their longer side.
STRIP = (64, 256)
FILM = (192, 768)


def strip(
    past: np.ndarray,
    forecast: np.ndarray,
    truth: np.ndarray | None = None,
    *,
    paint: Paint | None = None,
    times: Sequence[str] | None = None,
) -> np.ndarray:
    """The picture that one clip makes, (rows, columns, 3) uint8.

    With truth three rows: past then truth; past then forecast; error. Without it one: past then
    forecast. Large frames are shrunk by averages.

    Args:
        past: (P,C,H,W) in [0,1], or in the units of `paint`.
        forecast, truth: (S,C,H,W).
        paint: how values become colours; None: grey for [0,1]. The error is absolute, in grey whose
            white the label states.
        times: P+S labels, broken into lines where they are wider than a frame; frames ahead by
            default.

    Raises:
        ValueError: times of another number than the frames.
    """
    p, steps = len(past), len(forecast)
    _check_times(times, p + steps)
    painted = paint or Paint()
    before = [fit(frame, *STRIP) for frame in past]
    rows: list[tuple[list[str], list[np.ndarray | None], Paint]] = []
    rows.append(
        (["past, forecast"], [*before, *(fit(frame, *STRIP) for frame in forecast)], painted)
    )
    if truth is not None:
        rows.insert(
            0, (["past, truth"], [*before, *(fit(frame, *STRIP) for frame in truth)], painted)
        )
        rows.append(_error_row(past, forecast, truth, painted))
    h, w = before[0].shape[-2:]
    size = min(16, max(10, w // 14))
    line = size + 4
    labels = times or [f"{t - p + 1:+d}" if t - p + 1 else "0" for t in range(p + steps)]
    broken = [_lines(label, w, size) for label in labels]
    gap, top = 3, max(map(len, broken)) * line + 2
    left = max(100, ceil(max(text_width(text, size) for label, *_ in rows for text in label)) + 14)
    picture = Image.new(
        "RGB", (left + (p + steps) * (w + gap) + 4 * gap, top + len(rows) * (h + 2 * gap)), PAPER
    )
    draw = ImageDraw.Draw(picture)
    for r, (label, sequence, how) in enumerate(rows):
        y = top + r * (h + 2 * gap)
        for k, text in enumerate(label):
            write_text(
                picture, (4, y + h // 2 - len(label) * line // 2 + k * line), text, INK, size
            )
        free = 0.0
        for t, frame in enumerate(sequence):
            x = left + t * (w + gap) + (4 * gap if t >= p else 0)
            if frame is not None:
                made = t >= p and label[0] != "past, truth"
                draw.rectangle((x - 1, y - 1, x + w, y + h), outline=ORANGE if made else GREY)
                picture.paste(Image.fromarray(how(frame)), (x, y))
            if r == 0 and x + 1 >= free:  # a label that would lie on the one before it stays away
                for k, text in enumerate(broken[t]):
                    write_text(
                        picture,
                        (x + 1, top - 3 - (len(broken[t]) - k) * line),
                        text,
                        ORANGE if t >= p else INK,
                        size,
                    )
                    free = max(free, x + 1 + text_width(text, size) + 4)
    shown = np.asarray(picture)
    missing = any(
        np.isnan(frame).any() for _, sequence, _ in rows for frame in sequence if frame is not None
    )
    return with_legend(shown, painted, missing)


def _error_row(
    past: np.ndarray, forecast: np.ndarray, truth: np.ndarray, paint: Paint
) -> tuple[list[str], list[np.ndarray | None], Paint]:
    """Label, frames and paint of the errors; the past has none."""
    several = paint.name == "grey" and forecast.shape[1] >= 3
    errors = (
        np.abs(forecast.astype(np.float32) - truth)[:, : None if several else 1].mean(
            axis=1, keepdims=True
        )
        * paint.factor
    )
    # The largest error of all would leave the rest in the dark.
    most = float(np.nanpercentile(errors, 99.5)) if np.isfinite(errors).any() else 0.0
    white = round_up(most if most > 0 else (paint.high - paint.low) / 10)
    label = ["|forecast - truth|", f"white: {white:g} {paint.shown_units}".rstrip(), "and more"]
    return (
        label,
        [*([None] * len(past)), *(fit(frame, *STRIP) for frame in errors)],
        Paint("grey", 0.0, white),
    )


def animation(
    past: Frames,
    forecast: Frames,
    truth: Frames | None = None,
    *,
    paint: Paint | None = None,
    times: Sequence[str] | None = None,
) -> np.ndarray:
    """(P+S, rows, columns, 3) uint8: the past, then the forecast, framed in orange; the truth on
    its left where there is one.

    Args and errors as `strip`; times stand over the frames, and nothing does without them.
    """
    return np.stack(list(animation_frames(past, forecast, truth, paint=paint, times=times)))


def animation_frames(
    past: Frames,
    forecast: Frames,
    truth: Frames | None = None,
    *,
    paint: Paint | None = None,
    times: Sequence[str] | None = None,
    missing: bool | None = None,
    room: Sequence[str] = (),
) -> Iterator[np.ndarray]:
    """The pictures of `animation`, one at a time: a long film need not fit in memory.

    A film of several forecasts is made of one such sequence after the other; all are of one size
    when each is told of the others:

    Args:
        missing: whether the scale says which grey is no data; by default it does where these frames
            hold NaN.
        room: the longest times of the others, or all of them.
    """
    p, n = past.shape[0], past.shape[0] + forecast.shape[0]
    _check_times(times, n)
    painted = paint or Paint()
    parts = [one for one in (past, forecast, truth) if one is not None]
    if missing is None:
        # Known before the first frame: legends must not jump.
        missing = painted.has_legend and any(holds_nan(one) for one in parts)
    panels = [(forecast, True)] if truth is None else [(truth, False), (forecast, True)]

    def pictures() -> Iterator[np.ndarray]:
        band = None
        for t in range(n):
            drawn = []
            for sequence, made in panels:
                frame = _one(past, t) if t < p else _one(sequence, t - p)
                drawn.append(
                    _framed(painted(fit(frame, *FILM)), ORANGE if made and t >= p else GREY)
                )
            if times is not None:
                words = ["forecast"] if truth is None else ["truth", "forecast"]
                texts = [f"{times[t]}  {'past' if t < p else word}" for word in words]
                if band is None:
                    size = min(18, max(11, drawn[0].shape[0] // 18))
                    longest = max(text_width(f"{time}  forecast", size) for time in (*times, *room))
                    band = (size, max(drawn[0].shape[1], ceil(longest) + 8))
                inks = [ORANGE if t >= p and made else INK for _, made in panels]
                drawn = [_captioned(*one, *band) for one in zip(drawn, texts, inks, strict=True)]
            yield with_legend(np.concatenate(drawn, axis=1), painted, missing)

    return pictures()


def _framed(inner: np.ndarray, colour: tuple[int, int, int], edge: int = 4) -> np.ndarray:
    framed = np.empty((inner.shape[0] + 2 * edge, inner.shape[1] + 2 * edge, 3), np.uint8)
    framed[:] = colour
    framed[edge:-edge, edge:-edge] = inner
    return framed


def _captioned(
    inner: np.ndarray, text: str, colour: tuple[int, int, int], size: int, width: int
) -> np.ndarray:
    """The picture under a band with text, on paper as wide as the longest text needs."""
    band = size + 9
    paper = Image.new("RGB", (width, inner.shape[0] + band), PAPER)
    paper.paste(Image.fromarray(inner), (0, band))
    write_text(paper, (4, 2), text, colour, size)
    return np.asarray(paper)


def fit(frame: np.ndarray, least: int, most: int) -> np.ndarray:
    """(C,H,W) at a size to look at: small ones with their pixels repeated until the longer side is
    about `least`, large ones as averages over areas until it is `most`. Averages leave NaN out;
    where most of an area is NaN, it stays NaN.
    """
    c, h, w = frame.shape
    if max(h, w) <= most:
        scale = max(1, round(least / max(h, w)))
        return frame.repeat(scale, axis=1).repeat(scale, axis=2)
    size = (max(1, round(w * most / max(h, w))), max(1, round(h * most / max(h, w))))
    shrunk = []
    for channel in frame.astype(np.float32):
        known = ~np.isnan(channel)
        total, part = (
            np.asarray(Image.fromarray(one.astype(np.float32)).resize(size, Image.Resampling.BOX))
            for one in (np.where(known, channel, 0), known)
        )
        shrunk.append(np.where(part >= 0.5, total / np.maximum(part, 0.5), np.float32(np.nan)))
    return np.stack(shrunk)


def _one(frames: Frames, t: int) -> np.ndarray:
    return np.asarray(frames[t : t + 1])[0]


def holds_nan(frames: Frames) -> bool:
    """Whether a value is missing in any of the frames (T,C,H,W), which are read one at a time."""
    return frames.dtype.kind == "f" and any(
        np.isnan(_one(frames, t)).any() for t in range(frames.shape[0])
    )


def _lines(label: str, width: int, size: int) -> list[str]:
    """The label in one line, else its last word (how far ahead, or the time) in one of its own,
    else every word, as its column is wide. A unit or a month is no word of its own: it stays with
    its number.
    """
    words = re.split(r" +(?![^\W\d])", label)
    ways = [[label], [" ".join(words[:-1]), words[-1]]]
    return next((way for way in ways if max(text_width(line, size) for line in way) < width), words)


def _check_times(times: Sequence[str] | None, n: int) -> None:
    if times is not None and len(times) != n:
        raise ValueError(f"{len(times)} times for {n} frames: give one a frame, past and forecast")
