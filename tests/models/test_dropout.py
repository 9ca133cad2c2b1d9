"""Monte Carlo dropout: what is left out, when, and that training does without it, too."""

import pytest
import torch

from foreframe import Forecaster, Window
from foreframe.models import Model, build_model, members
from foreframe.models.dropout import dropped
from foreframe.models.noise import placed
from foreframe.training.objectives import forecast, next_frames
from foreframe.training.preparation import load_initial_weights

STATE = {"frame": torch.zeros(1, 1)}
QUICK = {"core": {"convlstm": {"hidden": [8]}}, "codec": {"strided": {"widths": [4, 8]}}}
KINDS = [
    ("quick", QUICK),
    ("next_frame", {"core": {"convlstm": {"hidden": [6, 6]}}}),
    ("at_once", {"core": {"convlstm": {"hidden": [8]}}, "horizon": 3}),
    ("simvp_small", {"frames": 3, "spatial": 8, "temporal": 16, "blocks": 2}),
]


def built(name: str, args: dict, dropout: float) -> Model:
    torch.manual_seed(0)
    model = build_model(name, {**args, "dropout": dropout}).eval()
    for parameter in model.parameters():  # a head begins with nothing in some places
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def test_the_share_that_is_left_out_and_what_stands_in_for_it() -> None:
    """Mean 1 and variance p / (1 - p), each channel for itself, all places of it alike."""
    x, p = torch.ones(5000, 4, 3, 2), 0.2
    z = dropped(x, members(STATE, 5000, seed=3), p, at=1)
    assert set(z.unique().tolist()) == {0.0, 1 / (1 - p)}
    assert (z == z[:, :, :1, :1]).all()
    z = z[:, :, 0, 0]
    assert (z.mean(dim=0) - 1).abs().max() < 0.03
    assert (z.var(dim=0) - p / (1 - p)).abs().max() < 0.03
    assert (torch.corrcoef(z.T) - torch.eye(4)).abs().max() < 0.05
    other = dropped(x, members(STATE, 5000, seed=3), p, at=2)[:, :, 0, 0]
    assert (torch.corrcoef(torch.stack([z.flatten(), other.flatten()]))[0, 1]).abs() < 0.05


def test_nothing_is_left_out_without_a_key_or_a_share() -> None:
    x = torch.rand(2, 3, 4, 4)
    assert dropped(x, {"frame": x}, 0.5, 0) is x
    assert dropped(x, members({"frame": x}, 1), 0.0, 0) is x


def test_a_tile_leaves_out_what_the_whole_does() -> None:
    state, x = members(STATE, 6), torch.rand(6, 8, 4, 4)
    whole = dropped(x, state, 0.5, 0)
    assert torch.equal(dropped(x[..., 2:], placed(state, 0, 16), 0.5, 0), whole[..., 2:])


@pytest.mark.parametrize("p", [-0.1, 1.0, 7])
@pytest.mark.parametrize(("name", "args"), KINDS)
def test_a_share_that_is_none(name: str, args: dict, p: float) -> None:
    with pytest.raises(ValueError, match="dropout is a share of channels, from 0 to below 1, not"):
        build_model(name, {**args, "dropout": p})


@pytest.mark.parametrize(("name", "args"), KINDS)
def test_members_differ_more_the_more_is_left_out(name: str, args: dict) -> None:
    past, spreads = torch.rand(1, 4, 1, 32, 32), []
    for p in (0.0, 0.05, 0.3):
        model = built(name, args, p)
        with torch.no_grad():
            state = model.encode(past)
            future = model.decode(members(state, 24), 5)
        assert model.draws == (p > 0)
        spreads.append(float(future.var(dim=0).mean()))
    assert spreads[0] < 1e-12 < spreads[1] < spreads[2]


@pytest.mark.parametrize(("name", "args"), KINDS)
def test_a_clip_is_learnt_without_some_channels(name: str, args: dict) -> None:
    """Others in each step, as torch's generator has them; of each clip its own."""
    clips, window = torch.rand(1, 7, 1, 32, 32).expand(2, -1, -1, -1, -1), Window(4, 3)
    model = built(name, args, 0.4)

    def learnt(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        plain = forecast(model, clips, window)[0]
        return [plain, next_frames(model, clips, window, 0.0)[0]]

    whole = model(clips[:, :4], 3)
    torch.testing.assert_close(whole[0], whole[1])
    for one, again, other in zip(learnt(1), learnt(1), learnt(2), strict=True):
        assert torch.equal(one, again)
        assert (one - other).abs().max() > 1e-4
        assert (one[0] - one[1]).abs().max() > 1e-4
    with_none = built(name, args, 0.0)
    torch.testing.assert_close(forecast(with_none, clips, window)[0], whole)


@pytest.mark.parametrize(("name", "args"), KINDS)
def test_weights_fit_whatever_was_left_out_when_they_were_learnt(
    name: str, args: dict, tmp_path
) -> None:
    past = torch.rand(1, 4, 1, 32, 32)
    for before, after in ((0.0, 0.3), (0.3, 0.1), (0.3, 0.0)):
        trained = built(name, args, before)
        Forecaster(trained).save(tmp_path / f"{before} {after}")
        model = build_model(name, {**args, "dropout": after}).eval()
        load_initial_weights(model, str(tmp_path / f"{before} {after}"))
        assert model.args.get("dropout", 0.0) == after
        assert torch.equal(model(past, 5), trained(past, 5))
