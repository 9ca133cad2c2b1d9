"""The rows of a leaderboard: scores and costs of a forecaster."""

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

from foreframe.addons.bench.leaderboard import CONVENTIONS, convention_of
from foreframe.evaluation.card import Scorer, Scores
from foreframe.evaluation.metrics import SCORES, Scorecard
from foreframe.evaluation.metrics.bootstrap import interval, resampled
from foreframe.evaluation.networks import forecast_clips
from foreframe.models import Model, Parts, multiply_adds
from foreframe.models.footprint import FIXED, footprint

TIMES = 3  # measured forecasts, after one that fills caches and compiles


@torch.inference_mode()
def rows_of(scorer: Scorer, scores: Scores, groups: Sequence[int], clip: int) -> dict[str, Any]:
    """Return rows by name, as in `Leaderboard`, without rank and training. The mean of members has
    their CRPS, and the costs of one member.

    Args:
        scores: the result of `scorer`.
        groups: the group of each clip.
        clip: number of the clip whose forecast is timed.
    """
    scoring, ensembles = scores
    parts = scorer.parts(clip)
    convention = convention_of(scorer.forecaster.scaling.units)
    found = {}
    for row, card in scoring.cards.items():
        network = scorer.networks.get(row, scorer.forecaster.model)
        precision = "32-true" if row in scorer.networks else scorer.precision
        members = ensembles.cards["model"] if ensembles and row in scorer.mean else None
        costs = dict.fromkeys(("parameters", "multiply_adds", "forecast"))
        if row not in scorer.others:  # forecasts of another program
            costs = costs_of(network, parts, precision)
        found[row] = {
            "name": row,
            "scores": scores_of_row(card, groups, members),
            **costs,
            "trained": None,
            "by_clip": card.by_clip(convention, next(iter(CONVENTIONS[convention]))).tolist(),
        }
    return found


def scores_of_row(
    card: Scorecard, groups: Sequence[int], members: Scorecard | None = None
) -> dict[str, Any]:
    """Return {key: {"overall", "per_lead", "interval": at 95 %}}; keys of events: "csi 5 mm/h"."""
    convention = "physical" if "physical" in card.scores else "openstl"
    shown = {key: (card, convention, key) for key in CONVENTIONS[convention]}
    for event in (of for of in card.scores if of not in SCORES):
        names = [name for name in card.scores[event] if name.split()[0] in CONVENTIONS["others"]]
        shown |= {f"{name} {event}": (card, event, name) for name in names}
    if members is not None:
        of = convention if convention in members.scores else "standard"
        shown["crps"] = (members, of, "fair_crps")
    found = {}
    for key, (own, of, name) in shown.items():
        (score,), n = resampled([own.by_clip(of, name)], own.scores[of][name].value, groups)
        found[key] = {**own.table()[of][name], "interval": [*interval(score[1:], n)]}
    return found


def costs_of(network: Model, parts: Parts, precision: str) -> dict[str, Any]:
    """Return the numbers of parameters and multiply-adds, and the costs of a forecast of one clip:
    its seconds, the median of `TIMES`, and its MiB without weights and data (see `footprint`).
    """
    taken = []
    for _ in range(1 + TIMES):
        began = time.perf_counter()
        forecast_clips(network, parts, precision)[0].cpu()
        taken.append(time.perf_counter() - began)
    past = parts.past if network.inputs else parts.past_of_targets
    (t, c, h, w), steps = past.shape[1:], parts.truth.shape[1]
    weights = sum(p.numel() for p in network.parameters())
    memory = (footprint(network, t, (c, h, w), steps) - FIXED) / 2**20
    return {
        "parameters": weights,
        "multiply_adds": multiply_adds(network, t, steps, (h, w)) if weights else None,
        "forecast": {"seconds": median(taken[1:]), "memory": memory},
    }
