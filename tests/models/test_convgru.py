"""The ConvGRU cell against the paper's equations pixel by pixel."""

import numpy as np
import pytest
import torch

from foreframe.models.convgru import ConvGRU, ConvGRUCell
from foreframe.models.engine import one_pass


def equations(x: np.ndarray, h: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Ballas et al. 2016, equations 4 to 7, by pixel and channel; x (d,h,w), h (k,h,w)."""
    k, height, width = h.shape

    def sigma(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    def convolved(maps: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        side = weight.shape[-1] // 2
        padded = np.pad(maps, ((0, 0), (side, side), (side, side)))
        out = np.zeros((len(weight), height, width))
        for channel in range(len(weight)):
            for row in range(height):
                for column in range(width):
                    seen = padded[:, row : row + 2 * side + 1, column : column + 2 * side + 1]
                    out[channel, row, column] = (weight[channel] * seen).sum() + bias[channel]
        return out

    gates = convolved(np.concatenate([x, h]), weights["gates.weight"], weights["gates.bias"])
    z, r = sigma(gates[:k]), sigma(gates[k:])
    both = np.concatenate([x, r * h])
    candidate = np.tanh(convolved(both, weights["candidate.weight"], weights["candidate.bias"]))
    return (1 - z) * h + z * candidate


@pytest.mark.parametrize("within_a_pass", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
def test_steps_equal_the_equations_in_float64(kernel: int, within_a_pass: bool) -> None:
    torch.manual_seed(0)
    cell = ConvGRUCell(2, 3, kernel).double()
    weights = {name: value.numpy() for name, value in cell.state_dict().items()}
    xs = torch.randn(4, 1, 2, 4, 5).double()
    h, expected = None, np.zeros((3, 4, 5))
    for x in xs:
        with one_pass(x) if within_a_pass else torch.no_grad():
            h = cell(x, h)
        expected = equations(x[0].numpy(), expected, weights)
        np.testing.assert_allclose(h[0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [((1, 2, 4), "kernel 4 is even"), ((1, 0), "needs hidden channels")],
)
def test_cells_that_cannot_be(given: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvGRUCell(*given)
    with pytest.raises(ValueError, match="1 layer or more"):
        ConvGRU(1, hidden=())
    with pytest.raises(ValueError, match="needs a state"):
        ConvGRUCell(0, 2)(None, None)
