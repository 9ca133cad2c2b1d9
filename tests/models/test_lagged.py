"""The lagged ensemble."""

import torch

from foreframe.models import build_model, members

PAST = torch.rand(2, 7, 1, 16, 20, generator=torch.Generator().manual_seed(0))


def test_member_k_was_begun_k_frames_ago() -> None:
    model = build_model("lagged", {"of": "linear_motion", "lags": 4})
    plain = build_model("linear_motion")
    made = model.decode(members(model.encode(PAST), 4), 5).unflatten(0, (2, 4))
    for k in range(4):
        begun = plain(PAST[:, : 7 - k], 5 + k)[:, k:]
        torch.testing.assert_close(made[:, k], begun, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(PAST, 5), made.mean(dim=1))


def test_persistence_of_frames_ago() -> None:
    model = build_model("lagged", {"of": "persistence", "lags": 3})
    made = model.decode(members(model.encode(PAST), 4), 2).unflatten(0, (2, 4))
    assert torch.equal(made, PAST[:, [6, 5, 4, 6]].unsqueeze(2).expand(-1, -1, 2, -1, -1, -1))
    few = model.decode(members(model.encode(PAST[:, :2]), 3), 1).unflatten(0, (2, 3))
    assert torch.equal(few[:, :, 0], PAST[:, [1, 0, 1]])
