"""Commands that are refused, and what their options become."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from foreframe.cli import main, train
from foreframe.training.options import Options
from foreframe.training.recipes import options_from


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a command says which ends with exit code 2, or else the test fails."""
    capsys.readouterr()
    try:
        code = main([*words])
    except SystemExit as stop:  # argparse leaves so
        code = int(str(stop.code))
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), (code, out, err)
    assert err.count("\n") == 1, err
    return err


def parse(words: Sequence[str]) -> Options:
    """The options of `foreframe train` with these words."""
    return options_from(*train.parse(words))


@contextmanager
def one_line(words: str) -> Iterator[None]:
    """What is within is refused in one line, in which these words are (a pattern)."""
    with pytest.raises(ValueError, match=words) as told:
        yield
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500
