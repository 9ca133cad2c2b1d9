"""Pictures hold what they should: read back pixel by pixel."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageSequence

from foreframe.models import BASELINES
from foreframe.visuals import (
    Paint,
    animation,
    curves_png,
    gif_bytes,
    strip,
    strip_of_members,
)
from foreframe.visuals.strip import GREY, ORANGE, animation_frames


def frames(n: int, level: float, c: int = 1) -> np.ndarray:
    return np.full((n, c, 64, 64), level, np.float32)


@pytest.fixture
def texts(monkeypatch) -> list[str]:
    """All that is written into pictures."""
    texts: list[str] = []
    real = ImageDraw.ImageDraw.text

    def text(self, at, text, *rest, **how) -> None:
        texts.append(text)
        real(self, at, text, *rest, **how)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return texts


def captions(texts: list[str]) -> list[str]:
    return [text for text in texts if not text.strip("+-0123456789")]


def test_strip_rows_are_truth_forecast_and_error() -> None:
    forecast = frames(2, 0.5)
    forecast[:, :, :, :8] = 0  # an error of 1: white, as the label says
    picture = strip(frames(3, 0.2), forecast, frames(2, 1.0))
    left = picture.shape[1] - 5 * 71
    rows, columns = [16 + 71 * r + 34 for r in range(3)], [left + 71 * t + 34 for t in range(5)]
    levels = [
        [round(float(picture[row, column, 0]) / 255, 1) for column in columns] for row in rows
    ]
    # The past has no error.
    assert levels == [
        [0.2, 0.2, 0.2, 1.0, 1.0],
        [0.2, 0.2, 0.2, 0.5, 0.5],
        [0.1, 0.1, 0.1, 0.5, 0.5],
    ]
    edge = [tuple(picture[row - 33, columns[-1]]) for row in rows]
    assert edge == [GREY, ORANGE, ORANGE]  # only what was forecast is orange


@pytest.mark.parametrize(
    ("most", "paint", "white"),
    [
        (0.048, Paint(), "0.05 of 1"),  # a film's errors are some hundredths
        (1.6, Paint(), "1 of 1"),  # no more than pictures can differ by
        (140.0, Paint(low=0.0, high=255.0), "200 of 255"),
        (30.0, Paint("radar", units="mm/h"), "50 mm/h"),
        (0.0, Paint(low=0.0, high=10.0), "1 of 10"),
        (np.nan, Paint(low=0.0, high=10.0), "1 of 10"),
    ],
)
def test_the_white_of_errors_is_a_round_number(most, paint, white, texts) -> None:
    truth = np.zeros((2, 1, 64, 64), np.float32)
    off = np.linspace(0, most, 64, dtype=np.float32)
    picture = strip(truth, truth + off, truth, paint=paint)
    more = "" if white == "1 of 1" else "\nand more"
    assert f"|forecast - truth|\nwhite: {white}{more}" in texts
    if paint == Paint():
        shown = picture[16 + 2 * 71 + 34, -69:-5, 0]
        np.testing.assert_allclose(
            shown, np.clip(off / float(white.split()[0]), 0, 1) * 255, atol=1
        )


def test_a_long_strip_goes_on_in_further_rows_that_say_what_they_hold(texts) -> None:
    assert strip(frames(3, 0.2), frames(9, 0.5)).shape[0] < 100
    short = strip(frames(3, 0.2), frames(9, 0.5), frames(9, 1.0))
    assert [text for text in texts if "past" in text] == [
        "past,\nforecast",
        "past,\ntruth",
        "past,\nforecast",
    ]
    texts.clear()
    long = strip(frames(20, 0.2), frames(39, 0.5), frames(39, 1.0))
    assert short.shape[1] < long.shape[1] <= 1600
    # The past once, and twice truth, forecast and error.
    words = [text.split("\n")[0] for text in texts if text.strip("+-0123456789")]
    assert words == ["past", *["truth", "forecast", "|forecast - truth|"] * 2]
    wide = np.full((20, 1, 256, 256), 0.5, np.float32)
    several = next(iter(animation_frames(wide, {str(k): wide for k in range(5)})))
    assert max(strip(wide, wide).shape[1], several.shape[1]) <= 1600


def test_a_strip_of_many_large_frames_shows_some_spread_over_the_horizon(texts) -> None:
    large = np.random.default_rng(0).random((4, 10, 1, 180, 320))
    picture = strip_of_members(large[0], large, large[0])
    assert max(picture.shape[:2]) <= 1600
    assert captions(texts) == ["0", "+1", "+4", "+7", "+10"]
    assert "past,\ntruth\n4 of 10 shown" in texts


@pytest.mark.parametrize(
    ("steps", "shown"), [(10, range(1, 11)), (12, (3, 6, 9, 12)), (20, range(2, 21, 2))]
)
def test_lead_times_of_a_strip_are_evenly_spaced_and_fill_their_rows(steps, shown, texts) -> None:
    film = np.random.default_rng(0).random((steps, 3, 180, 320)).astype(np.float32)
    strip(film[:10], film, film)
    assert captions(texts) == ["-4", "-3", "-2", "-1", "0", *(f"+{lead}" for lead in shown)]


@pytest.mark.parametrize("with_truth", [False, True])
def test_members_lie_below_each_other(with_truth: bool, texts) -> None:
    members = np.random.default_rng(0).random((8, 2, 1, 16, 16)) + 270
    came = members[0] if with_truth else None
    strip_of_members(members[0], members, came, paint=Paint("viridis", 270, 271, "K"))
    mean, spread = "mean of\n8 members", "spread\nwhite: 0.5 K\nand more"
    first = ["past,\ntruth", mean] if with_truth else [f"past,\n{mean}"]
    rows = [*first, spread, "member 1", "member 2", "member 3"]
    assert [text for text in texts if text in rows] == rows


def test_gif_has_colours_near_and_marks_the_forecast() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None, None, None].repeat(64, 2).repeat(2, 0)
    ramp[1] *= 0.7
    shown = animation(ramp, 1 - ramp, ramp)
    gif = Image.open(io.BytesIO(gif_bytes(shown, fps=10)))
    assert gif.n_frames == 4
    assert gif.info["duration"] == 100
    assert gif.info["loop"] == 0
    for picture, expected in zip(ImageSequence.Iterator(gif), shown, strict=True):
        difference = np.abs(np.asarray(picture.convert("RGB")).astype(int) - expected)
        assert np.quantile(difference, 0.99) <= 8
    middle, right = shown.shape[1] // 2, shown.shape[2] // 2
    assert tuple(shown[0, middle, right]) == GREY
    assert tuple(shown[3, middle, right]) == ORANGE
    assert tuple(shown[3, middle, 0]) == GREY  # the truth on the left


def test_films_say_which_is_which_and_when(texts) -> None:
    past = np.zeros((2, 1, 8, 8), np.float32)
    assert len(list(animation_frames(past, {"mean": past, "member 1": past}))) == 4
    assert list(filter(None, texts)) == [
        *("-1\npast", "-1\npast", "0\npast", "0\npast"),
        *("+1\nmean", "+1\nmember 1", "+2\nmean", "+2\nmember 1"),
    ]


def test_a_name_has_one_colour_in_every_report(monkeypatch) -> None:
    figures: list[Figure] = []
    real = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *to, **how: figures.append(self) or real(self, *to, **how)
    )
    colours: dict[str, set[str]] = {}
    for shown in (["model", "black", "mine"], ["black", "mine"], ["model", "mine"]):
        picture = curves_png({"MSE": {name: [1, 2] for name in shown}}, names=["model", *BASELINES])
        assert Image.open(io.BytesIO(picture)).width == 500
        for name, line in zip(shown, figures[-1].axes[0].lines, strict=True):
            colours.setdefault(name, set()).add(line.get_color())
    assert len(set.union(*colours.values())) == len(colours) == 3


def test_equal_frames_still_count() -> None:
    """A forecast that stands still must not shrink to fewer frames."""
    shown = animation(frames(4, 0.5), frames(4, 0.5))
    gif = Image.open(io.BytesIO(gif_bytes(shown[:, 40:], fps=5)))
    total = sum(picture.info["duration"] for picture in ImageSequence.Iterator(gif))
    assert total == 8 * 200
