"""Initial forecasts of presets, and changes of their arguments. The cell:
tests/models/test_engine.py has the paper's equations; sizes as published:
tests/addons/zoo/test_originals.py.
"""

import pytest
import torch

from foreframe.models import PRESETS as PRESETS_OF_ALL
from foreframe.models import build_model, preset
from foreframe.models.convlstm import PRESETS


@pytest.mark.parametrize("name", ["tutorial", "shi2015"])
def test_starts_at_the_mean(name: str) -> None:
    """With a bias and a sigmoid: grey before, about the data's mean after."""
    torch.manual_seed(0)
    model, past = preset(name), torch.rand(1, 2, 1, 16, 16)
    assert 0.3 < model(past, 2).mean().item() < 0.7
    model.start_at(0.05)
    assert 0.03 < model(past, 2).mean().item() < 0.07


@pytest.mark.parametrize("name", sorted({*PRESETS} - {"tutorial", "shi2015", "fc_lstm"}))
def test_without_a_bias_to_set_the_start_stays_as_it_is(name: str) -> None:
    """`openstl` has none; the others draw upon a frame: a mean would be added twice."""
    torch.manual_seed(0)
    model = preset(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.start_at(0.05)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    forecast = model(torch.rand(1, 2, 1, 16, 16), 2).mean().item()  # of a past whose mean is 0.5
    assert abs(forecast) < 0.05 if name == "openstl" else 0.2 < forecast < 0.6


MIRRORED = {"core": {"convlstm": {"hidden": [4, 8]}}, "start": "mirrored"}


@pytest.mark.parametrize(
    "head", [{"draw": {"feed": "frame"}}, {"draw": {"feed": "nothing"}}, "blend"]
)
def test_mirrored_layers_of_unequal_ends_take_what_is_no_hidden_map(head: str | dict) -> None:
    model = build_model("tutorial", MIRRORED | {"output": head})
    assert model(torch.rand(1, 2, 1, 8, 8), 3).shape == (1, 3, 1, 8, 8)


STRIDED = {"widths": [16, 32, 64], "norm": "group"}
DRAW = {"feed": "maps", "kernel": 3, "over": "last", "sigmoid": True, "bias": True}
CELL = {"hidden": [64], "kernel": 3, "bias": True, "peepholes": False, "forget_bias": 1.0}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({}, {"strided": STRIDED | {"show_last": True}}),
        # `--model_args.codec.strided.show_last false` keeps the preset's widths.
        ({"codec": {"strided": {"show_last": False}}}, {"strided": STRIDED | {"show_last": False}}),
        ({"core": {"convlstm": {"bias": False}}}, {"convlstm": CELL | {"bias": False}}),
        # Another kind of part takes its place.
        ({"codec": {"patches": {"size": 4}}}, {"patches": {"size": 4, "show_last": False}}),
        ({"output": {"draw": {"sigmoid": False}}}, {"draw": DRAW | {"sigmoid": False}}),
        ({"output": "draw"}, {"draw": DRAW}),
    ],
)
def test_a_change_to_a_preset_keeps_the_rest_of_it(change: dict, part: dict) -> None:
    usual, changed = build_model("quick").args, preset("quick", **change).args
    assert changed == usual | {next(iter(change), "codec"): part}
    assert build_model("quick", change).args == changed


def test_a_change_beside_the_only_argument_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments of which one is a part are no choice between parts."""
    mine = ("encoder_decoder", {"codec": {"patches": {"size": 2}}})
    monkeypatch.setitem(PRESETS_OF_ALL, "mine", mine)
    changed = preset("mine", embedding=True).args
    assert (changed["codec"]["patches"]["size"], changed["embedding"]) == (2, True)
