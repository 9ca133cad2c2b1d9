"""Recurrent models: three ways to forecast, each written once, for any core, codec and head.

    NextFrame        one core runs over the past and on into the future, fed its own frames
    EncoderDecoder   one core reads the past, another one writes the future
    RecurrentAtOnce  one core reads the past, and a head makes all next frames from its last maps

A core takes the maps of one frame up through all of its layers: see `Core`, and `convlstm.py` for
the first of them. All of them have the model interface of `foreframe.models`.

Shapes: frames B T C H W; maps b d h w, where h and w are H and W over the codec's stride.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.base.schema import choice
from foreframe.models.at_once import AtOnce
from foreframe.models.blend import Blend
from foreframe.models.codec import CODECS
from foreframe.models.engine import channels_last
from foreframe.models.head import Head
from foreframe.models.heads import HEADS, Draw
from foreframe.models.interface import (
    Model,
    Result,
    State,
    after,
    chosen,
    counted,
    first_of,
    joined,
    kept,
    part_of,
    with_prefix,
)
from foreframe.models.noise import NoiseInjection
from foreframe.models.packed import PackedConv2d

Maps = Float[Tensor, "b d h w"]
Layers = list[Float[Tensor, "b _ h w"]]  # the hidden maps of each layer
Part = str | Mapping[str, Any]  # a name, or {name: its arguments}


class Core(nn.Module):
    """Recurrent layers: takes the maps of one frame up through all of them.

    A new core is a subclass with `step`, and a line in `CORES`. It is built as
    `Core(channels, hidden, ...)`: the channels of its input (0: it has none) and the hidden
    channels of each layer. A convolution that it uses at every step is an `engine.Conv2d`, and its
    elementwise mathematics is an `engine.pointwise` function: that makes it fast.

    A state is a flat dict of tensors (b,...), whose names end with the number of their layer. The
    hidden map of layer k is "hk", the input of layer k + 1; the head reads that of the last layer.
    """

    hidden: Sequence[int]
    for_terms: Sequence[str] = ()

    def step(self, x: Maps | None, state: State) -> State:
        """The state after a frame.

        Args:
            x: the frame's maps; None where the core has no input.
            state: after the frame before, left as it was; empty before the first frame.
        """
        raise NotImplementedError

    def start(self, like: Maps) -> State:
        """The state before the first frame, zeros: a core with further parts of a state adds them.

        Args:
            like: maps of the size and the precision of the hidden maps.
        """
        b, _, h, w = like.shape
        return {f"h{k}": like.new_zeros(b, d, h, w) for k, d in enumerate(self.hidden)}

    def maps(self, state: State) -> Layers:
        """The hidden map of each layer, from the first to the last."""
        return [state[f"h{k}"] for k in range(len(self.hidden))]

    def terms(self, state: State) -> dict[str, Float[Tensor, ""]]:
        """What the core adds to the training's loss, by name, from what it added up in its state
        under the names `for_terms`.
        """
        return {}


def check_cell(channels: int, hidden: int, kernel: int) -> None:
    """Refuse a cell with an even kernel, or no hidden channels."""
    if kernel % 2 == 0:
        raise ValueError(f"kernel {kernel} is even; odd kernels keep the frame's size")
    if hidden < 1 or channels < 0:
        raise ValueError(
            f"a cell needs hidden channels and no negative input, not {hidden} and {channels}"
        )


class Recurrent(Model):
    """The common part of the three ways: frames to maps, and the core's run over the past.

    Args:
        channels: C of the frames that are forecast; None for any number, of which the network sees
            the mean.
        core: a name of CORES, or {name: its arguments}.
        codec: a name of CODECS, or {name: its arguments}.
        inputs: further channels of the past, which are not forecast.

    Raises:
        ValueError: an unknown name, arguments that a part does not take or that make no sense.
    """

    channels: int | None
    output: Head

    def __init__(self, channels: int | None, core: Part, codec: Part, inputs: int) -> None:
        super().__init__()
        if channels is not None and channels < 1:
            raise ValueError(f"frames have 1 channel or more, not {channels}")
        if inputs < 0:
            raise ValueError(f"a model has 0 inputs or more, not {inputs}")
        if channels is None and inputs:
            raise ValueError("a model with inputs forecasts a number of channels: give channels")
        kind, args = choice(CODECS, codec, "codec")
        self.channels, self.inputs = channels, inputs
        self.codec = CODECS[kind]((channels or 1) + inputs, **args)
        self.stride = self.codec.stride
        name, core_args = choice(CORES, core, "core")
        self.encoder = CORES[name](self.codec.width, **core_args)
        self.for_terms = self.encoder.for_terms
        self.args |= {"core": {name: core_args}, "codec": {kind: args}}

    def finish(
        self,
        hidden: Sequence[int],
        kind: Callable[..., Head],
        args: Mapping[str, Any],
        frames: int = 1,
        shown: int | None = None,
    ) -> None:
        """Build the way up from the maps to frames, and the head.

        Args:
            hidden: channels of the decoder's hidden maps, layer by layer.
            kind, args: class of the head, and its arguments.
            frames: that the head makes at once.
            shown: channels of the maps that lie beside these on the way up; by default the codec's.
        """
        self.read = sum(hidden) if args["over"] == "all" else hidden[-1]
        self.up = self.codec.decoder(self.read, shown)
        channels = self.args["channels"]
        if channels is None and kind is not HEADS["blend"]:
            raise ValueError("only the head blend forecasts any number of channels: give channels")
        # Only a head of one frame at a time takes any number.
        self.output = kind(channels and channels * frames, self.read, self.up, **args)
        self.bounded, self.reduces = self.output.bounded, self.output.short is not None
        guide = self.output.guide
        self.sized = self.reduces or (guide is not None and guide.sized)

    def add_noise_inputs(self, noise: Mapping[str, Any] | None, fed: int) -> None:
        """Build what adds noise to the input of a core, of `fed` channels, and to the maps that the
        head reads, so that members differ. To be built last: a seed then gives all other weights
        the values that they have without noise.
        """
        self.noise_injection = None
        if noise is not None:
            self.draws = True
            self.output.add_noise_inputs(self.read)
            self.noise_injection = NoiseInjection(
                noise, self.stride, (fed, self.read), self.output.noise_channels
            )

    def outside(self, state: State, steps: int) -> State:
        """The noise of members, one for each step and one more, which a frame may be fed with."""
        if self.noise_injection is None or "key" not in state:
            return {}
        size = self.encoder.maps(_layers(state))[-1].shape[-2:]
        factor = self.output.factor(state["frame"].shape[-2:])
        leads = range(0, steps + self.horizon, self.horizon)
        return {"noise": self.noise_injection.noise(state, leads, size, factor)}

    def injected(
        self, state: State, steps: int
    ) -> tuple[list[Float[Tensor, "b steps _ i j"] | None], Float[Tensor, "b steps _ i j"] | None]:
        """From the state's noise: what is added to the core's input and to the maps that the head
        reads at each of these steps, and the drift by which the head moves things; None for each
        that there is not.
        """
        if self.noise_injection is None or "noise" not in state:
            return [None, None], None
        injected: tuple[list[Tensor | None], Tensor | None] = self.noise_injection(
            first_of(state["noise"], steps)
        )
        return injected

    def reads(
        self, maps: Layers, noise: Float[Tensor, "b d i j"] | None
    ) -> Float[Tensor, "b d i j"]:
        """The maps that the head reads, of members with their noise."""
        read = self.over(maps)
        return read if noise is None else read + noise

    def stride_in(self, size: Sequence[int]) -> int:
        return self.stride * self.output.factor(size)

    def step_values(self, height: int, width: int) -> int:
        """Values of the largest hidden map, for one frame H x W."""
        places = -(-height // self.stride) * -(-width // self.stride)
        return places * max(self.encoder.hidden)

    def start_at(self, mean: float) -> None:
        """Set the head's bias so that an untrained network forecasts about `mean` everywhere. Does
        nothing without a bias, or where the head carries or mixes frames.
        """
        self.output.start_at(mean)

    def encode(self, past: Float[Tensor, "b t _ h w"], state: State | None = None) -> State:
        """Run over the past, on from `state` where one is given. Any T >= 1."""
        layers = {} if state is None else _layers(state)
        return self.run(self.encoder, self.down(past), layers) | {"frame": past[:, -1]}

    def terms(
        self,
        forecast: Float[Tensor, "bm s c h w"],
        truth: Float[Tensor, "b s c h w"],
        state: State,
    ) -> dict[str, Float[Tensor, ""]]:
        return self.encoder.terms(_layers(state))

    def last_inputs(self, state: State) -> Float[Tensor, "b i h w"]:
        """The inputs of the last frame seen; 0 channels without any."""
        frame = state["frame"]
        return frame[:, frame.shape[1] - self.inputs :]

    def seen(self, frames: Float[Tensor, "b t _ h w"]) -> Float[Tensor, "b t _ h w"]:
        """Frames as the network sees them: their mean over channels where it takes any number."""
        return frames.mean(dim=2, keepdim=True) if self.channels is None else frames

    def down(self, frames: Float[Tensor, "b t _ h w"]) -> Float[Tensor, "b t d i j"]:
        """The codec's maps of frames and their inputs, which a core takes."""
        maps: Tensor = self.codec(self.seen(frames).flatten(0, 1))[-1]
        return channels_last(maps).unflatten(0, frames.shape[:2])

    def run(self, core: Core, x: Float[Tensor, "b t d i j"], layers: State) -> State:
        """A core's state after the maps of all t frames."""

        def step(t: int, layers: State) -> Result:
            return None, core.step(x[:, t], layers)

        return self.loop(step, layers, x.shape[1])[1]

    def shown(self, frames: Float[Tensor, "n _ h w"]) -> list[Tensor] | None:
        """Maps of frames for the way up, where the codec lays them beside its own."""
        return self.codec.skips(self.codec(frames)) if self.codec.show_last else None

    def over(self, maps: Layers) -> Float[Tensor, "b _ h w"]:
        """The maps that the head reads: of the last layer, or of all."""
        return torch.cat(maps, dim=1) if self.output.over == "all" else maps[-1]

    def drawn(
        self,
        read: Float[Tensor, "b d i j"],
        skip: list[Tensor] | None,
        frame: Float[Tensor, "b _ h w"],
    ) -> Float[Tensor, "b _ h w"]:
        """The head's frame from the maps that it reads at one step, and the frame before."""
        maps, last = read.unsqueeze(1), frame[:, : self.channels]
        return self.output(self.up(read, skip), maps, last, None, None)[0][:, 0]


class NextFrame(Recurrent, AtOnce):
    """One core runs over the past and on into the future, fed its own frames: after each frame the
    head makes the next one from its maps. Known inputs go in with the frame that they belong to.

    Args:
        channels, core, codec, inputs: as of `Recurrent`.
        draw: arguments of `Draw`, by name.
        noise: arguments of `Noise`, by name: it is added to the maps of members' frames, and to
            those that the head reads; None for a model of one future.

    Raises:
        ValueError: as `Recurrent`, or `Noise`.
    """

    def __init__(
        self,
        channels: int = 1,
        core: str | Mapping[str, Any] = "convlstm",
        codec: str | Mapping[str, Any] = "patches",
        draw: Mapping[str, Any] = MappingProxyType({}),
        inputs: int = 0,
        noise: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(channels, core, codec, inputs)
        _, args = choice({"draw": Draw}, {"draw": draw}, "head")
        self.args["draw"] = args
        self.finish(self.encoder.hidden, Draw, args)
        self.add_noise_inputs(noise, self.codec.width)

    def step(self, state: State, last: bool = False) -> tuple[Float[Tensor, "b 1 c h w"], State]:
        """The head's frame, and the state after the core has read it."""
        (fed, read), _ = self.injected(state, 2)  # of this step, and of the next
        before = state["frame"]
        maps = self.reads(self.encoder.maps(state), None if read is None else read[:, 0])
        frame = self.drawn(maps, self.shown(before), before).unsqueeze(1)
        if last:
            return frame, state
        seen = joined(frame, first_of(state["known"], 1)) if self.inputs else frame
        x = self.down(seen)[:, 0]
        layers = self.encoder.step(x if fed is None else x + fed[:, 1], _layers(state))
        return frame, layers | {"frame": seen[:, 0]} | self.queues_after(state)


class Outlook(NamedTuple):
    """What the next s steps of an encoder-decoder see beside its decoder's maps.

    Attributes:
        frames: for the head, as of `Head.forward`.
        shown: maps for the way up.
        ahead: (b,s,_,_,_) the codec's maps of guides or of known inputs; where frames are fed
            back, the known inputs themselves.
    """

    frames: Tensor
    shown: list[Tensor] | None
    ahead: Tensor | None


class EncoderDecoder(Recurrent):
    """One core, the encoder, reads the past; another one, the decoder, writes the future. What the
    decoder is fed depends on the head: see `Head.feed`. It sees the known inputs of a frame at the
    step that writes that frame.

    Args:
        channels, core, codec, inputs: as of `Recurrent`; the decoder's core is like the encoder's.
        start: the decoder's first state. "zeros": none; then it sees the embedding, which is the
            encoder's last hidden map, as its first input where hidden maps are fed back, and beside
            every input otherwise. "states": the encoder's, layer by layer. "mirrored": the
            encoder's in reverse order, in layers of reversed sizes, so that the layer next to the
            embedding goes on from the encoder's last (Shi et al. 2015).
        output: the head, a name of HEADS, or {name: its arguments}.
        embedding: lay the embedding beside every input.
        attention: number of the last frames to attend to: beside every input comes, place by
            place, a mean of the encoder's last hidden maps of those frames, weighted by how well
            each fits the decoder's last hidden map of the step before; 0 is off.
        backward: number of the last frames that a core of its own also reads, from the newest back;
            its state is added to the encoder's; 0 is off.
        noise: arguments of `Noise`, by name: it is added to the decoder's input and to the maps
            that the head reads of members (`foreframe.models.members`), and moves them where the
            head moves anything; None for a model of one future.

    Raises:
        ValueError: as `Recurrent`, or mirrored layers that are fed hidden maps and whose ends
            differ.
    """

    def __init__(
        self,
        channels: int | None = 1,
        core: str | Mapping[str, Any] = "convlstm",
        codec: str | Mapping[str, Any] = "patches",
        start: Literal["zeros", "states", "mirrored"] = "zeros",
        output: str | Mapping[str, Any] = "draw",
        embedding: bool = False,
        attention: int = 0,
        backward: int = 0,
        inputs: int = 0,
        noise: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(channels, core, codec, inputs)
        if start not in ("zeros", "states", "mirrored"):
            raise ValueError(f"start {start!r} is unknown; choose zeros, states or mirrored")
        if attention < 0 or backward < 0:
            raise ValueError(
                f"attention and backward are numbers of frames, not {attention}, {backward}"
            )
        name, args = choice(HEADS, output, "output")
        self.args["output"] = {name: args}
        feed = args.get("feed", HEADS[name].feed)
        self.start_from, self.attention, self.backward_frames = start, attention, backward
        self.shows_embedding = embedding or (start == "zeros" and feed != "maps")

        (kind, core_args), hidden = next(iter(self.args["core"].items())), list(self.encoder.hidden)
        own = hidden[::-1] if start == "mirrored" else hidden
        if feed == "maps" and own[-1] != hidden[-1]:
            raise ValueError(
                f"hidden maps fed back through mirrored layers need equal ends, not {hidden[0]} "
                f"and {hidden[-1]}"
            )
        guided = HEADS[name].guide_channels(channels, args)
        width = self.codec.width_of(guided + inputs) if guided else self.codec.width
        fed = {"maps": own[-1], "frame": width, "guides": width, "nothing": 0}[feed]
        beside = hidden[-1] * (self.shows_embedding + (attention > 0))
        (codec_kind, codec_args) = next(iter(self.args["codec"].items()))
        self.inform = None
        if inputs and feed in ("maps", "nothing"):  # else a codec takes them in with a frame
            self.inform = CODECS[codec_kind](inputs, **codec_args)
            beside += self.inform.width
        self.decoder = CORES[kind](fed + beside, **{**core_args, "hidden": own})
        self.attend = Attention(own[-1], hidden[-1]) if attention else None
        self.backwards = CORES[kind](width, **core_args) if backward else None
        self.finish(own, HEADS[name], args, shown=width)
        if guided:
            self.inform = CODECS[codec_kind](guided + inputs, **codec_args)
        self.add_noise_inputs(noise, fed + beside)

    def seen(self, frames: Float[Tensor, "b t _ h w"]) -> Float[Tensor, "b t _ _ _"]:
        return self.output.reduced(super().seen(frames))

    @property
    def guide(self) -> Model | None:
        return self.output.guide

    def encode(self, past: Float[Tensor, "b t _ h w"], state: State | None = None) -> State:
        """Run over the past, on from `state` where one is given. Any T >= 1."""
        x, t = self.down(past), past.shape[1]

        def step(k: int, layers: State) -> Result:
            layers = self.encoder.step(x[:, k], layers)
            return self.encoder.maps(layers)[-1] if k >= t - self.attention else None, layers

        maps, encoded = self.loop(step, {} if state is None else _layers(state), t)
        encoded = encoded | {"frame": past[:, -1]}
        if self.attention:
            new = torch.stack([each for each in maps if each is not None], dim=1)
            encoded["maps"] = kept(new, state, "maps", self.attention)
            encoded["maps_seen"] = counted(past, state, "maps_seen", self.attention)
        if self.backwards is not None:
            encoded["frames"] = kept(past, state, "frames", self.backward_frames)
            encoded["frames_seen"] = counted(past, state, "frames_seen", self.backward_frames)
        if self.output.guide is not None:
            before = None if state is None else part_of(state, "guide_")
            targets = past[:, :, : past.shape[2] - self.inputs]
            encoded |= with_prefix("guide_", self.output.guide.encode(targets, before))
        return encoded

    def shared(self, state: State, steps: int) -> State:
        """With what its guides forecast, in place of what they keep."""
        if not isinstance(self.output, Blend) or "levels" in state:
            return state
        guides = part_of(self._guides(state | self._outside_guides(state)), "guide_")
        levels, fed, _ = self.output.levels(guides, steps)
        own = {n: v for n, v in state.items() if not n.startswith("guide_")}
        return own | {"levels": levels, "fed": fed}

    def rollout(self, state: State, steps: int) -> tuple[Float[Tensor, "b steps c h w"], State]:
        begun, n, parts = self._begun(state | self.outside(state, steps)), steps, []
        if isinstance(self.output, Blend):
            n = self.output.steps_at_once(state["frame"])
        for k in range(0, steps, n):
            frames, begun = self.advance(begun, min(n, steps - k), last=k + n >= steps)
            parts.append(frames)
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0], begun

    def decode_with_guide(
        self, state: State, steps: int
    ) -> tuple[Float[Tensor, "b steps c h w"], Float[Tensor, "b steps c h w"]]:
        assert self.guide is not None
        state = self.shared(state, steps)
        forecast = self.decode(state, steps)
        return forecast, state["levels"][:, :steps, : forecast.shape[2]]

    def outside(self, state: State, steps: int) -> State:
        return super().outside(state, steps) | self._outside_guides(state)

    def begin(self, state: State) -> State:
        return self.decoder.start(self.encoder.maps(_layers(state))[-1]) | self._begun(state)

    def step(self, state: State, last: bool = False) -> tuple[Float[Tensor, "b 1 c h w"], State]:
        return self.advance(state, 1, last)

    def advance(
        self, state: State, steps: int, last: bool = False
    ) -> tuple[Float[Tensor, "b steps c h w"], State]:
        """All lead times at once, but for the decoder's core, unless it is fed its own frames."""
        if self.output.feed == "frame" and steps > 1:
            return super().advance(state, steps, last)
        outlook, state = self._outlook(state, steps)
        (fed_noise, read_noise), drift = self.injected(state, steps)

        def step(t: int, state: State) -> Result:
            x = self._input(t, state, outlook)
            if x is not None and fed_noise is not None:
                x = x + fed_noise[:, t]
            layers = self.decoder.step(x, _layers(state))
            maps = self.decoder.maps(layers)
            fed_back = {name: maps[-1] for name in ("map", "query") if name in state}
            read = self.reads(maps, None if read_noise is None else read_noise[:, t])
            return read, state | layers | fed_back

        reads, state = self.loop(step, state, steps)
        # Stacked so that they stay channels last.
        maps = torch.stack([m.permute(0, 2, 3, 1) for m in reads], dim=1).permute(0, 1, 4, 2, 3)
        raised = self.up(maps.flatten(0, 1), outlook.shown)
        frames, sums = self.output(raised, maps, outlook.frames, drift, state.get("sums"))
        left = (name for name in ("known", "noise") if name in state)
        after_steps: State = {name: after(state[name], steps) for name in left}
        if sums is not None:
            after_steps["sums"] = sums
        if self.output.feed == "frame":
            after_steps["frame"] = frames[:, -1]
        return frames, state | after_steps

    def _outlook(self, state: State, steps: int) -> tuple["Outlook", State]:
        """What the next steps see, and the state after what was taken from it."""
        known = first_of(state["known"], steps) if self.inputs else None
        if isinstance(self.output, Blend):
            levels, fed, state = self._levels(state, steps)
            fed = fed if known is None else joined(fed, self.output.reduced(known))
            assert self.inform is not None
            maps = self.inform(fed.flatten(0, 1))
            shown = self.codec.skips(maps) if self.codec.show_last else None
            return Outlook(levels, shown, maps[-1].unflatten(0, fed.shape[:2])), state
        shown = None
        if self.codec.show_last:
            shown = [state[name] for name in sorted(state) if name.startswith("skip_")]
        if known is None or self.output.feed == "frame":
            return Outlook(state["frame"], shown, known), state
        assert self.inform is not None
        informed = self.inform(known.flatten(0, 1))[-1].unflatten(0, known.shape[:2])
        return Outlook(state["frame"], shown, informed), state

    def _input(self, t: int, state: State, outlook: "Outlook") -> Float[Tensor, "b _ i j"] | None:
        """The decoder's input at a step: what it is fed (see `Head.feed`), and what lies beside."""
        ahead = None if outlook.ahead is None else outlook.ahead[:, t]
        parts = []
        if self.output.feed == "maps":
            parts = [state["map"]]
        elif self.output.feed == "frame":
            frame = state["frame"]
            parts = [self.codec(frame if ahead is None else joined(frame, ahead))[-1]]
        elif self.output.feed == "guides" and ahead is not None:
            parts = [ahead]
        if self.shows_embedding:
            parts.append(state["embedding"])
        if self.output.feed in ("maps", "nothing") and ahead is not None:
            parts.append(ahead)
        if self.attend is not None:
            parts.append(self.attend(state))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0] if parts else None

    def _begun(self, state: State) -> State:
        """As `begin`, without layers of the decoder that are zeros: its first step then needs no
        convolution of them.
        """
        layers = _layers(state)
        if self.backwards is not None:
            back = self._run_back(state)
            layers = {name: value + back[name] for name, value in layers.items()}
        embedding = self.encoder.maps(layers)[-1]
        begun = {name: layers[name] for name in self.for_terms}
        if self.start_from == "states":
            begun = dict(layers)
        elif self.start_from == "mirrored":
            begun = _mirrored(layers, len(self.encoder.hidden))
        if self.output.feed == "maps":
            begun["map"] = embedding
        if self.shows_embedding:
            begun["embedding"] = embedding
        if self.attend is not None:
            begun |= self.attend.begin(state["maps"], state["maps_seen"])
        if self.inputs:
            begun["known"] = state.get("known", self.last_inputs(state).unsqueeze(1))
        if "noise" in state:
            begun["noise"] = state["noise"]
        channels = self.output.sums_in(members="noise" in state)
        if channels:
            b, _, i, j = embedding.shape
            begun["sums"] = state["frame"].new_zeros(b, channels, i, j)
        if isinstance(self.output, Blend):
            return begun | self._guides(state)
        begun["frame"] = state["frame"][:, : self.channels]
        skip = self.shown(state["frame"]) or []
        return begun | {f"skip_{k}": maps for k, maps in enumerate(skip)}

    def _run_back(self, state: State) -> State:
        """The state of the core that reads the last frames from the newest back, as many as were
        seen.
        """
        assert self.backwards is not None
        core, x = self.backwards, self.down(state["frames"].flip(1))

        def step(t: int, layers: State) -> Result:
            read = core.step(x[:, t], layers)
            seen = state["frames_seen"] > t
            return None, chosen(seen, read, layers) if layers else read

        return self.loop(step, {}, x.shape[1])[1]

    def _guides(self, state: State) -> State:
        """Of a blend the guides, ready to step, or what is `shared` of them."""
        if "levels" in state:
            return {name: state[name] for name in ("levels", "fed")}
        assert isinstance(self.output, Blend)
        return with_prefix("guide_", self.output.begin(part_of(state, "guide_")))

    def _levels(self, state: State, steps: int) -> tuple[Tensor, Tensor, State]:
        """Of a blend the levels of the next steps, what the decoder is fed of them, and the state
        after them.
        """
        assert isinstance(self.output, Blend)
        if "levels" in state:
            names = ("levels", "fed")
            levels, fed = (first_of(state[name], steps) for name in names)
            return levels, fed, state | {name: after(state[name], steps) for name in names}
        levels, fed, guides = self.output.levels(part_of(state, "guide_"), steps)
        return levels, fed, state | with_prefix("guide_", guides)

    def _outside_guides(self, state: State) -> State:
        if self.output.guide is None or "levels" in state:
            return {}
        return with_prefix("guide_", self.output.guide.outside(part_of(state, "guide_"), 0))


class Attention(nn.Module):
    """At each place, a mean of the maps seen at that place, weighted by how well they fit a query
    (Bahdanau et al. 2015, arXiv 1409.0473, in the scaled products of Vaswani et al. 2017).

        w_t = softmax_t(⟨W_q * q, W_k * m_t⟩ / √d)        context = Σ_t w_t m_t

    with 1x1 convolutions W_q and W_k, so that frames of any size can be attended to.
    """

    def __init__(self, query_width: int, width: int) -> None:
        super().__init__()
        self.query, self.key = PackedConv2d(query_width, width, 1), PackedConv2d(width, width, 1)

    def begin(self, maps: Float[Tensor, "b n d i j"], seen: Float[Tensor, " b"]) -> State:
        """The state that `forward` takes.

        Args:
            maps: of the last n frames, zeros before the first.
            seen: how many of them there are.
        """
        b, n, _, i, j = maps.shape
        return {
            "maps": maps,
            "keys": self.key(maps.flatten(0, 1)).unflatten(0, (b, n)),
            "there": torch.arange(n, device=maps.device) >= n - seen[:, None],
            "query": maps.new_zeros(b, self.query.in_channels, i, j),
        }

    def forward(self, state: State) -> Float[Tensor, "b d i j"]:
        """The context of a query, which is the decoder's last hidden map; zeros at first."""
        maps = state["maps"]
        products = self.query(state["query"]).unsqueeze(1) * state["keys"]
        fit = products.sum(dim=2, keepdim=True) / math.sqrt(maps.shape[2])
        fit = fit.masked_fill(~state["there"][:, :, None, None, None], -torch.inf)
        return (torch.softmax(fit, dim=1) * maps).sum(dim=1).to(maps.dtype)


class RecurrentAtOnce(Recurrent, AtOnce):
    """A core runs over the past, and its head makes all next frames from the last hidden maps. The
    known inputs of the future are seen only by a forecast beyond the horizon, which encodes them
    with its own frames.

    Args:
        channels, core, codec, inputs: as of `Recurrent`.
        horizon: frames that it makes at once.
        draw: arguments of `Draw`, by name.
        noise: arguments of `Noise`, by name: it is added to the maps that the head reads of
            members, local channels once for each `horizon` frames; None for a model of one future.

    Raises:
        ValueError: as `Recurrent`, or `Noise`, or a horizon below 1.
    """

    def __init__(
        self,
        channels: int = 1,
        core: str | Mapping[str, Any] = "convlstm",
        codec: str | Mapping[str, Any] = "patches",
        horizon: int = 10,
        draw: Mapping[str, Any] = MappingProxyType({}),
        inputs: int = 0,
        noise: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(channels, core, codec, inputs)
        if horizon < 1:
            raise ValueError(f"a horizon is 1 frame or more, not {horizon}")
        _, args = choice({"draw": Draw}, {"draw": draw}, "head")
        self.horizon = horizon
        self.args["draw"] = args
        self.finish(self.encoder.hidden, Draw, args, horizon)
        self.add_noise_inputs(noise, 0)

    def next_frames(self, state: State) -> Float[Tensor, "b horizon c h w"]:
        frame = state["frame"]
        (_, noise), _ = self.injected(state, 1)
        read = self.reads(self.encoder.maps(state), None if noise is None else noise[:, 0])
        frames = self.drawn(read, self.shown(frame), frame)
        return frames.unflatten(1, (self.horizon, self.channels))


_LAYER = re.compile("[a-z]+[0-9]+")


def _layers(state: State) -> State:
    """A core's part of a state: letters, and the number of a layer."""
    return {name: value for name, value in state.items() if _LAYER.fullmatch(name)}


def _mirrored(layers: State, count: int) -> State:
    """A core's state with its `count` layers in reverse order; what only one of two such layers has
    stays where it is.
    """
    after: State = {}
    for name, value in layers.items():
        letters = name.rstrip("0123456789")
        other = f"{letters}{count - 1 - int(name.removeprefix(letters))}"
        after[other if other in layers else name] = value
    return after


CORES: dict[str, Callable[..., Core]] = {}
"""Every core by its name; `foreframe.models` fills it. Add yours by `CORES["mine"] = Mine`."""
