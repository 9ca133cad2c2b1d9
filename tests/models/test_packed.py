"""Convolutions that keep their weights ready: as torch's, whatever happens to the weights."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from foreframe.models import ConvLSTMCell
from foreframe.models.engine import (
    PackedConv2d,
    convolutions,
    one_pass,
    torch_private,
)


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize(
    "how",
    [{}, {"stride": 2, "bias": False}, {"groups": 4, "dilation": 2}, {"padding_mode": "circular"}],
    ids=str,
)
def test_forecasts_are_those_of_plain_convolutions(how, bf16) -> None:
    """And weights that are changed, replaced or moved to another dtype are seen at once."""
    torch.manual_seed(0)
    conv = PackedConv2d(8, 12, 3, **{"padding": 1, **how})
    x = torch.rand(2, 8, 7, 9)
    plain = copy.deepcopy(conv)
    plain.__class__ = nn.Conv2d  # type: ignore[assignment]
    with torch.no_grad():
        for change in (
            lambda c: None,
            lambda c: c.weight.mul_(2),
            lambda c: setattr(c, "weight", nn.Parameter(c.weight * 3)),
            lambda c: c.load_state_dict({k: v + 0.5 for k, v in c.state_dict().items()}),
            lambda c: setattr(c.weight, "data", c.weight - 1),
            lambda c: c.weight.data.copy_(c.weight / 2),  # which torch does not count as a change
            lambda c: c.bias is not None and c.bias.data.zero_(),
        ):
            change(conv)
            change(plain)
            for size in ((7, 9), (4, 12)):
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    ours, theirs = (one(x[..., : size[0], : size[1]]) for one in (conv, plain))
                assert ours.dtype == theirs.dtype
                torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5 + 0.01 * bf16)
    torch.testing.assert_close(conv.double()(x.double()), plain.double()(x.double()))


@pytest.mark.parametrize("gradients", [False, True])
def test_silu_after_a_convolution(gradients: bool) -> None:
    torch.manual_seed(0)
    conv, x = PackedConv2d(3, 4, 1), torch.rand(2, 3, 6, 5)
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(conv(x, silu=True), nn.functional.silu(conv(x)))


def taken_away(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch be one without this private name."""
    if name == "mkldnn":
        monkeypatch.setattr(torch.ops, name, SimpleNamespace())
    else:
        monkeypatch.delattr(torch._C, name)
    torch_private.packs.cache_clear()


@pytest.mark.parametrize("name", ["_current_graph_task_id", "mkldnn"])
def test_a_torch_without_a_private_name_gives_the_same(name: str, monkeypatch) -> None:
    """Forecasts and gradients are those with it; only what is spared is not."""
    torch.manual_seed(0)
    monkeypatch.setattr(convolutions, "FEW", 0)
    cell, x = ConvLSTMCell(2, 3), torch.rand(2, 2, 5, 4)

    def computed() -> list[torch.Tensor]:
        with one_pass(x):
            h, _ = cell(x, *cell(x, None, None))
            with torch.no_grad():
                twice = [cell(x, None, None)[0] for _ in range(2)]
        return [h, *twice, *torch.autograd.grad(h.sum(), [*cell.parameters()])]

    expected = computed()
    try:
        with monkeypatch.context() as patch:
            taken_away(name, patch)
            for ours, theirs in zip(computed(), expected, strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
            assert torch_private.packs(torch.float32) <= (name != "mkldnn")
            assert (torch_private.backward_pass() is None) == (name == "_current_graph_task_id")
    finally:
        torch_private.packs.cache_clear()
