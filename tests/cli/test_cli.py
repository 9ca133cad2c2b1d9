"""The command as a user meets it: its models, help and version."""

import re
import sys

import pytest

import foreframe
from foreframe.cli import main, module_of, verbs
from foreframe.models import FREE, MODELS, PRESETS
from programs import printed_by


def test_models_lists_every_preset_with_its_size(capsys) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in out.split("\n\n")[1].splitlines()}
    assert rows.keys() >= {*PRESETS, "at_once"}
    # OpenSTL reports 56.8 G multiply-adds for its ConvLSTM-S
    assert rows["openstl"][1:] == ["next_frame", "of", "convlstm", "11,675,648", "56.79", "G"]
    (free,) = re.findall("Without training: (.+)", out)
    assert {*free.split(", ")} == {*FREE} & {*MODELS}


def test_an_unexpected_error_names_its_file_and_line(monkeypatch, capsys) -> None:
    """Such as one in a user's cell or Dataset."""
    monkeypatch.setattr("foreframe.cli.models.parser", lambda: {}["h0"])
    assert main(["models"]) == 1
    assert f"unexpected KeyError: 'h0', in {__file__}, line" in capsys.readouterr().err


def flags(text: str) -> list[str]:
    return re.findall(r"^  (--?[a-z_.0-9-]+)", text, re.MULTILINE)


@pytest.mark.parametrize("verb", [*([verb] for verb in verbs()), ["data", "check"]], ids=" ".join)
def test_help_shows_the_options_that_people_use_and_help_all_every_one(
    verb: list[str], monkeypatch, capsys
) -> None:
    """That it is quick, too, shows in what it loads: tests/test_floorplan.py."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*verb, "--help"]) == 0
    short = capsys.readouterr().out
    *lines, last = short.splitlines()
    assert 5 <= len(lines) < 60
    assert 1 <= len(flags(short)) <= 30
    assert last == f"foreframe {' '.join(verb)} --help-all lists every option"
    assert main([*verb, "--help-all"]) == 0
    every = capsys.readouterr().out
    assert {*flags(short), "--help-all"} <= set(flags(every))
    named = module_of(verb[0])
    parser = named.check_parser() if verb[1:] else named.parser()
    assert set(parser.common) <= set(parser.options)
    shown = {f"--{name}" for name, option in parser.options.items() if not option.positional}
    assert shown <= set(flags(every))


@pytest.mark.parametrize(
    ("words", "shown"), [(["--version"], foreframe.__version__), ([], "foreframe VERB --help")]
)
def test_words_without_a_verb(words: list[str], shown: str, capsys) -> None:
    assert main(words) == 0
    assert shown in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries have no mallopt")
def test_freed_memory_stays_in_the_process() -> None:
    """Each page of memory from the system is a page fault."""
    script = """
import resource, torch
from foreframe.cli import keep_memory
torch.set_num_threads(1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.zeros(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back = faults()
keep_memory()
faults()
print(given_back, faults())
"""
    given_back, kept = map(int, printed_by("-c", script).split())
    assert kept < given_back / 2
