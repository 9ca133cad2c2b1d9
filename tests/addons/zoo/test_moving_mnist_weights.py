"""The weights `moving-mnist`: good on digits that they have not seen, and what their card says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from foreframe import Forecaster, MovingMNIST, evaluate
from foreframe.addons.zoo import WEIGHTS
from foreframe.cli import main


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
    folder = Path(__file__).parents[3]
    card = (WEIGHTS / "moving-mnist" / "README.md").read_text(encoding="utf-8")
    overall = re.findall(r"^\| model \| ([\d.]+) \|", card, re.MULTILINE)
    mse, _, _, _, ssim, _ = overall[:6]  # what follows is of members
    assert f"an MSE of {mse} on unseen" in (folder / "README.md").read_text(encoding="utf-8")
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
