"""Pictures of what is unusual: scores over a recording, and where an event is."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from foreframe.visuals.colours import GREY, ORANGE, PAPER

BOX = 0.16  # of the shorter side
BAR = 0.04  # of the height


def anomaly_frame(pixels: np.ndarray, share: float, place: tuple[int, int] | None) -> np.ndarray:
    """A frame (H,W,3) uint8 above a bar of its score, a share of the threshold up to two, which is
    in the middle; of an event the bar is orange and its place, row and column, framed.
    """
    h, w = pixels.shape[:2]
    bar = np.full((max(4, int(BAR * h)), w, 3), PAPER, np.uint8)
    bar[:, : int(np.clip(np.nan_to_num(share) / 2, 0, 1) * w)] = ORANGE if place else GREY
    bar[:, w // 2] = 255
    return np.concatenate([_framed(pixels, *place) if place else pixels, bar])


def _framed(pixels: np.ndarray, y: int, x: int) -> np.ndarray:
    h, w = pixels.shape[:2]
    half, line = max(3, int(BOX * min(h, w) / 2)), max(1, min(h, w) // 150)
    top, left = np.clip([y - half, x - half], 0, [h - 1, w - 1])
    bottom, right = np.clip([y + half, x + half], 1, [h, w])
    framed = pixels.copy()
    inside = framed[top + line : bottom - line, left + line : right - line].copy()
    framed[top:bottom, left:right] = ORANGE
    framed[top + line : bottom - line, left + line : right - line] = inside
    return framed


def anomaly_picture(
    times: Shaped[np.ndarray, " t"],
    scores: Sequence[float],
    threshold: float,
    events: Sequence[tuple[int, int]],
    shown: Sequence[tuple[np.ndarray, int, int, str]],
) -> np.ndarray:
    """Scores over time with the threshold and the events, (rows, columns, 3) uint8.

    Args:
        times: of the frames: dates, or seconds.
        events: the first and last frame of each.
        shown: of some events a frame (H,W,3) uint8, the row and column of its peak, and a title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6 if shown else 3), layout="constrained")
    FigureCanvasAgg(figure)
    cells = figure.add_gridspec(2 if shown else 1, max(1, len(shown)))
    axis = figure.add_subplot(cells[-1, :])
    axis.plot(times, np.array(scores), linewidth=0.8)
    axis.axhline(threshold, color="C1", linewidth=1)
    for first, last in events:
        axis.axvspan(times[first], times[last], color="C1", alpha=0.25, linewidth=1)
    axis.set(xlabel="seconds" if times.dtype.kind == "f" else "", ylabel="score")
    axis.set_xlim(times[0], times[-1])
    for k, (pixels, y, x, title) in enumerate(shown):
        one = figure.add_subplot(cells[0, k])
        one.imshow(_framed(pixels, y, x))
        one.set_title(title, fontsize=9)
        one.set_axis_off()
    file = io.BytesIO()
    figure.savefig(file, dpi=100, format="png")
    return np.asarray(Image.open(file).convert("RGB"))
