"""Properties of the U-Net; see also tests/contract."""

import pytest
import torch

from foreframe.addons.zoo.unet import LEAK, UNet


def test_forecasts_of_a_unet_are_cut_and_in_training_lean_back() -> None:
    """Beyond [0,1] with a small slope, which tells what is sharpened."""
    network, past = UNet(frames=2, widths=[4], blocks=[1], sharpen=0.4), torch.rand(4, 2, 1, 8, 8)
    with torch.no_grad():
        network.last.weight.mul_(8)
        trained = network(past, 2)
        forecast = network.eval()(past, 2)
    assert trained.min() < 0
    assert trained.max() > 1
    p = trained.where(trained >= 0, trained / LEAK).where(trained <= 1, 1 + (trained - 1) / LEAK)
    torch.testing.assert_close(forecast, ((p - 0.2) / 0.6).clamp(0, 1), atol=1e-4, rtol=0)
    assert forecast.min() == 0


def test_a_unet_starts_at_the_mean() -> None:
    """About: by its last bias, where its weights add little."""
    network, past = UNet(frames=2, widths=[4], blocks=[1]).eval(), torch.rand(4, 2, 1, 8, 8)
    with torch.no_grad():
        network.last.weight.mul_(0.1)
        for mean in (0.3, 0.6):
            network.start_at(mean)
            assert network(past, 2).mean().item() == pytest.approx(mean, abs=0.1)
