"""What only MAU has. That it equals its original is in tests/parity/test_originals.py."""

import pytest
import torch

from foreframe.models import build_model


def test_norms_with_a_weight_a_place_take_one_size_of_frames() -> None:
    network = build_model("mau_small", {"width": 4, "places": [3, 4]})
    assert network(torch.rand(1, 2, 1, 24, 32), 1).shape == (1, 1, 1, 24, 32)
    with pytest.raises(ValueError, match=r"takes frames of \[24, 32\]"):
        network(torch.rand(1, 2, 1, 32, 24), 1)
