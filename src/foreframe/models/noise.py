"""Members: several possible futures of one past. The randomness lives in the state.

`members` repeats each clip of a state and gives each copy a key; a model that has `Noise` draws it
from that key, the lead time and the place. So `decode` stays a pure function: the same key gives
the same future, in a stream, in tiles, whenever it is asked for again. A state without keys draws
nothing, and the model is as if it had no noise.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from foreframe.base.typed import check_types
from foreframe.clips.keyed import further, key_of, mixed, normals
from foreframe.models.interface import Model, State


def members(state: State, n: int, seed: int | Int[Tensor, " b"] = 0, first: int = 0) -> State:
    """Members `first` to `first + n - 1` of each clip of a state, as clips: all of the first clip's
    come first.

    Args:
        state: what `encode` gave, of b clips; it is left as it was.
        n: members of each clip, at least 1.
        seed: of all clips alike, so that a clip's members do not depend on the batch that it is in;
            or a number for each clip.
        first: number of the first of them; members 4 to 7 drawn alone are those of 8.

    Raises:
        ValueError: n below 1, or first below 0.
    """
    if n < 1 or first < 0:
        raise ValueError(f"members are 1 or more, counted from 0, not {n} from {first}")
    some = next(iter(state.values()))
    number = torch.arange(first, first + n, device=some.device)
    of_clips = (key_of(seed) if isinstance(seed, int) else mixed(seed)).to(some.device)
    keys = further(of_clips.expand(some.shape[0]).unsqueeze(1), number)
    repeated = {name: value.repeat_interleave(n, dim=0) for name, value in state.items()}
    return repeated | {"key": keys.flatten(), "member": number.repeat(some.shape[0])}


class Drawn(NamedTuple):
    """Members that are asked for: so many of each clip, by this seed, or one for each clip; cut to
    the values that frames may have, since each is to be a future that may come.
    """

    n: int
    seed: int | Int[Tensor, " b"] = 0
    within: tuple[float, float] = (-math.inf, math.inf)


def forecast_of(
    model: Model,
    state: State,
    steps: int,
    guided: bool = False,
    drawn: Drawn | None = None,
    group: int = 1,
) -> tuple[Float[Tensor, "n steps c h w"], Float[Tensor, "b steps c h w"] | None]:
    """A forecast in float32, and its guide's where that is asked for, which all members share.

    Where members are drawn, those of the first clip come first. They are made `group` at a time
    (`foreframe.models.footprint.at_once`), and are the same ones for any.
    """
    if drawn is None:
        return _decoded(model, state, steps, guided)
    state = model.shared(state, steps)
    futures, guide = [], None
    for first in range(0, drawn.n, group):
        n = min(group, drawn.n - first)
        asked = members(state, n, drawn.seed, first)
        future, told = _decoded(model, asked, steps, guided)
        futures.append(future.clamp(*drawn.within).unflatten(0, (-1, n)))
        if guide is None and told is not None:
            guide = told.unflatten(0, (-1, n))[:, 0]
    return torch.cat(futures, dim=1).flatten(0, 1), guide


def _decoded(
    model: Model, state: State, steps: int, guided: bool
) -> tuple[Float[Tensor, "b steps c h w"], Float[Tensor, "b steps c h w"] | None]:
    if guided:
        future, guide = model.decode_with_guide(state, steps)
        return future.float(), guide.float()
    return model.decode(state, steps).float(), None


def placed(state: State, row: int, column: int) -> State:
    """The state of a tile, which begins at that row and column of a whole frame: its noise is then
    a part of that of the whole.
    """
    some = next(iter(state.values()))
    place = torch.tensor([row, column], device=some.device).expand(some.shape[0], 2)
    return {**state, "place": place}


class Noise(nn.Module):
    """Channels of normal noise.

    Args:
        stride: pixels of a frame for one of the maps that it is drawn for.
        drift: channels that differ from place to place and stay for all lead times.
        whole: channels of which each is one number for a clip, at all places and lead times: of
            what is the same for all of it, such as its speed.
        local: channels that differ from place to place and are drawn anew for each lead time.
        apart: what differs from place to place is drawn at places so many pixels of the maps apart,
            and is smooth between them.

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

    def forward(
        self, state: State, steps: int, size: Sequence[int], first: int = 0, factor: int = 1
    ) -> Float[Tensor, "b steps n i j"] | None:
        """The noise of lead times `first` to `first + steps - 1` on maps of that size, of frames
        that are seen so many times smaller; None where the state has no keys.
        """
        if "key" not in state:
            return None
        key, (i, j) = state["key"], size
        b = len(key)
        place = state.get("place", key.new_zeros(b, 2)) // (self.stride * factor)
        parts = []
        if self.whole:
            channel = torch.arange(self.whole, device=key.device)
            drawn = normals(further(key[:, None], _WHOLE, channel))
            parts.append(drawn.view(b, 1, -1, 1, 1).expand(-1, steps, -1, i, j))
        if self.local:
            lead = torch.arange(first, first + steps, device=key.device)
            leads = further(key[:, None], _LOCAL, lead)
            parts.append(_smooth(leads, self.local, place, i, j, self.apart))
        if self.drift:
            still = further(key[:, None], _DRIFT)
            parts.append(
                _smooth(still, self.drift, place, i, j, self.apart).expand(-1, steps, -1, -1, -1)
            )
        return torch.cat(parts, dim=2)


def kept_of(state: State) -> State:
    """What of a state says which member it is, and of which place."""
    return {name: state[name] for name in ("key", "member", "place") if name in state}


class Astray(nn.Module):
    """What makes members of a model differ: `Noise`, and what of it is added where.

    Args:
        noise: arguments of `Noise`, by name.
        stride: pixels of a frame for one of the maps.
        widths: channels of each of the maps that something is added to; 0 for none.
        drift: channels by which a head moves things.

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
        convolutions = [nn.Conv2d(self.noise.width, of, 1, bias=False) for of in widths if of]
        for convolution in convolutions:
            # Not nothing: without any spread a CRPS has no gradient for it.
            nn.init.normal_(convolution.weight, std=0.02)
        self.added = nn.ModuleList(convolutions)
        self.widths = tuple(widths)

    def forward(
        self, state: State, steps: int, size: Sequence[int], first: int = 0, factor: int = 1
    ) -> tuple[list[Float[Tensor, "b steps _ i j"] | None], Float[Tensor, "b steps n i j"] | None]:
        """For lead times from `first` on what is added to each of the maps, and the drift; all None
        where the state has no keys. Arguments as of `Noise`.
        """
        noise = self.noise(state, steps, size, first, factor)
        if noise is None:
            return [None] * len(self.widths), None
        flat, each = noise.flatten(0, 1).to(next(self.added.parameters())), iter(self.added)
        added = [
            next(each)(flat).unflatten(0, noise.shape[:2]) if width else None
            for width in self.widths
        ]
        return added, noise[:, :, noise.shape[2] - self.drift :] if self.drift else None


_WHOLE, _LOCAL, _DRIFT = 1, 2, 3  # so that the channels of one kind are not those of another


def _smooth(
    keys: Int[Tensor, "b s"], channels: int, place: Int[Tensor, "b 2"], i: int, j: int, apart: int
) -> Float[Tensor, "b s n i j"]:
    """Normal noise of deviation 1 everywhere: drawn at the corners of a grid that lies still,
    wherever a tile begins, and linear between them.
    """
    corners, weights = [], []
    for axis, length in ((0, i), (1, j)):
        # Places of the pixels, in units of the grid.
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
