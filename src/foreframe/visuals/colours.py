"""Colours of values, and the colour scale."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, isfinite, log10

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foreframe.base.wording import closest
from foreframe.clips.units import same_unit

Colour = tuple[int, int, int]

ORANGE = (255, 140, 0)
GREY = (110, 110, 110)
PAPER = (24, 24, 28)
INK = (225, 225, 225)
MISSING = (76, 76, 86)  # slightly blue: in no grey picture and no palette

# Rain steps of weather services, dim to bright on dark paper. The dBZ steps are about the same
# rates by Z = 200 R^1.6.
RAIN_STEPS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)  # mm/h
DBZ_STEPS = (10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0)
RAIN_COLOURS = (
    *((58, 80, 122), (52, 116, 186), (64, 164, 226), (44, 160, 104), (126, 204, 70)),
    *((250, 228, 70), (246, 170, 72), (226, 58, 44), (190, 44, 136), (244, 208, 248)),
)
SHADES = 200  # of a continuous palette; with frames and letters a GIF has about 256 colours
OWN = ("grey", "radar", "temperature")


@dataclass(frozen=True)
class Paint:
    """Colours of values: `Paint("radar", units="mm/h")(frame)`.

    Args:
        name: "grey", "radar" (rain steps), "temperature", or a matplotlib colormap. "grey" shows
            three or more channels as red, green and blue; all others show the first channel.
        low, high: the values at the ends of the scale, in units; ignored by "radar" for rain or
            dBZ, which has fixed steps.
        units: of the values; "" for plain pictures.
        heading: lines above the scale; by default the units.

    Raises:
        ValueError: an unknown name, or low is not below high.
    """

    name: str = "grey"
    low: float = 0.0
    high: float = 1.0
    units: str = ""
    heading: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"colours from {self.low:g} to {self.high:g} {self.units}".rstrip()
                + ": low must be below high"
            )
        _palette(self.name)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Paint (C,H,W) in the data's units as (H,W,3) uint8; NaN becomes MISSING."""
        grey = self.name == "grey"
        shown = frame[: 3 if grey and len(frame) >= 3 else 1] * self.factor
        parts = np.nan_to_num((shown - self.low) / (self.high - self.low))
        if grey:
            levels = (np.clip(parts, 0, 1) * 255).round().astype(np.uint8)
            pixels = levels.transpose(1, 2, 0).repeat(3 // len(levels), axis=2)
        else:
            palette = _palette(self.name)
            places = np.clip(parts * len(palette), 0, len(palette) - 1).astype(int)
            if self.steps:
                places = np.searchsorted(self.steps, shown, side="right")
            pixels = palette[places[0]]
        pixels[np.isnan(shown).any(axis=0)] = MISSING
        return pixels

    @property
    def factor(self) -> float:
        """Factor from the data's units to the shown ones: a rain flux is shown in mm/h."""
        return _rain_factor(self.units) or 1.0 if self.name == "radar" else 1.0

    @property
    def shown_units(self) -> str:
        if self.factor != 1 or _rain_factor(self.units) == 1:
            return "mm/h"
        return "°C" if _is(self.units, "degC") else self.units

    @property
    def steps(self) -> tuple[float, ...]:
        """The lower ends of the palette's steps, in shown units; () for continuous palettes."""
        if self.name != "radar":
            return ()
        if _is(self.units, "dBZ"):
            return DBZ_STEPS
        return RAIN_STEPS if _rain_factor(self.units) or _is(self.units, "mm") else ()

    @property
    def has_scale(self) -> bool:
        return self.name != "grey" or self.units != ""

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Positions (0 at the bottom, 1 at the top) and numbers of the scale's ticks: its steps, or
        about five round numbers.
        """
        if steps := self.steps:
            return [(k / (len(steps) + 1), f"{step:.4g}") for k, step in enumerate(steps, 1)]
        span = self.high - self.low
        step = round_up(span / 5)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        values = [k * step for k in range(first, last + 1)]
        return [((v - self.low) / span, f"{v + 0.0:.6g}") for v in values]


# In mm/h: 1 kg of water on 1 m2 is 1 mm high.
RAIN_RATES = {"mm/h": 1.0, "kg m-2 h-1": 1.0, "mm/s": 3600.0, "kg m-2 s-1": 3600.0}


def paint_for(name: str, low: float, high: float, units: str) -> Paint:
    """Return the paint for a field from `low` to `high`, which may be equal.

    "auto" chooses grey without units, "radar" for rain, "temperature" for K and °C, and viridis for
    other units.

    Raises:
        ValueError: as `Paint`.
    """
    if name == "auto":
        if not units:
            name = "grey"
        elif _is(units, "dBZ") or _rain_factor(units):
            name = "radar"
        else:
            name = "temperature" if _is(units, "K", "degC") else "viridis"
    if low == high:
        low, high = low - 0.5, high + 0.5
    return Paint(name, float(low), float(high), units)


def with_scale(picture: Image.Image, paint: Paint, size: int = 12) -> np.ndarray:
    """Draw the paint's scale to the right of a picture, (rows, columns, 3) uint8: a bar with its
    heading or units and ticks, and the colour of missing data. Plain pictures have no scale.

    Args:
        size: of letters, in pixels; pictures of less than 10 lines are extended downwards.
    """
    if not paint.has_scale:
        return np.asarray(picture)
    line, letters, ticks = size + 4, font(size), paint.ticks
    heading = "\n".join(paint.heading or (paint.shown_units,))
    left, width, height = picture.width + 8, size + 2, max(picture.height, 10 * line)
    top, below = (heading.count("\n") + 1) * line + size // 2 + 2, height - line - 1
    span = below - line - top
    words = [heading, *(text for _, text in ticks), "no data"]
    columns = left + width + 12 + max(text_width(word, size) for word in words)
    whole = Image.new("RGB", (columns, height), PAPER)
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    palette = _palette(paint.name)
    places = np.arange(span)[::-1] * len(palette) // span  # in the palette, from the top down
    draw.rectangle((left - 1, top - 1, left + width, top + span), outline=GREY)
    whole.paste(Image.fromarray(palette[places][:, None].repeat(width, axis=1)), (left, top))
    draw.rectangle((left - 1, below, left + width, below + size), fill=MISSING, outline=GREY)
    draw.text((left, 1), heading, INK, letters)
    draw.text((left + width + 7, below - 2), "no data", INK, letters)
    for part, text in ticks[:: ceil(len(ticks) * line / span)]:
        y = top + span - round(part * span)
        draw.line((left + width, y, left + width + 3, y), fill=INK)
        draw.text((left + width + 7, y), text, INK, letters, anchor="lm")
    return np.asarray(whole)


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return a font of matplotlib, because Pillow's font lacks µ, ² and ø."""
    from matplotlib import get_data_path  # imported late, because it is slow

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def text_width(text: str, size: int) -> int:
    """Return the width of the longest line in pixels."""
    return ceil(max(font(size).getlength(line) for line in text.split("\n")))


def round_up(value: float) -> float:
    """Return the least of ..., 1, 2, 5, 10, 20, ... that is at least a positive `value`."""
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


@lru_cache
def _palette(name: str) -> np.ndarray:
    """(colours, 3) uint8 from low to high; the first colour of "radar" is paper."""
    if name == "grey":
        return np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    if name == "radar":
        return np.array([PAPER, *RAIN_COLOURS], np.uint8)
    from matplotlib import colormaps

    if name not in (*OWN, *colormaps):
        meant = closest(name, ["auto", *OWN, *colormaps])
        choose = f"choose auto, {', '.join(OWN)} or a matplotlib colormap"
        raise ValueError(f"no colours named {name!r}; {meant or choose}")
    # Lightness falls evenly to both sides, and colour-blind readers can distinguish the sides.
    colours = colormaps["RdYlBu_r" if name == "temperature" else name]
    return (colours(np.linspace(0, 1, SHADES))[:, :3] * 255).round().astype(np.uint8)


def _is(units: str, *wanted: str) -> bool:
    return bool(units) and any(same_unit(units, unit) for unit in wanted)


def _rain_factor(units: str) -> float | None:
    """Return the factor from a rain rate in these units to mm/h; None for other units."""
    return next((factor for rate, factor in RAIN_RATES.items() if _is(units, rate)), None)
