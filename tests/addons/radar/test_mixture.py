"""A mean of baselines and blurs, in the data's units."""

import pytest
import torch

from foreframe.clips.scaling import Scaling
from foreframe.models import Model, build_model
from foreframe.models.motion import blurred

RAIN = Scaling(0.5, 100.0, "mm/h", "log")


def mixture(scaling: Scaling = RAIN, **head: object) -> Model:
    return build_model("guided", {"output": {"mixture": head}}).in_units(scaling)


def set_numbers(model: Model, *numbers: float) -> None:
    """What the head reads, everywhere: its bias, for each of the 4 pixels of a map's place."""
    with torch.no_grad():
        model.output.last.bias.copy_(torch.tensor(numbers).repeat_interleave(4))


def rain(seed: int = 0, size: int = 48) -> torch.Tensor:
    """(1,4,1,H,W) on the network's scale, half of it dry."""
    g = torch.Generator().manual_seed(seed)
    smooth = blurred(torch.randn(1, 4, 1, size, size, generator=g), 2.0) * 6
    return RAIN.to_network(smooth.clamp(min=0))


def test_a_mixture_is_what_its_docstring_says() -> None:
    """Weights and the blur of a blur by hand, in mm/h; a gain that is the same everywhere is
    none.
    """
    model = mixture(guides=["persistence", "black"], blurs=[1.5, 2.5])
    set_numbers(model, 0.4, 0.8, 1.2, 0.5)
    last = RAIN.to_units(rain()[:, -1:])
    levels = [last, 0 * last, blurred(last, 1.5, 3.0), blurred(last, 2.5, 3.0)]
    weights = torch.tensor([0.0, 0.4, 0.8, 1.2]).softmax(0)
    mean = sum(w * level for w, level in zip(weights, levels, strict=True))
    mean = mean * last.sum() / mean.sum()  # in the amount of the first guide
    made = RAIN.to_units(model(rain(), 1))
    inner = (..., slice(8, -8), slice(8, -8))  # at edges, a blur of a blur is another
    torch.testing.assert_close(made[inner], mean[inner], atol=0.01, rtol=0.01)


def test_a_mixture_has_the_amount_of_its_first_guide() -> None:
    """Whatever the gain, here more than 1 and there less."""
    torch.manual_seed(0)
    model = mixture(guides=["persistence"], blurs=[])
    with torch.no_grad():
        model.output.last.weight.normal_(std=3.0)
    made, last = RAIN.to_units(model(rain(), 2)), RAIN.to_units(rain()[:, -1:])
    torch.testing.assert_close(made.sum(dim=(-2, -1)), last.sum(dim=(-2, -1)).expand(1, 2, 1))
    gains = (made / last)[(last > 0.1).expand_as(made)]
    assert gains.min() < 0.95
    assert 1.05 < gains.max() < 2


def test_a_mixture_has_nothing_beyond_half_more_than_was_seen() -> None:
    """Whatever its weights; and what is dry in all levels stays dry."""
    torch.manual_seed(0)
    model = mixture(guides=["persistence"], blurs=[1.0])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    past = rain()
    past[..., :24, :] = 0
    made = model(past, 3)
    assert RAIN.to_units(made).max() <= 1.5 * RAIN.to_units(past).max() * 1.001
    assert made.amax(dim=(-2, -1)).min() > 0
    assert torch.equal(made[..., :20, :], torch.zeros(1, 3, 1, 20, 48))


def test_a_blur_of_a_mixture_loses_no_rain() -> None:
    """In mm/h, as it would on a logarithmic scale."""
    past = torch.zeros(1, 4, 1, 96, 96)
    past[..., 40:56, 40:56] = 0.8
    for scaling, kept in ((RAIN, 1.0), (Scaling(), 0.5)):
        model = mixture(scaling, guides=["persistence"], blurs=[3.0, 8.0])
        set_numbers(model, 9.0, 9.0, 0.0)
        total = RAIN.to_units(model(past, 1)).sum() / RAIN.to_units(past[:, -1]).sum()
        assert (total > 0.99 and total < 1.01) if kept == 1 else total < kept


def test_the_decoder_of_a_mixture_is_told_the_lead_time() -> None:
    """Of frames that do not change, forecasts do, as time goes on; and step by step, as a stream
    does, the same.
    """
    torch.manual_seed(0)
    model = mixture(guides=["persistence", "mean"])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    begun = model.output.begin_guides(model.guide.encode(rain()))
    lead = model.output.levels(begun, 3)[1][0, :, -1]
    torch.testing.assert_close(lead.mean(dim=(-2, -1)), torch.tensor([1.0, 2.0, 3.0]) / 12)
    state = model.begin(model.encode(rain()))
    frames = []
    for _ in range(3):
        frame, state = model.step(state)
        frames.append(frame)
    torch.testing.assert_close(torch.cat(frames, dim=1), model(rain(), 3), atol=1e-5, rtol=1e-4)


def test_the_guide_of_a_mixture_is_on_the_scale_of_its_forecast() -> None:
    """For matches to it. Its blurs grow."""
    model = mixture(guides=["mean", "persistence"])
    _, guide = model.decode_with_guide(model.encode(rain()), 2)
    torch.testing.assert_close(guide, build_model("mean")(rain(), 2))
    with pytest.raises(ValueError, match=r"grow from one to the next, unlike \[3.0, 3.0\]"):
        mixture(blurs=[3.0, 3.0])
