"""Honest scores: one pass over clips that were never trained on, nothing held, the baselines beside
the model.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.clip import fill_missing, missing_where_unseen
from foreframe.data import batches, chosen
from foreframe.files import atomic_write
from foreframe.forecaster import Forecaster
from foreframe.metrics import EventScorecard, PhysicalScorecard, Scorecard
from foreframe.models import BASELINES, SCORED, Model, build_model
from foreframe.precision import EXACT, check_precision, computing
from foreframe.visuals import animation, paint_for, strip, write_curves, write_gif, write_png


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
) -> dict[str, Any]:
    """Scores per lead time and overall, in both conventions (see `Scorecard`), beside the
    baselines, and the skill.

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
            `EventScorecard`).
        scales: odd sides in pixels for the fractions skill score of these events.
        period: adds the baseline `cycle`, the frame so many steps before: 24 for "the same hour
            yesterday".
        progress: called after each batch with how many clips are scored, and how many will be.
        precision: of the model, as in `Forecaster.predict`; the baselines are exact.

    Returns:
        {"clips", "past", "future", "units", "precision" (of "auto" the one that was taken),
        "scores": {"model" or baseline: {convention: {score: {"overall", "per_lead"}}}},
        "events": {"model" or baseline: {threshold: {score: the same}}},
        "skill": {name: 1 - MSE / MSE of persistence, overall and per lead time}}. Plain values,
        ready for JSON. Data with units have a third convention, `physical` (see
        `PhysicalScorecard`).

    Raises:
        ValueError: clips that are too short, damaged or of other channels than the model's; a
            precision that is unknown, or that the device does not have.
    """
    check_precision(precision)
    window, scaling, model = forecaster.window, forecaster.scaling, forecaster.model.eval()
    rivals: dict[str, Model] = {"model": model} | {name: build_model(name) for name in baselines}
    if period is not None:
        rivals["cycle"] = build_model("cycle", {"period": period})
    cards = {name: Scorecard(window.future) for name in rivals}
    physical = {name: PhysicalScorecard(window.future) for name in rivals if scaling.units}
    events = {
        name: EventScorecard(window.future, thresholds, scales, scaling.units)
        for name in rivals
        if thresholds
    }
    total = len(chosen(dataset, clips))
    for batch in batches(dataset, batch_size, clips):
        past, future = window.split(batch.to(forecaster.device))
        past = fill_missing(past)[0]
        _check_channels(model, past)
        truth = scaling.to_units(future)
        precision = forecaster.settled(precision, past.shape)
        for name, rival in rivals.items():
            with computing(precision if name == "model" else EXACT, past.device):
                made = rival(past, window.future).float()
            cards[name].update(made, future)
            for card in (some[name] for some in (physical, events) if some):
                card.update(scaling.to_units(made), truth)
        if progress is not None:
            progress(cards["model"].clips, total)
    scores = {name: card.table() for name, card in cards.items()}
    for name, of in physical.items():
        scores[name]["physical"] = of.table()
    return {
        "clips": cards["model"].clips,
        "past": window.past,
        "future": window.future,
        "units": scaling.units,
        "precision": precision,
        "scores": scores,
        "events": {name: of.table() for name, of in events.items()},
        "skill": _skills(scores) if "persistence" in scores else {},
    }


def _check_channels(model: Model, past: Tensor) -> None:
    if model.channels not in (None, past.shape[2]):
        raise ValueError(
            f"the clips have {past.shape[2]} channels, but the model takes {model.channels}"
        )


def _skills(scores: Mapping[str, Any]) -> dict[str, Any]:
    """1 - MSE / MSE of persistence; the same in either convention."""

    def skill(mse: float, reference: float) -> float:
        return 1 - mse / reference if reference else float("nan")

    reference = scores["persistence"]["standard"]["mse"]
    return {
        name: {
            "overall": skill(of["standard"]["mse"]["overall"], reference["overall"]),
            "per_lead": [
                skill(*pair)
                for pair in zip(
                    of["standard"]["mse"]["per_lead"], reference["per_lead"], strict=True
                )
            ],
        }
        for name, of in scores.items()
    }


@torch.inference_mode()
def write_report(
    folder: str | Path,
    card: Mapping[str, Any],
    forecaster: Forecaster,
    dataset: Dataset,
    examples: int = 3,
) -> list[Path]:
    """scorecard.json, curves.png, and strip.png and forecast.gif of the first (not of chosen)
    clips, into `folder`.

    Raises:
        ValueError: when they cannot be written.
    """
    folder = Path(folder)
    paths = [
        folder / name for name in ("scorecard.json", "curves.png", "strip.png", "forecast.gif")
    ]
    with atomic_write(paths[0]) as rough:
        rough.write_text(json.dumps(_finite(card), indent=1) + "\n", encoding="utf-8")
    write_curves(paths[1], _panels(card), names=("model", *BASELINES))
    window, scaling = forecaster.window, forecaster.scaling
    shown = next(batches(dataset, examples, limit=examples)).to(forecaster.device)
    past, truth = window.split(shown)
    filled, last = fill_missing(past)
    with computing(
        forecaster.settled(card.get("precision", EXACT), filled.shape), forecaster.device
    ):
        made = missing_where_unseen(forecaster.model.eval()(filled, window.future).float(), last)
    frames = [one.cpu().numpy() for one in (past, made, truth)]
    paint = None
    if scaling.units:  # a field, in its own colours
        frames = [scaling.to_units(one) for one in frames]
        known = frames[2][np.isfinite(frames[2])]
        low, high = (known.min(), known.max()) if known.size else (scaling.low, scaling.high)
        paint = paint_for("auto", float(low), float(high), scaling.units)
    clips = list(zip(*frames, strict=True))
    write_png(
        paths[2], np.concatenate(_as_wide([strip(*clip, paint=paint) for clip in clips]), axis=0)
    )
    write_gif(
        paths[3],
        np.concatenate(_as_wide([animation(*clip, paint=paint) for clip in clips]), axis=1),
    )
    return paths


def _panels(card: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Curves by lead time: of pictures MSE, SSIM and PSNR, of fields the error in units, and of
    events their CSI.
    """

    def panel(of: str, *path: str) -> dict[str, list[float]]:
        found = {}
        for name, scores in card[of].items():
            for key in path:
                scores = scores[key]
            found[name] = scores["per_lead"]
        return found

    if not card.get("units"):
        panels = {
            "MSE (openstl: summed over a frame)": panel("scores", "openstl", "mse"),
            "SSIM (standard: L = 1)": panel("scores", "standard", "ssim"),
            "PSNR in dB (standard: pooled)": panel("scores", "standard", "psnr"),
        }
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
    """Black is left out, and the title says so, where it is further from all else (a temperature of
    0, a film of 6 dB) than these are from each other: they would lie on one line. The table has
    it.
    """
    rest = {name: values for name, values in series.items() if name != "black"}
    black, others = (
        [value for values in some for value in values if isfinite(value)]
        for some in ([series.get("black", [])], rest.values())
    )
    if (
        not black
        or not others
        or max(min(black) - max(others), min(others) - max(black)) <= max(others) - min(others)
    ):
        return title, series
    return f"{title}\nblack is far off, and left out", rest


def _as_wide(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pictures whose legends differ in width by some pixels, because one says that data are
    missing, get the widest one's width.
    """
    widest = max(one.shape[-2] for one in pictures)
    return [
        np.pad(
            one,
            [(0, 0)] * (one.ndim - 2) + [(0, widest - one.shape[-2]), (0, 0)],
            constant_values=24,
        )
        for one in pictures
    ]


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _finite(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_finite(of) for of in value]
    return (
        None
        if isinstance(value, float) and (value != value or abs(value) == float("inf"))
        else value
    )
