"""Arguments that make no network are refused in a line that says what would do."""

from typing import Any

import pytest

from foreframe.models import build_model
from small import EARTHFORMER, PREDFORMER

USUAL: dict[str, dict[str, Any]] = {
    "unet": {"widths": [4, 4, 4], "blocks": [2, 4, 2]},
    "predformer": PREDFORMER,
    "earthformer": EARTHFORMER,
    "flow": {"of": "persistence"},
}
MIRRORED = {"core": {"convlstm": {"hidden": [4, 8]}}, "start": "mirrored"}


@pytest.mark.parametrize(
    ("model", "bad", "message"),
    [
        ("tutorial", {"channels": 0}, "1 channel or more, not 0"),
        ("tutorial", {"core": {"convlstm": {"kernel": 4}}}, "kernel 4x4 is even"),
        ("tutorial", {"core": {"convlstm": {"hidden": [4, 0]}}}, "needs hidden channels .* not 0"),
        ("tutorial", {"core": {"convlstm": {"layers": 3}}}, "convlstm takes no argument 'layers'"),
        ("tutorial", {"core": {"convlstm": 5}}, "core convlstm holds names and values, not 5"),
        ("tutorial", {"core": 5}, "tutorial.core is a word or names and values, not 5"),
        ("encoder_decoder", {"core": {}}, "core is one of convlstm, .*or {one of them: its arg"),
        ("tutorial", {"codec": "wavelets"}, "codec 'wavelets' is unknown; choose patches, strided"),
        ("tutorial", {"codec": {"patches": {}, "strided": {}}}, "codec is one of .* not 2 at once"),
        ("tutorial", {"codec": {"patches": {"size": 0}}}, "size must be at least 1, not 0"),
        ("tutorial", {"codec": {"patches": {"sise": 2}}}, "'sise'; did you mean size"),
        ("tutorial", {"codec": {"strided": {"widths": [2] * 17}}}, "16 widths at most"),
        ("tutorial", {"codec": {"strided": {"norm": "batch"}}}, "norm is one of group, none, not"),
        ("tutorial", {"attention": -1}, "numbers of frames, not -1, 0"),
        ("tutorial", {"embedding": 1}, "embedding is true or false, not 1"),
        ("tutorial", {"output": {"draw": {"kernel": 2}}}, "a head's kernel has an odd side, not 2"),
        ("tutorial", {"output": {"draw": {"over": "some"}}}, "over is one of last, all, not 'some"),
        ("tutorial", {"output": {"carry": {"feed": "frame"}}}, "feed is one of maps, nothing, not"),
        ("tutorial", {"output": {"blend": {"guides": ["oracle"]}}}, "guide 'oracle' is unknown"),
        ("tutorial", {"output": {"blend": {"blurs": [0.0]}}}, "blurs are widths .* not \\[0.0"),
        ("tutorial", {"layers": 3}, "takes no argument 'layers'; it takes channels, core, codec"),
        ("tutorial", MIRRORED, "fed back through mirrored layers need equal ends, not 4 and 8"),
        ("openstl", {"draw": {"feed": "maps"}}, "head draw takes no argument 'feed'"),
        ("openstl", {"start": "states"}, "takes no argument 'start'"),
        ("at_once", {"horizon": 0}, "a horizon is 1 frame or more, not 0"),
        ("quick", {"noise": {"hole": 3}}, r"^[^\n]*(?<!noise )noise takes no argument 'hole'; did"),
        ("quick", {"channels": None}, "only the head blend"),
        ("guided", {"inputs": 2}, "give channels"),
        ("guided", {"output": {"blend": {"guides": []}}}, "guides are names"),
        ("guided", {"output": {"blend": {"guides": ["dense_motoin"]}}}, "dense_motion"),
        ("predrnn", {"core": {"predrnn": {"hidden": [3, 4]}}}, r"equal numbers.*not \[3, 4\]"),
        ("predrnnpp", {"core": {"predrnnpp": {"hidden": [3]}}}, "2 layers or more"),
        ("simvp", {"translator": "words"}, "one of inception, gated, tau, mixing, not 'words'"),
        ("simvp", {"blocks": 1}, "blocks must be from 2 to 1000, not 1"),
        ("simvp", {"translator": "mixing", "spatial": 12}, "multiples of 8"),
        ("simvp", {"kernels": (3, 4)}, "kernels must be odd"),
        ("simvp", {"layers": 0}, "layers must be from 1 to 16"),
        ("simvp", {"translator": "tau", "divergence": -1.0}, "divergence must be at least 0"),
        ("simvp", {"frames": 0}, "frames must be at least 1"),
        ("unet", {"widths": [4, 8]}, r"as many .* as blocks, .* not \[4, 8\] and \[2, 4, 2\]"),
        ("unet", {"widths": [4, 0, 4]}, r"widths must be at least 1, not \[4, 0, 4\]"),
        ("unet", {"inputs": -1}, "inputs must be at least 0"),
        ("unet", {"sharpen": 1.0}, r"sharpen must lie in \[0, 1\), not 1.0"),
        ("predformer", {"patch": 0}, "patch must be at least 1, not 0"),
        ("predformer", {"heads": 3}, "a multiple of heads, not 8 and 3"),
        ("predformer", {"order": "TX"}, "letters T, S and F, such as TSST, not 'TX'"),
        ("predformer", {"order": ""}, "letters T, S and F"),
        ("predformer", {"blocks": 300, "order": "TSST"}, "1200 layers; 1000 at most"),
        ("predformer", {"dropout": 1.0}, r"dropout must lie in \[0, 1\), not 1.0"),
        ("earthformer", {"horizon": 0}, "horizon must be at least 1, not 0"),
        ("earthformer", {"vectors": -1}, "vectors must be at least 0, not -1"),
        ("earthformer", {"heads": 3}, "heads that divide its width"),
        ("earthformer", {"levels": 9}, "levels must be from 1 to 8"),
        ("earthformer", {"decoder": 200}, "up to 250 blocks"),
        ("earthformer", {"places": [4]}, r"places \(h,w\)"),
        ("earthformer", {"dropout": 1.0}, r"dropout must lie in \[0, 1\), not 1.0"),
        ("svg", {"width": 1}, "width must be at least 2"),
        ("svg", {"latent": 0}, "latent must be at least 1"),
        ("svg", {"layers": 17}, "layers must be from 1 to 16"),
        ("svg", {"beta": -1.0}, "beta must be at least 0"),
        ("svg", {"inputs": 2}, "inputs"),
        ("flow", {"times": [0.0, 0.5, 0.5]}, "times begin at 0"),
        ("flow", {"times": []}, "times begin at 0"),
        ("flow", {"width": 12}, "a width that 8 divides"),
        ("flow", {"levels": 0}, "1 channel, frame, block and level or more"),
        ("flow", {"spread": 0.0}, "spread is a number above 0"),
        ("flow", {"of": "nothing"}, "model 'nothing' is unknown"),
        ("flow", {"of": {}}, "members are of one model"),
        ("flow", {"of": {"simvp": {"frames": 0}}}, "frames must be at least 1"),
        ("dressed", {"of": "nobody"}, "nobody"),
        ("dressed", {"of": {}}, "one model"),
        ("dressed", {"of": "mean", "lags": 0}, "lags"),
        ("lagged", {"lags": 0}, "lags"),
        ("lagged", {"of": "nobody"}, "guide"),
        ("lagged", {"of": {"cycle": {"period": 0}}}, "period"),
        ("cycle", {"period": 0}, "period must be from 1 to 10000"),
        ("dense_motion", {"pairs": 0}, "pairs"),
        ("dense_motion", {"pairs": 7}, "pairs"),
        ("dense_motion", {"beyond": "wrapped"}, "beyond"),
        ("dense_motion", {"pears": 3}, "pairs"),
        ("optical_flow", {"pairs": 0}, "pairs must be from 1 to 1000"),
    ],
)
def test_choices_that_do_not_fit(model: str, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        build_model(model, USUAL.get(model, {}) | bad)
    assert "\n" not in str(refused.value)
