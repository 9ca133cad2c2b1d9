"""Layers that share one memory, which goes through all of them in a zigzag: PredRNN and its
successors.

Shapes: maps b d h w, hidden maps b k h w.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.core import Core, Hidden, Maps
from foreframe.models.engine import pointwise, tanh
from foreframe.models.interface import State

Gate = Callable[[Tensor], Tensor]


def updated(raw: Float[Tensor, "b k3 h w"], memory: Hidden, forget_bias: float) -> Hidden:
    """f ∘ memory + i ∘ g of the raw gates i, f and g, in the precision of the memory. That is at
    least float32, so that small changes add up.
    """
    i, f, g = raw.to(memory.dtype).chunk(3, dim=1)
    return torch.addcmul(torch.sigmoid(i) * tanh(g), torch.sigmoid(f + forget_bias), memory)


@pointwise
def hidden_map(o: Hidden, seen: Hidden | None, mixed: Hidden, gate: Gate) -> Hidden:
    """h' of the raw gate o, of its convolution over the new memories, and of the mixed memories."""
    wide = torch.promote_types(o.dtype, torch.float32)
    o_wide = o.to(wide) if seen is None else o.to(wide) + seen.to(wide)
    return (gate(o_wide) * tanh(mixed.to(wide))).to(o.dtype)


class ZigZagCell(nn.Module):
    """A layer of `ZigZag`.

    Attributes:
        keeps: names of its state: letters, "h" first.
    """

    keeps: Sequence[str] = ("h", "c")

    def forward(self, x: Maps | None, M: Hidden | None, own: State) -> tuple[State, Hidden]:
        """(x, M, its own state) -> its own state, M.

        Args:
            x: hidden maps of the layer below; the first layer's is the input, None without any.
            M: the memory after the layer below; None before the first frame.
            own: by the names that it keeps; empty where it has seen nothing.
        """
        raise NotImplementedError


class ZigZag(Core):
    """Layers whose memory M goes up through all of them at each step, and from the last on to the
    first of the next step (Wang et al. 2021, arXiv 2103.09504).

    A state is what each cell keeps, and M as "m0". A state in reverse order of layers, with which a
    mirrored decoder starts, has the same M.

    Args:
        hidden: channels of each layer, equal ones, since M goes through all.
        cells: the layers.

    Raises:
        ValueError: no layer, or layers of different widths.
    """

    def __init__(self, hidden: Sequence[int], cells: Iterable[ZigZagCell]) -> None:
        super().__init__()
        if len(set(hidden)) != 1:
            raise ValueError(
                "hidden is a list of equal numbers, one a layer, as one memory goes through all "
                f"layers, not {list(hidden)}"
            )
        self.hidden, cells = tuple(hidden), list(cells)
        self.cells, self.keeps = nn.ModuleList(cells), [cell.keeps for cell in cells]
        self.per_layer = tuple(dict.fromkeys(name for names in self.keeps for name in names))

    def start(self, like: Maps) -> State:
        hidden = super().start(like)
        wide = hidden["h0"].to(torch.promote_types(like.dtype, torch.float32))
        own = {f"{name}{k}": wide for k, names in enumerate(self.keeps) for name in names}
        return own | hidden | {"m0": wide}

    def step(self, x: Maps | None, state: State) -> State:
        after: State = {}
        M = state.get("m0")
        for k, cell in enumerate(self.cells):
            names = {name: f"{name}{k}" for name in self.keeps[k]}
            own = {name: state[named] for name, named in names.items() if named in state}
            new, M = cell(x if k == 0 else self.between(k, state, after), M, own)
            after |= {f"{name}{k}": value for name, value in new.items()}
        assert M is not None
        return after | {"m0": M}

    def between(self, k: int, state: State, after: State) -> Maps:
        """The input of layer k >= 1: the hidden map of the layer below.

        Args:
            state: after the frame before.
            after: that of this frame, so far; what is added to it stays.
        """
        return after[f"h{k - 1}"]
