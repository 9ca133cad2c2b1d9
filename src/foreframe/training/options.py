"""Every option of training, in five groups. These fields are the command's flags and the keys of
its YAML: there is no second list.

Each field's help is what the class docstring says of it. No torch here: `--help` must be quick.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from foreframe.base.schema import (
    LONG,
    brief,
    check_above_0,
    check_at_least,
    check_plain,
    check_words,
)
from foreframe.data.data_options import DataOptions
from foreframe.forecasting.forecast_options import ComputeOptions, DeviceOptions

LossName = Literal["mse", "mae", "cross_entropy", "mix", "relative", "geometric", "rain", "crps"]

LOGGERS = ("tensorboard", "csv")
FROM_0 = (
    "sampling_steps", "warmup", "clip", "weight_decay", "truncate", "least_past", "patience", "seed"
)  # fmt: skip


@dataclass(frozen=True)
class ModelOptions:
    """Model

    Args:
        model: a preset (`foreframe models` lists them, e.g. quick or nowcast) or a name in MODELS
        hidden: hidden channels of every layer; by default the preset's
        model_args: any argument of the model, e.g. --model_args.core.convlstm.kernel 5
        weights: initial weights: a run, a checkpoint or published weights, e.g. scenes
    """

    model: str = "quick"
    hidden: int | None = None
    model_args: dict = field(default_factory=dict)
    weights: str | None = None

    def __post_init__(self) -> None:
        check_words(model=self.model, weights=self.weights)
        check_at_least(1, hidden=self.hidden)


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """End of a training

    Args:
        minutes: length of the training and its schedule in minutes
        train_steps: length of the training and its schedule in steps
    """

    minutes: float | None = None
    train_steps: int | None = None

    def __post_init__(self) -> None:
        check_above_0(minutes=self.minutes)
        check_at_least(1, train_steps=self.train_steps)


@dataclass(frozen=True)
class LearningOptions(LimitOptions):
    """Learning

    Args:
        loss: rain, relative and geometric give all clips the same weight; crps is for members
        mae_share: share of mae in the loss mix; the rest is mse
        members: members per clip for crps
        pools: sides in pixels of the blocks whose means crps compares
        sampling_steps: steps over which scheduled sampling replaces true frames by the model's own;
            0 = off
        sampling: forward hides future frames, reverse also past frames
        optimizer: adamw decouples weight decay; muon orthogonalises the steps of matrices
        learning_rate: highest learning rate of the schedule
        beta_1: decay of Adam's mean; onecycle has its own
        beta_2: decay of Adam's variance
        momentum: decay of Muon's mean
        weight_decay: weight decay of the optimizer
        schedule: schedule of the learning rate; wsd is constant, then falls
        warmup: steps of linear rise at the beginning; onecycle has its own
        decay: share of a wsd schedule, at its end, in which the rate falls to 0
        average: decay of the moving average of weights, which is validated and saved; 0 = off
        clip: largest norm of the gradients; 0 = off
        truncate: past frames that gradients reach back through; 0 = all
        least_past: smallest number of past frames of a step, drawn at random; 0 = always all
        freeze_encoder: keep the weights that read the past, so that each clip is read once
        start_at_mean: start with the mean of the data as forecast instead of grey
        epochs: passes over the training clips
        patience: validations without improvement before the training stops; 0 = off
        seed: seed of weights, clips and their order
    """

    loss: LossName = "mse"
    mae_share: float = 0.5
    members: int = 2
    pools: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])
    sampling_steps: int = 0
    sampling: Literal["forward", "reverse"] = "forward"
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: float = 1e-4
    beta_1: float = 0.9
    beta_2: float = 0.98
    momentum: float = 0.95
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "onecycle", "wsd"] = "constant"
    warmup: int = 0
    decay: float = 0.2
    average: float = 0.0
    clip: float = 1.0
    truncate: int = 0
    least_past: int = 0
    freeze_encoder: bool = False
    start_at_mean: bool = True
    epochs: int = 300
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_above_0(learning_rate=self.learning_rate)
        check_at_least(1, epochs=self.epochs, members=self.members)
        if not 0 <= self.mae_share <= 1:
            raise ValueError(f"mae_share must lie in [0, 1], not {self.mae_share}")
        if not all(1 <= k <= LONG for k in self.pools):
            raise ValueError(f"pools are sides of 1 pixel or more, not {self.pools}")
        if self.loss == "crps" and self.sampling_steps:
            raise ValueError(
                "scheduled sampling shows a forecast what it forecast itself, of which crps draws "
                "several: leave sampling_steps at 0"
            )
        if self.sampling == "reverse" and not self.sampling_steps:
            raise ValueError("sampling reverse is a scheduled sampling: give it sampling_steps")
        for name in FROM_0:
            check_at_least(0, **{name: getattr(self, name)})
        if not 0 < self.decay <= 1:
            raise ValueError(
                "decay is a share of the training, above 0 and at most 1 (all of it), not "
                f"{self.decay}"
            )
        for name in ("beta_1", "beta_2", "momentum", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), not {getattr(self, name)}")


@dataclass(frozen=True)
class MachineOptions(DeviceOptions, ComputeOptions):
    """Machine

    Args:
        devices: number of devices, or auto
        precision: e.g. 32-true, bf16-mixed, 16-mixed; auto is bf16-mixed if that is fast
        memory: save stores less of each step and recomputes it for the gradients
        budget: largest size of the network's weights in GiB
        trainer: any argument of Lightning's Trainer, e.g. --trainer.max_steps 500
    """

    devices: int | str = "auto"
    precision: str = "32-true"  # type: ignore[assignment]  # any of Lightning's
    memory: Literal["keep", "save"] = "keep"
    trainer: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_words(device=self.device, precision=self.precision)
        if isinstance(self.devices, int) and self.devices < 1:
            raise ValueError(f"devices must be at least 1, or auto, not {self.devices}")
        check_plain(self.trainer, "trainer")


@dataclass(frozen=True)
class RunOptions:
    """Output

    Args:
        run: the run's folder; by default runs/MODEL-DATE-TIME
        resume: folder of the run to continue, with its settings
        accept_changes: continue with options that differ from those of the run
        save_every: minutes between checkpoints, in addition to one per epoch
        picture_every: steps between pictures and GIFs; 0 = off
        logger: tensorboard, csv or a list; false = none; in Python also Lightning's loggers
        tensorboard: start TensorBoard
        port: port of TensorBoard
        verbose: print progress
    """

    run: str | None = None
    resume: str | None = None
    accept_changes: bool = False
    save_every: float = 5.0
    picture_every: int = 250
    logger: str | list | bool | Any = LOGGERS[0]
    tensorboard: bool = False
    port: int = 6006
    verbose: bool = True

    def __post_init__(self) -> None:
        check_words(run=self.run, resume=self.resume)
        check_at_least(0, save_every=self.save_every, picture_every=self.picture_every)
        for each in self.loggers:
            if each not in LOGGERS and not hasattr(each, "log_metrics"):  # one of Lightning's
                raise ValueError(f"logger is any of {', '.join(LOGGERS)}, not {brief(each)}")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 0 (any free one) to 65535, not {self.port}")

    @property
    def loggers(self) -> list[Any]:
        """Names in `LOGGERS`, and loggers of the user's own."""
        listed = self.logger if isinstance(self.logger, list) else [self.logger]
        return [each for each in listed if each is not False]


GROUPS = (ModelOptions, DataOptions, LearningOptions, MachineOptions, RunOptions)


class Options(NamedTuple):
    """The options of all groups."""

    model: ModelOptions
    data: DataOptions
    learning: LearningOptions
    machine: MachineOptions
    run: RunOptions

    def flat(self) -> dict[str, Any]:
        """Every option by its name, as plain values: what config.yaml holds."""
        return {name: value for group in self for name, value in asdict(group).items()}
