"""Models compute what they computed when `record.py` recorded it: forecast, state, gradients,
sizes.

In float64 a number differs from its file's by that file's rounding to float32, 6e-8 of itself; the
tolerance is a millionth of a tensor's largest value. In float32, which users compute in, the
rounding of sums shows: on one thread and two, with weights laid out channels last, and without
oneDNN, up to 1.2e-5 was measured in gradients of simvp_v1, 6.5e-6 in those of others, 2.2e-6 in
forecasts.
"""

import importlib.util
import json
from typing import Any

import pytest
import torch
from record import (
    FILES,
    SIZED,
    WAYS,
    computed,
    described,
    guess_of,
    load,
    multiply_adds_of,
    one_thread,
)
from torch import Tensor

from foreframe.models import PRESETS, build_model
from foreframe.models.names import SIZES

RECORDED_SIZES = json.loads(SIZES.read_text())
FOLDERS = sorted({path.parent for path in FILES.values()})
RECORDED = [path.stem for folder in FOLDERS for path in sorted(folder.glob("*.safetensors"))]
TOLERANCE = {torch.float64: 1e-6, torch.float32: 3e-5}  # of a tensor's largest value


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", RECORDED)
def test_numbers_are_as_recorded(name: str, dtype: torch.dtype, without_types) -> None:
    about, file = load(name)
    needs_the_same_guess(about, file)
    weights = {key.removeprefix("weight/"): file[key] for key in file if key.startswith("weight/")}
    with one_thread():
        model = build_model(about["model"], about["args"])
        model.load_state_dict(weights)
        found = computed(model.to(dtype), file["past"].to(dtype), about["steps"])
    expected = {key: file[key] for key in file if not key.startswith(("weight/", "past", "guess"))}
    expected["past_gradient"] = file["past_gradient"]
    assert found.keys() == expected.keys()
    apart = {key: distance(found[key], expected[key]) for key in expected}
    changed = {key: f"{value:.1e}" for key, value in apart.items() if not value <= TOLERANCE[dtype]}
    assert not changed, "by so much of their largest values these differ from what is recorded"


def distance(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    assert found.shape == expected.shape
    largest = float(expected.abs().max())
    return float((found - expected).abs().max()) / (largest or 1.0)


def needs_the_same_guess(about: dict[str, Any], file: dict[str, Tensor]) -> None:
    """Fail where a guide forecasts something else than what is recorded: all that is made of it
    would differ, too. Skip where OpenCV is missing, or finds a motion that is slightly another one:
    its versions 4.10, 4.12 and 5.0, with AVX2 and without, were 4e-7 apart, code that reads the
    motion otherwise 2e-4 and more.
    """
    if not about["guide"]:
        return
    flow = "optical_flow" in about["guide"]
    if flow and not importlib.util.find_spec("cv2"):
        pytest.skip("needs opencv-python-headless")
    with one_thread():
        guess = guess_of(about["guide"], file["past"], about["steps"])
    apart = distance(guess, file["guess"])
    if flow and 1e-6 < apart < 1e-4:
        pytest.skip(f"this OpenCV finds another motion than the one recorded: {apart:.1e} apart")
    assert apart <= 1e-6, f"what the guide forecasts is {apart:.1e} from what is recorded"


def test_every_preset_is_recorded() -> None:
    lacking = (PRESETS.keys() | WAYS.keys()) - set(RECORDED)
    assert not lacking, (
        "a line each in tests/small.py and in WAYS, then: python tests/golden/record.py NAME ..."
    )
    assert set(RECORDED) == WAYS.keys(), "files that nothing makes any more"
    # Names of a deleted add-on stay in the file until it is recorded.
    assert [name for name in RECORDED_SIZES if name in SIZED] == SIZED


@pytest.mark.slow
def test_parameters_are_as_recorded() -> None:
    for name in SIZED:
        assert RECORDED_SIZES[name].items() >= described(name).items(), name


def tier(name: str) -> pytest.MarkDecorator:
    """A small preset of the same family runs the same code."""
    small = f"{name.partition('_')[0]}_small"
    return pytest.mark.full if small in SIZED and not name.endswith("_small") else pytest.mark.slow


@pytest.mark.parametrize("name", [pytest.param(name, marks=tier(name)) for name in SIZED])
def test_multiply_adds_are_as_recorded(name: str) -> None:
    assert multiply_adds_of(name) == RECORDED_SIZES[name]["multiply_adds"]
