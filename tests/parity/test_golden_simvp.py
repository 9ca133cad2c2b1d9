"""SimVP equals OpenSTL's code, which was run elsewhere: forecasts, losses and gradients, in
float64.

The numbers are looked for where tests/parity/test_golden.py looks for its own. The inception
translator (2022) is equal as it is. Of the gated one (its successor) all but the norms is: ours
sees a clip (group norm), theirs a batch (batch norm); with theirs put in its place the rest is
equal, too.
"""

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from test_golden import golden, near, same
from torch import Tensor, nn

from foreframe.models import SimVP
from foreframe.models.simvp import _Gated

Pairs = Iterator[tuple[nn.Module, str]]


def ends(model: SimVP) -> Pairs:
    """Encoder, decoder and head, with the names that their modules have in OpenSTL's code."""
    for k, layer in enumerate(model.encoder):
        yield layer[0], f"enc.enc.{k}.conv.conv"
        yield layer[1], f"enc.enc.{k}.conv.norm"
    for k, layer in enumerate(model.decoder):
        # The ones that double the size.
        yield (layer[0], f"dec.dec.{k}.conv.conv" + ".0" * (k % 2 == 0))
        yield layer[2], f"dec.dec.{k}.conv.norm"
    yield model.to_frame, "dec.readout"


def inception(model: SimVP) -> Pairs:
    for side, units in (("enc", model.translator.down), ("dec", model.translator.up)):
        for k, unit in enumerate(units):
            yield unit.narrow, f"hid.{side}.{k}.conv1"
            for j, size in enumerate(unit.sizes):
                yield size[0], f"hid.{side}.{k}.layers.{j}.conv"
                yield size[1], f"hid.{side}.{k}.layers.{j}.norm"


def gated(model: SimVP) -> Pairs:
    for k, block in enumerate(model.translator):
        name = f"hid.enc.{k}.block"
        attention, spatial = f"{name}.attn", f"{name}.attn.spatial_gating_unit"
        yield block.norm_1, f"{name}.norm1"
        yield block.norm_2, f"{name}.norm2"
        yield block.attention.before, f"{attention}.proj_1"
        yield block.attention.after, f"{attention}.proj_2"
        yield block.attention.near, f"{spatial}.conv0"
        yield block.attention.far, f"{spatial}.conv_spatial"
        yield block.attention.gate, f"{spatial}.conv1"
        yield block.mlp[0], f"{name}.mlp.fc1"
        yield block.mlp[1], f"{name}.mlp.dwconv.dwconv"
        yield block.mlp[3], f"{name}.mlp.fc2"
        if isinstance(block.out, nn.Conv2d):
            yield block.out, f"hid.enc.{k}.reduction"


def loaded(model: SimVP, pairs: Pairs, numbers: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fill the model with theirs, all of it, and give its parameters by their names."""
    named = {}
    for module, name in pairs:
        theirs = {key: numbers[f"param.{name}.{key}"] for key, _ in module.named_parameters()}
        theirs |= {key: numbers[f"buffer.{name}.{key}"] for key, _ in module.named_buffers()}
        module.load_state_dict(theirs)
        named |= {f"{name}.{key}": value for key, value in module.named_parameters()}
    return named


def equal(model: SimVP, named: dict[str, Tensor], numbers: dict[str, Tensor]) -> None:
    """The forecast, the loss, every parameter's gradient, and none left out."""
    assert set(named) == {
        name.removeprefix("param.") for name in numbers if name.startswith("param.")
    }
    assert len(named) == len(list(model.parameters()))
    past, truth = numbers["input"][:, :3], numbers["input"][:, 3:]
    forecast = model(past, 3)
    same(forecast, numbers["output"])
    loss = (forecast - truth).square().mean()
    same(loss, numbers["loss"])
    loss.backward()
    for name, parameter in named.items():
        gradient = numbers[f"grad.{name}"]
        near(parameter.grad.view_as(gradient), gradient)


def test_the_inception_translator() -> None:
    numbers = golden("simvp_incepu")
    model = SimVP(
        channels=2, frames=3, spatial=8, temporal=16, blocks=3, translator="inception"
    ).double()
    equal(model, loaded(model, [*ends(model), *inception(model)], numbers), numbers)


def test_the_gated_translator_but_for_its_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = golden("simvp_gsta")
    # Theirs has 6 channels; this one has no groups.
    monkeypatch.setattr("foreframe.models.simvp.GROUPS", 2)
    model = SimVP(channels=2, frames=3, spatial=6, temporal=24, blocks=3, translator="gated")
    # 8 at full size, as ours.
    blocks = [_Gated(i, o, expansion=2) for i, o in pairwise([18, 24, 24, 18])]
    for block in blocks:
        block.norm_1, block.norm_2 = (
            nn.BatchNorm2d(norm.num_channels) for norm in (block.norm_1, block.norm_2)
        )
    model.translator = nn.Sequential(*blocks)
    model.double().eval()
    named = loaded(model, [*ends(model), *gated(model)], numbers)
    with torch.no_grad():
        for k, block in enumerate(blocks):
            for scale, name in ((block.scale_1, "layer_scale_1"), (block.scale_2, "layer_scale_2")):
                key = f"hid.enc.{k}.block.{name}"
                scale.copy_(numbers[f"param.{key}"].view_as(scale))
                named[key] = scale
    equal(model, named, numbers)
