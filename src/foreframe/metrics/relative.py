"""Errors in units of the last frame's error, the best baseline, and in words who is ahead."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from foreframe.wording import plural

ERRORS: dict[str, tuple[str, str]] = {
    "mse": ("standard", "mse"),
    "ssim": ("standard", "ssim"),
    "rmse": ("physical", "rmse"),
}
"""The scores by which forecasters are ranked, and where a scorecard has them."""

SPOKEN = {"mse": "squared error (MSE)", "ssim": "structure (SSIM)", "rmse": "error (RMSE)"}


def ranked_by(units: str) -> tuple[str, ...]:
    """Which of `ERRORS`: of films MSE and SSIM, of fields the RMSE in their units."""
    return ("rmse",) if units else ("mse", "ssim")


def as_error(score: str, value: Any) -> Any:
    """A score, number or tensor, as an error that is 0 for a perfect forecast: 1 - SSIM."""
    return 1 - value if score == "ssim" else value


def errors(table: Mapping[str, Any], score: str) -> dict[str, Any]:
    """One of `ERRORS` from a forecaster's table: {"overall": number, "per_lead": [...]}, NaN where
    there is none.
    """
    convention, name = ERRORS[score]
    of = table[convention][name]

    def error(value: float | None) -> float:
        return math.nan if value is None else float(as_error(score, value))

    return {"overall": error(of["overall"]), "per_lead": list(map(error, of["per_lead"]))}


def relative(tables: Mapping[str, Any], units: str = "") -> dict[str, dict[str, Any]]:
    """Errors in units of the error of persistence: 1 is the last frame repeated, below is better.

    Args:
        tables: {forecaster: the table of its scorecard}.
        units: of the data, which say what is ranked.

    Returns:
        {forecaster: {"mse" and "ssim" (of 1 - SSIM), or "rmse": {"overall", "per_lead"}}}; NaN
        where persistence has no error. Empty where persistence was not scored.
    """
    if "persistence" not in tables:
        return {}

    def over(score: str, table: Mapping[str, Any]) -> dict[str, Any]:
        own, last = errors(table, score), errors(tables["persistence"], score)
        per_lead = map(_ratio, own["per_lead"], last["per_lead"])
        return {"overall": _ratio(own["overall"], last["overall"]), "per_lead": list(per_lead)}

    return {
        name: {score: over(score, table) for score in ranked_by(units)}
        for name, table in tables.items()
    }


def _ratio(error: float, unit: float) -> float:
    return error / unit if unit else math.nan


def best_of(tables: Mapping[str, Any], names: Iterable[str], score: str) -> str | None:
    """Who of `names` has the lowest overall error; None where nobody has one that is a number."""
    overall = {name: errors(tables[name], score)["overall"] for name in names if name in tables}
    numbers = {name: error for name, error in overall.items() if not math.isnan(error)}
    return min(numbers, key=numbers.__getitem__, default=None)


def in_words(card: Mapping[str, Any]) -> str:
    """Who is ahead: "The model is ahead of the best baseline (linear_motion) by 12 % (8 to 15 %) in
    squared error (MSE); its error is the lower one from +3 on."

    Args:
        card: from `foreframe.evaluation.evaluate`.

    Returns:
        Lines: a sentence for each score that ranks, one for the other forecasters, and what the
        brackets are; "" where no baseline was scored.
    """
    bests = card["best_baseline"]
    if not bests:
        return ""
    sentences = [_sentence(card, score, best) for score, best in bests.items()]
    first = next(iter(bests))
    compared = comparison_by(card, first, bests[first])
    drawn = plural(compared["n"], compared["over"].removesuffix("s"))
    if compared["over"] == "blocks":
        drawn += " of neighbouring clips"
    if compared["low"] is None:
        few = "is" if compared["n"] == 1 else "are"
        sentences.append(f"All of that could be chance: {drawn} {few} too few to tell.")
    else:
        sentences.append(_of_others(card, first, bests[first]))
        sentences.append(f"In brackets: 95 % intervals, by a paired bootstrap of {drawn}.")
    return "\n".join(sentence for sentence in sentences if sentence)


def comparison_by(card: Mapping[str, Any], score: str, name: str) -> Mapping[str, Any]:
    """How a forecaster's error of that kind stands to the reference's: see `Comparison`."""
    compared: Mapping[str, Any] = card["comparison"][name]
    return compared if score == "mse" else compared[score]


def _sentence(card: Mapping[str, Any], score: str, best: str) -> str:
    """Of one score: ahead, behind or no different, by how much, and at which lead times."""
    own, other = (errors(card["scores"][who], score) for who in (card["reference"], best))
    subject = "The model" if card["reference"] == "model" else card["reference"]
    rival = f"the best baseline ({best})"
    if math.isnan(own["overall"]):
        return f"{subject} cannot be compared in {SPOKEN[score]}: it has none that is a number."
    share = own["overall"] / other["overall"] - 1 if other["overall"] else math.inf
    compared = comparison_by(card, score, best)
    if own["overall"] == other["overall"]:
        said = f"no different from {rival} in {SPOKEN[score]}"
    elif compared["low"] is not None and compared["tie"]:
        how = "lower" if share < 0 else "higher"
        said = (
            f"no different from {rival} in {SPOKEN[score]}: {_percent(share)} {how}, which could "
            "be chance"
        )
    elif share < 1:
        where = "ahead of" if share < 0 else "behind"
        said = f"{where} {rival} by {_percent(share)}{_between(compared)} in {SPOKEN[score]}"
    else:
        times = "" if math.isinf(share) else f": {1 + share:.3g} times its error"
        said = f"behind {rival} in {SPOKEN[score]}{times}"
    if score == "rmse":
        said += f", {own['overall']:.3g} against {other['overall']:.3g} {card['units']}"
    return f"{subject} is {said}{_where_lower(own['per_lead'], other['per_lead'])}."


def _between(compared: Mapping[str, Any]) -> str:
    """The interval of the share: " (8 to 15 %)"; "" where there is none."""
    low, high = compared["ratio_low"], compared["ratio_high"]
    if not low or not high:
        return ""
    ends = sorted(abs(1 / end - 1) for end in (low, high))
    first, last = _percent(ends[0]), _percent(ends[1])
    return f" ({first.removesuffix(' %')} to {last})"


def _percent(share: float) -> str:
    """A share without its sign; a decimal below 1 %."""
    percent = 100 * abs(share)
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1f} %"


def _where_lower(own: Sequence[float], other: Sequence[float]) -> str:
    """At which lead times the first error is the lower one: "; ... from +3 on"."""
    leads = [lead for lead, (a, b) in enumerate(zip(own, other, strict=True), 1) if a < b]
    if len(own) == 1 or own == other:
        return ""
    if len(leads) in (0, len(own)):  # the higher one: or equal
        return f"; its error is the {'lower' if leads else 'higher'} one at every lead time"
    elif leads == list(range(leads[0], len(own) + 1)):
        when = f"from +{leads[0]} on" if len(leads) > 1 else f"at +{leads[0]} alone"
    elif leads == list(range(1, leads[-1] + 1)):
        when = f"up to +{leads[-1]}" if len(leads) > 1 else "at +1 alone"
    else:
        when = f"at {len(leads)} of {len(own)} lead times"
    return f"; its error is the lower one {when}"


def _of_others(card: Mapping[str, Any], score: str, best: str) -> str:
    """How the reference stands to all others, by the paired bootstrap."""
    parts: dict[str, list[str]] = {"ahead of": [], "behind": [], "no different from": []}
    for name in card["comparison"]:
        of = comparison_by(card, score, name)
        how = "no different from" if of["tie"] else "ahead of" if of["difference"] > 0 else "behind"
        if name != best:
            parts[how].append(name)
    clauses = [f"{how} {', '.join(names)}" for how, names in parts.items() if names]
    return f"Beside the others it is {'; '.join(clauses)}." if clauses else ""
