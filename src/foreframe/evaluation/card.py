"""The scorecard: scores of a forecaster beside the baselines, as plain values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.base.shipped import published
from foreframe.clips.data_options import GUIDE, NONE
from foreframe.data import Recordings, batches
from foreframe.data.forecasts import Forecasts
from foreframe.evaluation.external import checked, open_external
from foreframe.evaluation.member_scores import Ensembles
from foreframe.evaluation.metrics import SCORES, scores_of
from foreframe.evaluation.metrics.bootstrap import FEWEST, group_by_stretch
from foreframe.evaluation.metrics.relative import (
    best_of,
    in_words,
    over_persistence,
    ranked_by,
    relative,
)
from foreframe.evaluation.networks import clips_at_once, fewer_within, forecast_clips, inputs_of
from foreframe.evaluation.score_options import ScoreOptions
from foreframe.evaluation.scoring import Scoring
from foreframe.forecasting.forecast_options import ForecastOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.matching import match_to
from foreframe.forecasting.precision import resolve_precision
from foreframe.models import (
    BASELINES,
    STILL,
    Cycle,
    Model,
    Parts,
    baselines_here,
    build_model,
    parts_of,
)
from foreframe.visuals import Card

Tell = Callable[[int, int], Any]
"""Called after each batch with the number of clips scored, and the number of all."""


@torch.inference_mode()
def score_clips(
    forecaster: Forecaster,
    dataset: Dataset,
    options: ScoreOptions | None = None,
    forecasts: Sequence[Forecasts] = (),
    name: str = "model",
    progress: Tell | None = None,
) -> Card:
    """Score a forecaster beside the baselines, per lead time and overall, in every convention of
    `SCORES`, with skill and the significance of differences.

    Args:
        forecaster: its window defines past and future frames; its scaling converts items, which are
            on [0,1], to units for scores in units. Published weights that it began with are scored
            too.
        dataset: items (T,C,H,W), float32 in [0,1], at least as long as the window; NaN for missing
            values, which are never scored.
        forecasts: forecasts of other programs, from `open_forecasts`; only clips that all of them
            cover are scored.
        name: the forecaster's name in tables. A baseline's name takes that baseline's row;
            others are then compared with the first of `forecasts`, if there are any.
        progress: called after each batch, see `Tell`.

    Returns:
        {"clips", "past", "future", "units", "precision" ("auto" resolved), "period": of "cycle", or
        None, "reference": the name that others are compared with, "scores": {name: {convention:
        {score: {"overall", "per_lead"}}}}, "events": {name: {threshold: {score: the same}}},
        "skill": {name: 1 - MSE / MSE of persistence, overall and per lead time}, "relative": errors
        over those of persistence (`evaluation/metrics/relative.py`), "comparison": {name:
        `Scoring.comparison`; for 1 - SSIM under "ssim", for the RMSE of data with units under
        "rmse"}, "baselines": the scored ones, without the reference, "best_baseline": {"mse" and
        "ssim", or "rmse": name}, "in_words": the lead over that baseline}; with members also
        "ensemble": {"seed", and by name: `foreframe.evaluation.metrics.EnsembleScorecard.summary`}.
        A name is that of a row: "model", a baseline, or another forecast. Plain values, ready for
        JSON. Data with units have a third convention, `physical`.

    Raises:
        ValueError: clips that are too short, damaged or of other channels than the model's; an
            unknown or unavailable precision; forecasts for other clips, of another size, in other
            units, or not numbers; a clip beyond the memory budget.
    """
    options = options or ScoreOptions()
    scorer = _Scorer(forecaster, dataset, options, forecasts, name)
    clips = fewer_within(options.longest, scorer.clips, scorer.at_once, scorer.score)
    scoring, ensembles = scorer.score(clips, progress)
    tables, units, reference = scoring.tables(), forecaster.scaling.units, scorer.reference
    free = [row for row in tables if row in BASELINES and row != reference]
    best = {score: best_of(tables, free, score) for score in ranked_by(units)}
    card = {
        "clips": scoring.clips,
        "past": forecaster.window.past,
        "future": forecaster.window.future,
        "units": units,
        "precision": scorer.precision,
        "period": scorer.period,
        "reference": reference,
        "scores": {
            row: {
                convention: scores for convention, scores in table.items() if convention in SCORES
            }
            for row, table in tables.items()
        },
        "events": _events(tables),
        "skill": {
            row: {
                "overall": 1 - ratios["overall"],
                "per_lead": [1 - ratio for ratio in ratios["per_lead"]],
            }
            for row, ratios in over_persistence(tables, "mse").items()
        },
        "relative": relative(tables, units),
        "comparison": _comparisons(scoring, reference, units, _groups(dataset, clips, forecaster)),
        "baselines": free,
        "best_baseline": {score: row for score, row in best.items() if row is not None},
    }
    if ensembles is not None:
        card["ensemble"] = ensembles.summary()
    return Card(card | {"in_words": in_words(card)})


class _Scorer:
    """The rows of a scorecard: the forecaster, the mean of its members, its matched forecasts,
    forecasts of other programs, and baselines.

    Attributes:
        rows: names, the reference first.
        clips: numbers of the clips that can be scored.
        at_once: clips at a time.
        scores: the scores of each row.
        precision: the forecaster's.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        dataset: Dataset,
        options: ScoreOptions,
        forecasts: Sequence[Forecasts],
        name: str,
    ) -> None:
        self.forecaster, self.dataset, self.options, self.name = forecaster, dataset, options, name
        self.precision = resolve_precision(options.precision, forecaster.device.type)
        self.period = _period_of(forecaster.model) if options.period is None else options.period
        matches = options.matches or [forecaster.match]
        self.matches = {f"{name} matched to {match}": match for match in matches if match != NONE}
        forecaster.check_match(*self.matches.values())
        forecaster.options(ForecastOptions(members=options.members))
        self.networks = self._networks()
        self.clips, self.others = open_external(forecasts, dataset, options.limit, forecaster)
        self.mean = [] if options.members is None else [f"{name}, mean of {options.members}"]
        external = [each.name for each in forecasts]
        _check_names([name, *self.networks, *self.matches, *self.mean, *external])
        self.reference = external[0] if external and name in BASELINES else name
        rows = [self.reference, name, *self.mean, *self.matches, *external, *self.networks]
        self.rows = list(dict.fromkeys(rows))
        self.inputs = inputs_of(forecaster, dataset)
        self.at_once = clips_at_once(
            [forecaster.model.eval(), *self.networks.values()],
            forecaster.window,
            np.shape(dataset[self.clips[0]]),
            options.batch_size,
            self.inputs,
            options.members or 0,
            options.budget,
        )
        units = forecaster.scaling.units
        self.scores = scores_of(units, options.thresholds, options.scales)

    def _networks(self) -> dict[str, Model]:
        """The networks beside the forecaster: weights that it began with, and baselines."""
        networks: dict[str, Model] = {}
        began = self.forecaster.trained.weights
        if began in published() and began != self.name:
            networks[began] = Forecaster.load(began, self.forecaster.device).model.eval()
        names = self.options.baselines
        for baseline in baselines_here() if names is None else names:
            if baseline != self.name:
                networks[baseline] = build_model(baseline)
        if self.period is not None and self.name != "cycle":
            networks["cycle"] = build_model("cycle", {"period": self.period})
        return networks

    def score(
        self, clips: Sequence[int], tell: Tell | None = None
    ) -> tuple[Scoring, Ensembles | None]:
        """Score these clips, by their numbers."""
        forecaster, rows = self.forecaster, dict.fromkeys(self.rows, self.scores)
        scoring = Scoring(forecaster.window.future, rows, forecaster.scaling.to_units)
        ensembles = None
        if self.mean:
            ensembles = Ensembles(forecaster, self.options, self.matches, self.dataset)
        for batch in batches(self.dataset, self.at_once, among=clips):
            _check_channels(forecaster.model, batch)
            parts = parts_of(batch.to(forecaster.device), forecaster.window, self.inputs)
            numbers = clips[scoring.clips : scoring.clips + len(batch)]
            scoring.add(self._forecasts(parts, numbers, ensembles), parts.truth)
            if tell is not None:
                tell(scoring.clips, len(clips))
        return scoring, ensembles

    def _forecasts(
        self, parts: Parts, clips: Sequence[int], ensembles: Ensembles | None
    ) -> Iterator[tuple[str, Tensor]]:
        """The forecasts of a batch of clips, row by row."""
        for row, read in self.others.items():
            yield row, checked(row, read(clips), parts)
        guided = GUIDE in self.matches.values()
        forecast, guide = forecast_clips(self.forecaster.model, parts, self.precision, guided)
        yield self.name, forecast
        if ensembles is not None:
            yield self.mean[0], ensembles.score(parts, clips, self.precision).mean(dim=1)
        for row, match in self.matches.items():
            yield row, match_to(match, forecast, parts.last, guide)
        for row, network in self.networks.items():
            yield row, forecast_clips(network, parts)[0]


def moving_baseline(card: Mapping[str, Any]) -> str | None:
    """The best scored baseline with moving forecasts, by the card's first ranking score; None
    without any.
    """
    score = ranked_by(card["units"])[0]
    names = [name for name in card["scores"] if name in BASELINES and name not in STILL]
    return best_of(card["scores"], [name for name in names if name != card["reference"]], score)


def _period_of(model: Model) -> int | None:
    """The period of a cycle among the model's guides; such a model is compared with that cycle."""
    guides = getattr(model.guide, "each", [model.guide])
    return next((guide.period for guide in guides if isinstance(guide, Cycle)), None)


def _check_channels(model: Model, clips: Tensor) -> None:
    if model.takes not in (None, clips.shape[2]):
        raise ValueError(
            f"the clips have {clips.shape[2]} channels, but the model takes {model.takes}"
        )


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two rows would be called {name}; rename the file of one")


def _comparisons(
    scoring: Scoring, reference: str, units: str, groups: tuple[list[int], str]
) -> dict[str, dict[str, Any]]:
    """`Scoring.comparison` by MSE, with those by other ranking scores within it."""
    scores = dict.fromkeys(["mse", *ranked_by(units)])
    by = {score: scoring.comparison(reference, *groups, score) for score in scores}
    mse = by.pop("mse")
    return {row: mse[row] | {score: by[score][row] for score in by} for row in mse}


def _groups(
    dataset: Dataset, scored: Sequence[int], forecaster: Forecaster
) -> tuple[list[int], str]:
    """The group of each clip, and the word for groups: clips of different groups are independent.

    Windows of a recording share frames and weather, so groups are recordings, or with fewer than
    `FEWEST` of them blocks: windows that begin in the same stretch of a recording, at least two
    windows long; about 30 blocks in long recordings.
    """
    if not isinstance(dataset, Recordings):
        return list(range(len(scored))), "clips"
    places = [dataset.windows[k][:2] for k in scored]
    recordings = [recording for recording, _ in places]
    if len(set(recordings)) >= FEWEST:
        return recordings, "recordings"
    frames = sum(len(dataset.clips[recording]) for recording in set(recordings))
    return group_by_stretch(places, max(2 * forecaster.window.length, frames // 30)), "blocks"


def _events(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Scores by threshold, with `fss` by scale: {row: {"2 mm/h": {"csi": ..., "fss": {"5": ...}}}};
    empty without thresholds.
    """

    def by_scale(scores: Mapping[str, Any]) -> dict[str, Any]:
        fss = {name: score for name, score in scores.items() if name.startswith("fss ")}
        others = {name: score for name, score in scores.items() if name not in fss}
        return others | {"fss": {name.removeprefix("fss "): score for name, score in fss.items()}}

    events = {
        row: {name: by_scale(scores) for name, scores in table.items() if name not in SCORES}
        for row, table in tables.items()
    }
    return events if any(events.values()) else {}
