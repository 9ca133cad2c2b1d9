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


def _leads(summary: Mapping[str, Any], score: str) -> list[float]:
    scores = summary["scores"].get("physical", summary["scores"]["standard"])
    return _numbers(scores[score]["per_lead"])


def _numbers(values: Sequence[float | None]) -> list[float]:
    """JSON's null is no number."""
    return [math.nan if value is None else value for value in values]


def _crps(axis: Any, ensembles: Mapping[str, Any]) -> None:
    for k, (name, of) in enumerate(ensembles.items()):
        values = _leads(of, "fair_crps")
        axis.plot(range(1, len(values) + 1), values, marker=".", color=f"C{k}", label=name)
    _by_lead(axis, "fair CRPS (lower is better)", ensembles)


def _spread(axis: Any, ensembles: Mapping[str, Any]) -> None:
    for k, (name, of) in enumerate(ensembles.items()):
        for score, style in (("rmse_of_mean", "-"), ("spread", "--")):
            values = _leads(of, score)
            what = f"{name}: {'error of the mean' if style == '-' else 'spread'}"
            axis.plot(range(1, len(values) + 1), values, style, color=f"C{k}", label=what)
    _by_lead(axis, "spread beside error (alike: rightly unsure)", ensembles)


def _by_lead(axis: Any, title: str, ensembles: Mapping[str, Any]) -> None:
    from matplotlib.ticker import MaxNLocator

    some = next(iter(ensembles.values()))
    in_units = some["units"] or "the data's units"
    scale = in_units if "physical" in some["scores"] else "values from 0 to 1"
    axis.set(title=title, xlabel="frames ahead", ylabel=scale)
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
    if not any(of > 0 for of in _spectrum(next(iter(ensembles.values())), "spectrum_of_truth")):
        # A logarithmic axis cannot be drawn without a value.
        said = "none: each frame has missing values, or is blank"
        axis.text(0.5, 0.5, said, transform=axis.transAxes, ha="center", color="grey")
        return
    for k, (name, of) in enumerate(ensembles.items()):
        truth = _spectrum(of, "spectrum_of_truth")
        for score, style in (("spectrum", "-"), ("spectrum_of_mean", ":")):
            own = _spectrum(of, score)
            ratios = [
                max(LEAST_POWER, a / b) if b > 0 else math.nan
                for a, b in zip(own, truth, strict=True)
            ]
            what = f"{name}: {'members' if style == '-' else 'their mean'}"
            axis.plot(of["wavelengths"], ratios, style, color=f"C{k}", label=what)
    axis.axhline(1, color="grey", linewidth=0.8)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_ylim(bottom=min(0.1, axis.get_ylim()[0]))  # within a decade ticks have no numbers
    for way in (axis.xaxis, axis.yaxis):
        way.set_major_formatter("{x:g}")


def _spectrum(summary: Mapping[str, Any], which: str) -> list[float]:
    return _numbers(summary["scores"]["standard"][which]["per_lead"][-1])


def _reliability(axis: Any, ensembles: Mapping[str, Any], threshold: str) -> None:
    for k, (name, of) in enumerate(ensembles.items()):
        scores = of["scores"][threshold]
        said, came = (_numbers(scores[s]["overall"]) for s in ("probabilities", "frequencies"))
        axis.plot(said, came, marker="o", color=f"C{k}", label=name)
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axis.set(title=f"{threshold}: how often it came", xlabel="probability that members gave")
