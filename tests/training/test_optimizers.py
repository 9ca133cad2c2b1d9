"""Muon against torch's own (which takes plain matrices), Adam, a decomposition, and separate
convolutions.
"""

import copy

import pytest
import torch
from torch import nn

from foreframe.training.optimizers import Muon, orthogonal


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 40), (2, 40, 16)])
@pytest.mark.parametrize("processor", ["AVX2", "AVX512"])
def test_steps_are_nearly_orthogonal(shape: tuple[int, int, int], processor, monkeypatch) -> None:
    """In float32 and in bfloat16, whichever is fast on a processor."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    torch.manual_seed(0)
    U, S, V = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    made = orthogonal(U @ torch.diag_embed(S.clamp(min=0.1 * S.max().item())) @ V)
    # The authors' coefficients bring them to 0.7..1.2.
    assert (torch.linalg.svdvals(made) - 1).abs().max() < 0.4
    assert torch.nn.functional.cosine_similarity(made.flatten(1), (U @ V).flatten(1)).min() > 0.97


def stepped(optimizer: torch.optim.Optimizer, network: nn.Module, steps: int = 4) -> None:
    x = torch.linspace(-1, 1, 60).view(5, 12)
    for _ in range(steps):
        optimizer.zero_grad()
        (network(x).square().mean() + network(x).sin().sum()).backward()
        optimizer.step()


def test_weights_go_as_torchs_muon_takes_them_and_biases_as_adam_does(monkeypatch) -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon of its own to compare with")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")  # as torch's
    torch.manual_seed(0)
    ours = nn.Linear(12, 6)
    theirs = copy.deepcopy(ours)
    start = ours.weight.detach().clone()
    stepped(Muon(ours, 0.01, (0.9, 0.99), weight_decay=0.1), ours)

    muon = torch.optim.Muon(
        [theirs.weight], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.Adam([theirs.bias], lr=0.01, betas=(0.9, 0.99))
    x = torch.linspace(-1, 1, 60).view(5, 12)
    for _ in range(4):
        theirs.zero_grad()
        (theirs(x).square().mean() + theirs(x).sin().sum()).backward()
        muon.step()
        adam.step()
    moved = (theirs.weight - start).norm()
    assert (ours.weight - theirs.weight).norm() < 0.02 * moved  # both round to bfloat16 on the way
    assert torch.allclose(ours.bias, theirs.bias, atol=2e-3 * 0.01 * 4 + 1e-4)
    assert moved > 0.01


def test_groups_of_a_convolution_are_weights_of_their_own() -> None:
    torch.manual_seed(0)
    whole = nn.Conv2d(8, 12, 3, groups=2, bias=False)
    halves = [nn.Conv2d(4, 6, 3, bias=False) for _ in range(2)]
    for half, weight in zip(halves, whole.weight.detach().chunk(2), strict=True):
        half.weight.data.copy_(weight)
    x = torch.randn(2, 8, 5, 5)
    left, right = x.chunk(2, dim=1)
    for network, run in (
        (whole, lambda: whole(x)),
        (nn.ModuleList(halves), lambda: torch.cat([halves[0](left), halves[1](right)], dim=1)),
    ):
        optimizer = Muon(network, 0.01, (0.9, 0.99))
        for _ in range(2):
            optimizer.zero_grad()
            run().square().sum().backward()
            optimizer.step()
    assert torch.allclose(whole.weight, torch.cat([half.weight for half in halves]), atol=1e-5)


def test_no_parameter_is_left_out_or_stepped_twice() -> None:
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
    held = [p for group in optimizer.param_groups for p in group["params"]]
    wanted = [p for p in network.parameters() if p.requires_grad]
    assert len(held) == len(wanted)
    assert {id(p) for p in held} == {id(p) for p in wanted}
