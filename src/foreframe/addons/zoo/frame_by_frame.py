"""Models that run over the past frame by frame, and in the future over their own frames: MAU,
E3D-LSTM, PhyDNet and SwinLSTM.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from foreframe.models.at_once import AtOnce
from foreframe.models.interface import Result, State


class FrameByFrame(AtOnce):
    """A subclass writes `read`, `initial`, `after` and `drawn`; a state holds the last frame, too.
    Frames whose size the stride does not divide are padded at the bottom and right, and cropped
    again.

    Attributes:
        widest: channels of the largest map in its cells.
    """

    widest: int = 0

    def read(self, past: Float[Tensor, "b t _ _ _"], state: State | None) -> Sequence[Any]:
        """Inputs of the cells for each frame; `state` is the state before the first."""
        raise NotImplementedError

    def initial(self, seen: Any) -> State:
        """The state of the cells before a first frame of which they see that."""
        return {}

    def after(self, seen: Any, state: State) -> State:
        """The state of the cells after a frame of which they see that."""
        raise NotImplementedError

    def drawn(self, state: State) -> Float[Tensor, "b c _ _"]:
        """The next frame, not yet cropped."""
        raise NotImplementedError

    def encode(self, past: Float[Tensor, "b t _ h w"], state: State | None = None) -> State:
        """Run over the past, continuing from `state` if given. Any T >= 1."""
        seen = self.read(past, state)

        def step(t: int, state: State) -> Result:
            return None, self.after(seen[t], state)

        state = self.initial(seen[0]) if state is None else state
        return self.loop(step, state, len(seen))[1] | {"frame": past[:, -1]}

    def last_inputs(self, state: State) -> Float[Tensor, "b i h w"]:
        return state["frame"][:, self.channels :]

    def next_frames(self, state: State) -> Float[Tensor, "b 1 c h w"]:
        frame, like = self.drawn(state), state["frame"]
        return frame[..., : like.shape[-2], : like.shape[-1]].to(like.dtype).unsqueeze(1)

    def step_values(self, height: int, width: int) -> int:
        return -(-height // self.stride) * -(-width // self.stride) * self.widest
