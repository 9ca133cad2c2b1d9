"""foreframe models"""

import json

from foreframe.base.extras import registered
from foreframe.cli.parser import Parser
from foreframe.models.names import SIZES, published
from foreframe.models.registry import CORES, MODELS, PRESETS


def list_models() -> None:
    """List models and presets with their parameters and multiply-adds for one clip"""
    print("Names for --model; one clip of 10 frames in, 10 out, 1x64x64\n")
    row = "  {:18}{:28}{:>14}{:>15}"
    print(row.format("name", "kind", "parameters", "multiply-adds"))
    recorded = json.loads(SIZES.read_text(encoding="utf-8"))
    sizes = {name: size for name, size in recorded.items() if name in PRESETS or name in MODELS}
    for name, size in sizes.items():
        if size["parameters"]:
            adds = f"{size['multiply_adds'] / 1e9:.2f} G"
            print(row.format(name, size["kind"], f"{size['parameters']:,}", adds))
    without_weights = [name for name, size in sizes.items() if not size["parameters"]]
    print(f"\nWithout training: {', '.join(without_weights)}")
    print(f"Published weights, for predict and --weights: {', '.join(published())}")
    for kind, own in (("models", MODELS.data), ("cores", CORES.data), ("readers", {})):
        points = {n: p for n, p in registered(kind).items() if p.dist.name != "foreframe"}
        found = [f"{name} ({p.value})" for name, p in points.items() if name not in own]
        if found:
            print(f"{kind.capitalize()} of installed packages: {', '.join(found)}")
    drawing = ", ".join(name for name in ("flow", "dressed", "perturbed") if name in MODELS)
    print(f"Members for any trained forecaster (docs/members.md): {drawing}")


def parser() -> Parser:
    return Parser("models", list_models)
