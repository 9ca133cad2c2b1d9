"""SwinLSTM (Tang et al. 2023, arXiv 2308.09891): the cell, its blocks of shifted windows, the
network.

Read top to bottom: the network, the cell, its blocks, presets. Shapes: frames B T C H W; maps of a
state b d h w; inside a cell the same channels last, b h w d.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from foreframe.addons.zoo.frame_by_frame import FrameByFrame
from foreframe.models.checks import at_least
from foreframe.models.codec import padded
from foreframe.models.engine import PackedConv2d, pointwise, tanh
from foreframe.models.interface import State

Maps = Float[Tensor, "b d h w"]
Tokens = Float[Tensor, "b h w d"]


class SwinLSTM(FrameByFrame):
    """SwinLSTM cells one after the other, which run on into the future, fed their own frames. A
    frame enters as embedded patches, and comes out by a transposed convolution of the last cell's
    hidden map and a sigmoid.

    From the first cell to the middle one, maps halve in size and double in channels from cell to
    cell (patch merging), and then the other way round. A single cell is SwinLSTM-B. An even number,
    of which the last one's map is brought to the size of the first one's, is SwinLSTM-D. A state is
    h and c of each cell, and the last frame.

    Differences from the authors' code: no stochastic depth, as nothing in a step is random; no
    weights that are never used; frames of any size, which are padded at the bottom and right by
    their edge, and windows that are cut off there by a mask; patches of any size p, from which a
    transposed convolution with a kernel of 2p - 1 leads back (theirs: p = 2).

    Args:
        channels: C of the frames that are forecast.
        patch: side p of a patch in pixels.
        width: channels of the first cell.
        depths: blocks of each cell.
        heads: of the attention in each cell.
        window: side of the windows, in places of the map.
        inputs: further channels of the past, which are not forecast.

    Raises:
        ValueError: sizes that make no network.
    """

    bounded = True
    sized = True  # where the windows lie

    def __init__(
        self,
        channels: int = 1,
        patch: int = 2,
        width: int = 128,
        depths: Sequence[int] = (2, 6, 2, 6),
        heads: Sequence[int] = (4, 8, 8, 4),
        window: int = 4,
        inputs: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, patch=patch, depths=depths)
        at_least(2, window=window)
        at_least(0, inputs=inputs)
        # Number of halvings of the maps of each cell, and of the maps before the frame.
        middle, count = len(depths) // 2, len(depths)
        levels = [k if k <= middle else count - count % 2 - k for k in range(count)] + [0]
        widths = [width * 2**level for level in levels]
        if len(heads) != count or any(w % n for w, n in zip(widths, heads, strict=False)):
            raise ValueError(
                "SwinLSTM needs a number of heads for each of its cells that divides the cell's "
                f"channels ({widths[:-1]}), not {list(heads)}"
            )
        self.channels, self.inputs, self.stride = channels, inputs, patch * 2**middle
        self.patch = PackedConv2d(channels + inputs, width, patch, stride=patch)
        self.norm = nn.LayerNorm(width)
        self.cells = nn.ModuleList(
            SwinLSTMCell(*sizes, window) for sizes in zip(widths, depths, heads, strict=False)
        )
        self.between = nn.ModuleList(_between(i, o) for i, o in pairwise(widths))
        side = patch - 1
        self.to_frame = nn.ConvTranspose2d(
            width, channels, patch + side, patch, padding=side, output_padding=side
        )

    def read(self, past: Float[Tensor, "b t _ _ _"], state: State | None) -> Sequence[Tokens]:
        frames = padded(past.flatten(0, 1), self.stride)
        tokens = self.norm(self.patch(frames).permute(0, 2, 3, 1))
        return tokens.unflatten(0, past.shape[:2]).unbind(dim=1)

    def after(self, x: Tokens, state: State) -> State:
        after: State = {}
        for k, cell in enumerate(self.cells):
            x = self.between[k - 1](x) if k else x
            h, c = after[f"h{k}"], after[f"c{k}"] = cell(x, state.get(f"h{k}"), state.get(f"c{k}"))
            x = h.permute(0, 2, 3, 1)
        return after

    def drawn(self, state: State) -> Float[Tensor, "b c _ _"]:
        x = self.between[-1](state[f"h{len(self.cells) - 1}"].permute(0, 2, 3, 1))
        return torch.sigmoid(self.to_frame(x.permute(0, 3, 1, 2)))

    def start_at(self, mean: float) -> None:
        """Begin with frames of about `mean`."""
        assert self.to_frame.bias is not None
        logit = torch.logit(torch.tensor(min(max(mean, 1e-3), 1 - 1e-3))).item()
        nn.init.constant_(self.to_frame.bias, logit)


class SwinLSTMCell(nn.Module):
    """One step of a SwinLSTM (Tang et al. 2023, equation 6), an LSTM whose one gate takes all
    roles; ∘ is the elementwise product:

        y  = blocks of shifted windows over x and h
        F  = σ(y)
        c' = F ∘ (c + tanh(y))
        h' = F ∘ tanh(c')

    The first block joins x with h. Every second block after it joins the result so far with x
    again, as in the authors' code, and shifts no window; the others shift their windows by half.

    Args:
        width: channels of x, h and c.
        depth: blocks.
        heads: of the attention, a divisor of `width`.
        window: side of a window.
    """

    def __init__(self, width: int, depth: int, heads: int, window: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, heads, window, shifts=k % 2 == 1) for k in range(depth)
        )

    def forward(self, x: Tokens, h: Maps | None, c: Maps | None) -> tuple[Maps, Maps]:
        """(x, h, c) -> (h', c'). Pass None for h and c where nothing was seen."""
        if h is None or c is None:
            c = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
            h = c = c.permute(0, 3, 1, 2)
        y = self.blocks[0](x, h.permute(0, 2, 3, 1))
        for k, block in enumerate(self.blocks[1:], start=1):
            y = block(y, None if k % 2 else x)
        return _gated(y.permute(0, 3, 1, 2), c)


@pointwise
def _gated(y: Maps, c: Maps) -> tuple[Maps, Maps]:
    """h' and c', in the precision of c, which is never less than float32; h' is of that of y."""
    wide = y.to(c.dtype)
    gate = torch.sigmoid(wide)
    c = gate * (c + tanh(wide))
    return (gate * tanh(c)).to(y.dtype), c


class Block(nn.Module):
    """A block of the Swin Transformer (Liu et al. 2021, arXiv 2103.14030): with z = norm(x),

        x = x + attention(z) within windows
        x = x + mlp(norm(x))

    A block that shifts no windows joins another map: its z is linear in [norm(x), norm(other)].

    Attention sees where one place lies from another one by a learned bias for each offset. Windows
    are cut off at the edges; an axis that is no longer than a window is one window, not shifted.

    Args:
        width, heads, window: as of `SwinLSTMCell`.
        shifts: whether windows are shifted by half.
    """

    offset: Tensor

    def __init__(self, width: int, heads: int, window: int, shifts: bool) -> None:
        super().__init__()
        self.heads, self.window, self.shifts = heads, window, shifts
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.join = None if shifts else nn.Linear(2 * width, width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.normal_(self.bias, std=0.02)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        place = torch.arange(window)
        apart = place[:, None] - place + window - 1
        offset = (2 * window - 1) * apart[:, None, :, None] + apart[:, None]
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, x: Tokens, other: Tokens | None = None) -> Tokens:
        z = self.norm_1(x)
        if self.join is not None:
            z = self.join(torch.cat([z, self.norm_1(other)], dim=-1))
        x = x + self.attention(z)
        y: Tensor = x + self.mlp(self.norm_2(x))
        return y

    def attention(self, z: Tokens) -> Tokens:
        """softmax(q k' / √e + bias) v in each window, of heads with e channels each."""
        h, w = z.shape[1:3]
        rows, columns = min(self.window, h), min(self.window, w)  # of a window
        below, right = -h % rows, -w % columns
        half = self.window // 2 if self.shifts else 0
        up, left = half * (h > self.window), half * (w > self.window)
        qkv = F.pad(self.qkv(z), (0, 0, 0, right, 0, below))
        if up or left:
            qkv = qkv.roll((-up, -left), (1, 2))
        # Windows (b,down,along), then heads, places in a window, channels.
        qkv = qkv.unflatten(2, (-1, columns)).unflatten(1, (-1, rows))
        qkv = qkv.unflatten(-1, (3, self.heads, -1)).permute(5, 0, 1, 3, 6, 2, 4, 7)
        q, k, v = qkv.flatten(5, 6).unbind()
        offset = self.offset[:rows, :columns, :rows, :columns].flatten(2).flatten(0, 1)
        bias = self.bias[offset].permute(2, 0, 1)
        if up or left or below or right:
            row = _regions(h, below, up, z.device).view(-1, rows)
            column = _regions(w, right, left, z.device).view(-1, columns)
            region = (3 * row[:, None, :, None] + column[:, None]).flatten(2)
            apart = region.unsqueeze(-1) != region.unsqueeze(-2)
            bias = bias.masked_fill(apart.unsqueeze(2), -torch.inf)
        weight = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(dim=-1)
        y = (weight @ v).unflatten(4, (rows, columns)).permute(0, 1, 4, 2, 5, 3, 6)
        y = y.flatten(5).flatten(3, 4).flatten(1, 2)
        if up or left:
            y = y.roll((up, left), (1, 2))
        projected: Tensor = self.project(y[:, :h, :w])
        return projected


def _regions(size: int, pads: int, shift: int, device: torch.device) -> Int[Tensor, " places"]:
    """Label the places of a padded and shifted axis: a place attends to equal labels in its window
    only. Places shifted round from the other end have 1, padding has 2.
    """
    place = (torch.arange(size + pads, device=device) + shift) % (size + pads)
    return (place < shift).long() + 2 * (place >= size).long()


class Merge(nn.Module):
    """Half the size, `out` channels: four neighbours side by side, norm, a linear layer."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.linear = nn.Linear(4 * width, out, bias=False)

    def forward(self, x: Float[Tensor, "b h w d"]) -> Float[Tensor, "b _ _ _"]:
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2, 5).flatten(3)
        y: Tensor = self.linear(self.norm(x))
        return y


class Expand(nn.Module):
    """Twice the size, half the channels: a linear layer to four neighbours, norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(width // 2)

    def forward(self, x: Float[Tensor, "b h w d"]) -> Float[Tensor, "b _ _ _"]:
        x = self.linear(x).unflatten(-1, (2, 2, -1)).permute(0, 1, 3, 2, 4, 5)
        y: Tensor = self.norm(x.flatten(3, 4).flatten(1, 2))
        return y


def _between(width: int, following: int) -> nn.Module:
    """The layer from maps of one width to the next."""
    if width == following:
        return nn.Identity()
    return Merge(width, following) if width < following else Expand(width)


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # Tang et al. 2023 on Moving MNIST; their code takes the depths of the way back, given as 6 and
    # 2, from the last on.
    "swinlstm_d": ("swinlstm", {"width": 128, "depths": [2, 6, 2, 6], "heads": [4, 8, 8, 4]}),
    # Their single cell.
    "swinlstm_b": ("swinlstm", {"width": 128, "depths": [12], "heads": [4]}),
    # For two CPU cores.
    "swinlstm_small": (
        "swinlstm",
        {"patch": 8, "width": 48, "depths": [2, 2], "heads": [3, 6]},
    ),
}
