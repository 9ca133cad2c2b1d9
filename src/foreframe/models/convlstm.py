"""The convolutional LSTM of Shi et al. 2015 (arXiv 1506.04214) and the encoder-decoder built from it.

Read top to bottom: the cell, what turns frames into maps (stem) and maps into frames (head), the network, its presets.
Shapes: frames B T C H W; maps b d h w, where h and w are H and W over the stem's stride.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, is_dataclass, replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from foreframe.models.baselines import Cycle, LinearMotion, Mean, Persistence
from foreframe.models.engine import Step, in_step
from foreframe.models.optical_flow import OpticalFlow
from foreframe.models.promise import Model, State
from foreframe.typed import brief, check_types

Layers = Sequence[tuple[Any, Any]]  # h and c (b,k,h,w), layer by layer; both None where nothing was seen


class ConvLSTMCell(nn.Module):
    """One step of a convolutional LSTM (Shi et al. 2015, equation 3); * is convolution, ∘ the elementwise product:

        i  = σ(W_xi * x + W_hi * h + W_ci ∘ c  + b_i)
        f  = σ(W_xf * x + W_hf * h + W_cf ∘ c  + b_f)
        c' = f ∘ c + i ∘ tanh(W_xg * x + W_hg * h + b_g)
        o  = σ(W_xo * x + W_ho * h + W_co ∘ c' + b_o)
        h' = o ∘ tanh(c')

    All four gates come from one convolution over [x, h], in the order i, f, o, g. Where it differs from the paper: the
    peepholes W_ci, W_cf, W_co hold one number a channel, not one a pixel, so that the cell runs on frames of any size; they may be
    left out, as most later code does.

    Args:
        channels: of x; 0 for a cell that takes no input.
        hidden: channels of h and c.
        kernel: odd side of the kernel, or (rows, columns); hidden maps keep the frame's size.
        bias: one bias a gate and channel.
        peepholes: let the gates see the cell state.
        forget_bias: constant added to f before its sigmoid.

    Raises:
        ValueError: for an even kernel or no hidden channels.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel: int | tuple[int, int] = 3,
        bias: bool = True,
        peepholes: bool = False,
        forget_bias: float = 0.0,
    ) -> None:
        super().__init__()
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        if rows % 2 == 0 or columns % 2 == 0:
            raise ValueError(f"kernel {rows}x{columns} is even; odd kernels keep the frame's size")
        if hidden < 1 or channels < 0:
            raise ValueError(f"a cell needs hidden channels and no negative input, not {hidden} and {channels}")
        self.hidden, self.forget_bias = hidden, forget_bias
        self.gates = nn.Conv2d(channels + hidden, 4 * hidden, (rows, columns), padding=(rows // 2, columns // 2), bias=bias)
        self.peephole = nn.Parameter(torch.zeros(3, hidden, 1, 1)) if peepholes else None

    def forward(
        self, x: Float[Tensor, "b d h w"] | None, h: Float[Tensor, "b k h w"] | None, c: Float[Tensor, "b k h w"] | None
    ) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b k h w"]]:
        """(x, h, c) -> (h', c'). Pass None for x where the cell takes no input, and for h and c where it has seen nothing.

        This is the plain reading of the equations. Networks run `foreframe.models.engine`, which gives the same, faster.
        """
        if h is None or c is None:
            if x is None:
                raise ValueError("a cell without input needs a state to begin from")
            h = c = x.new_zeros(x.shape[0], self.hidden, *x.shape[2:])
        gates = self.gates(h if x is None else torch.cat([x, h], dim=1))
        i, f, o, g = gates.chunk(4, dim=1)
        if self.peephole is not None:
            W_ci, W_cf, W_co = self.peephole
            i, f = i + W_ci * c, f + W_cf * c
        c = torch.sigmoid(f + self.forget_bias) * c + torch.sigmoid(i) * torch.tanh(g)
        if self.peephole is not None:
            o = o + W_co * c
        return torch.sigmoid(o) * torch.tanh(c), c


@dataclass(frozen=True)
class Stem:
    """How frames become maps, and, mirrored, how maps become frames.

    Args:
        patch: fold patch x patch pixels into channels (space to depth); 1 leaves frames as they are.
        widths: instead, one strided 3x3 convolution for each width, each halving the size, with norm and SiLU.
        norm: "group" norm over each frame, or "none": then a frame's forecast does not depend on how much is in it elsewhere.
        skip: what else the decoder is shown. "frame": the last frame of the past joins the head (with `widths`, its maps of
            each finer size join there). "embedding": the encoder's last hidden map joins every input of the decoder. "both",
            "none".
    """

    patch: int = 1
    widths: Sequence[int] = ()
    skip: str = "none"
    norm: str = "group"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.patch < 1 or (self.widths and self.patch > 1) or any(width < 1 for width in self.widths) or len(self.widths) > 16:
            raise ValueError(f"a stem has a patch of 1 or more, or 16 widths at most, not patch {self.patch} and {self.widths}")
        if self.norm not in ("group", "none"):
            raise ValueError(f"norm {self.norm!r} is unknown; choose group or none")
        if self.skip not in ("none", "frame", "embedding", "both"):
            raise ValueError(f"skip {self.skip!r} is unknown; choose none, frame, embedding or both")

    @property
    def stride(self) -> int:
        return 2 ** len(self.widths) if self.widths else self.patch

    @property
    def skips_frame(self) -> bool:
        return self.skip in ("frame", "both")

    @property
    def skips_embedding(self) -> bool:
        return self.skip in ("embedding", "both")


@dataclass(frozen=True)
class Head:
    """How the decoder's hidden maps become a frame.

    Args:
        kernel: odd side of the last convolution.
        over: read the "last" layer's hidden map, or those of "all" layers, concatenated.
        sigmoid: squash frames into (0, 1).
        horizon: frames that come out at once, for `ahead="at_once"`; else 1.
        carry: carry the last frame's patches along (`_CarryHead`), and draw only what is to be added to that. Goes with no sigmoid.
        blurs: with `ahead="guided"`, draw nothing at all, but mix at each pixel the guide's frame, that frame blurred by Gaussians
            of so many pixels, and nothing (`_mixed`): what is dry stays dry, whatever was trained on.
    """

    kernel: int = 3
    over: str = "last"
    sigmoid: bool = True
    horizon: int = 1
    carry: bool = False
    blurs: Sequence[float] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "blurs", tuple(self.blurs))
        if any(not sigma > 0 for sigma in self.blurs):
            raise ValueError(f"a head's blurs are widths in pixels above 0, not {self.blurs}")
        if self.kernel < 1 or self.kernel % 2 == 0 or self.horizon < 1 or self.over not in ("last", "all"):
            raise ValueError(f"a head has an odd kernel, a horizon of 1 or more, and reads the last or all layers, not {self}")


@dataclass(frozen=True)
class Gates:
    """Options of every cell: see `ConvLSTMCell`."""

    bias: bool = True
    peepholes: bool = False
    forget_bias: float = 0.0


class ConvLSTM(Model):
    """A ConvLSTM encoder-decoder that keeps the promise of `foreframe.models`.

    The encoder runs its layers over the past. The decoder steps into the future, in one of these ways (`ahead`):

    - "hidden": its first layer is fed its own last layer's hidden map of the step before, and first the encoder's last one.
    - "frame": it is fed its own last frame through the stem, and first the past's last one.
    - "nothing": it is fed nothing (Shi et al. 2015).
    - "guided": it is fed, through the stem, what a baseline forecasts for that time (`guide`), and draws what is to be added to
      that. Not of the paper: rain drifts along a motion that is seen better than learnt (guide "optical_flow"); temperatures repeat
      themselves each day ({"name": "cycle", "period": 24}).
    - "at_once": no decoder; the head turns the encoder's last hidden maps into `head.horizon` frames at once. A longer forecast
      encodes those frames and goes on.

    and is built in one of these (`decoder`):

    - "fresh": layers of its own that start from zero.
    - "handed": layers of its own that start from the encoder's h and c, layer by layer.
    - "mirrored": the same in reverse order, so that the layer next to the embedding continues the encoder's last (Shi et al.).
    - "same": the encoder's own layers run on, and so turn each frame into the next.

    Frames whose size the stem's stride does not divide are padded at the bottom and right with their edge, and cropped again.

    Args:
        channels: C of the frames.
        hidden: hidden channels, one number a layer.
        kernel: odd kernel side of every cell.
        gates, stem, head: see there; mappings are taken too.
        decoder, ahead: see above; "at_once" goes with decoder "same", and "same" with "frame" or "at_once"; "guided" with a head
            without sigmoid.
        guide: the baseline of ahead "guided": a name in GUIDES, or {"name": one, and its arguments}.

    Raises:
        ValueError: for choices that do not fit each other.
    """

    def __init__(
        self,
        channels: int = 1,
        hidden: Sequence[int] = (64, 64),
        kernel: int = 3,
        gates: Gates | dict[str, Any] = Gates(),
        stem: Stem | dict[str, Any] = Stem(),
        head: Head | dict[str, Any] = Head(),
        decoder: str = "fresh",
        ahead: str = "hidden",
        guide: str | dict[str, Any] = "persistence",
    ) -> None:
        super().__init__()
        gates = Gates(**gates) if isinstance(gates, dict) else gates
        stem = Stem(**stem) if isinstance(stem, dict) else stem
        head = Head(**head) if isinstance(head, dict) else head
        hidden = tuple(hidden)
        if not isinstance(kernel, int) or kernel % 2 == 0 or kernel < 1:
            raise ValueError(f"kernel must be an odd whole number, which keeps the frame's size, not {kernel!r}")
        _check_choices(channels, hidden, stem, head, decoder, ahead)
        self.args = {
            "channels": channels, "hidden": list(hidden), "kernel": kernel, "gates": asdict(gates),
            "stem": asdict(stem) | {"widths": list(stem.widths)}, "head": asdict(head) | {"blurs": list(head.blurs)},
            "decoder": decoder, "ahead": ahead,
            "guide": guide,
        }  # fmt: skip
        self.channels, self.stem, self.head, self.decoder, self.ahead = channels, stem, head, decoder, ahead
        self.bounded = head.sigmoid
        self.stride = stem.stride

        self.to_maps = _FrameStem(channels, stem)
        maps = stem.widths[-1] if stem.widths else channels * stem.patch**2
        self.encoder = _stack([maps, *hidden], kernel, gates)
        own = hidden[::-1] if decoder == "mirrored" else hidden
        if decoder != "same":
            fed = {"hidden": hidden[-1], "frame": maps, "nothing": 0, "guided": maps}[ahead]
            self.forecaster = _stack([fed + (hidden[-1] if stem.skips_embedding else 0), *own], kernel, gates)
        read = sum(own) if head.over == "all" else own[-1]
        # Of frames that are fed back the next is made at once; else all maps are kept, and become frames in one go.
        self.per_step = 0.0 if ahead in ("frame", "at_once") else 2 * read / stem.stride**2
        self.adds = head.carry or ahead == "guided"  # the head draws what is to be added to a frame that is there already
        self.to_frame = _FrameHead(read, channels, stem, head, gates.bias, self.adds)
        self.carry = _CarryHead(read, stem.stride) if head.carry else None
        self.guide = _guide(guide) if ahead == "guided" else None

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        """Run over the past, on from `state` where one is given. Any T >= 1."""
        b, t, c, height, width = past.shape
        maps = self._maps(past.flatten(0, 1)).unflatten(0, (b, t))
        layers: Layers = _nothing_seen(self.encoder) if state is None else self._layers(state)
        cells = in_step(self.encoder, maps, self.compiled)

        def stretch(maps: Tensor, layers: Layers) -> Layers:
            for step in range(maps.shape[1]):
                layers = _step(cells, maps[:, step], layers)
            return layers

        for part in maps.split(self._stretch(t), dim=1):
            layers = self._remembered(stretch, part, layers)
        held = {f"{name}{k}": value for k, pair in enumerate(layers) for name, value in zip("hc", pair, strict=True)}
        if self.guide is not None:
            before = None if state is None else _of(state, "guide_")
            held |= {f"guide_{name}": value for name, value in self.guide.encode(past, before).items()}
        return held | {"frame": past[:, -1]}

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps c h w"]:
        """Step into the future from `state`, which is left as it was. Any steps >= 1."""
        if self.ahead == "at_once":
            return self._decode_at_once(state, steps)
        frame, past = state["frame"], self._layers(state)
        embedding = past[-1][0]
        if self.decoder == "same":
            return self._run_on(past, frame, steps)
        layers: Layers = past
        if self.decoder == "fresh":
            layers = _nothing_seen(self.forecaster)
        elif self.decoder == "mirrored":
            layers = past[::-1]
        guess = None if self.guide is None else self.guide.decode(_of(state, "guide_"), steps)
        shown = frame if guess is None else guess.flatten(0, 1)  # what the head is shown beside the hidden maps
        inputs = None if guess is None else self._maps(shown).unflatten(0, (-1, steps))
        skip = self._skip(shown)
        cells = in_step(self.forecaster, embedding, self.compiled)

        def stretch(inputs: Tensor | None, fed: Tensor, frame: Tensor, layers: Layers, steps: int) -> tuple[Any, ...]:
            made = []  # frames, where each is needed for the next; else maps, which become frames all in one go
            for step in range(steps):
                x = self._maps(frame) if self.ahead == "frame" else fed if self.ahead == "hidden" else None
                x = x if inputs is None else inputs[:, step]
                if self.stem.skips_embedding:
                    x = embedding if x is None else torch.cat([x, embedding], dim=1)
                layers = _step(cells, x, layers)
                fed, maps = layers[-1][0], self._read(layers)
                if self.ahead == "frame":
                    maps = frame = self._frame(maps, skip, frame)
                made.append(maps)
            return made, fed, frame, layers

        fed, made, length = embedding, [], self._stretch(steps)
        for start in range(0, steps, length):
            part = None if inputs is None else inputs[:, start : start + length]
            more, fed, frame, layers = self._remembered(stretch, part, fed, frame, layers, min(length, steps - start))
            made += more
        if self.ahead == "frame":
            return torch.stack(made, dim=1)
        stacked = torch.stack([maps.permute(0, 2, 3, 1) for maps in made], dim=1).permute(0, 1, 4, 2, 3)  # stays channels last
        drawn = self._frame(stacked.flatten(0, 1), skip, frame).unflatten(0, (-1, steps))
        if guess is not None:
            return _mixed(guess, drawn, self.head.blurs) if self.head.blurs else drawn + guess
        return drawn if self.carry is None else drawn + self.carry(stacked, frame)

    def _run_on(self, layers: list[tuple[Tensor, Tensor]], frame: Tensor, steps: int) -> Tensor:
        """decoder="same": what the layers hold after a frame is already the next one."""
        frame = self._frame(self._read(layers), self._skip(frame), frame)
        frames = [frame]
        if steps == 1:
            return torch.stack(frames, dim=1)
        cells = in_step(self.encoder, frame, self.compiled)

        def stretch(frame: Tensor, layers: Layers, steps: int) -> tuple[list[Tensor], Layers]:
            made = []
            for _ in range(steps):
                layers = _step(cells, self._maps(frame), layers)
                frame = self._frame(self._read(layers), self._skip(frame), frame)
                made.append(frame)
            return made, layers

        length = self._stretch(steps - 1)
        for start in range(1, steps, length):
            more, layers = self._remembered(stretch, frames[-1], layers, min(length, steps - start))
            frames += more
        return torch.stack(frames, dim=1)

    def _stretch(self, steps: int) -> int:
        """How many steps are taken between states that memory "save" keeps: with √steps of them both parts grow alike."""
        return max(1, math.isqrt(steps)) if self.memory == "save" else steps

    def _remembered(self, stretch: Callable[..., Any], *given: Any) -> Any:
        """stretch(*given), of which memory "save" keeps only what goes in and comes out; backward runs it again for the rest."""
        if self.memory == "save" and torch.is_grad_enabled():
            return checkpoint(stretch, *given, use_reentrant=False, preserve_rng_state=False)
        return stretch(*given)

    def _decode_at_once(self, state: State, steps: int) -> Tensor:
        """Chunks of head.horizon frames, each encoded before the next is made."""
        chunks: list[Tensor] = []
        made = 0
        while made < steps:
            frame = state["frame"]
            chunk = self._frame(self._read(self._layers(state)), self._skip(frame), frame)
            chunks.append(chunk.unflatten(1, (self.head.horizon, self.channels)))
            made += self.head.horizon
            if made < steps:
                state = self.encode(chunks[-1], state)
        return torch.cat(chunks, dim=1)[:, :steps]

    def _layers(self, state: State) -> list[tuple[Tensor, Tensor]]:
        return [(state[f"h{k}"], state[f"c{k}"]) for k in range(len(self.encoder))]

    def _read(self, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The hidden maps that the head reads."""
        return torch.cat([h for h, _ in layers], dim=1) if self.head.over == "all" else layers[-1][0]

    def _maps(self, frames: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        return self.to_maps(frames)[-1]

    def _skip(self, frame: Float[Tensor, "n c h w"]) -> list[Tensor] | None:
        return self.to_maps(frame) if self.stem.skips_frame else None

    def _frame(self, maps: Tensor, skip: list[Tensor] | None, like: Tensor) -> Tensor:
        """Maps -> drawn frame(s) of the size of `like`, squashed, in float32, where the head says so."""
        frame = self.to_frame(maps, skip)[..., : like.shape[-2], : like.shape[-1]].to(like.dtype)
        return torch.sigmoid(frame) if self.head.sigmoid else frame

    def start_at(self, mean: float) -> None:
        """Set the head's bias so that an untrained network forecasts about `mean` everywhere: without it, thousands of steps may go
        into learning that most pixels are dark. Does nothing without a bias, or where the head adds to a frame that is there."""
        bias = self.to_frame.last.bias
        if bias is None or self.adds:
            return
        if self.head.sigmoid:
            mean = torch.logit(torch.tensor(min(max(mean, 1e-3), 1 - 1e-3))).item()
        nn.init.constant_(bias, mean)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "ConvLSTM":
        """A documented set of arguments (`PRESETS`), with changes, e.g. `ConvLSTM.preset("quick", channels=3)`.

        A mapping changes what it names and keeps the rest: with `stem={"skip": "none"}`, `quick` keeps its strided convolutions.

        Raises:
            ValueError: for a name that is not there.
        """
        if name not in PRESETS:
            raise ValueError(f"preset {name!r} is unknown; choose {', '.join(PRESETS)}")
        preset = PRESETS[name]
        for key, change in changes.items():
            if isinstance(change, dict) and is_dataclass(preset.get(key)):
                changes[key] = replace(preset[key], **change)
        return cls(**(preset | changes))


def _check_choices(channels: int, hidden: tuple[int, ...], stem: Stem, head: Head, decoder: str, ahead: str) -> None:
    if channels < 1 or not hidden or min(hidden) < 1:
        layers = f"layers of {list(hidden)}" if hidden else "no layer"
        raise ValueError(f"a ConvLSTM needs at least 1 channel and 1 layer of at least 1, not {channels} and {layers}")
    if decoder not in ("fresh", "handed", "mirrored", "same"):
        raise ValueError(f"decoder {decoder!r} is unknown; choose fresh, handed, mirrored or same")
    if ahead not in ("hidden", "frame", "nothing", "guided", "at_once"):
        raise ValueError(f"ahead {ahead!r} is unknown; choose hidden, frame, nothing, guided or at_once")
    if ahead == "guided" and (head.sigmoid or head.carry):
        raise ValueError("ahead guided adds what is drawn to what its guide forecasts: set head.sigmoid and head.carry false")
    if decoder == "same" and ahead not in ("frame", "at_once"):
        raise ValueError(f"decoder same runs the encoder on, which takes frames: use ahead frame or at_once, not {ahead}")
    if ahead == "at_once" and decoder != "same":
        raise ValueError(f"ahead at_once has no decoder of its own: use decoder same, not {decoder}")
    if ahead != "at_once" and head.horizon != 1:
        raise ValueError(f"head.horizon {head.horizon} goes with ahead at_once; else frames come one by one")
    if ahead == "hidden" and decoder == "mirrored" and hidden[0] != hidden[-1]:
        raise ValueError(f"hidden maps fed back through mirrored layers need equal ends, not {hidden[0]} and {hidden[-1]}")
    if head.blurs and ahead != "guided":
        raise ValueError(f"head.blurs mixes what a guide forecasts: use ahead guided, not {ahead}")
    if head.carry and (decoder == "same" or ahead == "frame"):
        raise ValueError("head.carry carries the past's last frame: use a decoder of its own, fed hidden maps or nothing")
    if head.carry and head.sigmoid:
        raise ValueError("head.carry adds what is drawn to what is carried, which no sigmoid may squash: set head.sigmoid false")
    if decoder == "fresh" and ahead != "hidden" and not stem.skips_embedding:
        raise ValueError(f"decoder fresh with ahead {ahead} sees nothing of what was encoded: use decoder handed or skip embedding")
    if stem.skips_embedding and decoder == "same":
        raise ValueError("skip embedding feeds a decoder of its own: use skip frame or none with decoder same")


GUIDES: dict[str, type[Model]] = {
    "persistence": Persistence,
    "mean": Mean,
    "linear_motion": LinearMotion,
    "optical_flow": OpticalFlow,
    "cycle": Cycle,
}


def _guide(guide: str | dict[str, Any]) -> Model:
    given = {"name": guide} if isinstance(guide, str) else dict(guide)
    name = given.pop("name", None)
    if not isinstance(name, str) or name not in GUIDES:
        raise ValueError(f"guide {brief(name)} is unknown; choose {', '.join(GUIDES)}")
    check_types(GUIDES[name], given, f"guide {name}")
    return GUIDES[name](**given)


def _of(state: State, prefix: str) -> State:
    """The part of a state whose names begin so, under the names that follow."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _stack(sizes: Sequence[int], kernel: int, gates: Gates) -> nn.ModuleList:
    return nn.ModuleList(ConvLSTMCell(i, o, kernel, **asdict(gates)) for i, o in pairwise(sizes))


def _nothing_seen(cells: nn.ModuleList) -> Layers:
    """h and c of a stack at its beginning."""
    return [(None, None) for _ in cells]


def _step(cells: Sequence[Step], x: Tensor | None, layers: Layers) -> list[tuple[Tensor, Tensor]]:
    """One frame up through all layers; the h of each is the x of the next."""
    stepped = []
    for cell, (h, c) in zip(cells, layers, strict=True):
        x, c = cell(x, h, c)
        stepped.append((x, c))
    return stepped


class _FrameStem(nn.Module):
    """Frames (n,C,H,W) -> maps, finest first; the last of them is what the cells see."""

    def __init__(self, channels: int, stem: Stem) -> None:
        super().__init__()
        self.stem = stem
        self.fold = nn.PixelUnshuffle(stem.patch)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1), _norm(o, stem), nn.SiLU())
            for i, o in pairwise((channels, *stem.widths))
        )

    def forward(self, frames: Float[Tensor, "n c h w"]) -> list[Tensor]:
        maps = [self.fold(_padded(frames, self.stem.stride))]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        return maps


def _padded(frames: Float[Tensor, "n c h w"], stride: int) -> Float[Tensor, "n c i j"]:
    """Edge pixels repeated at the bottom and right, until `stride` divides both sides."""
    down, right = -frames.shape[-2] % stride, -frames.shape[-1] % stride
    return F.pad(frames, (0, right, 0, down), mode="replicate") if down or right else frames


class _FrameHead(nn.Module):
    """The stem's mirror: hidden maps (n,d,h,w) -> frames (n, horizon*C, H, W) before any sigmoid."""

    def __init__(self, maps: int, channels: int, stem: Stem, head: Head, bias: bool, adds: bool) -> None:
        super().__init__()
        self.up, self.skips = nn.ModuleList(), nn.ModuleList()
        for width in stem.widths[-2::-1]:
            self.up.append(nn.Sequential(nn.Conv2d(maps, 4 * width, 3, padding=1), nn.PixelShuffle(2)))
            self.up.append(nn.Sequential(_norm(width, stem), nn.SiLU()))
            self.skips.append(nn.Conv2d(width, width, 3, padding=1) if stem.skips_frame else nn.Identity())
            maps = width
        self.beside = stem.skips_frame and not stem.widths  # with patches the last frame's are simply laid beside
        maps += channels * stem.patch**2 if self.beside else 0
        scale = 2 if stem.widths else stem.patch
        each = len(head.blurs) + 3 if head.blurs else 1  # numbers a value: a frame's, or the weights of `_mixed` and its factor
        self.last = nn.Conv2d(maps, channels * head.horizon * each * scale**2, head.kernel, padding=head.kernel // 2, bias=bias)
        self.unfold = nn.PixelShuffle(scale)
        if adds:  # at first next to nothing
            nn.init.normal_(self.last.weight, std=0.01 if head.carry else 0.001)
            if self.last.bias is not None:
                nn.init.zeros_(self.last.bias)

    def forward(self, maps: Tensor, skip: list[Tensor] | None) -> Tensor:
        """`skip` holds the last frame's maps, finest first, once a clip where `maps` holds several steps of it."""
        steps = 1 if skip is None else maps.shape[0] // skip[0].shape[0]
        for k, through in enumerate(self.skips):
            maps = self.up[2 * k](maps)
            if skip is not None:
                maps = maps + through(skip[-2 - k]).repeat_interleave(steps, dim=0)
            maps = self.up[2 * k + 1](maps)
        if self.beside and skip is not None:
            maps = torch.cat([maps, skip[0].repeat_interleave(steps, dim=0)], dim=1)
        return self.unfold(self.last(maps))


def _mixed(
    guess: Float[Tensor, "b steps c h w"], drawn: Float[Tensor, "b steps d h w"], blurs: Sequence[float]
) -> Float[Tensor, "b steps c h w"]:
    """Each value is factor * Σ weight_k * level_k. The levels are the guess, the guess blurred by each of `blurs`, and zero; the
    weights are positive and add up to 1 (softmax); the factor lies in (0,2). At first nearly all weight is on the guess.

    `drawn` holds, channel by channel, the K+2 numbers behind the weights and one behind the factor.
    """
    c = guess.shape[2]
    numbers = drawn.unflatten(2, (c, len(blurs) + 3))
    first = torch.zeros(len(blurs) + 2, device=guess.device)
    first[0] = 4.0
    weights = torch.softmax(numbers[:, :, :, :-1] + first.view(-1, 1, 1), dim=3)
    levels = torch.stack([guess, *(_blurred(guess, sigma) for sigma in blurs), torch.zeros_like(guess)], dim=3)
    return 2 * torch.sigmoid(numbers[:, :, :, -1]) * (weights * levels).sum(dim=3)


def _blurred(frames: Float[Tensor, "b t c h w"], sigma: float) -> Float[Tensor, "b t c h w"]:
    """By a Gaussian of `sigma` pixels, cut off at three of them; beyond the frame its edge goes on."""
    reach = max(1, round(3 * sigma))
    place = torch.arange(-reach, reach + 1, device=frames.device, dtype=frames.dtype)
    k = torch.exp(-0.5 * (place / sigma) ** 2)
    k = k / k.sum()
    flat = F.pad(frames.flatten(0, 2).unsqueeze(1), (reach, reach, reach, reach), mode="replicate")
    exact = nullcontext() if frames.is_meta else torch.autocast(frames.device.type, enabled=False)  # meta knows no autocast
    with exact:
        return F.conv2d(F.conv2d(flat, k.view(1, 1, -1, 1)), k.view(1, 1, 1, -1)).reshape(frames.shape)


class _CarryHead(nn.Module):
    """Carries every patch of the last frame to where the hidden maps say that it is by then. Not of the paper; cf. the motion
    kernels of Finn et al. 2016 (arXiv 1605.07157).

    A 1x1 convolution gives for each patch and step a velocity in pixels, summed over the steps to a displacement; for rows and
    columns the width of a Gaussian, which is how unsure it is; and a weight in (0,1). A patch's pixels i, j are blurred by that
    Gaussian, moved, and added up where patches meet:

        frame[y, x] = Σ patches Σ i,j  k(y - row - i) · weight · pixel[i, j] · k(x - column - j)

    which is two small matrix products. Their size grows with the frame's area times its side, over the patch's.
    """

    speed, sharpest = 4.0, 0.45  # pixels a frame for an output of 1; the narrowest Gaussian in pixels

    def __init__(self, maps: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.motion = nn.Conv2d(maps, 5, 1)
        nn.init.normal_(self.motion.weight, std=0.02)
        self.motion.bias = nn.Parameter(torch.tensor([0.0, 0.0, 1.0, 1.0, 4.0]))  # at rest, a little blurred, nearly whole

    def forward(self, maps: Float[Tensor, "b steps d i j"], last: Float[Tensor, "b c h w"]) -> Float[Tensor, "b steps c h w"]:
        b, steps = maps.shape[:2]
        h, w = last.shape[-2:]
        last, p = _padded(last, self.patch), self.patch
        c, i, j = last.shape[1], maps.shape[-2], maps.shape[-1]
        motion = self.motion(maps.flatten(0, 1)).to(last.dtype).unflatten(0, (b, steps))
        moved = torch.cumsum(self.speed * motion[:, :, :2], dim=1)
        width = self.sharpest + F.softplus(motion[:, :, 2:4])
        row = p * torch.arange(i, device=last.device)[:, None] + moved[:, :, 0]
        column = p * torch.arange(j, device=last.device) + moved[:, :, 1]
        k_rows = self._kernel(row, width[:, :, 0], i * p).unsqueeze(2)  # (b,steps,1,i,j,p,H)
        k_columns = self._kernel(column, width[:, :, 1], j * p)  # (b,steps,i,j,p,W)
        weight = torch.sigmoid(motion[:, :, 4])[:, :, None, :, :, None, None]
        patches = last.reshape(b, 1, c, i, p, j, p).transpose(4, 5) * weight  # (b,steps,c,i,j,p,p)
        left = (patches.transpose(-1, -2) @ k_rows).flatten(3, 5)  # (b,steps,c,ijp,H)
        frames = left.transpose(-1, -2) @ k_columns.flatten(2, 4).unsqueeze(2)
        return frames[..., :h, :w].to(last.dtype)

    def _kernel(self, start: Tensor, width: Tensor, size: int) -> Tensor:
        """(...,p,size): where each of a patch's p rows (or columns) goes when its first one goes to `start`."""
        place = torch.arange(1 - self.patch, size, device=start.device)
        k = torch.exp(-0.5 * ((place - start[..., None]) / width[..., None]) ** 2)
        k = k / (k.sum(dim=-1, keepdim=True) + 1e-3)  # what leaves the frame is lost
        return k.unfold(-1, size, 1).flip(-2)


def _norm(width: int, stem: Stem) -> nn.Module:
    """Group norm over each frame on its own (a batch's clips must not see each other), about 16 channels a group; or none."""
    if stem.norm == "none":
        return nn.Identity()
    return nn.GroupNorm(next(groups for groups in range(max(1, width // 16), 0, -1) if width % groups == 0), width)


PRESETS: dict[str, dict[str, Any]] = {
    # The 2020 tutorial's network, as its code has it: 2+2 layers, the decoder from zero, hidden maps fed back.
    "tutorial": {"hidden": (64, 64), "kernel": 3, "decoder": "fresh", "ahead": "hidden", "head": Head(kernel=3)},
    # Shi et al. 2015, section 4.1: 4x4 patches, 5x5 kernels, 128-64-64, a mirrored forecaster that is fed nothing.
    "shi2015": {
        "hidden": (128, 64, 64),
        "kernel": 5,
        "gates": Gates(peepholes=True),
        "stem": Stem(patch=4),
        "head": Head(kernel=1, over="all"),
        "decoder": "mirrored",
        "ahead": "nothing",
    },
    # OpenSTL's ConvLSTM-S: one stack that runs on, fed its own frames. Without what its code holds
    # and never uses: some weights, and a forget offset of 1.
    "openstl": {
        "hidden": (128, 128, 128, 128),
        "kernel": 5,
        "gates": Gates(bias=False),
        "stem": Stem(patch=4),
        "head": Head(kernel=1, sigmoid=False),
        "decoder": "same",
        "ahead": "frame",
    },
    # What two CPU cores train in minutes: frames go down to maps an eighth of their size, where a step is cheap and a 3x3 kernel
    # reaches far; and the head carries the last frame's patches along and draws only the rest, where drawing everything from memory
    # takes far longer to learn.
    "quick": {
        "hidden": (64,),
        "kernel": 3,
        "gates": Gates(forget_bias=1.0),
        "stem": Stem(widths=(16, 32, 64), skip="frame"),
        "head": Head(sigmoid=False, carry=True),
        "decoder": "handed",
        "ahead": "hidden",
    },
    # For radar: the last frame is carried along its optical flow, and a small ConvLSTM, which sees that frame at each lead time,
    # learns what grows, fades and blurs on the way. It draws nothing, and has no norms, which would make much of little rain: both
    # forecast rain where there is none, of storms unlike those trained on. Needs OpenCV.
    "nowcast": {
        "hidden": (48,),
        "kernel": 3,
        "gates": Gates(forget_bias=1.0),
        "stem": Stem(widths=(24, 48), skip="frame", norm="none"),
        "head": Head(sigmoid=False, blurs=(1.5, 4.0, 10.0)),
        "decoder": "handed",
        "ahead": "guided",
        "guide": "optical_flow",
    },
}

# What a preset had before it changed, as arguments: a run that began with them goes on with them.
EARLIER: dict[str, dict[str, dict[str, Any]]] = {"openstl": {"gates": {"forget_bias": 1.0}}}
