"""Pictures hold what they should: read back pixel by pixel."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from foreframe.models import BASELINES
from foreframe.visuals import animation, gif_bytes, strip, write_gif, write_png
from foreframe.visuals.curves import colours_of
from foreframe.visuals.strip import GREY, ORANGE, animation_frames


def frames(n: int, level: float, c: int = 1) -> np.ndarray:
    return np.full((n, c, 64, 64), level, np.float32)


def test_strip_rows_are_truth_forecast_and_error() -> None:
    forecast = frames(2, 0.5)
    forecast[:, :, :, :8] = 0  # an error of 1: white, as the label says
    picture = strip(frames(3, 0.2), forecast, frames(2, 1.0))
    rows = [16 + r * 70 + 32 for r in range(3)]
    columns = [100 + t * 67 + 32 + (12 if t >= 3 else 0) for t in range(5)]
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


def test_small_errors_of_a_film_can_be_seen() -> None:
    """A film's errors are some hundredths; a row whose white is 1 would be black."""
    truth = np.random.default_rng(0).uniform(0.3, 0.7, (2, 1, 64, 64)).astype(np.float32)
    off = np.linspace(0, 0.048, 64, dtype=np.float32)
    error = strip(truth, truth + off, truth)[16 + 2 * 70 : 16 + 2 * 70 + 64, -67:-3]
    np.testing.assert_allclose(error[32, :, 0], off / 0.05 * 255, atol=1)


def test_strip_without_truth_has_one_row() -> None:
    assert strip(frames(3, 0.2), frames(9, 0.5)).shape[0] < 100


def test_a_long_strip_goes_on_in_further_rows() -> None:
    short = strip(frames(3, 0.2), frames(9, 0.5), frames(9, 1.0))
    long = strip(frames(30, 0.2), frames(39, 0.5), frames(39, 1.0))
    assert short.shape[1] < long.shape[1] <= 1600
    # The first line has no forecasts, so no row of errors either.
    assert long.shape[0] == 4 * short.shape[0] - 70
    wide = np.full((20, 1, 256, 256), 0.5, np.float32)
    several = next(iter(animation_frames(wide, {str(k): wide for k in range(5)})))
    assert max(strip(wide, wide).shape[1], several.shape[1]) <= 1600


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
        assert difference.max() <= 8
    assert tuple(shown[0, 0, -1]) == GREY
    assert tuple(shown[3, 0, -1]) == ORANGE
    assert tuple(shown[3, 0, 0]) == GREY  # the truth on the left


def test_a_film_of_several_forecasts_says_which_is_which_without_times_too() -> None:
    past = np.zeros((2, 1, 8, 8), np.float32)
    several = list(animation_frames(past, {"mean": past, "member 1": past}))
    one = animation(past, past)
    assert len(several) == len(one) == 4
    assert several[0].shape[0] > one.shape[1]  # a band with the captions above
    assert several[0].shape == several[3].shape
    assert (several[0] != several[1]).any()
    assert (several[2] != several[3]).any()


def test_a_name_has_one_colour_in_every_report() -> None:
    names = ("model", *BASELINES)
    whole = colours_of([*names, "mine", "yours"], names)
    assert len(set(whole.values())) == len(whole) == len(names) + 2
    part = colours_of(["model", "mean", "persistence", "yours", "cycle", "black"], names)
    assert all(whole[name] == colour for name, colour in part.items() if name != "yours")
    assert part["yours"] not in {whole[name] for name in part if name != "yours"}


def test_equal_frames_still_count() -> None:
    """A forecast that stands still must not shrink to fewer frames."""
    shown = animation(frames(4, 0.5), frames(4, 0.5))
    gif = Image.open(io.BytesIO(gif_bytes(shown, fps=5)))
    total = sum(picture.info["duration"] for picture in ImageSequence.Iterator(gif))
    assert total == 8 * 200


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    write_png(tmp_path / "deep" / "a.png", strip(frames(2, 0.1), frames(2, 0.2)))
    write_gif(tmp_path / "a.gif", animation(frames(2, 0.1), frames(2, 0.2)))
    for name in ("deep/a.png", "a.gif"):
        Image.open(tmp_path / name).verify()
    before = (tmp_path / "a.gif").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ValueError, match="No space left on device"):
        write_gif(tmp_path / "a.gif", animation(frames(2, 0.1), frames(2, 0.2)))
    assert (tmp_path / "a.gif").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "deep"]
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot make the folder"):
        write_png(tmp_path / "file" / "a.png", strip(frames(2, 0.1), frames(2, 0.2)))
