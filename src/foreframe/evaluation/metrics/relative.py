"""Ranking of forecasters: errors relative to persistence, the best baseline, the lead over it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from foreframe.base.wording import plural
from foreframe.evaluation.metrics import SCORES
from foreframe.visuals.tables import heading

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
    [...]}.
    """
    values = table[RANKING[score][0]][score]
    per_lead = [as_error(score, value) for value in values["per_lead"]]
    return {"overall": as_error(score, values["overall"]), "per_lead": per_lead}


def relative(tables: Mapping[str, Any], scores: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Errors relative to persistence: 1 is the last frame repeated, lower is better.

    Args:
        tables: {forecaster: the table of its scorecard}.
        scores: of `RANKING`.

    Returns:
        {forecaster: {score (of SSIM 1 - SSIM): {"overall", "per_lead"}}}, NaN if the error of
        persistence is 0; empty without scores of persistence.
    """
    if "persistence" not in tables:
        return {}

    def ratios(table: Mapping[str, Any], score: str) -> dict[str, Any]:
        own, last = errors(table, score), errors(tables["persistence"], score)
        per_lead = list(map(_ratio, own["per_lead"], last["per_lead"]))
        return {"overall": _ratio(own["overall"], last["overall"]), "per_lead": per_lead}

    return {
        name: {score: ratios(table, score) for score in scores} for name, table in tables.items()
    }


def _ratio(error: float, unit: float) -> float:
    return error / unit if unit else math.nan


def best_of(tables: Mapping[str, Any], names: Iterable[str], score: str) -> str | None:
    """The name with the lowest overall error; None if all are NaN."""
    overall = {name: errors(tables[name], score)["overall"] for name in names if name in tables}
    numbers = {name: error for name, error in overall.items() if not math.isnan(error)}
    return min(numbers, key=numbers.__getitem__, default=None)


def in_words(card: Mapping[str, Any]) -> str:
    """Who is ahead, a line for each row of `card["lead"]` and each ranking score: "The model is
    ahead of the best baseline (linear_motion) by 12 % (8 to 15 %) in MSE."
    """
    return "\n".join(
        f"{f'The {row}' if row.startswith('model') else row} is {_lead(compared, best, score)}."
        for row, by_score in card["lead"].items()
        for score, compared in by_score.items()
        if (best := card["best_baseline"][score])
    )


def _lead(compared: Mapping[str, Any], best: str, score: str) -> str:
    """Ahead, behind or no different, with the difference of the errors and its interval.

    Args:
        compared: a forecaster's error with the best baseline's: see `Comparison`.
    """
    difference, chance = compared["difference"], compared["tie"] and compared["low"] is not None
    what = f"the best baseline ({best})"
    name = heading(score)
    if math.isnan(difference):
        return f"not comparable with {what} in {name}"
    if difference == 0 or chance:
        return f"no different from {what} in {name}"
    by = f"by {_percent(compared['ratio'])} "
    ends = [compared["ratio_low"], compared["ratio_high"]]
    if None not in ends:
        near, far = sorted(ends, key=lambda ratio: abs(ratio - 1))
        by += f"({_percent(near).removesuffix(' %')} to {_percent(far)}) "
    few = plural(compared["n"], compared["over"].removesuffix("s"))
    doubt = f", which could be chance ({few}: too few to tell)" if compared["low"] is None else ""
    by = by if math.isfinite(compared["ratio"]) else ""
    return f"{'ahead of' if difference < 0 else 'behind'} {what} {by}in {name}{doubt}"


def _percent(ratio: float) -> str:
    """The distance of a ratio from 1, unsigned; with a decimal below 1 %."""
    percent = 100 * abs(ratio - 1)
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1f} %"
