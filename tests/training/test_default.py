"""The default recipe: what it chooses of a recording, that it begins at the best free baseline and
never ends worse, and that what it chose is options as any other.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from trainings import last, same_to_the_bit

import foreframe
from foreframe import Window
from foreframe.data import Recordings
from foreframe.data.data_options import ReadOptions, SplitOptions
from foreframe.data.splits import split_clips
from foreframe.models import build_model
from foreframe.training.choices import Recording, choices, shares_for, working_size
from foreframe.training.default import choose_defaults, look_at, verdict
from foreframe.training.fit import verdict_on_test
from foreframe.training.recipes import explicit_options

FILM = {"channels": 3, "colour": True, "height": 576, "width": 768}
GRID = {"pictures": False, "height": 33, "width": 49}

PICTURES = {"augment": "flips", "loss": "geometric"}
TABLE = {
    "a film of some minutes": (
        Recording("film.mp4", [[795]], **FILM),
        {"past": 10, "future": 10, "size": [96, 128]} | PICTURES,
    ),
    "36 frames without colour": (
        Recording("short.gif", [[36]], channels=3, height=96, width=96),
        {"past": 3, "future": 3, "shares": [0.443, 0.32, 0.237], "colour": "grey"} | PICTURES,
    ),
    "an hour of film": (
        Recording("long.mp4", [[90_000]], channels=1),
        {"past": 10, "future": 10, "stride": 23} | PICTURES,
    ),
    "a film of six scenes, that ends just after a cut": (
        Recording("film.mp4", [[250]], scenes=[[30, 46, 61, 50, 55, 8]], height=96, width=96),
        {"past": 10, "future": 10, "shares": [0.648, 0.218, 0.134], "cuts": True} | PICTURES,
    ),
    "a film of short scenes": (
        Recording("film.mp4", [[480]], scenes=[[12] * 40], height=96, width=96),
        {"past": 6, "future": 6, "shares": [0.774, 0.124, 0.102], "cuts": True} | PICTURES,
    ),
    "a film of scenes that are too short": (
        Recording("film.mp4", [[480]], scenes=[[5] * 96], height=96, width=96),
        {"past": 10, "future": 10, "cuts": False} | PICTURES,
    ),
    "hours of a month": (
        Recording("t2m.nc", [[744]], hours=1.0, **GRID),
        {"past": 24, "future": 24, "shares": [0.786, 0.114, 0.1]},
    ),
    "months of some years": (
        Recording("sst.nc", [[54]], hours=730.5, monthly=True, **GRID),
        {"past": 4, "future": 4, "shares": [0.536, 0.269, 0.195]},
    ),
    "a large grid": (
        Recording("rain.nc", [[2000]], pictures=False, height=700, width=800),
        {"past": 10, "future": 10, "coarsen": 6},
    ),
    "short ones, divided by folders": (
        Recording("films", [[9]] * 12, channels=1, divided=True),
        {"past": 3, "future": 3} | PICTURES,
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_is_chosen(name: str) -> None:
    recording, expected = TABLE[name]
    chosen = {choice.path[-1]: choice.value for choice in choices(recording, {})}
    assert chosen == expected


def test_a_month_is_no_step_of_28_days(tmp_path) -> None:
    frames = np.random.default_rng(0).random((60, 1, 8, 9)).astype(np.float32)
    months = np.arange("2001-01", "2006-01", dtype="datetime64[M]").astype("datetime64[ns]")
    days = months[0] + 28 * np.arange(60) * np.timedelta64(1, "D")
    for times, period in ((months, 12), (days, None)):
        np.savez(tmp_path / "sst.npz", frames=frames, times=times.astype(str))
        assert look_at(str(tmp_path / "sst.npz"), ReadOptions(), True).period == period


def test_what_was_told_is_left_alone() -> None:
    recording = Recording("film.mp4", [[795]], **FILM)
    told = {
        "past": 5,
        "loss": "mse",
        "reading": {"size": [48, 64]},
        "splits": {"augment": "none"},
    }
    chosen = {choice.path: choice.value for choice in choices(recording, told)}
    assert chosen == {("future",): 10}
    # Shares that are given may leave a split no window within scenes.
    recording, _ = TABLE["a film of six scenes, that ends just after a cut"]
    told = {"splits": {"shares": [0.8, 0.1, 0.1]}}
    chosen = {choice.path[-1]: choice.value for choice in choices(recording, told)}
    assert chosen == {"past": 10, "future": 10} | PICTURES


def test_each_line_names_its_option() -> None:
    """Every value that is not the usual one is said, with the option that sets it."""
    for recording, _ in TABLE.values():
        lines = [choice.line for choice in choices(recording, {}) if choice.line]
        assert all("(--" in line for line in lines)
        said = " ".join(lines)
        for choice in choices(recording, {}):
            assert f"--{choice.path[-1]}" in said or f".{choice.path[-1]})" in said


def scenes(seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    made: list[int] = rng.integers(3, 120, rng.integers(2, 9)).tolist()
    return made


@pytest.mark.parametrize(
    ("parts", "frames"), [([26], 2), ([54], 4), ([120], 10), *((scenes(k), 6) for k in range(5))]
)
def test_each_split_has_windows(parts: list[int], frames: int) -> None:
    """As splitting itself cuts them."""
    shares = shares_for(parts, frames, frames)
    if shares is None:
        assert sum(parts) < 150 or max(parts) < 60
        return
    clips = [foreframe.Clip(np.zeros((n, 1, 8, 8), np.uint8)) for n in parts]
    window, options = foreframe.Window(frames, frames), SplitOptions(shares=shares)
    for split in split_clips({"undecided": [clips]}, options, window).values():
        windows = sum(max(0, len(clip) - window.length + 1) for clip in split)
        assert windows > max(2, frames // 2)


def test_a_film_is_split_where_scenes_change(tmp_path, monkeypatch, capsys) -> None:
    """Unless it was told not to; a film without cuts has nothing to be split at."""
    monkeypatch.chdir(tmp_path)
    ramp = np.abs(np.arange(32) - 16) * np.ones((32, 1))
    first, second = (4 * ramp).astype(np.uint8), (255 - 9 * ramp.T).astype(np.uint8)
    for name, pictures in (("cut", (first, second)), ("whole", (first, first))):
        (tmp_path / name).mkdir()
        for t in range(80):
            moved = np.roll(pictures[t >= 40], t, axis=1)
            Image.fromarray(moved).save(tmp_path / name / f"{t:03}.png")
    assert look_at("cut").scenes == [[40, 40]]
    assert not look_at("whole").scenes
    assert not look_at("cut", cuts=False).scenes
    options, splits, _ = choose_defaults([(("data",), "cut")])
    assert options.data.reading.cuts
    assert "2 scenes, as pictures change: no window looks" in capsys.readouterr().out
    for split in ("train", "validation", "test"):
        assert {clip.name for clip in splits[split].clips} <= {"cut [1]", "cut [2]"}
        assert all(len(clip) <= 40 for clip in splits[split].clips)


def test_sizes_keep_their_shape() -> None:
    assert working_size(576, 768) == (96, 128)
    assert working_size(36, 300) == (36, 300)  # as it is: nothing is enlarged, nor cut to eights
    assert working_size(1080, 1920) == (96, 168)
    assert working_size(272, 640) == (80, 192)
    assert working_size(2160, 100) == (520, 24)
    for h, w in [(144, 176), (480, 854), (800, 1920), (1920, 1080), (100, 3000)]:
        rows, columns = working_size(h, w)
        assert columns / rows == pytest.approx(w / h, rel=0.03)
        assert rows % 8 == columns % 8 == 0


@pytest.mark.parametrize(
    ("configs", "given", "chosen"),
    [
        ([], {"data": "film.mp4"}, True),
        (["default"], {"data": "film.mp4", "hidden": 8}, True),
        ([], {"data": "film.mp4", "model": "quick"}, False),
        (["quick"], {"data": "film.mp4"}, False),
        ([], {"resume": "runs/x"}, False),
        ([], {}, False),
        ([], {"data": "moving_mnist"}, False),
        ([], {"data": "examples.scenes.Scenes"}, True),
    ],
)
def test_when_it_chooses(configs, given, chosen: bool) -> None:
    told = explicit_options(configs, [((name,), value) for name, value in given.items()])
    assert (told is not None) == chosen


def walk() -> np.ndarray:
    """Nothing to learn: each pixel goes up or down by chance, so the last frame is the best that
    can be said, and the mean of some is not.
    """
    steps = np.random.default_rng(0).normal(0, 4, (60, 16, 24))
    return (128 + np.cumsum(steps, axis=0)).clip(0, 255).round().astype(np.uint8)


SHORT = {"hidden": 4, "batch_size": 4, "picture_every": 0, "device": "cpu", "compile": False}


def first_guide(run: foreframe.Run) -> str:
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    return config["model_args"]["output"]["blend"]["guides"][0]


@pytest.mark.slow
def test_where_nothing_can_be_learnt_the_run_is_the_best_baseline(tmp_path, capsys) -> None:
    """Baselines are scored first: their table has what `evaluate` gives on validation. And the
    training ends when its patience does.
    """
    run = foreframe.fit(data=walk(), run=tmp_path / "run", epochs=50, patience=2, **SHORT)
    said = capsys.readouterr().out
    assert len(run.scores) == 3  # before the first step, and two that were no better
    assert "2 validations without a better one: the training ends" in said
    with pytest.raises(ValueError, match="has had its 2 patience"):
        foreframe.fit(resume=run, data=walk())
    lines = said.splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("scores on validation"))
    names = [line.split()[0] for line in lines[at + 1 : at + 5]]
    assert names[0] == first_guide(run)
    assert set(names) >= {"mean", "persistence", "linear_motion", "dense_motion"}
    card = run.evaluate(split="validation", baselines=["mean", "persistence"])
    for name in ("mean", "persistence"):
        mse = card["scores"][name]["openstl"]["mse"]["overall"]
        assert f"{mse:.2f}" in lines[at + 1 + names.index(name)]
    assert run.scores[0]["step"] == 0
    guide = first_guide(run)
    assert f"{guide} is the better forecast on validation" in said
    past = walk()[None, :4, None].astype(np.float32)
    forecast = run.forecaster().predict(past, 3)
    expected = build_model(guide)(torch.from_numpy(past / 255), 3).numpy()
    np.testing.assert_allclose(forecast / 255, expected, atol=1e-6)
    assert torch.load(run.folder / "checkpoints" / "best.ckpt")["global_step"] == 0


def test_what_does_not_fit_is_refused_before_the_baselines_are_scored(tmp_path, capsys) -> None:
    for options, message in (
        ({"loss": "crps"}, "loss crps needs a model that draws members"),
        ({"data_args": {"size": [8, 8]}}, "takes no argument 'size'"),
    ):
        with pytest.raises(ValueError, match=message):
            foreframe.fit(data=walk(), run=tmp_path / "run", **options)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "run").exists()


def test_what_was_learnt_is_said() -> None:
    network = build_model("guided")
    assert verdict(network, None, 2.0, 1.5).endswith("25% lower than that of dense_motion")


@pytest.mark.slow
def test_stopped_and_resumed_equals_never_stopping(tmp_path, capsys) -> None:
    """To the bit, with the validation before the first step and its patience. What was chosen is
    kept as options, and not chosen again.
    """
    film = str(tmp_path / "film.npy")
    np.save(film, walk())
    whole = foreframe.fit(data=film, run=tmp_path / "a", trainer={"max_steps": 9}, **SHORT)
    foreframe.fit(data=film, run=tmp_path / "b", trainer={"max_steps": 5}, **SHORT)
    config = yaml.safe_load((tmp_path / "b" / "config.yaml").read_text())
    assert (config["past"], config["minutes"], config["validation_clips"]) == (4, None, 40)
    assert config["splits"]["augment"] == "flips"
    capsys.readouterr()
    parts = foreframe.fit(resume=tmp_path / "b", trainer={"max_steps": 9})
    said = capsys.readouterr().out
    assert "scores on validation" not in said
    assert "before the first step" not in said
    same_to_the_bit(whole.folder, parts.folder)
    a, b = (last(run.folder)["callbacks"]["Checkpoints"] for run in (whole, parts))
    assert a == b
    steps = [row["step"] for row in whole.scores]
    assert steps == [row["step"] for row in parts.scores] == sorted(set(steps))
    assert steps[0] == 0


def brightening(folder: Path) -> str:
    """Numbered pictures, each a hundredth brighter than the one before."""
    first = np.random.default_rng(0).integers(40, 100, (16, 24))
    folder.mkdir()
    for t in range(90):
        Image.fromarray((first * 1.01**t).clip(0, 255).astype(np.uint8)).save(
            folder / f"{t:03}.png"
        )
    return str(folder)


def published_scenes(monkeypatch: pytest.MonkeyPatch, folder: Path, factor: float) -> None:
    """Weights called scenes, which forecast the last frame times a factor."""
    network = build_model("guided")
    numbers = torch.zeros(sum(network.output.parts) + 2)
    numbers[2] = 1e4  # all weight on persistence, the second guide
    numbers[7] = torch.logit(torch.tensor(factor / 2))  # behind two shifts and five levels
    with torch.no_grad():
        network.output.last.bias.copy_(numbers.repeat_interleave(4))
    foreframe.Forecaster(network, foreframe.Window(10, 10)).save(folder / "scenes")
    monkeypatch.setattr("foreframe.models.names.registered", lambda kind: {"scenes": kind})
    monkeypatch.setattr("foreframe.models.names.of_package", lambda kind, name: folder)


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "begins"), [(1.05, True), (0.8, False)])
def test_published_weights_are_begun_with_where_they_are_ahead(
    tmp_path, monkeypatch, capsys, factor: float, begins: bool
) -> None:
    published_scenes(monkeypatch, tmp_path, factor)
    few = {"batch_size": 4, "picture_every": 0, "device": "cpu", "compile": False}
    film, stopped = brightening(tmp_path / "film"), {"max_steps": 1}  # next to nothing is learnt
    run = foreframe.fit(data=film, run=tmp_path / "run", trainer=stopped, **few)
    said = capsys.readouterr().out
    first, second, *_ = said.partition("it begins at:\n")[2].splitlines()
    assert ("--weights" in first) == begins
    assert begins or "persistence" in first
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert config["weights"] == ("scenes" if begins else None)
    assert config["learning_rate"] == (4e-4 if begins else 1e-3)
    assert config["freeze_encoder"] == begins
    past = torch.rand(1, 10, 1, 16, 24)
    if begins:
        forecast = run.forecaster().model(past, 3)
        expected = factor * past[:, -1:].expand(-1, 3, -1, -1, -1)
        torch.testing.assert_close(forecast, expected, atol=2e-3, rtol=0)
        assert "scenes is the better forecast on validation" in said
        window, splits = Window(config["past"], config["future"]), SplitOptions(**config["splits"])
        test = Recordings(film, "test", window, splits=splits)
        for other, gained in ((0.8, True), (1.05, False)):
            published_scenes(monkeypatch, tmp_path, other)
            verdict = verdict_on_test(run.forecaster(), test)
            assert "its starting weights (scenes): " in verdict
            assert ("The training gained nothing." in verdict) != gained
