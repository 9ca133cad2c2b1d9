"""Weights of OpenSTL's networks (Tan et al. 2023, arXiv 2306.11249) as ours: what its code calls
them, in which order it has channels and gates, and what it has and never uses.
"""

import math
import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from foreframe.addons.zoo.originals import Weights, patch_order, reordered
from foreframe.addons.zoo.phydnet import PhyDNet
from foreframe.models.engine import Conv2d
from foreframe.models.interface import Model


def last_convolution(theirs: Weights, network: Model) -> tuple[list[int], dict[str, Tensor]]:
    """The order of a patch's channels, and by it the convolution that gives patches."""
    order = patch_order(network.channels or 1, network.stride)
    return order, {"output.last.weight": theirs["conv_last.weight"][order]}


def convlstm(theirs: Weights, network: Model) -> dict[str, Tensor]:
    """Weights of OpenSTL's ConvLSTM, for the preset `openstl`. Weights that its code never uses are
    omitted.
    """
    order, ours = last_convolution(theirs, network)
    for k in range(len(network.args["core"]["convlstm"]["hidden"])):
        x, h = (theirs[f"cell_list.{k}.conv_{part}.0.weight"] for part in "xh")
        joined = torch.cat([x[:, order] if k == 0 else x, h], dim=1)
        # Theirs: i, f, g, o.
        ours[f"encoder.cells.{k}.gates.weight"] = reordered(joined, (0, 1, 3, 2))
    return ours


def predrnn(theirs: Weights, network: Model) -> dict[str, Tensor]:
    """Weights of OpenSTL's PredRNN and PredRNN-V2, for networks as of the presets `predrnn` and
    `predrnnv2`.
    """
    order, ours = last_convolution(theirs, network)
    core = network.args["core"]["predrnn"]
    for k in range(len(core["hidden"])):
        ours |= st_lstm_cell(theirs, f"cell_list.{k}", f"encoder.cells.{k}", order * (k == 0))
    if core.get("decouple"):
        ours["encoder.adapter.weight"] = theirs["adapter.weight"]
    return ours


def st_lstm_cell(
    theirs: Weights, their_name: str, our_name: str, order: Sequence[int] = ()
) -> dict[str, Tensor]:
    """Weights of an ST-LSTM cell of theirs.

    Args:
        order: order of the input channels, if it differs from theirs.
    """
    x, h, m, o = (theirs[f"{their_name}.conv_{part}.0.weight"] for part in "xhmo")
    x = x[:, list(order)] if order else x
    i, f, g, *memory, out = x.chunk(7)  # theirs: i, f, g of c, of M, and o
    return {
        f"{our_name}.gates.weight": torch.cat([torch.cat([i, f, g, out]), h], dim=1),
        f"{our_name}.memory_gates.weight": torch.cat([torch.cat(memory), m], dim=1),
        f"{our_name}.output.weight": o,
        f"{our_name}.mix.weight": theirs[f"{their_name}.conv_last.weight"],
    }


def predrnnpp(theirs: Weights, network: Model) -> dict[str, Tensor]:
    """Weights of OpenSTL's PredRNN++, for the preset `predrnnpp`. Weights that its code never uses
    are omitted.
    """
    order, ours = last_convolution(theirs, network)
    x, z = (theirs[f"gradient_highway.{part}_concat.0.weight"] for part in "xz")
    ours["encoder.highway.weight"] = torch.cat([x, z], dim=1)
    for k in range(len(network.args["core"]["predrnnpp"]["hidden"])):
        parts = ("x", "h", "c", "m", "c2m", "om")
        x, h, c, m, c2m, om = (theirs[f"cell_list.{k}.conv_{part}.0.weight"] for part in parts)
        x = x[:, order] if k == 0 else x
        # Theirs are i, f, g, i', f', g', o of x, and i', g', f', o of c'.
        i, f, g, *memory, out = x.chunk(7)
        *memory_of_c, out_of_c = reordered(c2m, (0, 2, 1, 3)).chunk(4)
        own = {
            "gates": torch.cat([torch.cat([i, f, g, out]), h], dim=1),
            "gates_of_c": c,
            "memory_gates": torch.cat([torch.cat(memory), torch.cat(memory_of_c)], dim=1),
            "gates_of_M": m,
            "output": torch.cat([out_of_c, om], dim=1),
            "mix": theirs[f"cell_list.{k}.conv_last.weight"],
        }
        ours |= {f"encoder.cells.{k}.{name}.weight": weight for name, weight in own.items()}
    return ours


def phydnet(theirs: Weights, network: Model) -> dict[str, Tensor]:
    """Weights of OpenSTL's PhyDNet, for a network as of the preset `phydnet`."""
    assert isinstance(network, PhyDNet)
    filters = {"filters": "F.conv1", "norm": "F.bn1", "weighted": "F.conv2", "gain": "convgate"}
    pairs = [(f"cell.{mine}", f"phycell.cell_list.0.{name}") for mine, name in filters.items()]
    pairs.append(("last", "encoder.decoder_D.upc3"))
    for k in range(len(network.core.hidden)):
        pairs.append((f"core.cells.{k}.gates", f"convcell.cell_list.{k}.conv"))
    blocks = {
        "down": "encoder_E.c", "up": "decoder_D.upc",
        "to_physical": "encoder_Ep.c", "from_physical": "decoder_Dp.upc",
        "to_residual": "encoder_Er.c", "from_residual": "decoder_Dr.upc",
    }  # fmt: skip
    for mine, name in blocks.items():
        for k, _ in enumerate(network.get_submodule(mine).children()):
            pairs += [(f"{mine}.{k}.{j}", f"encoder.{name}{k + 1}.main.{j}") for j in (0, 1)]
    ours: dict[str, Tensor] = {}
    for mine, name in pairs:
        weight = theirs[f"{name}.weight"]
        if ".decoder_" in name and isinstance(network.get_submodule(mine), Conv2d):
            weight = weight.transpose(0, 1).flip(2, 3)  # theirs: of a transposed convolution
        ours |= {f"{mine}.weight": weight, f"{mine}.bias": theirs[f"{name}.bias"]}
    return ours


def swinlstm(theirs: Weights, network: Model) -> dict[str, Tensor]:
    """Weights of OpenSTL's SwinLSTM-D, and of its SwinLSTM-B. The biases of a level that is smaller
    than a window become the middle of ours, whose other offsets that level never sees.
    """
    count, window = len(network.args["depths"]), network.args["window"]
    middle = count // 2
    first, last = ("Downsample", "Upsample.Unembed") if middle else ("ST", "ST.patch_inflated")
    names = {
        f"{first}.patch_embed.proj": "patch",
        f"{first}.patch_embed.norm": "norm",
        f"{last}.Conv": "to_frame",
    }
    for k in range(count):
        down = k < middle
        half, n = ("Down" if down else "Up"), k % (middle or 1)
        names[f"{half}sample.layers.{n}" if middle else "ST.layer"] = f"cells.{k}"
        part, linear = ("downsample", "reduction") if down else ("upsample", "expand")
        names[f"{half}sample.{part}.{n}.{linear}"] = f"between.{k}.linear"
        names[f"{half}sample.{part}.{n}.norm"] = f"between.{k}.norm"
    parts = {
        "STBs": "blocks", "red": "join", "attn.qkv": "qkv", "attn.proj": "project",
        "attn.relative_position_bias_table": "bias", "norm1": "norm_1", "norm2": "norm_2",
        "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2",
    }  # fmt: skip
    ours = {}
    for name, value in theirs.items():
        if name.endswith("bias_table"):
            side = math.isqrt(len(value))
            around = (2 * window - 1 - side) // 2
            value = F.pad(value.view(side, side, -1), (0, 0, *[around] * 4)).flatten(0, 1)
        for old, new in (names | parts).items():
            name = f".{name}.".replace(f".{old}.", f".{new}.").strip(".")
        ours[name] = value
    return ours


# Patterns of our names, and the names in OpenSTL's code.
SIMVP = {
    r"^(enc|dec)oder\.(\d+)\.0": r"\1.\1.\2.conv.conv",
    r"^(enc|dec)oder\.(\d+)\.[12]": r"\1.\1.\2.conv.norm",
    r"^to_frame": "dec.readout",
    r"^translator\.down": "hid.enc",
    r"^translator\.up": "hid.dec",
    r"reduce": "conv1",
    r"sizes\.(\d+)\.0": r"layers.\1.conv",
    r"sizes\.(\d+)\.1": r"layers.\1.norm",
    r"^translator\.(\d+)\.out": r"hid.enc.\1.reduction",
    r"^translator\.(\d+)": r"hid.enc.\1.block",
    r"norm_(\d)": r"norm\1",
    r"scale_": "layer_scale_",
    r"proj_(\d)": r"attn.proj_\1",
    r"attention": "attn.spatial_gating_unit",
    r"depthwise": "conv0",
    r"dilated": "conv_spatial",
    r"gate\b|statical": "conv1",
    r"dynamical": "fc",
    r"mlp\.0": "mlp.fc1",
    r"mlp\.1": "mlp.dwconv.dwconv",
    r"mlp\.3": "mlp.fc2",
}


def simvp(theirs: Weights, network: Model) -> dict[str, Tensor]:
    """Weights of OpenSTL's SimVP and TAU, for a network as of the presets of these names."""
    ours = {}
    for name in network.state_dict():
        key = their_name(name)
        deeper = key.replace("conv.conv.", "conv.conv.0.")  # before a pixel shuffle
        for found in {key, deeper} & theirs.keys():
            ours[name] = theirs[found]
    return ours


def their_name(name: str) -> str:
    """Return the name of one of our weights in OpenSTL's code."""
    for pattern, theirs in SIMVP.items():
        name = re.sub(pattern, theirs, name)
    return name
