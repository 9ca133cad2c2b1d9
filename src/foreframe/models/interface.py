"""The model interface as a type, `Model`; the docstring of `foreframe.models` describes it."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from foreframe.clips.clip import Window
from foreframe.clips.frames import fill_missing
from foreframe.clips.scaling import Scaling
from foreframe.models.engine import one_pass, pass_for

Past = Float[Tensor, "b t _ h w"]  # inputs included
Future = Float[Tensor, "b s c h w"]
State = dict[str, Tensor]
Result = tuple[Any, State]  # of a step, and the state after it

BEFORE_STEP: ContextVar[Callable[[], Any]] = ContextVar("before_step", default=lambda: None)
"""A function that is called before each step. It raises to end a forecast that is no longer needed.
By context, so that each thread of a service checks its own work.
"""


class TrainingForecast(NamedTuple):
    """A forecast that a training judges.

    Attributes:
        forecast: of clips, or of some members of each; compared with the truth by the loss.
        truth: of the same frames, NaN where a value is missing.
        state: for `Model.terms`; of a forecast that is not teacher-forced the state after it.
    """

    forecast: Float[Tensor, "bm s c h w"]
    truth: Future
    state: State


class Model(nn.Module):
    """A model is a subclass that writes `encode` and `step`, and `begin` where its steps need what
    its encoded state has not, and sets `channels` unless it forecasts any number of them.

    Attributes:
        args: plain values that rebuild the model, `type(model)(**model.args)`: what its class was
            called with, and the defaults.
        channels: C of the frames that it forecasts, or None for any number; past frames have these
            channels first, then `inputs` more.
        inputs: number of channels of the past that it does not forecast; their known future comes
            with the state (`with_known`).
        horizon: number of frames that a step makes.
        stride: side in pixels of the blocks that one pixel of its maps stands for; in large frames
            see `stride_in`.
        memory: "keep" what the backward pass needs, or "save" memory and compute it again. Not in
            `args`, since the model is the same. Models that take the whole past at once may ignore
            it.
        compiled: whether the elementwise part of recurrent cells is compiled, which on a CPU needs
            a C++ compiler; None: where that works and pays back, see `engine.elementwise`. Not in
            `args`.
        reduces: whether it reduces large frames, so that it forecasts frames of any size.
        bounded: whether all its forecasts are in (0,1), as cross-entropy requires.
        free: names in `args` that the shapes of weights do not depend on: weights trained with
            other values fit.
        sized: whether what it does depends on the frames' size: an exported one has a single size.
        draws: whether it has several futures: `decode` draws one for each key in the state
            (`foreframe.models.members`).
        made_for: units of the data in whose scorecards an installed baseline is a row.
    """

    args: dict[str, Any]
    channels: int | None = None
    inputs: int = 0
    horizon: int = 1
    stride: int = 1
    memory: str = "keep"
    compiled: bool | None = None
    reduces: bool = False
    bounded: bool = False
    free: Sequence[str] = ()
    sized: bool = False
    draws: bool = False
    made_for: str = ""

    def __init__(self) -> None:
        super().__init__()
        vars(self).setdefault("args", {})  # of a subclass without a constructor

    def __init_subclass__(cls) -> None:
        if "__init__" in vars(cls):
            cls.__init__ = recorded(cls.__init__)  # type: ignore[method-assign]

    @property
    def takes(self) -> int | None:
        """Channels of the past, inputs included; None for any."""
        return None if self.channels is None else self.channels + self.inputs

    def stride_in(self, size: Sequence[int]) -> int:
        """The stride in frames of that size (H,W), a multiple of `stride`: tiles of that size begin
        at multiples of it.
        """
        return self.stride

    def encode(self, past: Past, state: State | None = None) -> State:
        """Return the state after the past, which continues from `state` if it is given. Any T >= 1.

        Its names and shapes depend on the model and the frames' size, not on how many were seen.
        """
        raise NotImplementedError

    def start(self, past: Past) -> State:
        """The state before the first frame: zeros, for frames of this size. To encode from it is to
        encode from None.
        """
        return {name: torch.zeros_like(value) for name, value in self.encode(past[:, :1]).items()}

    def exogenous(self, state: State, steps: int) -> State:
        """Return external inputs of a forecast by name: noise drawn from the state's keys, or
        motion from another library. A step itself neither draws random numbers nor calls another
        library.
        """
        return {}

    def begin(self, state: State) -> State:
        """Convert an encoded state with its external inputs to a state that is ready to step. Steps
        consume tensors with a second axis of lead times, such as known inputs and noise; the last
        item stays.
        """
        return state

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        """The next `horizon` frames, and the state after them.

        Args:
            state: of `begin`, or of the previous step; it is not changed.
            last: whether no step follows: the returned state is then not used.
        """
        raise NotImplementedError

    def advance(self, state: State, steps: int, last: bool = False) -> tuple[Future, State]:
        """The next frames, and the state after the last step. Any steps >= 1; arguments as of
        `step`.
        """
        count = -(-steps // self.horizon)
        frames, state = self.loop(
            lambda k, state: self.step(state, last and k == count - 1), state, count
        )
        return torch.cat(frames, dim=1)[:, :steps], state

    def decode(self, state: State, steps: int) -> Future:
        """Forecast from an encoded state, which is not changed. Any steps >= 1."""
        return self.rollout(state, steps)[0]

    def rollout(self, state: State, steps: int) -> tuple[Future, State]:
        """The forecast of `decode`, and the state after it, for `terms`: no step can follow."""
        begun = self.begin(state | self.exogenous(state, steps))
        return self.advance(begun, steps, last=True)

    def loop(
        self, step: Callable[[int, State], Result], state: State, count: int
    ) -> tuple[list[Any], State]:
        """Run `step(k, state)` for k = 0, 1, ... below `count`: all outputs, and the last state.

        With memory "save" the backward pass keeps the state every √count steps, and runs the steps
        between once more: so both parts of the memory grow with √count.
        """
        weight = next(self.parameters(), None)
        run: Any = nullcontext()
        if weight is not None:  # within a pass, as in a step that encodes its frame: the same one
            run = pass_for(weight) or one_pass(weight, self.compiled)
        saves = self.memory == "save" and torch.is_grad_enabled()
        length = max(1, math.isqrt(count) if saves else count)

        def stretch(first: int, state: State) -> Result:
            results = []
            with run:
                for k in range(first, min(first + length, count)):
                    if not torch.compiler.is_compiling():
                        BEFORE_STEP.get()()
                    result, state = step(k, state)
                    results.append(result)
            return results, state

        results = []
        for first in range(0, count, length):
            if saves:
                # With its random numbers: what dropout leaves out is left out again.
                stretched, state = checkpoint(stretch, first, state, use_reentrant=False)
            else:
                stretched, state = stretch(first, state)
            results += stretched
        return results, state

    def precompute(self, state: State, steps: int) -> State:
        """Return a state with the results that all members share, such as the forecast of a guide,
        to compute them once. It can only decode members, up to `steps` frames. By default returns
        the same state.
        """
        return state

    def teacher_forced(self, clips: Past, window: Window) -> TrainingForecast | None:
        """The forecast of a training step, of a model with networks that see the true future and
        that no forecast needs. By default None: training then forecasts as everybody does.

        Random numbers come from torch's generator, which training seeds for each step.

        Args:
            clips: past and future, inputs included, NaN where a value is missing.
            window: which of their frames are past.
        """
        return None

    def terms(self, made: TrainingForecast) -> dict[str, Float[Tensor, ""]]:
        """Return terms that the model adds to the training loss of that forecast, by name."""
        return {}

    def freeze_encoder(self) -> None:
        """Freeze all parts that read the past: a state that is ready to step then has no gradient.

        Raises:
            ValueError: a model in which nothing reads the past alone.
        """
        raise ValueError("freeze_encoder is for encoder-decoders, such as guided")

    def matching_part(self, trained: "Model") -> "Model":
        """The part of this model that training starts from the weights of `trained`: by default
        all of it.
        """
        return self

    @property
    def guide(self) -> "Model | None":
        """The baseline that the model starts from, or several as one model; None without any."""
        return None

    def decode_with_guide(self, state: State, steps: int) -> tuple[Future, Future]:
        """Return the forecast and the first guide's forecast; only for models with a guide."""
        raise NotImplementedError

    def forward(
        self,
        past: Past,
        steps: int,
        known: Float[Tensor, "b s i h w"] | None = None,
    ) -> Future:
        """Encode the past, then decode; `known` are the inputs of the future."""
        state = self.encode(past)
        return self.decode(state if known is None else with_known(state, known), steps)

    if TYPE_CHECKING:  # to torch a module gives anything

        def __call__(self, past: Tensor, steps: int, known: Tensor | None = None) -> Tensor: ...

    def step_values(self, height: int, width: int) -> int:
        """Values of the largest map in a recurrent core, for one frame H x W; 0 without a core."""
        return 0

    def never_compile(self) -> None:
        """Leave recurrent cells as they are, of models within this one, too."""
        for part in self.modules():
            if isinstance(part, Model):
                part.compiled = False

    def in_units(self, scaling: Scaling) -> "Model":
        """Return this model for frames of that scaling, which parts that compute in the data's
        units require, such as a head that mixes amounts of rain.
        """
        for part in self.modules():
            if hasattr(part, "scaling"):
                part.scaling = scaling  # type: ignore[assignment]
        return self

    def on_grid(self, spacing: float | None, step: float | None) -> "Model":
        """This model for frames of that many metres from row to row and seconds from frame to
        frame, None where unknown; most models need neither.
        """
        return self

    def at_pace(self, pace: float) -> "Model":
        """This model for frames whose time step is `pace` times that of training; most models
        forecast the same.
        """
        return self

    def start_at(self, mean: float) -> None:
        """Set biases so that the untrained network forecasts about `mean`, if the model can."""


def recorded(initialize: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor that stores its arguments and defaults as plain values in `args`, unless
    a subclass has stored its own.
    """
    signature = inspect.signature(initialize)

    @wraps(initialize)
    def recording(self: Model, *values: Any, **named: Any) -> None:
        if "args" not in vars(self):
            arguments = signature.bind_partial(self, *values, **named)
            arguments.apply_defaults()
            _, *args = arguments.arguments.items()
            self.args = {name: _plain(value) for name, value in args}
        initialize(self, *values, **named)

    return recording


def _plain(value: Any) -> Any:
    """Mappings as dicts and sequences as lists, as a file of JSON gives them."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


_fixed_size: ContextVar[Sequence[int] | None] = ContextVar("fixed_size", default=None)


@contextmanager
def fixed_size(size: Sequence[int]) -> Iterator[None]:
    """Within it all that depends on the frames' size (H,W), such as how much large frames are
    reduced, is as for this size: a graph that is exported has one way for all sizes.
    """
    token = _fixed_size.set(size)
    try:
        yield
    finally:
        _fixed_size.reset(token)


def deciding_size(size: Sequence[int]) -> Sequence[int]:
    """The size (H,W) that decides: the frames' own, or a fixed one."""
    fixed = _fixed_size.get()
    return size if fixed is None else fixed


def with_known(state: State, known: Float[Tensor, "b s i h w"]) -> State:
    """The state, with the inputs of the next s frames. Beyond them the last one is repeated;
    without them the last one seen. A state that is encoded from it knows them no longer.
    """
    return {**state, "known": known}


def part_of(state: State, name: str) -> State:
    """The state of a model within a model: its names in the outer one begin with `name`."""
    return {n.removeprefix(name): value for n, value in state.items() if n.startswith(name)}


class Parts(NamedTuple):
    """A batch of clips, split at the end of the past.

    Attributes:
        past: what a model encodes, inputs included; missing values hold the last value seen.
        known: the inputs of the future, filled in the same way; None for a model without inputs.
        truth: the future of the forecast channels, NaN where a value is missing.
        last: the last value seen of the forecast channels, NaN where there never was one.
    """

    past: Float[Tensor, "b _ _ h w"]
    known: Float[Tensor, "b _ _ h w"] | None
    truth: Float[Tensor, "b _ c h w"]
    last: Float[Tensor, "b c h w"]

    @property
    def past_of_targets(self) -> Float[Tensor, "b _ c h w"]:
        """The past without inputs, as baselines see it."""
        return self.past[:, :, : self.last.shape[1]]


def parts_of(clips: Past, window: Window, inputs: int) -> Parts:
    """Split clips, whose last `inputs` channels are not forecast, at the end of the past.

    Raises:
        ValueError: clips shorter than the window.
    """
    past, future = window.split(clips)
    past, last = fill_missing(past)
    c = clips.shape[2] - inputs
    known = fill_missing(future[:, :, c:], last[:, c:])[0] if inputs else None
    return Parts(past, known, future[:, :, :c], last[:, :c])


def with_prefix(prefix: str, state: State) -> State:
    """The state of a model within a model: see `part_of`."""
    return {prefix + name: value for name, value in state.items()}


def push_ring(
    new: Float[Tensor, "b t *_"], state: State | None, size: int, name: str = "frames"
) -> State:
    """The ring of that name after new frames: `name` (b,size,...), the last ones seen, zeros before
    the first, and `name_seen` (b), how many of them were.
    """
    (b, t, *rest), n = new.shape, min(new.shape[1], size)  # len() would fix b in an exported graph
    if state is None:
        before, seen = new.new_zeros(b, size - n, *rest), new.new_zeros(b)
    else:
        before, seen = state[name][:, n:].to(new.dtype), state[f"{name}_seen"]
    ring = new[:, -size:].contiguous()
    if n < size:
        ring = torch.cat([before, new], dim=1)
    return {name: ring, f"{name}_seen": (seen + t).clamp(max=size)}


def pad_with_oldest(state: State) -> Float[Tensor, "b n *_"]:
    """Return the ring "frames", filled up with the oldest frame."""
    frames, seen = state["frames"], state["frames_seen"]
    n = frames.shape[1]
    place = torch.arange(n, device=frames.device)
    place = torch.maximum(place, (n - seen.long()).clamp(max=n - 1)[:, None])
    return gather_frames(frames, place)


def gather_frames(
    frames: Float[Tensor, "b t *_"], place: Int[Tensor, "b n"]
) -> Float[Tensor, "b n *_"]:
    """The frames at these places of each clip."""
    place = place.view(*place.shape, *(1 for _ in frames.shape[2:]))
    return frames.gather(1, place.expand(-1, -1, *frames.shape[2:]))


def where_states(condition: Bool[Tensor, " b"], yes: State, no: State) -> State:
    """`torch.where` by clip, for each tensor of two states."""
    return {
        name: value.where(
            condition.view(-1, *(1 for _ in value.shape[1:])), no[name].to(value.dtype)
        )
        for name, value in yes.items()
    }


def peek(queue: Float[Tensor, "b s *_"], steps: int) -> Float[Tensor, "b steps *_"]:
    """Return the items of a queue along lead times for the next steps; after its end, the last
    item.
    """
    some = queue[:, :steps]
    lacking = steps - some.shape[1]
    if not lacking:
        return some
    rest = some[:, -1:].expand(-1, lacking, *(-1 for _ in queue.shape[2:]))
    return torch.cat([some, rest], dim=1)


def pop(queue: Float[Tensor, "b s *_"], steps: int) -> Float[Tensor, "b _ *_"]:
    """The queue after these steps, never empty: its last stays."""
    return queue[:, steps:] if queue.shape[1] > steps else queue[:, -1:]


def concat_inputs(
    frames: Float[Tensor, "b *t _ h w"], inputs: Float[Tensor, "b *t _ h w"]
) -> Float[Tensor, "b *t _ h w"]:
    """Frames and their inputs along channels; not copied where there are none."""
    return torch.cat([frames, inputs], dim=-3) if inputs.shape[-3] else frames
