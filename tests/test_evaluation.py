"""Evaluation as a whole: against scores computed all at once, and the report that it writes."""

import json

import pytest
import torch
from PIL import Image
from torch.utils.data import Subset

from foreframe import Forecaster, MovingMNIST, Window, evaluate
from foreframe.evaluation import write_report
from foreframe.models import BASELINES, build_model


@pytest.fixture
def forecaster() -> Forecaster:
    torch.manual_seed(0)
    return Forecaster(build_model("quick", {"hidden": (8,)}), Window(10, 10))


def test_one_pass_equals_all_at_once(forecaster) -> None:
    data = MovingMNIST("test", clips=10)
    card = evaluate(forecaster, data, batch_size=4)
    clips = data.__getitems__(range(10))
    past, future = clips[:, :10], clips[:, 10:]
    expected = (forecaster.predict(past, 10) - future).square().sum(dim=(2, 3, 4))
    assert card["clips"] == 10
    assert card["scores"]["model"]["openstl"]["mse"]["overall"] == pytest.approx(expected.mean().item(), rel=1e-4)
    assert card["scores"]["model"]["openstl"]["mse"]["per_lead"] == pytest.approx(expected.mean(dim=0).tolist(), rel=1e-4)
    assert set(card["scores"]) == {"model", *BASELINES}
    assert card["skill"]["persistence"]["overall"] == 0
    black, still = (card["scores"][name]["openstl"]["mse"]["overall"] for name in ("black", "persistence"))
    assert card["skill"]["black"]["overall"] == pytest.approx(1 - black / still)


def test_baselines_on_the_benchmark_are_where_the_field_has_them() -> None:
    """On Moving MNIST black scores about 170 and persistence about 280 (frame-summed): black beats persistence."""
    still = Forecaster(build_model("persistence"), Window(10, 10))
    card = evaluate(still, MovingMNIST("test"), clips=300, baselines=("black", "persistence"))
    assert card["scores"]["black"]["openstl"]["mse"]["overall"] == pytest.approx(171, abs=8)
    assert card["scores"]["persistence"]["openstl"]["mse"]["overall"] == pytest.approx(282, abs=15)
    assert card["scores"]["model"] == card["scores"]["persistence"]


def test_the_report(forecaster, tmp_path) -> None:
    data = MovingMNIST("test", clips=4)
    paths = write_report(tmp_path / "report", evaluate(forecaster, data), forecaster, data)
    assert [path.name for path in paths] == ["scorecard.json", "curves.png", "strip.png", "forecast.gif"]
    held = json.loads(paths[0].read_text())
    assert len(held["scores"]["model"]["standard"]["ssim"]["per_lead"]) == 10
    for path in paths[1:]:
        Image.open(path).verify()
    assert Image.open(paths[3]).n_frames == 20


def test_clips_of_other_channels(forecaster) -> None:
    with pytest.raises(ValueError, match="3 channels"):
        evaluate(forecaster, Subset(torch.rand(3, 20, 3, 16, 16), range(3)))
