"""PredFormer equals its authors' code, which was run elsewhere, in float64: beyond what
test_originals.py holds every original to, its exact positions, long forecasts, and
training with what dropout and stochastic depth left out there.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from test_originals import CASES, Case, loaded
from torch import Tensor

from foreframe.addons.zoo.originals.authors import _names
from golden_numbers import golden, near, same

VARIANTS = [pytest.param(case, id=case.golden) for case in CASES["predformer"]]
# Of what the attention gives, of what is within the feed-forward part and what it gives, of paths.
ATTENTION, FEED_FORWARD, PATH = 0.2, 0.1, 0.3


@pytest.mark.parametrize("case", VARIANTS)
@torch.no_grad()
def test_positions_of_our_own(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = golden(case.golden)
    network = loaded("predformer", case, numbers, monkeypatch)
    monkeypatch.undo()
    same(network(numbers["input"][:, :5], 5), numbers["output_exact_table"])


def test_tokens_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the authors' Fac-S-T exchanges; what it would give otherwise was computed, too."""
    case = next(case for case in CASES["predformer"] if case.golden == "predformer_facst")
    numbers = golden(case.golden)
    network = loaded("predformer", case, numbers, monkeypatch)
    network.norm._forward_pre_hooks.clear()
    past, truth = numbers["input"].split(5, dim=1)
    forecast = network(past, 5)
    same(forecast, numbers["output_put_right"])
    same((forecast - truth).square().mean(), numbers["loss.put_right"])


def left_out(case: Case, numbers: dict[str, Tensor]) -> Iterator[tuple[Tensor, float]]:
    """What is kept, and at which rate it was drawn, in the order in which our layers ask."""
    order, blocks, layers = (case.args[name] for name in ("order", "blocks", "layers"))
    interleaved = any(".blocks." in name for name in numbers)
    for block in range(blocks):
        for name in _names(order, interleaved):
            for j in range(layers):
                of = f"aux.keep.{f'blocks.{block}.' * interleaved}{name}.layers.{j}"
                yield numbers[f"{of}.0.fn.to_out.1"], ATTENTION
                yield numbers[f"{of}.2"], PATH
                yield numbers[f"{of}.1.fn.drop1"], FEED_FORWARD
                yield numbers[f"{of}.1.fn.drop2"], FEED_FORWARD
                yield numbers[f"{of}.3"], PATH


@pytest.mark.parametrize("case", VARIANTS)
def test_what_training_leaves_out(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = golden(case.golden)
    network = loaded("predformer", case, numbers, monkeypatch).train()
    for layer in network.modules():
        if hasattr(layer, "drop_path"):
            layer.drop_path = PATH
    draws = left_out(case, numbers)

    def given(x: Tensor, *_: Any) -> Tensor:
        keep, rate = next(draws)
        assert keep.shape == x.shape
        return x * keep / (1 - rate)

    monkeypatch.setattr("torch.nn.functional.dropout", given)
    past, truth = numbers["input"].split(5, dim=1)
    output = network(past.requires_grad_(), 5)
    assert next(draws, None) is None
    same(output, numbers["output_train"])
    loss = (output - truth).square().mean()
    same(loss, numbers["loss.train"])
    loss.backward()
    near(past.grad, numbers["grad_train.input"])
