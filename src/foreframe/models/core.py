"""The type of every core: recurrent layers, of whatever cell.

Shapes: maps b d h w, where h and w are H and W of frames over the codec's stride; hidden maps
b k h w.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.checks import at_least, odd
from foreframe.models.interface import State

Maps = Float[Tensor, "b d h w"]
Hidden = Float[Tensor, "b k h w"]
AnyMaps = Float[Tensor, "b _ h w"]
Layers = list[AnyMaps]  # the hidden maps of each layer


class Core(nn.Module):
    """Recurrent layers: takes the maps of one frame up through all of them.

    A new core is a subclass with `step`, and a line in `CORES`. It is built as
    `Core(channels, hidden, ...)`: the channels of its input (0: it has none) and the hidden
    channels of each layer. A convolution that it uses at every step is an `engine.Conv2d`, and its
    elementwise mathematics is an `engine.pointwise` function: that makes it fast.

    A state is a flat dict of tensors (b,...) of any names. The hidden map of layer k is "hk", the
    input of layer k + 1; the head reads the last layer's.

    Attributes:
        hidden: channels of the hidden map of each layer.
        per_layer: names of the states of each layer, without its number: a mirrored decoder begins
            with these states in reverse order.
        accumulated_states: names of sums that only `terms` reads.
    """

    hidden: Sequence[int]
    per_layer: Sequence[str] = ("h",)
    accumulated_states: Sequence[str] = ()

    def step(self, x: Maps | None, state: State) -> State:
        """The state after a frame.

        Args:
            x: the frame's maps; None where the core has no input.
            state: state after the previous frame, which is not changed; empty before the first
                frame.
        """
        raise NotImplementedError

    def start(self, like: Maps) -> State:
        """The state before the first frame, zeros: a core with further parts of a state adds them.

        Args:
            like: maps of the size and the precision of the hidden maps.
        """
        b, _, h, w = like.shape
        return {f"h{k}": like.new_zeros(b, d, h, w) for k, d in enumerate(self.hidden)}

    def maps(self, state: State) -> Layers:
        """The hidden map of each layer, from the first to the last."""
        return [state[f"h{k}"] for k in range(len(self.hidden))]

    def mirrored(self, state: State) -> State:
        """The state with its layers in reverse order."""
        n, turned = len(self.hidden), dict(state)
        for name in self.per_layer:
            for k in range(n):
                here, there = f"{name}{k}", f"{name}{n - 1 - k}"
                if here in state and there in state:
                    turned[there] = state[here]
        return turned

    def terms(self, state: State) -> dict[str, Float[Tensor, ""]]:
        """Return terms of the training loss by name, from the `accumulated_states`."""
        return {}


def check_cell(channels: int, hidden: int, kernel: int | Sequence[int]) -> None:
    """Refuse a cell with an even side of its kernel, or no hidden channels."""
    odd(kernel=kernel)
    at_least(1, hidden=hidden)
    at_least(0, channels=channels)
