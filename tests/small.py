"""Small networks by name, the one list for the tests of contract, golden numbers, streams and
precision.

A preset, a model or a core of your own needs a line here, one of an add-on in its small_NAME.py:
tests build it by its name, with these arguments and no others.
"""

import runpy
from pathlib import Path
from typing import Any

import torch

from foreframe.models import BASELINES, Model, build_model


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


AT_ONCE = {"core": convlstm(4), "codec": patches(2), "horizon": 2}

# Presets: their cores, layers, kernels and options, with few channels. Layers differ if they can,
# so that no two can be exchanged.
PRESETS: dict[str, dict[str, Any]] = {
    "tutorial": {"core": convlstm(3, 2)},
    "shi2015": {"core": convlstm(2, 1, 2)},
    "fc_lstm": {"core": convlstm(3, 2), "codec": patches(4)},
    "openstl": {"core": convlstm(2, 1, 2, 1)},
    # 32 channels are the fewest that group norm takes in two groups.
    "quick": {"core": convlstm(2), "codec": strided(3, 4, 32)},
    "nowcast": {"core": convlstm(3), "codec": strided(3, 5)},  # two strides, as it has
    "guided": {
        "core": convlstm(3),
        "codec": strided(3, 4, 5),
        "output": blend(guides=["persistence", "mean"], hindcast=2, blurs=[1.0], short=8),
    },
}

# Presets as the examples change them, and other ways to build and to step ahead.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
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
    "dressed": way("dressed", of={"at_once": AT_ONCE}, by="persistence", lags=3),
    "dressed_of_any_channels": way("dressed", of="linear_motion"),
    "dressed_with_an_input": way(
        "dressed",
        of={"next_frame": {"core": convlstm(4), "codec": patches(2), "inputs": 1}},
        by="linear_motion",
        lags=4,
    ),
}

# Same classes with other numbers: what one of a pair is tried by, the other is, too.
TWINS = {"openstl_offset"}

# PRESETS, WAYS and TWINS of each add-on, and RECORDED, which tests/golden/record.py reads. They are
# found as files, since an add-on's folder may be deleted.
ADDONS = {
    file: runpy.run_path(str(file))
    for file in sorted(Path(__file__).parent.glob("addons/*/small_*.py"))
}
for more in ADDONS.values():
    PRESETS |= more["PRESETS"]
    WAYS |= more["WAYS"]
    TWINS |= more["TWINS"]

SMALL = {name: (name, args) for name, args in PRESETS.items()} | WAYS
"""Networks by name: an entry of foreframe's PRESETS or MODELS, and arguments that make it small."""

FREE: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in BASELINES},
    "lagged_persistence": ("lagged", {"of": "persistence", "lags": 3}),
    "lagged_motion": ("lagged", {"of": "linear_motion", "lags": 5}),
}
for more in ADDONS.values():
    FREE |= more.get("FREE", {})
"""The same for models without weights."""

EACH_WAY = [name for name in SMALL if name not in TWINS]
"""Names in `SMALL`, one of each class and each way through its code."""


def available(*names: str) -> list[str]:
    """Return the existing names among these: an add-on may be deleted."""
    return [name for name in names if name in SMALL | FREE]


def perturbed(network: Model) -> Model:
    """The network with seeded noise on each weight, in place.

    Untrained, the last layer of a guided head is zero and forecasts its guide, peepholes are zero
    and norms are one: what lies behind them would not be tested. The noise is about a third of the
    initial standard deviation, which falls with the number of inputs of a layer.
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
