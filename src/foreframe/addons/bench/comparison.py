"""`foreframe.bench`: train with equal budgets, score, rank and write."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch

from foreframe.addons.bench.bench_options import BenchOptions
from foreframe.addons.bench.contest import by_name, open_bench
from foreframe.addons.bench.equal import history_of, train_each
from foreframe.addons.bench.leaderboard import (
    CONVENTIONS,
    Leaderboard,
    check_same,
    convention_of,
    identity,
    merged,
    read_leaderboard,
    write_leaderboard,
)
from foreframe.api import Run, takes
from foreframe.base.files import check_writable
from foreframe.base.notes import listening
from foreframe.base.progress import Progress, silent
from foreframe.data.datasets import clip_set
from foreframe.evaluation.card import Scorer, Scores, groups_of
from foreframe.evaluation.metrics import SCORES, Scorecard
from foreframe.evaluation.metrics.bootstrap import interval, resampled
from foreframe.evaluation.networks import fewer_within, forecast_clips
from foreframe.forecasting.forecast_options import changed
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import Model, Parts, multiply_adds
from foreframe.models.footprint import FIXED, footprint

TIMES = 3  # measured forecasts, after one that fills caches and compiles


@takes(BenchOptions)
def bench(
    what: "Mapping[str, Any] | Sequence[Any] | Forecaster | Run | str | os.PathLike[str]" = (),
    data: Any = None,
    options: BenchOptions | None = None,
    *,
    progress: Progress = silent,
    **changes: Any,
) -> Leaderboard:
    """Compare forecasters on the same clips, as `foreframe bench` does.

        foreframe.bench(["runs/demo", "scenes"], clips=200, output="leaderboard")

    Args:
        what: forecasters as in `evaluate`: one, several, or {name of its row: forecaster}.
        data: data to score on, as in `evaluate`; defaults to the data of the first forecaster.
        options, changes: the fields of `BenchOptions` by name, below, or an object that they
            change.
        progress: called after each batch with the number of scored clips and the number of all
            clips, over all forecasters.

    Returns:
        The leaderboard. It is also written to `output` as leaderboard.json, .md and .png. If
        `output` has a leaderboard of the same frames, its rows of other names stay.

    Raises:
        ValueError: as `fit` and `evaluate`; forecasters that do not fit each other; a leaderboard
            of other frames, or a training with another budget, in `output`.
        KeyboardInterrupt: Ctrl-C; the same call continues the trainings.
    """
    if data is not None:
        changes["data"] = data
    options = changed(options or BenchOptions(), changes)
    folder = Path(options.output)
    named = by_name(what, [folder / "runs" / Path(each).stem for each in options.to_train])
    check_writable(folder)
    before = read_leaderboard(folder)
    train_each(options)
    contest = open_bench(named, options)
    first, scorers = contest[0], [each.scorer for each in contest]
    dataset, window = clip_set(first.dataset), first.forecaster.window
    first.write_pasts()
    clips, least = scorers[0].clips, scorers[0].at_once
    if options.seconds is not None:
        clips = fewer_within(
            options.seconds, clips, least, lambda some: [each.score(some) for each in scorers]
        )
    found = identity(dataset, clips, window, first.where, first.forecaster.scaling.units)
    found["past"] = max(each.forecaster.window.past for each in contest)
    check_same(before, found, folder)
    groups, _ = groups_of(dataset, clips, window)
    rows: dict[str, dict[str, Any]] = {}
    for number, scorer in enumerate(scorers):

        def tell(done: int, total: int, before: int = number * len(clips)) -> None:
            progress(before + done, len(scorers) * total)

        made = rows_of(scorer, scorer.score(clips, tell), groups, clips[0])
        rows |= _with_history(made, scorer, named.get(scorer.name))
    device = str(first.forecaster.device)
    board = merged(before, found, list(rows.values()), groups, device)
    write_leaderboard(folder, board)
    return board


def _with_history(rows: dict[str, Any], scorer: Any, run: Any) -> dict[str, Any]:
    """Return the rows of a forecaster with the training of its run, if it is one."""
    if isinstance(run, str | os.PathLike):
        with suppress(ValueError), listening(verbose=False):  # a damaged run
            trained = history_of(Path(run))
            for name in (scorer.name, *scorer.mean, *scorer.matches):
                rows[name]["trained"] = trained
    return rows


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
            "scores": scores_of_row(card, convention, groups, members),
            **costs,
            "trained": None,
            "by_clip": card.by_clip(convention, next(iter(CONVENTIONS[convention]))).tolist(),
        }
    return found


def scores_of_row(
    card: Scorecard, convention: str, groups: Sequence[int], members: Scorecard | None = None
) -> dict[str, Any]:
    """Return {key: {"overall", "per_lead", "interval": at 95 %}}; keys of events: "csi 5 mm/h"."""
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
