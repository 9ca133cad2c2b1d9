"""Exported forecasters give what foreframe gives, and need nothing of it."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import foreframe
from foreframe import Forecaster, Scaling, Window
from foreframe.cli import main
from foreframe.exporting import exported_graphs
from foreframe.exporting.graphs import ENTERING, Graph, graphs
from foreframe.forecasting.forecast_options import ExportOptions
from foreframe.models import exported, members
from foreframe.models.footprint import footprint
from programs import printed_by
from small import EACH_WAY, available, built

EXAMPLE = Path(foreframe.__file__).parent / "exporting" / "example.py"
CLIP = np.random.default_rng(0).random((5, 1, 24, 32)).astype(np.float32)
SQUARE = np.tile(CLIP, (1, 1, 2, 2))[..., :48, :48]


def small(name: str = "quick") -> Forecaster:
    return Forecaster(built(name).eval(), Window(2, 4), Scaling(0.0, 2.0))


@pytest.mark.parametrize("name", EACH_WAY)
def test_states_pair_by_their_sorted_names(name: str, without_types) -> None:
    """Clients pair outputs of a graph with its next inputs."""
    model = built(name)
    for graph in graphs(Forecaster(model, Window(2, 2)), ExportOptions(noise=model.draws)):
        if graph.name == "begin":
            continue
        sides = graph.inputs, graph.outputs
        states = [sorted(n for n in names if n.startswith("state_")) for names in sides]
        assert [n.replace("_in", "_out") for n in states[0]] == states[1]
        names = [*graph.inputs, *graph.outputs]
        assert not any(a != b and b.startswith(a) for a in names for b in names if a != "frame")
        assert not {*graph.inputs} & {*ENTERING} or graph.name == "step"


@pytest.mark.parametrize("name", available("tutorial", "decoupled"))
def test_states_that_begin_as_zeros_are_told_apart(name: str) -> None:
    """Otherwise a graph has one input instead of two, which a check of values does not detect."""
    graph = graphs(Forecaster(built(name), Window(2, 2)), ExportOptions())[2]
    maps = {
        shown: value
        for shown, own, value in zip(
            graph.inputs, graph.names, graph.example((2, *graph.size)), strict=True
        )
        if own[-2:-1] in ("c", "h", "m")
    }
    assert len(maps) >= 2
    assert len({value.data_ptr() for value in maps.values()}) == len(maps)
    assert len({float(value.sum()) for value in maps.values()}) == len(maps)


def run(graph: Graph, named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The results of a graph by the model's names."""
    return dict(zip(graph.results, graph(*(named[n] for n in graph.names)), strict=True))


@pytest.mark.parametrize("name", ["tutorial", "quick", "attention"])
@torch.no_grad()
def test_graphs_make_the_forecast(name: str) -> None:
    """Before anything is exported: the parts one after the other are `predict`."""
    forecaster = small(name)
    encode, begin, step = graphs(forecaster, ExportOptions())
    named = {"/last": torch.full((1, 1, 24, 32), torch.nan)}
    named |= forecaster.model.start(torch.zeros(1, 1, 1, 24, 32))
    for frame in torch.from_numpy(CLIP):
        named = run(encode, named | {"/taken": frame[None]})
    named, frames = run(begin, named), []
    types = [value.dtype for value in step.example((1, 24, 32))]
    assert [named[n].dtype for n in step.names] == types
    for _ in range(3):
        named = run(step, named)
        frames.append(named.pop("/made"))
    expected = forecaster.predict(torch.from_numpy(CLIP), 3)
    torch.testing.assert_close(torch.cat(frames, dim=1)[0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_noise_of_a_member_is_an_input_of_step() -> None:
    forecaster = Forecaster(built("dressed").eval(), Window(4, 4))
    model, step = forecaster.model, graphs(forecaster, ExportOptions(noise=True))[2]
    state = members(model.encode(torch.from_numpy(CLIP)[None]), 1, seed=3)
    begun = model.begin(state | model.exogenous(state, 1))
    made = run(step, begun | {"/last": torch.from_numpy(CLIP[-1:])})["/made"]
    torch.testing.assert_close(made, model.step(begun)[0].clamp(0, 1))


def export(saved: str | Path, *words: str | Path) -> dict[str, float]:
    """How near the files are."""
    assert main(["export", *map(str, [saved, *words])]) == 0
    out = Path(words[words.index("-o") + 1])
    parity: dict[str, float] = json.loads((out / "parity.json").read_text())
    assert max(parity.values()) < 1e-5
    return parity


@pytest.mark.full
def test_an_onnx_file_runs_without_foreframe(tmp_path, without_types, monkeypatch, capsys) -> None:
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    small().save("saved")
    parity = export("saved", "-o", "out")
    assert parity.keys() == {"encode", "begin", "step", "chain"}
    clip = CLIP[:, :, :21].copy()  # which 8 does not divide
    clip[0, 0, 2:5], clip[3:, 0, 9], clip[:, 0, 7, 7] = np.nan, np.nan, np.nan
    np.save("clip.npy", clip)
    printed_by("out/example.py", "clip.npy", "made.npy", "--steps", "6")
    expected = Forecaster.load("saved").predict(clip, 6)
    assert np.isnan(expected[:, 0, 7, 7]).all()
    np.testing.assert_allclose(np.load("made.npy"), expected, atol=1e-5)
    for part in parity.keys() - {"chain"}:
        session = runtime.InferenceSession(f"out/{part}.onnx")
        for one in (*session.get_inputs(), *session.get_outputs()):
            assert one.type == "tensor(float)"
            assert isinstance(one.shape[0], str)  # the clips
    assert main(["export", "saved", "-o", "out"]) == 2
    assert "output out exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere.npy", "takes a .npy file of frames"),
        ("objects.npy", "takes a .npy file of frames"),
        ("colours.npy", "3 channels, not 1"),
        ("large.npy", "33x32 pixels, but this was exported for 24x32 alone"),
    ],
)
def test_errors_of_the_example_are_one_line(
    name: str, told: str, tmp_path, monkeypatch, capsys
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    about = {"beyond_example": [], "channels": 1, "multiple": 8, "size": [24, 32]}
    Path("about.json").write_text(json.dumps(about))
    shutil.copyfile(EXAMPLE, "example.py")
    np.save("objects.npy", np.array([None]), allow_pickle=True)
    np.save("colours.npy", CLIP.repeat(3, axis=1))
    np.save("large.npy", np.pad(CLIP, [(0, 0), (0, 0), (0, 9), (0, 0)]))
    monkeypatch.setattr(sys, "argv", ["example.py", name, "out.npy"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path("example.py", run_name="__main__")
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{name}: ")
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.full
def test_a_forecast_of_fixed_steps(tmp_path, without_types) -> None:
    runtime = pytest.importorskip("onnxruntime")
    saved, out = small("at_once").save(tmp_path / "saved"), tmp_path / "out"
    parity = export(saved, "-o", out, "--steps", "3")
    assert parity.keys() == {"encode", "begin", "step", "forecast", "chain"}
    expected = Forecaster.load(saved).predict(CLIP[3:], 3)
    np.testing.assert_allclose(Forecaster.load(out).predict(CLIP[3:], 3), expected, atol=1e-5)
    session = runtime.InferenceSession(str(out / "forecast.onnx"))
    made = session.run(["frames"], {"past": CLIP[None, 3:]})[0][0]
    np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("tutorial", marks=pytest.mark.full),
        pytest.param("dressed", marks=pytest.mark.slow),
        pytest.param("perturbed", marks=pytest.mark.slow),
    ],
)
def test_what_begins_from_zeros_and_members_that_are_lagged_go_on(
    name: str, tmp_path, without_types
) -> None:
    """For any number of clips, like all graphs."""
    pytest.importorskip("onnxruntime")
    saved, out = small(name).save(tmp_path / "saved"), tmp_path / "out"
    noise = ["--noise", "true"] if name == "dressed" else []
    assert export(saved, "-o", out, *noise)["chain"] > 0


def as_exported(forecaster: Forecaster, folder: Path, monkeypatch) -> Path:
    """An exported folder whose graph is run by torch, so that none is written."""
    options = ExportOptions(size=(24, 32), steps=4)
    parts = graphs(forecaster, options)
    about = exported_graphs._about(forecaster, parts, options)
    folder.mkdir()
    (folder / "about.json").write_text(json.dumps(about))
    (folder / "forecast.onnx").touch()
    monkeypatch.setattr(exported.Exported, "_start", lambda self: None)
    by_torch = lambda self, past: parts[-1].by_torch({"past": past})[0]  # noqa: E731
    monkeypatch.setattr(exported.Exported, "_run", by_torch)
    return folder


@pytest.mark.parametrize("name", ["quick", "at_once", "guided", "dressed"])
def test_an_exported_folder_is_a_forecaster(name: str, tmp_path, monkeypatch) -> None:
    own = Forecaster(built(name).eval(), Window(5, 4), Scaling(0.0, 2.0, "K"))
    other = Forecaster.load(as_exported(own, tmp_path / "out", monkeypatch))
    assert str(other) == str(own)
    clip = SQUARE[..., : 48 if own.model.sized else 43, :].copy()
    clip[1, 0, 3:6], clip[:, 0, 7, 7] = np.nan, np.nan
    # Rows that 8 does not divide: own frames are cropped before they go on, exported ones padded.
    steps = 4 if own.model.sized else 1
    np.testing.assert_allclose(other.predict(clip, steps), own.predict(clip, steps), atol=1e-5)
    live = other.stream(steps=1)
    for frame in clip:
        made = live.push(frame)
    np.testing.assert_allclose(made, own.predict(clip, 1), atol=1e-5)
    restored = other.stream(steps=1).loads(live.dumps())
    np.testing.assert_array_equal(restored.forecast(), live.forecast())
    assert footprint(other.model, 2, (1, 48, 48), 4) == footprint(own.model, 2, (1, 48, 48), 4)


@pytest.mark.parametrize(
    ("told", "use"),
    [
        ("this was exported for 48x48 alone", lambda of: of.predict(CLIP, 2)),
        ("computes in float32", lambda of: of.predict(SQUARE, 2, precision="bf16-mixed")),
        ("draws no members", lambda of: of.predict(SQUARE, 2, members=2)),
        ("exported graphs run on the CPU, not on cuda", lambda of: Forecaster.load("out", "cuda")),
        ("neither saved nor exported", lambda of: of.save("again")),
        ("neither saved nor exported", lambda of: foreframe.export(of, "again")),
    ],
)
def test_what_an_exported_forecaster_cannot_do(told: str, use, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    other = Forecaster.load(as_exported(small("guided"), Path("out"), monkeypatch))
    with pytest.raises(ValueError, match=told):
        use(other)
    assert not Path("again").exists()


@pytest.mark.parametrize(
    ("told", "changed"),
    [
        ("export it again", lambda about: about.update(forecaster=None)),
        ("export it again", lambda about: about["forecaster"].update(args=3)),
        ("export it again", lambda about: about.update(format="pt2")),
        ("again, with --steps", lambda about: about.pop("steps")),
        ("multiple must be at least 1", lambda about: about.update(multiple=0)),
        ("forecast.onnx is missing or damaged", lambda about: None),
    ],
)
def test_a_folder_that_is_no_export(told: str, changed, tmp_path, monkeypatch) -> None:
    pytest.importorskip("onnxruntime")
    with monkeypatch.context() as patched:
        folder = as_exported(small(), tmp_path / "out", patched)
    about = json.loads((folder / "about.json").read_text())
    changed(about)
    (folder / "about.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=told):
        Forecaster.load(folder)


def write_graph(file: Path, numbers: int, loading: bool) -> None:
    """Write a graph of a few bytes that makes many numbers while it is loaded or run."""
    onnx = pytest.importorskip("onnx")
    make, number = onnx.helper, onnx.TensorProto.FLOAT
    many = onnx.numpy_helper.from_array(np.array([numbers], np.int64), "many")
    frames = (make.make_tensor_value_info(name, number, None) for name in ("past", "frames"))
    nodes = [
        make.make_node("Shape", ["past"], ["clips"], start=0, end=1),
        make.make_node("Mul", ["many", "clips"], ["sides"]),
        make.make_node("ConstantOfShape", ["many" if loading else "sides"], ["large"]),
        make.make_node("ReduceMax", ["large"], ["top"], keepdims=0),
        make.make_node("Add", ["past", "top"], ["frames"]),
    ]
    graph = make.make_graph(nodes[2 * loading :], "graph", *([one] for one in frames), [many])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    file.write_bytes(model.SerializeToString())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits address space")
@pytest.mark.parametrize(
    ("numbers", "loading", "changed", "told"),
    [
        (2 * 10**8, False, {}, "forecast.onnx fails within .* GiB: .*ConstantOfShape"),
        (2 * 10**8, True, {}, "forecast.onnx fails within .* GiB: .*ConstantOfShape"),
        (1, False, {"multiple": 8000}, "frames of 24x32 pixels are too small: this pads to 8000"),
        (1, False, {"steps": 10**6}, "a forecast of 2 frames of 1x24x32 would take .* GiB"),
        (1, False, {}, "frames of another shape"),
    ],
)
def test_a_strangers_graph_stays_within_the_budget(
    numbers: int, loading: bool, changed: dict, told: str, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("onnxruntime")
    with monkeypatch.context() as patched:
        folder = as_exported(small(), tmp_path / "out", patched)
    about = json.loads((folder / "about.json").read_text()) | changed
    (folder / "about.json").write_text(json.dumps(about))
    write_graph(folder / "forecast.onnx", numbers, loading)
    with pytest.raises(ValueError, match=told):
        Forecaster.load(folder).predict(CLIP, 2, budget=0.3)


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("quick", ["--noise", "true"], "draws no members"),
        ("quick", ["--format", "openvino"], "format 'openvino' is unknown; choose onnx"),
        ("nowcast", ["--steps", "2"], "cannot find OpenCV's motion"),
    ],
)
def test_what_does_not_export_is_told(
    name: str, words: list[str], told: str, capsys, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    small(name).save("saved")
    assert main(["export", "saved", "-o", "out", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
    assert not Path("out").exists()
