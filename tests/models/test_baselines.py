"""Baselines on frames with a known future."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from foreframe.models import build_model


def test_black_mean_and_persistence() -> None:
    past = torch.rand(2, 4, 1, 8, 8)
    assert build_model("black")(past, 3).abs().max() == 0
    torch.testing.assert_close(build_model("persistence")(past, 3)[:, 2], past[:, -1])
    torch.testing.assert_close(build_model("mean")(past, 3)[:, 2], past.mean(dim=1))


def smooth_blob(row: float, column: float) -> np.ndarray:
    y, x = np.mgrid[:48, :48]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / 18) + 0.5 * np.exp(
        -((y - row - 6) ** 2 + (x - column + 3) ** 2) / 8
    )


@pytest.mark.parametrize("shift", [(2, -1), (0, 3), (-1.5, 0.5)])
def test_linear_motion_carries_on(shift) -> None:
    past = np.stack([smooth_blob(22 + shift[0] * t, 24 + shift[1] * t) for t in range(-4, 1)])
    future = np.stack([smooth_blob(22 + shift[0] * t, 24 + shift[1] * t) for t in range(1, 4)])
    clips = torch.from_numpy(past).float()[None, :, None]
    forecast = build_model("linear_motion")(clips, 3)[0, :, 0].numpy()
    assert np.mean((forecast - future) ** 2) < 0.15 * np.mean((past[-1] - future) ** 2)
    # An outside reference for the carrying: scipy's shift.
    if all(float(s).is_integer() for s in shift):
        expected = ndimage.shift(past[-1], shift, order=1)
        np.testing.assert_allclose(forecast[0], expected, atol=0.08)


def test_linear_motion_without_motion_or_light() -> None:
    still = torch.rand(1, 1, 1, 16, 16).repeat(1, 5, 1, 1, 1)
    torch.testing.assert_close(
        build_model("linear_motion")(still, 4)[:, 3], still[:, -1], atol=1e-4, rtol=0
    )
    dark = torch.zeros(1, 5, 1, 16, 16)
    assert build_model("linear_motion")(dark, 4).abs().max() == 0
    frame = torch.rand(1, 1, 1, 16, 16)
    torch.testing.assert_close(
        build_model("linear_motion")(frame, 2)[:, 1], frame[:, -1], atol=1e-4, rtol=0
    )


def test_cycle_is_the_frame_a_period_before() -> None:
    past = torch.rand(2, 11, 3, 5, 6)
    forecast = build_model("cycle", {"period": 4})(past, 9)
    for step in range(9):
        assert torch.equal(forecast[:, step], past[:, 7 + step % 4])


def test_cycle_of_fewer_frames_than_a_period() -> None:
    """The oldest frame replaces missing earlier frames."""
    past = torch.rand(2, 2, 1, 5, 6)
    model = build_model("cycle", {"period": 4})
    expected = past[:, [0, 0, 0, 1, 0, 0]]
    assert torch.equal(model(past, 6), expected)
    assert torch.equal(
        model.decode(model.encode(past[:, 1:], model.encode(past[:, :1])), 6), expected
    )
    assert model.encode(past)["frames"].shape[1] == 4
