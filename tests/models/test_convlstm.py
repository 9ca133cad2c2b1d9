"""The cell against torch's own LSTM (tests/models/test_engine.py has the paper's equations); the
presets' sizes; the choices that do not fit.
"""

import pytest
import torch

from foreframe.models import PRESETS as PRESETS_OF_ALL
from foreframe.models import ConvLSTMCell, build_model, preset
from foreframe.models.convlstm import PRESETS


def test_equals_torch_lstm_cell_on_one_pixel() -> None:
    """A 1x1 kernel on one pixel is torch.nn.LSTMCell, whose gates come in the order i, f, g, o."""
    torch.manual_seed(0)
    ours, theirs = ConvLSTMCell(3, 5, kernel=1), torch.nn.LSTMCell(3, 5)
    i, f, o, g = range(4)
    order = torch.cat([torch.arange(5) + 5 * gate for gate in (i, f, g, o)])
    with torch.no_grad():
        weight = ours.gates.weight.squeeze(-1).squeeze(-1)[order]
        theirs.weight_ih.copy_(weight[:, :3])
        theirs.weight_hh.copy_(weight[:, 3:])
        theirs.bias_ih.copy_(ours.gates.bias[order])
        theirs.bias_hh.zero_()
    x, h, c = torch.randn(7, 3), torch.randn(7, 5), torch.randn(7, 5)
    got = ours(*(value[:, :, None, None] for value in (x, h, c)))
    for ours_, theirs_ in zip(got, theirs(x, (h, c)), strict=True):
        torch.testing.assert_close(ours_[:, :, 0, 0], theirs_, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "parameters", "source"),
    [
        ("tutorial", 1_036_097, "counted from the tutorial's four cells and its head"),
        ("shi2015", 7_585_296, "Shi et al. 2015, table 1"),
        ("fc_lstm", 142_667_776, "Shi et al. 2015, table 1"),
        ("openstl", 11_675_648, "OpenSTL's ConvLSTM-S less its unused layers"),
    ],
)
def test_published_parameter_counts(name: str, parameters: int, source: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in preset(name).parameters()) == parameters, source


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
    ],
)
def test_choices_that_do_not_fit(model: str, bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        build_model(model, bad)
    assert "\n" not in str(refused.value)


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
    assert build_model("quick").args["codec"]["strided"]["show_last"]  # the preset stays as it was
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
    monkeypatch.setitem(PRESETS_OF_ALL, "mine", ("encoder_decoder", {"noise": {"whole": 2}}))
    changed = preset("mine", embedding=True).args
    assert (changed["noise"], changed["embedding"]) == ({"whole": 2}, True)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="preset 'slow' is unknown"):
        preset("slow")
    with pytest.raises(ValueError, match=r"preset 'quik' is unknown; did you mean quick\?"):
        preset("quik")
    with pytest.raises(ValueError, match="preset 'simvp' is unknown"):  # a model, but no preset
        preset("simvp")
    with pytest.raises(ValueError, match="model 'slow' is unknown"):
        build_model("slow")
