"""The lagged ensemble: the baseline of ensembles, which needs no training."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.models.baselines import guide_of
from foreframe.models.interface import Model, State, part_of


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
        if not 1 <= lags <= 100:  # frames that a state keeps
            raise ValueError(f"a lagged ensemble has 1 to 100 lags, not {lags}")
        self.baseline, self.lags, self.channels = guide_of(of), lags, None
        self.args = {"of": of if isinstance(of, str) else dict(of), "lags": lags}

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        """Keeps the last `lags` frames, and what the baseline keeps of those before them."""
        frames = past if state is None else torch.cat([state["recent"], past], dim=1)
        old = {} if state is None else part_of(state, "old_")
        before, recent = frames[:, : -self.lags], frames[:, -self.lags :]
        if before.shape[1]:
            old = self.baseline.encode(before, old or None)
        return {"recent": recent} | {f"old_{name}": value for name, value in old.items()}

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps c h w"]:
        n = state["recent"].shape[1]
        if "member" not in state:
            return torch.stack([self._lagged(state, k, steps) for k in range(n)]).mean(dim=0)
        lag = state["member"] % n
        future = state["recent"].new_empty(len(lag), steps, *state["recent"].shape[2:])
        for k in range(n):
            rows = (lag == k).nonzero().flatten()
            if len(rows):
                some = {name: value[rows] for name, value in state.items()}
                future[rows] = self._lagged(some, k, steps)
        return future

    def _lagged(self, state: State, lag: int, steps: int) -> Float[Tensor, "b steps c h w"]:
        """The forecast that begins `lag` frames ago."""
        seen = state["recent"][:, : state["recent"].shape[1] - lag]
        before = self.baseline.encode(seen, part_of(state, "old_") or None)
        return self.baseline.decode(before, steps + lag)[:, lag:]
