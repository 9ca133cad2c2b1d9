"""Errors in units of the last frame's error, the best baseline, and in words who is ahead."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from foreframe.base.wording import plural

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
    of = numbers(table, *ERRORS[score])
    per_lead = [float(as_error(score, value)) for value in of["per_lead"]]
    return {"overall": float(as_error(score, of["overall"])), "per_lead": per_lead}


def numbers(table: Mapping[str, Any], convention: str, name: str) -> dict[str, Any]:
    """Any score of a table, as `errors` has them; what JSON has as null is NaN."""

    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    of = table[convention][name]
    return {"overall": number(of["overall"]), "per_lead": list(map(number, of["per_lead"]))}


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
        Lines: a sentence for each score that ranks, one for the other forecasters, those of
        members where these were scored, and what the brackets are; of members alone where no
        baseline was scored, and "" where neither was.
    """
    bests = card["best_baseline"]
    members = _of_members(card) if "ensemble" in card else ""
    if not bests:
        return members
    sentences = [_sentence(card, score, best) for score, best in bests.items()]
    first = next(iter(bests))
    compared = comparison_by(card, first, bests[first])
    drawn = plural(compared["n"], compared["over"].removesuffix("s"))
    if compared["over"] == "blocks":
        drawn += " of neighbouring clips"
    if compared["low"] is None:
        few = "is" if compared["n"] == 1 else "are"
        said = sentences[0].replace("The model", "the model", 1)
        sentences[0] = f"This could be chance ({drawn} {few} too few to tell): {said}"
        sentences.append(members)
    else:
        sentences.append(_of_others(card, first, bests[first]))
        sentences.append(members)
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
    where_lower = _where_lower(own["per_lead"], other["per_lead"])
    return f"{subject} is {said}{where_lower}{_who_is_better(card, score, best)}."


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


def _where_lower(own: Sequence[float], other: Sequence[float], whose: str = "its") -> str:
    """At which lead times the first error is the lower one: "; ... from +3 on"."""
    leads = _lower(own, other)
    if len(own) == 1 or own == other:
        return ""
    if len(leads) in (0, len(own)):  # the higher one: or equal
        return f"; {whose} error is the {'lower' if leads else 'higher'} one at every lead time"
    elif leads == list(range(leads[0], len(own) + 1)):
        when = f"from +{leads[0]} on" if len(leads) > 1 else f"at +{leads[0]} alone"
    elif leads == list(range(1, leads[-1] + 1)):
        when = f"up to +{leads[-1]}" if len(leads) > 1 else "at +1 alone"
    else:
        when = f"at {len(leads)} of {len(own)} lead times"
    return f"; {whose} error is the lower one {when}"


def _lower(own: Sequence[float], other: Sequence[float]) -> list[int]:
    """The lead times, counted from 1, at which the first error is the lower one."""
    return [lead for lead, (a, b) in enumerate(zip(own, other, strict=True), 1) if a < b]


def _who_is_better(card: Mapping[str, Any], score: str, best: str) -> str:
    """Which baselines are ahead where the best one, over all lead times, is behind: ", but
    dense_motion is better still at +1 to +3".
    """
    names = [name for name in card["baselines"] if name not in (card["reference"], best)]
    each = {name: errors(card["scores"][name], score)["per_lead"] for name in names}
    own, rival = (errors(card["scores"][n], score)["per_lead"] for n in (card["reference"], best))
    leads: dict[str, list[int]] = {}
    for lead in _lower(own, rival) if len(own) > 1 else []:
        ahead = {name: of[lead - 1] for name, of in each.items() if of[lead - 1] < own[lead - 1]}
        if ahead:
            leads.setdefault(min(ahead, key=ahead.__getitem__), []).append(lead)
    said = [f"{name} is better still at {_runs(which)}" for name, which in leads.items()]
    return f", but {' and '.join(said)}" if said else ""


def _runs(leads: Sequence[int]) -> str:
    """Lead times in few words: "+1, +3 to +5"."""
    runs: list[list[int]] = []
    for lead in leads:
        if runs and lead == runs[-1][-1] + 1:
            runs[-1].append(lead)
        else:
            runs.append([lead])
    return ", ".join(f"+{run[0]}" + (f" to +{run[-1]}" if run[1:] else "") for run in runs)


def _of_members(card: Mapping[str, Any]) -> str:
    """How the model with members stands, by their fair CRPS, to the lagged ensemble, and to single
    forecasts, whose CRPS is their MAE: two lines.
    """
    convention = "physical" if card["units"] else "standard"
    ensembles, scores = card["ensemble"], card["scores"]
    own = numbers(ensembles["model"]["scores"], convention, "fair_crps")
    with_members = f"With {plural(ensembles['model']['members'], 'member')} the model"
    if math.isnan(own["overall"]):
        return f"{with_members} cannot be compared in fair CRPS: it has none that is a number."
    lagged = numbers(ensembles["lagged"]["scores"], convention, "fair_crps")
    first = f"{with_members} is {_beside(own, lagged, 'the lagged ensemble', ' in fair CRPS')}."
    best = next(iter(card["best_baseline"].values()), None)
    rivals = {best: f"the best baseline ({best})"}
    rivals["model"] = "the model's own forecast without members"
    several = ensembles["model"]["members"] > 1
    single = [
        _beside(
            own, numbers(scores[name], convention, "mae"), who, whose="their" if several else "its"
        )
        for name, who in rivals.items()
        if name in scores
    ]
    if not single:
        return first
    they, again = ("the members are", "They are") if several else ("the member is", "It is")
    said = f". {again} ".join(single)
    return f"{first}\nOf one forecast the CRPS is its MAE. In that {they} {said}."


def _beside(
    own: Mapping[str, Any], other: Mapping[str, Any], rival: str, of: str = "", whose: str = "its"
) -> str:
    """Ahead, behind or no different, by how much, and at which lead times."""
    if own["overall"] == other["overall"]:
        return f"no different from {rival}{of}"
    where = "ahead of" if own["overall"] < other["overall"] else "behind"
    by = f" by {_percent(own['overall'] / other['overall'] - 1)}" if other["overall"] else ""
    when = _where_lower(own["per_lead"], other["per_lead"], whose)
    return f"{where} {rival}{by}{of}{when}"


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
