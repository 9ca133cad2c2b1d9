"""Small networks by name, the one list for the tests of contract, golden numbers, streams and
precision.

A preset, a model or a core of your own needs a line here: tests build it by its name, with these
arguments and no others.
"""

from typing import Any

import torch

from foreframe.models import BASELINES, Model, build_model

PREDFORMER = {"frames": 3, "patch": 4, "width": 8, "heads": 2, "expansion": 2, "blocks": 1}
EARTHFORMER = {
    "frames": 3, "horizon": 3, "width": 8, "heads": 2, "encoder": 1, "decoder": 1, "vectors": 2,
    "places": [4, 3], "dropout": 0.0,
}  # fmt: skip
# Cores whose layers are of one width.
ZIGZAGS = {"predrnn": [4, 4], "predrnnpp": [4, 4], "mim": [4, 4]}
SIMVP = {"frames": 2, "spatial": 8, "temporal": 16, "blocks": 2}


def way(kind: str, **args: Any) -> tuple[str, dict[str, Any]]:
    return kind, args


def convlstm(*hidden: int, **more: Any) -> dict[str, Any]:
    return {"convlstm": {"hidden": list(hidden), **more}}


def patches(size: int, **more: Any) -> dict[str, Any]:
    return {"patches": {"size": size, **more}}


def strided(*widths: int, **more: Any) -> dict[str, Any]:
    return {"strided": {"widths": list(widths), **more}}


def draw(**args: Any) -> dict[str, Any]:
    return {"draw": args}


def carry(**args: Any) -> dict[str, Any]:
    return {"carry": args}


def blend(**args: Any) -> dict[str, Any]:
    return {"blend": args}


# Presets: their cores, layers, kernels and options, with few channels. Where layers may differ they
# do, so that no two can be exchanged.
PRESETS: dict[str, dict[str, Any]] = {
    "tutorial": {"core": convlstm(3, 2)},
    "shi2015": {"core": convlstm(2, 1, 2)},
    "fc_lstm": {"core": convlstm(3, 2), "codec": patches(4)},
    "openstl": {"core": convlstm(2, 1, 2, 1)},
    "predrnn": {"core": {"predrnn": {"hidden": [2, 2, 2]}}},
    "predrnn_small": {"core": {"predrnn": {"hidden": [3, 3]}}, "codec": patches(4)},
    "predrnnpp": {"core": {"predrnnpp": {"hidden": [2, 2, 2]}}},
    "predrnnpp_small": {"core": {"predrnnpp": {"hidden": [3, 3]}}, "codec": patches(4)},
    "mim": {"core": {"mim": {"hidden": [2, 2, 2]}}},
    "mim_small": {"core": {"mim": {"hidden": [3, 3]}}, "codec": patches(4)},
    "predrnnv2": {"core": {"predrnn": {"hidden": [2, 2]}}},
    "predrnnv2_small": {"core": {"predrnn": {"hidden": [3, 3]}}, "codec": patches(4)},
    # 32 channels are the fewest that group norm takes in two groups.
    "quick": {"core": convlstm(2), "codec": strided(3, 4, 32)},
    "nowcast": {"core": convlstm(3), "codec": strided(3, 5)},  # two strides, as it has
    "guided": {
        "core": convlstm(3),
        "codec": strided(3, 4, 5),
        "output": blend(guides=["persistence", "mean"], hindcast=2, blurs=[1.0], short=8),
    },
    "simvp_v1": {**SIMVP, "blocks": 3, "kernels": [3, 5]},
    "simvp_v2": {**SIMVP, "frames": 1, "expansion": 3},
    "tau": {**SIMVP, "layers": 2, "expansion": 2},
    "simvp_small": SIMVP,
    "simvp_v2_small": SIMVP,
    "tau_small": SIMVP,
    "unet": {"frames": 3, "widths": [4], "blocks": [2]},
    "unet_small": {"frames": 2, "widths": [4, 6], "blocks": [1, 2]},
    "sprites": {"frames": 3, "side": 24, "size": 8, "width": 4, "blocks": 1, "hidden": 6},
    "svg_lp": {"width": 2, "code": 4, "latent": 2, "hidden": 3, "layers": 2},
    "swinlstm_d": {"width": 4, "depths": [1, 2, 3, 1], "heads": [1, 2, 4, 2], "window": 3},
    "swinlstm_b": {"width": 6, "depths": [3], "heads": [2], "window": 3},
    "swinlstm_small": {"width": 4, "depths": [2, 1], "heads": [1, 2], "window": 2},
    "svg_small": {"width": 2, "code": 3, "latent": 2, "hidden": 4, "last_frame_skip": True},
    "predformer": {**PREDFORMER, "blocks": 2},
    "predformer_small": PREDFORMER,
    "earthformer": {**EARTHFORMER, "width": 4, "decoder": 2, "horizon": 2},
    "earthformer_small": {**EARTHFORMER, "width": 4, "heads": 1, "patch": 2},
    "phydnet": {"width": 4, "core": convlstm(3, 2, 4), "groups": 2},
    "phydnet_small": {"width": 4, "core": convlstm(3), "groups": 2},
    "mau": {"width": 3},
    "mau_small": {"width": 4},
    "e3dlstm": {"width": 2, "layers": 3, "kernel": 3, "tau": 3},
    "e3dlstm_small": {"width": 3, "tau": 2, "patch": 4},
}

# What the examples make of presets, and other ways to build and to step ahead.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "radar": way(
        "guided",
        core=convlstm(3),
        codec=strided(3, 5),
        output={
            "mixture": {
                "guides": [{"dense_motion": {"pairs": 2, "smooth": 2.0}}, "persistence"],
                "blurs": [1.0, 2.0],
            }
        },
    ),
    "camera": way(
        "nowcast",
        core=convlstm(3),
        codec=strided(3, 5, norm="group"),
        output=blend(blurs=[], draw=True),
    ),
    "temperature": way(
        "quick",
        core=convlstm(3),
        codec=strided(3, 5),
        output=blend(guides=[{"cycle": {"period": 3}}], blurs=[]),
    ),
    "fed_frames": way(
        "encoder_decoder",
        core=convlstm(3, 2),
        codec=patches(2, show_last=True),
        start="states",
        output=draw(feed="frame"),
    ),
    "fed_colours": way(
        "next_frame", channels=3, core=convlstm(3, 2), draw={"over": "all", "sigmoid": False}
    ),
    "at_once": way("at_once", core=convlstm(4), codec=patches(2), horizon=3),
    "at_once_strided": way(
        "at_once", core=convlstm(3), codec=strided(3, 4, show_last=True), horizon=4
    ),
    "guided_patches": way(
        "encoder_decoder",
        core=convlstm(3),
        codec=patches(2, show_last=True),
        start="states",
        output=blend(guides=["linear_motion"], blurs=[1.0]),
    ),
    "fed_nothing": way(
        "encoder_decoder",
        core=convlstm(2, 3),
        start="states",
        output=draw(feed="nothing", over="all"),
    ),
    "embedding": way(
        "encoder_decoder",
        core=convlstm(2, 2, peepholes=True),
        codec=patches(4),
        start="mirrored",
        embedding=True,
    ),
    "both_skips": way(
        "encoder_decoder", core=convlstm(3, 2), codec=strided(3, 4, show_last=True), embedding=True
    ),
    "carried_colours": way(
        "encoder_decoder",
        channels=3,
        core=convlstm(2, 3),
        codec=patches(2),
        output=carry(over="all"),
    ),
    "openstl_offset": way("openstl", core=convlstm(2, 1, forget_bias=1.0), codec=patches(2)),
    # A core of each other kind, which is fed its own frames from states in reversed order.
    **{
        f"core_{kind}": way(
            "encoder_decoder",
            core={kind: {"hidden": hidden}},
            start="mirrored",
            output=draw(feed="frame"),
        )
        for kind, hidden in {"convgru": [5, 4], **ZIGZAGS}.items()
    },
    "mixed_from_zeros": way(
        "encoder_decoder",
        core=convlstm(5, 4),
        output=blend(guides=["linear_motion"], blurs=[2.0], draw=False),
    ),
    "read_both_ways": way(
        "encoder_decoder",
        core=convlstm(4, 5),
        start="mirrored",
        output=draw(feed="nothing"),
        backward=3,
    ),
    "decoupled": way(
        "encoder_decoder",
        core={"predrnn": {"hidden": [3, 3], "kernel": 3, "decouple": 0.5}},
        codec=patches(2),
        output=draw(feed="nothing"),
        backward=2,
    ),
    "guided_with_two_inputs": way(
        "encoder_decoder",
        core=convlstm(5),
        codec=strided(4, 8),
        output=blend(guides=["linear_motion"]),
        inputs=2,
        channels=2,
    ),
    "blended_with_an_input": way(
        "encoder_decoder",
        core=convlstm(5),
        codec=strided(4, 8),
        output=blend(
            guides=[{"cycle": {"period": 3}}, "dense_motion", "mean"], hindcast=2, short=8
        ),
        channels=2,
        inputs=1,
    ),
    "blended_in_patches": way(
        "guided",
        core=convlstm(5),
        codec=patches(2, show_last=True),
        output=blend(guides=["mean", "dense_motion"], short=8),
    ),
    "own_frames_with_an_input": way("next_frame", core=convlstm(4), codec=patches(2), inputs=1),
    "attention": way(
        "encoder_decoder", core=convlstm(4, 5), codec=strided(4, 8), start="states", attention=4
    ),
    "all_of_the_past": way(
        "encoder_decoder",
        core=convlstm(5, 4),
        start="mirrored",
        output=draw(feed="frame"),
        embedding=True,
        attention=9,
        backward=9,
    ),
    **{
        f"predformer_{order}": way("predformer", **PREDFORMER | {"order": order, "layers": 2})
        for order in ("F", "TS")
    },
    "earthformer_without_vectors": way(
        "earthformer", **EARTHFORMER | {"vectors": 0, "levels": 3, "inputs": 1, "width": 4}
    ),
    "windows_with_an_input": way(
        "swinlstm", patch=3, width=4, depths=[2, 2, 1], heads=[2, 1, 2], channels=2, inputs=1
    ),
    "flow": way("flow", of={"simvp": SIMVP}, frames=3, width=16, blocks=2, times=[0.0, 0.4]),
    "flow_of_motion": way("flow", of="dense_motion", channels=2, frames=2, width=8, blocks=1),
    "dressed": way("dressed", of={"simvp": SIMVP}, by="persistence", lags=3),
    "dressed_of_any_channels": way("dressed", of="linear_motion"),
    "perturbed": way("perturbed", of={"simvp": SIMVP}),
    "perturbed_of_any_channels": way("perturbed", of="linear_motion"),
    "dressed_with_an_input": way(
        "dressed",
        of={"next_frame": {"core": convlstm(4), "codec": patches(2), "inputs": 1}},
        by="linear_motion",
        lags=4,
    ),
    "flow_with_an_input": way(
        "flow",
        of={"next_frame": {"core": convlstm(4), "codec": patches(2)}},
        inputs=1,
        frames=4,
        width=8,
        blocks=1,
    ),
}

SMALL = {name: (name, args) for name, args in PRESETS.items()} | WAYS
"""Networks by name: an entry of foreframe's PRESETS or MODELS, and arguments that make it small."""

FREE: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in BASELINES},
    "lagged_persistence": ("lagged", {"of": "persistence", "lags": 3}),
    "lagged_motion": ("lagged", {"of": "linear_motion", "lags": 5}),
}
"""The same for models without weights."""


# Same classes with other numbers: what one of a pair is tried by, the other is, too.
TWINS = {
    "predrnn_small", "predrnnpp_small", "mim_small", "predrnnv2_small", "simvp_v2_small",
    "tau_small", "unet", "swinlstm_small", "predformer_small", "earthformer_small", "mau_small",
    "e3dlstm_small", "phydnet_small", "openstl_offset",
}  # fmt: skip
EACH_WAY = [name for name in SMALL if name not in TWINS]
"""Names in `SMALL`, one of each class and each way through its code."""


def perturbed(network: Model) -> Model:
    """The network with seeded noise on each weight, in place.

    Untrained, the last layer of a guided head is zero and forecasts its guide, peepholes are zero
    and norms are one: what lies behind them would not be tested. The noise is about a third of what
    weights are drawn with, which is less the more inputs a layer has.
    """
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in network.parameters():
            noise = torch.randn(weight.shape, generator=draw)
            weight.add_(0.2 * noise / weight[0].numel() ** 0.5)
    return network


def built(name: str) -> Model:
    """A small network of that name, with the same weights each time, none of which is zero."""
    torch.manual_seed(0)
    return perturbed(build_model(*(SMALL | FREE)[name]))
