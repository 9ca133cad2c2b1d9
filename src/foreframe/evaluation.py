"""Honest scores: one pass over clips that were never trained on, nothing held, the baselines beside the model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.clip import fill_missing
from foreframe.data import batches
from foreframe.files import whole_file
from foreframe.forecaster import Forecaster
from foreframe.metrics import Scorecard
from foreframe.models import BASELINES, Model, build_model
from foreframe.visuals import animation, strip, write_curves, write_gif, write_png


@torch.inference_mode()
def evaluate(
    forecaster: Forecaster,
    dataset: Dataset,
    clips: int | None = None,
    batch_size: int = 16,
    baselines: Sequence[str] = BASELINES,
) -> dict[str, Any]:
    """Scores per lead time and overall, in both conventions (see `Scorecard`), beside the baselines, and the skill.

    Args:
        forecaster: its window says how many frames are past and future; its scaling is not used, since items lie in [0,1] already.
        dataset: items (T,C,H,W), float32 in [0,1], at least as long as the window.
        clips: how many to score; all by default.
        batch_size: clips at once.
        baselines: names in MODELS to score beside the model.

    Returns:
        {"clips", "past", "future", "scores": {"model" or baseline: {convention: {score: {"overall", "per_lead"}}}},
        "skill": {name: 1 - MSE / MSE of persistence, overall and per lead time}}. Plain values, ready for JSON.

    Raises:
        ValueError: clips that are too short, damaged or of other channels than the model's.
    """
    window, model = forecaster.window, forecaster.model.eval()
    rivals: dict[str, Model] = {"model": model} | {name: build_model(name) for name in baselines}
    cards = {name: Scorecard(window.future) for name in rivals}
    for batch in batches(dataset, batch_size, clips):
        past, future = window.split(batch.to(forecaster.device))
        past = fill_missing(past)[0]
        _check_channels(model, past)
        for name, rival in rivals.items():
            cards[name].update(rival(past, window.future), future)
    scores = {name: card.table() for name, card in cards.items()}
    return {
        "clips": cards["model"].clips,
        "past": window.past,
        "future": window.future,
        "scores": scores,
        "skill": _skills(scores) if "persistence" in scores else {},
    }


def _check_channels(model: Model, past: Tensor) -> None:
    if model.channels not in (None, past.shape[2]):
        raise ValueError(f"the clips have {past.shape[2]} channels, but the model takes {model.channels}")


def _skills(scores: Mapping[str, Any]) -> dict[str, Any]:
    """1 - MSE / MSE of persistence; the same in either convention."""

    def skill(mse: float, reference: float) -> float:
        return 1 - mse / reference if reference else float("nan")

    reference = scores["persistence"]["standard"]["mse"]
    return {
        name: {
            "overall": skill(of["standard"]["mse"]["overall"], reference["overall"]),
            "per_lead": [skill(*pair) for pair in zip(of["standard"]["mse"]["per_lead"], reference["per_lead"], strict=True)],
        }
        for name, of in scores.items()
    }


@torch.inference_mode()
def write_report(
    folder: str | Path, card: Mapping[str, Any], forecaster: Forecaster, dataset: Dataset, examples: int = 3
) -> list[Path]:
    """scorecard.json, curves.png, and strip.png and forecast.gif of the first (not of chosen) clips, into `folder`.

    Raises:
        ValueError: when they cannot be written.
    """
    folder = Path(folder)
    paths = [folder / name for name in ("scorecard.json", "curves.png", "strip.png", "forecast.gif")]
    with whole_file(paths[0]) as rough:
        rough.write_text(json.dumps(_finite(card), indent=1) + "\n", encoding="utf-8")
    panels = {
        title: {name: of[convention][score]["per_lead"] for name, of in card["scores"].items()}
        for title, convention, score in (
            ("MSE (openstl: summed over a frame)", "openstl", "mse"),
            ("SSIM (standard: L = 1)", "standard", "ssim"),
            ("PSNR in dB (standard: pooled)", "standard", "psnr"),
        )
    }
    write_curves(paths[1], panels)
    window = forecaster.window
    shown = next(batches(dataset, examples, limit=examples))
    past, truth = window.split(shown)
    made = forecaster.model.eval()(past.to(forecaster.device), window.future).float().cpu()
    clips = list(zip(past.numpy(), made.numpy(), truth.numpy(), strict=True))
    write_png(paths[2], np.concatenate([strip(*clip) for clip in clips], axis=0))
    write_gif(paths[3], np.concatenate([animation(*clip) for clip in clips], axis=1))
    return paths


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _finite(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_finite(of) for of in value]
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value
