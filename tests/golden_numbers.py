"""Numbers of other people's code, from FOREFRAME_GOLDEN or ../shared/golden."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor


def golden(name: str) -> dict[str, Tensor]:
    """All tensors in float64; leaves that want gradients are made by the tests."""
    root = Path(os.environ.get("FOREFRAME_GOLDEN", Path(__file__).parents[2] / "shared" / "golden"))
    path = root / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"needs {path.name} in FOREFRAME_GOLDEN or ../shared/golden")
    return {key: value.double() for key, value in load_file(path).items()}


def same(ours: Tensor, theirs: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


def near(ours: Tensor | None, theirs: Tensor) -> None:
    """Of what is stored in float32: to a millionth of its largest value. What a norm takes away has
    gradients of rounding alone.
    """
    assert ours is not None
    same(ours, theirs, max(1e-6 * float(theirs.abs().max()), 1e-15))
