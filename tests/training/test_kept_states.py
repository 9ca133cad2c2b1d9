"""States that are kept from epoch to epoch, where the encoder is frozen."""

import torch

from foreframe.clips.clip import Window
from foreframe.models import build_model
from foreframe.training.kept_states import KeptStates
from foreframe.training.objectives import forecast

WINDOW = Window(4, 3)
CLIPS = torch.rand(3, 7, 3, 20, 24, generator=torch.Generator().manual_seed(0))


def guided() -> torch.nn.Module:
    torch.manual_seed(0)
    network = build_model("guided", {"core": {"convlstm": {"hidden": [8]}}})
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.02 * torch.randn_like(p))
    network.freeze_encoder()
    return network


def test_a_forecast_of_kept_states_has_the_gradients_of_a_whole_one() -> None:
    gradients = []
    for kept in (False, True):
        network = guided()
        if kept:
            made, _ = network.advance(KeptStates(network)(CLIPS, WINDOW), WINDOW.future, last=True)
        else:
            made = forecast(network, CLIPS, WINDOW).forecast
        made.square().mean().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    assert {name for name, of in gradients[0].items() if of is not None} == {
        name for name in gradients[0] if name.split(".")[0] in ("decoder", "inform", "up", "output")
    }
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, atol=1e-6, rtol=1e-4)


def test_a_state_is_the_same_kept_or_not_and_whatever_is_beside_it(monkeypatch) -> None:
    network, encoded = guided(), []
    encode = network.encode
    monkeypatch.setattr(network, "encode", lambda past: encoded.append(len(past)) or encode(past))
    whole, without_room = KeptStates(network), KeptStates(network, budget=0)
    room, first = whole.room, whole(CLIPS, WINDOW)
    assert room - whole.room == sum(value.nbytes for value in first.values())
    assert encoded == [1, 1, 1]
    others = torch.cat([CLIPS[1:], CLIPS[:1].flip(-1)])
    again, anew = whole(others, WINDOW), without_room(others, WINDOW)
    assert len(encoded) == 3 + 1 + 3  # a mirrored clip is another one
    for name, value in first.items():
        assert torch.equal(again[name][:2], value[1:])
        assert torch.equal(anew[name], again[name])
