"""Recurrent models: three ways to forecast, each written once, for any core, codec and head.

    NextFrame        one core runs over the past and on into the future, fed its own frames
    EncoderDecoder   one core reads the past, another one writes the future
    RecurrentAtOnce  one core reads the past, and a head makes all next frames from its last maps

A core takes the maps of one frame up through all of its layers: see core.py, and convlstm.py for
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

from foreframe.base.schema import choice
from foreframe.models.at_once import AtOnce
from foreframe.models.checks import at_least
from foreframe.models.codec import CODECS, Patches, Strided
from foreframe.models.core import AnyMaps, Core, Layers
from foreframe.models.engine import PackedConv2d, channels_last
from foreframe.models.heads import HEADS, Draw, Head, HeadInputs, HeadSizes
from foreframe.models.interface import (
    Future,
    Model,
    Past,
    Result,
    State,
    TrainingForecast,
    concat_inputs,
    part_of,
    peek,
    pop,
    push_ring,
    where_states,
    with_prefix,
)
from foreframe.models.registry import CORES

Part = str | Mapping[str, Any]  # a name, or {name: its arguments}
StepMaps = Float[Tensor, "b _ _ i j"]  # of each of several frames


class Recurrent(Model):
    """The common part of the three ways: frames to maps, and the core's run over the past.

    The state of the core that reads the past is in a model's state under "encoder/".

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
    last_core = "encoder"  # the one that goes on into the future
    attention = 0  # last frames whose maps are kept

    def __init__(self, channels: int | None, core: Part, codec: Part, inputs: int) -> None:
        super().__init__()
        at_least(1, channels=1 if channels is None else channels)
        at_least(0, inputs=inputs)
        if channels is None and inputs:
            raise ValueError("a model with inputs forecasts a number of channels: give channels")
        kind, args = choice(CODECS, codec, "codec")
        self.channels, self.inputs = channels, inputs
        self.codec = CODECS[kind]((channels or 1) + inputs, **args)
        self.stride = self.codec.stride
        name, core_args = choice(CORES, core, "core")
        self.encoder = CORES[name](self.codec.width, **core_args)
        self.args |= {"core": {name: core_args}, "codec": {kind: args}}

    def add_head(
        self,
        hidden: Sequence[int],
        kind: Callable[..., Head],
        args: Mapping[str, Any],
        frames: int = 1,
        skips: int | None = None,
    ) -> None:
        """Build the codec's decoder, from the maps to frames, and the head.

        Args:
            hidden: channels of the decoder's hidden maps, layer by layer.
            kind, args: class of the head, and its arguments.
            frames: that the head makes at once.
            skips: channels of the skip maps; by default the codec's.
        """
        self.head_width = sum(hidden) if args["over"] == "all" else hidden[-1]
        self.up = self.codec.decoder(self.head_width, skips)
        channels = self.channels and self.channels * frames
        self.output = kind(HeadSizes(channels, self.head_width, self.up), **args)
        self.bounded, self.reduces = self.output.bounded, self.output.short is not None
        guide = self.output.guide
        self.sized = self.reduces or (guide is not None and guide.sized)

    def head_maps(self, maps: Layers) -> AnyMaps:
        """The maps that the head reads: of the last layer or of all layers."""
        return torch.cat(maps, dim=1) if self.output.over == "all" else maps[-1]

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

    def encode(self, past: Past, state: State | None = None) -> State:
        """Run over the past; continues from `state` if it is given. Any T >= 1."""
        x, first = self.embed(past), past.shape[1] - self.attention

        def step(k: int, layers: State) -> Result:
            layers = self.encoder.step(x[:, k], layers)
            return self.encoder.maps(layers)[-1] if k >= first else None, layers

        maps, layers = self.loop(step, part_of(state or {}, "encoder/"), past.shape[1])
        encoded = with_prefix("encoder/", layers) | {"frame": past[:, -1]}
        if self.attention:
            attended = torch.stack(maps[max(0, first) :], dim=1)
            encoded |= push_ring(attended, state, self.attention, "maps")
        return encoded

    def terms(self, made: TrainingForecast) -> dict[str, Float[Tensor, ""]]:
        return self.encoder.terms(part_of(made.state, f"{self.last_core}/"))

    def last_inputs(self, state: State) -> Float[Tensor, "b i h w"]:
        """The inputs of the last frame seen; 0 channels without any."""
        frame = state["frame"]
        return frame[:, frame.shape[1] - self.inputs :]

    def embed(self, frames: Past) -> StepMaps:
        """Return the codec's maps of frames and their inputs, or of their mean over channels if the
        network takes any number of channels.
        """
        seen = frames.mean(dim=2, keepdim=True) if self.channels is None else frames
        maps: Tensor = self.codec(self.output.reduced(seen).flatten(0, 1))[-1]
        return channels_last(maps).unflatten(0, frames.shape[:2])

    def skip_maps(self, frames: Float[Tensor, "n _ h w"]) -> list[Tensor] | None:
        """The skip maps of frames, where the codec has them."""
        return self.codec.skips(self.codec(frames)) if self.codec.show_last else None


class RecurrentAtOnce(Recurrent, AtOnce):
    """A core runs over the past, and its head makes all next frames from the last hidden maps. The
    known inputs of the future are seen only by a forecast beyond the horizon, which encodes them
    with its own frames.

    Args:
        channels, core, codec, inputs: as of `Recurrent`.
        horizon: frames that it makes at once.
        draw: arguments of `Draw`, by name.

    Raises:
        ValueError: as `Recurrent`, or a horizon below 1.
    """

    def __init__(
        self,
        channels: int = 1,
        core: str | Mapping[str, Any] = "convlstm",
        codec: str | Mapping[str, Any] = "patches",
        horizon: int = 10,
        draw: Mapping[str, Any] = MappingProxyType({}),
        inputs: int = 0,
    ) -> None:
        super().__init__(channels, core, codec, inputs)
        at_least(1, horizon=horizon)
        _, args = choice({"draw": Draw}, {"draw": draw}, "head")
        self.horizon = horizon
        self.args["draw"] = args
        self.add_head(self.encoder.hidden, Draw, args, horizon)

    def next_frames(self, state: State) -> Future:
        frame = state["frame"]
        maps = self.head_maps(self.encoder.maps(part_of(state, "encoder/")))
        raised = self.up(maps, self.skip_maps(frame))
        inputs = HeadInputs(raised, maps.unsqueeze(1), frame[:, : self.channels])
        return self.output(inputs)[0][:, 0].unflatten(1, (self.horizon, self.channels))


class NextFrame(RecurrentAtOnce):
    """One core runs over the past and on into the future, fed its own frames: after each frame the
    head makes the next one from its maps. Known inputs go in with the frame that they belong to.

    Args:
        channels, core, codec, inputs: as of `Recurrent`.
        draw: arguments of `Draw`, by name.

    Raises:
        ValueError: as `Recurrent`.
    """

    def __init__(
        self,
        channels: int = 1,
        core: str | Mapping[str, Any] = "convlstm",
        codec: str | Mapping[str, Any] = "patches",
        draw: Mapping[str, Any] = MappingProxyType({}),
        inputs: int = 0,
    ) -> None:
        super().__init__(channels, core, codec, 1, draw, inputs)

    def read_on(self, frames: Past, state: State) -> State:
        """The core reads the head's frame."""
        layers = self.encoder.step(self.embed(frames)[:, 0], part_of(state, "encoder/"))
        return with_prefix("encoder/", layers) | {"frame": frames[:, 0]}


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


class EncoderDecoder(Recurrent):
    """One core, the encoder, reads the past; another one, the decoder, writes the future. The head
    decides the decoder's input: see `Head.feed`. It sees the known inputs of a frame at the step
    that writes that frame.

    A head with guides mixes the forecasts of baselines, which the decoder is fed for each step. The
    state of the guides is under "guide/", or what all members share of them: "levels", which the
    head mixes, and "fed".

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
        backward: number of the last frames that another core reads, from the newest back; its state
            is added to the encoder's; 0 is off.

    Raises:
        ValueError: as `Recurrent`, or mirrored layers that are fed hidden maps and whose ends
            differ.
    """

    last_core = "decoder"

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
    ) -> None:
        super().__init__(channels, core, codec, inputs)
        at_least(0, attention=attention, backward=backward)
        name, args = choice(HEADS, output, "output")
        self.args["output"] = {name: args}
        head, feed = HEADS[name], args.get("feed", HEADS[name].feed)
        hidden = list(self.encoder.hidden)
        own = hidden[::-1] if start == "mirrored" else hidden
        _check_feed(feed, channels, own[-1], hidden[-1])
        self.start_from, self.attention, self.backward_frames = start, attention, backward
        self.shows_embedding = embedding or (start == "zeros" and feed != "maps")
        guides = head.guide_channels(channels, args)
        width = self.codec.width_of(guides + inputs) if guides else self.codec.width
        fed = {"maps": own[-1], "frame": width, "guides": width, "nothing": 0}[feed]
        fed += hidden[-1] * (self.shows_embedding + (attention > 0))
        self.inform = None
        if inputs and feed in ("maps", "nothing"):  # else a codec takes them in with a frame
            self.inform = self._second_codec(inputs)
            fed += self.inform.width
        self.decoder = self._second_core(fed, own)
        self.attend = Attention(own[-1], hidden[-1]) if attention else None
        self.backwards = self._second_core(self.codec.width, hidden) if backward else None
        self.add_head(own, head, args, skips=width)
        if guides:
            self.inform = self._second_codec(guides + inputs)

    def _second_codec(self, channels: int) -> Patches | Strided:
        """As the codec, for other frames."""
        ((kind, args),) = self.args["codec"].items()
        return CODECS[kind](channels, **args)

    def _second_core(self, channels: int, hidden: Sequence[int]) -> Core:
        """As the encoder, for another input."""
        ((kind, args),) = self.args["core"].items()
        return CORES[kind](channels, **{**args, "hidden": hidden})

    def freeze_encoder(self) -> None:
        for part in (self.codec, self.encoder, self.backwards, self.attend):
            if part is not None:
                part.requires_grad_(False)

    @property
    def guide(self) -> Model | None:
        return self.output.guide

    def encode(self, past: Past, state: State | None = None) -> State:
        """Run over the past; continues from `state` if it is given. Any T >= 1."""
        encoded = super().encode(past, state)
        if self.backwards is not None:
            encoded |= push_ring(past, state, self.backward_frames)
        return encoded | self.output.encode(past[:, :, : past.shape[2] - self.inputs], state)

    def exogenous(self, state: State, steps: int) -> State:
        return self.output.exogenous(state, steps)

    def precompute(self, state: State, steps: int) -> State:
        return self.output.precompute(state, steps)

    def decode_with_guide(self, state: State, steps: int) -> tuple[Future, Future]:
        state = self.precompute(state, steps)
        forecast = self.decode(state, steps)
        return forecast, self.output.scaled(state["levels"][:, :steps, : forecast.shape[2]])

    def rollout(self, state: State, steps: int) -> tuple[Future, State]:
        n, parts = self.output.lead_times(state["frame"], steps), []
        begun = self.start_decoding(state | self.exogenous(state, steps))
        for k in range(0, steps, n):
            frames, begun = self.advance(begun, min(n, steps - k), last=k + n >= steps)
            parts.append(frames)
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0], begun

    def begin(self, state: State) -> State:
        like = self.encoder.maps(part_of(state, "encoder/"))[-1]
        return with_prefix("decoder/", self.decoder.start(like)) | self.start_decoding(state)

    def start_decoding(self, state: State) -> State:
        """As `begin`, without layers of the decoder that are zeros, which saves their convolution
        in the first step.
        """
        layers = part_of(state, "encoder/")
        if self.backwards is not None:
            back = self._read_backwards(state)
            layers = {name: value + back[name] for name, value in layers.items()}
        embedding = self.encoder.maps(layers)[-1]
        first = {name: layers[name] for name in self.encoder.accumulated_states}
        if self.start_from != "zeros":
            first = self.encoder.mirrored(layers) if self.start_from == "mirrored" else layers
        begun = with_prefix("decoder/", first)
        if self.guide is not None:
            begun |= self.output.begin(state)
        else:
            begun["frame"] = state["frame"][:, : self.channels]
            skips = self.skip_maps(state["frame"]) or []
            begun |= {f"skip/{k}": maps for k, maps in enumerate(skips)}
        if self.output.feed == "maps":
            begun["map"] = embedding
        if self.shows_embedding:
            begun["embedding"] = embedding
        if self.attend is not None:
            begun |= self.attend.begin(state["maps"], state["maps_seen"])
        if self.inputs:
            begun["known"] = state.get("known", self.last_inputs(state).unsqueeze(1))
        if channels := self.output.sums_channels:
            b, _, i, j = embedding.shape
            begun["sums"] = state["frame"].new_zeros(b, channels, i, j)
        return begun

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        return self.advance(state, 1, last)

    def advance(self, state: State, steps: int, last: bool = False) -> tuple[Future, State]:
        """Compute all lead times in one batch, except the decoder's core, unless the decoder reads
        its own frames.
        """
        if self.output.feed == "frame" and steps > 1:
            return super().advance(state, steps, last)
        known = peek(state["known"], steps) if self.inputs else None
        ahead, named = known, part_of(state, "skip/")
        skips = [named[f"{k}"] for k in range(len(named))] or None
        if self.guide is None:
            frames = state["frame"]
        else:
            frames, fed, after = self.output.next_levels(state, steps)
            state = state | after
            known = fed if known is None else concat_inputs(fed, self.output.reduced(known))
        if self.inform is not None and known is not None:
            maps = self.inform(known.flatten(0, 1))
            ahead = maps[-1].unflatten(0, known.shape[:2])
            if self.guide is not None and self.codec.show_last:
                skips = self.codec.skips(maps)
        maps, state = self.decoded(state, ahead, steps)
        raised = self.up(maps.flatten(0, 1), skips)
        made, sums = self.output(HeadInputs(raised, maps, frames, state.get("sums")))
        after = {} if sums is None else {"sums": sums}
        if self.inputs:
            after["known"] = pop(state["known"], steps)
        if self.output.feed == "frame":
            after["frame"] = made[:, -1]
        return made, state | after

    def decoded(
        self, state: State, ahead: Float[Tensor, "b steps _ _ _"] | None, steps: int
    ) -> tuple[StepMaps, State]:
        """Return the maps that the head reads at each step of the decoder's core, and the state.

        Args:
            ahead: what is known of each step, for `decoder_input`.
        """

        def step(t: int, state: State) -> Result:
            x = self.decoder_input(state, None if ahead is None else ahead[:, t])
            layers = self.decoder.step(x, part_of(state, "decoder/"))
            maps = self.decoder.maps(layers)
            fed_back = {name: maps[-1] for name in ("map", "query") if name in state}
            return self.head_maps(maps), state | with_prefix("decoder/", layers) | fed_back

        reads, state = self.loop(step, state, steps)
        # Stacked so that they stay channels last.
        maps = torch.stack([m.permute(0, 2, 3, 1) for m in reads], dim=1)
        return maps.permute(0, 1, 4, 2, 3), state

    def decoder_input(self, state: State, ahead: Tensor | None) -> AnyMaps | None:
        """Return the decoder's input at a step (see `Head.feed`) with the embedding, the maps of
        known inputs, and the context of the attention.
        """
        parts = []
        if self.output.feed == "maps":
            parts = [state["map"]]
        elif self.output.feed == "frame":
            frame = state["frame"]
            parts = [self.codec(frame if ahead is None else concat_inputs(frame, ahead))[-1]]
        elif self.output.feed == "guides" and ahead is not None:
            parts = [ahead]
        if self.shows_embedding:
            parts.append(state["embedding"])
        if self.output.feed in ("maps", "nothing") and ahead is not None:
            parts.append(ahead)
        if self.attend is not None:
            parts.append(self.attend(state))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0] if parts else None

    def _read_backwards(self, state: State) -> State:
        """The state of the core that reads the last frames from the newest back, as many as were
        seen.
        """
        assert self.backwards is not None
        core, x = self.backwards, self.embed(state["frames"].flip(1))

        def step(t: int, layers: State) -> Result:
            read = core.step(x[:, t], layers)
            return None, where_states(state["frames_seen"] > t, read, layers) if layers else read

        return self.loop(step, {}, x.shape[1])[1]


def _check_feed(feed: str, channels: int | None, own: int, embedding: int) -> None:
    """Refuse a head that needs channels, and hidden maps fed back that have other channels than the
    embedding.
    """
    if channels is None and feed != "guides":
        raise ValueError(
            "only heads that mix guides forecast any number of channels: give channels"
        )
    if feed == "maps" and own != embedding:
        raise ValueError(
            f"hidden maps fed back through mirrored layers need equal ends, not {own} and "
            f"{embedding}"
        )
