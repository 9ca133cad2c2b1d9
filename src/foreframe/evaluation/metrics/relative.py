"""How forecasters rank: errors in units of the last frame's, the best baseline, who is ahead."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from foreframe.base.wording import plural
from foreframe.evaluation.metrics import SCORES

RANKING: dict[str, tuple[str, float]] = {
    name: (convention, score.perfect)
    for convention, of in SCORES.items()
    for name, score in of.items()
    if score.perfect is not None
}
"""The scores by which forecasters are ranked: their convention, and that of a perfect forecast."""


def ranked_by(units: str) -> tuple[str, ...]:
    """Which of `RANKING`: of films MSE and SSIM, of fields the RMSE in their units."""
    convention = "physical" if units else "standard"
    return tuple(name for name, (of, _) in RANKING.items() if of == convention)


def as_error(score: str, value: Any) -> Any:
    """A score, number or tensor, as an error that is 0 for a perfect forecast: 1 - SSIM."""
    perfect = RANKING[score][1]
    return perfect - value if perfect else value


def errors(table: Mapping[str, Any], score: str) -> dict[str, Any]:
    """One of `RANKING` from a forecaster's table: {"overall": number, "per_lead": [...]}; what JSON
    has as null is NaN.
    """

    def error(value: float | None) -> float:
        return math.nan if value is None else float(as_error(score, value))

    of = table[RANKING[score][0]][score]
    return {"overall": error(of["overall"]), "per_lead": list(map(error, of["per_lead"]))}


def over_persistence(tables: Mapping[str, Any], score: str) -> dict[str, dict[str, Any]]:
    """Each forecaster's error over that of persistence: {forecaster: {"overall", "per_lead"}}; NaN
    where persistence has none. Empty where persistence was not scored.
    """
    if "persistence" not in tables:
        return {}
    last = errors(tables["persistence"], score)
    each = {name: errors(table, score) for name, table in tables.items()}
    return {
        name: {
            "overall": _ratio(own["overall"], last["overall"]),
            "per_lead": list(map(_ratio, own["per_lead"], last["per_lead"])),
        }
        for name, own in each.items()
    }


def relative(tables: Mapping[str, Any], units: str = "") -> dict[str, dict[str, Any]]:
    """Errors in units of the error of persistence: 1 is the last frame repeated, below is better.

    Args:
        tables: {forecaster: the table of its scorecard}.
        units: of the data, which say what is ranked.

    Returns:
        {forecaster: {"mse" and "ssim" (of 1 - SSIM), or "rmse": {"overall", "per_lead"}}}, as
        `over_persistence` has them.
    """
    by = {score: over_persistence(tables, score) for score in ranked_by(units)}
    names = tables if "persistence" in tables else ()
    return {name: {score: of[name] for score, of in by.items()} for name in names}


def _ratio(error: float, unit: float) -> float:
    return error / unit if unit else math.nan


def best_of(tables: Mapping[str, Any], names: Iterable[str], score: str) -> str | None:
    """Who of `names` has the lowest overall error; None where nobody has one that is a number."""
    overall = {name: errors(tables[name], score)["overall"] for name in names if name in tables}
    numbers = {name: error for name, error in overall.items() if not math.isnan(error)}
    return min(numbers, key=numbers.__getitem__, default=None)


def in_words(card: Mapping[str, Any]) -> str:
    """Who is ahead: "The model is ahead of the best baseline (linear_motion) by 12 % (8 to 15 %) in
    MSE."

    Args:
        card: from `foreframe.evaluation.card.score_clips`.

    Returns:
        A line for each score that ranks; "" where no baseline was scored.
    """
    lines = [_sentence(card, score, best) for score, best in card["best_baseline"].items()]
    if not lines:
        return ""
    compared = comparison_by(card, *next(iter(card["best_baseline"].items())))
    if compared["low"] is None:
        few = plural(compared["n"], compared["over"].removesuffix("s"))
        said = lines[0].replace("The model", "the model", 1)
        lines[0] = f"This could be chance ({few}, too few to tell): {said}"
    return "\n".join(lines)


def comparison_by(card: Mapping[str, Any], score: str, name: str) -> Mapping[str, Any]:
    """How a forecaster's error of that kind stands to the reference's: see `Comparison`."""
    compared: Mapping[str, Any] = card["comparison"][name]
    return compared if score == "mse" else compared[score]


def _sentence(card: Mapping[str, Any], score: str, best: str) -> str:
    """Of one score: ahead, behind or no different, by how much, and within which interval."""
    reference, compared = card["reference"], comparison_by(card, score, best)
    own, other = (errors(card["scores"][of], score)["overall"] for of in (reference, best))
    by = f" by {_percent(own / other)}{_interval(compared)}" if other else ""
    if math.isnan(own):
        how, by = "not comparable with", ""
    elif own == other or (compared["tie"] and compared["low"] is not None):
        how, by = "no different from", ""
    else:
        how = "ahead of" if own < other else "behind"
    who = "The model" if reference == "model" else reference
    return f"{who} is {how} the best baseline ({best}){by} in {score.upper()}."


def _interval(compared: Mapping[str, Any]) -> str:
    """Of the share by which the reference is ahead: " (8 to 15 %)"; "" where there is none."""
    ends = compared["ratio_low"], compared["ratio_high"]
    if not all(ends):
        return ""
    low, high = sorted((1 / end for end in ends), key=lambda ratio: abs(ratio - 1))
    return f" ({_percent(low).removesuffix(' %')} to {_percent(high)})"


def _percent(ratio: float) -> str:
    """How far a ratio is from 1, without a sign; a decimal below 1 %."""
    percent = 100 * abs(ratio - 1)
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1f} %"
