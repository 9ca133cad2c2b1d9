"""SVG-LP equals its authors' code, which was run elsewhere: training step and forecasts, in
float64.

The numbers are looked for where tests/golden_numbers.py looks for its own. Theirs goes frame
by frame, so batch norm here takes the frames of one time together, where ours takes those of all
times. Biases before a norm, which ours does not have, are a part of what it has seen as mean. Their
skips are of the last but one frame of the past: in training as if the past were a frame shorter,
and in forecasts by a hook.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from foreframe.addons.zoo.svg import SVG, Norm
from foreframe.clips.clip import Window
from foreframe.training.objectives import mse
from golden_numbers import golden, near, same

CLIPS, PAST = 2, 3


class TimeByTime(Norm):
    """Statistics over the clips of each time; frames come as (clip time)."""

    def forward(self, x: Tensor) -> Tensor:
        times = x.unflatten(0, (CLIPS, -1)).unbind(1)
        normed = [super(TimeByTime, self).forward(frame) for frame in times]
        return torch.stack(normed, 1).flatten(0, 1)


def norms(model: SVG) -> list[Norm]:
    return [module for module in model.modules() if isinstance(module, Norm)]


def convolutions(model: SVG) -> Iterator[tuple[nn.Module, str]]:
    """Convolutions and norms, with their names in the authors' code."""
    encoder, decoder = model.encoder, model.decoder
    for j in (0, 1):
        for k in range(4):
            yield encoder.stages[k][j], f"encoder.c{k + 1}.main.{j}"
        yield encoder.to_code[j], f"encoder.c5.{j}"
        yield decoder.from_code[j], f"decoder.upc1.{j}"
        for k in range(3):
            yield decoder.stages[k][j], f"decoder.upc{k + 2}.main.{j}"
    yield decoder.stages[3][0], "decoder.upc5.0"


def recurrent(model: SVG) -> Iterator[tuple[Tensor, list[str]]]:
    """Parameters, and those of the authors' code that they are, one below the other."""
    for name in ("frame_predictor", "posterior", "prior"):
        network = getattr(model, name)
        outputs = ["output.0"] if name == "frame_predictor" else ["mu_net", "logvar_net"]
        for kind in ("weight", "bias"):
            yield getattr(network.embed, kind), [f"{name}.embed.{kind}"]
            yield getattr(network.output, kind), [f"{name}.{of}.{kind}" for of in outputs]
            for side in ("ih", "hh"):
                for k in range(network.lstm.num_layers):
                    ours = getattr(network.lstm, f"{kind}_{side}_l{k}")
                    yield ours, [f"{name}.lstm.{k}.{kind}_{side}"]


Case = tuple[SVG, dict[str, Tensor], list[tuple[Tensor, list[str]]]]


@pytest.fixture
def case() -> Case:
    """The model with the authors' weights, their numbers, and which parameter is which."""
    numbers = golden("svg_lp_dcgan")
    model = SVG(width=4, code=8, latent=3, hidden=10)
    for norm in norms(model):
        norm.__class__ = TimeByTime
    model.double()
    named, taken_away = list(recurrent(model)), []
    with torch.no_grad():
        for module, name in convolutions(model):
            named += [(value, [f"{name}.{key}"]) for key, value in module.named_parameters()]
            for key, value in module.named_buffers():
                value.copy_(numbers[f"buffer.{name}.{key}"])
            if isinstance(module, Norm):
                bias = before(name)
                module.running_mean -= numbers[f"param.{bias}"]
                taken_away.append(bias)
        for value, names in named:
            value.copy_(torch.cat([numbers[f"param.{name}"] for name in names]))
    theirs = {name.removeprefix("param.") for name in numbers if name.startswith("param.")}
    assert {name for _, names in named for name in names} == theirs - set(taken_away)
    assert len(named) == len(list(model.parameters()))
    assert all(numbers[f"grad.{name}"].abs().max() < 1e-12 for name in taken_away)
    return model, numbers, named


def before(norm: str) -> str:
    """The bias of the convolution that a norm follows."""
    return f"{norm.removesuffix('.1')}.0.bias"


def by_place(draws: Tensor) -> Tensor:
    """(time, clip, z) -> (clip, row, column, time, z)"""
    return draws.transpose(0, 1)[:, None, None]


def test_the_training_step(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model, numbers, named = case
    kept = {}

    def keep(module: nn.Module, _: tuple, out: tuple) -> None:
        kept["posterior" if module is model.posterior else "prior"] = out[0][:, 0, 0]

    model.posterior.register_forward_hook(keep)
    model.prior.register_forward_hook(keep)
    draws = by_place(numbers["aux.eps.train"][::2])  # every other one is the prior's, never used
    monkeypatch.setattr(torch, "randn_like", lambda like: draws)
    made = model.teacher_forced(numbers["input"], Window(PAST - 1, 4))
    reconstruction, kl = mse(made.forecast, made.truth), model.terms(made)["kl"]
    steps = numbers["output"].shape[1]
    same(made.forecast, numbers["output"])
    for name, mark in (("posterior", ""), ("prior", "_p")):
        of = [numbers[f"posterior_prior.{part}{mark}"] for part in ("mu", "logvar")]
        same(kept[name], torch.cat(of, dim=-1))
    same(steps * reconstruction, numbers["loss.mse_sum"])
    same(steps * kl / model.beta, numbers["loss.kl_sum"])
    same(steps * (reconstruction + kl), numbers["loss"])
    (steps * (reconstruction + kl)).backward()
    for value, names in named:
        near(value.grad, torch.cat([numbers[f"grad.{name}"] for name in names]))


@pytest.mark.parametrize("mode", ["train", "eval"])
@torch.no_grad()
def test_forecasts_with_given_draws(case: Case, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past latents are drawn, too, in the authors' forecasts; ours are the posterior's mean, which
    a hook moves.
    """
    model, numbers, _ = case
    for norm in norms(model):
        norm.of_the_batch = mode == "train"  # as theirs forecasts: by the statistics of the batch
    draws = numbers[f"aux.eps.generate_{mode}"]
    of_past, of_future = by_place(draws[[0, 2]]), by_place(draws[4:])

    def drawn(module: nn.Module, _: tuple, out: tuple) -> tuple:
        mean, log_variance = out[0].chunk(2, dim=-1)
        moved = mean + (log_variance / 2).exp() * of_past
        return torch.cat([moved, log_variance], dim=-1), out[1]

    model.posterior.register_forward_hook(drawn)
    past = numbers["input"][:, :PAST]
    state = model.encode(past) | {"key": torch.zeros(CLIPS, dtype=torch.int64)}
    _, earlier = model._seen(past[:, -2:-1])
    model.decoder.register_forward_pre_hook(lambda module, given: (given[0], earlier))
    monkeypatch.setattr(
        "foreframe.addons.zoo.svg.normals", lambda keys: of_future.permute(0, 3, 1, 2, 4)
    )
    same(model.decode(state, 3), numbers[f"generated_{mode}"][:, PAST:])
