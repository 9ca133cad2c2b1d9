"""Forecasts of other programs, and the past frames that these need."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import foreframe
import standins
from foreframe import Forecaster, Scaling, Window, clips_from
from foreframe.addons.bench.external import External, write_pasts
from foreframe.cli import main
from foreframe.data import Recordings, SplitOptions
from foreframe.evaluation import ScoreOptions
from foreframe.evaluation.card import Scorer, scorecard
from foreframe.evaluation.report import write_report
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.outputs import write_values
from foreframe.forecasting.rolling import Rolling
from foreframe.models import build_model
from recorded import series
from refusals import refused

STILL = ScoreOptions(clips=50, baselines=("persistence",))
SHARES = SplitOptions(shares=(0.4, 0.2, 0.4))


def scorer_of(
    forecaster: Forecaster, data: Any, options: ScoreOptions, *files: Path, name: str = "model"
) -> Scorer:
    clips, others = External(files).rows(data, forecaster, options.limit)
    return Scorer(forecaster, data, options, name, clips, others)


class Holed(torch.utils.data.Dataset):
    scaled = True  # may have NaN

    def __init__(self, clips: torch.Tensor) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, k: int) -> torch.Tensor:
        return self.clips[k]


def saved(file: Path, values: np.ndarray) -> Path:
    np.save(file, values)
    return file


def test_external_forecasts_are_scored_as_our_own(tmp_path) -> None:
    """On the pasts that were written for them, in the data's own units."""
    frames = np.random.default_rng(0).uniform(260, 300, (60, 8, 9)).astype(np.float32)
    window, scaling = Window(4, 3), Scaling(250, 310, "K", "minmax")
    data = Recordings(frames, "test", window, scaling, splits=SHARES)
    n = write_pasts(tmp_path / "pasts.npy", data, window, scaling, 5)
    pasts = np.load(tmp_path / "pasts.npy")
    assert pasts.shape == (n, 4, 1, 8, 9) == (5, 4, 1, 8, 9)
    np.testing.assert_allclose(pasts[0, :, 0], frames[36:40], rtol=1e-5)
    other = saved(tmp_path / "other.npy", pasts[:, -1:].repeat(3, axis=1))
    model = Forecaster(build_model("mean"), window, scaling)
    few = replace(STILL, clips=5)
    scorer = scorer_of(model, data, few, other)
    card = scorecard(scorer)
    assert list(card["scores"])[:2] == ["model", "other"]
    assert card["scores"]["other"]["physical"]["rmse"]["overall"] == pytest.approx(
        card["scores"]["persistence"]["physical"]["rmse"]["overall"], rel=1e-5
    )
    paths = write_report(tmp_path / "report", card, scorer)
    assert all(path.exists() for path in paths)
    without = Forecaster(build_model("persistence"), window, scaling)
    card = scorecard(scorer_of(without, data, few, other, name="persistence"))
    assert card["reference"] == next(iter(card["scores"])) == "other"
    assert "model" not in card["scores"]
    assert card["comparison"]["persistence"]["ratio"] == pytest.approx(1, rel=1e-5)


def test_forecasts_of_rolling_are_found_by_their_times(tmp_path) -> None:
    """Those of the test split among all of a recording, and only clips that are forecast."""
    frames = np.random.default_rng(0).uniform(260, 300, (60, 8, 9)).astype(np.float32)
    series(tmp_path / "t.nc", frames[:, None], "K", "1h", y=np.arange(8.0), x=np.arange(9.0))
    window, scaling = Window(4, 3), Scaling(250, 310, "K", "minmax")
    [clip] = clips_from(tmp_path / "t.nc")
    model = Forecaster(build_model("mean"), window, scaling)
    for every, ending in ((1, "nc"), (2, "zarr"), (1, "npz")):
        options = PredictOptions(steps=3, past=4, every=every)
        rolled = Rolling(model, clip, "mean", options)
        write_values(tmp_path / f"every-{every}.{ending}", [future for _, future, _ in rolled])
    data = Recordings(tmp_path / "t.nc", "test", window, scaling, splits=SHARES)
    files, free = sorted(tmp_path.glob("every-*")), ScoreOptions(baselines=())
    for file in files[:2]:
        card = scorecard(scorer_of(model, data, free, file))
        assert card["clips"] == len(data) > 3
        assert _near(card["scores"]["every-1"], card["scores"]["model"])
    card = scorecard(scorer_of(model, data, free, *files[1:]))
    assert card["clips"] == sum(start % 2 == 0 for _, start, *_ in data.windows) < len(data)
    assert _near(card["scores"]["every-2"], card["scores"]["model"])
    # Tiles are cut from whole forecasts.
    data = Recordings(tmp_path / "t.nc", "test", window, scaling, splits=replace(SHARES, tile=4))
    card = scorecard(scorer_of(model, data, free, files[0]))
    assert card["clips"] == len(data)
    assert _near(card["scores"]["every-1"], card["scores"]["model"])


def _near(one: dict, other: dict) -> bool:
    return one["physical"]["rmse"]["per_lead"] == pytest.approx(
        other["physical"]["rmse"]["per_lead"], rel=1e-5
    )


def test_forecasts_that_cannot_be_scored_are_told(tmp_path) -> None:
    data = Holed(torch.rand(6, 5, 1, 8, 8))
    data.clips[0, 2:, 0, 0, 0] = torch.nan
    still = Forecaster(build_model("persistence"), Window(2, 3))
    good = np.full((6, 3, 8, 8), 0.5, np.float32)
    every, other = ScoreOptions(), tmp_path / "other.npy"
    for values, said in (
        (good[:5], "holds 5 forecasts, but 6 clips to score"),
        (good[:, :2], "forecasts 2 frames, but 3 are scored; --future 2 scores as many"),
        (good[..., 1:], "forecasts frames of 1x8x7, but the clips have 1x8x8"),
        (np.where(np.arange(8) == 3, np.nan, good), "values of a forecast are NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=said):
            scorecard(scorer_of(still, data, every, saved(other, values.astype(np.float32))))
    with pytest.raises(ValueError, match="two rows would be called black"):
        scorer_of(still, data, every, saved(tmp_path / "black.npy", good))
    good[0, :, 0, 0] = np.nan  # where the truth is missing
    assert scorecard(scorer_of(still, data, every, saved(other, good)))["clips"] == 6


def test_a_forecast_may_say_nothing_where_nothing_was_ever_seen(tmp_path) -> None:
    clips = torch.rand(6, 5, 1, 8, 8)
    clips[:, :2, :, :4] = torch.nan
    data, still = Holed(clips), Forecaster(build_model("persistence"), Window(2, 3))
    ours = np.stack([still.predict(clip[:2].numpy(), 3) for clip in clips])
    assert np.isnan(ours).any()
    card = scorecard(scorer_of(still, data, ScoreOptions(), saved(tmp_path / "other.npy", ours)))
    assert card["scores"]["other"] == card["scores"]["model"]


def alike(file: str, *words: str) -> bool:
    """Whether a file's forecasts have the scores of the run that made them, and no others."""
    how = ["--forecasts", file, "-o", "report", "--baselines", "[black]"]
    assert main(["evaluate", "run", *words, *how]) == 0
    scores = json.loads(Path("report/scorecard.json").read_text())["scores"]
    ours, theirs, black = (
        scores[of]["standard"]["mse"]["per_lead"] for of in ("model", Path(file).stem, "black")
    )
    return theirs == pytest.approx(ours, rel=1e-4) and ours != pytest.approx(black, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("scaling", [Scaling(), Scaling(-50, 300)])
def test_what_predict_writes_of_a_film_is_what_evaluate_reads(
    scaling: Scaling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Rolling through a film of 8 bits, by weights on 0 to 1 and on other ranges."""
    monkeypatch.chdir(tmp_path)
    Forecaster(build_model("mean"), Window(4, 3), scaling).save("run")
    standins.film(Path("film.mp4"), 18, 32, 48)
    roll = ["predict", "run", "film.mp4", "--every", "1", "-o"]
    assert main([*roll, "rolled.npy"]) == 0
    rolled = np.load("rolled.npy")
    assert rolled.max() > 100
    windows = 18 - 4 - 3 + 1
    np.save("ahead.npy", rolled[:windows])  # the last ones have no truth
    whole = ["--data", "film.mp4", "--split", "all"]
    assert alike("ahead.npy", *whole)
    assert main([*roll, "timed.npz"]) == 0
    assert alike("timed.npz", *whole)
    out = ["--pasts", "pasts.npy", "-o", "report", "--baselines", "[]"]
    assert main(["evaluate", "run", *whole, *out]) == 0
    assert "the past frames of 12 clips are in pasts.npy" in capsys.readouterr().out
    assert np.load("pasts.npy").max() > 150
    np.save("same.npy", np.load("pasts.npy").mean(axis=1, keepdims=True).repeat(3, axis=1))
    assert alike("same.npy", *whole)


@pytest.mark.slow
def test_forecasts_made_elsewhere_are_scored_without_a_forecaster(tmp_path) -> None:
    """On as many frames as they have; the pasts and a report are written as by the verb."""
    np.save(tmp_path / "zeros.npy", np.zeros((5, 3, 32, 32), np.float32))
    card = foreframe.evaluate(
        None,
        "moving_mnist",
        data_args={"canvas": 32},
        clips=5,
        past=4,
        forecasts=[tmp_path / "zeros.npy"],
        pasts=tmp_path / "pasts.npy",
        output=tmp_path / "report",
    )
    assert (card["past"], card["future"], card["reference"]) == (4, 3, "zeros")
    assert card["scores"]["zeros"]["openstl"] == card["scores"]["black"]["openstl"]
    assert np.load(tmp_path / "pasts.npy").shape == (5, 4, 1, 32, 32)
    ours = json.loads((tmp_path / "report" / "scorecard.json").read_text())
    assert ours["scores"].keys() == card["scores"].keys()


def test_files_that_are_no_forecasts(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("flat.npy", np.zeros((64, 64), np.float32))
    Path("junk.nc").write_bytes(b"junk")
    for file, why in (
        ("flat.npy", "flat.npy: shape (64, 64) is no recording"),
        ("none.npy", "there is no file or folder none.npy"),
        ("junk.nc", "cannot open junk.nc; check"),
    ):
        command = ["evaluate", "--data", "moving_mnist", "--clips", "5", "--forecasts", file]
        assert why in refused(capsys, *command)
