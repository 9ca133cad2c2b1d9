"""Models whose members are forecasts that they have without any noise: lagged and joined ones."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foreframe.models.interface import Model, State, after, first_of, part_of, with_prefix


class Alternatives(Model):
    """Several forecasts of one past. Member k of `foreframe.models.members` is forecast k mod n, of
    n; without members the forecast is the mean of all n.

    A subclass writes `encode`, and has `each` forecast's model and `ready` states of them.
    """

    draws = True
    each: Sequence[Model]

    def ready(self, state: State) -> Sequence[State]:
        """The state of each forecast's model, ready to step."""
        raise NotImplementedError

    def count(self, state: State) -> Int[Tensor, " b"]:
        """How many of them a clip has, from the first on."""
        raise NotImplementedError

    def shared(self, state: State, steps: int) -> State:
        """With all forecasts."""
        forecasts = [
            model.advance(own, steps, last=True)[0]
            for model, own in zip(self.each, self.ready(state), strict=True)
        ]
        return state | {"forecasts": torch.stack(forecasts, dim=2)}

    def begin(self, state: State) -> State:
        """Forecasts that are made already, or each ready to step; and the share of each."""
        begun: State = {}
        if "forecasts" in state:
            begun["forecasts"] = state["forecasts"]
        else:
            for k, own in enumerate(self.ready(state)):
                begun |= with_prefix(f"{k}/", own)
        n = self.count(state)
        number = torch.arange(len(self.each), device=n.device)
        if "member" in state:
            shares = (number == (state["member"] % n)[:, None]).float()
        else:
            shares = (number < n[:, None]) / n[:, None]
        return {"shares": shares} | begun

    def step(
        self, state: State, last: bool = False
    ) -> tuple[Float[Tensor, "b horizon c h w"], State]:
        each, stepped = self.each_next(state, self.horizon, last)
        total = torch.zeros_like(each[0])
        for frames, share in zip(each, state["shares"].unbind(dim=1), strict=True):
            share = share.view(-1, 1, 1, 1, 1)
            total = total + frames.where(share > 0, 0) * share  # a forecast may be missing (NaN)
        return total.to(each[0].dtype), stepped

    def each_next(
        self, state: State, steps: int, last: bool = False
    ) -> tuple[list[Float[Tensor, "b steps c h w"]], State]:
        """The next frames of each forecast, and the state after them; arguments as of `advance`."""
        stepped = dict(state)
        if "forecasts" in state:
            stepped["forecasts"] = after(state["forecasts"], steps)
            return list(first_of(state["forecasts"], steps).unbind(dim=2)), stepped
        each = []
        for k, model in enumerate(self.each):
            frames, own = model.advance(part_of(state, f"{k}/"), steps, last)
            each.append(frames)
            stepped |= with_prefix(f"{k}/", own)
        return each, stepped
