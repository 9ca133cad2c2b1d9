"""The cell against torch's own LSTM and against the paper's equations; the presets' sizes; the choices that do not fit."""

import numpy as np
import pytest
import torch

from foreframe.models import ConvLSTM, ConvLSTMCell, build_model
from foreframe.models.convlstm import PRESETS


def test_equals_torch_lstm_cell_on_one_pixel() -> None:
    """A 1x1 kernel on a one-pixel image is torch.nn.LSTMCell, whose gates come in the order i, f, g, o."""
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
    got = ours(*(one[:, :, None, None] for one in (x, h, c)))
    for ours_, theirs_ in zip(got, theirs(x, (h, c)), strict=True):
        torch.testing.assert_close(ours_[:, :, 0, 0], theirs_, atol=1e-6, rtol=1e-6)


def test_peepholes_equal_the_equations_in_float64() -> None:
    """Shi et al. 2015, equation 3, pixel by pixel and channel by channel, from the formulas alone."""
    torch.manual_seed(0)
    cell = ConvLSTMCell(2, 3, kernel=3, peepholes=True, forget_bias=0.5).double()
    with torch.no_grad():
        cell.peephole.normal_()
    x, h, c = torch.randn(1, 2, 4, 5).double(), torch.randn(1, 3, 4, 5).double(), torch.randn(1, 3, 4, 5).double()
    weight, bias, W_c = (p.detach().numpy() for p in (cell.gates.weight, cell.gates.bias, cell.peephole[:, :, 0, 0]))
    both = np.pad(np.concatenate([x[0].numpy(), h[0].numpy()]), ((0, 0), (1, 1), (1, 1)))

    def sigma(v: float) -> float:
        return 1 / (1 + np.exp(-v))

    new_h, new_c = np.zeros((3, 4, 5)), np.zeros((3, 4, 5))
    for k in range(3):
        for row in range(4):
            for column in range(5):
                a = [
                    (weight[gate * 3 + k] * both[:, row : row + 3, column : column + 3]).sum() + bias[gate * 3 + k]
                    for gate in range(4)
                ]
                before = c[0, k, row, column].item()
                i = sigma(a[0] + W_c[0, k] * before)
                f = sigma(a[1] + W_c[1, k] * before + 0.5)
                new_c[k, row, column] = f * before + i * np.tanh(a[3])
                o = sigma(a[2] + W_c[2, k] * new_c[k, row, column])  # o sees the new cell
                new_h[k, row, column] = o * np.tanh(new_c[k, row, column])
    got_h, got_c = cell(x, h, c)
    np.testing.assert_allclose(got_c[0].detach().numpy(), new_c, atol=1e-12)
    np.testing.assert_allclose(got_h[0].detach().numpy(), new_h, atol=1e-12)


def test_peepholes_learn() -> None:
    """A peer's did not: there they were no parameters."""
    cell = ConvLSTMCell(1, 2, peepholes=True)
    h, c = cell(torch.randn(1, 1, 4, 4), torch.randn(1, 2, 4, 4), torch.randn(1, 2, 4, 4))
    (h.sum() + c.sum()).backward()
    assert dict(cell.named_parameters())["peephole"].grad.abs().min() > 0


@pytest.mark.parametrize("kernel", [1, 3, (5, 3)])
def test_hidden_maps_keep_the_frames_size(kernel) -> None:
    cell = ConvLSTMCell(2, 4, kernel)
    zero = torch.zeros(1, 4, 9, 7)
    assert cell(torch.rand(1, 2, 9, 7), zero, zero)[0].shape == (1, 4, 9, 7)


def test_a_cell_without_input() -> None:
    cell = ConvLSTMCell(0, 4)
    assert cell(None, torch.rand(1, 4, 6, 6), torch.rand(1, 4, 6, 6))[0].shape == (1, 4, 6, 6)


@pytest.mark.parametrize(
    ("preset", "parameters", "source"),
    [
        ("tutorial", 1_036_097, "counted from the tutorial's four cells and its head"),
        ("shi2015", 7_585_296, "Shi et al. 2015, table 1"),
        ("openstl", 11_675_648, "OpenSTL's ConvLSTM-S less its unused layers"),
    ],
)
def test_published_parameter_counts(preset: str, parameters: int, source: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in ConvLSTM.preset(preset).parameters()) == parameters, source


@pytest.mark.parametrize("preset", ["tutorial", "shi2015"])
def test_starts_at_the_mean(preset: str) -> None:
    """With a bias and a sigmoid: grey before, about the data's mean after."""
    torch.manual_seed(0)
    model, past = ConvLSTM.preset(preset), torch.rand(1, 2, 1, 16, 16)
    assert 0.3 < model(past, 2).mean().item() < 0.7
    model.start_at(0.05)
    assert 0.03 < model(past, 2).mean().item() < 0.07


@pytest.mark.parametrize("preset", sorted({*PRESETS} - {"tutorial", "shi2015"}))
def test_without_a_bias_to_set_the_start_stays_as_it_is(preset: str) -> None:
    """`openstl` has none; the others add what they draw to a frame, or mix it: a mean would be added twice."""
    torch.manual_seed(0)
    model = ConvLSTM.preset(preset)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.start_at(0.05)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    forecast = model(torch.rand(1, 2, 1, 16, 16), 2).mean().item()  # of a past whose mean is 0.5
    assert abs(forecast) < 0.05 if preset == "openstl" else 0.2 < forecast < 0.6


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"kernel": 4}, "kernel must be an odd whole number"),
        ({"hidden": ()}, "1 layer"),
        ({"channels": 0}, "at least 1 channel"),
        ({"decoder": "other"}, "decoder 'other'"),
        ({"ahead": "back"}, "ahead 'back'"),
        ({"decoder": "same"}, "use ahead frame or at_once"),
        ({"ahead": "at_once"}, "use decoder same"),
        ({"head": {"horizon": 5}}, "goes with ahead at_once"),
        ({"head": {"kernel": 2}}, "odd kernel"),
        ({"stem": {"patch": 2, "widths": (8,)}}, "a stem has a patch"),
        ({"stem": {"skip": "all"}}, "skip 'all'"),
        ({"stem": {"skip": "embedding"}, "decoder": "same", "ahead": "frame"}, "skip embedding"),
        ({"hidden": (4, 8), "decoder": "mirrored"}, "equal ends"),
        ({"stem": {"patsch": 2}}, "patsch"),
        ({"head": {"carry": True}, "ahead": "frame"}, "carries the past's last frame"),
        ({"head": {"carry": True}}, "set head.sigmoid false"),
        ({"ahead": "guided", "decoder": "handed"}, "adds what is drawn"),
        ({"ahead": "guided", "head": {"sigmoid": False}}, "decoder fresh"),
        ({"ahead": "guided", "decoder": "handed", "head": {"sigmoid": False}, "guide": "oracle"}, "guide 'oracle' is unknown"),
        (
            {"ahead": "guided", "decoder": "handed", "head": {"sigmoid": False}, "guide": {"name": "cycle", "perod": 3}},
            "guide cycle .*perod.*did you mean period",
        ),
        ({"layers": 3}, "takes no argument 'layers'; did you mean|takes no argument 'layers'; it takes"),
    ],
)
def test_choices_that_do_not_fit(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model("convlstm", bad)


def test_untrained_a_guided_model_is_nearly_its_guide() -> None:
    torch.manual_seed(0)
    past = torch.rand(2, 5, 1, 24, 24)
    model = build_model("nowcast", {"guide": {"name": "cycle", "period": 3}})
    torch.testing.assert_close(model(past, 4), build_model("cycle", {"period": 3})(past, 4), atol=0.05, rtol=0)


def test_a_change_to_a_preset_keeps_the_rest_of_it() -> None:
    """`--model_args.stem.skip none` must not take the preset's strided convolutions away."""
    args = build_model("quick", {"stem": {"skip": "none"}, "gates": {"peepholes": True}, "head": {"carry": False}}).args
    assert args["stem"] == {"patch": 1, "widths": [16, 32, 64], "skip": "none", "norm": "group"}
    assert args["gates"] == {"bias": True, "peepholes": True, "forget_bias": 1.0}
    assert (args["head"]["carry"], args["head"]["sigmoid"]) == (False, False)
    assert build_model("quick").args["stem"]["skip"] == "frame"  # and the preset itself stays as it was
    with pytest.raises(ValueError, match="patsch"):
        build_model("quick", {"stem": {"patsch": 2}})


def test_a_cell_refuses_even_kernels() -> None:
    with pytest.raises(ValueError, match="kernel 3x2 is even"):
        ConvLSTMCell(1, 2, (3, 2))


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="preset 'slow' is unknown"):
        ConvLSTM.preset("slow")
    with pytest.raises(ValueError, match="model 'slow' is unknown"):
        build_model("slow")


def test_the_carry_head_moves_a_patch_as_it_is_told() -> None:
    """Told (3, -2) pixels a step and no doubt, it shifts the frame so: the reference is scipy's Gaussian of a shifted frame."""
    from scipy import ndimage

    from foreframe.models.convlstm import _CarryHead

    head = _CarryHead(1, 4)
    with torch.no_grad():
        head.motion.weight.zero_()
        head.motion.bias.copy_(torch.tensor([3 / head.speed, -2 / head.speed, 1.0, 1.0, 50.0]))
    frame = torch.zeros(1, 1, 24, 24)
    frame[0, 0, 8:12, 10:15] = torch.rand(4, 5)
    made = head(torch.zeros(1, 2, 1, 6, 6), frame)[0, :, 0].detach().numpy()
    sigma = head.sharpest + np.log1p(np.e)
    for step in (1, 2):
        expected = ndimage.gaussian_filter(ndimage.shift(frame[0, 0].numpy(), (3 * step, -2 * step), order=0), sigma, truncate=9)
        np.testing.assert_allclose(made[step - 1], expected, atol=2e-3)
