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
    """One step of training, before its gradients.

    Attributes:
        loss: what is to become small.
        forecast: of the future, as pictures of a training show it.
        terms: what the loss is made of, each logged by its name.
    """

    loss: Float[Tensor, ""]
    forecast: Float[Tensor, "b s c h w"]
    terms: dict[str, Float[Tensor, ""]]


class Model(nn.Module):
    """Two methods to write, `encode` and `decode`, and two attributes to set.

    Attributes:
        args: plain values that rebuild the model: `type(model)(**model.args)`.
        channels: C of the frames that it forecasts, or None for any; past frames have as many, and
            then `inputs` more.
        inputs: channels of the past that it sees and does not forecast; what is known of them in
            the future is laid into the state (`with_known`).
        stride: side of the blocks of pixels that it sees as one, in frames that are not large:
            see `stride_in`.
        memory: "keep" what the backward pass needs, or "save" memory: keep less, and compute the
            rest again. No part of `args`: the model is the same. Models that take the whole past at
            once may ignore it.
        compiled: whether the elementwise part of recurrent cells is compiled, which on a CPU takes
            a C++ compiler; None: on CUDA, where that works. No part of `args`.
        reduces: whether it sees large frames reduced, so that it forecasts frames of any size.
        bounded: whether its forecasts always lie in (0,1), as cross-entropy needs.
        free: names in `args` of what weights do not depend on: those trained with others fit.
        draws: whether it has several futures: `decode` draws from the keys that a state has of its
            members (`foreframe.models.members`).
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
        """Side of the blocks of pixels that it sees as one in frames (H,W), a multiple of `stride`:
        tiles of that size are cut at multiples of it.
        """
        return self.stride

    def encode(self, past: Float[Tensor, "b t _ h w"], state: State | None = None) -> State:
        """Take in the past, on from `state` where one is given. Any T >= 1."""
        raise NotImplementedError

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps c h w"]:
        """Step into the future from `state`, which is left as it was. Any steps >= 1."""
        raise NotImplementedError

    def shared(self, state: State, steps: int) -> State:
        """A state for members of it to be decoded from, `steps` far at most, and for nothing else:
        what all of them have in common, such as the forecast of a guide, is computed once and lies
        in it. By default the state as it is.
        """
        return state

    def learn(self, clips: Float[Tensor, "b t _ h w"], window: Window, loss: Loss) -> Learnt | None:
        """What training makes small, of a model that has an objective of its own, such as one with
        a term beside the loss, or with networks that see the truth to come and that no forecast
        needs. None, the default, for the training's: `loss` of the forecast.

        Random numbers come from torch's generator, which training seeds for each step.

        Args:
            clips: past and future, inputs included, NaN where a value is missing.
            window: which of their frames are past.
            loss: the one that was chosen for training.
        """
        return None

    def begun_by(self, trained: "Model") -> "Model":
        """What of this model begins with the weights of that one: all of it, by default."""
        return self

    @property
    def guide(self) -> "Model | None":
        """What this model draws upon: a baseline, or several as one; None without any."""
        return None

    def decode_with_guide(
        self, state: State, steps: int
    ) -> tuple[Float[Tensor, "b steps c h w"], Float[Tensor, "b steps c h w"]]:
        """What `decode` gives, and what the guide forecasts from the same state, of several the
        first; of models that have one.
        """
        raise NotImplementedError

    def forward(
        self,
        past: Float[Tensor, "b t _ h w"],
        steps: int,
        known: Float[Tensor, "b s i h w"] | None = None,
    ) -> Float[Tensor, "b steps c h w"]:
        """Encode, then decode with what is known of the inputs that follow, if there are any."""
        state = self.encode(past)
        return self.decode(state if known is None else with_known(state, known), steps)

    if TYPE_CHECKING:  # to torch a module gives anything

        def __call__(self, past: Tensor, steps: int, known: Tensor | None = None) -> Tensor: ...

    def step_values(self, height: int, width: int) -> int:
        """Values of the largest map in a recurrent core, for one frame H x W; 0 without a core."""
        return 0

    def start_at(self, mean: float) -> None:
        """Let an untrained network forecast about `mean` everywhere, where a model can do that."""


def with_known(state: State, known: Float[Tensor, "b s i h w"]) -> State:
    """The same state, with the inputs of the s frames that follow, where they are known. Beyond
    them the last one stands in; without them the last one seen. What is encoded on from it knows
    no more of the future.
    """
    return {**state, "known": known}


def part_of(state: State, name: str) -> State:
    """What a state keeps for a model within the model, whose names begin with `name`."""
    return {n.removeprefix(name): value for n, value in state.items() if n.startswith(name)}


class Parts(NamedTuple):
    """What a batch of clips comes apart into.

    Attributes:
        past: what a model encodes, inputs included, the last value seen where one is missing.
        known: the inputs of the future, filled in the same way; None for a model without any.
        truth: of what is forecast, NaN where a value is missing.
        last: the last value seen of what is forecast, NaN where there never was one.
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
    """Take clips apart, whose last channels are so many inputs.

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
    """The inputs of the next frames, for a model's `decode`: see `with_known`; `last` was seen."""
    known = state.get("known", last.unsqueeze(1))[:, :steps].to(last.dtype)
    further = steps - known.shape[1]
    return torch.cat([known, known[:, -1:].expand(-1, further, -1, -1, -1)], dim=1)


def joined(
    frames: Float[Tensor, "b *t _ h w"], inputs: Float[Tensor, "b *t _ h w"]
) -> Float[Tensor, "b *t _ h w"]:
    """Frames and their inputs, side by side; not copied where there are none."""
    return torch.cat([frames, inputs], dim=-3) if inputs.shape[-3] else frames
