"""Generated films: textured shapes that move, each in its own way, before a background with a
motion of its own.

A scene is a stack of `Layer`s, from back to front. A layer is a picture, and the affine map that
lays it on the screen at each time: pans, zooms and turns of the camera, and the shape's own path,
turning, growing and swaying. Some bend to and fro besides, as foliage, cloth and water do, or
shimmer. The motion of every pixel is known (`motion`).

Pictures are finer than the screen (`FINE` texels a pixel) and hold nothing finer than the screen
can show, so that bilinear sampling neither blurs nor aliases what moves by parts of a pixel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

FINE = 2.0  # texels of a picture a pixel of the screen
LARGEST = 512  # texels of a picture's side
FIELD = 1.5  # a shape's picture reaches so many of its radii

Map = Callable[[np.ndarray], np.ndarray]
"""Times (N,) in frames -> affine maps (N,2,3): x and y of a picture to columns and rows."""


@dataclass(frozen=True)
class Waves:
    """Fields that swing: at time t their sum is Σ_k size_k(t) field_k.

    Args:
        fields: (K,c,S,S) across a picture.
        sizes: (K,N) at times -1, 0, 1, ..., between which they go straight.
    """

    fields: Float[Tensor, "k c s s"]
    sizes: Float[np.ndarray, "k n"]

    def at(self, times: np.ndarray) -> Float[Tensor, "n c s s"]:
        known = np.arange(self.sizes.shape[1]) - 1.0
        sizes = np.stack([np.interp(times, known, size) for size in self.sizes], axis=1)
        return torch.einsum("nk,kcij->ncij", torch.from_numpy(sizes).float(), self.fields)


@dataclass(frozen=True)
class Layer:
    """A picture and where it lies.

    Args:
        picture: (C+1,S,S): what is seen, and as the last channel how much it covers, 0 to 1.
        place: maps (x, y), -1..1 across the picture, to columns and rows of the screen.
        bends: at (x, y) lies what the picture has at (x, y) + this (c = 2), in the same units.
        shimmers: is added to what is seen (c = 1).
    """

    picture: Float[Tensor, "channels s s"]
    place: Map
    bends: Waves | None = None
    shimmers: Waves | None = None


def draw_layers(
    rng: np.random.Generator,
    length: int,
    height: int,
    width: int,
    channels: int,
    digits: np.ndarray,
) -> list[Layer]:
    """A scene, from back to front.

    Args:
        rng: of this scene.
        length: frames for which it is planned.
        height, width: of the screen.
        channels: 1 or 3.
        digits: uint8 (N,h,w), images that serve as shapes.
    """
    scene = _Scene(rng, length, height, width, channels, digits)
    layers = [scene.background()]
    for _ in range(_pick(rng, _COUNTS)):
        layers += scene.person() if rng.random() < 0.2 else [scene.shape()]
    if rng.random() < 0.12:
        layers.append(scene.visitor())
    return layers


# How many things a scene has.
_COUNTS = {0: 0.04, 1: 0.2, 2: 0.2, 3: 0.17, 4: 0.13, 5: 0.1, 6: 0.07, 7: 0.05, 8: 0.04}


def frames_of(
    layers: list[Layer], times: np.ndarray, height: int, width: int
) -> Float[Tensor, "n c h w"]:
    """What is seen at these times (N,): each layer over those behind it."""
    n, channels = len(times), layers[0].picture.shape[0] - 1
    screen = torch.zeros(n, channels, height, width)
    for layer in layers:
        to_screen = layer.place(times)
        box = _box(to_screen, height, width)
        if box is None:
            continue
        changes = layer.bends is not None or layer.shimmers is not None
        still = not changes and bool((to_screen == to_screen[:1]).all())
        last = 1 if still else len(times)
        seen = _sampled(layer, to_screen[:last], times[:last], *box)
        rows, columns = box
        behind = screen[..., rows, columns]
        behind.lerp_(seen[:, :-1], seen[:, -1:].expand_as(seen[:, :-1]))
    return screen


def motion(
    layers: list[Layer], length: int, height: int, width: int
) -> tuple[Float[np.ndarray, "t 2 h w"], Float[np.ndarray, "t h w"]]:
    """The truth: how far what is seen at each pixel goes until the next frame, columns and then
    rows, in pixels (T-1,2,H,W); and 1 where it is still seen then (T-1,H,W), 0 where it is hidden,
    outside, or where a soft edge shows two things at once.
    """
    times = np.arange(length, dtype=float)
    shown = np.stack([_cover(layer, times, height, width) for layer in layers])  # (L,T,H,W)
    behind = np.ones_like(shown[0])
    for layer in shown[::-1]:
        layer *= behind
        behind -= layer
    front = shown.argmax(axis=0)
    rows, columns = np.mgrid[:height, :width] + 0.5
    moved = np.zeros((length - 1, 2, height, width))
    kept = np.zeros((length - 1, height, width))
    for index, layer in enumerate(layers):
        to_screen = layer.place(times)
        back = _inverse(to_screen)
        bends = None if layer.bends is None else layer.bends.at(times)
        for t in range(length - 1):
            on = front[t] == index
            x, y = _apply(back[t], columns[on], rows[on])
            if bends is not None:
                x, y = _bent_back(bends[t + 1], *_bent(bends[t], x, y, x, y))
            x, y = _apply(to_screen[t + 1], x, y)
            moved[t, :, on] = np.stack([x - columns[on], y - rows[on]], axis=-1)
            sure = (shown[index, t, on] > 0.98) & _all_around(shown[index, t + 1] > 0.98, y, x)
            kept[t, on] = sure
    return moved, kept


def _all_around(mask: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Whether all four pixels around each place lie on the screen and in the mask."""
    height, width = mask.shape
    top, left = np.floor(y - 0.5).astype(int), np.floor(x - 0.5).astype(int)
    # On the last row and column exactly, the pixel beyond does not count.
    bottom, right = np.ceil(y - 0.5).astype(int), np.ceil(x - 0.5).astype(int)
    inside = (top >= 0) & (left >= 0) & (bottom < height) & (right < width)
    i, j = (np.clip(n, 0, height - 1) for n in (top, bottom))
    k, m = (np.clip(n, 0, width - 1) for n in (left, right))
    return inside & mask[i, k] & mask[i, m] & mask[j, k] & mask[j, m]


def _cover(layer: Layer, times: np.ndarray, height: int, width: int) -> np.ndarray:
    cover = Layer(layer.picture[-1:], layer.place, layer.bends)
    screen = slice(0, height), slice(0, width)
    return _sampled(cover, layer.place(times), times, *screen)[:, 0].numpy()


def _bent(
    bend: Float[Tensor, "2 s s"], x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(x, y), moved by what the bend is at (u, v); all -1..1 across a picture."""
    grid = torch.from_numpy(np.stack([u, v], axis=-1)).float()[None, None]
    moved = F.grid_sample(bend[None], grid, padding_mode="border", align_corners=False)[0, :, 0]
    return x + moved[0].numpy(), y + moved[1].numpy()


def _bent_back(
    bend: Float[Tensor, "2 s s"], x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the bend takes to (x, y): a fixed point, as no bend is steep enough to fold."""
    minus, u, v = -bend, x, y
    for _ in range(20):
        u, v = _bent(minus, x, y, u, v)
    return u, v


def _sampled(
    layer: Layer, to_screen: np.ndarray, times: np.ndarray, rows: slice, columns: slice
) -> Tensor:
    """The picture as it lies, by these maps, on a part of the screen: (N,C+1,h,w)."""
    back = torch.from_numpy(_inverse(to_screen)).float()[..., None, None]
    x = torch.arange(columns.start, columns.stop).float() + 0.5
    y = (torch.arange(rows.start, rows.stop).float() + 0.5)[:, None]
    grid = torch.empty(len(back), len(y), len(x), 2)
    for i in (0, 1):
        torch.add(back[:, i, 0] * x, back[:, i, 1] * y + back[:, i, 2], out=grid[..., i])
    if layer.bends is not None:
        moved = F.grid_sample(
            layer.bends.at(times), grid, padding_mode="border", align_corners=False
        )
        grid += moved.permute(0, 2, 3, 1)
    picture = layer.picture.expand(len(times), -1, -1, -1)
    if layer.shimmers is not None:
        light = layer.shimmers.at(times)
        picture = torch.cat([picture[:, :-1] + light, picture[:, -1:]], dim=1)
    # Backgrounds go on beyond their picture as in a mirror; shapes end inside of theirs.
    outside = "reflection" if bool((layer.picture[-1] == 1).all()) else "zeros"
    return F.grid_sample(picture, grid, padding_mode=outside, align_corners=False)


def _box(to_screen: np.ndarray, height: int, width: int) -> tuple[slice, slice] | None:
    """Rows and columns of the screen that the picture ever touches."""
    corners = np.array([[-1, -1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, 1]]).T
    places = to_screen @ corners  # (N,2,4)
    (left, top), (right, bottom) = places.min(axis=(0, 2)), places.max(axis=(0, 2))
    top, left = max(0, int(top)), max(0, int(left))
    bottom, right = min(height, int(bottom) + 1), min(width, int(right) + 1)
    return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None


# Affine maps, (..., 2, 3).

Number = float | np.ndarray


def _inverse(maps: np.ndarray) -> np.ndarray:
    linear = np.linalg.inv(maps[..., :2])
    return np.concatenate([linear, -linear @ maps[..., 2:]], axis=-1)


def _after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The map that does `first`, then `second`."""
    both = second[..., :2] @ first
    both[..., 2] += second[..., 2]
    return both


def _apply(map_: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (a, b, c), (d, e, f) = map_
    return a * x + b * y + c, d * x + e * y + f


def _similar(angle: Number, across: Number, along: Number, x: Number, y: Number) -> np.ndarray:
    """Stretched (`across` in x, `along` in y), turned, and put at (x, y): (N,2,3)."""
    cos, sin = np.cos(angle), np.sin(angle)
    rows = [[cos * across, -sin * along, x], [sin * across, cos * along, y]]
    return np.stack([np.stack(np.broadcast_arrays(*row), axis=-1) for row in rows], axis=-2)


# Random choices.


Choice = TypeVar("Choice")


def _pick(rng: np.random.Generator, weights: Mapping[Choice, float]) -> Choice:
    """A key, as often as its weight says."""
    edges = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    """Between low and high, even on a logarithmic scale."""
    return float(low * (high / low) ** rng.random())


_COURSES = {
    "even": 0.53,
    "faster": 0.08,
    "begins": 0.08,
    "ends": 0.06,
    "turns": 0.07,
    "sways": 0.18,
}


def _course(
    rng: np.random.Generator, length: int, sways: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    """A way along a line, about one unit a frame: even, faster and faster, from rest, to rest, back
    the way it came, or to and fro.
    """
    kind = "sways" if sways else _pick(rng, _COURSES)
    a, b, c = rng.random(3)
    middle = (length - 1) / 2
    if kind == "even":
        return lambda t: t - middle
    if kind == "faster":
        gain = (a * 1.6 - 0.8) / length
        return lambda t: (t - middle) * (1 + gain * (t - middle))
    if kind == "sways":
        period = 3 * (max(length, 8) * 1.5 / 3) ** b * (1 + a)
        swing = period / (2 * np.pi)
        return lambda t: swing * np.sin(2 * np.pi * (t / period + c))
    # Begins or ends to move, or turns back, at some time, softly.
    when, soft = length * (0.1 + 0.8 * a), 0.3 + 2 * b
    if kind == "turns":
        return lambda t: np.hypot(2 * soft, t - when) - 2 * soft
    sign = 1 if kind == "begins" else -1
    return lambda t: sign * soft * np.logaddexp(0, sign * (t - when) / soft)


class _Scene:
    """What all things of a scene share."""

    def __init__(
        self,
        rng: np.random.Generator,
        length: int,
        height: int,
        width: int,
        channels: int,
        digits: np.ndarray,
    ) -> None:
        self.rng, self.length, self.channels, self.digits = rng, length, channels, digits
        self.height, self.width = height, width
        self.side = float(np.sqrt(height * width))
        # How fast this scene is, in pixels a frame: films differ in rate as in subject.
        self.pace = _log(rng, 0.12, 4.0) * self.side / 64
        if rng.random() < 0.1:
            self.pace *= 0.1  # nearly still
        # Some scenes move along one line: a street, a stage.
        self.line = None if rng.random() < 0.5 else float(rng.normal(0, 0.15))
        # Soft focus or sharp.
        self.focus = _log(rng, 0.8, 2.0) if rng.random() < 0.7 else _log(rng, 2.0, 5.0)
        self.palette = rng.random((4, channels)) if channels > 1 else None
        self.camera = self._camera()

    def colour(self) -> np.ndarray:
        """(C,) in [0,1]; those of a scene are akin."""
        level = self.rng.random()
        if self.palette is None:
            return np.array([level])
        tint = self.palette[int(self.rng.integers(len(self.palette)))]
        mix = 0.25 + 0.75 * self.rng.random()
        return np.clip(level + mix * 0.6 * (tint - tint.mean()), 0, 1)

    # The camera.

    def _camera(self) -> Map | None:
        """Maps of the world, in pixels about the middle of the screen, to the screen; None where
        the camera stands still.
        """
        rng, middle = self.rng, (self.width / 2, self.height / 2)
        if rng.random() < 0.5:
            return None
        flat = rng.random() < 0.6
        heading = rng.normal(0, 0.2) + np.pi * rng.integers(2) if flat else rng.random() * 2 * np.pi
        parts = {
            "pan": {"pan": 1.0},
            "zoom": {"zoom": 1.0},
            "turn": {"turn": 1.0},
            "shake": {"shake": 1.0},
            "all": {"pan": 0.6, "zoom": 0.6, "turn": 0.3, "shake": 0.5},
        }[_pick(rng, {"pan": 0.45, "zoom": 0.12, "turn": 0.06, "shake": 0.17, "all": 0.2})]
        speed = parts.get("pan", 0) * _log(rng, 0.1, 2.0) * self.pace
        pan = _course(rng, self.length)
        zoom, zooming = parts.get("zoom", 0) * rng.normal(0, 0.012), _course(rng, self.length)
        turn, turning = parts.get("turn", 0) * rng.normal(0, 0.015), _course(rng, self.length)
        shake = parts.get("shake", 0) * _log(rng, 0.1, 1.2) * self.side / 64
        jitter = shake * _shaken(rng, self.length, 0.9 * rng.random())

        def place(t: np.ndarray) -> np.ndarray:
            size = np.exp(np.clip(zoom * zooming(t), -0.5, 0.5))
            shift = speed * pan(t)
            at = np.arange(self.length + 2) - 1.0
            x = middle[0] + shift * np.cos(heading) + np.interp(t, at, jitter[0])
            y = middle[1] + shift * np.sin(heading) + np.interp(t, at, jitter[1])
            return _similar(turn * turning(t), size, size, x, y)

        return place

    def seen(self, world: Map) -> Map:
        """As the camera shows it."""
        camera = self.camera
        if camera is None:
            x, y = self.width / 2, self.height / 2
            return lambda t: _after(_similar(np.zeros(1), 1.0, 1.0, x, y), world(t))
        return lambda t: _after(camera(t), world(t))

    # What is behind everything.

    def background(self) -> Layer:
        """A picture that fills the screen, and half as much around it where the camera moves."""
        longer = max(self.height, self.width)
        reach, fine = (longer, 1.0) if self.camera is None else (longer * 1.6, FINE)
        n = _texels(reach * fine)
        kind, bends, shimmers = self._unrest(_BACKGROUNDS, 0.2, reach, n)
        texture = self._texture(n, n / reach, reach, kind)
        picture = torch.cat([texture, torch.ones(1, n, n)])
        half = reach / 2

        def world(t: np.ndarray) -> np.ndarray:
            return np.broadcast_to(np.array([[half, 0, 0], [0, half, 0.0]]), (len(t), 2, 3))

        return Layer(picture, self.seen(world), bends, shimmers)

    def _unrest(
        self, surfaces: Mapping[str, float], share: float, reach: float, n: int
    ) -> tuple[str, Waves | None, Waves | None]:
        """The kind of a surface; how it bends and how it shimmers, as only a share does."""
        rng = self.rng
        kind, dice = _pick(rng, surfaces), rng.random(2)
        if dice[0] > share:
            return kind, None, None
        # What bends can be seen to bend where it has a texture.
        kind = _pick(rng, _ROUGH)
        bends = self._bends(reach) if dice[1] < 0.75 else None
        return kind, bends, self._shimmers(n, n / reach) if dice[1] > 0.6 else None

    def _bends(self, reach: float) -> Waves:
        """Foliage, cloth, water: what moves to and fro, each place in its own time."""
        rng = self.rng
        # In pixels: how far apart what moves together ends, and how far it moves.
        apart = self.side / 64 * _log(rng, 3, 40)
        far = min(self.side / 64 * _log(rng, 0.15, 3.0), 0.12 * apart)
        many = int(rng.integers(1, 5))
        side = int(np.clip(4 * reach / apart, 6, 96))
        along = rng.random() * 2 * np.pi
        # Mostly along one line, as the wind blows.
        lean = np.array([[np.cos(along)], [np.sin(along)]]) if rng.random() < 0.6 else np.eye(2)
        draws = rng.standard_normal((2 * many, lean.shape[1], side, side))
        fields = torch.from_numpy(np.einsum("dl,klij->kdij", lean, draws)).float()
        fields = F.avg_pool2d(F.pad(fields, (2, 2, 2, 2), mode="replicate"), 3, 1)
        fields = F.avg_pool2d(fields, 3, 1)
        fields *= far * 2 / reach / (fields.square().sum(1).mean().sqrt() * np.sqrt(many) + 1e-6)
        return Waves(fields, _swings(rng, self.length, many))

    def _shimmers(self, n: int, fine: float) -> Waves:
        """Light that plays on a surface: water, leaves that turn, a screen."""
        rng = self.rng
        many = int(rng.integers(1, 4))
        slope, strength = 0.4 + 1.4 * rng.random(), _log(rng, 0.01, 0.12)
        fields = torch.stack([self._noise(n, fine, slope) for _ in range(2 * many)])[:, None]
        return Waves(fields * (strength / np.sqrt(many)), _swings(rng, self.length, many))

    # Things.

    def shape(self) -> Layer:
        """One shape, on its own path."""
        rng = self.rng
        radius = self.side * _log(rng, 0.035, 0.34)
        aspect = float(np.exp(rng.normal(0, 0.3)))
        world, reach = self._path(radius, aspect), 2 * FIELD * radius
        kind, bends, shimmers = self._unrest(_SURFACES, 0.08, reach, _texels(reach * FINE))
        picture = self._cutout(radius, _pick(rng, _OUTLINES), kind)
        return Layer(picture, self.seen(world), bends, shimmers)

    def _path(self, radius: float, aspect: float) -> Map:
        """Where a shape goes: along a line or a bow, as a pendulum, or nowhere; it may turn, grow,
        and be squeezed.
        """
        rng, length, pace = self.rng, self.length, self.pace
        direction = rng.random() * 2 * np.pi if self.line is None else self.line
        direction += np.pi * rng.integers(2)
        rests = rng.random() < 0.22
        speed = 0.0 if rests else pace * float(np.exp(rng.normal(0, 0.5)))
        aside = 0.0 if rests or rng.random() < 0.6 else 0.5 * speed * rng.normal()
        x0 = (rng.random() * 1.2 - 0.6) * self.width
        y0 = (rng.random() * 1.2 - 0.6) * self.height
        along, across = _course(rng, length), _course(rng, length, sways=rng.random() < 0.7)
        angle = rng.random() * 2 * np.pi if rng.random() < 0.6 else 0.0
        spin = 0.0 if rng.random() < 0.55 else pace / radius * rng.normal(0, 0.5)
        turning = _course(rng, length)
        growth = 0.0 if rng.random() < 0.65 else rng.normal(0, 0.02)
        growing = _course(rng, length)
        squeeze = 0.0 if rng.random() < 0.8 else rng.normal(0, 0.03)
        squeezing = _course(rng, length, sways=True)
        pendulum = None
        if rng.random() < 0.07:
            arm = self.side * (0.2 + 0.7 * rng.random())
            pendulum = arm, speed / arm, _course(rng, length, sways=True)

        def world(t: np.ndarray) -> np.ndarray:
            size = radius * np.exp(np.clip(growth * growing(t), -0.8, 0.8))
            tall = aspect * np.exp(np.clip(squeeze * squeezing(t), -0.3, 0.3))
            if pendulum is not None:
                arm, rate, swinging = pendulum
                swing = np.clip(rate * swinging(t), -1.3, 1.3)
                x, y = x0 - arm * np.sin(swing), y0 + arm * (np.cos(swing) - 0.9)
                return _similar(swing + angle, size / tall, size * tall, x, y) * _FIELD
            ahead, off = speed * along(t), aside * across(t)
            x = x0 + np.cos(direction) * ahead - np.sin(direction) * off
            y = y0 + np.sin(direction) * ahead + np.cos(direction) * off
            return _similar(angle + spin * turning(t), size / tall, size * tall, x, y) * _FIELD

        return world

    def visitor(self) -> Layer:
        """Something large and near that comes in over the screen's edge, as a hand does or whoever
        steps before the camera, and turns back.
        """
        rng, length = self.rng, self.length
        wide = self.side * _log(rng, 0.1, 0.5)
        long = min(wide * _log(rng, 0.8, 4.0), self.side)
        # From the middle to the edge that it comes over, mostly straight.
        side = np.pi / 2 * rng.integers(4) + rng.normal(0, 0.35)
        out = np.array([np.cos(side), np.sin(side)])
        edge = np.abs(out) @ [self.width / 2, self.height / 2]
        aside = 0.2 * self.side * rng.normal()
        # How far it comes in until it turns; its speed, which is near and so not the scene's; how
        # long it takes to turn, and when.
        nearest = edge + long - min(2 * long * _log(rng, 0.25, 1.0), 1.6 * edge)
        speed, soft = self.side * _log(rng, 0.015, 0.15), _log(rng, 0.5, 4.0)
        when = length * (1.1 * rng.random() - 0.05)
        lean = rng.normal(0, 0.4) / self.side

        def world(t: np.ndarray) -> np.ndarray:
            far = speed * (np.hypot(soft, t - when) - soft)
            x = out[0] * (nearest + far) - out[1] * aside
            y = out[1] * (nearest + far) + out[0] * aside
            angle = side + np.clip(lean * far, -0.6, 0.6)
            return _similar(angle, long, wide, x, y) * _FIELD

        reach = 2 * FIELD * wide
        kind, bends, shimmers = self._unrest(_SURFACES, 0.08, reach, _texels(reach * FINE))
        picture = self._cutout(wide, _pick(rng, _OF_VISITORS), kind)
        return Layer(picture, self.seen(world), bends, shimmers)

    def person(self) -> list[Layer]:
        """A body with a head, and legs and arms that swing in step as it walks."""
        rng, length = self.rng, self.length
        tall = self.side * _log(rng, 0.04, 0.2)  # half of the height
        away = np.pi * rng.integers(2) + (rng.normal(0, 0.3) if self.line is None else self.line)
        speed = 0.0 if rng.random() < 0.15 else self.pace * float(np.exp(rng.normal(-0.2, 0.4)))
        x0, y0 = ((rng.random() * 1.2 - 0.6) * n for n in (self.width, self.height))
        walk = _course(rng, length) if rng.random() < 0.4 else lambda t: t - (length - 1) / 2
        # A step is about as long as a leg.
        rate, phase = min(speed / tall, 1.2), rng.random() * 2 * np.pi
        swing = 0.25 + 0.4 * rng.random()
        surface = _pick(rng, {"flat": 0.6, "shaded": 0.4})

        def part(
            x: float, y: float, wide: float, high: float, swings: float, hinge: float
        ) -> Layer:
            """A limb about (x, y) of the body, its hinge above its middle."""
            picture = self._cutout(tall * high, "box" if swings else "disc", surface)

            def world(t: np.ndarray) -> np.ndarray:
                at = speed * walk(t)
                angle = swings * np.sin(rate * walk(t) * 2 + phase) * min(1.0, 4 * rate)
                bob = 0.03 * tall * np.cos(4 * rate * walk(t) + 2 * phase)
                px = x0 + np.cos(away) * at + tall * (x - hinge * np.sin(angle))
                py = y0 + np.sin(away) * at + tall * (y - hinge + hinge * np.cos(angle)) + bob
                return _similar(angle, tall * wide, tall * high, px, py) * _FIELD

            return Layer(picture, self.seen(world))

        legs = [part(0, 0.55, 0.13, 0.5, side * swing, 0.45) for side in (1, -1)]
        arms = [part(0, -0.15, 0.09, 0.38, side * swing, 0.35) for side in (-1, 1)]
        body, head = part(0, -0.2, 0.24, 0.48, 0, 0), part(0, -0.82, 0.17, 0.2, 0, 0)
        return [arms[0], *legs, body, head, arms[1]]

    def _cutout(self, radius: float, outline: str, surface: str) -> Tensor:
        """Picture (C+1,S,S) of a shape with this radius in pixels."""
        rng = self.rng
        n = _texels(2 * FIELD * radius * FINE)
        reach = 2 * FIELD * radius
        y, x = np.mgrid[:n, :n].astype(np.float32) * (2 * FIELD / n) + FIELD * (1 / n - 1)
        soft = self.focus if rng.random() < 0.85 else _log(rng, 1.5, 0.6 * radius + 2)
        soft = max(soft, 1.0 / FINE) / radius
        if outline == "digit":
            cover = self._digit(n)
        else:
            cover = np.clip(0.5 - self._outside(outline, x, y) / soft, 0, 1)
        if rng.random() < 0.05:
            cover = cover * (0.3 + 0.6 * rng.random())  # glass, smoke, a shadow
        # Nothing is left at the rim of the picture.
        rim = np.clip((FIELD - np.maximum(np.abs(x), np.abs(y))) * n / (2 * FIELD) - 0.5, 0, 1)
        mask = torch.from_numpy((cover * rim).astype(np.float32))
        return torch.cat([self._texture(n, n / reach, reach, surface), mask[None]])

    def _outside(self, outline: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How far each place lies outside of the outline, in radii; negative inside."""
        rng = self.rng
        a, b, c, d = rng.random(4)
        if outline == "box":
            return np.maximum(np.abs(x), np.abs(y)) - 1
        if outline == "bar":
            return np.maximum(np.abs(x), np.abs(y) * (4 + 8 * a)) - 1
        if outline == "round box":
            power = 2.5 + 3 * a
            return (np.abs(x) ** power + np.abs(y) ** power) ** (1 / power) - 1
        away = np.hypot(x, y)
        if outline == "disc":
            return away - 1
        if outline == "ring":
            wide = 0.08 + 0.3 * a
            return np.abs(away - 1 + wide) - wide
        turned = np.arctan2(y, x)
        if outline == "petals":
            rim = 0.75 + (0.1 + 0.2 * a) * np.cos((2 + int(5 * b)) * turned + 7 * c)
            rim = rim + 0.12 * d * np.cos((1 + int(9 * d)) * turned + 9 * a)
            return away - rim
        assert outline == "polygon"
        corners = 3 + int(4 * b)
        part = 2 * np.pi / corners
        folded = (turned + 7 * c) % part - part / 2
        return away * np.cos(folded) / np.cos(part / 2) - 0.9

    def _digit(self, n: int) -> np.ndarray:
        image = torch.from_numpy(self.digits[int(self.rng.integers(len(self.digits)))])
        image = F.pad(image.float()[None, None] / 255, (4, 4, 4, 4))
        return (
            F.interpolate(image, (n, n), mode="bicubic", antialias=True)[0, 0].clamp(0, 1).numpy()
        )

    # Surfaces.

    def _texture(self, n: int, fine: float, reach: float, kind: str) -> Tensor:
        """(C,n,n), `fine` texels a pixel, `reach` pixels wide."""
        rng = self.rng
        base, other = self.colour(), self.colour()
        contrast = _log(rng, 0.06, 1.0)
        fields = []
        if kind == "noise":
            fields.append((contrast * 0.5, self._noise(n, fine)))
        elif kind == "islands":
            for _ in range(1 + int(rng.random() < 0.5)):
                field = self._noise(n, fine, 1.6 + rng.random())
                fields.append((contrast * 0.6, torch.tanh(field * _log(rng, 2, 12))))
        elif kind == "leaves":
            return self._leaves(n, fine, reach, base)
        elif kind == "pattern":
            fields.append((contrast * 0.6, self._pattern(n, reach)))
        elif kind == "digits":
            fields.append((contrast, self._page(n, reach)))
        if rng.random() < 0.6:
            fields.append((_log(rng, 0.01, 0.1), self._noise(n, fine)))
        if kind == "shaded" or rng.random() < 0.4:
            fields.append((_log(rng, 0.03, 0.3), self._shade(n)))
        texture = torch.from_numpy(base).float()[:, None, None].repeat(1, n, n)
        for strength, field in fields:
            tone = other - base
            tone = tone / (np.abs(tone).max() + 1e-6) if self.channels > 1 else np.ones(1)
            texture += (strength * torch.from_numpy(tone).float())[:, None, None] * field
            other = self.colour()
        return texture

    def _noise(self, n: int, fine: float, slope: float | None = None) -> Tensor:
        """(n,n) with mean 0 and deviation 1, whose amplitudes fall as a power of frequency."""
        rng = self.rng
        slope = 0.4 + 1.9 * rng.random() if slope is None else slope
        stretch = 1.0 if rng.random() < 0.7 else _log(rng, 0.25, 4)
        # In waves across the picture: the finest that the screen can show, less some for focus.
        finest = 0.36 / self.focus / fine * n
        top = min(n // 2, int(1.5 * finest) + 1)
        fy, fx = torch.arange(-top + 1, top)[:, None], torch.arange(top)
        f2 = (fy * stretch).square() + (fx / stretch).square()
        f2[top - 1, 0] = 1
        amplitude = f2 ** (-slope / 2) * torch.exp(-((fy**2 + fx**2) / finest**2).square())
        amplitude[top - 1, 0] = 0
        draws = torch.from_numpy(rng.standard_normal((2 * top - 1, top, 2), dtype=np.float32))
        waves = torch.view_as_complex(draws) * amplitude
        every = torch.zeros(n, n // 2 + 1, dtype=torch.complex64)
        every[:top, :top], every[n - top + 1 :, :top] = waves[top - 1 :], waves[: top - 1]
        field = torch.fft.irfft2(every, s=(n, n), norm="forward")
        return field / (2 * float(amplitude.norm()) + 1e-9)

    def _shade(self, n: int) -> Tensor:
        """A slope of light, straight or round."""
        rng = self.rng
        at = torch.linspace(-1, 1, n)
        angle, bow = rng.random() * 2 * np.pi, rng.normal(0, 0.7)
        ramp = float(np.cos(angle)) * at + float(np.sin(angle)) * at[:, None]
        return ramp + float(bow) * (at.square() + at.square()[:, None] - 0.6)

    def _pattern(self, n: int, reach: float) -> Tensor:
        """Stripes or checks, soft or hard."""
        rng = self.rng
        period = _log(rng, 5.0, max(6.0, reach / 2))
        angle = rng.random() * np.pi if rng.random() < 0.5 else np.pi / 2 * rng.integers(2)
        at = torch.linspace(-np.pi, np.pi, n) * (reach / period)
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        waves = torch.sin(cos * at + sin * at[:, None] + 6 * rng.random())
        if rng.random() < 0.5:
            waves = waves * torch.sin(cos * at[:, None] - sin * at + 6 * rng.random())
        hard = min(_log(rng, 0.7, 8), period / 5)
        return torch.tanh(waves * hard)

    def _page(self, n: int, reach: float) -> Tensor:
        """Digits side by side, as on a page or a sign."""
        rng = self.rng
        many = int(rng.integers(2, max(3, int(reach / 9)) + 1))
        chosen = self.digits[rng.integers(len(self.digits), size=many * many)]
        tiles = torch.from_numpy(chosen).float().reshape(many, many, *chosen.shape[1:]) / 255
        page = tiles.permute(0, 2, 1, 3).reshape(1, 1, many * chosen.shape[1], -1)
        return F.interpolate(page, (n, n), mode="bilinear", antialias=True)[0, 0]

    def _leaves(self, n: int, fine: float, reach: float, base: np.ndarray) -> Tensor:
        """Discs and boxes of all sizes, each over those before it (dead leaves)."""
        rng = self.rng
        whole = np.tile(base.astype(np.float32)[:, None, None], (1, n, n))
        many = int(_log(rng, 8, 70))
        boxes, upright = rng.random(), rng.random() < 0.6
        largest = reach * (0.1 + 0.4 * rng.random())
        # Few large ones, many small ones.
        sizes = np.sort(2.0 * (largest / 2.0) ** (rng.random(many) ** 1.2))[::-1] * fine
        places = rng.random((many, 2)) * n
        dice = rng.random((many, 3))
        contrast, soft = _log(rng, 0.25, 1.5), self.focus * fine
        at = np.arange(n, dtype=np.float32)
        for size, (x, y), (which, turn, tall) in zip(sizes, places, dice, strict=True):
            far = int(size * 1.5 + soft) + 1
            rows = slice(max(0, int(y) - far), min(n, int(y) + far + 1))
            columns = slice(max(0, int(x) - far), min(n, int(x) + far + 1))
            dy, dx = at[rows, None] - np.float32(y), at[columns] - np.float32(x)
            if which < boxes:
                angle = 0.0 if upright else turn * np.pi
                cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
                u, v = np.abs(cos * dx + sin * dy), np.abs(cos * dy - sin * dx)
                outside = np.maximum(u, v * np.float32(1 + 2 * tall)) - np.float32(size)
            else:
                outside = np.sqrt(dx * dx + dy * dy) - np.float32(size)
            cover = np.clip(np.float32(0.5) - outside * np.float32(1 / soft), 0, 1)
            colour = np.clip(base + contrast * (self.colour() - base), 0, 1).astype(np.float32)
            part = whole[:, rows, columns]
            part += cover * (colour[:, None, None] - part)
        texture = torch.from_numpy(whole)
        if rng.random() < 0.6:
            texture += _log(rng, 0.01, 0.1) * self._noise(n, fine)
        return texture


_FIELD = np.array([[FIELD, FIELD, 1.0], [FIELD, FIELD, 1.0]])  # of a map: to the picture's rim

_OUTLINES = {
    "disc": 0.2,
    "box": 0.15,
    "round box": 0.12,
    "petals": 0.2,
    "polygon": 0.1,
    "ring": 0.05,
    "bar": 0.08,
    "digit": 0.1,
}
_OF_VISITORS = {"disc": 0.25, "round box": 0.35, "petals": 0.25, "polygon": 0.15}
_SURFACES = {
    "flat": 0.3,
    "shaded": 0.22,
    "noise": 0.25,
    "islands": 0.1,
    "pattern": 0.08,
    "digits": 0.05,
}
_BACKGROUNDS = {
    "flat": 0.08,
    "shaded": 0.12,
    "noise": 0.18,
    "islands": 0.16,
    "leaves": 0.36,
    "pattern": 0.06,
    "digits": 0.06,
}


_ROUGH = {"noise": 0.4, "islands": 0.25, "leaves": 0.35}


def _swings(rng: np.random.Generator, length: int, many: int) -> np.ndarray:
    """(2 many, length + 2): pairs of one rate, a quarter of a turn apart, which travel; or, as
    where the wind blows, whatever comes, remembered for some frames only.
    """
    t = np.arange(length + 2)
    if rng.random() < 0.4:
        rates = 2 * np.pi / np.array([_log(rng, 2.5, 40) for _ in range(many)])[:, None]
        turns = rates * t + 2 * np.pi * rng.random((many, 1))
        return np.concatenate([np.cos(turns), np.sin(turns)])
    return np.concatenate(
        [_shaken(rng, length, np.exp(-1 / _log(rng, 0.7, 8))) for _ in range(many)]
    )


def _texels(wanted: float) -> int:
    """A side that the Fourier transform is quick at."""
    for n in (12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384):
        if n >= wanted:
            return n
    return LARGEST


def _shaken(rng: np.random.Generator, length: int, hold: float) -> np.ndarray:
    """(2, length + 2) of deviation 1: partly kept, by `hold`, partly anew each frame."""
    steps = rng.normal(0, 1, (2, length + 2))
    value, track = steps[:, 0], []
    for step in steps.T:
        value = hold * value + np.sqrt(1 - hold**2) * step
        track.append(value)
    return np.stack(track, axis=1)


# What the camera makes of what it sees.


def exposure_times(rng: np.random.Generator, length: int) -> np.ndarray:
    """(length, K) times at which each frame is seen, which are averaged: motion blur."""
    blurred, shutter = rng.random() < 0.12, 0.3 + 0.5 * rng.random()
    offsets = np.array([-1, 0, 1]) / 3 * shutter if blurred else np.zeros(1)
    return _shown(rng, length)[:, None] + offsets


def _shown(rng: np.random.Generator, length: int) -> np.ndarray:
    """(length,) times, mostly 0, 1, 2, ...; some films repeat frames: drawn ones that have a
    picture for every second frame, those of another rate, and cameras that come too late.
    """
    kind, phase, late = rng.random(3)
    at = np.arange(length, dtype=float)
    if kind < 0.03:
        return 2 * np.floor((at + round(phase)) / 2)
    if kind < 0.05:
        every = 4 + int(3 * phase)  # one in so many is repeated
        return at - np.floor((at + int(every * late)) / every)
    if kind < 0.07:
        return np.where(rng.random(length) < 0.05 + 0.3 * late, np.maximum(at - 1, 0), at)
    return at


def recorded(rng: np.random.Generator, frames: Float[Tensor, "t c h w"]) -> Tensor:
    """Light that changes, contrast, focus, grain and compression; in [0,1]."""
    t, _, h, w = frames.shape
    at = np.arange(t)
    light, lift = np.ones(t), np.zeros(t)
    if rng.random() < 0.35:
        swing = _log(rng, 0.01, 0.3) * rng.choice([-1.0, 1.0])
        light += swing * _course(rng, t)(at) / max(t, 2)
        if rng.random() < 0.3:
            lift += _log(rng, 0.01, 0.15) * _course(rng, t)(at) / max(t, 2)
    if rng.random() < 0.06:
        light *= 1 + _log(rng, 0.004, 0.05) * rng.normal(0, 1, t)  # flicker
    if rng.random() < 0.07:
        shown = _faded(rng, t)
        light *= shown
        lift += (1 - shown) * (rng.random() if rng.random() < 0.4 else 0.0)
    # Films of a dark or pale range, and bent curves.
    low, high = 0.0, 1.0
    kind = rng.random()
    if kind < 0.15:
        high = 0.25 + 0.4 * rng.random()
    elif kind < 0.28:
        low = 0.2 + 0.4 * rng.random()
    gamma = float(np.exp(rng.normal(0, 0.25)))
    scale = torch.from_numpy(light).float()[:, None, None, None]
    offset = torch.from_numpy(lift).float()[:, None, None, None]
    x = (frames * scale).add_(offset).clamp_(0, 1)
    if abs(gamma - 1) > 0.1:
        x = x.pow_(gamma)
    x = x.mul_(high - low).add_(low)
    if rng.random() < 0.2:
        x = _blurred(x, 0.1 + 0.15 * rng.random())
    if rng.random() < 0.65:
        grain = _log(rng, 0.002, 0.04)
        noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
        x.add_(noise, alpha=grain)
    if rng.random() < 0.08:
        fixed = torch.from_numpy(rng.standard_normal(x.shape[1:], dtype=np.float32))
        x.add_(fixed, alpha=_log(rng, 0.002, 0.02))
    if rng.random() < 0.15 and min(h, w) >= 8:
        x = _compressed(x, _log(rng, 0.01, 0.12))
    return x.clamp_(0, 1)


def _faded(rng: np.random.Generator, t: int) -> np.ndarray:
    """(t,), 0 to 1: a film that fades in, or out, for some time."""
    lasts = _log(rng, 3, 40)
    begins = rng.random() * (t + lasts) - lasts
    shown = np.clip((np.arange(t) - begins) / lasts, 0, 1)
    shown = shown if rng.random() < 0.6 else 1 - shown
    dark = 0.0 if rng.random() < 0.6 else rng.random()  # to a tenth, to a half, ...
    return dark + (1 - dark) * shown


def _blurred(x: Tensor, side: float) -> Tensor:
    """Each pixel shares `side` of its light with each neighbour in its row, then in its column."""
    for axis in (-2, -1):
        n = x.shape[axis]
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, n - 1, 1)
        beside = torch.cat([first, x.narrow(axis, 0, n - 1)], axis)
        beside += torch.cat([x.narrow(axis, 1, n - 1), last], axis)
        x = x.mul_(1 - 2 * side).add_(beside, alpha=side)
    return x


def _compressed(x: Tensor, coarse: float) -> Tensor:
    """Cosines of 8x8 blocks, rounded: fine ones more coarsely. Rims that fill no block stay."""
    t, c, h, w = x.shape
    h8, w8 = h // 8, w // 8
    k, i = np.mgrid[:8, :8]
    basis = np.cos(np.pi * (2 * i + 1) * k / 16) * np.where(k == 0, np.sqrt(1 / 8), 0.5)
    cosines = torch.from_numpy(basis).float()
    steps = torch.from_numpy(coarse * (1 + 0.35 * np.add.outer(range(8), range(8)))).float()
    blocks = x[..., : 8 * h8, : 8 * w8].reshape(t, c, h8, 8, w8, 8).permute(0, 1, 2, 4, 3, 5)
    values = cosines @ blocks @ cosines.T
    values = (values / steps).round_() * steps
    blocks = cosines.T @ values @ cosines
    x = x.clone()
    x[..., : 8 * h8, : 8 * w8] = blocks.permute(0, 1, 2, 4, 3, 5).reshape(t, c, 8 * h8, 8 * w8)
    return x
