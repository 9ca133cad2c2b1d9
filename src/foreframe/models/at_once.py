"""Models that forecast several frames at once: SimVP, flows, and a recurrent one."""

from jaxtyping import Float
from torch import Tensor

from foreframe.models.interface import (
    Future,
    Model,
    Past,
    State,
    concat_inputs,
    pad_with_oldest,
    peek,
    pop,
    push_ring,
)
from foreframe.models.noise import KEYS


class AtOnce(Model):
    """Forecasts `horizon` frames at once; for more, it encodes its own frames and repeats.

    A subclass writes `encode` and `next_frames`. The known inputs of the future are seen only by a
    forecast beyond the horizon, which encodes them with its own frames.
    """

    def next_frames(self, state: State) -> Future:
        """The next `horizon` frames; the state has known inputs, and of members noise."""
        raise NotImplementedError

    def begin(self, state: State) -> State:
        begun = {name: value for name, value in state.items() if name not in KEYS}
        if self.inputs and "known" not in begun:
            begun["known"] = self.last_inputs(state).unsqueeze(1)
        return begun

    def last_inputs(self, state: State) -> Float[Tensor, "b i h w"]:
        """The inputs of the last frame seen, of a model that has inputs and keeps its frames."""
        return state["frames"][:, -1, self.channels :]

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        frames = self.next_frames(state)
        if last:
            return frames, state
        seen = concat_inputs(frames, peek(state["known"], self.horizon)) if self.inputs else frames
        consumed = {"known": self.horizon, "noise": 1}
        left = {name: pop(state[name], n) for name, n in consumed.items() if name in state}
        return frames, self.read_on(seen, state) | left

    def read_on(self, frames: Past, state: State) -> State:
        """The encoded state after its own frames, with their inputs."""
        return self.encode(frames, state)


class FromLastFrames(AtOnce):
    """A model whose state is the last `frames` frames, and which forecasts as many. The oldest
    frame is repeated if there are fewer.
    """

    frames: int

    def encode(self, past: Past, state: State | None = None) -> State:
        """Keeps the last `frames` frames, and how many of them were seen. Any T >= 1."""
        return push_ring(past, state, self.frames)

    def seen(self, state: State) -> Float[Tensor, "b frames _ h w"]:
        """The frames of the state, each with the known inputs of its counterpart in the future."""
        past = pad_with_oldest(state)
        return concat_inputs(past, peek(state["known"], self.frames)) if self.inputs else past
