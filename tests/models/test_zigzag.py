"""Cores whose layers share a memory; that their numbers are right, tests/parity/test_originals.py
shows.
"""

import pytest
import torch

from foreframe.models import build_model


def test_a_mirrored_decoder_goes_on_from_the_same_memory() -> None:
    network = build_model(
        "encoder_decoder", {"core": {"predrnn": {"hidden": [3, 3]}}, "start": "mirrored"}
    )
    state = network.encode(torch.rand(1, 2, 1, 8, 8))
    begun = network.begin(state)
    assert torch.equal(begun["decoder/m0"], state["encoder/m0"])
    assert torch.equal(begun["decoder/c0"], state["encoder/c1"])


def test_layers_of_different_widths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"equal numbers.*not \[3, 4\]"):
        build_model("predrnn", {"core": {"predrnn": {"hidden": [3, 4]}}})


def test_a_highway_needs_two_layers() -> None:
    with pytest.raises(ValueError, match="2 layers or more"):
        build_model("predrnnpp", {"core": {"predrnnpp": {"hidden": [3]}}})
