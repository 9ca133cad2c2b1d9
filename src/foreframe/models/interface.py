"""The model interface as a type, `Model`; the docstring of `foreframe.models` describes it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.clips.clip import Window
from foreframe.clips.frames import fill_missing

State = dict[str, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
"""Forecasts and their truth, (B,T,C,H,W) both and NaN where the truth is missing, to one number."""


class Learnt(NamedTuple):
    """The result of a model's own objective for one batch.

    Attributes:
        loss: to be minimised.
        forecast: of the future, for the pictures of a training.
        terms: parts of the loss by name, to be logged.
    """

    loss: Float[Tensor, ""]
    forecast: Float[Tensor, "b s c h w"]
    terms: dict[str, Float[Tensor, ""]]


class Model(nn.Module):
    """A model is a subclass that writes `encode` and `decode` and sets `args` and `channels`.

    Attributes:
        args: plain values that rebuild the model: `type(model)(**model.args)`.
        channels: C of the frames that it forecasts, or None for any number; past frames have these
            channels first, then `inputs` more.
        inputs: number of channels of the past that it does not forecast; their future, where it is
            known, comes with the state (`with_known`).
        stride: side in pixels of the blocks that one pixel of its maps stands for; in large frames
            see `stride_in`.
        memory: "keep" what the backward pass needs, or "save" memory and compute it again. Not in
            `args`, since the model is the same. Models that take the whole past at once may ignore
            it.
        compiled: whether the elementwise part of recurrent cells is compiled, which on a CPU needs
            a C++ compiler; None: on CUDA, where that works. Not in `args`.
        reduces: whether it reduces large frames, so that it forecasts frames of any size.
        bounded: whether its forecasts always lie in (0,1), as cross-entropy needs.
        free: names in `args` that the shapes of weights do not depend on: weights trained with
            other values fit.
        draws: whether it has several futures: `decode` draws one for each key in the state
            (`foreframe.models.members`).
    """

    args: dict[str, Any]
    channels: int | None
    inputs: int = 0
    stride: int = 1
    memory: str = "keep"
    compiled: bool | None = None
    reduces: bool = False
    bounded: bool = False
    free: Sequence[str] = ()
    draws: bool = False

    @property
    def takes(self) -> int | None:
        """Channels of the past, inputs included; None for any."""
        return None if self.channels is None else self.channels + self.inputs

    def stride_in(self, size: Sequence[int]) -> int:
        """The stride in frames of that size (H,W), a multiple of `stride`: tiles of that size begin
        at multiples of it.
        """
        return self.stride

    def encode(self, past: Float[Tensor, "b t _ h w"], state: State | None = None) -> State:
        """The state after the past, which continues from `state` where one is given. Any T >= 1."""
        raise NotImplementedError

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps c h w"]:
        """Forecast from `state`, which is left as it was. Any steps >= 1."""
        raise NotImplementedError

    def shared(self, state: State, steps: int) -> State:
        """A state that holds what all members have in common, such as the forecast of a guide, so
        that it is computed once. Only to decode members from, for up to `steps` frames. By default
        the state as it is.
        """
        return state

    def learn(self, clips: Float[Tensor, "b t _ h w"], window: Window, loss: Loss) -> Learnt | None:
        """The model's own objective: with a term beside the loss, say, or with networks that see
        the true future and that no forecast needs. By default None: training then minimises `loss`
        of the forecast.

        Random numbers come from torch's generator, which training seeds for each step.

        Args:
            clips: past and future, inputs included, NaN where a value is missing.
            window: which of their frames are past.
            loss: the one that was chosen for training.
        """
        return None

    def begun_by(self, trained: "Model") -> "Model":
        """The part of this model that training starts from the weights of `trained`: by default
        all of it.
        """
        return self

    @property
    def guide(self) -> "Model | None":
        """The baseline that the model starts from, or several as one model; None without any."""
        return None

    def decode_with_guide(
        self, state: State, steps: int
    ) -> tuple[Float[Tensor, "b steps c h w"], Float[Tensor, "b steps c h w"]]:
        """The forecast, and that of the guide, of several the first; of models that have one."""
        raise NotImplementedError

    def forward(
        self,
        past: Float[Tensor, "b t _ h w"],
        steps: int,
        known: Float[Tensor, "b s i h w"] | None = None,
    ) -> Float[Tensor, "b steps c h w"]:
        """Encode the past, then decode; `known` are the inputs of the future."""
        state = self.encode(past)
        return self.decode(state if known is None else with_known(state, known), steps)

    if TYPE_CHECKING:  # to torch a module gives anything

        def __call__(self, past: Tensor, steps: int, known: Tensor | None = None) -> Tensor: ...

    def step_values(self, height: int, width: int) -> int:
        """Values of the largest map in a recurrent core, for one frame H x W; 0 without a core."""
        return 0

    def start_at(self, mean: float) -> None:
        """Set biases so that the untrained network forecasts about `mean`, if the model can."""


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


def parts_of(clips: Float[Tensor, "b t _ h w"], window: Window, inputs: int) -> Parts:
    """Split clips, whose last `inputs` channels are not forecast, at the end of the past.

    Raises:
        ValueError: clips shorter than the window.
    """
    past, future = window.split(clips)
    past, last = fill_missing(past)
    c = clips.shape[2] - inputs
    known = fill_missing(future[:, :, c:], last[:, c:])[0] if inputs else None
    return Parts(past, known, future[:, :, :c], last[:, :c])


def known_inputs(
    state: State, steps: int, last: Float[Tensor, "b i h w"]
) -> Float[Tensor, "b steps i h w"]:
    """The inputs of the next frames as `with_known` gave them; `last` is the last one seen."""
    known = state.get("known", last.unsqueeze(1))[:, :steps].to(last.dtype)
    further = steps - known.shape[1]
    return torch.cat([known, known[:, -1:].expand(-1, further, -1, -1, -1)], dim=1)


def joined(
    frames: Float[Tensor, "b *t _ h w"], inputs: Float[Tensor, "b *t _ h w"]
) -> Float[Tensor, "b *t _ h w"]:
    """Frames and their inputs, side by side; not copied where there are none."""
    return torch.cat([frames, inputs], dim=-3) if inputs.shape[-3] else frames
