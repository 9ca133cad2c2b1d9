"""Scores against lead time."""

import io
from collections.abc import Mapping, Sequence

Series = Mapping[str, Sequence[float] | Mapping[float, float]]
"""Curves by name: values at 1, 2, ..., or {x: value}."""

HUES, STYLES = 10, ("-", "--", ":", "-.")  # colours of matplotlib, and line styles for more curves


def curves_png(
    panels: Mapping[str, Series],
    xlabel: str = "frames ahead",
    names: Sequence[str] = (),
    xlabels: Mapping[str, str] | None = None,
) -> bytes:
    """Draw a panel for each score as a PNG: {"MSE": {"quick": [...], "black": [...]}, ...}.

    The first series is bold.

    Args:
        panels: up to three fit in a row.
        names: series with the same colours in every report; others have the remaining colours.
        xlabels: labels of panels with another axis.
    """
    # Not pyplot, which keeps every figure and may choose a backend that requires a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    n = len(panels)
    columns = n if n <= 3 else 2 if n == 4 else 3
    figure = Figure(figsize=(5 * columns, 3.8 * -(-n // columns)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(-(-n // columns), columns, squeeze=False).flat)
    for axis in axes[n:]:
        axis.set_axis_off()
    order = list(dict.fromkeys(name for series in panels.values() for name in series))
    places = [*names, *(name for name in order if name not in names)]
    drawn = {}
    for axis, (title, series) in zip(axes, panels.items(), strict=False):
        for name, values in series.items():
            if not isinstance(values, Mapping):
                values = dict(enumerate(values, 1))
            bold = {"linewidth": 2.8, "zorder": 3} if name == order[0] else {"linewidth": 1.2}
            turn, hue = divmod(places.index(name), HUES)
            how = {"marker": ".", "color": f"C{hue}", "linestyle": STYLES[turn % len(STYLES)]}
            drawn[name] = axis.plot(*zip(*values.items(), strict=True), **how, **bold)
        axis.set(title=title, xlabel=(xlabels or {}).get(title, xlabel))
        if title not in (xlabels or {}):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    below = {"loc": "outside lower center", "ncols": 3 * columns, "fontsize": 9}
    figure.legend([drawn[name][0] for name in order], order, **below)
    file = io.BytesIO()
    figure.savefig(file, dpi=100, format="png")
    return file.getvalue()
