"""Several models as one: an ensemble of trainings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.base.typed import brief
from foreframe.models.interface import Model, State, part_of
from foreframe.models.noise import kept_of


class Several(Model):
    """Models that were trained apart, each a member: the forecast is their mean.

    Member k of `foreframe.models.members` is the forecast of model k, counted anew after the last
    of them; a model that draws noise draws each of its members by its own key.

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
            raise ValueError(f"several models are a list of {{name: arguments}}, not {brief(of)}")
        self.args = {"of": [dict(one) for one in of]}
        self.models = nn.ModuleList(build_model(*next(iter(one.items()))) for one in of)
        first = self._each[0]
        self.channels, self.inputs = first.channels, first.inputs
        for model in self._each:
            if (model.channels, model.inputs) != (self.channels, self.inputs):
                raise ValueError(
                    "models of an ensemble forecast as many channels from as many inputs: "
                    f"{self.channels} and {self.inputs}, not {model.channels} and {model.inputs}"
                )
        self.stride = math.lcm(*(model.stride for model in self._each))
        self.bounded = all(model.bounded for model in self._each)

    @property
    def _each(self) -> list[Model]:
        return list(self.models)  # type: ignore[arg-type]

    def stride_in(self, size: Sequence[int]) -> int:
        return math.lcm(*(model.stride_in(size) for model in self._each))

    def encode(self, past: Float[Tensor, "b t _ h w"], state: State | None = None) -> State:
        after: State = {}
        for k, model in enumerate(self._each):
            before = None if state is None else part_of(state, f"{k}/")
            after |= {f"{k}/{name}": value for name, value in model.encode(past, before).items()}
        return after

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps c h w"]:
        n = len(self.models)
        if "member" not in state:
            each = [model.decode(self._own(k, state), steps) for k, model in enumerate(self._each)]
            return torch.stack(each).mean(dim=0)
        member, parts, places = state["member"], [], []
        for k, model in enumerate(self._each):
            which = (member % n == k).nonzero().flatten()
            if len(which):
                own = {name: value[which] for name, value in state.items()}
                parts.append(model.decode(self._own(k, own), steps))
                places.append(which)
        return torch.cat(parts)[torch.cat(places).argsort()]

    def _own(self, k: int, state: State) -> State:
        """A model's part of a state, with what is known of the inputs, and, of members, who it
        is.
        """
        known = {"known": state["known"]} if "known" in state else {}
        return part_of(state, f"{k}/") | known | kept_of(state)
