"""Models that were trained apart, as one: the ensemble of trainings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from foreframe.base.schema import brief
from foreframe.models.alternatives import Alternatives
from foreframe.models.interface import State, part_of, with_prefix


class ModelEnsemble(Alternatives):
    """The mean of several models' forecasts. Its members are these forecasts: member k of
    `foreframe.models.members` is that of model k.

    Args:
        of: {name: arguments} of each model, as `build_model` takes them.

    Raises:
        ValueError: no models, what is no model, or models of other channels or inputs than the
            first.
    """

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
        self.sized = any(model.sized for model in self.each)
        self.horizon = math.lcm(*(model.horizon for model in self.each))

    def stride_in(self, size: Sequence[int]) -> int:
        return math.lcm(*(model.stride_in(size) for model in self.each))

    def encode(self, past: Float[Tensor, "b t _ h w"], state: State | None = None) -> State:
        encoded: State = {}
        for k, model in enumerate(self.each):
            before = None if state is None else part_of(state, f"{k}/")
            encoded |= with_prefix(f"{k}/", model.encode(past, before))
        return encoded

    def outside(self, state: State, steps: int) -> State:
        entering: State = {}
        for k, model in enumerate(self.each):
            entering |= with_prefix(f"{k}/", model.outside(part_of(state, f"{k}/"), steps))
        return entering

    def count(self, state: State) -> Int[Tensor, " b"]:
        some = next(iter(state.values()))
        return torch.full((len(some),), len(self.each), device=some.device)

    def ready(self, state: State) -> list[State]:
        known = {"known": state["known"]} if "known" in state else {}
        return [model.begin(part_of(state, f"{k}/") | known) for k, model in enumerate(self.each)]
