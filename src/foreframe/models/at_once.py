"""Models that forecast several frames at once: SimVP, flows, and a recurrent one."""

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.models.interface import Model, State, joined, with_known
from foreframe.models.noise import member_keys


class AtOnce(Model):
    """Forecasts `horizon` frames at once; for more, it encodes its own frames and repeats.

    A subclass writes `encode` and `next_frames`, and `known` where it has inputs.
    """

    horizon: int

    def next_frames(self, state: State, first: int) -> Float[Tensor, "b horizon c h w"]:
        """The next `horizon` frames; `first` is the lead time of the first of them, from 0."""
        raise NotImplementedError

    def known(self, state: State, steps: int) -> Float[Tensor, "b steps i h w"]:
        """The inputs of the next frames, of a model that has inputs."""
        raise NotImplementedError

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps c h w"]:
        """`next_frames` until there are `steps` of them. Any steps >= 1."""
        chunks = [self.next_frames(state, 0)]
        while (ahead := self.horizon * len(chunks)) < steps:
            state = self._after(state, chunks[-1]) | member_keys(state)
            chunks.append(self.next_frames(state, ahead))
        return torch.cat(chunks, dim=1)[:, :steps]

    def _after(self, state: State, frames: Float[Tensor, "b horizon c h w"]) -> State:
        """The state after the model's own frames were encoded."""
        if not self.inputs:
            return self.encode(frames, state)
        count = state["known"].shape[1] if "known" in state else 0
        known = self.known(state, max(count, self.horizon + 1))
        seen = joined(frames, known[:, : self.horizon])
        return with_known(self.encode(seen, state), known[:, self.horizon :])
