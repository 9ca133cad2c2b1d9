"""`foreframe.fit`, runs and `foreframe.evaluate`: what the command line does, called in Python."""

import dataclasses
import inspect
import re
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml

import foreframe
from foreframe import MovingMNIST, Run
from foreframe.cli import main
from foreframe.data.data_options import ReadOptions, SplitOptions
from foreframe.evaluation import EvaluateOptions
from foreframe.forecasting.forecast_options import PredictOptions, StreamOptions
from foreframe.training.fit import Stopped
from foreframe.training.module import ForecastModule
from foreframe.training.options import GROUPS, Options
from foreframe.training.recipes import named, options_from
from refusals import parse

FEW = {
    "past": 2,
    "future": 2,
    "hidden": 4,
    "batch_size": 4,
    "validation_clips": 4,
    "epochs": 1,
    "device": "cpu",
    "devices": 1,
    "picture_every": 1,
}
SMALL = {"canvas": 32, "clips": 8}  # 2 steps an epoch


def small(run: Path, **changes: object) -> Run:
    return foreframe.fit("quick", **FEW, data_args=SMALL, run=run, **changes)


def _options(recipe: object, given: dict) -> Options:
    return options_from(*named(recipe, given))


def film() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (80, 16, 24), dtype=np.uint8)


def test_every_option_is_shown_with_its_default() -> None:
    """By signature and help: nothing lists them a second time."""
    for call, groups in (
        (foreframe.fit, GROUPS),
        (foreframe.evaluate, (EvaluateOptions,)),
        (foreframe.predict, (PredictOptions,)),
        (foreframe.stream, (StreamOptions,)),
    ):
        shown = inspect.signature(call).parameters
        for group in groups:
            usual = group()
            for option in dataclasses.fields(group):
                if option.name not in ("data", "options") or call is foreframe.fit:
                    assert shown[option.name].default == getattr(usual, option.name)
                assert re.search(rf"^ *{option.name}: \S", call.__doc__, re.M)


def test_options_are_those_of_the_command_line(tmp_path) -> None:
    args = {"core": {"convlstm": {"kernel": 5}}}
    ours = _options(
        "tutorial",
        {"model_args": args, "minutes": 4, "data_args": {"clips": 8}, "device": "cpu"},
    )
    flags = "--model_args.core {convlstm: {kernel: 5}}|--minutes 4|--data_args.clips 8|--device cpu"
    words = [word for flag in flags.split("|") for word in flag.split(" ", 1)]
    assert list(ours) == list(parse(["--config", "tutorial", *words]))
    assert ours.data.data_args == {"motion": "svg", "clips": 8}  # the recipe's stays

    (tmp_path / "mine.yaml").write_text("epochs: 7\nreading: {every: 2}\n")
    mine = _options(
        tmp_path / "mine.yaml",
        {
            "data": tmp_path / "film.mp4",
            "reading": {"size": (96, np.int64(128))},
            "splits": SplitOptions(by="time"),
            "scaling": "standard",
        },
    )
    assert (mine.learning.epochs, mine.data.data) == (7, str(tmp_path / "film.mp4"))
    assert mine.data.reading == ReadOptions(every=2, size=[96, 128])
    assert (mine.data.splits, mine.data.scaling) == (SplitOptions(by="time"), "standard")
    yaml.safe_dump(mine.flat())


@pytest.mark.slow
def test_a_run_gives_its_forecaster_scores_and_pictures(tmp_path, capfd) -> None:
    run = small(tmp_path / "run")
    said = capfd.readouterr()
    validated, waited = said.out.splitlines()
    assert validated.startswith("epoch 1, step 2: ")
    assert "skill against persistence" in validated
    assert "of the time was spent waiting for data" in waited
    assert not said.err
    assert [row["step"] for row in run.scores] == [2]
    assert foreframe.open_run(run.folder) == run
    assert run.forecaster().window == foreframe.Window(2, 2)
    assert run._repr_html_().count("<img") == 2
    with pytest.raises(ValueError, match="there is no run in"):
        foreframe.open_run(tmp_path)

    card = run.evaluate(clips=3, baselines=["persistence"])
    assert main(["evaluate", str(run.folder), "--clips", "3"]) == 0
    assert f"{card['scores']['model']['openstl']['mse']['overall']:.2f}" in capfd.readouterr().out
    assert (card["clips"], card["split"], card["data"]) == (3, "test", "moving_mnist")
    assert "persistence" in repr(card)
    again = foreframe.evaluate(run.forecaster(), MovingMNIST("test", length=4, canvas=32), clips=3)
    assert again["scores"]["model"] == card["scores"]["model"]


@pytest.mark.slow
def test_evaluate_takes_what_the_verb_takes(tmp_path) -> None:
    """Other frames ahead, how recordings are read and split."""
    run = foreframe.fit(**FEW, data=film(), run=tmp_path / "run", trainer={"max_steps": 2})
    np.save(tmp_path / "film.npy", film())
    card = foreframe.evaluate(
        run,
        tmp_path / "film.npy",
        clips=2,
        baselines=["persistence"],
        future=3,
        reading={"size": (8, 12)},
        splits=SplitOptions(by="time", shares=(0.5, 0.25, 0.25)),
    )
    assert (card["past"], card["future"], card["data"]) == (2, 3, str(tmp_path / "film.npy"))
    assert {"model", "persistence"} == set(card["scores"])
    assert card["reading"]["size"] == (8, 12)
    with pytest.raises(ValueError, match="did you mean size"):
        foreframe.evaluate(run, tmp_path / "film.npy", reading={"sise": 3})


def test_it_trains_in_another_thread_and_is_silent(tmp_path, capfd) -> None:
    """Where Python allows no signal handlers."""
    before, done = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=lambda: done.append(small(tmp_path / "run", verbose=False)))
    thread.start()
    thread.join()
    assert [run.scores[-1]["step"] for run in done] == [2]
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, monkeypatch) -> None:
    real = ForecastModule.training_step

    def interrupted(module: ForecastModule, *given: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return real(module, *given)

    monkeypatch.setattr(ForecastModule, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"stopped at step 1 and saved.*fit\(resume='") as e:
        small(tmp_path / "run")
    assert e.type is Stopped
    assert e.value._render_traceback_() == [str(e.value)]
    monkeypatch.setattr(ForecastModule, "training_step", real)
    assert foreframe.fit(resume=tmp_path / "run").scores[-1]["step"] == 2
