"""Options of a comparison. Loads neither torch nor numpy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from foreframe.base.schema import PositiveInt
from foreframe.evaluation import EvaluateOptions
from foreframe.training.options import LimitOptions


@dataclass(frozen=True)
class BenchOptions(EvaluateOptions, LimitOptions):
    """Comparison

    Args:
        clips: number of clips, or all; windows of recordings are spread evenly
        output: folder of the leaderboard
        past: number of past frames of each forecaster; by default as in its training
        future: number of frames to score; by default as in the training of the first forecaster
        data: data to score on, as in foreframe train; by default the data of the first forecaster
        train: presets and configs to train first, by name or file, e.g. quick,simvp_small, each in
            output/runs/NAME; finished trainings stay, and an interrupted training continues
        minutes: minutes of each training
        train_steps: steps of each training, instead of minutes
        training: options of all trainings, e.g. --training.learning_rate 1e-3

    Raises:
        ValueError: a value out of its range; trainings without a budget, or with two.
    """

    clips: PositiveInt | Literal["all"] | None = 500
    output: str = "leaderboard"
    train: str | Sequence[str] = ()
    training: dict = field(default_factory=dict)

    def check(self) -> None:
        super().check()
        if len(self.for_each) != bool(self.train) or (self.training and not self.train):
            raise ValueError("give --train with --minutes or --train_steps")

    @property
    def to_train(self) -> Sequence[str]:
        return self.train.split(",") if isinstance(self.train, str) else self.train

    @property
    def for_each(self) -> dict[str, float]:
        """The budget of each training, by name."""
        names = ("minutes", "train_steps")
        return {name: limit for name in names if (limit := getattr(self, name)) is not None}
