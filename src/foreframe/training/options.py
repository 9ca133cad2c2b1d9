"""Options of training in five groups. Their fields are the flags of the command and the keys of
its YAML; the class docstring has the help of each field. Loads no torch, so that `--help` is fast.
"""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from foreframe.base.schema import (
    Checked,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Range,
    brief,
    check_plain,
)
from foreframe.data.data_options import DataOptions
from foreframe.forecasting.forecast_options import ComputeOptions, DeviceOptions

LossName = Literal["mse", "mae", "cross_entropy", "mix", "geometric", "rain", "crps"]
Decay = Annotated[float, Range(least=0, below=1)]

TENSORBOARD = "tensorboard"


@dataclass(frozen=True)
class ModelOptions(Checked):
    """Model

    Args:
        model: a preset (`foreframe models` lists them, e.g. quick or nowcast) or a name in MODELS
        hidden: hidden channels of every layer; by default the preset's
        model_args: any argument of the model, e.g. --model_args.core.convlstm.kernel 5
        weights: initial weights: a run, a checkpoint or published weights, e.g. scenes
    """

    model: str = "quick"
    hidden: PositiveInt | None = None
    model_args: dict = field(default_factory=dict)
    weights: str | None = None


@dataclass(frozen=True, kw_only=True)
class LimitOptions(Checked):
    """Length

    Args:
        minutes: length of the training and its schedule in minutes
        train_steps: length of the training and its schedule in steps
    """

    minutes: PositiveFloat | None = None
    train_steps: PositiveInt | None = None


@dataclass(frozen=True)
class LearningOptions(LimitOptions):
    """Learning

    Args:
        loss: rain and geometric give all clips the same weight; crps is for members
        mae_share: share of mae in the loss mix; the rest is mse
        members: members per clip for crps
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
        least_past: smallest number of past frames of a step, drawn at random; 0 = always all
        freeze_encoder: keep the weights that read the past, so that each clip is read once
        start_at_mean: start with the mean of the data as forecast instead of grey
        epochs: passes over the training clips
        patience: validations without improvement before the training stops; 0 = off
        seed: seed of weights, clips and their order
    """

    loss: LossName = "mse"
    mae_share: Annotated[float, Range(least=0, most=1)] = 0.5
    members: PositiveInt = 2
    sampling_steps: NonNegativeInt = 0
    sampling: Literal["forward", "reverse"] = "forward"
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: PositiveFloat = 1e-4
    beta_1: Decay = 0.9
    beta_2: Decay = 0.98
    momentum: Decay = 0.95
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["constant", "cosine", "onecycle", "wsd"] = "constant"
    warmup: NonNegativeInt = 0
    decay: Annotated[float, Range(above=0, most=1)] = 0.2
    average: Decay = 0.0
    clip: NonNegativeFloat = 1.0
    least_past: NonNegativeInt = 0
    freeze_encoder: bool = False
    start_at_mean: bool = True
    epochs: PositiveInt = 300
    patience: NonNegativeInt = 0
    seed: NonNegativeInt = 0

    def check(self) -> None:
        if self.loss == "crps" and self.sampling_steps:
            raise ValueError(
                "scheduled sampling feeds back a single forecast, but crps draws several members: "
                "leave sampling_steps at 0"
            )
        if self.sampling == "reverse" and not self.sampling_steps:
            raise ValueError("sampling reverse is a scheduled sampling: give it sampling_steps")


@dataclass(frozen=True)
class MachineOptions(DeviceOptions, ComputeOptions):
    """Compute

    Args:
        devices: number of devices, or auto
        precision: e.g. 32-true, bf16-mixed, 16-mixed; auto is bf16-mixed if that is fast
        memory: save stores less of each step and recomputes it for the gradients
        budget: largest size of the network's weights in GiB
        trainer: any argument of Lightning's Trainer, e.g. --trainer.max_steps 500
    """

    devices: PositiveInt | str = "auto"
    precision: str = "32-true"  # type: ignore[assignment]  # any of Lightning's
    memory: Literal["keep", "save"] = "keep"
    trainer: dict = field(default_factory=dict)

    def check(self) -> None:
        check_plain(self.trainer, "trainer")


@dataclass(frozen=True)
class RunOptions(Checked):
    """Output

    Args:
        run: the run's folder; by default runs/MODEL-DATE-TIME
        resume: folder of the run to continue, with its options
        save_every: minutes between checkpoints, in addition to one per epoch
        picture_every: steps between pictures; 0 = off
        logger: tensorboard; false = none; in Python also Lightning's loggers, or a list
        tensorboard: start TensorBoard on a free port
        verbose: print progress
    """

    run: str | None = None
    resume: str | None = None
    save_every: NonNegativeFloat = 5.0
    picture_every: NonNegativeInt = 250
    logger: str | list | bool | Any = TENSORBOARD
    tensorboard: bool = False
    verbose: bool = True

    def check(self) -> None:
        for each in self.loggers:
            if each != TENSORBOARD and not hasattr(each, "log_metrics"):  # one of Lightning's
                raise ValueError(f"logger is {TENSORBOARD} or false, not {brief(each)}")

    @property
    def loggers(self) -> list[Any]:
        """Return `TENSORBOARD`, if wanted, and the user's logger objects."""
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
        """Return every option by name, as plain values for config.yaml."""
        return {name: value for group in self for name, value in asdict(group).items()}
