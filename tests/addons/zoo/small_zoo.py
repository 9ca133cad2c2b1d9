"""Small networks of papers for tests/small.py, whose lists these join; how they are recorded."""

from typing import Any

from small import convlstm, draw, patches, way

PREDFORMER = {"frames": 3, "patch": 4, "width": 8, "heads": 2, "expansion": 2, "blocks": 1}
EARTHFORMER = {
    "frames": 3, "horizon": 3, "width": 8, "heads": 2, "encoder": 1, "decoder": 1, "vectors": 2,
    "places": [4, 3], "dropout": 0.0,
}  # fmt: skip
# Of cores, some of which have layers of one width.
HIDDEN = {"convgru": [5, 4], "predrnn": [4, 4], "predrnnpp": [4, 4], "mim": [4, 4]}
SIMVP = {"frames": 2, "spatial": 8, "temporal": 16, "blocks": 2}

PRESETS: dict[str, dict[str, Any]] = {
    "unet": {"frames": 3, "widths": [4], "blocks": [2]},
    "unet_small": {"frames": 2, "widths": [4, 6], "blocks": [1, 2]},
    "predrnn": {"core": {"predrnn": {"hidden": [2, 2, 2]}}},
    "predrnn_small": {"core": {"predrnn": {"hidden": [3, 3]}}, "codec": patches(4)},
    "predrnnpp": {"core": {"predrnnpp": {"hidden": [2, 2, 2]}}},
    "predrnnpp_small": {"core": {"predrnnpp": {"hidden": [3, 3]}}, "codec": patches(4)},
    "mim": {"core": {"mim": {"hidden": [2, 2, 2]}}},
    "mim_small": {"core": {"mim": {"hidden": [3, 3]}}, "codec": patches(4)},
    "predrnnv2": {"core": {"predrnn": {"hidden": [2, 2]}}},
    "predrnnv2_small": {"core": {"predrnn": {"hidden": [3, 3]}}, "codec": patches(4)},
    "simvp_v1": {**SIMVP, "blocks": 3, "kernels": [3, 5]},
    "simvp_v2": {**SIMVP, "frames": 1, "expansion": 3},
    "tau": {**SIMVP, "layers": 2, "expansion": 2},
    "simvp_small": SIMVP,
    "simvp_v2_small": SIMVP,
    "tau_small": SIMVP,
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
    "sprites": {"frames": 3, "side": 24, "size": 8, "width": 4, "blocks": 1, "hidden": 6},
}

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    # A core of each other kind, which is fed its own frames from states in reversed order.
    **{
        f"core_{kind}": way(
            "encoder_decoder",
            core={kind: {"hidden": hidden}},
            start="mirrored",
            output=draw(feed="frame"),
        )
        for kind, hidden in HIDDEN.items()
    },
    "decoupled": way(
        "encoder_decoder",
        core={"predrnn": {"hidden": [3, 3], "kernel": 3, "decouple": 0.5}},
        codec=patches(2),
        output=draw(feed="nothing"),
        backward=2,
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
    "flow_with_an_input": way(
        "flow",
        of={"next_frame": {"core": convlstm(4), "codec": patches(2)}},
        inputs=1,
        frames=4,
        width=8,
        blocks=1,
    ),
}

# Of the class of a larger preset, and of U-Net the preset without levels.
TWINS = {f"{name}_small" for name in PRESETS} & PRESETS.keys() - {"unet_small"}
TWINS |= {"swinlstm_small", "unet"}


def alike(names: str, **how: Any) -> dict[str, dict[str, Any]]:
    return dict.fromkeys(names.split(), how)


# How they are recorded, in golden/: arguments of a `Way` of tests/golden/record.py.
RECORDED: dict[str, dict[str, Any]] = {
    **alike("mim_small swinlstm_d swinlstm_b"),
    **alike("predrnn predrnn_small predrnnpp predrnnpp_small", gain=2),
    **alike("predrnnv2 predrnnv2_small mim", gain=2),
    **alike("tau tau_small simvp_small simvp_v2_small", gain=1),
    **alike("simvp_v2 earthformer_small", steps=2, gain=1),
    **alike("unet_small", gain=1),
    **alike("svg_small predformer_small", steps=2),
    **alike("svg_lp", frame=(14, 18), steps=3),
    **alike("swinlstm_small", frame=(20, 36), steps=2),  # two windows, of which one is cut off
    **alike("predformer", frame=(10, 14)),
    **alike("sprites", frame=(20, 24), gain=2),
    **alike("unet simvp_v1 earthformer phydnet phydnet_small", frame=(10, 14), gain=1),
    **alike("mau mau_small e3dlstm e3dlstm_small", frame=(10, 14), gain=1),
}
