"""Cells beside the ConvLSTM's: the ConvGRU against its paper's equations, in torch's own
convolutions, and what E3D-LSTM alone has; that it equals its original, test_originals.py shows.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from foreframe.addons.zoo.convgru import ConvGRUCell
from foreframe.addons.zoo.e3dlstm import E3DLSTMCell
from foreframe.models import Model, build_model
from foreframe.models.engine import one_pass


def equations(cell: ConvGRUCell, x: Tensor, h: Tensor) -> Tensor:
    """Ballas et al. 2016, equations 4 to 7."""

    def convolved(layer: torch.nn.Module, h: Tensor) -> Tensor:
        side = layer.weight.shape[-1] // 2
        return F.conv2d(torch.cat([x, h], dim=1), layer.weight, layer.bias, padding=side)

    z, r = torch.sigmoid(convolved(cell.gates, h)).chunk(2, dim=1)
    return (1 - z) * h + z * torch.tanh(convolved(cell.candidate, r * h))


@pytest.mark.parametrize("within_a_pass", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
def test_steps_equal_the_equations_in_float64(kernel: int, within_a_pass: bool) -> None:
    torch.manual_seed(0)
    cell = ConvGRUCell(2, 3, kernel).double()
    h, expected = None, torch.zeros(1, 3, 4, 5).double()
    for x in torch.randn(4, 1, 2, 4, 5).double():
        with one_pass(x) if within_a_pass else torch.no_grad():
            h = cell(x, h)
        expected = equations(cell, x, expected)
        torch.testing.assert_close(h, expected, atol=1e-12, rtol=0)


def test_a_cell_without_input_needs_a_state() -> None:
    with pytest.raises(ValueError, match="needs a state"):
        ConvGRUCell(0, 2)(None, None)


def network(**args: Any) -> Model:
    torch.manual_seed(0)
    return build_model("e3dlstm_small", {"width": 4, "patch": 4, **args})


def test_it_recalls_no_more_than_the_last_memories() -> None:
    """Of 4 frames: a memory is there before each, the first one zero."""
    past = torch.rand(1, 4, 1, 12, 16)
    with torch.no_grad():
        few, enough, more = (network(tau=tau)(past, 1) for tau in (3, 4, 9))
    torch.testing.assert_close(enough, more)
    assert not torch.equal(few, enough)


def test_the_common_memory_is_passed_on() -> None:
    assert network().encode(torch.rand(1, 1, 1, 12, 16))["m"].any()


def test_a_memory_is_recalled_wherever_it_lies() -> None:
    cell = E3DLSTMCell(1, 5, 3)
    r, past, real = torch.rand(1, 5, 3, 4), torch.rand(1, 2, 10, 3, 4), torch.ones(1, 2).bool()
    here, aside = (cell.recalled(r, each, real) for each in (past, past.roll(1, dims=-1)))
    torch.testing.assert_close(here, aside)


def test_a_mirrored_decoder_goes_on_from_the_same_memory() -> None:
    """Of a core whose layers share one."""
    network = build_model(
        "encoder_decoder", {"core": {"predrnn": {"hidden": [3, 3]}}, "start": "mirrored"}
    )
    state = network.encode(torch.rand(1, 2, 1, 8, 8))
    begun = network.begin(state)
    assert torch.equal(begun["decoder/m0"], state["encoder/m0"])
    assert torch.equal(begun["decoder/c0"], state["encoder/c1"])
