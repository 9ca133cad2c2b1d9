"""Networks equal their originals, which were run elsewhere: forecasts, losses, gradients, in
float64, and the number of parameters at full size; their checkpoints become forecasters.

The numbers are looked for where tests/golden_numbers.py looks for its own. Weights and
gradients are taken over by the model's own converter, which `foreframe convert` uses, too. A
network needs a line in CASES.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from of_one_size import OF_ONE_SIZE, e3dlstm_of_places, of_places
from torch import Tensor, nn

from foreframe import Forecaster, Window
from foreframe.addons.zoo.originals import ORIGINALS, converted, patch_order
from foreframe.cli import main
from foreframe.models import Model, build_model, preset
from foreframe.models.interface import TrainingForecast
from foreframe.training.objectives import truth_shares
from golden_numbers import golden, near, same
from small import SMALL


@dataclass(frozen=True)
class Case:
    """A golden, and the preset with the arguments of its size.

    Args:
        args: of the preset.
        golden: its file.
        parameters: of the preset at full size: those published, without those never used.
        past, future: frames.
        patch: side of the patches as which frames are stored in full precision; None: stored as
            frames.
        sampling: how frames are fed in training: "plain" masks of the future, "reverse" ones of
            past and future, "own" forecasts, or "none": the future from the past.
        scale: of the original's training loss, where it is a sum over frames.
        absolute: whether that loss has the absolute error, too.
        cut: letters of what gradients do not go through from step to step in the original.
        altered: puts what the original does otherwise in the place of ours.
    """

    golden: str
    parameters: int
    args: dict[str, Any] = field(default_factory=dict)
    past: int = 4
    future: int = 3
    patch: int | None = 2
    sampling: str = "plain"
    scale: float = 1.0
    absolute: bool = False
    cut: str = ""
    altered: Callable[[Model, dict[str, Tensor], pytest.MonkeyPatch], None] | None = None


def with_rounded_positions(
    network: Model, numbers: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PredFormer's sinusoids as its authors compute them, in float32."""
    table = numbers["aux.pos_embedding"][0]
    monkeypatch.setattr(
        "foreframe.addons.zoo.predformer.positions", lambda t, n, width, like: table.to(like.dtype)
    )


def with_tokens_exchanged(
    network: Model, numbers: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the end of Fac-S-T, which takes tokens in the order place, time for time, place."""
    with_rounded_positions(network, numbers, monkeypatch)
    network.norm.register_forward_pre_hook(
        lambda _, given: given[0].transpose(1, 2).reshape(given[0].shape)
    )


def with_time_cut(
    network: Model, numbers: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earthformer's decoder, which attends over as many future frames as there are past ones, in
    runs, the last filled with zeros, which are attended to.
    """

    def cut(_: nn.Module, given: tuple[Tensor]) -> Tensor:
        lacking = -network.horizon % network.frames
        runs = F.pad(given[0], (0, 0, 0, lacking)).unflatten(3, (-1, network.frames))
        return runs.flatten(2, 3)

    def joined(_: nn.Module, given: tuple[Tensor]) -> Tensor:
        runs = given[0].unflatten(2, (-1, -(-network.horizon // network.frames)))
        return runs.flatten(3, 4)[:, :, :, : network.horizon]

    for blocks in network.decoder:
        for along_time, *_ in blocks:
            for part, hook in (("q", cut), ("kv", cut), ("out", joined)):
                along_time.get_submodule(part).register_forward_pre_hook(hook)


AT_ONCE: dict[str, Any] = {"past": 3, "future": 3, "patch": None, "sampling": "none"}
EARTHFORMER: dict[str, Any] = {
    "channels": 2, "frames": 3, "horizon": 4, "width": 16, "heads": 2, "encoder": 1, "decoder": 2,
    "places": [4, 6],
}  # fmt: skip
PREDFORMER = {"channels": 2, "frames": 5, "patch": 4, "width": 12, "heads": 4}


def earthformer(variant: str, vectors: int) -> Case:
    args, how = EARTHFORMER | {"vectors": vectors}, AT_ONCE | {"future": 4}
    return Case(f"earthformer{variant}", 7_700_893, args, **how, altered=with_time_cut)


def predformer(variant: str, order: str, blocks: int, layers: int = 1) -> Case:
    args = PREDFORMER | {"order": order, "blocks": blocks, "layers": layers}
    how = AT_ONCE | {"past": 5, "future": 5}
    altered = with_tokens_exchanged if variant == "facst" else with_rounded_positions
    return Case(f"predformer_{variant}", 25_297_728, args, **how, altered=altered)


# Of its norms the original has a weight and a bias a channel and place, 16 x 16 of them, ours one a
# channel: of 4 layers with 8 channels for each of the width's 64.
MAU = 4_475_329 - 4 * 2 * 8 * 64 * (16 * 16 - 1)

SIMVP = {"channels": 2, "frames": 3, "spatial": 6, "temporal": 24, "blocks": 3, "expansion": 2}

RECURRENT = {"channels": 2, "codec": {"patches": {"size": 2}}}
PREDRNN = RECURRENT | {"core": {"predrnn": {"hidden": [6, 6, 6]}}}
OWN: dict[str, Any] = {"past": 3, "future": 2, "patch": 1, "sampling": "own"}

CASES: dict[str, list[Case]] = {
    "openstl": [
        Case(
            "convlstm_openstl",
            11_675_648,
            {
                "channels": 2,
                "core": {"convlstm": {"hidden": [6, 5, 6]}},
                "codec": {"patches": {"size": 2}},
            },
        )
    ],
    "predformer": [
        predformer("quad_tsst", "TSST", 2),
        predformer("quad_stts", "STTS", 2),
        predformer("triplet_tst", "TST", 2),
        predformer("triplet_sts", "STS", 2),
        predformer("binary_ts", "TS", 3),
        predformer("binary_st", "ST", 3),
        predformer("facts", "TS", 1, 3),
        predformer("facst", "ST", 1, 3),
        predformer("full", "F", 1, 4),
    ],
    "earthformer": [earthformer("_global", vectors=2), earthformer("", vectors=0)],
    "phydnet": [
        Case(
            "phydnet",
            3_091_732,
            {"channels": 2, "width": 16, "core": {"convlstm": {"hidden": [12, 32]}}},
            past=3,
            patch=None,
            sampling="own",
            scale=5,
        )
    ],
    "mau": [
        Case(
            "mau",
            MAU,
            {"channels": 2, "width": 6, "layers": 3, "tau": 3, "halvings": 1},
            patch=None,
            altered=of_places(6, 8),
        ),
    ],
    "simvp_v1": [
        Case(
            "simvp_incepu",
            57_946_113,
            {"channels": 2, "frames": 3, "spatial": 8, "temporal": 16, "blocks": 3},
            **AT_ONCE,
        )
    ],
    "simvp_v2": [Case("simvp_gsta", 46_769_665, SIMVP, **AT_ONCE)],
    "tau": [Case("tau", 44_656_001, {**SIMVP, "layers": 2}, **AT_ONCE)],
    "predrnn": [Case("predrnn", 23_838_720, PREDRNN)],
    "predrnnpp": [
        Case("predrnnpp", 35_307_520, RECURRENT | {"core": {"predrnnpp": {"hidden": [6, 6, 6]}}})
    ],
    "predrnnv2": [Case("predrnnv2", 23_855_104, PREDRNN, sampling="reverse")],
    "mim": [
        Case(
            "mim",
            # Of peepholes the original has one a place, 16 x 16 of them.
            37_945_344 - 6 * 3 * 128 * (16 * 16 - 1),
            RECURRENT | {"core": {"mim": {"hidden": [6, 6, 6]}}},
            cut="s",
            altered=of_places(6, 8),
        )
    ],
    "swinlstm_d": [
        Case(
            "swinlstm_d",
            18_845_409,
            {"channels": 2, "width": 8, "depths": [2, 3, 2, 3], "heads": [2, 4, 4, 2]},
            **OWN,
        )
    ],
    # The published number is of three channels, the preset's of one.
    "swinlstm_b": [
        Case(
            "swinlstm_b",
            2_584_371 - 2 * (4 * 128 + 9 * 128 + 1),
            {"channels": 2, "width": 12, "depths": [4], "heads": [3]},
            **OWN,
        )
    ],
    "e3dlstm": [
        Case(
            "e3dlstm",
            # Of its norms the original has a weight and a bias a place, 16 x 16 of them.
            51_347_456 - 4 * 2 * 2 * 128 * (16 * 16 - 1),
            {"channels": 2, "width": 5, "layers": 3, "patch": 2},
            absolute=True,
            altered=e3dlstm_of_places(6, 8),
        )
    ],
}

EACH = [pytest.param(name, case, id=case.golden) for name, cases in CASES.items() for case in cases]


def part(numbers: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The tensors of one kind, such as "param", by the original's names."""
    return {
        name.removeprefix(f"{kind}."): value
        for name, value in numbers.items()
        if name.startswith(f"{kind}.")
    }


def loaded(
    name: str, case: Case, numbers: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> Model:
    network = build_model(name, case.args).double().eval()
    if case.altered is not None:
        case.altered(network, numbers, monkeypatch)
    theirs = part(numbers, "param") | part(numbers, "buffer")
    if name in OF_ONE_SIZE:
        network.load_state_dict(OF_ONE_SIZE[name](theirs, network))
    else:
        network.load_state_dict(converted(name, {"state_dict": theirs}, network))
    return network


def frames_of(patches: Tensor, case: Case) -> Tensor:
    """(b,t,h,w,p·p·c) as the original has them -> (b,t,c,H,W)."""
    if case.patch is None:
        return patches
    order = patch_order(patches.shape[-1] // case.patch**2, case.patch)
    folded = patches.permute(0, 1, 4, 2, 3)[:, :, order]
    return F.pixel_shuffle(folded.flatten(0, 1), case.patch).unflatten(0, folded.shape[:2])


@pytest.mark.usefixtures("without_types")
@pytest.mark.parametrize(("name", "case"), EACH)
def test_forecasts(name: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the past goes in; in float64, and in float32 to a hundred-thousandth."""
    numbers = golden(case.golden)
    network = loaded(name, case, numbers, monkeypatch)
    past = numbers["input"][:, : case.past]
    key = "output_free" if "output_free" in numbers else "output"
    expected = frames_of(numbers[key], case)[:, -case.future :]
    with torch.no_grad():
        same(network(past, case.future), expected)
        single = network.float()(past.float(), case.future).double()
    same(single, expected, 1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(("name", "case"), EACH)
def test_training(name: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, the loss with the model's own terms, and gradients of weights and frames."""
    numbers = golden(case.golden)
    network = loaded(name, case, numbers, monkeypatch)
    frames = numbers["input"].requires_grad_()
    state = network.encode(frames[:, :1])
    if case.sampling == "none":
        output = network(frames[:, : case.past], case.future)
        truth = frames[:, case.past :]
    else:
        if case.sampling == "own":
            mask = torch.zeros_like(frames)
        else:  # of patches, or with channels last
            mask = frames_of(numbers["aux.mask_true"], replace(case, patch=case.patch or 1))
        first = 1 if case.sampling == "reverse" else case.past  # frame that a mask begins at
        made = []
        for t in range(case.past + case.future - 1):
            if t:
                cut = {n for n in state if n.rpartition("/")[2][0] in case.cut}
                state = {n: v.detach() if n in cut else v for n, v in state.items()}
                fed = frames[:, t]
                if t >= first:
                    share = mask[:, t - first]
                    fed = share * fed + (1 - share) * made[-1]
                state = network.encode(fed.unsqueeze(1), state)
            made.append(network.decode(state, 1)[:, 0])
        output, truth = torch.stack(made, dim=1), frames[:, 1:]
    expected = frames_of(numbers["output"], case)
    same(output[:, -expected.shape[1] :], expected)
    loss = (output - truth).square().mean()
    if case.absolute:
        loss = loss + (output - truth).abs().mean()
    loss = case.scale * (loss + sum(network.terms(TrainingForecast(output, truth, state)).values()))
    same(loss, numbers["loss"])
    loss.backward()
    assert frames.grad is not None
    expected = numbers["grad.input"]  # of all frames, or of the past
    near(frames.grad[:, : expected.shape[1]], expected)
    weights = dict(network.named_parameters())
    theirs = {**ORIGINALS, **OF_ONE_SIZE}[name](part(numbers, "grad"), network)
    assert set(weights) <= set(theirs)
    for key, weight in weights.items():
        near(weight.grad, theirs[key])


@pytest.mark.parametrize("name", ["simvp_v2", "tau"])
def test_batch_norm_in_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the statistics of the batch, which its running ones move towards."""
    case = CASES[name][0]
    numbers = golden(case.golden)
    network = loaded(name, case, numbers, monkeypatch).train()
    same(network(numbers["input"][:, : case.past], case.future), numbers["output_train"])
    after = ORIGINALS[name](part(numbers, "buffer_after"), network)
    buffers = dict(network.named_buffers())
    assert len(after) == len(buffers) == 4 * case.args["blocks"]
    for key, value in buffers.items():
        same(value, after[key])


PUBLISHED = [
    *((name, {}, cases[0].parameters) for name, cases in CASES.items()),
    ("tutorial", {}, 1_036_097),  # counted from the tutorial's four cells and its head
    ("shi2015", {}, 7_585_296),  # Shi et al. 2015, table 1, and the next
    ("fc_lstm", {}, 142_667_776),
    ("earthformer", {"vectors": 0}, 6_702_109),
    *(
        ("predformer", {"order": order, "blocks": blocks, "layers": layers}, parameters)
        for order, blocks, layers, parameters in (
            ("F", 1, 24, 25_285_952),
            ("TS", 1, 12, 25_286_464),
            ("ST", 1, 12, 25_286_464),
            ("TS", 12, 1, 25_297_728),
            ("TST", 8, 1, 25_297_728),
        )
    ),
]


@pytest.mark.parametrize(("name", "args", "parameters"), PUBLISHED)
def test_parameters_at_full_size(name: str, args: dict, parameters: int, without_types) -> None:
    with torch.device("meta"):
        network = preset(name, **args)
    assert sum(weight.numel() for weight in network.parameters()) == parameters


@pytest.mark.usefixtures("without_types")
@pytest.mark.parametrize("name", [name for name in CASES if name not in OF_ONE_SIZE])
def test_a_checkpoint_becomes_a_forecaster(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each one case: what is read of the others' weights, their forecasts show."""
    case = CASES[name][0]
    numbers = golden(case.golden)
    theirs = part(numbers, "param") | part(numbers, "buffer")
    held = {"state_dict": {f"model.{key}": value.float() for key, value in theirs.items()}}
    torch.save(held, tmp_path / "theirs.ckpt")
    args = [f"--model_args.{key}={json.dumps(value)}" for key, value in case.args.items()]
    words = ["convert", str(tmp_path / "theirs.ckpt"), "--model", name, *args]
    window = ["--past", str(case.past), "--future", str(case.future)]
    assert main([*words, *window, "-o", str(tmp_path / "ours")]) == 0
    forecaster = Forecaster.load(tmp_path / "ours")
    assert forecaster.window == Window(case.past, case.future)
    past = numbers["input"][:, : case.past].float()
    with torch.no_grad():
        network = loaded(name, replace(case, altered=None), numbers, monkeypatch)
        expected = network.float()(past, case.future)
        same(forecaster.model(past, case.future), expected, 1e-5 * float(expected.abs().max()))


def test_reverse_sampling_has_the_schedule_of_its_original() -> None:
    numbers = golden("losses_and_schedules")
    past, future = zip(
        *(truth_shares(int(i), 50_000, "reverse") for i in numbers["sampling.reverse.iterations"]),
        strict=True,
    )
    same(torch.tensor(past).double(), numbers["sampling.reverse.probability_past"], 1e-7)
    same(torch.tensor(future).double(), numbers["sampling.reverse.probability_future"], 1e-7)


def test_every_original_is_tried() -> None:
    assert set(CASES) == {*ORIGINALS, *OF_ONE_SIZE}
    assert set(CASES) <= set(SMALL)


def test_a_checkpoint_of_something_else_is_refused() -> None:
    network = build_model("openstl", {"core": {"convlstm": {"hidden": [2]}}})
    with pytest.raises(ValueError, match=r"no checkpoint of the original of openstl.*conv_last"):
        converted("openstl", {"state_dict": {"mean": torch.zeros(2)}}, network)
