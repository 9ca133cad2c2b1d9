"""Our ConvLSTM equals other people's code, which was run elsewhere: outputs, losses and gradients,
in float64.

The numbers are looked for in FOREFRAME_GOLDEN or in ../shared/golden; they are not part of this
repository, so these tests skip, and say so, without them.

Equal here: holmdk's tutorial network (the preset `tutorial`), and the cells of Hzzone's
encoder-forecaster, whose peepholes hold a number a pixel where ours hold one a channel: the plain
cell takes either. The add-on zoo tests what `foreframe
convert` takes over. Our network cannot express: the layer norm over all gates and pixels
of OpenSTL's `layer_norm=1`, the group norm of gates of jhhuang's, and the three sizes of maps, each
with layers of its own, of Hzzone's and jhhuang's encoder-forecasters.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foreframe.models import ConvLSTMCell, preset
from golden_numbers import golden, near, same


def ours_of(theirs: Tensor) -> Tensor:
    """Gates in the order i, f, g, o -> i, f, o, g, which is its own inverse."""
    i, f, g, o = theirs.chunk(4)
    return torch.cat([i, f, o, g])


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
