"""What optical flow forecasts where the motion is known, and on real radar."""

import sys

import numpy as np
import pytest
import torch
from test_motion import error

from conftest import real_data
from foreframe.models import SCORED, baselines_here, build_model
from foreframe.models.optical_flow import _motion

pytest.importorskip("cv2", reason="needs opencv-python-headless")


def film(frames: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(frames)).float()[None, :, None]


def blob(row: float, column: float, side: int = 64, width: float = 5) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return 0.9 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))


def test_a_blob_in_steady_motion() -> None:
    all_frames = film([blob(20 + 2 * t, 40 - t) for t in range(11)])
    past, future = all_frames[:, :5], all_frames[:, 5:]
    forecast = build_model("optical_flow")(past, 6)
    assert error(forecast, future, past[:, -1:]) < 0.03
    assert forecast.amax() > 0.85  # not smoothed again and again
    flow = _motion(past[:, -4:], torch.tensor([4.0]))[0]
    np.testing.assert_allclose(flow[:, 28, 36], [-1, 2], atol=0.2)  # columns, rows


def test_what_moves_in_is_the_edge() -> None:
    ramp = np.linspace(0.2, 0.8, 48)[:, None] * np.ones(48)
    wave = 0.2 * np.sin(np.arange(80) / 3)[None, :]
    all_frames = film([ramp + wave[:, 30 - 2 * t : 78 - 2 * t] for t in range(6)])
    forecast = build_model("optical_flow")(all_frames, 4)
    assert forecast[..., 0].min() > 0


@pytest.mark.parametrize("shape", [(2, 1, 3, 24, 20), (1, 5, 1, 7, 40)], ids=str)
def test_a_single_frame_and_small_frames_persist(shape: tuple[int, ...]) -> None:
    past = torch.rand(shape)
    forecast = build_model("optical_flow")(past, 3)
    torch.testing.assert_close(forecast[:, 2], past[:, -1], atol=1e-5, rtol=0)


def test_two_frames_are_one_pair_and_not_a_third() -> None:
    """Frames repeated to fill the state are no motion that was seen."""
    two = film([blob(30 + 2 * t, 30) for t in range(3)])
    assert error(build_model("optical_flow")(two[:, :2], 1), two[:, 2:], two[:, 1:2]) < 0.03
    assert build_model("optical_flow", {"pairs": 5}).encode(two)["frames"].shape[1] == 6


def test_without_opencv_the_cure_is_told(monkeypatch) -> None:
    assert baselines_here() == (*SCORED, "optical_flow")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match=r"pip install 'foreframe\[flow\]'"):
        build_model("optical_flow")(torch.rand(1, 3, 1, 16, 16), 2)
    monkeypatch.setattr("foreframe.models.baselines.find_spec", lambda name: None)
    assert baselines_here() == SCORED


def test_it_beats_the_others_on_radar() -> None:
    """Frame-summed MSE of all clips: persistence 83.8, linear motion 54.0, optical flow 42.3."""
    clips = np.load(real_data("radar/radar_clips64_dev.npz"))["clips"]
    past, future = (torch.from_numpy(clips).float()[:, :, None] / 255).split(10, dim=1)
    mse = {
        name: (build_model(name)(past, 10) - future).square().sum(dim=(2, 3, 4)).mean().item()
        for name in ("persistence", "linear_motion", "optical_flow")
    }
    assert mse["persistence"] == pytest.approx(83.8, abs=0.1)
    assert mse["optical_flow"] < 43.5 < mse["linear_motion"]
