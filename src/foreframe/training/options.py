"""Every option of training, in five groups. These fields are the command's flags and the keys of its YAML: there is no second list.

Each field's help is the comment that jsonargparse reads from the class docstring. No torch here: `--help` must be quick.
"""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class ModelOptions:
    """What is trained

    Args:
        model: a preset (`foreframe models` lists them, e.g. tutorial, openstl, quick, nowcast, simvp_small) or a name in MODELS
        hidden: hidden channels of every layer, in place of the preset's
        model_args: any argument of the model, e.g. --model_args.kernel 5
        weights: to begin with: a run, a checkpoint, a saved forecaster, or published ones (moving-mnist)
    """

    model: str = "quick"
    hidden: int | None = None
    model_args: dict = field(default_factory=dict)
    weights: str | None = None


@dataclass
class DataOptions:
    """On what

    Args:
        data: moving_mnist, a file or folder (films, pictures, .npy, NetCDF, Zarr), or any Dataset's import path
        data_args: its arguments, e.g. --data_args.motion svg
        past: frames in; a clip holds past and future
        future: frames out
        stride: frames from window to window, where recordings are cut into windows
        batch_size: clips a step and process
        workers: loader processes
        validation_clips: clips of the validation split to score after each epoch
    """

    data: Any = "moving_mnist"  # a name on the command line; in Python also what is in memory
    data_args: dict = field(default_factory=dict)
    past: int = 10
    future: int = 10
    stride: int = 1
    batch_size: int = 12
    workers: int = 0
    validation_clips: int = 200


@dataclass
class LearningOptions:
    """How it learns

    Args:
        loss: what is made small, a mean over pixels; mix is half mse, half mae; balanced weighs rain
        sampling_steps: scheduled sampling: over so many steps true frames give way to its own; 0 is off
        optimizer: adamw has decoupled weight decay; muon orthogonalises the steps of weights
        learning_rate: the highest that the schedule reaches
        beta_1: decay of Adam's mean; onecycle has its own
        beta_2: decay of Adam's variance
        weight_decay: of the optimizer
        schedule: of the learning rate, over all steps (or minutes)
        warmup: steps of linear rise before constant or cosine
        clip: gradients are scaled down to this norm; 0 is off
        truncate: gradients reach back through at most so many frames of the past; 0 through all
        start_at_mean: begin with the data's mean as forecast, not grey
        epochs: passes over the training clips
        minutes: stop, schedule ended, after so much time
        seed: of weights, of drawn clips and of their order
    """

    loss: Literal["mse", "mae", "cross_entropy", "mix", "balanced"] = "mse"
    sampling_steps: int = 0
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: float = 1e-4
    beta_1: float = 0.9
    beta_2: float = 0.98
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    warmup: int = 0
    clip: float = 1.0
    truncate: int = 0
    start_at_mean: bool = True
    epochs: int = 300
    minutes: float | None = None
    seed: int = 0


@dataclass
class MachineOptions:
    """On which machine

    Args:
        accelerator: auto, cpu, gpu, mps
        devices: how many, or auto
        precision: e.g. 32-true, bf16-mixed, 16-mixed
        memory: save keeps less of each step, and computes it again on the way back
        compile: compile ConvLSTM cells on a CPU too; takes a C++ compiler, and seconds at the start
        trainer: any argument of Lightning's Trainer, e.g. --trainer.max_steps 500
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    precision: str = "32-true"
    memory: Literal["keep", "save"] = "keep"
    compile: bool = False
    trainer: dict = field(default_factory=dict)


@dataclass
class RunOptions:
    """Where it goes

    Args:
        run: the run's folder; by default runs/MODEL-DATE-TIME
        resume: a run's folder to go on with, settings and all
        save_every: minutes between checkpoints, besides one an epoch
        picture_every: steps between pictures and GIFs in TensorBoard; 0 is off
        tensorboard: start TensorBoard beside the training
        port: of TensorBoard
    """

    run: str | None = None
    resume: str | None = None
    save_every: float = 5.0
    picture_every: int = 250
    tensorboard: bool = False
    port: int = 6006
