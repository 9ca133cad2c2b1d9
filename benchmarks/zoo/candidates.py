"""Networks that were tried for Moving MNIST beside `unet`, and blocks in the place of its own.

`training_rate.py` times them, `quality.py` trains them; docs/reports/digits.md has what came.
"""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from foreframe.addons.zoo.unet import UNet
from foreframe.models import MODELS
from foreframe.models.engine import PackedConv2d


class Chain(nn.Module):
    """x + a chain of convolutions of norm x, with SiLU after each but the last, and after a single
    one: of these kernels, and widths as multiples of that of x.
    """

    def __init__(self, width: int, kernels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        outs = [width * of for of in widths]
        sizes = zip([width, *outs], outs, kernels, strict=False)
        self.convs = nn.ModuleList(PackedConv2d(i, o, k, padding=k // 2) for i, o, k in sizes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        for k, conv in enumerate(self.convs, 1):
            y = conv(y, silu=k == 1 or k < len(self.convs))
        return x + y


class Chains(UNet):
    """`unet` of one level, of such blocks.

    Args:
        kernels, multiples: of each block.
    """

    def __init__(
        self,
        channels: int = 1,
        frames: int = 10,
        widths: Sequence[int] = (256,),
        blocks: Sequence[int] = (6,),
        kernels: Sequence[int] = (5,),
        multiples: Sequence[int] = (1,),
        inputs: int = 0,
    ) -> None:
        super().__init__(channels, frames, widths, [1], inputs)
        chains = (Chain(widths[0], kernels, multiples) for _ in range(blocks[0]))
        self.levels = nn.Sequential(*chains)


class Gate(nn.Module):
    """x + V * (SiLU(a) · b), where a and b are the halves of W * norm x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.W = PackedConv2d(width, 2 * width, 3, padding=1)
        self.V = PackedConv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.W(self.norm(x)).chunk(2, dim=1)
        y: Tensor = x + self.V(F.silu(a) * b)
        return y


class Gates(UNet):
    """`unet` of one level, of gated blocks."""

    def __init__(
        self,
        channels: int = 1,
        frames: int = 10,
        widths: Sequence[int] = (128,),
        blocks: Sequence[int] = (6,),
        inputs: int = 0,
    ) -> None:
        super().__init__(channels, frames, widths, [1], inputs)
        self.levels = nn.Sequential(*(Gate(widths[0]) for _ in range(blocks[0])))


MODELS |= {"chains": Chains, "gates": Gates}

# Of one size of maps, of other blocks, and of what the field has.
CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "U, 64 and 128": ("unet", {"widths": [64, 128], "blocks": [2, 4]}),
    "3x3, 256": ("unet", {"widths": [256], "blocks": [6]}),
    "3x3, 512": ("unet", {"widths": [512], "blocks": [2]}),
    "5x5, 128": ("chains", {"widths": [128], "blocks": [8]}),
    "5x5, 256": ("chains", {"widths": [256], "blocks": [6]}),
    "3x3 and 1x1, 256": ("chains", {"widths": [256], "kernels": [3, 1], "multiples": [2, 1]}),
    "gates, 128": ("gates", {"widths": [128], "blocks": [6]}),
    "ConvLSTM, quick": ("quick", {}),  # by the recipe of the others, not its own
    "ConvLSTM, 4x4": (
        "at_once",
        {"core": {"convlstm": {"hidden": [128, 128]}}, "codec": {"patches": {"size": 4}}},
    ),
    "ConvLSTM, 8x8": (
        "at_once",
        {"core": {"convlstm": {"hidden": [256, 256]}}, "codec": {"patches": {"size": 8}}},
    ),
    "ST-LSTM, 8x8": (
        "next_frame",
        {"core": {"predrnn": {"hidden": [128, 128]}}, "codec": {"patches": {"size": 8}}},
    ),
    "PredFormer": ("predformer_small", {"width": 256}),
}
