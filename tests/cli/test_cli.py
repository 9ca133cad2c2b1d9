"""The command as a user meets it: its models, help and version."""

import pytest

import foreframe
from foreframe.base.shipped import FREE
from foreframe.cli import VERBS, main
from foreframe.models import PRESETS


def test_models_lists_every_preset_with_its_size(capsys) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in out.split("\n\n")[1].splitlines()}
    assert rows.keys() >= {*PRESETS, "at_once"}
    # OpenSTL reports 56.8 G multiply-adds for its ConvLSTM-S
    assert rows["openstl"][1:] == ["next_frame", "of", "convlstm", "11,675,648", "56.79", "G"]
    assert f"Without training: {', '.join(FREE)}, lagged\n" in out


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_short(verb: str, monkeypatch, capsys) -> None:
    """That it is quick, too, shows in what it loads: tests/test_floorplan.py."""
    monkeypatch.setenv("COLUMNS", "118")
    assert main([verb, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 5 <= len(lines) <= 99
    assert max(map(len, lines)) <= 120


def test_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert foreframe.__version__ in capsys.readouterr().out
