"""foreframe models"""

from collections.abc import Sequence

from foreframe.base.schema import parameters
from foreframe.cli.parser import Parser, call


def list_models(*, past: int = 10, future: int = 10, size: Sequence[int] = (64, 64)) -> None:
    """List models and presets with their parameters and multiply-adds for one clip

    Args:
        past: frames in
        future: frames out
        size: (H, W) of the frames
    """
    frames_fit = 1 <= min(past, future) <= max(past, future) <= 1000  # they are counted one by one
    if not frames_fit or len(size) != 2 or not 1 <= min(size) <= max(size) <= 65536:
        raise ValueError(
            f"past and future are 1 to 1000, size is H and W of 1 to 65536, not {past}, {future}, "
            f"{list(size)}"
        )
    import torch

    from foreframe.base.shipped import published
    from foreframe.models import MODELS, PRESETS, build_model, multiply_adds

    height, width = size
    print(f"Names for --model; one clip of {past} frames in, {future} out, 1x{height}x{width}\n")
    row = "  {:16}{:27}{:>13}{:>15}"
    print(row.format("name", "kind", "parameters", "multiply-adds"))
    kinds = {preset: kind for preset, (kind, _) in PRESETS.items()}
    for name, model in MODELS.items():
        if name not in kinds.values() and _needs_nothing(model):
            kinds[name] = name
    without_weights = []
    for name, kind in kinds.items():
        with torch.device("meta"):  # only sizes are needed
            network = build_model(name)
        weights = sum(p.numel() for p in network.parameters())
        if not weights:
            without_weights.append(name)
            continue
        core = next(iter(network.args.get("core", {})), "")
        adds = multiply_adds(network, past, future, (height, width)) / 1e9
        of_core = f"{kind} of {core}" if core else kind
        print(row.format(name, of_core, f"{weights:,}", f"{adds:.2f} G"))
    print(f"\nWithout training: {', '.join(without_weights)}")
    print(f"Published weights, for predict and --weights: {', '.join(published())}")
    print("A flow gives any trained forecaster members: docs/members.md has the command.")


def _needs_nothing(model: type) -> bool:
    return all(argument.default is not argument.empty for argument in parameters(model).values())


def parser() -> Parser:
    return Parser("models", list_models)


def main(arguments: Sequence[str]) -> None:
    call(parser(), list_models, arguments)
