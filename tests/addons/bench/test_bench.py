"""Leaderboards: the same numbers as evaluate's, ranks with ties, rows that are added, trainings of
an equal budget, which continue.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import foreframe
from foreframe import Forecaster, MovingMNIST, Scaling, Window
from foreframe.addons.bench.bench_options import BenchOptions
from foreframe.addons.bench.contest import open_bench
from foreframe.addons.bench.leaderboard import ranks
from foreframe.cli import main
from foreframe.evaluation.metrics.bootstrap import resampled
from foreframe.evaluation.metrics.sums import ratio
from foreframe.models import build_model
from recorded import series
from refusals import refused

DIGITS = {"canvas": 24, "clips": 16, "motion": {"rule": "srivastava", "digit_px": 16}}
HERE: dict[str, Any] = {
    "data": "moving_mnist", "data_args": DIGITS, "clips": 12, "device": "cpu", "output": "lb",
    "baselines": ["persistence", "black"],
}  # fmt: skip
FLAGS = [
    *("--data", "moving_mnist", "--data_args", json.dumps(DIGITS), "--clips", "12"),
    *("--device", "cpu", "-o", "lb"),
]
SMALL = {"core": {"convlstm": {"hidden": [4, 4]}}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Networks of random weights, that look at three and at two frames."""
    monkeypatch.chdir(tmp_path)
    for name, past in (("three", 3), ("two", 2)):
        torch.manual_seed(past)
        Forecaster(build_model("tutorial", SMALL), Window(past, 2)).save(name)
    return tmp_path


def overall(board: dict[str, Any], key: str) -> dict[str, float]:
    return {row["name"]: row["scores"][key]["overall"] for row in board["rows"]}


@pytest.mark.slow
def test_each_sees_as_many_frames_as_it_was_trained_with_and_all_forecast_the_same() -> None:
    board = foreframe.bench(["three", "two"], batch_size=5, **HERE)
    card = foreframe.evaluate("three", **HERE | {"output": None}, past=3, future=2)
    for key, found in overall(board, "mse").items():
        if key != "two":
            row = "model" if key == "three" else key
            assert found == pytest.approx(card["scores"][row]["openstl"]["mse"]["overall"])
    clips = MovingMNIST("test", length=5, **DIGITS).batch(range(12))
    future = Forecaster.load("two").predict(clips[:, 1:3], 2)
    expected = (future - clips[:, 3:]).square().sum(dim=(2, 3, 4))
    two = next(row for row in board["rows"] if row["name"] == "two")
    assert two["scores"]["mse"]["per_lead"] == pytest.approx(expected.mean(dim=0).tolist())
    low, high = two["scores"]["mse"]["interval"]
    assert low < two["scores"]["mse"]["overall"] < high
    assert two["parameters"] == sum(p.numel() for p in build_model("tutorial", SMALL).parameters())
    assert two["forecast"]["seconds"] > 0 < two["forecast"]["memory"]
    assert (board["data"]["past"], board["data"]["future"]) == (3, 2)
    assert board == json.loads(Path("lb/leaderboard.json").read_text())
    assert all(row["name"] in Path("lb/leaderboard.md").read_text() for row in board["rows"])


def test_a_protocol_is_that_of_all() -> None:
    options = BenchOptions(protocol="dmvfn", data="moving_mnist", data_args=DIGITS)
    contest = open_bench({"three": "three", "two": "two", "mean": "mean"}, options)
    assert [each.forecaster.window for each in contest] == [Window(2, 5)] * 3


@pytest.mark.slow
def test_fields_are_compared_in_their_units_whatever_the_scalings() -> None:
    values = np.random.default_rng(0).uniform(0, 20, (40, 1, 16, 16)).astype(np.float32)
    values[::7, :, :3] = np.nan
    series("rain.nc", values)
    for name, scaling in (
        ("log", Scaling(0.1, 100, "mm/h", "log")),
        ("line", Scaling(0, 20, "mm/h", "minmax")),
    ):
        Forecaster(build_model("tutorial", SMALL), Window(3, 2), scaling).save(name)
    how = {"data": "rain.nc", "split": "all", "device": "cpu", "clips": "all", "baselines": []}
    board = foreframe.bench(["log", "line"], thresholds=[5.0], scales=[3], **how)
    assert board["ranked_by"] == "rmse"
    for name in ("log", "line"):
        card = foreframe.evaluate(name, **how, thresholds=[5.0], scales=[3])
        row = next(row for row in board["rows"] if row["name"] == name)
        of, event = card["scores"]["model"]["physical"]["rmse"], card["events"]["model"]["5 mm/h"]
        assert row["scores"]["rmse"]["per_lead"] == pytest.approx(of["per_lead"])
        assert row["scores"]["csi 5 mm/h"]["overall"] == pytest.approx(event["csi"]["overall"])
        fss = event["fss"]["3"]["overall"]
        assert row["scores"]["fss 3 5 mm/h"]["overall"] == pytest.approx(fss)


def test_ranks_are_as_far_open_as_differences_could_be_chance() -> None:
    """Errors that come in pairs, which differ by as much as clips do, or always in one direction;
    and in one recording of all, which tells nothing.
    """
    drawn = np.random.default_rng(1)
    shared = drawn.uniform(1, 2, 60)
    better, worse = shared * 0.9, shared * 1.5
    alike = shared + drawn.normal(0, 0.3, 60)
    each = [torch.tensor(np.stack([of, np.ones(60)])) for of in (worse, shared, better, alike)]
    errors, n = resampled(each, ratio, range(60))
    assert ranks(errors, n) == [(4, 4), (2, 3), (1, 1), (2, 3)]
    one, n = resampled(each, ratio, [0] * 60)
    assert ranks(one, n) == [(1, 4)] * 4


@pytest.mark.slow
def test_rows_are_added_and_replaced_and_other_frames_are_refused(capsys) -> None:
    few = HERE | {"baselines": ["persistence"]}
    foreframe.bench("three", **few)
    Forecaster(build_model("mean"), Window(3, 2)).save("three-again")
    added = foreframe.bench({"three": "three-again", "mine": "two"}, **few, past=3)
    alone = foreframe.bench({"three": "three-again"}, **few | {"output": "alone"})
    assert {row["name"] for row in added["rows"]} == {"three", "mine", "persistence"}
    assert overall(added, "mse")["three"] == overall(alone, "mse")["three"]
    assert {tuple(row["rank"]) for row in added["rows"]} != {(1, 3)}
    before = Path("lb/leaderboard.json").read_bytes()
    told = refused(capsys, "bench", "two", *FLAGS)
    assert "lb/leaderboard.json is of other frames (12 clips of moving_mnist (test)" in told
    assert Path("lb/leaderboard.json").read_bytes() == before


@pytest.mark.slow
def test_forecasts_of_another_program_and_members_have_their_rows() -> None:
    clips = MovingMNIST("test", length=5, **DIGITS).batch(range(12))
    np.save("theirs.npy", Forecaster.load("three").predict(clips[:, :3], 2).numpy())
    lagged = Forecaster(build_model("lagged", {"lags": 2}), Window(3, 2))
    given = {"three": "three", "lagged": lagged}
    board = foreframe.bench(given, **HERE, forecasts="theirs.npy", members=2)
    mse, rows = overall(board, "mse"), {row["name"]: row for row in board["rows"]}
    assert mse["theirs"] == pytest.approx(mse["three"])
    assert rows["theirs"]["forecast"] is None
    assert rows["three"]["forecast"] is not None
    card = foreframe.evaluate(lagged, **HERE | {"output": None}, members=2)
    mean = next(row for row in board["rows"] if row["name"] == "lagged, mean of 2")
    crps = card["ensemble"]["model"]["scores"]["standard"]["fair_crps"]["overall"]
    assert mean["scores"]["crps"]["overall"] == pytest.approx(crps)
    assert [row["name"] for row in board["rows"] if "crps" in row["scores"]] == [mean["name"]]


TRAINING = """
model: quick
hidden: 4
batch_size: 4
past: 3
future: 2
validation_clips: 5
picture_every: 0
save_every: 0
schedule: cosine
"""


def equal(folder: Path) -> list[str]:
    """The command for two trainings of as many steps, one with batches of four, one of two."""
    (folder / "a.yaml").write_text(TRAINING)
    (folder / "b.yaml").write_text(TRAINING.replace("batch_size: 4", "batch_size: 2\nloss: mae"))
    more = ["--train_steps", "6", "--training.learning_rate", "1e-3", "--baselines", "[]"]
    return ["bench", *FLAGS, "--train", "a.yaml,b.yaml", *more]


def trained() -> dict[str, Any]:
    rows = json.loads(Path("lb/leaderboard.json").read_text())["rows"]
    had = {row["name"]: (row["trained"]["clips"], row["trained"]["steps"]) for row in rows}
    assert had == {"a": (24, 6), "b": (12, 6)}
    return {row["name"]: row["trained"] for row in rows}


@pytest.mark.slow
def test_trainings_have_an_equal_budget_and_go_on(folder: Path, monkeypatch, capsys) -> None:
    from foreframe.training.module import ForecastModule

    begin, command = ForecastModule.on_train_batch_start, equal(folder)

    def stop(self: Any, *given: Any) -> None:
        if self.learning.loss == "mae" and self.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        begin(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(ForecastModule, "on_train_batch_start", stop)
        assert main(command) == 130
    assert "the same command continues" in capsys.readouterr().err
    done = {path: path.stat().st_mtime_ns for path in Path("lb/runs/a").rglob("*.ckpt")}
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in Path("lb/runs/a").rglob("*.ckpt")} == done
    assert trained()["a"]["budget"] == {"steps": 6}
    capsys.readouterr()
    assert main([*command, "--train_steps", "12"]) == 2
    assert "is a training of 6 steps, not of 12 steps" in capsys.readouterr().err


def test_what_cannot_be_compared_is_told(capsys) -> None:
    colour = Forecaster(build_model("tutorial", {**SMALL, "channels": 3}), Window(3, 2))
    colour.save("colour")
    Path("other").mkdir()
    Forecaster.load("two").save("other/two")
    Path("broken").mkdir()
    Path("broken/leaderboard.json").write_text('{"rows": []}')
    for words, said in (
        (["--clips", "5"], "name a RUN, or what to score on"),
        (["three", "colour", *FLAGS], "colour: 1 channel, but the model takes 3"),
        (["two", "other/two", *FLAGS], "two rows would be called two"),
        (["nowhere", *FLAGS], "there is no folder nowhere"),
        (["three"], "three does not tell what it was trained on; name what to score on: --data"),
        (["three", *FLAGS, "--members", "2"], "no forecaster here draws members"),
        (["three", *FLAGS, "--minutes", "2"], "give --train with --minutes or"),
        ([*FLAGS, "--train", "quick"], "give --train with --minutes or"),
        ([*FLAGS, "--train", "quick", "--minutes", "0"], "minutes must be above 0"),
        ([*FLAGS, "--train", "quik", "--minutes", "1"], "did you mean quick?"),
        ([*FLAGS, "--train", "quick", "--train_steps", "1", "--training.x", "1"], "no option 'x'"),
        ([*FLAGS, "three", "--forecasts", "none.npy"], "there is no file or folder none.npy"),
        (["three", *FLAGS[:-1], "broken"], "broken/leaderboard.json is damaged"),
    ):
        assert said in refused(capsys, "bench", *words)
    assert not Path("lb").exists()


@pytest.mark.slow
def test_the_published_weights_are_beside_published_scores_and_a_saved_copy_ties(capsys) -> None:
    Forecaster.load("scenes").save("d")
    digits = ["--data", "moving_mnist", "--clips", "8"]
    assert main(["bench", "d", "scenes", *digits, "-o", "lb"]) == 0
    board = json.loads(Path("lb/leaderboard.json").read_text())
    assert overall(board, "mse")["d"] == overall(board, "mse")["scenes"]
    assert [row["rank"] for row in board["rows"][:2]] == [[1, 3], [1, 3]]
    assert {"name": "TAU, 2000 epochs", "mse": 15.69}.items() <= next(
        row for row in board["published"] if row["mse"] == 15.69
    ).items()
    assert "scenes" in capsys.readouterr().out
