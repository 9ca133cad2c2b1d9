"""Members: several possible futures of one past. The randomness lives in the state.

`members` repeats each clip of a state and gives each copy a key; a model that has `Noise` draws it
from that key, the lead time and the place. So `decode` stays a pure function: the same key gives
the same future, in a stream, in tiles, and at any time. Without keys in its state a model
forecasts as if it had no noise.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from foreframe.base.schema import check_types
from foreframe.clips.keyed import further, key_of, mixed, normals
from foreframe.models.engine import PackedConv2d
from foreframe.models.interface import Model, State


def members(state: State, n: int, seed: int | Int[Tensor, " b"] = 0, first: int = 0) -> State:
    """The state of `n` members of each clip, numbered from `first`; all members of the first clip
    come first.

    Args:
        state: what `encode` gave, of b clips; it is left as it was.
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


KEYS = ("key", "member", "place")  # of a state, from which noise is drawn before a forecast begins


class EnsembleRequest(NamedTuple):
    """How many members to forecast, and how.

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
    `foreframe.models.footprint.at_once` finds that memory allows; the group changes no values.
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
    """Channels of normal noise, of deviation 1.

    Args:
        stride: side, in pixels of a frame, of a pixel of the maps that the noise is for.
        drift: channels that differ from place to place and are the same at all lead times.
        whole: channels that are one number for a clip, at all places and lead times: for what all
            of it has in common, such as its speed.
        local: channels that differ from place to place and from lead time to lead time.
        apart: noise that differs from place to place is drawn at points so many pixels of the maps
            apart, and is interpolated between them.

    Raises:
        ValueError: no channels, or a distance or stride below 1.
    """

    def __init__(
        self, stride: int, drift: int = 0, /, whole: int = 16, local: int = 4, apart: int = 2
    ) -> None:
        super().__init__()
        if min(whole, local, drift) < 0 or whole + local + drift < 1:
            raise ValueError(
                f"noise has 1 channel or more, not {whole} whole, {local} local, {drift} drift"
            )
        if apart < 1 or stride < 1:
            raise ValueError(f"noise is drawn 1 pixel or more apart, not {apart} of {stride}")
        self.whole, self.local, self.drift = whole, local, drift
        self.apart, self.stride = apart, stride
        self.width = whole + local + drift

    @torch.no_grad()
    def forward(
        self, state: State, leads: Sequence[int], size: Sequence[int], factor: int = 1
    ) -> Float[Tensor, "b steps n i j"]:
        """The noise at these lead times, which count from 0.

        Args:
            state: with each member's "key", and a tile's "place".
            size: (i,j) of the maps.
            factor: how many times smaller than they are the network sees frames.
        """
        key, (i, j), steps = state["key"], size, len(leads)
        b = len(key)
        place = state.get("place", key.new_zeros(b, 2)) // (self.stride * factor)
        parts = []
        if self.whole:
            channel = torch.arange(self.whole, device=key.device)
            numbers = normals(further(key[:, None], _WHOLE, channel))
            parts.append(numbers.view(b, 1, -1, 1, 1).expand(-1, steps, -1, i, j))
        if self.local:
            lead = torch.tensor(leads, device=key.device)
            keys = further(key[:, None], _LOCAL, lead)
            parts.append(_smooth(keys, self.local, place, i, j, self.apart))
        if self.drift:
            drift = _smooth(further(key[:, None], _DRIFT), self.drift, place, i, j, self.apart)
            parts.append(drift.expand(-1, steps, -1, -1, -1))
        return torch.cat(parts, dim=2)


class NoiseInjection(nn.Module):
    """Adds `Noise` to maps of a model, through a 1x1 convolution for each of them, so that members
    differ; its drift is handed on as it is.

    Args:
        noise: arguments of `Noise`, by name.
        stride: side, in pixels of a frame, of a pixel of the maps.
        widths: channels of each of the maps that noise is added to; 0 for maps that get none.
        drift: channels of the drift, by which a head moves things.

    Raises:
        ValueError: as `Noise`, or arguments that it does not take.
    """

    def __init__(
        self, noise: Mapping[str, Any], stride: int, widths: Sequence[int], drift: int = 0
    ) -> None:
        super().__init__()
        check_types(Noise, noise, "noise")
        self.noise = Noise(stride, drift, **noise)
        self.drift = drift
        convolutions = [
            PackedConv2d(self.noise.width, width, 1, bias=False) for width in widths if width
        ]
        for convolution in convolutions:
            # Not 0: without any spread a CRPS has no gradient for it.
            nn.init.normal_(convolution.weight, std=0.02)
        self.added = nn.ModuleList(convolutions)
        self.widths = tuple(widths)

    def forward(
        self, noise: Float[Tensor, "b steps n i j"]
    ) -> tuple[list[Float[Tensor, "b steps _ i j"] | None], Float[Tensor, "b steps _ i j"] | None]:
        """What to add to each of the maps, None where that is nothing; and the drift, None without
        any.
        """
        flat = noise.flatten(0, 1).to(next(self.added.parameters()))
        convolutions = iter(self.added)
        added = [
            next(convolutions)(flat).unflatten(0, noise.shape[:2]) if width else None
            for width in self.widths
        ]
        return added, noise[:, :, noise.shape[2] - self.drift :] if self.drift else None


_WHOLE, _LOCAL, _DRIFT = 1, 2, 3  # parts of keys, so that each kind has numbers of its own


def _smooth(
    keys: Int[Tensor, "b s"], channels: int, place: Int[Tensor, "b 2"], i: int, j: int, apart: int
) -> Float[Tensor, "b s n i j"]:
    """Normal noise of deviation 1 at each pixel of maps i x j: drawn at the corners of a grid that
    is fixed to the whole frame, wherever a tile begins, and linear between them.
    """
    corners, weights = [], []
    for axis, length in ((0, i), (1, j)):
        # Places of the pixels and of the corners around them, in units of the grid.
        at = (place[:, axis, None] + torch.arange(length, device=place.device)) / apart
        first = torch.div(place[:, axis], apart, rounding_mode="floor")
        corner = first[:, None] + torch.arange(
            math.ceil((length - 1) / apart) + 2, device=place.device
        )
        weight = (1 - (at[:, :, None] - corner[:, None, :]).abs()).clamp(min=0)
        corners.append(corner)
        weights.append(weight / weight.square().sum(dim=2, keepdim=True).sqrt())
    rows, columns = corners
    channel = torch.arange(channels, device=keys.device)
    at_corners = further(
        keys[:, :, None, None, None],
        channel[:, None, None],
        rows[:, None, None, :, None],
        columns[:, None, None, None, :],
    )
    return torch.einsum("bik,bsnkl,bjl->bsnij", weights[0], normals(at_corners), weights[1])
