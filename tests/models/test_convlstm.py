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


def test_a_change_to_a_preset_keeps_the_rest_of_it() -> None:
    """`--model_args.codec.strided.show_last false` must not take the preset's widths away."""
    shown = {"codec": {"strided": {"show_last": False}}}
    args = build_model("quick", shown | {"core": {"convlstm": {"peepholes": True}}}).args
    assert args["codec"] == {
        "strided": {"widths": [16, 32, 64], "norm": "group", "show_last": False}
    }
    assert args["core"]["convlstm"] == {
        "hidden": [64], "kernel": 3, "bias": True, "peepholes": True, "forget_bias": 1.0,
    }  # fmt: skip
    assert preset("quick", **shown).args == build_model("quick", shown).args
    assert build_model("quick").args["codec"]["strided"]["show_last"]  # the preset is not changed
    with pytest.raises(ValueError, match="did you mean widths"):
        build_model("quick", {"codec": {"strided": {"width": 2}}})


def test_a_change_that_names_another_kind_of_part_puts_that_in_its_place() -> None:
    args = preset("quick", output={"draw": {"sigmoid": False}}).args
    assert args["output"] == {
        "draw": {"feed": "maps", "kernel": 3, "over": "last", "sigmoid": False, "bias": True}
    }
    assert args["start"] == "states"
    assert args["codec"] == preset("quick").args["codec"]
    assert preset("quick", output="draw").args["output"]["draw"]["sigmoid"] is True
    assert preset("quick", codec={"patches": {"size": 4}}).args["codec"] == {
        "patches": {"size": 4, "show_last": False}
    }


def test_a_change_beside_the_only_argument_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments of which one is a part are no choice between parts."""
    monkeypatch.setitem(
        PRESETS_OF_ALL, "mine", ("encoder_decoder", {"codec": {"patches": {"size": 2}}})
    )
    changed = preset("mine", embedding=True).args
    assert (changed["codec"]["patches"]["size"], changed["embedding"]) == (2, True)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="model 'slow' is unknown"):
        preset("slow")
    with pytest.raises(ValueError, match=r"model 'quik' is unknown; did you mean quick\?"):
        build_model("quik")
