"""Ranking of forecasters: errors relative to persistence, the best baseline, the lead over it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from foreframe.base.wording import plural
from foreframe.evaluation.metrics import SCORES

RANKING: dict[str, tuple[str, float]] = {
    name: (convention, score.perfect)
    for convention, scores in SCORES.items()
    for name, score in scores.items()
    if score.perfect is not None
}
"""The scores by which forecasters are ranked: their convention, and the perfect value."""


def ranked_by(units: str) -> tuple[str, ...]:
    """The scores of `RANKING` for data in these units: MSE and SSIM of films, RMSE of fields."""
    convention = "physical" if units else "standard"
    return tuple(name for name in RANKING if RANKING[name][0] == convention)


def as_error(score: str, value: Any) -> Any:
    """Convert a score, number or tensor, to an error that is 0 for a perfect forecast: 1 - SSIM."""
    perfect = RANKING[score][1]
    return perfect - value if perfect else value


def errors(table: Mapping[str, Any], score: str) -> dict[str, Any]:
    """A score of `RANKING` from a forecaster's table, as an error: {"overall": number, "per_lead":
    [...]}; null in JSON becomes NaN.
    """

    def error(value: float | None) -> float:
        return math.nan if value is None else float(as_error(score, value))

    values = table[RANKING[score][0]][score]
    return {"overall": error(values["overall"]), "per_lead": list(map(error, values["per_lead"]))}


def over_persistence(tables: Mapping[str, Any], score: str) -> dict[str, dict[str, Any]]:
    """Each forecaster's error over that of persistence: {forecaster: {"overall", "per_lead"}}; NaN
    if that is 0. Empty without scores of persistence.
    """
    if "persistence" not in tables:
        return {}
    last = errors(tables["persistence"], score)
    each = {name: errors(table, score) for name, table in tables.items()}
    return {
        name: {
            "overall": _ratio(error["overall"], last["overall"]),
            "per_lead": list(map(_ratio, error["per_lead"], last["per_lead"])),
        }
        for name, error in each.items()
    }


def relative(tables: Mapping[str, Any], units: str = "") -> dict[str, dict[str, Any]]:
    """Errors relative to persistence: 1 is the last frame repeated, lower is better.

    Args:
        tables: {forecaster: the table of its scorecard}.
        units: units of the data, which choose the scores.

    Returns:
        {forecaster: {"mse" and "ssim" (of 1 - SSIM), or "rmse": {"overall", "per_lead"}}}, values
        of `over_persistence`.
    """
    by = {score: over_persistence(tables, score) for score in ranked_by(units)}
    names = tables if "persistence" in tables else ()
    return {name: {score: by[score][name] for score in by} for name in names}


def _ratio(error: float, unit: float) -> float:
    return error / unit if unit else math.nan


def best_of(tables: Mapping[str, Any], names: Iterable[str], score: str) -> str | None:
    """The name with the lowest overall error; None if all are NaN."""
    overall = {name: errors(tables[name], score)["overall"] for name in names if name in tables}
    numbers = {name: error for name, error in overall.items() if not math.isnan(error)}
    return min(numbers, key=numbers.__getitem__, default=None)


def in_words(card: Mapping[str, Any]) -> str:
    """The lead in words: "The model is ahead of the best baseline (linear_motion) by 12 % (8 to 15
    %) in MSE."

    Args:
        card: from `foreframe.evaluation.card.score_clips`.

    Returns:
        A line for each ranking score; "" without a scored baseline.
    """
    lines = [_sentence(card, score, best) for score, best in card["best_baseline"].items()]
    if not lines:
        return ""
    compared = comparison_by(card, *next(iter(card["best_baseline"].items())))
    if compared["low"] is None:
        few = plural(compared["n"], compared["over"].removesuffix("s"))
        sentence = lines[0].replace("The model", "the model", 1)
        lines[0] = f"This could be chance ({few}, too few to tell): {sentence}"
    return "\n".join(lines)


def comparison_by(card: Mapping[str, Any], score: str, name: str) -> Mapping[str, Any]:
    """The comparison of a forecaster's error with the reference's: see `Comparison`."""
    compared: Mapping[str, Any] = card["comparison"][name]
    return compared if score == "mse" else compared[score]


def _sentence(card: Mapping[str, Any], score: str, best: str) -> str:
    """For a score: ahead, behind or no different, with difference and interval."""
    reference, compared = card["reference"], comparison_by(card, score, best)
    error, other = (errors(card["scores"][name], score)["overall"] for name in (reference, best))
    by = f" by {_percent(error / other)}{_interval(compared)}" if other else ""
    if math.isnan(error):
        how, by = "not comparable with", ""
    elif error == other or (compared["tie"] and compared["low"] is not None):
        how, by = "no different from", ""
    else:
        how = "ahead of" if error < other else "behind"
    who = "The model" if reference == "model" else reference
    return f"{who} is {how} the best baseline ({best}){by} in {score.upper()}."


def _interval(compared: Mapping[str, Any]) -> str:
    """The interval of the reference's lead: " (8 to 15 %)"; "" without one."""
    ends = compared["ratio_low"], compared["ratio_high"]
    if not all(ends):
        return ""
    low, high = sorted((1 / end for end in ends), key=lambda ratio: abs(ratio - 1))
    return f" ({_percent(low).removesuffix(' %')} to {_percent(high)})"


def _percent(ratio: float) -> str:
    """The distance of a ratio from 1, unsigned; with a decimal below 1 %."""
    percent = 100 * abs(ratio - 1)
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1f} %"
