"""A forecaster's steps as graphs, from named tensors to named tensors: `encode` takes one frame
into a state, `begin` makes of it a state that is ready to step, and `step` makes the next frames.

Frames go in and come out in the data's units; NaN is a missing value.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim

from foreframe.clips.frames import missing_where_unseen
from foreframe.data import MovingMNIST
from foreframe.forecasting.forecast_options import ExportOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.recordings import DIGITS
from foreframe.models import State, members
from foreframe.models.interface import fixed_size
from foreframe.models.motion import blurred
from foreframe.models.noise import KEYS

LONGEST = 4096  # pixels of a side
# Names that no model has in its state: the last value seen at each pixel, NaN before the first; the
# frames that a graph takes, and those that it makes.
LAST, TAKEN, MADE = "/last", "/taken", "/made"
ENTERING = ("known", "noise")  # inputs of a step that are no state

Size = tuple[int, int, int]  # B, H, W
Function = Callable[[State], State]
Runner = Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]
"""Runs an exported file: inputs by name -> its outputs in their order."""


class Steps:
    """The steps of a forecaster as functions of tensors by name, and examples of these tensors for
    frames of a size.

    Attributes:
        size: (H, W) at which it is exported.
        stride: both sides of frames are multiples of it.

    Raises:
        ValueError: members of a model that draws none.
    """

    def __init__(self, forecaster: Forecaster, options: ExportOptions) -> None:
        self.model, self.scaling = forecaster.model.eval(), forecaster.scaling
        self.options = options
        if options.noise and not self.model.draws:
            raise ValueError("this model draws no members: export it without")
        self.past, self.channels = forecaster.window.past, self.model.takes or options.channels
        self.digits = forecaster.trained.data == DIGITS and self.channels == 1
        size = options.size or forecaster.trained.frame or (64, 64)
        self.stride = self.model.stride_in(size)
        # Two maps or more: a side of one would be taken for a constant.
        h, w = (max(2, round(side / self.stride)) * self.stride for side in size)
        if h == w and not self.model.sized:
            w += self.stride  # sides of different length can be told apart
        self.size = h, w

    def encode(self, named: State) -> State:
        state = {name: value for name, value in named.items() if name not in (TAKEN, LAST)}
        frame = self.scaling.to_network(named[TAKEN])
        last = torch.where(frame.isnan(), named[LAST], frame)
        filled = torch.where(last.isnan(), 0.0, last)
        return self.model.encode(filled.unsqueeze(1), state or None) | {LAST: last}

    def begin(self, named: State) -> State:
        state = {name: value for name, value in named.items() if name != LAST}
        return self.model.begin(state) | {LAST: self._of_targets(named[LAST])}

    def step(self, named: State) -> State:
        state = {name: value for name, value in named.items() if name != LAST}
        made, state = self.model.step(state)
        made = missing_where_unseen(made, named[LAST])
        if "noise" in named:
            made = made.clamp(*self.scaling.network_bounds)
        return state | {MADE: self.scaling.to_units(made), LAST: named[LAST]}

    def step_from_units(self, named: State) -> State:
        """As `step`, where known inputs are in their units."""
        scale = self.scaling.inputs_to_network
        return self.step(named | {name: scale(named[name]) for name in named if name == "known"})

    def forecast(self, named: State) -> State:
        past, steps, made = named[TAKEN], self.options.steps or 1, []
        state = {LAST: torch.full_like(past[:, 0], torch.nan)}
        for frame in past.unbind(dim=1):
            state = self.encode(state | {TAKEN: frame})
        state = self.begin(state | self.model.exogenous(state, steps))
        for _ in range(0, steps, self.model.horizon):
            state = self.step(state)
            made.append(state.pop(MADE))
        return {MADE: torch.cat(made, dim=1)[:, :steps]}

    def _of_targets(self, frame: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _ h w"]:
        """Without inputs, which are not forecast."""
        return frame[:, : self.channels - self.model.inputs]

    def for_encode(self, size: Size) -> State:
        return {TAKEN: self._frames(size, self.past)[:, -1]} | self._encoded(size)

    def for_begin(self, size: Size) -> State:
        """Also what enters the first step."""
        state = self._encoded(size)
        if self.options.noise:
            state = members(state, 1, seed=0)
        return state | self.model.exogenous(state, 1)

    def for_step(self, size: Size) -> State:
        """After a step, as maps that a forecast begins with may all be the same zeros."""
        state = self.for_begin(size)
        last = state.pop(LAST)
        ready = self.model.begin(state)
        entering = {name: ready[name] for name in ENTERING if name in ready}
        return self.model.step(ready)[1] | entering | {LAST: self._of_targets(last)}

    def for_forecast(self, size: Size) -> State:
        return {TAKEN: self._frames(size, self.past)}

    def _encoded(self, size: Size) -> State:
        past = self.scaling.to_network(self._frames(size, max(2, self.past))[:, :-1])
        return self.model.encode(past) | {LAST: past[:, -1]}

    def _frames(self, size: Size, t: int) -> Float[Tensor, "b t c h w"]:
        """Return frames like the generated training data, if the model has any: `sprites` forecasts
        only moving objects reliably.
        """
        if self.digits:
            clips = MovingMNIST("test", canvas=size[1:], length=t).batch(range(size[0]))
            return self.scaling.to_units(clips)
        return self.scaling.to_units(_smooth(size[0], t, self.channels, *size[1:]))


class Graph(nn.Module):
    """A part of a forecast as a module from tensors in order to tensors in order.

    Args:
        name: of its file.
        steps: what it is a part of.
        function: what it computes, of tensors by the model's names.
        inputs, outputs: the model's names, and those in the file.
        state: the function's input for frames of a size.

    Attributes:
        inputs, outputs: names in the file.
        names, results: the same tensors by the model's names.
        size, stride: as of `Steps`.
        fixed: whether frames can have that size alone.
    """

    def __init__(
        self,
        name: str,
        steps: Steps,
        function: Function,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        state: Callable[[Size], State],
    ) -> None:
        super().__init__()
        self.model = steps.model  # which holds the weights
        self.name, self._function, self._state = name, function, state
        self.names, self.results = list(inputs), list(outputs)
        self.inputs, self.outputs = list(inputs.values()), list(outputs.values())
        self.size, self.stride, self.fixed = steps.size, steps.stride, steps.model.sized

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        alone = self.fixed and torch.compiler.is_exporting()  # one clip, as `exported` says
        values = tuple(value[None] for value in values) if alone else values
        found = self._function(dict(zip(self.names, values, strict=True)))
        # An input that is handed on is copied: a runtime may refuse the same name twice.
        results = ((found[name] + 0).to(found[name].dtype) for name in self.results)
        return tuple(value[0] if alone else value for value in results)

    def example(self, size: Size) -> tuple[Tensor, ...]:
        """Its inputs for frames of a size."""
        with torch.no_grad(), fixed_size(self.size):
            state = self._state(size)
        # Copies: inputs that are one tensor would be taken for one input.
        copied = {"memory_format": torch.contiguous_format}
        return tuple(state[name].clone(**copied) for name in self.names)

    def other_sizes(self) -> list[Size]:
        """Two sizes (B,H,W) to check it at."""
        (h, w), k = self.size, self.stride
        if self.fixed:
            return [(1, h, w), (3, h, w)]
        return [(1, h + k, w + 2 * k), (3, h + 2 * k, w)]

    def exported(self) -> torch.export.ExportedProgram:
        """Export the graph. A graph of one size is for one clip, without the clips' axis: torch
        takes three times as long if their number is a symbol.
        """
        b, h, w = 2, *self.size  # a batch of 1 would be taken for a constant
        args, larger = self.example((b, h, w)), (b + 1, h + self.stride, w + 2 * self.stride)
        clips = Dim("b", min=1, max=1024)
        sides = [Dim(side, min=1, max=LONGEST // self.stride) for side in ("h", "w")]

        def dim(here: int, there: int) -> Any:
            """The dimension of an axis, which is a side of the frames or of maps."""
            for side, other, free in zip((h, w), larger[1:], sides, strict=True):
                if side * there == other * here and side % here == 0:
                    times = self.stride * here // side
                    return times * free if times > 1 else free
            raise ValueError(f"{self.name}: a size of {here} is no part of frames {(h, w)}")

        others = args if self.fixed else self.example(larger)
        shapes = [
            {0: clips}
            | {
                axis: dim(here, there)
                for axis, (here, there) in enumerate(zip(arg.shape, other.shape, strict=True))
                if axis and here != there
            }
            for arg, other in zip(args, others, strict=True)
        ]
        free = None if self.fixed else (tuple(shapes),)
        args = tuple(value[0] for value in args) if self.fixed else args
        with fixed_size(self.size), torch.no_grad(), warnings.catch_warnings(action="ignore"):
            return torch.export.export(self, args, dynamic_shapes=free, strict=False)

    def inputs_of(self, size: Size) -> dict[str, np.ndarray]:
        """The example by name."""
        named = zip(self.inputs, self.example(size), strict=True)
        return {name: value.numpy() for name, value in named}

    def by_torch(self, named: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Run the model itself: the `Runner` that others are compared with."""
        with fixed_size(self.size), torch.no_grad():
            found = self(*(torch.from_numpy(named[name]) for name in self.inputs))
        return [value.numpy() for value in found]

    def distance(self, run: Runner, size: Size) -> float:
        """The largest difference of the outputs, as a share of their range or of 1."""
        named = self.inputs_of(size)
        return _apart(self.by_torch(named), run(named))


def graphs(forecaster: Forecaster, options: ExportOptions) -> list[Graph]:
    """The graphs of a forecaster: encode, begin, step, and with `options.steps` forecast.

    Raises:
        ValueError: a model that does not export; members of a model that draws none.
    """
    steps = Steps(forecaster, options)
    some = (2, *steps.size)
    with torch.no_grad():
        encoded, before, ready = steps.for_encode(some), steps.for_begin(some), steps.for_step(some)
    state = sorted(name for name in encoded if name != TAKEN)
    ready_state = sorted(name for name in ready if name not in ENTERING)
    outside = sorted(before.keys() - {*state, *ENTERING, *KEYS})
    if options.steps and outside:
        raise ValueError(
            "a whole forecast in one file cannot find OpenCV's motion: export without steps"
        )
    to_begin = {name: name for name in before if name in ENTERING}
    to_begin |= _numbered(state, "encoded_") | _numbered(outside, "outside_")
    to_step = {name: name for name in sorted(ready) if name in ENTERING}
    to_step |= _numbered(ready_state, "state_", "_in")
    to_encode = {TAKEN: "frame"} | _numbered(state, "state_", "_in")
    after_encode, after = (_numbered(names, "state_", "_out") for names in (state, ready_state))
    made = {MADE: "frames"}
    parts = [
        Graph("encode", steps, steps.encode, to_encode, after_encode, steps.for_encode),
        Graph("begin", steps, steps.begin, to_begin, after, steps.for_begin),
        Graph("step", steps, steps.step_from_units, to_step, made | after, steps.for_step),
    ]
    if options.steps:
        past = {TAKEN: "past"}
        parts.append(Graph("forecast", steps, steps.forecast, past, made, steps.for_forecast))
    return parts


def _numbered(names: Sequence[str], first: str, end: str = "") -> dict[str, str]:
    return {name: f"{first}{k:02}{end}" for k, name in enumerate(names)}


def _apart(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """Return the largest difference, as a share of the largest expected value or of 1."""
    return max(
        float(np.nan_to_num(np.abs(there.astype(float) - here)).max(initial=0))
        / max(1.0, float(np.abs(np.nan_to_num(here.astype(float))).max(initial=0)))
        for here, there in zip(expected, found, strict=True)
    )


def chain_distance(parts: Sequence[Graph], runs: Sequence[Runner], size: Size) -> float:
    """The largest difference of a forecast by the first three parts one after the other: of two
    steps after a frame.
    """
    examples = [graph.inputs_of(size) for graph in parts[:3]]

    def frames(runs: Sequence[Runner]) -> list[np.ndarray]:
        given: dict[str, np.ndarray] = {}
        made = []
        for k in (0, 1, 2, 2):
            named = {name: given.get(name, own) for name, own in examples[k].items()}
            found = dict(zip(parts[k].outputs, runs[k](named), strict=True))
            if "frames" in found:
                made.append(found.pop("frames"))
            numbers = {name.split("_")[1]: value for name, value in found.items()}
            given = {f"state_{number}_in": value for number, value in numbers.items()}
            given |= {f"encoded_{number}": value for number, value in numbers.items()}
        return made

    return _apart(frames([graph.by_torch for graph in parts]), frames(runs))


def _smooth(b: int, t: int, c: int, h: int, w: int) -> Float[Tensor, "b t c h w"]:
    """Frames in [0,1] of soft spots of many sizes, which drift."""
    noise = torch.rand(b, c, h + t, w + t, generator=torch.Generator().manual_seed(0))
    soft = blurred(noise, 1.0) + blurred(noise, 3.0)
    soft = (soft - soft.min()) / (soft.max() - soft.min())
    return torch.stack([soft[..., k : k + h, k : k + w] for k in range(t)], dim=1)
