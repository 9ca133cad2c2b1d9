"""foreframe models"""

from collections.abc import Iterator, Sequence

from foreframe.base.schema import parameters
from foreframe.cli.parser import Parser, call


def list_models(
    *,
    past: int = 10,
    future: int = 10,
    size: Sequence[int] = (64, 64),
) -> None:
    """List models and presets with their parameters and multiply-adds for one clip

    Args:
        past: frames in
        future: frames out
        size: (H, W) of the frames
    """
    if len(size) != 2 or min(past, future, *size) < 1:
        raise ValueError(
            f"past, future and both numbers of size must be at least 1, not {past}, {future}, "
            f"{list(size)}"
        )
    if max(past, future) > 1000 or max(size) > 65536:  # each step is counted, one by one
        raise ValueError(
            "past and future are 1000 at most, H and W 65536: multiply-adds grow in proportion to "
            "each"
        )
    height, width = size
    import torch
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from foreframe.base.shipped import published
    from foreframe.models import build_model, multiply_adds

    table = Table(
        title=f"Names for --model; one clip of {past} frames in, {future} out, 1x{height}x{width}",
        box=box.SIMPLE,
        title_justify="left",
    )
    for column in ("name", "kind", "parameters", "multiply-adds"):
        table.add_column(column, justify="left" if column in ("name", "kind") else "right")
    without_weights = []
    for name, kind in _names():
        with torch.device("meta"):  # only sizes are needed
            network = build_model(name)
        weights = sum(p.numel() for p in network.parameters())
        if not weights:
            without_weights.append(name)
            continue
        core = next(iter(network.args.get("core", {})), "")
        adds = multiply_adds(network, past, future, (height, width)) / 1e9
        table.add_row(name, f"{kind} of {core}" if core else kind, f"{weights:,}", f"{adds:.2f} G")
    Console(width=max(80, Console().width)).print(table)
    print(f"Without training: {', '.join(without_weights)}")
    print(f"Published weights, for predict and --weights: {', '.join(published())}")
    print("A flow gives any trained forecaster members: docs/members.md has the command.")


def _names() -> Iterator[tuple[str, str]]:
    """Each preset, then each other model whose arguments all have defaults; and its kind."""
    from foreframe.models import MODELS, PRESETS

    kinds = {preset: kind for preset, (kind, _) in PRESETS.items()}
    yield from kinds.items()
    for name, model in MODELS.items():
        arguments = parameters(model).values()
        if name not in kinds.values() and all(a.default is not a.empty for a in arguments):
            yield name, name


def parser() -> Parser:
    return Parser("models", list_models)


def main(arguments: Sequence[str]) -> None:
    call(parser(), list_models, arguments)
