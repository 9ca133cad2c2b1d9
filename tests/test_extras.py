"""What is said where a package of an extra is missing, or there and broken; where modules of the
user are found.
"""

import sys
from pathlib import Path

import pytest

import foreframe
from foreframe.base.extras import needed
from foreframe.cli import main


def test_a_package_is_given_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert needed("json", "radar", "x.h5: reading").dumps([1]) == "[1]"
    with pytest.raises(ValueError, match=r"^x\.h5: reading needs nowhere; pip install 'foreframe"):
        needed("nowhere", "radar", "x.h5: reading")
    (tmp_path / "wrapper.py").write_text("raise RuntimeError('no library libx.so\\nof ours')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"which cannot be loaded \(no library libx\.so\); pip"):
        needed("wrapper", "radar", "x.h5: reading")
    assert "wrapper" not in sys.modules


def test_a_call_leaves_the_path_of_imports_alone(tmp_path, monkeypatch) -> None:
    """Which a command adds the working directory to, at its end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", str(tmp_path))])
    (tmp_path / "own_clips.py").write_text(
        "import torch\n"
        "class Clips:\n"
        "    def __len__(self):\n        return 20\n"
        "    def __getitem__(self, k):\n        return torch.rand(6, 1, 8, 8)\n"
    )
    before = [*sys.path]
    with pytest.raises(ValueError, match="No module named 'own_clips'"):
        foreframe.evaluate("persistence", "own_clips.Clips", past=3, future=3, clips=2)
    assert sys.path == before
    assert main(["data", "--data", "own_clips.Clips", "--past", "3", "--future", "3"]) == 0
    assert sys.path == [*before, str(tmp_path)]
    monkeypatch.delitem(sys.modules, "own_clips")
