"""The weights that come with foreframe: there at once, small, good on digits that they have not
seen, and what their card says.
"""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from torch.nn import Module

from examples.scenes import Scenes
from foreframe import Forecaster, MovingMNIST, evaluate
from foreframe.cli import main
from foreframe.models import build_model
from foreframe.models.names import WEIGHTS, published


def test_they_are_small_enough() -> None:
    assert published() == ["moving-mnist", "radar", "scenes"]
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 7.2e6


@pytest.mark.parametrize("name", ["scenes", "radar"])
def test_each_network_is_built_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that lie within others."""
    before, made = Module.__init__, Counter[str]()

    def counted(self: Module) -> None:
        made[type(self).__name__] += 1
        before(self)

    monkeypatch.setattr(Module, "__init__", counted)
    Forecaster.load(name)
    assert (made["GuidedDecoder"], made["Guides"]) == (1, 1)


@pytest.fixture(scope="module")
def scored() -> dict:
    """The first 24 clips of digits that the weights have not seen, with six members of each."""
    digits = MovingMNIST("test")
    return evaluate(Forecaster.load("moving-mnist"), digits, clips=24, batch_size=8, members=6)


# Overall and one, five and ten frames ahead, on the first 24 clips of the test split: what these
# weights, the drawn clips, the baselines and the scores give together.
FIRST_CLIPS: dict[tuple[str, str], dict[str, tuple[float, ...]]] = {
    ("openstl", "mse"): {
        "model": (18.121, 5.702, 16.528, 25.809),
        "black": (183.074, 180.848, 183.572, 181.996),
        "mean": (198.647, 169.284, 204.153, 203.763),
        "linear_motion": (229.165, 149.927, 248.227, 225.461),
    },
    ("standard", "ssim"): {
        "model": (0.95304, 0.98409, 0.9531, 0.94325),
        "persistence": (0.64026, 0.73904, 0.62491, 0.61628),
    },
    ("standard", "psnr"): {
        "model": (23.5418, 28.563, 23.9413, 22.0059),
        "persistence": (11.3525, 12.9600, 11.1204, 11.0691),
    },
}
PRINTED = {"mse": 0.1, "ssim": 0.001, "psnr": 0.01}


@pytest.mark.slow
def test_scores_keep_their_printed_digits(scored: dict) -> None:
    for (convention, score), rows in FIRST_CLIPS.items():
        digit = PRINTED[score]
        for name, expected in rows.items():
            of = scored["scores"][name][convention][score]
            made = [of["overall"], *(of["per_lead"][lead - 1] for lead in (1, 5, 10))]
            assert made == pytest.approx(expected, abs=digit / 2, rel=0), (name, convention, score)


@pytest.mark.slow
def test_the_published_file_is_scored_by_the_documented_command(tmp_path: Path) -> None:
    """A sparse file of its shape and layout, with the first clips of our own test split."""
    path, digits = tmp_path / "mnist_test_seq.npy", MovingMNIST("test")
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(20, 10_000, 64, 64))
    for k in range(3):
        file[:, k] = (digits[k][:, 0] * 255).round()
    file.flush()
    words = ["--data", "moving_mnist_published", "--data_args.path", str(path), "--clips", "3"]
    out = tmp_path / "out"
    assert main(["evaluate", "moving-mnist", *words, "--output", str(out)]) == 0
    card = json.loads((out / "scorecard.json").read_text())
    own = evaluate(Forecaster.load("moving-mnist"), digits, clips=3)
    for score in ("mse", "mae", "bce", "ssim"):
        of = (each["scores"]["model"]["openstl"][score]["overall"] for each in (card, own))
        assert next(of) == pytest.approx(next(of), rel=1e-5)


def test_other_pages_say_what_the_card_says() -> None:
    folder = Path(__file__).parents[1]
    card = (WEIGHTS / "moving-mnist" / "README.md").read_text(encoding="utf-8")
    overall = re.findall(r"^\| model \| ([\d.]+) \|", card, re.MULTILINE)
    mse, _, _, _, ssim, _ = overall[:6]  # what follows is of members
    assert f"MSE **{mse}**, SSIM **{ssim.lstrip('0')}**" in (folder / "README.md").read_text(
        "utf-8"
    )
    page = (folder / "docs" / "performance.md").read_text(encoding="utf-8")
    assert f"70 on two | 162 | AMD EPYC | {mse} | {ssim} |" in page


def test_the_card_says_how_they_were_made() -> None:
    folder = WEIGHTS / "moving-mnist"
    card = (folder / "README.md").read_text(encoding="utf-8")
    for told in (
        "foreframe train --config",
        "seed: 0",
        "without pictures",
        "persistence",
        "(openstl)",
        "(standard)",
        "CC BY-SA 3.0",
    ):
        assert told in card
    # Nobody's paths.
    assert "/" not in json.dumps(json.loads((folder / "config.json").read_text())["about"])


@pytest.mark.parametrize("name", ["scenes", "mean"])
def test_a_name_means_what_comes_with_foreframe(name: str, tmp_path: Path, monkeypatch) -> None:
    """A note says how to name the folder of that name; a `Path` is a folder."""
    monkeypatch.chdir(tmp_path)
    Forecaster(build_model("persistence")).save(name)
    with pytest.warns(UserWarning, match=rf"\./{name} is the file or folder here"):
        named = Forecaster.load(name)
    assert type(named.model).__name__ != "Persistence"
    for what in (f"./{name}", Path(name)):
        assert type(Forecaster.load(what).model).__name__ == "Persistence"


@pytest.mark.slow
def test_scenes_forecast_films_of_any_size_and_colour() -> None:
    texture = ndimage.gaussian_filter(np.random.default_rng(0).random((3, 72, 100)), (0, 3, 3))
    texture = (texture - texture.min()) / np.ptp(texture)
    frames = np.stack([np.roll(texture, (t, 2 * t), (1, 2)) for t in range(15)]).astype(np.float32)
    future = Forecaster.load("scenes").predict(frames[:10], 5)
    errors, still = (np.square(of - frames[10:]).mean() for of in (future, frames[9:10]))
    assert errors < 0.2 * still


@pytest.mark.slow
def test_scenes_are_what_their_card_says() -> None:
    card = evaluate(Forecaster.load("scenes"), Scenes("test"), clips=32, batch_size=8)
    mse = {name: of["openstl"]["mse"]["overall"] for name, of in card["scores"].items()}
    assert mse["model"] < min(value for name, value in mse.items() if name != "model")
    lines = (WEIGHTS / "scenes" / "README.md").read_text().splitlines()
    told = next(line for line in lines if line.startswith("| model |"))
    assert mse["model"] == pytest.approx(float(told.split("|")[2]), rel=0.4)  # of more clips
    assert any("generated by `examples/scenes`" in line for line in lines)


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


@pytest.mark.slow
def test_members_of_digits_are_better_than_what_they_come_from(scored: dict) -> None:
    """In the CRPS, at every lead time, and they are as sharp as the truth."""
    own, lagged = (scored["ensemble"][name]["scores"]["standard"] for name in ("model", "lagged"))
    single = scored["scores"]["model"]
    ours, free = own["fair_crps"]["per_lead"], lagged["fair_crps"]["per_lead"]
    assert (np.array(ours) < 0.9 * np.minimum(free, single["standard"]["mae"]["per_lead"])).all()
    assert 0.8 < own["spread_skill"]["overall"] < 1.1
    assert 0.95 < min(own["sharpness"]["per_lead"]) < 1.2
    # All clips share a member's four numbers: by this seed the ratio is 1.19.
    mse = {name: of["openstl"]["mse"]["overall"] for name, of in scored["scores"].items()}
    assert mse["model, mean of 6"] < 1.25 * mse["model"]
