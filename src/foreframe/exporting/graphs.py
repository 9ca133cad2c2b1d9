"""A forecaster as files that run where Python does not: ONNX, OpenVINO, and torch's pt2.

Three graphs, from named tensors to named tensors: `encode` takes one frame into a state, `begin`
makes of it a state that is ready to step, and `step` makes the next frames. Frames go in and come
out in the data's units; NaN is a missing value.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim

from foreframe.base.extras import needed
from foreframe.base.notes import warn
from foreframe.clips.frames import missing_where_unseen
from foreframe.forecasting.forecast_options import ExportOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import State, members
from foreframe.models.interface import fixed_size
from foreframe.models.motion import blurred
from foreframe.models.noise import KEYS, Noise

OPSET = 18
LONGEST = 4096  # pixels of a side
# Names that no model has in its state: the last value seen at each pixel, NaN before the first; the
# frames that a graph takes, and those that it makes.
LAST, TAKEN, MADE = "/last", "/taken", "/made"
ENTERING = ("known", "noise")  # inputs of a step that are no state
FEW = 64  # numbers, which are stored as they are

Runner = Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]
"""Runs an exported file: inputs by name -> its outputs in their order."""


def export_to(
    folder: Path, forecaster: Forecaster, options: ExportOptions, scores: str = ""
) -> dict[str, float]:
    """Write the graphs of a forecaster to a folder, new or empty, with a card, an example that runs
    them without foreframe, and parity.json: the largest differences of each graph, and of a
    forecast by all of them ("chain"), from the model at sizes other than those of the export, as a
    share of the values' range. Returns these.

    Args:
        folder, forecaster, options: with `options.half` float16 must hold the weights.
        scores: Markdown of the card.

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
    runs = [WRITERS[options.format](graph, folder, options.half) for graph in parts]
    sizes = parts[0].other_sizes()
    parity = {
        graph.name: max(graph.distance(run, size) for size in sizes)
        for graph, run in zip(parts, runs, strict=True)
    }
    parity["chain"] = max(_chain_distance(parts, runs, size) for size in sizes)
    about = _about(forecaster, parts, options) | {"parity": parity}
    for name, values in (("about", about), ("parity", parity)):
        (folder / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(_card(about, scores), encoding="utf-8")
    if options.format == "onnx":
        shutil.copyfile(Path(__file__).with_name("example.py"), folder / "example.py")
    return parity


class Part(nn.Module):
    """A function of tensors in order, made of one of tensors by name. It holds the weights."""

    def __init__(
        self,
        model: nn.Module,
        function: Callable[[State], State],
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:
        super().__init__()
        self.model, self.function = model, function
        self.names, self.results = inputs, outputs

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        found = self.function(dict(zip(self.names, values, strict=True)))
        # An input that is handed on is copied: a runtime may refuse the same name twice.
        return tuple((found[name] + 0).to(found[name].dtype) for name in self.results)


@dataclass
class Graph:
    """A part of a forecast as a module of tensors.

    Args:
        name: of its file.
        module: takes the inputs in their order, and gives the outputs in theirs.
        inputs, outputs: names.
        example: inputs for frames of a size (B,H,W).
        size: (H, W) at which it is exported.
        stride: both sides of frames are multiples of it.
        fixed: whether frames can have that size alone.
    """

    name: str
    module: Part
    inputs: Sequence[str]
    outputs: Sequence[str]
    example: Callable[[tuple[int, int, int]], tuple[Tensor, ...]]
    size: tuple[int, int]
    stride: int
    fixed: bool

    def other_sizes(self) -> list[tuple[int, int, int]]:
        """Two sizes (B,H,W) to check it at."""
        (h, w), k = self.size, self.stride
        if self.fixed:
            return [(1, h, w), (3, h, w)]
        return [(1, h + k, w + 2 * k), (3, h + 2 * k, w)]

    def exported(self) -> torch.export.ExportedProgram:
        b, h, w = 2, *self.size  # a batch of 1 would be taken for a constant
        args, larger = self.example((b, h, w)), (b + 1, h + self.stride, w + 2 * self.stride)
        sides = [Dim("b", min=1, max=1024)]
        sides += [Dim(side, min=1, max=LONGEST // self.stride) for side in ("h", "w")]
        others = args if self.fixed else self.example(larger)
        shapes = [
            {0: sides[0]}
            | {
                axis: self._dim(here, there, (h, w), larger[1:], sides[1:])
                for axis, (here, there) in enumerate(zip(arg.shape, other.shape, strict=True))
                if axis and here != there
            }
            for arg, other in zip(args, others, strict=True)
        ]
        with fixed_size(self.size), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(
                self.module, args, dynamic_shapes=(tuple(shapes),), strict=False
            )

    def _dim(
        self,
        here: int,
        there: int,
        size: Sequence[int],
        larger: Sequence[int],
        sides: Sequence[Any],
    ) -> Any:
        """The dimension of an axis, which is a side of the frames or of maps."""
        for side, other, dim in zip(size, larger, sides, strict=True):
            if side * there == other * here and side % here == 0:
                times = self.stride * here // side
                return times * dim if times > 1 else dim
        raise ValueError(f"{self.name}: a size of {here} is no part of frames {size}")

    def inputs_of(self, size: tuple[int, int, int]) -> dict[str, np.ndarray]:
        """The example by name."""
        named = zip(self.inputs, self.example(size), strict=True)
        return {name: value.numpy() for name, value in named}

    def by_torch(self, named: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """What the model itself makes: the `Runner` that others are compared with."""
        with fixed_size(self.size), torch.no_grad():
            found = self.module(*(torch.from_numpy(named[name]) for name in self.inputs))
        return [value.numpy() for value in found]

    def distance(self, run: Runner, size: tuple[int, int, int]) -> float:
        """The largest difference of the outputs, as a share of their range or of 1."""
        named = self.inputs_of(size)
        return _apart(self.by_torch(named), run(named))


def _apart(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """The largest difference, as a share of what is expected or of 1."""
    return max(
        float(np.nan_to_num(np.abs(there.astype(float) - here)).max(initial=0))
        / max(1.0, float(np.abs(np.nan_to_num(here.astype(float))).max(initial=0)))
        for here, there in zip(expected, found, strict=True)
    )


def _chain_distance(
    parts: Sequence[Graph], runs: Sequence[Runner], size: tuple[int, int, int]
) -> float:
    """The largest difference of a forecast by the first three parts one after the other."""
    by_torch = _chained(parts[:3], [graph.by_torch for graph in parts[:3]], size)
    return _apart(by_torch, _chained(parts[:3], runs[:3], size))


def _chained(
    parts: Sequence[Graph], runs: Sequence[Runner], size: tuple[int, int, int]
) -> list[np.ndarray]:
    """Frames of two steps after two frames: what a part gives goes into the next."""
    given: dict[str, np.ndarray] = {}
    frames = []
    for k in (0, 0, 1, 2, 2):
        named = {name: given.get(name, own) for name, own in parts[k].inputs_of(size).items()}
        found = dict(zip(parts[k].outputs, runs[k](named), strict=True))
        if "frames" in found:
            frames.append(found.pop("frames"))
        numbers = {name.split("_")[1]: value for name, value in found.items()}
        given = {f"state_{number}_in": value for number, value in numbers.items()}
        given |= {f"encoded_{number}": value for number, value in numbers.items()}
    return frames


def graphs(forecaster: Forecaster, options: ExportOptions) -> list[Graph]:
    """The parts of a forecaster.

    Raises:
        ValueError: a model that does not export; members of a model that draws none.
    """
    model, scaling = forecaster.model.eval(), forecaster.scaling
    if options.noise and not model.draws:
        raise ValueError("this model draws no members: export it without")
    channels = model.takes or options.channels
    fixed = model.sized
    size = options.size or forecaster.trained.frame or (64, 64)
    stride = model.stride_in(size)
    # Two maps or more: a side of one would be taken for a constant.
    h, w = (max(2, round(side / stride)) * stride for side in size)
    if h == w and not fixed:
        w += stride  # a side is told from the other by its length
    targets = channels - model.inputs

    def frames(size: tuple[int, int, int], t: int = 1) -> Float[Tensor, "b t c h w"]:
        return scaling.to_units(_smooth(size[0], t, channels, *size[1:]))

    def encode(named: State) -> State:
        state = {name: value for name, value in named.items() if name not in (TAKEN, LAST)}
        frame = scaling.to_network(named[TAKEN])
        last = torch.where(frame.isnan(), named[LAST], frame)
        filled = torch.where(last.isnan(), 0.0, last)
        return model.encode(filled.unsqueeze(1), state or None) | {LAST: last}

    def begin(named: State) -> State:
        state = {name: value for name, value in named.items() if name != LAST}
        return model.begin(state) | {LAST: named[LAST][:, :targets]}

    def step(named: State) -> State:
        state = {name: value for name, value in named.items() if name != LAST}
        made, state = model.step(state)
        made = missing_where_unseen(made, named[LAST])
        if "noise" in named:
            made = made.clamp(*scaling.network_bounds)
        return state | {MADE: scaling.to_units(made), LAST: named[LAST]}

    def step_from_units(named: State) -> State:
        known = {name: scaling.inputs_to_network(named[name]) for name in named if name == "known"}
        return step(named | known)

    def forecast(named: State) -> State:
        past, steps, made = named[TAKEN], options.steps or 1, []
        state = {LAST: torch.full_like(past[:, 0], torch.nan)}
        for frame in past.unbind(dim=1):
            state = encode(state | {TAKEN: frame})
        state = begin(state | model.exogenous(state, steps))
        for _ in range(0, steps, model.horizon):
            state = step(state)
            made.append(state.pop(MADE))
        return {MADE: torch.cat(made, dim=1)[:, :steps]}

    def encoded(size: tuple[int, int, int], t: int = 3) -> State:
        past = scaling.to_network(frames(size, t))
        return model.encode(past) | {LAST: past[:, -1]}

    def before(size: tuple[int, int, int]) -> State:
        """What `begin` takes, and what enters the first step."""
        state = encoded(size)
        if options.noise:
            state = members(state, 1, seed=0)
        return state | model.exogenous(state, 1)

    def ready(size: tuple[int, int, int]) -> State:
        """After a step, as maps that a forecast begins with may all be the same zeros."""
        state = before(size)
        last = state.pop(LAST)
        begun = model.begin(state)
        entering = {name: begun[name] for name in ENTERING if name in begun}
        return model.step(begun)[1] | entering | {LAST: last[:, :targets]}

    with torch.no_grad():
        some = (2, h, w)
        names = sorted(encoded(some))
        outside = sorted(before(some).keys() - {*names, *ENTERING, *KEYS})
        going_on = ready(some)
        begun = sorted(name for name in going_on if name not in ENTERING)
        entering = sorted(name for name in going_on if name in ENTERING)

    def part(
        name: str,
        function: Callable[[State], State],
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        example: Callable[[tuple[int, int, int]], State],
    ) -> Graph:
        def values(size: tuple[int, int, int]) -> tuple[Tensor, ...]:
            with torch.no_grad(), fixed_size((h, w)):
                state = example(size)
            # Copies: inputs that are one tensor would be taken for one input.
            return tuple(
                state[name].clone(memory_format=torch.contiguous_format) for name in inputs
            )

        module = Part(model, function, list(inputs), list(outputs))
        shown = list(inputs.values()), list(outputs.values())
        return Graph(name, module, *shown, values, (h, w), stride, fixed)

    def numbered(names: Sequence[str], end: str) -> dict[str, str]:
        return {name: f"state_{k:02}{end}" for k, name in enumerate(names)}

    one = {TAKEN: "frame"}
    given = {name: name for name in entering}
    given_outside = {name: f"outside_{k:02}" for k, name in enumerate(outside)}
    parts = [
        part(
            "encode",
            encode,
            one | numbered(names, "_in"),
            numbered(names, "_out"),
            lambda size: {TAKEN: frames(size)[:, 0]} | encoded(size),
        ),
        part(
            "begin",
            begin,
            {name: name for name in before(some) if name in ENTERING}
            | {name: f"encoded_{k:02}" for k, name in enumerate(names)}
            | given_outside,
            numbered(begun, "_out"),
            before,
        ),
        part(
            "step",
            step_from_units,
            given | numbered(begun, "_in"),
            {MADE: "frames"} | numbered(begun, "_out"),
            ready,
        ),
    ]
    if options.steps and outside:
        raise ValueError(
            "a whole forecast in one file cannot find OpenCV's motion: export without steps"
        )
    if options.steps:
        past = forecaster.window.past
        parts.append(
            part(
                "forecast",
                forecast,
                {TAKEN: "past"},
                {MADE: "frames"},
                lambda size: {TAKEN: frames(size, past)},
            )
        )
    return parts


def _smooth(b: int, t: int, c: int, h: int, w: int) -> Float[Tensor, "b t c h w"]:
    """Frames in [0,1] of soft spots of many sizes, which drift."""
    noise = torch.rand(b, c, h + t, w + t, generator=torch.Generator().manual_seed(0))
    soft = blurred(noise, 1.0) + blurred(noise, 3.0)
    soft = (soft - soft.min()) / (soft.max() - soft.min())
    return torch.stack([soft[..., k : k + h, k : k + w] for k in range(t)], dim=1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters tell their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _onnx(graph: Graph, folder: Path, half: bool) -> Runner:
    needed("onnxscript", "export", "export")
    onnx, runtime = (needed(module, "export", "export") for module in ("onnx", "onnxruntime"))
    with _quiet(), torch.no_grad():
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
    path = folder / f"{graph.name}.onnx"
    settings = runtime.SessionOptions()
    settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(path)
    settings.log_severity_level = 3  # errors alone
    runtime.InferenceSession(program.model_proto.SerializeToString(), settings)
    if half:
        model = onnx.load(path)
        _store_as_half(model.graph)
        onnx.save(model, path)
    session = runtime.InferenceSession(path)

    def run(named: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        found: Sequence[np.ndarray] = session.run(list(graph.outputs), dict(named))
        return found

    return run


def _store_as_half(graph: Any) -> None:
    """Store weights of an ONNX graph that float16 holds as such, each with a cast to float32."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        name, numbers = weight.name, numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = numbers.astype(np.float16)
        if numbers.dtype == np.float32 and numbers.size >= FEW and (half == numbers).all():
            weight.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _openvino(graph: Graph, folder: Path, half: bool) -> Runner:
    openvino = needed("openvino", "export", "export --format openvino")
    path = folder / f"{graph.name}.xml"
    with TemporaryDirectory() as rough:
        _onnx(graph, Path(rough), half=False)
        model = openvino.convert_model(str(Path(rough) / f"{graph.name}.onnx"))
        openvino.save_model(model, str(path), compress_to_fp16=half)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16, where a processor has it
    compiled = openvino.Core().compile_model(str(path), "CPU", exact)
    known = {name for one in compiled.inputs for name in one.get_names()}

    def run(named: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        found = compiled({name: value for name, value in named.items() if name in known})
        return [found[name] for name in graph.outputs]

    return run


def _pt2(graph: Graph, folder: Path, half: bool) -> Runner:
    with _quiet():
        program = graph.exported()
        torch.export.save(program, folder / f"{graph.name}.pt2")
    module: Any = program.module()

    def run(named: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        with torch.no_grad():
            found = module(*(torch.from_numpy(named[name]) for name in graph.inputs))
        return [value.numpy() for value in found]

    return run


WRITERS = {"onnx": _onnx, "openvino": _openvino, "pt2": _pt2}


def _about(
    forecaster: Forecaster, parts: Sequence[Graph], options: ExportOptions
) -> dict[str, Any]:
    """What somebody who runs the files needs to know, as plain values."""
    by_name = {graph.name: graph for graph in parts}
    encode, step = by_name["encode"], by_name["step"]
    window, scaling = forecaster.window, forecaster.scaling
    start = {}
    shapes = encode.example((1, *encode.size))
    for name, own, value in zip(encode.inputs, encode.module.names, shapes, strict=True):
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
        beyond.add("noise")  # with a structure in space and time
    return {
        "past": window.past,
        "future": window.future,
        "units": scaling.units,
        "channels": shapes[0].shape[1],
        "horizon": forecaster.model.horizon,
        "multiple": encode.stride,
        "size": list(encode.size) if encode.fixed else None,
        "format": options.format,
        "parts": {g.name: {"inputs": g.inputs, "outputs": g.outputs} for g in parts},
        "start": start,
        "entering": entering,
        "beyond_example": sorted(beyond & {name for graph in parts for name in graph.inputs}),
    }


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
    "Models with `noise` among their arguments want it as foreframe/models/noise.py draws it.",
    "known": "`step` takes `known`: the inputs of the frame that it makes, in their units.",
}
"""What the graphs take beside frames and states."""


def _card(about: Mapping[str, Any], scores: str) -> str:
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
    ]
    if about["format"] == "onnx":
        lines += [
            "",
            "`python example.py CLIP.npy OUT.npy --steps 12` needs numpy and onnxruntime.",
        ]
        if about["beyond_example"]:
            lines += ["", f"It cannot make {', '.join(about['beyond_example'])}: see above."]
    lines += ["", "## Scores", "", scores or "None are known: `foreframe evaluate` finds them."]
    return "\n".join(lines) + "\n"
