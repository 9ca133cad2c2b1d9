"""Recurrent models: three ways to forecast, each written once, for any core, codec and head.

    NextFrame        one core runs over the past and on into the future, fed its own frames
    EncoderDecoder   one core reads the past, another one writes the future
    RecurrentAtOnce  one core reads the past, and a head makes all next frames from its last maps

A core takes the maps of one frame up through all of its layers: see `Core`, and `convlstm.py` for
the first of them. All of them have the model interface of `foreframe.models`.

Shapes: frames B T C H W; maps b d h w, where h and w are H and W over the codec's stride.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from foreframe.base.schema import choice
from foreframe.models.at_once import AtOnce
from foreframe.models.blend import Blend
from foreframe.models.codec import CODECS
from foreframe.models.engine import one_pass
from foreframe.models.head import Head
from foreframe.models.heads import HEADS, Draw
from foreframe.models.interface import Model, State, joined, known_inputs, part_of
from foreframe.models.noise import NoiseInjection

Maps = Float[Tensor, "b d h w"]
Layers = list[Float[Tensor, "b _ h w"]]  # the hidden maps of each layer
Result = tuple[Any, State]  # the output of a step, and the state for the next
Fed = Maps | None
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

    def step(self, x: Maps | None, state: State) -> State:
        """The state after a frame.

        Args:
            x: the frame's maps; None where the core has no input.
            state: after the frame before, left as it was; empty before the first frame.
        """
        raise NotImplementedError

    def maps(self, state: State) -> Layers:
        """The hidden map of each layer, from the first to the last."""
        return [state[f"h{k}"] for k in range(len(self.hidden))]


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
        self.args = {"channels": channels, "core": {name: core_args}, "codec": {kind: args}}
        if inputs:
            self.args["inputs"] = inputs

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
        self.up = self.codec.mirror(self.read, shown)
        channels = self.args["channels"]
        if channels is None and kind is not HEADS["blend"]:
            raise ValueError("only the head blend forecasts any number of channels: give channels")
        # Only a head of one frame at a time takes any number.
        self.output = kind(channels and channels * frames, self.read, self.up, **args)
        self.bounded, self.reduces = self.output.bounded, self.output.short is not None

    def add_noise_inputs(self, noise: Mapping[str, Any] | None, fed: int) -> None:
        """Build what adds noise to the input of a core, of `fed` channels, and to the maps that the
        head reads, so that members differ. To be built last: a seed then gives all other weights
        the values that they have without noise.
        """
        self.noise_injection = None
        if noise is not None:
            self.args |= {"noise": dict(noise)}
            self.draws = True
            self.output.add_noise_inputs(self.read)
            self.noise_injection = NoiseInjection(
                noise, self.stride, (fed, self.read), self.output.noise_channels
            )

    def noise_of(
        self, state: State, steps: int, layers: State, first: int = 0
    ) -> tuple[list[Tensor | None], Tensor | None]:
        """The noise of lead times from `first` on: what is added to the core's input and to the
        maps that the head reads, and the drift by which the head moves things; None for each that
        there is not.
        """
        if self.noise_injection is None:
            return [None, None], None
        size = self.encoder.maps(layers)[-1].shape[-2:]
        factor = self.output.factor(state["frame"].shape[-2:])
        return self.noise_injection(state, steps, size, first, factor)

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

    def known(self, state: State, steps: int) -> Float[Tensor, "b steps i h w"]:
        """The inputs of the next frames; without inputs a tensor of 0 channels."""
        frame = state["frame"]
        return known_inputs(state, steps, frame[:, frame.shape[1] - self.inputs :])

    def seen(self, frames: Float[Tensor, "b t _ h w"]) -> Float[Tensor, "b t _ h w"]:
        """Frames as the network sees them: their mean over channels where it takes any number."""
        return frames.mean(dim=2, keepdim=True) if self.channels is None else frames

    def down(self, frames: Float[Tensor, "b t _ h w"]) -> Float[Tensor, "b t d i j"]:
        """The codec's maps of frames and their inputs, which a core takes."""
        maps: Tensor = self.codec(self.seen(frames).flatten(0, 1))[-1]
        return maps.unflatten(0, frames.shape[:2])

    def run(self, core: Core, x: Float[Tensor, "b t d i j"], layers: State) -> State:
        """A core's state after the maps of all t frames."""

        def step(t: int, layers: State) -> Result:
            return None, core.step(x[:, t], layers)

        return self.steps(step, layers, x.shape[1])[1]

    def shown(self, frames: Float[Tensor, "n _ h w"]) -> list[Tensor] | None:
        """Maps of frames for the way up, where the codec lays them beside its own."""
        return self.codec(frames) if self.codec.show_last else None

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
        return self.output(self.up(read, skip), read.unsqueeze(1), frame[:, : self.channels])[:, 0]

    def steps(
        self, step: Callable[[int, State], Result], carried: State, count: int
    ) -> tuple[list[Any], State]:
        """Run `step(t, carried)` for t = 0, 1, ... below `count`: all outputs, and the last state.

        With memory "save" the backward pass keeps the state every √count steps, and runs the steps
        between once more: so both parts of the memory grow with √count.
        """
        run = one_pass(next(self.parameters()), self.compiled)
        saves = self.memory == "save" and torch.is_grad_enabled()
        length = max(1, math.isqrt(count) if saves else count)

        def stretch(first: int, carried: State) -> Result:
            results = []
            with run:
                for t in range(first, min(first + length, count)):
                    result, carried = step(t, carried)
                    results.append(result)
            return results, carried

        results = []
        for first in range(0, count, length):
            if saves:
                stretched, carried = checkpoint(
                    stretch, first, carried, use_reentrant=False, preserve_rng_state=False
                )
            else:
                stretched, carried = stretch(first, carried)
            results += stretched
        return results, carried


class NextFrame(Recurrent):
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
        self.args |= {"draw": args}
        self.finish(self.encoder.hidden, Draw, args)
        self.add_noise_inputs(noise, self.codec.width)

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps c h w"]:
        """Step into the future from `state`, which is left as it was. Any steps >= 1."""
        layers, known = _layers(state), self.known(state, steps)
        (fed_noise, read_noise), _ = self.noise_of(state, steps, layers)

        def read(layers: State, t: int) -> Tensor:
            noise = None if read_noise is None else read_noise[:, t]
            return self.reads(self.encoder.maps(layers), noise)

        first = state["frame"]
        first = self.drawn(read(layers, 0), self.shown(first), first)

        def step(t: int, carried: State) -> Result:
            frame = joined(carried["frame"], known[:, t])
            x = self.codec(frame)[-1]
            x = x if fed_noise is None else x + fed_noise[:, t + 1]
            layers = self.encoder.step(x, _layers(carried))
            frame = self.drawn(read(layers, t + 1), self.shown(frame), frame)
            return frame, layers | {"frame": frame}

        frames, _ = self.steps(step, layers | {"frame": first}, steps - 1)
        return torch.stack([first, *frames], dim=1)


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
        self.args |= {"start": start, "output": {name: args}, "embedding": embedding}
        self.args |= {"attention": attention, "backward": backward}
        feed = args.get("feed", HEADS[name].feed)
        self.start, self.attention, self.backward_frames = start, attention, backward
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

        maps, after = self.steps(step, {} if state is None else _layers(state), t)
        after = after | {"frame": past[:, -1]}
        if self.attention:
            seen = torch.stack(maps[-self.attention :], dim=1)
            after["maps"] = _last(seen, state, "maps", self.attention)
        if self.backwards is not None:
            after["frames"] = _last(past, state, "frames", self.backward_frames)
        if self.output.guide is not None:
            before = None if state is None else part_of(state, "guide_")
            targets = past[:, :, : past.shape[2] - self.inputs]
            guide = self.output.guide.encode(targets, before)
            after |= {f"guide_{name}": value for name, value in guide.items()}
        return after

    def shared(self, state: State, steps: int) -> State:
        """With what its guides forecast, in place of what they keep."""
        if not isinstance(self.output, Blend) or "levels" in state:
            return state
        own = {n: v for n, v in state.items() if not n.startswith("guide_")}
        own["levels"], own["fed"] = self.output.guided(part_of(state, "guide_"), steps)
        return own

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps c h w"]:
        """Step into the future from `state`, which is left as it was. Any steps >= 1."""
        return self._decoded(state, steps)[0]

    def decode_with_guide(
        self, state: State, steps: int
    ) -> tuple[Float[Tensor, "b steps c h w"], Float[Tensor, "b steps c h w"]]:
        assert self.guide is not None
        forecast, levels = self._decoded(state, steps)
        return forecast, levels[:, :, : forecast.shape[2]]

    def _decoded(
        self, state: State, steps: int
    ) -> tuple[Float[Tensor, "b steps c h w"], Float[Tensor, "b *_ h w"]]:
        """The forecast, and the frames that the head had for it: the levels of a `Blend`, else the
        last frame.
        """
        state = self.shared(state, steps)
        layers = _layers(state)
        if self.backwards is not None:
            back = self.run(self.backwards, self.down(state["frames"].flip(1)), {})
            layers = {name: value + back[name] for name, value in layers.items()}
        embedding = self.encoder.maps(layers)[-1]
        begin = {} if self.start == "zeros" else layers
        if self.start == "mirrored":
            begin = _mirrored(layers, len(self.encoder.hidden))
        frames, known = state["frame"][:, : self.channels], self.known(state, steps)
        guided = informed = None
        feed = self.output.feed
        if "levels" in state and self.inform is not None:
            frames, guides = state["levels"][:, :steps], state["fed"][:, :steps]
            guides = joined(guides, self.output.reduced(known)) if self.inputs else guides
            maps = self.inform(guides.flatten(0, 1))
            guided = maps[-1].unflatten(0, guides.shape[:2])
            skip = maps if self.codec.show_last else None
        else:
            skip = self.shown(state["frame"])
            if self.inform is not None:
                informed = self.inform(known.flatten(0, 1))[-1].unflatten(0, known.shape[:2])
        (fed_noise, read_noise), drift = self.noise_of(state, steps, layers)
        keys = None if self.attend is None else self.attend.keys(state["maps"])

        def fed(t: int, carried: State) -> Fed:
            if feed == "maps":
                return carried.get("map", embedding)
            if feed == "frame":
                return self.codec(joined(carried["frame"], known[:, t]))[-1]
            return guided[:, t] if guided is not None else None

        def step(t: int, carried: State) -> Result:
            beside = [embedding] if self.shows_embedding else []
            if informed is not None:
                beside.append(informed[:, t])
            if self.attend is not None:
                beside.append(self.attend(carried.get("map"), keys, state["maps"]))
            inputs = [x for x in (fed(t, carried), *beside) if x is not None]
            x = torch.cat(inputs, dim=1) if len(inputs) > 1 else inputs[0] if inputs else None
            if x is not None and fed_noise is not None:
                x = x + fed_noise[:, t]
            layers = self.decoder.step(x, _layers(carried))
            maps = self.decoder.maps(layers)
            layers |= {"map": maps[-1]}
            read = self.reads(maps, None if read_noise is None else read_noise[:, t])
            if feed == "frame":
                frame = self.drawn(read, skip, carried["frame"])
                return frame, layers | {"frame": frame}
            return read, layers

        first = {"frame": frames} if feed == "frame" else {}
        results, _ = self.steps(step, begin | first, steps)
        if feed == "frame":
            return torch.stack(results, dim=1), frames
        # Stacked so that they stay channels last.
        maps = torch.stack([m.permute(0, 2, 3, 1) for m in results], dim=1).permute(0, 1, 4, 2, 3)
        return self.output(self.up(maps.flatten(0, 1), skip), maps, frames, drift), frames


class Attention(nn.Module):
    """At each place, a mean of the maps seen at that place, weighted by how well they fit a query
    (Bahdanau et al. 2015, arXiv 1409.0473, in the scaled products of Vaswani et al. 2017).

        w_t = softmax_t(⟨W_q * q, W_k * m_t⟩ / √d)        context = Σ_t w_t m_t

    with 1x1 convolutions W_q and W_k, so that frames of any size can be attended to.
    """

    def __init__(self, query_width: int, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Conv2d(query_width, width, 1), nn.Conv2d(width, width, 1)

    def keys(self, seen: Float[Tensor, "b t d i j"]) -> Float[Tensor, "b t d i j"]:
        return self.key(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])

    def forward(
        self,
        q: Float[Tensor, "b k i j"] | None,
        keys: Float[Tensor, "b t d i j"],
        seen: Float[Tensor, "b t d i j"],
    ) -> Float[Tensor, "b d i j"]:
        """q is None at the first step, before the decoder has a hidden map."""
        b, _, d, i, j = seen.shape
        q = seen.new_zeros(b, self.query.in_channels, i, j) if q is None else q
        fit = (self.query(q).unsqueeze(1) * keys).sum(dim=2, keepdim=True) / math.sqrt(d)
        return (torch.softmax(fit, dim=1) * seen).sum(dim=1).to(seen.dtype)


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
        self.args |= {"horizon": horizon, "draw": args}
        self.finish(self.encoder.hidden, Draw, args, horizon)
        self.add_noise_inputs(noise, 0)

    def next_frames(self, state: State, first: int) -> Float[Tensor, "b horizon c h w"]:
        layers, frame = _layers(state), state["frame"]
        (_, noise), _ = self.noise_of(state, 1, layers, first)
        noise = None if noise is None else noise[:, 0]
        read = self.reads(self.encoder.maps(layers), noise)
        frames = self.drawn(read, self.shown(frame), frame)
        return frames.unflatten(1, (self.horizon, self.channels))


def _layers(state: State) -> State:
    """A core's part of a state: the names that end with a layer's number."""
    return {n: v for n, v in state.items() if n[-1].isdigit() and not n.startswith("guide_")}


def _mirrored(layers: State, count: int) -> State:
    """A core's state with its `count` layers in reverse order."""
    after: State = {}
    for name, value in layers.items():
        letters = name.rstrip("0123456789")
        after[f"{letters}{count - 1 - int(name.removeprefix(letters))}"] = value
    return after


def _last(new: Tensor, state: State | None, name: str, count: int) -> Tensor:
    """The last `count` frames of those in a state and the new ones after them."""
    return (new if state is None else torch.cat([state[name], new], dim=1))[:, -count:]


CORES: dict[str, Callable[..., Core]] = {}
"""Every core by its name; `foreframe.models` fills it. Add yours by `CORES["mine"] = Mine`."""
