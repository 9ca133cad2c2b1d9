"""A scorecard as a table that people read: errors by lead time, beside what costs nothing."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

LEADS = {"mse": 4, "ssim": 4, "rmse": 8}  # shown of each score: a table fits 80 columns
HEADS = {"mse": "MSE", "ssim": "1-SSIM"}


class Table(NamedTuple):
    """A table of text.

    Attributes:
        title: what was scored.
        columns: their heads, the score on the first of its columns and what it is of.
        rows: a forecaster's cells; the best baseline of a score has a star.
        notes: what the numbers mean, a line each.
    """

    title: str
    columns: list[tuple[str, str]]
    rows: dict[str, list[str]]
    notes: list[str]


def score_table(card: Mapping[str, Any]) -> Table:
    """The errors of all forecasters, over all lead times and at some of them.

    Of films in units of the last frame's error, where persistence was scored; of data with units
    the RMSE in these.

    Args:
        card: as `foreframe.evaluation.evaluate` gives it, or its JSON.
    """
    units, scores = card.get("units", ""), card.get("relative", {})
    if units:
        scores = {name: {"rmse": of["physical"]["rmse"]} for name, of in card["scores"].items()}
    columns: list[tuple[str, str]] = []
    rows: dict[str, list[str]] = {name: [] for name in scores}
    for score in next(iter(scores.values()), {}):
        leads = some_leads(card["future"], LEADS[score])
        head = HEADS.get(score, f"RMSE, {units}")
        columns += [(head, "all"), *(("", f"+{lead}") for lead in leads)]
        best = card.get("best_baseline", {}).get(score)
        for name, of in scores.items():
            star = "*" if name == best else ""
            at = [of[score]["per_lead"][lead - 1] for lead in leads]
            rows[name] += [star + figure(of[score]["overall"]), *map(figure, at)]
    return Table(title_of(card), columns, rows, _notes(card) if scores else [])


# Of ensembles: how a score is headed, and its convention and name.
OF_MEMBERS = {
    ("spread", "/skill"): "spread_skill",
    ("sharp-", "ness"): "sharpness",
    ("power", "at 8"): "power_at_8",
    ("", "ink"): "ink",
}


def ensemble_table(card: Mapping[str, Any]) -> Table:
    """How good members are, beside others' and beside single forecasts, whose CRPS is their mean
    absolute error.

    Args:
        card: with an "ensemble", as `foreframe.evaluation.evaluate` gives it, or its JSON.
    """
    ensembles = {name: of for name, of in card["ensemble"].items() if isinstance(of, Mapping)}
    convention, score = ("physical", "mae") if card.get("units") else ("standard", "mae")
    leads = some_leads(card["future"], 3)
    head = f"CRPS, {card['units']}" if card.get("units") else "CRPS"
    columns = [(head, "all"), *(("", f"+{lead}") for lead in leads)]
    columns += list(OF_MEMBERS)
    scale = 1.0 if card.get("units") else 1000.0

    def of_errors(errors: Mapping[str, Any]) -> list[str]:
        every = [errors["overall"], *(errors["per_lead"][lead - 1] for lead in leads)]
        return [figure(None if value is None else scale * value) for value in every]

    rows = {}
    for name, of in ensembles.items():
        others = [of["scores"]["standard"][key]["overall"] for key in OF_MEMBERS.values()]
        cells = of_errors(of["scores"][convention]["fair_crps"])
        rows[f"{name} ({of['members']})"] = [*cells, *map(figure, others)]
    best = next(iter(card.get("best_baseline", {}).values()), None)
    for name in dict.fromkeys([card["reference"], best]):
        if name is not None:
            errors = of_errors(card["scores"][name][convention][score])
            rows[name] = errors + [""] * len(OF_MEMBERS)
    thousand = "" if card.get("units") else " (times 1000)"
    notes = [
        f"In brackets: members; without, one forecast, as above. CRPS{thousand}: the fair one; of "
        "one forecast its mean absolute error (MAE). spread/skill: 1 where members differ as they "
        "err.",
        "sharpness, power at 8 pixels: of members over the truth's; ink: how members differ in "
        "brightness, 0 where things only move.",
    ]
    return Table("Members", columns, rows, notes)


def title_of(card: Mapping[str, Any]) -> str:
    """What was scored, how much of it, and how far ahead."""
    data = f" of {card['data']} ({card['split']})" if "data" in card else ""
    return f"{card['clips']} clips{data}, {card['past']} frames in, {card['future']} out"


def _notes(card: Mapping[str, Any]) -> list[str]:
    star = "*: the best baseline." if card.get("best_baseline") else ""
    if card.get("units"):
        return [star] if star else []
    return [
        f"1.00: the error of the last frame repeated (persistence). {star}".rstrip(),
        "MSE: mean squared error. 1-SSIM: unlikeness of structure, which blur raises.",
    ]


def some_leads(future: int, most: int) -> list[int]:
    """Lead times to show: all, or so many evenly spread ones, the first and the last among them."""
    return np.linspace(1, future, min(future, most)).round().astype(int).tolist()


def figure(value: float | None) -> str:
    """A number in few characters; a dash for what is none."""
    if value is None or not 0.1 <= abs(value) < 1e5:
        return number(value, ".2g")
    return number(value, ".2f" if abs(value) < 10 else ".1f" if abs(value) < 100 else ".0f")


def number(value: float | None, form: str) -> str:
    """A number of a scorecard; a dash for what is none, which its JSON has as null."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)
