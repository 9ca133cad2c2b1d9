"""examples/scenes: a user's Dataset of generated clips, by its import path; its keys, ranges, and
motion that is what the scene says of it.
"""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from examples.scenes import Scenes
from foreframe.cli import main

PATH = "examples.scenes.Scenes"


@pytest.mark.parametrize("kind", ["film", "rain"])
def test_a_clip_is_a_function_of_its_key(kind: str) -> None:
    sizes = {"kind": kind, "canvas": 32, "length": 5, "clean": True}
    data = Scenes("train", clips=50, **sizes)
    assert torch.equal(data[3, 7], Scenes("train", clips=50, **sizes)[3, 7])
    assert torch.equal(data[7], data[0, 7])
    assert torch.equal(data[-1], data[49])
    assert not torch.equal(data[7], data[3, 7])
    assert not torch.equal(data[7], Scenes("train", clips=50, seed=1, **sizes)[7])
    fixed = Scenes("train", clips=50, fixed=True, **sizes)
    assert torch.equal(fixed[7], fixed[3, 7])
    test = Scenes("test", **sizes)
    assert torch.equal(test[7], test[3, 7])
    assert not torch.equal(test[7], Scenes("validation", **sizes)[7])
    with pytest.raises(IndexError):
        data[50]


@pytest.mark.parametrize(("kind", "channels"), [("film", 1), ("film", 3), ("rain", 1)])
def test_bytes_hold_the_same_clips_on_any_canvas(kind: str, channels: int) -> None:
    data = Scenes(kind=kind, canvas=(37, 60), channels=channels, length=4)
    clips = torch.stack([data[k] for k in range(6)])
    assert clips.shape == (6, 4, channels, 37, 60)
    assert clips.dtype == torch.float32
    assert torch.equal(clips, data.as_uint8(range(6)).float() / 255)
    assert sum(clip.std() > 0 for clip in clips) > 3  # a small part of a dry day may be dry


def test_a_command_takes_it(tmp_path, capsys) -> None:
    output = tmp_path / "scene.gif"
    words = ["data", "--data", PATH, "--data_args.canvas", "[24,32]", "--past", "2"]
    assert main([*words, "--future", "2", "--output", str(output)]) == 0
    assert output.is_file()
    assert main(["data", "--data", PATH, "--data_args.canvas", "9"]) == 2
    assert "at least 16x16, not 9x9" in capsys.readouterr().err


def test_frames_move_as_the_truth_says() -> None:
    """The next frame, carried back by the motion (scipy's cubic interpolation), is this frame
    wherever it is still seen; without the motion it is far from it.
    """
    data = Scenes("validation", clean=True, channels=3, canvas=(48, 64), length=3)
    rows, columns = np.mgrid[:48, :64]
    carried, left, seen = [], [], []
    for key in range(10):
        clip = data[key].numpy()
        moved, visible = data.motion(key)
        for t in range(2):
            places = [rows + moved[t, 1], columns + moved[t, 0]]
            on = visible[t] > 0
            for now, later in zip(clip[t], clip[t + 1], strict=True):
                back = map_coordinates(later, places, order=3, mode="nearest")
                carried.append(np.square(back - now)[on].sum())
                left.append(np.square(later - now)[on].sum())
                seen.append(on.mean())
    assert np.mean(seen) > 0.75
    assert math.sqrt(sum(carried) / sum(seen) / rows.size) < 0.009  # 0.0016 is rounding to 1/255
    assert sum(carried) < 0.2 * sum(left)


@pytest.mark.slow
def test_rain_is_like_rain() -> None:
    """Dry shares and rates about those of radar in Finland, the Netherlands and Switzerland."""
    data = Scenes("validation", "rain")
    rate = data.scaling.to_units(torch.stack([data[k] for k in range(24)])).numpy()
    assert rate.min() == 0
    assert rate[rate > 0].min() > 0.04
    assert 0.7 < np.median((rate == 0).mean((1, 2, 3, 4))) < 0.92
    assert 4 < np.median(rate.max((1, 2, 3, 4))) < 40


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"split": "dev"}, "split 'dev' is unknown"),
        ({"kind": "snow"}, "kind 'snow' of scenes is unknown; choose film, rain"),
        ({"channels": 2}, "1 channel, grey, or 3, colour, not 2"),
        ({"kind": "rain", "channels": 3}, "rain has 1 channel, not 3"),
        ({"canvas": [64]}, "canvas is one number or two"),
        ({"length": 0}, "at least 1"),
        ({"canvas": 5000}, "smaller canvas or length"),
    ],
)
def test_bad_choices_are_told_in_one_line(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        Scenes(**bad)
    assert "\n" not in str(told.value)
