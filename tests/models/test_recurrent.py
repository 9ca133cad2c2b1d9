"""Parts of a network other than its cells: reading both ways, attention, a user's core. They are
compared with plain loops.
"""

import weakref
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foreframe import Forecaster, Window
from foreframe.models import CORES, Core, Model, build_model
from foreframe.models.engine import Conv2d, pointwise

Layers = tuple[list[Tensor], list[Tensor]]  # h and c, layer by layer


def network(**args: object) -> Model:
    """Return a network of two different layers on patches of 2x2, in float64, no weight zero."""
    torch.manual_seed(0)
    whole = {
        "core": {"convlstm": {"hidden": [4, 3], "peepholes": True}},
        "codec": {"patches": {"size": 2}},
    }
    model = build_model("encoder_decoder", whole | args).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def some(t: int = 5) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, t, 1, 6, 8, dtype=torch.float64)


def run(core: nn.Module, frames: list[Tensor]) -> Layers:
    """A core over frames, cell by cell."""
    h: list = [None for _ in core.cells]
    c = list(h)
    for frame in frames:
        x = F.pixel_unshuffle(frame, 2)
        for k, cell in enumerate(core.cells):
            h[k], c[k] = cell(x, h[k], c[k])
            x = h[k]
    return h, c


def drawn(model: Model, h: Tensor) -> Tensor:
    last = model.output.last
    return torch.sigmoid(F.pixel_shuffle(F.conv2d(h, last.weight, last.bias, padding=1), 2))


def close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, atol=1e-12, rtol=0)


# Reading both ways


@pytest.mark.parametrize("start", ["zeros", "states", "mirrored"])
@pytest.mark.parametrize("t", [2, 5], ids=["fewer frames", "more frames"])
def test_read_both_ways_states_are_added(start: str, t: int) -> None:
    model = network(start=start, output={"draw": {"feed": "nothing"}}, embedding=True, backward=3)
    past = some(t)
    forwards = run(model.encoder, [past[:, k] for k in range(t)])
    back = run(model.backwards, [past[:, k] for k in range(t - 1, max(-1, t - 4), -1)])
    added = zip(forwards, back, strict=True)
    h, c = ([a + b for a, b in zip(*both, strict=True)] for both in added)
    embedding = h[-1]
    if start == "zeros":
        h, c = [None, None], [None, None]
    if start == "mirrored":
        h, c = h[::-1], c[::-1]
    expected = []
    for _ in range(3):
        x = embedding
        for k, cell in enumerate(model.decoder.cells):
            h[k], c[k] = cell(x, h[k], c[k])
            x = h[k]
        expected.append(drawn(model, x))
    close(model(past, 3), torch.stack(expected, dim=1))


# Attention


def test_attention_equals_its_formulas_place_by_place() -> None:
    """Bahdanau et al. 2015 in scaled products, in plain numbers; nothing else feeds the decoder."""
    model = network(start="states", output={"draw": {"feed": "nothing"}}, attention=3)
    past, steps = some(), 3
    seen = [run(model.encoder, [past[:, k] for k in range(t)])[0][-1] for t in (3, 4, 5)]
    h, c = run(model.encoder, list(past.unbind(dim=1)))
    W_q, b_q, W_k, b_k = (
        part.detach().numpy().reshape(part.shape[0], -1).squeeze()
        for layer in (model.attend.query, model.attend.key)
        for part in (layer.weight, layer.bias)
    )
    m = np.stack([maps.detach().numpy() for maps in seen])  # 3 b d i j
    asked = np.zeros_like(m[0])
    expected = []
    for _ in range(steps):
        context = np.zeros_like(m[0])
        for b, i, j in np.ndindex(2, 3, 4):
            q = W_q @ asked[b, :, i, j] + b_q
            fit = [q @ (W_k @ m[t, b, :, i, j] + b_k) / np.sqrt(3) for t in range(3)]
            w = np.exp(fit) / np.exp(fit).sum()
            context[b, :, i, j] = sum(w[t] * m[t, b, :, i, j] for t in range(3))
        x = torch.from_numpy(context)
        for k, cell in enumerate(model.decoder.cells):
            h[k], c[k] = cell(x, h[k], c[k])
            x = h[k]
        asked = x.detach().numpy()
        expected.append(drawn(model, x))
    assert np.ptp(np.exp(fit) / np.exp(fit).sum()) > 1e-3  # else a plain mean would do as well
    close(model(past, steps), torch.stack(expected, dim=1))


# A core of one's own


@pointwise
def leak(a: Tensor, h: Tensor | None) -> Tensor:
    return torch.tanh(a) if h is None else h / 2 + torch.tanh(a)


class Leaky(Core):
    """h' = h / 2 + tanh(W * [x, h] + b)."""

    def __init__(self, channels: int, /, hidden: tuple[int, ...] | list[int] = (4,)) -> None:
        super().__init__()
        self.hidden = hidden
        sizes = pairwise((channels, *hidden))
        self.layers = nn.ModuleList(Conv2d(i + o, o, 3, padding=1) for i, o in sizes)

    def step(self, x, state):
        after = {}
        for k, layer in enumerate(self.layers):
            h = state.get(f"h{k}")
            x = after[f"h{k}"] = leak(layer(x, h), h)
        return after


WAYS = {
    "next_frame": ("next_frame", {}),
    "at_once": ("at_once", {"horizon": 2}),
    "maps": ("encoder_decoder", {"codec": {"strided": {"widths": [3, 4]}}}),
    "frame": ("encoder_decoder", {"start": "states", "output": {"draw": {"feed": "frame"}}}),
    "guides": ("encoder_decoder", {"start": "mirrored", "output": "blend"}),
    "all": (
        "encoder_decoder",
        {"start": "states", "output": "carry", "embedding": True, "attention": 2, "backward": 3},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_core_of_ones_own_runs_in_every_way(way: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(CORES, "leaky", Leaky)
    torch.manual_seed(0)
    kind, args = WAYS[way]
    model = build_model(kind, {"core": {"leaky": {"hidden": [5, 4]}}} | args)
    for weight in model.parameters():
        if not weight.any():  # the last layer of a blend, which hides what is behind it
            torch.nn.init.normal_(weight, std=0.01)
    past = some(7).float()
    forecast = model(past, 5)
    assert forecast.shape == (2, 5, 1, 6, 8)
    state = model.encode(past[:, 3:], model.encode(past[:, :3]))
    torch.testing.assert_close(model.decode(state, 5), forecast)
    forecast.square().sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad.abs().max() > 0 or name == "attend.key.bias", name
    folder = Forecaster(model, Window(7, 5)).save(tmp_path / "saved")
    loaded = Forecaster.load(folder)
    assert loaded.model.args["core"] == {"leaky": {"hidden": [5, 4]}}
    torch.testing.assert_close(loaded.model(past, 5), forecast)


class Counting(Leaky):
    """Its state has other names: the number of frames and the sum of their maps."""

    def step(self, x, state):
        seen, total = state.get("count_0", torch.zeros(len(x), 1)), state.get("H0", 0 * x)
        after = super().step(x, {"h0": state["h0"]} if state else {})
        return after | {"count_0": seen + 1, "H0": total + x}


@pytest.mark.parametrize("way", ["next_frame", "encoder_decoder"])
@torch.no_grad()
def test_a_core_keeps_a_state_of_any_name(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CORES, "counting", Counting)
    fed = {"start": "states", "output": {"draw": {"feed": "frame"}}}
    args = {} if way == "next_frame" else fed
    model = build_model(way, {"core": {"counting": {"hidden": [4]}}} | args)
    past = torch.rand(2, 5, 1, 6, 8)
    state = model.encode(past[:, 3:], model.encode(past[:, :3]))
    assert state["encoder/count_0"].tolist() == [[5], [5]]
    torch.testing.assert_close(state["encoder/H0"], past.sum(dim=1))
    forecast, after = model.rollout(state, 3)
    # A single core does not read the last frame.
    assert after[f"{model.last_core}/count_0"].tolist() == [[8 - (way == "next_frame")]] * 2
    assert forecast.shape == (2, 3, 1, 6, 8)


def test_twelve_sizes_of_skip_maps_are_taken_in_their_order() -> None:
    codec = {"strided": {"widths": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], "show_last": True}}
    with torch.device("meta"):  # where channels are compared and nothing is computed
        model = build_model("encoder_decoder", {"codec": codec})
        assert model(torch.rand(1, 2, 1, 5, 7), 2).shape == (1, 2, 1, 5, 7)


@torch.no_grad()
def test_of_a_long_past_no_more_maps_are_held_than_attention_asks_for(monkeypatch) -> None:
    states: list[weakref.ref] = []

    class Watched(Leaky):
        most = 0

        def step(self, x, state):
            after = super().step(x, state)
            states.append(weakref.ref(after["h1"]))
            Watched.most = max(Watched.most, sum(state() is not None for state in states))
            return after

    monkeypatch.setitem(CORES, "watched", Watched)
    core = {"watched": {"hidden": [5, 4]}}
    model = build_model("encoder_decoder", {"core": core, "start": "states", "attention": 3})
    model.encode(torch.rand(1, 30, 1, 8, 8))
    assert len(states) == 30
    assert Watched.most <= 3 + 1  # those, and the one that the next step goes on from
