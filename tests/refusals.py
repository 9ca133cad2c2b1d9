"""What is refused, in a line."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from foreframe.cli import main


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


@contextmanager
def one_line(words: str) -> Iterator[None]:
    """What is within is refused in one line, in which these words are (a pattern)."""
    with pytest.raises(ValueError, match=words) as told:
        yield
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500
