"""Our ConvLSTM equals other people's code, which was run elsewhere: outputs, losses and gradients,
in float64.

The numbers are looked for in FOREFRAME_GOLDEN or in ../shared/golden; they are not part of this
repository, so these tests skip, and say so, without them. `test_openstl_by_its_formulas` needs
none.

Equal here: holmdk's tutorial network (the preset `tutorial`), ndrplz's layer stack (the cell and
the engine), and the cells of Hzzone's encoder-forecaster, whose peepholes hold a number a pixel
where ours hold one a channel: the plain cell takes either. tests/parity/test_originals.py has what
`foreframe convert` takes over. Our network cannot express: the layer norm over all gates and pixels
of OpenSTL's `layer_norm=1`, the group norm of gates of jhhuang's, and the three sizes of maps, each
with layers of its own, of Hzzone's and jhhuang's encoder-forecasters.
"""

import os
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from foreframe.models import ConvLSTMCell, preset
from foreframe.models.engine import one_pass


def golden(name: str) -> dict[str, Tensor]:
    """All tensors in float64; leaves that want gradients are made by the tests."""
    root = Path(os.environ.get("FOREFRAME_GOLDEN", Path(__file__).parents[3] / "shared" / "golden"))
    path = root / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"needs {path.name} in FOREFRAME_GOLDEN or ../shared/golden")
    return {key: value.double() for key, value in load_file(path).items()}


def same(ours: Tensor, theirs: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


def near(ours: Tensor | None, theirs: Tensor) -> None:
    """Of what is stored in float32: to a millionth of its largest value. What a norm takes away has
    gradients of rounding alone.
    """
    assert ours is not None
    same(ours, theirs, max(1e-6 * float(theirs.abs().max()), 1e-15))


def ours_of(theirs: Tensor) -> Tensor:
    """Gates in the order i, f, g, o -> i, f, o, g, which is its own inverse."""
    i, f, g, o = theirs.chunk(4)
    return torch.cat([i, f, o, g])


def folded(channels: int, patch: int) -> list[int]:
    """Where OpenSTL keeps the channels of our folded patches: its order is row, column, channel,
    and ours channel, row, column.
    """
    return (
        torch.arange(patch * patch * channels)
        .view(patch, patch, channels)
        .permute(2, 0, 1)
        .flatten()
        .tolist()
    )


def test_openstl_by_its_formulas() -> None:
    """The preset beside a loop of our own, written from OpenSTL's formulas: no offset, no bias,
    conv_x and conv_h apart, patches as its reshape makes them.
    """
    torch.manual_seed(0)
    p, hidden, steps = 4, 5, 3
    model = preset("openstl", core={"convlstm": {"hidden": [hidden, hidden]}}).double()
    order = folded(1, p)
    past = torch.rand(2, 4, 1, 16, 24, dtype=torch.float64)

    def unfolded(patches: Tensor) -> Tensor:
        b, _, h, w = patches.shape
        return patches.view(b, p, p, h, w).permute(0, 3, 1, 4, 2).reshape(b, 1, h * p, w * p)

    h = c = [torch.zeros(2, hidden, 4, 6, dtype=torch.float64)] * 2
    made: list[Tensor] = []
    for t in range(past.shape[1] + steps - 1):
        frame = past[:, t] if t < past.shape[1] else made[-1]
        x = frame.view(2, 4, p, 6, p).permute(0, 2, 4, 1, 3).reshape(2, p * p, 4, 6)
        h, c = list(h), list(c)
        for k, cell in enumerate(model.encoder.cells):
            weight = ours_of(cell.gates.weight.detach())
            W_x, W_h = weight[:, : x.shape[1]], weight[:, x.shape[1] :]
            if k == 0:
                W_x = W_x[:, torch.tensor(order).argsort()]
            i, f, g, o = (F.conv2d(x, W_x, padding=2) + F.conv2d(h[k], W_h, padding=2)).chunk(
                4, dim=1
            )
            c[k] = torch.sigmoid(f) * c[k] + torch.sigmoid(i) * torch.tanh(g)
            x = h[k] = torch.sigmoid(o) * torch.tanh(c[k])
        W_last = model.output.last.weight.detach()[torch.tensor(order).argsort()]
        made.append(unfolded(F.conv2d(x, W_last)))
    same(model(past, steps), torch.stack(made[-steps:], dim=1))


def test_holmdk_is_the_preset_tutorial() -> None:
    g = golden("holmdk_encoder_decoder")
    model = preset("tutorial", core={"convlstm": {"hidden": [6, 6]}}).double()
    names = [f"{part}_{k}_convlstm.conv" for part in ("encoder", "decoder") for k in (1, 2)]
    cells = [*model.encoder.cells, *model.decoder.cells]
    with torch.no_grad():
        for name, cell in zip(names, cells, strict=True):
            cell.gates.weight.copy_(g[f"param.{name}.weight"])
            cell.gates.bias.copy_(g[f"param.{name}.bias"])

        model.output.last.weight.copy_(g["param.decoder_CNN.weight"][:, :, 0])
        model.output.last.bias.copy_(g["param.decoder_CNN.bias"])
    past = g["input"][:, :4].requires_grad_()
    made = model(past, 5)
    same(made, g["output"].transpose(1, 2))
    loss = (made - g["input"][:, 4:]).square().mean()
    same(loss, g["loss"])
    loss.backward()
    near(past.grad, g["grad.input"])
    near(model.output.last.weight.grad, g["grad.decoder_CNN.weight"][:, :, 0])
    near(model.output.last.bias.grad, g["grad.decoder_CNN.bias"])
    for name, cell in zip(names, cells, strict=True):
        near(cell.gates.weight.grad, g[f"grad.{name}.weight"])
        near(cell.gates.bias.grad, g[f"grad.{name}.bias"])


def ndrplz(g: dict[str, Tensor]) -> list[ConvLSTMCell]:
    cells = [ConvLSTMCell(2, 5, (3, 3)).double(), ConvLSTMCell(5, 4, (5, 3)).double()]
    with torch.no_grad():
        for k, cell in enumerate(cells):
            cell.gates.weight.copy_(g[f"param.cell_list.{k}.conv.weight"])
            cell.gates.bias.copy_(g[f"param.cell_list.{k}.conv.bias"])
    return cells


@pytest.mark.parametrize("fast", [False, True], ids=["cell", "engine"])
def test_ndrplz_layer_stack(fast: bool) -> None:
    g = golden("ndrplz_convlstm")
    cells = ndrplz(g)
    x = g["input"].requires_grad_()
    layers: list = [(None, None), (None, None)]
    outputs: list[list[Tensor]] = [[], []]
    with one_pass(x) if fast else nullcontext():
        for frame in x.unbind(dim=1):
            for k, cell in enumerate(cells):
                layers[k] = cell(frame, *layers[k])
                frame = layers[k][0]
                outputs[k].append(frame)
    for k in range(2):
        same(torch.stack(outputs[k], dim=1), g[f"layer.{k}.outputs"])
        same(layers[k][0], g[f"layer.{k}.last_h"])
        same(layers[k][1], g[f"layer.{k}.last_c"])
    loss = torch.stack(outputs[1], dim=1).square().mean() + layers[0][1].square().mean()
    same(loss, g["loss"])
    loss.backward()
    near(x.grad, g["grad.input"])
    for k, cell in enumerate(cells):
        near(cell.gates.weight.grad, g[f"grad.cell_list.{k}.conv.weight"])
        near(cell.gates.bias.grad, g[f"grad.cell_list.{k}.conv.bias"])


def test_hzzone_cells_with_peepholes() -> None:
    """The whole encoder-forecaster, with our cells in it; the convolutions between sizes of maps
    are the test's own, written from the formulas.
    """
    g = golden("convlstm_peephole_hzzone")

    def cell(name: str) -> ConvLSTMCell:
        weight = g[f"param.{name}._conv.weight"]
        hidden = len(weight) // 4
        made = ConvLSTMCell(weight.shape[1] - hidden, hidden, peepholes=True).double()
        with torch.no_grad():
            made.gates.weight.copy_(ours_of(weight))
            made.gates.bias.copy_(ours_of(g[f"param.{name}._conv.bias"]))
        made.peephole = nn.Parameter(
            torch.cat([g[f"param.{name}.W{gate}"] for gate in ("ci", "cf", "co")])
        )
        return made

    def between(
        x: Tensor, name: str, convolution=F.conv2d, leaky: bool = True, **how: int
    ) -> Tensor:
        x = convolution(x, g[f"param.{name}.weight"], g[f"param.{name}.bias"], **how)
        return F.leaky_relu(x, 0.2) if leaky else x

    def frame_by_frame(x: Tensor, do) -> Tensor:
        return do(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    past = g["input"][:, :3]
    cells = {
        f"{part}.rnn{k}": cell(f"{part}.rnn{k}")
        for part in ("encoder", "forecaster")
        for k in (1, 2, 3)
    }
    states = {}
    x = past
    for k in (1, 2, 3):
        how = {"padding": 1} if k == 1 else {"stride": 2, "padding": 1}
        x = frame_by_frame(
            x, lambda x, k=k, how=how: between(x, f"encoder.stage{k}.conv{k}_leaky_1", **how)
        )
        h = c = None
        outputs = []
        for frame in x.unbind(dim=1):
            h, c = cells[f"encoder.rnn{k}"](frame, h, c)
            outputs.append(h)
        x, states[k] = torch.stack(outputs, dim=1), (h, c)
        near(x.transpose(0, 1), g[f"rnn.encoder.rnn{k}.outputs"])
    inputs: Tensor | None = None
    for k in (3, 2, 1):
        h, c = states[k]
        step, outputs = cells[f"forecaster.rnn{k}"], []
        for t in range(4):
            absent = torch.zeros(
                2, step.gates.in_channels - step.hidden, *h.shape[2:], dtype=h.dtype
            )
            h, c = step(absent if inputs is None else inputs[:, t], h, c)
            outputs.append(h)
        x = torch.stack(outputs, dim=1)
        near(x.transpose(0, 1), g[f"rnn.forecaster.rnn{k}.outputs"])
        if k > 1:
            name = f"forecaster.stage{k}.deconv{4 - k}_leaky_1"
            up = {"convolution": F.conv_transpose2d, "stride": 2, "padding": 1}
            inputs = frame_by_frame(x, lambda x, name=name, up=up: between(x, name, **up))
    x = x.flatten(0, 1)
    x = between(x, "forecaster.stage1.deconv3_leaky_1", F.conv_transpose2d, padding=1)
    x = between(x, "forecaster.stage1.conv3_leaky_2", padding=1)
    made = between(x, "forecaster.stage1.conv3_3", leaky=False).unflatten(0, (2, 4))
    same(made, g["output"])
