"""Drawn scenes: keys, ranges, and motion that is what the scene says of it."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.utils.data import DataLoader

from foreframe.cli import main
from foreframe.data import Scenes, collate


def test_a_clip_is_a_function_of_its_key() -> None:
    data = Scenes("train", clips=50, length=5)
    batch = data.batch([(0, 7), (3, 7), (0, 9)])
    assert batch.shape == (3, 5, 1, 64, 64)
    assert torch.equal(batch[0], data[7])
    assert torch.equal(batch[2], data[9])
    assert torch.equal(batch[1], Scenes("train", clips=50, length=5)[3, 7])
    assert torch.equal(data[-1], data[49])
    assert not torch.equal(batch[0], batch[1])
    assert not torch.equal(data[7], Scenes("train", clips=50, length=5, seed=1)[7])
    fixed = Scenes("train", clips=50, length=5, fixed=True)
    assert torch.equal(fixed[7], fixed[3, 7])
    test = Scenes("test", length=5)
    assert torch.equal(test[7], test[3, 7])
    assert not torch.equal(test[7], Scenes("validation", length=5)[7])


def test_the_same_clips_on_any_number_of_workers_and_in_any_order() -> None:
    data = Scenes("test", clips=9, length=3)
    alone = list(DataLoader(data, batch_size=4, collate_fn=collate))
    shared = list(DataLoader(data, batch_size=4, collate_fn=collate, num_workers=2))
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    assert torch.equal(data.batch(range(9)[::-1]).flip(0), torch.cat(alone))


def test_no_random_state_outside_is_touched() -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    Scenes(length=3).batch(range(3))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("canvas", [16, (37, 90)])
def test_bytes_hold_the_same_clips_on_any_canvas(channels: int, canvas) -> None:
    data = Scenes(canvas=canvas, channels=channels, length=4)
    clips, bytes_ = data.batch(range(12)), data.compact(range(12))
    height, width = (canvas, canvas) if isinstance(canvas, int) else canvas
    assert clips.shape == (12, 4, channels, height, width)
    assert clips.dtype == torch.float32
    assert bytes_.dtype == torch.uint8
    assert torch.equal(clips, bytes_.float() / 255)
    assert all(clip.std() > 0 for clip in clips)
    if channels == 3:
        assert (clips[:, :, 0] != clips[:, :, 2]).float().mean() > 0.5


def test_films_are_as_various_as_films() -> None:
    clips = Scenes("validation").batch(range(80))[:, :, 0].numpy()
    means, spreads = clips.mean((1, 2, 3)), clips.std((1, 2, 3))
    assert np.quantile(means, 0.1) < 0.3
    assert np.quantile(means, 0.9) > 0.6
    assert np.quantile(spreads, 0.2) < 0.1
    assert np.quantile(spreads, 0.8) > 0.15
    step = np.square(np.diff(clips, axis=1)).mean((1, 2, 3))
    assert np.quantile(step, 0.1) < 1e-4
    assert 1e-3 < np.quantile(step, 0.9) < 3e-2


def test_the_camera_stands_still_in_half_of_the_films() -> None:
    """The corners of most backgrounds are free of things that move."""
    data = Scenes("validation", clean=True, length=8)
    still = 0
    for key in range(60):
        moved, _ = data.motion(key)
        edges = np.concatenate([moved[..., 0, :], moved[..., -1, :]], axis=-1)
        still += np.median(np.abs(edges)) == 0
    assert 0.3 < still / 60 < 0.7


@pytest.mark.parametrize("channels", [1, 3])
def test_frames_move_as_the_truth_says(channels: int) -> None:
    """The next frame, carried back by the motion (scipy's cubic interpolation), is this frame
    wherever it is still seen; without the motion it is far from it.
    """
    data = Scenes("validation", clean=True, channels=channels, canvas=(48, 64), length=6)
    rows, columns = np.mgrid[:48, :64]
    carried, left, seen = [], [], []
    for key in range(24):
        clip = data[key].numpy()
        moved, visible = data.motion(key)
        assert moved.shape == (5, 2, 48, 64)
        assert set(np.unique(visible)) <= {0, 1}
        for t in range(5):
            for now, later in zip(clip[t], clip[t + 1], strict=True):
                places = [rows + moved[t, 1], columns + moved[t, 0]]
                back = map_coordinates(later, places, order=3, mode="nearest")
                on = visible[t] > 0
                carried.append(np.square(back - now)[on].sum())
                left.append(np.square(later - now)[on].sum())
                seen.append(on.mean())
    count = sum(seen) * 48 * 64
    assert np.mean(seen) > 0.75
    assert math.sqrt(sum(carried) / count) < 0.009  # of which 0.0016 is rounding to 1/255
    assert sum(carried) < 0.1 * sum(left)


def test_what_is_hidden_is_told_apart() -> None:
    """Where something in front arrives, what was there is not seen any more: there the frames
    differ, though the motion is told.
    """
    data = Scenes("validation", clean=True, length=4)
    hidden = wrong = 0.0
    rows, columns = np.mgrid[:64, :64]
    for key in range(40):
        clip = data[key][:, 0].numpy()
        moved, visible = data.motion(key)
        y, x = rows + moved[0, 1], columns + moved[0, 0]
        inside = (y >= 0) & (x >= 0) & (y <= 63) & (x <= 63) & (visible[0] == 0)
        error = np.abs(map_coordinates(clip[1], [y, x], order=1, mode="nearest") - clip[0])
        hidden, wrong = hidden + inside.sum(), wrong + error[inside].sum()
    assert hidden > 1000
    assert wrong / hidden > 0.02


def test_clean_films_have_the_same_scene_without_grain() -> None:
    clean = Scenes("test", clean=True, length=3).batch(range(20))
    noisy = Scenes("test", length=3).batch(range(20))
    rough = [np.abs(np.diff(clips.numpy(), 2, axis=1)).mean() for clips in (clean, noisy)]
    assert rough[1] > 2 * rough[0]
    pairs = zip(clean.flatten(1).numpy(), noisy.flatten(1).numpy(), strict=True)
    assert np.median([np.corrcoef(a, b)[0, 1] for a, b in pairs]) > 0.9


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"split": "dev"}, "split 'dev' is unknown"),
        ({"kind": "snow"}, "kind 'snow' of scenes is unknown; choose film"),
        ({"channels": 2}, "1 channel, grey, or 3, colour, not 2"),
        ({"canvas": 12}, "at least 16x16, not 12x12"),
        ({"canvas": [64]}, "canvas is one number or two"),
        ({"length": 0}, "at least 1"),
        ({"canvas": 5000}, "draw shorter or smaller ones"),
        ({"clips": 10**9}, "at most"),
    ],
)
def test_bad_choices_are_told_in_one_line(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        Scenes(**bad)
    assert "\n" not in str(told.value)


def test_an_index_outside_the_set() -> None:
    with pytest.raises(IndexError):
        Scenes("test", clips=5)[5]


def test_scenes_have_a_name_on_the_command_line(tmp_path, capsys) -> None:
    output = tmp_path / "scene.gif"
    words = ["data", "--data", "scenes", "--data_args.canvas", "[24,32]", "--past", "2"]
    assert main([*words, "--future", "2", "--output", str(output)]) == 0
    assert "clip 0: T=4 C=1 H=24 W=32" in capsys.readouterr().out
    assert output.is_file()
    assert main([*words, "--reading.size", "[8,8]"]) == 2
    assert "scenes is drawn, not read" in capsys.readouterr().err
    assert main(["data", "--data", "scenes", "--data_args.canvas", "9"]) == 2
