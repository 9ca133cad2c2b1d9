"""Scalings there and back, against numbers worked out by hand, and through a checkpoint."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foreframe import Scaling
from foreframe.clips.scaling import KINDS, Moments, scaling_from

RANDOM = np.random.default_rng(9)
EACH = {
    "range": Scaling(-20, 45, "dBZ"),
    "minmax": Scaling(265.7, 291.6, "K", "minmax"),
    "standard": Scaling(250, 310, "K", "standard"),
    "log": Scaling(0.1, 100, "mm/h", "log"),
    "dbz": Scaling(5, 60, "dBZ", "dbz"),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def fit(frames: np.ndarray, *units_and_kind: str, **more: str) -> Scaling:
    return Scaling.from_moments(Moments().plus(frames), *units_and_kind, **more)


@kinds
@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_there_and_back(kind: str, shares: list[float]) -> None:
    scaling = EACH[kind]
    low = 0.0 if kind == "log" else scaling.low
    values = low + np.array(shares) * (scaling.high - low)
    y = scaling.to_network(values)
    assert y.min() >= -1e-12
    assert y.max() <= 1 + 1e-12
    np.testing.assert_allclose(scaling.to_units(y), values, rtol=1e-9, atol=1e-9)


@kinds
def test_torch_and_numpy_agree_and_what_is_missing_stays_so(kind: str) -> None:
    scaling = EACH[kind]
    values = RANDOM.uniform(scaling.low - 30, scaling.high + 30, (3, 1, 4, 5)).astype(np.float32)
    values[0, 0, 0, :2] = np.nan
    for way in (scaling.to_network, scaling.to_units):
        given = values if way == scaling.to_network else scaling.to_network(values)
        ours, theirs = way(given), way(torch.from_numpy(given))
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(values))


def test_numbers_worked_out_by_hand() -> None:
    # 1 + x/0.1 over 1 + 999 = 1000, so each factor of ten is a third.
    log = Scaling(0.1, 99.9, "mm/h", "log")
    np.testing.assert_allclose(
        log.to_network(np.array([-5, 0, 0.9, 9.9, 99.9, 999.9])), [0, 0, 1 / 3, 2 / 3, 1, 4 / 3]
    )
    np.testing.assert_allclose(
        log.to_units(np.array([0, 1 / 3, 2 / 3, 1, -1])), [0, 0.9, 9.9, 99.9, 0], atol=1e-12
    )
    # A wild forecast stays a number.
    assert log.to_units(np.array([50.0]))[0] == pytest.approx(0.1 * (1000**1.5 - 1))
    dbz = Scaling(5, 60, "dBZ", "dbz")
    np.testing.assert_allclose(dbz.to_network(np.array([-32, 5, 16, 60, 80])), [0, 0, 0.2, 1, 1])
    np.testing.assert_allclose(dbz.to_units(np.array([-1, 0, 0.2, 1, 2])), [5, 5, 16, 60, 60])
    standard = Scaling.from_moments(
        Moments().plus(np.array([1.0, 3.0])), "K", "standard"
    )  # mean 2, deviation 1
    assert (standard.low, standard.high) == (-2, 6)
    assert standard.to_network(np.array([2.0]))[0] == 0.5
    minmax = fit(np.array([1.0, 3.0, np.nan, np.inf]))
    assert (minmax.low, minmax.high, minmax.kind) == (1, 3, "minmax")
    assert minmax.to_network(np.array([5.0]))[0] == 2
    assert minmax.bounds == (-math.inf, math.inf)
    assert Scaling(0, 255).bounds == (0, 255)


@kinds
def test_fitted_in_chunks_equals_fitted_at_once(kind: str) -> None:
    frames = RANDOM.normal(280, 5, (40, 1, 6, 7)).astype(np.float32)
    frames[RANDOM.random(frames.shape) < 0.2] = np.nan
    moments = sum((Moments().plus(frames[k : k + 7]) for k in range(0, 40, 7)), Moments())
    at_once, fitted = fit(frames, kind=kind), Scaling.from_moments(moments, kind=kind)
    assert (fitted.low, fitted.high) == pytest.approx((at_once.low, at_once.high))


def test_what_needs_no_fitting_takes_any_frames() -> None:
    assert fit(np.zeros(5), kind="log") == Scaling(0.1, 100, "mm/h", "log")
    assert fit(np.array([0.0, 240.0]), "mm/h", "log").high == 240
    with pytest.raises(ValueError, match="two different finite values"):
        fit(np.array([1.0, 1.0, np.nan]))


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ("log", "log"),
        ({"kind": "standard"}, "standard"),
        ({"low": 0, "high": 5}, Scaling(0, 5)),
        ({"low": 5, "high": 60, "kind": "dbz", "units": "dBZ"}, EACH["dbz"]),
        (EACH["log"], EACH["log"]),
    ],
)
def test_what_an_option_says(given: object, result: object) -> None:
    assert scaling_from(given) == result  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("logarithm", "choose range, minmax"),
        ("range", "needs both low and high"),
        ({"low": 3}, "both low and high"),
        ({"lo": 3, "high": 4}, "did you mean low"),
        ({"low": 3, "high": 3}, "needs finite low < high"),
        ({"low": 0, "high": 3, "inputs": [[3, 3]]}, "needs finite low < high, not 3"),
        ({"low": 0, "high": 3, "kind": "log"}, "low > 0"),
    ],
)
def test_what_is_no_scaling(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scaling_from(given)  # type: ignore[arg-type]


def test_scales_of_inputs_are_stored_where_there_are_any() -> None:
    scaling = Scaling(250, 300, "K", inputs=((0, 2000), (-1, 1)))
    assert Scaling(**json.loads(json.dumps(scaling.config()))) == scaling
    assert "inputs" not in Scaling().config()
