"""Ranking of forecasters: errors relative to persistence, and comparison with the best baseline."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from foreframe.base.wording import plural
from foreframe.evaluation.metrics import SCORES
from foreframe.visuals.tables import figure, heading

RANKING: dict[str, tuple[str, float]] = {
    name: (convention, score.perfect)
    for convention, scores in SCORES.items()
    for name, score in scores.items()
    if score.perfect is not None
}
"""The scores that rank forecasters: their convention, and the perfect value."""

STILL = (0.5 / 255) ** 2  # an MSE on [0,1] of half a grey level: frames hardly change
MOST = 10  # times another error; beyond, messages have errors instead of percentages


def ranked_by(units: str) -> tuple[str, ...]:
    """Return the scores of `RANKING` for data in these units: MSE and SSIM, or RMSE in units."""
    convention = "physical" if units else "standard"
    return tuple(name for name in RANKING if RANKING[name][0] == convention)


def as_error(score: str, value: Any) -> Any:
    """Convert a score, number or tensor, to an error that is 0 for a perfect forecast: 1 - SSIM."""
    perfect = RANKING[score][1]
    return perfect - value if perfect else value


def errors(table: Mapping[str, Any], score: str) -> dict[str, Any]:
    """Return a score of `RANKING` from a forecaster's table as an error: {"overall": number,
    "per_lead": [...]}.
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
        {forecaster: {score (1 - SSIM for SSIM): {"overall", "per_lead"}}}. NaN if the error of
        persistence is 0 or, for data without units, its MSE is below `STILL`. Empty without scores
        of persistence.
    """
    if "persistence" not in tables:
        return {}
    with_units = "physical" in tables["persistence"]
    still = not with_units and errors(tables["persistence"], "mse")["overall"] < STILL

    def ratio(error: float, unit: float) -> float:
        return error / unit if unit and not still else math.nan

    def ratios(table: Mapping[str, Any], score: str) -> dict[str, Any]:
        own, last = errors(table, score), errors(tables["persistence"], score)
        per_lead = list(map(ratio, own["per_lead"], last["per_lead"]))
        return {"overall": ratio(own["overall"], last["overall"]), "per_lead": per_lead}

    return {
        name: {score: ratios(table, score) for score in scores} for name, table in tables.items()
    }


def best_of(tables: Mapping[str, Any], names: Iterable[str], score: str) -> str | None:
    """Return the name with the lowest overall error; None if all are NaN."""
    overall = {name: errors(tables[name], score)["overall"] for name in names if name in tables}
    numbers = {name: error for name, error in overall.items() if not math.isnan(error)}
    return min(numbers, key=numbers.__getitem__, default=None)


def in_words(card: Mapping[str, Any]) -> str:
    """Compare rows with the best baseline, and a model with its starting weights, a line for each
    ranking score: "The model is better than the best baseline (linear_motion): 12 % lower MSE (8 to
    15 %)."
    """
    best, who = card["best_baseline"], card["reference"]
    lines = [
        _verdict(card, row, best[score], "the best baseline", score, compared)
        for row, by_score in card["lead"].items()
        for score, compared in by_score.items()
        if best[score]
    ]
    for score, compared in card["gain"].items():
        gained = compared["difference"] < 0 and (not compared["tie"] or compared["low"] is None)
        line = _verdict(card, who, card["weights"], "its starting weights", score, compared)
        lines.append(line if gained else f"{line} The training gained nothing.")
    return "\n".join(lines)


def _verdict(
    card: Mapping[str, Any], row: str, rival: str, what: str, score: str, compared: Mapping
) -> str:
    """Describe the comparison of two errors: better, worse or not significantly better, with the
    difference in percent, or both errors if one is more than `MOST` times the other.

    Args:
        row, rival: rows of the card.
        what: description of the rival.
        compared: from `paired_bootstrap`.
    """
    who, what = f"The {row}" if row.startswith("model") else row, f"{what} ({rival})"
    name, difference, ratio = heading(score), compared["difference"], compared["ratio"]
    if math.isnan(difference):
        return f"{who} cannot be compared with {what} in {name}."
    how, more = ("better", "lower") if difference < 0 else ("worse", "higher")
    few, ends = "", [compared["ratio_low"], compared["ratio_high"]]
    if compared["tie"]:
        how = "not significantly better" if difference < 0 else "not better"
        n, over = compared["n"], compared["over"]
        few = plural(n, over[:-1])
        if over == "blocks":
            few = f"from {plural(n, 'independent part')} of the test data"
    elif None not in ends:
        near, far = sorted(ends, key=lambda end: abs(end - 1))
        few = f"{_percent(near)[:-2]} to {_percent(far)}"
    by = f"{_percent(ratio)} {more} {name}" + (f" ({few})" if few else "")
    if not ratio <= MOST:
        error, other = (errors(card["scores"][each], score)["overall"] for each in (row, rival))
        by = f"{name} {figure(error)} against {figure(other)}"
    return f"{who} is {how} than {what}: {by}."


def _percent(ratio: float) -> str:
    """The distance of a ratio from 1, unsigned; with a decimal below 1 %."""
    percent = 100 * abs(ratio - 1)
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1f} %"
