"""The lagged ensemble: the baseline of ensembles, which needs no training."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.models.baselines import guide_of
from foreframe.models.checks import within
from foreframe.models.interface import (
    Future,
    Model,
    State,
    part_of,
    peek,
    pop,
    push_ring,
    where_states,
    with_prefix,
)


class Lagged(Model):
    """Forecasts of a baseline that begin 0, 1, 2, ... frames ago, as members (Hoffman & Kalnay
    1983): the older a forecast, the larger its error, and so the spread.

    Member k of `foreframe.models.members` begins k mod n frames ago, where n is `lags`, or the
    number of frames seen if that is smaller. The forecast without members is the mean of all n.

    Args:
        of: a name of `BASELINES`, or {name: its arguments}.
        lags: number of forecasts.

    Raises:
        ValueError: an unknown baseline, arguments that it does not take, lags below 1 or above 100.
    """

    draws = True

    def __init__(self, of: str | Mapping[str, Any] = "dense_motion", lags: int = 5) -> None:
        super().__init__()
        within(1, 100, lags=lags)  # frames that a state keeps
        self.baseline, self.lags = guide_of(of), lags
        self.sized = self.baseline.sized

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        """Keeps the last `lags` frames, and what the baseline keeps of those before them."""
        n, t = self.lags, past.shape[1]
        if state is None:
            old = self.baseline.encode(past[:, :-n]) if t > n else self.baseline.start(past)
        else:
            old, frames = part_of(state, "old/"), torch.cat([state["recent"], past], dim=1)
            for k in range(t):  # those that are recent no longer
                encoded = self.baseline.encode(frames[:, k : k + 1], old)
                old = where_states(state["recent_seen"] + k >= n, encoded, old)
        return push_ring(past, state, n, "recent") | with_prefix("old/", old)

    def precompute(self, state: State, steps: int) -> State:
        """With all forecasts."""
        forecasts = [self.baseline.advance(own, steps, last=True)[0] for own in self._ready(state)]
        return state | {"forecasts": torch.stack(forecasts, dim=2)}

    def begin(self, state: State) -> State:
        """Forecasts that are made already, or each ready to step; and the share of each."""
        begun: State = {}
        if "forecasts" in state:
            begun["forecasts"] = state["forecasts"]
        else:
            for k, own in enumerate(self._ready(state)):
                begun |= with_prefix(f"{k}/", own)
        n = state["recent_seen"].long()
        number = torch.arange(self.lags, device=n.device)
        if "member" in state:
            shares = (number == (state["member"] % n)[:, None]).float()
        else:
            shares = (number < n[:, None]) / n[:, None]
        return {"shares": shares} | begun

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        each, stepped = self.each_next(state, self.horizon, last)
        total = torch.zeros_like(each[0])
        for frames, share in zip(each, state["shares"].unbind(dim=1), strict=True):
            share = share.view(-1, 1, 1, 1, 1)
            total = total + frames.where(share > 0, 0) * share  # a forecast may be missing (NaN)
        return total.to(each[0].dtype), stepped

    def each_next(self, state: State, steps: int, last: bool = False) -> tuple[list[Future], State]:
        """The next frames of each forecast, and the state after them; arguments as of `advance`."""
        stepped = dict(state)
        if "forecasts" in state:
            stepped["forecasts"] = pop(state["forecasts"], steps)
            return list(peek(state["forecasts"], steps).unbind(dim=2)), stepped
        each = []
        for k in range(self.lags):
            frames, own = self.baseline.advance(part_of(state, f"{k}/"), steps, last)
            each.append(frames)
            stepped |= with_prefix(f"{k}/", own)
        return each, stepped

    def _ready(self, state: State) -> list[State]:
        """The baseline k frames ago, run on to the next frame."""
        ready: list[State] = []
        own, n = part_of(state, "old/"), self.lags
        for k in reversed(range(n)):
            encoded = self.baseline.encode(state["recent"][:, n - 1 - k : n - k], own)
            own = where_states(state["recent_seen"] > k, encoded, own)
            begun = self.baseline.begin(own | self.baseline.exogenous(own, k))
            ready.append(self.baseline.advance(begun, k)[1] if k else begun)
        return ready[::-1]
