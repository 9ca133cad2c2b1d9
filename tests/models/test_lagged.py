"""The lagged ensemble, and members dressed with what one differs by: the formula."""

import pytest
import torch
from torch import nn

from foreframe.models import build_model, members
from foreframe.models.dressed import LEANS, Dressed

PAST = torch.rand(2, 7, 2, 16, 20, generator=torch.Generator().manual_seed(0))


def dressed(of: str | dict = "linear_motion", scale: float = 0.0, **changes) -> Dressed:
    torch.manual_seed(0)
    model = Dressed(of, **{"by": "persistence", "lags": 3} | changes)
    nn.init.normal_(model.scale.weight, std=0.3)
    nn.init.constant_(model.scale.bias, scale)
    return model


@torch.no_grad()
def test_the_formula() -> None:
    model = dressed()
    state = members(model.encode(PAST), 4, seed=1)
    made = model.decode(state, 5).unflatten(0, (2, 4))
    z = model.noise(state, (1, 1)).view(2, 4, 3)
    m, x = build_model("linear_motion")(PAST, 5), PAST[:, [-1, -2, -3]]
    grey, grey_x = m.mean(dim=2), x.mean(dim=2)
    wide = torch.nn.functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    down = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    squares = (
        grey_x.var(dim=1, keepdim=True).expand_as(grey),
        ((grey - grey_x.mean(dim=1, keepdim=True)).square()),
        across.square() + down.square(),
    )
    log_s = model.scale.bias.view(1, 1, 1, 1)
    for weight, square in zip(model.scale.weight.flatten(), squares, strict=False):
        log_s = log_s + weight * ((square + 1e-6).log() / 4 + 2)
    log_s = log_s + model.scale.weight[0, 3] * torch.arange(1, 6).log().view(1, 5, 1, 1)
    apart = x - x.mean(dim=1, keepdim=True)
    for j in range(4):
        w = LEANS * torch.eye(3)[j % 3] + (1 - LEANS**2) ** 0.5 * z[:, j] / 2**0.5
        differs = torch.einsum("bk,bkchw->bchw", w, apart).unsqueeze(1)
        expected = m + log_s.clamp(max=2).exp().unsqueeze(2) * differs
        torch.testing.assert_close(made[:, j], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_members_it_is_the_forecaster_to_the_bit() -> None:
    core, codec = {"convlstm": {"hidden": [4]}}, {"strided": {"widths": [4, 8]}}
    model = dressed({"encoder_decoder": {"core": core, "codec": codec, "output": "blend"}})
    past = PAST[:, :, :1]
    assert torch.equal(model(past, 5), model.of(past, 5))


@torch.no_grad()
def test_fewer_frames_than_lags() -> None:
    """They differ as far as there are any differences; of one frame, all are the forecast."""
    model = dressed("mean")
    one, two = (model.decode(members(model.encode(PAST[:, :t]), 3), 2) for t in (1, 2))
    assert torch.equal(one, model(PAST[:, :1], 2).repeat_interleave(3, dim=0))
    differs = two[:, 0] - model(PAST[:, :2], 1).repeat_interleave(3, dim=0)[:, 0]
    along = differs / (PAST[:, 1] - PAST[:, 0]).repeat_interleave(3, dim=0)
    assert (along.sign() == along.sign()[:, :1, :1, :1]).all()  # the only difference that there is


@pytest.mark.parametrize("of", ["linear_motion", "persistence"])
def test_member_k_was_begun_k_frames_ago(of: str) -> None:
    """Modulo the number of lags, or of the frames seen."""
    model, plain = build_model("lagged", {"of": of, "lags": 3}), build_model(of)
    for seen in (7, 2):
        past = PAST[:, :seen]
        made = model.decode(members(model.encode(past), 6), 5).unflatten(0, (2, 6))
        for k in range(6):
            ago = k % min(3, seen)
            begun = plain(past[:, : seen - ago], 5 + ago)[:, ago:]
            torch.testing.assert_close(made[:, k], begun, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(past, 5), made.mean(dim=1))
