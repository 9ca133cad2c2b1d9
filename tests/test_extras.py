"""What is said where a package of an extra is missing, or there and broken."""

import sys
from pathlib import Path

import pytest

from foreframe.base.extras import needed


def test_a_package_is_given_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert needed("json", "radar", "x.h5: reading").dumps([1]) == "[1]"
    with pytest.raises(ValueError, match=r"^x\.h5: reading needs nowhere; pip install 'foreframe"):
        needed("nowhere", "radar", "x.h5: reading")
    (tmp_path / "wrapper.py").write_text("raise RuntimeError('no library libx.so\\nof ours')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"which cannot be loaded \(no library libx\.so\); pip"):
        needed("wrapper", "radar", "x.h5: reading")
    assert "wrapper" not in sys.modules
