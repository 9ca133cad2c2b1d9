"""What a report shows of ensembles: are they as unsure as they err, and as sharp as the truth?"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from foreframe.visuals.curves import figure_of, png_of

LEAST_POWER = 1e-4  # over the truth's, that is drawn: what is blank has next to none
OTHERS = ("standard", "physical")  # conventions; all else in a summary is a threshold


def ensembles_png(ensembles: Mapping[str, Mapping[str, Any]]) -> bytes:
    """A PNG of several ensembles: their CRPS, and their spread beside the error of their mean, by
    lead time; rank histograms; spectra over the truth's at the last lead time; and a reliability
    diagram for each threshold.

    Args:
        ensembles: by name `foreframe.evaluation.metrics.EnsembleScorecard.summary`, or its JSON.
    """
    thresholds = [name for name in next(iter(ensembles.values()))["scores"] if name not in OTHERS]
    panels: list[Callable[[Any, Mapping[str, Any]], None]] = [_crps, _spread, _ranks, _spectra]
    panels += [partial(_reliability, threshold=name) for name in thresholds]
    figure, axes = figure_of(len(panels), 2, 5.6, 4.2)
    for axis, draw in zip(axes, panels, strict=True):
        draw(axis, ensembles)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:  # below, since inside it would cover curves
            axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    return png_of(figure)


def _numbers(values: Sequence[float | None]) -> list[float]:
    """JSON's null is no number."""
    return [math.nan if value is None else value for value in values]


def _crps(axis: Any, ensembles: Mapping[str, Any]) -> None:
    _by_lead(axis, ensembles, {"fair_crps": ("-", "")})
    axis.set_title("fair CRPS (lower is better)")


def _spread(axis: Any, ensembles: Mapping[str, Any]) -> None:
    shown = {"rmse_of_mean": ("-", ": error of the mean"), "spread": ("--", ": spread")}
    _by_lead(axis, ensembles, shown)
    axis.set_title("spread beside error (alike: rightly unsure)")


def _by_lead(axis: Any, ensembles: Mapping[str, Any], shown: Mapping[str, tuple[str, str]]) -> None:
    """Scores by lead time, in units where there are any: how each is drawn, and what it is."""
    from matplotlib.ticker import MaxNLocator

    some = next(iter(ensembles.values()))
    in_units = "physical" in some["scores"]
    for k, (name, of) in enumerate(ensembles.items()):
        scores = of["scores"]["physical" if in_units else "standard"]
        for score, (style, what) in shown.items():
            values = _numbers(scores[score]["per_lead"])
            axis.plot(range(1, len(values) + 1), values, style, color=f"C{k}", label=name + what)
    scale = (some["units"] or "the data's units") if in_units else "values from 0 to 1"
    axis.set(xlabel="frames ahead", ylabel=scale)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _ranks(axis: Any, ensembles: Mapping[str, Any]) -> None:
    for k, (name, of) in enumerate(ensembles.items()):
        counts = _numbers(of["scores"]["standard"]["rank_histogram_varied"]["overall"])
        total = sum(counts) or 1
        shares = [len(counts) * count / total for count in counts]
        edges = [i / len(counts) for i in range(len(counts) + 1)]
        axis.stairs(shares, edges, color=f"C{k}", label=name, linewidth=1.8)
    axis.axhline(1, color="grey", linewidth=0.8)
    axis.set(
        title="rank of the truth among members",
        xlabel="share of members below the truth, from none (0) to all (1)",
        ylabel="how often, over chance",
    )
    axis.set_ylim(bottom=0)


def _spectra(axis: Any, ensembles: Mapping[str, Any]) -> None:
    title = "power over the truth's, last lead time (1: as much texture)"
    axis.set(title=title, xlabel="wavelength, pixels", ylabel="ratio of power")
    for k, (name, of) in enumerate(ensembles.items()):
        truth, members, mean = (
            _numbers(of["scores"]["standard"][which]["per_lead"][-1])
            for which in ("spectrum_of_truth", "spectrum", "spectrum_of_mean")
        )
        for own, style, what in ((members, "-", "members"), (mean, ":", "their mean")):
            # Where the truth has no power, or none is known, there is nothing to draw.
            ratios = [
                max(LEAST_POWER, a / b) if b > 0 else math.nan
                for a, b in zip(own, truth, strict=True)
            ]
            label = f"{name}: {what}"
            axis.plot(of["wavelengths"], ratios, style, color=f"C{k}", label=label)
    if all(math.isnan(ratio) for line in axis.lines for ratio in line.get_ydata()):
        return  # frames with missing values have no spectrum; a logarithmic axis needs a value
    axis.axhline(1, color="grey", linewidth=0.8)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_ylim(bottom=min(0.1, axis.get_ylim()[0]))  # within a decade ticks have no numbers
    for way in (axis.xaxis, axis.yaxis):
        way.set_major_formatter("{x:g}")


def _reliability(axis: Any, ensembles: Mapping[str, Any], threshold: str) -> None:
    for k, (name, of) in enumerate(ensembles.items()):
        scores = of["scores"][threshold]
        said, came = (_numbers(scores[s]["overall"]) for s in ("probabilities", "frequencies"))
        axis.plot(said, came, marker="o", color=f"C{k}", label=name)
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axis.set(title=f"{threshold}: how often it came", xlabel="probability that members gave")
