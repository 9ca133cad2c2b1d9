"""Forecasts frame by frame, as far as somebody looks, in constant memory."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.clips.frames import fill_missing
from foreframe.forecasting.compute import computing, requested
from foreframe.forecasting.forecast_options import ForecastOptions
from foreframe.forecasting.matches import match_of, model_of
from foreframe.forecasting.network import ScaledNetwork
from foreframe.forecasting.tiles import encoded
from foreframe.models import EnsembleRequest, Model, members, placed
from foreframe.models.footprint import group_size
from foreframe.models.interface import State


def frames_ahead(
    f: ScaledNetwork,
    past: Float[Tensor, "t _ h w"],
    steps: int,
    known: Any,
    options: ForecastOptions,
    dtype: Any,
) -> Iterator[Float[np.ndarray, "*m c h w"]]:
    """The frame of each lead time in turn, without an end: see `Forecaster.rollout`.

    Args:
        past: on the network's scale.
        steps: lead times that are computed at a time.
        dtype: as of `Forecaster.finished`.
    """
    model = model_of(f.model.at_pace(f.pace), options.match)
    ensemble = requested(options, f.scaling.network_bounds)
    past, last = fill_missing(past.unsqueeze(0))
    known = None if known is None else f.known_inputs(known, last)
    frame = past.shape[2:]
    group = group_size(
        model, options.members or 1, past.shape[1], frame, steps, ensemble is not None
    )
    ahead, guides = stretches(model, past, steps, known, ensemble, group), None
    if match_of(options.match).guided:
        assert model.guide is not None
        guides = stretches(model.guide, past[:, :, : frame[0] - model.inputs], steps)
    while True:
        # Frames are handed out outside of it: what is computed between them is not ours.
        with torch.inference_mode(), computing(options.precision, f.device, model):
            future, guide = next(ahead), None
            if guides is not None:
                guide = next(guides)[:, : future.shape[1], : future.shape[2]]
            made = f.finished(future, last, guide, options, dtype)[:, 0].cpu().numpy()
        yield from made[0] if ensemble is None else made.swapaxes(0, 1)


def stretches(
    model: Model,
    past: Float[Tensor, "1 t _ h w"],
    steps: int,
    known: Float[Tensor, "1 s i h w"] | None = None,
    ensemble: EnsembleRequest | None = None,
    group: int = 1,
) -> Iterator[Float[Tensor, "m n c h w"]]:
    """The next n frames of a clip, or of its members, then the n after them, and so on, by `begin`
    and `advance`: the loop that `Model.decode` is.

    Args:
        past: on the network's scale, without missing values.
        steps: n, which may be less, as a step of several frames is not cut.
        known: the inputs of the frames that follow.
        ensemble: the members, of which `group` are computed at a time.
    """
    n = -(-steps // model.horizon) * model.horizon
    state = encoded(model, past, known)
    state = shared = state if ensemble is None else placed(state, 0, 0)
    if ensemble is not None:
        shared = model.precompute(state, n)
    if shared is not state:  # what members have in common ends with the first n frames
        begun = [_begun(model, own, n) for own in _members(shared, ensemble, group)]
        yield _joined([model.advance(own, n, last=True)[0] for own in begun], ensemble)
    encodings = _members(state, ensemble, group)
    states = [_begun(model, own, n) for own in encodings]
    for first in count(0, n):
        made = [model.advance(own, n) for own in states]
        if first or shared is state:
            yield _joined([frames for frames, _ in made], ensemble)
        following = [_noise(model, own, first + n, n) for own in encodings]
        states = [own | noise for (_, own), noise in zip(made, following, strict=True)]


def _members(state: State, ensemble: EnsembleRequest | None, group: int) -> list[State]:
    """The states of the members, some at a time; without members the given state."""
    if ensemble is None:
        return [state]
    n, seed = ensemble.n, ensemble.seed
    return [members(state, min(group, n - k), seed, k) for k in range(0, n, group)]


def _begun(model: Model, state: State, steps: int) -> State:
    return model.begin(state | model.exogenous(state, steps))


def _noise(model: Model, state: State, first: int, steps: int) -> State:
    """The noise of an encoded member's lead times from `first` on; empty without."""
    if "key" not in state:
        return {}
    state = state | {"first_lead": torch.full_like(state["key"], first)}
    return {name: x for name, x in model.exogenous(state, steps).items() if name == "noise"}


def _joined(frames: list[Tensor], ensemble: EnsembleRequest | None) -> Tensor:
    whole = torch.cat(frames).float()
    return whole if ensemble is None else whole.clamp(*ensemble.limits)
