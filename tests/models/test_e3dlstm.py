"""What only E3D-LSTM has. That it equals its original is in tests/parity/test_originals.py."""

from typing import Any

import pytest
import torch

from foreframe.models import Model, build_model
from foreframe.models.e3dlstm import E3DLSTMCell


def network(**args: Any) -> Model:
    torch.manual_seed(0)
    return build_model("e3dlstm_small", {"width": 4, "patch": 4, **args})


def test_it_recalls_no_more_than_the_last_memories() -> None:
    """Of 4 frames: a memory is there before each, the first one zero."""
    past = torch.rand(1, 4, 1, 12, 16)
    with torch.no_grad():
        few, enough, more = (network(tau=tau)(past, 1) for tau in (3, 4, 9))
    torch.testing.assert_close(enough, more)
    assert not torch.equal(few, enough)


@pytest.mark.parametrize("passed", [True, False])
def test_the_common_memory_is_passed_on(passed: bool) -> None:
    state = network(pass_memory=passed).encode(torch.rand(1, 1, 1, 12, 16))
    assert bool(state["m"].any()) is passed


@pytest.mark.parametrize("by_place", [True, False])
def test_by_place_a_memory_is_recalled_wherever_it_lies(by_place: bool) -> None:
    cell = E3DLSTMCell(1, 5, 3, by_place, None)
    r, past, real = torch.rand(1, 5, 3, 4), torch.rand(1, 2, 10, 3, 4), torch.ones(1, 2).bool()
    here, aside = (cell.recalled(r, each, real) for each in (past, past.roll(1, dims=-1)))
    assert torch.allclose(here, aside) is by_place


def test_norms_with_a_weight_a_place_take_one_size_of_frames() -> None:
    sized = network(places=[3, 4])
    assert sized(torch.rand(1, 2, 1, 12, 16), 1).shape == (1, 1, 1, 12, 16)
    with pytest.raises(ValueError, match=r"takes frames of \[12, 16\]"):
        sized(torch.rand(1, 2, 1, 16, 12), 1)
