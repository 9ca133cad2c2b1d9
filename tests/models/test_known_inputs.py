"""Inputs that a model sees and does not forecast, known in the future or not: two of them, beside
one channel that is forecast.
"""

import pytest
import torch

from foreframe.clips.clip import Window
from foreframe.models import Model, build_model, with_known
from foreframe.training.objectives import forecast, next_frames
from small import SMALL, available

WAYS = available(
    "own_frames_with_an_input", "both_skips", "fed_nothing", "fed_frames", "guided_patches",
    "carried_colours", "at_once", "unet", "simvp_small", "predformer_small", "earthformer_small",
)  # fmt: skip
SOME = torch.rand(3, 5, 3, 16, 12, generator=torch.Generator().manual_seed(1))
KNOWN = torch.rand(3, 9, 2, 16, 12, generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=WAYS)
def model(request) -> Model:
    torch.manual_seed(0)
    kind, args = SMALL[request.param]
    network = build_model(kind, args | {"channels": 1, "inputs": 2}).double()
    for parameter in network.parameters():  # heads begin with next to nothing
        torch.nn.init.normal_(parameter, std=0.2)
    return network


@torch.no_grad()
def test_inputs_of_the_past_are_seen(model: Model) -> None:
    past = SOME.double()
    other = past.clone()
    other[:, -1, 1:] += 0.5
    change = (model(other, 1) - model(past, 1)).abs().max()
    assert change > 1e-6


@torch.no_grad()
def test_known_inputs_change_what_is_forecast_from_there_on(model: Model) -> None:
    state = model.encode(SOME.double())
    known = KNOWN.double()
    other = known.clone()
    other[:, 4:] += 0.5
    before = {name: value.clone() for name, value in state.items()}
    first, second = (model.decode(with_known(state, of), 9) for of in (known, other))
    assert all(torch.equal(state[name], value) for name, value in before.items())
    changed = (first - second).abs().amax(dim=(0, 2, 3, 4)) > 1e-9
    # All at once: the frames of a chunk see each other's inputs.
    until = 4 // model.horizon * model.horizon
    assert not changed[:until].any()
    assert changed[-3:].all()


@torch.no_grad()
@pytest.mark.usefixtures("without_types")
def test_the_last_known_inputs_stand_in_for_those_after_them(model: Model) -> None:
    state, known = model.encode(SOME.double()), KNOWN.double()[:, :2]
    longer = torch.cat([known, known[:, -1:].expand(-1, 5, -1, -1, -1)], dim=1)
    few, many = (model.decode(with_known(state, of), 7) for of in (known, longer))
    torch.testing.assert_close(few, many)
    last = SOME.double()[:, -1:, 1:].expand(-1, 7, -1, -1, -1)
    torch.testing.assert_close(model.decode(state, 7), model.decode(with_known(state, last), 7))


def test_objectives_give_the_network_what_it_may_know(model: Model) -> None:
    clips = torch.cat([SOME, torch.cat([SOME[:, :4, :1], KNOWN[:, :4]], dim=2)], dim=1).double()
    clips[:, -3:, 2] = torch.nan  # no longer known: the last one stands in
    filled = clips.clone()
    filled[:, -3:, 2] = clips[:, -4:-3, 2]
    window = Window(5, 4)
    P, Y, _ = forecast(model, clips, window)
    expected = model(SOME.double(), 4, filled[:, 5:, 1:])
    torch.testing.assert_close(P, expected)
    assert torch.equal(Y, clips[:, 5:, :1])
    P, Y, _ = next_frames(model, clips, window, truth_share=1.0)
    assert P.shape == Y.shape == (3, 8, 1, 16, 12)
    torch.testing.assert_close(P[:, 4:5], model(SOME.double(), 1, filled[:, 5:6, 1:]))
