"""Models that draw members of another forecaster, whose weights they leave as they are."""

from collections.abc import Mapping, Sequence
from typing import Any

from foreframe.base.schema import one_of
from foreframe.models.interface import (
    Future,
    Model,
    Past,
    State,
    part_of,
    peek,
    pop,
    with_prefix,
)

ONE = "members are of one model, {name: arguments}"  # what `of` is, in messages


class MembersOf(Model):
    """Draws members of a forecaster, `of`, whose weights are trained before and stay as they are.
    Without members its forecast is that forecaster's, to the bit.

    Args:
        of: the forecaster, {name: arguments} as `build_model` takes them, or a name alone.

    Attributes:
        losses: the losses that it can be trained with.
    """

    draws = True
    losses: Sequence[str]

    def __init__(self, of: str | Mapping[str, Any]) -> None:
        from foreframe.models.building import resolved  # imports this module

        super().__init__()
        name, kind, args = resolved(*one_of(of, ONE))
        self.of = kind(**args).requires_grad_(False)
        self.args["of"] = {name: self.of.args}
        self.inputs, self.reduces, self.sized = self.of.inputs, self.of.reduces, self.of.sized
        self.channels, self.horizon, self.stride = self.of.channels, self.of.horizon, self.of.stride

    def stride_in(self, size: Sequence[int]) -> int:
        return self.of.stride_in(size)

    def encode(self, past: Past, state: State | None = None) -> State:
        before = None if state is None else part_of(state, "of/")
        return with_prefix("of/", self.of.encode(past, before))

    def exogenous(self, state: State, steps: int) -> State:
        if "forecast" in state:
            return {}
        return with_prefix("of/", self.of.exogenous(part_of(state, "of/"), steps))

    def forecast_next(self, state: State, steps: int, last: bool) -> tuple[Future, State]:
        """Return the forecaster's next frames, which may be precomputed, and the state after."""
        if "forecast" in state:
            return peek(state["forecast"], steps), {"forecast": pop(state["forecast"], steps)}
        m, stepped = self.of.advance(self.state_of(state), steps, last)
        return m, with_prefix("of/", stepped)

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        return self.advance(state, self.horizon, last)

    def rollout(self, state: State, steps: int) -> tuple[Future, State]:
        """Without members the forecaster's own."""
        if "key" in state or "forecast" in state:
            return super().rollout(state, steps)
        m, stepped = self.of.rollout(self.state_of(state), steps)
        return m, with_prefix("of/", stepped)

    def state_of(self, state: State) -> State:
        """The forecaster's state, with what is known of its inputs."""
        known = {"known": state["known"]} if "known" in state else {}
        return part_of(state, "of/") | known

    def start_at(self, mean: float) -> None:
        """Let the forecaster begin so."""
        self.of.start_at(mean)

    def train(self, mode: bool = True) -> "MembersOf":
        super().train(mode)
        self.of.eval()
        return self

    def matching_part(self, trained: Model) -> Model:
        return self if type(trained) is type(self) else self.of
