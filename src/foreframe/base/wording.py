"""Phrases of messages: numbers with nouns, corrections of misspelt names, foreign errors."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from foreframe.base.budget import OverBudgetError


def plural(n: int, noun: str) -> str:
    """Return a number with its noun: "1 frame", "3 frames"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def closest(word: str, names: Iterable[str]) -> str:
    """Return "did you mean size?" if `word` is close to one of `names`, otherwise ""."""
    near = get_close_matches(word, list(names), n=1)
    return f"did you mean {near[0]}?" if near else ""


def described(error: Exception) -> str:
    """Return a foreign error in a single line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Turn any error of a library into one line.

    Raises:
        ValueError: `what`, and the words of the library.
    """
    try:
        yield
    except OverBudgetError:
        raise
    except Exception as error:
        words = str(error).strip() or type(error).__name__
        if isinstance(error, FileNotFoundError) and error.filename:
            words = f"there is no file {error.filename}"
        raise ValueError(f"{what} ({words.splitlines()[0][:160]})") from error
