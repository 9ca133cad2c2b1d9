"""Records what models compute, small, so that `test_golden_numbers.py` sees a change.

    python tests/golden/record.py                 all that has no file yet
    python tests/golden/record.py NAME ...        those named, where they have no file yet

Where a change was meant, delete the files first.

A preset of your own needs a line in tests/small.py, with arguments that make it small, and one in
WAYS, and is then recorded by its name; one of an add-on both in its small_NAME.py, and is recorded
in the folder golden beside that. What is recorded of each: the weights, a past, the forecast,
the state after the past, and the gradients of a loss; of a guided one what its guide forecasts,
too. All is computed in float64 on one thread, so that the files hold no rounding but their own, to
float32. What goes in is drawn as numbers of float16, which files keep in half of the room.
`foreframe/models/sizes.json`, which `foreframe models` prints, is brought up to date with them.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import foreframe
from foreframe.base.files import atomic_write
from foreframe.base.schema import parameters
from foreframe.models import MODELS, PRESETS, Model, build_model, model_name, multiply_adds
from foreframe.models.names import SIZES

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))  # as a script it would not find tests/small.py
from small import ADDONS, SMALL  # noqa: E402

CLIPS, PAST = 2, 5


@dataclass(frozen=True)
class Way:
    """How a small network is recorded: the size of its frames, how many it forecasts, what drawn
    kernels are multiplied by, since what passes through a few recurrent channels with small weights
    fades, and the model that guides it with its arguments, if one does.
    """

    frame: tuple[int, int] = (12, 16)
    steps: int = 4
    gain: float = 3.0
    guide: dict[str, Any] = field(default_factory=dict)


FLOW: dict[str, Any] = {"optical_flow": {}}
WAYS: dict[str, Way] = {
    "tutorial": Way((8, 10)),
    "shi2015": Way(),
    "fc_lstm": Way((4, 8), gain=1),
    "openstl": Way(gain=5),
    "quick": Way(),
    "nowcast": Way((11, 13), guide=FLOW),  # 4 divides neither side
    "guided": Way((13, 15), guide={"persistence": {}}),  # seen as 7 x 8
    "camera": Way(guide=FLOW),
    "temperature": Way(guide={"cycle": {"period": 3}}),
    "fed_frames": Way((8, 10)),
    "fed_colours": Way((5, 7)),
    "at_once": Way((8, 10), steps=7),
    "at_once_strided": Way((10, 13), steps=6),
    "guided_patches": Way((8, 12), guide={"linear_motion": {}}),
    "fed_nothing": Way((8, 10)),
    "embedding": Way((11, 15)),
    "both_skips": Way((9, 13)),
    "carried_colours": Way((5, 7)),
    "openstl_offset": Way((8, 10)),
}
FILES = {name: FOLDER / f"{name}.safetensors" for name in WAYS}
for beside, more in ADDONS.items():
    WAYS |= {name: Way(**how) for name, how in more["RECORDED"].items()}
    FILES |= {name: beside.parent / "golden" / f"{name}.safetensors" for name in more["RECORDED"]}

KINDS = {kind for kind, _ in PRESETS.values()}
SIZED = [  # names of sizes.json
    *PRESETS,
    *(
        name
        for name, model in MODELS.items()
        if name not in KINDS
        and all(arg.default is not arg.empty for arg in parameters(model).values())
    ),
]


def past_of(channels: int, frame: tuple[int, int]) -> Float[Tensor, "b t c h w"]:
    """Two soft blobs a clip, which drift each its own way, and a little noise; values of
    float16.
    """
    height, width = frame
    draw = torch.Generator().manual_seed(1)
    t = torch.arange(PAST).view(1, 1, -1, 1, 1, 1)
    y, x = torch.arange(height).view(-1, 1), torch.arange(width)
    size = torch.tensor([height, width])
    place = torch.rand(CLIPS, 2, 1, channels, 1, 1, 2, generator=draw) * size
    speed = torch.rand(CLIPS, 2, 1, 1, 1, 1, 2, generator=draw) * 2 - 1
    bright = 0.4 + 0.5 * torch.rand(CLIPS, 2, 1, channels, 1, 1, generator=draw)
    away = torch.stack(torch.broadcast_tensors(y, x), dim=-1) - place - speed * t[..., None]
    away = (away + size / 2) % size - size / 2  # what leaves on a side comes in on the other
    blobs = bright * torch.exp(-away.square().sum(dim=-1) / (0.2 * min(height, width)) ** 2 / 2)
    noise = 0.01 * torch.randn(CLIPS, PAST, channels, height, width, generator=draw)
    return (blobs.sum(dim=1) + noise).clamp(0, 1).half().float()


def drawn(name: str) -> Model:
    """The small network with weights from a seed. Noise on top moves those that begin at 0 or 1:
    peepholes, norms, biases.
    """
    torch.manual_seed(0)
    model = build_model(*SMALL[name])
    with torch.no_grad():
        for weight in model.parameters():
            gain = WAYS[name].gain if weight.ndim == 4 else 1.0
            weight.copy_((gain * weight + 0.1 * torch.randn_like(weight)).half())
    return model


def computed(model: Model, past: Float[Tensor, "b t c h w"], steps: int) -> dict[str, Tensor]:
    """Return forecast, state, and the gradients of mean((forecast - target)²) of the present code.
    The target is the past's first frame, mirrored: any would do that no model forecasts.
    """
    past = past.clone().requires_grad_()
    model.eval().zero_grad()
    state = model.encode(past)
    forecast = model.decode(state, steps)
    target = past.detach()[:, :1].flip(-1).expand_as(forecast)
    F.mse_loss(forecast, target).backward()
    assert past.grad is not None
    found = {"forecast": forecast, "past_gradient": past.grad}
    found |= {f"state/{name}": value for name, value in state.items()}
    found |= {
        f"gradient/{name}": value.grad
        for name, value in model.named_parameters()
        if value.grad is not None  # a forecast without a key does not ask how wide its prior is
    }
    return {name: value.detach().clone().contiguous() for name, value in found.items()}


def guess_of(guide: dict[str, Any], past: Float[Tensor, "b t c h w"], steps: int) -> Tensor:
    """Return the guide's forecast."""
    ((name, args),) = guide.items()
    with torch.no_grad():
        return build_model(name, args)(past, steps).contiguous()


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def load(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the recorded description, and the recorded tensors as float32."""
    with safe_open(FILES[name], "pt") as file:
        about = json.loads(file.metadata()["recorded"])
        return about, {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118


def record(name: str) -> None:
    way = WAYS[name]
    with one_thread():
        model = drawn(name).double()
        past = past_of(model.channels or 1, way.frame)
        found = computed(model, past.double(), way.steps)
        guess = {"guess": guess_of(way.guide, past, way.steps)} if way.guide else {}
    worth_recording(name, found, model.bounded)
    found |= {"past": past} | guess
    found |= {f"weight/{key}": value for key, value in model.state_dict().items()}
    about = {
        "model": model_name(model),
        "args": model.args,
        "steps": way.steps,
        "guide": way.guide,
        "foreframe": foreframe.__version__,
        "torch": torch.__version__,
    }
    # One key, since safetensors writes several in an order that changes from run to run.
    with atomic_write(FILES[name]) as path:
        kept = {key: packed(value) for key, value in found.items()}
        save_file(kept, path, {"recorded": json.dumps(about)})
    print(f"{name}: recorded")


def packed(value: Tensor) -> Tensor:
    """As float16, where that is the same; else as float32."""
    half = value.half()
    return half if torch.equal(half.to(value.dtype), value) else value.float()


def worth_recording(name: str, found: dict[str, Tensor], bounded: bool) -> None:
    """Refuse numbers that would stay the same whatever became of the code."""
    forecast = found["forecast"]
    flat = forecast.std() < 1e-3 or (bounded and not 0.02 < forecast.median() < 0.98)
    dead = [key for key, value in found.items() if "gradient" in key and not value.any()]
    if flat or dead or not all(value.isfinite().all() for value in found.values()):
        raise ValueError(f"{name} is not worth recording: a flat or endless forecast, or {dead}")


def full_size(name: str) -> Model:
    """Without values: only sizes are needed."""
    with torch.device("meta"):
        return build_model(name)


def described(name: str) -> dict[str, Any]:
    model = full_size(name)
    kind, core = model_name(model), next(iter(model.args.get("core", {})), "")
    return {
        "kind": f"{kind} of {core}" if core else kind,
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }


def multiply_adds_of(name: str) -> int:
    """Count for one clip of 64x64, 10 frames in and 10 out; 0 without weights."""
    model = full_size(name)
    return multiply_adds(model, 10, 10, (64, 64)) if [*model.parameters()] else 0


def record_sizes(names: list[str]) -> None:
    """Bring the sizes of these names, and of those that have none, up to date."""
    sizes = json.loads(SIZES.read_text()) if SIZES.exists() else {}
    for name in SIZED:
        if name in names or name not in sizes:
            sizes[name] = described(name) | {"multiply_adds": multiply_adds_of(name)}
    with atomic_write(SIZES) as path:
        kept = {name: sizes[name] for name in SIZED}
        path.write_text(json.dumps(kept, indent=2) + "\n")


def main(names: list[str]) -> None:
    if unknown := [name for name in names if name not in WAYS]:
        sys.exit(f"{', '.join(unknown)}: no such line in WAYS of {Path(__file__).name}")
    for name in names or WAYS:
        if FILES[name].exists():
            print(f"{name}: has a file, which stays; delete it if its numbers were meant to change")
        else:
            record(name)
    record_sizes(names)


if __name__ == "__main__":
    main(sys.argv[1:])
