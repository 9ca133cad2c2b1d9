"""SimVP and TAU: what their shapes promise; see also tests/contract and tests/parity."""

import pytest
import torch

from foreframe.models import SimVP, build_model
from foreframe.models.batch_norm import BatchNorm
from foreframe.models.interface import TrainingForecast
from foreframe.models.tau import differential_divergence


@pytest.mark.parametrize("translator", ["inception", "gated", "tau"])
def test_what_came_before_its_frames_does_not_matter(translator: str) -> None:
    network = SimVP(frames=3, spatial=8, temporal=16, blocks=2, translator=translator)
    past = torch.rand(2, 5, 1, 10, 14)
    torch.testing.assert_close(network(past, 2), network(past[:, 2:], 2))
    alone = network(past[:, :1], 2)
    torch.testing.assert_close(alone, network(past[:, :1].expand(-1, 3, -1, -1, -1), 2))


def test_beyond_its_frames_it_goes_on_from_its_own() -> None:
    network = SimVP(frames=3, spatial=8, temporal=16, blocks=2)
    past = torch.rand(2, 3, 1, 8, 8)
    first = network(past, 3)
    torch.testing.assert_close(network(past, 5), torch.cat([first, network(first, 2)], dim=1))


def test_it_starts_at_the_mean() -> None:
    """Every pixel moves by what the bias does."""
    network, past = SimVP(frames=2, spatial=8, temporal=16, blocks=2), torch.rand(4, 2, 1, 8, 8)
    with torch.no_grad():
        before, bias = network(past, 2), network.to_frame.bias.item()
        network.start_at(0.3)
        torch.testing.assert_close(network(past, 2), before + 0.3 - bias)
    assert bias != pytest.approx(0.3)


def test_the_divergence_is_that_of_changes() -> None:
    """By its formula, of members beside the clip that they are of; what is missing of the truth
    changes as it was forecast; the model weighs it.
    """
    forecast, truth = torch.rand(4, 3, 2, 5, 6), torch.rand(2, 3, 2, 5, 6)
    truth[1, 1:, 0, 2] = torch.nan
    network = SimVP(frames=1, spatial=8, temporal=16, divergence=0.5)
    divergences = []
    for k, member in enumerate(forecast):
        for t in (1, 2):
            change, true = member[t] - member[t - 1], truth[k // 2, t] - truth[k // 2, t - 1]
            true = torch.where(true.isnan(), change, true)
            p, q = ((x.flatten() / 0.1).softmax(dim=0) for x in (change, true))
            divergences.append((p * (p / q).log()).mean())
    expected = torch.stack(divergences).mean()
    torch.testing.assert_close(differential_divergence(forecast, truth), expected)
    terms = network.terms(TrainingForecast(forecast, truth, {}))
    torch.testing.assert_close(terms, {"divergence": expected / 2})
    assert network.terms(TrainingForecast(forecast[:, :1], truth[:, :1], {})) == {}


def test_batch_norm_is_torchs() -> None:
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm2d(3)
    for _ in range(2):
        x = torch.rand(4, 3, 5, 6)
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            {"translator": "words"},
            "translator is one of inception, gated, tau, mixing, not 'words'",
        ),
        ({"blocks": 1}, "blocks must be from 2 to 1000, not 1"),
        ({"translator": "mixing", "spatial": 12}, "multiples of 8"),
        ({"kernels": (3, 4)}, "kernels must be odd"),
        ({"layers": 0}, "layers must be from 1 to 16"),
        ({"translator": "tau", "divergence": -1.0}, "divergence must be at least 0"),
        ({"frames": 0}, "frames must be at least 1"),
    ],
)
def test_bad_choices(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model("simvp", args)
