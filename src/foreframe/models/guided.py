"""An encoder-decoder whose head mixes the forecasts of baselines, its guides: see `Blend`."""

import torch

from foreframe.models.blend import Blend
from foreframe.models.interface import (
    Future,
    Model,
    Past,
    State,
    concat_inputs,
    part_of,
    peek,
    pop,
    with_prefix,
)
from foreframe.models.recurrent import EncoderDecoder


class GuidedDecoder(EncoderDecoder):
    """At each step the decoder is fed what the guides forecast for it, and the head mixes their
    frames. The state of the guides is under "guide/", or what all members share of them: "levels",
    which the head mixes, and "fed".

    `EncoderDecoder` is one where its head is fed guides; arguments and errors are the same.
    """

    output: Blend

    @property
    def guide(self) -> Model:
        return self.output.guide

    def encode(self, past: Past, state: State | None = None) -> State:
        """Run over the past, on from `state` where one is given. Any T >= 1."""
        targets = past[:, :, : past.shape[2] - self.inputs]
        guides = self.guide.encode(targets, state and part_of(state, "guide/"))
        return super().encode(past, state) | with_prefix("guide/", guides)

    def exogenous(self, state: State, steps: int) -> State:
        if "levels" in state:
            return {}
        return with_prefix("guide/", self.guide.exogenous(part_of(state, "guide/"), steps))

    def precompute(self, state: State, steps: int) -> State:
        """With what its guides forecast, in place of what they keep."""
        if "levels" in state:
            return state
        begun = self.start_frames(state | self.exogenous(state, steps))
        levels, fed, _ = self.output.levels(part_of(begun, "guide/"), steps)
        own = {name: value for name, value in state.items() if not name.startswith("guide/")}
        return own | {"levels": levels, "fed": fed}

    def decode_with_guide(self, state: State, steps: int) -> tuple[Future, Future]:
        state = self.precompute(state, steps)
        forecast = self.decode(state, steps)
        return forecast, self.output.scaled(state["levels"][:, :steps, : forecast.shape[2]])

    def rollout(self, state: State, steps: int) -> tuple[Future, State]:
        """Few lead times at once of large frames, as the levels of each are held."""
        n, parts = self.output.steps_at_once(state["frame"]), []
        begun = self.start_decoding(state | self.exogenous(state, steps))
        for k in range(0, steps, n):
            frames, begun = self.advance(begun, min(n, steps - k), last=k + n >= steps)
            parts.append(frames)
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0], begun

    def start_frames(self, state: State) -> State:
        """The guides, ready to step, or what is precomputed of them."""
        if "levels" in state:
            return {name: state[name] for name in ("levels", "fed")}
        return with_prefix("guide/", self.output.begin(part_of(state, "guide/")))

    def advance(self, state: State, steps: int, last: bool = False) -> tuple[Future, State]:
        """All lead times at once, but for the decoder's core."""
        if "levels" in state:
            levels, fed = (peek(state[name], steps) for name in ("levels", "fed"))
            state = state | {name: pop(state[name], steps) for name in ("levels", "fed")}
        else:
            levels, fed, guides = self.output.levels(part_of(state, "guide/"), steps)
            state = state | with_prefix("guide/", guides)
        if self.inputs:
            fed = concat_inputs(fed, self.output.reduced(peek(state["known"], steps)))
        assert self.inform is not None
        maps = self.inform(fed.flatten(0, 1))
        skips = self.codec.skips(maps) if self.codec.show_last else None
        return self.write(state, steps, levels, maps[-1].unflatten(0, fed.shape[:2]), skips)
