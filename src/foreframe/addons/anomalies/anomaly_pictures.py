"""Pictures of what is unusual: scores over a recording, and where an event is."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageDraw

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
    picture = Image.fromarray(pixels)
    corners = max(0, x - half), max(0, y - half), min(w, x + half) - 1, min(h, y + half) - 1
    ImageDraw.Draw(picture).rectangle(corners, outline=ORANGE, width=line)
    return np.asarray(picture)


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
    canvas = FigureCanvasAgg(figure)
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
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
