"""SimVP: its published sizes, and what its shapes promise; see also tests/contract."""

import pytest
import torch

from foreframe.models import SimVP, build_model


@pytest.mark.parametrize(("name", "millions"), [("simvp2022", 58.0), ("simvp_gated", 46.8)])
def test_parameters_as_published(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = build_model(name)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.055)


@pytest.mark.parametrize("translator", ["inception", "gated"])
def test_what_came_before_its_frames_does_not_matter(translator: str) -> None:
    network = SimVP(frames=3, spatial=8, temporal=16, blocks=2, translator=translator)
    past = torch.rand(2, 5, 1, 10, 14)
    torch.testing.assert_close(network(past, 2), network(past[:, 2:], 2))
    alone = network(past[:, :1], 2)
    torch.testing.assert_close(alone, network(past[:, :1].expand(-1, 3, -1, -1, -1), 2))


def test_beyond_its_frames_it_goes_on_from_its_own() -> None:
    network = SimVP(frames=3, spatial=8, temporal=16, blocks=2)
    past = torch.rand(2, 3, 1, 8, 8)
    first = network(past, 3)
    torch.testing.assert_close(network(past, 5), torch.cat([first, network(first, 2)], dim=1))


def test_it_starts_at_the_mean() -> None:
    """Every pixel moves by what the bias does."""
    network, past = SimVP(frames=2, spatial=8, temporal=16, blocks=2), torch.rand(4, 2, 1, 8, 8)
    with torch.no_grad():
        before, bias = network(past, 2), network.to_frame.bias.item()
        network.start_at(0.3)
        torch.testing.assert_close(network(past, 2), before + 0.3 - bias)
    assert bias != pytest.approx(0.3)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            {"translator": "words"},
            "translator 'words' is unknown; choose inception, gated or mixing",
        ),
        ({"blocks": 1}, "2 blocks or more, and 1000 at most, not 1"),
        ({"spatial": 12}, "multiples of 8"),
        ({"kernels": (3, 4)}, "odd kernels"),
        ({"frames": 0}, "1 frame or more"),
    ],
)
def test_bad_choices(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimVP(**args)
