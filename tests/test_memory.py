"""The estimated memory of a forecast equals the memory of its process."""

import sys

import pytest

from foreframe.base.budget import OverBudgetError
from foreframe.clips.clip import Window
from foreframe.evaluation.networks import clips_at_once
from foreframe.models import build_model
from foreframe.models.footprint import bound, footprint, group_size
from foreframe.models.names import published
from programs import printed_by
from small import available

# Encode and decode in a new process, and print by how many bytes its peak rises. (ru_maxrss would
# begin at its parent's.)
MEASURE = """
import sys, torch
from foreframe import Forecaster
from foreframe.models import PRESETS, build_model
from foreframe.models.footprint import footprint

name, c, h, w = sys.argv[1], *map(int, sys.argv[2:])
model = (build_model(name) if name in PRESETS else Forecaster.load(name).model).eval()
with torch.inference_mode():
    model.decode(model.encode(torch.rand(1, 10, c, 32, 32)), 2)  # what is loaded only once
    said = footprint(model, 10, (c, h, w), 10)
    peak = lambda: 1024 * int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])
    before = peak()
    model.decode(model.encode(torch.rand(1, 10, c, h, w)), 10)
print(said, peak() - before)
"""
WEIGHTS = [name for name in published() if name == "scenes"]
SIZES = {"quick": (1, 320, 384), "simvp_small": (1, 640, 640), "scenes": (3, 480, 640)}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
@pytest.mark.parametrize("name", [*available("quick", "simvp_small"), *WEIGHTS])
def test_the_footprint_is_what_a_process_takes(name: str) -> None:
    said, took = map(int, printed_by("-c", MEASURE, name, *map(str, SIZES[name])).split())
    assert took > 100 * 2**20  # else what is loaded on the way would be most of it
    assert 1 / 1.5 < said / took < 1.5, (said, took)


def test_as_many_at_a_time_as_fit() -> None:
    model = build_model("persistence")
    assert group_size(model, 16, 4, (1, 32, 32), 4) == 16  # too small to measure
    assert group_size(model, 5, 4, (3, 2000, 2000), 4) == 1
    window, clip = Window(8, 8), (16, 3, 480, 640)
    some = [clips_at_once([model], window, clip, 16, budget=gib) for gib in (1, 2, 1000)]
    assert some == sorted(some)
    assert 1 <= some[0] < some[1] < some[2] == 16
    with pytest.raises(OverBudgetError, match=r"scoring one clip of 16 frames of 3x480.*--past"):
        clips_at_once([model], window, clip, 16, budget=0.3)


def test_a_model_that_asks_for_values_is_guessed() -> None:
    model = build_model("lagged", {"of": "persistence", "lags": 2})
    said = footprint(model, 4, (1, 32, 32), 4, draws=True)
    assert 0 < said < bound(4, (1, 32, 32), 4) + 2**26
