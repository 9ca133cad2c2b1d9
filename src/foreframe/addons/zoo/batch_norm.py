"""Batch norm: training uses the statistics of a batch, forecasts use running statistics."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """`torch.nn.BatchNorm2d` without its count of batches: saved weights are numbers of floating
    point.

    In training mode clips of a batch see each other, and a batch needs several.

    Attributes:
        of_the_batch: whether to use, and keep, the statistics of the batch; None: in training mode
            only.
    """

    running_mean: Tensor
    running_var: Tensor
    momentum = 0.1  # of the running statistics
    of_the_batch: bool | None = None

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        kept = self.running_mean, self.running_var
        of_the_batch = self.training if self.of_the_batch is None else self.of_the_batch
        return F.batch_norm(x, *kept, self.weight, self.bias, of_the_batch, self.momentum)
