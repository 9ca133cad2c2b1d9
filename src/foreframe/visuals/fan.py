"""A forecast at one place, against time: what was measured, and how the members spread."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from foreframe.base.files import atomic_write
from foreframe.visuals.colours import ORANGE

BANDS = (90, 50)  # percent of the members, the widest first
FEW = 8  # members; quantiles of fewer say little, and each is a line
MEASURED = "#222222"


class Fan(NamedTuple):
    """Values of one quantity at one place.

    Attributes:
        label: what they are, with units.
        past: measured, up to the last frame seen.
        members: forecasts, one or several; NaN where they have no value.
        truth: what came; NaN where that is not known.
        words: what the legend calls what was measured, one forecast and what came.
    """

    label: str
    past: Float[np.ndarray, " p"]
    members: Float[np.ndarray, "m s"]
    truth: Float[np.ndarray, " s"]
    words: tuple[str, str, str] = ("measured", "forecast", "what came")


def write_fan(path: str | Path, title: str, fans: Sequence[Fan], times: np.ndarray | None) -> None:
    """The PNG of `fan_png` in a file.

    Raises:
        ValueError: when it cannot be written; no half file stays.
    """
    with atomic_write(path) as rough:
        rough.write_bytes(fan_png(title, fans, times))


def fan_png(title: str, fans: Sequence[Fan], times: np.ndarray | None) -> bytes:
    """A PNG with a chart for each quantity, above each other: measured values, and from the last of
    them on the median of the members in bands that hold 50 % and 90 % of them, each of fewer than
    `FEW` members, or the one forecast.

    Args:
        title: of the place.
        times: (P+S,) as of `Clip`, past then forecast; None counts frames.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 1.2 + 3.4 * len(fans)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(fans), 1, squeeze=False, sharex=True)[:, 0]
    for axis, fan in zip(axes, fans, strict=True):
        _draw(axis, fan, _places(times, len(fan.past), fan.members.shape[1]))
    _name_times(axes[-1], times, len(fans[0].past))
    figure.suptitle(textwrap.fill(title, 100), fontsize=11)
    axes[0].legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="best", framealpha=0.85)
    file = io.BytesIO()
    figure.savefig(file, dpi=120, format="png")
    return file.getvalue()


def _draw(axis: Any, fan: Fan, x: np.ndarray) -> None:
    p, (m, _) = len(fan.past), fan.members.shape
    orange = tuple(part / 255 for part in ORANGE)
    dark = tuple(0.7 * part for part in orange)
    now, ahead = x[p - 1], x[p - 1 :]
    # What is forecast goes on from the last measured value.
    begun = np.concatenate([np.full((m, 1), fan.past[-1]), fan.members], axis=1)
    measured, forecast, came_as = fan.words
    if m >= FEW:
        for shade, band in zip((0.25, 0.5), BANDS, strict=True):
            low, high = (_quantile(begun, (50 + side * band / 2) / 100) for side in (-1, 1))
            what = f"{band} % of {m} members"
            axis.fill_between(ahead, low, high, color=orange, alpha=shade, lw=0, label=what)
    if 1 < m < FEW:
        for k, member in enumerate(begun):
            what = "" if k else f"each of {m} members"
            axis.plot(ahead, member, color=dark, linewidth=1, label=what)
    else:
        middle = _quantile(begun, 0.5)
        what = "their median" if m > 1 else forecast
        axis.plot(ahead, middle, color=dark, linewidth=2, label=what)
        axis.plot(ahead[1:], middle[1:], ".", color=dark)
    axis.plot(x[:p], fan.past, ".-", color=MEASURED, linewidth=1.6, label=measured)
    if np.isfinite(fan.truth).any():
        came = np.concatenate([fan.past[-1:], fan.truth])
        axis.plot(ahead, came, ".:", color=MEASURED, linewidth=1.3, label=came_as)
    axis.axvline(now, color="grey", linewidth=0.8)
    axis.set_ylabel(textwrap.fill(fan.label, 36))
    axis.grid(alpha=0.3)
    axis.margins(x=0.01)
    drawn = np.concatenate([fan.past, fan.members.ravel(), fan.truth])
    if np.isfinite(drawn).any() and np.nanmin(drawn) == 0:  # rain, which is never less
        axis.set_ylim(bottom=0)


def _quantile(members: Float[np.ndarray, "m s"], q: float) -> Float[np.ndarray, " s"]:
    """NaN where any member has no value: a forecast has one everywhere or nowhere."""
    return np.quantile(members, q, axis=0)


def _places(times: np.ndarray | None, p: int, steps: int) -> np.ndarray:
    """Where values are drawn: at their dates, or by how far they are from the last frame seen."""
    if times is None:
        return np.arange(1 - p, steps + 1)
    if times.dtype.kind == "M":
        return times
    ahead = times - times[p - 1]
    if times.dtype.kind == "f":
        return ahead
    return np.array([of.total_seconds() / 3600 for of in ahead])  # dates of another calendar


def _name_times(axis: Any, times: np.ndarray | None, p: int) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    if times is None:
        axis.set_xlabel("frames ahead of the last one seen")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    elif times.dtype.kind == "M":
        locator = AutoDateLocator()
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axis.set_xlabel("time; the upright line is at the last frame seen")
    else:
        unit = "seconds" if times.dtype.kind == "f" else "hours"
        axis.set_xlabel(f"{unit} ahead of the last frame seen, {_stamp(times[p - 1])}")


def _stamp(time: Any) -> str:
    return f"{time:.4g} s" if isinstance(time, float) else time.strftime("%Y-%m-%d %H:%M")
