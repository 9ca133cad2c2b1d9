"""A digest that tells one forecaster, with its weights, from another."""

import hashlib
import json
from typing import Any

import torch

from foreframe.models import Model


def fingerprint(model: Model, *about: Any) -> str:
    """The SHA-256 of plain values and of a model's weights."""
    plain = json.dumps(about, sort_keys=True, default=str)
    digest = hashlib.sha256(plain.encode())
    for name, value in sorted(model.state_dict().items()):
        weights = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(name.encode() + weights.numpy().tobytes())
    return digest.hexdigest()
