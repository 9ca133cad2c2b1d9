"""Members of a forecast of rain that is multiplied by smooth noise of several sizes."""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from foreframe.clips.keyed import further, normals
from foreframe.clips.scaling import Scaling
from foreframe.models.interface import Future, Model, Past, State, with_prefix
from foreframe.models.members_of import MembersOf
from foreframe.models.motion import exactly
from foreframe.models.noise import Noise

SIZES = (4, 8, 16, 32, 64)  # pixels
SPREAD = 0.17  # of the logarithm of rain, of each size of noise, after one step
STRONGEST = 1.5  # times the last frame's


class Perturbed(MembersOf):
    """A forecaster with frozen weights, whose forecast k steps ahead is m in the data's units. A
    member is

        m · exp(√(k p) Σ_s a_s x_s)

    where p is the time step relative to that of training, and x_s is normal noise, drawn at points
    s = 4, 8, 16, 32 and 64 pixels apart and linear between them, the same at all lead times: small
    patterns of rain are as uncertain as large ones, and heavy rain is more uncertain than light
    rain. No member exceeds 1.5 times the largest value of the last frame. For values of 0 or more.

    Only a member's ranks matter: it is meant to be matched to the guide, which provides the values
    of rain (`foreframe.addons.radar.matching`). STEPS (Bowler et al. 2006) adds noise to the
    logarithm, too, but to the levels of a cascade, as each loses its skill.

    Args:
        of: the forecaster, {name: arguments} as `build_model` takes them, or a name alone. By
            default a training uses the forecaster of its initial weights; it learns the five
            numbers a_s, which start at .17.

    Raises:
        ValueError: an unknown model.
    """

    losses = ("crps",)
    scaling = Scaling()
    pace = 1.0  # p

    def __init__(self, of: str | Mapping[str, Any]) -> None:
        super().__init__(of)
        self.noise = SmoothNoise(SIZES)
        self.log_spread = nn.Parameter(torch.full((len(SIZES),), math.log(SPREAD)))

    @property
    def guide(self) -> Model | None:
        return self.of.guide

    def at_pace(self, pace: float) -> Model:
        if pace == self.pace:
            return self
        other = copy(self)
        other.pace = pace
        return other

    def encode(self, past: Past, state: State | None = None) -> State:
        return super().encode(past, state) | {"last": past[:, -1, : past.shape[2] - self.inputs]}

    def exogenous(self, state: State, steps: int) -> State:
        """The inputs of the forecaster, and the noise of members."""
        entering = super().exogenous(state, steps)
        if "key" in state:
            entering["noise"] = self.noise(state, state["last"].shape[-2:])
        return entering

    def begin(self, state: State) -> State:
        begun: State = {name: state[name] for name in ("forecast", "noise") if name in state}
        if "forecast" not in state:
            begun |= with_prefix("of/", self.of.begin(self.state_of(state)))
        last = state["last"]
        return begun | {"last": last, "lead": last.new_zeros(last.shape[0])}

    def advance(self, state: State, steps: int, last: bool = False) -> tuple[Future, State]:
        m, stepped = self.forecast_next(state, steps, last)
        if "noise" in state:
            lead = state["lead"][:, None] + torch.arange(1, steps + 1, device=m.device)
            m = self.perturbed(m, state["noise"], lead, state["last"])
        return m, state | stepped | {"lead": state["lead"] + steps}

    def perturbed(
        self,
        m: Future,
        noise: Float[Tensor, "b 1 n h w"],
        lead: Float[Tensor, "b s"],
        last: Float[Tensor, "b c h w"],
    ) -> Future:
        """A member on the network's scale, of a forecast m and a last frame on it."""
        with exactly(m):
            a = self.log_spread.exp().view(-1, 1, 1)
            x = (a * noise.float()).sum(dim=2, keepdim=True)
            rain, seen = (self.scaling.to_units(of.float()) for of in (m, last))
            most = STRONGEST * seen.amax(dim=(1, 2, 3)).view(-1, 1, 1, 1, 1)
            member = rain * ((self.pace * lead).sqrt().view(*lead.shape, 1, 1, 1) * x).exp()
            return self.scaling.to_network(member.minimum(most)).to(m.dtype)

    def precompute(self, state: State, steps: int) -> State:
        """The forecast and the guide's, which replace the state they are computed from."""
        if "forecast" in state:
            return state
        made: State = {name: state[name] for name in ("last", "place") if name in state}
        with torch.no_grad():
            if self.guide is None:
                return made | {"forecast": self.of.decode(self.state_of(state), steps)}
            forecast, guide = self.of.decode_with_guide(self.state_of(state), steps)
        return made | {"forecast": forecast, "guide": guide}

    def decode_with_guide(self, state: State, steps: int) -> tuple[Future, Future]:
        state = self.precompute(state, steps)
        return self.decode(state, steps), state["guide"][:, :steps]


class SmoothNoise(Noise):
    """Channels of normal noise, of deviation 1, the same at all lead times.

    Args:
        apart: one distance in pixels for each channel: it is drawn at points that lie so far apart,
            and is linear between them.
    """

    def __init__(self, apart: Sequence[int]) -> None:
        super().__init__()
        self.apart = tuple(apart)

    @torch.no_grad()
    def forward(self, state: State, size: Sequence[int]) -> Float[Tensor, "b 1 n i j"]:
        """The noise of frames of this size (i,j), from each member's "key" and a tile's "place"."""
        key, (i, j) = state["key"], size
        place = state.get("place", key.new_zeros(key.shape[0], 2))
        each = [_smooth(further(key, d, _SMOOTH), place, i, j, d) for d in self.apart]
        return torch.cat(each, dim=2)


_SMOOTH = 3  # a part of keys, so that other noise draws other numbers


def _smooth(
    keys: Int[Tensor, " b"], place: Int[Tensor, "b 2"], i: int, j: int, apart: int
) -> Float[Tensor, "b 1 1 i j"]:
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
    at_corners = further(
        keys.view(-1, 1, 1, 1, 1), 0, rows[:, None, None, :, None], columns[:, None, None, None, :]
    )
    return torch.einsum("bik,bsnkl,bjl->bsnij", weights[0], normals(at_corners), weights[1])
