"""foreframe plan"""

from collections.abc import Sequence

from foreframe.cli.parser import Parser
from foreframe.cli.train import COMMON, GROUPS, given_by, parse
from foreframe.training.recipes import explicit_options


def of_config(config: str) -> None:
    """Estimate the time and memory of a training from a few steps; nothing is written

    Runs on one device alone: --devices, --loader_workers and --trainer have no effect

    Args:
        config: a recipe by name, such as quick, or a YAML file; options as in foreframe train
    """


def parser() -> Parser:
    return Parser("plan", of_config, *GROUPS, common=COMMON)


def main(arguments: Sequence[str]) -> None:
    """Print the estimate of a training's time and memory."""
    if not arguments:
        raise ValueError("name a config or data, e.g. foreframe plan --data film.mp4")
    options = parse(arguments, parser())
    explicit = explicit_options(*given_by(arguments, parser()))

    from foreframe.training.planning import plan

    splits = None
    if explicit is not None:
        from foreframe.training.default import choose_defaults

        options, splits, _ = choose_defaults(explicit)
    learning = options.learning
    planned = plan(options.model, options.data, learning, options.machine, splits)
    step = planned.step + planned.fetch
    print(
        f"model     {options.model.model}: {planned.parameters:,} parameters, "
        f"{planned.multiply_adds / 1e9:.2f} G multiply-adds a forecast"
    )
    took = f"{_duration(step)}, of which {_duration(planned.fetch)} to fetch them"
    print(f"step      {planned.batch} clips, {took}, on one {planned.device}")
    if planned.memory is not None:
        print(f"memory    {planned.memory:,.0f} MiB a step, beside network and data")
    print(
        f"epoch     {planned.clips:,} clips, {planned.steps:,} steps, "
        f"{_duration(planned.epoch)} without validation"
    )
    length = f"{learning.epochs} epochs: {_duration(learning.epochs * planned.epoch)}"
    if learning.train_steps:
        length = f"{learning.train_steps:,} steps: {_duration(learning.train_steps * step)}"
    if learning.minutes:
        length = f"{learning.minutes:g} minutes: about {60 * learning.minutes / step:,.0f} steps"
    print(f"training  {length}")


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
