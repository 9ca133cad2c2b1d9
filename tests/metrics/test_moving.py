"""Scores of what moves before a fixed camera, against an explicit loop."""

import numpy as np
import pytest
import torch
from fields import holed

from foreframe.evaluation.metrics import Scorecard, scores_of
from foreframe.evaluation.metrics.moving import background_of

SHAPE = (3, 12, 2, 24, 30)


def film() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Past, forecast and truth of a square that crosses a texture; the third clip shakes."""
    draw = np.random.default_rng(0)
    frames = np.repeat(draw.random((3, 1, 2, 24, 30)) ** 2, 16, axis=1)
    for t in range(16):
        frames[:, t, :, 5:12, t : t + 6] = [[[[0.9]], [[0.2]]]]
        frames[2, t] = np.roll(frames[2, t], 2 * t, axis=-1)
    past, truth = frames[:, :12], frames[:, 12:]
    forecast = past[:, -1:] + 0.1 * draw.normal(size=truth.shape)
    past, forecast, truth = (torch.from_numpy(each).float() for each in (past, forecast, truth))
    return past, forecast, truth


def test_scores_equal_a_loop_over_pixels() -> None:
    past, P, Y = film()
    Y = holed(Y)
    card = Scorecard(4, scores_of(background=True))
    card.update(P, Y, background_of(past))
    table = card.table()["moving"]
    every = []
    for lead in range(4):
        counts = dict.fromkeys(("P", "Y", "mass of P", "mass of Y", "hits", "frames"), 0.0)
        for clip in (0, 1):
            B = np.median(past[clip, -10:].numpy(), axis=0)
            p, y = P[clip, lead].numpy(), Y[clip, lead].numpy()
            counts["frames"] += bool(np.isfinite(y).all(axis=0).any())
            for i, j in np.ndindex(24, 30):
                if np.isnan(y[:, i, j]).any():
                    continue
                of_p, of_y = (np.abs(x[:, i, j] - B[:, i, j]).mean() for x in (p, y))
                counts["P"] += of_p > 0.1
                counts["Y"] += of_y > 0.1
                counts["mass of P"] += of_p * (of_p > 0.1)
                counts["mass of Y"] += of_y * (of_y > 0.1)
                counts["hits"] += of_p > 0.1 and of_y > 0.1
        every.append(counts)
    total = {name: sum(counts[name] for counts in every) for name in every[0]}
    for n, k in enumerate([*every, total]):
        got = {name: of["per_lead"][n] if n < 4 else of["overall"] for name, of in table.items()}
        assert got == pytest.approx(
            {
                "moving_area": k["P"] / k["Y"],
                "moving_mass": k["mass of P"] / k["mass of Y"],
                "moving_csi": k["hits"] / (k["P"] + k["Y"] - k["hits"]),
                "moving_pixels": k["Y"],
                "moving_frames": k["frames"],
            }
        )
    assert 0.1 < table["moving_csi"]["overall"] < 0.9  # not by chance


def test_the_median_is_that_of_numpy_and_only_of_fixed_cameras() -> None:
    past, _, _ = film()
    for frames in (past, past[:, :3]):
        got = background_of(frames)
        expected = np.median(frames[:2, -10:].numpy(), axis=1, keepdims=True)
        np.testing.assert_allclose(got[:2].numpy(), expected, atol=1e-7)
        assert got[2].isnan().all()
