"""SimVP and TAU: what their shapes promise; see also tests/contract and tests/parity."""

import pytest
import torch

from foreframe.models import SimVP
from foreframe.models.interface import TrainingForecast
from foreframe.models.tau import differential_divergence


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
