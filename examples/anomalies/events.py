"""Events put into a film of normal footage, with their labels."""

import numpy as np

SIZES = {"small": 1 / 24, "medium": 1 / 12, "large": 1 / 6}  # of the width
OBJECTS = [f"{move} {size}" for move in ("still", "moving") for size in SIZES]
KINDS = (*OBJECTS, "reversed", "jump", "double speed", "freeze", "replaced")
UNSCORED = -1  # frames of which it is a matter of taste whether they are unusual
SPEED = 1 / 60  # of the width a frame, of what moves


def with_events(
    film: np.ndarray, other: np.ndarray, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A film (T,H,W) uint8 with events of `length` frames in any order, as many as have room, and
    as long a time between them; and labels (T,): 0 normal, 1 + k an event of KINDS[k].

    The frame after an event, in which it ends, belongs to it. Objects are round pieces of `other`,
    another film.
    """
    frames, labels = film.copy(), np.zeros(len(film), int)
    starts = range(length, len(film) - length, 2 * length)
    for start, k in zip(starts, rng.permutation(len(KINDS)), strict=False):
        kind, stop = KINDS[k], start + length
        labels[start : stop + 1] = k + 1
        if kind in OBJECTS:
            _add_object(frames[start:stop], kind, other, rng)
        elif kind == "reversed":
            frames[start:stop] = film[start:stop][::-1]
        elif kind == "jump":
            far = (start + len(film) // 2) % (len(film) - length)
            frames[start:stop] = film[far : far + length]
            labels[start + 1 : stop] = UNSCORED  # in between all is as ever
        elif kind == "double speed":
            faster = film[start : start + 2 * length : 2]
            frames[start : start + len(faster)] = faster
        elif kind == "freeze":
            frames[start:stop] = film[start - 1]
            labels[stop] = UNSCORED
        else:
            _replace(frames[start:stop], film, rng)
    return frames, labels


def _add_object(frames: np.ndarray, kind: str, other: np.ndarray, rng: np.random.Generator) -> None:
    move, size = kind.split()
    h, w = frames.shape[1:]
    side = min(max(4, int(w * SIZES[size])), *other.shape[1:])
    picture = other[rng.integers(len(other))]
    top, left = (int(rng.integers(0, n - side + 1)) for n in picture.shape)
    piece = picture[top : top + side, left : left + side].astype(float)
    line = np.linspace(-1, 1, side)
    opaque = np.clip((1 - np.hypot(line[:, None], line)) * side / 4, 0, 1)
    place = rng.uniform(0, [h - side, w - side])
    angle = rng.uniform(0, 2 * np.pi)
    speed = w * SPEED * np.array([np.sin(angle), np.cos(angle)]) * (move == "moving")
    for k, frame in enumerate(frames):
        y, x = (
            _bounced(at, room)
            for at, room in zip(place + k * speed, (h - side, w - side), strict=True)
        )
        under = frame[y : y + side, x : x + side]
        under[:] = np.round(opaque * piece + (1 - opaque) * under)


def _bounced(at: float, room: int) -> int:
    """A place between 0 and room, of what turns back at either."""
    at = abs(at) % (2 * room)
    return round(at if at <= room else 2 * room - at)


def _replace(frames: np.ndarray, film: np.ndarray, rng: np.random.Generator) -> None:
    """A square of a quarter of the width shows another place of the film's first frames."""
    h, w = frames.shape[1:]
    side = min(w // 4, h)
    (y, x), (top, left) = (rng.integers(0, [h - side + 1, w - side + 1]) for _ in range(2))
    frames[:, y : y + side, x : x + side] = film[
        : len(frames), top : top + side, left : left + side
    ]


def shaken(film: np.ndarray, pixels: int, rng: np.random.Generator) -> np.ndarray:
    """A film whose camera shakes: every frame is shifted by up to so many pixels."""
    shifts = rng.integers(-pixels, pixels + 1, (len(film), 2))
    padded = np.pad(film, ((0, 0), (pixels, pixels), (pixels, pixels)), mode="edge")
    h, w = film.shape[1:]
    return np.stack(
        [f[pixels + y : pixels + y + h, pixels + x : pixels + x + w]
         for f, (y, x) in zip(padded, shifts, strict=True)]
    )  # fmt: skip


def flickering(film: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A film whose brightness changes from frame to frame, by a share of it, at random."""
    gain = 1 + share * rng.standard_normal(len(film))
    return np.clip(film * gain[:, None, None], 0, 255).astype(np.uint8)


def brightened(film: np.ndarray, share: float) -> np.ndarray:
    """A film whose exposure goes up by a share in its middle, over half a second, and stays."""
    ramp = np.clip((np.arange(len(film)) - len(film) // 2) / 12, 0, 1)
    return np.clip(film * (1 + share * ramp[:, None, None]), 0, 255).astype(np.uint8)
