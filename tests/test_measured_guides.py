"""benchmarks/guides.py: what it asks of each guide, and what it does when one crashes."""

import importlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from foreframe.models import MODELS
from foreframe.models.motion import blurred
from test_benchmarks import BENCHMARKS, run


@pytest.fixture
def guides(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("guides")
    monkeypatch.setattr("foreframe.models.MODELS", MODELS)
    module.with_dis()
    yield module
    del MODELS["dis"]


def test_from_beginning_to_end() -> None:
    said = run("guides.py", "--quick", "--part", "error", "seconds")
    tables = said.split("\n## ")
    assert "### slow, 72x80: 2 windows" in tables[1]
    assert tables[1].count("\n| dis | ") == 2  # not of 16 pixels
    for line in tables[1].splitlines():
        if line.startswith("| optical_flow | "):
            assert float(line.replace("*", "").split("|")[2]) > 0
    taken = tables[2].splitlines()[-1].strip("|").split("|")
    assert taken[0].strip() == "64x64, batch 1, 1 thread"
    assert len(taken) == 6
    assert all(float(cell) >= 0 for cell in taken[1:])


@pytest.mark.parametrize("guide", ["linear_motion", "optical_flow", "dis", "dense_motion"])
def test_motion_is_columns_and_rows_a_frame(guides: Any, guide: str) -> None:
    torch.manual_seed(0)
    ground = blurred(torch.rand(2, 1, 80, 96), 1.5)
    past = torch.stack([torch.roll(ground, (t, 2 * t), (2, 3)) for t in range(10)], dim=1)
    past = (past - past.amin()) / (past.amax() - past.amin())
    V = guides.motion(guide, past)
    assert V.shape == (2, 2, 80, 96)
    columns, rows = V[..., 20:-20, 20:-20].flatten(2).median(dim=2).values.T
    torch.testing.assert_close(columns, torch.full((2,), 2.0), atol=0.15, rtol=0)
    torch.testing.assert_close(rows, torch.full((2,), 1.0), atol=0.15, rtol=0)


def test_dis_is_not_farneback(guides: Any) -> None:
    """Only where its own forecast is asked for."""
    past = guides.drifting(1, 64, 64)
    dis, flow = (MODELS[name]()(past, 3) for name in ("dis", "optical_flow"))
    assert (dis - flow).abs().max() > 1e-3
    torch.testing.assert_close(MODELS["optical_flow"]()(past, 3), flow)


class Scene:
    """Stands for examples.scenes.Scenes: the left half goes 2 columns on a frame, the right half
    stands; a row is not seen again.
    """

    def __init__(self, split: str, canvas: int, length: int) -> None:
        self.side, self.length = canvas, length

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.zeros(self.length, 1, self.side, self.side)

    def motion(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        flow = np.zeros((self.length - 1, 2, self.side, self.side))
        flow[-1, 0, :, : self.side // 2] = 2.0
        flow[-1, 1, 0] = 99.0
        seen = np.ones((self.length - 1, self.side, self.side))
        seen[-1, 0] = 0
        return flow, seen


def test_endpoint_error_of_what_can_be_seen(guides: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.scenes.Scenes", Scene)
    found = guides.endpoint(["persistence"], 16, 3)
    every, slow, middle, fast = found["errors"]["persistence"]
    assert (every, slow, fast) == pytest.approx((1.0, 0.0, 2.0))
    assert np.isnan(middle)


def test_a_guide_that_crashes_is_told_of(
    guides: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """It costs its own row, not those of the others."""

    def started(task: dict[str, Any]) -> Any:
        code = "import os; os.kill(os.getpid(), 11)"
        if task["guides"] != ["dis"]:
            code = 'print(\'{"clips": 3, "errors": {"persistence": [2, 1, 3, 4]}}\')'
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True)

    monkeypatch.setattr(guides, "started", started)
    found, failed = guides.together(["persistence", "dis"], {"threads": 1})
    assert failed == {"dis": "crashed (signal 11)"}
    assert found == {"clips": 3, "errors": {"persistence": [2, 1, 3, 4]}}


def test_a_guide_that_is_not_known_is_one_line(guides: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit, match="2"):
        guides.main(["--guides", "persistance"])
    assert capsys.readouterr().err.startswith("there is no guide persistance; choose of black, ")
