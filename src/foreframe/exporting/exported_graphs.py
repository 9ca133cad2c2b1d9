"""The graphs of a forecaster as a folder that runs where Python does not."""

import json
import logging
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from foreframe.base.extras import needed, of_package
from foreframe.base.files import atomic_folder, check_new
from foreframe.base.notes import warn
from foreframe.exporting.graphs import ENTERING, LAST, Graph, Runner, chain_distance, graphs
from foreframe.forecasting.forecast_options import ONNX, ExportOptions
from foreframe.forecasting.forecaster import Forecaster, open_forecaster
from foreframe.models.noise import Noise

OPSET = 18  # of ONNX


def write_export(what: Any, folder: Path, options: ExportOptions) -> dict[str, float]:
    """As `foreframe.export`."""
    forecaster, name = open_forecaster(what)
    check_new(folder)
    forecaster.check_weights()
    with atomic_folder(folder) as rough:
        if options.format != ONNX:
            parity: dict[str, float] = of_package("formats", options.format)(
                rough, forecaster, options, name
            )
            return parity
        return export_to(rough, forecaster, options)


def export_to(folder: Path, forecaster: Forecaster, options: ExportOptions) -> dict[str, float]:
    """Write the graphs of a forecaster to a folder, new or empty, with a card, an example that runs
    them without foreframe, and parity.json. Returns the contents of parity.json: the largest
    differences from the model for each graph, and for a forecast by all graphs ("chain"), at two
    other sizes, as a share of the values' range.

    Args:
        folder, forecaster, options: as in `foreframe.export`.

    Raises:
        ValueError: a model that does not export, a package that is missing.
    """
    parts = graphs(forecaster, options)
    if any(name.startswith("outside_") for name in parts[1].inputs):
        warn(
            "the motion that OpenCV finds (columns and rows, in pixels a frame) is an input of "
            "begin, outside_00: give it, or train with the guide dense_motion, which is exported"
        )
    folder.mkdir(exist_ok=True)
    runs = [write_onnx(graph, folder) for graph in parts]
    sizes = parts[0].other_sizes()
    parity = {
        graph.name: max(graph.distance(run, size) for size in sizes)
        for graph, run in zip(parts, runs, strict=True)
    }
    parity["chain"] = max(chain_distance(parts, runs, size) for size in sizes)
    about = _about(forecaster, parts, options) | {"parity": parity}
    for name, values in (("about", about), ("parity", parity)):
        (folder / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(_card(about), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("example.py"), folder / "example.py")
    return parity


def write_onnx(graph: Graph, folder: Path) -> Runner:
    """Write a graph to a folder, and return what runs the file.

    Raises:
        ValueError: a package is missing.
    """
    for module in ("onnx", "onnxscript"):
        needed(module, "export", "export")
    runtime = needed("onnxruntime", "export", "export")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # what exporters print for their own developers
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            program = torch.onnx.export(
                graph.exported(),
                dynamo=True,
                opset_version=OPSET,
                input_names=graph.inputs,
                output_names=graph.outputs,
                verbose=False,
                optimize=False,  # which takes minutes for thousands of nodes
            )
            assert program is not None
    finally:
        logging.disable(before)
    model = program.model_proto
    if graph.fixed:
        model.graph.CopyFrom(_for_each_clip(model.graph))
    path = folder / f"{graph.name}.onnx"
    settings = runtime.SessionOptions()
    settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(path)
    settings.log_severity_level = 3  # errors alone
    runtime.InferenceSession(model.SerializeToString(), settings)
    settings.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(path, settings)
    return lambda named: session.run(graph.outputs, dict(named))


def _for_each_clip(clip: Any) -> Any:
    """A graph of clips, which applies a graph of one clip to each, one after the other."""
    onnx = needed("onnx", "export", "export").helper

    def of_clips(value: Any) -> Any:
        one = value.type.tensor_type
        sides = (side.dim_value for side in one.shape.dim)
        return onnx.make_tensor_value_info(value.name, one.elem_type, ["clips", *sides])

    ends = [[of_clips(value) for value in values] for values in (clip.input, clip.output)]
    inputs, outputs = ([value.name for value in values] for values in ends)
    scan = onnx.make_node("Scan", inputs, outputs, body=clip, num_scan_inputs=len(inputs))
    return onnx.make_graph([scan], clip.name, *ends)


def _about(
    forecaster: Forecaster, parts: Sequence[Graph], options: ExportOptions
) -> dict[str, Any]:
    """Return the facts that running the files requires, as plain values."""
    by_name = {graph.name: graph for graph in parts}
    encode, step = by_name["encode"], by_name["step"]
    window, scaling = forecaster.window, forecaster.scaling
    start = {}
    shapes = encode.example((1, *encode.size))
    for name, own, value in zip(encode.inputs, encode.names, shapes, strict=True):
        if name != "frame":
            start[name] = {
                "shape": ["clips", *_sides(value.shape[1:], encode)],
                "fill": "nan" if own == LAST else 0,
            }
    entering = {
        name: ["clips", *_sides(value.shape[1:], step)]
        for name, value in zip(step.inputs, step.example((1, *step.size)), strict=True)
        if name in ENTERING
    }
    beyond = {"outside_00", "known"}
    if any(isinstance(module, Noise) for module in forecaster.model.modules()):
        beyond.add("noise")  # with a structure in space
    return {
        "past": window.past,
        "future": window.future,
        "units": scaling.units,
        "channels": shapes[0].shape[1],
        "horizon": forecaster.model.horizon,
        "multiple": encode.stride,
        "size": list(encode.size) if encode.fixed else None,
        "format": "onnx",
        "parts": {g.name: {"inputs": g.inputs, "outputs": g.outputs} for g in parts},
        "start": start,
        "entering": entering,
        "beyond_example": sorted(beyond & {name for graph in parts for name in graph.inputs}),
    } | ({"steps": options.steps, "forecaster": forecaster.config()} if options.steps else {})


def _sides(shape: Sequence[int], graph: Graph) -> list[Any]:
    """Sizes as numbers, or as "height/8" of the frames' height."""
    h, w = graph.size
    sides: list[Any] = list(shape)
    if len(sides) >= 3 and not graph.fixed and h % sides[-2] == 0 and w % sides[-1] == 0:
        sides[-2:] = [f"height/{h // sides[-2]}", f"width/{w // sides[-1]}"]
    return sides


TAKES = {
    "outside_00": "`begin` takes `outside_00`: the motion from frame to frame that OpenCV finds, "
    "columns and rows in pixels (foreframe/models/optical_flow.py has how).",
    "noise": "`begin` and `step` take `noise`: normal numbers of deviation 1, those of one member. "
    "Draw the noise of a dressed or perturbed model as foreframe/models/noise.py does.",
    "known": "`step` takes `known`: the inputs of the frame that it makes, in their units.",
}
"""What the graphs take beside frames and states."""


def _card(about: Mapping[str, Any]) -> str:
    """card.md."""
    size = about["size"]
    frames = f"of {size[0]}x{size[1]} pixels" if size else "of any size"
    if not size and about["multiple"] > 1:
        frames += f" that {about['multiple']} divides (pad with the edge, and crop what comes out)"
    units = f" in {about['units']}" if about["units"] else ""
    taken = {name for part in about["parts"].values() for name in part["inputs"]}
    lines = [
        "# A forecaster, exported by foreframe",
        "",
        f"Frames (B,{about['channels']},H,W), float32{units}, {frames}; NaN is a missing value. It "
        f"was trained to see {about['past']} and to forecast {about['future']}; each step makes "
        f"{about['horizon']}.",
        "",
        "1. `encode`: a frame and a state -> the state after it. `about.json` has the first state.",
        "2. `begin`: an encoded state -> one that is ready to step.",
        "3. `step`: a state -> the next frames, and the state after them.",
        "",
        *(f"{text}\n" for name, text in TAKES.items() if name in taken),
        "Largest differences from foreframe, as a share of the values' range: "
        + ", ".join(f"{name} {value:.1e}" for name, value in about["parity"].items())
        + ".",
        "",
        "`python example.py CLIP.npy OUT.npy --steps 12` needs numpy and onnxruntime.",
    ]
    if about["beyond_example"]:
        lines += ["", f"It cannot make {', '.join(about['beyond_example'])}: see above."]
    if "steps" in about:
        lines += ["", f"`foreframe predict` takes this folder, and makes {about['steps']} at once."]
    return "\n".join(lines) + "\n"
