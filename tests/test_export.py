"""Exported forecasters give what foreframe gives, and need nothing of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from foreframe import Forecaster, Scaling, Window
from foreframe.cli import main
from foreframe.forecasting.forecast_options import ExportOptions
from foreframe.forecasting.graphs import ENTERING, graphs
from foreframe.models import Model, members
from small import SMALL, built

CLIP = np.random.default_rng(0).random((5, 1, 24, 32)).astype(np.float32)


def small(name: str = "quick") -> Forecaster:
    return Forecaster(built(name).eval(), Window(4, 4), Scaling(0.0, 2.0))


@pytest.mark.parametrize("name", SMALL)
def test_states_pair_by_their_sorted_names(name: str) -> None:
    """As Triton pairs what goes into a model with what comes out of it."""
    model = built(name)
    if "flow" in name and model.inputs:
        pytest.skip("the same names as without inputs")
    for graph in graphs(Forecaster(model, Window(2, 2)), ExportOptions(members=model.draws)):
        if graph.name == "begin":
            continue
        states = [sorted(n for n in names if n.startswith("state_")) for names in sides(graph)]
        assert [n.replace("_in", "_out") for n in states[0]] == states[1]
        names = [*graph.inputs, *graph.outputs]
        assert not any(a != b and b.startswith(a) for a in names for b in names if a != "frame")
        assert not {*graph.inputs} & {*ENTERING} or graph.name == "step"


def sides(graph) -> tuple:
    return graph.inputs, graph.outputs


@pytest.mark.parametrize("name", ["tutorial", "quick", "noise_one_core"])
@torch.no_grad()
def test_graphs_make_the_forecast(name: str) -> None:
    """Before anything is exported: the parts one after the other are `predict`."""
    forecaster = small(name)
    encode, begin, step = graphs(forecaster, ExportOptions())
    last = torch.full((1, 1, 24, 32), torch.nan)
    start = forecaster.model.start(torch.zeros(1, 1, 1, 24, 32))
    named = {"/last": last} | start
    for frame in torch.from_numpy(CLIP):
        values = (frame[None] if n == "/taken" else named[n] for n in encode.module.names)
        named = dict(zip(encode.module.results, encode.module(*values), strict=True))
    made = begin.module(*(named[n] for n in begin.module.names))
    named, frames = dict(zip(begin.module.results, made, strict=True)), []
    for _ in range(3):
        made = step.module(*(named[n] for n in step.module.names))
        named = dict(zip(step.module.results, made, strict=True))
        frames.append(named.pop("/made"))
    expected = forecaster.predict(torch.from_numpy(CLIP), 3)
    torch.testing.assert_close(torch.cat(frames, dim=1)[0], expected, atol=1e-5, rtol=1e-5)


def export(*words: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: what checks types here cannot look at a size without a value."""
    command = [sys.executable, "-m", "foreframe", "export", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_onnx_file_runs_without_foreframe(tmp_path, monkeypatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    small().save("saved")
    done = export("saved", "-o", "out", "--steps", "2")
    assert done.returncode == 0, done.stderr
    parity = json.loads(Path("out/parity.json").read_text())
    assert parity.keys() == {"encode", "begin", "step", "forecast"}
    assert max(parity.values()) < 1e-5
    np.save("clip.npy", CLIP[:, :, :21])  # which 8 does not divide
    done = subprocess.run(
        [sys.executable, "out/example.py", "clip.npy", "made.npy", "--steps", "6"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = Forecaster.load("saved").predict(CLIP[:, :, :21], 6)
    np.testing.assert_allclose(np.load("made.npy"), expected, atol=1e-5)
    done = export("saved", "-o", "out")
    assert (done.returncode, "output out is there already" in done.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["openvino", "pt2"])
def test_other_formats(how: str, tmp_path) -> None:
    if how == "openvino":
        pytest.importorskip("openvino")
    small("simvp_small").save(tmp_path / "saved")
    done = export(str(tmp_path / "saved"), "-o", str(tmp_path / "out"), "--format", how)
    assert done.returncode == 0, done.stderr
    parity = json.loads((tmp_path / "out/parity.json").read_text())
    assert max(parity.values()) < 1e-5
    ending = {"openvino": "xml", "pt2": "pt2"}[how]
    assert (tmp_path / "out" / f"step.{ending}").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_members_noise_is_given(tmp_path) -> None:
    """The exported step with the noise that `members` draws makes that member."""
    runtime = pytest.importorskip("onnxruntime")
    forecaster = Forecaster(built("noise").eval(), Window(4, 4))
    forecaster.save(tmp_path / "saved")
    done = export(str(tmp_path / "saved"), "-o", str(tmp_path / "out"), "--members", "true")
    assert done.returncode == 0, done.stderr
    step = next(g for g in graphs(forecaster, ExportOptions(members=True)) if g.name == "step")
    model: Model = forecaster.model
    with torch.no_grad():
        state = members(model.encode(torch.from_numpy(CLIP)[None]), 1, seed=3)
        begun = model.begin(state | model.outside(state, 1))
        last = torch.from_numpy(CLIP[-1:])
        expected, _ = model.step(begun)
    values = begun | {"/last": last}
    given = {
        shown: values[own].contiguous().numpy()
        for shown, own in zip(step.inputs, step.module.names, strict=True)
    }
    session = runtime.InferenceSession(str(tmp_path / "out" / "step.onnx"))
    known = {one.name for one in session.get_inputs()}
    made = session.run(["frames"], {n: v for n, v in given.items() if n in known})[0]
    np.testing.assert_allclose(made, expected.clamp(0, 1).numpy(), atol=1e-5)


def test_what_does_not_export_is_told(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "persistence", "-o", "out", "--members", "true"]) == 2
    assert "draws no members" in capsys.readouterr().err
    assert not Path("out").exists()
