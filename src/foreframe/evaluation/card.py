"""Scores of a forecaster beside the baselines, as plain values: the scorecard."""

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
"""Called after each batch with how many clips are scored, and how many will be."""


@torch.inference_mode()
def score_clips(
    forecaster: Forecaster,
    dataset: Dataset,
    options: ScoreOptions | None = None,
    forecasts: Sequence[Forecasts] = (),
    name: str = "model",
    progress: Tell | None = None,
) -> Card:
    """Scores per lead time and overall, in every convention of `SCORES`, beside
    the baselines, the skill, and whether differences could be chance.

    Args:
        forecaster: its window says how many frames are past and future; its scaling takes items,
            which lie in [0,1] already, back to units for what is scored in these. The published
            weights that it began with are scored, too.
        dataset: items (T,C,H,W), float32 in [0,1], at least as long as the window; NaN where a
            value is missing, which never counts.
        forecasts: of other programs, from `open_forecasts`; only clips that all of them forecast
            are scored.
        name: what the forecaster is called in the tables. A baseline's name stands for that
            baseline; the first of `forecasts` is then what others are compared with.

    Returns:
        {"clips", "past", "future", "units", "precision" (of "auto" the one that was taken),
        "reference": whom the others are compared with,
        "scores": {"model" or baseline: {convention: {score: {"overall", "per_lead"}}}}, "events":
        {"model" or baseline: {threshold: {score: the same}}}, "skill": {name: 1 - MSE / MSE of
        persistence, overall and per lead time}, "relative": errors in units of the last frame's
        (`evaluation/metrics/relative.py`), "comparison": {name: see `Scoring.comparison`; of 1 -
        SSIM under "ssim", of the RMSE of data with units under "rmse"}, "baselines": those that
        were scored, but for the reference, "best_baseline": {"mse" and "ssim", or "rmse": name},
        "in_words": who is ahead of that by how much}; of members "ensemble": {"seed", and by name:
        `foreframe.evaluation.metrics.EnsembleScorecard.summary`}.
        Plain values, ready for JSON. Data with units have a third convention, `physical`.

    Raises:
        ValueError: clips that are too short, damaged or of other channels than the model's; a
            precision that is unknown, or that the device does not have; forecasts of other clips,
            of another size, in other units, or that are not numbers; one clip that takes more than
            the budget.
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
            row: {of: scores for of, scores in table.items() if of in SCORES}
            for row, table in tables.items()
        },
        "events": _events(tables),
        "skill": {
            row: {
                "overall": 1 - of["overall"],
                "per_lead": [1 - ratio for ratio in of["per_lead"]],
            }
            for row, of in over_persistence(tables, "mse").items()
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
    """The forecasters that are scored, a row each: the one that is given, its members' mean and its
    forecasts matched to others, forecasts of other programs, and networks beside them.

    Attributes:
        rows: their names, the reference first.
        clips: that may be scored.
        at_once: how many of them.
        scores: of each row.
        precision: of the forecaster.
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
        self.matches = {f"{name} matched to {of}": of for of in matches if of != NONE}
        forecaster.check_match(*self.matches.values())
        forecaster.options(ForecastOptions(members=options.members))
        self.networks = self._networks()
        self.clips, self.others = open_external(forecasts, dataset, options.limit, forecaster)
        self.mean = [] if options.members is None else [f"{name}, mean of {options.members}"]
        given = [of.name for of in forecasts]
        _check_names([name, *self.networks, *self.matches, *self.mean, *given])
        self.reference = given[0] if given and name in BASELINES else name
        rows = [self.reference, name, *self.mean, *self.matches, *given, *self.networks]
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
        """Those beside the forecaster: the weights that it began with, and baselines."""
        networks: dict[str, Model] = {}
        began = self.forecaster.trained.weights
        if began in published() and began != self.name:
            networks[began] = Forecaster.load(began, self.forecaster.device).model.eval()
        named = self.options.baselines
        for baseline in baselines_here() if named is None else named:
            if baseline != self.name:
                networks[baseline] = build_model(baseline)
        if self.period is not None and self.name != "cycle":
            networks["cycle"] = build_model("cycle", {"period": self.period})
        return networks

    def score(
        self, clips: Sequence[int], tell: Tell | None = None
    ) -> tuple[Scoring, Ensembles | None]:
        """These clips, by their numbers."""
        own, options = self.forecaster, self.options
        scoring = Scoring(
            own.window.future, dict.fromkeys(self.rows, self.scores), own.scaling.to_units
        )
        ensembles = Ensembles(own, options, self.matches, self.dataset) if self.mean else None
        for batch in batches(self.dataset, self.at_once, among=clips):
            _check_channels(own.model, batch)
            parts = parts_of(batch.to(own.device), own.window, self.inputs)
            which = clips[scoring.clips : scoring.clips + len(batch)]
            scoring.add(self._forecasts(parts, which, ensembles), parts.truth)
            if tell is not None:
                tell(scoring.clips, len(clips))
        return scoring, ensembles

    def _forecasts(
        self, parts: Parts, which: Sequence[int], ensembles: Ensembles | None
    ) -> Iterator[tuple[str, Tensor]]:
        """The forecast of each row of a batch of clips, one after the other."""
        for row, read in self.others.items():
            yield row, checked(row, read(which), parts)
        guided = GUIDE in self.matches.values()
        own, guide = forecast_clips(self.forecaster.model, parts, self.precision, guided)
        yield self.name, own
        if ensembles is not None:
            yield self.mean[0], ensembles.score(parts, which, self.precision).mean(dim=1)
        for row, of in self.matches.items():
            yield row, match_to(of, own, parts.last, guide)
        for row, network in self.networks.items():
            yield row, forecast_clips(network, parts)[0]


def moving_baseline(card: Mapping[str, Any]) -> str | None:
    """The best scored baseline whose forecasts move, by the card's first score that ranks; None
    where none was scored.
    """
    score = ranked_by(card["units"])[0]
    names = [name for name in card["scores"] if name in BASELINES and name not in STILL]
    return best_of(card["scores"], [name for name in names if name != card["reference"]], score)


def _period_of(model: Model) -> int | None:
    """Of a cycle among the model's guides: such a model is to be compared with it."""
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
    """`Scoring.comparison` by MSE, and within it that by each other score that ranks."""
    scores = dict.fromkeys(["mse", *ranked_by(units)])
    by = {score: scoring.comparison(reference, *groups, score) for score in scores}
    mse = by.pop("mse")
    return {row: of | {score: by[score][row] for score in by} for row, of in mse.items()}


def _groups(
    dataset: Dataset, scored: Sequence[int], forecaster: Forecaster
) -> tuple[list[int], str]:
    """Which clips depend on each other: the number of each clip's group, and what groups are.

    Windows of one recording share frames, and what lies near in time is alike: groups are
    recordings, or, where these are fewer than `FEWEST`, blocks of windows that begin in the same
    stretch of one: at least twice as long as a window, and about 30 where recordings are long.
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
    """The scores of thresholds, those of `fss` by scale: {row: {"2 mm/h": {"csi": ..., "fss":
    {"5": ...}}}}; empty without thresholds.
    """

    def by_scale(scores: Mapping[str, Any]) -> dict[str, Any]:
        fss = {name: of for name, of in scores.items() if name.startswith("fss ")}
        others = {name: of for name, of in scores.items() if name not in fss}
        return others | {"fss": {name.removeprefix("fss "): of for name, of in fss.items()}}

    events = {
        row: {of: by_scale(scores) for of, scores in table.items() if of not in SCORES}
        for row, table in tables.items()
    }
    return events if any(events.values()) else {}
