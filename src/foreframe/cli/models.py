"""foreframe models"""

from collections.abc import Sequence

from foreframe.base.typed import parameters
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
    from foreframe.models import MODELS, PRESETS, build_model, multiply_adds

    table = Table(
        title=f"One clip of {past} frames in, {future} out, 1x{height}x{width}",
        box=box.SIMPLE,
        title_justify="left",
    )
    for name in ("model", "preset", "parameters", "multiply-adds"):
        table.add_column(name, justify="left" if name in ("model", "preset") else "right")
    named = [(model, preset) for preset, (model, _) in PRESETS.items()]
    listed = {model for model, _ in named}
    named += [(name, "") for name, kind in MODELS.items() if name not in listed and _alone(kind)]
    for model, preset in named:
        with torch.device("meta"):  # sizes alone are asked of it
            network = build_model(preset or model)
        parameters = sum(p.numel() for p in network.parameters())
        adds = (
            f"{multiply_adds(network, past, future, (height, width)) / 1e9:.2f} G"
            if parameters
            else "-"
        )
        core = next(iter(network.args.get("core", {})), "")
        table.add_row(f"{model} of {core}" if core else model, preset, f"{parameters:,}", adds)
    Console(width=max(80, Console().width)).print(table)
    print("A flow draws members of any trained forecaster: docs/members.md has the command.")
    print(f"Trained already, for predict and --weights: {', '.join(published())}")


def _alone(kind: type) -> bool:
    """Whether a model can be built without being told of what."""
    return all(given.default is not given.empty for given in parameters(kind).values())


def parser() -> Parser:
    return Parser("models", list_models)


def main(arguments: Sequence[str]) -> None:
    call(parser(), list_models, arguments)
