"""The scorecard: scores of a forecaster and the baselines, as plain values."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.base.processes import all_gather, process_group, rank_and_size
from foreframe.base.progress import Progress, silent
from foreframe.clips.clip import Window
from foreframe.data import Recordings, batches, chosen
from foreframe.evaluation.member_scores import Ensembles
from foreframe.evaluation.metrics import SCORES, Scorecard, scores_of
from foreframe.evaluation.metrics.bootstrap import FEWEST
from foreframe.evaluation.metrics.moving import background_of
from foreframe.evaluation.metrics.relative import best_of, in_words, ranked_by, relative
from foreframe.evaluation.metrics.structural import lpips
from foreframe.evaluation.networks import clips_at_once, fewer_within, forecast_clips, inputs_of
from foreframe.evaluation.score_options import ScoreOptions
from foreframe.evaluation.scoring import Scoring
from foreframe.forecasting.compute import resolve_precision
from foreframe.forecasting.forecast_options import NONE, ForecastOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.matches import match_of, matched, model_of
from foreframe.forecasting.network import on_grid_of
from foreframe.models import FREE, Cycle, Model, Parts, baselines_here, build_model, parts_of
from foreframe.models.names import published
from foreframe.visuals import Card

ReadForecasts = Callable[[Sequence[int], Parts], Tensor]
"""Returns the forecasts (B,S,C,H,W) of some clips, by their numbers, on the network's scale."""

Others = Sequence[tuple[str, ReadForecasts]]
"""Forecasts of other programs, with the names of their rows."""


def score_clips(
    forecaster: Forecaster,
    dataset: Dataset,
    options: ScoreOptions | None = None,
    progress: Progress = silent,
) -> Card:
    """Score a forecaster and the baselines; arguments as for `Scorer` and `scorecard`."""
    options = options or ScoreOptions()
    return scorecard(Scorer(forecaster, dataset, options), progress, options.seconds)


@process_group()
def scorecard(scorer: "Scorer", progress: Progress = silent, seconds: float | None = None) -> Card:
    """Score all rows of a scorer, per lead time and overall, in every convention of `SCORES`, with
    skill and the significance of differences. Several processes score a share of the clips each,
    and all return the same card.

    Args:
        progress: called after each batch.
        seconds: time limit.

    Returns:
        {"clips", "past", "future", "units", "precision" ("auto" resolved), "period": of "cycle", or
        None, "reference": the row that others are compared with, "scores": {row: {convention:
        {score: {"overall", "per_lead"}}}}, "events": {row: {threshold: {score: the same}}},
        "skill": {row: 1 - MSE / MSE of persistence, overall and per lead time}, "relative": errors
        relative to persistence (`evaluation/metrics/relative.py`), "comparison": {row:
        `Scoring.comparison` with the reference; 1 - SSIM under "ssim", the RMSE of data with units
        under "rmse"}, "baselines": scored baselines without the reference, "best_baseline": {"mse"
        and "ssim", or "rmse": row}, "lead": {reference or its matched forecasts: {the same scores:
        comparison with the best baseline}}, "weights": published weights from which the training
        started, "gain": {score: comparison of the forecaster with these}, "in_words": lead and
        gain}; with members also "ensemble": {"seed", and by row:
        `foreframe.evaluation.metrics.EnsembleScorecard.summary`}. Rows are "model", the baselines
        and other forecasts. Plain values, ready for JSON. Data with units have a third convention,
        `physical`; films of a fixed camera have `moving`.

    Raises:
        ConnectionError: another process has ended or cannot be reached.
        ValueError: clips that are too short or damaged; errors of `others`.
    """
    rank, processes = rank_and_size()
    limit = math.inf if seconds is None else seconds * processes
    clips = all_gather(fewer_within(limit, scorer.clips, scorer.at_once, scorer.score))[0]
    # All processes use the number of the first one, because clocks differ.
    first, last = len(clips) * rank // processes, len(clips) * (rank + 1) // processes
    scoring, ensembles = scorer.score(clips[first:last], progress)
    for part in _cards((scoring, ensembles)):
        part.gather()
    card = _card(scorer, scoring, *groups_of(scorer.dataset, clips, scorer.forecaster.window))
    if ensembles is not None:
        card["ensemble"] = ensembles.summary()
    return Card(card | {"in_words": in_words(card)})


def _card(scorer: "Scorer", scoring: Scoring, groups: Sequence[int], over: str) -> dict[str, Any]:
    """The scorecard without ensembles."""
    tables, window = scoring.tables(), scorer.forecaster.window
    units, reference = scorer.forecaster.scaling.units, scorer.reference
    ranking = ranked_by(units)
    free = [row for row in tables if row in FREE and row != reference]
    best = {score: row for score in ranking if (row := best_of(tables, free, score))}
    weights = scorer.weights
    moving = tables[reference].get("moving")  # of fixed cameras alone
    fixed = moving is not None and moving["moving_frames"]["overall"] > 0
    conventions = [name for name in SCORES if name != "moving" or fixed]

    def against(row: str, rivals: Mapping[str, str]) -> dict[str, Any]:
        """Compare a row with a rival in each score."""
        return {
            score: scoring.comparison(score, row, rival, groups) | {"over": over}
            for score, rival in rivals.items()
        }

    rivals = dict.fromkeys(["mse", *ranking], reference)
    compared = {row: against(row, rivals) for row in tables if row != reference}
    return {
        "clips": scoring.clips,
        "past": window.past,
        "future": window.future,
        "units": units,
        "precision": scorer.precision,
        "period": scorer.period,
        "reference": reference,
        "scores": {
            row: {name: scores for name, scores in table.items() if name in conventions}
            for row, table in tables.items()
        },
        "events": _events(tables),
        "skill": _skill(tables),
        "relative": relative(tables, ranking),
        "comparison": {row: by_score.pop("mse") | by_score for row, by_score in compared.items()},
        "baselines": free,
        "best_baseline": best,
        "lead": {row: against(row, best) for row in [reference, *scorer.matches]},
        "weights": weights,
        "gain": against(reference, dict.fromkeys(ranking, weights)) if weights else {},
    }


def _skill(tables: Mapping[str, Any]) -> dict[str, Any]:
    """1 - MSE / MSE of persistence for each row."""

    def skill(mse: Mapping[str, Any]) -> dict[str, Any]:
        per_lead = [1 - ratio for ratio in mse["per_lead"]]
        return {"overall": 1 - mse["overall"], "per_lead": per_lead}

    return {row: skill(of["mse"]) for row, of in relative(tables, ["mse"]).items()}


Scores = tuple[Scoring, Ensembles | None]


class Scorer:
    """The rows of a scorecard: the forecaster, the mean of its members, its matched forecasts,
    the published weights from which its training started, forecasts of other programs, and
    baselines.

    Args:
        forecaster: its window defines past and future frames; its scaling converts items, which are
            on [0,1], to units for scores in units.
        dataset: items (T,C,H,W), float32 in [0,1], at least as long as the window; NaN for missing
            values, which are never scored.
        name: the forecaster's name in tables. The name of a baseline replaces the row of this
            baseline; the reference is then the first of `others`, if any.
        clips: numbers of the clips to score; by default as many as `options` allow.
        others: forecasts of other programs.

    Attributes:
        rows: names, the reference first.
        clips: numbers of the clips that can be scored.
        at_once: clips at a time.
        scores: the scores of each row.
        weights: the published weights from which the forecaster's training started, or None.
        precision: the forecaster's.

    Raises:
        ValueError: clips with the wrong number of channels; an unknown or unavailable precision; a
            clip beyond the memory budget; two rows with the same name.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        dataset: Dataset,
        options: ScoreOptions,
        name: str = "model",
        clips: Sequence[int] | None = None,
        others: Others = (),
    ) -> None:
        self.forecaster, self.dataset, self.options, self.name = forecaster, dataset, options, name
        self.precision = resolve_precision(options.precision, forecaster.device.type)
        self.period = _period_of(forecaster.model) if options.period is None else options.period
        matches = options.matches or [forecaster.match]
        self.matches = {
            f"{name} {match_of(match).row}": match for match in matches if match != NONE
        }
        forecaster.check_match(*self.matches.values())
        forecaster.options(ForecastOptions(members=options.members))
        began = forecaster.trained.weights
        self.weights = began if began in published() and began != name else None
        self.networks = self._networks()
        self.clips = chosen(dataset, options.limit) if clips is None else clips
        self.others = dict(others)
        self.films = not forecaster.scaling.units
        self.mean = [] if options.members is None else [f"{name}, mean of {options.members}"]
        external = [row for row, _ in others]
        self.reference = external[0] if external and name in FREE else name
        rows = [name, *self.mean, *self.matches, *external, *self.networks]
        if twice := [row for row in rows if rows.count(row) > 1]:
            raise ValueError(f"two rows would be called {twice[0]}; rename the file of one")
        self.rows = sorted(rows, key=lambda row: row != self.reference)
        self.inputs = inputs_of(forecaster, dataset)
        shape, takes = np.shape(dataset[self.clips[0]]), forecaster.model.takes
        if takes not in (None, shape[1]):
            raise ValueError(f"the clips have {shape[1]} channels, but the model takes {takes}")
        of_matches = [model_of(forecaster.model, match) for match in self.matches.values()]
        self.at_once = clips_at_once(
            [forecaster.model, *of_matches, *self.networks.values()],
            forecaster.window,
            shape,
            options.batch_size,
            self.inputs,
            options.members or 0,
            options.budget,
        )
        self.scores = self._scores(shape)

    def _scores(self, clip: Sequence[int]) -> dict[str, dict[str, Any]]:
        """The scores of clips (T,C,H,W), by convention and name."""
        options, units = self.options, self.forecaster.scaling.units
        side = min(clip[2:]) if self.films else 0
        scores = scores_of(units, options.thresholds, options.scales, side, self.films)
        if net := options.lpips:
            scores["standard"][f"lpips_{net}"] = lpips(net, clip[1] - self.inputs, side)
        return scores

    def _networks(self) -> dict[str, Model]:
        """The other networks: weights from which the training started, and baselines."""
        networks: dict[str, Model] = {}
        if self.weights:
            networks[self.weights] = Forecaster.load(self.weights, self.forecaster.device).model
        names = self.options.baselines
        scaling = self.forecaster.scaling
        names = baselines_here(scaling.units) if names is None else names
        for name in names:
            network = FREE[name]() if name in FREE else build_model(name)
            networks[name] = network.in_units(scaling)
            if isinstance(self.dataset, Recordings):
                networks[name] = on_grid_of(self.dataset.clips[0], networks[name])
        if self.period is not None:
            networks["cycle"] = build_model("cycle", {"period": self.period})
        return {row: network for row, network in networks.items() if row != self.name}

    @torch.inference_mode()
    def score(self, clips: Sequence[int], tell: Progress = silent) -> Scores:
        """Score these clips, by their numbers."""
        forecaster, rows = self.forecaster, dict.fromkeys(self.rows, self.scores)
        scoring = Scoring(forecaster.window.future, rows, forecaster.scaling.to_units)
        ensembles = None
        if self.mean:
            ensembles = Ensembles(forecaster, self.options, self.matches, self.dataset)
        tell(0, len(clips))
        for batch in batches(self.dataset, self.at_once, among=clips):
            parts = parts_of(batch.to(forecaster.device), forecaster.window, self.inputs)
            numbers = clips[scoring.clips : scoring.clips + len(batch)]
            background = background_of(parts.past_of_targets) if self.films else None
            scoring.add(self.forecasts(parts, numbers, ensembles), parts.truth, background)
            tell(scoring.clips, len(clips))
        return scoring, ensembles

    @torch.inference_mode()
    def parts(self, clip: int) -> Parts:
        """A single clip, split at the end of the past."""
        return parts_of(self.frames(clip), self.forecaster.window, self.inputs)

    def frames(self, clip: int) -> Tensor:
        """A single clip (1,T,C,H,W)."""
        return next(batches(self.dataset, 1, among=[clip])).to(self.forecaster.device)

    def forecasts(
        self, parts: Parts, clips: Sequence[int], ensembles: Ensembles | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Compute the forecasts of a batch of clips, row by row, the reference among the first."""
        for row, read in self.others.items():
            yield row, read(clips, parts)
        guided = any(match_of(match).guided for match in self.matches.values())
        forecast, guide = forecast_clips(self.forecaster.model, parts, self.precision, guided)
        yield self.name, forecast
        if ensembles is not None:
            yield self.mean[0], ensembles.score(parts, clips, self.precision).mean(dim=1)
        for row, match in self.matches.items():
            made = forecast
            if match_of(match).model is not None:
                made, _ = forecast_clips(model_of(self.forecaster.model, match), parts)
            yield row, matched(match, made.unsqueeze(1), parts.last, guide, False)[:, 0]
        del forecast, guide  # large frames fill the memory
        for row, network in self.networks.items():
            yield row, forecast_clips(network, parts)[0]


def _cards(scores: Scores) -> list[Scorecard]:
    scoring, ensembles = scores
    return [*scoring.cards.values(), *(ensembles.cards.values() if ensembles else ())]


def _period_of(model: Model) -> int | None:
    """The period of a cycle among the model's guides, to compare the model with that cycle."""
    guides = getattr(model.guide, "each", [model.guide])
    return next((guide.period for guide in guides if isinstance(guide, Cycle)), None)


def groups_of(dataset: Dataset, scored: Sequence[int], window: Window) -> tuple[list[int], str]:
    """Return the group of each clip, and the word for groups. Different groups are independent.

    Windows of a recording share frames and weather, so groups are recordings. With fewer than
    `FEWEST` recordings, groups are blocks: windows that begin in the same stretch of a recording,
    at least two windows long. Long recordings have about 30 blocks.
    """
    if not isinstance(dataset, Recordings):
        return list(range(len(scored))), "clips"
    places = [dataset.windows[k][:2] for k in scored]
    recordings = [recording for recording, _ in places]
    if len(set(recordings)) >= FEWEST:
        return recordings, "recordings"
    frames = sum(len(dataset.clips[recording]) for recording in set(recordings))
    length = max(2 * window.length, frames // 30)
    stretches = [(recording, start // length) for recording, start in places]
    numbers = {stretch: number for number, stretch in enumerate(sorted(set(stretches)))}
    return [numbers[stretch] for stretch in stretches], "blocks"


def _events(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Scores by threshold, with `fss` by scale: {row: {"2 mm/h": {"csi": ..., "fss": {"5": ...}}}};
    empty without thresholds.
    """

    def by_scale(scores: Mapping[str, Any]) -> dict[str, Any]:
        fss = {name.removeprefix("fss "): scores[name] for name in scores if " " in name}
        return {name: scores[name] for name in scores if " " not in name} | {"fss": fss}

    events = {
        row: {name: by_scale(scores) for name, scores in table.items() if name not in SCORES}
        for row, table in tables.items()
    }
    return events if any(events.values()) else {}
