"""Options of a comparison; loads neither torch nor numpy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from foreframe.base.schema import check_at_least
from foreframe.evaluation import EvaluateOptions
from foreframe.training.options import LimitOptions


@dataclass(frozen=True)
class BenchOptions(EvaluateOptions, LimitOptions):
    """What is compared, and what is trained for that

    Args:
        clips: how many, or all; more are evenly spread over recordings
        output: folder of the leaderboard
        past: frames that each looks at; by default as many as it was trained with
        future: frames to score; by default as many as the first was trained to forecast
        data: what to score on, as in foreframe train; by default the data of the first
        train: presets and configs to train first, by name or file, e.g. quick,simvp_small, each in
            output/runs/NAME; what is trained already stays, and an interrupted training continues
        minutes: of training, for each
        train_steps: in place of minutes
        clips_seen: clips to train on, in place of minutes
        training: options of all trainings, e.g. --training.learning_rate 1e-3

    Raises:
        ValueError: a value out of its range; trainings without a budget, or with two.
    """

    clips: int | Literal["all"] | None = 500
    output: str = "leaderboard"
    train: str | Sequence[str] = ()
    clips_seen: int | None = None
    training: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        LimitOptions.__post_init__(self)
        check_at_least(1, clips_seen=self.clips_seen)
        if len(self.for_each) != bool(self.train) or (self.training and not self.train):
            raise ValueError("give --train with one of --minutes, --train_steps, --clips_seen")

    @property
    def to_train(self) -> Sequence[str]:
        return self.train.split(",") if isinstance(self.train, str) else self.train

    @property
    def for_each(self) -> dict[str, float]:
        """The budget of each training, by name."""
        names = ("minutes", "train_steps", "clips_seen")
        return {name: limit for name in names if (limit := getattr(self, name)) is not None}
