"""Forecasts of networks for a batch of clips, and the number of clips at a time."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.base.budget import GIB, check_budget
from foreframe.base.wording import plural
from foreframe.clips.clip import Window
from foreframe.data.datasets import clip_set
from foreframe.evaluation.metrics.scorecard import COPIES, STRETCH
from foreframe.evaluation.metrics.structural import HELD, STRETCH_OF_MAPS
from foreframe.evaluation.score_options import BUDGET
from foreframe.forecasting.compute import computing
from foreframe.forecasting.forecast_options import EXACT
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import EnsembleRequest, Model, Parts, forecast_of, with_known
from foreframe.models.footprint import FIXED, bound, footprint, group_size


def inputs_of(forecaster: Forecaster, dataset: Dataset) -> int:
    """The number of channels of the clips that are inputs."""
    return forecaster.model.inputs or clip_set(dataset).inputs


def forecast_clips(
    network: Model,
    parts: Parts,
    precision: str = EXACT,
    guided: bool = False,
    drawn: EnsembleRequest | None = None,
) -> tuple[Float[Tensor, "n s c h w"], Float[Tensor, "b s c h w"] | None]:
    """Forecast all scored frames by `foreframe.models.forecast_of`; baselines ignore inputs."""
    past = parts.past if network.inputs else parts.past_of_targets
    known = parts.known if network.inputs else None
    steps = parts.truth.shape[1]
    with computing(precision, past.device, network):
        state = network.encode(past)
        state = state if known is None else with_known(state, known)
        if drawn is None:
            return forecast_of(network, state, steps, guided)
        b, t, *frame = past.shape
        group = group_size(network, b * drawn.n, t, frame, steps, draws=True)
        return forecast_of(network, state, steps, guided, drawn, max(1, group // b))


def members_of(
    network: Model, parts: Parts, precision: str, drawn: EnsembleRequest
) -> Float[Tensor, "b m s c h w"]:
    """`forecast_clips` for the members of each clip."""
    future, _ = forecast_clips(network, parts, precision, drawn=drawn)
    return future.unflatten(0, (-1, drawn.n))


KEPT = 3  # forecasts in memory during scoring, with those for matching
OF_MEMBERS = 9  # copies of each member during the scoring of an ensemble


def clips_at_once(
    networks: Iterable[Model],
    window: Window,
    clip: Sequence[int],
    batch_size: int,
    inputs: int = 0,
    members: int = 0,
    budget: float = BUDGET,
) -> int:
    """The number of clips to forecast and score at a time: as many as the budget holds, at most
    `batch_size`.

    Args:
        networks: the networks to score in turn.
        window: past and future frames.
        clip: (T,C,H,W), with `inputs` input channels.
        members: members of each clip to score as an ensemble.
        budget: GiB.

    Raises:
        OverBudgetError: a single clip requires more than the budget.
    """
    _, c, h, w = clip
    frames, target = 4 * window.length * c * h * w, 4 * (c - inputs) * h * w
    targets = (KEPT + members * OF_MEMBERS) * window.future * target
    # Maps during scoring: a stretch of lead times, and of images for SSIM; at least two of each.
    held = max(STRETCH, 2 * COPIES * target) + max(STRETCH_OF_MAPS, 8 * HELD * h * w)
    most = frames + bound(window.past, (c, h, w), window.future)
    if FIXED + batch_size * most > budget * GIB:
        most = frames - FIXED
        most += max(
            footprint(n, window.past, (c if n.inputs else c - inputs, h, w), window.future)
            for n in networks
        )
    check_budget(
        FIXED + max(most, held + frames + targets),
        budget,
        f"scoring one clip of {plural(window.length, 'frame')} of {c}x{h}x{w}",
        "score fewer --members, tiles (--splits.tile), smaller frames (--reading.size) or fewer "
        "(--past, --future)",
    )
    room = budget * GIB - FIXED
    return min(batch_size, int(room / most), int((room - held) / (frames + targets)))


def fewer_within(
    seconds: float,
    clips: Sequence[int],
    at_once: int,
    score: Callable[[Sequence[int]], Any],
) -> Sequence[int]:
    """Return evenly spread clips, as many as can be scored in `seconds`, but at least `at_once`.

    The first `at_once` clips are scored to measure the time.
    """
    if len(clips) <= at_once or math.isinf(seconds):
        return clips
    began = time.monotonic()
    score(clips[:at_once])
    took = time.monotonic() - began
    n = min(len(clips), at_once * max(1, int((seconds - took) / took)))
    return [clips[k] for k in np.linspace(0, len(clips) - 1, n).round().astype(int)]
