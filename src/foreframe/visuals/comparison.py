"""A film of what came, and of forecasts of it side by side, each with its error below."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np

from foreframe.visuals.colours import (
    GREY,
    INK,
    ORANGE,
    PAPER,
    Paint,
    text_width,
    white_of,
    with_legend,
)
from foreframe.visuals.strip import captioned, fit, framed

# The longer side of a pane: small frames are enlarged by a whole factor to about the first number
# of pixels, large ones shrunk to the second, so that three fit a screen.
PANE = (256, 480)
SIZE = 14  # of letters
NOW = "past 0, the last frame"
PAUSE = 5  # pictures for which the last one of a clip stays


class Scene(NamedTuple):
    """A clip and its forecasts.

    Attributes:
        past: (P,C,H,W) in [0,1], or in the units of the paint.
        truth: (S,C,H,W).
        forecasts: (S,C,H,W) each, by the name of who made it.
    """

    past: np.ndarray
    truth: np.ndarray
    forecasts: Mapping[str, np.ndarray]


def comparison(scenes: Sequence[Scene], paint: Paint | None = None) -> Iterator[np.ndarray]:
    """The pictures of a film, (rows, columns, 3) uint8, of one clip after the other: the past, then
    for each frame ahead the truth, the forecasts in orange frames, and below these their absolute
    errors. Captions say what is what, and how many frames ahead.

    Args:
        scenes: with forecasts of the same names.
        paint: how values become colours; None: grey or colour for [0,1]. Errors are grey; their
            white is the same for all scenes and forecasts, and a caption states it.
    """
    painted = paint or Paint()
    error_paint = _error_paint(scenes, painted)
    holes = any(
        np.isnan(frames).any()
        for past, truth, forecasts in scenes
        for frames in (past, truth, *forecasts.values())
    )
    return (
        with_legend(picture, painted, holes)
        for number, scene in enumerate(scenes, 1)
        for picture in _pictures(scene, f"clip {number} of {len(scenes)}", painted, error_paint)
    )


def _pictures(scene: Scene, clip: str, paint: Paint, errors: Paint) -> Iterator[np.ndarray]:
    p, steps = len(scene.past), len(scene.truth)
    white = f"error, white: {errors.high:g} {paint.shown_units}".rstrip()
    ahead = f"forecast +{steps}"
    names = ("truth", *scene.forecasts)
    longest = [f"{name}: {when}" for name in names for when in (ahead, NOW)]
    longest += [f"{white} or more", clip]
    h, w = fit(scene.past[0], *PANE).shape[-2:]
    width = max(w + 8, ceil(max(text_width(text, SIZE) for text in longest)) + 8)

    def pane(pixels: np.ndarray, text: str, is_forecast: bool) -> np.ndarray:
        edge, colour = (ORANGE, ORANGE) if is_forecast else (GREY, INK)
        return captioned(framed(pixels, edge), text, colour, SIZE, width)

    blank = np.full((h, w, 3), PAPER, np.uint8)
    for t in range(p + steps):
        lead = t - p + 1
        if lead <= 0:
            now = f"past {lead}" if lead else NOW
            seen = paint(fit(scene.past[t], *PANE))
            above = [pane(seen, f"{name}: {now}", False) for name in names]
            below = [pane(blank, "", False) for _ in scene.forecasts]
        else:
            came = paint(fit(scene.truth[lead - 1], *PANE))
            above, below = [pane(came, f"truth: +{lead}", False)], []
            for name, frames in scene.forecasts.items():
                made = frames[lead - 1]
                drawn = paint(fit(made, *PANE))
                above.append(pane(drawn, f"{name}: forecast +{lead}", True))
                off = errors(fit(_error(made, scene.truth[lead - 1], paint), *PANE))
                below.append(pane(off, f"{white} or more", True))
        corner = captioned(framed(blank, PAPER), clip, INK, SIZE, width)
        rows = [np.concatenate(row, axis=1) for row in (above, [corner, *below])]
        picture = np.concatenate(rows)
        yield picture
    for _ in range(PAUSE):
        yield picture


def _error(forecast: np.ndarray, truth: np.ndarray, paint: Paint) -> np.ndarray:
    """(1,H,W): the absolute error, of pictures in colour the mean of the three, in shown units."""
    channels = 3 if paint.name == "grey" and len(forecast) >= 3 else 1
    off = np.abs(forecast[:channels].astype(np.float32) - truth[:channels]) * paint.factor
    return off.mean(axis=0, keepdims=True)


def _error_paint(scenes: Sequence[Scene], paint: Paint) -> Paint:
    """From no error to a round number that 98 % of all errors are below: what moves is often
    little of a frame, and would stay dark beside the largest error of all.
    """
    most = 0.0
    for scene in scenes:
        for frames in scene.forecasts.values():
            pairs = zip(frames, scene.truth, strict=True)
            off = np.stack([_error(made, came, paint) for made, came in pairs])
            if np.isfinite(off).any():
                most = max(most, float(np.nanpercentile(off, 98)))
    return Paint("grey", 0.0, white_of(most, paint))
