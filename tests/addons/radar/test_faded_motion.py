"""Motion that fades: where it is known what comes, nothing; where showers come and go, much."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from conftest import real_data
from foreframe import Scaling
from foreframe.addons.radar.faded_motion import AHEAD, FRAMES, USUAL, FadedMotion
from foreframe.models import build_model


def texture(seed: int, sigma: float, side: int = 64) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((side, side + 64))
    field = ndimage.gaussian_filter(noise, sigma, mode="wrap")
    return 0.5 + 0.12 * field / field.std()


def slope(frames: np.ndarray) -> float:
    model = FadedMotion()
    past = torch.from_numpy(frames).float()[None, :, None]
    return model.begin(model.encode(past))["slope"].item()


def test_what_only_moves_hardly_fades_and_what_comes_and_goes_does() -> None:
    still = texture(0, 3)
    moving = np.stack([still[:, 40 - 2 * t : 104 - 2 * t] for t in range(FRAMES)])
    assert slope(moving) < 0.2
    large = texture(0, 8)[:, :64]
    changing = np.stack([large + 0.3 * (texture(t, 1.5)[:, :64] - 0.5) for t in range(FRAMES)])
    assert slope(changing) >= 0.3
    assert slope(changing[1:]) == pytest.approx(USUAL)  # too short to try


def test_blurred_as_scipy_does() -> None:
    frames = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    blurred = FadedMotion().faded(frames, torch.tensor([0.0, 2.5]))
    torch.testing.assert_close(blurred[0], frames[0])
    expected = ndimage.gaussian_filter(frames[1].numpy(), (0, 2.5, 2.5), mode="nearest", truncate=9)
    np.testing.assert_allclose(blurred[1], expected, atol=1e-5)


def test_rain_keeps_its_amount() -> None:
    """On a logarithmic scale a blur would lose rain."""
    scaling = Scaling(0.5, 100.0, "mm/h", "log")
    rain = torch.zeros(1, 1, 96, 96)
    rain[..., 40:56, 40:56] = 20 * torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    model = build_model("faded_motion")
    assert isinstance(model, FadedMotion)

    def amount(model: FadedMotion) -> float:
        blurred = model.faded(scaling.to_network(rain), torch.tensor([4.0]))
        return (scaling.to_units(blurred).sum() / rain.sum()).item()

    assert amount(model.in_units(scaling)) == pytest.approx(1, abs=1e-3)
    assert amount(model) < 0.8


def test_its_error_is_the_smallest_that_is_free_on_radar() -> None:
    frames = np.load(real_data("radar/radar_clips64_dev.npz"))
    clips = torch.from_numpy(frames[frames.files[0]][:8].astype(np.float32))
    clips = clips.unsqueeze(2) / 255 if clips.ndim == 4 else clips / 255
    past, truth = clips[:, :FRAMES], clips[:, FRAMES : FRAMES + AHEAD]
    error = {
        name: (build_model(name)(past, truth.shape[1])[:, -1] - truth[:, -1]).square().mean().item()
        for name in ("persistence", "dense_motion", "faded_motion")
    }
    assert min(error, key=error.__getitem__) == "faded_motion"
