"""foreframe plan"""

from collections.abc import Sequence

from foreframe.cli.parser import Parser
from foreframe.cli.train import GROUPS, left_to_choose, parse


def of_config(config: str) -> None:
    """Estimate the time and memory of a training from a few steps; nothing is written

    Runs on one device without worker processes: --devices, --workers and --trainer have no effect

    Args:
        config: a recipe by name, such as quick, or a YAML file of options, such as a run's
            config.yaml; options and defaults as in foreframe train
    """


def parser() -> Parser:
    return Parser("plan", of_config, *GROUPS)


def main(arguments: Sequence[str]) -> None:
    """Print the estimate of a training's time and memory."""
    if not arguments:
        raise ValueError("name a config or data, e.g. foreframe plan --data film.mp4")
    model, data, learning, machine, _ = parse(arguments, parser()).values()
    explicit = left_to_choose(arguments, parser())

    from foreframe.training.planning import plan

    splits = None
    if explicit is not None:
        from foreframe.training.default import choose_defaults

        (model, data, learning, machine, _), splits, _ = choose_defaults(explicit)
    planned = plan(model, data, learning, machine, splits)
    step, adds = planned.step + planned.fetch, planned.multiply_adds / 1e9
    flops = 6 * adds * planned.batch / planned.step
    print(
        f"model     {model.model}: {planned.parameters:,} parameters, {adds:.2f} G multiply-adds a "
        "forecast"
    )
    took = f"{_duration(step)}, of which {_duration(planned.fetch)} to fetch them"
    print(f"step      {planned.batch} clips, {took}, on one {planned.device}")
    print(f"speed     {_rounded(planned.batch / step)} clips a second, {_rounded(flops)} GFLOP/s")
    if planned.memory is not None:
        print(f"memory    {planned.memory:,.0f} MiB a step, beside network and data")
    print(
        f"epoch     {planned.clips:,} clips, {planned.steps:,} steps, "
        f"{_duration(planned.epoch)} without validation"
    )
    if learning.minutes:
        print(
            f"training  {learning.minutes:g} minutes: about {60 * learning.minutes / step:,.0f} "
            "steps"
        )
    else:
        print(f"training  {learning.epochs} epochs: {_duration(learning.epochs * planned.epoch)}")


def _rounded(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
