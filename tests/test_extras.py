"""What is said where a package of an extra is missing, or there and broken; and that modules of the
user are found in the working directory for as long as a call lasts.
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


def test_modules_are_found_in_the_working_directory_while_a_call_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is imported late, by a module that was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", str(tmp_path))])
    (tmp_path / "late_frames.py").write_text("import torch\nframes = torch.rand(6, 1, 8, 8)\n")
    (tmp_path / "own_clips.py").write_text(
        "class Clips:\n"
        "    def __len__(self):\n        return 20\n"
        "    def __getitem__(self, k):\n"
        "        from late_frames import frames\n        return frames\n"
    )
    before = [*sys.path]
    given = {"data": "own_clips.Clips", "past": 3, "future": 3, "clips": 2}
    foreframe.evaluate("persistence", **given)
    assert sys.path == before
    del sys.modules["own_clips"], sys.modules["late_frames"]
    assert main(["data", "--data", "own_clips.Clips", "--past", "3", "--future", "3"]) == 0
    assert "late_frames" in sys.modules
    assert sys.path == before
