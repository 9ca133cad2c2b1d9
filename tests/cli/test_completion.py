"""Shells complete verbs, options and the values of options, from scripts that shells accept."""

import subprocess

import pytest

from foreframe.cli import main, verbs


@pytest.fixture
def script(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "completion.bash"
    path.write_text(capsys.readouterr().out)
    return path


def offered(script, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    code = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_foreframe;'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    out = subprocess.run(
        ["bash", "-c", code, "bash", str(script), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(out.stdout.split())


def test_bash_completes_verbs_options_and_values(script) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert offered(script, "foreframe", "") >= set(verbs())
    assert offered(script, "foreframe", "pre") == {"predict"}
    options = {"--splits.active", "--splits.augment"}
    assert offered(script, "foreframe", "train", "--splits.a") == options
    assert offered(script, "foreframe", "train", "--splits.by", "re") == {"recording"}
    assert "--reading.size" in offered(script, "foreframe", "data", "check", "--reading.")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_one_too(shell, capsys) -> None:
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert "predict" in said
    assert "reading.size" in said
