"""Earthformer: what its layers see, frames of any size, what training leaves out; see also
tests/contract and tests/parity.
"""

import pytest
import torch

from foreframe.models import build_model, preset
from foreframe.models.earthformer import Earthformer, _Layer, _Positions
from small import EARTHFORMER, perturbed


def small(**args: object) -> Earthformer:
    torch.manual_seed(0)
    network = build_model("earthformer", EARTHFORMER | args)
    assert isinstance(network, Earthformer)
    perturbed(network)
    return network


def layer(axis: int, length: int, **args: object) -> _Layer:
    torch.manual_seed(0)
    return _Layer(axis, length, 8, 2, 0.0, **args).double()


@pytest.mark.parametrize("axis", [1, 2, 3])
@torch.no_grad()
def test_a_place_sees_those_of_its_axis(axis: int) -> None:
    along, x = layer(axis, 4), torch.rand(1, 2, 3, 4, 8, dtype=torch.float64)
    other = x.clone()
    other[0, 1, 2, 3] += torch.rand(8, dtype=torch.float64)
    moved = (along((x, None, None))[0] - along((other, None, None))[0]).abs().amax((0, 4)) > 1e-9
    seen = torch.zeros(2, 3, 4, dtype=torch.bool)
    seen[1, 2, 3] = True
    seen |= seen.any(axis - 1, keepdim=True)
    assert torch.equal(moved, seen)


@torch.no_grad()
def test_attention_by_hand() -> None:
    """Of each query and head, by the equations, with global vectors and beyond what β knows."""
    rows, x = layer(2, 3, vectors=True), torch.rand(1, 2, 4, 1, 8, dtype=torch.float64)
    g = torch.rand(1, 2, 8, dtype=torch.float64)
    z, (w_k, w_v) = rows.norm(x)[0, :, :, 0], rows.kv.weight.chunk(2)
    g_q, g_k, g_v = (w @ rows.global_norm(g)[0].T for w in rows.global_qkv.weight.chunk(3))
    y, of_g = torch.zeros(2, 4, 8).double(), torch.zeros(2, 8).double()
    for h in range(2):
        e = slice(4 * h, 4 * h + 4)
        for t in range(2):
            for i in range(4):
                q = (rows.q.weight @ z[t, i])[e]
                near = [
                    q @ (w_k @ z[t, j])[e] / 2 + rows.beta[:, h][clamp(i - j)] for j in range(4)
                ]
                weight = torch.stack(near + [q @ g_k[e, n] / 2 for n in range(2)]).softmax(0)
                values = [(w_v @ z[t, j])[e] for j in range(4)] + [g_v[e, n] for n in range(2)]
                y[t, i, e] = sum(a * v for a, v in zip(weight, values, strict=True))
        for n in range(2):
            places = z.flatten(0, 1)
            weight = (places @ w_k[e].T @ g_q[e, n] / 2).softmax(0)
            of_g[n, e] = weight @ (places @ w_v[e].T)
    seen = x + rows.out(y)[None, :, :, None]
    z_found, g_found, _ = rows((x, g, None))
    torch.testing.assert_close(z_found, seen + rows.feed_forward(seen))
    torch.testing.assert_close(g_found, g + rows.global_out(of_g))


def clamp(apart: int) -> int:
    """Where the bias of that distance lies, of 5 from -2 on."""
    return min(max(apart, -2), 2) + 2


@torch.no_grad()
def test_positions_of_another_size_lie_between_those_learnt() -> None:
    torch.manual_seed(0)
    positions = _Positions(2, [3, 4], 5)
    learnt = positions.times[:, None, None] + positions.places.view(3, 4, 5)
    assert torch.equal(positions(3, 4), learnt)
    finer = positions(6, 8)
    torch.testing.assert_close(finer[:, 0, 0], learnt[:, 0, 0])
    torch.testing.assert_close(finer[:, 0, 1], 0.75 * learnt[:, 0, 0] + 0.25 * learnt[:, 0, 1])


@torch.no_grad()
def test_weights_serve_frames_of_any_size() -> None:
    network = small()
    made = {size: network(torch.rand(1, 3, 1, *size), 4) for size in ((16, 12), (24, 36), (3, 5))}
    assert all(frames.shape[3:] == size for size, frames in made.items())
    assert all(frames.isfinite().all() for frames in made.values())


@torch.no_grad()
def test_what_came_before_its_frames_does_not_matter() -> None:
    network, past = small(), torch.rand(2, 5, 1, 10, 14)
    torch.testing.assert_close(network(past, 2), network(past[:, 2:], 2))
    alone = network(past[:, :1], 2)
    torch.testing.assert_close(alone, network(past[:, :1].expand(-1, 3, -1, -1, -1), 2))


@pytest.mark.parametrize("horizon", [2, 5])
@torch.no_grad()
def test_a_longer_forecast_continues_from_its_own_frames(horizon: int) -> None:
    network, past = small(horizon=horizon), torch.rand(1, 3, 1, 8, 8)
    first = network(past, horizon)
    torch.testing.assert_close(
        network(past, 2 * horizon)[:, horizon:], network(torch.cat([past, first], dim=1), horizon)
    )


def test_training_leaves_out_what_forecasts_do_not() -> None:
    network, past = small(dropout=0.2), torch.rand(2, 3, 1, 8, 8)
    assert torch.equal(network.eval()(past, 5), small()(past, 5))
    network.train()
    torch.manual_seed(1)
    drawn = network(past, 5)
    torch.manual_seed(1)
    assert torch.equal(network(past, 5), drawn)
    assert not torch.equal(network(past, 5), drawn)


@pytest.mark.slow
def test_parameters_without_global_vectors() -> None:
    with torch.device("meta"):
        network = preset("earthformer", vectors=0)
    assert sum(weight.numel() for weight in network.parameters()) == 6_702_109


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1, not 0"),
        ({"vectors": -1}, "vectors must be at least 0, not -1"),
        ({"heads": 3}, "heads that divide its width"),
        ({"levels": 9}, "levels must be from 1 to 8"),
        ({"decoder": 200}, "up to 250 blocks"),
        ({"places": [4]}, r"places \(h,w\)"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), not 1.0"),
    ],
)
def test_bad_choices(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model("earthformer", EARTHFORMER | args)
