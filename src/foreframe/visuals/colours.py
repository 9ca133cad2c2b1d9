"""How values become pixels, and the scale that says so."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, isfinite, log10

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foreframe.base.wording import closest
from foreframe.clips.units import same_unit

ORANGE = (255, 140, 0)
GREY = (110, 110, 110)
PAPER = (24, 24, 28)
INK = (225, 225, 225)
MISSING = (76, 76, 86)  # a touch of blue: no grey picture and no palette holds it

# Rain steps as weather services draw them, dim to bright on dark paper. The dBZ steps are the same
# rates by Z = 200 R^1.6, roughly.
RAIN_STEPS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)  # mm/h
DBZ_STEPS = (10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0)
RAIN_COLOURS = (
    *((58, 80, 122), (52, 116, 186), (64, 164, 226), (44, 160, 104), (126, 204, 70)),
    *((250, 228, 70), (246, 170, 72), (226, 58, 44), (190, 44, 136), (244, 208, 248)),
)
# Of a continuous palette: with frames and letters a GIF has about its 256 colours.
SHADES = 200
OWN = ("grey", "radar", "temperature")


@dataclass(frozen=True)
class Paint:
    """How values become pixels: `Paint("radar", units="mm/h")(frame)`.

    Args:
        name: "grey" (three channels or more are red, green, blue; else the first one in grey),
            "radar" (rain steps), "temperature", or a matplotlib colormap; all but "grey" show the
            first channel.
        low, high: the values at the two ends of the scale, in units. "radar" of rain or dBZ has its
            own steps and needs neither.
        units: of the values; "" for plain pictures.
        heading: what the values are, in lines above the scale in place of their units.

    Raises:
        ValueError: unknown name; low and high that are no range.
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
                + ": low must lie below high"
            )
        _palette(self.name)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """(C,H,W) in the data's own units -> (H,W,3) uint8; NaN becomes MISSING."""
        if self.name == "grey":
            shown = frame[:3] if frame.shape[0] >= 3 else frame[:1].repeat(3, axis=0)
            parts = (shown - self.low) / (self.high - self.low)
            levels = (np.clip(np.nan_to_num(parts), 0, 1) * 255).round()
            pixels = levels.astype(np.uint8).transpose(1, 2, 0)
            missing = np.isnan(parts).any(axis=0)
        else:
            values = frame[0] * self.factor
            missing = np.isnan(values)
            palette = _palette(self.name)
            if self.steps:
                known = np.where(missing, -np.inf, values)
                pixels = palette[np.searchsorted(self.steps, known, side="right")]
            else:
                parts = np.where(missing, 0, (values - self.low) / (self.high - self.low))
                pixels = palette[np.clip(parts * len(palette), 0, len(palette) - 1).astype(int)]
        pixels[missing] = MISSING
        return pixels

    @property
    def factor(self) -> float:
        """From the data's units to the shown ones: a rain flux is shown in mm/h."""
        return _rain_factor(self.units) or 1.0 if self.name == "radar" else 1.0

    @property
    def shown_units(self) -> str:
        if self.factor != 1 or _rain_factor(self.units) == 1:
            return "mm/h"
        return "°C" if _is(self.units, "degC") else self.units

    @property
    def steps(self) -> tuple[float, ...]:
        """The lower ends of the palette's steps, in shown units; () where it is continuous."""
        if self.name != "radar":
            return ()
        if _is(self.units, "dBZ"):
            return DBZ_STEPS
        if _rain_factor(self.units) or _is(self.units, "mm"):
            return RAIN_STEPS
        return ()

    @property
    def has_legend(self) -> bool:
        return self.name != "grey" or self.units != ""


# In mm/h; a kg of water on a m2 is a mm.
RAIN_RATES = {"mm/h": 1.0, "kg m-2 h-1": 1.0, "mm/s": 3600.0, "kg m-2 s-1": 3600.0}


def paint_for(name: str, low: float, high: float, units: str) -> Paint:
    """The paint of that name, for a field from `low` to `high`; a constant one gets a range.

    "auto" chooses: grey without units, "radar" for rain, "temperature" for K and °C, else viridis.

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


@lru_cache(8)  # the frames of a film have the same
def legend(paint: Paint, height: int) -> np.ndarray:
    """The scale as a vertical bar with ticks, under its heading or the unit, and the grey of no
    data, (height, columns, 3) uint8.

    Plain pictures have none, and get no columns.

    Args:
        height: of the pictures beside it; about 80 is the least that can be read.
    """
    if not paint.has_legend:
        return np.zeros((height, 0, 3), np.uint8)
    size = min(16, max(10, height // 30))
    line = size + 4
    heading = paint.heading or (paint.shown_units,)
    top = len(heading) * line + size // 2 + 2
    below = height - line - 1  # from where on the grey of no data is explained
    span = max(1, below - size // 2 - 4 - top)
    palette = _palette(paint.name)
    if paint.name == "grey":
        palette = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    if paint.steps:
        ends = [(k + 1) / len(palette) for k in range(len(paint.steps))]
        ticks = list(zip(ends, [f"{step:.4g}" for step in paint.steps], strict=True))
    else:
        ticks = _ticks(paint.low, paint.high, max(3, min(8, span // (2 * line))))
    bar, left = size + 2, 8
    words = [*heading, *(text for _, text in ticks), "no data"]
    columns = left + bar + 8 + ceil(max(text_width(word, size) for word in words)) + 4
    picture = Image.new("RGB", (columns, height), PAPER)
    draw = ImageDraw.Draw(picture)
    heights = np.arange(span)[::-1] * len(palette) // span  # of the palette, from the top row down
    picture.paste(Image.fromarray(palette[heights][:, None].repeat(bar, axis=1)), (left, top))
    draw.rectangle((left - 1, top - 1, left + bar, top + span), outline=GREY)
    for k, text in enumerate(heading):
        write_text(picture, (left, 1 + k * line), text, INK, size)
    last = height + line
    for part, text in ticks:
        y = top + span - round(part * span)
        draw.line((left + bar, y, left + bar + 3, y), fill=INK)
        # A label that would touch the one below it stays away; its tick does not.
        if last - y >= line - 2:
            write_text(picture, (left + bar + 7, y - line // 2), text, INK, size)
            last = y
    draw.rectangle((left - 1, below, left + bar, below + size), fill=MISSING, outline=GREY)
    write_text(picture, (left + bar + 7, below - 2), "no data", INK, size)
    return np.asarray(picture)


def with_legend(picture: np.ndarray, paint: Paint) -> np.ndarray:
    """The picture with its legend on the right, and paper below it where it is too low for that."""
    if not paint.has_legend:
        return picture
    below = max(0, 120 - picture.shape[0])
    paper = np.full((below, picture.shape[1], 3), PAPER, np.uint8)
    picture = np.concatenate([picture, paper])
    return np.concatenate([picture, legend(paint, picture.shape[0])], axis=1)


def write_text(
    picture: Image.Image, at: tuple[int, int], text: str, colour: tuple[int, int, int], size: int
) -> None:
    """Write letters with their left upper corner `at` a place.

    Their soft edges have few shades, so that a GIF has room for the data's colours.
    """
    mask = Image.new("L", (ceil(text_width(text, size)) + 2, size + 6))
    ImageDraw.Draw(mask).text((0, 1), text, fill=255, font=_font(size))
    shades = [min(255, (v + 21) // 42 * 42 + v // 250 * 3) for v in range(256)]
    picture.paste(colour, at, mask.point(shades))


def text_width(text: str, size: int) -> float:
    return _font(size).getlength(text)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path  # late: `import foreframe` does not wait for it

    # Pillow's own font knows neither µ nor ² nor ø; matplotlib, which foreframe needs anyway, has
    # one that does. It is slow to import: not before it is needed.

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def round_up(value: float) -> float:
    """The least of ..., 1, 2, 5, 10, 20, ... that is not below a positive `value`."""
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def white_of(values: np.ndarray, percent: float, paint: Paint) -> float:
    """The white of errors or spreads, which are 0 and more, in shown units: a round number that so
    many percent of them are not above; of pictures, whose range is fixed, no more than they can
    differ by.
    """
    span = paint.high - paint.low
    most = float(np.nanpercentile(values, percent)) if np.isfinite(values).any() else 0.0
    white = round_up(most if most > 0 else span / 10)
    return min(white, span) if paint.name == "grey" else white


def _ticks(low: float, high: float, n: int) -> list[tuple[float, str]]:
    """About n round numbers between the ends, each with its part of the way up."""
    step = round_up((high - low) / n)
    values = [k * step for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]
    return [((v - low) / (high - low), f"{v + 0.0:.6g}") for v in values]


@lru_cache
def _palette(name: str) -> np.ndarray:
    """(colours, 3) uint8 from low to high; none for "grey". "radar" begins with paper."""
    if name == "grey":
        return np.zeros((0, 3), np.uint8)
    if name == "radar":
        return np.array([PAPER, *RAIN_COLOURS], np.uint8)
    from matplotlib import colormaps

    if name not in (*OWN, *colormaps):
        meant = closest(name, ["auto", *OWN, *colormaps])
        choose = f"choose auto, {', '.join(OWN)} or a matplotlib colormap"
        raise ValueError(f"no colours named {name!r}; {meant or choose}")
    # Lightness falls evenly to both sides, and colour-blind readers can tell the sides apart.
    colours = colormaps["RdYlBu_r" if name == "temperature" else name]
    return (colours(np.linspace(0, 1, SHADES))[:, :3] * 255).round().astype(np.uint8)


def _is(units: str, *wanted: str) -> bool:
    return bool(units) and any(same_unit(units, unit) for unit in wanted)


def _rain_factor(units: str) -> float | None:
    """From a rain rate in these units to mm/h; None for other units."""
    return next((factor for rate, factor in RAIN_RATES.items() if _is(units, rate)), None)
