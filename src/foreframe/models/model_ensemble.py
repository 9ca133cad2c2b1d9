"""Models that were trained apart, as one: the ensemble of trainings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.base.schema import brief
from foreframe.models.interface import Model, State, part_of


class ModelEnsemble(Model):
    """The mean of several models' forecasts. Its members are these forecasts: member k of
    `foreframe.models.members` is that of model k.

    Args:
        of: {name: arguments} of each model, as `build_model` takes them.

    Raises:
        ValueError: no models, what is no model, or models of other channels or inputs than the
            first.
    """

    draws = True

    def __init__(self, of: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        from foreframe.models import build_model  # which knows this model, too

        if not of or not all(isinstance(one, Mapping) and len(one) == 1 for one in of):
            raise ValueError(f"an ensemble is a list of {{name: arguments}}, not {brief(of)}")
        self.args = {"of": [dict(one) for one in of]}
        self.each = [build_model(*next(iter(one.items()))) for one in of]
        self.models = nn.ModuleList(self.each)
        first = self.each[0]
        self.channels, self.inputs = first.channels, first.inputs
        for model in self.each:
            if (model.channels, model.inputs) != (self.channels, self.inputs):
                raise ValueError(
                    "models of an ensemble forecast as many channels from as many inputs: "
                    f"{self.channels} and {self.inputs}, not {model.channels} and {model.inputs}"
                )
        self.stride = math.lcm(*(model.stride for model in self.each))

    def stride_in(self, size: Sequence[int]) -> int:
        return math.lcm(*(model.stride_in(size) for model in self.each))

    def encode(self, past: Float[Tensor, "b t _ h w"], state: State | None = None) -> State:
        after: State = {}
        for k, model in enumerate(self.each):
            before = None if state is None else part_of(state, f"{k}/")
            after |= {f"{k}/{name}": value for name, value in model.encode(past, before).items()}
        return after

    def shared(self, state: State, steps: int) -> State:
        """With the forecast of each model, which are the members."""
        known = {"known": state["known"]} if "known" in state else {}
        forecasts = [
            model.decode(part_of(state, f"{k}/") | known, steps)
            for k, model in enumerate(self.each)
        ]
        return state | {"forecasts": torch.stack(forecasts, dim=1)}

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps c h w"]:
        state = state if "forecasts" in state else self.shared(state, steps)
        forecasts = state["forecasts"][:, :, :steps]
        if "member" not in state:
            return forecasts.mean(dim=1)
        clip = torch.arange(len(forecasts), device=forecasts.device)
        return forecasts[clip, state["member"]]
