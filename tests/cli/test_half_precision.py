"""--precision of predict, evaluate and stream: what it changes, says and refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from foreframe import Forecaster, Window
from foreframe.cli import main
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch) -> Forecaster:
    """A forecaster in `run`, and a clip; the processor multiplies bfloat16."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AMX")
    torch.manual_seed(0)
    network = build_model("quick", {"core": {"convlstm": {"hidden": [8]}}})
    forecaster = Forecaster(network, Window(3, 2), trained=Trained("moving_mnist"))
    forecaster.save("run")
    np.save("clip.npy", np.random.default_rng(0).random((5, 1, 16, 20)).astype(np.float32))
    return forecaster


@pytest.mark.parametrize("tile", [0, 16])
def test_predict(run, capsys, tile: int) -> None:
    clip, made = np.load("clip.npy"), {}
    for precision in ("32-true", "bf16-mixed", "auto"):
        given = [
            *("predict", "run", "clip.npy", "-o", f"{precision}.npy", "--tile", str(tile)),
            *("--device", "cpu"),
        ]
        assert main([*given, "--precision", precision]) == 0
        made[precision] = np.load(f"{precision}.npy")
        assert made[precision].dtype == np.float32
    expected = run.predict(clip[-3:], 2, tile, precision="bf16-mixed")
    np.testing.assert_array_equal(made["bf16-mixed"], expected)
    np.testing.assert_array_equal(made["auto"], made["bf16-mixed"])
    assert (made["32-true"] != made["bf16-mixed"]).any()


def test_rolling(run, capsys) -> None:
    given = [
        *("predict", "run", "clip.npy", "-o", "out.npy", "--every", "1", "--device", "cpu"),
        *("--precision", "auto"),
    ]
    assert main(given) == 0
    clip = np.load("clip.npy")
    expected = [run.predict(clip[k : k + 3], 2, precision="bf16-mixed") for k in range(3)]
    np.testing.assert_array_equal(np.load("out.npy"), expected)


def test_evaluate(capsys) -> None:
    cards = {}
    for precision in ("32-true", "bf16-mixed", "auto"):
        given = [
            *("evaluate", "run", "--clips", "2", "--output", precision, "--device", "cpu"),
            *("--precision", precision),
        ]
        assert main(given) == 0
        cards[precision] = json.loads(Path(precision, "scorecard.json").read_text())
    assert [card["precision"] for card in cards.values()] == ["32-true", "bf16-mixed", "bf16-mixed"]
    scores = [card["scores"]["model"]["openstl"] for card in cards.values()]
    exact, half, auto = (one["mse"]["overall"] for one in scores)
    assert half == auto
    assert half == pytest.approx(exact, rel=0.03)
    assert half != exact


def test_stream(run, capsys) -> None:
    """Frame after frame, and gone on from in another precision than it was saved in."""
    for precision in ("bf16-mixed", "auto"):
        given = [
            *("stream", "run", "clip.npy", "-o", precision, "--state", f"{precision}.state"),
            *("--device", "cpu"),
        ]
        assert main([*given, "--precision", precision]) == 0
        out = capsys.readouterr().out
        assert len([json.loads(line) for line in out.splitlines()]) == 5
        last = np.load(f"{precision}/frame-000004.npy")
        expected = run.predict(np.load("clip.npy"), 2, precision="bf16-mixed")
        np.testing.assert_allclose(last, expected, atol=1e-2)
        assert (last != run.predict(np.load("clip.npy"), 2)).any()
    np.save("more.npy", np.load("clip.npy")[:1])
    given = ["stream", "run", "more.npy", "-o", "out", "--state", "auto.state", "--device", "cpu"]
    assert main(given) == 0
    assert "going on after 5 frames" in capsys.readouterr().err
    both = np.concatenate([np.load("clip.npy"), np.load("more.npy")])
    np.testing.assert_allclose(np.load("out/frame-000005.npy"), run.predict(both, 2), atol=3e-2)


@pytest.mark.parametrize("given", ["half", "16-mixed", "32", "null", "[auto]"])
@pytest.mark.parametrize(
    "command",
    [
        ["predict", "run", "clip.npy", "-o", "new"],
        ["evaluate", "run", "--output", "new"],
        ["stream", "run", "clip.npy"],
    ],
)
def test_an_unknown_precision_is_refused(command: list[str], given: str, capsys) -> None:
    assert main([*command, "--precision", given]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert len(err.splitlines()) == 1
    assert "--precision is one of 32-true, bf16-mixed, auto, not" in err
    assert not Path("new").exists()
