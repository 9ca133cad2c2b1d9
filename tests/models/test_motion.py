"""Dense motion where it is known, against what is free, and on real films."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from foreframe.models import build_model
from foreframe.models.motion import (
    DenseMotion,
    advected,
    blurred,
    displaced,
    motion_of,
    moving,
    sampled,
)
from standins import texture


def drifting(rows: float, columns: float, length: int = 8) -> torch.Tensor:
    """(1,T,1,64,64): a texture that drifts by so much a frame. reference: scipy's spline shift."""
    wide = texture(0, 160)
    frames = [
        ndimage.shift(wide, (rows * t, columns * t), order=3)[48:112, 48:112] for t in range(length)
    ]
    return torch.from_numpy(np.stack(frames)).float()[None, :, None].clamp(0, 1)


def error(forecast: torch.Tensor, truth: torch.Tensor, last: torch.Tensor) -> float:
    """As a share of persistence's."""
    return ((forecast - truth).square().sum() / (last - truth).square().sum()).item()


@pytest.mark.parametrize("motion", [(0.0, 0.0), (0.4, -0.7), (-2.3, 1.6), (0.0, 5.0)])
def test_a_drift_is_found_to_a_twentieth_of_a_pixel(motion: tuple[float, float]) -> None:
    frames = drifting(*motion)
    model = DenseMotion()
    V = model.motion(model.encode(frames))[0, :, 12:-12, 12:-12]
    # A few places, whose sources lie beyond the frame, know less.
    assert (V[0] - motion[1]).abs().median() < 0.05
    assert (V[1] - motion[0]).abs().median() < 0.05


def test_smooth_motion_is_that_of_what_is_seen_to_move() -> None:
    """Two showers that drift by 1.5 and 0.5 pixels, in a field where nothing is: far from both the
    motion is between theirs, which hardly change; without `smooth` next to nothing moves there.
    """
    rows, columns = np.mgrid[:64, :64]
    frames = np.stack(
        [
            sum(
                np.exp(-((rows - y) ** 2 + (columns - x - v * t) ** 2) / 18)
                for y, x, v in ((16, 16, 1.5), (46, 26, 0.5))
            )
            for t in range(6)
        ]
    )
    seen = torch.from_numpy(frames).float()[None, :, None]
    plain, smooth = (
        model.motion(model.encode(seen))[0, 0]
        for model in (DenseMotion(pairs=2), DenseMotion(pairs=2, smooth=12))
    )
    assert plain[31, 60].item() < 0.4
    assert 0.6 < smooth[31, 60].item() < 1.4
    for motion in (plain, smooth):
        assert motion[16, 22].item() == pytest.approx(1.5, abs=0.05)
        assert motion[46, 28].item() == pytest.approx(0.5, abs=0.2)


def test_noise_stays_where_it_is() -> None:
    still = torch.from_numpy(texture(1, 64)).float()
    noise = torch.from_numpy(np.random.default_rng(2).normal(0, 0.02, (1, 8, 1, 64, 64))).float()
    model = DenseMotion()
    assert model.motion(model.encode(still + noise)).abs().mean() < 0.1


def test_an_object_moves_before_a_background_that_does_not() -> None:
    back, front = texture(3, 64), texture(4, 64)
    rows, columns = np.mgrid[:64, :64]

    def frame(t: int) -> np.ndarray:
        here = np.hypot(rows - 32, columns - 16 - 2 * t) < 9
        return np.where(here, np.roll(front, 2 * t, axis=1), back)

    frames = torch.from_numpy(np.stack([frame(t) for t in range(12)])).float()[None, :, None]
    model = DenseMotion()
    V = model.motion(model.encode(frames[:, :8]))[0]
    assert abs(V[0, 32, 30].item() - 2) < 0.2  # its middle
    assert V[:, :, 48:].abs().max() < 0.2  # far from it
    assert error(model(frames[:, :8], 4), frames[:, 8:], frames[:, 7:8]) < 0.6


@pytest.mark.parametrize("name", ["dense_motion", "optical_flow", "linear_motion"])
def test_a_rotation_is_no_shift(name: str) -> None:
    """So a single shift a clip hardly helps. Reference: scipy's rotate."""
    if name == "optical_flow":
        pytest.importorskip("cv2", reason="needs opencv-python-headless")
    rows, columns = np.mgrid[:64, :64] - 31.5
    first = texture(0, 64, 3) * np.exp(-(((columns**2 + rows**2) / 24**2) ** 2))
    turned = [ndimage.rotate(first, 3 * t, reshape=False, order=3) for t in range(10)]
    frames = torch.from_numpy(np.stack(turned)).float().clamp(0, 1)[None, :, None]
    left = error(build_model(name)(frames[:, :6], 4), frames[:, 6:], frames[:, 5:6])
    assert left > 0.5 if name == "linear_motion" else left < 0.1


def test_frames_are_interpolated_once() -> None:
    """Ten times half a pixel is five whole ones: not blurred at all."""
    frame = torch.from_numpy(texture(6, 48, 1.0)).float()[None, None]
    V = torch.zeros(1, 2, 48, 48)
    V[:, 0] = 0.5
    state = {"frame": frame} | moving(V)
    for _ in range(10):
        forecast, state = advected(state)
    torch.testing.assert_close(forecast[0, 0, 0, :, 8:], frame[0, 0, :, 3:-5], atol=1e-5, rtol=0)


def test_what_comes_in_is_missing_where_asked() -> None:
    frames = drifting(0.0, 3.0)
    forecast = build_model("dense_motion", {"beyond": "missing"})(frames, 4)
    assert forecast[0, 3, 0, 20:40, :10].isnan().all()
    assert not forecast[0, 3, 0, 20:40, 20:].isnan().any()
    nearest = build_model("dense_motion")(frames, 4)
    assert torch.equal(forecast.isnan(), ~torch.isclose(forecast, nearest))


def test_fewer_frames_than_pairs() -> None:
    """What was not seen has no say: two frames give the motion between them, one gives none."""
    frames, model = drifting(0.0, 2.0), DenseMotion()
    V = model.motion(model.encode(frames[:, -2:]))[0, 0, 16:-16, 16:-16]
    assert (V - 2).abs().mean() < 0.1
    torch.testing.assert_close(model(frames[:, -1:], 3)[:, 2], frames[:, -1], atol=1e-5, rtol=0)


def test_gradients_go_through_the_motion() -> None:
    """reference: central differences along one direction."""
    frames = drifting(0.5, 1.0, 4)[..., :24, :24].double().requires_grad_()
    seen = torch.tensor([4.0], dtype=torch.float64)

    def mean(of: torch.Tensor) -> torch.Tensor:
        return motion_of(of, seen, 2).square().mean()

    grey = frames[:, :, 0]
    (gradient,) = torch.autograd.grad(mean(grey), frames)
    along = torch.randn(grey.shape, generator=torch.Generator().manual_seed(0), dtype=grey.dtype)
    with torch.no_grad():
        slope = (mean(grey + 1e-5 * along) - mean(grey - 1e-5 * along)) / 2e-5
    assert slope.abs() > 1e-6
    torch.testing.assert_close((gradient[:, :, 0] * along).sum(), slope, rtol=1e-3, atol=1e-9)


def test_evidence_tells_still_from_moving() -> None:
    model = DenseMotion()

    def of(speed: float) -> torch.Tensor:
        state = model.encode(drifting(0.0, speed))
        return model.evidence(state, model.motion(state))[0]

    still, moved = of(0.0), of(1.0)
    inside = (slice(16, -16), slice(16, -16))
    assert still[2:][:, inside[0], inside[1]].abs().max() < 0.02  # no error either way
    without, carried = moved[2:5, inside[0], inside[1]], moved[5:, inside[0], inside[1]]
    assert (carried.mean((1, 2)) < 0.3 * without.mean((1, 2))).all()
    torch.testing.assert_close(moved[0, 32, 32], torch.tensor(0.25), atol=0.02, rtol=0)


@pytest.mark.parametrize("reach", [2.5, 3.0])
@pytest.mark.parametrize("shape", [(2, 3, 20, 30), (2, 2, 3, 20, 30)], ids=str)
def test_a_gaussian_is_scipys(shape: tuple[int, ...], reach: float) -> None:
    values = np.random.default_rng(0).random(shape)
    sigma = (0,) * (len(shape) - 2) + (2.0, 2.0)
    expected = ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=reach)
    ours = blurred(torch.from_numpy(values), 2.0, reach).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-7)


def test_a_forecast_before_leaves_gradients_possible() -> None:
    """What is kept for the next call is no tensor of inference, which a backward pass refuses."""
    values, sigma = torch.rand(1, 1, 16, 16), 1.2345  # that no other test has asked for
    with torch.inference_mode():
        blurred(values, sigma)
    blurred(values.requires_grad_(), sigma).sum().backward()
    assert values.grad is not None


def test_values_of_other_places_are_scipys() -> None:
    """As places of each frame, and as distances in columns and rows from each pixel."""
    draw, pixels = np.random.default_rng(0), np.indices((9, 12))
    values, by = draw.random((2, 3, 1, 9, 12)), draw.uniform(-3, 3, (2, 3, 2, 9, 12))
    expected = np.empty_like(values)
    for b, s in np.ndindex(2, 3):
        places = pixels + by[b, s, ::-1]
        here = values[b, s, 0]
        expected[b, s, 0] = ndimage.map_coordinates(here, places, order=1, mode="nearest")
    ours = displaced(torch.from_numpy(values), torch.from_numpy(by))
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)
    ours = sampled(torch.from_numpy(values[0]), torch.from_numpy(pixels[::-1] + by[0]))
    np.testing.assert_allclose(ours.numpy(), expected[0], atol=1e-12)
