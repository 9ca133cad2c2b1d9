"""Members of a forecast, dressed with what a lagged ensemble differs by.

Dressing gives a forecast the errors that it may have (Roulston & Smith 2003). Here these are what
forecasts of a baseline differ by that began at different times: where nothing moves members are
alike, and where they differ each looks like a frame, not like noise.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.interface import Past, State, part_of, peek, pop, with_prefix
from foreframe.models.lagged import Lagged
from foreframe.models.members_of import MembersOf
from foreframe.models.motion import exactly, gradient
from foreframe.models.noise import Noise

Frames = Float[Tensor, "b t c h w"]

LEANS = 0.9  # on a single lagged forecast
TINY = 1e-6  # of a square, in a range of 1
MOST = 2.0  # of log s


class Dressed(MembersOf):
    """A forecaster with frozen weights, whose forecast is m, and the forecasts x_1 ... x_n of a
    baseline that began 0 to n - 1 frames earlier (`Lagged`), of mean x̄. Member j is

        m + s Σ_k w_k (x_k - x̄),    w_k = .9 [k = 1 + j mod n] + √(1 - .9²) z_k / √(n - 1),

    with z normal: it leans on one of the lagged forecasts, so that few members differ as much as
    they can, and all are different. The weights w are the same at all places and lead times; s > 0
    differs, and is what is learnt:

        log s = b + a · (log σ², log (m - x̄)², log |∇m|², log t),

    where σ² is the variance of the lagged forecasts and t the lead time. Squares are of means over
    channels. Five numbers say it all, so that minutes of training suffice.

    Args:
        of: the forecaster, {name: arguments} as `build_model` takes them, or a name alone. A
            training takes by default that of the weights with which it begins.
        by: the baseline of the lagged forecasts, and
        lags: their number, both as of `Lagged`.

    Raises:
        ValueError: as `Lagged`, or what is no model.
    """

    losses = ("crps",)

    def __init__(
        self,
        of: str | Mapping[str, Any],
        by: str | Mapping[str, Any] = "dense_motion",
        lags: int = 5,
    ) -> None:
        super().__init__(of)
        self.lagged = Lagged(by, lags)
        self.sized = self.of.sized or self.lagged.sized
        self.noise = Noise(whole=lags)
        self.scale = nn.Conv2d(4, 1, 1)  # log s
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)  # type: ignore[arg-type]

    def encode(self, past: Past, state: State | None = None) -> State:
        frames = past[:, :, : past.shape[2] - self.inputs]
        before = None if state is None else part_of(state, "lagged/")
        lagged = with_prefix("lagged/", self.lagged.encode(frames, before))
        return super().encode(past, state) | lagged

    def exogenous(self, state: State, steps: int) -> State:
        """What enters the forecaster, and z of members, each leaning on one lagged forecast."""
        entering = super().exogenous(state, steps)
        if "key" in state:
            count = state["lagged/recent_seen"].long()
            lag = torch.arange(self.lagged.lags, device=count.device)
            leans = (lag == (state["member"] % count)[:, None]).float().view(-1, 1, len(lag), 1, 1)
            leans = leans * (count - 1).sqrt().view(-1, 1, 1, 1, 1)
            z = self.noise(state, (1, 1))
            entering["noise"] = LEANS * leans + math.sqrt(1 - LEANS**2) * z
        return entering

    def begin(self, state: State) -> State:
        """Both ready to step; of members that share their frames these frames and the noise."""
        if "forecast" in state:
            return {name: state[name] for name in ("forecast", "differences", "noise")}
        begun = with_prefix("of/", self.of.begin(self.state_of(state)))
        if "noise" not in state:
            return begun
        return begun | self._lagged_begun(state) | {"noise": state["noise"]}

    def advance(self, state: State, steps: int, last: bool = False) -> tuple[Frames, State]:
        m, stepped = self.forecast_next(state, steps, last)
        if "noise" not in state:
            return m, stepped
        if "differences" in state:
            differences = peek(state["differences"], steps)
            stepped["differences"] = pop(state["differences"], steps)
        else:
            differences, lagged = self._differences(m, state, last)
            stepped |= lagged
        w = state["noise"][:, :1, :, :, :, None]
        member = m + (w * differences).sum(dim=2)
        return member.to(m.dtype), state | stepped

    def precompute(self, state: State, steps: int) -> State:
        """m, and what members differ by, in place of what both come from."""
        with torch.no_grad():
            m = self.of.decode(self.state_of(state), steps)
        differences, _ = self._differences(m, self._lagged_begun(state), last=True)
        seen = {"lagged/recent_seen": state["lagged/recent_seen"]}
        return seen | {"forecast": m, "differences": differences}

    def _lagged_begun(self, state: State) -> State:
        begun = with_prefix("lagged/", self.lagged.begin(part_of(state, "lagged/")))
        return begun | {"lead": begun["lagged/shares"].new_zeros(begun["lagged/shares"].shape[0])}

    def _differences(
        self, m: Frames, state: State, last: bool
    ) -> tuple[Float[Tensor, "b t n c h w"], State]:
        """s (x_k - x̄) / √(n - 1) of each lagged forecast of the lead times of m, 0 where there are
        not so many; and the state after them.
        """
        steps = m.shape[1]
        exact = torch.promote_types(m.dtype, torch.float32)
        with torch.no_grad(), exactly(m):
            each, lagged = self.lagged.each_next(part_of(state, "lagged/"), steps, last)
            shares = state["lagged/shares"].view(m.shape[0], 1, -1, 1, 1, 1)
            n = (shares > 0).sum(dim=2, keepdim=True)
            x = torch.stack(each, dim=2).to(exact).where(shares > 0, 0)
            del each  # large frames fill the memory
            mean = (shares * x).sum(dim=2, keepdim=True)
            apart = (x - mean).where(shares > 0, 0) / (n - 1).clamp(min=1).sqrt()
            del x
            lead = state["lead"][:, None] + torch.arange(1, steps + 1, device=m.device)
            features = self._features(m.to(exact), mean[:, :, 0], apart, lead)
        with exactly(m):
            log_s = self.scale(features.flatten(0, 1)).unflatten(0, m.shape[:2])
            differences = log_s.clamp(max=MOST).exp().unsqueeze(2) * apart
        return differences, with_prefix("lagged/", lagged) | {"lead": state["lead"] + steps}

    def _features(
        self,
        m: Frames,
        mean: Frames,
        apart: Float[Tensor, "b t n c h w"],
        lead: Float[Tensor, "b t"],
    ) -> Float[Tensor, "b t 4 h w"]:
        grey = m.mean(dim=2)
        variance = apart.mean(dim=3).square().sum(dim=2)
        off = (grey - mean.mean(dim=2)).square()
        x, y = gradient(grey)
        squares = torch.stack([variance, off, x * x + y * y], dim=2)
        # About 0 to 1, as the bias is.
        logs = (squares + TINY).log() / 4 + 2
        return torch.cat([logs, lead.log()[:, :, None, None, None].expand_as(logs[:, :, :1])], 2)
