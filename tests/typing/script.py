"""A user's script: never run, but read by `mypy --strict` in test_typing.py."""

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

import foreframe
from foreframe import Clip, Forecaster, MovingMNIST, Scaling, Window
from foreframe.models import Model, build_model


class Waves(Dataset[Tensor]):
    """A Dataset of one's own."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Tensor:
        return torch.full((6, 1, 16, 16), index / 40)


def trained() -> foreframe.Run:
    run = foreframe.fit("quick", data=Waves(), past=3, future=3, minutes=0.1, trainer={})
    assert_type(run.folder, Path)
    assert_type(run.scores, list[dict[str, Any]])
    assert_type(run.forecaster(), Forecaster)
    foreframe.fit(Path("mine.yaml"), reading={"size": [96, 128]}, splits={"by": "time"})
    return foreframe.fit(resume=run, epochs=2)


def forecasts(forecaster: Forecaster, array: np.ndarray, tensor: Tensor) -> None:
    assert_type(forecaster.predict(array, 5), np.ndarray[tuple[Any, ...], np.dtype[Any]])
    assert_type(forecaster.predict(tensor, steps=5), Tensor)
    for clip in foreframe.clips_from("film.mp4", size=(96, 128)):
        assert_type(forecaster.predict(clip, 5), Clip)
        assert_type(clip[:3], Clip)
    assert_type(forecaster.stream().push(tensor), Tensor)
    assert_type(forecaster.window, Window)
    assert_type(forecaster.scaling, Scaling)
    assert_type(forecaster.model, Model)


def scores(forecaster: Forecaster) -> float:
    digits = MovingMNIST("test", length=20)
    assert_type(digits[0], Tensor)
    card = foreframe.evaluate(forecaster, digits, clips=4)
    foreframe.evaluate("runs/demo", split="validation", thresholds=[0.5, 2])
    return float(card["scores"]["model"]["openstl"]["mse"]["overall"])


def loop_of_ones_own(clips: Tensor) -> None:
    network = build_model("quick", {"channels": 1})
    state = network.encode(clips[:, :3])
    assert_type(state, dict[str, Tensor])
    assert_type(network.decode(state, 4), Tensor)
    assert_type(network(clips, 4), Tensor)


if __name__ == "__main__":
    run = trained()
    forecasts(run.forecaster(), np.zeros((10, 1, 64, 64)), torch.zeros(10, 1, 64, 64))
    scores(Forecaster.load("persistence"))
    loop_of_ones_own(torch.zeros(2, 3, 1, 32, 32))
