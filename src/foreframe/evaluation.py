"""Honest scores. One loop makes them all: of trained forecasters beside the baselines, while
training, of forecasts that roll through a recording, of live ones, and of those made elsewhere.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.clip import Clip, Window
from foreframe.data import MovingMNIST, Recordings, batches, chosen
from foreframe.data.datasets import clip_set
from foreframe.data.forecasts import Forecasts, moments, rows_by_time, rows_in_order
from foreframe.ensemble import Ensemble
from foreframe.files import atomic_write
from foreframe.forecaster import Forecaster
from foreframe.frames import missing_where_unseen
from foreframe.keyed import further, key_of
from foreframe.matching import match_to
from foreframe.metrics import SCORES, EnsembleScorecard, Scorecard, Scores, scores_of
from foreframe.metrics.comparison import FEWEST, group_by_stretch, paired_bootstrap
from foreframe.metrics.relative import ERRORS, as_error, best_of, in_words, ranked_by, relative
from foreframe.models import (
    BASELINES,
    SCORED,
    STILL,
    Cycle,
    Drawn,
    Lagged,
    Model,
    Parts,
    build_model,
    forecast_members,
    forecast_of,
    parts_of,
    with_known,
)
from foreframe.options import GUIDE
from foreframe.precision import EXACT, check_precision, computing
from foreframe.scaling import Scaling
from foreframe.stream import Stream
from foreframe.units import check_units
from foreframe.visuals import (
    Paint,
    Scene,
    animation,
    comparison,
    paint_for,
    strip,
    strip_of_members,
    write_curves,
    write_ensembles,
    write_gif,
    write_mp4,
    write_png,
)
from foreframe.wording import plural

CANDIDATES = 6  # clips that are looked at for each one that the film shows
FPS = 5.0  # of that film

RMSE: Scores = {"physical": {"rmse": SCORES["physical"]["rmse"]}}


class Scoring:
    """Forecasts of several forecasters and their common truth, to a scorecard for each forecaster.

    All scores of foreframe are made here. Whoever has forecasts hands them over as they come, a
    batch at a time: a loop over a Dataset, Lightning, a walk through a recording, a live stream.

    Args:
        steps: lead times.
        scores: which, for each forecaster by its name.
        to_units: takes forecasts and truth to the data's own units, where they are not in them.

    Attributes:
        cards: a scorecard for each forecaster.
    """

    def __init__(
        self,
        steps: int,
        scores: Mapping[str, Scores],
        to_units: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.cards = {name: Scorecard(steps, of, to_units) for name, of in scores.items()}

    def add(
        self,
        forecasts: Iterable[tuple[str, Float[Tensor, "b t c h w"]]],
        truth: Float[Tensor, "b t c h w"],
    ) -> None:
        """Score a batch: each forecaster's name and forecast, drawn one after the other."""
        for name, forecast in forecasts:
            self.cards[name].update(forecast, truth)

    def reduce(self, total: Callable[[Tensor], Tensor]) -> None:
        """Add up what several processes have scored; `total` gives the sum over all of them."""
        for card in self.cards.values():
            card.sums = total(card.sums)

    @property
    def clips(self) -> int:
        return min(card.clips for card in self.cards.values())

    def tables(self) -> dict[str, dict[str, Any]]:
        """{forecaster: the table of its scorecard}; raises as that does."""
        return {name: card.table() for name, card in self.cards.items()}

    def comparison(
        self, reference: str, groups: Sequence[int], over: str, score: str = "mse"
    ) -> dict[str, dict[str, Any]]:
        """Whether each other forecaster's error differs from the reference's by more than chance.

        Args:
            reference: name of the forecaster that the others are compared with.
            groups: for each clip the number of its group, which is independent of other groups.
            over: what the groups are called.
            score: of `foreframe.metrics.relative.ERRORS`.

        Returns:
            {name: the fields of `Comparison`, and "over"}: a difference above 0 is a larger error
            than the reference's.
        """
        convention, name = ERRORS[score]
        parts = {who: card.by_clip(convention, name) for who, card in self.cards.items()}

        def error(*sums: Tensor) -> Tensor:
            return as_error(score, SCORES[convention][name].value(*sums))

        return {
            who: asdict(paired_bootstrap(own, parts[reference], error, groups)) | {"over": over}
            for who, own in parts.items()
            if who != reference
        }


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
) -> dict[str, Any]:
    """Scores per lead time and overall, in every convention of `foreframe.metrics.SCORES`, beside
    the baselines, the skill, and whether differences could be chance.

    Args:
        forecaster: its window says how many frames are past and future; its scaling takes items,
            which lie in [0,1] already, back to units for what is scored in these.
        dataset: items (T,C,H,W), float32 in [0,1], at least as long as the window; NaN where a
            value is missing, which never counts.
        clips: how many to score; all by default. Of windows of recordings as many are taken evenly
            spread.
        batch_size: clips at once.
        baselines: names in MODELS to score beside the model.
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
            `Forecaster.predict` does, on the clips as they are scored.
        members: so many of each clip are drawn and scored as an ensemble, beside a lagged one,
            which costs nothing; their mean is a further row.
        seed: of the members, which differ from clip to clip.

    Returns:
        {"clips", "past", "future", "units", "precision" (of "auto" the one that was taken),
        "reference": whom the others are compared with,
        "scores": {"model" or baseline: {convention: {score: {"overall", "per_lead"}}}}, "events":
        {"model" or baseline: {threshold: {score: the same}}}, "skill": {name: 1 - MSE / MSE of
        persistence, overall and per lead time}, "relative": errors in units of the last frame's
        (`foreframe.metrics.relative`), "comparison": {name: see `Scoring.comparison`; of 1 - SSIM
        under "ssim", of the RMSE of data with units under "rmse"}, "best_baseline": {"mse" and
        "ssim", or "rmse": name}, "in_words": who is ahead of that by how much}; of members
        "ensemble": {"seed", and by name: `foreframe.metrics.EnsembleScorecard.summary`}.
        Plain values, ready for JSON. Data with units have a third convention, `physical`.

    Raises:
        ValueError: clips that are too short, damaged or of other channels than the model's; a
            precision that is unknown, or that the device does not have; forecasts of other clips,
            of another size, in other units, or that are not numbers.
    """
    check_precision(precision)
    period = _period_of(forecaster.model) if period is None else period
    matches = {f"{name} matched to {of}": of for of in _several(match)}
    forecaster.check_match(*matches.values())
    forecaster.check_members(members)
    window, scaling = forecaster.window, forecaster.scaling
    models: dict[str, Model] = {name: forecaster.model.eval()}
    models |= {baseline: build_model(baseline) for baseline in baselines if baseline != name}
    if period is not None:
        models["cycle"] = build_model("cycle", {"period": period})
    scored, elsewhere = _elsewhere(forecasts, dataset, clips, forecaster)
    means = {} if members is None else {f"{name}, mean of {members}": members}
    _check_names([*models, *matches, *means, *(given.name for given in forecasts)])
    reference = forecasts[0].name if forecasts and name in BASELINES else name
    names = list(dict.fromkeys([reference, name, *means, *matches, *elsewhere, *models]))
    ensembles = _Ensembles(forecaster, members, seed, thresholds, dataset)

    def forecasts_of(parts: Parts, which: Sequence[int]) -> Iterator[tuple[str, Tensor]]:
        for rival, read in elsewhere.items():
            yield rival, _checked(rival, read(which), parts)
        guided = GUIDE in matches.values()
        own, guide = _forecast(forecaster.model, parts, precision, guided)
        yield name, own
        drawn = ensembles.score(parts, which, precision)
        for row in means:
            assert drawn is not None
            yield row, drawn.mean(dim=1)
        for row, of in matches.items():
            yield row, match_to(of, own, parts.last, guide)
        for rival, network in models.items():
            if rival != name:
                yield rival, _forecast(network, parts)[0]

    inputs = _inputs(forecaster, dataset)
    scores = scores_of(scaling.units, thresholds, scales)
    scoring = Scoring(window.future, dict.fromkeys(names, scores), scaling.to_units)
    for batch in batches(dataset, batch_size, among=scored):
        _check_channels(forecaster.model, batch)
        parts = parts_of(batch.to(forecaster.device), window, inputs)
        precision = forecaster.settled(precision, parts.past.shape)
        which = scored[scoring.clips : scoring.clips + len(batch)]
        scoring.add(forecasts_of(parts, which), parts.truth)
        if progress is not None:
            progress(scoring.clips, len(scored))
    tables = scoring.tables()
    events = [convention for convention in scores if convention not in SCORES]
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
        "best_baseline": best_baselines(tables, reference, scaling.units),
    }
    if members is not None:
        card["ensemble"] = ensembles.summary()
    return card | {"in_words": in_words(card)}


class _Ensembles:
    """Members of a forecaster beside a lagged ensemble, scored a batch at a time; none of either
    where no members are asked for. Where the data can tell what may come, the true futures are a
    further ensemble, which none can beat.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        members: int | None,
        seed: int,
        thresholds: Sequence[float],
        dataset: Dataset,
    ) -> None:
        self.oracle = None
        self.seed, window, scaling = seed, forecaster.window, forecaster.scaling
        self.networks: dict[str, tuple[Model, int]] = {}
        if members is not None:
            lagged = Lagged(lags=min(LAGS, window.past))
            self.networks = {
                "model": (forecaster.model, members),
                "lagged": (lagged, lagged.lags),
            }
        self.cards = {
            name: EnsembleScorecard(
                window.future, n, scaling.units, thresholds, scaling.to_units, seed
            )
            for name, (_, n) in self.networks.items()
        }
        if members is not None and isinstance(dataset, MovingMNIST) and dataset.motion.redraw:
            self.oracle = dataset.futures
            self.cards["oracle"] = EnsembleScorecard(window.future, members, seed=seed)

    def score(
        self, parts: Parts, which: Sequence[int], precision: str
    ) -> Float[Tensor, "b m s c h w"] | None:
        """Gives the forecaster's members of these clips, each clip's drawn anew."""
        own = None
        seeds = _seeds(self.seed, which)
        for name, (network, n) in self.networks.items():
            exact = EXACT if name != "model" else precision
            X = _members(network, parts, exact, Drawn(n, seeds))
            self.cards[name].update(X, parts.truth, clips=which)
            own = X if own is None else own
        if own is not None and self.oracle is not None:
            futures = self.oracle(which, parts.past.shape[1], own.shape[1], self.seed)
            self.cards["oracle"].update(futures[:, :, : parts.truth.shape[1]], parts.truth, which)
        return own

    def summary(self) -> dict[str, Any]:
        return {"seed": self.seed} | {name: card.summary() for name, card in self.cards.items()}


def _period_of(model: Model) -> int | None:
    """Of a cycle that the model draws upon: such a model is to be compared with it."""
    guides = getattr(model.guide, "each", [model.guide])
    return next((guide.period for guide in guides if isinstance(guide, Cycle)), None)


LAGS = 5  # of the lagged ensemble


def best_baselines(tables: Mapping[str, Any], reference: str, units: str = "") -> dict[str, str]:
    """The baseline with the lowest overall error, by each score that ranks (`ranked_by`): of all
    that were scored and cost nothing, so no other program's forecasts; empty without any.
    """
    free = [name for name in tables if name in BASELINES and name != reference]
    best = {score: best_of(tables, free, score) for score in ranked_by(units)}
    return {score: name for score, name in best.items() if name is not None}


def moving_baseline(card: Mapping[str, Any]) -> str | None:
    """The best scored baseline whose forecasts move, by the card's first score that ranks; None
    where none was scored.
    """
    score = ranked_by(card["units"])[0]
    names = [name for name in card["scores"] if name in BASELINES and name not in STILL]
    return best_of(card["scores"], [name for name in names if name != card["reference"]], score)


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


def _inputs(forecaster: Forecaster, dataset: Dataset) -> int:
    """How many channels of the clips are inputs; a baseline sees none, whatever they have."""
    return forecaster.model.inputs or clip_set(dataset).inputs


def _forecast(
    network: Model, parts: Parts, precision: str = EXACT, guided: bool = False
) -> tuple[Float[Tensor, "b s c h w"], Float[Tensor, "b s c h w"] | None]:
    """Of all frames that are scored, and the guide's where it is asked for; baselines see no
    inputs.
    """
    past = parts.past if network.inputs else parts.past_of_targets
    known = parts.known if network.inputs else None
    steps = parts.truth.shape[1]
    with computing(precision, past.device):
        state = network.eval().encode(past)
        state = state if known is None else with_known(state, known)
        return forecast_of(network, state, steps, guided)


def _members(
    network: Model, parts: Parts, precision: str, drawn: Drawn
) -> Float[Tensor, "b m s c h w"]:
    past = parts.past if network.inputs else parts.past_of_targets
    with computing(precision, past.device):
        state = network.eval().encode(past)
        if network.inputs and parts.known is not None:
            state = with_known(state, parts.known)
        steps = parts.truth.shape[1]
        future, _ = forecast_members(network, state, steps, guided=False, drawn=drawn)
    return future.unflatten(0, (-1, drawn.n))


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


def _elsewhere(
    forecasts: Sequence[Forecasts], dataset: Any, clips: int | None, forecaster: Forecaster
) -> tuple[Sequence[int], dict[str, Callable[[Sequence[int]], Tensor]]]:
    """Which clips are scored, and for each of `forecasts` what reads those of some of them, on the
    network's scale.
    """
    times = _times(dataset, forecaster.window) if any(f.times for f in forecasts) else None
    among: Sequence[int] = range(len(dataset))
    rows: list[Mapping[int, int]] = []
    if times is not None:
        rows = [rows_by_time(given, times) for given in forecasts if given.times is not None]
        among = [clip for clip in among if all(clip in row for row in rows)]
    scored = chosen(dataset, clips, among)
    if not scored:
        raise ValueError(
            f"{' and '.join(given.name for given in forecasts)} have no clip in common"
        )
    readers = {}
    for given in forecasts:
        check_units(given.units, forecaster.scaling.units, given.name, "the clips are in")
        if given.steps < forecaster.window.future:
            raise ValueError(
                f"{given.name} forecasts {plural(given.steps, 'frame')}, but "
                f"{forecaster.window.future} are scored; --future {given.steps} scores as many"
            )
        by_time = times is not None and given.times is not None
        row = rows.pop(0) if by_time else rows_in_order(given, scored)
        readers[given.name] = _reader(given, row, dataset, forecaster.window, forecaster.scaling)
    return scored, readers


def _times(dataset: Any, window: Window) -> dict[int, tuple[str, ...]] | None:
    """The times of the frames that each clip asks for; None where they are not known."""
    if not isinstance(dataset, Recordings) or any(clip.times is None for clip in dataset.clips):
        return None
    known = [moments(clip.times) for clip in dataset.clips if clip.times is not None]
    times, owner = {}, dict[tuple[str, ...], int]()
    for k, (recording, start, *_) in enumerate(dataset.windows):
        times[k] = known[recording][start + window.past : start + window.length]
        if owner.setdefault(times[k], recording) != recording:
            raise ValueError(
                f"{dataset.name}: two recordings are of the same time, {times[k][0]}, so times do "
                "not tell which forecast is of which; give the forecasts as .npy in the order of "
                "the clips"
            )
    return times


def _reader(
    given: Forecasts, rows: Mapping[int, int], dataset: Any, window: Window, scaling: Scaling
) -> Callable[[Sequence[int]], Tensor]:
    c, h, w = np.shape(dataset[0])[1:]
    c -= len(scaling.inputs)

    def read(clip: int) -> Tensor:
        values = given.read(rows[clip])[: window.future]
        if isinstance(dataset, Recordings) and dataset.splits.tile:
            top, left = dataset.windows[clip][2:]
            values = values[..., top : top + h, left : left + w]
        if values.shape[1:] != (c, h, w):
            raise ValueError(
                f"{given.name} forecasts frames of {'x'.join(map(str, values.shape[1:]))}, but the "
                f"clips have {c}x{h}x{w}"
            )
        values = np.ascontiguousarray(scaling.from_pictures(values), dtype=np.float32)
        return replace(scaling, inputs=()).to_network(torch.from_numpy(values))

    return lambda which: torch.stack([read(clip) for clip in which])


def _checked(name: str, forecast: Float[Tensor, "b s c h w"], parts: Parts) -> Tensor:
    """A forecast that is a number wherever the truth is; 0, as networks are shown, where NaN says
    that the past never held a value.
    """
    forecast = forecast.to(parts.past.device)
    forecast = forecast.where(~(forecast.isnan() & parts.last.isnan().unsqueeze(1)), 0)
    bad = int((~forecast.isfinite() & ~parts.truth.isnan()).sum())
    if bad:
        raise ValueError(
            f"{name}: {plural(bad, 'value')} of a forecast {'is' if bad == 1 else 'are'} NaN or "
            "infinite where the truth is known; a forecast has to give each a number"
        )
    return forecast


def write_pasts(
    path: str | Path, dataset: Dataset, window: Window, scaling: Scaling, clips: int | None = None
) -> int:
    """The past frames of the clips that `evaluate` scores, in its order, for other programs to
    forecast from: (N,T,C,H,W) as .npy, float32 in the data's own units, NaN where missing, without
    inputs.

    Returns:
        How many clips.

    Raises:
        ValueError: when it cannot be written; no half file stays.
    """
    which = chosen(dataset, clips)
    c, h, w = np.shape(dataset[0])[1:]
    shape = (len(which), window.past, c - len(scaling.inputs), h, w)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with atomic_write(path) as rough, rough.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for batch in batches(dataset, 1, among=which):
            values = scaling.to_units(window.split(batch)[0][:, :, : shape[2]])
            file.write(np.ascontiguousarray(values.numpy(), dtype="<f4").tobytes())
    return len(which)


def rolling_scores(steps: int) -> Scoring:
    """What `rolling` fills: the root mean squared error of its forecasts and of persistence, in the
    data's units.
    """
    return Scoring(steps, {"forecast": RMSE, "persistence": RMSE})


def rolling(
    forecaster: Forecaster,
    clip: Clip,
    firsts: Sequence[int],
    steps: int,
    past: int,
    scoring: Scoring,
    tile: int = 0,
    overlap: int | None = None,
    precision: str = EXACT,
    match: str | None = None,
    members: int | None = None,
    seed: int = 0,
) -> Iterator[tuple[Clip, Any, Clip]]:
    """A forecast from each of several frames of a recording on, scored by what came.

    Args:
        firsts: the first frame to forecast, of each.
        steps: frames of each forecast.
        past: how many frames before it are looked at.
        scoring: from `rolling_scores`; errors are added to it. Pixels that the last frame does not
            know count for neither, since persistence has nothing to say of them.
        tile, overlap, precision, match, members, seed: as in `Forecaster.predict`. Of members the
            mean is scored.

    Yields:
        The frames that were looked at, the forecast, and what came, NaN where the recording has
        ended.
    """
    how = tile, overlap, precision, match, members, seed
    for first in firsts:
        seen, future = forecaster.forecast_from(clip, first, steps, past, *how)
        forecast = future.mean() if isinstance(future, Ensemble) else future
        truth = clip.truth_of(first, forecast)
        now = np.asarray(seen.frames)[-1:].astype(np.float32)
        came = np.where(np.isfinite(now), np.asarray(truth.frames), np.nan)
        still = now.repeat(steps, axis=0)
        forecasts = {"forecast": np.asarray(forecast.frames), "persistence": still}
        scoring.add(((name, _batched(of)) for name, of in forecasts.items()), _batched(came))
        yield seen, future, truth


def awaited(
    live: Stream,
    frames: Iterable[np.ndarray],
    every: int = 1,
    place: Mapping[str, Any] | None = None,
) -> Iterator[tuple[np.ndarray, Any, dict[int, float]]]:
    """Take frames as they come, and forecast after every so many of them. No more is kept than the
    forecasts that still await their frames.

    Args:
        live: the stream; afterwards it has seen them all.
        frames: (C,H,W) each, in the data's own units.
        place: how far their source was read, kept up to date by whoever reads it; the stream notes
            it with each frame.

    Yields:
        The frame, the forecast (S,C,H,W) that follows it, or None, and of earlier forecasts of this
        frame the root mean squared error, by how many frames ahead it was, the latest one first; of
        members (M,S,C,H,W) that of their mean.
        Where a forecast says nothing, or the frame, nothing counts.
    """
    waiting: deque[tuple[int, np.ndarray]] = deque(maxlen=-(-live.steps // every))
    for frame in frames:
        live.take(frame)
        live.source = dict(place or {})
        errors = _errors_of(
            frame[: live.forecaster.model.channels],
            {live.seen - at: of for at, of in reversed(waiting)},
        )
        forecast = None
        if live.seen % every == 0:
            forecast = live.forecast(like=frame)
            of_members = live.drawn is not None
            waiting.append((live.seen, forecast.mean(axis=0) if of_members else forecast))
        yield frame, forecast, errors


def _errors_of(frame: np.ndarray, earlier: Mapping[int, np.ndarray]) -> dict[int, float]:
    """The root mean squared errors of forecasts of one frame, which were made so many frames
    before.
    """
    forecasts = {ahead: of[ahead - 1] for ahead, of in earlier.items() if ahead <= len(of)}
    if not forecasts:
        return {}
    forecast = np.stack(list(forecasts.values()))
    scoring = Scoring(len(forecasts), {"forecast": RMSE})
    truth = np.where(np.isnan(forecast), np.nan, frame[None])
    scoring.add([("forecast", _batched(forecast))], _batched(truth))
    errors = scoring.tables()["forecast"]["physical"]["rmse"]["per_lead"]
    return {ahead: e for ahead, e in zip(forecasts, errors, strict=True) if isfinite(e)}


def _batched(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames, dtype=np.float32)).unsqueeze(0)


@torch.inference_mode()
def write_report(
    folder: str | Path,
    card: Mapping[str, Any],
    forecaster: Forecaster,
    dataset: Dataset,
    examples: int = 3,
    forecasts: Sequence[Forecasts] = (),
) -> list[Path]:
    """scorecard.json and curves.png into `folder`; strip.png and forecast.gif of a few clips evenly
    spread; and comparison.mp4, of a few in which much moves, beside the best baseline that moves;
    where members were scored also ensembles.png, how good they are, and members.png, a few clips'.

    Args:
        card: what `evaluate` gave, with whatever else is to be told.
        forecaster, dataset, forecasts: as it was given them. Pictures are of the card's reference.
        examples: how many clips are shown.

    Raises:
        ValueError: when they cannot be written.
    """
    folder = Path(folder)
    names = ("scorecard.json", "curves.png", "strip.png", "forecast.gif", "comparison.mp4")
    paths = [folder / name for name in names]
    with atomic_write(paths[0]) as rough:
        rough.write_text(json.dumps(_finite(card), indent=1) + "\n", encoding="utf-8")
    write_curves(paths[1], _panels(card), names=("model", *BASELINES))
    scaling, reference = forecaster.scaling, card.get("reference", "model")
    limit = card["clips"] if forecasts else None
    scored, elsewhere = _elsewhere(forecasts, dataset, limit, forecaster)
    rival = moving_baseline(card) or next(iter(card["best_baseline"].values()), None)
    args = {"period": card["period"]} if rival == "cycle" else {}
    beside = {} if rival is None else {rival: build_model(rival, args)}

    def shown(which: Sequence[int], others: Mapping[str, Model] | None = None) -> list[Scene]:
        """Clips with the reference's forecasts and those of others, in the data's units."""
        clips = next(batches(dataset, len(which), among=which)).to(forecaster.device)
        parts = parts_of(clips, forecaster.window, _inputs(forecaster, dataset))
        past = forecaster.window.split(clips)[0][:, :, : parts.last.shape[1]]
        if reference in elsewhere:
            forecast = {reference: elsewhere[reference](which)}
        else:
            precision = forecaster.settled(card.get("precision", EXACT), parts.past.shape)
            forecast = {reference: _forecast(forecaster.model, parts, precision)[0]}
        for name, network in (others or {}).items():
            forecast[name] = _forecast(network, parts)[0]

        def array(frames: Tensor) -> np.ndarray:
            values = frames.cpu().numpy()
            return scaling.to_units(values) if scaling.units else values

        last = parts.last
        drawn = {
            name: array(missing_where_unseen(of.to(last.device), last))
            for name, of in forecast.items()
        }
        frames = zip(array(past), array(parts.truth), *drawn.values(), strict=True)
        return [Scene(p, y, dict(zip(drawn, of, strict=True))) for p, y, *of in frames]

    scenes = shown(chosen(dataset, examples, scored))
    paint = _paint(scenes, scaling)
    clips = [(scene.past, scene.forecasts[reference], scene.truth) for scene in scenes]
    write_png(
        paths[2], np.concatenate(_as_wide([strip(*clip, paint=paint) for clip in clips]), axis=0)
    )
    write_gif(
        paths[3],
        np.concatenate(_as_wide([animation(*clip, paint=paint) for clip in clips]), axis=1),
    )
    moving = [shown([clip], beside)[0] for clip in lively(dataset, examples, scored)]
    write_mp4(paths[4], comparison(moving, _paint(moving, scaling)), fps=FPS)
    if "ensemble" in card:
        paths += [folder / name for name in ("ensembles.png", "members.png")]
        summaries = {name: of for name, of in card["ensemble"].items() if name != "seed"}
        write_ensembles(paths[-2], summaries)
        which = chosen(dataset, examples, scored)
        drawn = summaries["model"]["members"], card["ensemble"]["seed"]
        strips = _strips_of_members(forecaster, dataset, which, *drawn, paint)
        write_png(paths[-1], np.concatenate(_as_wide(strips), axis=0))
    return paths


def _strips_of_members(
    forecaster: Forecaster,
    dataset: Dataset,
    which: Sequence[int],
    members: int,
    seed: int,
    paint: Paint | None,
) -> list[np.ndarray]:
    """A picture of the members of each of these clips, drawn as they were for the scores."""
    scaling = forecaster.scaling
    clips = next(batches(dataset, len(which), among=which)).to(forecaster.device)
    parts = parts_of(clips, forecaster.window, _inputs(forecaster, dataset))
    past = forecaster.window.split(clips)[0][:, :, : parts.last.shape[1]]
    drawn = Drawn(members, _seeds(seed, which))
    X = _members(forecaster.model, parts, EXACT, drawn)
    X = missing_where_unseen(X.flatten(0, 1), parts.last.repeat_interleave(members, dim=0))

    def array(frames: Tensor) -> np.ndarray:
        values = frames.cpu().numpy()
        return scaling.to_units(values) if scaling.units else values

    each = zip(array(past), array(X.unflatten(0, (-1, members))), array(parts.truth), strict=True)
    return [strip_of_members(*of, paint=paint) for of in each]


def _seeds(seed: int, clips: Sequence[int]) -> Int[Tensor, " b"]:
    """Of the members of each clip, by its number."""
    return further(key_of(seed), torch.tensor(list(clips)))


def _paint(scenes: Sequence[Scene], scaling: Scaling) -> Paint | None:
    """A field's own colours, over the range of the truth; None for films."""
    if not scaling.units:
        return None
    known = [scene.truth[np.isfinite(scene.truth)] for scene in scenes]
    low = min((float(values.min()) for values in known if values.size), default=scaling.low)
    high = max((float(values.max()) for values in known if values.size), default=scaling.high)
    return paint_for("auto", low, high, scaling.units)


def lively(dataset: Dataset, n: int, scored: Sequence[int]) -> list[int]:
    """`n` clips in which much moves, in their order: of each n-th part of those scored the one that
    moves most among `CANDIDATES` evenly spread ones.

    How much moves is the median, over the steps from frame to frame, of the mean squared change: so
    a cut or a flash, which is one step, does not count.
    """

    def change(clip: int) -> float:
        frames = next(batches(dataset, 1, among=[clip]))[0]
        steps = (frames[1:] - frames[:-1]).square().flatten(1).nanmean(dim=1)
        return float(steps.nan_to_num(0).median())

    parts = np.array_split(np.asarray(scored), min(n, len(scored)))
    among = [
        part[np.linspace(0, len(part) - 1, min(len(part), CANDIDATES)).astype(int)]
        for part in parts
    ]
    return [max(part.tolist(), key=change) for part in among]


def _panels(card: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Curves by lead time: of films MSE and SSIM, in units of the last frame's errors too, of
    fields the error in units, and of events their CSI. PSNR would be the curve of the MSE again.
    """

    def panel(of: str, *path: str) -> dict[str, list[float]]:
        series = {}
        for name, scores in card[of].items():
            for key in path:
                scores = scores[key]
            series[name] = scores["per_lead"]
        return series

    if not card.get("units"):
        panels = {
            "MSE (openstl: summed over a frame)": panel("scores", "openstl", "mse"),
            "SSIM (standard: L = 1)": panel("scores", "standard", "ssim"),
        }
        if card.get("relative"):
            panels = {
                "MSE, in units of the last frame's": panel("relative", "mse"),
                "1 - SSIM, in units of the last frame's": panel("relative", "ssim"),
            } | panels
    else:
        panels = {
            f"RMSE in {card['units']}": panel("scores", "physical", "rmse"),
            "MSE on the network's scale (standard)": panel("scores", "standard", "mse"),
        }
    for threshold in next(iter(card.get("events", {}).values()), {}):
        panels[f"CSI at {threshold}"] = panel("events", threshold, "csi")
    return dict(_without_far_off(title, series) for title, series in panels.items())


def _without_far_off(
    title: str, series: dict[str, list[float]]
) -> tuple[str, dict[str, list[float]]]:
    """Black is left out, and the title says so, where it is further from all else at every lead
    time (a temperature of 0, a film of 6 dB) than these are from each other: they would lie on one
    line. The table has it.
    """
    rest = {name: values for name, values in series.items() if name != "black"}
    far = []
    for black, *others in zip(series.get("black", []), *rest.values(), strict=False):
        others = [value for value in others if isfinite(value)]
        if isfinite(black) and len(others) > 1:
            gap = max(black - max(others), min(others) - black)
            far.append(gap > max(others) - min(others))
    if not far or not all(far):
        return title, series
    return f"{title}\nblack is far off, and left out", rest


def _as_wide(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pictures padded to the width of the widest: legends differ by some pixels where one says that
    data are missing.
    """
    widest = max(picture.shape[-2] for picture in pictures)

    def widened(picture: np.ndarray) -> np.ndarray:
        more = [(0, 0)] * (picture.ndim - 2) + [(0, widest - picture.shape[-2]), (0, 0)]
        return np.pad(picture, more, constant_values=24)

    return list(map(widened, pictures))


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _finite(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_finite(of) for of in value]
    return None if isinstance(value, float) and not isfinite(value) else value
