"""What loads what: the floor plan itself is held by import-linter (`make lint`)."""

import subprocess
import sys

import pytest

from foreframe.cli import VERBS


def modules_after(code: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(out.stdout.split("\n")[-2].split())


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS), ["data", "check"]], ids=" ".join)
def test_help_loads_no_torch(verb) -> None:
    code = (
        f"from foreframe.cli import main\ntry: main({[*verb, '--help']})\nexcept SystemExit: pass"
    )
    assert not modules_after(code) & {"torch", "lightning", "numpy"}


def test_importing_foreframe_loads_no_lightning() -> None:
    everything = "import foreframe\nfor name in foreframe.__all__: getattr(foreframe, name)"
    loaded = modules_after(everything)
    assert "torch" in loaded
    assert not loaded & {"lightning", "pytorch_lightning", "matplotlib"}


def test_importing_foreframe_alone_costs_nothing() -> None:
    assert not modules_after("import foreframe") & {"torch", "numpy"}
