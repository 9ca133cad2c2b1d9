"""Scores against lead time."""

import io
from collections.abc import Mapping, Sequence
from typing import Any


def curves_png(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    xlabel: str = "frames ahead",
    names: Sequence[str] = (),
) -> bytes:
    """A PNG with a panel for each score: {"MSE": {"quick": [...], "black": [...]}, ...}.

    Up to three panels lie side by side, more in rows. The first series is drawn bold. Those of
    `names` have the same colours in every report, whatever else is drawn; others take the colours
    that are left.
    """
    from matplotlib.ticker import MaxNLocator

    n = len(panels)
    figure, axes = figure_of(n, n if n <= 3 else 2 if n == 4 else 3, 5, 3.8)
    order = list(dict.fromkeys(name for series in panels.values() for name in series))
    colours = colours_of(order, names)
    drawn = {}
    for axis, (title, series) in zip(axes, panels.items(), strict=True):
        for name, values in series.items():
            k, leads = order.index(name), range(1, len(values) + 1)
            first = {"linewidth": 2.8, "zorder": 3} if k == 0 else {"linewidth": 1.2, "zorder": 2}
            drawn[name] = axis.plot(leads, values, marker=".", color=colours[name], **first)[0]
        axis.set(title=title, xlabel=xlabel)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    lines = [drawn[name] for name in order]
    # Inside, it would cover curves.
    figure.legend(lines, order, loc="outside lower center", ncols=len(order), fontsize=9)
    return png_of(figure)


def figure_of(n: int, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """A figure and its n axes, in rows of so many, each of that size in inches."""
    # The object interface: pyplot keeps every figure, and may choose a backend that needs a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-n // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[n:]:
        axis.set_axis_off()
    return figure, axes[:n]


def png_of(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, dpi=100, format="png")
    return file.getvalue()


def colours_of(series: Sequence[str], names: Sequence[str] = ()) -> dict[str, str]:
    """matplotlib's colour for each series: by its place in `names`, or after all of those."""
    places = [*names, *(name for name in series if name not in names)]
    return {name: f"C{places.index(name)}" for name in series}
