"""Generated rain, as radar sees it at 1 to 2 km and every 5 minutes.

Rain is carried by a drift with shear and turning, and changes while it is carried: fine structure
within minutes, wide areas within an hour or more, as Germann & Zawadzki 2002 found of radar, and as
the cascade of S-PROG (Seed 2003) has it. The logarithm of its rate is a sum of three bands of
noise, each with a lifetime of its own; storms with a core are laid on top, each born, growing and
decaying. Rates below what radar tells from dry are exactly 0.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

DRY = 0.1  # mm/h: less is no rain
HEAVIEST = 90.0  # mm/h


@dataclass(frozen=True)
class Band:
    """Noise of one range of wavelengths, on a tile that goes on for ever.

    Args:
        tile: (S,S), mean 0 and deviation 1.
        side: of the tile, in pixels.
        life: frames after which nothing of it is left.
        share: of the field.
    """

    tile: Float[Tensor, "s s"]
    side: float
    life: float
    share: float


@dataclass(frozen=True)
class Rain:
    """A scene of rain.

    Args:
        drift: (x, y) pixels a frame in the middle of the screen, and how it turns, radians a frame.
        shear: (2,2) 1/frame: the change of the drift across the screen.
        bands: wide to fine.
        turned, stretched: how the bands lie.
        level, spread: the logarithm of the rate is level + spread times the field.
        front: None, or (angle, offset, width): rain along a line.
        storms: (N,9): x, y, birth and life in frames, peak in mm/h, radius, aspect, angle, shape.
        shifts: (3, K, 2) in tiles: where each state of each band lies on its tile.
    """

    drift: tuple[float, float, float]
    shear: np.ndarray
    bands: list[Band]
    turned: float
    stretched: float
    level: float
    spread: float
    front: tuple[float, float, float] | None
    storms: np.ndarray
    shifts: np.ndarray


def draw_rain(rng: np.random.Generator, length: int, height: int, width: int) -> Rain:
    """A scene: widespread rain, showers, a front, storms, or some of each."""
    kinds = {"widespread": 0.3, "showers": 0.27, "front": 0.2, "storms": 0.23}
    edges = np.cumsum(list(kinds.values()))
    kind = list(kinds)[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]
    speed = 0.0 if rng.random() < 0.05 else min(4.5, float(1.3 * np.exp(rng.normal(0, 0.7))))
    heading = rng.random() * 2 * np.pi
    drift = speed * np.cos(heading), speed * np.sin(heading), rng.normal(0, 0.01)
    shear = rng.normal(0, 0.006, (2, 2))
    # Shares of wide, middle and fine structure, and how dry the scene is.
    shares, dry = {
        "widespread": ((0.88, 0.4, 0.15), (0.02, 0.65)),
        "showers": ((0.45, 0.6, 0.65), (0.7, 0.97)),
        "front": ((0.65, 0.6, 0.3), (0.45, 0.85)),
        "storms": ((0.6, 0.5, 0.4), (0.75, 0.97)),
    }[kind]
    share = np.array(shares) * np.exp(rng.normal(0, 0.25, 3))
    share /= np.linalg.norm(share)
    dry_share = dry[0] + (dry[1] - dry[0]) * rng.random()
    slope = 0.6 + 0.8 * rng.random()
    lives = np.array([10 + 30 * rng.random(), 7.0, 3.2]) * np.exp(rng.normal(0, 0.3))
    # Wavelengths in pixels, the tile's side in pixels and in texels.
    ranges = ((20, 128, 256, 64), (7, 20, 128, 128), (2.6, 7, 96, 192))
    bands = [
        Band(_band(rng, low, high, side, texels, slope), float(side), float(life), float(part))
        for (low, high, side, texels), life, part in zip(ranges, lives, share, strict=True)
    ]
    spread = float(np.exp(rng.normal(0.4 if kind == "widespread" else 0.5, 0.25)))
    # Of a normal field as much lies below this as is dry.
    level = float(np.log(DRY) - spread * _quantile(dry_share))
    front = None
    if kind == "front" or rng.random() < 0.08:
        front = (
            rng.random() * np.pi,
            rng.normal(0, 0.25) * min(height, width),
            4 + 14 * rng.random(),
        )
    storms = np.zeros((0, 9))
    if kind == "storms" or rng.random() < 0.15:
        storms = _storms(rng, length, height, width, front)
    return Rain(
        drift=drift,
        shear=shear,
        bands=bands,
        turned=rng.random() * np.pi,
        stretched=float(np.exp(rng.normal(0, 0.25))),
        level=level,
        spread=spread,
        front=front,
        storms=storms,
        shifts=rng.random((3, int(length / lives.min()) + 3, 2)),
    )


def rates(rain: Rain, length: int, height: int, width: int) -> Float[Tensor, "t h w"]:
    """Rain in mm/h; 0 where it is dry."""
    to_screen = _carried(rain, np.arange(length, dtype=float), height, width)
    x, y = _places(to_screen, height, width)
    states = zip(rain.bands, rain.shifts, strict=True)
    wide, *finer = (band.share * _state(rain, band, shifts, x, y) for band, shifts in states)
    field = wide + sum(finer)
    log_rate = rain.level + rain.spread * field
    if rain.front is not None:
        angle, offset, breadth = rain.front
        off = float(np.cos(angle)) * x + float(np.sin(angle)) * y - offset
        along = torch.exp(-((off + 7 * wide) / breadth).square())  # its line is bent
        log_rate = log_rate + rain.spread * (1.6 * along - 0.9)
    rate = log_rate.exp_()
    if len(rain.storms):
        storms = torch.zeros_like(rate)
        for storm in rain.storms:
            _lay(storms, storm, to_screen, height, width)
        rate += storms * (0.6 * rain.spread * field - 0.3).exp_()  # ragged
    rate[rate < DRY] = 0
    return rate.clamp_(max=HEAVIEST)


def measured(rng: np.random.Generator, rate: Float[Tensor, "t h w"]) -> Float[Tensor, "t h w"]:
    """What a radar makes of it: speckle, and its own threshold of what is dry."""
    speckle = float(np.exp(rng.normal(-2.7, 0.6)))
    noise = torch.from_numpy(rng.standard_normal(rate.shape, dtype=np.float32))
    rate = rate * (noise * speckle).exp_()
    rate[rate < DRY * float(np.exp(rng.normal(0.2, 0.4)))] = 0
    return rate.clamp_(max=HEAVIEST)


def advection(
    rain: Rain, length: int, height: int, width: int
) -> tuple[Float[np.ndarray, "t 2 h w"], Float[np.ndarray, "t h w"]]:
    """How far what is at each pixel is carried until the next frame, columns and then rows, in
    pixels (T-1,2,H,W); and 1 where it is still on the screen then (T-1,H,W).
    """
    to_screen = _carried(rain, np.arange(length, dtype=float), height, width)
    rows, columns = np.mgrid[:height, :width] + 0.5
    at = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    back = np.linalg.inv(to_screen[:-1, :, :2])
    first = back @ (at[:2] - to_screen[:-1, :, 2:])
    then = to_screen[1:, :, :2] @ first + to_screen[1:, :, 2:]
    then = then.reshape(length - 1, 2, height, width)
    x, y = then[:, 0], then[:, 1]
    inside = (x >= 0.5) & (x <= width - 0.5) & (y >= 0.5) & (y <= height - 0.5)
    return then - np.stack([columns, rows]), inside.astype(float)


def _carried(rain: Rain, times: np.ndarray, height: int, width: int) -> np.ndarray:
    """(T,2,3) affine maps from where rain lies in the middle of the clip, about the middle of the
    screen, to columns and rows at each time: the flow of a drift that is linear in space.
    """
    t = times - times.mean()
    linear = torch.linalg.matrix_exp(torch.from_numpy(t[:, None, None] * rain.shear)).numpy()
    u, v, turn = rain.drift
    heading, speed = np.arctan2(v, u) + turn * t / 2, np.hypot(u, v) * t
    shift = np.stack([np.cos(heading), np.sin(heading)], axis=-1) * speed[:, None]
    shift = shift + np.array([width / 2, height / 2])
    return np.concatenate([linear, shift[:, :, None]], axis=-1)


def _places(to_screen: np.ndarray, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where what is at each pixel at each time lies in the middle of the clip: x and y (T,H,W)."""
    linear = np.linalg.inv(to_screen[..., :2])
    back = np.concatenate([linear, -linear @ to_screen[..., 2:]], axis=-1)
    a = torch.from_numpy(back).float()[..., None, None]
    x = torch.arange(width).float() + 0.5
    y = (torch.arange(height).float() + 0.5)[:, None]
    first, second = (a[:, i, 0] * x + a[:, i, 1] * y + a[:, i, 2] for i in (0, 1))
    return first, second


def _state(rain: Rain, band: Band, shifts: np.ndarray, x: Tensor, y: Tensor) -> Tensor:
    """A band at each time and place (T,H,W): it goes from state to state, each a part of the tile
    of its own, so that its deviation stays 1.
    """
    cos, sin = float(np.cos(rain.turned)), float(np.sin(rain.turned))
    u = (cos * x + sin * y) / rain.stretched
    v = (cos * y - sin * x) * rain.stretched
    age = np.arange(len(x)) / band.life
    state, part = age.astype(int), age % 1
    n = band.tile.shape[-1]
    tile = F.pad(band.tile[None, None], (1, 1, 1, 1), mode="circular").expand(len(x), -1, -1, -1)
    total = torch.zeros_like(x)
    for next_, weight in ((0, np.cos(part * np.pi / 2)), (1, np.sin(part * np.pi / 2))):
        shift = torch.from_numpy(shifts[state + next_]).float()[:, :, None, None]
        places = torch.stack([u / band.side + shift[:, 0], v / band.side + shift[:, 1]], dim=-1)
        # Round and round the tile, whose pixels 1 to n lie between the copies at its rim.
        places = places.remainder_(1).mul_(2 * n / (n + 2)).sub_(n / (n + 2))
        sampled = F.grid_sample(tile, places, align_corners=False)[:, 0]
        total += torch.from_numpy(weight).float()[:, None, None] * sampled
    return total


def _band(
    rng: np.random.Generator, low: float, high: float, side: float, n: int, slope: float
) -> Float[Tensor, "s s"]:
    """Noise with wavelengths from `low` to `high` pixels, on a tile of `side` pixels."""
    top = min(n // 2, int(side / low * 1.3) + 1)
    fy, fx = torch.arange(-top + 1, top)[:, None], torch.arange(top)
    waves = torch.hypot(fy.float(), fx.float()).clamp_(min=0.5)
    # Amplitudes fall as a power of frequency; the rims of a band are soft.
    amplitude = waves ** (-slope - 0.5)
    amplitude *= torch.sigmoid(6 * torch.log(side / low / waves))
    amplitude *= torch.sigmoid(6 * torch.log(waves / (side / high)))
    amplitude[top - 1, 0] = 0
    draws = torch.from_numpy(rng.standard_normal((2 * top - 1, top, 2), dtype=np.float32))
    coefficients = torch.view_as_complex(draws) * amplitude
    every = torch.zeros(n, n // 2 + 1, dtype=torch.complex64)
    every[:top, :top] = coefficients[top - 1 :]
    every[n - top + 1 :, :top] = coefficients[: top - 1]
    return torch.fft.irfft2(every, s=(n, n), norm="forward") / (2 * float(amplitude.norm()))


def _storms(
    rng: np.random.Generator,
    length: int,
    height: int,
    width: int,
    front: tuple[float, float, float] | None,
) -> np.ndarray:
    """(N,9), see `Rain`: scattered about a few places, or along the front."""
    area = (height + 40) * (width + 40)
    many = int(min(60, area / 10000 * 3 * np.exp(rng.normal(0.9, 0.6)))) + 1
    half = np.array([width, height]) / 2 + 20
    groups = rng.uniform(-1, 1, (int(rng.integers(1, 6)), 2)) * half
    tight = 4 + 20 * rng.random()
    places = groups[rng.integers(len(groups), size=many)] + rng.normal(0, tight, (many, 2))
    if front is not None:
        angle, offset, wide = front
        ahead = np.array([np.cos(angle), np.sin(angle)])
        beside = rng.normal(0, wide / 2, many) + offset
        along = rng.uniform(-1, 1, many) * half.max()
        places = beside[:, None] * ahead + along[:, None] * np.array([-ahead[1], ahead[0]])
    life = 4 + 14 * rng.random(many)
    birth = rng.uniform(-18, length, many)
    peak = np.clip(7 * np.exp(rng.normal(0, 0.9, many)), 0.5, HEAVIEST)
    radius = np.clip(2.0 * np.exp(rng.normal(0, 0.45, many)), 0.7, 8)
    aspect = np.exp(rng.normal(0, 0.3, many))
    turned = np.pi / 3 * rng.random(many) + np.pi * rng.random()
    shape = 0.5 + 0.5 * rng.random(many)
    return np.column_stack([places, birth, life, peak, radius, aspect, turned, shape])


def _lay(rate: Tensor, storm: np.ndarray, to_screen: np.ndarray, height: int, width: int) -> None:
    """Add a storm to the rates, where and while it is."""
    x0, y0, birth, life, peak, radius, aspect, turned, shape = storm.tolist()
    age = (np.arange(len(rate)) - birth) / life
    alive = np.flatnonzero((age > 0) & (age < 1))
    if alive.size == 0:
        return
    times = slice(int(alive[0]), int(alive[-1]) + 1)
    power = torch.from_numpy(peak * np.sin(np.pi * age[times]) ** 2).float()[:, None, None]
    centre = to_screen[times, :, :2] @ np.array([x0, y0]) + to_screen[times, :, 2]
    # Beyond, nothing is left of it.
    far = radius * max(aspect, 1 / aspect) * float(np.log(peak / DRY + 1.1)) ** (0.5 / shape) * 1.5
    (left, top), (right, bottom) = centre.min(axis=0) - far, centre.max(axis=0) + far
    rows = slice(max(0, int(top)), max(0, min(height, int(bottom) + 1)))
    columns = slice(max(0, int(left)), max(0, min(width, int(right) + 1)))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    at = torch.from_numpy(centre).float()[:, :, None, None]
    dx = torch.arange(columns.start, columns.stop).float() + 0.5 - at[:, 0]
    dy = (torch.arange(rows.start, rows.stop).float() + 0.5)[:, None] - at[:, 1]
    cos, sin = float(np.cos(turned)), float(np.sin(turned))
    u = (cos * dx + sin * dy) / (radius * aspect)
    v = (cos * dy - sin * dx) / (radius / aspect)
    rate[times, rows, columns] += power * torch.exp(-((u.square() + v.square()) ** shape))


def _quantile(share: float) -> float:
    """Below which that share of normal numbers lies."""
    return float(torch.special.ndtri(torch.tensor(share, dtype=torch.float64)))
