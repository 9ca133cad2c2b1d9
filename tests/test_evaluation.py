"""Evaluation as a whole: against scores computed all at once, and the report that it writes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset

from foreframe import Forecaster, MovingMNIST, Scaling, Window, evaluate
from foreframe.data import Recordings
from foreframe.evaluation import ScoreOptions, report
from foreframe.evaluation.card import Scorer, score_clips, scorecard
from foreframe.evaluation.metrics.relative import relative
from foreframe.evaluation.report import panels_of, panels_of_members, write_report
from foreframe.models import SCORED, baselines_here, build_model

STILL = ScoreOptions(clips=50, baselines=("persistence",))


@pytest.fixture
def forecaster() -> Forecaster:
    torch.manual_seed(0)
    return Forecaster(build_model("quick", {"core": {"convlstm": {"hidden": [8]}}}), Window(10, 10))


def test_batches_are_scored_as_all_clips_at_once(forecaster) -> None:
    data = MovingMNIST("test", clips=10)
    card = score_clips(forecaster, data, ScoreOptions(batch_size=4))
    past, future = data.batch(range(10)).split(10, dim=1)
    expected = (forecaster.predict(past, 10) - future).square().sum(dim=(2, 3, 4))
    got = card["scores"]["model"]["openstl"]["mse"]
    assert got["overall"] == pytest.approx(expected.mean().item(), rel=1e-4)
    assert got["per_lead"] == pytest.approx(expected.mean(dim=0).tolist(), rel=1e-4)
    assert (card["clips"], set(card["scores"])) == (10, {"model", *baselines_here()})
    black, still = (
        card["scores"][of]["openstl"]["mse"]["overall"] for of in ("black", "persistence")
    )
    assert card["skill"]["persistence"]["overall"] == 0
    assert card["skill"]["black"]["overall"] == pytest.approx(1 - black / still)
    assert card["relative"]["black"]["mse"]["overall"] == pytest.approx(black / still)
    assert card["best_baseline"]["mse"] == "black"
    assert card["in_words"].startswith("The model is worse than the best baseline (black): ")


@pytest.mark.slow
@pytest.mark.parametrize("of", ["digits whose future is known", "a field with a gap"])
def test_the_report_of_members(of: str, tmp_path) -> None:
    """With events, for each ensemble."""
    known = MovingMNIST("test", length=4, clips=4, motion={"rule": "svg", "redraw": True})
    gap = torch.rand(4, 4, 1, 16, 16)
    gap[..., 3:5, 3:5] = torch.nan
    data = known if of.startswith("digits") else Holed(gap)
    lagged = Forecaster(build_model("lagged", {"lags": 2}), Window(2, 2))
    options = ScoreOptions(members=2, thresholds=[0.5], baselines=["persistence"])
    scorer = Scorer(lagged, data, options)
    card = scorecard(scorer)
    names = ["model", "lagged", *(["oracle"] if data is known else [])]
    assert list(card["ensemble"]) == ["seed", *names]
    assert card["baselines"] == ["persistence"]
    assert all("0.5" in card["ensemble"][name]["scores"] for name in names)
    panels, axes = panels_of_members(card)
    assert (len(panels), list(axes)) == (4, list(panels)[2:])
    for panel in panels.values():
        assert {*names} <= {*panel} <= {*names, "as it should be"}
    ranks = panels["rank of the truth, over chance"]["model"]
    assert (list(ranks), sum(ranks.values())) == ([0, 0.5, 1], pytest.approx(3))
    paths = write_report(tmp_path / "report", card, scorer, examples=1)
    pictures = ["curves.png", "strip.png", "forecast.gif", "ensembles.png", "members.png"]
    assert [path.name for path in paths] == ["scorecard.json", *pictures]
    assert json.loads(paths[0].read_text())["baselines"] == card["baselines"]
    for path in paths[1:]:
        Image.open(path).verify()


class Holed(Dataset):
    scaled = True  # may hold NaN

    def __init__(self, clips: torch.Tensor) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, k: int) -> torch.Tensor:
        return self.clips[k]


def test_pictures_show_no_forecast_without_a_past_value(tmp_path, monkeypatch) -> None:
    """As `Forecaster.predict` does; the scores include these pixels."""
    clips = torch.rand(3, 4, 1, 16, 16)
    clips[:, :2, :, :8] = torch.nan
    clips[:, 0, :, 12:] = torch.nan  # one known value is enough
    still = Forecaster(build_model("persistence"), Window(2, 2))
    scorer = Scorer(still, Holed(clips), replace(STILL, clips=2))
    card, shown = scorecard(scorer), []
    draw = report.strip
    monkeypatch.setattr(report, "strip", lambda *of, **how: shown.append(of) or draw(*of, **how))
    write_report(tmp_path, card, scorer)
    assert len(shown) == 2  # no more clips than were scored
    for past, made, truth in shown:
        np.testing.assert_array_equal(np.isnan(made), np.isnan(still.predict(past, 2)))
        assert np.isnan(made).sum() == 2 * 8 * 16
        assert not np.isnan(truth).any()
    expected = (clips[:2, 1:2].nan_to_num(0) - clips[:2, 2:]).square().mean().item()
    assert card["scores"]["model"]["standard"]["mse"]["overall"] == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("best", ["persistence", "black"])
def test_curves_leave_out_black_unless_it_is_the_best_baseline(best: str) -> None:
    of = {
        name: {"openstl": {"mse": mse}, "standard": {"mse": mse, "ssim": ssim}}
        for name, mse, ssim in (
            ("model", by_lead(17, 60), by_lead(0.80, 0.75)),
            ("persistence", by_lead(21, 121), by_lead(0.97, 0.84)),
            ("black", by_lead(3000, 3000), by_lead(0.0, 0.0)),
        )
    }
    card = {"units": "", "scores": of, "relative": relative(of, ["mse", "ssim"]), "events": {}}
    panels = panels_of(card | {"reference": "model", "best_baseline": {"mse": best}})
    names = ["model", "persistence", *(["black"] if best == "black" else [])]
    assert all(list(panel) == names for panel in panels.values())
    assert [panel["model"] for panel in panels.values()] == [
        pytest.approx(values)
        for values in ([17 / 21, 60 / 121], [0.2 / 0.03, 0.25 / 0.16], [17, 60], [0.80, 0.75])
    ]


def by_lead(*values: float) -> dict:
    return {"overall": sum(values), "per_lead": list(values)}


def test_clips_of_other_channels(forecaster) -> None:
    with pytest.raises(ValueError, match="3 channels"):
        score_clips(forecaster, Subset(torch.rand(3, 20, 3, 16, 16), range(3)))


def test_forecasts_of_other_programs_need_an_addon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foreframe.evaluation.scored.registered", lambda kind: {})
    for name in ("forecasts", "pasts"):
        with pytest.raises(ValueError, match=f"--{name} needs an add-on"):
            evaluate("mean", "moving_mnist", **{name: "theirs.npy"})


def test_what_could_be_chance() -> None:
    """Persistence ties with itself; black, where all stands still, does not."""
    data = Holed(torch.rand(12, 1, 1, 16, 16).repeat(1, 4, 1, 1, 1))
    still = Forecaster(build_model("persistence"), Window(2, 2))
    options = ScoreOptions(baselines=("black", "persistence"))
    card = score_clips(still, data, options)
    comparison = card["comparison"]
    assert comparison["persistence"]["tie"]
    assert comparison["persistence"]["difference"] == 0
    assert not comparison["black"]["tie"]
    assert 0 < comparison["black"]["low"] < comparison["black"]["difference"]
    assert (comparison["black"]["n"], comparison["black"]["over"]) == (12, "clips")
    equal = "The model is not better than the best baseline (persistence): MSE 0 against 0."
    assert equal in card["in_words"].splitlines()
    # Each score that ranks is compared by itself: 1 - SSIM is 0 where nothing is wrong.
    assert comparison["persistence"]["ssim"]["tie"]
    assert comparison["black"]["ssim"]["difference"] == pytest.approx(
        1 - card["scores"]["black"]["standard"]["ssim"]["overall"], rel=1e-5
    )


def test_the_best_baseline_is_free() -> None:
    """A square that walks a pixel a frame, and forecasts of another program that know the truth."""
    clips = torch.zeros(12, 6, 1, 24, 24)
    for t in range(6):
        clips[:, t, :, 8:16, 4 + t : 12 + t] = 1
    data, model = Holed(clips), Forecaster(build_model("mean"), Window(3, 3))
    known = [("known", lambda clips, parts: parts.truth)]
    options = ScoreOptions(baselines=SCORED, period=2)
    card = scorecard(Scorer(model, data, options, others=known))
    assert card["relative"]["known"]["mse"]["overall"] == 0
    assert card["best_baseline"]["mse"] == "linear_motion"
    assert card["in_words"].startswith(
        "The model is worse than the best baseline (linear_motion): "
    )
    alone = score_clips(model, data, ScoreOptions(baselines=("black", "persistence"), period=2))
    assert (alone["best_baseline"]["mse"], alone["period"]) == ("persistence", 2)
    none = score_clips(model, data, ScoreOptions(baselines=()))
    assert (none["best_baseline"], none["relative"], none["in_words"]) == ({}, {}, "")
    rain = Forecaster(build_model("mean"), Window(3, 3), Scaling(0, 20, "mm/h", "minmax"))
    card = score_clips(rain, data, ScoreOptions(baselines=SCORED))
    assert card["best_baseline"]["rmse"] == "linear_motion"
    assert card["relative"]["persistence"]["rmse"] == {"overall": 1, "per_lead": [1, 1, 1]}
    assert "linear_motion): RMSE 5.33 against 0.00014." in card["in_words"]  # no percentage
    assert "RMSE, mm/h" in str(card)
    assert list(panels_of(card)) == ["RMSE in mm/h"]


@pytest.mark.parametrize(("recordings", "over"), [(6, "recordings"), (4, "blocks"), (1, "blocks")])
def test_windows_of_one_recording_are_not_independent(recordings: int, over: str) -> None:
    frames = np.random.default_rng(0).random((recordings, 40, 1, 8, 8)).astype(np.float32)
    data = Recordings(frames, "all", Window(2, 2), scaling=Scaling())
    card = score_clips(Forecaster(build_model("mean"), Window(2, 2)), data, STILL)
    assert card["clips"] == min(50, len(data))
    first = card["comparison"]["persistence"]
    # stretches of 8 frames, or of a 30th of all frames
    blocks = recordings * -(-37 // 8)
    assert (first["n"], first["over"]) == (recordings if over == "recordings" else blocks, over)


def test_a_model_that_draws_upon_a_cycle_is_compared_with_it() -> None:
    blend = {"blend": {"guides": [{"cycle": {"period": 3}}, "persistence"]}}
    model = build_model("guided", {"output": blend, "core": {"convlstm": {"hidden": [4]}}})
    data = MovingMNIST("test", canvas=32, length=8, clips=2)
    card = score_clips(
        Forecaster(model, Window(5, 3)), data, ScoreOptions(baselines=["persistence"])
    )
    assert card["period"] == 3
    assert "cycle" in card["scores"]
