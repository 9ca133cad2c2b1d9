"""Models that forecast several frames at once: SimVP, flows, and a recurrent one."""

from jaxtyping import Float
from torch import Tensor

from foreframe.models.interface import Model, State, after, first_of, joined
from foreframe.models.noise import KEYS


class AtOnce(Model):
    """Forecasts `horizon` frames at once; for more, it encodes its own frames and repeats.

    A subclass writes `encode` and `next_frames`. The known inputs of the future are seen only by a
    forecast beyond the horizon, which encodes them with its own frames.
    """

    def next_frames(self, state: State) -> Float[Tensor, "b horizon c h w"]:
        """The next `horizon` frames; the state has known inputs, and of members noise."""
        raise NotImplementedError

    def begin(self, state: State) -> State:
        begun = {name: value for name, value in state.items() if name not in KEYS}
        if self.inputs and "known" not in begun:
            begun["known"] = self.last_inputs(state).unsqueeze(1)
        return begun

    def last_inputs(self, state: State) -> Float[Tensor, "b i h w"]:
        """The inputs of the last frame seen, of a model that has inputs."""
        raise NotImplementedError

    def step(
        self, state: State, last: bool = False
    ) -> tuple[Float[Tensor, "b horizon c h w"], State]:
        frames = self.next_frames(state)
        if last:
            return frames, state
        seen = joined(frames, first_of(state["known"], self.horizon)) if self.inputs else frames
        return frames, self.encode(seen, state) | self.queues_after(state)

    def queues_after(self, state: State) -> State:
        """What is left of known inputs and of noise after a step, which uses up one of the
        noise.
        """
        steps = {"known": self.horizon, "noise": 1}
        return {name: after(state[name], n) for name, n in steps.items() if name in state}
