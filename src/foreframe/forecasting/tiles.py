"""Forecasts of large frames in overlapping tiles, in bounded memory."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.forecasting.forecast_options import TiledOptions
from foreframe.forecasting.matches import match_of
from foreframe.models import EnsembleRequest, Model, forecast_of, placed, with_known
from foreframe.models.interface import State

LONG = 64  # frames of the past that are encoded at a time


def tile_side(model: Model, tile: int) -> int:
    """`tile` rounded up to a multiple of the model's stride: a partial block would be padded with
    the tile's edge.
    """
    return -(-tile // model.stride) * model.stride


def tile_size(model: Model, frame: Sequence[int], tile: int) -> tuple[int, int, int]:
    """(C,H,W) of the part of a frame (C,H,W) that is forecast at a time; `tile` 0 is the whole
    frame.
    """
    (c, h, w), side = frame, tile_side(model, tile)
    return (c, min(h, side), min(w, side)) if side > 0 else (c, h, w)


def tile_layout(model: Model, tile: int, h: int, w: int) -> tuple[int, int]:
    """Side of the tiles of frames h x w, and the stride of their positions. The side is the
    smallest from `tile` up for which no tile cuts a block of the model and all tiles have blocks of
    equal size. Without such a side the blocks of the last tile, in the corner, may differ.
    """
    first = tile_side(model, tile)
    for side in range(first, 2 * first, model.stride):
        stride = model.stride_in((min(side, h), min(side, w)))
        corner = [n if n <= side else side + (n - side) % stride for n in (h, w)]
        if side % stride == 0 and model.stride_in(corner) == stride:
            return side, stride
    return first, model.stride_in((min(first, h), min(first, w)))


def forecast_in_tiles(
    model: Model,
    past: Float[Tensor, "b t _ h w"],
    steps: int,
    known: Float[Tensor, "b _ _ h w"] | None,
    options: TiledOptions,
    ensemble: EnsembleRequest | None,
    group: int,
) -> tuple[Float[Tensor, "n s _ h w"], Float[Tensor, "b s _ h w"] | None]:
    """Return the forecast of each member, and the guide's forecast if members are matched to it.

    Args:
        past: on the network's scale.
        known: the inputs of the frames that follow.
        options: with the side of tiles and their overlap, by default a quarter of a tile.
        ensemble: the members to forecast; None for a single forecast.
        group: number of members to decode at a time.

    Raises:
        ValueError: an overlap that does not fit the tiles.
    """
    b, _, c, h, w = past.shape
    guided = match_of(options.match).guided

    def forecast_part(seen: Tensor, known: Tensor | None, corner: tuple[int, int] = (0, 0)) -> Any:
        state = encoded(model, seen, known)
        state = state if ensemble is None else placed(state, *corner)
        return forecast_of(model, state, steps, guided, ensemble, group)

    tile, stride = tile_layout(model, options.tile, h, w) if options.tile else (0, 1)
    if not tile or (h <= tile and w <= tile):
        return forecast_part(past, known)
    shared = min(tile // 4, tile - stride) if options.overlap is None else options.overlap
    if not 0 <= shared <= tile - stride:
        raise ValueError(f"tiles of {tile} pixels overlap by 0 to {tile - stride}, not by {shared}")
    n = b if ensemble is None else b * ensemble.n
    totals = [past.new_zeros(k, steps, c - model.inputs, h, w) for k in (n, b)[: 1 + guided]]
    weights = past.new_zeros(h, w)
    for rows, columns in product(_tiles(h, tile, shared, stride), _tiles(w, tile, shared, stride)):
        weight = _ramp(rows, h, shared)[:, None] * _ramp(columns, w, shared)
        weight = weight.to(past.device)
        part = None if known is None else known[..., rows, columns]
        seen, corner = past[..., rows, columns], (rows.start, columns.start)
        parts = forecast_part(seen, part, corner)
        for total, forecast in zip(totals, filter(torch.is_tensor, parts), strict=True):
            total[..., rows, columns] += forecast * weight
        weights[rows, columns] += weight
    forecast, *guide = (total.div_(weights) for total in totals)
    return forecast, guide[0] if guide else None


def encoded(
    model: Model,
    past: Float[Tensor, "b t _ h w"],
    known: Float[Tensor, "b _ _ h w"] | None = None,
) -> State:
    """The state after a past, a long one in parts, in bounded memory; with what is known of its
    future's inputs.
    """
    state = None
    for part in past.split(LONG, dim=1):
        state = model.encode(part, state)
    assert state is not None
    return state if known is None else with_known(state, known)


def _tiles(side: int, tile: int, overlap: int, stride: int) -> list[slice]:
    """Slices that cover `side`, starting at multiples of `stride`, with at least `overlap` pixels
    in common with their neighbours.
    """
    if side <= tile:
        return [slice(0, side)]
    last = (side - tile) // stride * stride
    count = 1 + max(1, -(-last // max(stride, (tile - overlap) // stride * stride)))
    starts = sorted({int(last * k / (count - 1)) // stride * stride for k in range(count)})
    return [slice(start, side if start == last else start + tile) for start in starts]


def _ramp(part: slice, side: int, overlap: int) -> Float[Tensor, " n"]:
    """A tile's weight along one axis: nearly 0 over the outer third of the overlap, where it lacks
    context, rising linearly over the middle third; 1 at the edges of the frame.
    """
    n, third = part.stop - part.start, overlap / 3
    place = torch.arange(n, dtype=torch.float32) + 0.5
    rise, fall = (place - third) / max(third, 1), (n - place - third) / max(third, 1)
    weight = torch.ones(n)
    if part.start > 0:
        weight = torch.minimum(weight, rise)
    if part.stop < side:
        weight = torch.minimum(weight, fall)
    return weight.clamp(min=1e-12)  # never 0: the sum of weights is a divisor
