"""What only E3D-LSTM has. That it equals its original is in tests/parity/test_originals.py."""

from typing import Any

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


def test_the_common_memory_is_passed_on() -> None:
    assert network().encode(torch.rand(1, 1, 1, 12, 16))["m"].any()


def test_a_memory_is_recalled_wherever_it_lies() -> None:
    cell = E3DLSTMCell(1, 5, 3)
    r, past, real = torch.rand(1, 5, 3, 4), torch.rand(1, 2, 10, 3, 4), torch.ones(1, 2).bool()
    here, aside = (cell.recalled(r, each, real) for each in (past, past.roll(1, dims=-1)))
    torch.testing.assert_close(here, aside)
