"""Invalid arguments raise an error of one line that names valid ones."""

from typing import Any

import pytest

from foreframe.models import build_model

MIRRORED = {"core": {"convlstm": {"hidden": [4, 8]}}, "start": "mirrored"}


@pytest.mark.parametrize(
    ("model", "bad", "message"),
    [
        ("tutorial", {"channels": 0}, "channels must be at least 1, not 0"),
        ("tutorial", {"core": {"convlstm": {"kernel": 4}}}, "kernel must be odd, not 4"),
        ("tutorial", {"core": {"convlstm": {"hidden": [4, 0]}}}, "hidden must be at least 1"),
        ("tutorial", {"core": {"convlstm": {"layers": 3}}}, "convlstm takes no argument 'layers'"),
        ("tutorial", {"core": {"convlstm": 5}}, "core convlstm is names and values, not 5"),
        ("tutorial", {"core": 5}, "tutorial.core is a word or names and values, not 5"),
        ("tutorial", {"core": "wild"}, "core 'wild' is unknown; choose convlstm"),
        ("encoder_decoder", {"core": {}}, "core is one of convlstm, .*or {one of them: its arg"),
        ("tutorial", {"codec": "wavelets"}, "codec 'wavelets' is unknown; choose patches, strided"),
        ("tutorial", {"codec": {"patches": {}, "strided": {}}}, "codec is one of .* not 2 at once"),
        ("tutorial", {"codec": {"patches": {"size": 0}}}, "size must be at least 1, not 0"),
        ("tutorial", {"codec": {"patches": {"sise": 2}}}, "'sise'; did you mean size"),
        ("tutorial", {"codec": {"strided": {"widths": [2] * 17}}}, "16 widths at most"),
        ("tutorial", {"codec": {"strided": {"norm": "batch"}}}, "norm is one of group, none, not"),
        ("tutorial", {"attention": -1}, "attention must be at least 0, not -1"),
        ("tutorial", {"embedding": 1}, "embedding is true or false, not 1"),
        ("tutorial", {"output": {"draw": {"kernel": 2}}}, "kernel must be odd, not 2"),
        ("tutorial", {"output": {"draw": {"over": "some"}}}, "over is one of last, all, not 'some"),
        ("tutorial", {"output": {"carry": {"feed": "frame"}}}, "feed is one of maps, nothing, not"),
        ("tutorial", {"output": {"blend": {"guides": ["oracle"]}}}, "guide 'oracle' is unknown"),
        ("tutorial", {"output": {"blend": {"blurs": [0.0]}}}, "blurs are widths .* not \\[0.0"),
        ("tutorial", {"layers": 3}, "takes no argument 'layers'; choose channels, core, codec"),
        ("tutorial", MIRRORED, "fed back through mirrored layers need equal ends, not 4 and 8"),
        ("openstl", {"draw": {"feed": "maps"}}, "head draw takes no argument 'feed'"),
        ("openstl", {"start": "states"}, "takes no argument 'start'"),
        ("at_once", {"horizon": 0}, "horizon must be at least 1, not 0"),
        ("quick", {"channels": None}, "only heads that mix guides"),
        ("guided", {"inputs": 2}, "give channels"),
        ("guided", {"output": {"blend": {"guides": []}}}, "guides are names"),
        ("guided", {"output": {"blend": {"guides": ["dense_motoin"]}}}, "dense_motion"),
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
        build_model(model, bad)
    assert "\n" not in str(refused.value)
