"""What loads what, the presets that the registry names, and names of files."""

from importlib import import_module
from pathlib import Path

import pytest

from foreframe import Forecaster
from foreframe.cli import verbs
from foreframe.models import PRESETS, build_model
from programs import printed_by

ROOT = Path(__file__).parent.parent


def modules_after(code: str) -> set[str]:
    out = printed_by("-c", f"{code}\nimport sys; print(*sys.modules)")
    return set(out.split("\n")[-2].split())


def loaded_by(*commands: str) -> set[str]:
    """What a process has loaded after these commands, one after the other."""
    lines = [f"try: main({line.split()})\nexcept SystemExit: pass" for line in commands]
    return modules_after("\n".join(["from foreframe.cli import main", *lines]))


def test_help_loads_no_torch() -> None:
    helps = [f"{verb} --help" for verb in ("", *verbs(), "data check")]
    assert not loaded_by(*helps) & {"torch", "lightning", "numpy"}


def test_what_needs_no_torch_waits_for_none() -> None:
    assert "torch" not in loaded_by(
        "train --reading.sice 8",
        "train --splits.by tyme",
        "predict mean nowhere.npy -o x.npy",
        "evaluate nowhere",
        "train --data nowhere/film.mp4",
    )


@pytest.mark.slow
def test_the_help_of_a_model_loads_no_lightning() -> None:
    loaded = loaded_by("train --model quick --help")
    assert "torch" in loaded
    assert "lightning" not in loaded


@pytest.mark.slow
def test_importing_foreframe_loads_no_lightning_and_alone_costs_nothing() -> None:
    everything = "import foreframe\nfor name in foreframe.__all__: getattr(foreframe, name)"
    assert not modules_after(everything) & {"lightning", "pytorch_lightning", "matplotlib"}
    assert not modules_after("import foreframe") & {"torch", "numpy"}


@pytest.mark.slow
def test_building_a_model_of_the_core_loads_no_addon() -> None:
    loaded = modules_after("import foreframe\nforeframe.models.build_model('quick')")
    assert "foreframe.models.convlstm" in loaded
    assert not [name for name in loaded if name.startswith("foreframe.addons.")]


def test_a_forecaster_is_loaded_without_the_compiler_of_torch(tmp_path: Path) -> None:
    saved = str(Forecaster(build_model("guided")).save(tmp_path / "saved"))
    loaded = modules_after(f"import foreframe\nforeframe.Forecaster.load({saved!r})")
    assert "torch" in loaded
    assert not loaded & {"torch._dynamo", "sympy"}


def test_the_registry_has_the_presets_of_each_file() -> None:
    source = ROOT / "src"
    files = [path for path in source.rglob("*.py") if "\nPRESETS: dict" in path.read_text()]
    names = [".".join(path.relative_to(source).with_suffix("").parts) for path in files]
    modules = [import_module(name) for name in names]
    assert sorted(name for module in modules for name in module.PRESETS) == sorted(PRESETS)


@pytest.mark.parametrize(
    ("folder", "least"), [("tests", 50), ("src/foreframe", 100)], ids=["tests", "modules"]
)
def test_files_have_names_of_their_own(folder: str, least: int) -> None:
    """A process that a test starts would import the other one; and a name in a sentence or a
    traceback says which file is meant.
    """
    files = [path.name for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py"]
    assert len(files) == len(set(files)) > least
