"""The lagged ensemble: the baseline of ensembles, which needs no training."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foreframe.models.alternatives import Alternatives
from foreframe.models.baselines import guide_of
from foreframe.models.interface import State, chosen, counted, kept, part_of, with_prefix


class Lagged(Alternatives):
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

    def __init__(self, of: str | Mapping[str, Any] = "dense_motion", lags: int = 5) -> None:
        super().__init__()
        if not 1 <= lags <= 100:  # frames that a state keeps
            raise ValueError(f"a lagged ensemble has 1 to 100 lags, not {lags}")
        self.baseline, self.lags, self.channels = guide_of(of), lags, None
        self.each, self.sized = [self.baseline] * lags, self.baseline.sized
        self.args = {"of": of if isinstance(of, str) else dict(of), "lags": lags}

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        """Keeps the last `lags` frames, and what the baseline keeps of those before them."""
        n, t = self.lags, past.shape[1]
        if state is None:
            old = self.baseline.encode(past[:, :-n]) if t > n else self.baseline.start(past)
        else:
            old, frames = part_of(state, "old_"), torch.cat([state["recent"], past], dim=1)
            for k in range(t):  # those that are recent no longer
                encoded = self.baseline.encode(frames[:, k : k + 1], old)
                old = chosen(state["seen"] + k >= n, encoded, old)
        return {
            "recent": kept(past, state, "recent", n),
            "seen": counted(past, state, "seen", n),
        } | with_prefix("old_", old)

    def count(self, state: State) -> Int[Tensor, " b"]:
        return state["seen"].long()

    def ready(self, state: State) -> list[State]:
        """The baseline k frames ago, run on to the next frame."""
        ready: list[State] = []
        own, n = part_of(state, "old_"), self.lags
        for k in reversed(range(n)):
            encoded = self.baseline.encode(state["recent"][:, n - 1 - k : n - k], own)
            own = chosen(state["seen"] > k, encoded, own)
            begun = self.baseline.begin(own | self.baseline.outside(own, k))
            ready.append(self.baseline.advance(begun, k)[1] if k else begun)
        return ready[::-1]
