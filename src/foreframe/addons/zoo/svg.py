"""SVG-LP, stochastic video generation with a learned prior.

Denton and Fergus 2018 (arXiv 1802.07687). Read top to bottom: the model and its objective, the
networks of codes, the networks of frames, presets. Shapes: frames B T C H W; codes b r k t g, a
code for each place (r, k) of 64x64 pixels and each time t.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from foreframe.addons.zoo.batch_norm import BatchNorm
from foreframe.clips.clip import Window
from foreframe.clips.frames import fill_missing
from foreframe.clips.keyed import further, normals
from foreframe.models.checks import at_least, within
from foreframe.models.codec import padded
from foreframe.models.engine import PackedConv2d
from foreframe.models.interface import Model, State, TrainingForecast, pop
from foreframe.models.noise import first_lead

SIDE = 64  # pixels that become one code: four halvings, then a convolution of 4x4
MEMORIES = ("posterior", "prior", "frame_predictor")

Codes = Float[Tensor, "b r k t _"]
Memory = tuple[Float[Tensor, "b r k l d"], Float[Tensor, "b r k l d"]]


class SVG(Model):
    """A frame x_t becomes a code h_t and maps of four sizes. The next code is predicted from the
    last code and a latent vector z_t. The next frame is decoded from this code and the maps of an
    earlier frame:

        z_t ~ N(mean, variance) of the posterior, an LSTM that reads h_1 ... h_t, the truth to come,
                            or of the prior, an LSTM that reads h_0 ... h_t-1, what is past
        g_t = LSTM(h_t-1, z_t)                             (the frame predictor)
        x̂_t = D(g_t, maps of a frame before)

    Training samples z from the posterior, and keeps the prior near it; a forecast samples from the
    prior. In the past, which is known, `encode` takes the posterior's mean. `decode` samples where
    the state holds "key", one number a clip: z depends on that key, the lead time and the place.
    Without a key it takes the prior's mean, and gives one forecast.

    The state is the last frame, whether there was one, and the states of the three LSTMs.

    Differences from the authors' code:

    - a forecast is normalised by the statistics of training, not of its batch, so that clips of a
      batch are independent;
    - `teacher_forced` takes the statistics of a batch over all frames together, not time by time;
    - without `last_frame_skip` the maps are of the last input frame, in theirs of the one before
      it;
    - no biases before a norm, which takes them away;
    - frames of any size: a frame has a code for each place of 64x64 pixels; what 64 does not divide
      is padded at the bottom and right, and cropped again. Smaller frames cost as much as 64x64.

    Args:
        channels: C of the frames.
        width: channels of the finest maps; each coarser size has twice as many.
        code: values of a code (g_dim of the authors' code).
        latent: values of z (z_dim).
        hidden: values of an LSTM's hidden state (rnn_size).
        layers: LSTM layers of the frame predictor; posterior and prior have one.
        last_frame_skip: in a forecast, give the decoder the maps of the last forecast frame, not of
            the last input frame.
        beta: weight of the Kullback-Leibler divergence in the objective.

    Raises:
        ValueError: sizes that make no network.
    """

    stride = SIDE
    bounded = True
    draws = True

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        code: int = 128,
        latent: int = 10,
        hidden: int = 256,
        layers: int = 2,
        last_frame_skip: bool = False,
        beta: float = 1e-4,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, latent=latent, hidden=hidden)
        at_least(2, width=width, code=code)
        at_least(0, beta=beta)
        within(1, 16, layers=layers)
        self.channels, self.latent = channels, latent
        self.last_frame_skip, self.beta = last_frame_skip, beta
        down, up = _stages(channels, width, code)
        self.encoder, self.decoder = Encoder(down), Decoder(up)
        self.posterior = CodeLSTM(code, hidden, 1, 2 * latent)
        self.prior = CodeLSTM(code, hidden, 1, 2 * latent)
        self.frame_predictor = CodeLSTM(code + latent, hidden, layers, code)

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        """Keeps the last frame, and the LSTMs' states after those before it. Any T >= 1."""
        memories = {name: self._memory(name, past, state) for name in MEMORIES}
        if state is not None:
            last = state["frame"].unsqueeze(1).to(past.dtype)
            read = self._read(torch.cat([last, past[:, :1]], dim=1), memories)
            there = state["seen"].view(-1, 1, 1, 1, 1) > 0
            memories = {
                name: (h.where(there, memories[name][0]), c.where(there, memories[name][1]))
                for name, (h, c) in read.items()
            }
        if past.shape[1] > 1:
            memories = self._read(past, memories)
        encoded = {"frame": past[:, -1], "seen": past.new_ones(past.shape[0])}
        for name, memory in memories.items():
            encoded |= _named(name, memory)
        return encoded

    def exogenous(self, state: State, steps: int) -> State:
        """The noise of members, which z is drawn by."""
        if "key" not in state:
            return {}
        rows, columns = (-(-side // SIDE) for side in state["frame"].shape[-2:])
        place = state.get("place", state["key"].new_zeros(len(state["key"]), 2)) // self.stride
        sizes = rows, columns, steps, self.latent
        return {"noise": _noise(state["key"], place, *sizes, first_lead(state))}

    def begin(self, state: State) -> State:
        names = (*(f"{name}_{part}" for name in MEMORIES[1:] for part in "hc"), "frame", "noise")
        begun = {name: state[name] for name in names if name in state}
        return begun | self._look_at(state["frame"].unsqueeze(1))

    def step(self, state: State, last: bool = False) -> tuple[Float[Tensor, "b 1 c h w"], State]:
        """A frame is decoded, and encoded for the next one; see the class for its randomness."""
        code = state["code"].unsqueeze(3)
        maps = [state[name] for name in sorted(state) if name.startswith("maps_")]
        prior, predictor = (self._memory(name, code, state) for name in MEMORIES[1:])
        latents, prior = self.prior(code, prior)
        z, log_variance = latents.chunk(2, dim=-1)
        if "noise" in state:
            z = z + (log_variance / 2).exp() * state["noise"][:, 0].unsqueeze(3)
        code, predictor = self._next_codes(code, z, predictor)
        frame = self._decoded(code, maps, state["frame"].unsqueeze(1))
        if last:
            return frame, state
        seen = self._look_at(frame)
        stepped = state | {"frame": frame[:, 0], "code": seen["code"]}
        if self.last_frame_skip:
            stepped |= seen
        if "noise" in state:
            stepped["noise"] = pop(state["noise"], 1)
        return frame, stepped | _named("prior", prior) | _named("frame_predictor", predictor)

    def teacher_forced(self, clips: Float[Tensor, "b t c h w"], window: Window) -> TrainingForecast:
        """Each next frame, predicted from the true frames before it and from z of the posterior,
        which has seen it.
        """
        truth = clips[:, 1 : window.length]
        frames, _ = fill_missing(clips[:, : window.length])
        b, t = frames.shape[:2]
        with _statistics_of_the_batch(self):
            codes, maps = self._seen(frames)
            before, after = codes[:, :, :, :-1], codes[:, :, :, 1:]
            start = {name: self._memory(name, frames, None) for name in MEMORIES}
            wide = torch.promote_types(codes.dtype, torch.float32)
            posterior = self.posterior(after, start["posterior"])[0].to(wide)
            prior = self.prior(before, start["prior"])[0].to(wide)
            mean, log_variance = posterior.chunk(2, dim=-1)
            z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
            predicted, _ = self._next_codes(before, z, start["frame_predictor"])
            shown = torch.arange(t - 1, device=clips.device)  # whose maps each frame has
            if not self.last_frame_skip:
                shown = shown.clamp(max=window.past - 1)
            maps = [size.unflatten(0, (b, t))[:, shown].flatten(0, 1) for size in maps]
            forecast = self._decoded(predicted, maps, frames)
        return TrainingForecast(forecast, truth, {"posterior": posterior, "prior": prior})

    def terms(self, made: TrainingForecast) -> dict[str, Float[Tensor, ""]]:
        """`beta` times the divergence of posterior and prior; with the loss it is the evidence
        lower bound.

        Both are means over time, where the authors' code has sums: that changes the best learning
        rate alone.
        """
        if "posterior" not in made.state:
            return {}
        posterior, prior = made.state["posterior"], made.state["prior"]
        return {"kl": self.beta * kl_divergence(posterior, prior).mean()}

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

    def _read(
        self, frames: Float[Tensor, "b t c h w"], memories: dict[str, Memory]
    ) -> dict[str, Memory]:
        """The LSTMs' states after they have seen each frame follow the one before it."""
        codes, _ = self._seen(frames)
        before, following = codes[:, :, :, :-1], codes[:, :, :, 1:]
        latents, posterior = self.posterior(following, memories["posterior"])
        _, prior = self.prior(before, memories["prior"])
        mean, _ = latents.chunk(2, dim=-1)
        _, predictor = self._next_codes(before, mean, memories["frame_predictor"])
        return dict(zip(MEMORIES, (posterior, prior, predictor), strict=True))

    def _look_at(self, frame: Float[Tensor, "b 1 c h w"]) -> State:
        """Code and maps of a frame, as a state has them."""
        code, maps = self._seen(frame)
        return {"code": code[:, :, :, 0]} | {f"maps_{k}": size for k, size in enumerate(maps)}

    def _decoded(
        self, codes: Codes, maps: Sequence[Tensor], like: Float[Tensor, "b _ c h w"]
    ) -> Float[Tensor, "b t c h w"]:
        """The frames of these codes, cropped to the size of `like`, and of its dtype."""
        frames = self.decoder(codes.permute(0, 3, 4, 1, 2).flatten(0, 1), maps)
        frames = frames[..., : like.shape[-2], : like.shape[-1]].to(like.dtype)
        return frames.unflatten(0, (codes.shape[0], codes.shape[3]))

    def _next_codes(
        self, codes: Codes, z: Float[Tensor, "b r k t z"], memory: Memory
    ) -> tuple[Codes, Memory]:
        """The codes of the next frames."""
        predicted, memory = self.frame_predictor(torch.cat([codes, z], dim=-1), memory)
        return predicted.tanh(), memory

    def _memory(self, name: str, frames: Tensor, state: State | None) -> Memory:
        """The state of an LSTM; zeros at first."""
        if state is not None:
            return state[f"{name}_h"], state[f"{name}_c"]
        lstm = getattr(self, name).lstm
        rows, columns = (-(-side // SIDE) for side in frames.shape[-2:])
        zeros = frames.new_zeros(frames.shape[0], rows, columns, lstm.num_layers, lstm.hidden_size)
        return zeros, zeros.clone()


def kl_divergence(
    posterior: Float[Tensor, "*n _"], prior: Float[Tensor, "*n _"]
) -> Float[Tensor, "*n"]:
    """KL(posterior || prior) in nats, summed over values, of normal distributions without
    covariance. The last axis holds the means, then the logarithms of the variances.
    """
    mean, log_variance = posterior.chunk(2, dim=-1)
    mean_p, log_variance_p = prior.chunk(2, dim=-1)
    squares = (log_variance.exp() + (mean - mean_p).square()) * (-log_variance_p).exp()
    return ((log_variance_p - log_variance + squares - 1) / 2).sum(dim=-1)


def _noise(
    keys: Int[Tensor, " b"],
    place: Int[Tensor, "b 2"],
    rows: int,
    columns: int,
    steps: int,
    latent: int,
    first: Int[Tensor, "b 1"] | int = 0,
) -> Float[Tensor, "b t r k z"]:
    """Normal numbers by key, lead time (from `first`), row, column (from `place`), and channel."""
    along = (torch.arange(n, device=keys.device) for n in (steps, rows, columns, latent))
    lead, row, column, channel = torch.meshgrid(*along, indexing="ij")
    lead = lead + torch.as_tensor(first).view(-1, 1, 1, 1, 1)
    row, column = (at + place[:, k].view(-1, 1, 1, 1, 1) for k, at in enumerate((row, column)))
    return normals(further(keys.view(-1, 1, 1, 1, 1), lead, row, column, channel))


def _named(name: str, memory: Memory) -> State:
    """An LSTM's state, as a part of the model's."""
    h, c = memory
    return {f"{name}_h": h, f"{name}_c": c}


class CodeLSTM(nn.Module):
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
    """Codes to frames, through maps of four sizes, each joined with the encoder's map of that
    size.
    """

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


def _stages(
    channels: int, width: int, code: int
) -> tuple[list[nn.Sequential], list[nn.Sequential]]:
    """Stages down and up: a 4x4 convolution of stride 2 for each size, as in DCGAN (Radford et al.
    2015, arXiv 1511.06434).
    """

    def down(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(*_normed(PackedConv2d(i, o, 4, stride=2, padding=1, bias=False)))

    def up(i: int, o: int) -> nn.Sequential:
        doubled = nn.ConvTranspose2d(2 * i, o, 4, stride=2, padding=1, bias=False)
        return nn.Sequential(*_normed(doubled))

    a, b, c, d = (width * 2**k for k in range(4))
    last = nn.ConvTranspose2d(2 * a, channels, 4, stride=2, padding=1)
    return (
        [down(channels, a), down(a, b), down(b, c), down(c, d), _to_code(d, code)],
        [_from_code(code, d), up(d, c), up(c, b), up(b, a), nn.Sequential(last, nn.Sigmoid())],
    )


def _to_code(width: int, code: int) -> nn.Sequential:
    """4x4 maps become a code; of larger frames each 4x4 on their own."""
    convolution = PackedConv2d(width, code, 4, stride=4, bias=False)
    return nn.Sequential(convolution, Norm(code), nn.Tanh())


def _from_code(code: int, width: int) -> nn.Sequential:
    return nn.Sequential(*_normed(nn.ConvTranspose2d(code, width, 4, stride=4, bias=False)))


def _normed(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, Norm(convolution.out_channels), nn.LeakyReLU(0.2)]


class Norm(BatchNorm):
    """Batch norm by the running statistics, also in training mode; only `teacher_forced` uses and
    keeps the statistics of its batch.

    With a norm of each frame on its own the latents may stay unused: at first they change a code by
    little, which batch norm scales up to how much codes differ.
    """

    of_the_batch = False


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
    "svg_lp": ("svg", {"width": 64, "code": 128, "hidden": 256}),
    # For a CPU.
    "svg_small": ("svg", {"width": 24, "code": 64, "hidden": 128}),
}
