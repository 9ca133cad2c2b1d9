"""Values get the colours that the scale states; pictures keep their size, and mark NaN."""

import numpy as np
import pytest
from PIL import Image

from foreframe.visuals import Paint, animation, paint_for, strip
from foreframe.visuals.colours import (
    INK,
    MISSING,
    PAPER,
    RAIN_COLOURS,
    RAIN_STEPS,
    _palette,
    with_scale,
)
from foreframe.visuals.grid import fit


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[None, None]


def scale(paint: Paint, height: int) -> np.ndarray:
    return with_scale(Image.new("RGB", (0, height), PAPER), paint)


def test_rain_changes_colour_at_its_steps() -> None:
    shown = Paint("radar", units="mm/h")(row(0, 0.09, *RAIN_STEPS, 1e4, np.nan))[0]
    expected = [PAPER, PAPER, *RAIN_COLOURS, RAIN_COLOURS[-1], MISSING]
    assert [tuple(colour) for colour in shown] == expected


def test_a_rain_flux_is_shown_in_mm_per_hour() -> None:
    paint = paint_for("auto", 0, 1, "kg m-2 s-1")
    assert (paint.name, paint.shown_units) == ("radar", "mm/h")
    assert tuple(paint(row(6 / 3600))[0, 0]) == RAIN_COLOURS[5]


AUTO = {"": "grey", "m s-1": "viridis", "K": "temperature", "degC": "temperature"}
AUTO |= dict.fromkeys(("mm/h", "mm h**-1", "kg m-2 s-1", "dBZ"), "radar")


@pytest.mark.parametrize(("units", "name"), AUTO.items())
def test_auto_chooses_by_the_units(units, name) -> None:
    assert paint_for("auto", 0, 1, units).name == name


def test_a_named_map_is_matplotlibs() -> None:
    from matplotlib import colormaps

    shown = Paint("viridis", 10, 20, "m")(row(10, 15, 20))[0].astype(int)
    assert np.abs(shown - np.array(colormaps["viridis"]([0.0, 0.5, 1.0]))[:, :3] * 255).max() <= 2


def test_wrong_paints_say_the_cure() -> None:
    with pytest.raises(ValueError, match="no colours named 'virids'; did you mean viridis"):
        Paint("virids")
    with pytest.raises(ValueError, match="low must be below high"):
        Paint("grey", 1, 0)
    assert paint_for("temperature", 280, 280, "K").low < 280  # a constant field is no mistake


@pytest.mark.parametrize("name", ["radar", "temperature", "viridis", "gray", "magma"])
def test_no_palette_holds_the_grey_of_missing_values(name) -> None:
    assert np.abs(_palette(name).astype(int) - MISSING).max(axis=1).min() >= 5


def test_grey_takes_any_range_and_three_channels_are_colours() -> None:
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(Paint("grey", 0, 255)(levels[None, None])[0, :, 1], levels)
    rgb = np.random.default_rng(0).random((3, 4, 4), dtype=np.float32)
    assert (Paint()(rgb) == (rgb * 255).round().transpose(1, 2, 0)).all()


def test_the_scale_shows_all_colours_from_low_at_the_bottom() -> None:
    bar = scale(Paint("radar", units="mm/h"), 400)[:, 14]
    order = [tuple(colour) for colour in bar[np.r_[True, (bar[1:] != bar[:-1]).any(axis=1)]]]
    assert [colour for colour in order if colour in RAIN_COLOURS] == list(RAIN_COLOURS[::-1])
    assert scale(Paint(), 100).shape == (100, 0, 3)
    assert (scale(Paint("viridis", 0, 1, "m"), 200) == MISSING).all(axis=-1).any()


def test_ticks_lie_at_their_values_and_a_heading_has_room() -> None:
    picture = scale(Paint("viridis", 0, 100, "m"), 400)
    marks = np.flatnonzero((picture[:, 24] == INK).all(axis=-1))  # just right of the bar
    low, high = (
        np.flatnonzero((picture[:, 14] == of).all(-1)) for of in _palette("viridis")[::199]
    )
    parts = (low[-1] + 1 - marks[::-1]) / (low[-1] + 1 - high[0])
    np.testing.assert_allclose(parts, [0, 0.2, 0.4, 0.6, 0.8, 1], atol=0.01)
    headed = scale(Paint("viridis", 0, 100, "m", ("280 K", "or more,", "chance")), 400)
    assert headed.shape[1] > picture.shape[1]
    bars = [np.ptp(of[:, 12].astype(int), axis=1) > 20 for of in (picture, headed)]
    assert bars[0].sum() - bars[1].sum() == pytest.approx(32, abs=3)  # two lines less of colours


def test_shrinking_averages_what_is_known() -> None:
    frame = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    np.testing.assert_allclose(fit(frame, 1, 4)[0], frame.reshape(4, 2, 4, 2).mean(axis=(1, 3)))
    frame[0, 0, 0] = np.nan
    frame[0, 4:, 4:] = np.nan
    shrunk = fit(frame, 1, 4)[0]
    assert shrunk[0, 0] == pytest.approx(np.nanmean(frame[0, :2, :2]))
    assert np.isnan(shrunk[2:, 2:]).all()
    assert np.isfinite(shrunk).sum() == 12


@pytest.mark.parametrize("size", [(3, 5), (18, 432), (200, 7)])
def test_odd_shapes_are_drawn_and_films_keep_one_size(size) -> None:
    """With missing values or without, and however long the times are."""
    field = np.random.default_rng(0).random((3, 1, *size), dtype=np.float32)
    paint = Paint("viridis", 0, 1, "m s-1")
    times = ["2026-01-01 00:00", "short", "x", "y", "z", "2026-01-01 00:05:30"]
    # Room for the scale.
    assert strip(field, field, field, paint=paint, times=times).shape[0] >= 120
    film = animation(field, field, field, paint=paint, times=times)
    assert film.shape[1] >= 120
    holed = np.where(field < 0.5, np.nan, field)
    assert animation(holed, holed, holed, paint=paint, times=list("abcdef")).shape == film.shape
