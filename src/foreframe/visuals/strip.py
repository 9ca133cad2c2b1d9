"""Frames side by side, and frames one after the other. Past and forecast are told apart: what is forecast wears ORANGE."""

import numpy as np
from PIL import Image, ImageDraw

ORANGE = (255, 140, 0)
GREY = (110, 110, 110)
PAPER = (24, 24, 28)
INK = (225, 225, 225)


def strip(past: np.ndarray, forecast: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """The picture that one clip makes, (rows, columns, 3) uint8.

    With truth three rows: past then truth; past then forecast; squared error. Without it one: past then forecast.

    Args:
        past: (P,C,H,W) in [0,1].
        forecast, truth: (S,C,H,W).
    """
    p, steps = len(past), len(forecast)
    rows = [("past, forecast", np.concatenate([past, forecast]))]
    if truth is not None:
        error = np.concatenate([np.zeros_like(past), (forecast - truth) ** 2])
        rows = [("past, truth", np.concatenate([past, truth])), *rows, ("squared error", error)]
    h, w = past.shape[-2:]
    scale = max(1, round(64 / max(h, w)))
    h, w, gap, left, top = h * scale, w * scale, 3, 100, 16
    picture = Image.new("RGB", (left + (p + steps) * (w + gap) + 4 * gap, top + len(rows) * (h + 2 * gap)), PAPER)
    draw = ImageDraw.Draw(picture)
    for r, (label, frames) in enumerate(rows):
        y = top + r * (h + 2 * gap)
        draw.text((4, y + h // 2 - 6), label, fill=INK)
        for t, frame in enumerate(frames):
            x = left + t * (w + gap) + (4 * gap if t >= p else 0)
            made = t >= p and label != "past, truth"
            draw.rectangle((x - 1, y - 1, x + w, y + h), outline=ORANGE if made else GREY)
            picture.paste(Image.fromarray(colours(frame, scale)), (x, y))
            if r == 0:
                lead = t - p + 1
                draw.text((x + 2, 2), f"{lead:+d}" if lead else "0", fill=ORANGE if lead > 0 else INK)
    return np.asarray(picture)


def animation(past: np.ndarray, forecast: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """(P+S, rows, columns, 3) uint8: the past, then the forecast, framed in orange; the truth on its left where there is one."""
    panels = [(np.concatenate([past, forecast]), True)]
    if truth is not None:
        panels = [(np.concatenate([past, truth]), False), *panels]
    h, w = past.shape[-2:]
    scale = max(1, round(192 / max(h, w)))
    edge = 4
    frames = []
    for t in range(len(past) + len(forecast)):
        row = []
        for sequence, made in panels:
            inner = colours(sequence[t], scale)
            colour = ORANGE if made and t >= len(past) else GREY
            framed = np.empty((inner.shape[0] + 2 * edge, inner.shape[1] + 2 * edge, 3), np.uint8)
            framed[:] = colour
            framed[edge:-edge, edge:-edge] = inner
            row.append(framed)
        frames.append(np.concatenate(row, axis=1))
    return np.stack(frames)


def colours(frame: np.ndarray, scale: int = 1) -> np.ndarray:
    """(C,H,W) in [0,1] -> (H*scale, W*scale, 3) uint8. Three channels are red, green, blue; else the first one is shown in grey."""
    shown = frame[:3] if frame.shape[0] >= 3 else frame[:1].repeat(3, axis=0)
    pixels = (np.clip(np.nan_to_num(shown), 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)
