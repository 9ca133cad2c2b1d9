"""Weights of networks of their authors' own code as ours: PredFormer, Earthformer."""

import torch
import torch.nn.functional as F
from torch import Tensor

from foreframe.addons.zoo.originals import Weights, patch_order
from foreframe.addons.zoo.predformer import AXES
from foreframe.models.interface import Model


def predformer(theirs: Weights, network: Model) -> dict[str, Tensor]:
    """Convert weights of any of the nine variants of the authors' code to a `PredFormer`.

    Their Fac-S-T was trained with tokens in another order (see `PredFormer`), so its forecasts
    differ here.
    """
    order, layers = str(network.args["order"]), int(network.args["layers"])
    interleaved = any(name.startswith("blocks.") for name in theirs)
    names = _names(order, interleaved)
    ours = {}
    pairs = {"norm": "mlp_head.0", "to_patch": "mlp_head.1", "embedding": "to_patch_embedding.1"}
    for i in range(len(order) * int(network.args["blocks"])):
        block, k = divmod(i, len(order))
        there = (f"blocks.{block}." if interleaved else "") + names[k]
        pairs[f"transformers.{i}.layers.{layers}"] = f"{there}.norm"
        for j in range(layers):
            layer, here = f"{there}.layers.{j}", f"transformers.{i}.layers.{j}"
            pairs |= {f"{here}.{name}": f"{layer}.{of}" for name, of in LAYER.items()}
            ours[f"{here}.qkv.weight"] = theirs[f"{layer}.0.fn.to_qkv.weight"]
            for kind in ("weight", "bias"):
                gate, value = (theirs[f"{layer}.1.fn.fc1_{part}.{kind}"] for part in "gx")
                ours[f"{here}.gated.{kind}"] = torch.cat([gate, value])
    for here, there in pairs.items():
        ours |= {f"{here}.{kind}": theirs[f"{there}.{kind}"] for kind in ("weight", "bias")}
    folded = patch_order(network.channels or 1, network.stride)
    return ours | {"embedding.weight": ours["embedding.weight"][:, folded]}


LAYER = {"norm_1": "0.norm", "out": "0.fn.to_out.0", "norm_2": "1.norm", "fc2": "1.fn.fc2"}
"""Parts of a layer that the authors' code only names otherwise."""


def _names(order: str, interleaved: bool) -> list[str]:
    """Names of a block's transformers in the authors' code: if interleaved, TST has a first and a
    second one, and TSST has names of TS and ST.
    """
    names = [f"{AXES[axis]}_transformer" for axis in order]
    if not interleaved:
        return names
    if len(order) == 3:
        return [f"{names[0]}_first", names[1], f"{names[2]}_second"]
    return [f"{order[k - k % 2 :][:2].lower()}_{name}" for k, name in enumerate(names)]


def earthformer(theirs: Weights, network: Model) -> dict[str, Tensor]:
    """Weights of the authors' code. If a network forecasts more frames than it reads, its biases
    for distances in time become the middle of ours, padded with zeros.
    """
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    ours: dict[str, Tensor] = {}
    for name, value in theirs.items():
        for there, here in EARTHFORMER.items():
            name = name.replace(there, here)
        if name.startswith(("merge.", "down.")):  # of four neighbours, theirs row by row
            value = value.unflatten(-1, (2, 2, -1)).transpose(-3, -2).flatten(-3)
        elif name == "to_frame.3.weight":
            value = value[..., None, None]
        elif name.startswith("decoder.") and name.endswith(".0.beta"):
            further = (shapes[name][0] - len(value)) // 2
            value = F.pad(value, (0, 0, further, further))
        ours[name] = value
        if name.endswith(".qkv.weight"):
            d = value.shape[1]
            ours |= {name.replace("qkv", "q"): value[:d], name.replace("qkv", "kv"): value[d:]}
    return ours


EARTHFORMER = {
    "torch_nn_module.": "", "initial_encoder.conv_block": "shrink",
    "initial_encoder.patch_merge": "merge",
    "encoder.down_layers": "down", "reduction": "linear", "init_global_vectors": "vectors",
    "encoder.down_layer_global_proj": "widen", "encoder.blocks": "encoder", "z_proj": "query",
    "decoder.self_blocks": "decoder", "decoder.cross_blocks": "looking", "attn_l.": "",
    "ffn_l.": "", "enc_pos_embed.": "past.", "dec_pos_embed.": "future.",
    "T_embed.weight": "times", "HW_embed.weight": "places", "decoder.upsample_layers": "up",
    "final_decoder.upsample": "enlarge", "final_decoder.conv_block": "to_frame", ".conv.": ".1.",
    "dec_final_proj": "to_frame.3", "layer_norm": "feed_forward.0", "ffn_1": "feed_forward.1",
    "ffn_2": "feed_forward.4", "global_vec_norm": "global_norm", "global_proj": "global_out",
    "kv_proj": "kv", "q_proj": "q", ".proj.": ".out.", "relative_position_bias_table": "beta",
}  # fmt: skip
"""Parts of the authors' names, and ours, in the order in which they are replaced."""
