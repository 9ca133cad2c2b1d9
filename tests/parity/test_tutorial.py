"""The preset `tutorial` equals a plain step-by-step reading of the 2020 tutorial's network, outputs
and gradients.

The reading below is our own, from the tutorial's description: two encoder and two decoder cells in
a loop over time, the decoder fed the embedding and then its own hidden map, and a 3-D convolution
of kernel (1,3,3) over the stacked hidden maps, then a sigmoid.
"""

import torch
from torch import nn

from foreframe.models import preset


class PlainTutorial(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        sizes = [(1, hidden), (hidden, hidden), (hidden, hidden), (hidden, hidden)]
        self.cells = nn.ModuleList(nn.Conv2d(i + o, 4 * o, 3, padding=1) for i, o in sizes)
        self.head = nn.Conv3d(hidden, 1, (1, 3, 3), padding=(0, 1, 1))
        self.hidden = hidden

    def step(self, k, x, h, c):
        i, f, o, g = torch.split(self.cells[k](torch.cat([x, h], dim=1)), self.hidden, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def forward(self, x, steps):
        b, t, _, height, width = x.shape
        h1, c1, h2, c2, h3, c3, h4, c4 = (
            x.new_zeros(b, self.hidden, height, width) for _ in range(8)
        )
        for k in range(t):
            h1, c1 = self.step(0, x[:, k], h1, c1)
            h2, c2 = self.step(1, h1, h2, c2)
        given = h2
        outputs = []
        for _ in range(steps):
            h3, c3 = self.step(2, given, h3, c3)
            h4, c4 = self.step(3, h3, h4, c4)
            given = h4
            outputs.append(h4)
        # The tutorial's (batch, channel, time, h, w)
        maps = torch.stack(outputs, 1).permute(0, 2, 1, 3, 4)
        return torch.sigmoid(self.head(maps)).permute(0, 2, 1, 3, 4)


def test_outputs_and_gradients() -> None:
    torch.manual_seed(0)
    plain, ours = PlainTutorial(16), preset("tutorial", core={"convlstm": {"hidden": [16, 16]}})
    with torch.no_grad():
        for theirs, cell in zip(
            plain.cells, [*ours.encoder.cells, *ours.decoder.cells], strict=True
        ):
            cell.gates.load_state_dict(theirs.state_dict())
        ours.output.last.weight.copy_(plain.head.weight[:, :, 0])
        ours.output.last.bias.copy_(plain.head.bias)
    past, truth = torch.rand(2, 6, 1, 20, 20), torch.rand(2, 5, 1, 20, 20)
    a, b = plain(past, 5), ours(past, 5)
    torch.testing.assert_close(b, a, atol=1e-6, rtol=0)
    for made in (a, b):
        (made - truth).square().mean().backward()
    for theirs, cell in zip(plain.cells, [*ours.encoder.cells, *ours.decoder.cells], strict=True):
        torch.testing.assert_close(cell.gates.weight.grad, theirs.weight.grad, atol=1e-6, rtol=0)
        torch.testing.assert_close(cell.gates.bias.grad, theirs.bias.grad, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        ours.output.last.weight.grad, plain.head.weight.grad[:, :, 0], atol=1e-6, rtol=0
    )
