"""foreframe evaluate: what it prints, and the report."""

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from foreframe import Forecaster, Window, evaluate
from foreframe.cli import main
from foreframe.cli.evaluate import print_table
from foreframe.models import build_model
from foreframe.visuals import score_table


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_screen() -> None:
    """All that is printed of a film: no more than fits a screen, and 80 columns."""
    cards = film_card()
    with redirect_stdout(io.StringIO()) as out:
        print_table(cards)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == SCREEN.strip("\n").split("\n")
    nan = {name: {"mse": {"overall": np.nan}} for name in cards["relative"]}
    still = str(score_table(cards | {"relative": nan, "scores": absolute(cards)}))
    assert "The frames hardly change, so errors are absolute." in still
    assert re.search(r"persistence +1.00 ", still)
    assert "1-SSIM" not in still
    for part in ("scores", "relative", "comparison"):  # no number loses a digit to a long name
        cards[part]["model, mean of 16"] = cards[part].get("black")
    with redirect_stdout(io.StringIO()) as out:
        print_table(cards)
    assert "…" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_the_protocol_of_dmvfn() -> None:
    """Two frames in, five out, and at t+k the mean of the first k frames, as its authors do."""
    np.save("film.npy", np.random.default_rng(0).integers(0, 256, (8, 1, 161, 176), np.uint8))
    how = {"data": "film.npy", "split": "all", "protocol": "dmvfn", "baselines": ["black"]}
    card = evaluate("mean", **how)
    assert (card["clips"], card["past"], card["future"]) == (2, 2, 5)
    with redirect_stdout(io.StringIO()) as out:
        print_table(card)
    table = out.getvalue().split("Times 100; t+k: averaged over frames 1 to k")[1]
    assert re.findall(r"t\+\d|MS-SSIM|LPIPS", table) == ["MS-SSIM", "t+1", "t+3", "t+5"]
    for row in ("mean", "black"):
        scores = card["scores"][row]["standard"]["ms_ssim"]
        shown = [float(cell) for cell in re.search(rf"{row} +(.+)", table)[1].split()]
        expected = [100 * sum(scores["per_lead"][:k]) / k for k in (1, 3, 5)]
        assert shown == pytest.approx(expected, abs=0.006)
    # What is given is above the protocol.
    assert evaluate("mean", **how, future=3)["future"] == 3


SCREEN = """
60 clips of film.mp4 (test), 10 frames in, 10 out

                 MSE  x 1st row                    1-SSIM
                 all       95 %    +1    +6   +10     all    +1    +6   +10
───────────────────────────────────────────────────────────────────────────
model           0.55             0.10  0.60  1.00    0.55  0.10  0.60  1.00
black            110    150-300  20.0   120   200    1.10  0.20  1.20  2.00
persistence     1.00  1.20-2.40  1.00  1.00  1.00    1.00  1.00  1.00  1.00
linear_motion  *0.50  0.85-1.70     -  0.50  0.50   *0.50     -  0.50  0.50

1.00: the error of the last frame repeated (persistence). *: the best baseline.
x 1st row: the error divided by that of the first row, 95 % interval from a
paired bootstrap of 60 clips. If it contains 1, the difference may be chance.
"""


def absolute(card: dict) -> dict:
    """Absolute scores for a card that has relative ones alone."""
    return {name: {"standard": of} for name, of in card["relative"].items()}


def film_card() -> dict:
    def of(*values: float | None) -> dict:
        return {"overall": sum(v for v in values if v) / 10, "per_lead": list(values)}

    rows = {
        "model": (of(*(k / 10 for k in range(1, 11))),) * 2,
        "black": (of(*(20 * k for k in range(1, 11))), of(*(k / 5 for k in range(1, 11)))),
        "persistence": (of(*[1.0] * 10),) * 2,
        "linear_motion": (of(None, *[0.5] * 9) | {"overall": 0.5},) * 2,
    }
    return {
        "clips": 60,
        "data": "film.mp4",
        "split": "test",
        "past": 10,
        "future": 10,
        "units": "",
        "reference": "model",
        "scores": {name: {"standard": {}} for name in rows},
        "events": {},
        "relative": {
            name: dict(zip(("mse", "ssim"), of, strict=True)) for name, of in rows.items()
        },
        "best_baseline": {"mse": "linear_motion", "ssim": "linear_motion"},
        "comparison": {
            name: {"low": 1.0, "ratio_low": low, "ratio_high": 2 * low, "n": 60, "over": "clips"}
            for name, low in (("black", 150.0), ("persistence", 1.2), ("linear_motion", 0.85))
        },
    }


def test_the_command_and_the_call_write_one_report() -> None:
    Forecaster(build_model("persistence"), Window(2, 2)).save("run")
    np.save("clip.npy", np.random.default_rng(0).random((12, 1, 16, 16), np.float32))
    how = {"data": "clip.npy", "split": "all", "baselines": ["black"]}
    words = ["--split", "all", "--baselines", "[black]"]
    assert main(["evaluate", "run", "--data", "clip.npy", *words, "-o", "command"]) == 0
    evaluate("run", output="call", **how)
    command, call = (
        json.loads(Path(folder, "scorecard.json").read_text()) for folder in ("command", "call")
    )
    assert command.keys() == call.keys()
    assert [card["run"] for card in (command, call)] == ["run", "run"]
    assert command["scores"] == call["scores"]
