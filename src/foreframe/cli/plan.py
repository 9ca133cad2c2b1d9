"""foreframe plan"""

from collections.abc import Sequence

HELP = """\
usage: foreframe plan CONFIG [options of foreframe train]

What a training would take: parameters, multiply-adds, memory, and from a few of its steps the time
of a step and of an epoch, on one device and without worker processes: --devices, --workers and
--trainer change nothing here. Nothing is written. CONFIG is a recipe by name, such as quick, or a
YAML file of options, such as a run's config.yaml.
"""


def main(arguments: Sequence[str]) -> None:
    """foreframe plan CONFIG [options of train]: what a training would take, from a few of its
    steps.
    """
    given = list(arguments)
    if not given:
        raise ValueError("name a config, e.g. foreframe plan quick")
    if given[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    if not given[0].startswith("-"):
        given[0] = f"--config={given[0]}"
    from foreframe.cli.train import parse

    model, data, learning, machine, _ = parse(given).values()

    from foreframe.training.plan import plan

    found = plan(model, data, learning, machine)
    step, adds = found.step + found.fetch, found.multiply_adds / 1e9
    print(
        f"model     {model.model}: {found.parameters:,} parameters, {adds:.2f} G multiply-adds a "
        "forecast"
    )
    print(
        f"step      {found.batch} clips, {_spoken(step)}, of which {_spoken(found.fetch)} to fetch "
        f"them, on one {found.device}"
    )
    print(
        f"speed     {found.batch / step:.0f} clips a second, "
        f"{6 * adds * found.batch / found.step:.0f} GFLOP/s"
    )
    if found.memory is not None:
        print(f"memory    {found.memory:,.0f} MiB a step, beside network and data")
    print(
        f"epoch     {found.clips:,} clips, {found.steps:,} steps, {_spoken(found.epoch)} without "
        "validation"
    )
    if learning.minutes:
        print(
            f"training  {learning.minutes:g} minutes: about {60 * learning.minutes / step:,.0f} "
            "steps"
        )
    else:
        print(f"training  {learning.epochs} epochs: {_spoken(learning.epochs * found.epoch)}")


def _spoken(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
