"""The programs of benchmarks/ say what they do, and run: small, and not to be measured by.

Not run beyond its help: publish.py, which writes into the package.
"""

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from examples.scenes import Scenes
from foreframe import Forecaster
from foreframe.clips.clip import Window
from foreframe.forecasting.precision import multiplies_bfloat16
from foreframe.models import build_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIZES = json.dumps({"batch": 1, "past": 2, "future": 2, "size": 8, "hidden": 2})


def run(program: str, *arguments: str, asked: str = "") -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / program), *arguments],
        input=asked,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    "program",
    [
        "guides.py",
        "loading.py",
        "members.py",
        "precision.py",
        "publish.py",
        "quality.py",
        "radar.py",
        "recordings.py",
        "runtimes.py",
        "speed.py",
        "steps.py",
        "streaming.py",
    ],
)
def test_help(program: str) -> None:
    about = (BENCHMARKS / program).read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
    said = run(program, "--help")
    assert said.startswith("usage: ")
    assert about in said


def test_loading() -> None:
    said = run("loading.py", "--rounds", "1", "--rows", "radar, not kept").splitlines()
    assert [line.split(" | ")[:2] for line in said[2:]] == [
        ["| radar, not kept", "windows/s"],
        ["| radar, not kept", "MiB"],
    ]


def test_streaming() -> None:
    said = run("streaming.py", "40")
    assert "after      40 frames" in said
    assert "differ by" in said


def test_precision() -> None:
    said = run("precision.py", "quick", "moving-mnist", "--rounds", "1").splitlines()
    assert [line.split(" | ")[:2] for line in said[-2:]] == [
        ["| quick", "64x64"],
        ["| moving-mnist", "64x64"],
    ]


@pytest.mark.parametrize(
    ("network", "way"),
    [
        *(("quick", "members"), ("quick", "crps"), ("flow", "mse"), ("flow", "crps")),
        *(("flow_judged", "one"), ("flow_judged", "crps")),
    ],
)
def test_a_worker_of_the_table_of_members(network: str, way: str) -> None:
    given: dict[str, Any] = {"network": network, "batch": 1, "threads": 1, "clock": "wall"}
    given["bf16"] = multiplies_bfloat16("cpu")
    began = time.perf_counter()
    said = run("members.py", "--worker", json.dumps([way, given]), asked="\n").split()
    mib, seconds = map(float, said)
    assert 1 < mib < 1024  # neither bytes nor all that the process holds
    assert 1e-4 < seconds < time.perf_counter() - began


def test_speed_of_the_generator() -> None:
    assert "foreframe, uint8 (training)" in run("speed.py", "--part", "generator", "--rounds", "1")


@pytest.mark.parametrize("way", ["plain", "engine-bf16-save", "engine-layer"])
def test_a_worker_of_the_speed_tables(way: str) -> None:
    began = time.perf_counter()
    ready, *told = run("worker.py", way, SIZES, asked="forward\nstep\nmemory\n").split()
    assert ready == "ready"
    forward, step, mib = map(float, told)
    assert min(forward, step) > 1e-6
    assert forward + step < time.perf_counter() - began
    assert 0 <= mib < 64  # above what the process held before, which is more than that


def test_quality_draws_what_was_trained_before(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    rows = [
        {"seconds": seconds, "scores": {"openstl": {"mse": {"overall": mse}}}}
        for seconds, mse in ((30, 150.0), (62, 120.25), (250, 97.5))
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "run" / "validation.jsonl").write_text(lines, encoding="utf-8")
    said = run("quality.py", str(tmp_path / "curve.png"), str(tmp_path / "run"))
    assert "| run | 150.0 | 120.2 |" in said
    assert "97.5 (4 min)" in said
    with Image.open(tmp_path / "curve.png") as picture:
        assert min(picture.size) > 100


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("runtimes")


def test_forecasts_of_foreframe_and_the_tutorial_are_timed_without_the_runtimes() -> None:
    """The plain code has foreframe's weights: with others nothing would be timed."""
    few = ["--threads", "1", "--batch", "1", "--size", "32", "--rounds", "1"]
    few += ["--networks", "tutorial", "--ways", "foreframe", "plain", "openvino"]
    half = multiplies_bfloat16("cpu")  # emulated it takes a minute
    said = run("runtimes.py", *few, "--precisions", "float32", *(["bf16"] if half else []))
    assert "Left out: openvino (no --python" in said
    lines = [line for line in said.splitlines() if line.startswith("| tutorial")]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    ways = ["foreframe", "plain", *(["foreframe-bf16", "plain-bf16"] if half else [])]
    assert [cells[1] for cells in table] == ways
    assert all(cells[3] == f"{cells[2]} to {cells[2]}" for cells in table)  # of one round
    assert all(float(cells[2]) < 120 for cells in table)
    apart = [float(cells[-1]) for cells in table]
    assert max(apart[:2]) < 1e-4
    assert all(difference > 1e-4 for difference in apart[2:])  # bfloat16 is seen: forecasts vary


def test_rows_of_the_runtimes(runtimes: Any) -> None:
    taken = {"foreframe": [2.0, 9.0, 1.0], "foreframe-bf16": [1.0] * 3}
    taken["openvino-bf16"] = [4.0, 3.0, 5.0]
    apart, ways = dict.fromkeys(taken, 0.25), [*taken, "onnxruntime-bf16"]
    assert runtimes.rows("net", ways, taken, apart, {"onnxruntime-bf16": "no kernels"}) == [
        "| net | foreframe | 2.000 | 1.000 to 9.000 | 1.00 | 1.00 | 2.5e-01 |",
        "| net | foreframe-bf16 | 1.000 | 1.000 to 1.000 | 2.00 | 1.00 | 2.5e-01 |",
        "| net | openvino-bf16 | 4.000 | 3.000 to 5.000 | 0.50 | 0.25 | 2.5e-01 |",
        "| net | onnxruntime-bf16 | cannot |  |  |  |  |",
    ]


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_another_forecast_is_not_timed(runtimes: Any, difference: float) -> None:
    runtimes.check_near({"openvino": 1e-5, "openvino-bf16": 0.1})
    with pytest.raises(SystemExit, match="onnxruntime forecasts something else"):
        runtimes.check_near({"openvino": 1e-5, "onnxruntime": difference})


def test_no_export_without_onnx(runtimes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "WRITERS", ("json", "no_such_package"))
    assert runtimes.left_out("python") == "to export networks: pip install no_such_package"
    monkeypatch.setattr(runtimes, "WRITERS", ("json",))
    assert runtimes.left_out("python") == ""


def test_no_runtimes_is_one_line(runtimes: Any, capsys: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        runtimes.versions(str(tmp_path / "python"))
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install openvino onnxruntime numpy" in said


def test_cells_not_compiled(runtimes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = importlib.import_module("runtime_worker")
    with pytest.raises(worker.UnsupportedError, match="compiles no cells"):
        worker.compile_cells(object())
    monkeypatch.setattr("torch.compile", lambda f: lambda *_: 1 / 0)
    with pytest.raises(worker.UnsupportedError, match="no C\\+\\+ compiler"):
        worker.compile_cells(type("Network", (), {"compiled": False})())


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("steps")


def test_no_pysteps_is_one_line(steps: Any, monkeypatch: Any, capsys: Any, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pysteps", None)
    with pytest.raises(SystemExit) as left:
        steps.main(["no-archives", "--output", str(tmp_path / "runs")])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install pysteps" in said
    assert not (tmp_path / "runs").exists()


def test_members_are_scored_where_steps_has_values(
    steps: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Of members that are all alike the fair CRPS is their absolute error, from numpy here."""
    asked = []

    def standing(rain: Any, members: int, leads: int, *told: Any) -> Any:
        asked.append(told)
        future = np.broadcast_to(rain[-1], (members, leads, *rain.shape[1:])).copy()
        future[-1, 1:, :, :4] = np.nan
        return future

    monkeypatch.setattr(steps, "by_steps", standing)
    rain = Scenes("test", kind="rain", canvas=32, length=8)
    forecaster = Forecaster(build_model("lagged"), Window(5, 3), rain.scaling)
    given = argparse.Namespace(members=2, clips=2, seed=7)
    found = steps.scored(forecaster, rain, 2.0, given)
    assert asked == [(2.0, 7), (2.0, 8)]
    assert found.share == pytest.approx([1, 28 / 32, 28 / 32])
    assert found.whole == [1, 1, 1]  # what is lacking is outside the middle

    mm = rain.scaling.to_units(torch.stack([rain[0], rain[1]])).numpy()[:, :, 0].astype(float)
    apart = np.abs(mm[:, 5:] - mm[:, 4:5])
    errors = [apart[:, 0].mean(), *apart[:, 1:, :, 4:].mean(axis=(0, 2, 3))]
    crps = next(of for of in steps.SCORES if of.score == "fair_crps")
    assert found.rows["STEPS"].by_lead(crps) == pytest.approx(errors, rel=1e-3)
    kept = np.concatenate([apart[:, 0].reshape(2, -1), apart[:, 1:, :, 4:].reshape(2, -1)], axis=1)
    assert found.rows["STEPS"].by_window() == pytest.approx(kept.mean(axis=1), rel=1e-3)
    assert 0 < sum(found.rows["members"].by_lead(crps)) < sum(errors)

    steps.tell({"one": found})
    said = capsys.readouterr().out
    assert "| share of pixels that STEPS has values for | +5 min | +10 min |" in said
    assert "| one | 1.00 | 0.88 |" in said
    assert said.count("| **members**, one |") == len(steps.SCORES)
    assert "of 2 windows" in said

    power = next(of for of in steps.SCORES if of.card == "middle")
    rare = steps.Found(found.rows, found.share, [1, 0.5, 0.2])
    assert np.isnan(rare.by_lead("STEPS", power)).tolist() == [False, False, True]


def test_options_of_the_radar_windows_as_python_takes_them(steps: Any) -> None:
    flags = "--reading.variable rain --reading.coarsen 2 --splits.active 0.02 --reading.coarsen 1"
    groups = {"reading": {"variable": "rain", "coarsen": 1}, "splits": {"active": 0.02}}
    assert steps.grouped(flags) == groups


def test_steps_of_pysteps(tmp_path: Path) -> None:
    if importlib.util.find_spec("pysteps") is None:
        pytest.skip("needs pysteps: pip install pysteps")
    few = ["--members", "2", "--clips", "1", "--events", "mch_rain_20160711"]
    said = run("steps.py", "--quick", *few, "--output", str(tmp_path))
    assert "| STEPS, mch_rain_20160711 |" in said
    assert "of 1 window." in said
