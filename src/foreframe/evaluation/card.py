"""Scores of a forecaster beside the baselines, as plain values: the scorecard."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.base.shipped import published
from foreframe.clips.clip import Window
from foreframe.clips.data_options import GUIDE, NONE
from foreframe.data import Recordings, batches
from foreframe.data.forecasts import Forecasts
from foreframe.evaluation.elsewhere import checked, open_elsewhere
from foreframe.evaluation.member_scores import Ensembles
from foreframe.evaluation.metrics import SCORES, scores_of
from foreframe.evaluation.metrics.bootstrap import FEWEST, group_by_stretch
from foreframe.evaluation.metrics.relative import best_of, in_words, ranked_by, relative
from foreframe.evaluation.networks import (
    BUDGET,
    clips_at_once,
    fewer_within,
    forecast_clips,
    inputs_of,
)
from foreframe.evaluation.scoring import Scoring
from foreframe.forecasting.forecast_options import ForecastOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.matching import match_to
from foreframe.forecasting.precision import EXACT, resolve_precision
from foreframe.models import BASELINES, SCORED, STILL, Cycle, Model, Parts, build_model, parts_of


@torch.inference_mode()
def evaluate(
    forecaster: Forecaster,
    dataset: Dataset,
    clips: int | None = None,
    batch_size: int = 16,
    baselines: Sequence[str] = SCORED,
    thresholds: Sequence[float] = (),
    scales: Sequence[int] = (),
    period: int | None = None,
    progress: Callable[[int, int], Any] | None = None,
    precision: str = EXACT,
    forecasts: Sequence[Forecasts] = (),
    name: str = "model",
    match: Sequence[str] | str = (),
    members: int | None = None,
    seed: int = 0,
    budget: float = BUDGET,
    seconds: float = math.inf,
) -> dict[str, Any]:
    """Scores per lead time and overall, in every convention of `foreframe.evaluation.metrics`,
    beside the baselines, the skill, and whether differences could be chance.

    Args:
        forecaster: its window says how many frames are past and future; its scaling takes items,
            which lie in [0,1] already, back to units for what is scored in these.
        dataset: items (T,C,H,W), float32 in [0,1], at least as long as the window; NaN where a
            value is missing, which never counts.
        clips: how many to score; all by default. Of windows of recordings as many are taken evenly
            spread.
        batch_size: clips at once, at most; fewer where these would take more than the budget.
        baselines: names in MODELS to score beside the model; the published weights that it began
            with are scored, too.
        thresholds: of events, such as rain of at least 2 mm/h, in the data's units (see
            `event_scores`).
        scales: odd sides in pixels for the fractions skill score of these events.
        period: adds the baseline `cycle`, the frame so many steps before: 24 for "the same hour
            yesterday"; by default that of the forecaster's guide, where it has one.
        progress: called after each batch with how many clips are scored, and how many will be.
        precision: of the model, as in `Forecaster.predict`; the baselines are exact.
        forecasts: made elsewhere, from `open_forecasts`; only clips that all of them forecast are
            scored.
        name: what the forecaster is called in the tables. A baseline's name stands for that
            baseline; the first of `forecasts` is then what others are compared with.
        match: one or several, each a further row: the forecaster's forecasts matched to it, as
            `Forecaster.predict` does, on the clips as they are scored; of members each is matched.
            By default the forecaster's own; "none" leaves that out.
        members: so many of each clip are drawn and scored as an ensemble, beside a lagged one,
            which costs nothing; their mean is a further row.
        seed: of the members, which differ from clip to clip.
        budget: GiB of memory that scoring a batch may take.
        seconds: of scoring; fewer clips where these would take longer, a batch at least.

    Returns:
        {"clips", "past", "future", "units", "precision" (of "auto" the one that was taken),
        "reference": whom the others are compared with,
        "scores": {"model" or baseline: {convention: {score: {"overall", "per_lead"}}}}, "events":
        {"model" or baseline: {threshold: {score: the same}}}, "skill": {name: 1 - MSE / MSE of
        persistence, overall and per lead time}, "relative": errors in units of the last frame's
        (`evaluation/metrics/relative.py`), "comparison": {name: see `Scoring.comparison`; of 1 -
        SSIM under "ssim", of the RMSE of data with units under "rmse"}, "baselines": those that
        were scored, but for the reference, "best_baseline": {"mse" and "ssim", or "rmse": name},
        "in_words": who is ahead of that by how much, and how members stand}; of members
        "ensemble": {"seed", and by name: `foreframe.evaluation.metrics.EnsembleScorecard.summary`}.
        Plain values, ready for JSON. Data with units have a third convention, `physical`.

    Raises:
        ValueError: clips that are too short, damaged or of other channels than the model's; a
            precision that is unknown, or that the device does not have; forecasts of other clips,
            of another size, in other units, or that are not numbers; one clip that takes more than
            the budget.
    """
    precision = resolve_precision(precision, forecaster.device)
    period = _period_of(forecaster.model) if period is None else period
    asked = _several(match) or [forecaster.match]
    matches = {f"{name} matched to {of}": of for of in asked if of != NONE}
    forecaster.check_match(*matches.values())
    forecaster.options(ForecastOptions(members=members))
    window, scaling = forecaster.window, forecaster.scaling
    models: dict[str, Model] = {name: forecaster.model.eval()}
    began = forecaster.trained.weights
    if began in published() and began != name:
        models[began] = Forecaster.load(began, forecaster.device).model.eval()
    models |= {baseline: build_model(baseline) for baseline in baselines if baseline != name}
    if period is not None:
        models["cycle"] = build_model("cycle", {"period": period})
    scored, elsewhere = open_elsewhere(forecasts, dataset, clips, forecaster)
    means = [] if members is None else [f"{name}, mean of {members}"]
    _check_names([*models, *matches, *means, *(given.name for given in forecasts)])
    reference = forecasts[0].name if forecasts and name in BASELINES else name
    names = list(dict.fromkeys([reference, name, *means, *matches, *elsewhere, *models]))

    inputs = inputs_of(forecaster, dataset)
    clip = np.shape(dataset[scored[0]])
    at_once = clips_at_once(models.values(), window, clip, batch_size, inputs, members or 0, budget)
    scores = scores_of(scaling.units, thresholds, scales)

    def forecasts_of(
        parts: Parts, which: Sequence[int], ensembles: Ensembles | None
    ) -> Iterator[tuple[str, Tensor]]:
        for rival, read in elsewhere.items():
            yield rival, checked(rival, read(which), parts)
        guided = GUIDE in matches.values()
        own, guide = forecast_clips(forecaster.model, parts, precision, guided)
        yield name, own
        if ensembles is not None:
            yield means[0], ensembles.score(parts, which, precision).mean(dim=1)
        for row, of in matches.items():
            yield row, match_to(of, own, parts.last, guide)
        for rival, network in models.items():
            if rival != name:
                yield rival, forecast_clips(network, parts)[0]

    def scored_on(
        some: Sequence[int], tell: Callable[[int, int], Any] | None
    ) -> tuple[Scoring, Ensembles | None]:
        scoring = Scoring(window.future, dict.fromkeys(names, scores), scaling.to_units)
        ensembles = None
        if members is not None:
            ensembles = Ensembles(forecaster, members, seed, thresholds, scales, matches, dataset)
        for batch in batches(dataset, at_once, among=some):
            _check_channels(forecaster.model, batch)
            parts = parts_of(batch.to(forecaster.device), window, inputs)
            which = some[scoring.clips : scoring.clips + len(batch)]
            scoring.add(forecasts_of(parts, which, ensembles), parts.truth)
            if tell is not None:
                tell(scoring.clips, len(some))
        return scoring, ensembles

    scored = fewer_within(seconds, scored, at_once, lambda some: scored_on(some, None))
    scoring, ensembles = scored_on(scored, progress)
    tables = scoring.tables()
    events = [convention for convention in scores if convention not in SCORES]
    free = [rival for rival in tables if rival in BASELINES and rival != reference]
    card = {
        "clips": scoring.clips,
        "past": window.past,
        "future": window.future,
        "units": scaling.units,
        "precision": precision,
        "period": period,
        "reference": reference,
        "scores": {
            rival: {of: rows for of, rows in table.items() if of not in events}
            for rival, table in tables.items()
        },
        "events": {
            rival: {of: _by_scale(table[of]) for of in events}
            for rival, table in tables.items()
            if events
        },
        "skill": _skills(tables) if "persistence" in tables else {},
        "relative": relative(tables, scaling.units),
        "comparison": _comparisons(scoring, reference, dataset, scored, forecaster),
        "baselines": free,
        "best_baseline": _best_baselines(tables, free, scaling.units),
    }
    if ensembles is not None:
        card["ensemble"] = ensembles.summary()
    return card | {"in_words": in_words(card)}


def _best_baselines(
    tables: Mapping[str, Any], free: Sequence[str], units: str = ""
) -> dict[str, str]:
    """The baseline with the lowest overall error, by each score that ranks (`ranked_by`); empty
    without any.

    Args:
        free: those that were scored and cost nothing, so no other program's forecasts.
    """
    best = {score: best_of(tables, free, score) for score in ranked_by(units)}
    return {score: name for score, name in best.items() if name is not None}


def moving_baseline(card: Mapping[str, Any]) -> str | None:
    """The best scored baseline whose forecasts move, by the card's first score that ranks; None
    where none was scored.
    """
    score = ranked_by(card["units"])[0]
    names = [name for name in card["scores"] if name in BASELINES and name not in STILL]
    return best_of(card["scores"], [name for name in names if name != card["reference"]], score)


def _period_of(model: Model) -> int | None:
    """Of a cycle that the model draws upon: such a model is to be compared with it."""
    guides = getattr(model.guide, "each", [model.guide])
    return next((guide.period for guide in guides if isinstance(guide, Cycle)), None)


def _several(match: Sequence[str] | str) -> Sequence[str]:
    return [match] if isinstance(match, str) else match


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
    scoring: Scoring,
    reference: str,
    dataset: Dataset,
    scored: Sequence[int],
    forecaster: Forecaster,
) -> dict[str, dict[str, Any]]:
    """`Scoring.comparison` by MSE, and within it that by each other score that ranks."""
    groups = _groups(dataset, scored, forecaster.window)
    by = {
        score: scoring.comparison(reference, *groups, score)
        for score in ("mse", *ranked_by(forecaster.scaling.units))
    }
    others = [score for score in by if score != "mse"]
    return {
        name: compared | {score: by[score][name] for score in others}
        for name, compared in by["mse"].items()
    }


def _groups(dataset: Dataset, scored: Sequence[int], window: Window) -> tuple[list[int], str]:
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
    return group_by_stretch(places, max(2 * window.length, frames // 30)), "blocks"


def _by_scale(rows: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of a threshold, those of `fss` by scale: {"csi": ..., "fss": {"5": ...}}."""
    fss = {name.removeprefix("fss "): of for name, of in rows.items() if name.startswith("fss ")}
    return {name: of for name, of in rows.items() if not name.startswith("fss ")} | {"fss": fss}


def _skills(tables: Mapping[str, Any]) -> dict[str, Any]:
    """1 - MSE / MSE of persistence; the same in either convention."""

    def skill(mse: float, reference: float) -> float:
        return 1 - mse / reference if reference else float("nan")

    reference = tables["persistence"]["standard"]["mse"]
    return {
        name: {
            "overall": skill(of["standard"]["mse"]["overall"], reference["overall"]),
            "per_lead": list(map(skill, of["standard"]["mse"]["per_lead"], reference["per_lead"])),
        }
        for name, of in tables.items()
    }
