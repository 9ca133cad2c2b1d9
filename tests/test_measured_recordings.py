"""benchmarks/recordings.py and benchmarks/radar.py: what is done is not done again, what failed is
in the table, and the tables say what the scorecards do.
"""

import importlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from test_benchmarks import BENCHMARKS, run


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("recordings")


@pytest.fixture
def radar(recordings: Any) -> Any:
    return importlib.import_module("radar")


def entry(*values: float) -> dict[str, Any]:
    """Of a scorecard: by lead time, and last over all."""
    return {"per_lead": list(values[:-1]), "overall": values[-1]}


def card(**errors: tuple[float, ...]) -> dict[str, Any]:
    scores = {row: {"standard": {"mse": entry(*mse)}} for row, mse in errors.items()}
    future = len(next(iter(errors.values()))) - 1
    return {"past": 3, "future": future, "clips": 7, "scores": scores}


class Commands:
    """Stands in for foreframe: what was asked of it, and how the next commands end."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ends: list[str] = []

    def __call__(self, command: list[str], log: Path) -> str:
        self.asked.append(command[0])
        end = self.ends.pop(0) if self.ends else ""
        if end == "stopped":
            raise KeyboardInterrupt
        if command[0] == "evaluate" and not end:
            report = Path(command[command.index("--output") + 1])
            report.mkdir(parents=True, exist_ok=True)
            told = card(model=(1.0, 2.0, 1.5), persistence=(2.0, 4.0, 3.0))
            (report / "scorecard.json").write_text(json.dumps(told), encoding="utf-8")
        return end

    def since(self) -> list[str]:
        """What was asked since this was asked last."""
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def commands(recordings: Any, monkeypatch: pytest.MonkeyPatch) -> Commands:
    stand_in = Commands()
    monkeypatch.setattr(recordings, "run", stand_in)
    monkeypatch.setattr(recordings, "machine", lambda: "a machine")
    return stand_in


def table(said: str) -> dict[str, list[str]]:
    """The rows of all tables by what they begin with."""
    rows = [line.strip("|").split("|") for line in said.splitlines() if line.startswith("| ")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}


def test_from_beginning_to_end(tmp_path: Path) -> None:
    """A recording that is trained on and scored, and one that is too short for that."""
    np.save(tmp_path / "short.npy", np.zeros((3, 8, 8), np.uint8))
    np.save(tmp_path / "long.npy", np.random.default_rng(0).random((80, 8, 8)))
    files = [str(tmp_path / f"{name}.npy") for name in ("short", "long")]
    said = run("recordings.py", "--quick", *files, "--output", str(tmp_path / "out"))
    rows = table(said)
    assert rows["short"][0].startswith("train failed: ")
    assert "3 past and 2 future frames" in rows["short"][0]
    kept = json.loads((tmp_path / "out" / "long" / "seed-0.json").read_text(encoding="utf-8"))
    assert kept["train"]["command"][:3] == ["train", "--data", files[1]]
    scores = {row: of["standard"]["mse"]["overall"] for row, of in kept["card"]["scores"].items()}
    own = scores.pop("model")
    assert float(rows["long, model"][-1]) == pytest.approx(own / min(scores.values()), abs=6e-4)
    assert "model: never worse: no; 10 % better on " in said


def test_rain_of_an_event_that_was_left_out(tmp_path: Path) -> None:
    event = "mch_rain_20150515"
    said = run("radar.py", "--quick", "--events", event, "--output", str(tmp_path))
    data = tmp_path / event / "data"
    assert [path.stem for path in (data / "test").iterdir()] == [event]
    assert len(list((data / "train").iterdir())) == 3
    kept = json.loads((tmp_path / event / "seed-0.json").read_text(encoding="utf-8"))
    csi = kept["card"]["events"]["model"]["5 mm/h"]["csi"]["per_lead"]
    flow = kept["card"]["events"]["optical_flow"]["5 mm/h"]["csi"]["per_lead"]
    title = said[said.index("| CSI at 5 mm/h | +1 | +2 | all |") :].split("\n\n")[0]
    assert table(title)["**model**"][:2] == [f"{value:.3f}" for value in csi]
    least = min(a - b for a, b in zip(csi, flow, strict=True))
    assert f"({least:.3f} to " in table(said)[f"{event}, model"][3]
    assert said.count("## ") == 2
    # Untrained, on the same windows.
    own = ["--forecaster", str(tmp_path / event / "seed-0" / "run"), "--events", event]
    again = run("radar.py", "--quick", *own, "--output", str(tmp_path)).split("\n# ")
    (untrained,) = [part for part in again if "not trained here, on each event" in part]
    assert table(untrained[untrained.index(title[:30]) :].split("\n\n")[0]) == table(title)


def test_what_is_done_is_not_done_again(
    recordings: Any, commands: Commands, tmp_path: Path, capsys: Any
) -> None:
    given = ["a.npy", "--output", str(tmp_path), "--seeds", "2"]
    commands.ends = ["", "", "", "stopped"]
    assert recordings.main(given) == 130
    assert commands.since() == ["train", "evaluate", "train", "evaluate"]
    assert recordings.main(given) == 0
    assert commands.since() == ["evaluate"]
    assert recordings.main(given) == 0
    assert commands.since() == []
    # Other scores are of the same trainings; other trainings need another folder.
    assert recordings.main([*given, "--evaluate", "--period 3"]) == 0
    assert commands.since() == ["evaluate", "evaluate"]
    with pytest.raises(SystemExit, match="2"):
        recordings.main([*given, "--minutes", "9"])
    said = capsys.readouterr().err
    assert "is of another training: foreframe train --data a.npy --minutes 6 --seed 0" in said
    assert commands.since() == []


def test_a_training_that_was_cut_short_begins_anew(
    recordings: Any, commands: Commands, tmp_path: Path
) -> None:
    given = ["a.npy", "--output", str(tmp_path), "--seeds", "1"]
    commands.ends = ["stopped"]
    assert recordings.main(given) == 130
    left = tmp_path / "a" / "seed-0" / "run" / "last.ckpt"
    left.parent.mkdir(parents=True)
    left.touch()
    commands.ends = ["no memory"]
    assert recordings.main(given) == 0
    assert not left.exists()
    assert recordings.main(given) == 0  # what failed is tried again
    assert commands.since() == ["train", "train", "train", "evaluate"]


def test_a_seed_that_failed_is_in_the_table_and_counts(
    recordings: Any, commands: Commands, tmp_path: Path, capsys: Any
) -> None:
    commands.ends = ["", "", "a | b"]
    assert recordings.main(["a.npy", "--output", str(tmp_path), "--seeds", "2"]) == 0
    said = capsys.readouterr().out
    assert table(said)["a"][0] == "train failed: a / b"
    assert table(said)["a, model"][-1] == "0.500"
    assert "never worse: no; 10 % better on 0 of 1" in said


def test_medians_and_the_best_baseline(recordings: Any, capsys: Any) -> None:
    """The best is that of all lead times, not of the first; ratios are those of each seed."""
    own = [(1.0, 4.0, 2.5), (1.0, 2.0, 1.5), (3.0, 4.0, 3.5)]
    rivals = {"persistence": (1.0, 9.0, 5.0), "optical_flow": (2.0, 3.0, 2.5)}
    of = {"film": [{"train": {}, "card": card(model=mse, **rivals)} for mse in own]}
    recordings.overall(of)
    recordings.by_lead(of)
    said = capsys.readouterr().out
    assert table(said)["film, model"] == [
        "3, 2", "7", "", "25000", "optical_flow", "25000", "1.000", "1.000, 0.600, 1.400"
    ]  # fmt: skip
    assert table(said)["**model**"] == ["10000", "40000", "25000"]
    assert table(said)["model over optical_flow"] == ["0.500", "1.333", "1.000"]
    assert "never worse: yes; 10 % better on 0 of 1; below the best baseline on 0 of 1" in said
    assert "below optical flow at every lead time from +2 on 0 of 1" in said


def test_a_forecaster_is_scored_untrained(
    recordings: Any, commands: Commands, tmp_path: Path, capsys: Any
) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((3, 20, 50), np.uint8))
    given = [str(tmp_path / "wide.npy"), "--forecaster", "moving-mnist", "--side", "10", "--whole"]
    assert recordings.main([*given, "--output", str(tmp_path / "out"), "--", "--stride", "2"]) == 0
    assert commands.since() == ["evaluate"]
    kept = json.loads((tmp_path / "out" / "wide" / "moving-mnist-all.json").read_text())
    command = kept["evaluate"]["command"]
    assert command[1:-2] == [
        "moving-mnist", "--data", given[0], "--split", "all", "--reading.size", "[10,25]",
        "--stride", "2", "--clips", "all",
    ]  # fmt: skip
    assert "# moving-mnist, not trained on it, all of each recording" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
def test_a_training_ends_with_the_benchmark(tmp_path: Path) -> None:
    log, code = tmp_path / "log", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    (tmp_path / "foreframe.py").write_text(code, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(BENCHMARKS), *filter(None, sys.path)])
    begin = f"import recordings, pathlib; recordings.run(['train'], pathlib.Path({str(log)!r}))"
    # Importing recordings needs foreframe; the program that it runs is the stand-in.
    begin = f"import sys; sys.path.remove({str(tmp_path)!r}); {begin}"
    parent = subprocess.Popen([sys.executable, "-c", begin], env=os.environ | {"PYTHONPATH": path})
    pid = next(int(read(log)) for _ in every(0.05) if read(log).endswith("\n"))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert any(gone(pid) for _ in every(0.05))


def every(seconds: float) -> Iterator[Any]:
    for _ in range(round(20 / seconds)):
        time.sleep(seconds)
        yield _


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def test_what_is_asked_of_rain(radar: Any) -> None:
    error, csi, fss, bias = (radar.SCORES[k].asked for k in (0, 2, 4, 6))
    nothing = math.nan
    assert radar.verdict([0.9, 1.0], [1.0, 1.1], error) == "yes (0.900 to 0.909)"
    assert radar.verdict([0.9, 1.1], [1.0, 1.1], error) == "no, +2 (0.900 to 1.000)"
    assert radar.verdict([0.5, 0.4], [0.5, 0.4], csi) == "yes (0.000 to 0.000)"
    assert radar.verdict([0.5, 0.39], [0.5, 0.4], csi) == "no, +2 (-0.010 to 0.000)"
    assert radar.verdict([0.5, 0.4], [0.51, 0.42], fss) == "yes (-0.020 to -0.010)"
    assert radar.verdict([0.5, 0.4], [0.53, 0.42], fss) == "no, +1 (-0.030 to -0.020)"
    assert radar.verdict([0.7, 1.31, nothing], [0.1, 0.1, 0.1], bias) == "no, +2 (0.700 to 1.310)"
    assert radar.verdict([nothing], [nothing], csi) == "no such rain"


def test_echoes_below_0_dbz_are_almost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Bytes, as an archive is read in which no pixel is missing: 60 - 64 must not become 252.
    monkeypatch.syspath_prepend(str(BENCHMARKS.parent / "examples" / "radar"))
    rain = importlib.import_module("prepare").rain
    codes = np.array([0, 60, 64, 110], np.uint8)
    expected = [0, *((10 ** (dbz / 10) / 200) ** (1 / 1.6) for dbz in (-2, 0, 23))]
    np.testing.assert_allclose(rain("fmi_dbz_20170509", codes), expected, rtol=1e-5)
