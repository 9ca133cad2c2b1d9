"""foreframe models"""

from collections.abc import Sequence

from foreframe.cli.options import call


def list_models(past: int = 10, future: int = 10, height: int = 64, width: int = 64) -> None:
    """List models and presets with their parameters and multiply-adds for one clip

    Args:
        past: frames in
        future: frames out
        height: H of the frames
        width: W of the frames
    """
    if min(past, future, height, width) < 1:
        raise ValueError(
            f"past, future, height and width must be at least 1, not {past}, {future}, {height}, "
            f"{width}"
        )
    if max(past, future) > 1000 or max(height, width) > 65536:  # each step is counted, one by one
        raise ValueError(
            "past and future are 1000 at most, height and width 65536: multiply-adds grow in "
            "proportion to each"
        )
    import torch
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from foreframe.models import MODELS, PRESETS, build_model, multiply_adds

    table = Table(
        title=f"One clip of {past} frames in, {future} out, 1x{height}x{width}",
        box=box.SIMPLE,
        title_justify="left",
    )
    for name in ("model", "preset", "parameters", "multiply-adds"):
        table.add_column(name, justify="left" if name in ("model", "preset") else "right")
    named = [(model, preset) for preset, (model, _) in PRESETS.items()]
    named += [(name, "") for name in MODELS if name not in {model for model, _ in named}]
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


def main(arguments: Sequence[str]) -> None:
    call("models", list_models, arguments)
