"""A film of what came, and of forecasts of it side by side, each with its error below."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from foreframe.visuals.colours import GREY, INK, ORANGE, PAPER, Paint, white_of, with_legend
from foreframe.visuals.strip import captioned, fit, framed, in_grey

# The longer side of a pane: small frames are enlarged by a whole factor to about the first number
# of pixels, large ones shrunk to the second, so that three fit a screen.
PANE = (256, 480)
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
    # 98 % of all errors are below white: what moves is often little of a frame, and would stay dark
    # beside the largest error of all.
    whites = [
        white_of(_errors(frames, scene.truth, painted), 98, painted)
        for scene in scenes
        for frames in scene.forecasts.values()
    ]
    errors = Paint("grey", 0.0, max(whites, default=1.0))
    for number, scene in enumerate(scenes, 1):
        for picture in _pictures(scene, f"clip {number} of {len(scenes)}", painted, errors):
            shown = with_legend(picture, painted)
            yield shown
        for _ in range(PAUSE):
            yield shown


def _pictures(scene: Scene, clip: str, paint: Paint, errors: Paint) -> Iterator[np.ndarray]:
    p, steps = len(scene.past), len(scene.truth)
    white = f"error, white: {errors.high:g} {paint.shown_units}".rstrip() + " or more"
    blank = np.full((*fit(scene.past[0], *PANE).shape[-2:], 3), PAPER, np.uint8)

    def pane(pixels: np.ndarray, text: str, is_forecast: bool) -> np.ndarray:
        edge, colour = (ORANGE, ORANGE) if is_forecast else (GREY, INK)
        return captioned(framed(pixels, edge), text, colour)

    for t in range(p + steps):
        lead = t - p + 1
        when = f"+{lead}" if lead > 0 else f"past {lead}"
        came = scene.truth[lead - 1] if lead > 0 else scene.past[t]
        above = [pane(paint(fit(came, *PANE)), f"truth: {when}", False)]
        below = [captioned(framed(blank, PAPER), clip, INK)]
        for name, frames in scene.forecasts.items():
            made = frames[lead - 1] if lead > 0 else came
            off = errors(fit(_errors(made, came, paint), *PANE)) if lead > 0 else blank
            above.append(pane(paint(fit(made, *PANE)), f"{name}: {when}", lead > 0))
            below.append(pane(off, white, lead > 0))
        yield np.concatenate([np.concatenate(row, axis=1) for row in (above, below)])


def _errors(forecast: np.ndarray, truth: np.ndarray, paint: Paint) -> np.ndarray:
    """(...,1,H,W): the absolute error, of pictures in colour the mean of the three, in shown
    units.
    """
    return in_grey(np.abs(forecast.astype(np.float32) - truth), paint)
