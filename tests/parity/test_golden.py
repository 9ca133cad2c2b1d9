"""The preset `tutorial` equals holmdk's tutorial network, which was run elsewhere: outputs, losses
and gradients, in float64.

The numbers are read from FOREFRAME_GOLDEN or from ../shared/golden; they are not part of this
repository, so this test is skipped without them.
"""

import torch

from foreframe.models import preset
from golden_numbers import golden, near, same


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
