"""SVG-LP, stochastic video generation with a learned prior: what the past cannot tell is drawn.

Denton and Fergus 2018 (arXiv 1802.07687). Read top to bottom: the model and its objective, the
networks of codes, the networks of frames, presets. Shapes: frames B T C H W; codes b r k t g, a
code for each place (r, k) of 64x64 pixels and each time t.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from foreframe.clips.clip import Window
from foreframe.clips.frames import fill_missing
from foreframe.clips.keyed import further, normals
from foreframe.models.codec import padded
from foreframe.models.interface import Learnt, Loss, Model, State

SIDE = 64  # pixels that become one code: four halvings, then a convolution of 4x4
MEMORIES = ("posterior", "prior", "frame_predictor")

Codes = Float[Tensor, "b r k t _"]
Memory = tuple[Float[Tensor, "b r k l d"], Float[Tensor, "b r k l d"]]


class SVG(Model):
    """A frame x_t becomes a code h_t and maps of four sizes; the next frame is drawn from the next
    code, which the last code and a latent vector z_t foretell, and from the maps of a frame seen:

        z_t ~ N(mean, variance) of the posterior, an LSTM that reads h_1 ... h_t, the truth to come,
                            or of the prior, an LSTM that reads h_0 ... h_t-1, what is past
        g_t = LSTM(h_t-1, z_t)                             (the frame predictor)
        x̂_t = D(g_t, maps of a frame before)

    Training draws from the posterior, and keeps the prior near it; a forecast draws from the prior.
    The past is known, so `encode` takes the posterior's mean there, and no draw. `decode` draws
    where the state holds "key", one number a clip: from that key, the lead time, the place and the
    channel of z; without a key it takes the prior's mean, and gives one forecast.

    It has the model interface of `foreframe.models` as a recurrent model does: its state is the
    last frame and what the three LSTMs remember.

    Where it differs from the authors' code: a forecast is normalised by the statistics of training,
    so that clips of a batch do not see each other, where theirs is by those of its batch; `learn`
    takes the statistics of a batch over all its frames together, not time by time; without
    `last_frame_skip` the maps are those of the last frame seen, where theirs are of the one before
    it; no biases before a norm, which takes them away; frames of any size, since all but the code
    is convolution: a frame has a code for each place of 64x64 pixels, and what 64 does not divide
    is padded at the bottom and right, and cropped again. Smaller frames take the time of 64x64.

    Args:
        channels: C of the frames.
        backbone: "dcgan" (a strided convolution for each size) or "vgg" (two or three 3x3
            convolutions for each size).
        width: channels of the finest maps; each size further down has twice as many.
        code: values of a code (g_dim of the authors' code).
        latent: values of z (z_dim).
        hidden: of the LSTMs (rnn_size).
        layers: LSTM layers of the frame predictor; posterior and prior have one.
        last_frame_skip: while it forecasts, show the decoder the maps of its own last frame, in
            place of those of the last frame seen.
        beta: weight of the Kullback-Leibler divergence in the objective.

    Raises:
        ValueError: an unknown backbone, or sizes that make no network.
    """

    stride = SIDE
    bounded = True
    draws = True

    def __init__(
        self,
        channels: int = 1,
        backbone: Literal["dcgan", "vgg"] = "dcgan",
        width: int = 64,
        code: int = 128,
        latent: int = 10,
        hidden: int = 256,
        layers: int = 2,
        last_frame_skip: bool = False,
        beta: float = 1e-4,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"backbone {backbone!r} is unknown; choose {' or '.join(BACKBONES)}")
        if min(channels, latent, hidden) < 1 or min(width, code) < 2 or not 1 <= layers <= 16:
            raise ValueError(
                "SVG needs 1 channel, latent and hidden value or more, a width and a code of 2 or "
                f"more, and 1 to 16 layers, not {channels}, {latent}, {hidden}, {width}, {code} "
                f"and {layers}"
            )
        if not 0 <= beta < math.inf:
            raise ValueError(f"beta is a weight of 0 or more, not {beta}")
        self.args = {
            "channels": channels, "backbone": backbone, "width": width, "code": code,
            "latent": latent, "hidden": hidden, "layers": layers,
            "last_frame_skip": last_frame_skip, "beta": beta,
        }  # fmt: skip
        self.channels, self.latent = channels, latent
        self.last_frame_skip, self.beta = last_frame_skip, beta
        down, up = BACKBONES[backbone](channels, width, code)
        self.encoder, self.decoder = Encoder(down), Decoder(up)
        self.posterior = Recurrent(code, hidden, 1, 2 * latent)
        self.prior = Recurrent(code, hidden, 1, 2 * latent)
        self.frame_predictor = Recurrent(code + latent, hidden, layers, code)

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        """The last frame, and the LSTMs' memories of those before it. Any T >= 1."""
        frames = past
        if state is not None:
            frames = torch.cat([state["frame"].unsqueeze(1).to(past.dtype), past], dim=1)
        memories = {name: self._memory(name, frames, state) for name in MEMORIES}
        if frames.shape[1] > 1:
            codes, _ = self._seen(frames)
            before, after = codes[:, :, :, :-1], codes[:, :, :, 1:]
            latents, memories["posterior"] = self.posterior(after, memories["posterior"])
            _, memories["prior"] = self.prior(before, memories["prior"])
            mean, _ = latents.chunk(2, dim=-1)
            _, memories["frame_predictor"] = self._foretold(
                before, mean, memories["frame_predictor"]
            )
        kept = {} if state is None or "key" not in state else {"key": state["key"]}
        for name, (h, c) in memories.items():
            kept |= {f"{name}_h": h, f"{name}_c": c}
        return {**kept, "frame": past[:, -1]}

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps c h w"]:
        """Each frame is drawn, and seen as the truth is; see the class for its randomness."""
        frame = state["frame"].unsqueeze(1)
        prior, predictor = (self._memory(name, frame, state) for name in MEMORIES[1:])
        code, maps = self._seen(frame)
        noise = None
        if "key" in state:
            place = state.get("place", state["key"].new_zeros(len(frame), 2)) // self.stride
            size = code.shape[1], code.shape[2], steps, self.latent
            noise = _noise(state["key"], place, *size)
        forecast: list[Tensor] = []
        for step in range(steps):
            if forecast:
                code, own = self._seen(frame)
                maps = own if self.last_frame_skip else maps
            latents, prior = self.prior(code, prior)
            z, log_variance = latents.chunk(2, dim=-1)
            if noise is not None:
                z = z + (log_variance / 2).exp() * noise[:, :, :, step : step + 1]
            code, predictor = self._foretold(code, z, predictor)
            frame = self._drawn(code, maps, frame)
            forecast.append(frame)
        return torch.cat(forecast, dim=1)

    def learn(self, clips: Float[Tensor, "b t c h w"], window: Window, loss: Loss) -> Learnt:
        """The evidence lower bound: how well each next frame is told from the truth before it and
        from z of the posterior, which has seen it, plus `beta` times how far that is from the
        prior.

        Both terms are means over time where the authors' code has sums, which the learning rate
        feels and nothing else. What it gives as forecast are the window's last such frames.
        """
        with _statistics_of_the_batch(self):
            return self._learn(clips, window, loss)

    def _learn(self, clips: Float[Tensor, "b t c h w"], window: Window, loss: Loss) -> Learnt:
        truth = clips[:, 1 : window.length]
        frames, _ = fill_missing(clips[:, : window.length])
        b, t = frames.shape[:2]
        codes, maps = self._seen(frames)
        before, after = codes[:, :, :, :-1], codes[:, :, :, 1:]
        start = {name: self._memory(name, frames, None) for name in MEMORIES}
        posterior, prior = (
            of(read, start[name])[0].to(torch.promote_types(codes.dtype, torch.float32))
            for of, read, name in (
                (self.posterior, after, "posterior"),
                (self.prior, before, "prior"),
            )
        )
        mean, log_variance = posterior.chunk(2, dim=-1)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        foretold, _ = self._foretold(before, z, start["frame_predictor"])
        shown = torch.arange(t - 1, device=clips.device)  # whose maps each forecast is drawn with
        if not self.last_frame_skip:
            shown = shown.clamp(max=window.past - 1)
        maps = [size.unflatten(0, (b, t))[:, shown].flatten(0, 1) for size in maps]
        forecast = self._drawn(foretold, maps, frames)
        reconstruction = loss(forecast, truth)
        kl = kl_divergence(posterior, prior).mean()
        return Learnt(
            reconstruction + self.beta * kl,
            forecast[:, -window.future :],
            {"reconstruction": reconstruction, "kl": kl},
        )

    def start_at(self, mean: float) -> None:
        """Begin with frames of about `mean`."""
        last = cast(nn.Sequential, self.decoder.stages[-1])[-2]
        assert isinstance(last, nn.ConvTranspose2d)
        assert last.bias is not None
        nn.init.constant_(last.bias, math.log(mean / (1 - mean)) if 0 < mean < 1 else 0.0)

    def _seen(self, frames: Float[Tensor, "b t c h w"]) -> tuple[Codes, list[Tensor]]:
        """Codes, and maps of four sizes with (b t) as first axis, finest first."""
        code, maps = self.encoder(padded(frames.flatten(0, 1), SIDE))
        return code.unflatten(0, frames.shape[:2]).permute(0, 3, 4, 1, 2), maps

    def _drawn(
        self, codes: Codes, maps: Sequence[Tensor], like: Float[Tensor, "b _ c h w"]
    ) -> Float[Tensor, "b t c h w"]:
        """The frames of these codes, of the size and kind of others."""
        frames = self.decoder(codes.permute(0, 3, 4, 1, 2).flatten(0, 1), maps)
        frames = frames[..., : like.shape[-2], : like.shape[-1]].to(like.dtype)
        return frames.unflatten(0, (codes.shape[0], codes.shape[3]))

    def _foretold(
        self, codes: Codes, z: Float[Tensor, "b r k t z"], memory: Memory
    ) -> tuple[Codes, Memory]:
        """The codes of the frames that follow."""
        foretold, memory = self.frame_predictor(torch.cat([codes, z], dim=-1), memory)
        return foretold.tanh(), memory

    def _memory(self, name: str, frames: Tensor, state: State | None) -> Memory:
        """What an LSTM remembers; zeros at first."""
        if state is not None:
            return state[f"{name}_h"], state[f"{name}_c"]
        lstm = getattr(self, name).lstm
        rows, columns = (-(-side // SIDE) for side in frames.shape[-2:])
        zeros = frames.new_zeros(len(frames), rows, columns, lstm.num_layers, lstm.hidden_size)
        return zeros, zeros.clone()


def kl_divergence(
    posterior: Float[Tensor, "*n _"], prior: Float[Tensor, "*n _"]
) -> Float[Tensor, "*n"]:
    """KL(posterior || prior) of normal distributions without covariance, in nats, summed over their
    values; each a mean and a logarithm of the variance, side by side in the last axis.
    """
    (mean, log_variance), (mean_p, log_variance_p) = (
        of.chunk(2, dim=-1) for of in (posterior, prior)
    )
    squares = (log_variance.exp() + (mean - mean_p).square()) * (-log_variance_p).exp()
    return ((log_variance_p - log_variance + squares - 1) / 2).sum(dim=-1)


def _noise(
    keys: Int[Tensor, " b"],
    place: Int[Tensor, "b 2"],
    rows: int,
    columns: int,
    steps: int,
    latent: int,
) -> Float[Tensor, "b r k t z"]:
    """Normal numbers of each clip's key at (lead time, row, column, channel), lead times from 0,
    rows and columns from `place`.
    """
    along = (torch.arange(n, device=keys.device) for n in (rows, columns, steps, latent))
    row, column, lead, channel = torch.meshgrid(*along, indexing="ij")
    row, column = (at + place[:, k].view(-1, 1, 1, 1, 1) for k, at in enumerate((row, column)))
    return normals(further(keys.view(-1, 1, 1, 1, 1), lead, row, column, channel))


class Recurrent(nn.Module):
    """A linear layer, LSTM layers, and a linear layer; each place of a frame on its own."""

    def __init__(self, inputs: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, x: Codes, memory: Memory) -> tuple[Codes, Memory]:
        places = x.shape[:3]
        h, c = (part.flatten(0, 2).transpose(0, 1).contiguous() for part in memory)
        x, (h, c) = self.lstm(self.embed(x).flatten(0, 2), (h, c))
        h, c = (part.transpose(0, 1).unflatten(0, places) for part in (h, c))
        return self.output(x).unflatten(0, places), (h, c)


class Encoder(nn.Module):
    """Frames to maps of four sizes, each of the one before, and the last of these to codes."""

    def __init__(self, stages: Sequence[nn.Sequential]) -> None:
        super().__init__()
        *sizes, self.to_code = stages
        self.stages = nn.ModuleList(sizes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n g r k"], list[Tensor]]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return self.to_code(x), maps


class Decoder(nn.Module):
    """Codes to frames, through maps of four sizes, each beside the encoder's of that size."""

    def __init__(self, stages: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.from_code, *sizes = stages
        self.stages = nn.ModuleList(sizes)

    def forward(
        self, code: Float[Tensor, "n g r k"], maps: Sequence[Tensor]
    ) -> Float[Tensor, "n c h w"]:
        x: Tensor = self.from_code(code)
        for stage, shown in zip(self.stages, reversed(maps), strict=True):
            x = stage(torch.cat([x, shown], dim=1))
        return x


Stages = tuple[list[nn.Sequential], list[nn.Sequential]]


def dcgan(channels: int, width: int, code: int) -> Stages:
    """Stages down and up: a 4x4 convolution of stride 2 for each size, as in DCGAN (Radford et al.
    2015, arXiv 1511.06434).
    """

    def down(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(*_normed(nn.Conv2d(i, o, 4, stride=2, padding=1, bias=False)))

    def up(i: int, o: int) -> nn.Sequential:
        doubled = nn.ConvTranspose2d(2 * i, o, 4, stride=2, padding=1, bias=False)
        return nn.Sequential(*_normed(doubled))

    a, b, c, d = (width * 2**k for k in range(4))
    last = nn.ConvTranspose2d(2 * a, channels, 4, stride=2, padding=1)
    return (
        [down(channels, a), down(a, b), down(b, c), down(c, d), _to_code(d, code)],
        [_from_code(code, d), up(d, c), up(c, b), up(b, a), nn.Sequential(last, nn.Sigmoid())],
    )


def vgg(channels: int, width: int, code: int) -> Stages:
    """Stages down and up: 3x3 convolutions, and pooling by 2 or repetition between the sizes, as in
    VGG (Simonyan and Zisserman 2014, arXiv 1409.1556).
    """

    def convolved(*widths: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += _normed(nn.Conv2d(i, o, 3, padding=1, bias=False))
        return layers

    def down(*widths: int) -> nn.Sequential:
        return nn.Sequential(nn.MaxPool2d(2), *convolved(*widths))

    def up(*widths: int) -> nn.Sequential:
        return nn.Sequential(*convolved(*widths), nn.Upsample(scale_factor=2))

    a, b, c, d = (width * 2**k for k in range(4))
    last = nn.ConvTranspose2d(a, channels, 3, padding=1)
    return (
        [
            nn.Sequential(*convolved(channels, a, a)),
            down(a, b, b),
            down(b, c, c, c),
            down(c, d, d, d),
            nn.Sequential(nn.MaxPool2d(2), *_to_code(d, code)),
        ],
        [
            nn.Sequential(*_from_code(code, d), nn.Upsample(scale_factor=2)),
            up(2 * d, d, d, c),
            up(2 * c, c, c, b),
            up(2 * b, b, a),
            nn.Sequential(*convolved(2 * a, a), last, nn.Sigmoid()),
        ],
    )


BACKBONES = {"dcgan": dcgan, "vgg": vgg}


def _to_code(width: int, code: int) -> nn.Sequential:
    """4x4 maps become a code; of larger frames each 4x4 on their own."""
    convolution = nn.Conv2d(width, code, 4, stride=4, bias=False)
    return nn.Sequential(convolution, Norm(code), nn.Tanh())


def _from_code(code: int, width: int) -> nn.Sequential:
    return nn.Sequential(*_normed(nn.ConvTranspose2d(code, width, 4, stride=4, bias=False)))


def _normed(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, Norm(convolution.out_channels), nn.LeakyReLU(0.2)]


class Norm(nn.Module):
    """Batch norm by the statistics that training has kept, in whichever mode the network is; those
    of a batch are taken, and kept, in `learn` alone.

    A norm of each frame on its own would need no such care, but the latents may then stay unused:
    at first they move a code by little, which batch norm makes as large as codes differ.
    """

    running_mean: Tensor
    running_var: Tensor
    momentum = 0.1  # of what is kept

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.of_the_batch = False

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.of_the_batch,
            self.momentum,
        )


@contextmanager
def _statistics_of_the_batch(network: nn.Module) -> Iterator[None]:
    norms = [module for module in network.modules() if isinstance(module, Norm)]
    for norm in norms:
        norm.of_the_batch = True
    try:
        yield
    finally:
        for norm in norms:
            norm.of_the_batch = False


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # Denton and Fergus 2018 on stochastic Moving MNIST.
    "svg_lp": ("svg", {"backbone": "dcgan", "width": 64, "code": 128, "hidden": 256}),
    # What a CPU trains.
    "svg_small": ("svg", {"backbone": "dcgan", "width": 24, "code": 64, "hidden": 128}),
}
