"""TAU: the temporal attention unit, a translator of `SimVP`, and the term that it is trained with.

Tan et al. 2023 (arXiv 2206.12126). Shapes: frames B T C H W; maps b d h w, with all frames of the
past stacked along channels.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.engine import PackedConv2d

TEMPERATURE = 0.1  # τ


class DilatedConv2d(PackedConv2d):
    """A depthwise convolution of 7x7 with holes of 3. Channels last, oneDNN has the gradients of
    its weights wrong in bfloat16, of maps of 32 pixels and more (torch 2.13).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 7, padding=9, dilation=3, groups=channels)

    def forward(self, x: Float[Tensor, "b d h w"], silu: bool = False) -> Float[Tensor, "b d h w"]:
        if x.device.type == "cpu" and torch.is_grad_enabled():
            weight = self.weight.clone(memory_format=torch.contiguous_format)
            out = F.conv2d(x.contiguous(), weight, self.bias, 1, 9, 3, self.groups)
            return F.silu(out) if silu else out
        return super().forward(x, silu)


class TemporalAttention(nn.Module):
    """Attention within frames, at each place, times attention between them, a number a channel:

        SA = Conv1x1(DW-D Conv(DW Conv(H)))    (statical: 5x5, then 7x7 with holes of 3)
        DA = FC(AvgPool(H))                    (dynamical)
        H' = (SA ⊗ DA) ⊙ H

    FC has two layers without biases, ReLU and a sigmoid. The first makes d // max(d // 16, 4)
    numbers of d, as the authors' code does: about 16 of any wide d.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // max(channels // 16, 4))
        self.depthwise = PackedConv2d(channels, channels, 5, padding=2, groups=channels)
        self.dilated = DilatedConv2d(channels)
        self.statical = PackedConv2d(channels, channels, 1)
        self.dynamical = nn.Sequential(
            nn.Linear(channels, inner, bias=False),
            nn.ReLU(),
            nn.Linear(inner, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, H: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        SA, DA = self.statical(self.dilated(self.depthwise(H))), self.dynamical(H.mean(dim=(2, 3)))
        attended: Tensor = DA[:, :, None, None] * SA * H
        return attended


def differential_divergence(
    forecast: Float[Tensor, "bm s c h w"], truth: Float[Tensor, "b s c h w"]
) -> Float[Tensor, ""]:
    """The divergence of how a forecast and the truth change from frame to frame, where p
    and q have a value for each pixel and channel:

        p = softmax(ΔŶ / τ),  q = softmax(ΔY / τ),  R = KL(p || q)

    Difference from the paper, as in its code: a mean over clips, times, pixels and channels instead
    of sums, like the mean squared error. Differences from both: what is missing of the truth (NaN)
    changes as forecast, and two frames have a term.

    Args:
        forecast: 2 frames or more, of clips, or of as many members of each.
        truth: NaN where a value is missing.
    """
    change = forecast.diff(dim=1)
    true = truth.diff(dim=1).repeat_interleave(len(forecast) // len(truth), dim=0)
    true = true.where(true.isfinite(), change.detach())
    log_p, log_q = ((x / TEMPERATURE).flatten(2).log_softmax(dim=-1) for x in (change, true))
    return (log_p.exp() * (log_p - log_q)).mean()
