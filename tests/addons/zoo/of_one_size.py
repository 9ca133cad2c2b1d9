"""What converts to ours from OpenSTL's networks that are tied to one frame size, and what makes
ours as they are: only to compare both, since `foreframe convert` has no use for a network of one
size.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foreframe.addons.zoo.e3dlstm import E3DLSTMCell
from foreframe.addons.zoo.mau import MAU
from foreframe.addons.zoo.originals import Converter, Weights, patch_order, reordered
from foreframe.addons.zoo.originals.openstl import st_lstm_cell
from foreframe.models import Model, convlstm

Altered = Callable[[Model, dict[str, Tensor], pytest.MonkeyPatch], None]


def of_places(*places: int) -> Altered:
    """Norms with a weight and a bias, and peepholes with a number, at each place of maps (h,w)."""

    def alter(network: Model, _: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
        equations = convlstm._after_convolution.__wrapped__
        monkeypatch.setattr(convlstm, "_after_convolution", equations)
        for module in list(network.modules()):
            for name, part in list(module.named_children()):
                if isinstance(part, nn.GroupNorm):
                    setattr(module, name, nn.LayerNorm([part.num_channels, *places]).double())
            if isinstance(module, convlstm.ConvLSTMCell) and module.peephole is not None:
                zeros = torch.zeros(3, module.hidden, *places, dtype=torch.float64)
                module.peephole = nn.Parameter(zeros)

    return alter


def recalled_in_runs(cell: E3DLSTMCell, r: Tensor, past: Tensor, real: Tensor) -> Tensor:
    """E3D-LSTM's recall of `width` values that lie side by side in memory, whosever they are."""
    R, C = (
        each.reshape(past.shape[0], 1, -1, cell.width)
        for each in (torch.sigmoid(r).repeat_interleave(2, dim=1), past)
    )
    mask = real.unsqueeze(2).expand(-1, -1, R.shape[2]).flatten(1)
    A = F.scaled_dot_product_attention(R, C, C, mask[:, None, None], scale=1.0)
    return A.reshape(past[:, -1].shape)


def e3dlstm_of_places(*places: int) -> Altered:
    """And E3D-LSTM's layers, which hand on the memory that they were given."""
    of_size = of_places(*places)

    def alter(network: Model, numbers: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
        of_size(network, numbers, monkeypatch)
        monkeypatch.setattr(E3DLSTMCell, "recalled", recalled_in_runs)
        for cell in network.cells:
            cell.register_forward_hook(lambda _, given, made: (*made[:2], given[3]))

    return alter


def mim_from_openstl(theirs: Weights, network: Model) -> dict[str, Tensor]:
    """Weights of OpenSTL's MIM, without those that are never used."""
    size, core = network.stride, next(iter(network.args["core"].values()))
    order = patch_order(network.channels or 1, size)
    ours = {"output.last.weight": theirs["conv_last.weight"][order]}
    ours |= st_lstm_cell(theirs, "stlstm_layer.0", "encoder.cells.0", order)
    for k in range(1, len(core["hidden"])):
        block = f"stlstm_layer.{k}"
        for name, part in (("input", "x_cc"), ("temporal", "t_cc"), ("spatial", "s_cc")):
            ours[f"encoder.cells.{k}.{name}.weight"] = theirs[f"{block}.conv_{part}.0.weight"]
        ours[f"encoder.cells.{k}.mix.weight"] = theirs[f"{block}.conv_last.weight"]
        cells = (
            (block, f"cells.{k}.stationary"),
            (f"stlstm_layer_diff.{k - 1}", f"differences.{k - 1}"),
        )
        for name, part in cells:
            x, h = (theirs[f"{name}.conv_{of}_concat.0.weight"] for of in "xh")
            # Theirs: i, g, f, o.
            gates = reordered(torch.cat([x, h], dim=1), (0, 2, 3, 1))
            seen = torch.cat([theirs[f"{name}.ct_weight"], theirs[f"{name}.oc_weight"]])
            ours[f"encoder.{part}.gates.weight"] = gates
            ours[f"encoder.{part}.peephole"] = seen.unflatten(0, (3, -1))
    return ours


def mau_from_openstl(theirs: Weights, network: Model) -> dict[str, Tensor]:
    """Weights of OpenSTL's MAU, without those that its code never uses."""
    assert isinstance(network, MAU)
    order = patch_order(network.channels or 1, network.patch)
    pairs = [("last", "srcnn.0"), ("down.0", "encoders.0.encoder_t_conv-1")]
    for k in range(len(network.up)):
        pairs.append((f"down.{k + 1}", f"encoders.{k + 1}.encoder_t{k}"))
        pairs.append((f"up.{k}", f"decoders.{k}.c_decoder{k}"))
    units = {
        "norm_query": "s_next.1", "norm_spatial": "s.1", "fusion": "t_next.0",
        "norm_fusion": "t_next.1", "temporal": "t.0", "norm_temporal": "t.1",
    }  # fmt: skip
    for k in range(len(network.cells)):
        pairs += [
            (f"cells.{k}.{mine}", f"cell_list.{k}.conv_{name}") for mine, name in units.items()
        ]
    ours: dict[str, Tensor] = {}
    for part in ("weight", "bias"):
        ours |= {f"{mine}.{part}": theirs[f"{name}.{part}"] for mine, name in pairs}
        for k in range(len(network.cells)):
            both = [theirs[f"cell_list.{k}.conv_{name}.0.{part}"] for name in ("s_next", "s")]
            ours[f"cells.{k}.spatial.{part}"] = torch.cat(both)
        ours[f"last.{part}"] = ours[f"last.{part}"][order]
    ours["down.0.weight"] = ours["down.0.weight"][:, order]
    return ours


def e3dlstm_from_openstl(theirs: Weights, network: Model) -> dict[str, Tensor]:
    """Weights of OpenSTL's E3D-LSTM."""
    order = patch_order(network.channels or 1, network.stride)
    ours = {"last.weight": theirs["conv_last.weight"].flatten(1, 2)[order]}
    parts = ("x", "h", "gm", "new_cell", "new_gm")
    for k in range(network.args["layers"]):
        cell, mine = f"cell_list.{k}", f"cells.{k}"
        x, h, gm, c, m = (theirs[f"{cell}.conv_{name}.0.conv3d.weight"] for name in parts)
        x = x[:, order] if k == 0 else x
        # Theirs: x has i, g, r, o, i', g', f'; h has i, g, r, o; the memory's i, f, g, m.
        x, x_memory = x.tensor_split([h.shape[0]])
        gm, alone = gm.tensor_split([3 * network.args["width"]])
        joined = {
            "gates": reordered(torch.cat([x, h], dim=1), (2, 0, 1, 3)),
            "memory_gates": torch.cat([reordered(x_memory, (0, 2, 1)), gm], dim=1),
            "memory": alone,
            "output": torch.cat([c, m], dim=1),
        }
        ours |= {f"{mine}.{name}.weight": each.flatten(1, 2) for name, each in joined.items()}
        ours[f"{mine}.mix.weight"] = theirs[f"{cell}.conv_last.conv3d.weight"].squeeze(2)
        for part in ("weight", "bias"):
            ours[f"{mine}.norm.{part}"] = theirs[f"{cell}._norm_c_t.{part}"].flatten(0, 1)
    return ours


OF_ONE_SIZE: dict[str, Converter] = {
    "mim": mim_from_openstl,
    "mau": mau_from_openstl,
    "e3dlstm": e3dlstm_from_openstl,
}
