"""Options of `convert`. Loads no torch, so that `--help` is fast."""

from dataclasses import dataclass, field

from foreframe.base.schema import check_at_least


@dataclass(frozen=True)
class ConvertOptions:
    """Model and window of a checkpoint.

    Args:
        model: the preset that repeats the paper's network, such as tau; docs/zoo.md has them
        model_args: arguments of the model that differ from the preset's, e.g. --model_args.channels
            3: a checkpoint does not tell them
        past: number of input frames in its training
        future: frames out

    Raises:
        ValueError: a value out of its range.
    """

    model: str
    model_args: dict = field(default_factory=dict)
    past: int = 10
    future: int = 10

    def __post_init__(self) -> None:
        check_at_least(1, past=self.past, future=self.future)
