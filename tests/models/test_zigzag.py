"""Cores whose layers share a memory; that their numbers are right, tests/parity/test_originals.py
shows.
"""

import pytest
import torch

from foreframe.models import build_model


def test_the_memory_goes_through_the_layers_and_on_to_the_first() -> None:
    network = build_model("predrnn", {"core": {"predrnn": {"hidden": [3, 3], "kernel": 3}}})
    core, maps = network.encoder, torch.rand(1, 2, 16, 4, 5)
    first, second = core.cells
    M, below, above, state = None, {}, {}, {}
    for t in range(2):
        below, M = first(maps[:, t], M, below)
        above, M = second(below["h"], M, above)
        state = core.step(maps[:, t], state)
        assert torch.equal(state["m0"], M)
        assert torch.equal(state["h0"], below["h"])
        assert torch.equal(state["c1"], above["c"])


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


def test_the_highway_is_what_the_second_layer_reads() -> None:
    """A gated mean of what it was and of what the first layer's map is made into."""
    network = build_model("predrnnpp", {"core": {"predrnnpp": {"hidden": [3, 3, 3]}}}).double()
    core, maps = network.encoder, torch.rand(1, 2, 16, 6, 7).double()
    torch.nn.init.normal_(core.highway.weight)
    before = core.step(maps[:, 0], {})
    after = core.step(maps[:, 1], before)
    both = torch.cat([after["h0"], before["z1"]], dim=1)
    p, s = torch.nn.functional.conv2d(both, core.highway.weight, padding=2).chunk(2, dim=1)
    gate = torch.sigmoid(s)
    torch.testing.assert_close(after["z1"], gate * torch.tanh(p) + (1 - gate) * before["z1"])
    own = {"h": before["h1"], "c": before["c1"]}
    below, M = core.cells[0](maps[:, 1], before["m0"], {"h": before["h0"], "c": before["c0"]})
    torch.testing.assert_close(core.cells[1](after["z1"], M, own)[0]["h"], after["h1"])


def test_a_highway_needs_two_layers() -> None:
    with pytest.raises(ValueError, match="2 layers or more"):
        build_model("predrnnpp", {"core": {"predrnnpp": {"hidden": [3]}}})
