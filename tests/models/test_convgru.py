"""The ConvGRU cell against the paper's equations in torch's own convolutions."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from foreframe.models.convgru import ConvGRUCell
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
