"""Arguments that make no network of a paper are refused in a line that says what would do."""

from typing import Any

import pytest
from small_zoo import EARTHFORMER, PREDFORMER

from foreframe.models import build_model

USUAL: dict[str, dict[str, Any]] = {
    "unet": {"widths": [4, 4, 4], "blocks": [2, 4, 2]},
    "predformer": PREDFORMER,
    "earthformer": EARTHFORMER,
    "flow": {"of": "persistence"},
    "sprites": {"side": 16, "size": 8},
}


@pytest.mark.parametrize(
    ("model", "bad", "message"),
    [
        ("tutorial", {"core": {"convgru": {"kernel": 4}}}, "kernel must be odd, not 4"),
        ("tutorial", {"core": {"convgru": {"hidden": []}}}, "hidden must be at least 1"),
        ("predrnn", {"core": {"predrnn": {"hidden": [3, 4]}}}, r"equal numbers.*not \[3, 4\]"),
        ("predrnnpp", {"core": {"predrnnpp": {"hidden": [3]}}}, "2 layers or more"),
        ("unet", {"widths": [4, 8]}, r"as many .* as blocks, .* not \[4, 8\] and \[2, 4, 2\]"),
        ("unet", {"widths": [4, 0, 4]}, r"widths must be at least 1, not \[4, 0, 4\]"),
        ("unet", {"inputs": -1}, "inputs must be at least 0"),
        ("unet", {"sharpen": 1.0}, r"sharpen must be from 0 to 0.99, not 1.0"),
        ("simvp", {"translator": "words"}, "one of inception, gated, tau, mixing, not 'words'"),
        ("simvp", {"blocks": 1}, "blocks must be from 2 to 1000, not 1"),
        ("simvp", {"translator": "mixing", "spatial": 12}, "multiples of 8"),
        ("simvp", {"kernels": (3, 4)}, "kernels must be odd"),
        ("simvp", {"translator": "tau", "divergence": -1.0}, "divergence must be at least 0"),
        ("predformer", {"heads": 3}, "a multiple of heads, not 8 and 3"),
        ("predformer", {"order": "TX"}, "letters T, S and F, such as TSST, not 'TX'"),
        ("predformer", {"blocks": 300, "order": "TSST"}, "1200 layers; 1000 at most"),
        ("predformer", {"dropout": 1.0}, r"dropout must be from 0 to 0.99, not 1.0"),
        ("earthformer", {"vectors": -1}, "vectors must be at least 0, not -1"),
        ("earthformer", {"heads": 3}, "heads that divide its width"),
        ("earthformer", {"decoder": 200}, "up to 250 blocks"),
        ("earthformer", {"places": [4]}, r"places \(h,w\)"),
        ("svg", {"width": 1}, "width must be at least 2"),
        ("svg", {"beta": -1.0}, "beta must be at least 0"),
        ("svg", {"inputs": 2}, "inputs"),
        ("sprites", {"side": 30}, "a side is a multiple of 4"),
        ("sprites", {"size": 12}, "one of 8, at most the side: not 16 and 12"),
        ("sprites", {"size": 24}, "not 16 and 24"),
        ("flow", {"times": [0.0, 0.5, 0.5]}, "times begin at 0"),
        ("flow", {"width": 12}, "a width that 8 divides"),
        ("flow", {"levels": 0}, "1 channel, frame, block and level or more"),
        ("flow", {"spread": 0.0}, "spread is a number above 0"),
        ("flow", {"of": "nothing"}, "model 'nothing' is unknown"),
        ("flow", {"of": {}}, "members are of one model"),
    ],
)
def test_choices_that_do_not_fit(model: str, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        build_model(model, USUAL.get(model, {}) | bad)
    assert "\n" not in str(refused.value)
