"""The published weights for rain."""

import pytest

from examples.scenes import Scenes
from foreframe import Forecaster, evaluate
from foreframe.addons.radar import WEIGHTS


@pytest.mark.slow
def test_radar_is_what_its_card_says() -> None:
    rain = Scenes("test", "rain", length=22)
    card = evaluate(Forecaster.load("radar"), rain, clips=24, batch_size=8, thresholds=[5])
    assert card["units"] == "mm/h"
    mse = {name: of["openstl"]["mse"]["overall"] for name, of in card["scores"].items()}
    free = ("persistence", "linear_motion", "dense_motion", "optical_flow", "lagged")
    assert mse["model"] < 0.95 * min(mse[name] for name in free)
    csi = {name: of["5 mm/h"]["csi"]["overall"] for name, of in card["events"].items()}
    assert csi["model"] > max(csi["optical_flow"], csi["dense_motion"], csi["persistence"])
    lines = (WEIGHTS / "radar" / "README.md").read_text().splitlines()
    told = next(line for line in lines if line.startswith("| model |"))
    assert mse["model"] == pytest.approx(float(told.split("|")[2]), rel=0.4)  # of more clips
    assert any("MeteoSwiss (15 May 2015, 11 July 2016)" in line for line in lines)
