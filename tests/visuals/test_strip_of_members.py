"""Pictures of members: what their rows are called, and which values their colours span."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foreframe import Clip, Scaling
from foreframe.clips.ensembles import Ensemble
from foreframe.forecasting.outputs import write_forecast
from foreframe.visuals import Paint, legend, strip_of_members


@pytest.mark.parametrize("first", ["past; then", "past, truth"])
def test_rows_say_what_they_are(first: str, monkeypatch) -> None:
    said: list[str] = []
    module = sys.modules["foreframe.visuals.strip"]  # which a function of its name hides
    monkeypatch.setattr(module, "write_text", lambda _, at, text, *rest: said.append(text))
    members = np.random.default_rng(0).random((8, 2, 1, 16, 16)) + 270
    came = members[0] if "truth" in first else None
    strip_of_members(members[0], members, came, paint=Paint("viridis", 270, 271, "K"))
    words = [first, "mean of", "8 members", "spread", "white: 0.5 K", "and more"]
    assert said[: len(words)] == words


def test_outlying_members_do_not_stretch_the_colours(tmp_path: Path, monkeypatch) -> None:
    given: list[Paint] = []

    def drawn(*of: np.ndarray, paint: Paint, times: object) -> np.ndarray:
        given.append(paint)
        return strip_of_members(*of, paint=paint)

    monkeypatch.setattr("foreframe.forecasting.outputs.strip_of_members", drawn)
    past = Clip(np.linspace(270, 280, 512, dtype=np.float32).reshape(2, 1, 16, 16), units="K")
    frames = np.full((4, 2, 1, 16, 16), 275, np.float32)
    frames[0], frames[1] = 275 - 90, 275 + 90
    future = Ensemble.like(replace(past, frames=frames[0]), frames)
    write_forecast(tmp_path / "a.png", past, future, Scaling(200, 400, "K", "minmax"))
    assert (given[0].low, given[0].high) == (270, 280)


def test_a_scale_has_room_for_its_heading() -> None:
    plain, headed = (
        legend(Paint("viridis", 0, 1, "1", of), 300) for of in ((), ("280 K", "or more,", "chance"))
    )
    assert headed.shape[1] > plain.shape[1]
    bar = [np.ptp(of[:, 12].astype(int), axis=1) > 20 for of in (plain, headed)]
    assert bar[0].sum() - bar[1].sum() == pytest.approx(28, abs=3)  # two lines less of colours
