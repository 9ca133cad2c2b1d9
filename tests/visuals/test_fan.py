"""The chart of a forecast at one place draws what it is given."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from foreframe.visuals.fan import Fan, _draw, fan_png

PAST = np.array([3.0, 4.0, 5.0])
MEMBERS = np.random.default_rng(0).random((16, 4)) * 4
TRUTH = np.array([1.0, 2.0, np.nan, np.nan])


def drawn(fan: Fan) -> tuple[dict, dict]:
    """What an axis holds: lines and bands by their labels."""
    axis = Figure().subplots()
    _draw(axis, fan, np.arange(1 - len(fan.past), fan.members.shape[1] + 1))
    lines = {line.get_label(): line.get_xydata() for line in axis.lines}
    bands = {band.get_label(): band.get_paths()[0].vertices for band in axis.collections}
    return lines, bands


def test_bands_hold_their_share_of_the_members() -> None:
    lines, bands = drawn(Fan("rain in mm/h", PAST, MEMBERS, TRUTH))
    np.testing.assert_allclose(lines["measured"], np.c_[[-2, -1, 0], PAST])
    median = np.median(MEMBERS, axis=0)
    np.testing.assert_allclose(lines["their median"], np.c_[range(5), [5, *median]])
    np.testing.assert_allclose(lines["what came"], np.c_[range(5), [5, *TRUTH]])
    assert list(bands) == ["90 % of 16 members", "50 % of 16 members"]
    for band, (low, high) in zip(bands.values(), ((0.05, 0.95), (0.25, 0.75)), strict=True):
        at_last = band[band[:, 0] == 4][:, 1]
        ends = np.quantile(MEMBERS[:, -1], [low, high])
        np.testing.assert_allclose([at_last.min(), at_last.max()], ends)


def test_one_forecast_is_a_line() -> None:
    lines, bands = drawn(Fan("value", PAST, MEMBERS[:1], np.full(4, np.nan)))
    np.testing.assert_allclose(lines["forecast"][:, 1], [5, *MEMBERS[0]])
    assert "what came" not in lines
    assert not bands


def test_few_members_are_a_line_each() -> None:
    axis = Figure().subplots()
    _draw(axis, Fan("value", PAST, MEMBERS[:7], TRUTH), np.arange(-2, 5))
    assert not axis.collections
    thin = axis.lines[:7]
    for line, member in zip(thin, MEMBERS, strict=False):
        np.testing.assert_allclose(line.get_ydata(), [5, *member])
    _, said = axis.get_legend_handles_labels()
    assert said == ["each of 7 members", "measured", "what came"]
    assert next(iter(drawn(Fan("value", PAST, MEMBERS[:8], TRUTH))[1])) == "90 % of 8 members"


def test_a_legend_in_other_words() -> None:
    lines, _ = drawn(Fan("chance", PAST, MEMBERS[:1], TRUTH, ("dry or wet", "share", "later")))
    assert {"dry or wet", "share", "later"} <= set(lines)


CFTIME = pytest.importorskip("cftime")
DATES = np.datetime64("2026-01-01T00:00", "ns") + np.arange(7) * np.timedelta64(5, "m")
OTHER = np.array([CFTIME.DatetimeNoLeap(2026, 2, 27 + k // 4, 6 * (k % 4)) for k in range(7)])


@pytest.mark.parametrize("times", [None, DATES, np.arange(7) / 25, OTHER], ids=str)
def test_every_kind_of_time_and_values_that_are_missing(times: np.ndarray | None) -> None:
    gone = np.full(4, np.nan)
    whole = Fan("rain in mm/h", PAST, MEMBERS, TRUTH)
    empty = Fan("snow", np.full(3, np.nan), np.full((16, 4), np.nan), gone)
    one, two = (
        Image.open(io.BytesIO(fan_png("here", fans, times))) for fans in ([whole], [whole, empty])
    )
    assert two.height > 1.5 * one.height
    assert len(np.unique(np.asarray(one.convert("RGB")).reshape(-1, 3), axis=0)) > 100
