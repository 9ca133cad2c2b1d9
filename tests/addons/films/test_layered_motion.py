"""Objects that keep their shape in front of a background, where their motion is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from foreframe import Forecaster, Window
from foreframe.addons.films.layered_motion import TOLERANCE, Layered
from foreframe.data import Recordings
from foreframe.evaluation import ScoreOptions
from foreframe.evaluation.card import score_clips
from foreframe.evaluation.metrics import Scorecard, scores_of
from foreframe.evaluation.metrics.moving import background_of
from foreframe.models import build_model
from foreframe.models.noise import EnsembleRequest, forecast_of
from standins import texture


def street(speed: float = 2.0, length: int = 20) -> torch.Tensor:
    """(1,T,1,64,96): a bright textured object of 12x8 pixels that crosses a texture."""
    behind = torch.from_numpy(texture(1, 96)[:64] * 0.5).float()
    thing = torch.from_numpy(0.6 + 0.4 * texture(2, 32)[:12, :8]).float()
    frames = behind.repeat(1, length, 1, 1, 1)
    for t in range(length):
        column = round(10 + speed * t)
        frames[0, t, 0, 26:38, column : column + 8] = thing
    return frames


def scored(name: str, frames: torch.Tensor, channels: int = 1) -> dict[str, float]:
    """Scores at +10."""
    clips = frames.expand(-1, -1, channels, -1, -1)
    card = Scorecard(10, scores_of(background=True))
    past = clips[:, :10]
    card.update(build_model(name)(past, 10), clips[:, 10:], background_of(past))
    table = card.table()
    return {key: of["per_lead"][-1] for key, of in (table["moving"] | table["standard"]).items()}


@pytest.mark.parametrize("channels", [1, 3])
def test_an_object_keeps_its_shape_and_uncovers_the_background(channels: int) -> None:
    layered, dense = (
        scored(name, street(), channels) for name in ("layered_motion", "dense_motion")
    )
    assert 0.85 < layered["moving_area"] < 1.15
    assert 0.85 < layered["moving_mass"] < 1.15
    assert layered["moving_csi"] > 0.8 > dense["moving_csi"]
    assert layered["sharpness"] == pytest.approx(1, abs=0.05)
    assert layered["mse"] < 0.3 * dense["mse"]


def test_of_two_objects_that_meet_one_is_in_front() -> None:
    one = street(2.0)
    frames = one.clone()
    for t in range(20):  # the same object, which comes from the right
        frames[:, t, :, 30:42, 78 - 2 * t : 86 - 2 * t] = one[:, 0, :, 26:38, 10:18]
    lead = 8  # they overlap
    future = build_model("layered_motion")(frames[:, :10], lead)
    bright = [(clip[0, -1] > 0.6).sum().item() for clip in (future, frames[:, : 10 + lead])]
    assert bright[0] > 0.8 * bright[1]


def test_what_is_still_stays_and_so_do_single_and_small_frames() -> None:
    still = street(speed=0)
    for past in (still[:, :10], still[:, :1], torch.rand(2, 5, 1, 7, 40)):
        future = build_model("layered_motion")(past, 3)
        torch.testing.assert_close(future[:, 2], past[:, -1], atol=1e-4, rtol=0)


def test_layers_suit_steady_motion_and_six_past_frames() -> None:
    frames = street()[:, :10]
    fading = frames[:, :1] * torch.linspace(1, 0.5, 10).view(1, 10, 1, 1, 1)
    cut = torch.cat([1 - frames[:, :8].flip(-1), frames[:, 8:]], dim=1)
    model = Layered(build_model("persistence"))
    late = torch.cat([1 - frames[:, :9].flip(-1), frames[:, 9:]], dim=1)
    pasts = frames, fading, cut, late, frames[:, 5:]
    errors = [model.hindcast_error(model.layers.encode(past)).item() for past in pasts]
    assert [error <= TOLERANCE for error in errors] == [True, False, False, False, False]


def test_members_move_their_objects_whole() -> None:
    """Where layers suit the clip; members of other clips are the other model's."""
    frames = street(1.5)[:, :10]
    fading = frames[:, :1] * torch.linspace(1, 0.5, 10).view(1, 10, 1, 1, 1)
    plain = build_model("dressed", {"of": "persistence"})
    drawn, others = (
        forecast_of(model, model.encode(clips), 10, ensemble=EnsembleRequest(8, seed=3))[0]
        for model, clips in ((Layered(plain), torch.cat([frames, fading])), (plain, fading))
    )
    torch.testing.assert_close(drawn[8:], others)
    bright = (drawn[:8, -1, 0] > 0.55).float()
    area = bright.sum(dim=(1, 2)) / (frames[0, -1, 0] > 0.55).sum()
    torch.testing.assert_close(area, torch.ones(8), atol=0.2, rtol=0)
    columns = (bright.sum(dim=1) * torch.arange(96)).sum(dim=1) / bright.sum(dim=(1, 2))
    assert 0.5 < columns.std() < 8
    assert abs(columns.mean() - (10 + 1.5 * 19 + 3.5)) < 2 * columns.std()
    films = Forecaster(plain, Window(7, 3), match="layers")
    how = ScoreOptions(baselines=(), members=2)
    card = score_clips(films, Recordings(frames[0].numpy(), "all", films.window), how)
    plain, layered = (card["ensemble"][row]["scores"] for row in ("model", "model in layers"))
    assert plain != layered


def test_the_background_follows_a_moving_camera() -> None:
    wide = torch.from_numpy(texture(1, 160)[:64]).float()
    frames = torch.stack([wide[:, 2 * t : 2 * t + 96] for t in range(20)])[None, :, None]
    future = build_model("layered_motion")(frames[:, :10], 10)
    error = (future - frames[:, 10:])[..., 4:-4, 4:-28]  # without what enters
    assert error.abs().mean() < 0.02


def test_layers_move_objects_of_films_by_default(tmp_path: Path) -> None:
    """In every kind of forecast and in the scores; a film that fades stays plain."""
    plain = Forecaster(build_model("guided"), Window(8, 3))
    frames = np.full((12, 3, 24, 40), 0.2, np.float32)
    for t, frame in enumerate(frames):
        frame[:, 8:16, 4 + 2 * t : 10 + 2 * t] = np.linspace(0.5, 1, 6)
    expected = Forecaster.load("layered_motion").model(torch.from_numpy(frames[None, :8]), 3)[0]
    plain.match = "layers"
    films = Forecaster.load(plain.save(tmp_path / "films"))
    forecast = films.predict(frames[:8], 3)
    np.testing.assert_allclose(forecast, expected, atol=1e-5)
    assert np.abs(films.predict(frames[:8], 3, match="none") - forecast).max() > 0.01
    faded = (frames[:1] * np.linspace(1, 0.3, 8)[:, None, None, None]).astype(np.float32)
    both = films.predict(np.stack([frames[:8], faded]), 3)
    np.testing.assert_allclose(both[0], forecast, atol=1e-5)
    np.testing.assert_allclose(both[1], films.predict(faded, 3, match="none"), atol=1e-5)
    live = films.stream(3)
    for frame in frames[:8]:
        live.take(frame)
    ahead = live.forecast(like=frames)
    np.testing.assert_allclose(ahead, forecast, atol=1e-5)
    again = films.stream(3).loads(live.dumps())
    np.testing.assert_array_equal(again.forecast(like=frames), ahead)
    rolled = films.rollout(frames[:8], 3)
    np.testing.assert_allclose(np.stack([next(rolled) for _ in range(3)]), forecast, atol=1e-5)
    card = score_clips(films, Recordings(frames, "all", films.window), ScoreOptions(baselines=()))
    assert list(card["scores"]) == ["model", "model in layers"]
    with pytest.raises(ValueError, match="this model has inputs; choose"):
        Forecaster(build_model("quick", {"inputs": 1}), match="layers")
