"""Networks that take the whole past at once: what one of them alone promises; see also
tests/contract and test_originals.py.
"""

from typing import Any

import pytest
import torch
from small_zoo import PREDFORMER
from torch import Tensor

from foreframe.addons.zoo.earthformer import _Positions
from foreframe.addons.zoo.predformer import PredFormer
from foreframe.addons.zoo.simvp import SimVP
from foreframe.addons.zoo.tau import DilatedConv2d, differential_divergence
from foreframe.models import build_model
from foreframe.models.interface import TrainingForecast
from small import SMALL, built


def test_simvp_starts_at_the_mean() -> None:
    """Every pixel moves by what the bias does."""
    network, past = SimVP(frames=2, spatial=8, temporal=16, blocks=2), torch.rand(4, 2, 1, 8, 8)
    with torch.no_grad():
        before, bias = network(past, 2), network.to_frame.bias.item()
        network.start_at(0.3)
        torch.testing.assert_close(network(past, 2), before + 0.3 - bias)
    assert bias != pytest.approx(0.3)


def test_the_divergence_is_that_of_changes() -> None:
    """By its formula, of members beside the clip that they are of; what is missing of the truth
    changes as it was forecast; the model weighs it.
    """
    forecast, truth = torch.rand(4, 3, 2, 5, 6), torch.rand(2, 3, 2, 5, 6)
    truth[1, 1:, 0, 2] = torch.nan
    network = SimVP(frames=1, spatial=8, temporal=16, divergence=0.5)
    divergences = []
    for k, member in enumerate(forecast):
        for t in (1, 2):
            change, true = member[t] - member[t - 1], truth[k // 2, t] - truth[k // 2, t - 1]
            true = torch.where(true.isnan(), change, true)
            p, q = ((x.flatten() / 0.1).softmax(dim=0) for x in (change, true))
            divergences.append((p * (p / q).log()).mean())
    expected = torch.stack(divergences).mean()
    torch.testing.assert_close(differential_divergence(forecast, truth), expected)
    terms = network.terms(TrainingForecast(forecast, truth, {}))
    torch.testing.assert_close(terms, {"divergence": expected / 2})
    assert network.terms(TrainingForecast(forecast[:, :1], truth[:, :1], {})) == {}


def predformer(**args: Any) -> PredFormer:
    torch.manual_seed(0)
    return PredFormer(**PREDFORMER | args)


@torch.no_grad()
def test_weights_serve_any_number_of_frames() -> None:
    """Positions are computed, so that nothing in the weights depends on it."""
    longer = predformer(frames=7)
    longer.load_state_dict(predformer().state_dict())
    assert longer(torch.rand(1, 2, 1, 8, 8), 9).isfinite().all()


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("predformer_small", {"dropout": 0.2}),
        ("predformer_small", {"drop_path": 0.4}),
        ("earthformer_small", {"dropout": 0.2}),
    ],
)
def test_training_leaves_out_what_forecasts_do_not(name: str, rates: dict[str, float]) -> None:
    kind, args = SMALL[name]
    network, whole = build_model(kind, args | rates), built(name).eval()
    network.load_state_dict(whole.state_dict())
    past = torch.rand(3, 3, 1, 24, 16)
    assert torch.equal(network.eval()(past, 5), whole(past, 5))
    network.train()
    torch.manual_seed(1)
    drawn = network(past, 5)
    torch.manual_seed(1)
    assert torch.equal(network(past, 5), drawn)
    assert not torch.equal(network(past, 5), drawn)


def test_what_is_computed_again_to_save_memory_leaves_the_same_out() -> None:
    network, past = predformer(dropout=0.2, drop_path=0.4), torch.rand(2, 3, 1, 8, 8)
    gradients = []
    for network.memory in ("keep", "save"):
        network.zero_grad()
        torch.manual_seed(1)
        network(past, 8).square().mean().backward()
        gradients.append(network.embedding.weight.grad)
    torch.testing.assert_close(*gradients)


@torch.no_grad()
def test_positions_of_another_size_lie_between_those_learnt() -> None:
    torch.manual_seed(0)
    positions = _Positions(2, [3, 4], 5)
    learnt = positions.times[:, None, None] + positions.places.view(3, 4, 5)
    assert torch.equal(positions(3, 4), learnt)
    finer = positions(6, 8)
    torch.testing.assert_close(finer[:, 0, 0], learnt[:, 0, 0])
    torch.testing.assert_close(finer[:, 0, 1], 0.75 * learnt[:, 0, 0] + 0.25 * learnt[:, 0, 1])


@pytest.mark.parametrize("side", [16, 32, 40])
def test_bfloat16_learns_what_float32_does_of_depthwise_weights_with_holes(side: int) -> None:
    """oneDNN, in channels last, does not."""
    torch.manual_seed(0)
    conv = DilatedConv2d(16)
    conv = conv.to(memory_format=torch.channels_last)
    maps = torch.randn(2, 16, side, side).to(memory_format=torch.channels_last)

    def gradient(bf16: bool) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            out = conv(maps.clone().requires_grad_())
        return torch.autograd.grad((out.float() * maps.flip(-1)).sum(), conv.weight)[0]

    exact = gradient(bf16=False)
    assert (gradient(bf16=True) - exact).norm() < 0.02 * exact.norm()
