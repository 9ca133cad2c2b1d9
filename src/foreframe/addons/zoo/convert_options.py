"""Options of `convert`. Loads no torch, so that `--help` is fast."""

from dataclasses import dataclass, field

from foreframe.base.schema import Checked, PositiveInt


@dataclass(frozen=True)
class ConvertOptions(Checked):
    """Checkpoint

    Args:
        model: the preset of the paper's network, such as tau; docs/zoo.md lists them
        model_args: arguments of the model that differ from the preset's, e.g. --model_args.channels
            3; a checkpoint does not contain them
        past: number of past frames in its training
        future: number of future frames

    Raises:
        ValueError: a value out of its range.
    """

    model: str
    model_args: dict = field(default_factory=dict)
    past: PositiveInt = 10
    future: PositiveInt = 10
