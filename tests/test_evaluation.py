"""Evaluation as a whole: against scores computed all at once, and the report that it writes."""

import json

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset

from foreframe import Forecaster, MovingMNIST, Window, evaluation
from foreframe.evaluation import evaluate, write_report
from foreframe.models import SCORED, build_model


@pytest.fixture
def forecaster() -> Forecaster:
    torch.manual_seed(0)
    return Forecaster(build_model("quick", {"core": {"convlstm": {"hidden": [8]}}}), Window(10, 10))


def test_one_pass_equals_all_at_once(forecaster) -> None:
    data = MovingMNIST("test", clips=10)
    card = evaluate(forecaster, data, batch_size=4)
    clips = data.batch(range(10))
    past, future = clips[:, :10], clips[:, 10:]
    expected = (forecaster.predict(past, 10) - future).square().sum(dim=(2, 3, 4))
    assert card["clips"] == 10
    assert card["scores"]["model"]["openstl"]["mse"]["overall"] == pytest.approx(
        expected.mean().item(), rel=1e-4
    )
    assert card["scores"]["model"]["openstl"]["mse"]["per_lead"] == pytest.approx(
        expected.mean(dim=0).tolist(), rel=1e-4
    )
    assert set(card["scores"]) == {"model", *SCORED}
    assert card["skill"]["persistence"]["overall"] == 0
    black, still = (
        card["scores"][name]["openstl"]["mse"]["overall"] for name in ("black", "persistence")
    )
    assert card["skill"]["black"]["overall"] == pytest.approx(1 - black / still)


def test_baselines_on_the_benchmark_are_where_the_field_has_them() -> None:
    """On Moving MNIST black scores about 170 and persistence about 280 (frame-summed): black beats
    persistence.
    """
    still = Forecaster(build_model("persistence"), Window(10, 10))
    card = evaluate(still, MovingMNIST("test"), clips=300, baselines=("black", "persistence"))
    assert card["scores"]["black"]["openstl"]["mse"]["overall"] == pytest.approx(171, abs=8)
    assert card["scores"]["persistence"]["openstl"]["mse"]["overall"] == pytest.approx(282, abs=15)
    assert card["scores"]["model"] == card["scores"]["persistence"]


def test_the_report(forecaster, tmp_path) -> None:
    data = MovingMNIST("test", clips=4)
    paths = write_report(tmp_path / "report", evaluate(forecaster, data), forecaster, data)
    assert [path.name for path in paths] == [
        "scorecard.json",
        "curves.png",
        "strip.png",
        "forecast.gif",
    ]
    held = json.loads(paths[0].read_text())
    assert len(held["scores"]["model"]["standard"]["ssim"]["per_lead"]) == 10
    for path in paths[1:]:
        Image.open(path).verify()
    with Image.open(paths[3]) as moving:
        assert moving.n_frames == 20


class Holed(Dataset):
    scaled = True  # may hold NaN

    def __init__(self, clips: torch.Tensor) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, k: int) -> torch.Tensor:
        return self.clips[k]


def test_pictures_show_no_forecast_where_the_past_never_held_a_value(tmp_path, monkeypatch) -> None:
    """As `Forecaster.predict` does; the scores stay those of the forecast that was made."""
    clips = torch.rand(3, 4, 1, 16, 16)
    clips[:, :2, :, :8] = torch.nan
    clips[:, 0, :, 12:] = torch.nan  # seen once: that is enough
    data, still = Holed(clips), Forecaster(build_model("persistence"), Window(2, 2))
    before = evaluate(still, data)
    shown: list[tuple] = []
    for name in ("strip", "animation"):
        own = getattr(evaluation, name)
        monkeypatch.setattr(
            evaluation,
            name,
            lambda *frames, own=own, **how: shown.append(frames) or own(*frames, **how),
        )
    write_report(tmp_path, before, still, data)
    assert len(shown) == 6
    for past, made, truth in shown:
        assert bool(
            (torch.tensor(made).isnan() == torch.tensor(still.predict(past, 2)).isnan()).all()
        )
        assert int(torch.tensor(made).isnan().sum()) == 2 * 8 * 16
        assert not torch.tensor(truth).isnan().any()
    assert before["scores"]["model"]["standard"]["mse"]["overall"] == pytest.approx(
        float((clips[:, 1:2].nan_to_num(0) - clips[:, 2:]).square().mean()), rel=1e-5
    )


def test_curves_leave_out_black_where_it_is_far_off_and_say_so() -> None:
    """The scores of a film: black at 0 and 6 dB; and of Moving MNIST, where it is a rival."""

    def panels(**scores: dict[str, list[float]]) -> dict:
        rows = {
            name: {score: {"per_lead": values} for score, values in row.items()}
            for name, row in scores.items()
        }
        of = {name: {"openstl": row, "standard": row} for name, row in rows.items()}
        return evaluation._panels({"units": "", "scores": of})

    film = panels(
        model={"mse": [17, 60], "ssim": [0.94, 0.86], "psnr": [28.4, 23.1]},
        persistence={"mse": [21, 121], "ssim": [0.97, 0.84], "psnr": [27.6, 20.1]},
        black={"mse": [3000, 3000], "ssim": [0.0, 0.0], "psnr": [6.0, 6.0]},
    )
    assert [title.split(" ")[0] for title in film] == ["MSE", "SSIM", "PSNR"]
    for title, series in film.items():
        assert title.endswith("\nblack is far off, and left out")
        assert list(series) == ["model", "persistence"]
    digits = panels(
        model={"mse": [50, 150], "ssim": [0.9, 0.6], "psnr": [20, 14]},
        persistence={"mse": [150, 300], "ssim": [0.7, 0.5], "psnr": [15, 11]},
        black={"mse": [170, 170], "ssim": [0.6, 0.6], "psnr": [14, float("inf")]},
    )
    assert [title.split(" ")[0] for title in digits] == ["MSE", "SSIM", "PSNR"]
    assert all("left out" not in title and "black" in series for title, series in digits.items())


def test_clips_of_other_channels(forecaster) -> None:
    with pytest.raises(ValueError, match="3 channels"):
        evaluate(forecaster, Subset(torch.rand(3, 20, 3, 16, 16), range(3)))
