"""Optimizers: torch's Adam and AdamW, and Muon, implemented here. Learning rate and momentum are
functions of progress, without state to save or lose on resume. The moving average of the weights.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from foreframe.forecasting.compute import multiplies_bfloat16
from foreframe.training.options import LearningOptions

# Coefficients of a Newton-Schulz step: so many bring singular values of 0.01 to 1 to about 1.
A, B, C = 3.4445, -4.7750, 2.0315
STEPS = 5
Convolution = (
    nn.Conv1d | nn.Conv2d | nn.Conv3d
    | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)  # fmt: skip


def build_optimizer(network: nn.Module, options: LearningOptions) -> torch.optim.Optimizer:
    """The optimizer of these options for all parameters of `network`."""
    betas = (options.beta_1, options.beta_2)
    if options.optimizer == "muon":
        how = options.learning_rate, betas, options.weight_decay, options.momentum
        return Muon(network, *how)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.optimizer]
    return kind(
        network.parameters(), options.learning_rate, betas, weight_decay=options.weight_decay
    )


class Muon(torch.optim.Optimizer):
    """Steps the weights of convolutions and linear layers by Muon, other parameters by Adam, with a
    common learning rate.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): Adam steps far along the
    few directions with a large gradient of a weight and barely along the others; Muon's step is a
    matrix with singular values near 1. Biases, norms and peepholes are not matrices.

    A weight (o,i,y,x) becomes a matrix (o, i·y·x), and a grouped convolution has a matrix for each
    group. (torch.optim.Muon accepts plain matrices only.) The step is scaled by 0.2 sqrt(max(rows,
    columns)), as by Liu et al. 2025 (arXiv 2502.16982, section 2.2), to the length of a step of
    Adam.

    Args:
        network: the network to train.
        lr: learning rate of both.
        betas: of Adam.
        weight_decay: decoupled; for weights only.
        momentum: of Muon (Nesterov's).
    """

    def __init__(
        self,
        network: nn.Module,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        parts = {
            module.weight: getattr(module, "groups", 1)
            for module in network.modules()
            if isinstance(module, nn.Linear | Convolution) and module.weight.requires_grad
        }
        others = [p for p in network.parameters() if p.requires_grad and p not in parts]
        groups: list[dict[str, Any]] = [
            {"params": [*parts], "parts": [*parts.values()], "weight_decay": weight_decay},
            {"params": others, "parts": None, "weight_decay": 0.0},
        ]
        super().__init__(
            [group for group in groups if group["params"]],
            {"lr": lr, "betas": betas, "momentum": momentum},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            (self._adam if group["parts"] is None else self._muon)(group)
        return loss

    def _muon(self, group: dict[str, Any]) -> None:
        # Matrices of equal size are stacked.
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for weight, parts in zip(group["params"], group["parts"], strict=True):
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            momentum = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
            ahead = weight.grad.lerp(momentum, group["momentum"])
            matrices = ahead.reshape(parts, weight.shape[0] // parts, -1)
            alike[matrices.shape].append((weight, matrices))
        for shape, stack in alike.items():
            steps = orthogonal(torch.cat([matrices for _, matrices in stack]))
            length = group["lr"] * 0.2 * math.sqrt(max(shape[1:]))
            for (weight, _), step in zip(stack, steps.split(shape[0]), strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(
                    step.reshape(weight.shape), alpha=length
                )

    def _adam(self, group: dict[str, Any]) -> None:
        beta_1, beta_2 = group["betas"]
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state |= {
                    "step": torch.zeros(()),
                    "mean": torch.zeros_like(p),
                    "variance": torch.zeros_like(p),
                }
            state["step"] += 1
            n = state["step"].item()
            mean = state["mean"].lerp_(p.grad, 1 - beta_1)
            variance = state["variance"].mul_(beta_2).addcmul_(p.grad, p.grad, value=1 - beta_2)
            size = (variance / (1 - beta_2**n)).sqrt_().add_(1e-8)
            p.addcdiv_(mean, size, value=-group["lr"] / (1 - beta_1**n))


def orthogonal(matrices: Float[Tensor, "n o i"]) -> Float[Tensor, "n o i"]:
    """Approximate U Vᵀ of each matrix U S Vᵀ by Newton-Schulz steps
    X <- A X + (B XXᵀ + C (XXᵀ)²) X, in bfloat16 if the processor multiplies it. On other processors
    bfloat16 is ten times slower than float32.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    half = multiplies_bfloat16(matrices.device.type)
    X = (matrices.mT if tall else matrices).to(torch.bfloat16 if half else torch.float32)
    X = X / (X.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(STEPS):
        G = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(G, G, G, beta=B, alpha=C), X, beta=A)
    return (X.mT if tall else X).to(matrices.dtype)


def learning_rate(
    schedule: str, done: float, step: int, warmup: int = 0, decay: float = 0.2
) -> float:
    """The factor on the highest learning rate.

    Args:
        schedule: "constant"; "cosine" (to 0); "wsd" (warm-up, stable, decay: constant, then by a
            straight line to 0; Zhai et al. 2022, arXiv 2106.04560, appendix B, and Hu et al. 2024,
            arXiv 2404.06395); "onecycle" (Smith & Topin 2017, arXiv 1708.07120, with torch's
            OneCycleLR numbers: up from 1/25 over the first 30 %, then down to 1/250,000, both as
            cosines).
        done: share of the training done, 0 to 1, by steps or by time.
        step: optimizer steps done, for the warm-up.
        warmup: steps of a linear rise before all but onecycle.
        decay: share of the training, at its end, in which wsd falls.
    """
    done = min(max(done, 0.0), 1.0)
    if schedule == "onecycle":
        return _onecycle(done, 1 / 25, 1.0, 1 / 25 / 1e4)
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if schedule == "wsd":
        return rise * min(1.0, (1 - done) / decay)
    return rise * (_cosine(done, 1.0, 0.0) if schedule == "cosine" else 1.0)


def onecycle_beta_1(done: float) -> float:
    """OneCycle's momentum, opposite to the learning rate: 0.95, 0.85, 0.95."""
    return _onecycle(min(max(done, 0.0), 1.0), 0.95, 0.85, 0.95)


def _onecycle(done: float, first: float, top: float, last: float) -> float:
    rise = 0.3
    if done <= rise:
        return _cosine(done / rise, first, top)
    return _cosine((done - rise) / (1 - rise), top, last)


def _cosine(share: float, start: float, end: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


class MovingAverage(WeightAveraging):
    """Averages the weights after each step, a = d a + (1 - d) w. As in Lightning, the average is
    used for validation, forecasts and checkpoints. Checkpoints also have the trained weights.

    After n steps d is at most (1 + n)/(10 + n), as in TensorFlow's ExponentialMovingAverage.
    Otherwise the first weights would stay in the average for long.

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
