"""The exponential moving average of a training's weights."""

from collections.abc import Sequence

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Averages the weights after each step, a = d a + (1 - d) w, as Lightning does: the average is
    what is validated, the weights of every checkpoint, and the end's; the weights that are trained
    on lie beside it.

    After n steps d is (1 + n)/(10 + n) where that is less, as in TensorFlow's
    ExponentialMovingAverage: the first weights would stay in it for long.

    Args:
        decay: d, in (0,1).
    """

    def __init__(self, decay: float) -> None:
        @torch.no_grad()
        def update(averages: Sequence[Tensor], weights: Sequence[Tensor], n: Tensor | int) -> None:
            d = min(decay, (1 + int(n)) / (10 + int(n)))
            for average, weight in zip(averages, weights, strict=True):
                average.lerp_(weight, 1 - d)

        super().__init__(multi_avg_fn=update)
