"""Muon, schedules and the moving average, compared with torch's own and with formulas."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel

from foreframe.training.optimizers import (
    MovingAverage,
    Muon,
    learning_rate,
    onecycle_beta_1,
    orthogonal,
)


def torchs(kind: type[LRScheduler], steps: int, **how: Any) -> Iterator[dict[str, Any]]:
    """The settings of each step by a schedule of torch."""
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = kind(optimizer, **how)
    for step in range(steps):
        yield optimizer.param_groups[0]
        optimizer.step()
        if step < steps - 1:
            schedule.step()


def test_schedules_equal_torchs() -> None:
    for step, group in enumerate(torchs(OneCycleLR, 201, max_lr=1.0, total_steps=201)):
        rate = learning_rate("onecycle", step / 200, step)
        assert rate == pytest.approx(group["lr"], rel=0.04, abs=2e-6)
        assert onecycle_beta_1(step / 200) == pytest.approx(group["betas"][0], abs=2e-3)
    for step, group in enumerate(torchs(CosineAnnealingLR, 101, T_max=100)):
        assert learning_rate("cosine", step / 100, step) == pytest.approx(group["lr"], abs=1e-9)


def test_schedules_warm_up_stay_and_fall() -> None:
    factors = [learning_rate("constant", 0, step, warmup=4) for step in range(5)]
    assert factors == [0.25, 0.5, 0.75, 1, 1]
    factors = [learning_rate("wsd", k / 10, k, warmup=2, decay=0.4) for k in range(11)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])
    assert learning_rate("wsd", 0.5, 9, decay=1) == 0.5  # the end of a training, as a run alone


def test_a_moving_average_forgets_its_first_weights_soon() -> None:
    weight = nn.Linear(1, 1, bias=False)
    average = AveragedModel(weight, **MovingAverage(0.5)._kwargs)
    for value in (4.0, 0.0, 0.0, 8.0):
        nn.init.constant_(weight.weight, value)
        average.update_parameters(weight)
    first = 4.0 * 2 / 11 * 3 / 12  # (1 + n)/(10 + n), n = 1 and 2
    assert average.module.weight.item() == pytest.approx(first * 4 / 13 + 8 * 9 / 13)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 40), (2, 40, 16)])
@pytest.mark.parametrize("processor", ["AVX2", "AVX512"])
def test_steps_are_nearly_orthogonal(shape: tuple[int, int, int], processor, monkeypatch) -> None:
    """In float32 and in bfloat16, depending on the processor."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    torch.manual_seed(0)
    U, S, V = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    made = orthogonal(U @ torch.diag_embed(S.clamp(min=0.1 * S.max().item())) @ V)
    # The authors' coefficients bring them to 0.7..1.2.
    assert (torch.linalg.svdvals(made) - 1).abs().max() < 0.4
    assert torch.nn.functional.cosine_similarity(made.flatten(1), (U @ V).flatten(1)).min() > 0.97


def descend(
    loss: Callable[[], torch.Tensor], optimizers: list[torch.optim.Optimizer], steps: int
) -> None:
    for _ in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss().backward()
        for optimizer in optimizers:
            optimizer.step()


def test_weights_follow_torchs_muon_and_biases_follow_adam(monkeypatch) -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon to compare with")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")  # as torch's
    torch.manual_seed(0)
    ours = nn.Linear(12, 6)
    theirs = copy.deepcopy(ours)
    start, x = ours.weight.detach().clone(), torch.linspace(-1, 1, 60).view(5, 12)
    muon = torch.optim.Muon(
        [theirs.weight], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.Adam([theirs.bias], lr=0.01, betas=(0.9, 0.99))
    for network, optimizers in (
        (ours, [Muon(ours, 0.01, (0.9, 0.99), weight_decay=0.1)]),
        (theirs, [muon, adam]),
    ):
        descend(lambda net=network: net(x).square().mean() + net(x).sin().sum(), optimizers, 4)
    moved = (theirs.weight - start).norm()
    assert (ours.weight - theirs.weight).norm() < 0.02 * moved  # both round to bfloat16 on the way
    assert torch.allclose(ours.bias, theirs.bias, atol=2e-3 * 0.01 * 4 + 1e-4)
    assert moved > 0.01


def test_groups_of_a_convolution_are_separate_weights() -> None:
    torch.manual_seed(0)
    whole = nn.Conv2d(8, 12, 3, groups=2, bias=False)
    halves = nn.ModuleList(nn.Conv2d(4, 6, 3, bias=False) for _ in range(2))
    for half, weight in zip(halves, whole.weight.detach().chunk(2), strict=True):
        half.weight.data.copy_(weight)
    x = torch.randn(2, 8, 5, 5)

    def by_halves() -> torch.Tensor:
        parts = zip(halves, x.chunk(2, dim=1), strict=True)
        return torch.cat([half(part) for half, part in parts], dim=1)

    for network, run in ((whole, lambda: whole(x)), (halves, by_halves)):
        descend(lambda run=run: run().square().sum(), [Muon(network, 0.01, (0.9, 0.99))], 2)
    assert torch.allclose(whole.weight, torch.cat([half.weight for half in halves]), atol=1e-5)


def test_each_parameter_is_stepped_once() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.GroupNorm(2, 8),
        nn.Conv2d(8, 8, 1, groups=8),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    network.register_parameter("peephole", nn.Parameter(torch.ones(3, 1, 1)))
    network[0].bias.requires_grad_(False)
    optimizer = Muon(network, 0.01, (0.9, 0.99))
    stepped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(stepped) == sorted(id(p) for p in network.parameters() if p.requires_grad)
