"""Members: several possible futures of one past. The randomness lives in the state.

`members` repeats each clip of a state and gives each copy a key; a model draws noise from that
key, the lead time and the place. Therefore `decode` is a pure function: the same key gives the same
future, in a stream, in tiles, and at any time. Without keys in its state a model forecasts as if it
had no noise.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from foreframe.clips.keyed import further, key_of, mixed, normals
from foreframe.models.interface import Model, State


def members(state: State, n: int, seed: int | Int[Tensor, " b"] = 0, first: int = 0) -> State:
    """The state of `n` members of each clip, numbered from `first`; all members of the first clip
    come first.

    Args:
        state: from `encode`, of b clips; it is not changed.
        n: members of each clip, at least 1.
        seed: one of all clips, so that a clip's members do not depend on the batch that it is in;
            or a number for each clip.
        first: number of the first member; members 4 to 7 alone are the same as among 8.

    Raises:
        ValueError: n below 1, or first below 0.
    """
    if n < 1 or first < 0:
        raise ValueError(f"members are 1 or more, counted from 0, not {n} from {first}")
    some = next(iter(state.values()))
    number = torch.arange(first, first + n, device=some.device)
    clip_keys = (key_of(seed) if isinstance(seed, int) else mixed(seed)).to(some.device)
    keys = further(clip_keys.expand(some.shape[0]).unsqueeze(1), number)
    repeated = {name: value.repeat_interleave(n, dim=0) for name, value in state.items()}
    return repeated | {"key": keys.flatten(), "member": number.repeat(some.shape[0])}


# Of a state: noise is drawn from these before a forecast begins.
KEYS = "key", "member", "place", "first_lead"


class EnsembleRequest(NamedTuple):
    """Number and options of the members to forecast.

    Attributes:
        n: members of each clip.
        seed: of all clips, or one for each clip.
        limits: the lowest and the highest value that frames can have; members are clamped to them,
            so that each is a future that may come.
    """

    n: int
    seed: int | Int[Tensor, " b"] = 0
    limits: tuple[float, float] = (-math.inf, math.inf)


def forecast_of(
    model: Model,
    state: State,
    steps: int,
    guided: bool = False,
    ensemble: EnsembleRequest | None = None,
    group: int = 1,
) -> tuple[Float[Tensor, "n steps c h w"], Float[Tensor, "b steps c h w"] | None]:
    """Decode a state, or members of it, in float32; with `guided` also the forecast of the model's
    guide, which all members share.

    The members of the first clip come first. They are decoded `group` at a time, as
    `foreframe.models.footprint.group_size` finds that memory allows; the group changes no values.
    """
    if ensemble is None:
        return _decoded(model, state, steps, guided)
    state = model.precompute(state, steps)
    futures, guide = [], None
    for first in range(0, ensemble.n, group):
        n = min(group, ensemble.n - first)
        some = members(state, n, ensemble.seed, first)
        future, guides = _decoded(model, some, steps, guided)
        futures.append(future.clamp(*ensemble.limits).unflatten(0, (-1, n)))
        if guide is None and guides is not None:
            guide = guides.unflatten(0, (-1, n))[:, 0]
    return torch.cat(futures, dim=1).flatten(0, 1), guide


def _decoded(
    model: Model, state: State, steps: int, guided: bool
) -> tuple[Float[Tensor, "b steps c h w"], Float[Tensor, "b steps c h w"] | None]:
    if guided:
        future, guide = model.decode_with_guide(state, steps)
        return future.float(), guide.float()
    return model.decode(state, steps).float(), None


def placed(state: State, row: int, column: int) -> State:
    """The state of a tile that begins at this row and column of the whole frame, so that its noise
    is a part of the whole frame's.
    """
    some = next(iter(state.values()))
    place = torch.tensor([row, column], device=some.device).expand(some.shape[0], 2)
    return {**state, "place": place}


class Noise(nn.Module):
    """Channels of normal noise, of deviation 1, the same at all lead times and places. Subclasses
    may draw other noise.

    Args:
        whole: number of these channels.

    Attributes:
        apart: one distance in pixels for each further channel of a subclass, which differs from
            place to place: it is drawn at points that lie so far apart, and is linear between them.
    """

    apart: Sequence[int] = ()

    def __init__(self, whole: int = 0) -> None:
        super().__init__()
        self.whole = whole

    @torch.no_grad()
    def forward(self, state: State, size: Sequence[int]) -> Float[Tensor, "b 1 n i j"]:
        """The noise of frames of this size (i,j), from each member's "key"."""
        channel = torch.arange(self.whole, device=state["key"].device)
        whole = normals(further(state["key"][:, None], _WHOLE, channel))
        return whole[:, None, :, None, None].expand(-1, -1, -1, *size)


def first_lead(state: State) -> Int[Tensor, "b 1"]:
    """The lead time that noise is drawn from: 0, unless the state says otherwise."""
    key = state["key"]
    return state.get("first_lead", torch.zeros_like(key)).unsqueeze(1)


_WHOLE = 1  # a part of keys: each kind of noise draws other numbers
