"""Event scores against the `scores` library, and against a loop over pixels."""

import json
import math

import numpy as np
import pytest
import torch
import xarray as xr
from fields import holed, pair
from scores.categorical import BinaryContingencyManager, ThresholdEventOperator
from scores.spatial import fss_2d

from foreframe.evaluation.metrics import Scorecard, event_scores

DIMS = ("clip", "lead", "channel", "y", "x")
THEIRS = {
    "csi": "critical_success_index",
    "pod": "probability_of_detection",
    "far": "false_alarm_ratio",
    "hss": "heidke_skill_score",
    "bias": "frequency_bias",
}


def rain() -> tuple[torch.Tensor, torch.Tensor]:
    """Forecast and truth in mm/h."""
    P, Y = pair()
    return 10 * P, 10 * Y


def filled(P: torch.Tensor, Y: torch.Tensor, *args, **kwargs) -> Scorecard:
    card = Scorecard(P.shape[1], event_scores(*args, **kwargs))
    card.update(P, Y)
    return card


def arrays(*tensors: torch.Tensor) -> list[xr.DataArray]:
    return [xr.DataArray(tensor.numpy(), dims=DIMS) for tensor in tensors]


@pytest.mark.parametrize("gaps", [False, True])
def test_counts_equal_the_scores_library(gaps: bool) -> None:
    P, Y = rain()
    Y = holed(Y) if gaps else Y
    table = filled(P, Y, (0.5, 2, 8), units="mm/h").table()
    assert list(table) == ["0.5 mm/h", "2 mm/h", "8 mm/h"]
    for threshold in (0.5, 2, 8):
        events = ThresholdEventOperator(default_event_threshold=threshold).make_contingency_manager(
            *arrays(P, Y)
        )
        assert isinstance(events, BinaryContingencyManager)
        overall, per_lead = events.transform(), events.transform(preserve_dims="lead")
        got = table[f"{threshold} mm/h"]
        for ours, theirs in THEIRS.items():
            assert got[ours]["overall"] == pytest.approx(
                float(getattr(overall, theirs)()), rel=1e-12
            ), ours
            np.testing.assert_allclose(
                got[ours]["per_lead"], getattr(per_lead, theirs)(), rtol=1e-12, err_msg=ours
            )
        assert got["events"]["overall"] == Y.ge(threshold).sum()


def test_fss_equals_the_scores_library() -> None:
    P, Y = rain()
    scales = (1, 3, 9, 17)
    got = filled(P, Y, (2,), scales).table()["2"]
    options = {
        "event_threshold": 2,
        "spatial_dims": ("y", "x"),
        "threshold_operator": np.greater_equal,
    }
    for scale in scales:
        per_lead = fss_2d(
            *arrays(P, Y), window_size=(scale, scale), preserve_dims=["lead"], **options
        )
        overall = fss_2d(*arrays(P, Y), window_size=(scale, scale), reduce_dims="all", **options)
        np.testing.assert_allclose(got[f"fss {scale}"]["per_lead"], per_lead, rtol=1e-5)
        assert got[f"fss {scale}"]["overall"] == pytest.approx(float(overall), rel=1e-5)


def test_a_loop_over_windows() -> None:
    """reference: the formula of FSS, one window at a time, of those without a gap."""
    P, Y = (10 * values for values in pair(b=2, t=1, c=1, h=6, w=7))
    Y[0, 0, 0, 1, 2] = Y[1, 0, 0, 4:, 5] = torch.nan
    above = below = 0.0
    for p, y in zip(P[:, 0, 0].numpy(), Y[:, 0, 0].numpy(), strict=True):
        for r in range(4):
            for q in range(5):
                window = slice(r, r + 3), slice(q, q + 3)
                if not np.isnan(y[window]).any():
                    Pf, Po = ((field[window] >= 1).mean() for field in (p, y))
                    above, below = above + (Pf - Po) ** 2, below + Pf**2 + Po**2
    card = filled(P, Y, (1.0,), (3,))
    assert card.table()["1"]["fss 3"]["overall"] == pytest.approx(1 - above / below, rel=1e-6)
    assert card.by_clip("1", "hss").sum() == (~Y.isnan()).sum()


def test_values_at_the_threshold_are_events() -> None:
    P, Y = torch.full((1, 1, 1, 4, 4), 2.0), torch.full((1, 1, 1, 4, 4), 2.0)
    got = filled(P, Y, (2, 3), (3, 5)).table()
    assert got["2"]["csi"]["overall"] == got["2"]["fss 3"]["overall"] == 1
    assert math.isnan(got["2"]["fss 5"]["overall"])  # no such window fits
    assert got["3"]["events"]["overall"] == 0
    for score in THEIRS:  # no event, nothing to say
        assert math.isnan(got["3"][score]["overall"]), score
    assert math.isnan(got["3"]["fss 3"]["overall"])
    json.dumps(got)  # plain values


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="take 5"):
        event_scores((1,), (4,))
    with pytest.raises(ValueError, match=r"once each, not 1, 1\.0"):
        event_scores((1, 1.0))
